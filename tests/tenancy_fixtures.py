"""What the tests of accounts and rights share: users who ask through the API, and sessions that act all at once."""

import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from .conftest import ConnectAs
from .sql_fixtures import Shop, acting_as

ROLES = ("owner", "manager", "admin", "developer", "viewer")


def new_user(shop: Shop, name: str = "jane", customer: UUID | None = None, **values: Any) -> UUID:
    """A user with a verified address."""
    username = f"{name}-{uuid.uuid4().hex[:8]}"
    values = {"username": username, "email": f"{username}@example.net", "verified_date": "now"} | values
    return shop.insert("app_user", customer_id=customer, **values)


def member(shop: Shop, role: str = "owner", org: UUID | None = None, account: UUID | None = None, **user: Any) -> UUID:
    """A new user with a role in an org, or in the whole of the customer."""
    id = new_user(shop, role, **user)
    join(shop, id, role, org, account)
    return id


def join(shop: Shop, user: UUID, role: str = "owner", org: UUID | None = None, account: UUID | None = None) -> UUID:
    """One more membership."""
    if org is not None:
        account = shop.value("SELECT tenant_customer_id FROM org WHERE id = %s", org)
    return shop.insert("membership", user_id=user, tenant_customer_id=account or shop.account, org_id=org, role=role)


@contextmanager
def asking(shop: Shop, user: UUID | None, account: UUID | None = None, org: UUID | None = None) -> Iterator[None]:
    """What is done inside is asked by a user through the API, for one account or org if they are given."""
    with acting_as(
        shop.connection, "provision_api", caller_user=user, caller_customer=account, caller_org=org, caller="somebody"
    ):
        yield


def do(shop: Shop, function: LiteralString, *arguments: Any) -> Any:
    """Calls a function; dicts are passed as JSON."""
    places = ", ".join(["%s"] * len(arguments))
    given = [Jsonb(value) if isinstance(value, dict) else value for value in arguments]
    return shop.value(f"SELECT {function}({places})", *given)


def membership_of(shop: Shop, user: UUID, org: UUID | None = None) -> UUID:
    """The membership of a user in an org, or in the customer."""
    id: UUID = shop.value(
        "SELECT id FROM membership WHERE user_id = %s AND org_id IS NOT DISTINCT FROM %s ORDER BY id DESC LIMIT 1",
        user,
        org,
    )
    return id


def at_once(connect_as: ConnectAs, count: int, act: Callable[[psycopg.Connection, int], Any]) -> list[Any]:
    """What comes of `count` sessions that do something at the same moment: results, or the SQLSTATE of the error."""
    sessions = [connect_as(None) for _ in range(count)]
    gate = threading.Barrier(count)

    def one(number: int) -> Any:
        gate.wait(20)
        try:
            return act(sessions[number], number)
        except psycopg.Error as error:
            return error.sqlstate

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(one, range(count)))
