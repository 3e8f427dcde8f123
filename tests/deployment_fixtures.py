"""What the tests of deployments share: an API at whose root an admin has made an organization, and a worker.

A database and its API are there once per module, and each test has an organization of its own in it (`site`); a test
that counts what all organizations have, or claims jobs that may be anybody's, has a database of its own (`lone_site`).
"""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from httpx2 import Response
from provision_api.app import make_app
from provision_worker.actions import default_actions
from starlette.testclient import TestClient

from provision.database import connect

from .api_fixtures import settings_for
from .conftest import _clone
from .worker_fixtures import Engine, eventually

PASSWORD = "correct horse battery"
Json = dict[str, Any]
SETTLED = """
SELECT NOT EXISTS (SELECT FROM v_compute_cluster WHERE org_id = %s AND NOT is_decided)
    AND NOT EXISTS (SELECT FROM v_deployment WHERE org_id = %s AND state = 'starting')
"""


class User:
    """Somebody at a client, with a token."""

    def __init__(self, client: TestClient, username: str, token: str) -> None:
        self.client = client
        self.username = username
        self.token = token

    def call(self, method: str, path: str, **options: Any) -> Response:
        """One request."""
        headers = options.pop("headers", {}) | {"Authorization": f"Bearer {self.token}"}
        return self.client.request(method, path, headers=headers, **options)

    def post(self, path: str, **body: Any) -> Response:
        """POST with a JSON body."""
        return self.call("POST", path, json=body)

    def done(self, path: str, **body: Any) -> Json:
        """The answer to a POST that succeeds."""
        answer = self.post(path, **body)
        assert answer.status_code in (200, 201), answer.text
        document: Json = answer.json()
        return document

    def cluster(self, name: str = "c", size: tuple[int, int, int] = (10, 10, 10), **more: Any) -> int:
        """A new cluster; its id."""
        totals = dict(zip(("total_cpu", "total_ram", "total_gpu"), size, strict=True))
        number: int = self.done("/create_cluster", name=name, **totals, **more)["id"]
        return number

    def try_deploy(self, name: str, demand: tuple[Any, Any, Any] = (1, 1, 1), **more: Any) -> Response:
        """POST /create_deployment."""
        body = dict(zip(("cpu", "ram", "gpu"), demand, strict=True))
        known = {"priority": "LOW", "docker_path": "nginx:1.27", "cluster_name": "c"}
        return self.post("/create_deployment", name=name, **(known | body | more))

    def deploy(self, name: str, demand: tuple[int, int, int] = (1, 1, 1), **more: Any) -> Json:
        """A new deployment."""
        answer = self.try_deploy(name, demand, **more)
        assert answer.status_code == 201, answer.text
        document: Json = answer.json()
        return document

    def deployments(self) -> dict[str, Json]:
        """All deployments, by name."""
        return {one["name"]: one for one in self.call("GET", "/deployments").json()}

    def states(self) -> dict[str, str]:
        """How far each is."""
        return {name: one["status"] for name, one in self.deployments().items()}

    def seen(self, number: int) -> Json:
        """One deployment."""
        answer = self.call("GET", f"/deployments/{number}")
        assert answer.status_code == 200, answer.text
        document: Json = answer.json()
        return document

    def allocated(self, name: str = "c") -> tuple[int, int, int]:
        """What is in use of a cluster."""
        (one,) = (one for one in self.call("GET", "/clusters").json() if one["name"] == name)
        return one["allocated_cpu"], one["allocated_ram"], one["allocated_gpu"]


@dataclass
class Home:
    """An API and its database."""

    client: TestClient
    engine: Engine
    admin: User | None = None
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))


class Site:
    """An organization that the admin has made, and whoever joins it."""

    def __init__(self, home: Home) -> None:
        self.client = home.client
        self.engine = home.engine
        self._number = next(home.numbers)
        if home.admin is None:
            self.engine.owner.execute("UPDATE setting SET value = '1' WHERE name = 'allow_first_admin'")
            home.admin = self.user("admin")
        self.admin = home.admin
        self.organization = self._of_this_test("Acme")
        self.code: str = self.admin.done("/create_organization", name=self.organization)["invite_code"]
        self.org: UUID = self.engine.value("SELECT id FROM org WHERE name = %s", self.organization)
        self.slug: str = self.engine.value("SELECT slug FROM org WHERE id = %s", self.org)

    def _of_this_test(self, name: str) -> str:
        return name if self._number == 1 else f"{name}{self._number}"

    def user(self, username: str) -> User:
        """A new user, logged in."""
        body = {"username": self._of_this_test(username), "password": PASSWORD}
        answer = self.client.post("/register", json=body)
        assert answer.status_code == 201, answer.text
        return User(self.client, body["username"], self.client.post("/login", json=body).json()["token"])

    def member(self, username: str, role: str | None = None) -> User:
        """A new user who has joined the organization."""
        user = self.user(username)
        if role:
            self.admin.done("/update_role", user_id=self.number(user), role=role)
        user.done("/join_organization", invite_code=self.code)
        return user

    def number(self, user: User) -> int:
        """The id of a user."""
        number: int = self.engine.value("SELECT number FROM app_user WHERE username = %s", user.username)
        return number

    def attention(self) -> list[str]:
        """Why something of the organization needs a person."""
        rows = self.engine.rows(
            "SELECT a.reason FROM v_attention AS a WHERE EXISTS ("
            "SELECT FROM class.provision AS p WHERE p.org_id = %s AND a.id IN (p.id, p.job_id))",
            self.org,
        )
        return [row["reason"] for row in rows]

    @contextmanager
    def working(self, **settings: Any) -> Iterator[None]:
        """A worker is there, until all that it can do is done."""
        with self.engine.worker(default_actions(), **settings):
            yield
            self.settle()

    def settle(self) -> None:
        """Wait until the worker has decided about all that waits, and what was begun runs."""
        eventually(lambda: self.engine.value(SETTLED, self.org, self.org), "a decision")

    def pass_time(self, seconds: float) -> None:
        """Turn the clock forward; first settle what is to begin before that."""
        self.settle()
        self.engine.owner.execute("SELECT clock_advance(make_interval(secs => %s))", [seconds])

    def until(self, user: User, name: str, state: str) -> Json:
        """The deployment, once it is that far."""
        eventually(lambda: user.states()[name] == state, f"{name} {state}")
        return user.seen(user.deployments()[name]["id"])


@contextmanager
def at_home(server_url: str, template: str) -> Iterator[Home]:
    """A new database with an API."""
    with _clone(server_url, template) as clone, connect(clone.url, "tests", autocommit=True) as owner:
        settings = settings_for(clone.url, rate_per_caller=0, rate_per_address=0)
        with TestClient(make_app(settings)) as client:
            yield Home(client, Engine(clone, owner))


@pytest.fixture(scope="module")
def home(server_url: str, template: str) -> Iterator[Home]:
    """The database and the API of a module."""
    with at_home(server_url, template) as home:
        yield home


@pytest.fixture
def site(home: Home) -> Site:
    """An organization of the test's own, and no worker yet."""
    return Site(home)


@pytest.fixture
def lone_site(server_url: str, template: str) -> Iterator[Site]:
    """The only organization of a database."""
    with at_home(server_url, template) as home:
        yield Site(home)


@pytest.fixture(scope="module")
def strict_site(server_url: str, template: str) -> Iterator[Site]:
    """One with a cluster, shared by the tests of a module in which everything is refused."""
    with at_home(server_url, template) as home:
        site = Site(home)
        with site.working():
            site.admin.cluster()
        yield site
        assert site.engine.value("SELECT count(*) FROM deployment") == 0
