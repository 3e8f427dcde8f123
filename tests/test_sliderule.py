"""The real `sliderule` 4.20.0, unmodified, against `provision api` over TLS, with what `provision admin example` makes.

The client asks `ps.<domain>` for nodes and `<org>.<domain>` how many there are. The latter is the cluster's load
balancer; here a small server on another address of the loopback answers for it, with what the database says that runs.
"""

import importlib
import json
import logging
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
import trustme
from click.testing import CliRunner
from provision_api.example import example_command

from . import session_fixtures
from .api_fixtures import serving, settings_for, value
from .conftest import Database
from .session_fixtures import House
from .test_cluster_api import Town

pytestmark = pytest.mark.clients

house = session_fixtures.house
DOMAIN = "sr.test"
OURS, THEIRS = "127.0.0.1", "127.0.0.2"
LOOK_UP = socket.getaddrinfo


class Balancer:
    """What answers at `<org>.<domain>`: how many nodes run. `deploy` is called before each answer."""

    def __init__(self, port: int, context: ssl.SSLContext, count: Callable[[], int]) -> None:
        self.tokens: list[str] = []
        tokens = self.tokens

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                tokens.append(self.headers["Authorization"])
                body = json.dumps({"nodes": count()}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer((THEIRS, port), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.thread = threading.Thread(target=self.server.serve_forever, name="balancer")

    @contextmanager
    def serving(self) -> Iterator["Balancer"]:
        self.thread.start()
        try:
            yield self
        finally:
            self.server.shutdown()
            self.server.server_close()
            self.thread.join(10)


class Visitor:
    """A user of the real client, and what there is at the other end."""

    def __init__(
        self, module: Any, port: int, example: dict[str, Any], owner: psycopg.Connection, balancer: Balancer
    ) -> None:
        self._module = module
        self.domain = f"{DOMAIN}:{port}"
        self.example = example
        self.owner = owner
        self.balancer = balancer
        self.member = example["members"][0]

    def session(self, **options: Any) -> Any:
        """A session that nobody has logged in to."""
        return self._module.Session(self.domain, organization=None, trust_env=True, **options)

    def logged_in(self, **options: Any) -> Any:
        """A session of a member."""
        session = self.session(**options)
        assert session.authenticate(self.example["org"], self.member["username"], self.member["password"])
        return session

    def requests(self) -> list[tuple[int, int]]:
        """Nodes and whole minutes of all requests, in order."""
        minutes = "round(extract(EPOCH FROM expires_date - created_date) / 60)::int"
        return self.owner.execute(f"SELECT nodes, {minutes} FROM capacity_request ORDER BY id".encode()).fetchall()


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """The client's module, imported by somebody without credentials; names of our domain lead to the loopback."""
    for name in ("PS_GITHUB_TOKEN", "PS_USERNAME", "PS_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    importlib.import_module("sliderule")
    module = sys.modules["sliderule.session"]

    def steer(host: Any, *arguments: Any, **options: Any) -> Any:
        if str(host).endswith(DOMAIN):
            host = OURS if host == f"ps.{DOMAIN}" else THEIRS
        return LOOK_UP(host, *arguments, **options)

    # The module has put itself before the look-up of names; that ends with the test.
    monkeypatch.setattr(socket, "getaddrinfo", getattr(module, "__override_getaddrinfo"))
    monkeypatch.setattr(module, "sliderule_getaddrinfo", steer)
    monkeypatch.setattr(module, "sliderule_dns", {})
    yield module
    socket.getaddrinfo = LOOK_UP


@pytest.fixture
def visitor(
    client: Any,
    house: House,
    database: Database,
    owner: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Visitor]:
    monkeypatch.setenv("DATABASE_URL", database.url)
    monkeypatch.setenv("PROVISION_PASSWORD_MEMORY_KIB", "1024")
    monkeypatch.chdir(tmp_path)
    example = json.loads(CliRunner().invoke(example_command, ["organization", "--json"], catch_exceptions=False).output)
    authority = trustme.CA()
    leaf = authority.issue_cert(f"ps.{DOMAIN}", f"*.{DOMAIN}")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    leaf.private_key_pem.write_to_path(tmp_path / "key.pem")
    for certificate in leaf.cert_chain_pems:
        certificate.write_to_path(tmp_path / "chain.pem", append=True)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    town = Town.__new__(Town)
    town.house = house

    def count() -> int:
        town.deploy()
        return int(value(owner, "SELECT current_nodes FROM v_cluster"))

    settings = settings_for(database.url, api_certificate=tmp_path / "chain.pem", api_key_file=tmp_path / "key.pem")
    with serving(settings) as served, Balancer(served.port, context, count).serving() as balancer:
        yield Visitor(client, served.port, example, owner, balancer)


def test_members_log_in_and_nobody_else(visitor: Visitor) -> None:
    example, session = visitor.example, visitor.session()
    assert session.authenticate(example["org"], visitor.member["username"], visitor.member["password"])
    assert session.authenticate(example["org"], example["owner"], example["owner_password"])
    assert not session.authenticate(example["org"], visitor.member["username"], "wrong")
    assert not session.authenticate(example["org"], example["inactive"], example["inactive_password"])
    assert not session.authenticate("nowhere", visitor.member["username"], visitor.member["password"])


def test_nodes_for_an_hour_and_until_the_token_ends(visitor: Visitor) -> None:
    session = visitor.logged_in()
    assert session.update_available_servers(3, 60) == (3, 3)
    assert session.update_available_servers(4) == (4, 4)
    assert session.update_available_servers(300, 30) == (10, 10)
    assert visitor.requests() == [(3, 60), (4, 1440), (10, 30)]
    assert session.update_available_servers() == (10, 0)
    assert set(visitor.balancer.tokens) == {f"Bearer {session.ps_access_token}"}


def test_scaling_out_waits_until_the_nodes_are_there(visitor: Visitor, caplog: pytest.LogCaptureFixture) -> None:
    session = visitor.logged_in(loglevel=logging.INFO)
    with caplog.at_level(logging.INFO):
        session.scaleout(5, 15, False)
    assert visitor.requests() == [(5, 15)]
    assert value(visitor.owner, "SELECT state FROM v_cluster") == "up"
    session.scaleout(5, 15, True)
    assert sys.modules["sliderule.session"].sliderule_dns == {f"{visitor.example['org']}.{visitor.domain}": "192.0.2.7"}


def test_tokens_are_refreshed_when_half_their_time_is_over(visitor: Visitor) -> None:
    session = visitor.logged_in()
    first = session.ps_access_token
    session.ps_token_exp = 0
    assert session.update_available_servers(2, 15) == (2, 2)
    assert session.ps_access_token != first
    session.ps_token_exp = 0
    assert session.update_available_servers(3, 15) == (3, 3), "and again, with the next refresh token"


def test_what_is_refused_is_told_in_words(visitor: Visitor, caplog: pytest.LogCaptureFixture) -> None:
    session = visitor.logged_in()
    visitor.owner.execute("UPDATE cluster SET is_suspended = true")
    with caplog.at_level(logging.ERROR):
        assert session.update_available_servers(3, 60) == (0, 3)
    assert "the cluster is suspended" in caplog.text
    visitor.owner.execute("UPDATE cluster SET is_suspended = false")
    visitor.owner.execute("SELECT account_configure(org_id, '{\"adjustment\": -1990}') FROM cluster")
    with caplog.at_level(logging.ERROR):
        assert session.update_available_servers(3, 60) == (0, 3)
    assert "the balance would be empty within 24 hours: 10.00 dollars, and 3 nodes cost 0.831 per hour" in caplog.text
    with pytest.raises(requests.HTTPError, match="409"):
        visitor.logged_in(rethrow=True).update_available_servers(3)
    visitor.owner.execute("UPDATE membership SET state = 'inactive' WHERE role = 'developer' AND state = 'active'")
    with caplog.at_level(logging.ERROR):
        session.update_available_servers(3, 60)
    assert "not an active member" in caplog.text
