"""The worker: claims jobs, does what they ask for outside the database, and records the results."""
