"""Sessions that meet: what comes of two that act at the same moment, played with real sessions waiting for each other.

One session stops in an open transaction; the other is seen to wait for it in pg_stat_activity, or seen not to wait.
"""

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import takewhile
from typing import Any, LiteralString, TypeVar
from uuid import UUID

import psycopg
import pytest

from . import sql_fixtures
from .conftest import ConnectAs
from .sql_fixtures import Json, Row, Shop, contact_item, domain_item, host_item, known, outcome, person, success
from .worker_fixtures import eventually

open_shop = sql_fixtures.open_shop
T = TypeVar("T")

PATIENCE_SECONDS = 20.0


class Second(Shop):
    """The shop in a session of its own that does one thing at a time in the background."""

    def __init__(self, shop: Shop, connection: psycopg.Connection, threads: ThreadPoolExecutor) -> None:
        self.__dict__.update(shop.on(connection).__dict__)
        self._threads = threads
        connection.execute("SET statement_timeout = '20s'")

    def begin(self, act: Callable[..., T], *arguments: Any, **options: Any) -> "Future[T]":
        """Starts one of this shop's methods, and returns when it has ended or waits for another session."""
        future = self._threads.submit(act, *arguments, **options)
        eventually(lambda: future.done() or self.waits(), "neither end nor lock", PATIENCE_SECONDS)
        return future

    def waits(self) -> bool:
        """Whether this session waits for a lock of another one."""
        with psycopg.connect(self.connection.info.dsn, autocommit=True) as watcher:
            row = watcher.execute(
                "SELECT cardinality(pg_blocking_pids(%s))", [self.connection.info.backend_pid]
            ).fetchone()
        return bool(row and row[0])


@pytest.fixture
def second(open_shop: Shop, connect_as: ConnectAs) -> Iterator[Second]:
    """Another session of the shop; both know the same worker."""
    assert open_shop.worker
    with ThreadPoolExecutor(1) as threads:
        yield Second(open_shop, connect_as(None), threads)


def waiting(future: "Future[Any]") -> bool:
    return not future.done()


def refusal(future: "Future[Any]") -> str | None:
    """SQLSTATE of the error a background call ended with."""
    error = future.exception(PATIENCE_SECONDS)
    assert isinstance(error, psycopg.Error), future.result()
    return error.sqlstate


def end(future: "Future[T]") -> T:
    """Result of a background call."""
    return future.result(PATIENCE_SECONDS)


# Two that finish at the same moment -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kinds", [("completed", "completed"), ("completed", "failed"), ("failed", "completed")])
def test_two_siblings_that_finish_at_once_start_or_cancel_what_waits_for_both(
    open_shop: Shop, second: Second, kinds: tuple[str, str]
) -> None:
    order = open_shop.order(domain_item())
    *others, one, two = open_shop.claim()
    open_shop.complete(others)
    with open_shop.connection.transaction():
        open_shop.record(success(one) | {"outcome": kinds[0], "message": "why"})
        future = second.begin(second.record, success(two) | {"outcome": kinds[1], "message": "why"})
        assert waiting(future)
    assert end(future) == []
    jobs = open_shop.claim()
    if "failed" in kinds:
        assert jobs == []
        assert open_shop.status(order) == "failed"
    else:
        assert [job["type"] for job in jobs] == ["provision_domain_create"]
        open_shop.complete(jobs)
        assert open_shop.status(order) == "completed"


@pytest.mark.parametrize(("kind", "status"), [("completed", "completed"), ("failed", "partially_completed")])
def test_two_items_that_end_at_once_end_their_order(open_shop: Shop, second: Second, kind: str, status: str) -> None:
    order = open_shop.order(contact_item("a"), contact_item("b"))
    one, two = open_shop.claim()
    with open_shop.connection.transaction():
        open_shop.complete([one])
        future = second.begin(second.record, outcome(two, kind, message="why"))
        assert waiting(future)
    assert end(future) == []
    assert open_shop.status(order) == status


def test_two_children_that_end_at_once_wake_their_parent(open_shop: Shop, second: Second) -> None:
    open_shop.order(contact_item())
    (parent,) = open_shop.claim()
    open_shop.record(outcome(parent, "children", children=[{"type": "provision_host_create"}] * 2))
    one, two = open_shop.claim()
    with open_shop.connection.transaction():
        open_shop.complete([one])
        future = second.begin(second.record, success(two))
        assert waiting(future)
    assert end(future) == []
    assert [job["job_id"] for job in open_shop.claim()] == [parent["job_id"]]


# Two orders at the same moment ----------------------------------------------------------------------------------------


def test_two_requests_of_one_key_are_one_order(open_shop: Shop, second: Second) -> None:
    with open_shop.connection.transaction():
        first = open_shop.order(domain_item(), key="k1")
        future = second.begin(second.order, domain_item(), key="k1")
        assert waiting(future)
    assert end(future) == first
    assert open_shop.count("order") == 1


def test_another_request_under_a_key_in_use_is_refused(open_shop: Shop, second: Second) -> None:
    with open_shop.connection.transaction():
        open_shop.order(contact_item("a"), key="k1")
        future = second.begin(second.order, contact_item("b"), key="k1")
        assert waiting(future)
    assert refusal(future) == "PV409"


def test_a_key_whose_request_was_taken_back_is_free(open_shop: Shop, second: Second) -> None:
    with open_shop.connection.transaction(force_rollback=True):
        first = open_shop.order(contact_item(), key="k1")
        future = second.begin(second.order, contact_item(), key="k1")
        assert waiting(future)
    assert end(future) != first


@pytest.mark.parametrize("item", [domain_item(), contact_item(), host_item()], ids=["domain", "contact", "host"])
def test_of_two_orders_for_one_thing_one_is_refused(open_shop: Shop, second: Second, item: Json) -> None:
    with open_shop.connection.transaction():
        open_shop.order(item)
        future = second.begin(second.order, item)
        assert waiting(future)
    assert refusal(future) == "PV409"
    assert open_shop.count("order") == 1


def on_name(operation: str, **data: Any) -> Json:
    """An order of something that is done with a name that is there, or to have it."""
    return {"operation": f"domain.{operation}", "data": {"name": "example.test"} | data}


OPERATIONS = {
    "renew": on_name("renew"),
    "delete": on_name("delete"),
    "update": on_name("update", statuses=["clientHold"]),
    "other update": on_name("update", auto_renew=True),
}
PAIRS = [*itertools.permutations(("renew", "delete", "update"), 2), ("update", "other update")]


@pytest.mark.parametrize(
    ("first", "then"), [(OPERATIONS[a], OPERATIONS[b]) for a, b in PAIRS], ids=map("-".join, PAIRS)
)
def test_of_two_operations_on_one_name_one_is_refused(open_shop: Shop, second: Second, first: Json, then: Json) -> None:
    open_shop.done(domain_item())
    with open_shop.connection.transaction():
        open_shop.order(first)
        future = second.begin(second.order, then)
        assert waiting(future)
    assert refusal(future) == "PV409"
    assert open_shop.count("order") == 2


def test_a_name_that_is_being_deleted_is_registered_when_it_is_gone(open_shop: Shop, second: Second) -> None:
    open_shop.done(domain_item())
    open_shop.order(on_name("delete"))
    (job,) = open_shop.claim()
    gone = outcome(job, "completed", result={"ry_state": "gone"})
    with open_shop.connection.transaction():
        open_shop.record(gone)
        future = second.begin(second.order, domain_item())
        assert refusal(future) == "PV409"
    order = open_shop.order(domain_item())
    open_shop.work()
    assert open_shop.status(order) == "completed"
    assert open_shop.values("SELECT deleted_date IS NULL FROM v_domain ORDER BY id") == [False, True]


@pytest.mark.parametrize("then", ["renew", "delete", "update"])
def test_nothing_is_done_with_a_name_that_is_deleted_meanwhile(open_shop: Shop, second: Second, then: str) -> None:
    open_shop.done(domain_item())
    open_shop.order(on_name("delete"))
    (job,) = open_shop.claim()
    with open_shop.connection.transaction():
        open_shop.record(outcome(job, "completed", result={"ry_state": "gone"}))
        future = second.begin(second.order, OPERATIONS[then])
        assert waiting(future)
    assert refusal(future) == "PV404"


@pytest.mark.parametrize("first", ["create", "transfer"])
def test_a_name_is_registered_or_transferred_here_and_not_both(open_shop: Shop, second: Second, first: str) -> None:
    items = {"create": domain_item(), "transfer": on_name("transfer", pw="told by its holder")}
    with open_shop.connection.transaction():
        open_shop.order(items.pop(first))
        future = second.begin(second.order, items.popitem()[1])
        assert waiting(future)
    assert refusal(future) == "PV409"
    assert open_shop.count("order") == 1


def test_the_second_goes_on_when_the_first_is_taken_back(open_shop: Shop, second: Second) -> None:
    with open_shop.connection.transaction(force_rollback=True):
        open_shop.order(domain_item())
        future = second.begin(second.order, domain_item())
        assert waiting(future)
    order = end(future)
    open_shop.work()
    assert open_shop.status(order) == "completed"


def test_two_names_with_the_same_new_contacts_share_them(open_shop: Shop, second: Second) -> None:
    with open_shop.connection.transaction():
        first = open_shop.order(domain_item("one.test"))
        future = second.begin(second.order, domain_item("two.test"))
        assert waiting(future)
    orders = [first, end(future)]
    assert open_shop.plan(orders[1]) == {"domain two.test": "waiting"}
    open_shop.work()
    assert [open_shop.status(order) for order in orders] == ["completed"] * 2
    assert open_shop.value("SELECT count(*) FROM v_contact") == 2


def test_parts_named_in_any_order_are_claimed_in_one(open_shop: Shop, second: Second) -> None:
    """Otherwise each of the two would hold what the other one wants next."""
    jane, tech = person("jane"), person("tech")
    with open_shop.connection.transaction():
        open_shop.order(domain_item("one.test", jane, tech, ["ns1.example.net", "ns2.example.net"]))
        future = second.begin(second.order, domain_item("two.test", tech, jane, ["ns2.example.net", "ns1.example.net"]))
        assert waiting(future)
    assert end(future)


# An order that begins to wait while what it waits for ends ------------------------------------------------------------


@pytest.fixture
def contact(open_shop: Shop) -> Row:
    """The claimed job of a contact that other orders can wait for; the name servers exist."""
    open_shop.done(host_item("ns1.example.net"), host_item("ns2.example.net"))
    open_shop.order(contact_item("jane"))
    (job,) = open_shop.claim()
    return job


def test_a_contact_that_completes_meanwhile_is_used(open_shop: Shop, second: Second, contact: Row) -> None:
    with open_shop.connection.transaction():
        open_shop.complete([contact])
        future = second.begin(second.order, domain_item("one.test", known("jane"), known("jane")))
        assert waiting(future)
    assert open_shop.plan(end(future)) == {"domain one.test": "processing"}


def test_a_contact_that_fails_meanwhile_is_not_found(open_shop: Shop, second: Second, contact: Row) -> None:
    with open_shop.connection.transaction():
        open_shop.record(outcome(contact, "failed", message="no"))
        future = second.begin(second.order, domain_item("one.test", known("jane"), known("jane")))
        assert waiting(future)
    assert refusal(future) == "PV404"


def test_a_contact_that_fails_meanwhile_is_created_if_there_are_details(
    open_shop: Shop, second: Second, contact: Row
) -> None:
    with open_shop.connection.transaction():
        open_shop.record(outcome(contact, "failed", message="no"))
        future = second.begin(second.order, domain_item("one.test", person("jane"), known("jane")))
        assert waiting(future)
    assert open_shop.plan(end(future)) == {"contact jane": "processing", "domain one.test": "waiting"}


@pytest.mark.parametrize(("kind", "status"), [("completed", "processing"), ("failed", "cancelled")])
def test_the_end_of_a_contact_waits_for_an_order_that_begins_to_wait_for_it(
    open_shop: Shop, second: Second, contact: Row, kind: str, status: str
) -> None:
    with open_shop.connection.transaction():
        order = open_shop.order(domain_item("one.test", known("jane"), known("jane")))
        future = second.begin(second.record, outcome(contact, kind, message="no"))
        assert waiting(future)
    assert end(future) == []
    assert open_shop.status(order) == status


# Claims ---------------------------------------------------------------------------------------------------------------


def test_two_workers_share_the_lanes_and_no_job(open_shop: Shop, second: Second) -> None:
    open_shop.order(contact_item("a"), contact_item("b"))
    other_lane = open_shop.insert("job", type="provision_ssl_create", accreditation_id=open_shop.cloud)
    other = open_shop.register()
    with open_shop.connection.transaction():
        mine = open_shop.take(types=["provision_contact_create"], limit=1)
        theirs = end(second.begin(second.take, worker=other))
    assert [job["job_id"] for job in theirs] == [other_lane]
    rest = open_shop.take()
    assert len({job["job_id"] for job in [*mine, *theirs, *rest]}) == 3


def test_two_workers_do_not_exceed_the_room_of_an_accreditation(open_shop: Shop, second: Second) -> None:
    narrow = open_shop.accreditation("narrow", max_concurrency=2)
    for priority in (1, 1, 5, 5):
        open_shop.insert("job", type="provision_host_create", accreditation_id=narrow, priority=priority)
    with open_shop.connection.transaction():
        assert len(open_shop.take(limit=1)) == 1
        assert end(second.begin(second.take)) == []
    assert len(second.take()) == 1
    assert second.take() == []


def test_a_job_that_is_being_claimed_is_not_cancelled(open_shop: Shop, second: Second) -> None:
    order = open_shop.order(contact_item())
    job = open_shop.value("SELECT id FROM v_job WHERE type = 'provision_contact_create'")
    with open_shop.connection.transaction():
        (claimed,) = open_shop.take()
        future = second.begin(second.value, "SELECT job_cancel(%s)", job)
        assert waiting(future)
    assert refusal(future) == "PV409"
    open_shop.complete([claimed])
    assert open_shop.status(order) == "completed"


def test_an_order_that_is_cancelled_while_its_job_is_claimed_goes_on(open_shop: Shop, second: Second) -> None:
    order = open_shop.order(contact_item())
    with open_shop.connection.transaction():
        (claimed,) = open_shop.take()
        future = second.begin(second.value, "SELECT order_cancel(%s)", order)
        assert waiting(future)
    assert end(future) == "processing"
    open_shop.complete([claimed])
    assert open_shop.status(order) == "completed"


@pytest.mark.parametrize("call", ["SELECT order_cancel(%s)", "SELECT job_cancel(%s)"])
def test_a_job_that_is_being_cancelled_is_not_claimed(open_shop: Shop, second: Second, call: str) -> None:
    order = open_shop.order(contact_item())
    job = open_shop.value("SELECT id FROM v_job WHERE type = 'provision_contact_create'")
    with open_shop.connection.transaction():
        open_shop.connection.execute(call.encode(), [order if "order" in call else job])
        assert end(second.begin(second.take)) == []
    assert second.take() == []
    assert open_shop.status(order) == "cancelled"


# Operators ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def put_off(open_shop: Shop) -> Row:
    """An order and its job, which is to be looked at again in an hour but has done nothing outside."""
    order = open_shop.order(contact_item())
    (job,) = open_shop.claim()
    open_shop.record(outcome(job, "hand_back"))
    return {"order": order, "job": job["job_id"]}


CANCELS = {"job": "SELECT job_cancel(%s)", "order": "SELECT order_cancel(%s)"}


@pytest.mark.parametrize("what", CANCELS)
def test_a_job_that_is_retried_and_then_cancelled_is_cancelled(
    open_shop: Shop, second: Second, put_off: Row, what: str
) -> None:
    with open_shop.connection.transaction():
        open_shop.value("SELECT job_retry(%s)", put_off["job"])
        future = second.begin(second.rows, CANCELS[what], put_off[what])
        assert waiting(future)
    end(future)
    assert open_shop.status(put_off["order"]) == "cancelled"
    assert open_shop.claim() == []


@pytest.mark.parametrize("what", CANCELS)
def test_a_job_that_is_cancelled_and_then_retried_stays_cancelled(
    open_shop: Shop, second: Second, put_off: Row, what: str
) -> None:
    with open_shop.connection.transaction():
        open_shop.rows(CANCELS[what], put_off[what])
        future = second.begin(second.value, "SELECT job_retry(%s)", put_off["job"])
        assert waiting(future)
    assert refusal(future) == "PV409"
    assert open_shop.status(put_off["order"]) == "cancelled"


@pytest.mark.parametrize("calls", [("approve", "cancel"), ("cancel", "approve"), ("approve", "approve")])
def test_an_approval_and_its_like_have_one_outcome(open_shop: Shop, second: Second, calls: tuple[str, str]) -> None:
    open_shop.connection.execute("UPDATE order_operation SET needs_approval = true WHERE name = 'contact.create'")
    order = open_shop.order(contact_item())
    item = open_shop.value("SELECT id FROM v_order_item WHERE order_id = %s", order)
    statements = {"approve": ("SELECT order_item_approve(%s)", item), "cancel": ("SELECT order_cancel(%s)", order)}
    with open_shop.connection.transaction():
        open_shop.rows(*statements[calls[0]])
        future = second.begin(second.rows, *statements[calls[1]])
        assert waiting(future)
    if calls[1] == "approve":
        assert refusal(future) == "PV409"
    else:
        end(future)
    open_shop.work()
    assert open_shop.status(order) == ("cancelled" if "cancel" in calls else "completed")


# Leases ---------------------------------------------------------------------------------------------------------------


def test_a_result_that_is_being_recorded_is_not_swept_away(open_shop: Shop, second: Second) -> None:
    order = open_shop.order(contact_item())
    jobs = open_shop.claim()
    with open_shop.connection.transaction():
        open_shop.complete(jobs)
        second.connection.execute("UPDATE worker SET heartbeat_date = '-infinity'")
        assert end(second.begin(second.sweep))["leases_lost"] == 0
    assert open_shop.status(order) == "completed"


def test_a_result_that_comes_while_its_lease_is_swept_is_refused(open_shop: Shop, second: Second) -> None:
    open_shop.order(contact_item())
    (job,) = open_shop.claim()
    open_shop.connection.execute("UPDATE worker SET heartbeat_date = '-infinity'")
    with open_shop.connection.transaction():
        assert open_shop.sweep()["leases_lost"] == 1
        future = second.begin(second.record, success(job))
        assert waiting(future)
    assert end(future) == [job["job_id"]]
    assert open_shop.value("SELECT status FROM v_job WHERE id = %s", job["job_id"]) == "submitted"


def test_an_effect_that_is_being_finished_keeps_its_lease(open_shop: Shop, second: Second) -> None:
    open_shop.order(contact_item())
    (job,) = open_shop.claim()
    open_shop.rows("SELECT effect_begin(%s, %s, 'create', '{}')", job["job_id"], job["claim_no"])
    with open_shop.connection.transaction():
        open_shop.rows("SELECT effect_finish(%s, %s, 'create', 'H1', '{}')", job["job_id"], job["claim_no"])
        second.connection.execute("UPDATE worker SET heartbeat_date = '-infinity'")
        assert end(second.begin(second.sweep))["leases_lost"] == 0
    assert second.sweep()["leases_lost"] == 1


def test_one_sweeps_at_a_time(open_shop: Shop, second: Second) -> None:
    open_shop.connection.execute("UPDATE schedule SET next_date = engine_now()")
    with open_shop.connection.transaction():
        assert open_shop.sweep()["jobs_scheduled"] == 3
        assert end(second.begin(second.sweep)) == {}
    assert second.sweep()["jobs_scheduled"] == 0


# The gate -------------------------------------------------------------------------------------------------------------


def test_a_part_that_comes_while_the_gate_is_opened_is_refused(open_shop: Shop, second: Second) -> None:
    open_shop.set_zone("contact_types_required", [])
    open_shop.set_zone("host_count_minimum", 0)
    open_shop.done(contact_item("jane"))
    contact = open_shop.value("SELECT id FROM v_contact")
    values = {"tenant_customer_id": open_shop.account, "accreditation_id": open_shop.registry, "name": "one.test"}
    row = open_shop.insert("provision_domain", **values)
    part = "INSERT INTO provision_domain_contact VALUES (%s, %s, 'tech', %s) RETURNING type"
    with open_shop.connection.transaction():
        open_shop.connection.execute("UPDATE provision_domain SET is_complete = true WHERE id = %s", [row])
        future = second.begin(second.value, part, row, contact, open_shop.account)
        assert waiting(future)
    assert refusal(future) == "PV422"
    assert open_shop.claim()[0]["data"]["contacts"] is None


# Waking -------------------------------------------------------------------------------------------------------------


def notified(sleeper: psycopg.Connection, shop: Shop) -> int:
    """How often the sleeper was notified since it was last asked."""
    shop.connection.execute("NOTIFY job_wake, 'until here'")
    payloads = (notification.payload for notification in sleeper.notifies(timeout=PATIENCE_SECONDS))
    return len(list(takewhile(lambda payload: payload != "until here", payloads)))


def sleeps(sleeper: psycopg.Connection) -> bool:
    row = sleeper.execute("SELECT pg_try_advisory_lock(job_wake_key())").fetchone()
    return bool(row and row[0])


def test_new_jobs_notify_only_while_somebody_sleeps(open_shop: Shop, connect_as: ConnectAs) -> None:
    sleeper = connect_as("provision_worker")
    sleeper.execute("LISTEN job_wake")
    open_shop.order(contact_item("a"))
    assert notified(sleeper, open_shop) == 0
    assert sleeps(sleeper)
    open_shop.order(contact_item("b"))
    assert notified(sleeper, open_shop) == 1
    sleeper.execute("SELECT pg_advisory_unlock(job_wake_key())")
    open_shop.order(contact_item("c"))
    assert notified(sleeper, open_shop) == 0


def test_jobs_put_back_notify_as_new_ones_do(open_shop: Shop, connect_as: ConnectAs) -> None:
    open_shop.order(contact_item("a"), contact_item("b"))
    handed_back, held = open_shop.claim()
    sleeper = connect_as("provision_worker")
    sleeper.execute("LISTEN job_wake")
    assert sleeps(sleeper)
    open_shop.record(outcome(handed_back, "hand_back"))
    assert notified(sleeper, open_shop) == 1
    open_shop.value("SELECT job_retry(%s)", handed_back["job_id"])
    assert notified(sleeper, open_shop) == 1
    open_shop.value("SELECT job_hold(%s)", handed_back["job_id"])
    assert notified(sleeper, open_shop) == 0
    open_shop.value("SELECT job_release(%s)", handed_back["job_id"])
    assert notified(sleeper, open_shop) == 1
    open_shop.connection.execute("SELECT worker_deregister(%s)", [open_shop.worker])
    assert notified(sleeper, open_shop) == 1
    assert held


def test_nobody_falls_asleep_over_a_job_that_is_about_to_be_committed(open_shop: Shop, connect_as: ConnectAs) -> None:
    sleeper = connect_as("provision_worker")
    with open_shop.connection.transaction():
        open_shop.order(contact_item())
        assert not sleeps(sleeper)
    assert sleeps(sleeper)


# All at once ----------------------------------------------------------------------------------------------------------

STORM_SECONDS = 5.0


class Storm:
    """Threads that order, cancel, work, intervene and sweep at random until time is up; then all work is done."""

    def __init__(self, shop: Shop, connect: Callable[[], psycopg.Connection], seed: int) -> None:
        self.shop = shop
        self.connect = connect
        self.seed = seed
        self.accepted: list[UUID] = []
        self.deadlocks = 0
        self._lock = threading.Lock()
        self._until = time.monotonic() + STORM_SECONDS

    def run(self) -> None:
        kinds = [self.submit, self.submit, self.drive, self.drive, self.intervene]
        threads = [
            (kind, random.Random(f"{self.seed}-{n}"), self.shop.on(self.connect())) for n, kind in enumerate(kinds)
        ]
        with ThreadPoolExecutor(len(threads)) as pool:
            for future in [pool.submit(self._repeat, *thread) for thread in threads]:
                future.result()

    def _repeat(self, act: Callable[[random.Random, Shop], None], chance: random.Random, shop: Shop) -> None:
        shop._worker = shop.register() if act == self.drive else None
        while time.monotonic() < self._until:
            try:
                act(chance, shop)
            except psycopg.errors.DeadlockDetected:
                with self._lock:
                    self.deadlocks += 1
            except psycopg.ProgrammingError as error:  # A refusal has a code of ours.
                if not str(error.sqlstate).startswith("PV"):
                    raise

    def submit(self, chance: random.Random, shop: Shop) -> None:
        """An order of up to four items that share names, contacts and hosts with other orders."""
        items = [self.item(chance) for _ in range(chance.randint(1, 4))]
        order = shop.order(*items, priority=chance.randint(4, 6))
        with self._lock:
            self.accepted.append(order)

    def item(self, chance: random.Random) -> Json:
        references = [f"c{n}" for n in range(6)]
        if chance.random() < 0.3:
            return contact_item(chance.choice(references))
        people = [person(reference) for reference in chance.sample(references, 2)]
        hosts = [f"ns{n}.example.net" for n in chance.sample(range(6), chance.randint(2, 4))]
        return domain_item(f"name-{chance.randrange(200)}.test", people[0], people[1], hosts)

    def drive(self, chance: random.Random, shop: Shop) -> None:
        """A batch of claimed jobs with all kinds of results."""
        jobs = shop.take(limit=chance.randint(1, 12))
        kinds = chance.choices(["completed", "failed", "retry", "again", "hand_back"], [70, 10, 10, 5, 5], k=len(jobs))
        results = [success(job) | {"outcome": kind, "message": kind} for job, kind in zip(jobs, kinds, strict=True)]
        while not self._recorded(shop, results):
            pass

    def _recorded(self, shop: Shop, results: list[Json]) -> bool:
        """Whether the results were recorded; a worker tries again as well when it was the victim of a deadlock."""
        try:
            shop.record(*results)
        except psycopg.errors.DeadlockDetected:
            with self._lock:
                self.deadlocks += 1
            return False
        return True

    def intervene(self, chance: random.Random, shop: Shop) -> None:
        """An operator's call on some order or job, or a sweep."""
        if chance.random() < 0.3:
            shop.sweep()
        elif self.accepted and chance.random() < 0.6:
            shop.value("SELECT order_cancel(%s)", chance.choice(self.accepted))
        elif job := shop.value("SELECT id FROM job WHERE finished_date IS NULL ORDER BY random() LIMIT 1"):
            call = chance.choice(["job_retry", "job_cancel", "job_hold", "job_release"])
            shop.connection.execute(f"SELECT {call}(%s)".encode(), [job])


PROBLEMS: LiteralString = """
    SELECT 'order counts' AS problem FROM "order" AS o JOIN order_item AS i ON i.order_id = o.id GROUP BY o.id
        HAVING (o.completed_count, o.failed_count, o.cancelled_count) IS DISTINCT FROM (
            count(*) FILTER (WHERE i.status = 'completed'), count(*) FILTER (WHERE i.status = 'failed'),
            count(*) FILTER (WHERE i.status = 'cancelled'))
    UNION ALL
    SELECT 'item counts' FROM order_item AS i JOIN order_item_plan AS p ON p.order_item_id = i.id GROUP BY i.id
        HAVING (i.failed_count, i.cancelled_count) IS DISTINCT FROM (
            count(*) FILTER (WHERE p.status = 'failed'), count(*) FILTER (WHERE p.status = 'cancelled'))
    UNION ALL
    SELECT 'step began too early' FROM order_item_plan_dependency AS d JOIN order_item_plan AS p ON p.id = d.plan_id
        JOIN order_item_plan AS b ON b.id = d.depends_on_id
        WHERE p.processing_date IS NOT NULL AND b.status <> 'completed'
    UNION ALL
    SELECT 'step and row differ' FROM order_item_plan AS p LEFT JOIN v_provision AS v ON v.id = p.provision_id
        WHERE (p.status = 'completed') <> COALESCE(v.status = 'completed', false)
    UNION ALL
    SELECT 'row and job differ' FROM v_provision AS v JOIN v_job AS j ON j.id = v.job_id WHERE j.status <> v.status
    UNION ALL
    SELECT 'row and inventory differ' FROM v_provision AS v LEFT JOIN (
        SELECT id FROM contact UNION ALL SELECT id FROM host UNION ALL SELECT id FROM domain) AS i ON i.id = v.id
        WHERE (v.status = 'completed') <> (i.id IS NOT NULL)
    UNION ALL SELECT 'open order' FROM "order" WHERE finished_date IS NULL
    UNION ALL SELECT 'open item' FROM order_item WHERE finished_date IS NULL
    UNION ALL SELECT 'open step' FROM order_item_plan WHERE finished_date IS NULL
    UNION ALL SELECT 'open row' FROM v_provision WHERE finished_date IS NULL
    UNION ALL SELECT 'open job' FROM job WHERE finished_date IS NULL
    UNION ALL SELECT 'queued job' FROM job_queue
    UNION ALL SELECT 'leased job' FROM job_lease
    UNION ALL SELECT 'active operation' FROM object_operation
    UNION ALL SELECT 'secret of no domain' FROM secret WHERE id NOT IN (SELECT id FROM domain)
"""


@pytest.mark.parametrize("seed", range(2))
def test_after_a_storm_everything_is_final_and_adds_up(open_shop: Shop, connect_as: ConnectAs, seed: int) -> None:
    open_shop.connection.execute("DELETE FROM schedule")
    storm = Storm(open_shop, lambda: connect_as(None), seed)
    storm.run()
    open_shop.connection.execute("SELECT job_release(id) FROM job WHERE held_at IS NOT NULL AND finished_date IS NULL")
    open_shop.connection.execute("SELECT worker_deregister(id) FROM worker WHERE id <> %s", [open_shop.worker])
    open_shop.pass_time("2 hours")
    open_shop.sweep()
    open_shop.work()
    assert len(storm.accepted) > 20
    assert open_shop.pairs("SELECT problem, count(*) FROM (" + PROBLEMS + ") AS p GROUP BY 1") == {}
    # Orders begin anew by themselves; a worker or an operator is seldom the victim.
    assert storm.deadlocks <= len(storm.accepted) // 10


# Transactions that somebody leaves open -------------------------------------------------------------------------------


def test_the_first_job_of_a_priority_makes_no_other_wait(open_shop: Shop, second: Second) -> None:
    with open_shop.connection.transaction():
        open_shop.order(contact_item("a"), priority=3)
        future = second.begin(second.order, contact_item("b", city="Bonn"), priority=3)
        assert not waiting(future)
    assert end(future)


def test_a_lane_that_somebody_has_locked_holds_up_no_sweep(open_shop: Shop, second: Second) -> None:
    open_shop.order(contact_item("a"))
    open_shop.claim()
    with open_shop.connection.transaction():
        open_shop.connection.execute("SELECT FROM job_lane FOR UPDATE")
        assert end(second.begin(second.sweep))["leases_lost"] == 0


def test_a_lost_job_whose_row_somebody_has_locked_is_left_to_a_later_sweep(open_shop: Shop, second: Second) -> None:
    open_shop.order(contact_item("a"), contact_item("b"))
    jobs = open_shop.claim()
    open_shop.connection.execute("UPDATE worker SET heartbeat_date = heartbeat_date - interval '1 minute'")
    with open_shop.connection.transaction():
        open_shop.connection.execute(
            "SELECT FROM provision_contact WHERE id = %s FOR UPDATE", [jobs[0]["reference_id"]]
        )
        assert end(second.begin(second.sweep))["leases_lost"] == 1
        assert second.values("SELECT job_id FROM job_lease") == [jobs[0]["job_id"]]
    assert open_shop.sweep()["leases_lost"] == 1


def test_a_reader_of_the_log_holds_up_no_sweep(open_shop: Shop, second: Second) -> None:
    open_shop.pass_time("40 days")
    with open_shop.connection.transaction():
        open_shop.connection.execute("SELECT FROM v_audit LIMIT 1")
        assert end(second.begin(second.sweep))["partitions"] == 0
    assert open_shop.sweep()["partitions"] > 0


def test_what_a_worker_has_not_begun_is_handed_back_though_its_row_is_locked(open_shop: Shop, second: Second) -> None:
    open_shop.order(contact_item("a"))
    (job,) = open_shop.claim()
    open_shop.record(outcome(job, "again", after_seconds=0))
    (job,) = open_shop.claim()
    with open_shop.connection.transaction():
        open_shop.connection.execute("SELECT FROM provision_contact FOR UPDATE")
        future = second.begin(second.record, outcome(job, "hand_back"))
        assert not waiting(future)
    assert end(future) == []


def test_an_org_is_not_removed_under_an_order(open_shop: Shop, second: Second) -> None:
    org = open_shop.org()
    with open_shop.connection.transaction():
        open_shop.order(contact_item(), org_id=str(org))
        removal = second.begin(second.value, "SELECT org_remove(%s)", org)
        assert waiting(removal)
    with pytest.raises(psycopg.Error, match="the org still has things"):
        removal.result(PATIENCE_SECONDS)


def test_what_an_order_names_is_not_deleted_under_it(open_shop: Shop, second: Second) -> None:
    deletions = {
        "the accreditation is in use": ("DELETE FROM accreditation WHERE id = %s", open_shop.registry),
        "the customer has orders": ("DELETE FROM tenant_customer WHERE id = %s", open_shop.account),
    }
    for n, (text, (deletion, thing)) in enumerate(deletions.items()):
        with open_shop.connection.transaction():
            open_shop.order(contact_item(f"c{n}"))
            attempt = second.begin(second.connection.execute, deletion, [thing])
            assert waiting(attempt)
        assert refusal(attempt) == "PV409"
        assert text in str(attempt.exception())
