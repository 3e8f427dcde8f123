"""What the actions of the worker talk to outside the database: one package per kind of provider."""
