"""Lists of domains, contacts, name servers and certificates, in SQL and over the API."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from provision_api.app import make_app
from starlette.testclient import TestClient

from provision.database import connect

from . import api_fixtures, sql_fixtures
from .api_fixtures import Api
from .conftest import _clone
from .sql_fixtures import Json, Shop, acting_as, certificate_item, contact_item, domain_item, host_item, refused
from .tenancy_fixtures import asking, member, new_user

KINDS = ("domain", "contact", "host", "certificate")


def customer_of(shop: Shop, account: Any) -> api_fixtures.Customer:
    return api_fixtures.Customer(account, shop.value("SELECT api_key_create(%s, 'shop')", account))


@pytest.fixture(scope="module")
def stocked(server_url: str, template: str) -> Iterator[Shop]:
    """Two customers with the same kinds of things; the first has five names. The tests of the module add to it."""
    with _clone(server_url, template) as clone, connect(clone.url, "tests", autocommit=True) as owner:
        shop = Shop(owner)
        shop.zone("co.test", shop.registry)
        other = shop.customer("Other Ltd")
        for account, names in ((shop.account, ("a", "b", "c", "d")), (other, ("x",))):
            for name in names:
                shop.done(domain_item(f"{name}-shop.test"), certificate_item(f"{name}.example.test"), account=account)
        shop.done(domain_item("e-shop.co.test", hosts=["ns8.example.net", "ns9.example.net"]))
        shop.database = clone  # type: ignore[attr-defined]
        yield shop


@pytest.fixture(scope="module")
def api(stocked: Shop) -> Iterator[Api]:
    """The API as the first customer calls it."""
    app = make_app(api_fixtures.settings_for(stocked.database.url))  # type: ignore[attr-defined]
    with TestClient(app) as client:
        yield Api(app, client, stocked.connection, customer_of(stocked, stocked.account))


def names(api: Api, path: str, key: str = "name") -> list[str]:
    """What a list has."""
    answer = api.call("GET", path)
    assert answer.status_code == 200, answer.text
    ((_, rows),) = answer.json().items()
    return [row[key] for row in rows]


def test_a_domain_is_seen_with_all_there_is_to_know_but_its_secret(api: Api, stocked: Shop) -> None:
    change = {"name": "a-shop.test", "statuses": ["clientHold"], "ds_records": []}
    stocked.done({"operation": "domain.update", "data": change})
    (listed,) = api.call("GET", "/v1/domains?name=a-shop.test").json()["domains"]
    seen = api.call("GET", f"/v1/domains/{listed['id']}")
    assert seen.json() == listed
    assert {key: listed[key] for key in ("name", "accreditation", "hosts", "contacts", "statuses", "rgp_state")} == {
        "name": "a-shop.test",
        "accreditation": "registry",
        "hosts": ["ns1.example.net", "ns2.example.net"],
        "contacts": {"registrant": ["jane"], "admin": ["tech"]},
        "statuses": ["clientHold"],
        "rgp_state": None,
    }
    assert listed["ry_expiry_date"].startswith("2027-03-01")
    secret = stocked.value(
        "SELECT s.value FROM secret AS s JOIN domain AS d ON d.auth_info_ref = 'db:' || s.id LIMIT 1"
    )
    assert secret not in seen.text
    again = api.call("GET", f"/v1/domains/{listed['id']}", headers={"If-None-Match": seen.headers["ETag"]})
    assert again.status_code == 304


def test_lists_are_read_page_by_page_newest_first_without_a_gap(api: Api) -> None:
    pages: list[list[str]] = []
    path: str | None = "/v1/domains?limit=2&contact=jane&expires_before=2027-06-01T00:00:00Z"
    while path:
        answer = api.call("GET", path)
        pages.append([row["name"] for row in answer.json()["domains"]])
        path = answer.links.get("next", {}).get("url")
    assert pages == [["e-shop.co.test", "d-shop.test"], ["c-shop.test", "b-shop.test"], ["a-shop.test"]]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("name=b-shop.test", ["b-shop.test"]),
        ("name=x-shop.test", []),
        ("zone=co.test", ["e-shop.co.test"]),
        ("host=ns9.example.net", ["e-shop.co.test"]),
        ("contact=nobody", []),
        ("contact=tech&zone=co.test", ["e-shop.co.test"]),
        ("accreditation=desk", []),
        ("accreditation=registry&limit=1", ["e-shop.co.test"]),
        ("status=serverHold", []),
        ("expires_before=2027-01-01T00:00:00Z", []),
        ("expires_after=2027-01-01T00:00:00Z&zone=co.test", ["e-shop.co.test"]),
        ("is_live=false", []),
    ],
)
def test_lists_have_filters(api: Api, query: str, found: list[str]) -> None:
    assert names(api, f"/v1/domains?{query}") == found


def test_the_other_lists_have_theirs(api: Api, stocked: Shop) -> None:
    assert names(api, "/v1/contacts?reference=jane", "reference") == ["jane"]
    handle = stocked.value("SELECT handle FROM v_contact WHERE reference = 'tech' LIMIT 1")
    assert names(api, f"/v1/contacts?handle={handle}", "reference") == ["tech"]
    assert names(api, "/v1/contacts?email=nobody@example.net", "reference") == []
    assert names(api, "/v1/hosts?name=ns9.example.net") == ["ns9.example.net"]
    assert names(api, "/v1/certificates?domain_name=b.example.test", "domain_name") == ["b.example.test"]
    assert names(api, "/v1/certificates?expires_before=2027-01-01T00:00:00Z", "domain_name") == []


def test_what_was_deleted_is_listed_as_such_only(api: Api, stocked: Shop) -> None:
    stocked.done(contact_item("zoe"), host_item("ns7.example.net"))
    for operation, data in (("contact.delete", {"reference": "zoe"}), ("host.delete", {"name": "ns7.example.net"})):
        stocked.done({"operation": operation, "data": data})
    assert names(api, "/v1/contacts?reference=zoe", "reference") == []
    assert names(api, "/v1/contacts?is_live=false", "reference") == ["zoe"]
    assert names(api, "/v1/hosts?is_live=false&limit=1") == ["ns7.example.net"]


@pytest.mark.parametrize("query", ["colour=red", "limit=0", "limit=201", "after=x", "expires_before=soon", "is_live=2"])
def test_a_query_of_another_shape_is_refused(api: Api, query: str) -> None:
    assert api.call("GET", f"/v1/domains?{query}").status_code == 400


@pytest.fixture(scope="module")
def other(stocked: Shop) -> api_fixtures.Customer:
    """The other customer."""
    account = stocked.value("SELECT tenant_customer_id FROM domain WHERE name = 'x-shop.test'")
    return customer_of(stocked, account)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_anothers_is_not_listed_and_not_found(api: Api, other: api_fixtures.Customer, kind: str) -> None:
    theirs = api.client.get(f"/v1/{kind}s", headers=other.headers).json()[f"{kind}s"]
    ours = api.call("GET", f"/v1/{kind}s?limit=200").json()[f"{kind}s"]
    assert theirs
    assert ours
    assert {row["id"] for row in theirs} & {row["id"] for row in ours} == set()
    answer = api.call("GET", f"/v1/{kind}s/{theirs[0]['id']}")
    assert (answer.status_code, answer.json()["title"]) == (404, answer.json()["title"])
    missing = api.call("GET", f"/v1/{kind}s/00000000-0000-7000-8000-000000000000")
    assert missing.json()["title"] == answer.json()["title"]


def test_an_org_lists_its_own_only(stocked: Shop) -> None:
    mine = stocked.org()
    stocked.done(domain_item("mine.test"), org_id=str(mine))
    page = "SELECT d.name FROM v_domain AS d WHERE d.id = ANY (ARRAY(SELECT domain_page(%s)))"
    with (
        stocked.connection.transaction(),
        acting_as(stocked.connection, "provision_api", caller_customer=stocked.account, caller_org=mine),
    ):
        assert stocked.values(page, "{}") == ["mine.test"]
    with (
        stocked.connection.transaction(),
        acting_as(stocked.connection, "provision_api", caller_customer=stocked.account),
    ):
        assert stocked.values(page, f'{{"org_id": "{mine}"}}') == ["mine.test"]
        assert set(stocked.values(page, "{}")) > {"mine.test", "a-shop.test"}


def test_other_systems_read_pages_in_sql(stocked: Shop) -> None:
    login = sql_fixtures.integration_login(stocked)
    with stocked.connection.transaction(), acting_as(stocked.connection, login):
        ids = stocked.values('SELECT domain_page(\'{"zone": "test"}\', NULL, 2)')
        assert ids == stocked.values("SELECT id FROM v_domain WHERE id = ANY (%s) ORDER BY id DESC", ids)
        assert all(id < ids[-1] for id in stocked.values("SELECT domain_page('{}', %s, 9)", ids[-1]))
        with refused(stocked.connection, "PV400", "domain cannot be filtered by colour"):
            stocked.value('SELECT domain_page(\'{"colour": "red"}\')')


# Secrets --------------------------------------------------------------------------------------------------------------


def domain_id(stocked: Shop, name: str) -> Any:
    return stocked.value("SELECT id FROM domain WHERE name = %s", name)


def test_a_secret_is_shown_to_its_owner_by_a_path_of_its_own_and_that_is_an_event(api: Api, stocked: Shop) -> None:
    id = domain_id(stocked, "a-shop.test")
    secret = stocked.value("SELECT value FROM secret WHERE id = %s", id)
    answer = api.call("GET", f"/v1/domains/{id}/auth-info")
    assert (answer.json(), answer.headers["Cache-Control"]) == ({"auth_info": secret}, "no-store")
    shown = stocked.value("SELECT count(*) FROM v_event WHERE type = 'domain.auth_info_shown'")
    assert shown == 1


def test_a_secret_is_shown_to_nobody_else(api: Api, stocked: Shop) -> None:
    theirs, ours = domain_id(stocked, "x-shop.test"), domain_id(stocked, "a-shop.test")
    assert api.call("GET", f"/v1/domains/{theirs}/auth-info").status_code == 404
    org = stocked.org()
    stocked.done(domain_item("seen.test"), org_id=str(org))
    seen = domain_id(stocked, "seen.test")
    viewer, support = member(stocked, "viewer", org), new_user(stocked, "support", is_support=True)
    cases = (
        (viewer, (stocked.account, org), seen, "PV403"),
        (viewer, (stocked.account, org), ours, "PV404"),
        (support, (), ours, "PV404"),
    )
    for user, scope, id, code in cases:
        with stocked.connection.transaction(), asking(stocked, user, *scope), refused(stocked.connection, code):
            stocked.value("SELECT domain_auth_info(%s)", id)


def test_a_secret_that_is_not_known_is_said_so(api: Api, stocked: Shop) -> None:
    id = domain_id(stocked, "b-shop.test")
    stocked.connection.execute("UPDATE domain SET auth_info_ref = NULL WHERE id = %s", [id])
    answer = api.call("GET", f"/v1/domains/{id}/auth-info")
    assert (answer.status_code, answer.json()["title"]) == (404, "the auth info is not known")


# Cost -----------------------------------------------------------------------------------------------------------------


def test_a_page_costs_the_same_wherever_it_is(stocked: Shop) -> None:
    """Blocks that are read for the first and for the last page of some thousand names; times are for benchmarks."""
    fill(stocked.connection, stocked.account, 3000)
    stocked.connection.execute("ANALYZE domain")
    first, last = (blocks(stocked, stocked.account, after) for after in (None, oldest(stocked)))
    assert last <= first * 1.5 + 20, (first, last)


def fill(connection: psycopg.Connection, account: Any, number: int) -> None:
    connection.execute(
        "INSERT INTO domain (id, tenant_customer_id, accreditation_id, accreditation_tld_id, name, ry_expiry_date)"
        " SELECT new_id(), %s, d.accreditation_id, d.accreditation_tld_id, 'n' || n || '.test', %s"
        " FROM generate_series(1, %s) AS n CROSS JOIN (SELECT * FROM domain LIMIT 1) AS d",
        [account, datetime(2030, 1, 1, tzinfo=UTC), number],
    )


def oldest(shop: Shop) -> Any:
    """Where the last page of fifty begins."""
    return shop.value("SELECT id FROM domain WHERE tenant_customer_id = %s ORDER BY id OFFSET 50 LIMIT 1", shop.account)


def blocks(shop: Shop, account: Any, after: Any) -> int:
    """Blocks of the buffer cache that a page asks for."""
    explain = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT domain_page('{}', %s, 50)"
    with shop.connection.transaction(), acting_as(shop.connection, "provision_api", caller_customer=account):
        shop.value("SELECT count(*) FROM domain_page('{}', %s, 50)", after)
        plan: list[Json] = shop.value(explain, after)
    return int(plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"])
