"""`GET /v1/events`: a client that comes again with the last id misses nothing, and none is in the way of others."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx2
import psycopg
import pytest
from provision_api import event as event_module

from . import api_fixtures
from .api_fixtures import Api, Customer, MakeApi, Served, make_customer, serving, settings_for
from .conftest import Database
from .worker_fixtures import eventually

make_api = api_fixtures.make_api
api = api_fixtures.api


class Event(NamedTuple):
    """What a client makes of the lines of one event."""

    id: str
    type: str
    data: dict[str, Any]


class Following:
    """An open stream, as a browser's EventSource reads it."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self.last_id = ""
        self.comments = 0
        self._lines = response.iter_lines()

    def blocks(self) -> Iterator[dict[str, str]]:
        fields: dict[str, str] = {}
        for line in self._lines:
            if line:
                name, _, value = line.partition(":")
                fields[name] = value.strip()
                continue
            self.last_id = fields.get("id", self.last_id)
            self.comments += "" in fields
            yield fields
            fields = {}

    def next(self, count: int) -> list[Event]:
        """So many events."""
        found: list[Event] = []
        for fields in self.blocks():
            if "data" in fields:
                found.append(Event(fields["id"], fields["event"], json.loads(fields["data"])))
            if len(found) == count:
                return found
        return found

    def begun(self) -> "Following":
        """The stream, when it has said where it begins."""
        next(self.blocks())
        return self


@contextmanager
def follow(served: Served, customer: Customer, query: str = "", **headers: str) -> Iterator[Following]:
    url = f"{served.url}/v1/events{query}"
    with httpx2.stream("GET", url, headers=customer.headers | headers, timeout=10) as response:
        assert response.status_code == 200, response.read()
        following = Following(response).begun()  # what nobody holds is closed
        yield following


@pytest.fixture
def customer(owner: psycopg.Connection) -> Customer:
    return make_customer(owner, "acme")


@pytest.fixture
def served(database: Database) -> Iterator[Served]:
    with serving(settings_for(database.url)) as served:
        yield served


def happen(owner: psycopg.Connection, customer: Customer, count: int = 1) -> None:
    """Events, in transactions of their own."""
    for _ in range(count):
        owner.execute(
            "INSERT INTO audit_trail_log (table_name, row_id, tenant_customer_id, operation)"
            " VALUES ('host', new_id(), %s, 'insert')",
            (customer.account,),
        )


def test_what_happens_is_sent_as_it_happens(owner: psycopg.Connection, served: Served, customer: Customer) -> None:
    happen(owner, customer)
    item = {"operation": "host.create", "data": {"name": "ns1.example.net"}}
    body = {"items": [item], "external_reference": "4711"}
    with follow(served, customer) as stream:
        assert stream.response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert stream.response.headers["cache-control"] == "no-store"
        order = httpx2.post(f"{served.url}/v1/orders", headers=customer.headers, json=body).json()
        first, second = stream.next(2)
    assert (first.type, first.data["subject"]["id"]) == ("order.created", order["id"])
    assert (second.type, second.data["external_reference"]) == ("host.processing", "4711")
    assert first.data["id"] == first.id


def test_a_client_that_comes_again_gets_what_it_has_missed_and_no_more(
    owner: psycopg.Connection, served: Served, customer: Customer
) -> None:
    happen(owner, customer, 3)
    with follow(served, customer, "?after=0&types=host.*") as stream:
        seen = stream.next(2)
    happen(owner, customer, 250)
    with follow(served, customer, "?after=0&types=host.*", **{"Last-Event-ID": stream.last_id}) as stream:
        seen += stream.next(251)
        happen(owner, customer)
        seen += stream.next(1)
    numbers = [
        row[0]
        for row in owner.execute("SELECT row_id::text FROM audit_trail_log WHERE table_name = 'host' ORDER BY id")
    ]
    assert [event.data["subject"]["id"] for event in seen] == numbers


def test_a_stream_is_of_one_customer_and_of_the_types_asked_for(
    owner: psycopg.Connection, served: Served, customer: Customer
) -> None:
    happen(owner, make_customer(owner, "neighbour"), 5)
    owner.execute(
        "INSERT INTO audit_trail_log (table_name, row_id, tenant_customer_id, operation)"
        " VALUES ('contact', new_id(), %s, 'insert')",
        (customer.account,),
    )
    happen(owner, customer)
    with follow(served, customer, "?after=0&types=order.*,host.created") as stream:
        (event,) = stream.next(1)
    assert (event.type, event.data["tenant_customer_id"]) == ("host.created", str(customer.account))


def test_a_quiet_stream_says_that_it_lives_and_where_it_is(
    owner: psycopg.Connection, served: Served, customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_module, "HEARTBEAT_SECONDS", 0.05)
    with follow(served, customer, "?after=0&types=order.created") as stream:
        before = stream.last_id
        happen(owner, customer)
        for _ in stream.blocks():
            if stream.last_id != before:
                break
    assert stream.comments
    with follow(served, customer, **{"Last-Event-ID": stream.last_id}) as stream:
        happen(owner, customer)
        assert len(stream.next(1)) == 1


def test_a_stream_ends_with_its_key(
    owner: psycopg.Connection, served: Served, customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_module, "HEARTBEAT_SECONDS", 0.05)
    with follow(served, customer, "?types=host.*") as stream:
        owner.execute("UPDATE api_key SET revoked_date = now()")
        assert stream.next(1) == []


def test_streams_end_when_the_server_stops(database: Database, customer: Customer) -> None:
    with serving(settings_for(database.url)) as served, follow(served, customer) as stream:
        started = time.monotonic()
        served.server.should_exit = True
        assert stream.next(1) == []
    assert time.monotonic() - started < 5


# In nobody's way ------------------------------------------------------------------------------------------------------


def status(served: Served, customer: Customer) -> int:
    """How a stream begins."""
    with httpx2.stream("GET", f"{served.url}/v1/events", headers=customer.headers) as response:
        return response.status_code


def unread(served: Served, customer: Customer) -> socket.socket:
    """A client that asks for all there is and reads nothing of it."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", served.port))
    lines = ["GET /v1/events?after=0 HTTP/1.1", "Host: x", f"Authorization: Token {customer.key}", "", ""]
    client.sendall("\r\n".join(lines).encode())
    return client


def test_a_client_that_reads_nothing_holds_no_connection_and_loses_its_seat(
    database: Database, owner: psycopg.Connection, customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_module, "WRITE_SECONDS", 0.5)
    owner.execute(
        "INSERT INTO audit_trail_log (table_name, row_id, tenant_customer_id, operation)"
        " SELECT 'host', new_id(), %s, 'insert' FROM generate_series(1, 30000)",
        (customer.account,),
    )
    settings = settings_for(database.url, api_pool_size=1, api_stream_limit=1)
    with serving(settings) as served, unread(served, customer):
        eventually(lambda: status(served, customer) == 503, "a client in the only seat")
        assert httpx2.get(f"{served.url}/v1/orders", headers=customer.headers).status_code == 200
        eventually(lambda: status(served, customer) == 200, "a free seat", 60)


def test_streams_are_counted_for_each_customer_and_in_all(
    database: Database, owner: psycopg.Connection, customer: Customer
) -> None:
    one, other = make_customer(owner, "one"), make_customer(owner, "other")
    settings = settings_for(database.url, api_stream_limit=2, api_stream_limit_each=1)
    with serving(settings) as served, follow(served, customer):
        refused = httpx2.get(f"{served.url}/v1/events", headers=customer.headers)
        assert (refused.status_code, refused.json()["title"]) == (429, "too many streams are open")
        assert refused.headers["retry-after"]
        with follow(served, one):
            assert httpx2.get(f"{served.url}/v1/events", headers=other.headers).status_code == 503
        eventually(lambda: status(served, other) == 200, "a free seat")


# What is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("?after=yesterday", "there is no such place among the events"),
        ("?types=order", "the query is not of the expected shape"),
        ("?types=", "the query is not of the expected shape"),
        ("?since=1", "the query is not of the expected shape"),
        (f"?after={'9' * 61}", "the query is not of the expected shape"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_cannot_be_is_refused_before_a_stream_begins(api: Api, query: str, says: str, method: str) -> None:
    response = api.call(method, f"/v1/events{query}")
    assert response.status_code == 400
    if method == "GET":
        assert response.json()["title"] == says


def test_without_a_key_there_is_no_stream(api: Api) -> None:
    assert api.client.get("/v1/events").status_code == 401


def test_the_headers_can_be_asked_for_alone(api: Api) -> None:
    response = api.call("HEAD", "/v1/events")
    assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert api.call("OPTIONS", "/v1/events").headers["allow"] == "GET, HEAD, OPTIONS"
    assert api.call("POST", "/v1/events").status_code == 405


def test_the_stream_is_described(make_api: MakeApi) -> None:
    described = make_api().app.state.openapi["paths"]["/v1/events"]["get"]
    assert set(described["responses"]["200"]["content"]) == {"text/event-stream"}
    assert {each["name"] for each in described["parameters"]} == {"after", "types", "Last-Event-ID"}
