"""Changes of domains: name servers, contacts, auth info, locks and DNSSEC records."""

import re
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from provision_worker.actions import default_actions
from provision_worker.simulator import Policy, RegistrySimulator, domains

from . import sql_fixtures, worker_fixtures
from .sql_fixtures import Json, Shop, acting_as, domain_item, host_item, integration_login, outcome, person, refused
from .test_actions import QUICK, attention, reconcile
from .worker_fixtures import REGISTRY_PASSWORD, eventually
from .worker_fixtures import Shop as Seller

shop = sql_fixtures.shop
engine = worker_fixtures.engine

DS: Json = {"key_tag": 12345, "algorithm": 13, "digest_type": 2, "digest": "AB" * 32}
KEY: Json = {"flags": 257, "protocol": 3, "algorithm": 13, "public_key": "mdsswUyr3DPW132mOi8V9xESWE8jTo0d"}


def update(name: str = "example.test", **data: Any) -> Json:
    return {"operation": "domain.update", "data": {"name": name} | data}


def domain(shop: Shop) -> Json:
    """The domain as operators see it."""
    return shop.row("SELECT * FROM v_domain WHERE name = 'example.test' AND deleted_date IS NULL")


@pytest.fixture
def named(shop: Shop) -> Shop:
    """A shop with the domain example.test."""
    shop.done(domain_item())
    return shop


# What is ordered ------------------------------------------------------------------------------------------------------


def test_new_name_servers_and_contacts_are_created_first_and_then_used(named: Shop) -> None:
    hosts = ["ns1.example.net", {"name": "ns9.example.test", "addresses": ["192.0.2.9"]}]
    order = named.order(update(hosts=hosts, contacts={"tech": [person("zoe")], "admin": {"reference": "jane"}}))
    assert named.plan(order) == {
        "contact zoe": "processing",
        "host ns9.example.test": "processing",
        "domain update example.test": "waiting",
    }
    named.complete(named.claim(types=["provision_contact_create", "provision_host_create"]))
    (job,) = named.claim()
    handles = named.pairs("SELECT reference, handle FROM v_contact")
    assert job["data"]["contacts"] == {"tech": [handles["zoe"]], "admin": [handles["jane"]]}
    assert job["data"]["hosts"] == [
        {"name": "ns1.example.net", "addresses": []},
        {"name": "ns9.example.test", "addresses": ["192.0.2.9"]},
    ]
    named.complete([job])
    assert named.status(order) == "completed"
    assert domain(named)["hosts"] == ["ns1.example.net", "ns9.example.test"]
    assert domain(named)["contacts"] == {"registrant": ["jane"], "admin": ["jane"], "tech": ["zoe"]}


def test_whether_a_name_is_renewed_by_itself_is_changed_like_the_rest(named: Shop) -> None:
    for wanted in (True, False):
        named.done(update(auto_renew=wanted))
        assert domain(named)["auto_renew"] is wanted
        named.done(update(statuses=[]))
        assert domain(named)["auto_renew"] is wanted
    with refused(named.connection, "PV400", "auto_renew"):
        named.order(update(auto_renew="yes"))


def test_a_type_of_contacts_that_is_not_required_can_be_emptied(named: Shop) -> None:
    named.done(update(contacts={"tech": {"reference": "tech"}}))
    named.done(update(contacts={"tech": []}))
    assert domain(named)["contacts"] == {"registrant": ["jane"], "admin": ["tech"]}
    with refused(named.connection, "PV422", "contacts are missing admin"):
        named.order(update(contacts={"admin": []}))


def test_locks_and_dnssec_records_are_kept_as_the_registry_says(named: Shop) -> None:
    named.order(update(statuses=["clientTransferProhibited"], ds_records=[DS | {"digest": "ab" * 32}]))
    (job,) = named.claim()
    assert (job["data"]["statuses"], job["data"]["ds_records"]) == (["clientTransferProhibited"], [DS])
    named.record(outcome(job, "completed", result={"statuses": ["clientTransferProhibited", "serverHold"]}))
    assert domain(named)["statuses"] == ["clientTransferProhibited", "serverHold"]
    assert domain(named)["ds_records"] == [DS]
    named.done(update(ds_records=[]))
    assert domain(named)["ds_records"] == []


def test_what_a_person_does_counts_as_it_was_asked_for(named: Shop) -> None:
    named.done(update(statuses=["clientHold"]))
    assert domain(named)["statuses"] == ["clientHold"]
    named.done(update(ds_records=[KEY]))
    assert (domain(named)["statuses"], domain(named)["ds_records"]) == (["clientHold"], [KEY])
    named.done(update(statuses=[]))
    assert domain(named)["statuses"] == []


def secret(shop: Shop) -> Any:
    return shop.value("SELECT s.value FROM secret AS s JOIN domain AS d ON d.auth_info_ref = 'db:' || s.id")


@pytest.mark.parametrize("given", ["Transfer-me-7", None])
def test_a_new_secret_takes_the_place_of_the_old_and_is_told_to_nobody(named: Shop, given: str | None) -> None:
    old = secret(named)
    order = named.order(update(pw=given))
    (job,) = named.claim()
    row = named.row("SELECT * FROM provision_domain_update")
    assert row["pw"] == given if given else len(row["pw"]) == 16
    everything = "SELECT string_agg(to_jsonb(t)::text, ' ') FROM {} AS t"
    for view in ("v_job", "v_audit", "v_provision", "v_order_item", "v_order_item_plan", "v_effect", "v_event"):
        assert row["pw"] not in (named.value(everything.format(view)) or ""), view
    assert row["pw"] not in str(named.document(order))
    named.complete([job])
    assert (secret(named), secret(named) == old) == (row["pw"], False)
    assert named.value("SELECT count(*) FROM secret") == 1
    assert named.value("SELECT pw FROM provision_domain_update") is None
    for table in ("order_item", "order_item_plan"):
        assert row["pw"] not in named.value(everything.format(table)), table


def test_a_secret_that_the_registry_refused_is_forgotten_and_the_old_one_kept(named: Shop) -> None:
    old = secret(named)
    named.order(update(pw="Transfer-me-7"))
    (job,) = named.claim()
    named.record(outcome(job, "failed", message="2306 policy"))
    assert secret(named) == old
    for table in ("secret", "order_item", "order_item_plan"):
        assert "Transfer-me-7" not in named.value(f"SELECT string_agg(to_jsonb(t)::text, ' ') FROM {table} AS t")


# What is refused ------------------------------------------------------------------------------------------------------

MANY = [{"key_tag": n, "algorithm": 13, "digest_type": 2, "digest": "AB" * 32} for n in range(5)]
REFUSED: dict[str, tuple[Json, str, str]] = {
    "nothing": ({}, "PV422", "nothing is to be changed"),
    "too few name servers": ({"hosts": ["ns1.example.net"]}, "PV422", "too few or too many name servers 1"),
    "too many name servers": ({"hosts": [f"ns{n}.x.net" for n in range(5)]}, "PV422", "too few or too many"),
    "a name server of no name": ({"hosts": ["ns1.example.net", "localhost"]}, "PV422", "the name is malformed"),
    "a contact that is not there": ({"contacts": {"tech": {"reference": "nobody"}}}, "PV404", "contact not found"),
    "an unknown type of contact": ({"contacts": {"owner": {"reference": "jane"}}}, "PV400", "has no field owner"),
    "a secret that does not suit the zone": ({"pw": "short"}, "PV422", "pw is not shown"),
    "a lock of the registry's": ({"statuses": ["serverHold"]}, "PV422", "not a lock serverHold"),
    "a lock that is none": ({"statuses": [None]}, "PV422", "not a lock null"),
    "too many records": ({"ds_records": MANY}, "PV422", "too many DNSSEC records 5"),
    "a record twice": ({"ds_records": [DS, DS | {"digest": "ab" * 32}]}, "PV422", "given twice"),
    "keys among records": ({"ds_records": [DS, KEY]}, "PV400", "has no field"),
    "a digest of another length": ({"ds_records": [DS | {"digest": "AB" * 20}]}, "PV422", "is malformed"),
    "a digest in base64": ({"ds_records": [DS | {"digest": "q7s="}]}, "PV422", "is malformed"),
    "a tag that is too large": ({"ds_records": [DS | {"key_tag": 65536}]}, "PV422", "is malformed"),
    "half a tag": ({"ds_records": [DS | {"key_tag": 1.5}]}, "PV422", "is malformed"),
    "a key of another protocol": ({"ds_records": [KEY | {"protocol": 4}]}, "PV422", "is malformed"),
    "a record without a digest": ({"ds_records": [{"key_tag": 1}]}, "PV400", "is missing"),
    "a record that is none": ({"ds_records": ["x"]}, "PV400", "must be an object"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_change_that_breaks_a_rule_is_refused_at_once(named: Shop, what: str) -> None:
    data, code, text = REFUSED[what]
    with refused(named.connection, code, text):
        named.order(update(**data))
    assert named.value("SELECT count(*) FROM object_operation") == 0


def test_a_zone_without_updates_is_refused(named: Shop) -> None:
    named.set_zone("order_types", ["create"])
    with refused(named.connection, "PV422", "update is not taken in this zone"):
        named.order(update(statuses=[]))


def test_a_setting_that_changes_does_not_touch_a_change_under_way(named: Shop) -> None:
    order = named.order(update(hosts=["ns1.example.net", "ns7.example.net"], ds_records=[DS]))
    named.set_zone("host_count_minimum", 4)
    named.set_zone("dnssec_count_maximum", 0)
    named.work()
    assert named.status(order) == "completed"
    with refused(named.connection, "PV422", "too many DNSSEC records 1"):
        named.order(update(ds_records=[DS]))


LOCKED: list[tuple[str, Json]] = [
    ("clientUpdateProhibited", update(ds_records=[])),
    ("clientRenewProhibited", {"operation": "domain.renew", "data": {"name": "example.test"}}),
    ("clientDeleteProhibited", {"operation": "domain.delete", "data": {"name": "example.test"}}),
]


@pytest.mark.parametrize(("lock", "item"), LOCKED)
def test_a_lock_forbids_what_it_is_against_until_it_is_taken_away(named: Shop, lock: str, item: Json) -> None:
    named.done(update(statuses=[lock]))
    with refused(named.connection, "PV409", f"example.test has status {lock}"):
        named.order(item)
    named.done(update(statuses=[]))
    named.done(item)


def test_a_lock_of_the_registry_is_not_a_clients_to_take_away(named: Shop) -> None:
    named.connection.execute("UPDATE domain SET statuses = '{serverUpdateProhibited}'")
    with refused(named.connection, "PV409", "serverUpdateProhibited"):
        named.order(update(statuses=[]))


def test_one_operation_on_a_name_is_active_over_all_kinds(named: Shop) -> None:
    named.order(update(statuses=["clientHold"]))
    for item in (update(ds_records=[]), {"operation": "domain.renew", "data": {"name": "example.test"}}):
        with refused(named.connection, "PV409", "another operation on this domain is active"):
            named.order(item)
    with refused(named.connection, "PV409", "another operation on this domain is active"):
        named.insert("provision_domain_update", tenant_customer_id=named.account, name="example.test", statuses=[])


@pytest.mark.parametrize("part", ["contact", "host"])
def test_what_a_change_is_about_to_use_is_not_deleted(named: Shop, part: str) -> None:
    named.done({"operation": "contact.create", "data": person("zoe")}, host_item("ns7.example.net"))
    hosts = ["ns7.example.net", "ns1.example.net", {"name": "ns8.example.net"}]
    named.order(update(hosts=hosts, contacts={"tech": {"reference": "zoe"}}))
    delete = {"contact": {"reference": "zoe"}, "host": {"name": "ns7.example.net"}}[part]
    with refused(named.connection, "PV409", f"the {part} is about to be used"):
        named.order({"operation": f"{part}.delete", "data": delete})


def test_what_is_deleted_while_a_change_waits_fails_it_with_the_reason(named: Shop) -> None:
    named.done(host_item("ns7.example.net"))
    order = named.order(update(hosts=["ns7.example.net", "ns8.example.net"]))
    named.connection.execute("UPDATE host SET deleted_date = now() WHERE name = 'ns7.example.net'")
    named.work()
    assert named.document(order)["reason"].startswith("domain update example.test: host not found")
    named.done(update(statuses=[]))


# Whose ----------------------------------------------------------------------------------------------------------------


def test_nobody_changes_another_customers_name_or_uses_its_parts(named: Shop) -> None:
    other = named.customer("Other Ltd")
    named.done(domain_item("other.test"), account=other)
    orders = named.count("order")
    for name in ("example.test", "nobody.test"):
        with refused(named.connection, "PV404", f"domain not found {name}"):
            named.order(update(name, statuses=[]), account=other)
    theirs = named.value("SELECT id FROM domain WHERE name = 'other.test'")
    with refused(named.connection, "PV404", "domain not found"):
        named.insert("provision_domain_update", tenant_customer_id=named.account, domain_id=theirs, statuses=[])
    host = named.value("SELECT id FROM host WHERE tenant_customer_id = %s LIMIT 1", other)
    contact = named.value("SELECT id FROM contact WHERE tenant_customer_id = %s LIMIT 1", other)
    mine = named.value("SELECT id FROM host WHERE tenant_customer_id = %s LIMIT 1", named.account)
    parts: list[Json] = [{"hosts": [mine, host]}, {"contacts": {"tech": [str(contact)]}}]
    for columns in parts:
        with refused(named.connection, "PV404", "not found"):
            named.insert("provision_domain_update", tenant_customer_id=named.account, name="example.test", **columns)
    assert named.count("order") == orders


def test_an_org_changes_its_own_and_the_customers_names_only(named: Shop) -> None:
    mine, sibling = str(named.org()), str(named.org())
    named.done(domain_item("sibling.test"), org_id=sibling)
    named.done(update(statuses=["clientHold"]), org_id=mine)
    with refused(named.connection, "PV404", "domain not found"):
        named.order(update("sibling.test", statuses=[]), org_id=mine)
    named.done(update("sibling.test", statuses=["clientHold"]))


def test_another_system_changes_its_names_by_inserting_rows(named: Shop) -> None:
    hosts = named.values("SELECT id FROM v_host ORDER BY name")
    tech = named.value("SELECT id FROM v_contact WHERE reference = 'tech'")
    insert = (
        "INSERT INTO provision_domain_update (tenant_customer_id, name, hosts, contacts, statuses) VALUES"
        " (%s, 'example.test', %s, jsonb_build_object('billing', jsonb_build_array(%s::text)), '{clientHold}')"
    )
    with acting_as(named.connection, integration_login(named)):
        named.connection.execute(insert, [named.account, hosts, tech])
    named.work()
    assert (domain(named)["contacts"]["billing"], domain(named)["statuses"]) == (["tech"], ["clientHold"])


BAD_CONTACTS: list[Any] = [{"registrant": []}, {"tech": ["x"]}, {"tech": [1]}]


@pytest.mark.parametrize("contacts", BAD_CONTACTS)
def test_contacts_of_a_row_are_ids_by_type(named: Shop, contacts: Json) -> None:
    with refused(named.connection, "PV422", "the contacts are malformed"):
        named.insert(
            "provision_domain_update", tenant_customer_id=named.account, name="example.test", contacts=contacts
        )


# At a registry --------------------------------------------------------------------------------------------------------


@pytest.fixture
def registry(request: pytest.FixtureRequest) -> Any:
    policy = getattr(request, "param", Policy(zones=("example",)))
    with RegistrySimulator({"us": REGISTRY_PASSWORD, "them": "battery staple"}, policy) as registry:
        yield registry


seller = worker_fixtures.shop


@pytest.fixture
def stocked(seller: Seller) -> Seller:
    """With the domain shoes.example."""
    seller.engine.owner.execute("UPDATE setting SET value = '0' WHERE name = 'retry_base_seconds'")
    with seller.engine.worker(default_actions()):
        assert seller.ended(seller.order_domain("shoes.example")) == "completed"
    return seller


def run(seller: Seller, **data: Any) -> str:
    """How a change of shoes.example ends."""
    with seller.engine.worker(default_actions(), **QUICK):
        return seller.ended(seller.order(("domain.update", {"name": "shoes.example"} | data)))


def theirs(seller: Seller) -> Any:
    """The domain as the registry has it."""
    return seller.registry.registry.store.objects("domain")["shoes.example"]


def sent(seller: Seller) -> int:
    """How many updates of domains the registry has carried out."""
    return sum(entry.object == "domain" for entry in seller.registry.ledger.entries("update", executed=True))


def handle(seller: Seller, name: str) -> str:
    found: str = seller.engine.value("SELECT handle FROM v_contact WHERE reference LIKE %s", f"{name}%")
    return found


def test_everything_at_once_is_so_at_the_registry(stocked: Seller) -> None:
    hosts = ["ns1.shoes.example.net", {"name": "ns9.shoes.example", "addresses": ["192.0.2.9", "2001:db8::9"]}]
    contacts = {"registrant": person("zoe"), "tech": [person("zoe"), {"reference": "jane of shoes.example"}]}
    status = run(
        stocked,
        hosts=hosts,
        contacts=contacts,
        pw="Transfer-me-7",
        statuses=["clientTransferProhibited"],
        ds_records=[DS],
    )
    assert status == "completed"
    found, zoe, jane = theirs(stocked), handle(stocked, "zoe"), handle(stocked, "jane of")
    assert sorted(found.host_objects) == ["ns1.shoes.example.net", "ns9.shoes.example"]
    assert found.registrant == zoe
    assert sorted(found.contacts) == sorted([("admin", handle(stocked, "joe")), ("tech", zoe), ("tech", jane)])
    assert (found.auth_info, found.statuses) == ("Transfer-me-7", {"clientTransferProhibited"})
    assert found.ds_records == [("dsData", "12345", "13", "2", "AB" * 32)]
    assert sent(stocked) == 1
    ours = stocked.engine.row("SELECT statuses, ds_records, hosts FROM v_domain")
    assert ours["statuses"] == ["clientTransferProhibited"]
    assert (ours["ds_records"], ours["hosts"]) == ([DS], ["ns1.shoes.example.net", "ns9.shoes.example"])


def test_keys_and_then_records_of_them(stocked: Seller) -> None:
    assert run(stocked, ds_records=[KEY]) == "completed"
    assert theirs(stocked).ds_records == [("keyData", "257", "3", "13", KEY["public_key"])]
    assert run(stocked, ds_records=[DS]) == "completed"
    assert [kind for kind, *_ in theirs(stocked).ds_records] == ["dsData"]
    assert run(stocked, ds_records=[]) == "completed"
    assert theirs(stocked).ds_records == []


def test_a_lock_against_changes_goes_before_the_change(stocked: Seller) -> None:
    assert run(stocked, statuses=["clientUpdateProhibited", "clientHold"]) == "completed"
    assert run(stocked, statuses=["clientHold"], ds_records=[DS]) == "completed"
    assert (theirs(stocked).statuses, len(theirs(stocked).ds_records), sent(stocked)) == ({"clientHold"}, 1, 3)


def test_what_the_registry_has_already_is_not_told_to_it(stocked: Seller) -> None:
    theirs(stocked).statuses.add("clientHold")
    assert run(stocked, statuses=["clientHold"]) == "completed"
    assert (sent(stocked), stocked.engine.value("SELECT statuses FROM v_domain")) == (0, ["clientHold"])


@pytest.mark.parametrize("fault", ["cut", "lose_answer", "garbage", "fail", "fail_after"])
def test_whatever_becomes_of_the_answer_it_is_done_once(stocked: Seller, fault: str) -> None:
    met = stocked.registry.faults.add(fault, verb="update", object="domain")
    assert run(stocked, ds_records=[DS], pw="Transfer-me-7") == "completed"
    assert met.reached.is_set()
    assert (sent(stocked), len(theirs(stocked).ds_records), theirs(stocked).auth_info) == (1, 1, "Transfer-me-7")


@pytest.mark.parametrize(("is_granted", "status"), [(True, "completed"), (False, "failed")])
def test_what_the_registry_decides_later_is_waited_for(stocked: Seller, is_granted: bool, status: str) -> None:
    stocked.registry.faults.add("pending", verb="update", object="domain")
    with stocked.engine.worker(default_actions(), **QUICK):
        order = stocked.order(("domain.update", {"name": "shoes.example", "ds_records": [DS], "pw": "Transfer-me-7"}))
        eventually(partial(stocked.engine.value, "SELECT count(*) FROM v_provision WHERE status = 'pending_action'"))
        stocked.registry.settle("domain", "shoes.example", is_granted)
        stocked.engine.owner.execute("SELECT clock_advance('1 hour')")
        assert stocked.ended(order) == status
    assert (len(theirs(stocked).ds_records), sent(stocked)) == (int(is_granted), 1)


def test_a_registry_that_shows_no_secrets_is_told_the_new_one_once(
    stocked: Seller, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = domains._full_data
    monkeypatch.setattr(domains, "_full_data", lambda *given: _without_secret(whole(*given)))
    assert run(stocked, pw="Transfer-me-7") == "completed"
    assert (theirs(stocked).auth_info, sent(stocked)) == ("Transfer-me-7", 1)


def _without_secret(data: Any) -> Any:
    for element in list(data):
        if element.tag.endswith("authInfo"):
            data.remove(element)
    return data


def test_a_refused_change_tells_why_and_changes_nothing(stocked: Seller) -> None:
    theirs(stocked).statuses.add("serverUpdateProhibited")
    assert run(stocked, ds_records=[DS]) == "failed"
    assert "serverUpdateProhibited" in stocked.engine.value("SELECT reason FROM v_order ORDER BY id DESC LIMIT 1")
    assert stocked.engine.value("SELECT ds_records FROM v_domain") == []
    assert stocked.engine.value("SELECT count(*) FROM v_attention") == 0


def test_a_name_that_is_another_registrars_by_now_is_left_alone(stocked: Seller) -> None:
    theirs(stocked).sponsor = "them"
    assert run(stocked, ds_records=[DS]) == "failed"
    assert "them" in stocked.engine.value("SELECT reason FROM v_order ORDER BY id DESC LIMIT 1")


@pytest.mark.parametrize("registry", [Policy(zones=("example",), extensions=())], indirect=True)
def test_a_registry_without_dnssec_is_not_asked_for_it(stocked: Seller) -> None:
    assert run(stocked, ds_records=[DS]) == "failed"
    assert re.search("secDNS", stocked.engine.value("SELECT reason FROM v_order ORDER BY id DESC LIMIT 1"))


def test_what_a_failed_job_did_all_the_same_is_found_and_taken_over(stocked: Seller) -> None:
    stocked.engine.owner.execute("UPDATE job_type SET max_attempts = 1")
    stocked.registry.faults.add("lose_answer", verb="update", object="domain")
    with stocked.engine.worker(default_actions()):
        change = {"name": "shoes.example", "ds_records": [DS], "pw": "Transfer-me-7"}
        assert stocked.ended(stocked.order(("domain.update", change))) == "failed"
        assert attention(stocked.engine, "uncertain effect")
        assert reconcile(stocked.engine, stocked.accreditation)["orphaned"] == 1
    row: UUID = stocked.engine.value("SELECT id FROM v_attention WHERE what = 'orphan'")
    stocked.engine.value("SELECT provision_adopt(%s, 'as the registry has it')", row)
    assert stocked.engine.value("SELECT ds_records FROM v_domain") == [DS]
    find = "SELECT s.value FROM secret AS s JOIN domain AS d ON d.auth_info_ref = 'db:' || s.id"
    assert stocked.engine.value(find) == "Transfer-me-7"
