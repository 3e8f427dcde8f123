"""Jobs: who gets which, what a result does, what happens to those whose worker is lost, and what operators can do."""

from typing import Any
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb

from . import sql_fixtures
from .sql_fixtures import TYPES, Json, Row, Shop, certificate_item, contact_item, host_item, outcome, refused, success

shop = sql_fixtures.shop


@pytest.fixture
def job(shop: Shop) -> Row:
    """A claimed job of an ordered contact."""
    shop.order(contact_item())
    (job,) = shop.claim()
    return job


def seen(shop: Shop, job: UUID) -> Row:
    """The job as operators see it."""
    return shop.row("SELECT * FROM v_job WHERE id = %s", job)


def provision(shop: Shop, job: UUID) -> Row:
    """The job's provision row as operators see it."""
    return shop.row("SELECT * FROM v_provision WHERE job_id = %s", job)


def submit(shop: Shop, accreditation: UUID | None = None, priority: int = 5, **values: Any) -> UUID:
    """A job of no particular row."""
    return shop.insert(
        "job", type=TYPES[0], accreditation_id=accreditation or shop.registry, priority=priority, **values
    )


def ids(jobs: list[Row]) -> list[UUID]:
    return [job["job_id"] for job in jobs]


# Claiming -------------------------------------------------------------------------------------------------------------


def test_a_claimed_job_is_shown_as_processing_with_its_worker(shop: Shop, job: Row) -> None:
    row = seen(shop, job["job_id"])
    assert (row["status"], row["worker"], row["claim_no"]) == ("processing", "hand", job["claim_no"])
    assert row["next_attempt_date"] is None


def test_a_claimed_job_is_given_to_nobody_else(shop: Shop, job: Row) -> None:
    assert shop.claim(worker=shop.register()) == []


def test_every_claim_has_a_higher_number(shop: Shop) -> None:
    submit(shop)
    numbers = []
    for _ in range(3):
        (job,) = shop.claim()
        numbers.append(job["claim_no"])
        shop.record(outcome(job, "hand_back"))
    assert numbers == sorted(set(numbers))


def test_a_worker_gets_only_the_types_it_knows(shop: Shop) -> None:
    shop.order(contact_item(), host_item())
    assert [job["type"] for job in shop.claim(types=["provision_host_create", "unheard_of"])] == [
        "provision_host_create"
    ]
    assert shop.claim(types=["unheard_of"]) == []


def test_the_oldest_job_of_a_lane_comes_first(shop: Shop) -> None:
    jobs = [submit(shop) for _ in range(5)]
    assert ids(shop.claim(limit=2)) == jobs[:2]
    assert ids(shop.claim(limit=9)) == jobs[2:]


def test_the_more_urgent_priority_comes_first(shop: Shop) -> None:
    late, soon, first = submit(shop, priority=9), submit(shop, priority=5), submit(shop, priority=0)
    assert ids(shop.claim(limit=2)) == [first, soon]
    assert ids(shop.claim(limit=2)) == [late]


def test_lanes_take_turns(shop: Shop) -> None:
    busy = [submit(shop) for _ in range(4)]
    quiet = submit(shop, shop.cloud)
    assert set(ids(shop.claim(limit=1) + shop.claim(limit=1))) == {busy[0], quiet}


def test_a_job_is_not_claimed_before_its_time(shop: Shop) -> None:
    job = submit(shop, start_date=shop.value("SELECT engine_now() + interval '1 hour'"))
    assert shop.claim() == []
    assert shop.value("SELECT job_next_due(%s)", TYPES) == seen(shop, job)["next_attempt_date"]
    shop.pass_time("1 hour")
    assert ids(shop.claim()) == [job]


def test_nothing_is_due_for_those_who_know_no_type_that_waits(shop: Shop) -> None:
    submit(shop)
    assert shop.value("SELECT job_next_due(%s)", ["unheard_of"]) is None


def test_an_unknown_worker_gets_nothing(shop: Shop) -> None:
    submit(shop)
    with refused(shop.connection, "PVF01", "not registered"):
        shop.claim(worker=shop.tenant)


# Concurrency of an accreditation --------------------------------------------------------------------------------------


@pytest.fixture
def narrow(shop: Shop) -> UUID:
    """An accreditation that takes two jobs at once."""
    return shop.accreditation("narrow", max_concurrency=2)


def test_no_more_jobs_run_at_once_than_the_accreditation_takes(shop: Shop, narrow: UUID) -> None:
    jobs = [submit(shop, narrow) for _ in range(3)]
    running = shop.claim()
    assert ids(running) == jobs[:2]
    assert shop.claim(worker=shop.register()) == []
    shop.complete(running[:1])
    assert ids(shop.claim()) == jobs[2:]


def test_priorities_of_an_accreditation_share_its_room(shop: Shop, narrow: UUID) -> None:
    jobs = [submit(shop, narrow, priority=priority) for priority in (1, 5, 9)]
    assert ids(shop.claim()) == jobs[:2]
    assert shop.claim() == []


def test_an_accreditation_without_room_holds_up_no_other(shop: Shop, narrow: UUID) -> None:
    for _ in range(3):
        submit(shop, narrow, priority=0)
    shop.claim()
    other = submit(shop)
    assert ids(shop.claim(limit=1)) == [other]


def test_queues_are_shown_with_what_is_due_and_what_runs(shop: Shop, narrow: UUID) -> None:
    for _ in range(3):
        submit(shop, narrow)
    submit(shop, narrow, start_date=shop.value("SELECT engine_now() + interval '1 hour'"))
    shop.claim()
    row = shop.row("SELECT due, later, running, max_concurrency FROM v_lane WHERE accreditation_id = %s", narrow)
    assert row == {"due": 1, "later": 1, "running": 2, "max_concurrency": 2}


# The low-water mark ---------------------------------------------------------------------------------------------------


def test_a_job_put_back_in_front_of_others_is_found_at_once(shop: Shop) -> None:
    first, *_ = [submit(shop) for _ in range(3)]
    jobs = shop.claim()
    shop.record(outcome(jobs[0], "hand_back"))
    assert ids(shop.claim()) == [first]


def test_a_late_commit_behind_the_mark_is_found_after_a_sweep(shop: Shop) -> None:
    """Its transaction began before a job that was claimed meanwhile."""
    submit(shop)
    shop.claim()
    late = submit(shop, start_date=shop.value("SELECT engine_now() - interval '1 minute'"))
    assert shop.claim() == []
    shop.sweep()
    assert ids(shop.claim()) == [late]


# Results --------------------------------------------------------------------------------------------------------------


def test_a_completed_job_makes_its_row_and_the_inventory(shop: Shop, job: Row) -> None:
    shop.record(outcome(job, "completed", result={"roid": "R1", "handle": "H1"}, message="1000 Command completed"))
    row = provision(shop, job["job_id"])
    assert (row["status"], row["roid"], row["result_message"]) == ("completed", "R1", "1000 Command completed")
    assert row["provisioned_date"] == row["finished_date"] == seen(shop, job["job_id"])["finished_date"]
    assert shop.value("SELECT roid FROM v_contact WHERE id = %s", row["id"]) == "R1"


def test_a_failed_job_fails_its_row_and_leaves_no_inventory(shop: Shop, job: Row) -> None:
    shop.record(outcome(job, "failed", message="2306 no"))
    row = provision(shop, job["job_id"])
    assert (row["status"], row["result_message"], row["provisioned_date"]) == ("failed", "2306 no", None)
    assert shop.rows("SELECT id FROM v_contact WHERE id = %s", row["id"]) == []


def test_a_retry_is_counted_shown_on_the_row_and_tried_later(shop: Shop, job: Row) -> None:
    shop.record(outcome(job, "retry", message="no answer", after_seconds=60))
    row = seen(shop, job["job_id"])
    assert (row["status"], row["attempts"], row["result_message"]) == ("submitted", 1, "no answer")
    mirror = provision(shop, job["job_id"])
    assert (mirror["status"], mirror["job_attempts"], mirror["result_message"]) == ("processing", 1, "no answer")
    assert mirror["next_attempt_date"] == row["next_attempt_date"]
    shop.pass_time("58 seconds")
    assert shop.claim() == []
    shop.pass_time("1 hour")
    (again,) = shop.claim()
    assert (again["job_id"], again["attempts"]) == (job["job_id"], 1)


def test_the_wait_between_attempts_doubles_is_bounded_and_has_full_jitter(shop: Shop) -> None:
    for attempts, longest in ((0, 1), (1, 2), (4, 16), (11, 2048), (12, 3600), (400, 3600)):
        waits = shop.values("SELECT job_backoff(%s) FROM generate_series(1, 200)", attempts)
        assert 0 <= min(waits) < longest * 0.1
        assert longest * 0.9 < max(waits) <= longest


def test_the_job_fails_with_the_last_reason_when_its_attempts_are_used_up(shop: Shop, job: Row) -> None:
    last = job["max_attempts"]
    for attempt in range(1, last + 1):
        assert job["attempts"] == attempt - 1
        shop.record(outcome(job, "retry", message=f"no answer {attempt}"))
        shop.pass_time("1 hour")
        if attempt < last:
            (job,) = shop.claim()
    assert shop.claim() == []
    row = seen(shop, job["job_id"])
    assert (row["status"], row["attempts"], row["result_message"]) == ("failed", last, f"no answer {last}")
    assert provision(shop, job["job_id"])["status"] == "failed"


def test_looking_again_keeps_the_state_and_costs_no_attempt(shop: Shop, job: Row) -> None:
    shop.record(outcome(job, "again", after_seconds=600, state={"seen": 1}))
    shop.pass_time("9 minutes")
    assert shop.claim() == []
    shop.pass_time("1 minute")
    (again,) = shop.claim()
    assert (again["state"], again["attempts"]) == ({"seen": 1}, 0)
    shop.record(outcome(again, "again", after_seconds=0))
    assert shop.claim()[0]["state"] == {"seen": 1}


def test_a_pending_job_makes_its_row_wait_for_the_other_side(shop: Shop, job: Row) -> None:
    shop.record(outcome(job, "pending", after_seconds=0, message="1001 pending"))
    assert provision(shop, job["job_id"])["status"] == "pending_action"
    (again,) = shop.claim()
    shop.record(outcome(again, "pending", after_seconds=0))
    assert provision(shop, job["job_id"])["status"] == "pending_action"
    shop.complete(shop.claim())
    assert provision(shop, job["job_id"])["status"] == "completed"


def test_a_job_handed_back_was_never_begun(shop: Shop, job: Row) -> None:
    shop.record(outcome(job, "hand_back"))
    (again,) = shop.claim()
    assert (again["job_id"], again["attempts"]) == (job["job_id"], 0)
    assert shop.value("SELECT started_date FROM job WHERE id = %s", job["job_id"]) is None


def test_a_parent_is_claimed_again_when_all_its_children_have_ended(shop: Shop, job: Row) -> None:
    children = [{"type": "provision_host_create", "data": {"n": n}} for n in range(3)]
    shop.record(outcome(job, "children", children=children, state={"step": 2}))
    row = seen(shop, job["job_id"])
    assert (row["status"], row["open_children"]) == ("created", 3)
    first, second, third = shop.claim()
    assert [child["parent_id"] for child in (first, second, third)] == [job["job_id"]] * 3
    shop.record(outcome(first, "completed", result={"n": 0}), outcome(second, "failed", message="no"))
    assert shop.claim() == []
    shop.value("SELECT job_release(%s)", hold(shop, third))
    shop.complete(shop.claim())
    (again,) = shop.claim()
    assert (again["job_id"], again["state"]) == (job["job_id"], {"step": 2})
    born = shop.rows("SELECT status, data, result_message FROM job_children(%s)", job["job_id"])
    assert born == [
        {"status": "completed", "data": {"n": 0}, "result_message": None},
        {"status": "failed", "data": {"n": 1}, "result_message": "no"},
        {"status": "completed", "data": {"n": 2}, "result_message": None},
    ]


def hold(shop: Shop, job: Row) -> UUID:
    """Hand a claimed job back and hold it."""
    shop.record(outcome(job, "hand_back"))
    shop.value("SELECT job_hold(%s)", job["job_id"])
    id: UUID = job["job_id"]
    return id


def test_a_cancelled_child_counts_as_ended(shop: Shop, job: Row) -> None:
    shop.record(outcome(job, "children", children=[{"type": "provision_host_create"}]))
    child = shop.value("SELECT id FROM v_job WHERE parent_id = %s", job["job_id"])
    shop.value("SELECT job_cancel(%s)", child)
    assert ids(shop.claim()) == [job["job_id"]]


BAD_RESULTS: dict[str, tuple[Json, str]] = {
    "an unknown outcome": ({"outcome": "done"}, "done"),
    "no outcome": ({}, "none given"),
    "children that are none": ({"outcome": "children", "children": []}, "no child jobs given"),
    "children that are missing": ({"outcome": "children"}, "no child jobs given"),
}


@pytest.mark.parametrize("what", BAD_RESULTS)
def test_a_malformed_result_is_refused_and_the_job_still_held(shop: Shop, job: Row, what: str) -> None:
    result, text = BAD_RESULTS[what]
    with refused(shop.connection, "PV400", text):
        shop.record({"job_id": str(job["job_id"]), "claim_no": job["claim_no"]} | result)
    assert seen(shop, job["job_id"])["worker"] == "hand"


def test_many_results_are_recorded_in_one_call(shop: Shop) -> None:
    shop.order(*(contact_item(f"c{n}") for n in range(20)))
    jobs = shop.claim()
    kinds = ("completed", "failed", "retry", "again", "hand_back")
    results = [outcome(job, kinds[n % 5], message="why", after_seconds=9) for n, job in enumerate(jobs)]
    assert shop.record(*results) == []
    counts = shop.pairs("SELECT status, count(*) FROM v_job WHERE tenant_customer_id = %s GROUP BY 1", shop.account)
    assert counts == {"completed": 4, "failed": 4, "submitted": 12}


# Fencing --------------------------------------------------------------------------------------------------------------


def lose_workers(shop: Shop) -> Json:
    """All workers fall silent, and the sweeper notices."""
    shop.connection.execute("UPDATE worker SET heartbeat_date = '-infinity'")
    shop._worker = None
    return shop.sweep()


def test_a_result_under_an_older_claim_is_refused(shop: Shop, job: Row) -> None:
    shop.record(outcome(job, "hand_back"))
    (newer,) = shop.claim()
    assert shop.record(outcome(job, "failed", message="late")) == [job["job_id"]]
    assert seen(shop, job["job_id"])["status"] == "processing"
    assert shop.record(success(newer)) == []


def test_a_result_of_another_worker_is_refused(shop: Shop, job: Row) -> None:
    assert shop.record(success(job), worker=shop.register()) == [job["job_id"]]


def test_the_other_results_of_a_call_stand_when_one_is_refused(shop: Shop) -> None:
    shop.order(contact_item("a"), contact_item("b"))
    lost, kept = shop.claim()
    stale = lost | {"claim_no": lost["claim_no"] - 1}
    assert shop.record(success(stale), success(kept)) == [lost["job_id"]]
    assert seen(shop, kept["job_id"])["status"] == "completed"


def test_what_a_silent_worker_held_goes_back_as_a_failed_attempt(shop: Shop, job: Row) -> None:
    late = shop.worker
    assert lose_workers(shop)["leases_lost"] == 1
    row = seen(shop, job["job_id"])
    assert (row["status"], row["attempts"], row["result_message"]) == ("submitted", 1, "its worker was lost")
    assert provision(shop, job["job_id"])["job_attempts"] == 1
    assert shop.record(success(job), worker=late) == [job["job_id"]]
    assert not shop.value("SELECT worker_heartbeat(%s)", late)
    assert ids(shop.claim()) == [job["job_id"]]


def test_a_job_whose_workers_keep_being_lost_fails(shop: Shop) -> None:
    job = submit(shop, max_attempts=2)
    for _ in range(2):
        shop.claim()
        lose_workers(shop)
    row = seen(shop, job)
    assert (row["status"], row["attempts"], row["result_message"]) == ("failed", 2, "its worker was lost")


def test_a_lost_job_that_cannot_be_carried_home_is_held_and_the_others_go_on(shop: Shop) -> None:
    shop.order(contact_item("a"), contact_item("b"))
    shop.connection.execute(
        """
        CREATE FUNCTION stuck() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN IF NEW.reference = 'a' THEN RAISE 'stuck'; END IF; RETURN NEW; END $$;
        CREATE TRIGGER stuck_tg BEFORE UPDATE ON provision_contact FOR EACH ROW EXECUTE FUNCTION stuck()
        """
    )
    stuck, lost = shop.claim()
    assert lose_workers(shop)["leases_lost"] == 2
    assert seen(shop, stuck["job_id"])["held_at"]
    assert "stuck" in shop.value("SELECT reason FROM v_attention WHERE what = 'held job' AND id = %s", stuck["job_id"])
    assert ids(shop.claim()) == [lost["job_id"]]


def test_a_worker_that_is_heard_of_keeps_what_it_holds(shop: Shop, job: Row) -> None:
    shop.connection.execute("UPDATE worker SET heartbeat_date = clock_timestamp() - interval '29 seconds'")
    assert shop.sweep()["leases_lost"] == 0
    assert shop.value("SELECT worker_heartbeat(%s)", shop.worker)
    assert shop.record(success(job)) == []


def test_turning_the_clock_kills_no_worker(shop: Shop, job: Row) -> None:
    shop.pass_time("1 year")
    assert shop.sweep()["leases_lost"] == 0


def test_a_worker_that_says_goodbye_gives_back_what_it_holds(shop: Shop, job: Row) -> None:
    shop.connection.execute("SELECT worker_deregister(%s)", [shop.worker])
    shop._worker = None
    row = seen(shop, job["job_id"])
    assert (row["status"], row["attempts"]) == ("submitted", 0)
    assert ids(shop.claim()) == [job["job_id"]]
    assert shop.values("SELECT jobs FROM v_worker WHERE id = %s", shop.worker) == [1]


@pytest.mark.parametrize("kind", ["completed", "failed", "retry"])
def test_a_long_message_is_cut(shop: Shop, job: Row, kind: str) -> None:
    shop.record(outcome(job, kind, message="ü" * 5000))
    assert seen(shop, job["job_id"])["result_message"] == "ü" * 1000


def test_a_held_result_leaves_the_job_to_people(shop: Shop, job: Row) -> None:
    assert shop.record(outcome(job, "hold", message="its row takes nothing")) == []
    row = seen(shop, job["job_id"])
    assert (row["status"], row["worker"], row["attempts"]) == ("submitted", None, 0)
    reason = shop.value("SELECT reason FROM v_attention WHERE what = 'held job' AND id = %s", job["job_id"])
    assert reason == "provision_contact_create of registry is held: its row takes nothing"
    assert shop.claim() == []
    shop.value("SELECT job_release(%s)", job["job_id"])
    assert ids(shop.claim()) == [job["job_id"]]


# Settings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lease_seconds", "soon"),
        ("lease_seconds", "0.5"),
        ("lease_seconds", "0"),
        ("idempotency_days", ""),
        ("audit_retention_months", "99999999999"),
        ("retry_base_seconds", "-1"),
        ("retry_limit_seconds", "NaN"),
        ("retry_limit_seconds", "1e300"),
    ],
)
def test_a_setting_that_cannot_be_read_is_refused(shop: Shop, name: str, value: str) -> None:
    with refused(shop.connection, "PV422", f"{name} cannot be that {value}".strip()):
        shop.set(name, value)


def test_settings_that_can_be_read_are_taken(shop: Shop) -> None:
    shop.set("retry_base_seconds", "0.25")
    shop.set("lease_seconds", "60")
    shop.connection.execute("INSERT INTO setting VALUES ('greeting', 'hello', 'what is said')")
    assert shop.value("SELECT setting_value('greeting')") == "hello"


# Recurring work -------------------------------------------------------------------------------------------------------


@pytest.fixture
def schedule(shop: Shop) -> str:
    """A schedule of every ten minutes; the hourly reconciliation of accreditations is out of the way."""
    shop.connection.execute("DELETE FROM schedule")
    shop.connection.execute(
        "INSERT INTO schedule (name, job_type, accreditation_id, every) VALUES ('probe', 'reconcile', %s, %s)",
        [shop.registry, "10 minutes"],
    )
    return "probe"


def test_a_schedule_makes_a_job_when_its_time_has_come(shop: Shop, schedule: str) -> None:
    assert shop.sweep()["jobs_scheduled"] == 1
    (job,) = shop.claim(types=["reconcile"])
    assert (job["accreditation_id"], job["data"]) == (shop.registry, {"schedule": "probe"})
    shop.complete([job])
    shop.pass_time("9 minutes")
    assert shop.sweep()["jobs_scheduled"] == 0
    shop.pass_time("1 minute")
    assert shop.sweep()["jobs_scheduled"] == 1


def test_a_schedule_has_one_live_job_at_most(shop: Shop, schedule: str) -> None:
    shop.sweep()
    shop.pass_time("1 day")
    assert shop.sweep()["jobs_scheduled"] == 0
    (job,) = shop.claim(types=["reconcile"])
    shop.record(outcome(job, "failed", message="no"))
    assert shop.sweep()["jobs_scheduled"] == 1


def test_every_accreditation_is_reconciled_hourly_but_a_desk_is_not(shop: Shop) -> None:
    desk = shop.accreditation("desk", "manual")
    names = shop.values("SELECT accreditation_id FROM schedule WHERE job_type = 'reconcile' AND every = '1 hour'")
    assert {shop.registry, shop.cloud} <= set(names)
    assert desk not in names


# Work done by hand ----------------------------------------------------------------------------------------------------


@pytest.fixture
def desk_job(shop: Shop) -> UUID:
    """The job of a contact ordered from a desk where people work."""
    shop.accreditation("desk", "manual")
    shop.order(contact_item(accreditation="desk"))
    job: UUID = shop.value(
        "SELECT id FROM v_job WHERE accreditation = 'desk' AND tenant_customer_id = %s", shop.account
    )
    return job


def test_a_job_of_a_desk_is_held_for_a_person(shop: Shop, desk_job: UUID) -> None:
    assert shop.claim() == []
    row = shop.row("SELECT what, reason, call FROM v_attention WHERE id = %s", desk_job)
    assert row["what"] == "held job"
    assert row["reason"] == "provision_contact_create of desk is held for a person to do"
    assert row["call"].startswith(f"SELECT job_complete('{desk_job}'")


def test_a_person_completes_it(shop: Shop, desk_job: UUID) -> None:
    shop.value("SELECT job_complete(%s, %s)", desk_job, Jsonb({"roid": "by hand"}))
    assert shop.values("SELECT roid FROM v_contact WHERE tenant_customer_id = %s", shop.account) == ["by hand"]
    assert shop.values("SELECT status FROM v_order WHERE tenant_customer_id = %s", shop.account) == ["completed"]
    assert shop.rows("SELECT what FROM v_attention WHERE id = %s", desk_job) == []


@pytest.fixture
def desk_certificate(shop: Shop) -> UUID:
    """The job of a certificate ordered from a desk."""
    shop.accreditation("desk", "manual")
    shop.order(certificate_item(accreditation="desk"))
    job: UUID = shop.value("SELECT id FROM v_job WHERE accreditation = 'desk'")
    return job


DATES = {"not_before": "2026-03-01", "not_after": "2027-03-01"}


def test_what_a_person_must_tell_is_asked_for(shop: Shop, desk_certificate: UUID) -> None:
    call = shop.value("SELECT call FROM v_attention WHERE id = %s", desk_certificate)
    result = '{"roid": "…", "arn": "…", "not_before": "…", "not_after": "…"}'
    assert call == f"SELECT job_complete('{desk_certificate}', '{result}')"
    with refused(shop.connection, "PV422", "missing: arn, not_after"):
        shop.value("SELECT job_complete(%s, %s)", desk_certificate, Jsonb({"not_before": "2026-03-01"}))
    shop.value("SELECT job_complete(%s, %s)", desk_certificate, Jsonb({"arn": "by hand"} | DATES))
    assert shop.values("SELECT arn FROM v_certificate WHERE id IN (SELECT id FROM v_provision)") == ["by hand"]


def test_a_result_can_be_a_list(shop: Shop, desk_certificate: UUID) -> None:
    shop.connection.execute(
        "UPDATE class.provision_kind SET result_columns = result_columns || '{alternative_names}'"
        " WHERE table_name = 'provision_ssl'; SELECT class.attach_triggers()"
    )
    result = {"arn": "by hand", "alternative_names": ["a.example.test", "b, {c}.test"]} | DATES
    shop.value("SELECT job_complete(%s, %s)", desk_certificate, Jsonb(result))
    names = shop.value("SELECT alternative_names FROM v_certificate WHERE arn = 'by hand'")
    assert names == ["a.example.test", "b, {c}.test"]


def test_a_desk_job_is_not_released_to_workers(shop: Shop, desk_job: UUID) -> None:
    with refused(shop.connection, "PV422", "done by hand"):
        shop.value("SELECT job_release(%s)", desk_job)


def test_a_person_can_decline_it(shop: Shop, desk_job: UUID) -> None:
    shop.value("SELECT job_cancel(%s, 'not possible')", desk_job)
    row = shop.row("SELECT status, reason FROM v_order WHERE tenant_customer_id = %s", shop.account)
    assert row == {"status": "cancelled", "reason": "not possible"}


# Operators ------------------------------------------------------------------------------------------------------------


def test_a_held_job_waits_until_it_is_released(shop: Shop) -> None:
    job = submit(shop)
    shop.value("SELECT job_hold(%s)", job)
    assert shop.claim() == []
    attention = shop.row("SELECT what, call FROM v_attention WHERE id = %s", job)
    assert attention == {"what": "held job", "call": f"SELECT job_release('{job}')"}
    shop.value("SELECT job_release(%s)", job)
    assert ids(shop.claim()) == [job]


def test_jobs_of_a_held_accreditation_wait_in_their_queue(shop: Shop) -> None:
    order = shop.order(contact_item(), certificate_item())
    shop.value("SELECT accreditation_hold(%s, 'maintenance')", shop.registry)
    assert [job["type"] for job in shop.claim()] == ["provision_ssl_create"]
    attention = shop.row("SELECT what, reason, call FROM v_attention WHERE id = %s", shop.registry)
    assert attention == {
        "what": "held accreditation",
        "reason": "registry is held: maintenance; 1 jobs wait",
        "call": f"SELECT accreditation_release('{shop.registry}')",
    }
    lane = shop.row("SELECT due, held_date, held_reason FROM v_lane WHERE accreditation_id = %s", shop.registry)
    assert (lane["due"], lane["held_reason"]) == (1, "maintenance")
    since = f"{lane['held_date']:%Y-%m-%d %H:%M:%S}"
    explained = "\n".join(shop.values("SELECT order_explain(%s)", order))
    assert f"job provision_contact_create waits, registry is held since {since}: maintenance" in explained
    shop.value("SELECT accreditation_release(%s)", shop.registry)
    assert [job["type"] for job in shop.claim()] == ["provision_contact_create"]
    assert shop.rows("SELECT what FROM v_attention WHERE id = %s", shop.registry) == []


def test_nobody_wakes_for_jobs_of_a_held_accreditation(shop: Shop) -> None:
    shop.order(contact_item())
    shop.value("SELECT accreditation_hold(%s, 'maintenance')", shop.registry)
    assert shop.value("SELECT job_next_due(%s)", list(TYPES)) is None
    shop.value("SELECT accreditation_release(%s)", shop.registry)
    assert shop.value("SELECT job_next_due(%s)", list(TYPES))


def test_what_runs_when_its_accreditation_is_held_goes_on(shop: Shop, job: Row) -> None:
    shop.value("SELECT accreditation_hold(%s, 'maintenance')", shop.registry)
    assert shop.record(success(job)) == []


def test_who_held_an_accreditation_and_why_is_in_the_audit_trail(shop: Shop) -> None:
    shop.value("SELECT accreditation_hold(%s, 'maintenance')", shop.registry)
    shop.value("SELECT accreditation_hold(%s, 'maintenance until 6')", shop.registry)
    shop.value("SELECT accreditation_release(%s)", shop.registry)
    rows = shop.rows(
        "SELECT changed -> 'held_reason' AS reason, logged_by FROM v_audit"
        " WHERE row_id = %s AND changed ? 'held_reason' ORDER BY id",
        shop.registry,
    )
    reasons = [[None, "maintenance"], ["maintenance", "maintenance until 6"], ["maintenance until 6", None]]
    assert rows == [{"reason": reason, "logged_by": shop.connection.info.user} for reason in reasons]


def test_an_accreditation_is_held_for_a_reason_and_released_once(shop: Shop) -> None:
    with refused(shop.connection, "PV400", "no reason given"):
        shop.value("SELECT accreditation_hold(%s, '')", shop.registry)
    with refused(shop.connection, "PV404", str(shop.tenant)):
        shop.value("SELECT accreditation_hold(%s, 'why')", shop.tenant)
    with refused(shop.connection, "PV409", "not held"):
        shop.value("SELECT accreditation_release(%s)", shop.registry)


def test_the_tree_says_that_a_job_is_held_since_when_and_why(shop: Shop) -> None:
    order = shop.order(contact_item())
    (job,) = shop.claim()
    shop.record(outcome(job, "hold", message="its row takes nothing"))
    held = shop.value("SELECT held_at FROM v_job WHERE id = %s", job["job_id"])
    line = shop.values("SELECT order_explain(%s)", order)[-1]
    said = f"job provision_contact_create held since {held:%Y-%m-%d %H:%M:%S}: its row takes nothing"
    assert line.endswith(said)


def test_a_retried_job_is_tried_at_once_with_all_its_attempts(shop: Shop, job: Row) -> None:
    shop.record(outcome(job, "retry", after_seconds=3600, message="no answer"))
    assert shop.value("SELECT job_retry(%s)", job["job_id"]) == "submitted"
    (again,) = shop.claim()
    assert (again["job_id"], again["attempts"]) == (job["job_id"], 0)


def test_waiting_jobs_are_retried_by_type_accreditation_or_reason(shop: Shop) -> None:
    shop.order(*(contact_item(f"c{n}") for n in range(6)))
    jobs = shop.claim()
    messages = ("no answer", "no answer", "no answer", "busy", "busy")
    shop.record(
        *(outcome(job, "retry", after_seconds=3600, message=text) for job, text in zip(jobs, messages, strict=False))
    )
    retry = "SELECT job_retry_where(p_message_like => %s, p_accreditation => %s, p_limit => %s)"
    assert shop.value(retry, "no%", shop.registry, 2) == 2
    assert len(shop.claim()) == 2
    assert shop.value(retry, "no%", shop.cloud, 9) == 0


@pytest.mark.parametrize("limit", [None, -1])
def test_retrying_without_a_limit_is_refused(shop: Shop, limit: int | None) -> None:
    with refused(shop.connection, "PV400", f"p_limit is {'NULL' if limit is None else limit}"):
        shop.value("SELECT job_retry_where('test', p_limit => %s)", limit)


def test_retrying_everything_without_a_condition_is_refused(shop: Shop) -> None:
    with refused(shop.connection, "PV400", "no condition given"):
        shop.value("SELECT job_retry_where()")


def test_a_job_in_a_workers_hands_is_left_alone(shop: Shop, job: Row) -> None:
    for call in ("job_hold", "job_retry", "job_cancel"):
        with refused(shop.connection, "PV409"):
            shop.connection.execute(f"SELECT {call}(%s)".encode(), [job["job_id"]])
    with refused(shop.connection, "PV409", "not held"):
        shop.value("SELECT job_complete(%s)", job["job_id"])
    assert shop.record(success(job)) == []


def test_an_ended_job_stays_as_it_is(shop: Shop, job: Row) -> None:
    shop.complete([job])
    for call in ("job_hold", "job_release", "job_retry", "job_cancel", "job_complete"):
        with refused(shop.connection, "PV409", "is completed"):
            shop.connection.execute(f"SELECT {call}(%s)".encode(), [job["job_id"]])


def test_an_unknown_job_is_not_found(shop: Shop) -> None:
    for call in ("job_hold", "job_release", "job_retry", "job_cancel", "job_complete"):
        with refused(shop.connection, "PV404", str(shop.tenant)):
            shop.connection.execute(f"SELECT {call}(%s)".encode(), [shop.tenant])


def test_who_intervened_is_in_the_audit_trail(shop: Shop) -> None:
    job = submit(shop)
    shop.value("SELECT job_hold(%s)", job)
    shop.value("SELECT job_release(%s)", job)
    shop.value("SELECT job_retry(%s)", job)
    shop.value("SELECT job_cancel(%s, 'no longer wanted')", job)
    rows = shop.rows("SELECT reason, logged_by FROM v_audit WHERE row_id = %s ORDER BY id", job)
    reasons = ["held by hand", "released by hand", "retried by hand", "cancelled by hand: no longer wanted"]
    assert rows == [{"reason": reason, "logged_by": shop.connection.info.user} for reason in reasons]


def test_a_job_that_keeps_failing_needs_attention(shop: Shop, job: Row) -> None:
    for _ in range(3):
        shop.record(outcome(job, "retry", message="2400 command failed"))
        shop.pass_time("1 hour")
        (job,) = shop.claim()
    shop.record(outcome(job, "again", after_seconds=600))
    row = shop.row("SELECT what, reason, call FROM v_attention WHERE id = %s", job["job_id"])
    assert row["what"] == "failing job"
    assert row["reason"] == "provision_contact_create failed 3 of 20 times: 2400 command failed"
    assert row["call"] == f"SELECT job_retry('{job['job_id']}')"


def test_due_jobs_without_any_worker_need_attention(shop: Shop) -> None:
    submit(shop)
    assert (
        shop.value("SELECT reason FROM v_attention WHERE what = 'no worker'") == "1 jobs are due and no worker is alive"
    )
    shop.register()
    assert shop.rows("SELECT reason FROM v_attention WHERE what = 'no worker'") == []


# What a job carries ---------------------------------------------------------------------------------------------------


def test_a_contacts_job_carries_what_the_registry_needs(shop: Shop) -> None:
    shop.order(contact_item(organization="Jane Ltd", postal_code="53111", phone="+49.228123"))
    (job,) = shop.claim()
    handle = job["data"].pop("handle")
    assert handle == str(job["reference_id"]).replace("-", "")[-16:].upper()
    assert job["data"] == {
        "name": "Jane Doe",
        "organization": "Jane Ltd",
        "street": ["1 Road"],
        "city": "Bonn",
        "state": None,
        "postal_code": "53111",
        "country_code": "DE",
        "phone": "+49.228123",
        "fax": None,
        "email": "j@example.net",
    }


def test_a_hosts_job_carries_name_and_addresses(shop: Shop) -> None:
    shop.order(host_item("ns1.example.net"))
    assert shop.claim()[0]["data"] == {"name": "ns1.example.net", "addresses": [], "is_object": True}
