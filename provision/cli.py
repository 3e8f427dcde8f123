"""The command `provision`. Other parts add their commands through `PARTS`, which are imported when asked for."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec

import click
import psycopg

from provision import ProvisionError, doctor
from provision import migrate as migration
from provision.database import role_url
from provision.settings import Settings, SettingsError, describe, load

# Each has a list `commands` of click commands.
PARTS = ("provision_api.cli", "provision_worker.cli", "provision.status", "provision.states", "provision.demo")


class Group(click.Group):
    """A group whose further commands come from other parts, as far as those are installed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *(str(command.name) for part in PARTS for command in _commands(part))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        return next((command for part in PARTS for command in _commands(part) if command.name == cmd_name), None)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:  # it knows only our own for its suggestion
            raise click.NoSuchCommand(error.command_name, possibilities=self.list_commands(ctx), ctx=ctx) from None


def _commands(part: str) -> Sequence[click.Command]:
    """The commands of a part; none where it is not installed."""
    with suppress(ModuleNotFoundError):  # the package around it may be missing
        if find_spec(part) is not None:
            commands: Sequence[click.Command] = import_module(part).commands
            return commands
    return ()


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="provision", message="provision %(version)s")
def cli() -> None:
    """Provisions domains, certificates and clusters from rows in PostgreSQL.

    \b
    First steps:
      export DATABASE_URL=postgresql://me:secret@localhost:5432/shop
      provision migrate     make the tables, procedures and roles
      provision doctor      check settings, database and roles; says what to do
      provision worker      do the work (as many as you like, on any machine)
      provision api         serve the REST API

    \b
    Without a database of your own, `python3 run.py demo` shows it all.
    Settings are PROVISION_… variables or lines of provision.toml: `provision doctor --settings` lists them.
    """


@cli.command()
@click.option("--status", "show", is_flag=True, help="Only say what would be done; exit code 1 if anything.")
@click.option("--rollback", type=click.IntRange(min=1), metavar="N", help="Take back the last N migrations.")
def migrate(show: bool, rollback: int | None) -> None:
    """Bring the database to this release: roles, tables, procedures, views, grants.

    Does nothing if it is there, so run it at every start. Needs DATABASE_URL as a superuser, or as the database's owner
    with CREATEROLE. The log-ins provision_api and provision_worker get passwords derived from the one in DATABASE_URL.

    \b
    Examples:
      provision migrate
      provision migrate --status
      provision migrate --rollback 1     then start the release that you go back to
    """
    if show and rollback:
        raise click.UsageError("--status and --rollback exclude each other")
    settings = load()
    url = role_url(settings, "owner")
    if show:
        _show_status(migration.status(url))
    elif rollback:
        migration.rollback(url, rollback, click.echo)
    else:
        migration.migrate(url, click.echo, logins=_derived_logins(settings))
        click.echo("the database is at this release")


def _derived_logins(settings: Settings) -> list[str]:
    """The log-ins whose passwords are ours to set: those without a URL of their own."""
    explicit = {"provision_api": settings.api_database_url, "provision_worker": settings.worker_database_url}
    return [role for role in migration.LOGIN_ROLES if explicit[role] is None]


def _show_status(found: migration.Status) -> None:
    for state, names in found._asdict().items():
        for name in names:
            click.echo(f"{state:8} {name}")
    if not found.current:
        raise SystemExit(1)


@cli.command("doctor")
@click.option("--settings", "show", is_flag=True, help="List all settings with their values, defaults and meanings.")
def run_doctor(show: bool) -> None:
    """Check settings, database, migrations, roles and time-outs.

    Each line is ok or a problem with what to do about it; exit code 1 if there is a problem.
    """
    settings = load()
    if show:
        _show_settings(settings)
        return
    problems = 0
    for check in doctor.examine(settings):
        problems += not check.ok
        click.echo(f"{'ok' if check.ok else 'problem':8} {check.what}")
        if check.remedy:
            click.echo(f"{'':8} → {check.remedy}")
    if problems:
        raise SystemExit(1)


def _show_settings(settings: Settings) -> None:
    for line in describe():
        value = getattr(settings, line.name)
        click.echo(f"{line.variable} = {'(not set)' if value is None else value}")
        click.echo(f"    {line.meaning} ({line.type}{f', default {line.default}' if line.default else ''})")


def main() -> None:
    """Run the command line; what a user can cause ends in one message and an exit code, never in a traceback.

    Exit codes: 0 well, 1 it did not work, 2 it was asked wrongly.
    """
    try:
        cli()
    except SettingsError as error:
        _end(str(error), 2)
    except ProvisionError as error:
        _end(str(error), 1)
    except psycopg.Error as error:
        _end(doctor.explain(error), 1)


def _end(message: str, code: int) -> None:
    click.echo(f"provision: {message}", err=True)
    sys.exit(code)
