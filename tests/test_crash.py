"""Kill -9, of workers at every point of an effect and of PostgreSQL under load: one thing outside, none lost.

The workers are processes and run the code that ships. One is stopped at a point from without, by a lock in the database
or by a registry that holds a command; then it is killed, and another one goes on.
`CRASH_SEEDS=50 pytest tests/test_crash.py` tries more moments than the few that always run.
"""

import os
import random
import signal
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar, LiteralString
from uuid import UUID

import boto3
import psycopg
import pytest
from moto.backends import get_backend
from provision_worker.actions import Action
from provision_worker.effects import Thing
from provision_worker.job import Outcome, completed
from provision_worker.loop import Worker
from provision_worker.task import Task

from provision.database import connect
from provision.migrate import migrate
from provision.server import Server, ServerError
from provision.settings import Settings

from . import worker_fixtures
from .conftest import PG_BIN
from .worker_fixtures import (
    Engine,
    Process,
    Relay,
    Shop,
    eventually,
    insert,
    issue_certificates,
    make_accreditation,
    make_customer,
)

aws = worker_fixtures.aws
engine = worker_fixtures.engine
registry = worker_fixtures.registry
shop = worker_fixtures.shop

# PostgreSQL


class Submitter(threading.Thread):
    """A client that submits one job after the other, and keeps what was acknowledged."""

    def __init__(self, url: str) -> None:
        super().__init__(name="submitter")
        self._url = url
        self._stopped = threading.Event()
        self.acknowledged: list[UUID] = []

    def run(self) -> None:
        while not self._stopped.is_set():
            try:
                with connect(self._url, "submitter", autocommit=True) as connection:
                    self._submit_on(connection)
            except psycopg.OperationalError:
                self._stopped.wait(0.05)

    def _submit_on(self, connection: psycopg.Connection) -> None:
        while not self._stopped.is_set():
            cursor = connection.execute("INSERT INTO job (type) VALUES ('test') RETURNING id")
            self.acknowledged += [row[0] for row in cursor]

    def goes_on(self, number: int) -> None:
        """Waits until so many more are acknowledged."""
        wanted = len(self.acknowledged) + number
        eventually(lambda: len(self.acknowledged) >= wanted, "load", 60)

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def is_started(server: Server) -> bool:
    """Tries to start it. What is left of a killed one may stand in the way for a while on a busy machine."""
    with suppress(ServerError):
        server.start()
    return server.pid is not None


def test_when_postgresql_is_killed_under_load_nothing_acknowledged_is_lost_and_nothing_is_done_twice() -> None:
    outside: Counter[UUID] = Counter()

    def act(task: Task) -> Outcome:
        def make(token: UUID) -> Thing:
            outside[token] += 1
            return Thing(str(token))

        task.effects.once("make", {}, make=make, find=lambda token: Thing(str(token)) if outside[token] else None)
        return completed()

    # A throw-away cluster, but one that keeps what it has acknowledged.
    with Server(throwaway=True, pg_bin=PG_BIN, options={"fsync": "on", "synchronous_commit": "on"}) as server:
        url = server.ensure_database("shop")
        migrate(url)
        settings = Settings.model_validate({"database_url": url, "log_level": "error", "worker_poll_seconds": 0.1})
        worker = Worker(settings, {"test": Action(act)})
        working = threading.Thread(target=worker.run)
        submitter = Submitter(url)
        working.start()
        submitter.start()
        for _ in range(2):
            submitter.goes_on(100)
            assert server.pid
            os.kill(server.pid, signal.SIGKILL)
            eventually(lambda: is_started(server), "the restart", 60)
        submitter.goes_on(10)
        submitter.stop()
        with connect(url, "test", autocommit=True) as owner:
            unfinished = "SELECT count(*) FROM job WHERE status <> 'completed'"
            eventually(lambda: owner.execute(unfinished).fetchall() == [(0,)], "the rest", 60)
            done = {row[0] for row in owner.execute("SELECT id FROM job")}
        worker.stop()
        working.join()
    assert done >= set(submitter.acknowledged)
    assert len(outside) == len(done)
    assert set(outside.values()) == {1}


# The worker


@dataclass(frozen=True)
class Point:
    """Where a worker is when it is killed, and what holds it there."""

    name: str
    lock: str | None = None
    """The database makes it wait: in `effect_begin`, `effect_finish` or `job_record`."""
    fault: str | None = None
    """The registry makes it wait."""
    lingers: bool = False
    """Whether the statement it waits for is carried out after its death, or dies with it."""


POINTS = [
    Point("claimed", lock="effect_begin"),
    Point("claimed, and the intent is committed after the death", lock="effect_begin", lingers=True),
    Point("intent committed", fault="hold"),
    Point("call in flight", fault="hold_answer"),
    Point("call returned", lock="effect_finish"),
    Point("call returned, and the result is committed after the death", lock="effect_finish", lingers=True),
    Point("result open", lock="job_record"),
    Point("result open, and recorded after the death", lock="job_record", lingers=True),
]
SEEDS = range(int(os.environ.get("CRASH_SEEDS", "1")))


class Gates:
    """Lets a test make the workers' statements about jobs of one provisioning table wait."""

    TRIGGERS: ClassVar[dict[str, LiteralString]] = {
        "effect_begin": "BEFORE INSERT ON effect",
        "effect_finish": "BEFORE UPDATE ON effect",
        "job_record": "BEFORE DELETE ON job_lease",
    }

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._keeper = connect(engine.database.url, "gates", autocommit=True)
        engine.owner.execute("CREATE TABLE gate (statement text, reference_table text)")
        engine.owner.execute(
            "CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN"
            " IF EXISTS (SELECT FROM gate JOIN job USING (reference_table) WHERE statement = TG_ARGV[0]"
            "     AND job.id = CASE TG_OP WHEN 'DELETE' THEN OLD.job_id ELSE NEW.job_id END) THEN"
            "   PERFORM pg_advisory_xact_lock_shared(4711);"
            " END IF;"
            " RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END; END $$"
        )
        for name, event in self.TRIGGERS.items():
            engine.owner.execute(f"CREATE TRIGGER gate_{name} {event} FOR EACH ROW EXECUTE FUNCTION gate('{name}')")

    def close(self, statement: str, table: str) -> None:
        """From now on that statement waits for jobs of the table."""
        self._keeper.execute("SELECT pg_advisory_lock(4711)")
        self._engine.owner.execute("INSERT INTO gate VALUES (%s, %s)", [statement, table])

    def wait_for(self, statement: str) -> None:
        """Until a worker waits there."""
        eventually(lambda: self._engine.waits_for_lock(f"%{statement}%"), statement)

    def open(self, lingers: bool) -> None:
        """Nothing waits any more. Statements of the dead are carried out now (`lingers`), or die with them."""
        self._engine.owner.execute("DELETE FROM gate")
        if not lingers:
            self._engine.owner.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            )
            eventually(lambda: not self._engine.waits_for_lock("%"), "the end of the dead's sessions")
        self._keeper.execute("SELECT pg_advisory_unlock(4711)")


@pytest.fixture
def gates(engine: Engine) -> Gates:
    return Gates(engine)


@pytest.fixture
def impatient(engine: Engine) -> None:
    """Leases are lost after a second, and retries come at once."""
    engine.owner.execute("UPDATE setting SET value = '1' WHERE name = 'lease_seconds'")
    engine.owner.execute("UPDATE setting SET value = '0' WHERE name = 'retry_base_seconds'")


def assert_each_thing_exists_once(shop: Shop, orders: int = 1) -> None:
    """As the registry and the database tell."""
    creations = shop.creations()
    assert set(creations.values()) == {1}
    assert Counter(kind for kind, _ in creations) == {"contact": 2 * orders, "host": 2 * orders, "domain": orders}
    assert shop.engine.rows("SELECT status, count(*) AS n FROM v_effect GROUP BY 1") == [
        {"status": "done", "n": 5 * orders}
    ]
    assert shop.engine.value("SELECT count(*) FROM v_domain JOIN v_job ON v_job.reference_id = v_domain.id") == orders


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.name)
def test_a_worker_killed_at_any_point_leaves_one_thing_and_no_order_behind(
    shop: Shop, gates: Gates, point: Point, seed: int
) -> None:
    chance = random.Random(f"{point.name} {seed}")
    kind = chance.choice(["contact", "host", "domain"])
    hold = None
    if point.lock:
        gates.close(point.lock, f"provision_{kind}")
    if point.fault:
        hold = shop.registry.faults.add(point.fault, verb="create", object=kind)
    with Process(shop.engine, worker_concurrency=str(chance.choice([1, 2, 8]))) as victim:
        order = shop.order_domain("shoes.example")
        if hold:
            assert hold.reached.wait(10)
        if point.lock:
            gates.wait_for(point.lock)
        victim.kill()
    if point.lock:
        gates.open(point.lingers)
    if hold and chance.random() < 0.5:
        hold.release()
    with Process(shop.engine):
        assert shop.ended(order, 30) == "completed"
    assert_each_thing_exists_once(shop)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("seed", SEEDS)
def test_workers_killed_at_random_under_load_leave_each_thing_once(shop: Shop, seed: int) -> None:
    shop.engine.owner.execute("UPDATE job_type SET max_attempts = 100")
    chance = random.Random(seed)
    orders = [shop.order_domain(f"shoes-{number}.example") for number in range(10)]
    for _ in range(3):
        with Process(shop.engine) as victim:
            wanted = min(len(shop.registry.ledger) + chance.randrange(5, 30), 140)
            eventually(lambda wanted=wanted: len(shop.registry.ledger) >= wanted, "progress", 30)  # type: ignore[misc]
            victim.kill()
    with Process(shop.engine):
        assert [shop.ended(order, 60) for order in orders] == ["completed"] * len(orders)
    assert_each_thing_exists_once(shop, len(orders))


@pytest.mark.usefixtures("impatient")
def test_two_workers_share_the_jobs_and_no_effect(shop: Shop) -> None:
    with Process(shop.engine), Process(shop.engine):
        orders = [shop.order_domain(f"shoes-{number}.example") for number in range(10)]
        assert [shop.ended(order, 60) for order in orders] == ["completed"] * len(orders)
    assert_each_thing_exists_once(shop, len(orders))


@pytest.mark.usefixtures("impatient")
def test_a_worker_that_was_asleep_for_too_long_does_nothing_twice(shop: Shop) -> None:
    """Its lease is lost while the registry has its command; when it wakes up, its result is refused."""
    hold = shop.registry.faults.add("hold_answer", verb="create", object="domain")
    with Process(shop.engine) as slow:
        order = shop.order_domain("shoes.example")
        assert hold.reached.wait(10)
        slow.signal(signal.SIGSTOP)
        with Process(shop.engine):
            assert shop.ended(order, 30) == "completed"
            slow.signal(signal.SIGCONT)
            hold.release()
            eventually(lambda: slow.is_registered, "a new registration")
    assert_each_thing_exists_once(shop)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("is_token_known", [True, False], ids=["within the hour", "when AWS has forgotten the token"])
def test_a_worker_killed_while_it_requests_a_certificate_leaves_one(
    engine: Engine, aws: str, is_token_known: bool
) -> None:
    customer = make_customer(engine)
    boto3.client("route53", endpoint_url=aws).create_hosted_zone(Name="example.org", CallerReference="x")
    acm = get_backend("acm")["123456789012"]["us-east-1"]
    issue_certificates()
    host, port = aws.removeprefix("http://").split(":")
    with Relay(host, int(port)) as relay:
        endpoint = f"http://127.0.0.1:{relay.port}"
        accreditation = make_accreditation(engine, customer.tenant, endpoint=endpoint)
        relay.hold_answers(b"CertificateManager.RequestCertificate")
        row = {"tenant_customer_id": customer.account, "accreditation_id": accreditation}
        insert(engine, "provision_ssl", domain_name="example.org", **row)
        with Process(engine) as victim:
            eventually(lambda: acm._certificates)
            victim.kill()
        relay.pass_everything()
        if not is_token_known:
            acm._idempotency_tokens.clear()
        with Process(engine):
            eventually(lambda: engine.value("SELECT arn FROM v_certificate"), "the certificate", 30)
    assert len(acm._certificates) == 1
