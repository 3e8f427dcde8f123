"""The life of registered names at a registry over TLS: what it is asked, what it is not, and what comes of its answers.

The registry keeps its own time (`advance`), and the engine its own (`clock_advance`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any, LiteralString
from uuid import UUID, uuid4

import pytest
from provision_worker.actions import default_actions
from provision_worker.providers import epp
from provision_worker.simulator import Policy, RegistrySimulator
from psycopg.types.json import Jsonb

from . import worker_fixtures
from .test_actions import reconcile
from .worker_fixtures import REGISTRY_PASSWORD, Shop, eventually

engine = worker_fixtures.engine
shop = worker_fixtures.shop

NAME = "life.example"
START = datetime(2027, 3, 1, 12, tzinfo=UTC)
THEIRS = "battery staple"
QUICK: dict[str, Any] = {"worker_poll_seconds": 0.05}


POLICY = Policy(
    zones=("example", "co.example", "report.example", "thin.example"),
    restore_report_zones=("report.example",),
    thin_zones=("thin.example",),
    transfer_at_once=True,
)


class Time:
    """The registry's, which stands still unless a test moves it."""

    now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def registry(time: Time) -> Iterator[RegistrySimulator]:
    registrars = {"us": REGISTRY_PASSWORD, "them": THEIRS}
    with RegistrySimulator(registrars, POLICY, clock=time) as registry:
        yield registry


@pytest.fixture
def busy(shop: Shop) -> Iterator[Shop]:
    """A shop with a worker."""
    with shop.engine.worker(default_actions(), **QUICK):
        yield shop


@pytest.fixture
def named(busy: Shop) -> Shop:
    """One that has the name, with two years to go and out of its add grace period."""
    assert busy.ended(busy.order_domain(NAME, period=2)) == "completed"
    busy.registry.advance(timedelta(days=6))
    return busy


@contextmanager
def client(registry: RegistrySimulator, registrar: str = "us") -> Iterator[epp.Client]:
    """Somebody else's session at the registry."""
    password = {"us": REGISTRY_PASSWORD, "them": THEIRS}[registrar]
    tls = epp.tls_context(registry.ca_file)
    settings = epp.Settings(registry.host, registrar, password, tls, registry.port)
    with epp.Client(settings) as made:
        yield made


def send(registry: RegistrySimulator, command: epp.Command[Any], registrar: str = "us") -> Any:
    """What the registry answers to a command that is not the engine's."""
    with client(registry, registrar) as line:
        return line.send(command, f"by-hand-{uuid4().hex[:8]}").data


def info(registry: RegistrySimulator, name: str = NAME) -> epp.domain.DomainInfo:
    found: epp.domain.DomainInfo = send(registry, epp.domain.info(name))
    return found


def reason(shop: Shop, order: UUID) -> str:
    text: str = shop.engine.value("SELECT reason FROM v_order WHERE id = %s", order)
    return text


def sent(shop: Shop, verb: str, kind: str = "domain") -> list[tuple[str, bool]]:
    """What the engine has asked of the registry, and whether it was carried out."""
    entries = shop.registry.ledger.entries(verb, object=kind)
    return [(entry.name, entry.executed) for entry in entries if (entry.cl_trid or "").startswith("pv-")]


def expiry(shop: Shop) -> str:
    """The day the name expires, which inventory and registry agree on."""
    query: LiteralString = "SELECT ry_expiry_date FROM v_domain WHERE name = %s AND deleted_date IS NULL"
    ours, theirs = shop.engine.value(query, NAME), info(shop.registry).expires_at
    assert ours == theirs
    return f"{ours.astimezone(UTC):%Y-%m-%d}"


def renew(shop: Shop, **changes: Any) -> UUID:
    return shop.order(("domain.renew", {"name": NAME} | changes))


def delete(shop: Shop, name: str = NAME) -> UUID:
    return shop.order(("domain.delete", {"name": name}))


# Name servers as attributes -------------------------------------------------------------------------------------------


def test_where_name_servers_are_attributes_they_travel_with_the_domain(shop: Shop, time: Time) -> None:
    policy = replace(POLICY, host_model="attributes")
    with RegistrySimulator({"us": REGISTRY_PASSWORD, "them": THEIRS}, policy, clock=time) as registry:
        execute = shop.engine.owner.execute
        execute("UPDATE tld_setting SET value = '\"attributes\"' WHERE name = 'host_model'")
        execute(
            "UPDATE accreditation SET endpoint = %s, settings = settings || %s",
            [f"127.0.0.1:{registry.port}", Jsonb({"ca_file": str(registry.ca_file)})],
        )
        with shop.engine.worker(default_actions(), **QUICK):
            order = shop.order_domain(NAME)
            assert shop.ended(order) == "completed", reason(shop, order)
            outside = [epp.host.Host(f"ns{n}.{NAME}.net") for n in (1, 2)]
            assert sorted(info(registry).host_attributes, key=str) == sorted(outside, key=str)
            inside: dict[str, Any] = {"name": f"ns9.{NAME}", "addresses": ["192.0.2.9", "2001:db8::9"]}
            order = shop.order(("domain.update", {"name": NAME, "hosts": [inside, f"ns1.{NAME}.net"]}))
            assert shop.ended(order) == "completed", reason(shop, order)
            glue = tuple(map(ip_address, inside["addresses"]))
            assert set(info(registry).host_attributes) == {epp.host.Host(inside["name"], glue), outside[0]}
            order = shop.order(("host.update", {"name": inside["name"], "addresses": ["192.0.2.10"]}))
            assert shop.ended(order) == "completed", reason(shop, order)
            order = shop.order(("domain.update", {"name": NAME, "hosts": [inside["name"], f"ns1.{NAME}.net"]}))
            assert shop.ended(order) == "completed", reason(shop, order)
            assert epp.host.Host(inside["name"], (ip_address("192.0.2.10"),)) in info(registry).host_attributes
            assert reconcile(shop.engine, shop.accreditation)["missing"] == 0
            order = shop.order(("host.delete", {"name": f"ns2.{NAME}.net"}), ("domain.delete", {"name": NAME}))
            assert shop.ended(order) == "completed", reason(shop, order)
            assert shop.engine.rows("SELECT name FROM v_host WHERE deleted_date IS NULL") == [
                {"name": f"ns1.{NAME}.net"}
            ]


# Renewal --------------------------------------------------------------------------------------------------------------


def test_a_renewal_moves_the_expiry_at_the_registry_and_here(named: Shop) -> None:
    assert named.ended(renew(named, period=2, current_expiry="2029-03-01")) == "completed"
    assert expiry(named) == "2031-03-01"
    assert sent(named, "renew") == [(NAME, True)]


def test_nothing_is_sent_where_the_registry_is_as_far_already(named: Shop) -> None:
    send(named.registry, epp.domain.renew(NAME, START.date().replace(year=2029), 1))
    assert named.ended(renew(named)) == "completed"
    assert expiry(named) == "2030-03-01"
    assert sent(named, "renew") == []


def test_where_the_registry_is_ahead_by_some_only_the_rest_is_renewed(named: Shop) -> None:
    send(named.registry, epp.domain.renew(NAME, START.date().replace(year=2029), 1))
    assert named.ended(renew(named, period=5)) == "completed"
    assert expiry(named) == "2034-03-01"


def test_a_renewal_whose_answer_is_lost_is_not_repeated(named: Shop) -> None:
    for done, fault in enumerate(("lose_answer", "garbage", "fail_after", "mid_frame"), 1):
        named.registry.faults.add(fault, verb="renew")
        order = renew(named)
        named.engine.attempted(named.job("provision_domain_renew")["id"])
        named.engine.owner.execute("SELECT clock_advance('1 hour')")
        assert (fault, named.ended(order)) == (fault, "completed")
        assert (fault, expiry(named)) == (fault, f"{2029 + done}-03-01")
        assert (fault, len(sent(named, "renew"))) == (fault, done)


def test_a_name_of_another_sponsor_is_not_renewed(named: Shop) -> None:
    secret = named.engine.value("SELECT value FROM secret")
    send(named.registry, epp.domain.transfer(epp.TransferOp.REQUEST, NAME, secret), "them")
    order = renew(named)
    assert named.ended(order) == "failed"
    assert f"the sponsor of {NAME} at the registry is them" in reason(named, order)
    assert sent(named, "renew") == []
    assert named.engine.rows("SELECT * FROM v_attention WHERE what IN ('orphan', 'uncertain effect')") == []


def test_a_name_that_may_not_be_renewed_is_not(named: Shop) -> None:
    locked = epp.domain.Part(statuses=("clientRenewProhibited",))
    send(named.registry, epp.domain.update(epp.domain.DomainUpdate(NAME, add=locked)))
    order = renew(named)
    assert named.ended(order) == "failed"
    assert "clientRenewProhibited" in reason(named, order)
    assert sent(named, "renew") == []


def test_a_leap_day_is_renewed_to_the_last_of_february(busy: Shop, time: Time) -> None:
    time.now = datetime(2028, 2, 29, 23, 30, tzinfo=UTC)
    assert busy.ended(busy.order_domain(NAME)) == "completed"
    assert expiry(busy) == "2029-02-28"
    assert busy.ended(renew(busy, period=2)) == "completed"
    assert expiry(busy) == "2031-02-28"


def test_a_renewal_from_a_leap_day_is_known_when_it_is_there(busy: Shop, time: Time) -> None:
    time.now = datetime(2026, 2, 28, 1, tzinfo=UTC)
    assert busy.ended(busy.order_domain(NAME, period=2)) == "completed"
    busy.engine.owner.execute("UPDATE domain SET ry_expiry_date = '2028-02-29T01:00:00Z'")
    busy.registry.registry.store.domains[NAME].expires_at = datetime(2028, 2, 29, 1, tzinfo=UTC)
    busy.registry.faults.add("lose_answer", verb="renew")
    order = renew(busy)
    busy.engine.attempted(busy.job("provision_domain_renew")["id"])
    busy.engine.owner.execute("SELECT clock_advance('1 hour')")
    assert busy.ended(order) == "completed"
    assert expiry(busy) == "2029-02-28"
    assert len(sent(busy, "renew")) == 1


def test_dates_that_are_missing_in_answers_wedge_nothing(named: Shop) -> None:
    for done, verbs in enumerate((("renew",), ("info",), ("renew", "info")), 1):
        for verb in verbs:
            named.registry.faults.add("no_dates", verb=verb, times=None)
        assert (verbs, named.ended(renew(named))) == (verbs, "completed")
        named.registry.faults.clear()
        # With no date in any answer it is the day that is known, and no time of it.
        ours = named.engine.value("SELECT ry_expiry_date FROM v_domain").astimezone(UTC)
        assert (verbs, {f"{moment:%Y-%m-%d}" for moment in (ours, info(named.registry).expires_at)}) == (
            verbs,
            {f"{2029 + done}-03-01"},
        )


def test_without_any_date_a_renewal_fails_and_says_so(named: Shop) -> None:
    named.engine.owner.execute("UPDATE domain SET ry_expiry_date = NULL")
    named.registry.faults.add("no_dates", verb="info", times=None)
    order = renew(named)
    assert named.ended(order) == "failed"
    assert "neither the registry nor we know" in reason(named, order)


def test_a_renewal_that_the_registry_must_look_into_waits(named: Shop) -> None:
    waits: LiteralString = "SELECT count(*) FROM v_provision WHERE status = 'pending_action'"
    for done, day in ((False, "2029-03-01"), (True, "2030-03-01")):
        named.registry.faults.add("pending", verb="renew")
        order = renew(named)
        eventually(lambda: named.engine.value(waits) == 1)
        named.registry.settle("domain", NAME, done)
        named.engine.owner.execute("SELECT clock_advance('2 hours')")
        assert named.ended(order) == ("completed" if done else "failed")
        assert expiry(named) == day
    assert named.engine.rows("SELECT * FROM v_attention WHERE what IN ('orphan', 'uncertain effect')") == []


# Deletion -------------------------------------------------------------------------------------------------------------


def test_in_the_add_grace_period_a_name_is_gone_at_once_and_can_be_registered_at_once(busy: Shop) -> None:
    assert busy.ended(busy.order_domain(NAME)) == "completed"
    assert busy.ended(delete(busy)) == "completed"
    assert NAME not in busy.registry.objects("domain")
    assert busy.ended(busy.order_domain(NAME, hosts=["ns1.life.example.net", "ns2.life.example.net"])) == "completed"
    assert len(sent(busy, "delete")) == 1


def test_later_it_enters_redemption_and_is_free_when_it_is_purged(named: Shop) -> None:
    assert named.ended(delete(named)) == "completed"
    assert info(named.registry).rgp_statuses == ("redemptionPeriod",)
    assert named.engine.value("SELECT rgp_state FROM v_domain") == "redemptionPeriod"
    for span in (timedelta(days=31), timedelta(days=5)):
        named.registry.advance(span)
        named.engine.owner.execute("SELECT clock_advance(%s)", [span])
    eventually(lambda: named.engine.value("SELECT deleted_date IS NOT NULL FROM v_domain"), "the purge")
    assert named.ended(named.order_domain(NAME, period=1)) == "completed"


def test_a_name_that_is_gone_already_is_deleted_without_a_command(named: Shop) -> None:
    named.registry.registry.store.remove("domain", NAME)
    assert named.ended(delete(named)) == "completed"
    assert sent(named, "delete") == []
    assert named.engine.value("SELECT deleted_date IS NOT NULL FROM v_domain")


def test_a_name_in_redemption_already_is_not_deleted_again(named: Shop) -> None:
    send(named.registry, epp.domain.delete(NAME))
    assert named.ended(delete(named)) == "completed"
    assert sent(named, "delete") == []
    assert named.engine.value("SELECT rgp_state FROM v_domain") == "redemptionPeriod"


@pytest.mark.parametrize("days", [0, 6])
def test_a_deletion_whose_answer_is_lost_is_not_repeated(busy: Shop, days: int) -> None:
    assert busy.ended(busy.order_domain(NAME)) == "completed"
    busy.registry.advance(timedelta(days=days))
    busy.registry.faults.add("lose_answer", verb="delete")
    order = delete(busy)
    busy.engine.attempted(busy.job("provision_domain_delete")["id"])
    busy.engine.owner.execute("SELECT clock_advance('1 hour')")
    assert busy.ended(order) == "completed"
    assert len(sent(busy, "delete")) == 1
    gone: LiteralString = "SELECT deleted_date IS NOT NULL FROM v_domain"
    assert busy.engine.value(gone) == (days == 0)


def glue(shop: Shop, *names: str) -> None:
    """Name servers under the name."""
    items = [("host.create", {"name": name, "addresses": ["192.0.2.1"]}) for name in names]
    assert shop.ended(shop.order(*items)) == "completed"


def test_name_servers_under_a_name_go_first_even_if_it_uses_them_itself(named: Shop) -> None:
    glue(named, f"ns1.{NAME}", f"ns2.{NAME}")
    own = epp.domain.Part(host_objects=(f"ns1.{NAME}",))
    send(named.registry, epp.domain.update(epp.domain.DomainUpdate(NAME, add=own)))
    assert named.ended(delete(named)) == "completed"
    assert not [name for name in named.registry.objects("host") if name.endswith(f".{NAME}")]
    assert named.engine.rows("SELECT FROM v_host WHERE deleted_date IS NULL AND name LIKE %s", f"%.{NAME}") == []


def test_a_name_whose_server_serves_somebody_elses_name_is_left_as_it_is(named: Shop) -> None:
    glue(named, f"ns1.{NAME}", f"ns2.{NAME}")
    own = epp.domain.Part(host_objects=(f"ns1.{NAME}",))
    send(named.registry, epp.domain.update(epp.domain.DomainUpdate(NAME, add=own)))
    details = epp.contact.PostalInfo(name="R. Val", streets=("1 Road",), city="Elsewhere", country="IS")
    person = epp.contact.ContactDetails("RIVAL-1", "r@rival.example", details, auth_info="no-1-else")
    send(named.registry, epp.contact.create(person), "them")
    rival = epp.domain.Registration("rival.example", "RIVAL-1", "no-1-else", host_objects=(f"ns2.{NAME}",))
    send(named.registry, epp.domain.create(rival), "them")
    before = info(named.registry)
    order = delete(named)
    assert named.ended(order) == "failed"
    assert f"ns2.{NAME}, under {NAME}, serves other domains" in reason(named, order)
    named_before, named_after = before.host_objects, info(named.registry).host_objects
    assert named_before == named_after
    assert named.engine.value("SELECT deleted_date IS NULL AND purge_date IS NULL FROM v_domain")


def test_a_deletion_that_the_registry_must_look_into_waits(named: Shop) -> None:
    named.registry.faults.add("pending", verb="delete")
    order = delete(named)
    status: LiteralString = "SELECT status FROM v_provision WHERE kind = 'provision_domain_delete'"
    eventually(lambda: named.engine.value(status) == "pending_action")
    named.registry.settle("domain", NAME, False)
    named.engine.owner.execute("SELECT clock_advance('2 hours')")
    assert named.ended(order) == "failed"
    named.registry.faults.add("pending", verb="delete")
    order = delete(named)
    eventually(lambda: (NAME, True) in sent(named, "delete")[1:])
    named.registry.settle("domain", NAME)
    named.engine.owner.execute("SELECT clock_advance('4 hours')")
    assert named.ended(order) == "completed"
    assert named.engine.value("SELECT rgp_state FROM v_domain") == "redemptionPeriod"


# Restoration ----------------------------------------------------------------------------------------------------------


def restored(shop: Shop, name: str = NAME) -> UUID:
    """The order of a restoration, of a name that was deleted after its add grace period."""
    assert shop.ended(delete(shop, name)) == "completed"
    return shop.order(("domain.restore", {"name": name, "reason": "the wrong button"}))


@pytest.mark.parametrize("fault", [None, "lose_answer"])
def test_a_name_in_redemption_is_brought_back(named: Shop, fault: str | None) -> None:
    if fault:
        named.registry.faults.add(fault, verb="update", object="domain")
    order = restored(named)
    if fault:
        named.engine.attempted(named.job("provision_domain_restore")["id"])
        named.engine.owner.execute("SELECT clock_advance('1 hour')")
    assert named.ended(order) == "completed"
    assert info(named.registry).rgp_statuses == ()
    assert expiry(named) == "2029-03-01"
    assert sent(named, "update") == [(NAME, True)]
    assert named.ended(renew(named)) == "completed"


@pytest.mark.parametrize("lost", [None, 1, 2])
def test_where_a_report_is_asked_for_it_is_given(busy: Shop, lost: int | None) -> None:
    busy.engine.value("SELECT tld_create(%s, 'report.example', 'report')", busy.accreditation)
    name = "life.report.example"
    assert busy.ended(busy.order_domain(name)) == "completed"
    busy.registry.advance(timedelta(days=6))
    if lost:  # the answer to the request, or to the report
        if lost == 2:
            busy.registry.faults.add("hold", verb="update", seconds=0)
        busy.registry.faults.add("lose_answer", verb="update")
    order = restored(busy, name)
    if lost:
        busy.engine.attempted(busy.job("provision_domain_restore")["id"])
        busy.engine.owner.execute("SELECT clock_advance('1 hour')")
    assert busy.ended(order) == "completed"
    assert info(busy.registry, name).rgp_statuses == ()
    assert "pendingDelete" not in info(busy.registry, name).statuses
    assert len(sent(busy, "update")) == 2


def test_a_restoration_that_comes_too_late_fails_with_that_reason(named: Shop) -> None:
    assert named.ended(delete(named)) == "completed"
    named.registry.advance(timedelta(days=31))
    order = named.order(("domain.restore", {"name": NAME}))
    assert named.ended(order) == "failed"
    assert "the redemption period of life.example is over" in reason(named, order)


def test_in_a_thin_zone_a_name_is_registered_without_contacts(busy: Shop) -> None:
    busy.engine.value("SELECT tld_create(%s, 'thin.example', 'thin')", busy.accreditation)
    name = "life.thin.example"
    data = {"name": name, "hosts": ["ns1.life.net", "ns2.life.net"]}
    assert busy.ended(busy.order(("domain.create", data))) == "completed"
    assert (info(busy.registry, name).registrant, info(busy.registry, name).contacts) == (None, ())
    assert busy.engine.value("SELECT contacts FROM v_domain") is None


# What a crash leaves --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["renew", "delete"])
def test_what_was_done_though_its_job_failed_is_found_and_adopted(named: Shop, operation: str) -> None:
    named.registry.faults.add("lose_answer", verb=operation)
    named.engine.owner.execute("UPDATE job_type SET max_attempts = 1; SELECT clock_advance('1 year')")
    order = renew(named) if operation == "renew" else delete(named)
    assert named.ended(order) == "failed"
    named.engine.ended(named.engine.submit(type="reconcile", accreditation=named.accreditation))
    orphan = named.engine.row("SELECT id, reason FROM v_attention WHERE what = 'orphan'")
    assert f"domain.{operation} {NAME}" in orphan["reason"]
    named.engine.value("SELECT provision_adopt(%s, 'x')", orphan["id"])
    row = named.engine.row("SELECT ry_expiry_date, rgp_state FROM v_domain")
    if operation == "renew":
        assert f"{row['ry_expiry_date'].astimezone(UTC):%Y-%m-%d}" == "2030-03-01"
    else:
        assert row["rgp_state"] == "redemptionPeriod"
