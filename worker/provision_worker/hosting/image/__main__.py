"""Prints the script."""

from . import build_script

print(build_script(), end="")
