"""The engine as customers meet it: an installation, those who order, and a worker."""
