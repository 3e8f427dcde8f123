"""Orders over HTTP: taken once, shown to their owner alone, waited for, cancelled, listed page by page."""

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from httpx2 import Response
from provision_api import state

from . import api_fixtures, sql_fixtures
from .api_fixtures import Api, MakeApi, host, make_customer, value
from .conftest import ConnectAs
from .sql_fixtures import Shop, domain_item
from .worker_fixtures import eventually

api = api_fixtures.api
make_api = api_fixtures.make_api
strict_api = api_fixtures.strict_api
open_shop = sql_fixtures.open_shop

UNKNOWN = "01890000-0000-7000-8000-000000000000"


def refused(response: Response, status: int, code: str | None = None) -> dict[str, Any]:
    """The problem document of a refusal."""
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    problem: dict[str, Any] = response.json()
    assert (problem["status"], problem["code"]) == (status, code or f"PV{status}")
    assert problem["request_id"] == response.headers["x-request-id"]
    return problem


# Taking


def test_an_order_is_taken_and_found_where_location_says(api: Api) -> None:
    response = api.order(host(), external_reference="4711", metadata={"cart": [1, 2.5, None]}, priority=2)
    order = response.json()
    assert (response.status_code, response.headers["location"]) == (202, f"/v1/orders/{order['id']}")
    assert api.call("GET", response.headers["location"]).json() == order
    assert (order["status"], order["external_reference"], order["priority"]) == ("processing", "4711", 2)
    assert order["metadata"] == {"cart": [1, 2.5, None]}
    (step,) = order["items"][0]["plan"]
    assert (step["name"], step["provision"]["table"]) == ("host ns1.example.net", "provision_host")
    assert step["job"]["status"] == "submitted"


def test_sql_and_http_see_the_same_order(api: Api, connect_as: ConnectAs) -> None:
    order = api.order().json()
    operator = connect_as("provision_operator")
    assert value(operator, "SELECT status FROM v_order WHERE id = %s", order["id"]) == order["status"]
    assert value(operator, "SELECT created_by FROM v_order WHERE id = %s", order["id"]) == "shop"
    assert value(operator, "SELECT order_document(%s)", order["id"])["items"] == order["items"]
    assert value(operator, "SELECT order_cancel(%s, 'by hand')", order["id"]) == "cancelled"
    assert api.call("GET", f"/v1/orders/{order['id']}").json()["reason"] == "by hand"


def test_a_domain_with_all_it_needs_is_registered_in_two_steps(make_api: MakeApi, open_shop: Shop) -> None:
    key = open_shop.value("SELECT api_key_create(%s, 'shop')", open_shop.account)
    api = make_api(api_fixtures.Customer(open_shop.account, key))
    response = api.order(domain_item("example.test"))
    plan = {step["name"]: step for step in response.json()["items"][0]["plan"]}
    domain = plan.pop("domain example.test")
    assert sorted(plan) == ["contact jane", "contact tech", "host ns1.example.net", "host ns2.example.net"]
    assert sorted(domain["depends_on"]) == sorted(step["id"] for step in plan.values())
    assert (domain["status"], domain["job"]) == ("waiting", None)
    open_shop.complete(open_shop.claim())
    running = api.call("GET", response.headers["location"])
    assert open_shop.value("SELECT pw FROM provision_domain") not in running.text
    open_shop.work()
    order = api.call("GET", response.headers["location"]).json()
    assert (order["status"], {step["job"]["attempts"] for step in order["items"][0]["plan"]}) == ("completed", {0})


@pytest.mark.parametrize(
    ("item", "status", "words"),
    [
        ({"operation": "domain.conquer", "data": {}}, 400, "domain.conquer"),
        ({"operation": "host.create", "data": {"nam": "ns1.example.net"}}, 400, "nam"),
        ({"operation": "host.create", "data": {"name": 7}}, 400, "name must be string"),
        ({"operation": "host.create", "data": {"name": "ns1.example.net", "accreditation": "theirs"}}, 404, "theirs"),
    ],
)
def test_what_sql_refuses_is_passed_on_with_its_texts(
    strict_api: Api, item: dict[str, Any], status: int, words: str
) -> None:
    problem = refused(strict_api.order(item), status)
    assert words in problem["title"] + problem["detail"]
    assert problem["hint"]
    assert strict_api.count() == 0


def test_all_items_are_accepted_or_none(strict_api: Api) -> None:
    refused(strict_api.order(host(), {"operation": "domain.conquer", "data": {}}), 400)
    assert strict_api.count() == 0


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/items"),
        ({"items": []}, "/items"),
        ({"items": {}}, "/items"),
        ({"items": [{"operation": "host.create"}]}, "/items/0/data"),
        ({"items": [{"operation": "host.create", "data": []}]}, "/items/0/data"),
        ({"items": [{"operation": 5, "data": {}}]}, "/items/0/operation"),
        ({"items": [host() | {"a/b~c": 1}]}, "/items/0/a~1b~0c"),
        ({"items": [host()], "colour": "red"}, "/colour"),
        ({"items": [host()], "priority": 10}, "/priority"),
        ({"items": [host()], "priority": True}, "/priority"),
        ({"items": [host()], "priority": "3"}, "/priority"),
        ({"items": [host()], "external_reference": "x" * 256}, "/external_reference"),
        ({"items": [host()], "external_reference": 5}, "/external_reference"),
        ({"items": [host()], "metadata": []}, "/metadata"),
        ([], ""),
    ],
)
def test_a_wrong_shape_is_refused_with_its_place(strict_api: Api, body: Any, pointer: str) -> None:
    problem = refused(strict_api.call("POST", "/v1/orders", json=body), 400)
    assert [error["pointer"] for error in problem["errors"]] == [pointer]
    assert strict_api.count() == 0


def test_a_whole_number_may_be_written_with_a_point(api: Api) -> None:
    assert api.order(priority=3.0).json()["priority"] == 3


# Idempotency


def test_the_same_key_and_request_is_the_same_order(api: Api) -> None:
    responses = [api.order(headers={"Idempotency-Key": "order-1"}) for _ in range(2)]
    assert responses[0].json()["id"] == responses[1].json()["id"]
    assert api.count() == 1


def test_the_same_key_for_another_request_is_refused(api: Api) -> None:
    api.order(headers={"Idempotency-Key": "order-1"})
    problem = refused(api.order(host("ns2.example.net"), headers={"Idempotency-Key": "order-1"}), 409)
    assert problem["detail"] == "key order-1"


def test_keys_of_different_customers_do_not_meet(make_api: MakeApi) -> None:
    acme = make_api()
    other = make_api(make_customer(acme.owner, "other"))
    orders = {api.order(headers={"Idempotency-Key": "order-1"}).json()["id"] for api in (acme, other)}
    assert len(orders) == 2


def test_one_key_sent_many_times_at_once_makes_one_order(api: Api) -> None:
    def send(_: int) -> Response:
        return api.order(headers={"Idempotency-Key": "order-1"})

    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(send, range(16)))
    assert {response.status_code for response in responses} == {202}
    assert len({response.json()["id"] for response in responses}) == 1
    assert api.count() == 1


@pytest.mark.parametrize("key", ["", "two words", "x" * 256, "caf\xe9"])
def test_a_malformed_key_is_refused(strict_api: Api, key: str) -> None:
    problem = refused(strict_api.order(headers={"Idempotency-Key": key.encode("latin-1")}), 400)  # type: ignore[dict-item]
    assert problem["errors"][0]["pointer"] == "Idempotency-Key"
    assert strict_api.count() == 0


# Tracing


VALID = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (VALID, VALID),
        (f"cc{VALID[2:]}-what-comes-later", VALID),
        (f"{VALID}-more", None),
        (f"ff{VALID[2:]}", None),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", None),
        (VALID.upper(), None),
        ("nonsense", None),
    ],
)
def test_a_trace_goes_with_the_order(api: Api, given: str, kept: str | None) -> None:
    order = api.order(headers={"traceparent": given}).json()
    assert value(api.owner, 'SELECT traceparent FROM "order" WHERE id = %s', order["id"]) == kept


# Waiting


def test_who_waits_is_answered_when_the_order_has_ended(api: Api) -> None:
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(api.order, headers={"Prefer": "respond-async, wait=30"})
        order = eventually(lambda: value(api.owner, 'SELECT id FROM "order"'))
        api.finish(order)
        response = answer.result(20)
    assert (response.status_code, response.json()["status"]) == (201, "completed")
    assert response.headers["preference-applied"] == "wait=30"
    assert response.headers["location"] == f"/v1/orders/{order}"


def test_waiting_ends_when_time_is_up(api: Api) -> None:
    response = api.order(headers={"Prefer": "wait=1"})
    assert (response.status_code, response.json()["status"]) == (202, "processing")


def test_those_who_wait_take_no_connection_from_others(make_api: MakeApi) -> None:
    api = make_api(api_pool_size=1, request_timeout_seconds=5)
    with ThreadPoolExecutor(4) as pool:
        names = [f"ns{number}.example.net" for number in range(4)]
        answers = [pool.submit(api.order, host(name), headers={"Prefer": "wait=30"}) for name in names]
        eventually(lambda: api.count() == 4)
        orders = api.call("GET", "/v1/orders").json()["orders"]
        for order in orders:
            api.finish(order["id"])
        assert {answer.result(20).status_code for answer in answers} == {201}


def test_when_too_many_wait_the_next_is_answered_at_once(make_api: MakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "WAITING_LIMIT", 0)
    response = make_api(request_timeout_seconds=5).order(headers={"Prefer": "wait=30"})
    assert (response.status_code, "preference-applied" in response.headers) == (202, False)


def test_an_order_that_had_ended_is_answered_at_once(api: Api) -> None:
    headers = {"Idempotency-Key": "order-1"}
    api.finish(api.order(headers=headers).json()["id"])
    response = api.order(headers=headers | {"Prefer": "wait=30"})
    assert (response.status_code, response.json()["status"]) == (201, "completed")


# Seeing


def test_an_unchanged_order_is_not_sent_again(api: Api) -> None:
    location = api.order().headers["location"]
    first = api.call("GET", location)
    again = api.call("GET", location, headers={"If-None-Match": f'"other", {first.headers["etag"]}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    api.finish(location.rpartition("/")[2])
    changed = api.call("GET", location, headers={"If-None-Match": first.headers["etag"]})
    assert (changed.status_code, changed.json()["status"]) == (200, "completed")


def test_numbers_are_passed_on_as_the_database_has_them(api: Api, connect_as: ConnectAs) -> None:
    order = value(
        connect_as("provision_operator"),
        """SELECT order_submit(%s, '[{"operation": "host.create", "data": {"name": "ns1.example.net"}}]', NULL,
                               '{"metadata": {"exact": 0.10000000000000000000001, "huge": 1e400}}')""",
        api.customer.account,
    )
    text = api.call("GET", f"/v1/orders/{order}").text
    assert '"exact": 0.10000000000000000000001' in text
    assert '"huge": 1' + "0" * 400 in text


@pytest.mark.parametrize("path", [f"/v1/orders/{UNKNOWN}", "/v1/orders/4711", "/v1/orders/%00", "/v1/orders/"])
def test_an_order_that_does_not_exist_is_not_found(strict_api: Api, path: str) -> None:
    refused(strict_api.call("GET", path), 404)


def test_the_order_of_another_is_not_found(make_api: MakeApi) -> None:
    acme = make_api()
    other = make_api(make_customer(acme.owner, "other"))
    location = acme.order().headers["location"]
    refused(other.call("GET", location), 404)
    refused(other.call("POST", f"{location}/cancel"), 404)
    assert other.call("GET", "/v1/orders").json() == {"orders": []}
    assert acme.call("GET", location).json()["status"] == "processing"


def test_a_key_of_an_org_sees_the_orders_of_its_org(make_api: MakeApi) -> None:
    acme = make_api()
    account = acme.customer.account
    location = acme.order().headers["location"]
    org = value(acme.owner, "INSERT INTO org (tenant_customer_id, slug) VALUES (%s, 'team') RETURNING id", account)
    key = value(acme.owner, "SELECT api_key_create(%s, 'team', %s)", account, org)
    team = make_api(api_fixtures.Customer(account, key))
    order = team.order(host("ns2.example.net")).json()
    assert order["org_id"] == str(org)
    assert [found["id"] for found in team.call("GET", "/v1/orders").json()["orders"]] == [order["id"]]
    refused(team.call("GET", location), 404)
    assert len(acme.call("GET", "/v1/orders").json()["orders"]) == 2


# Cancelling


def test_an_order_is_cancelled_with_a_reason(api: Api) -> None:
    location = api.order().headers["location"]
    response = api.call("POST", f"{location}/cancel", json={"reason": "changed our mind"})
    assert (response.status_code, response.json()["status"]) == (200, "cancelled")
    assert api.call("GET", location).json()["reason"] == "changed our mind"


def test_cancelling_needs_no_body(api: Api) -> None:
    location = api.order().headers["location"]
    assert api.call("POST", f"{location}/cancel").json()["reason"] == "cancelled by shop"


def test_an_order_that_has_ended_is_not_cancelled(api: Api) -> None:
    location = api.order().headers["location"]
    api.finish(location.rpartition("/")[2])
    problem = refused(api.call("POST", f"{location}/cancel"), 409)
    assert problem["title"] == "the order has ended"


@pytest.mark.parametrize("body", [{"reason": ""}, {"reason": 5}, {"why": "so"}, []])
def test_a_wrong_cancellation_cancels_nothing(api: Api, body: Any) -> None:
    location = api.order().headers["location"]
    refused(api.call("POST", f"{location}/cancel", json=body), 400)
    assert api.call("GET", location).json()["status"] == "processing"


# Listing


def test_orders_are_listed_newest_first_page_by_page(api: Api) -> None:
    orders = [api.order(host(f"ns{number}.example.net")).json()["id"] for number in range(5)]
    found, path = [], "/v1/orders?limit=2"
    while path:
        response = api.call("GET", path)
        found.append([order["id"] for order in response.json()["orders"]])
        link = re.search('<([^>]*)>; rel="next"', response.headers["link"])
        path = link[1] if link else ""
    newest = orders[::-1]
    assert found == [newest[:2], newest[2:4], newest[4:]]


def test_orders_are_found_by_status_and_reference(api: Api) -> None:
    done = api.order(host("ns1.example.net"), external_reference="a & b").json()["id"]
    api.order(host("ns2.example.net"), external_reference="c")
    api.finish(done)
    by_status = api.call("GET", "/v1/orders", params={"status": "completed"}).json()["orders"]
    by_reference = api.call("GET", "/v1/orders", params={"external_reference": "a & b", "limit": 1})
    assert [order["id"] for order in by_status] == [done] == [o["id"] for o in by_reference.json()["orders"]]
    assert "external_reference=a+%26+b" in by_reference.headers["link"]
    assert (by_status[0]["items"], by_status[0]["open_items"]) == (1, 0)


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("limit=0", "?limit"),
        ("limit=201", "?limit"),
        ("limit=many", "?limit"),
        ("limit=1&limit=2", "?limit"),
        ("after=4711", "?after"),
        ("status=lost", "?status"),
        ("colour=red", "?colour"),
        ("external_reference=%00", "?external_reference"),
    ],
)
def test_a_wrong_query_is_refused(strict_api: Api, query: str, parameter: str) -> None:
    problem = refused(strict_api.call("GET", f"/v1/orders?{query}"), 400)
    assert [error["pointer"] for error in problem["errors"]] == [parameter]
