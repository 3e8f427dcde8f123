"""Transfers in the database: who may ask for what, what is kept secret, what comes and what goes, and what is told."""

from typing import Any
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb

from . import sql_fixtures
from .sql_fixtures import Json, Row, Shop, acting_as, domain_item, integration_login, outcome, person, refused

shop = sql_fixtures.shop

SECRET = "told by the holder"


def transfer_item(name: str = "example.test", pw: str = SECRET, **changes: Any) -> Json:
    return {"operation": "domain.transfer", "data": {"name": name, "pw": pw} | changes}


def answer_item(action: str, name: str = "example.test") -> Json:
    return {"operation": f"transfer.{action}", "data": {"name": name}}


def arrival(**changes: Any) -> Json:
    """What a worker tells of a name that has come."""
    hosts = [{"name": f"ns{n}.elsewhere.net", "serves": True, "addresses": [], "roid": f"H{n}"} for n in (1, 2)]
    hosts.append({"name": "ns1.example.test", "serves": False, "addresses": ["192.0.2.1"], "roid": "H3"})
    contacts = [{"type": "registrant", "handle": "THEIRS-1"}, {"type": "admin", "handle": "THEIRS-2"}]
    record = {"key_tag": 1, "algorithm": 13, "digest_type": 2, "digest": "AB"}
    found = {
        "roid": "D1",
        "ry_created_date": "2020-01-01T00:00:00Z",
        "ry_expiry_date": "2029-01-01T00:00:00Z",
        "statuses": ["serverHold"],
        "hosts": hosts,
        "contacts": [*contacts, {"type": "tech", "handle": "THEIRS-2"}],
        "ds_records": [record],
        "is_secret_new": True,
    }
    return found | changes


def arrive(shop: Shop, **changes: Any) -> None:
    """The transfer that is under way comes to its end."""
    (job,) = (job for job in shop.claim() if job["type"] == "provision_domain_transfer_request")
    shop.record(outcome(job, "completed", result=arrival(**changes)))


def told(shop: Shop, accreditation: UUID, **data: Any) -> bool:
    """The registry tells of a transfer of example.test in the queue of an accreditation."""
    poll = shop.insert("job", type="registry_poll", accreditation_id=accreditation)
    (job,) = shop.claim(types=["registry_poll"])
    assert job["job_id"] == poll
    message: Json = {"message_id": str(data.pop("id", poll)), "text": "x", "kind": "transfer", "xml": "<x/>"}
    message["data"] = {"name": "example.test", "acted_by": "shop", "acted_at": "2026-12-06T00:00:00Z"} | data
    new: bool = shop.value("SELECT registry_message_take(%s, %s, %s)", job["job_id"], job["claim_no"], Jsonb(message))
    shop.record(outcome(job, "completed"))
    return new


@pytest.fixture
def rival(shop: Shop) -> Shop:
    """Another customer, of another tenant, with an accreditation of its own at the same registry."""
    tenant = shop.insert("tenant", name="rival")
    other = shop.on(shop.connection)
    other.tenant, other.account = tenant, shop.customer("Rival Ltd", tenant)
    other.registry = other.accreditation("rival registry", tenant_id=tenant, registrar_id="rival")
    return other


def events(shop: Shop, account: UUID) -> list[str]:
    return shop.values(
        "SELECT to_state FROM v_audit WHERE table_name = 'domain' AND operation = 'transition'"
        " AND tenant_customer_id = %s ORDER BY id",
        account,
    )


# To here --------------------------------------------------------------------------------------------------------------


def test_a_transfer_brings_expiry_hosts_contacts_and_dnssec(shop: Shop) -> None:
    order = shop.order(transfer_item())
    arrive(shop)
    assert shop.status(order) == "completed"
    row = shop.row("SELECT * FROM v_domain WHERE name = 'example.test'")
    assert f"{row['ry_expiry_date']:%Y-%m-%d} {row['ry_created_date']:%Y-%m-%d}" == "2029-01-01 2020-01-01"
    assert row["hosts"] == ["ns1.elsewhere.net", "ns2.elsewhere.net"]
    assert row["contacts"] == {"registrant": ["THEIRS-1"], "admin": ["THEIRS-2"], "tech": ["THEIRS-2"]}
    assert (row["statuses"], row["rgp_state"]) == (["serverHold"], "transferPeriod")
    assert shop.value("SELECT ds_records -> 0 ->> 'key_tag' FROM domain") == "1"
    assert shop.value("SELECT addresses = '{192.0.2.1}' FROM v_host WHERE name = 'ns1.example.test'")
    assert events(shop, shop.account) == ["transferred_here"]


def test_name_servers_that_are_known_are_not_made_again(shop: Shop) -> None:
    shop.done({"operation": "host.create", "data": {"name": "ns1.elsewhere.net"}})
    shop.order(transfer_item())
    arrive(shop)
    assert shop.value("SELECT count(*) FROM v_host WHERE name = 'ns1.elsewhere.net'") == 1
    assert shop.value("SELECT hosts FROM v_domain") == ["ns1.elsewhere.net", "ns2.elsewhere.net"]


def test_the_secret_is_in_no_row_job_log_or_answer(shop: Shop) -> None:
    order = shop.order(transfer_item())
    with refused(shop.connection, "PV422", "pw is not shown"):
        shop.order(transfer_item("other.test", pw=""))
    (job,) = shop.claim()
    shop.record(outcome(job, "retry", message="no answer"))
    everything = "SELECT string_agg(x::text, ' ') FROM (SELECT to_jsonb(t) FROM {} AS t) AS x"
    for table in ("order_item", "order_item_plan", "provision_domain_transfer", "job", "audit_trail_log", "v_effect"):
        text = shop.connection.execute(everything.format(table).encode()).fetchone()[0] or ""  # type: ignore[index]
        assert SECRET not in text, table
    assert SECRET not in str(shop.document(order))
    assert SECRET in shop.values("SELECT value FROM secret")


@pytest.mark.parametrize("is_new", [True, False])
def test_a_name_that_came_has_the_secret_it_was_given(shop: Shop, is_new: bool) -> None:
    shop.order(transfer_item())
    arrive(shop, is_secret_new=is_new)
    (secret,) = shop.values("SELECT value FROM secret")
    assert (secret == SECRET) is not is_new
    assert shop.value("SELECT auth_info_ref = 'db:' || id FROM domain")


def test_a_transfer_that_fails_leaves_no_secret(shop: Shop) -> None:
    order = shop.order(transfer_item())
    shop.fail("domain transfer example.test", "was rejected by its registrar")
    assert shop.status(order) == "failed"
    assert "was rejected by its registrar" in shop.document(order)["reason"]
    assert shop.count("secret") == 0


@pytest.mark.parametrize(
    ("item", "code", "text"),
    [
        (transfer_item(period=2), "PV422", "2 years"),
        (transfer_item("x.elsewhere"), "PV422", "no names can be registered in this zone"),
        ({"operation": "domain.transfer", "data": {"name": "example.test"}}, "PV400", "pw is missing"),
    ],
)
def test_a_transfer_that_cannot_be_is_refused(shop: Shop, item: Json, code: str, text: str) -> None:
    with refused(shop.connection, code, text):
        shop.order(item)
    assert shop.count("secret") == 0


def test_what_is_ones_own_is_not_transferred(shop: Shop) -> None:
    shop.done(domain_item())
    with refused(shop.connection, "PV409", "the domain is yours already"):
        shop.order(transfer_item())
    shop.set_zone("order_types", ["create"])
    with refused(shop.connection, "PV422", "transfer is not taken in this zone"):
        shop.order(transfer_item("other.test"))


def test_a_name_is_transferred_by_one_at_a_time(shop: Shop, rival: Shop) -> None:
    shop.order(transfer_item())
    for item in (transfer_item(), domain_item()):
        with refused(shop.connection, "PV409", "another operation on this domain"):
            rival.order(item)


def test_other_systems_insert_transfers_and_answers(shop: Shop) -> None:
    login = integration_login(shop)
    with acting_as(shop.connection, login):
        with refused(shop.connection, "PV422", "no pw given"):
            shop.connection.execute(
                "INSERT INTO provision_domain_transfer (tenant_customer_id, name) VALUES (%s, 'example.test')",
                [shop.account],
            )
        shop.connection.execute(
            "INSERT INTO provision_domain_transfer (tenant_customer_id, name, pw)"
            " VALUES (%s, 'example.test', 'its pw')",
            [shop.account],
        )
        shop.connection.execute(
            "INSERT INTO provision_domain_transfer_answer (tenant_customer_id, name, action)"
            " VALUES (%s, 'example.test', 'cancel')",
            [shop.account],
        )
    assert shop.value("SELECT pw FROM provision_domain_transfer") is None
    assert {job["type"] for job in shop.claim()} == {
        "provision_domain_transfer_request",
        "provision_domain_transfer_answer",
    }


# From one customer of the database to another -------------------------------------------------------------------------


def test_a_name_of_another_customer_here_comes_and_is_gone_there(shop: Shop, rival: Shop) -> None:
    shop.done(domain_item())
    rival.order(transfer_item())
    arrive(rival)
    assert events(shop, shop.account) == ["transferred_away"]
    rows = shop.pairs("SELECT tenant_customer_id, deleted_date IS NULL FROM v_domain WHERE name = 'example.test'")
    assert rows == {shop.account: False, rival.account: True}
    with refused(shop.connection, "PV404", "domain not found"):
        shop.order({"operation": "domain.renew", "data": {"name": "example.test"}})


def test_what_its_customer_had_still_ordered_ends_with_the_reason(shop: Shop, rival: Shop) -> None:
    shop.done(domain_item())
    renewal = shop.order({"operation": "domain.renew", "data": {"name": "example.test"}})
    (job,) = shop.claim()
    shop.record(outcome(job, "again", after_seconds=3600))  # begun, and waits
    rival.order(transfer_item())
    arrive(rival)
    assert shop.status(renewal) == "cancelled"
    assert "example.test was transferred to rival" in shop.document(renewal)["reason"]
    shop.pass_time("2 hours")
    assert shop.claim() == []
    assert shop.count("object_operation") == 0


def wanted(shop: Shop, rival: Shop) -> UUID:
    """The rival's order of a name that the shop has, of which the registry has told the shop."""
    shop.done(domain_item())
    order = rival.order(transfer_item())
    told(shop, shop.registry, status="pending", requested_by="rival")
    return order


def answered(shop: Shop, action: str) -> Row:
    (job,) = (job for job in shop.claim() if job["type"] == "provision_domain_transfer_answer")
    assert job["data"] == {"name": "example.test", "action": action}
    shop.record(outcome(job, "completed", result={}))
    return job


def test_that_another_registrar_wants_a_name_is_told(shop: Shop, rival: Shop) -> None:
    wanted(shop, rival)
    assert events(shop, shop.account) == ["transfer_requested"]
    row = shop.row("SELECT transfer_registrar, transfer_due::date::text AS due FROM v_domain")
    assert row == {"transfer_registrar": "rival", "due": "2026-12-06"}


def test_approving_ends_what_was_open_and_frees_the_name(shop: Shop, rival: Shop) -> None:
    wanted(shop, rival)
    renewal = shop.order({"operation": "domain.renew", "data": {"name": "example.test"}})
    shop.connection.execute(
        "UPDATE job_queue SET start_date = engine_now() + interval '1 day' WHERE type LIKE '%renew'"
    )
    order = shop.order(answer_item("approve"))
    answered(shop, "approve")
    assert (shop.status(order), shop.status(renewal)) == ("completed", "cancelled")
    assert events(shop, shop.account) == ["transfer_requested", "transferred_away"]
    assert shop.values("SELECT count(*) FROM job WHERE finished_date IS NULL AND type = 'provision_domain_renew'") == [
        0
    ]


def test_how_it_ended_is_asked_for_when_its_time_has_come(shop: Shop, rival: Shop) -> None:
    wanted(shop, rival)
    shop.connection.execute("UPDATE schedule SET next_date = 'infinity'")
    shop.connection.execute("UPDATE domain SET transfer_due = engine_now() + interval '5 days'")
    shop.sweep()
    assert shop.claim(types=["registry_poll"]) == []
    shop.pass_time("5 days")
    shop.sweep()
    shop.sweep()
    assert [job["accreditation_id"] for job in shop.claim(types=["registry_poll"])] == [shop.registry]


def test_a_name_whose_transfer_was_rejected_stays(shop: Shop, rival: Shop) -> None:
    wanted(shop, rival)
    shop.order(answer_item("reject"))
    answered(shop, "reject")
    assert events(shop, shop.account) == ["transfer_requested", "transfer_rejected"]
    assert shop.value("SELECT transfer_due IS NULL AND deleted_date IS NULL FROM v_domain")
    with refused(shop.connection, "PV409", "nobody wants the domain"):
        shop.order(answer_item("approve"))


@pytest.mark.parametrize(
    ("status", "event"),
    [
        ("serverApproved", "transferred_away"),
        ("clientApproved", "transferred_away"),
        ("clientRejected", "transfer_rejected"),
        ("clientCancelled", "transfer_cancelled"),
        ("serverCancelled", "transfer_cancelled"),
    ],
)
def test_how_a_transfer_ended_is_told_and_done_once(shop: Shop, rival: Shop, status: str, event: str) -> None:
    wanted(shop, rival)
    assert told(shop, shop.registry, id=7, status=status, requested_by="rival")
    assert not told(shop, shop.registry, id=7, status="pending", requested_by="rival")
    assert events(shop, shop.account) == ["transfer_requested", event]
    assert shop.value("SELECT deleted_date IS NOT NULL FROM v_domain") == (event == "transferred_away")


def test_news_of_a_transfer_has_its_job_look(shop: Shop) -> None:
    shop.order(transfer_item())
    (job,) = shop.claim()
    shop.record(outcome(job, "pending", after_seconds=86400))
    assert shop.claim() == []
    told(shop, shop.registry, status="clientApproved", requested_by="shop")
    assert [job["type"] for job in shop.claim()] == ["provision_domain_transfer_request"]


def test_answers_are_for_ones_own(shop: Shop, rival: Shop) -> None:
    wanted(shop, rival)
    for action in ("approve", "reject"):
        with refused(shop.connection, "PV404", "domain not found"):
            rival.order(answer_item(action))
    with refused(shop.connection, "PV404", "transfer not found"):
        shop.order(answer_item("cancel"))
    shop.order(answer_item("reject"))
    with refused(shop.connection, "PV409", "another operation on this transfer answer"):
        shop.order(answer_item("approve"))
    rival.order(answer_item("cancel"))


def test_only_what_is_newer_moves_an_expiry(shop: Shop) -> None:
    shop.done(domain_item())
    poll = shop.insert("job", type="registry_poll", accreditation_id=shop.registry)
    (job,) = shop.claim(types=["registry_poll"])
    for number, expiry in enumerate(("2020-01-01T00:00:00Z", "2029-03-01T10:00:00Z")):
        data = {"name": "example.test", "expires_at": expiry}
        message = {"message_id": str(number), "text": "x", "kind": "domain", "xml": "<x/>", "data": data}
        shop.value("SELECT registry_message_take(%s, %s, %s)", poll, job["claim_no"], Jsonb(message))
    row = shop.row("SELECT ry_expiry_date::date::text AS day, rgp_state FROM v_domain")
    assert row == {"day": "2029-03-01", "rgp_state": "autoRenewPeriod"}
    assert events(shop, shop.account) == ["auto_renewed"]


def test_what_the_registry_tells_is_taken_though_a_setting_of_the_zone_is_missing(shop: Shop) -> None:
    shop.done(domain_item())
    shop.connection.execute("DELETE FROM tld_setting WHERE name IN ('grace_hours_renew', 'host_model')")
    shop.insert("job", type="registry_poll", accreditation_id=shop.registry)
    (job,) = shop.claim(types=["registry_poll"])
    data = {"name": "example.test", "expires_at": "2040-01-01T00:00:00Z"}
    message = {"message_id": "1", "text": "x", "kind": "domain", "xml": "<x/>", "data": data}
    assert shop.value("SELECT registry_message_take(%s, %s, %s)", job["job_id"], job["claim_no"], Jsonb(message))
    assert shop.value("SELECT extract(year FROM ry_expiry_date) FROM v_domain") == 2040


def test_messages_are_taken_under_the_claim_that_stands(shop: Shop) -> None:
    shop.insert("job", type="registry_poll", accreditation_id=shop.registry)
    (job,) = shop.claim(types=["registry_poll"])
    message = {"message_id": "1", "text": "x", "kind": "other", "xml": "<x/>", "data": {}}
    with refused(shop.connection, "PVF01"):
        shop.value("SELECT registry_message_take(%s, %s, %s)", job["job_id"], job["claim_no"] - 1, Jsonb(message))


def test_the_queue_of_every_registry_is_read_again_and_again(shop: Shop) -> None:
    shop.pass_time("2 minutes")
    shop.sweep()
    jobs = shop.claim(types=["registry_poll"])
    assert [job["accreditation_id"] for job in jobs] == [shop.registry]


# By hand --------------------------------------------------------------------------------------------------------------


def test_who_works_by_hand_is_told_the_secrets_and_that_is_noted(shop: Shop) -> None:
    desk = shop.accreditation("desk", provider="manual")
    shop.connection.execute(
        "UPDATE accreditation_tld SET accreditation_id = %s WHERE accreditation_id = %s", [desk, shop.registry]
    )
    order = shop.order(transfer_item())
    job = shop.value("SELECT id FROM v_attention WHERE what = 'held job'")
    row = shop.row("SELECT * FROM job_auth_info(%s)", job)
    assert row["auth_info"] == SECRET
    assert (
        shop.value("SELECT reason FROM v_audit WHERE row_id = %s ORDER BY id DESC LIMIT 1", job)
        == "auth info shown by hand"
    )
    shop.value("SELECT job_complete(%s, %s)", job, Jsonb(arrival()))
    assert shop.status(order) == "completed"
    assert shop.value("SELECT value FROM secret") == row["new_auth_info"]
    with refused(shop.connection, "PV409", "the job has ended"):
        shop.row("SELECT * FROM job_auth_info(%s)", job)


def test_a_job_without_a_secret_and_one_of_a_worker_show_none(shop: Shop) -> None:
    shop.order(transfer_item())
    job = shop.value("SELECT id FROM job WHERE type = 'provision_domain_transfer_request'")
    with refused(shop.connection, "PV422", "the job is not done by hand"):
        shop.row("SELECT * FROM job_auth_info(%s)", job)
    shop.accreditation("desk", provider="manual")
    shop.order({"operation": "host.create", "data": {"name": "ns1.elsewhere.net", "accreditation": "desk"}})
    job = shop.value("SELECT id FROM job WHERE type = 'provision_host_create'")
    with refused(shop.connection, "PV404", "the job has no auth info"):
        shop.row("SELECT * FROM job_auth_info(%s)", job)


def test_a_transfer_is_inserted_with_contacts_of_ones_own(shop: Shop, rival: Shop) -> None:
    shop.done({"operation": "contact.create", "data": person("zoe")})
    rival.done({"operation": "contact.create", "data": person("ron")})
    zoe, ron = (shop.value("SELECT id::text FROM contact WHERE reference = %s", name) for name in ("zoe", "ron"))
    row = {"tenant_customer_id": shop.account, "accreditation_id": shop.registry, "name": "example.test", "pw": SECRET}
    with refused(shop.connection, "PV404", "contact not found"):
        shop.insert("provision_domain_transfer", contacts=Jsonb({"tech": [ron]}), **row)
    with refused(shop.connection, "PV422", "the contacts are malformed"):
        shop.insert("provision_domain_transfer", contacts=Jsonb({"tech": ["zoe"]}), **row)
    shop.insert("provision_domain_transfer", contacts=Jsonb({"tech": [zoe]}), **row)
    (job,) = (job for job in shop.claim() if job["type"] == "provision_domain_transfer_request")
    assert job["data"]["contacts"] == {"tech": [shop.value("SELECT handle FROM contact WHERE reference = 'zoe'")]}


def test_a_thin_zone_takes_a_transfer_without_contacts(shop: Shop) -> None:
    shop.set_zone("contact_model", "thin")
    with refused(shop.connection, "PV422", "the zone keeps no contacts"):
        shop.order(transfer_item(contacts={"tech": {"reference": "zoe"}}))
    shop.order(transfer_item(contacts={}))
