"""`provision admin mfa` gives a user a second factor, `provision admin example` makes things to try it out with."""

import json
import secrets
from typing import Any

import click
import psycopg
from argon2 import PasswordHasher, Type
from psycopg.types.json import Jsonb
from sqlalchemy import Text, Uuid, bindparam, column, func, select, table
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as upsert

from provision.settings import Settings, load
from provision_api import totp
from provision_api.admin import connection, fetch
from provision_api.database import Statement

TENANT, VERSION = "Example", "v4.20.0"
LIMITS: dict[str, Any] = {"ceiling": 10, "min_nodes": 0, "max_nodes": 10}
BALANCE = "2000"


def _call(function: str, **types: Any) -> Statement:
    arguments = (bindparam(name, type_=kind) for name, kind in types.items())
    return Statement(select(getattr(func, function)(*arguments).label("id")))


def _make_once(name: str, *columns: str, by: tuple[str, ...]) -> Statement:
    """An insert that does nothing where there is such a row."""
    made = table(name, *(column(each) for each in columns))
    values = {each: bindparam(each, type_=Uuid if each.endswith("_id") else Text) for each in columns}
    return Statement(upsert(made).values(values).on_conflict_do_nothing(index_elements=by))


_TENANT = _make_once("tenant", "name", by=("name",))
_tenant = table("tenant", column("id"), column("name"))
_TENANT_ID = Statement(select(_tenant.c.id).where(_tenant.c.name == bindparam("name", type_=Text)))
_ACCREDITATION = _make_once("accreditation", "tenant_id", "provider", "name", by=("tenant_id", "name"))
_VERSION = _make_once("cluster_version", "name", "description", "node_image", "overhead_image", by=("name",))
_CUSTOMER, _ORG, _USER, _MEMBERSHIP, _CLUSTER = (
    _call(f"{noun}_create", body=JSONB) for noun in ("customer", "org", "user", "membership", "cluster")
)
_ACCOUNT = _call("account_configure", org=Uuid, body=JSONB)
_DEACTIVATE = _call("membership_deactivate", membership=Uuid)
_PASSWORD = _call("password_store", user=Uuid, hash=Text)
_TOTP = _call("totp_give", username=Text, secret=Text)


@click.command("mfa")
@click.option("--username", required=True, help="The user.")
@click.option("--json", "as_json", is_flag=True, help="Answer with JSON.")
def mfa_command(username: str, as_json: bool) -> None:
    """Give a user a second factor (TOTP), instead of one there may be; its key is shown this once.

    \b
    Example:
      provision admin mfa --username root
    """
    secret = totp.new_secret()
    with connection() as owner, owner.transaction():
        fetch(owner, _TOTP, {"username": username, "secret": secret})
    uri = totp.uri(secret, username)
    click.echo(json.dumps({"username": username, "secret": secret, "uri": uri}) if as_json else f"{secret}\n{uri}")


@click.group("example")
def example_command() -> None:
    """Make something to try it out with: not for installations that people use."""


@example_command.command("organization")
@click.option("--domain", default="example.test", show_default=True, help="The domain its cluster is reached in.")
@click.option("--json", "as_json", is_flag=True, help="Answer with JSON.")
def organization_command(domain: str, as_json: bool) -> None:
    """Make an org with a cluster (0 to 10 nodes), an account of 2000 dollars, and people with passwords.

    Run again, it makes another. Its tenant, "Example", has an AWS accreditation with the workers' own credentials.

    \b
    Example:
      provision admin example organization --json
    """
    settings = load()
    with connection() as owner, owner.transaction():
        made = Example(owner, settings, domain).make()
    lines = (f"{name} {json.dumps(value) if isinstance(value, list) else value}" for name, value in made.items())
    click.echo(json.dumps(made) if as_json else "\n".join(lines))


class Example:
    """An org with people, all in one transaction."""

    def __init__(self, owner: psycopg.Connection, settings: Settings, domain: str) -> None:
        self._owner, self._settings, self._domain = owner, settings, domain
        self._hasher = PasswordHasher(memory_cost=settings.password_memory_kib, type=Type.ID)
        self._name = f"example-{secrets.token_hex(4)}"

    def make(self) -> dict[str, Any]:
        """Everything; what its users need to know of it."""
        self._make_place()
        email = f"{self._name}@example.net"
        customer = self._do(_CUSTOMER, {"name": self._name, "email": email, "tenant": TENANT})
        org = self._do(_ORG, {"name": self._name, "customer": str(customer)})
        self._do(_CLUSTER, {"org": str(org), "domain": self._domain, "version": VERSION, **LIMITS})
        fetch(self._owner, _ACCOUNT, {"org": org, "body": Jsonb({"deposit": BALANCE, "description": "to begin with"})})
        people = {role: self._user(role) for role in ("owner", "member-1", "member-2", "inactive")}
        admin = self._user("admin", is_platform_admin=True)
        for role, person in people.items():
            membership = {"user": person["username"], "org": str(org)}
            id = self._do(_MEMBERSHIP, membership | {"role": "owner" if role == "owner" else "developer"})
            if role == "inactive":
                fetch(self._owner, _DEACTIVATE, {"membership": id})
        secret = totp.new_secret()
        fetch(self._owner, _TOTP, {"username": admin["username"], "secret": secret})
        return {
            "base_url": self._base_url(),
            "org": self._name,
            **_said(people["owner"], "owner"),
            "members": [people["member-1"], people["member-2"]],
            **_said(people["inactive"], "inactive"),
            **_said(admin, "admin"),
            "admin_totp": secret,
        }

    def _make_place(self) -> None:
        fetch(self._owner, _TENANT, {"name": TENANT})
        tenant = fetch(self._owner, _TENANT_ID, {"name": TENANT})[0]["id"]
        fetch(self._owner, _ACCREDITATION, {"tenant_id": tenant, "provider": "aws", "name": "cloud"})
        images = {"node_image": "ami-12c6146b", "overhead_image": "ami-12c6146b"}
        fetch(self._owner, _VERSION, {"name": VERSION, "description": "an example", **images})

    def _do(self, statement: Statement, body: dict[str, Any]) -> Any:
        return fetch(self._owner, statement, {"body": Jsonb(body)})[0]["id"]

    def _user(self, role: str, **more: Any) -> dict[str, str]:
        username, password = f"{self._name}-{role}", secrets.token_urlsafe(12)
        id = self._do(_USER, {"username": username, "email": f"{username}@example.net", **more})
        fetch(self._owner, _PASSWORD, {"user": id, "hash": self._hasher.hash(password)})
        return {"username": username, "password": password}

    def _base_url(self) -> str:
        settings = self._settings
        scheme = "http" if settings.api_certificate is None else "https"
        return f"{scheme}://{settings.api_host}:{settings.api_port}"


def _said(person: dict[str, str], name: str) -> dict[str, str]:
    return {name: person["username"], f"{name}_password": person["password"]}
