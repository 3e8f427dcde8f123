"""The whole engine at work on this machine, with a registry and an AWS endpoint of its own: `provision demo`."""

import click

from provision.settings import load


@click.command("demo")
@click.option("--keep", is_flag=True, help="Leave everything running until Ctrl-C.")
def demo_command(keep: bool) -> None:
    """Start everything, send orders, and show what becomes of them.

    Needs nothing but this machine: PostgreSQL, a domain registry, an AWS endpoint, the API and a worker run on free
    ports of 127.0.0.1, in a new directory .provision/demo. Exit code 0: every outcome was the expected one.
    """
    settings = load()
    # Here, because the other commands need none of what this imports.
    from .run import run

    raise SystemExit(run(settings, keep=keep))


commands: list[click.Command] = [demo_command]
