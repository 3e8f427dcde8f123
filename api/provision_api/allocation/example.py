"""`provision admin example allocator`: an allocator, another one, a provider with offerings, and researchers, to try a
client on.
"""

import json
import secrets
from typing import Any
from uuid import UUID

import click
import psycopg
from argon2 import PasswordHasher, Type
from psycopg.types.json import Jsonb
from sqlalchemy import Text, Uuid, bindparam, column, func, select, table
from sqlalchemy.dialects.postgresql import JSONB, insert

from provision.settings import Settings, load
from provision_api.admin import connection, fetch
from provision_api.allocation.wire import hexed
from provision_api.database import Statement

TENANT, CATEGORY = "Example", "HPC"
OFFERING, POOL_OFFERING = "LUMI Acceptance", "LUMI Pool"


def _call(function: str, **types: Any) -> Statement:
    arguments = (bindparam(name, type_=kind) for name, kind in types.items())
    return Statement(select(getattr(func, function)(*arguments).label("id")))


def _make_once(name: str, by: tuple[str, ...], *columns: str, **types: Any) -> Statement:
    """An insert that does nothing where there is such a row."""
    made = table(name, *(column(each) for each in columns))
    values = {each: bindparam(each, type_=types.get(each, Text)) for each in columns}
    return Statement(insert(made).values(values).on_conflict_do_nothing(index_elements=by))


_tenant, _category = table("tenant", column("id"), column("name")), table("offering_category", column("title"))
_TENANT = _make_once("tenant", ("name",), "name")
_TENANT_ID = Statement(select(_tenant.c.id).where(_tenant.c.name == bindparam("name", type_=Text)))
_DESK = _make_once("accreditation", ("tenant_id", "name"), "tenant_id", "provider", "name", tenant_id=Uuid)
_CATEGORY = _make_once("offering_category", ("title",), "title")
_PERSON = _make_once("registry_person", ("cuid",), "cuid", "attributes", attributes=JSONB)
_CUSTOMER, _USER, _MEMBERSHIP, _OFFERING = (
    _call(f"{noun}_create", body=JSONB) for noun in ("customer", "user", "membership", "offering")
)
_PROFILE = _call("customer_profile_set", id=Uuid, body=JSONB)
_COMPONENT = _call("offering_component_set", id=Uuid, body=JSONB)
_PLAN = _call("offering_plan_set", id=Uuid, body=JSONB)
_IDENTIFY = _call("user_identify", cuid=Text, body=JSONB)
_PASSWORD = _call("password_store", user=Uuid, hash=Text)
_TOKEN = _call("login_token_issue", user=Uuid)


@click.command("allocator")
@click.option("--json", "as_json", is_flag=True, help="Answer with JSON.")
def allocator_command(as_json: bool) -> None:
    """Make an allocator "Puhuri", another one, a provider with two offerings, and two researchers; shows their tokens.

    Run again, it makes others. The researchers are known to the local registry (table registry_person).

    \b
    Example:
      provision admin example allocator --json
    """
    settings = load()
    with connection() as owner, owner.transaction():
        made = Allocator(owner, settings).make()
    click.echo(json.dumps(made) if as_json else "\n".join(f"{name} {value}" for name, value in made.items()))


class Allocator:
    """All of it, in one transaction."""

    def __init__(self, owner: psycopg.Connection, settings: Settings) -> None:
        self._owner, self._settings = owner, settings
        self._mark = secrets.token_hex(4)

    def make(self) -> dict[str, str]:
        """Everything; what its users need to know of it. Ids are 32 hex digits, as the API writes them."""
        self._make_place()
        customers = {name: self._customer(name) for name in ("Puhuri", "Neighbour", "Provider")}
        abbreviation = f"PUH{self._mark}"
        fetch(self._owner, _PROFILE, {"id": customers["Puhuri"], "body": Jsonb({"abbreviation": abbreviation})})
        password = secrets.token_urlsafe(12)
        owner = self._user("owner", customers["Puhuri"], is_identity_manager=True)
        hashed = PasswordHasher(memory_cost=self._settings.password_memory_kib, type=Type.ID).hash(password)
        fetch(self._owner, _PASSWORD, {"user": owner, "hash": hashed})
        others = {name: self._user(name.lower(), customers[name]) for name in ("Neighbour", "Provider")}
        staff = self._user("staff", None, is_staff=True)
        cuids = [f"{self._mark}-{name}@example.eduteams.org" for name in ("jane", "joe")]
        researchers = [self._researcher(cuid, name) for cuid, name in zip(cuids, ("Jane Doe", "Joe Roe"), strict=True)]
        return {
            "base_url": self._base_url(),
            "token": self._token(owner),
            "token_b": self._token(others["Neighbour"]),
            "provider_token": self._token(others["Provider"]),
            "admin_token": self._token(staff),
            "researcher_token": self._token(researchers[0]),
            "username": f"{self._mark}-owner",
            "password": password,
            "customer": hexed(customers["Puhuri"]),
            "customer_b": hexed(customers["Neighbour"]),
            "abbreviation": abbreviation,
            "offering": hexed(self._offering(OFFERING, customers["Provider"])),
            "pool_offering": hexed(self._offering(POOL_OFFERING, customers["Provider"], max_available_limit=100)),
            "cuid": cuids[0],
            "cuid2": cuids[1],
        }

    def _make_place(self) -> None:
        fetch(self._owner, _TENANT, {"name": TENANT})
        tenant = fetch(self._owner, _TENANT_ID, {"name": TENANT})[0]["id"]
        fetch(self._owner, _DESK, {"tenant_id": tenant, "provider": "manual", "name": "desk"})
        fetch(self._owner, _CATEGORY, {"title": CATEGORY})

    def _customer(self, name: str) -> UUID:
        email = f"{name.lower()}-{self._mark}@example.net"
        return self._do(_CUSTOMER, {"name": name, "email": email, "tenant": TENANT})

    def _user(self, name: str, customer: UUID | None, **more: Any) -> UUID:
        username = f"{self._mark}-{name}"
        id = self._do(_USER, {"username": username, "email": f"{username}@example.net", "name": name.title(), **more})
        if customer is not None:
            self._do(_MEMBERSHIP, {"user": str(id), "customer": str(customer), "role": "owner"})
        return id

    def _researcher(self, cuid: str, name: str) -> UUID:
        attributes = Jsonb({"name": name, "email": cuid.replace("@", ".") + "@example.net"})
        fetch(self._owner, _PERSON, {"cuid": cuid, "attributes": attributes})
        id: UUID = fetch(self._owner, _IDENTIFY, {"cuid": cuid, "body": attributes})[0]["id"]
        return id

    def _offering(self, name: str, customer: UUID, **limits: int) -> UUID:
        given = {"name": name, "category": CATEGORY, "customer": str(customer), "state": "active"}
        terms = {"terms_of_service": "Use it for research.", "getting_started": "Log in and submit."}
        id = self._do(_OFFERING, given | {"description": f"{name} of the example", "details": terms})
        for type, unit in (("cpu_hours", "hours"), ("gpu_hours", "hours"), ("storage", "TB hours")):
            bounds = {"min_value": 1, "max_value": 100, **limits}
            part = {"type": type, "name": type.replace("_", " ").title(), "measured_unit": unit, **bounds}
            billing = "usage" if type == "storage" else "limit"
            fetch(self._owner, _COMPONENT, {"id": id, "body": Jsonb(part | {"billing_type": billing})})
        prices = {"cpu_hours": 0.1, "gpu_hours": 0.5, "storage": 0.0005}
        fetch(self._owner, _PLAN, {"id": id, "body": Jsonb({"name": "Standard", "prices": prices})})
        return id

    def _token(self, user: UUID) -> str:
        token: str = fetch(self._owner, _TOKEN, {"user": user})[0]["id"]
        return token

    def _do(self, statement: Statement, body: dict[str, Any]) -> UUID:
        id: UUID = fetch(self._owner, statement, {"body": Jsonb(body)})[0]["id"]
        return id

    def _base_url(self) -> str:
        settings = self._settings
        scheme = "http" if settings.api_certificate is None else "https"
        return f"{scheme}://{settings.api_host}:{settings.api_port}"
