"""Commands of the API: serve it, and make keys for its clients."""

from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import click
from sqlalchemy import Text, Uuid, bindparam, column, func, or_, select, table

from provision import ProvisionError, log
from provision.database import connect, role_url
from provision.settings import Settings, load
from provision_api.database import Statement
from provision_api.server import serve

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

_customer = table("v_tenant_customer", *(column(name) for name in ("id", "tenant", "customer", "email")))
_CUSTOMERS = Statement(
    select(_customer.c.id, _customer.c.tenant).where(
        or_(*(_customer.c[name] == bindparam("name", type_=Text) for name in ("customer", "email")))
    )
)
_KEY = Statement(
    select(func.api_key_create(bindparam("customer", type_=Uuid), bindparam("name", type_=Text)).label("key"))
)


@click.command("api")
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen on.")
@click.option("--certificate", type=_FILE, help="PEM certificate chain: speak TLS. Needs --key.")
@click.option("--key", type=_FILE, help="PEM private key of the certificate.")
def api_command(host: str | None, port: int | None, certificate: Path | None, key: Path | None) -> None:
    """Serve the REST API until it is told to stop.

    /docs shows what it can do and lets you try it. SIGTERM or Ctrl-C: finish what runs, then exit. Start as many as you
    like, behind a load balancer that asks /readyz. Options win over the settings PROVISION_API_HOST, _PORT, …

    \b
    Examples:
      provision api --port 8081
      provision api --host 0.0.0.0 --certificate chain.pem --key key.pem
    """
    given = {"api_host": host, "api_port": port, "api_certificate": certificate, "api_key_file": key}
    settings = _changed(load(), {name: value for name, value in given.items() if value is not None})
    log.configure(settings)
    serve(settings)


def _changed(settings: Settings, given: dict[str, Any]) -> Settings:
    if ("api_certificate" in given) != ("api_key_file" in given):
        raise click.UsageError("--certificate and --key go together")
    return settings.model_copy(update=given)


@click.group("admin")
def admin_command() -> None:
    """Do what only operators may."""


@admin_command.command("api-key")
@click.option("--customer", required=True, help="Name or e-mail of the customer, or the id of its account.")
@click.option("--name", default="api", show_default=True, help="What the key is for; the audit trail shows it.")
def api_key_command(customer: str, name: str) -> None:
    """Make an API key for a customer; it is shown this once.

    Needs DATABASE_URL as the database's owner.

    \b
    Example:
      provision admin api-key --customer "Acme Corp" --name shop
    """
    with connect(role_url(load(), "owner"), "provision admin", autocommit=True) as connection:
        account = _account(connection, customer)
        row = connection.execute(_KEY.text, {"customer": account, "name": name}).fetchone()
    click.echo(row[0] if row else "")


def _account(connection: Any, customer: str) -> UUID:
    with suppress(ValueError):
        return UUID(customer)
    rows = connection.execute(_CUSTOMERS.text, {"name": customer}).fetchall()
    if not rows:
        raise ProvisionError(f"no customer is named {customer!r}; SELECT * FROM v_tenant_customer lists all")
    if len(rows) > 1:
        found = ", ".join(f"{id} ({tenant})" for id, tenant in rows)
        raise ProvisionError(f"{customer!r} has several accounts: {found}; give the id of one of them")
    id: UUID = rows[0][0]
    return id


commands: list[click.Command] = [api_command, admin_command]
