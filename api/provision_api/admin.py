"""`provision admin`: the first steps of an installation, done as the database's owner.

What an option does not say is asked for on a terminal; without one the command ends and names the option.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar
from uuid import UUID

import click
import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from sqlalchemy import Text, Uuid, bindparam, column, func, insert, or_, select, table
from sqlalchemy.dialects.postgresql import JSONB

from provision import ProvisionError
from provision.database import connect, role_url
from provision.settings import load
from provision_api.database import Row, Statement

F = TypeVar("F", bound=Callable[..., Any])

PROVIDERS = ("epp", "aws", "manual")
# What an accreditation must know, and may.
NEEDED = {"epp": ("registrar_id", "endpoint", "secret_ref"), "aws": (), "manual": ()}
ACCREDITATION = ("registrar_id", "endpoint", "secret_ref", "region", "role_arn", "external_id")


def _insert(name: str, *columns: str) -> Statement:
    made = table(name, *(column(each) for each in ("id", *columns)))
    values = {each: bindparam(each, type_=Uuid if each == "tenant_id" else Text) for each in columns}
    return Statement(insert(made).values(values).returning(made.c.id))


def _call(function: str) -> Statement:
    return Statement(select(getattr(func, function)(bindparam("body", type_=JSONB)).label("id")))


_TENANT = _insert("tenant", "name", "description")
_ACCREDITATION = _insert("accreditation", "tenant_id", "provider", "name", *ACCREDITATION)
_CUSTOMER, _ORG, _USER, _MEMBERSHIP = (_call(f"{noun}_create") for noun in ("customer", "org", "user", "membership"))
_KEY = Statement(
    select(
        func.api_key_create(
            bindparam("customer", type_=Uuid), bindparam("name", type_=Text), bindparam("org", type_=Uuid)
        ).label("key")
    )
)
_USER_KEY = Statement(select(func.api_key_issue(bindparam("body", type_=JSONB)).table_valued("id", "key")))

_tenant = table("tenant", column("id"), column("name"))
_TENANTS = Statement(select(_tenant.c.id, _tenant.c.name).order_by(_tenant.c.name))
_account = table("v_customer", *(column(name) for name in ("tenant_customer_id", "tenant", "cid", "name", "email")))
_ACCOUNTS = Statement(
    select(_account.c.tenant_customer_id.label("id"), _account.c.tenant).where(
        or_(*(_account.c[name] == bindparam("named", type_=Text) for name in ("cid", "name", "email")))
    )
)
_org = table("v_org", *(column(name) for name in ("id", "slug", "tenant_customer_id")))
_ORGS = Statement(
    select(_org.c.id).where(
        _org.c.slug == bindparam("slug", type_=Text),
        _org.c.tenant_customer_id == bindparam("account", type_=Uuid),
    )
)


class Asked(click.Option):
    """An option that is asked for if it is missing and there is somebody to ask."""

    def __init__(self, param_decls: Sequence[str] | None = None, **attributes: Any) -> None:
        super().__init__(param_decls, **attributes | {"prompt": True})

    def prompt_for_value(self, ctx: click.Context) -> Any:
        """The answer of who sits at the terminal."""
        if not sys.stdin.isatty():
            raise click.MissingParameter(ctx=ctx, param=self)
        return super().prompt_for_value(ctx)


def _ask(name: str, value: str | None) -> str:
    """The same for what only some need."""
    option = f"--{name.replace('_', '-')}"
    if value:
        return value
    if not sys.stdin.isatty():
        raise click.UsageError(f"Missing option '{option}'.")
    answer: str = click.prompt(name.replace("_", " ").capitalize())
    return answer


def _json(command: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Answer with JSON.")(command)


def _run(*steps: tuple[Statement, Mapping[str, Any]]) -> Row:
    """Do the steps in one transaction; returns what the first has made."""
    with connection() as owner, owner.transaction():
        rows = [fetch(owner, statement, values) for statement, values in steps]
    return rows[0][0]


def connection() -> psycopg.Connection:
    """A connection of the database's owner."""
    return connect(role_url(load(), "owner"), "provision admin", autocommit=True)


def fetch(owner: psycopg.Connection, statement: Statement, values: Mapping[str, Any]) -> list[Row]:
    """The rows of a statement; none of one that gives none."""
    with owner.cursor(row_factory=dict_row) as cursor:
        cursor.execute(statement.text, {**statement.values, **values})
        return [] if cursor.description is None else cursor.fetchall()


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _tell(made: Row, as_json: bool, said: Mapping[str, Any], shown: str = "id") -> None:
    """The id, or the secret, alone, so that scripts can go on with it; or everything."""
    click.echo(json.dumps({**made, **said}, default=str) if as_json else made[shown])


@click.group("admin")
def admin_command() -> None:
    """Do what only operators may.

    Needs DATABASE_URL as the database's owner. What an option does not say is asked for on a terminal.

    \b
    The first steps of an installation:
      provision admin tenant --name "Blue"
      provision admin accreditation --tenant Blue --provider manual --name desk
      provision admin customer --name "Blue Shop" --email shop@example.net
      provision admin org --customer "Blue Shop" --name shop
      provision admin user --username jane --email jane@example.net --platform-admin
      provision admin api-key --customer "Blue Shop" --name shop
    """


@admin_command.command("tenant")
@click.option("--name", cls=Asked, help="What the brand is called.")
@click.option("--description", help="For people.")
@_json
def tenant_command(name: str, description: str | None, as_json: bool) -> None:
    """Make a tenant: a brand that runs an installation."""
    _tell(_run((_TENANT, {"name": name, "description": description})), as_json, {"name": name})


@admin_command.command("customer")
@click.option("--name", cls=Asked, help="Its name; its short name (cid) is made from it.")
@click.option("--email", cls=Asked, help="Where it is reached.")
@click.option("--tenant", help="With which tenant it has its account; needed if there are several.")
@_json
def customer_command(name: str, email: str, tenant: str | None, as_json: bool) -> None:
    """Make a customer, with an account."""
    body = {"name": name, "email": email, "tenant": _tenant_row(tenant)["name"]}
    _tell(_run((_CUSTOMER, {"body": Jsonb(body)})), as_json, body)


@admin_command.command("accreditation")
@click.option("--name", cls=Asked, help="What orders may call it.")
@click.option("--provider", cls=Asked, type=click.Choice(PROVIDERS), help="A registry, AWS, or people at a desk.")
@click.option("--tenant", help="Whose right it is; needed if there are several.")
@click.option("--registrar-id", help="Log-in name at the registry.")
@click.option("--endpoint", help="host:port of the registry, or the URL of a cloud endpoint.")
@click.option("--secret-ref", help="Where workers find the secret: env:NAME, file:/path or aws-sm:arn.")
@click.option("--region", help="AWS region.")
@click.option("--role-arn", help="AWS role to assume.")
@click.option("--external-id", help="AWS external id that goes with the role.")
@_json
def accreditation_command(name: str, provider: str, tenant: str | None, as_json: bool, **details: str | None) -> None:
    """Make an accreditation: a tenant's right to use a provider."""
    details |= {needed: _ask(needed, details[needed]) for needed in NEEDED[provider]}
    values = {"tenant_id": _tenant_row(tenant)["id"], "provider": provider, "name": name, **details}
    _tell(_run((_ACCREDITATION, values)), as_json, _given(**values))


@admin_command.command("org")
@click.option("--customer", cls=Asked, help="Name, cid or e-mail of the customer, or the id of its account.")
@click.option("--name", cls=Asked, help="Its name; its slug is made from it.")
@click.option("--kind", type=click.Choice(("organization", "project", "hosting")), default="organization")
@_json
def org_command(customer: str, name: str, kind: str, as_json: bool) -> None:
    """Make an org: an isolated part of a customer."""
    body = {"customer": str(_account_id(customer)), "name": name, "kind": kind}
    _tell(_run((_ORG, {"body": Jsonb(body)})), as_json, body)


@admin_command.command("user")
@click.option("--username", cls=Asked, help="Unique in the installation.")
@click.option("--email", cls=Asked, help="Where the user is reached.")
@click.option("--name", help="What people call the user.")
@click.option("--customer", help="The customer that manages the user; without it none does.")
@click.option("--platform-admin", is_flag=True, help="May do all in the whole installation.")
@click.option("--role", help="Makes the user a member of the customer, or of --org: owner, manager, viewer …")
@click.option("--org", help="Slug of the org the role is held in.")
@_json
def user_command(
    username: str,
    email: str,
    name: str | None,
    customer: str | None,
    platform_admin: bool,
    role: str | None,
    org: str | None,
    as_json: bool,
) -> None:
    """Make a user.

    \b
    Examples:
      provision admin user --username root --email root@example.net --platform-admin
      provision admin user --username jane --email jane@example.net --customer "Blue Shop" --role owner
    """
    if (org or role) and not (role and (org or customer)):
        raise click.UsageError("--role goes with --customer or --org, and --org with --role")
    account = customer and str(_account_id(customer))
    body = _given(username=username, email=email, name=name, customer=account, is_platform_admin=platform_admin or None)
    member = _given(user=username, role=role, org=org, customer=account)
    steps = [(_USER, {"body": Jsonb(body)}), *([(_MEMBERSHIP, {"body": Jsonb(member)})] if role else [])]
    _tell(_run(*steps), as_json, body)


@admin_command.command("api-key")
@click.option("--customer", help="Name, cid or e-mail of the customer, or the id of its account.")
@click.option("--org", help="Slug of the one org of the customer that the key is for.")
@click.option("--user", help="A user, by id or username, instead: the key can do what the user can.")
@click.option("--name", default="api", show_default=True, help="What the key is for; the audit trail shows it.")
@_json
def api_key_command(customer: str | None, org: str | None, user: str | None, name: str, as_json: bool) -> None:
    """Make an API key for a program of a customer, or for a user; it is shown this once.

    \b
    Examples:
      provision admin api-key --customer "Acme Corp" --name shop
      provision admin api-key --user root --name laptop
    """
    if user and (customer or org):
        raise click.UsageError("--user excludes --customer and --org")
    if user:
        made = _run((_USER_KEY, {"body": Jsonb({"user": user, "name": name})}))
    else:
        account = _account_id(_ask("customer", customer))
        made = _run((_KEY, {"customer": account, "name": name, "org": org and _org_id(org, account)}))
    _tell(made, as_json, {"name": name}, shown="key")


def _tenant_row(name: str | None) -> Row:
    with connection() as owner:
        tenants = {row["name"]: row for row in fetch(owner, _TENANTS, {})}
    if not tenants:
        raise ProvisionError("there is no tenant yet; make one with `provision admin tenant`")
    if name is None:
        name = _ask("tenant", None) if len(tenants) > 1 else next(iter(tenants))
    if name not in tenants:
        raise ProvisionError(f"no tenant is named {name!r}; there are {', '.join(tenants)}")
    return tenants[name]


def _account_id(customer: str) -> UUID:
    with suppress(ValueError):
        return UUID(customer)
    with connection() as owner:
        rows = fetch(owner, _ACCOUNTS, {"named": customer})
    if not rows:
        raise ProvisionError(f"no customer is named {customer!r}; SELECT * FROM v_tenant_customer lists all")
    if len(rows) > 1:
        found = ", ".join(f"{row['id']} ({row['tenant']})" for row in rows)
        raise ProvisionError(f"{customer!r} has several accounts: {found}; give the id of one of them")
    id: UUID = rows[0]["id"]
    return id


def _org_id(slug: str, account: UUID) -> UUID:
    with connection() as owner:
        rows = fetch(owner, _ORGS, {"slug": slug, "account": account})
    if not rows:
        raise ProvisionError(f"no org of the customer is called {slug!r}; SELECT * FROM v_org lists all")
    id: UUID = rows[0]["id"]
    return id
