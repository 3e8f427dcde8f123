"""The worker's loop, against a real database: claiming, running, recording, sleeping, stopping, and losing touch."""

import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from urllib.error import URLError
from urllib.request import urlopen
from uuid import UUID

import pytest
from prometheus_client import REGISTRY
from provision_worker import loop
from provision_worker.actions import Actions
from provision_worker.job import Outcome, again, children, completed, failed, retry
from provision_worker.sleep import Waker
from provision_worker.task import Task

from provision.database import connect

from . import worker_fixtures
from .conftest import ConnectAs
from .worker_fixtures import (
    Engine,
    Gate,
    Process,
    eventually,
    inline,
    make_accreditation,
    make_contact,
    make_customer,
    threaded,
)

engine = worker_fixtures.engine
opened = worker_fixtures.opened


Kind = Callable[[Callable[[Task], Outcome]], Actions]
AT_A_REGISTRY = {"registrar_id": "us", "endpoint": "127.0.0.1:700", "secret_ref": "env:REGISTRY_PASSWORD"}


def contacts_too(actions: Actions) -> Actions:
    """The same action for contacts."""
    return {**actions, "provision_contact_create": actions["test"]}


def echo(task: Task) -> Outcome:
    return completed({"echo": task.job.data})


# What an action says, and what becomes of the job


@pytest.mark.parametrize("kind", [inline, threaded])
def test_a_job_is_done_and_its_result_kept(engine: Engine, kind: type) -> None:
    with engine.worker(kind(echo)):
        job = engine.ended(engine.submit({"word": "hello"}))
    assert (job["status"], job["result"], job["attempts"]) == ("completed", {"echo": {"word": "hello"}}, 0)


def test_many_jobs_are_all_done(engine: Engine) -> None:
    engine.owner.execute(
        "INSERT INTO job (type, data) SELECT 'test', jsonb_build_object('n', n) FROM generate_series(1, 1200) AS n"
    )
    with engine.worker(inline(echo), worker_batch=500):
        eventually(lambda: engine.value("SELECT bool_and(status = 'completed') FROM job"))
    assert engine.value("SELECT count(DISTINCT result -> 'echo' -> 'n') FROM job") == 1200


def test_a_refused_job_fails_at_once_with_the_reason(engine: Engine) -> None:
    with engine.worker(threaded(lambda task: failed("2304 Object status prohibits operation"))):
        job = engine.ended(engine.submit())
    assert (job["status"], job["result_message"]) == ("failed", "2304 Object status prohibits operation")


def test_a_failed_attempt_is_counted_and_repeated_later(engine: Engine) -> None:
    engine.owner.execute("UPDATE setting SET value = '3600' WHERE name = 'retry_base_seconds'")
    action = threaded(lambda task: completed() if task.job.attempts else retry("no connection"))
    with engine.worker(action, worker_poll_seconds=0.05):
        waiting = engine.attempted(job := engine.submit())
        assert waiting["status"] == "submitted"
        assert waiting["result_message"] == "no connection"
        engine.owner.execute("SELECT clock_advance('2 hours')")
        assert engine.ended(job)["status"] == "completed"


def test_after_the_last_attempt_the_job_fails_with_the_last_reason(engine: Engine) -> None:
    with engine.worker(threaded(lambda task: retry(f"attempt {task.job.attempts + 1}"))):
        job = engine.ended(engine.submit(limit=2))
    assert (job["status"], job["attempts"], job["result_message"]) == ("failed", 2, "attempt 2")


def test_an_error_nobody_expected_is_a_failed_attempt(engine: Engine) -> None:
    def stumble(task: Task) -> Outcome:
        raise KeyError("handle")

    with engine.worker(threaded(stumble)):
        job = engine.ended(engine.submit(limit=1))
    assert (job["status"], job["result_message"]) == ("failed", "unexpected KeyError: 'handle'")


def test_a_retry_is_not_before_the_time_the_provider_asked_for(engine: Engine) -> None:
    with engine.worker(threaded(lambda task: retry("Retry-After: 600", after_seconds=600))):
        job = engine.submit()
        engine.attempted(job)
    assert engine.value("SELECT start_date > engine_now() + interval '9 minutes' FROM job WHERE id = %s", job)


def test_looking_again_brings_the_state_back_and_costs_no_attempt(engine: Engine) -> None:
    def look(task: Task) -> Outcome:
        looks = task.state.get("looks", 0)
        return completed({"looks": looks}) if looks == 2 else again(600, {"looks": looks + 1})

    with engine.worker(threaded(look), worker_poll_seconds=0.05):
        job = engine.submit(limit=1)
        for looks in ("1", "2"):
            waits = partial(engine.value, "SELECT state ->> 'looks' = %s AND worker IS NULL FROM v_job", looks)
            eventually(waits)
            engine.owner.execute("SELECT clock_advance('11 minutes')")
        done = engine.ended(job)
    assert (done["status"], done["attempts"], done["result"]) == ("completed", 0, {"looks": 2})


def test_a_parent_goes_on_when_its_children_have_ended(engine: Engine) -> None:
    engine.owner.execute("INSERT INTO job_type VALUES ('test', 'for this test', 1)")

    def family(task: Task) -> Outcome:
        if task.job.parent_id:
            return completed({"doubled": task.job.data["n"] * 2}) if task.job.data["n"] else failed("nothing to double")
        born = task.resources.rows("job", "children", job=task.job.job_id)
        if not born:
            return children([{"type": "test", "data": {"n": n}} for n in range(3)])
        return completed({"children": [[child["status"], child["result"], child["result_message"]] for child in born]})

    with engine.worker(threaded(family)):
        parent = engine.ended(engine.submit())
    assert sorted(parent["result"]["children"], key=str) == [
        ["completed", {"doubled": 2}, None],
        ["completed", {"doubled": 4}, None],
        ["failed", None, "nothing to double"],
    ]


def test_a_result_the_database_cannot_take_holds_up_no_other(engine: Engine) -> None:
    def answer(task: Task) -> Outcome:
        return completed({"text": "\0" if task.job.data["bad"] else "good"})

    jobs = [engine.submit({"bad": n == 1}, limit=1) for n in range(3)]
    with engine.worker(inline(answer)):
        ended = [engine.ended(job) for job in jobs]
    assert [job["status"] for job in ended] == ["completed", "failed", "completed"]
    assert "could not be recorded" in ended[1]["result_message"]


def test_a_job_that_cannot_end_at_all_holds_up_no_other(engine: Engine) -> None:
    bad = engine.submit()
    engine.owner.execute(
        "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'spoilt'; END $$"
    )
    engine.owner.execute(
        f"CREATE TRIGGER spoil BEFORE UPDATE ON job FOR EACH ROW WHEN (OLD.id = '{bad}') EXECUTE FUNCTION spoil()"
    )
    with engine.worker(inline(echo)):
        assert engine.ended(engine.submit())["status"] == "completed"
        assert engine.ended(engine.submit())["status"] == "completed"
    assert engine.job(bad)["status"] == "submitted"


@pytest.mark.parametrize("act", [echo, lambda task: retry("no answer"), lambda task: failed("no")])
def test_what_came_of_a_job_whose_row_takes_nothing_is_told_to_people(
    engine: Engine, act: Callable[[Task], Outcome]
) -> None:
    customer = make_customer(engine)
    bad = make_contact(engine, customer, make_accreditation(engine, customer.tenant, provider="epp", **AT_A_REGISTRY))
    engine.owner.execute(
        """
        CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'spoilt'; END $$;
        CREATE TRIGGER spoil BEFORE UPDATE ON provision_contact FOR EACH ROW EXECUTE FUNCTION spoil();
        """
    )
    with engine.worker(contacts_too(inline(act))):
        eventually(lambda: engine.job(bad)["held_at"])
        reason = engine.value("SELECT reason FROM v_attention WHERE what = 'held job' AND id = %s", bad)
        assert reason.endswith("the result could not be recorded: spoilt")
        assert engine.job(bad)["worker"] is None
        engine.owner.execute("DROP TRIGGER spoil ON provision_contact")
        if act is echo:
            engine.owner.execute("SELECT job_release(%s)", [bad])
            assert engine.ended(bad)["status"] == "completed"
        else:
            engine.owner.execute("SELECT job_cancel(%s)", [bad])
            assert engine.ended(bad)["status"] == "cancelled"


def test_jobs_of_unknown_type_are_left_to_others(engine: Engine) -> None:
    newer = engine.submit(type="provision_rocket")
    with engine.worker(inline(echo)):
        engine.ended(engine.submit())
    assert engine.job(newer)["status"] == "submitted"
    assert engine.job(newer)["claim_no"] is None


def test_a_long_message_does_not_leave_the_worker() -> None:
    assert failed("x" * 5000).message == "x" * 1000
    assert failed("x" * 1000).message == "x" * 1000


# How much at once


def test_no_more_jobs_are_taken_than_threads_can_begin(engine: Engine) -> None:
    gate = Gate()
    jobs = [engine.submit() for _ in range(6)]
    with engine.worker(threaded(gate.complete), worker_concurrency=2):
        eventually(lambda: gate.entered == 2)
        assert engine.value("SELECT jobs FROM v_worker") == 2
        gate.open()
        assert {engine.ended(job)["status"] for job in jobs} == {"completed"}
    assert gate.most_inside == 2


def test_an_accreditation_has_no_more_jobs_at_once_than_it_may_over_all_workers(
    engine: Engine, opened: ExitStack
) -> None:
    gate = Gate()
    lane = make_accreditation(engine, max_concurrency=2)
    actions = threaded(gate.complete)
    for _ in range(2):
        opened.enter_context(engine.worker(actions))
    jobs = [engine.submit(accreditation=lane) for _ in range(6)]
    eventually(lambda: gate.entered == 2)
    other = engine.submit()
    eventually(lambda: gate.entered == 3, "a job of another lane")
    gate.open()
    assert {engine.ended(job)["status"] for job in [*jobs, other]} == {"completed"}
    assert gate.most_inside == 3


# Sleeping and waking


def test_a_sleeping_worker_is_woken_by_a_new_job(engine: Engine) -> None:
    with engine.worker(inline(echo), worker_poll_seconds=600):
        for _ in range(3):
            eventually(engine.someone_sleeps)
            engine.ended(engine.submit())


def test_who_wakes_nobody_sends_no_notification(engine: Engine) -> None:
    with connect(engine.database.url, "listener", autocommit=True) as listener:
        listener.execute("LISTEN job_wake")
        engine.submit()
        assert not list(listener.notifies(timeout=0.1))
        with engine.worker({}, worker_poll_seconds=600):
            pass
        with engine.worker(inline(echo), worker_poll_seconds=600):
            eventually(engine.someone_sleeps)
            engine.submit()
            assert len(list(listener.notifies(timeout=5, stop_after=1))) == 1


def test_when_the_sentinel_is_busy_another_sleeper_is_woken(engine: Engine, opened: ExitStack) -> None:
    gate = Gate()
    actions = threaded(gate.complete)
    for _ in range(2):
        opened.enter_context(engine.worker(actions, worker_concurrency=1, worker_poll_seconds=600))
    opened.callback(gate.open)
    for _ in range(2):
        eventually(engine.someone_sleeps)
        job = engine.submit()
        eventually(partial(engine.value, "SELECT worker FROM v_job WHERE id = %s", job))
    assert not engine.someone_sleeps(), "nobody has room, so nobody may ask to be woken"


def test_a_job_for_later_is_begun_when_it_is_due(engine: Engine) -> None:
    with engine.worker(inline(echo), worker_poll_seconds=600):
        eventually(engine.someone_sleeps)
        job = engine.value(
            "INSERT INTO job (type, start_date) VALUES ('test', engine_now() + interval '0.3 s') RETURNING id"
        )
        engine.ended(job)


def test_behind_a_pooler_a_worker_polls(engine: Engine) -> None:
    with engine.worker(inline(echo), worker_listen=False, worker_poll_seconds=0.05):
        engine.ended(engine.submit())
        assert not engine.someone_sleeps()


@pytest.mark.parametrize("lock", ["pg_advisory_lock", "pg_advisory_lock_shared"])
def test_a_login_that_takes_the_lock_of_sleepers_makes_workers_poll(
    engine: Engine, connect_as: ConnectAs, lock: str
) -> None:
    """Its number is no secret and advisory locks have no owner: nobody can be woken, and nobody waits for the lock."""
    key = engine.value("SELECT job_wake_key()")
    connect_as("provision_integration").execute(f"SELECT {lock}({key})".encode())
    asleep = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle'"
        " AND query LIKE '%%job_next_due%%'"
    )
    with engine.worker(inline(echo)):
        for _ in range(3):
            eventually(lambda: engine.value(asleep))
            engine.ended(engine.submit())


def test_a_paused_worker_takes_nothing_until_it_is_resumed(engine: Engine) -> None:
    job = engine.submit()
    with engine.worker(inline(echo), paused=True, worker_poll_seconds=0.01) as worker:
        for _ in range(3):
            beaten = engine.value("SELECT count(*) FROM v_worker")
            assert (beaten, engine.job(job)["claim_no"]) == (1, None)
        worker.resume()
        engine.ended(job)


def test_waking_before_the_wait_is_not_lost() -> None:
    with Waker() as waker:
        started = time.monotonic()
        waker.wake()
        waker.wait(30)
        assert time.monotonic() - started < 5


# Stopping


def test_a_stopping_worker_finishes_what_runs_and_claims_no_more(engine: Engine) -> None:
    gate = Gate()
    with engine.worker(threaded(gate.complete), worker_concurrency=1) as worker:
        running, waiting = engine.submit(), engine.submit()
        eventually(lambda: gate.entered == 1)
        worker.stop()
        gate.open()
    assert engine.job(running)["status"] == "completed"
    assert (engine.job(waiting)["status"], engine.job(waiting)["attempts"]) == ("submitted", 0)
    assert engine.value("SELECT count(*) FROM v_worker") == 0


def test_a_stopping_worker_lets_others_be_woken(engine: Engine) -> None:
    gate = Gate()
    with engine.worker(threaded(gate.complete), worker_poll_seconds=600) as worker:
        engine.submit()
        eventually(lambda: gate.entered == 1)
        eventually(engine.someone_sleeps)
        worker.stop()
        eventually(lambda: not engine.someone_sleeps())
        gate.open()


def test_a_stopping_worker_hands_back_what_it_has_not_begun(engine: Engine) -> None:
    jobs = [engine.submit() for _ in range(5)]

    def stop_at_once(task: Task) -> Outcome:
        worker.stop()
        return completed()

    with engine.worker(inline(stop_at_once), paused=True) as worker:
        worker.resume()
        eventually(lambda: engine.value("SELECT count(*) = 0 FROM v_worker"))
    statuses = [engine.job(job)["status"] for job in jobs]
    assert sorted(statuses) == ["completed", *["submitted"] * 4]
    assert {engine.job(job)["attempts"] for job in jobs} == {0}


# Rows that somebody else has locked


@pytest.fixture
def in_the_way(engine: Engine, connect_as: ConnectAs, monkeypatch: pytest.MonkeyPatch) -> Iterator[UUID]:
    """The job of a contact whose customer has left a transaction open that locks its row; workers stop without it."""
    monkeypatch.setattr(loop, "STOP_SECONDS", 1.0)
    customer = make_customer(engine)
    job = make_contact(engine, customer, make_accreditation(engine, customer.tenant, provider="epp", **AT_A_REGISTRY))
    tenant = connect_as(None)
    with tenant.transaction(force_rollback=True):
        tenant.execute("SELECT FROM provision_contact FOR UPDATE")
        yield job


@pytest.mark.parametrize("kind", [inline, threaded])
def test_a_row_that_somebody_keeps_locked_holds_up_no_other(engine: Engine, in_the_way: UUID, kind: Kind) -> None:
    with engine.worker(contacts_too(kind(echo)), worker_batch=5):
        for _ in range(3):
            assert all(engine.ended(engine.submit())["status"] == "completed" for _ in range(10))
        assert engine.job(in_the_way)["status"] == "processing"


def test_what_was_in_the_way_is_recorded_when_it_is_free(engine: Engine, connect_as: ConnectAs) -> None:
    customer = make_customer(engine)
    job = make_contact(engine, customer, make_accreditation(engine, customer.tenant, provider="epp", **AT_A_REGISTRY))
    tenant = connect_as(None)
    with engine.worker(contacts_too(inline(echo))):
        with tenant.transaction():
            tenant.execute("SELECT FROM provision_contact FOR UPDATE")
            engine.ended(engine.submit())
        done = engine.ended(job)
    assert (done["status"], done["attempts"]) == ("completed", 0)


def test_a_worker_that_stops_hands_back_what_it_cannot_record(engine: Engine, in_the_way: UUID) -> None:
    with engine.worker(contacts_too(inline(echo))):
        engine.ended(engine.submit())
    job = engine.job(in_the_way)
    assert (job["status"], job["attempts"]) == ("submitted", 0)
    assert engine.value("SELECT count(*) FROM v_worker") == 0


def test_the_lease_of_what_cannot_be_recorded_is_kept_alive(engine: Engine, in_the_way: UUID) -> None:
    engine.owner.execute("UPDATE setting SET value = '1' WHERE name = 'lease_seconds'")
    with engine.worker(contacts_too(inline(echo)), worker_lease_seconds=1) as worker:
        engine.ended(engine.submit())
        known, claim = worker.id, engine.job(in_the_way)["claim_no"]
        beaten = engine.value("SELECT heartbeat_date + interval '1.5 seconds' FROM v_worker")
        eventually(lambda: engine.value("SELECT heartbeat_date > %s FROM v_worker", beaten))
        assert (worker.id, engine.job(in_the_way)["claim_no"]) == (known, claim)


# Losing touch


def cut(engine: Engine, part: str = "loop") -> None:
    """Ends the worker's connection from the other side."""
    engine.owner.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name LIKE %s",
        ["% " + part],
    )


def test_a_result_survives_the_loss_of_the_connection(engine: Engine) -> None:
    gate = Gate()
    with engine.worker(threaded(gate.complete)) as worker:
        known = worker.id
        job = engine.submit()
        eventually(lambda: gate.entered == 1)
        claim = engine.job(job)["claim_no"]
        cut(engine)
        gate.open()
        engine.ended(job)
        assert engine.value("SELECT claim_no FROM job WHERE id = %s", job) == claim
        assert worker.id == known


def test_a_claim_whose_answer_was_lost_is_given_back(engine: Engine) -> None:
    with engine.worker(inline(echo), paused=True, worker_poll_seconds=600) as worker:
        job = engine.submit()
        engine.owner.execute("SELECT job_claim(%s, '{test}', 1)", [worker.id])
        assert engine.job(job)["status"] == "processing"
        worker.resume()
        cut(engine)
        assert engine.ended(job)["attempts"] == 0


@pytest.mark.parametrize("part", ["heartbeat", "sweep"])
def test_heartbeat_and_sweep_come_back_too(engine: Engine, part: str) -> None:
    def pid() -> int | None:
        found: int | None = engine.value(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE %s",
            f"% {part}",
        )
        return found

    with engine.worker(inline(echo), worker_lease_seconds=3):
        before = eventually(pid)
        cut(engine, part)
        eventually(lambda: pid() not in (None, before))


def test_the_late_result_of_a_lost_lease_is_refused(engine: Engine) -> None:
    first, second = Gate(), Gate()
    gates = iter([first, second])

    def answer(task: Task) -> Outcome:
        gate = next(gates)
        gate.pass_through()
        return completed({"claim_no": task.job.claim_no})

    with engine.worker(threaded(answer), worker_lease_seconds=0.6) as slow:
        job, presumed_dead = engine.submit(), slow.id
        eventually(lambda: first.entered == 1)
        old_claim = engine.job(job)["claim_no"]
        refused = REGISTRY.get_sample_value("provision_results_refused_total", {"type": "test"}) or 0
        engine.lose_workers()
        eventually(lambda: second.entered == 1, "the second claim")
        first.open()
        eventually(
            lambda: (REGISTRY.get_sample_value("provision_results_refused_total", {"type": "test"}) or 0) > refused
        )
        assert engine.job(job)["status"] == "processing"
        second.open()
        done = engine.ended(job)
        assert slow.id != presumed_dead
    assert done["result"]["claim_no"] > old_claim
    assert (done["status"], done["attempts"]) == ("completed", 1)


def test_a_database_that_refuses_us_ends_the_worker_with_its_words(engine: Engine) -> None:
    engine.owner.execute("REVOKE EXECUTE ON FUNCTION worker_register FROM provision_worker")
    with pytest.raises(AssertionError, match="permission denied"), engine.worker(inline(echo)):
        pass


def test_results_are_counted_by_type_and_outcome(engine: Engine) -> None:
    def recorded() -> float:
        labels = {"type": "test", "outcome": "failed"}
        return REGISTRY.get_sample_value("provision_jobs_recorded_total", labels) or 0.0

    before = recorded()
    with engine.worker(inline(lambda task: failed("no"))):
        engine.ended(engine.submit())
        eventually(lambda: recorded() == before + 1)


# The process


@pytest.fixture
def silent_registry(engine: Engine) -> Iterator[socket.socket]:
    """A registry that takes connections and says nothing, until it is closed; and a contact that waits for it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        customer = make_customer(engine)
        accreditation = make_accreditation(
            engine,
            customer.tenant,
            provider="epp",
            registrar_id="us",
            endpoint=f"127.0.0.1:{listener.getsockname()[1]}",
            secret_ref="env:REGISTRY_PASSWORD",
        )
        make_contact(engine, customer, accreditation)
        yield listener


def is_calling(engine: Engine) -> bool:
    return bool(engine.value("SELECT count(*) FROM v_effect WHERE status = 'intended'"))


def test_a_process_that_is_told_to_stop_finishes_and_exits_well(engine: Engine, silent_registry: socket.socket) -> None:
    with Process(engine) as process:
        eventually(lambda: is_calling(engine))
        process.signal(signal.SIGTERM)
        silent_registry.close()
        assert process.exit_code() == 0
    job = engine.row("SELECT * FROM v_job")
    assert (job["status"], job["attempts"]) == ("submitted", 1)
    assert job["result_message"].startswith("cannot connect to 127.0.0.1")
    assert engine.value("SELECT count(*) FROM v_worker") == 0


def test_a_process_that_is_told_twice_ends_at_once(engine: Engine, silent_registry: socket.socket) -> None:
    with Process(engine) as process:
        eventually(lambda: is_calling(engine))
        process.signal(signal.SIGINT)
        process.signal(signal.SIGTERM)
        assert process.exit_code() == -signal.SIGTERM
    assert engine.value("SELECT status FROM v_job") == "processing"


def test_a_paused_process_begins_when_it_is_told(engine: Engine, silent_registry: socket.socket) -> None:
    with Process(engine, "--paused") as process:
        assert engine.value("SELECT status FROM v_job") == "submitted"
        process.signal(signal.SIGUSR1)
        eventually(lambda: is_calling(engine))


def test_a_process_shows_its_metrics(engine: Engine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with Process(engine, "--metrics-port", str(port)), urlopen(f"http://127.0.0.1:{port}/metrics") as page:
        assert "provision_claim_seconds_bucket" in page.read().decode()


@pytest.mark.skipif(sys.platform != "linux", reason="the loopback has one address")
def test_metrics_are_shown_at_the_address_that_is_set_and_no_other(engine: Engine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with Process(engine, worker_metrics_port=str(port), worker_metrics_host="127.0.0.2"):
        with urlopen(f"http://127.0.0.2:{port}/metrics") as page:
            assert page.status == 200
        with pytest.raises(URLError, match="refused"):
            urlopen(f"http://127.0.0.1:{port}/metrics")
