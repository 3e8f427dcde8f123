"""Changes and deletions at a registry, over TLS: each once, whatever becomes of the answer."""

from functools import partial
from typing import Any
from uuid import UUID

import pytest
from provision_worker.actions import default_actions
from psycopg.types.json import Jsonb

from . import worker_fixtures
from .test_actions import QUICK, attention, reconcile
from .worker_fixtures import Shop, eventually, person

engine = worker_fixtures.engine
registry = worker_fixtures.registry
shop = worker_fixtures.shop

GLUE: dict[str, Any] = {"name": "ns9.shoes.example", "addresses": ["192.0.2.1"]}
UPDATES: dict[str, tuple[str, dict[str, Any]]] = {
    "contact": ("contact.update", {"reference": "zoe of shoes", "city": "Köln", "phone": None}),
    "host": ("host.update", {"name": GLUE["name"], "addresses": ["192.0.2.7", "2001:db8::7"]}),
}
DELETIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "contact": ("contact.delete", {"reference": "zoe of shoes"}),
    "host": ("host.delete", {"name": GLUE["name"]}),
}


@pytest.fixture
def stocked(shop: Shop) -> Shop:
    """With the domain shoes.example, and a contact and a name server that no domain uses."""
    shop.engine.owner.execute("UPDATE setting SET value = '0' WHERE name = 'retry_base_seconds'")
    zoe = person("zoe", "shoes") | {"phone": "+49.30123", "organization": "Shoes Ltd"}
    with shop.engine.worker(default_actions()):
        assert shop.ended(shop.order_domain("shoes.example")) == "completed"
        assert shop.ended(shop.order(("contact.create", zoe), ("host.create", GLUE))) == "completed"
    return shop


def run(shop: Shop, item: tuple[str, dict[str, Any]]) -> str:
    """How an order of one item ends."""
    with shop.engine.worker(default_actions(), **QUICK):
        return shop.ended(shop.order(item))


def theirs(shop: Shop, kind: str) -> Any:
    """zoe or ns9 as the registry has it; None if it has not."""
    name = (
        shop.engine.value("SELECT handle FROM contact WHERE reference LIKE 'zoe%%'")
        if kind == "contact"
        else GLUE["name"]
    )
    return shop.registry.registry.store.objects(kind).get(name)


def details(contact: Any) -> dict[str, str]:
    """The texts the registry has of a contact."""
    return {key: " ".join("".join(detail.itertext()).split()) for key, detail in contact.details.items()}


def commands(shop: Shop, verb: str, kind: str) -> int:
    """How often the registry has carried it out."""
    return sum(entry.object == kind for entry in shop.registry.ledger.entries(verb, executed=True))


def test_a_changed_contact_is_so_at_the_registry(stocked: Shop) -> None:
    change = {"reference": "zoe of shoes", "city": "Ulm", "phone": None, "organization": None, "fax": "+49.7"}
    assert run(stocked, ("contact.update", change)) == "completed"
    found = details(theirs(stocked, "contact"))
    assert ("Ulm" in found["postalInfo/int"], "Shoes Ltd" in found["postalInfo/int"]) == (True, False)
    assert (found["voice"], found["fax"]) == ("", "+49.7")


def test_a_changed_host_has_its_new_addresses_at_the_registry(stocked: Shop) -> None:
    assert run(stocked, UPDATES["host"]) == "completed"
    assert sorted(map(str, theirs(stocked, "host").addresses)) == ["192.0.2.7", "2001:db8::7"]


@pytest.mark.parametrize("kind", ["contact", "host"])
def test_what_is_deleted_is_gone_at_the_registry(stocked: Shop, kind: str) -> None:
    assert run(stocked, DELETIONS[kind]) == "completed"
    assert theirs(stocked, kind) is None


@pytest.mark.parametrize("kind", ["contact", "host"])
@pytest.mark.parametrize(("verb", "items"), [("update", UPDATES), ("delete", DELETIONS)])
@pytest.mark.parametrize("fault", ["lose_answer", "fail"])
def test_whatever_becomes_of_the_answer_it_is_done_once(
    stocked: Shop, kind: str, verb: str, items: dict[str, Any], fault: str
) -> None:
    met = stocked.registry.faults.add(fault, verb=verb, object=kind)
    assert run(stocked, items[kind]) == "completed"
    assert met.reached.is_set()
    assert commands(stocked, verb, kind) == 1
    tries = stocked.engine.row("SELECT attempt, status FROM v_effect WHERE step = %s", f"{kind}.{verb}")
    assert tries == {"attempt": 2, "status": "done"}


@pytest.mark.parametrize("kind", ["contact", "host"])
def test_what_the_registry_has_not_is_deleted_already(stocked: Shop, kind: str) -> None:
    stocked.registry.registry.store.remove(kind, theirs(stocked, kind).name)
    assert run(stocked, DELETIONS[kind]) == "completed"
    assert commands(stocked, "delete", kind) == 0


@pytest.mark.parametrize("kind", ["contact", "host"])
@pytest.mark.parametrize(("is_granted", "status"), [(True, "completed"), (False, "failed")])
@pytest.mark.parametrize(("verb", "items"), [("update", UPDATES), ("delete", DELETIONS)])
def test_what_the_registry_decides_later_is_waited_for(
    stocked: Shop, kind: str, verb: str, items: dict[str, Any], is_granted: bool, status: str
) -> None:
    stocked.registry.faults.add("pending", verb=verb, object=kind)
    with stocked.engine.worker(default_actions(), **QUICK):
        order = stocked.order(items[kind])
        eventually(partial(stocked.engine.value, "SELECT count(*) FROM v_provision WHERE status = 'pending_action'"))
        stocked.registry.settle(kind, theirs(stocked, kind).name, is_granted)
        stocked.engine.owner.execute("SELECT clock_advance('1 hour')")
        assert stocked.ended(order) == status
    assert commands(stocked, verb, kind) == 1
    if not is_granted:
        reason = stocked.engine.value("SELECT reason FROM v_order WHERE id = %s", order)
        assert reason.endswith("the registry took the request, looked into it, and decided against it")
        assert stocked.engine.value("SELECT count(*) FROM v_attention") == 0


@pytest.mark.parametrize("kind", ["contact", "host"])
@pytest.mark.parametrize("items", [UPDATES, DELETIONS])
def test_what_is_another_registrars_by_now_is_left_alone(stocked: Shop, kind: str, items: dict[str, Any]) -> None:
    theirs(stocked, kind).sponsor = "them"
    assert run(stocked, items[kind]) == "failed"
    assert "sponsor" in stocked.engine.value("SELECT reason FROM v_order ORDER BY id DESC LIMIT 1")
    assert theirs(stocked, kind) is not None


def test_a_contact_that_the_registry_says_is_in_use_is_not_deleted(stocked: Shop) -> None:
    domain = stocked.registry.registry.store.objects("domain")["shoes.example"]
    domain.contacts.append(("tech", theirs(stocked, "contact").name))  # type: ignore[attr-defined]
    assert run(stocked, DELETIONS["contact"]) == "failed"
    assert "2305" in stocked.engine.value("SELECT reason FROM v_order ORDER BY id DESC LIMIT 1")
    assert stocked.engine.value("SELECT count(*) FROM v_contact WHERE deleted_date IS NOT NULL") == 0


def test_a_host_that_is_anothers_too_is_not_deleted_at_the_registry(stocked: Shop) -> None:
    orgs: list[UUID] = [
        worker_fixtures.insert(stocked.engine, "org", tenant_customer_id=stocked.customer.account, slug=slug)
        for slug in ("a", "b")
    ]
    submit = "SELECT order_submit(%s, %s, NULL, jsonb_build_object('org_id', %s::text))"
    with stocked.engine.worker(default_actions()):
        for operation in ("create", "delete"):
            for org in orgs:
                items = Jsonb([{"operation": f"host.{operation}", "data": {"name": "ns1.shared.net"}}])
                assert (
                    stocked.ended(stocked.engine.value(submit, stocked.customer.account, items, str(org)))
                    == "completed"
                )
                is_there = "ns1.shared.net" in stocked.registry.objects("host")
                assert is_there == ((operation, org) != ("delete", orgs[1]))


@pytest.mark.parametrize("kind", ["contact", "host"])
@pytest.mark.parametrize(("verb", "items"), [("update", UPDATES), ("delete", DELETIONS)])
@pytest.mark.parametrize(("fault", "fate"), [("lose_answer", "orphaned"), ("cut", "absent")])
def test_what_a_failed_job_did_all_the_same_is_found_and_taken_over(
    stocked: Shop, kind: str, verb: str, items: dict[str, Any], fault: str, fate: str
) -> None:
    stocked.engine.owner.execute("UPDATE job_type SET max_attempts = 1")
    stocked.registry.faults.add(fault, verb=verb, object=kind)
    with stocked.engine.worker(default_actions()):
        assert stocked.ended(stocked.order(items[kind])) == "failed"
        assert attention(stocked.engine, "uncertain effect")
        assert reconcile(stocked.engine, stocked.accreditation)[fate] == 1
    if fate == "absent":
        return
    row = stocked.engine.row("SELECT id, reason FROM v_attention WHERE what = 'orphan'")
    assert row["reason"].startswith(f"{kind}.{verb} ")
    stocked.engine.value("SELECT provision_adopt(%s, 'as the registry has it')", row["id"])
    if kind == "contact":
        changed = "SELECT city = 'Köln' OR deleted_date IS NOT NULL FROM v_contact WHERE reference LIKE 'zoe%%'"
    else:
        changed = "SELECT cardinality(addresses) = 2 OR deleted_date IS NOT NULL FROM v_host WHERE name LIKE 'ns9%%'"
    assert stocked.engine.value(changed)
