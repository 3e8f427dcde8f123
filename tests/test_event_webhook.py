"""Webhooks: each event arrives, in order and signed, at a public server, or is a dead letter that can be sent again."""

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
import trustme
from provision_worker.actions import default_actions, event
from provision_worker.providers import address, webhook
from provision_worker.providers.address import is_public
from psycopg.types.json import Jsonb

from . import api_fixtures, sql_fixtures, worker_fixtures
from .api_fixtures import Api, make_customer
from .sql_fixtures import Json, Shop, acting_as, refused
from .worker_fixtures import Engine, eventually

make_api = api_fixtures.make_api
api = api_fixtures.api
engine = worker_fixtures.engine
shop = sql_fixtures.shop

Behave = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Notes what it is sent, and behaves as it was told, by default well."""

    server: "Receiver"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.path, dict(self.headers), body))
        behave = self.server.behaviours.pop(0) if self.server.behaviours else self.server.otherwise
        behave(self)

    def answer(self, status: int, **headers: str) -> None:
        """The head of an answer."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing."""


class Receiver(ThreadingHTTPServer):
    """A customer's server."""

    daemon_threads = True

    def __init__(self, certificate: trustme.LeafCert | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.received: list[tuple[str, dict[str, str], bytes]] = []
        self.behaviours: list[Behave] = []
        self.otherwise: Behave = well
        self.over = threading.Event()
        self.scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            certificate.configure_cert(context)
            self.socket = context.wrap_socket(self.socket, server_side=True)
            self.scheme = "https"

    @property
    def url(self) -> str:
        """Where it takes events."""
        return f"{self.scheme}://localhost:{self.server_port}/hook?shop=1"

    def events(self) -> list[Json]:
        """What it was sent."""
        return [json.loads(body) for _, _, body in list(self.received)]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who cuts connections has errors."""


def well(handler: Handler) -> None:
    handler.answer(204)


def badly(handler: Handler) -> None:
    handler.answer(500)


def elsewhere(handler: Handler) -> None:
    handler.answer(302, Location="/elsewhere")


def cut(handler: Handler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


def never(handler: Handler) -> None:
    handler.server.over.wait(20)


def slow_head(handler: Handler) -> None:
    """A byte now and then, so that no read ever times out."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    while not handler.server.over.wait(0.05):
        handler.wfile.write(b"x")


def slow_body(handler: Handler) -> None:
    handler.answer(200, Content_Length="1000000")
    while not handler.server.over.wait(0.05):
        handler.wfile.write(b"x")


def nonsense(handler: Handler) -> None:
    handler.wfile.write(b"220 mail.example.net ESMTP\r\n")


@contextmanager
def receiving(certificate: trustme.LeafCert | None = None) -> Iterator[Receiver]:
    with Receiver(certificate) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


# Delivery -------------------------------------------------------------------------------------------------------------


class Hook:
    """A webhook of a customer, and what happens there."""

    def __init__(self, engine: Engine, url: str, account: UUID | None = None, **changes: Any) -> None:
        self.engine = engine
        self.account = account or make_customer(engine.owner, "acme").account
        with engine.owner.transaction(), acting_as(engine.owner, "provision_api", caller_customer=self.account):
            made = engine.row("SELECT * FROM webhook_create(%s)", Jsonb({"url": url, "types": ["host.*"]} | changes))
        self.id: UUID = made["id"]
        self.secret: str = made["secret"]

    def happen(self, count: int = 1, table: str = "host") -> None:
        """Events, in transactions of their own."""
        for _ in range(count):
            self.engine.owner.execute(
                "INSERT INTO audit_trail_log (table_name, row_id, tenant_customer_id, operation)"
                " VALUES (%s, new_id(), %s, 'insert')",
                (table, self.account),
            )

    def happened(self, table: str = "host") -> list[str]:
        """What the events are about, in order."""
        query = "SELECT row_id::text AS id FROM audit_trail_log WHERE table_name = %s ORDER BY id"
        return [row["id"] for row in self.engine.rows(query, table)]

    def row(self) -> Json:
        """The webhook as it is seen."""
        return self.engine.row("SELECT * FROM v_webhook WHERE id = %s", self.id)


MakeHook = Callable[..., Hook]


@pytest.fixture
def make_hook(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> MakeHook:
    """Makes a webhook where private addresses are allowed, and retries come soon."""
    monkeypatch.setattr(address, "TOTAL_SECONDS", 0.5)
    changes = {"webhook_private": "true", "retry_base_seconds": "0.01", "webhook_attempts": "3"}
    for name, setting in changes.items():
        engine.owner.execute("UPDATE setting SET value = %s WHERE name = %s", (setting, name))
    return lambda url, **changes: Hook(engine, url, **changes)


def subjects(receiver: Receiver) -> list[str]:
    return [event["subject"]["id"] for event in receiver.events()]


def test_events_arrive_in_order_and_signed(engine: Engine, make_hook: MakeHook, receiver: Receiver) -> None:
    hook = make_hook(receiver.url)
    with engine.worker(default_actions()):
        hook.happen(120)
        eventually(lambda: len(receiver.received) >= 120, "120 deliveries", 45)
        hook.happen()
        eventually(lambda: len(receiver.received) >= 121, "one more", 45)
        eventually(lambda: hook.row()["delivered_date"])
    assert subjects(receiver) == hook.happened()
    path, headers, body = receiver.received[0]
    assert path == "/hook?shop=1"
    assert headers["Content-Type"] == "application/json"
    event = json.loads(body)
    assert (headers["Provision-Event"], headers["Provision-Event-Id"]) == ("host.created", event["id"])
    timestamp = int(headers["Provision-Signature"].split(",")[0].removeprefix("t="))
    assert headers["Provision-Signature"] == webhook.signature([hook.secret], body, timestamp)
    assert abs(time.time() - timestamp) < 60


def test_a_webhook_gets_the_types_it_wants_of_its_customer(
    engine: Engine, make_hook: MakeHook, receiver: Receiver
) -> None:
    hook = make_hook(receiver.url, types=["contact.*"])
    hook.happen(3)
    hook.happen(1, "contact")
    with engine.worker(default_actions()):
        eventually(lambda: receiver.received, "a delivery", 45)
        eventually(lambda: engine.value("SELECT NOT webhook_has_news(w, d.place) FROM webhook w, webhook_delivery d"))
    assert [event["type"] for event in receiver.events()] == ["contact.created"]


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (badly, "it answered 500"),
        (elsewhere, "it answered 302; redirects are not followed"),
        (cut, "it cannot be reached"),
        (never, "it did not answer within"),
        (slow_head, "it did not answer within"),
        (nonsense, "it cannot be reached"),
    ],
)
def test_an_event_that_is_not_taken_is_sent_again(
    engine: Engine, make_hook: MakeHook, receiver: Receiver, fault: Behave, says: str
) -> None:
    receiver.behaviours = [fault, fault]
    hook = make_hook(receiver.url)
    hook.happen(2)
    with engine.worker(default_actions()):
        eventually(lambda: len(receiver.received) == 4, "four attempts", 45)
        eventually(lambda: hook.row()["delivered_date"] and hook.row()["failures"] == 0)
    first, second = hook.happened()
    assert subjects(receiver) == [first, first, first, second]
    assert {path for path, _, _ in receiver.received} == {"/hook?shop=1"}
    assert says in engine.value("SELECT last_error FROM webhook_delivery")
    assert hook.row()["dead_letters"] == 0


def test_the_first_event_is_its_own(engine: Engine, make_hook: MakeHook, receiver: Receiver) -> None:
    hook = make_hook(receiver.url, types=["webhook.*"])
    with engine.worker(default_actions()):
        eventually(lambda: receiver.received, "a delivery", 45)
    event = receiver.events()[0]
    assert (event["type"], event["subject"]) == ("webhook.created", {"table": "webhook", "id": str(hook.id)})


def test_of_an_answer_only_the_head_is_read(engine: Engine, make_hook: MakeHook, receiver: Receiver) -> None:
    receiver.otherwise = slow_body
    hook = make_hook(receiver.url)
    hook.happen(2)
    with engine.worker(default_actions()):
        eventually(lambda: len(receiver.received) == 2 and hook.row()["delivered_date"], "both", 45)
    assert subjects(receiver) == hook.happened()


def test_what_is_never_taken_becomes_a_dead_letter_and_the_stream_goes_on(
    engine: Engine, make_hook: MakeHook, receiver: Receiver
) -> None:
    receiver.behaviours = [badly] * 3
    hook = make_hook(receiver.url)
    hook.happen(2)
    with engine.worker(default_actions()):
        eventually(lambda: len(receiver.received) == 4, "four attempts", 45)
        eventually(lambda: hook.row()["dead_letters"] == 1)
        dead, taken = hook.happened()
        assert subjects(receiver) == [dead, dead, dead, taken]
        letter = engine.row("SELECT event, attempts, reason FROM v_webhook_dead_letter")
        assert (letter["event"]["subject"]["id"], letter["attempts"], letter["reason"]) == (dead, 3, "it answered 500")
        attention = engine.row("SELECT what, reason, call FROM v_attention WHERE what = 'dead letters'")
        assert attention["reason"] == f"1 events were not taken by {receiver.url}: it answered 500"

        receiver.behaviours = [badly]
        engine.value("SELECT webhook_redeliver(%s)", hook.id)
        eventually(lambda: engine.value("SELECT attempts = 4 AND requested_date IS NULL FROM v_webhook_dead_letter"))
        engine.value(attention["call"])
        eventually(lambda: hook.row()["dead_letters"] == 0)
    assert subjects(receiver)[4:] == [dead, dead]


def test_a_webhook_that_fails_needs_attention(engine: Engine, make_hook: MakeHook, receiver: Receiver) -> None:
    receiver.otherwise = badly
    hook = make_hook(receiver.url)
    engine.owner.execute("UPDATE setting SET value = '100' WHERE name = 'webhook_attempts'")
    hook.happen()
    with engine.worker(default_actions()):
        reason = eventually(
            lambda: engine.value("SELECT reason FROM v_attention WHERE what = 'failing webhook'"), "it", 20
        )
    assert "it answered 500" in reason


def test_retry_after_is_heeded(engine: Engine, make_hook: MakeHook, receiver: Receiver) -> None:
    receiver.otherwise = lambda handler: handler.answer(503, Retry_After="600")
    hook = make_hook(receiver.url)
    hook.happen()
    with engine.worker(default_actions()):
        later = "SELECT next_attempt_date > engine_now() + interval '500 s' FROM v_job WHERE result_message IS NOT NULL"
        eventually(lambda: engine.value(later), "a long wait", 45)
    assert len(receiver.received) == 1


def test_while_it_is_not_active_nothing_is_sent_and_afterwards_all(
    engine: Engine, make_hook: MakeHook, receiver: Receiver
) -> None:
    hook = make_hook(receiver.url)
    engine.value("SELECT webhook_change(%s, '{\"is_active\": false}')", hook.id)
    hook.happen(2)
    with engine.worker(default_actions()):
        ran = engine.submit(type="reconcile")
        eventually(lambda: engine.value("SELECT attempts > 0 FROM job WHERE id = %s", ran))
        assert receiver.received == []
        engine.value("SELECT webhook_change(%s, '{\"is_active\": true}')", hook.id)
        eventually(lambda: len(receiver.received) == 2, "both", 45)
    assert subjects(receiver) == hook.happened()


def test_a_removed_webhook_leaves_nothing_behind(engine: Engine, make_hook: MakeHook, receiver: Receiver) -> None:
    hook = make_hook(receiver.url)
    hook.happen()
    with engine.worker(default_actions()):
        eventually(lambda: hook.row()["delivered_date"], "a delivery", 45)
        engine.value("SELECT webhook_remove(%s)", hook.id)

        def ended() -> bool:
            engine.owner.execute("UPDATE job_queue SET start_date = engine_now() WHERE start_date > engine_now()")
            return bool(engine.value("SELECT status = 'completed' FROM job"))

        eventually(ended, "its job to end", 45)
    assert engine.value("SELECT count(*) FROM webhook_secret") == 0


def test_slow_servers_take_only_some_of_a_workers_threads(
    engine: Engine, make_hook: MakeHook, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event, "SEATS", threading.BoundedSemaphore(1))
    monkeypatch.setattr(event, "BUSY_SECONDS", 0.05)
    monkeypatch.setattr(address, "TOTAL_SECONDS", 45)
    with receiving() as slow:
        slow.otherwise = never
        hook = make_hook(slow.url)
        hook.happen()
        with engine.worker(default_actions()):
            eventually(lambda: slow.received, "a delivery", 45)
            other = make_hook(receiver.url, account=make_customer(engine.owner, "other").account)
            other.happen()
            put_off = "SELECT started_date IS NOT NULL FROM job WHERE tenant_customer_id = %s"
            eventually(lambda: engine.value(put_off, other.account), "that the other is put off", 45)
            assert receiver.received == []
            slow.over.set()
            eventually(lambda: receiver.received, "the other's turn", 45)


def test_a_worker_that_has_lost_the_job_notes_nothing(engine: Engine, make_hook: MakeHook, receiver: Receiver) -> None:
    hook = make_hook(receiver.url)
    engine.value("SELECT engine_sweep(NULL)")
    job = engine.value("SELECT id FROM job")
    for call in ("webhook_delivered(%s, 1, %s, '0', NULL, true)", "webhook_failed(%s, 1, %s, '0', NULL, '{}', 'no')"):
        with refused(engine.owner, "PVF01"):
            engine.value(f"SELECT {call}", job, hook.id)


def test_both_secrets_sign_for_a_day(engine: Engine, make_hook: MakeHook, receiver: Receiver) -> None:
    hook = make_hook(receiver.url)
    new = engine.value("SELECT webhook_secret_rotate(%s)", hook.id)
    assert engine.value("SELECT secrets FROM webhook_take(%s)", hook.id) == [new, hook.secret]
    engine.value("SELECT clock_advance('25 hours')")
    assert engine.value("SELECT secrets FROM webhook_take(%s)", hook.id) == [new]
    assert webhook.signature([new, hook.secret], b"{}", 7).count("v1=") == 2


# TLS, and where not to send -------------------------------------------------------------------------------------------

EVENT: Json = {"id": "1-2-3", "type": "host.created"}


def test_it_speaks_tls_to_whom_the_certificate_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with receiving(authority.issue_cert("localhost")) as receiver:
        with pytest.raises(webhook.RefusedError, match="its certificate is not valid"):
            webhook.post(receiver.url, ["s"], EVENT, may_be_private=True)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        webhook.post(receiver.url, ["s"], EVENT, may_be_private=True)
    with (
        receiving(authority.issue_cert("elsewhere.example")) as receiver,
        pytest.raises(webhook.RefusedError, match="its certificate is not valid"),
    ):
        webhook.post(receiver.url, ["s"], EVENT, may_be_private=True)


def test_a_name_that_leads_inside_is_not_followed(receiver: Receiver) -> None:
    with pytest.raises(webhook.RefusedError, match=r"localhost is at .*, which is no public address"):
        webhook.post(receiver.url, ["s"], EVENT)
    assert receiver.received == []


def test_one_private_address_among_public_ones_is_one_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)) for address in ("9.9.9.9", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: found)
    with pytest.raises(webhook.RefusedError, match=r"10\.0\.0\.1, which is no public address"):
        webhook.post("https://example.com/", ["s"], EVENT)


INSIDE = """
    127.0.0.1 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1 255.255.255.255
    ::1 :: fe80::1 fe80::1%eth0 fc00::1 fd00:ec2::254 ff02::1
    ::ffff:127.0.0.1 64:ff9b::7f00:1 2002:7f00:1:: 2002:a9fe:a9fe::1
"""


@pytest.mark.parametrize("address", INSIDE.split())
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["9.9.9.9", "2620:fe::fe", "::ffff:9.9.9.9", "64:ff9b::909:909"])
def test_addresses_that_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "https://localhost/",
        "https://x.local/",
        "https://metadata.google.internal/",
        "https://x/",
        "ftp://example.com/",
        "https://",
        "https://user:pw@example.com/",
        "https://example.com/#x",
        "https://[::1]/",
        "https://exa mple.com/",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://example.com\\@x.com/",
        "https://example.com/" + "x" * 2000,
        "javascript:alert(1)",
        "https://2130706433/",
        "",
    ],
)
def test_urls_that_are_refused(shop: Shop, url: str) -> None:
    with refused(shop.connection, "PV422", "URL"):
        shop.value("SELECT webhook_url_check(%s)", url)


@pytest.mark.parametrize("url", ["https://example.com", "https://example.com:8443/a/b?c=d", "HTTPS://Example.com/x"])
def test_urls_that_are_accepted(shop: Shop, url: str) -> None:
    assert shop.value("SELECT webhook_url_check(%s)", url) == url


# Over HTTP ------------------------------------------------------------------------------------------------------------


def test_a_webhook_from_its_making_to_its_removal(api: Api) -> None:
    made = api.call("POST", "/v1/webhooks", json={"url": "https://example.com/hook", "types": ["order.*"]})
    assert made.status_code == 201, made.text
    path = made.headers["location"]
    secret = made.json()["secret"]
    assert secret.startswith("whsec_")
    shown = api.call("GET", path)
    assert shown.json() == {name: value for name, value in made.json().items() if name != "secret"}
    assert (shown.headers["etag"], made.headers["etag"]) == ('"1"', '"1"')

    assert api.call("PATCH", path, json={"types": []}).status_code == 428
    stale = {"If-Match": '"7"'}
    assert api.call("PATCH", path, json={"types": []}, headers=stale).json()["code"] == "PV412"
    assert api.call("PATCH", path, json={"types": []}, headers={"If-Match": '"0"'}).status_code == 412
    changed = api.call("PATCH", path, json={"types": [], "is_active": False}, headers={"If-Match": '"1"'})
    assert (changed.json()["types"], changed.json()["is_active"], changed.headers["etag"]) == ([], False, '"2"')
    assert [each["id"] for each in api.call("GET", "/v1/webhooks").json()["webhooks"]] == [made.json()["id"]]

    other = api.call("POST", f"{path}/secret").json()["secret"]
    assert other != secret
    log = str(api.owner.execute("SELECT array_agg(l::text) FROM audit_trail_log AS l").fetchall())
    assert ",webhook," in log
    assert secret not in log
    assert other not in log

    assert api.call("DELETE", path, headers=stale).status_code == 412
    assert api.call("DELETE", path, headers={"If-Match": '"2"'}).status_code == 204
    assert api.call("GET", path).status_code == 404


def test_dead_letters_are_seen_and_sent_again(api: Api) -> None:
    made = api.call("POST", "/v1/webhooks", json={"url": "https://example.com/hook"}).json()
    for number in range(2):
        api.owner.execute(
            "INSERT INTO webhook_dead_letter (webhook_id, tenant_customer_id, event, attempts, reason)"
            " VALUES (%s, %s, %s, 12, 'it answered 500')",
            (made["id"], api.customer.account, Jsonb({"id": str(number)})),
        )
    path = f"/v1/webhooks/{made['id']}"
    first, second = api.call("GET", f"{path}/dead-letters").json()["dead_letters"]
    assert (first["event"], first["attempts"], first["requested_date"]) == ({"id": "0"}, 12, None)
    one = api.call("POST", f"{path}/redeliver", json={"dead_letter": second["id"]})
    assert (one.status_code, one.json()) == (202, {"count": 1})
    assert api.call("POST", f"{path}/redeliver").json() == {"count": 2}
    assert api.call("POST", f"{path}/redeliver", json={"dead_letter": made["id"]}).status_code == 404


@pytest.mark.parametrize(
    ("method", "rest"),
    [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/secret"), ("GET", "/dead-letters"), ("POST", "/redeliver")],
)
def test_the_webhook_of_another_does_not_exist(api: Api, owner: psycopg.Connection, method: str, rest: str) -> None:
    made = api.call("POST", "/v1/webhooks", json={"url": "https://example.com/hook"}).json()
    other = make_customer(owner, "neighbour")
    headers = other.headers | {"If-Match": '"1"'}
    path = f"/v1/webhooks/{made['id']}{rest}"
    body = {"json": {"is_active": False}} if method == "PATCH" else {}
    assert api.call(method, path, headers=headers, **body).status_code == 404
    assert api.call("GET", "/v1/webhooks", headers=headers).json() == {"webhooks": []}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"url": 1}, 400),
        ({"url": "https://example.com", "types": ["order"]}, 400),
        ({"url": "https://example.com", "secret": "mine"}, 400),
        ({"url": "http://example.com"}, 422),
        ({"url": "https://127.0.0.1", "types": [None]}, 400),
    ],
)
def test_what_cannot_be_a_webhook_is_refused(api: Api, body: Json, status: int) -> None:
    assert api.call("POST", "/v1/webhooks", json=body).status_code == status


def test_there_is_an_end_to_webhooks(api: Api) -> None:
    answers = [api.call("POST", "/v1/webhooks", json={"url": "https://example.com"}).status_code for _ in range(21)]
    assert answers == [201] * 20 + [422]
