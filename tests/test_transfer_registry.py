"""Transfers between two customers of one database, through a registry over TLS, and what it tells in its queues."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, LiteralString
from uuid import UUID

import pytest
from provision_worker.actions import default_actions
from provision_worker.providers import epp
from provision_worker.simulator import Policy, RegistrySimulator

from . import worker_fixtures
from .test_lifecycle_registry import THEIRS, info, reason, send
from .worker_fixtures import (
    REGISTRY_PASSWORD,
    Shop,
    eventually,
    insert,
    make_customer,
    make_registry_accreditation,
    person,
)

engine = worker_fixtures.engine
shop = worker_fixtures.shop

NAME = "moving.example"
QUICK: dict[str, Any] = {"worker_poll_seconds": 0.05}


@dataclass(frozen=True)
class Town:
    """Two customers with a registrar each, a worker that works for both, and a name that `ours` has."""

    ours: Shop
    theirs: Shop

    @property
    def registry(self) -> RegistrySimulator:
        return self.ours.registry

    def secret(self) -> str:
        secret: str = self.ours.engine.value("SELECT value FROM secret")
        return secret

    def asked(self, **changes: Any) -> UUID:
        """Their order of the name, with the secret that its holder has told."""
        return self.theirs.order(("domain.transfer", {"name": NAME, "pw": self.secret()} | changes))

    def pending(self, **changes: Any) -> UUID:
        """The same, once the registry waits for an answer and has told the holder."""
        order = self.asked(**changes)
        status: LiteralString = "SELECT status FROM v_provision WHERE kind = 'provision_domain_transfer'"
        eventually(lambda: self.ours.engine.value(status) == "pending_action")
        self.poll()
        return order

    def poll(self) -> None:
        """The queues of both are read."""
        for shop in (self.ours, self.theirs):
            shop.engine.ended(shop.engine.submit(type="registry_poll", accreditation=shop.accreditation))

    def answered(self, action: str) -> UUID:
        shop = self.theirs if action == "cancel" else self.ours
        order = shop.order((f"transfer.{action}", {"name": NAME}))
        assert shop.ended(order) == "completed"
        self.poll()
        return order

    def pass_time(self, **span: float) -> None:
        """At the registry and here."""
        self.registry.advance(timedelta(**span))
        self.ours.engine.owner.execute("SELECT clock_advance(%s)", [timedelta(**span)])

    def holder(self) -> list[UUID]:
        """Who has the name, as the inventory says."""
        rows = self.ours.engine.rows("SELECT tenant_customer_id FROM v_domain WHERE deleted_date IS NULL")
        return [row["tenant_customer_id"] for row in rows]


@pytest.fixture
def policy(request: pytest.FixtureRequest) -> Policy:
    return Policy(zones=("example",), **getattr(request, "param", {}))


@pytest.fixture
def registry(policy: Policy) -> Iterator[RegistrySimulator]:
    with RegistrySimulator({"us": REGISTRY_PASSWORD, "them": THEIRS}, policy) as registry:
        yield registry


@pytest.fixture
def town(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Town]:
    monkeypatch.setenv("RIVAL_PASSWORD", THEIRS)
    engine = shop.engine
    customer = make_customer(engine, "rival")
    values = {"name": "rival", "registrar_id": "them", "secret_ref": "env:RIVAL_PASSWORD"}
    accreditation = make_registry_accreditation(engine, customer.tenant, shop.registry, **values)
    zone = engine.value("SELECT id FROM tld")
    insert(engine, "accreditation_tld", accreditation_id=accreditation, tld_id=zone)
    engine.owner.execute("UPDATE schedule SET next_date = 'infinity'")  # the tests say when queues are read
    with engine.worker(default_actions(), **QUICK):
        assert shop.ended(shop.order_domain(NAME)) == "completed"
        yield Town(shop, replace(shop, customer=customer, accreditation=accreditation))


at_once = pytest.mark.parametrize("policy", [{"transfer_at_once": True}], indirect=True)


@at_once
def test_what_is_granted_at_once_is_done_at_once(town: Town) -> None:
    old = town.secret()
    record = epp.domain.DsRecord(1, 13, 2, "AB" * 32)
    change = epp.domain.DomainUpdate(NAME, add=epp.domain.Part(ds_records=(record,)))
    send(town.registry, epp.domain.update(change))
    before = town.ours.engine.row("SELECT hosts, ry_expiry_date FROM v_domain")
    assert town.theirs.ended(town.asked()) == "completed"
    found = town.ours.engine.row("SELECT * FROM v_domain WHERE deleted_date IS NULL")
    assert (found["tenant_customer_id"], found["hosts"]) == (town.theirs.customer.account, before["hosts"])
    assert found["ry_expiry_date"] == send(town.registry, epp.domain.info(NAME), "them").expires_at
    assert found["ry_expiry_date"] > before["ry_expiry_date"]
    assert set(found["contacts"]) == {"registrant", "admin", "tech"}
    details: LiteralString = "SELECT count(*) AS all, count(name) AS named FROM v_contact WHERE tenant_customer_id = %s"
    theirs = town.ours.engine.row(details, town.theirs.customer.account)
    assert list(theirs.values()) == [2, 0], "the registry shows contacts to their own registrar only"
    assert (
        town.ours.engine.value("SELECT ds_records -> 0 ->> 'digest' FROM domain WHERE deleted_date IS NULL")
        == "AB" * 32
    )
    assert town.secret() != old
    assert send(town.registry, epp.domain.info(NAME), "them").auth_info == town.secret()


@at_once
def test_contacts_that_the_registry_shows_come_with_their_details(town: Town) -> None:
    postal = epp.contact.PostalInfo("R. Val", "Elsewhere", "IS", ("1 Road", "Upstairs"), "Val ehf", None, "101")
    details = epp.contact.ContactDetails("RIVAL-1", "r@val.example", postal, voice="+354.123", auth_info="no-1-else")
    send(town.registry, epp.contact.create(details), "them")
    send(town.registry, epp.domain.update(epp.domain.DomainUpdate(NAME, registrant="RIVAL-1")))
    assert town.theirs.ended(town.asked()) == "completed"
    row = town.ours.engine.row("SELECT * FROM v_contact WHERE handle = 'RIVAL-1'")
    assert (row["name"], row["organization"], row["street"]) == ("R. Val", "Val ehf", ["1 Road", "Upstairs"])
    assert (row["city"], row["postal_code"], row["country_code"]) == ("Elsewhere", "101", "IS")
    assert (row["email"], row["phone"], row["tenant_customer_id"]) == (
        "r@val.example",
        "+354.123",
        town.theirs.customer.account,
    )


@at_once
def test_a_name_is_given_the_contacts_that_were_ordered_with_it(town: Town) -> None:
    order = town.asked(contacts={"registrant": person("rita", "rival"), "tech": {"reference": "rita of rival"}})
    assert town.theirs.ended(order) == "completed"
    row = town.ours.engine.row("SELECT contacts FROM v_domain WHERE deleted_date IS NULL")
    assert (row["contacts"]["registrant"], row["contacts"]["tech"]) == (["rita of rival"], ["rita of rival"])
    handle = town.ours.engine.value("SELECT handle FROM v_contact WHERE reference = 'rita of rival'")
    assert send(town.registry, epp.domain.info(NAME), "them").registrant == handle
    (admin,) = (c for c in send(town.registry, epp.domain.info(NAME), "them").contacts if c.role == "admin")
    assert row["contacts"]["admin"] == [admin.handle], "a type that was not named stays as it came"


def test_an_approved_transfer_moves_the_name_and_ends_what_was_open(town: Town) -> None:
    order = town.pending()
    events: LiteralString = (
        "SELECT to_state FROM v_audit WHERE table_name = 'domain' AND operation = 'transition'"
        " AND tenant_customer_id = %s ORDER BY id"
    )
    assert [row["to_state"] for row in town.ours.engine.rows(events, town.ours.customer.account)] == [
        "transfer_requested"
    ]
    town.registry.faults.add("fail", verb="info", object="domain", registrar="us", times=None)
    renewal = town.ours.order(("domain.renew", {"name": NAME}))
    town.ours.engine.attempted(town.ours.job("provision_domain_renew")["id"])
    put_off: LiteralString = (
        "UPDATE job_queue SET start_date = engine_now() + interval '1 day' WHERE type = 'provision_domain_renew'"
        " RETURNING true"
    )
    eventually(lambda: town.ours.engine.value(put_off), "that it has begun, and waits")
    town.answered("approve")
    assert town.theirs.ended(order) == "completed"
    assert town.ours.ended(renewal) == "cancelled"
    assert f"{NAME} was transferred to them" in reason(town.ours, renewal)
    assert town.holder() == [town.theirs.customer.account]


def test_a_rejected_transfer_fails_with_that_reason_and_the_name_stays(town: Town) -> None:
    order = town.pending()
    town.answered("reject")
    assert town.theirs.ended(order) == "failed"
    assert "was rejected by its registrar" in reason(town.theirs, order)
    assert town.holder() == [town.ours.customer.account]
    assert town.ours.engine.value("SELECT transfer_due IS NULL FROM v_domain")
    assert town.ours.engine.value("SELECT count(*) FROM secret") == 1


def test_a_transfer_that_is_taken_back_fails_with_that_reason(town: Town) -> None:
    order = town.pending()
    town.answered("cancel")
    assert town.theirs.ended(order) == "failed"
    assert "was cancelled" in reason(town.theirs, order)
    assert town.ours.engine.value("SELECT transfer_due IS NULL FROM v_domain")
    assert "pendingTransfer" not in info(town.registry, NAME).statuses


def test_what_nobody_answers_is_approved_by_the_registry(town: Town) -> None:
    order = town.pending()
    town.pass_time(days=5, hours=1)
    town.poll()
    assert town.theirs.ended(order) == "completed"
    assert town.holder() == [town.theirs.customer.account]


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        ({"transfer_unanswered": "cancel"}, "was cancelled by the registry"),
        ({"transfer_unanswered": "keep"}, "nobody decided"),
    ],
    indirect=["policy"],
)
def test_a_transfer_whose_time_runs_out_fails_and_says_so(town: Town, why: str) -> None:
    order = town.pending()
    town.pass_time(days=5, hours=2)
    assert town.theirs.ended(order) == "failed"
    assert why in reason(town.theirs, order)
    assert "pendingTransfer" not in info(town.registry, NAME).statuses
    town.poll()
    assert town.holder() == [town.ours.customer.account]
    assert town.ours.engine.value("SELECT transfer_due IS NULL FROM v_domain")


def test_a_wrong_secret_and_a_lock_are_the_registrys_to_refuse(town: Town) -> None:
    order = town.theirs.order(("domain.transfer", {"name": NAME, "pw": "a wrong one"}))
    assert town.theirs.ended(order) == "failed"
    assert "2202" in reason(town.theirs, order)
    lock = epp.domain.Part(statuses=("clientTransferProhibited",))
    send(town.registry, epp.domain.update(epp.domain.DomainUpdate(NAME, add=lock)))
    order = town.asked()
    assert town.theirs.ended(order) == "failed"
    assert "clientTransferProhibited" in reason(town.theirs, order)
    order = town.theirs.order(("domain.transfer", {"name": "nobodys.example", "pw": "whatever"}))
    assert town.theirs.ended(order) == "failed"
    assert "the registry does not have nobodys.example" in reason(town.theirs, order)
    assert town.ours.engine.value("SELECT count(*) FROM secret") == 1


@pytest.mark.parametrize("policy", [{"transfer_at_once": True}, {}], indirect=True)
def test_a_request_whose_answer_is_lost_is_not_repeated(town: Town) -> None:
    town.registry.faults.add("lose_answer", verb="transfer")
    order = town.asked()
    town.theirs.engine.attempted(town.theirs.job("provision_domain_transfer")["id"])
    town.ours.engine.owner.execute("SELECT clock_advance('1 hour')")
    status: LiteralString = "SELECT status FROM v_provision WHERE kind = 'provision_domain_transfer'"
    eventually(lambda: town.ours.engine.value(status) in ("pending_action", "completed"))
    if town.ours.engine.value(status) == "pending_action":
        town.poll()
        town.answered("approve")
    assert town.theirs.ended(order) == "completed"
    requests = [e for e in town.registry.ledger.entries("transfer", executed=True) if e.op == "request"]
    assert len(requests) == 1


# Queues ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["lose_answer", "cut"])
def test_a_message_is_stored_once_and_acknowledged_after_that(town: Town, fault: str) -> None:
    town.registry.advance(timedelta(days=366))
    town.registry.faults.add("hold", verb="poll", seconds=0)  # the message arrives,
    town.registry.faults.add(fault, verb="poll")  # and then its acknowledgement, or the answer to that, does not
    job = town.ours.engine.submit(type="registry_poll", accreditation=town.ours.accreditation)
    town.ours.engine.attempted(job)
    town.ours.engine.owner.execute("SELECT clock_advance('1 hour')")
    assert town.ours.engine.ended(job)["status"] == "completed"
    rows = town.ours.engine.rows("SELECT kind, data ->> 'name' AS name FROM v_registry_message")
    assert rows == [{"kind": "domain", "name": NAME}]
    assert send(town.registry, epp.poll.request()) is None


def test_a_name_that_the_registry_renews_by_itself_expires_later_here(town: Town) -> None:
    town.registry.advance(timedelta(days=366))
    town.poll()
    row = town.ours.engine.row("SELECT ry_expiry_date, rgp_state FROM v_domain")
    assert row == {"ry_expiry_date": info(town.registry, NAME).expires_at, "rgp_state": "autoRenewPeriod"}


@pytest.mark.parametrize("verb", ["create", "renew", "delete"])
def test_what_the_registry_must_look_into_is_settled_by_its_message(town: Town, verb: str) -> None:
    town.registry.advance(timedelta(days=6))
    waits: LiteralString = "SELECT count(*) FROM v_provision WHERE status = 'pending_action'"
    for done in (False, True):
        town.registry.faults.add("pending", verb=verb, object="domain")
        name = f"other-{done}.example".lower() if verb == "create" else NAME
        order = (
            town.ours.order_domain(name) if verb == "create" else town.ours.order((f"domain.{verb}", {"name": name}))
        )
        eventually(lambda: town.ours.engine.value(waits) == 1)
        town.ours.engine.owner.execute(
            "UPDATE job_queue SET start_date = engine_now() + interval '1 day' WHERE type LIKE 'provision_domain%'"
        )
        town.registry.settle("domain", name, done, "" if done else "the board said no")
        town.poll()
        assert town.ours.ended(order) == ("completed" if done else "failed")
        assert ("the board said no" in (reason(town.ours, order) or "")) is not done


# Between customers of one accreditation -------------------------------------------------------------------------------


@pytest.fixture
def house(shop: Shop) -> Iterator[Town]:
    """Two customers of the same accreditation, whom the registry cannot tell apart."""
    engine = shop.engine
    account = engine.value("INSERT INTO customer (name, email) VALUES ('Rival', 'rival@example.net') RETURNING id")
    tenant_customer = insert(engine, "tenant_customer", tenant_id=shop.customer.tenant, customer_id=account)
    with engine.worker(default_actions(), **QUICK):
        assert shop.ended(shop.order_domain(NAME)) == "completed"
        yield Town(shop, replace(shop, customer=replace(shop.customer, account=tenant_customer)))


def people(of: str) -> dict[str, Any]:
    contacts = {role: person(role, of) for role in ("registrant", "admin")}
    return contacts | {"tech": {"reference": f"admin of {of}"}}


def test_a_name_changes_hands_within_an_accreditation(house: Town) -> None:
    old = house.secret()
    renewal = house.ours.order(("domain.renew", {"name": NAME}), ("contact.create", person("more", "ours")))
    assert house.ours.ended(renewal) == "completed"
    assert house.theirs.ended(house.asked(contacts=people("theirs"))) == "completed"
    assert house.holder() == [house.theirs.customer.account]
    row = house.ours.engine.row("SELECT contacts, hosts FROM v_domain WHERE deleted_date IS NULL")
    assert row["contacts"] == {
        "registrant": ["registrant of theirs"],
        "admin": ["admin of theirs"],
        "tech": ["admin of theirs"],
    }
    assert len(row["hosts"]) == 2
    found = info(house.registry, NAME)
    theirs: LiteralString = "SELECT handle FROM v_contact WHERE reference = 'registrant of theirs'"
    assert found.registrant == house.ours.engine.value(theirs)
    assert house.secret() == found.auth_info != old
    assert [e.op for e in house.registry.ledger.entries("transfer")] == [], "the registry has nothing to transfer"
    gone: LiteralString = "SELECT reason FROM v_audit WHERE table_name = 'domain' AND to_state = 'transferred_away'"
    assert house.ours.engine.value(gone) == f"{NAME} was transferred to another customer"
    left = ("contact.delete", {"reference": f"jane of {NAME}"})
    assert house.ours.ended(house.ours.order(left)) == "completed"


def test_who_does_not_know_the_secret_is_told_nothing_and_who_knows_it_brings_contacts(house: Town) -> None:
    renewed: LiteralString = "UPDATE domain SET statuses = %s"
    house.ours.engine.owner.execute(renewed, [["clientTransferProhibited"]])
    for data, text in (
        ({"pw": "a wrong one"}, f"the auth info of {NAME} is wrong"),
        ({}, f"{NAME} has status clientTransferProhibited"),
    ):
        order = house.asked(**data)
        assert house.theirs.ended(order) == "failed"
        assert reason(house.theirs, order).endswith(text)
    house.ours.engine.owner.execute(renewed, [[]])
    lock = epp.domain.Part(statuses=("clientTransferProhibited",))
    send(house.registry, epp.domain.update(epp.domain.DomainUpdate(NAME, add=lock)))
    order = house.asked(contacts=people("theirs"))
    assert house.theirs.ended(order) == "failed"
    assert reason(house.theirs, order).endswith("clientTransferProhibited at the registry")
    send(house.registry, epp.domain.update(epp.domain.DomainUpdate(NAME, remove=lock)))
    order = house.asked(contacts={"registrant": person("registrant", "theirs")})
    assert house.theirs.ended(order) == "failed"
    assert reason(house.theirs, order).endswith("order it with contacts of your own (admin, tech)")
    assert house.holder() == [house.ours.customer.account]
    assert house.ours.engine.value("SELECT count(*) FROM secret") == 1
    assert house.ours.engine.value("SELECT count(*) FROM object_operation") == 0
    assert house.ours.ended(house.ours.order(("domain.renew", {"name": NAME}))) == "completed"


def test_a_name_that_its_customer_is_busy_with_changes_hands_afterwards(house: Town) -> None:
    house.registry.faults.add("pending", verb="renew", object="domain")
    renewal = house.ours.order(("domain.renew", {"name": NAME}))
    waits: LiteralString = "SELECT status FROM v_provision WHERE kind = %s"
    eventually(lambda: house.ours.engine.value(waits, "provision_domain_renew") == "pending_action")
    order = house.asked(contacts=people("theirs"))
    put_off: LiteralString = "SELECT result_message FROM v_job WHERE type = 'provision_domain_transfer_request'"
    said = "its customer is doing something else with it"
    eventually(lambda: house.ours.engine.value(put_off) == said)
    house.registry.settle("domain", NAME, True, "")
    house.poll()
    assert house.ours.ended(renewal) == "completed"
    house.ours.engine.owner.execute("SELECT clock_advance('1 minute')")
    assert house.theirs.ended(order) == "completed"
    assert house.holder() == [house.theirs.customer.account]
