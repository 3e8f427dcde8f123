"""Orders: what they become, what they wait for, how they end, and what is refused."""

from typing import Any
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb

from . import sql_fixtures
from .sql_fixtures import (
    Json,
    Shop,
    certificate_item,
    contact_item,
    domain_item,
    host_item,
    known,
    outcome,
    person,
    refused,
    success,
)

shop = sql_fixtures.shop

# What an order becomes ------------------------------------------------------------------------------------------------


def test_two_contacts_and_two_hosts_come_first_and_the_domain_second(shop: Shop) -> None:
    order = shop.order(domain_item("example.test"))
    parts = ["contact jane", "contact tech", "host ns1.example.net", "host ns2.example.net"]
    assert shop.plan(order) == dict.fromkeys(parts, "processing") | {"domain example.test": "waiting"}
    assert shop.value("SELECT depends_on FROM v_order_item_plan WHERE name = 'domain example.test'") == parts

    first = shop.claim()
    assert sorted(job["type"] for job in first) == ["provision_contact_create"] * 2 + ["provision_host_create"] * 2
    shop.complete(first)
    assert shop.plan(order) == dict.fromkeys(parts, "completed") | {"domain example.test": "processing"}

    second = shop.claim()
    assert [job["type"] for job in second] == ["provision_domain_create"]
    shop.complete(second)
    assert shop.status(order) == "completed"
    assert shop.values("SELECT name FROM v_domain WHERE tenant_customer_id = %s", shop.account) == ["example.test"]


def test_the_domain_is_registered_with_the_handles_of_its_contacts_and_its_hosts(shop: Shop) -> None:
    shop.order(domain_item(admin=[person("tech"), known("jane")], period=2))
    shop.complete(shop.claim())
    (job,) = shop.claim()
    handle = shop.pairs("SELECT reference, handle FROM v_contact")
    assert job["data"] == {
        "name": "example.test",
        "period": 2,
        "contacts": {"registrant": handle["jane"], "admin": sorted(handle.values())},
        "host_model": "objects",
        "hosts": [{"name": "ns1.example.net", "addresses": []}, {"name": "ns2.example.net", "addresses": []}],
        "ds_records": [],
    }


def test_steps_are_shown_in_the_order_they_were_planned(shop: Shop) -> None:
    order = shop.order(domain_item())
    names = [step["name"] for step in shop.document(order)["items"][0]["plan"]]
    assert names == [
        "contact jane",
        "contact tech",
        "host ns1.example.net",
        "host ns2.example.net",
        "domain example.test",
    ]


def test_a_live_contact_and_a_live_host_are_used_again(shop: Shop) -> None:
    shop.done(domain_item("first.test"))
    order = shop.order(domain_item("second.test", known("jane"), person("tech")))
    assert shop.plan(order) == {"domain second.test": "processing"}
    assert shop.work() == ["provision_domain_create"]


def test_the_same_details_without_a_reference_are_the_same_contact(shop: Shop) -> None:
    shop.done(domain_item("first.test", person(None), person(None)))
    assert shop.value("SELECT count(*) FROM v_contact WHERE tenant_customer_id = %s", shop.account) == 1
    assert shop.plan(shop.order(domain_item("second.test", person(None), person(None)))) == {
        "domain second.test": "processing"
    }


def test_an_item_is_a_contact_a_host_or_a_certificate_as_well(shop: Shop) -> None:
    order = shop.order(contact_item(), host_item(), certificate_item())
    assert sorted(shop.work()) == ["provision_contact_create", "provision_host_create", "provision_ssl_create"]
    assert shop.status(order) == "completed"


def test_the_document_shows_plan_jobs_and_reasons(shop: Shop) -> None:
    order = shop.order(domain_item(), external_reference="PO 4711", metadata={"shop": "berlin"})
    shop.fail("contact jane", "2306 no such street")
    document = shop.document(order)
    assert (document["external_reference"], document["metadata"]) == ("PO 4711", {"shop": "berlin"})
    steps = {step["name"]: step for step in document["items"][0]["plan"]}
    assert (steps["contact jane"]["job"]["status"], steps["contact jane"]["job"]["result_message"]) == (
        "failed",
        "2306 no such street",
    )
    assert steps["contact jane"]["provision"]["status"] == "failed"
    domain = steps["domain example.test"]
    assert (domain["status"], domain["reason"]) == ("cancelled", "contact jane failed: 2306 no such street")
    assert steps["contact jane"]["id"] in domain["depends_on"]
    assert domain["job"] is None


def test_the_tree_for_operators_says_what_a_step_waits_for(shop: Shop) -> None:
    order = shop.order(domain_item())
    lines = shop.values("SELECT order_explain(%s)", order)
    assert lines[0].startswith(f"order {order}  processing")
    assert "domain.create  processing" in lines[1]
    after = "contact jane, contact tech, host ns1.example.net, host ns2.example.net"
    assert f"domain example.test  waiting  since 0.0 s  after {after}" in lines[-1]


# Waiting for another order --------------------------------------------------------------------------------------------


def test_a_contact_that_another_order_is_creating_is_waited_for(shop: Shop) -> None:
    shop.order(contact_item("jane"))
    second = shop.order(
        domain_item("second.test", known("jane"), known("jane"), hosts=["ns1.example.net", "ns2.example.net"])
    )
    assert "contact jane" not in shop.plan(second)
    assert shop.plan(second)["domain second.test"] == "waiting"
    shop.work()
    assert shop.status(second) == "completed"


def test_when_the_awaited_contact_fails_the_order_that_waits_is_cancelled_with_the_reason(shop: Shop) -> None:
    first = shop.order(contact_item("jane"))
    second = shop.order(domain_item("second.test", known("jane"), known("jane")))
    shop.fail("contact jane", "2306 no such street")
    assert shop.status(first) == "failed"
    assert shop.row("SELECT status, reason FROM v_order WHERE id = %s", second) == {
        "status": "cancelled",
        "reason": "contact jane failed: 2306 no such street",
    }
    assert shop.claim() == []


def test_a_host_that_another_order_is_creating_is_waited_for(shop: Shop) -> None:
    shop.order(host_item("ns1.example.net"))
    second = shop.order(domain_item("second.test"))
    assert "host ns1.example.net" not in shop.plan(second)
    shop.work()
    assert shop.status(second) == "completed"


def test_what_a_direct_insert_is_creating_cannot_be_waited_for(shop: Shop) -> None:
    shop.insert("provision_contact", tenant_customer_id=shop.account, accreditation_id=shop.registry, **person("jane"))
    with refused(shop.connection, "PV409", "the contact is just being created"):
        shop.order(domain_item())


# Failure --------------------------------------------------------------------------------------------------------------


def test_a_failed_step_cancels_what_depends_on_it_and_stops_what_nobody_has_begun(shop: Shop) -> None:
    order = shop.order(domain_item())
    shop.fail("contact jane")
    assert shop.plan(order) == {
        "contact jane": "failed",
        "contact tech": "cancelled",
        "domain example.test": "cancelled",
        "host ns1.example.net": "cancelled",
        "host ns2.example.net": "cancelled",
    }
    assert shop.status(order) == "failed"
    assert shop.claim() == []
    jobs = shop.rows("SELECT status FROM v_job WHERE tenant_customer_id = %s AND status <> 'cancelled'", shop.account)
    assert jobs == [{"status": "failed"}]


def test_what_succeeded_before_a_failure_stays(shop: Shop) -> None:
    order = shop.order(domain_item())
    jobs = shop.claim()
    bad, *good = sorted(jobs, key=lambda job: str(job["type"]))
    shop.complete(good)
    shop.record(outcome(bad, "failed", message="no"))
    assert sorted(shop.plan(order).values()) == ["cancelled", "completed", "completed", "completed", "failed"]
    assert shop.value("SELECT count(*) FROM v_host WHERE tenant_customer_id = %s", shop.account) == 2


def test_a_step_in_a_workers_hands_goes_on_after_its_sibling_failed(shop: Shop) -> None:
    order = shop.order(domain_item())
    bad, *others = shop.claim()
    shop.record(outcome(bad, "failed", message="no"))
    assert shop.status(order) == "processing"
    shop.complete(others)
    assert sorted(shop.plan(order).values()) == ["cancelled", "completed", "completed", "completed", "failed"]
    assert shop.status(order) == "failed"


def test_a_name_can_be_ordered_again_after_a_failure(shop: Shop) -> None:
    shop.order(domain_item())
    shop.fail("contact jane")
    shop.done(domain_item())


def test_the_reason_of_the_failure_is_on_item_and_order(shop: Shop) -> None:
    order = shop.order(domain_item())
    shop.fail("contact jane", "2306 no such street")
    reason = "contact jane: 2306 no such street"
    assert shop.value("SELECT reason FROM v_order WHERE id = %s", order) == reason
    assert shop.value("SELECT reason FROM v_order_item WHERE order_id = %s", order) == reason


def test_a_row_that_is_refused_when_its_time_comes_fails_with_the_reason(shop: Shop) -> None:
    order = shop.order(domain_item())
    shop.connection.execute("UPDATE accreditation SET is_active = false WHERE id = %s", [shop.registry])
    shop.complete(shop.claim())
    assert shop.status(order) == "failed"
    reason = shop.value("SELECT reason FROM v_order_item_plan WHERE name = 'domain example.test'")
    assert reason == f"accreditation not found: accreditation_id {shop.registry}"


# Several items --------------------------------------------------------------------------------------------------------


def test_an_order_ends_when_its_last_item_has(shop: Shop) -> None:
    order = shop.order(contact_item("a"), contact_item("b"), host_item())
    for left in (2, 1, 0):
        assert shop.status(order) == "processing"
        shop.complete(shop.claim(limit=1))
        assert shop.value("SELECT open_items FROM v_order WHERE id = %s", order) == left
    assert shop.status(order) == "completed"


def test_some_items_completed_and_some_failed(shop: Shop) -> None:
    order = shop.order(contact_item("a"), contact_item("b"))
    shop.fail("contact a", "2306 no")
    assert shop.status(order) == "processing"
    shop.work()
    row = shop.row("SELECT status, reason FROM v_order WHERE id = %s", order)
    assert row == {"status": "partially_completed", "reason": "contact a: 2306 no"}


def test_an_item_can_wait_for_a_contact_of_another_item(shop: Shop) -> None:
    order = shop.order(domain_item("one.test"), domain_item("two.test", known("jane"), known("tech")))
    assert shop.plan(order)["domain two.test"] == "waiting"
    assert (
        shop.work()
        == ["provision_contact_create"] * 2 + ["provision_host_create"] * 2 + ["provision_domain_create"] * 2
    )
    assert shop.status(order) == "completed"


# Cancelling -----------------------------------------------------------------------------------------------------------


def cancel(shop: Shop, order: UUID, reason: str | None = None) -> str:
    status: str = shop.value("SELECT order_cancel(%s, %s)", order, reason)
    return status


def test_an_order_nobody_has_begun_is_cancelled_as_a_whole(shop: Shop) -> None:
    order = shop.order(domain_item())
    assert cancel(shop, order, "changed my mind") == "cancelled"
    assert set(shop.plan(order).values()) == {"cancelled"}
    assert shop.value("SELECT reason LIKE '%%changed my mind' FROM v_order WHERE id = %s", order)
    assert shop.claim() == []


def test_what_runs_when_an_order_is_cancelled_goes_on_and_stays(shop: Shop) -> None:
    order = shop.order(domain_item())
    running = shop.claim(limit=1)
    assert cancel(shop, order) == "processing"
    assert sorted(shop.plan(order).values()) == ["cancelled"] * 4 + ["processing"]
    shop.complete(running)
    assert shop.status(order) == "cancelled"
    assert sorted(shop.plan(order).values()) == ["cancelled"] * 4 + ["completed"]


def test_a_job_that_has_been_tried_once_may_have_left_traces_and_goes_on(shop: Shop) -> None:
    order = shop.order(contact_item())
    (job,) = shop.claim()
    shop.record(outcome(job, "retry", message="no answer"))
    assert cancel(shop, order) == "processing"
    shop.pass_time("1 hour")
    shop.work()
    assert shop.status(order) == "completed"


def test_an_order_that_has_ended_is_not_cancelled(shop: Shop) -> None:
    order = shop.done(contact_item())
    with refused(shop.connection, "PV409", f"{order} is completed"):
        cancel(shop, order)


def test_a_cancelled_job_cancels_its_step_item_and_order(shop: Shop) -> None:
    order = shop.order(contact_item())
    job = shop.value(
        "SELECT id FROM v_job WHERE reference_table = 'provision_contact' AND tenant_customer_id = %s", shop.account
    )
    assert shop.value("SELECT job_cancel(%s, 'not now')", job) == "cancelled"
    assert shop.row("SELECT status, reason FROM v_order WHERE id = %s", order) == {
        "status": "cancelled",
        "reason": "not now",
    }


# Approvals ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def strict(shop: Shop) -> Shop:
    """A shop where certificates are approved by somebody."""
    shop.connection.execute("UPDATE order_operation SET needs_approval = true WHERE name = 'ssl.create'")
    return shop


def waiting_item(shop: Shop, order: UUID) -> UUID:
    item: UUID = shop.value("SELECT id FROM v_order_item WHERE order_id = %s AND status = 'waiting'", order)
    return item


def test_nothing_happens_before_the_approval(strict: Shop) -> None:
    order = strict.order(certificate_item())
    assert strict.status(order) == "created"
    assert strict.claim() == []
    attention = strict.row("SELECT what, id, call FROM v_attention WHERE what = 'approval'")
    item = waiting_item(strict, order)
    assert attention == {"what": "approval", "id": item, "call": f"SELECT order_item_approve('{item}')"}


def test_an_approved_item_begins(strict: Shop) -> None:
    order = strict.order(certificate_item())
    strict.value("SELECT order_item_approve(%s)", waiting_item(strict, order))
    assert strict.status(order) == "processing"
    assert strict.work() == ["provision_ssl_create"]
    assert strict.status(order) == "completed"


def test_a_rejected_item_is_cancelled_with_the_reason(strict: Shop) -> None:
    order = strict.order(certificate_item(), contact_item())
    strict.value("SELECT order_item_reject(%s, 'not paid')", waiting_item(strict, order))
    strict.work()
    assert strict.row("SELECT status, reason FROM v_order WHERE id = %s", order) == {
        "status": "partially_completed",
        "reason": "not paid",
    }


def test_an_order_that_waits_for_an_approval_can_be_cancelled(strict: Shop) -> None:
    order = strict.order(certificate_item())
    item = waiting_item(strict, order)
    assert cancel(strict, order) == "cancelled"
    with refused(strict.connection, "PV409", "does not wait for an approval"):
        strict.value("SELECT order_item_approve(%s)", item)


def test_who_approved_is_in_the_audit_trail(strict: Shop) -> None:
    order = strict.order(certificate_item())
    strict.value("SELECT order_item_approve(%s)", waiting_item(strict, order))
    row = strict.row(
        "SELECT from_state, to_state, logged_by FROM v_audit WHERE row_id = %s AND operation = 'transition'", order
    )
    assert row == {"from_state": "created", "to_state": "processing", "logged_by": strict.connection.info.user}


def test_an_approved_step_still_waits_for_the_contact_of_another_order(shop: Shop) -> None:
    shop.connection.execute("UPDATE order_operation SET needs_approval = true WHERE name = 'domain.create'")
    shop.order(contact_item("jane"), host_item("ns1.example.net"), host_item("ns2.example.net"))
    order = shop.order(domain_item("example.test", known("jane"), known("jane")))
    shop.complete(shop.claim(limit=1))
    shop.value("SELECT order_item_approve(%s)", waiting_item(shop, order))
    assert shop.plan(order) == {"domain example.test": "waiting"}
    shop.work()
    assert shop.status(order) == "completed"


# Idempotency ----------------------------------------------------------------------------------------------------------


def test_the_same_key_and_request_again_is_the_same_order(shop: Shop) -> None:
    first = shop.order(contact_item(), key="k1")
    assert shop.order(contact_item(), key="k1") == first
    shop.work()
    assert shop.order(contact_item(), key="k1") == first
    assert shop.value("SELECT count(*) FROM v_order WHERE tenant_customer_id = %s", shop.account) == 1


def test_the_same_key_for_another_request_is_refused(shop: Shop) -> None:
    shop.order(contact_item("jane"), key="k1")
    with refused(shop.connection, "PV409", "key k1"):
        shop.order(contact_item("john"), key="k1")


def test_keys_of_two_customers_do_not_meet(shop: Shop) -> None:
    other = shop.customer("Other Ltd")
    assert shop.order(contact_item(), key="k1") != shop.order(contact_item(), key="k1", account=other)


def test_a_trace_does_not_make_it_another_request(shop: Shop) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e47{:02}-00f067aa0ba902b7-01"
    first = shop.order(contact_item(), key="k1", traceparent=trace.format(1))
    assert shop.order(contact_item(), key="k1", traceparent=trace.format(2)) == first


def test_a_key_is_forgotten_after_seven_days(shop: Shop) -> None:
    first = shop.done(contact_item("a"), key="k1")
    shop.pass_time("6 days 23 hours")
    shop.sweep()
    assert shop.order(contact_item("a"), key="k1") == first
    shop.pass_time("2 hours")
    shop.sweep()
    assert shop.order(contact_item("b"), key="k1") != first


def test_a_refused_request_leaves_its_key_free(shop: Shop) -> None:
    with refused(shop.connection, "PV400"):
        shop.order({"operation": "contact.create", "data": {}}, key="k1")
    shop.order(contact_item(), key="k1")


# Many at once ---------------------------------------------------------------------------------------------------------


def test_many_orders_are_taken_in_one_call_and_answered_in_their_order(shop: Shop) -> None:
    orders: list[Json] = [
        {"tenant_customer_id": str(shop.account), "items": [contact_item(f"c{n}")], "external_reference": str(n)}
        for n in range(50)
    ]
    ids = shop.values("SELECT order_submit_many(%s)", Jsonb(orders))
    references = shop.pairs("SELECT id, external_reference FROM v_order WHERE id = ANY (%s)", ids)
    assert [references[id] for id in ids] == [str(n) for n in range(50)]
    assert len(shop.work()) == 50


def test_if_one_of_many_is_refused_none_is_stored(shop: Shop) -> None:
    orders: list[Json] = [
        {"tenant_customer_id": str(shop.account), "items": [contact_item(reference)]} for reference in ("a", "b", "a")
    ]
    with refused(shop.connection, "PV409", "another operation on this contact is active"):
        shop.values("SELECT order_submit_many(%s)", Jsonb(orders))
    assert shop.value("SELECT count(*) FROM v_order WHERE tenant_customer_id = %s", shop.account) == 0


def test_the_same_key_twice_in_one_call_is_one_order(shop: Shop) -> None:
    order = {"tenant_customer_id": str(shop.account), "items": [contact_item()], "idempotency_key": "k1"}
    first, second = shop.values("SELECT order_submit_many(%s)", Jsonb([order, order]))
    assert first == second


# Options --------------------------------------------------------------------------------------------------------------


def test_priority_and_trace_reach_the_jobs(shop: Shop) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    shop.order(contact_item(), priority=2, traceparent=trace)
    (job,) = shop.claim()
    assert job["traceparent"] == trace
    assert shop.value("SELECT priority FROM v_job WHERE id = %s", job["job_id"]) == 2


def test_the_org_is_on_everything_an_order_becomes(shop: Shop) -> None:
    org = shop.org()
    order = shop.done(domain_item(), org_id=str(org))
    for view in (
        "v_order",
        "v_order_item",
        "v_order_item_plan",
        "v_provision",
        "v_contact",
        "v_host",
        "v_domain",
        "v_job",
    ):
        query = "SELECT DISTINCT org_id FROM " + view + " WHERE tenant_customer_id = %s"
        assert [row[0] for row in shop.connection.execute(query.encode(), [shop.account])] == [org], view
    assert shop.document(order)["org_id"] == str(org)


# Refusals -------------------------------------------------------------------------------------------------------------


def without(item: Json, *path: str) -> Json:
    """The item with one field of its data taken away."""
    data = dict(item["data"])
    data.pop(path[0])
    return item | {"data": data}


MALFORMED: dict[str, tuple[Any, str]] = {
    "no items": ([], "at least one item"),
    "items that are no list": ({"operation": "contact.create"}, "items must be array"),
    "null": (None, "items must be array"),
    "too many items": ([contact_item()] * 1001, "at most 1000"),
    "an item that is no object": (["contact.create"], "item must be an object"),
    "no operation": ([{"data": {}}], "operation is missing"),
    "no data": ([{"operation": "contact.create"}], "data is missing"),
    "an unknown operation": ([{"operation": "domain.creat", "data": {}}], "domain.creat"),
    "an unknown field of an item": ([contact_item() | {"when": "now"}], "has no field when"),
    "an unknown field of a contact": ([contact_item(nmae="x")], "contact.create has no field nmae"),
    "an unknown field of a host": ([host_item(address="192.0.2.1")], "host.create has no field address"),
    "an unknown field of a certificate": ([certificate_item(names=[])], "ssl.create has no field names"),
    "an unknown field of a domain": ([domain_item(years=1)], "domain.create has no field years"),
    "an unknown kind of contact": ([domain_item(contacts={"owner": person()})], "contacts has no field owner"),
    "a name that is a number": ([contact_item(name=7)], "name must be string"),
    "a name that is null": ([contact_item(name=None)], "name must be string"),
    "a street that is no list": ([contact_item(street="1 Road")], "street must be array"),
    "a period in words": ([domain_item(period="one")], "period must be number"),
    "a registrant that is a list": ([domain_item(contacts={"registrant": [person()]})], "registrant must be object"),
    "a contact that is no object": ([domain_item(admin=["jane"])], "contact admin must be an object"),
    "a host that is a number": ([domain_item(hosts=[1, 2])], "host must be an object"),
    "a missing field": ([without(contact_item(), "email")], "email is missing"),
    "a contact in part": ([domain_item(admin={"name": "Jane"})], "contact admin: street is missing"),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_order_is_refused_naming_what_is_wrong(shop: Shop, what: str) -> None:
    items, text = MALFORMED[what]
    with refused(shop.connection, "PV400", text):
        shop.value("SELECT order_submit(%s, %s)", shop.account, Jsonb(items))


def test_an_unknown_option_is_refused(shop: Shop) -> None:
    with refused(shop.connection, "PV400", "order has no field colour"):
        shop.order(contact_item(), colour="red")


def test_options_cannot_name_another_customer(shop: Shop) -> None:
    with refused(shop.connection, "PV400", "options must be an object"):
        shop.order(contact_item(), tenant_customer_id=str(shop.customer("Other Ltd")))


OPTIONS: dict[str, Json] = {
    "a priority out of range": {"priority": 10},
    "a priority in between": {"priority": 1.5},
    "a malformed trace": {"traceparent": "abc"},
    "an org that is no id": {"org_id": "berlin"},
    "an overlong reference": {"external_reference": "x" * 256},
    "an empty key": {"idempotency_key": ""},
    "an overlong key": {"idempotency_key": "x" * 256},
    "a key with a line break": {"idempotency_key": "k1\n"},
    "overlong notes": {"metadata": {"text": "x" * 16_384}},
}


@pytest.mark.parametrize("what", OPTIONS)
def test_an_option_out_of_bounds_is_refused(shop: Shop, what: str) -> None:
    (field,) = OPTIONS[what]
    order = {"tenant_customer_id": str(shop.account), "items": [contact_item()]} | OPTIONS[what]
    with refused(shop.connection, "PV400", f"order: {field} is malformed"):
        shop.value("SELECT order_submit_many(%s)", Jsonb([order]))


def test_a_customer_that_is_no_id_is_refused(shop: Shop) -> None:
    with refused(shop.connection, "PV400", "order: tenant_customer_id is malformed"):
        shop.value("SELECT order_submit_many(%s)", Jsonb([{"tenant_customer_id": "me", "items": [contact_item()]}]))


def test_what_a_registry_cannot_take_now_does_not_go_to_a_desk(shop: Shop) -> None:
    shop.accreditation("desk", "manual")
    shop.connection.execute("UPDATE accreditation SET is_active = false WHERE id = %s", [shop.registry])
    with refused(shop.connection, "PV409", "the accreditation is not active"):
        shop.order(contact_item())
    shop.order(contact_item(accreditation="desk"))


def test_a_customer_that_is_not_active_may_not_order(shop: Shop) -> None:
    shop.connection.execute("UPDATE tenant_customer SET is_active = false WHERE id = %s", [shop.account])
    with refused(shop.connection, "PV403", str(shop.account)):
        shop.order(contact_item())


def test_an_unknown_customer_is_not_found(shop: Shop) -> None:
    with refused(shop.connection, "PV404", "customer not found"):
        shop.order(contact_item(), account=shop.registry)


def test_an_org_of_another_customer_is_not_found(shop: Shop) -> None:
    with refused(shop.connection, "PV404", "org not found"):
        shop.order(contact_item(), org_id=str(shop.org(shop.customer("Other Ltd"))))


def test_an_accreditation_of_another_tenant_is_not_found(shop: Shop) -> None:
    other = Shop(shop.connection)
    other.accreditation("special")
    for item in (contact_item(accreditation="special"), host_item(accreditation="special")):
        with refused(shop.connection, "PV404", "special"):
            shop.order(item)
    with refused(shop.connection, "PV422", "example.test with special"):
        shop.order(domain_item(accreditation="special"))


def test_a_contact_of_another_customer_cannot_be_named(shop: Shop) -> None:
    shop.done(contact_item("jane"), account=shop.customer("Other Ltd"))
    with refused(shop.connection, "PV404", "contact not found"):
        shop.order(domain_item(registrant=known("jane")))


def test_which_of_several_accreditations_is_meant_must_be_said(shop: Shop) -> None:
    shop.accreditation("second")
    with refused(shop.connection, "PV422", "registry, second"):
        shop.order(contact_item())
    shop.order(contact_item(accreditation="second"))


def test_a_contact_or_host_that_exists_is_not_ordered_again(shop: Shop) -> None:
    shop.done(contact_item("jane"), host_item("ns1.example.net"))
    for item, text in ((contact_item("jane"), "reference jane"), (host_item("ns1.example.net"), "ns1.example.net")):
        with refused(shop.connection, "PV409", text):
            shop.order(item)


def test_one_active_operation_per_object(shop: Shop) -> None:
    items = (contact_item("jane"), host_item("ns1.example.net"), certificate_item("www.example.test"))
    shop.order(*items)
    for item, text in zip(items, ("jane", "ns1.example.net", "www.example.test"), strict=True):
        with refused(shop.connection, "PV409", text):
            shop.order(item)


def test_a_name_is_ordered_by_one_customer_at_a_time(shop: Shop) -> None:
    shop.order(domain_item())
    with refused(shop.connection, "PV409", "example.test"):
        shop.order(domain_item(), account=shop.customer("Other Ltd"))


def test_a_refused_order_stores_nothing(shop: Shop) -> None:
    tables = ("order", "order_item", "order_item_plan", "object_operation", "job", "job_queue", "provision_contact")
    before = [shop.count(table) for table in tables]
    with refused(shop.connection, "PV404", "contact not found"):
        shop.order(contact_item("new"), domain_item(registrant=person("also new"), admin=known("nobody")))
    assert [shop.count(table) for table in tables] == before


def test_success_is_told_once(shop: Shop) -> None:
    shop.order(contact_item())
    (job,) = shop.claim()
    shop.complete([job])
    assert shop.record(success(job)) == [job["job_id"]]
