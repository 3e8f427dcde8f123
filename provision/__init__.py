"""What the API and the worker share: settings, the database, its migrations, the embedded server, the command line."""


class ProvisionError(Exception):
    """An error its reader can act on: the text says what, which value, why, and what to do; no traceback is shown."""
