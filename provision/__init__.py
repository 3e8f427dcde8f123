"""What the API and the worker share: settings, the database, its migrations, the embedded server, the command line."""
