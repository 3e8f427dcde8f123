"""What the tests of the API share: customers with keys, clients in process, and a server on a socket."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, LiteralString
from uuid import UUID

import psycopg
import pytest
from httpx2 import Response
from provision_api.app import make_app
from provision_api.server import Protocol, Server, listen
from starlette.applications import Starlette
from starlette.testclient import TestClient

from provision.database import connect, url_as
from provision.settings import Settings

from .conftest import Database, _clone


def settings_for(url: str, **changes: Any) -> Settings:
    """Settings of an API on the database that a superuser reaches by this URL."""
    return Settings.model_validate(
        {"api_database_url": url_as(url, "provision_api"), "password_memory_kib": 1024, "log_level": "error"} | changes
    )


@dataclass(frozen=True)
class Customer:
    """A customer's account and its API key."""

    account: UUID
    key: str

    @property
    def headers(self) -> dict[str, str]:
        """What says who is calling."""
        return {"Authorization": f"Token {self.key}"}


def value(connection: psycopg.Connection, query: LiteralString, *parameters: object) -> Any:
    """The first column of the first row."""
    row = connection.execute(query, parameters).fetchone()
    return row[0] if row else None


def make_customer(owner: psycopg.Connection, name: str) -> Customer:
    """A customer of a tenant of its own, at which people do everything by hand."""
    tenant = value(owner, "INSERT INTO tenant (name) VALUES (%s) RETURNING id", f"{name} tenant")
    owner.execute("INSERT INTO accreditation (tenant_id, name, provider) VALUES (%s, 'desk', 'manual')", (tenant,))
    customer = value(
        owner, "INSERT INTO customer (name, email) VALUES (%s, %s) RETURNING id", name, f"{name}@example.net"
    )
    account = value(
        owner,
        "INSERT INTO tenant_customer (tenant_id, customer_id) VALUES (%s, %s) RETURNING id",
        tenant,
        customer,
    )
    return Customer(account, value(owner, "SELECT api_key_create(%s, 'shop')", account))


def host(name: str = "ns1.example.net") -> dict[str, Any]:
    """An item that orders a name server."""
    return {"operation": "host.create", "data": {"name": name}}


class Api:
    """An application over a database of the test's own, as one customer calls it."""

    def __init__(self, app: Starlette, client: TestClient, owner: psycopg.Connection, customer: Customer) -> None:
        self.app = app
        self.client = client
        self.owner = owner
        self.customer = customer

    def call(self, method: str, path: str, **options: Any) -> Response:
        """One request with the customer's key, which `headers` may replace."""
        headers = self.customer.headers | options.pop("headers", {})
        return self.client.request(method, path, headers=headers, **options)

    def order(self, *items: dict[str, Any], headers: dict[str, str] | None = None, **options: Any) -> Response:
        """POST /v1/orders."""
        body = {"items": list(items) or [host()]} | options
        return self.call("POST", "/v1/orders", json=body, headers=headers or {})

    def finish(self, order: str) -> None:
        """The people at the desk do what the order asks for."""
        self.owner.execute(
            'SELECT job_complete(v.job_id, \'{"roid": "H1-TEST"}\') FROM v_order_item_plan AS p'
            " JOIN v_provision AS v ON v.id = p.provision_id WHERE p.order_id = %s",
            (order,),
        )

    def count(self) -> int:
        """How many orders are stored."""
        number: int = value(self.owner, 'SELECT count(*) FROM "order"')
        return number


MakeApi = Callable[..., Api]


@pytest.fixture
def make_api(database: Database, owner: psycopg.Connection) -> Iterator[MakeApi]:
    """Makes applications with settings of their own; they end with the test."""
    with ExitStack() as opened:

        def make(customer: Customer | None = None, **settings: Any) -> Api:
            app = make_app(settings_for(database.url, **settings))
            client = opened.enter_context(TestClient(app))
            return Api(app, client, owner, customer or make_customer(owner, "acme"))

        yield make


@pytest.fixture
def api(make_api: MakeApi) -> Api:
    """An application as the customer acme calls it."""
    return make_api()


@pytest.fixture(scope="module")
def strict_api(server_url: str, template: str) -> Iterator[Api]:
    """An application that the tests of a module share: those in which everything is refused and nothing stored."""
    with _clone(server_url, template) as clone, connect(clone.url, "tests", autocommit=True) as owner:
        app = make_app(settings_for(clone.url))
        with TestClient(app) as client:
            yield Api(app, client, owner, make_customer(owner, "acme"))
        assert value(owner, 'SELECT count(*) FROM "order"') == 0


@dataclass(frozen=True)
class Served:
    """A server on a socket of the loopback."""

    server: Server
    port: int

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def serving(settings: Settings, protocol: type[Protocol] = Protocol, app: Starlette | None = None) -> Iterator[Served]:
    """A server in a thread; stopped as SIGTERM would stop it."""
    socket = listen("127.0.0.1", 0)
    server = Server(app or make_app(settings), settings, protocol=protocol)
    thread = threading.Thread(target=server.run, args=([socket],), name="api")
    port = socket.getsockname()[1]
    thread.start()
    try:
        yield Served(server, port)
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive(), "the server did not stop"
