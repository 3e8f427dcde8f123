"""The allocators' API over HTTP: shapes, errors, pages, members, orders, allocations and usage as clients know them.

All of it stands on `provision admin example allocator`, as somebody would try it out.
"""

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

import psycopg
import pytest
from click.testing import CliRunner
from httpx2 import Response
from provision_api.app import make_app
from starlette.testclient import TestClient

from provision.cli import cli
from provision.database import connect

from .api_fixtures import settings_for
from .conftest import Database, _clone

Json = dict[str, Any]


class Portal:
    """An allocator's portal, its neighbour, a provider, and staff, over one API."""

    def __init__(self, client: TestClient, owner: psycopg.Connection, example: Json) -> None:
        self.client, self.owner, self.example = client, owner, example

    def call(self, method: str, path: str, who: str = "token", **options: Any) -> Response:
        """One request, by default of the allocator's owner."""
        headers = {"Authorization": f"token {self.example[who]}"} | options.pop("headers", {})
        return self.client.request(method, path, headers=headers, **options)

    def get(self, path: str, who: str = "token", **params: Any) -> Any:
        """What is answered."""
        answer = self.call("GET", path, who, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: Any = None, who: str = "token", status: int = 200) -> Any:
        """What is answered, with that status."""
        answer = self.call("POST", path, who, json={} if body is None else body)
        assert answer.status_code == status, (answer.status_code, answer.text)
        return answer.json() if answer.text else None

    def url(self, endpoint: str, id: str) -> str:
        """As clients make them."""
        return f"http://testserver/api/{endpoint}/{id}/"

    def project(self, **values: Any) -> Json:
        """A new project."""
        customer = self.url("customers", self.example["customer"])
        made: Json = self.post("/api/projects/", {"customer": customer, "name": "Climate"} | values, status=201)
        return made

    def order_body(self, project: Json, **values: Any) -> Json:
        """An order in the shape of today."""
        offering = self.example["offering"]
        plans = self.get(f"/api/marketplace-public-offerings/{offering}/plans/")
        return {
            "project": project["url"],
            "offering": self.url("marketplace-public-offerings", offering),
            "plan": plans[0]["url"],
            "attributes": {"name": "run"},
            "limits": {"cpu_hours": 10, "gpu_hours": 5, "storage": 2},
            "accepting_terms_of_service": True,
        } | values

    def order(self, project: Json | None = None, **values: Any) -> Json:
        """A new order."""
        body = self.order_body(project or self.project(), **values)
        made: Json = self.post("/api/marketplace-orders/", body, status=201)
        return made

    def approve(self, order: Json) -> None:
        """The provider approves."""
        path = f"/api/marketplace-orders/{order['uuid']}/approve_by_provider/"
        assert self.post(path, who="provider_token") == {"detail": "Order is done."}

    def resource(self, project: Json | None = None, **values: Any) -> Json:
        """An allocation that can be used."""
        order = self.order(project, **values)
        self.approve(order)
        found: Json = self.get(f"/api/marketplace-resources/{order['marketplace_resource_uuid']}/")
        return found

    def map(self, cuid: str = "cuid") -> str:
        """The user of one of the researchers."""
        return str(self.post("/api/remote-eduteams/", {"cuid": self.example[cuid]})["uuid"])


@pytest.fixture(scope="module")
def portal(server_url: str, template: str) -> Iterator[Portal]:
    """One for all tests of the module: each makes what it needs."""
    with (
        _clone(server_url, template) as clone,
        connect(clone.url, "tests", autocommit=True) as owner,
        TestClient(make_app(settings_for(clone.url))) as client,
    ):
        yield Portal(client, owner, make_example(clone))


def make_example(database: Database) -> Json:
    """What `provision admin example allocator --json` prints."""
    environment = {"DATABASE_URL": database.url, "PROVISION_PASSWORD_MEMORY_KIB": "1024"}
    result = CliRunner().invoke(cli, ["admin", "example", "allocator", "--json"], env=environment)
    assert result.exit_code == 0, result.output
    example: Json = json.loads(result.stdout)
    return example


HEX = re.compile(r"[0-9a-f]{32}")


def test_the_example_says_all_that_a_client_needs(portal: Portal) -> None:
    names = "base_url token token_b provider_token admin_token researcher_token username password customer customer_b"
    names += " abbreviation offering pool_offering cuid cuid2"
    assert list(portal.example) == names.split()
    (offering,) = portal.get("/api/marketplace-public-offerings/", name_exact="LUMI Acceptance", state="Active")
    assert offering["uuid"] == portal.example["offering"]
    assert offering["shared"] is True
    assert [part["billing_type"] for part in offering["components"]] == ["limit", "limit", "usage"]
    assert {(part["min_value"], part["max_value"]) for part in offering["components"]} == {(1, 100)}
    assert len(offering["plans"]) == 1
    pool = portal.get(f"/api/marketplace-public-offerings/{portal.example['pool_offering']}/")
    assert {part["max_available_limit"] for part in pool["components"]} == {100}


def test_an_example_that_is_made_again_is_another(database: Database) -> None:
    first, second = make_example(database), make_example(database)
    assert {name for name, value in first.items() if second[name] == value} == {"base_url"}


# Logging in -----------------------------------------------------------------------------------------------------------


def log_in(portal: Portal, **body: str) -> Response:
    return portal.client.post("/api-auth/password/", json=body)


def test_a_password_is_exchanged_for_a_token(portal: Portal) -> None:
    answer = log_in(portal, username=portal.example["username"], password=portal.example["password"])
    assert answer.status_code == 200
    token = answer.json()["token"]
    assert re.fullmatch(r"[0-9a-f]{40}", token)
    for word in ("Token", "token", "TOKEN"):
        headers = {"Authorization": f"{word} {token}"}
        assert portal.client.get("/api/users/me/", headers=headers).json()["username"] == portal.example["username"]
    stored = portal.owner.execute("SELECT count(*) FROM login_token WHERE token_hash = %s", [token.encode()]).fetchone()
    assert stored == (0,)


def test_what_is_wrong_with_a_log_in(portal: Portal) -> None:
    refused = log_in(portal, username=portal.example["username"], password="wrong")
    assert (refused.status_code, list(refused.json())) == (401, ["detail"])
    assert log_in(portal, username="x").json() == {"password": ["This field is required."]}
    assert log_in(portal, username="x").status_code == 400
    nobody = portal.client.get("/api/projects/")
    assert (nobody.status_code, nobody.headers["WWW-Authenticate"]) == (401, "Token")
    assert nobody.json() == {"detail": "Authentication credentials were not provided."}
    stranger = portal.client.get("/api/projects/", headers={"Authorization": "Token " + "0" * 40})
    assert (stranger.status_code, stranger.json()) == (401, {"detail": "Invalid token."})


def test_five_failures_lock_a_name_for_ten_minutes(portal: Portal) -> None:
    name = portal.example["username"]
    portal.owner.execute("DELETE FROM login_attempt")
    assert {log_in(portal, username=name, password="wrong").status_code for _ in range(5)} == {401}
    assert log_in(portal, username=name, password=portal.example["password"]).status_code == 401
    portal.owner.execute("SELECT clock_advance('11 minutes')")
    assert log_in(portal, username=name, password=portal.example["password"]).status_code == 200


def test_a_token_lives_as_long_as_it_is_used_and_ends_with_its_user(portal: Portal) -> None:
    (user,) = portal.owner.execute("SELECT id FROM app_user WHERE username LIKE '%%-staff'").fetchone() or ()
    (token,) = portal.owner.execute("SELECT login_token_issue(%s)", [user]).fetchone() or ()
    headers = {"Authorization": f"Token {token}"}
    kept = {
        who: portal.example[who] for who in ("token", "token_b", "provider_token", "admin_token", "researcher_token")
    }
    for days, status in ((29, 200), (29, 200), (31, 401)):
        portal.owner.execute("SELECT clock_advance(%s)", [f"{days} days"])
        if status == 200:
            for who in kept:
                portal.get("/api/users/me/", who)
        assert portal.client.get("/api/users/me/", headers=headers).status_code == status
    portal.owner.execute("UPDATE login_token SET expires_date = engine_now() + interval '30 days'")
    portal.owner.execute("UPDATE app_user SET status = 'disabled' WHERE id = %s", [user])
    assert portal.client.get("/api/users/me/", headers=headers).status_code == 401
    portal.owner.execute("UPDATE app_user SET status = 'active' WHERE id = %s", [user])


# Shapes ---------------------------------------------------------------------------------------------------------------


def test_a_project_is_shown_as_clients_read_it(portal: Portal) -> None:
    answer = portal.call(
        "POST",
        "/api/projects/",
        json={"customer": portal.url("customers", portal.example["customer"]), "name": "Климат", "backend_id": None},
    )
    project = answer.json()
    assert answer.status_code == 201
    assert answer.headers["Location"] == project["url"] == portal.url("projects", project["uuid"])
    assert HEX.fullmatch(project["uuid"])
    assert project["customer"] == portal.url("customers", portal.example["customer"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", project["created"])
    assert (project["backend_id"], project["type"], project["description"]) == ("", None, "")
    assert project["customer_abbreviation"] == portal.example["abbreviation"]
    hyphenated = str(UUID(project["uuid"]))
    assert portal.get(f"/api/projects/{hyphenated}/") == portal.get(f"/api/projects/{project['uuid']}/")
    assert portal.get(f"/api/projects/{project['uuid']}/", field=["url", "name", "zz"]) == {
        "url": project["url"],
        "name": "Климат",
    }


def test_urls_are_built_from_the_host_the_client_used(portal: Portal) -> None:
    headers = {"Host": "portal.example:8123"}
    rows = portal.call("GET", "/api/customers/", headers=headers).json()
    assert rows[0]["url"].startswith("http://portal.example:8123/api/customers/")


def test_put_and_patch_keep_what_they_do_not_name(portal: Portal) -> None:
    project = portal.project(backend_id="a_b", description="d")
    path = f"/api/projects/{project['uuid']}/"
    put = portal.call("PUT", path, json={"customer": project["customer"], "name": "New"})
    assert put.status_code == 200
    assert [put.json()[name] for name in ("name", "backend_id", "description")] == ["New", "a_b", "d"]
    assert portal.call("PATCH", path, json={"description": "e"}).json()["name"] == "New"
    assert portal.call("PUT", path, json={"description": "e"}).json() == {"name": ["This field is required."]}
    assert portal.get("/api/projects/", backend_id="a_b")[0]["uuid"] == project["uuid"]


@pytest.mark.parametrize("kind", ["form", "multipart"])
def test_forms_are_read_too(portal: Portal, kind: str) -> None:
    body = {"customer": portal.url("customers", portal.example["customer"]), "name": "Form"}
    given: Json = {"data": body} if kind == "form" else {"files": {name: (None, text) for name, text in body.items()}}
    answer = portal.call("POST", "/api/projects/", **given)
    assert (answer.status_code, answer.json()["name"]) == (201, "Form")


def test_an_empty_body_is_no_body(portal: Portal) -> None:
    resource = portal.resource()
    headers = {"Content-Type": "application/json"}
    assert portal.call("GET", "/api/projects/", headers=headers).status_code == 200
    path = f"/api/marketplace-resources/{resource['uuid']}/terminate/"
    answer = portal.call("POST", path, headers=headers, content=b"")
    assert (answer.status_code, list(answer.json())) == (200, ["order_uuid"])


WRONG_PROJECTS = [
    ({}, {"customer": ["This field is required."]}),
    ({"customer": "URL"}, {"name": ["This field is required."]}),
    ({"customer": "URL", "name": None}, {"name": ["This field may not be null."]}),
    ({"customer": "URL", "name": ""}, {"name": ["This field may not be blank."]}),
    ({"customer": "HEX", "name": "x"}, {"customer": ["Invalid hyperlink - No URL match."]}),
    ({"customer": "PROJECT", "name": "x"}, {"customer": ["Invalid hyperlink - Incorrect URL match."]}),
    ({"customer": "ABSENT", "name": "x"}, {"customer": ["Invalid hyperlink - Object does not exist."]}),
    ({"customer": "FOREIGN", "name": "x"}, {"customer": ["Invalid hyperlink - Object does not exist."]}),
    ({"customer": ["URL"], "name": "x"}, {"customer": ["Incorrect type. Expected URL string, received list."]}),
    (
        {"customer": "URL", "name": "x" * 501},
        {"name": ["Ensure this field has no more than 500 characters."]},
    ),
    (
        {"customer": "URL", "name": "x", "end_date": "2001-01-01"},
        {"end_date": ["Cannot be earlier than the current date."]},
    ),
]


@pytest.mark.parametrize(("body", "said"), WRONG_PROJECTS)
def test_what_is_wrong_with_a_project_is_said_by_field(portal: Portal, body: Json, said: Json) -> None:
    links = {
        "URL": portal.url("customers", portal.example["customer"]),
        "HEX": portal.example["customer"],
        "PROJECT": portal.url("projects", portal.example["customer"]),
        "ABSENT": portal.url("customers", "0" * 32),
        "FOREIGN": portal.url("customers", portal.example["customer_b"]),
    }
    given = {name: links.get(value, value) if isinstance(value, str) else value for name, value in body.items()}
    assert portal.post("/api/projects/", given, status=400) == said


def test_the_rest_of_what_can_be_wrong(portal: Portal) -> None:
    bad = portal.call("POST", "/api/projects/", content=b"{", headers={"Content-Type": "application/json"})
    assert (bad.status_code, bad.json()["detail"][:18]) == (400, "JSON parse error -")
    method = portal.call("DELETE", "/api/projects/")
    assert (method.status_code, method.json()) == (405, {"detail": 'Method "DELETE" not allowed.'})
    absent = portal.call("GET", f"/api/projects/{'0' * 32}/")
    assert (absent.status_code, absent.json()) == (404, {"detail": "No Project matches the given query."})
    moved = portal.call("GET", "/api/projects", follow_redirects=False)
    assert (moved.status_code, moved.headers["Location"]) == (301, "http://testserver/api/projects/")
    for params, said in (
        ({"customer": "x"}, {"customer": ["Enter a valid UUID."]}),
        ({"o": "zz"}, {"o": ["Select a valid choice. zz is not one of the available choices."]}),
    ):
        answer = portal.call("GET", "/api/projects/", params=params)
        assert (answer.status_code, answer.json()) == (400, said)
    state = portal.call("GET", "/api/marketplace-resources/", params={"state": "zz"})
    assert (state.status_code, list(state.json())) == (400, ["state"])
    date = portal.call("GET", "/api/marketplace-component-usages/", params={"date_after": "zz"})
    assert (date.status_code, date.json()) == (400, {"date_after": ["Enter a valid date."]})
    assert portal.call("GET", "/api/projects/", params={"zz": "1", "field": "zz"}).json()[:1] in ([], [{}])


def test_a_nul_or_a_huge_number_is_no_failure_of_ours(portal: Portal) -> None:
    for path in ("projects", "customers", "marketplace-orders", "invoices", "users"):
        for params in (
            {"query": "a\0b"},
            {"name": "\ud7ff"},
            {"page": "9" * 30},
            {"page_size": "9" * 30},
            {"year": "9" * 30},
        ):
            assert portal.call("GET", f"/api/{path}/", params=params).status_code < 500, (path, params)


# Pages ----------------------------------------------------------------------------------------------------------------


def links_of(answer: Response) -> dict[str, str]:
    return {name: url for url, name in re.findall(r'<([^>]+)>; rel="(\w+)"', answer.headers["Link"])}


def follow(portal: Portal, path: str, before_each: Any = None) -> list[Json]:
    """A full walk, as WaldurClient walks: by looking for words in the Link header."""
    answer = portal.call("GET", path)
    rows: list[Json] = answer.json()
    for _ in range(100):
        link = answer.headers["Link"]
        if "next" not in link:
            return rows
        if before_each:
            before_each()
        url = link.split(", ")[2 if "prev" in link else 1].split("; ")[0][1:-1]
        answer = portal.call("GET", url)
        rows += answer.json()
    raise AssertionError("the walk does not end")


def test_the_links_of_a_page(portal: Portal) -> None:
    for number in range(25):
        portal.project(name=f"page {number}")
    first = portal.call("GET", "/api/projects/?name=page&page_size=10&o=name")
    assert first.headers["X-Result-Count"] == "25"
    assert list(links_of(first)) == ["first", "next", "last"]
    assert links_of(first)["first"] == "http://testserver/api/projects/?name=page&o=name&page_size=10"
    second = portal.call("GET", links_of(first)["next"])
    assert list(links_of(second)) == ["first", "prev", "next", "last"]
    assert "page=" not in links_of(second)["prev"].replace("page_size=", "")
    assert list(links_of(portal.call("GET", links_of(second)["last"]))) == ["first", "prev", "last"]
    single = portal.call("GET", "/api/projects/?name=page+24")
    assert list(links_of(single)) == ["first", "last"]
    head = portal.call("HEAD", "/api/projects/?name=page")
    assert (head.headers["X-Result-Count"], head.text) == ("25", "")
    for page in ("0", "zz", "9"):
        answer = portal.call("GET", f"/api/projects/?name=page&page={page}")
        assert (answer.status_code, answer.json()) == (404, {"detail": "Invalid page."})
    assert len(portal.get("/api/projects/?name=page&page_size=zz")) == 10
    assert len(portal.call("GET", "/api/projects/?name=page&name=page&page_size=20&page_size=20").json()) == 20


@pytest.mark.parametrize("word", ["next", "prev", "a, b", "NeXt prev"])
def test_a_filter_cannot_trap_a_walk(portal: Portal, word: str) -> None:
    for number in range(25):
        portal.project(name=f"{word} {number}")
    rows = follow(portal, f"/api/projects/?name={word}")
    assert len({row["uuid"] for row in rows}) == len(rows) == 25


@pytest.mark.parametrize("host", ["next.example", "prev.example"])
def test_a_host_cannot_either(portal: Portal, host: str) -> None:
    for number in range(25):
        portal.project(name=f"{host} {number}")
    walker = Portal(portal.client, portal.owner, portal.example)
    walker.call = lambda method, path, **_: portal.call(method, path, headers={"Host": host})  # type: ignore[method-assign]
    rows = follow(walker, f"/api/projects/?name={host[:4]}.example")
    assert len({row["uuid"] for row in rows}) == len(rows) == 25


def test_a_walk_meets_every_record_once_while_others_are_added(portal: Portal) -> None:
    for number in range(25):
        portal.project(name=f"walk {number}")
    rows = follow(portal, "/api/projects/?name=walk&page_size=5", lambda: portal.project(name="walk later"))
    ids = [row["uuid"] for row in rows]
    assert len(set(ids)) == len(ids) >= 25


def test_so_does_one_that_begins_with_the_newest(portal: Portal) -> None:
    project, user = portal.project(), portal.map()
    body = {"user": portal.url("users", user), "project": project["url"], "role": "member"}
    for _ in range(12):
        granted = portal.post("/api/project-permissions/", body | {"project": portal.project()["url"]}, status=201)
    more = lambda: portal.post(  # noqa: E731
        "/api/project-permissions/", body | {"project": portal.project()["url"]}, status=201
    )
    rows = follow(portal, f"/api/project-permissions/?user={user}&page_size=5", more)
    ids = [row["pk"] for row in rows]
    assert ids == sorted(set(ids), reverse=True)
    assert (ids[0], len(ids)) == (granted["pk"], 12)


# Users and members ----------------------------------------------------------------------------------------------------


def test_the_same_cuid_is_the_same_user_at_both_places(portal: Portal) -> None:
    user = portal.map()
    assert portal.post("/api-auth/remote-eduteams/", {"cuid": portal.example["cuid"]}) == {"uuid": user}
    assert portal.map("cuid2") != user
    me = portal.get("/api/users/me/", "researcher_token")
    assert (me["uuid"], me["username"], me["registration_method"]) == (user, portal.example["cuid"], "eduteams")


def test_what_can_be_wrong_with_a_cuid(portal: Portal) -> None:
    unknown = portal.post("/api/remote-eduteams/", {"cuid": "nobody@x"}, status=404)
    assert unknown == {"detail": "User nobody@x has not been found"}
    assert portal.post("/api/remote-eduteams/", {}, status=400) == {"cuid": ["This field is required."]}
    refused = portal.post("/api/remote-eduteams/", {"cuid": portal.example["cuid"]}, "provider_token", 403)
    assert isinstance(refused, str)


class Registry(BaseHTTPRequestHandler):
    """A federation's registry that answers what its server says."""

    def do_GET(self) -> None:
        status, body = self.server.answer  # type: ignore[attr-defined]
        self.server.asked.append((self.path, self.headers.get("Authorization")))  # type: ignore[attr-defined]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def registry() -> Iterator[Any]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    server.asked, server.answer = [], (404, b"")  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_registry_is_asked_over_http_and_its_failures_told_apart(
    database: Database, owner: psycopg.Connection, registry: Any
) -> None:
    example = make_example(database)
    url = f"http://127.0.0.1:{registry.server_address[1]}/userinfo"
    settings = settings_for(database.url, user_registry_url=url, user_registry_token="secret")
    with TestClient(make_app(settings)) as client:
        portal = Portal(client, owner, example)
        registry.answer = (200, b'{"given_name": "Ada", "family_name": "Byron", "mail": ["ada@example.net"]}')
        ids = {portal.post("/api/remote-eduteams/", {"cuid": "a/b?c@eduteams.org"})["uuid"] for _ in range(2)}
        assert registry.asked == [("/userinfo/a%2Fb%3Fc%40eduteams.org", "Bearer secret")] * 2
        (id,) = ids
        known = owner.execute("SELECT name, email FROM app_user WHERE id = %s", [UUID(id)]).fetchone()
        assert known == ("Ada Byron", "ada@example.net")
        for answer, status, text in (
            ((404, b""), 404, "has not been found"),
            ((401, b""), 503, "refuses us"),
            ((500, b""), 503, "answers 500"),
            ((200, b"[]"), 503, "does not answer a JSON object"),
            ((200, b"x" * 100_000), 503, "answers too much"),
        ):
            registry.answer = answer
            assert text in portal.post("/api/remote-eduteams/", {"cuid": "c@x"}, status=status)["detail"]
    closed = settings_for(database.url, user_registry_url="http://127.0.0.1:1/")
    with TestClient(make_app(closed)) as client:
        said = Portal(client, owner, example).post("/api/remote-eduteams/", {"cuid": "c@x"}, status=503)
        assert "cannot be reached" in said["detail"]


def test_one_table_of_members_is_served_in_both_shapes(portal: Portal) -> None:
    project, user = portal.project(), portal.map()
    path = f"/api/projects/{project['uuid']}"
    given = portal.post(f"{path}/add_user/", {"user": user, "role": "PROJECT.ADMIN"}, status=201)
    assert given == {"expiration_time": None}
    (old,) = portal.get("/api/project-permissions/", project=project["uuid"])
    (new,) = portal.get(f"{path}/list_users/")
    assert (old["role"], new["role_name"]) == ("admin", "PROJECT.ADMIN")
    assert old["user"] == portal.url("users", user)
    assert old["url"] == f"http://testserver/api/project-permissions/{old['pk']}/"
    assert (old["project_uuid"], old["user_username"]) == (project["uuid"], portal.example["cuid"])
    assert new["user_uuid"] == user
    assert HEX.fullmatch(new["role_uuid"])
    put = portal.call(
        "PUT", f"/api/project-permissions/{old['pk']}/", json={"expiration_time": "2099-01-01", "role": "member"}
    )
    assert (put.status_code, put.json()["role"], put.json()["expiration_time"]) == (
        200,
        "admin",
        "2099-01-01T00:00:00.000000Z",
    )
    changed = portal.post(f"{path}/update_user/", {"user": user, "role": new["role_uuid"], "expiration_time": None})
    assert changed == {"expiration_time": None}
    for expected in (204, 404):
        assert portal.call("DELETE", f"/api/project-permissions/{old['pk']}/").status_code == expected
    assert portal.post(f"{path}/delete_user/", {"user": user, "role": "admin"}) is None
    assert portal.get(f"{path}/list_users/") == []


def test_what_can_be_wrong_with_a_member(portal: Portal) -> None:
    project, user = portal.project(), portal.map()
    path = f"/api/projects/{project['uuid']}"
    body = {"user": user, "role": "PROJECT.MEMBER"}
    portal.post(f"{path}/add_user/", body, status=201)
    said = {"non_field_errors": ["User has already the same role in this scope."]}
    assert portal.post(f"{path}/add_user/", body, status=400) == said
    portal.post(f"{path}/add_user/", body | {"role": "manager"}, status=201)
    old = {"user": portal.url("users", user), "project": project["url"], "role": "admin"}
    said = {"non_field_errors": ["The fields project and user must make a unique set."]}
    assert portal.post("/api/project-permissions/", old, status=400) == said
    said = {"role": ['"owner" is not a valid choice.']}
    assert portal.post("/api/project-permissions/", old | {"role": "owner"}, status=400) == said
    for change, said in (
        ({"role": "zz"}, {"role": ["Role is not found."]}),
        ({"role": "CUSTOMER.OWNER"}, {"non_field_errors": ["Role is not valid for this scope."]}),
        ({"user": "0" * 32}, {"user": ["User is not found."]}),
        (
            {"role": "admin", "expiration_time": "2001-01-01"},
            {"expiration_time": ["Role expiration time should be in the future."]},
        ),
        (
            {"role": "admin", "user": portal.get("/api/users/me/")["uuid"]},
            {"non_field_errors": ["User can not manage own role."]},
        ),
    ):
        assert portal.post(f"{path}/add_user/", body | change, status=400) == said
    assert portal.post(f"{path}/update_user/", body | {"role": "admin"}, status=400) == {
        "non_field_errors": ["User does not have this role in this scope."]
    }
    portal.post(f"{path}/add_user/", body, "token_b", 404)
    foreign = portal.post("/api/project-permissions/", old, "token_b", 400)
    assert foreign == {"project": ["Invalid hyperlink - Object does not exist."]}
    assert portal.get("/api/project-permissions/", project_url=portal.url("customers", project["uuid"])) == []


def test_an_offering_has_managers_who_provide_what_is_ordered_of_it_and_of_no_other(portal: Portal) -> None:
    offering, user = portal.example["offering"], portal.map()
    path, body = f"/api/marketplace-provider-offerings/{offering}", {"user": user, "role": "OFFERING.MANAGER"}
    order, other = (
        portal.order(),
        portal.order(offering=portal.url("marketplace-offerings", portal.example["pool_offering"]), plan=None),
    )
    orders, listed = "/api/marketplace-orders", "/api/marketplace-provider-resources/"
    portal.post(f"{orders}/{order['uuid']}/approve_by_provider/", who="researcher_token", status=404)
    assert portal.post(f"{path}/add_user/", body, "provider_token", 201) == {"expiration_time": None}
    said = {"non_field_errors": ["User has already the same role in this scope."]}
    assert portal.post(f"{path}/add_user/", body, "provider_token", 400) == said
    (row,) = portal.get(
        f"{path}/list_users/", "provider_token", role="OFFERING.MANAGER", username=portal.example["cuid"]
    )
    assert (row["role_name"], row["user_uuid"], row["expiration_time"]) == ("OFFERING.MANAGER", user, None)
    managed = portal.get("/api/marketplace-provider-offerings/", "researcher_token")
    assert [each["uuid"] for each in managed] == [offering]
    found = portal.get("/api/marketplace-public-offerings/", "provider_token", service_manager_uuid=user)
    assert [each["uuid"] for each in found] == [offering]
    done = portal.post(f"{orders}/{order['uuid']}/approve_by_provider/", who="researcher_token")
    assert done == {"detail": "Order is done."}
    resource = order["marketplace_resource_uuid"]
    assert {each["offering_uuid"] for each in portal.get(listed, "researcher_token")} == {offering}
    usage = {"resource": resource, "usages": [{"type": "cpu_hours", "amount": 1}]}
    portal.post("/api/marketplace-component-usages/set_usage/", usage, "researcher_token", 201)
    assert portal.get("/api/marketplace-component-usages/", "researcher_token", resource_uuid=resource)
    assert (
        portal.call("PATCH", f"{path}/", "researcher_token", json={"description": "By its manager"}).status_code == 200
    )
    # Not another offering of the same provider, nor who else manages it.
    portal.post(f"{orders}/{other['uuid']}/approve_by_provider/", who="researcher_token", status=404)
    portal.post(f"{path}/add_user/", {"user": portal.map("cuid2"), "role": "OFFERING.MANAGER"}, "researcher_token", 403)
    portal.post(f"{path}/add_user/", body, status=404)
    portal.post(f"{path}/add_user/", {"user": user, "role": "PROJECT.ADMIN"}, "provider_token", 400)
    later = "2099-01-01T00:00:00Z"
    changed = portal.post(f"{path}/update_user/", body | {"expiration_time": later}, "provider_token")
    assert changed == {"expiration_time": "2099-01-01T00:00:00.000000Z"}
    for _ in range(2):
        assert portal.post(f"{path}/delete_user/", body, "provider_token") is None
    assert portal.get(listed, "researcher_token") == []
    portal.post(f"{path}/update_user/", body, "provider_token", 400)


def test_roles_are_listed_with_what_they_may_do(portal: Portal) -> None:
    roles = {role["name"]: role for role in portal.get("/api/roles/")}
    assert "PROJECT.MEMBER" in roles
    assert roles["CUSTOMER.OWNER"]["content_type"] == "customer"
    assert "order.create" in roles["PROJECT.MEMBER"]["permissions"]


# Orders and allocations -----------------------------------------------------------------------------------------------


def test_an_order_has_its_allocation_from_the_beginning_in_both_shapes(portal: Portal) -> None:
    project = portal.project()
    flat = portal.order(project)
    assert (flat["state"], flat["type"], flat["cost"]) == ("pending-provider", "Create", "3.5010000000")
    assert HEX.fullmatch(flat["marketplace_resource_uuid"])
    (item,) = flat["items"]
    assert (item["state"], item["marketplace_resource_uuid"]) == ("pending", flat["marketplace_resource_uuid"])
    body = portal.order_body(project)
    seed = {
        "project": body.pop("project"),
        "items": [body | {"offering": body["offering"].replace("public-offerings", "offerings")}],
    }
    old = portal.post("/api/marketplace-orders/", seed, status=201)
    assert old["items"][0]["marketplace_resource_uuid"] != flat["marketplace_resource_uuid"]
    portal.approve(old)
    done = portal.get(f"/api/marketplace-orders/{old['uuid']}/")
    assert (done["state"], done["items"][0]["state"]) == ("done", "done")
    resource = portal.get(f"/api/marketplace-resources/{old['marketplace_resource_uuid']}/")
    assert (resource["state"], resource["name"]) == ("OK", "run")
    assert resource["limits"] == {"cpu_hours": 10, "gpu_hours": 5, "storage": 2}


WRONG_ORDERS = [
    ({"limits": {"zzz": 1}}, {"limits": ["Invalid types: zzz"]}),
    ({"limits": {"cpu_hours": 0}}, {"non_field_errors": ["The limit 0 value cannot be less than 1."]}),
    ({"limits": {"cpu_hours": 101}}, {"non_field_errors": ["The limit 101 value cannot be greater than 100."]}),
    ({"limits": {"cpu_hours": "many"}}, {"limits": {"cpu_hours": ["A valid integer is required."]}}),
    ({"offering": "x"}, {"offering": ["Invalid hyperlink - No URL match."]}),
    ({"accepting_terms_of_service": False}, {"accepting_terms_of_service": ["Terms of service must be accepted."]}),
]


@pytest.mark.parametrize("is_old", [False, True])
@pytest.mark.parametrize(("change", "said"), WRONG_ORDERS)
def test_what_is_wrong_with_an_order(portal: Portal, change: Json, said: Json, is_old: bool) -> None:
    project = portal.project()
    body = portal.order_body(project, **change)
    if is_old and "accepting_terms_of_service" not in change:
        body, said = {"project": body.pop("project"), "items": [body]}, {"items": [said]}
    assert portal.post("/api/marketplace-orders/", body, status=400) == said
    assert portal.get("/api/marketplace-resources/", project_uuid=project["uuid"]) == []


def test_another_allocators_project_cannot_be_ordered_for(portal: Portal) -> None:
    body = portal.order_body(portal.project())
    said = portal.post("/api/marketplace-orders/", body, "token_b", 400)
    assert said == {"project": ["Invalid hyperlink - Object does not exist."]}


def test_what_can_be_said_to_an_order(portal: Portal) -> None:
    order = portal.order()
    path = f"/api/marketplace-orders/{order['uuid']}"
    portal.post(f"{path}/approve_by_provider/", status=403)
    portal.post(f"{path}/approve_by_provider/", who="token_b", status=404)
    said = portal.post(f"{path}/approve_by_consumer/", status=409)
    assert said == {"detail": "Valid states for operation: pending-consumer."}
    portal.post(f"{path}/reject_by_provider/", {"comment": "no room"}, "provider_token")
    shown = portal.get(f"{path}/")
    assert (shown["state"], shown["comment"], shown["items"][0]["state"]) == ("rejected", "no room", "terminated")
    other = portal.order()
    answer = portal.call("POST", f"/api/marketplace-orders/{other['uuid']}/cancel/")
    assert answer.status_code == 202
    third = portal.order()
    assert portal.call("DELETE", f"/api/marketplace-orders/{third['uuid']}/").status_code == 204
    assert portal.get(f"/api/marketplace-orders/{third['uuid']}/")["state"] == "canceled"
    fourth = portal.order()
    assert (
        portal.call("POST", f"/api/marketplace-order-items/{fourth['uuid']}/approve/", "provider_token").status_code
        == 200
    )
    assert portal.get(f"/api/marketplace-order-items/{fourth['uuid']}/")["state"] == "done"


def test_limits_are_changed_and_only_those_that_are_named(portal: Portal) -> None:
    resource = portal.resource()
    path = f"/api/marketplace-resources/{resource['uuid']}"
    answer = portal.post(f"{path}/update_limits/", {"limits": {"gpu_hours": 50}})
    said = portal.post(f"{path}/update_limits/", {"limits": {"gpu_hours": 51}}, status=400)
    assert said == ["Pending order for resource already exists."]
    assert portal.post(f"{path}/terminate/", status=400) == said
    portal.approve({"uuid": answer["order_uuid"]})
    assert portal.get(f"{path}/")["limits"] == {"cpu_hours": 10, "gpu_hours": 50, "storage": 2}
    said = portal.post(f"{path}/update_limits/", {"limits": {"gpu_hours": 50}}, status=400)
    assert said == ["Impossible to create update orders with limits set to exactly the same."]
    portal.post(f"{path}/update_limits/", {"limits": {"gpu_hours": 1}}, "token_b", 404)
    end = portal.post(f"{path}/terminate/", {"attributes": {}})
    portal.approve({"uuid": end["order_uuid"]})
    assert portal.get(f"{path}/")["state"] == "Terminated"
    said = portal.post(f"{path}/update_limits/", {"limits": {"gpu_hours": 1}}, status=409)
    assert said == {"detail": "Valid states for operation: OK."}
    assert portal.call("DELETE", f"{path}/").status_code == 405


def test_a_dry_run_says_what_would_be(portal: Portal) -> None:
    project = portal.project()
    body = portal.order_body(project)
    said = portal.post("/api/marketplace-orders/?dry_run=true", body)
    assert (said["state"], float(said["cost"])) == ("pending-provider", 3.501)
    assert portal.get("/api/marketplace-orders/", project_uuid=project["uuid"]) == []
    resource = portal.resource(project)
    path = f"/api/marketplace-resources/{resource['uuid']}/update_limits/?dry_run=true"
    assert portal.post(path, {"limits": {"gpu_hours": 6}})["limits"]["gpu_hours"] == 6
    assert portal.post(path, {"limits": {"gpu_hours": 600}}, status=400)["non_field_errors"]


def test_the_same_key_again_is_the_same_thing(portal: Portal) -> None:
    headers = {"Idempotency-Key": "portal-1"}
    body = {"customer": portal.url("customers", portal.example["customer"]), "name": "Once"}
    made = [portal.call("POST", "/api/projects/", json=body, headers=headers).json()["uuid"] for _ in range(2)]
    assert made[0] == made[1]
    other = portal.call("POST", "/api/projects/", json=body | {"name": "Twice"}, headers=headers)
    assert other.status_code == 409
    order = portal.order_body(portal.get(f"/api/projects/{made[0]}/"))
    headers = {"Idempotency-Key": "portal-2"}
    orders = [portal.call("POST", "/api/marketplace-orders/", json=order, headers=headers) for _ in range(2)]
    assert orders[0].json()["uuid"] == orders[1].json()["uuid"]


def test_a_project_with_allocations_is_not_removed(portal: Portal) -> None:
    project = portal.project()
    resource = portal.resource(project)
    path = f"/api/projects/{project['uuid']}/"
    refused = portal.call("DELETE", path)
    assert (refused.status_code, isinstance(refused.json(), list)) == (400, True)
    order = portal.post(f"/api/marketplace-resources/{resource['uuid']}/terminate/")
    portal.approve({"uuid": order["order_uuid"]})
    assert portal.call("DELETE", path).status_code == 204
    assert portal.call("GET", path).status_code == 404


def test_what_a_provider_says_of_an_allocation(portal: Portal) -> None:
    resource = portal.resource()
    path = f"/api/marketplace-provider-resources/{resource['uuid']}"
    report = [{"header": "Notice", "body": "All is well"}]
    for action, body in (
        ("set_backend_id", {"backend_id": "slurm-1"}),
        ("submit_report", {"report": report}),
        ("refresh_last_sync", {}),
        ("set_limits", {"limits": {"cpu_hours": 3}}),
        ("set_as_erred", {"error_message": "broken"}),
        ("set_as_ok", {}),
        ("set_backend_metadata", {"backend_metadata": {"x": 1}}),
    ):
        assert "status" in portal.post(f"{path}/{action}/", body, "provider_token")
        portal.post(f"{path}/{action}/", body, status=403)
        portal.post(f"{path}/{action}/", body, "token_b", 404)
    shown = portal.get(f"{path}/", "provider_token")
    assert (shown["backend_id"], shown["report"], shown["state"]) == ("slurm-1", report, "OK")
    assert shown["limits"]["cpu_hours"] == 3
    assert shown["project_name"] == "Climate"
    assert [
        one["uuid"]
        for one in portal.get("/api/marketplace-provider-resources/", "provider_token", backend_id="slurm-1")
    ] == [resource["uuid"]]
    assert portal.get("/api/marketplace-provider-resources/") == []
    seed = f"/api/marketplace-resources/{resource['uuid']}/set_state_by_provider/"
    portal.post(seed, {"state": "terminated"}, "provider_token")
    assert portal.get(f"{path}/", "provider_token")["state"] == "Terminated"


def test_an_allocation_is_renamed(portal: Portal) -> None:
    resource = portal.resource()
    path = f"/api/marketplace-resources/{resource['uuid']}/"
    answer = portal.call("PATCH", path, json={"name": "new", "limits": {"cpu_hours": 1}})
    assert answer.json() == {"name": "new", "description": "", "end_date": None}
    assert portal.get(path)["limits"]["cpu_hours"] == 10
    assert (
        portal.get("/api/marketplace-resources/", name_exact="new", state=["OK", "Erred"])[0]["uuid"]
        == resource["uuid"]
    )


def test_the_team_and_the_plan_periods_of_an_allocation(portal: Portal) -> None:
    project, user = portal.project(), portal.map()
    portal.post(f"/api/projects/{project['uuid']}/add_user/", {"user": user, "role": "PROJECT.MEMBER"}, status=201)
    resource = portal.resource(project)
    (member,) = portal.get(f"/api/marketplace-provider-resources/{resource['uuid']}/team/", "provider_token")
    assert (member["uuid"], member["role"], member["url"]) == (user, "PROJECT.MEMBER", portal.url("users", user))
    (period,) = portal.get(f"/api/marketplace-resources/{resource['uuid']}/plan_periods/")
    assert (period["plan_name"], period["components"]) == ("Standard", [])
    body = {"plan_period": period["uuid"], "usages": [{"type": "storage", "amount": 1}]}
    portal.post("/api/marketplace-component-usages/set_usage/", body, "provider_token", 201)
    (period,) = portal.get(f"/api/marketplace-resources/{resource['uuid']}/plan_periods/")
    assert [usage["usage"] for usage in period["components"]] == ["1.00"]


# Usage and invoices ---------------------------------------------------------------------------------------------------


def report(portal: Portal, resource: Json, who: str = "provider_token", status: int = 201, **more: Any) -> Any:
    body = {"resource": resource["uuid"], "usages": [{"type": "cpu_hours", "amount": "1.5"}]} | more
    return portal.post("/api/marketplace-component-usages/set_usage/", body, who, status)


def test_usage_is_reported_replaced_and_listed(portal: Portal) -> None:
    resource = portal.resource()
    assert report(portal, resource) is None
    report(portal, resource, usages=[{"type": "cpu_hours", "amount": 2, "description": "more"}])
    (usage,) = portal.get("/api/marketplace-component-usages/", resource_uuid=resource["uuid"])
    assert (usage["usage"], usage["description"], usage["type"]) == ("2.00", "more", "cpu_hours")
    assert re.fullmatch(r"\d{4}-\d\d-01", usage["billing_period"])
    assert portal.get(f"/api/marketplace-resources/{resource['uuid']}/")["current_usages"] == {"cpu_hours": 2}
    assert portal.get("/api/marketplace-component-usages/", "token_b", resource_uuid=resource["uuid"]) == []
    share = f"/api/marketplace-component-usages/{usage['uuid']}/set_user_usage/"
    portal.post(share, {"username": "jane", "usage": 1}, "provider_token", 201)
    (split,) = portal.get("/api/marketplace-component-user-usages/", resource_uuid=resource["uuid"])
    assert (split["username"], split["usage"]) == ("jane", "1.00")


def test_what_can_be_wrong_with_usage(portal: Portal) -> None:
    resource = portal.resource()
    report(portal, resource, "token", 403)
    report(portal, resource, "token_b", 400)
    said = report(portal, resource, status=400, usages=[{"type": "zz", "amount": 1}])
    assert said == {"non_field_errors": ["These components are invalid: zz."]}
    for amount in ("x", None, "NaN"):
        said = report(portal, resource, status=400, usages=[{"type": "cpu_hours", "amount": amount}])
        assert said == {"usages": [{"amount": ["A valid number is required."]}]}
    for bad in ("1.234", -1):
        report(portal, resource, status=400, usages=[{"type": "cpu_hours", "amount": bad}])
    said = portal.post("/api/marketplace-component-usages/set_usage/", {"usages": []}, "provider_token", 400)
    assert said == {"non_field_errors": ["Either plan_period or resource should be provided."]}
    order = portal.order()
    said = report(portal, {"uuid": order["marketplace_resource_uuid"]}, status=400)
    assert said == {"resource": ["Resource is not in valid state."]}


def test_there_is_one_invoice_of_a_month(portal: Portal) -> None:
    resource = portal.resource()
    report(portal, resource)
    (today,) = portal.owner.execute("SELECT engine_now()").fetchone() or ()
    params: Json = {"customer_uuid": portal.example["customer"], "year": today.year, "month": today.month}
    (invoice,) = portal.get("/api/invoices/", **params)
    assert (invoice["state"], invoice["price"], invoice["tax"]) == ("pending", invoice["total"], "0.00")
    mine = [item for item in invoice["items"] if item["resource_uuid"] == resource["uuid"]]
    prices = {item["details"]["offering_component_type"]: item["unit_price"] for item in mine}
    assert prices == {"cpu_hours": "0.1000000000", "gpu_hours": "0.5000000000", "storage": "0.0005000000"}
    assert all(0 < float(item["quantity"]) <= 10 for item in mine if item["unit"] == "month")
    total = sum(float(item["price"]) for item in invoice["items"])
    assert float(invoice["price"]) == pytest.approx(total)
    assert portal.get("/api/invoices/", "token_b", **params) == []


# Apart, and the catalogue ---------------------------------------------------------------------------------------------


def test_what_is_another_allocators_is_not_there(portal: Portal) -> None:
    project = portal.project()
    resource = portal.resource(project)
    report(portal, resource)
    (order,) = portal.get("/api/marketplace-orders/", resource_uuid=resource["uuid"])
    (usage,) = portal.get("/api/marketplace-component-usages/", resource_uuid=resource["uuid"])
    things = {"projects": project, "marketplace-resources": resource, "marketplace-orders": order}
    things |= {"marketplace-component-usages": usage, "customers": {"uuid": portal.example["customer"]}}
    for endpoint, thing in things.items():
        answer = portal.call("GET", f"/api/{endpoint}/{thing['uuid']}/", "token_b")
        assert answer.status_code == 404, endpoint
        assert thing["uuid"] not in [row["uuid"] for row in portal.get(f"/api/{endpoint}/", "token_b", page_size=300)]
        assert portal.call("GET", f"/api/{endpoint}/{thing['uuid']}/", "admin_token").status_code == 200


def test_a_member_sees_a_project_and_may_not_change_it(portal: Portal) -> None:
    project, user = portal.project(), portal.map()
    path = f"/api/projects/{project['uuid']}/"
    assert portal.call("GET", path, "researcher_token").status_code == 404
    portal.post(f"{path}add_user/", {"user": user, "role": "member"}, status=201)
    assert portal.get(path, "researcher_token")["name"] == "Climate"
    refused = portal.call("PATCH", path, "researcher_token", json={"name": "mine"})
    assert (refused.status_code, refused.json()) == (
        403,
        {"detail": "You do not have permission to perform this action."},
    )
    order = portal.post("/api/marketplace-orders/", portal.order_body(project), "researcher_token", 201)
    assert order["state"] == "pending-consumer"
    assert portal.get("/api/marketplace-orders/", can_approve_as_consumer="True", project_uuid=project["uuid"])
    portal.post(f"/api/marketplace-orders/{order['uuid']}/approve_by_consumer/")
    assert portal.get(
        "/api/marketplace-orders/", "provider_token", can_approve_as_provider=True, project_uuid=project["uuid"]
    )


def test_staff_makes_customers_and_categories_and_providers_offerings(portal: Portal) -> None:
    body = {"name": "Allocator C", "abbreviation": "ALC", "email": "c@example.net"}
    portal.post("/api/customers/", body, status=403)
    made = portal.post("/api/customers/", body, "admin_token", 201)
    assert (made["abbreviation"], portal.get("/api/customers/", "admin_token", abbreviation="alc")[0]["uuid"]) == (
        "ALC",
        made["uuid"],
    )
    portal.post("/api/marketplace-categories/", {"title": "Cloud"}, status=403)
    category = portal.post("/api/marketplace-categories/", {"title": "Cloud"}, "admin_token", 201)
    provider = portal.get("/api/customers/", "provider_token")[0]
    offering = {
        "name": "VM",
        "customer": provider["url"],
        "category": category["url"],
        "terms_of_service": "Be kind",
        "components": [{"type": "vm", "name": "VMs", "max_value": 5}],
        "plans": [{"name": "Free", "prices": {"vm": 0}}],
    }
    portal.post("/api/marketplace-provider-offerings/", offering, status=400)
    draft = portal.post("/api/marketplace-provider-offerings/", offering, "provider_token", 201)
    assert (draft["state"], draft["terms_of_service"]) == ("Draft", "Be kind")
    path = f"/api/marketplace-provider-offerings/{draft['uuid']}"
    assert portal.call("GET", f"{path}/").status_code == 404
    portal.post(f"{path}/set_component/", {"type": "disk", "measured_unit": "GB"}, "provider_token", 201)
    portal.post(f"{path}/activate/", who="provider_token")
    shown = portal.get(f"/api/marketplace-public-offerings/{draft['uuid']}/")
    assert [part["type"] for part in shown["components"]] == ["vm", "disk"]
    plan = shown["plans"][0]
    for path in (
        f"/api/marketplace-public-offerings/{draft['uuid']}/plans/{plan['uuid']}/",
        f"/api/marketplace-plans/{plan['uuid']}/",
    ):
        assert portal.get(path)["name"] == "Free"
    portal.post(f"/api/marketplace-provider-offerings/{draft['uuid']}/pause/", {"paused_reason": "x"}, "provider_token")
    body = portal.order_body(portal.project(), offering=shown["url"], plan=None, limits={})
    assert portal.post("/api/marketplace-orders/", body, status=400) == {"offering": ["Offering is not available."]}


def test_the_pool_is_shared_by_all_allocators(portal: Portal) -> None:
    pool: Json = {"offering": portal.url("marketplace-public-offerings", portal.example["pool_offering"]), "plan": None}
    order = portal.order(limits={"gpu_hours": 60}, **pool)
    body = portal.order_body(portal.project(), limits={"gpu_hours": 41}, **pool)
    said = portal.post("/api/marketplace-orders/", body, status=400)
    assert said == {"non_field_errors": ["The total limit of Gpu Hours would exceed what is available."]}
    portal.post(f"/api/marketplace-orders/{order['uuid']}/cancel/", status=202)
    portal.post("/api/marketplace-orders/", body, status=201)


def test_a_token_and_a_key_open_both_surfaces(portal: Portal) -> None:
    assert portal.call("GET", "/v1/me").json()["username"] == portal.example["username"]
    account = "SELECT a.id FROM tenant_customer AS a WHERE a.customer_id = %s"
    row = portal.owner.execute(account, [UUID(portal.example["customer"])]).fetchone()
    assert row is not None
    (key,) = portal.owner.execute("SELECT api_key_create(%s, 'portal')", row).fetchone() or ()
    headers = {"Authorization": f"Token {key}"}
    assert portal.client.get("/api/customers/", headers=headers).json()[0]["uuid"] == portal.example["customer"]


@pytest.mark.parametrize("noun", ["projects", "offerings", "allocations", "allocation-orders", "invoices"])
def test_people_see_them_under_v1(portal: Portal, noun: str) -> None:
    resource = portal.resource()
    name = noun.replace("-", "_")
    (row, *_) = portal.get(f"/v1/{noun}", limit=1)[name]
    answer = portal.call("GET", f"/v1/{noun}/{row['id']}")
    assert answer.json() == row
    assert (
        portal.call("GET", f"/v1/{noun}/{row['id']}", headers={"If-None-Match": answer.headers["ETag"]}).status_code
        == 304
    )
    if noun != "offerings":
        assert portal.call("GET", f"/v1/{noun}/{row['id']}", "token_b").status_code == 404
    if noun == "allocations":
        assert (row["id"], row["limits"]["cpu_hours"]) == (str(UUID(resource["uuid"])), 10)


# Filters --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(portal: Portal) -> Json:
    """One of each, and what its filters are given to find it."""
    project = portal.project(name="Sought", description="of filters", backend_id="f_1", end_date="2099-12-31")
    resource = portal.resource(project, attributes={"name": "sought run"})
    usage = {"resource": resource["uuid"], "usages": [{"type": "cpu_hours", "amount": 1}]}
    portal.post("/api/marketplace-component-usages/set_usage/", usage, "provider_token", 201)
    provider = resource["provider_uuid"]
    backend = {"backend_id": "slurm-f"}
    portal.post(f"/api/marketplace-provider-resources/{resource['uuid']}/set_backend_id/", backend, "provider_token")
    portal.post(f"/api/projects/{project['uuid']}/add_user/", {"user": portal.map(), "role": "admin"}, status=201)
    details = {"attributes": {"vendor": "ACME", "nodes": 4}}
    offering = f"/api/marketplace-provider-offerings/{portal.example['offering']}/"
    assert portal.call("PATCH", offering, "provider_token", json=details).status_code == 200
    order = portal.get("/api/marketplace-orders/", resource_uuid=resource["uuid"])[0]
    return {
        "project": project["uuid"],
        "resource": resource["uuid"],
        "order": order["uuid"],
        "provider": provider,
        "customer": portal.example["customer"],
        "user": portal.map(),
        "me": portal.get("/api/users/me/")["uuid"],
        "offering": portal.example["offering"],
        "plan": resource["plan_uuid"],
        "category": resource["category_uuid"],
        "cuid": portal.example["cuid"],
        "abbreviation": portal.example["abbreviation"],
        "hyphens": str(UUID(project["uuid"])),
        "day": order["created"][:10],
        "month": order["created"][:7],
        "none": "0" * 32,
        "month_number": str(int(order["created"][5:7])),
    }


# Of each list: which of the world's things is sought, what finds it, and what does not.
FILTERS: dict[str, tuple[str, list[tuple[str, str, str]]]] = {
    "customers": (
        "customer",
        [
            *(("name", "uhur", "uhux"), ("name_exact", "Puhuri", "Puhur"), ("native_name", "", "zz")),
            *(("abbreviation", "{abbreviation}", "zz"), ("query", "puhu", "zz"), ("backend_id", "", "zz")),
            *(
                ("owned_by_current_user", "True", ""),
                ("user_uuid", "{me}", "{none}"),
                ("user_uuid", "{user}", "{none}"),
            ),
            *(("is_service_provider", "false", "true"), ("archived", "False", "True")),
        ],
    ),
    "projects": (
        "project",
        [
            *(("name", "soug", "zz"), ("name_exact", "Sought", "sough"), ("description", "FILTERS", "zz")),
            *(("backend_id", "f_1", "f_"), ("customer", "{none},{customer}", "{none}"), ("customer_name", "puh", "zz")),
            *(("customer_abbreviation", "{abbreviation}", "zz"), ("abbreviation", "{abbreviation}", "zz")),
            *(("customer_native_name", "", "zz"), ("query", "f_1", "zz"), ("created", "{day}", "2099-01-01")),
            *(("can_manage", "true", "false"), ("can_admin", "false", "true")),
            ("customer_uuid", "{customer}", "{none}"),
        ],
    ),
    "users": (
        "user",
        [
            *(("username", "{cuid}", "zz"), ("full_name", "jane", "zz"), ("email", "", "zz")),
            *(("is_active", "true", "false"), ("query", "jane", "zz")),
        ],
    ),
    "project-permissions": (
        "project",
        [
            *(("project", "{hyphens}", "{none}"), ("user", "{user}", "{none}"), ("username", "{cuid}", "zz")),
            *(("full_name", "JANE", "zz"), ("customer", "{customer}", "{none}"), ("role", "admin", "manager")),
            *(("native_name", "", "zz"), ("project_url", "http://testserver/api/projects/{project}/", "http://x/")),
            ("user_url", "http://testserver/api/users/{user}/", "http://testserver/api/projects/{user}/"),
        ],
    ),
    "marketplace-public-offerings": (
        "offering",
        [
            *(("name", "lumi acc", "zz"), ("name_exact", "LUMI Acceptance", "LUMI"), ("keyword", "ACCEPT", "zz")),
            *(
                ("customer", "http://testserver/api/customers/{provider}/", ""),
                ("customer_uuid", "{provider}", "{none}"),
            ),
            *(("allowed_customer_uuid", "{customer}", ""), ("project_uuid", "{project}", "")),
            *(("category_uuid", "{category}", "{none}"), ("uuid_list", "{none},{offering}", "{none}")),
            *(("type", "Marketplace.Basic", "Marketplace.Other"), ("state", "Active", "Archived")),
            *(("shared", "True", "False"), ("billable", "true", "false")),
            *(("attributes", '{{"vendor": "ACME"}}', '{{"vendor": "Other"}}'), ("service_manager_uuid", "", "{none}")),
        ],
    ),
    "marketplace-orders": (
        "order",
        [
            *(("state", "done", "erred"), ("type", "Create", "Terminate"), ("project_uuid", "{project}", "{none}")),
            *(("customer_uuid", "{customer}", "{none}"), ("offering_uuid", "{offering}", "{none}")),
            *(("provider_uuid", "{provider}", "{none}"), ("resource_uuid", "{resource}", "{none}")),
            *(("resource", "http://testserver/api/marketplace-resources/{resource}/", ""), ("query", "sought", "zz")),
            *(("created", "{day}", "2099-01-01"), ("modified", "{day}", "2099-01-01")),
            *(("can_approve_as_consumer", "false", "true"), ("can_approve_as_provider", "false", "true")),
        ],
    ),
    "marketplace-resources": (
        "resource",
        [
            *(("state", "OK", "Erred"), ("name", "SOUGHT", "zz"), ("name_exact", "sought run", "sought")),
            *(("project_uuid", "{hyphens}", "{none}"), ("project_name", "ought", "zz"), ("query", "slurm-f", "zz")),
            *(("customer_uuid", "{customer}", "{none}"), ("offering_uuid", "{offering}", "{none}")),
            *(("provider_uuid", "{provider}", "{none}"), ("category_uuid", "{category}", "{none}")),
            *(("plan_uuid", "{plan}", "{none}"), ("backend_id", "slurm-f", "slurm")),
            ("customer", "http://testserver/api/customers/{customer}/", "http://testserver/api/customers/{none}/"),
            ("offering", "http://testserver/api/marketplace-offerings/{offering}/", ""),
            *(("created", "{day}", "2099-01-01"), ("modified", "{day}", "2099-01-01")),
        ],
    ),
    "marketplace-component-usages": (
        "resource",
        [
            *(("resource_uuid", "{resource}", "{none}"), ("offering_uuid", "{offering}", "{none}")),
            *(("project_uuid", "{project}", "{none}"), ("customer_uuid", "{customer}", "{none}")),
            *(("type", "cpu_hours", "gpu_hours"), ("date_after", "{day}", "2099-01-01")),
            *(("date_before", "2099-01-01", "2001-01-01"), ("billing_period", "{month}-01", "2001-01-01")),
            *(("billing_period", "{month}", "2001-01"), ("billing_period_year", "{month:.4}", "2001")),
            ("billing_period_month", "{month_number}", "13"),
            ("resource", "http://testserver/api/marketplace-provider-resources/{resource}/", ""),
        ],
    ),
}
KEYS = {"project-permissions": "project_uuid", "marketplace-component-usages": "resource_uuid"}


@pytest.mark.parametrize("endpoint", FILTERS)
def test_every_filter_finds_what_it_is_given_and_nothing_else(portal: Portal, world: Json, endpoint: str) -> None:
    thing, filters = FILTERS[endpoint]
    key = KEYS.get(endpoint, "uuid")

    def found(name: str, value: str) -> bool:
        rows = portal.get(f"/api/{endpoint}/", page_size=300, **{name: value.format(**world)})
        return any(row[key] == world[thing] for row in rows)

    right = {(name, value): found(name, value) for name, value, _ in filters if value}
    wrong = {(name, value): found(name, value) for name, _, value in filters if value}
    assert [each for each, is_found in right.items() if not is_found] == []
    assert [each for each, is_found in wrong.items() if is_found] == []


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("projects/?customer=zz", {"customer": ["Enter a valid UUID."]}),
        ("customers/?user_uuid=zz", {"user_uuid": ["Enter a valid UUID."]}),
        ("projects/?o=zz", {"o": ["Select a valid choice. zz is not one of the available choices."]}),
        ("marketplace-orders/?state=zz", {"state": ["Select a valid choice. zz is not one of the available choices."]}),
        ("marketplace-component-usages/?date_after=zz", {"date_after": ["Enter a valid date."]}),
        ("marketplace-component-usages/?billing_period=zz", {"billing_period": ["Enter a valid date."]}),
        ("marketplace-offerings/?attributes=zz", ["Filter attribute is not valid json."]),
        ("marketplace-offerings/?project_uuid=zz", {"project_uuid": ["Enter a valid UUID."]}),
    ],
)
def test_a_filter_that_cannot_be_read_is_refused(portal: Portal, path: str, said: Any) -> None:
    answer = portal.call("GET", f"/api/{path}")
    assert (answer.status_code, answer.json()) == (400, said)


def test_an_offering_that_is_granted_is_offered_to_the_projects_of_that_customer(portal: Portal) -> None:
    offering, mine = portal.example["pool_offering"], portal.example["customer"]
    path, project = f"/api/marketplace-provider-offerings/{offering}/", portal.project()

    def offered(**filters: str) -> bool:
        rows = portal.get("/api/marketplace-public-offerings/", page_size=300, **filters)
        return any(row["uuid"] == offering for row in rows)

    for shared, granted, expected in ((False, [], False), (False, [str(UUID(mine))], True), (True, [], True)):
        portal.owner.execute(
            "SELECT offering_change(%s, %s)",
            [UUID(offering), psycopg.types.json.Jsonb({"is_shared": shared, "granted": granted})],
        )
        assert offered(project_uuid=project["uuid"]) is expected
        assert offered(allowed_customer_uuid=mine) is expected
        assert (portal.call("GET", path).status_code == 200) is expected


def test_a_line_of_an_invoice_is_a_thing_of_its_own(portal: Portal, world: Json) -> None:
    invoice = portal.get("/api/invoices/", customer_uuid=portal.example["customer"])[0]
    lines = [item for item in invoice["items"] if item["resource_uuid"] == world["resource"]]
    assert lines
    assert portal.call("GET", lines[0]["url"]).json() == lines[0]
    assert portal.get("/api/invoice-items/", resource_uuid=world["resource"], page_size=300) == lines
    assert portal.get("/api/invoice-items/", "token_b", resource_uuid=world["resource"]) == []


# What there is --------------------------------------------------------------------------------------------------------


def test_the_surface_describes_itself(portal: Portal) -> None:
    described = portal.client.get("/api/schema/").json()
    lists = [path for path, one in described["paths"].items() if len(one.get("get", {}).get("parameters", ())) > 4]
    assert {path.split("/")[2] for path in lists} >= FILTERS.keys()
    for endpoint, (_, filters) in FILTERS.items():
        known = {each["name"] for each in described["paths"][f"/api/{endpoint}/"]["get"]["parameters"]}
        assert known == {name for name, _, _ in filters} | {"page", "page_size", "field", "o"}
    for path, operations in described["paths"].items():
        concrete = path.replace("{id}", "0" * 32).replace("{plan}", "0" * 32).replace("{pk}", "0")
        allowed = portal.call("OPTIONS", concrete).headers["Allow"].lower().split(", ")
        assert set(allowed) == operations.keys() - {"parameters"}, path


def test_a_portal_that_is_a_page_of_another_host_may_read_it(portal: Portal) -> None:
    asked = {"Origin": "https://portal.example", "Access-Control-Request-Method": "PATCH"}
    before = portal.client.options(f"/api/projects/{'0' * 32}/", headers=asked)
    assert "PATCH" in before.headers["Access-Control-Allow-Methods"]
    assert "Authorization" in before.headers["Access-Control-Allow-Headers"]
    for path, status in (("/api/projects/", 200), ("/api/projects/zz/", 404)):
        answer = portal.call("GET", path, headers=asked)
        assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (status, "*")
        assert {"Link", "X-Result-Count"} <= set(answer.headers["Access-Control-Expose-Headers"].split(", "))
