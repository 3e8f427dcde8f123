"""What the tests of log-ins share: an application, users with passwords, orgs, and a person at a client."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, LiteralString
from uuid import UUID, uuid4

import psycopg
import pytest
from argon2 import PasswordHasher
from httpx2 import Response
from provision_api import totp
from provision_api.app import make_app
from psycopg.rows import dict_row
from starlette.applications import Starlette
from starlette.testclient import TestClient

from .api_fixtures import make_customer, settings_for, value
from .conftest import Database

PASSWORD = "correct horse battery"
HASH = PasswordHasher(memory_cost=1024).hash(PASSWORD)


@dataclass(frozen=True)
class User:
    """A user of the installation, as the tests know them."""

    id: UUID
    username: str


class House:
    """An application over a database of the test's own, with a customer, two orgs of theirs, and users."""

    def __init__(self, app: Starlette, client: TestClient, owner: psycopg.Connection) -> None:
        self.app = app
        self.client = client
        self.owner = owner
        self.customer = make_customer(owner, "acme")
        self.account = self.customer.account
        self.org = self.make_org("north")
        self.other_org = self.make_org("south")
        self.jane = self.make_user("jane")
        self.join(self.jane, self.org)

    # Arranging

    def value(self, query: LiteralString, *parameters: object) -> Any:
        """The first column of the first row."""
        return value(self.owner, query, *parameters)

    def rows(self, query: LiteralString, *parameters: object) -> list[dict[str, Any]]:
        """All rows, by column."""
        return self.owner.cursor(row_factory=dict_row).execute(query, parameters).fetchall()

    def set(self, name: str, value: object) -> None:
        """Change a setting."""
        self.owner.execute("UPDATE setting SET value = %s WHERE name = %s", [str(value), name])

    def pass_time(self, interval: str) -> None:
        """Turn the clock forward."""
        self.owner.execute("SELECT clock_advance(%s)", [interval])

    def make_org(self, slug: str) -> UUID:
        """An org of the customer."""
        query: LiteralString = "INSERT INTO org (tenant_customer_id, slug) VALUES (%s, %s) RETURNING id"
        id: UUID = self.value(query, self.account, slug)
        return id

    def make_user(self, username: str, **columns: Any) -> User:
        """A user with the password, who is verified."""
        id: UUID = self.value(
            "INSERT INTO app_user (username, email, name, verified_date)"
            " VALUES (%s, %s, %s, engine_now()) RETURNING id",
            username,
            f"{username}@example.net",
            username.title(),
        )
        for name, given in columns.items():
            self.owner.execute(f"UPDATE app_user SET {name} = %s WHERE id = %s".encode(), [given, id])
        self.owner.execute(
            "INSERT INTO credential (user_id, kind, secret, confirmed_date) VALUES (%s, 'password', %s, engine_now())",
            [id, HASH],
        )
        return User(id, username)

    def join(self, user: User, org: UUID | None, role: str = "developer") -> UUID:
        """A membership in an org of the customer, or in the customer."""
        id: UUID = self.value(
            "INSERT INTO membership (user_id, tenant_customer_id, org_id, role, state)"
            " VALUES (%s, %s, %s, %s, 'active') RETURNING id",
            user.id,
            self.account,
            org,
            role,
        )
        return id

    def enrol(self, user: User) -> str:
        """A confirmed second factor; its key."""
        secret = totp.new_secret()
        self.owner.execute(
            "INSERT INTO credential (user_id, kind, secret, confirmed_date) VALUES (%s, 'totp', %s, engine_now())",
            [user.id, secret],
        )
        return secret

    def code(self, secret: str, steps: int = 0) -> str:
        """The code of now, or some steps from now."""
        now = self.value("SELECT extract(EPOCH FROM engine_now())")
        return totp.code_at(secret, int(now) // totp.STEP_SECONDS + steps)

    def audit(self, user: User) -> list[str]:
        """What the audit trail says of a user, in order."""
        query: LiteralString = "SELECT reason FROM audit_trail_log WHERE row_id = %s AND reason IS NOT NULL ORDER BY id"
        return [row["reason"] for row in self.rows(query, user.id)]

    # Acting

    def post(self, path: str, body: Any = None, token: str | None = None, **headers: str) -> Response:
        """POST with a JSON body, as the holder of a token."""
        return self.call("POST", path, token, json={} if body is None else body, headers=headers)

    def call(self, method: str, path: str, token: str | None = None, **options: Any) -> Response:
        """One request."""
        headers = options.pop("headers", {}) | ({"Authorization": f"Bearer {token}"} if token else {})
        return self.client.request(method, path, headers=headers, **options)

    def try_log_in(self, username: str = "jane", password: str = PASSWORD, **more: Any) -> Response:
        """POST /v1/sessions."""
        return self.post("/v1/sessions", {"username": username, "password": password} | more)

    def log_in(self, username: str = "jane", **more: Any) -> dict[str, Any]:
        """The tokens of a log-in that succeeds."""
        answer = self.try_log_in(username, **more)
        assert answer.status_code == 201, answer.text
        tokens: dict[str, Any] = answer.json()
        return tokens

    def refresh(self, token: str) -> Response:
        """POST /v1/sessions/refresh."""
        return self.post("/v1/sessions/refresh", {"refresh_token": token})

    def me(self, token: str, **headers: str) -> int:
        """The status that GET /v1/me answers."""
        return self.call("GET", "/v1/me", token, headers=headers).status_code


def new_name() -> str:
    """A username that nobody has."""
    return f"user-{uuid4().hex[:8]}"


@pytest.fixture
def house(database: Database, owner: psycopg.Connection) -> Iterator[House]:
    """The application and its users."""
    app = make_app(settings_for(database.url))
    with TestClient(app) as client:
        yield House(app, client, owner)
