"""Effects as the database keeps them: intents, tokens, results, and what is decided about those nobody knows about."""

from typing import Any
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb

from . import sql_fixtures
from .sql_fixtures import (
    Row,
    Shop,
    certificate_item,
    contact_item,
    domain_item,
    host_item,
    known,
    outcome,
    refused,
    success,
)

shop = sql_fixtures.shop


@pytest.fixture
def job(shop: Shop) -> Row:
    """A claimed job of an ordered contact."""
    shop.order(contact_item())
    (job,) = shop.claim()
    return job


def begin(shop: Shop, job: Row, step: str = "create", parameters: Any = None) -> Row:
    return shop.row(
        "SELECT * FROM effect_begin(%s, %s, %s, %s)",
        job["job_id"],
        job["claim_no"],
        step,
        Jsonb(parameters or {"a": 1}),
    )


def finish(shop: Shop, job: Row, step: str = "create", name: str = "thing-1") -> None:
    parameters = [job["job_id"], job["claim_no"], step, name, Jsonb({"n": 1})]
    shop.connection.execute("SELECT effect_finish(%s, %s, %s, %s, %s)", parameters)


def claimed_again(shop: Shop, job: Row) -> Row:
    """The same job under a newer claim, after a failed attempt."""
    shop.record(outcome(job, "retry", message="no answer"))
    shop.pass_time("1 hour")
    (again,) = shop.claim()
    assert again["job_id"] == job["job_id"]
    return again


def seen(shop: Shop, job: Row) -> Row:
    """The effect as operators see it."""
    return shop.row("SELECT status, external_name, result, attempt FROM v_effect WHERE job_id = %s", job["job_id"])


# Intent and result ----------------------------------------------------------------------------------------------------


def test_an_intent_is_there_before_the_call_and_the_result_after(shop: Shop, job: Row) -> None:
    first = begin(shop, job)
    assert (first["status"], first["result"], first["attempt"]) == ("intended", None, 1)
    assert seen(shop, job) == {"status": "intended", "external_name": None, "result": None, "attempt": 1}
    finish(shop, job)
    assert seen(shop, job) == {"status": "done", "external_name": "thing-1", "result": {"n": 1}, "attempt": 1}


def test_a_second_try_has_the_same_token_and_knows_that_it_is_one(shop: Shop, job: Row) -> None:
    first = begin(shop, job)
    second = begin(shop, claimed_again(shop, job))
    assert (second["token"], second["status"], second["attempt"]) == (first["token"], "intended", 2)


def test_what_is_done_is_answered_and_not_begun_again(shop: Shop, job: Row) -> None:
    begin(shop, job)
    finish(shop, job)
    second = begin(shop, claimed_again(shop, job))
    assert (second["status"], second["result"], second["attempt"]) == ("done", {"n": 1}, 1)


def test_tokens_tell_rows_jobs_steps_and_parameters_apart(shop: Shop) -> None:
    shop.order(contact_item("a"), contact_item("b"))
    jobs = shop.claim()
    tokens = [begin(shop, job, step)["token"] for job in jobs for step in ("create", "update")]
    assert len(set(tokens)) == 4


def test_a_token_is_a_pure_function(shop: Shop, job: Row) -> None:
    token = begin(shop, job)["token"]
    shop.connection.execute("DELETE FROM effect")
    assert begin(shop, job)["token"] == token
    shop.connection.execute("DELETE FROM effect")
    assert begin(shop, job, parameters={"a": 2})["token"] != token


# Fencing --------------------------------------------------------------------------------------------------------------


def test_without_the_lease_nothing_is_begun_or_finished(shop: Shop, job: Row) -> None:
    begin(shop, job)
    claimed_again(shop, job)
    with refused(shop.connection, "PVF01", "the lease is lost"):
        begin(shop, job, "another step")
    with refused(shop.connection, "PVF01", f"claim {job['claim_no']}"):
        finish(shop, job)
    assert seen(shop, job)["status"] == "intended"


def test_an_ended_job_has_no_lease(shop: Shop, job: Row) -> None:
    shop.complete([job])
    with refused(shop.connection, "PVF01"):
        begin(shop, job)


# Reconciling ----------------------------------------------------------------------------------------------------------


def test_intents_of_ended_jobs_are_open_and_those_of_running_ones_are_not(shop: Shop, job: Row) -> None:
    begin(shop, job)
    assert shop.rows("SELECT * FROM effect_open(%s, 10)", shop.registry) == []
    shop.record(outcome(job, "failed", message="2400"))
    (row,) = shop.rows("SELECT * FROM effect_open(%s, 10)", shop.registry)
    assert (row["job_id"], row["step"]) == (job["job_id"], "create")
    assert shop.rows("SELECT * FROM effect_open(%s, 10)", shop.cloud) == []


def test_an_open_intent_needs_attention_until_its_fate_is_known(shop: Shop, job: Row) -> None:
    begin(shop, job)
    shop.record(outcome(job, "failed", message="2400"))
    about = "SELECT what, call FROM v_attention WHERE id = %s"
    assert shop.row(about, job["reference_id"]) == {"what": "uncertain effect", "call": "provision reconcile"}
    settle(shop, job, "absent")
    assert shop.rows(about, job["reference_id"]) == []


def settle(shop: Shop, job: Row, status: str, name: str | None = None) -> None:
    """As the command `provision reconcile` does it, which has no job."""
    shop.connection.execute("SELECT effect_settle(%s, 'create', %s, %s, NULL, NULL)", [job["job_id"], status, name])


SETTLE_BY = "SELECT effect_settle(%s, 'create', 'absent', NULL, %s, %s)"


def test_what_is_done_is_not_settled_otherwise(shop: Shop, job: Row) -> None:
    begin(shop, job)
    finish(shop, job)
    shop.complete([job])
    settle(shop, job, "absent")
    assert seen(shop, job)["status"] == "done"


def test_nobody_settles_the_intent_of_a_job_that_goes_on(shop: Shop, job: Row) -> None:
    begin(shop, job)
    settle(shop, job, "absent")
    assert seen(shop, job)["status"] == "intended"


def test_a_job_notes_that_what_it_has_done_is_gone(shop: Shop, job: Row) -> None:
    begin(shop, job)
    finish(shop, job)
    shop.value(SETTLE_BY, job["job_id"], job["job_id"], job["claim_no"])
    shop.record(outcome(job, "failed", message="decided against it"))
    assert seen(shop, job)["status"] == "absent"
    assert shop.rows("SELECT what FROM v_attention WHERE id = %s", job["reference_id"]) == []


def test_a_pass_that_has_lost_its_lease_settles_nothing(shop: Shop) -> None:
    shop.order(contact_item("a"), contact_item("b"))
    job, reconcile = shop.claim()
    begin(shop, job)
    shop.record(outcome(job, "failed", message="2400"))
    claimed_again(shop, reconcile)
    with refused(shop.connection, "PVF01", "the lease is lost"):
        shop.value(SETTLE_BY, job["job_id"], reconcile["job_id"], reconcile["claim_no"])
    assert seen(shop, job)["status"] == "intended"


# Deciding -------------------------------------------------------------------------------------------------------------


def orphan(shop: Shop, job: Row, name: str) -> UUID:
    """The job fails, and the pass finds that its thing exists all the same; returns the provision row."""
    begin(shop, job)
    shop.record(outcome(job, "failed", message="2400"))
    settle(shop, job, "orphaned", name)
    id: UUID = job["reference_id"]
    return id


def test_an_orphan_needs_a_decision(shop: Shop, job: Row) -> None:
    row = orphan(shop, job, "H1")
    attention = shop.row("SELECT what, reason, call FROM v_attention WHERE id = %s", row)
    assert attention["what"] == "orphan"
    assert attention["reason"] == "H1 exists outside though its row did not complete"
    assert attention["call"] == f"SELECT provision_adopt('{row}', 'H1') or provision_forget('{row}')"


@pytest.mark.parametrize("end", ["failed", "attempts used up", "workers lost", "cancelled"])
def test_what_was_done_outside_by_a_job_that_did_not_complete_is_an_orphan(shop: Shop, job: Row, end: str) -> None:
    begin(shop, job)
    finish(shop, job)
    shop.connection.execute("UPDATE job SET max_attempts = 1 WHERE id = %s AND %s <> 'cancelled'", [job["job_id"], end])
    if end == "failed":
        shop.record(outcome(job, "failed", message="no"))
    elif end == "attempts used up":
        shop.record(outcome(job, "retry", message="no answer"))
    elif end == "workers lost":
        shop.connection.execute("UPDATE worker SET heartbeat_date = heartbeat_date - interval '1 minute'")
        shop.sweep()
    else:
        shop.record(outcome(job, "retry", message="no answer"))
        said = shop.value("SELECT job_cancel(%s)", job["job_id"])
        assert said == "cancelled; create had begun outside: SELECT * FROM v_attention"
    row = job["reference_id"]
    assert shop.value("SELECT reason FROM v_attention WHERE what = 'orphan' AND id = %s", row).startswith(
        "thing-1 exists"
    )
    assert shop.value("SELECT provision_adopt(%s, 'thing-1')", row) == "adopted"
    assert shop.rows("SELECT what FROM v_attention WHERE id = %s", row) == []
    assert shop.value("SELECT reference FROM v_contact WHERE id = %s", row) == "jane"


def test_a_job_that_is_cancelled_with_an_intent_says_so(shop: Shop, job: Row) -> None:
    begin(shop, job)
    shop.record(outcome(job, "retry", message="no answer"))
    assert "create had begun outside" in shop.value("SELECT job_cancel(%s)", job["job_id"])
    attention = shop.values("SELECT what FROM v_attention WHERE id = %s", job["reference_id"])
    assert attention == ["uncertain effect"]


def test_an_order_that_is_cancelled_leaves_what_has_begun_outside_to_its_job(shop: Shop) -> None:
    order = shop.order(contact_item())
    (job,) = shop.claim()
    begin(shop, job)
    finish(shop, job)
    shop.record(outcome(job, "hand_back"))
    assert shop.value("SELECT order_cancel(%s)", order) == "processing"
    assert shop.work() == ["provision_contact_create"]
    assert seen(shop, job)["status"] == "done"


def test_a_certificate_and_its_records_are_decided_about_together(shop: Shop) -> None:
    shop.order(certificate_item())
    (job,) = shop.claim()
    for step, name in (("certificate.request", "arn:x"), ("record.write _x", "zone/_x")):
        begin(shop, job, step)
        finish(shop, job, step, name)
    shop.record(outcome(job, "failed", message="validation timed out"))
    row = job["reference_id"]
    (reason,) = shop.values("SELECT reason FROM v_attention WHERE id = %s", row)
    assert reason == "arn:x, zone/_x exist outside though its row did not complete"
    shop.value("SELECT provision_adopt(%s, 'arn:x')", row)
    assert shop.value("SELECT arn FROM v_certificate WHERE id = %s", row) == "arn:x"
    names = shop.values("SELECT external_name FROM v_effect WHERE reference_id = %s ORDER BY step", row)
    assert names == ["arn:x", "zone/_x"]


def test_an_adopted_contact_is_in_the_inventory(shop: Shop, job: Row) -> None:
    row = orphan(shop, job, "H1")
    assert shop.value("SELECT provision_adopt(%s, 'H1')", row) == "adopted"
    assert shop.value("SELECT reference FROM v_contact WHERE id = %s", row) == "jane"
    assert seen(shop, job)["status"] == "adopted"
    assert shop.rows("SELECT what FROM v_attention WHERE id = %s", row) == []
    assert shop.status(shop.done(domain_item("one.test", known("jane"), known("jane")))) == "completed"


def test_an_adopted_host_and_certificate_and_domain_are_in_the_inventory(shop: Shop) -> None:
    shop.done(contact_item("jane"), host_item("ns1.example.net"), host_item("ns2.example.net"))
    shop.order(host_item("ns3.example.net"), certificate_item(), domain_item("one.test", known("jane"), known("jane")))
    names = {"provision_ssl_create": "arn:aws:acm:x", "provision_domain_create": "one.test"}
    for job in shop.claim():
        name = names.get(job["type"], "ns3.example.net")
        shop.value("SELECT provision_adopt(%s, %s)", orphan(shop, job, name), name)
    assert shop.values("SELECT arn FROM v_certificate WHERE tenant_customer_id = %s", shop.account) == ["arn:aws:acm:x"]
    assert "ns3.example.net" in shop.values("SELECT name FROM v_host WHERE tenant_customer_id = %s", shop.account)
    domain = shop.row("SELECT name, hosts FROM v_domain WHERE tenant_customer_id = %s", shop.account)
    assert domain == {"name": "one.test", "hosts": ["ns1.example.net", "ns2.example.net"]}


@pytest.fixture
def registration(shop: Shop) -> Row:
    """The claimed job of a domain whose parts are live."""
    shop.done(contact_item("jane"), host_item("ns1.example.net"), host_item("ns2.example.net"))
    shop.order(domain_item("one.test", known("jane"), known("jane")))
    (job,) = shop.claim()
    return job


def test_an_adopted_domain_has_its_transfer_secret(shop: Shop, registration: Row) -> None:
    secret = shop.value("SELECT pw FROM provision_domain WHERE id = %s", registration["reference_id"])
    row = orphan(shop, registration, "one.test")
    shop.value("SELECT provision_adopt(%s, 'one.test')", row)
    assert shop.row("SELECT auth_info_ref FROM domain WHERE id = %s", row) == {"auth_info_ref": f"db:{row}"}
    assert shop.values("SELECT value FROM secret WHERE id = %s", row) == [secret]


def test_an_adopted_domain_has_what_was_known_of_it(shop: Shop, registration: Row) -> None:
    begin(shop, registration)
    known_of_it = {
        "roid": "D1-TEST",
        "ry_created_date": "2026-03-01T10:00:00Z",
        "ry_expiry_date": "2027-03-01T10:00:00Z",
    }
    finish = [registration["job_id"], registration["claim_no"], "create", "one.test", Jsonb(known_of_it)]
    shop.value("SELECT effect_finish(%s, %s, %s, %s, %s)", *finish)
    shop.record(outcome(registration, "failed", message="the row refuses it"))
    shop.value("SELECT provision_adopt(%s, 'one.test')", registration["reference_id"])
    assert shop.row(
        "SELECT roid, ry_created_date::date::text, ry_expiry_date::date::text FROM v_domain WHERE id = %s",
        registration["reference_id"],
    ) == {"roid": "D1-TEST", "ry_created_date": "2026-03-01", "ry_expiry_date": "2027-03-01"}


def test_a_domain_that_is_not_there_leaves_no_secret(shop: Shop, registration: Row) -> None:
    secrets = "SELECT count(*) FROM secret WHERE id = %s"
    begin(shop, registration)
    shop.record(outcome(registration, "failed", message="2400"))
    assert shop.value(secrets, registration["reference_id"]) == 1
    settle(shop, registration, "absent", "one.test")
    assert shop.value(secrets, registration["reference_id"]) == 0


def test_a_forgotten_domain_leaves_no_secret(shop: Shop, registration: Row) -> None:
    row = orphan(shop, registration, "one.test")
    shop.value("SELECT provision_forget(%s)", row)
    assert shop.value("SELECT count(*) FROM secret WHERE id = %s", row) == 0


def test_a_forgotten_orphan_needs_nobody(shop: Shop, job: Row) -> None:
    row = orphan(shop, job, "H1")
    assert shop.value("SELECT provision_forget(%s)", row) == "forgotten"
    assert shop.rows("SELECT what FROM v_attention WHERE id = %s", row) == []
    assert shop.rows("SELECT id FROM v_contact WHERE id = %s", row) == []


def test_decisions_are_in_the_audit_trail_of_the_customer(shop: Shop, job: Row) -> None:
    row = orphan(shop, job, "H1")
    shop.value("SELECT provision_adopt(%s, 'H1')", row)
    entries = shop.rows(
        "SELECT reason, tenant_customer_id FROM v_audit WHERE row_id = %s AND reason LIKE 'adopted%%'", row
    )
    assert entries == [{"reason": "adopted as H1", "tenant_customer_id": shop.account}]


def test_nothing_is_decided_while_the_job_goes_on(shop: Shop, job: Row) -> None:
    begin(shop, job)
    for call in ("SELECT provision_adopt(%s, 'H1')", "SELECT provision_forget(%s)"):
        with refused(shop.connection, "PV404", "nothing to decide"):
            shop.connection.execute(call.encode(), [job["reference_id"]])
    assert shop.record(success(job)) == []


def test_a_row_that_completed_is_not_adopted_again(shop: Shop, job: Row) -> None:
    begin(shop, job)
    shop.complete([job])
    with refused(shop.connection, "PV409", "completed"):
        shop.value("SELECT provision_adopt(%s, 'H1')", job["reference_id"])


def test_an_unknown_row_is_not_found(shop: Shop) -> None:
    with refused(shop.connection, "PV404", str(shop.tenant)):
        shop.value("SELECT provision_adopt(%s, 'H1')", shop.tenant)


# What the outside does not have ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "table"), [(contact_item(), "contact"), (host_item(), "host"), (certificate_item(), "certificate")]
)
def test_a_missing_thing_needs_attention_until_it_is_back(shop: Shop, item: Any, table: str) -> None:
    shop.done(item)
    id = shop.value("SELECT id FROM v_provision WHERE tenant_customer_id = %s", shop.account)
    shop.connection.execute("SELECT inventory_missing(%s, %s, 'not at the registry')", [table, id])
    row = shop.row("SELECT what, reason FROM v_attention WHERE id = %s", id)
    assert row["what"] == f"missing {table}"
    assert row["reason"].endswith(": not at the registry")
    shop.connection.execute("SELECT inventory_missing(%s, %s, NULL)", [table, id])
    assert shop.rows("SELECT what FROM v_attention WHERE id = %s", id) == []


def test_only_inventory_tables_can_be_noted(shop: Shop) -> None:
    with refused(shop.connection, "PV400", "accreditation"):
        shop.connection.execute("SELECT inventory_missing('accreditation', %s, 'x')", [shop.registry])
