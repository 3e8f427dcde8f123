"""The API apart from its surfaces: who may call, what is refused how, limits, health, its own description."""

import gzip
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx2
import psycopg
import pytest
import structlog
import trustme
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from provision_api import openapi
from provision_api.app import make_app
from provision_api.problem import SQLSTATE, Problem, problem_of
from provision_api.server import Protocol
from provision_api.shape import parse_json
from starlette.testclient import TestClient

from provision.database import connect, sql_directory
from provision.migrate import migrate
from provision.server import Server as Postgres

from . import api_fixtures
from .api_fixtures import Api, MakeApi, Served, host, make_customer, serving, settings_for, value
from .conftest import PG_BIN, Database
from .test_api_order import refused
from .worker_fixtures import eventually

api = api_fixtures.api
make_api = api_fixtures.make_api
strict_api = api_fixtures.strict_api


# Who may call


@pytest.mark.parametrize("scheme", ["Token", "token", "Bearer", "BEARER", "Token  "])
def test_a_key_is_accepted_under_both_names(strict_api: Api, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {strict_api.customer.key}"}
    assert strict_api.client.get("/v1/orders", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (None, None),
        ("", "invalid_request"),
        ("Token", "invalid_request"),
        ("Token {key}0", "invalid_request"),
        ("Token {KEY}", "invalid_request"),
        ("Token {key} {key}", "invalid_request"),
        ("Basic {key}", "invalid_request"),
        ("{key}", "invalid_request"),
        ("Token " + "0" * 40, "invalid_token"),
    ],
)
def test_without_a_valid_key_nothing_is_told(strict_api: Api, given: str | None, error: str | None) -> None:
    key = strict_api.customer.key
    headers = {} if given is None else {"Authorization": given.format(key=key, KEY=f"{key[:39]}G")}
    response = strict_api.client.post("/v1/orders", headers=headers, content=b"{")
    refused(response, 401)
    challenge = response.headers["www-authenticate"]
    assert challenge.startswith("Token realm=")
    assert challenge.endswith(f'error="{error}"' if error else 'Bearer realm="provision"')


def test_two_keys_in_one_request_are_refused(strict_api: Api) -> None:
    header = ("Authorization", f"Token {strict_api.customer.key}")
    refused(strict_api.client.get("/v1/orders", headers=[header, header]), 401)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE api_key SET revoked_date = engine_now()",
        "SELECT clock_advance('91 days')",
        "UPDATE tenant_customer SET is_active = false",
    ],
)
def test_a_key_can_end(api: Api, change: str) -> None:
    assert api.call("GET", "/v1/orders").status_code == 200
    api.owner.execute(change.encode())
    refused(api.call("GET", "/v1/orders"), 401)


# Methods and paths


def test_a_wrong_method_is_told_the_right_ones(strict_api: Api) -> None:
    for method in ("PUT", "PATCH", "DELETE", "TRACE", "BREW"):
        response = strict_api.call(method, "/v1/orders")
        refused(response, 405)
        assert response.headers["allow"] == "GET, HEAD, OPTIONS, POST"


def test_options_needs_no_key_and_lists_the_methods(strict_api: Api) -> None:
    response = strict_api.client.options("/healthz")
    assert (response.status_code, response.headers["allow"]) == (204, "GET, HEAD, OPTIONS")


@pytest.mark.parametrize("path", ["/", "/v1", "/v2/orders", "/v1/orders/../../etc", "/%ff", "/healthz/"])
def test_an_unknown_path_is_not_found(strict_api: Api, path: str) -> None:
    refused(strict_api.client.get(path, follow_redirects=False), 404)


def test_every_answer_has_security_headers_and_no_cors(strict_api: Api) -> None:
    for path in ("/healthz", "/nowhere", "/v1/orders"):
        headers = strict_api.client.get(path, headers={"Origin": "https://evil.example"}).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert not any(name.startswith("access-control") for name in headers)


@pytest.mark.parametrize(("given", "kept"), [("trace-4711", True), ("x" * 65, False), ("<script>", False)])
def test_a_request_id_is_kept_if_it_is_harmless(strict_api: Api, given: str, kept: bool) -> None:
    response = strict_api.client.get("/nowhere", headers={"X-Request-Id": given})
    assert (response.headers["x-request-id"] == given) is kept
    refused(response, 404)


# Bodies

ITEM = '{"items": [{"operation": "host.create", "data": %s}]}'


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "character 0"),
        (b'{"items": [}', "line 1 column 12"),
        (b'{"items": []}}', "Extra data"),
        (b'\xef\xbb\xbf{"items": []}', "character 0"),
        (b'{"items": ["\xff"]}', "byte 12"),
        (b'{"items": NaN}', "NaN"),
        (b'{"items": -Infinity}', "-Infinity"),
        (b'{"items": [], "items": []}', '"items"'),
        ((ITEM % '{"name": "a", "name": "b"}').encode(), '"name"'),
        ((ITEM % '{"name": "a\\u0000b"}').encode(), "/items/0/data/name"),
        ((ITEM % '{"na\\u0000me": 1}').encode(), "/items/0/data"),
        ((ITEM % '{"name": "\\ud800"}').encode(), "/items/0/data/name"),
        ((ITEM % '{"name": 1e400}').encode(), "1e400"),
        ((ITEM % '{"name": 9223372036854775808}').encode(), "9223372036854775808"),
        ((ITEM % ('{"name": ' + "9" * 5000 + "}")).encode(), "64 bits"),
        ((ITEM % ('{"name": ' + "[" * 40 + "]" * 40 + "}")).encode(), "at most 32 levels"),
        (b"[" * 200_000, "at most 32 levels"),
        (b'{"a":' * 100_000, "at most 32 levels"),
    ],
)
def test_a_body_that_is_no_clean_json_is_refused_with_its_place(strict_api: Api, body: bytes, words: str) -> None:
    response = strict_api.call("POST", "/v1/orders", content=body, headers={"Content-Type": "application/json"})
    problem = refused(response, 400)
    assert words in json.dumps(problem, ensure_ascii=False).replace('\\"', '"')


def test_very_many_names_twice_are_refused_quickly(strict_api: Api) -> None:
    names = [*range(100_000), 99_999]
    body = "{" + ",".join(f'"{name}":0' for name in names) + "}"
    begun = time.monotonic()
    response = strict_api.call("POST", "/v1/orders", content=body, headers={"Content-Type": "application/json"})
    refused(response, 413 if len(body) > 1 << 20 else 400)
    assert time.monotonic() - begun < 5


@given(st.binary() | st.text().map(str.encode) | st.lists(st.text()).map(json.dumps).map(str.encode))
def test_any_body_is_a_value_or_a_problem(body: bytes) -> None:
    with suppress(Problem):
        assert parse_json(body) == json.loads(body)


@pytest.mark.parametrize(
    ("headers", "header", "value"),
    [
        ({}, "accept-post", "application/json"),
        ({"Content-Type": "text/plain"}, "accept-post", "application/json"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, "accept-post", "application/json"),
        ({"Content-Type": "application/json; charset=latin-1"}, "accept-post", "application/json"),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, "accept-encoding", "identity"),
    ],
)
def test_what_is_not_declared_as_json_is_refused(
    strict_api: Api, headers: dict[str, str], header: str, value: str
) -> None:
    response = strict_api.call("POST", "/v1/orders", content=gzip.compress(b"{}"), headers=headers)
    refused(response, 415)
    assert response.headers[header] == value


@pytest.mark.parametrize("content_type", ["application/json", 'Application/JSON;charset="UTF-8"'])
def test_json_is_accepted_however_it_is_written(api: Api, content_type: str) -> None:
    body = (ITEM % '{"name": "ns1.example.net"}').encode()
    response = api.call("POST", "/v1/orders", content=body, headers={"Content-Type": content_type})
    assert response.status_code == 202


# Limits


def test_a_large_body_is_refused_whether_announced_or_not(strict_api: Api) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(10):
            yield b" " * (1 << 20)

    for content in (b" " * (10 << 20), chunks()):
        headers = {"Content-Type": "application/json"}
        refused(strict_api.call("POST", "/v1/orders", content=content, headers=headers), 413)


def test_a_request_that_takes_too_long_ends(make_api: MakeApi) -> None:
    api = make_api(request_timeout_seconds=0.3)
    with api.owner.transaction():
        api.owner.execute('LOCK TABLE "order" IN ACCESS EXCLUSIVE MODE')
        response = api.order()
    refused(response, 503)
    assert int(response.headers["retry-after"]) > 0
    assert api.count() == 0


def test_a_statement_that_takes_too_long_ends(make_api: MakeApi, database: Database, owner: psycopg.Connection) -> None:
    owner.execute(f"ALTER ROLE provision_api IN DATABASE {database.name} SET statement_timeout = '200ms'".encode())
    api = make_api()
    with api.owner.transaction():
        api.owner.execute('LOCK TABLE "order" IN ACCESS EXCLUSIVE MODE')
        response = api.order()
    refused(response, 503, "57014")
    assert int(response.headers["retry-after"]) > 0
    assert api.count() == 0


def test_collisions_are_tried_again(api: Api) -> None:
    api.owner.execute("""
        CREATE SEQUENCE attempt;
        GRANT ALL ON SEQUENCE attempt TO PUBLIC;
        CREATE FUNCTION collide() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF nextval('public.attempt') < 4 THEN
                RAISE EXCEPTION 'collision'
                    USING ERRCODE = CASE currval('public.attempt') WHEN 1 THEN '40001' ELSE '40P01' END;
            END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER collide AFTER INSERT ON "order" EXECUTE FUNCTION collide();
        """)
    assert api.order().status_code == 202
    assert (value(api.owner, "SELECT last_value FROM attempt"), api.count()) == (4, 1)


def test_what_collides_again_and_again_is_put_off(api: Api) -> None:
    api.owner.execute("""
        CREATE FUNCTION collide() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'collision' USING ERRCODE = '40001';
        END $$;
        CREATE TRIGGER collide AFTER INSERT ON "order" EXECUTE FUNCTION collide();
        """)
    refused(api.order(), 503, "40001")


# Problems


def test_an_error_of_ours_tells_callers_nothing_and_operators_all(api: Api) -> None:
    api.owner.execute("DROP FUNCTION order_document(uuid)")
    with structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as lines:
        response = api.order()
    problem = refused(response, 500)
    assert "order_document" not in response.text
    (line,) = [line for line in lines if line["log_level"] == "error"]
    assert line["request_id"] == problem["request_id"]
    assert "order_document" in str(line["exc_info"])


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("23505", 409),
        ("23503", 409),
        ("23514", 400),
        ("22P05", 400),
        ("40P01", 503),
        ("42501", 403),
        ("42883", 500),
        ("53300", 503),
        ("57P01", 503),
        ("08006", 503),
    ],
)
def test_errors_of_postgresql_have_a_status(state: str, status: int) -> None:
    problem = problem_of(psycopg.errors.lookup(state)("row (4711, secret)"))
    assert (problem.status, "Retry-After" in problem.headers) == (status, status == 503)
    assert "secret" not in json.dumps(problem.document("id"))


def test_every_refusal_of_the_database_has_a_status_and_an_explanation(strict_api: Api) -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in sql_directory().rglob("*.sql"))
    raised = set(re.findall(r"'(PV[0-9F][0-9]{2})'", text))
    page = strict_api.client.get("/docs").text
    assert "PV404" in raised
    assert raised <= SQLSTATE.keys()
    assert [code for code in SQLSTATE if code.startswith("PV") and f'id="{code}"' not in page] == []


# Health, metrics, description


def test_a_process_without_a_database_lives_and_is_not_ready() -> None:
    settings = settings_for("postgresql://postgres@127.0.0.1:1/nowhere")
    with TestClient(make_app(settings, pool_seconds=0.2)) as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        response = client.get("/readyz")
    refused(response, 503)
    assert int(response.headers["retry-after"]) > 0


def test_a_migrated_database_makes_ready(strict_api: Api) -> None:
    assert strict_api.client.get("/readyz").json() == {"status": "ok"}


def test_a_later_release_of_the_database_makes_ready_and_an_earlier_does_not(api: Api) -> None:
    api.owner.execute("INSERT INTO migration.checksum VALUES ('9999.later', repeat('0', 64))")
    assert api.client.get("/readyz").status_code == 200
    api.owner.execute("DELETE FROM migration.checksum WHERE migration_id = '0001.class'")
    assert refused(api.client.get("/readyz"), 503)["detail"] == "0001.class"


def test_requests_are_counted_by_route_and_not_by_path(api: Api) -> None:
    for method, path in (("GET", "/v1/orders/4711"), ("BREW", "/healthz"), ("GET", "/v1/orders")):
        api.call(method, path)
    location = api.order().headers["location"]
    for _ in range(2):
        api.call("GET", location)
    text = api.client.get("/metrics").text
    samples = {
        tuple(sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "provision_api_requests_total"
    }
    assert samples == {
        ("GET", "none", "404"): 1,
        ("other", "/healthz", "405"): 1,
        ("GET", "/v1/orders", "200"): 1,
        ("POST", "/v1/orders", "202"): 1,
        ("GET", "/v1/orders/{id}", "200"): 2,
    }
    assert "provision_api_database_pool_size 1.0" in text


def test_the_description_names_every_route(strict_api: Api) -> None:
    description = strict_api.client.get("/openapi.json").json()
    assert description["openapi"] == "3.1.0"
    assert {
        (path, method.upper())
        for path, item in description["paths"].items()
        for method in item
        if method != "parameters"
    } >= {("/v1/orders", "GET"), ("/v1/orders", "POST"), ("/v1/orders/{id}", "GET"), ("/v1/orders/{id}/cancel", "POST")}
    assert (
        set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(description)))
        <= description["components"]["schemas"].keys()
    )


def test_the_page_needs_no_other_host_and_may_run_only_its_own_script(strict_api: Api) -> None:
    response = strict_api.client.get("/docs")
    assert re.findall(r"https?://", response.text) == []
    assert re.findall(r"""\s(?:src|on\w+|style)=""", response.text) == []
    policy = response.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert f"script-src {openapi.digest(response.text, 'script')};" in policy
    assert "default-src 'none'" in policy


# On a socket


@pytest.fixture
def served(database: Database) -> Iterator[Served]:
    """A server that is patient for a moment only."""

    class Impatient(Protocol):
        head_seconds = 0.5

    settings = settings_for(database.url)
    with serving(settings, Impatient, make_app(settings, body_seconds=0.5)) as served:
        yield served


@pytest.fixture
def customer(owner: psycopg.Connection) -> api_fixtures.Customer:
    return make_customer(owner, "acme")


def conversation(served: Served, *pieces: bytes) -> bytes:
    """What the server sends until it closes, to a client that sends these pieces and then nothing."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        for piece in pieces:
            connection.sendall(piece)
        received = b""
        while data := connection.recv(65536):
            received += data
    return received


def head(customer: api_fixtures.Customer, *headers: str) -> bytes:
    """The head of an order."""
    lines = [
        "POST /v1/orders HTTP/1.1",
        "Host: here",
        f"Authorization: Token {customer.key}",
        "Content-Type: application/json",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


ORDER = (ITEM % '{"name": "ns1.example.net"}').encode()


def test_an_order_in_chunks_without_length_is_taken(served: Served, customer: api_fixtures.Customer) -> None:
    pieces = (b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (ORDER[:10], ORDER[10:]))
    answer = conversation(served, head(customer, "Transfer-Encoding: chunked"), *pieces, b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 202 ")


@pytest.mark.parametrize("announced", [True, False])
def test_ten_megabytes_are_refused_and_the_client_reads_why(
    served: Served, customer: api_fixtures.Customer, owner: psycopg.Connection, announced: bool
) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(160):
            yield b" " * 65536

    content = b" " * (10 << 20) if announced else chunks()
    headers = customer.headers | {"Content-Type": "application/json"}
    response = httpx2.post(f"{served.url}/v1/orders", content=content, headers=headers)
    refused(response, 413)
    assert value(owner, 'SELECT count(*) FROM "order"') == 0


def test_a_slow_body_is_given_up(served: Served, customer: api_fixtures.Customer) -> None:
    answer = conversation(served, head(customer, "Content-Length: 100"), b'{"items"')
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in answer.lower()


def test_a_slow_head_is_given_up(served: Served, customer: api_fixtures.Customer) -> None:
    assert conversation(served, head(customer)[:60]) == b""


def test_a_refused_upload_that_never_ends_is_given_up(served: Served, customer: api_fixtures.Customer) -> None:
    answer = conversation(served, head(customer, "Content-Length: 99999999"), b" " * 1000)
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_what_is_sent_beyond_the_length_is_no_part_of_the_order(
    served: Served, customer: api_fixtures.Customer, owner: psycopg.Connection
) -> None:
    answer = conversation(served, head(customer, f"Content-Length: {len(ORDER) - 1}"), ORDER)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert value(owner, 'SELECT count(*) FROM "order"') == 0


@pytest.mark.parametrize(
    "request_", [b"HELLO\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n"]
)
def test_what_is_no_http_is_answered_with_a_problem(served: Served, request_: bytes) -> None:
    answer = conversation(served, request_)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "PV400"


def test_head_is_get_without_the_body(served: Served, customer: api_fixtures.Customer) -> None:
    with httpx2.Client(base_url=served.url, headers=customer.headers) as client:
        get, answer = client.get("/v1/orders"), client.head("/v1/orders")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == get.headers["content-length"]
    assert answer.headers["etag"] == get.headers["etag"]


def test_a_server_that_stops_answers_those_who_wait(database: Database, customer: api_fixtures.Customer) -> None:
    with ThreadPoolExecutor(1) as pool, connect(database.url, "tests", autocommit=True) as owner:
        with serving(settings_for(database.url)) as served:
            headers = customer.headers | {"Prefer": "wait=60"}
            answer = pool.submit(
                httpx2.post, f"{served.url}/v1/orders", json={"items": [host()]}, headers=headers, timeout=60
            )
            eventually(lambda: value(owner, 'SELECT count(*) FROM "order"'))
        assert answer.result(1).status_code == 202


def test_after_the_database_was_killed_requests_are_put_off_and_then_served() -> None:
    # What was acknowledged must be with the operating system, though not on the disk.
    with Postgres(throwaway=True, pg_bin=PG_BIN, options={"synchronous_commit": "on"}) as postgres:
        migrate(postgres.url())
        with connect(postgres.url(), "tests", autocommit=True) as owner:
            customer = make_customer(owner, "acme")
        settings = settings_for(postgres.url())
        with (
            serving(settings, app=make_app(settings, pool_seconds=1)) as served,
            httpx2.Client(base_url=served.url, headers=customer.headers, timeout=30) as client,
        ):
            order = client.post("/v1/orders", json={"items": [host()]}).headers["location"]
            os.kill(postgres.pid or 0, signal.SIGKILL)
            eventually(lambda: client.get(order).status_code == 503, "the answer 503")
            assert client.get(order).headers["retry-after"]
            assert client.get("/healthz").status_code == 200
            postgres.start()
            eventually(lambda: client.get(order).status_code == 200, "recovery", 40)


# The command line


@pytest.fixture
def provision(tmp_path: Path, database: Database) -> list[str]:
    """The command, in an environment of its own."""
    environment = {"PATH": os.defpath, "DATABASE_URL": database.url, "PROVISION_LOG_FORMAT": "json"}
    variables = [f"{name}={value}" for name, value in environment.items()]
    return ["env", "--ignore-environment", "--chdir", str(tmp_path), *variables, sys.executable, "-m", "provision"]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_the_command_serves_and_makes_keys(provision: list[str], owner: psycopg.Connection) -> None:
    make_customer(owner, "acme")
    key = run(*provision, "admin", "api-key", "--customer", "acme@example.net").stdout.strip()
    port = free_port()
    with subprocess.Popen([*provision, "api", "--port", str(port)], stderr=subprocess.PIPE, text=True) as process:
        eventually(lambda: is_open(port) or process.poll() is not None, "the server")
        response = httpx2.get(f"http://127.0.0.1:{port}/v1/orders", headers={"Authorization": f"Token {key}"})
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert (response.json(), process.returncode) == ({"orders": []}, 0)
    events = [json.loads(line) for line in errors.splitlines()]
    assert [(event["event"], event.get("status")) for event in events] == [("listening", None), ("request", 200)]
    assert key not in errors


def test_with_a_certificate_it_speaks_tls(database: Database, customer: api_fixtures.Customer, tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "chain.pem"))
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    files = {"api_certificate": tmp_path / "chain.pem", "api_key_file": tmp_path / "key.pem"}
    with serving(settings_for(database.url, **files)) as served, httpx2.Client(verify=context) as client:
        response = client.get(f"https://localhost:{served.port}/v1/orders", headers=customer.headers)
    assert (response.status_code, response.json()) == (200, {"orders": []})
    assert response.headers["strict-transport-security"].startswith("max-age=")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["api", "--port", "{taken}"], 1, "cannot listen on 127.0.0.1 port {taken}"),
        (["api", "--certificate", "{file}"], 2, "--certificate and --key go together"),
        (["api", "--certificate", "{file}", "--key", "{file}"], 1, "cannot use the certificate {file}"),
        (["admin", "api-key", "--customer", "nobody"], 1, "no customer is named 'nobody'"),
        (["admin", "api-key", "--customer", "twin"], 1, "'twin' has several accounts"),
    ],
)
def test_mistakes_are_explained(
    provision: list[str], owner: psycopg.Connection, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    for number in range(2):
        make_customer(owner, f"twin{number}")
        owner.execute("UPDATE customer SET name = 'twin'")
    file = tmp_path / "file.pem"
    file.touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        names = {"taken": taken.getsockname()[1], "file": file}
        result = run(*provision, *(argument.format(**names) for argument in arguments))
    assert (result.returncode, result.stdout) == (code, "")
    assert words.format(**names) in result.stderr
    assert "Traceback" not in result.stderr


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port
