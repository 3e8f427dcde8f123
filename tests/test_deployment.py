"""Deployments: who runs, who waits and why, and what is given back when, through the API and a worker."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, LiteralString
from uuid import UUID

import psycopg
import pytest
from provision_api import deployment as surface
from provision_api.app import make_app
from psycopg.types.json import Jsonb
from starlette.testclient import TestClient

from . import deployment_fixtures
from .api_fixtures import settings_for
from .conftest import Database
from .deployment_fixtures import Site, User
from .sql_fixtures import refused
from .worker_fixtures import Engine, eventually

home = deployment_fixtures.home
site = deployment_fixtures.site
lone_site = deployment_fixtures.lone_site
strict_site = deployment_fixtures.strict_site

SUM: LiteralString = """
    SELECT bool_and((c.allocated_cpu, c.allocated_ram, c.allocated_gpu) = (s.cpu, s.ram, s.gpu)
        AND c.allocated_cpu <= c.total_cpu AND c.allocated_ram <= c.total_ram AND c.allocated_gpu <= c.total_gpu)
    FROM compute_cluster AS c CROSS JOIN LATERAL (
        SELECT COALESCE(sum(cpu), 0) AS cpu, COALESCE(sum(ram), 0) AS ram, COALESCE(sum(gpu), 0) AS gpu
        FROM deployment AS d WHERE d.compute_cluster_id = c.id AND d.state IN ('starting', 'running')) AS s
"""


# Who runs -------------------------------------------------------------------------------------------------------------


def test_what_fits_runs_and_what_does_not_waits_and_is_told_why(site: Site) -> None:
    admin = site.admin
    with site.working():
        cluster = admin.cluster()
        first, second = admin.deploy("a", (6, 6, 0)), admin.deploy("b", (6, 6, 0))
        assert first == {"message": "Deployment created and running", "id": first["id"], "status": "running"}
        assert second == {"message": "Deployment created and queued", "id": second["id"], "status": "queued"}
        assert admin.allocated() == (6, 6, 0)
        waiting = admin.seen(second["id"])
        assert "needs 6 cpu (4 free)" in waiting["reason"]
        assert waiting["cluster_id"] == cluster
        assert [step["to_status"] for step in admin.seen(first["id"])["history"]] == [
            "queued",
            "starting",
            "running",
        ]
        site.pass_time(31)
        assert site.until(admin, "a", "done")["finished_at"]
        site.until(admin, "b", "running")
        assert admin.allocated() == (6, 6, 0)


BATCH: LiteralString = """
    INSERT INTO provision_deployment
        (tenant_customer_id, org_id, compute_cluster_id, name, priority, cpu, ram, gpu, docker_path, ttl_seconds)
    SELECT c.tenant_customer_id, c.org_id, c.id, d.* FROM compute_cluster AS c, (VALUES
        ('1', 1::smallint, 8, 8, 2, 'nginx', 60), ('2', 1, 4, 3, 3, 'nginx', 60), ('3', 1, 3, 4, 3, 'nginx', 60),
        ('4', 1, 3, 3, 4, 'nginx', 60), ('5', 0, 2, 2, 2, 'nginx', 60)) AS d
    WHERE c.org_id = %s
"""


def test_the_best_set_starts_and_not_the_first_that_fits(site: Site) -> None:
    """The worked example, inserted in SQL: 2, 3 and 4 start, where first-fit would take 1 and 5."""
    with site.working():
        site.admin.cluster(objective="count")
        site.engine.owner.execute(BATCH, [site.org])
        eventually(lambda: "running" in site.admin.states().values())
    states = site.admin.states()
    assert [name for name, state in states.items() if state == "running"] == ["2", "3", "4"]
    head = site.admin.seen(site.admin.deployments()["1"]["id"])
    assert head["promised_at"] == site.admin.seen(site.admin.deployments()["2"]["id"])["ends_at"]


def test_fifty_at_once_take_what_there_is_and_no_more(site: Site) -> None:
    admin = site.admin
    stop = threading.Event()
    wrong: list[Any] = []

    def watch() -> None:
        with psycopg.connect(site.engine.database.url, autocommit=True) as connection:
            while not stop.is_set():
                if connection.execute(SUM).fetchone() != (True,):
                    wrong.append(connection.execute("TABLE compute_cluster").fetchall())

    with site.working():
        admin.cluster()
        watcher = threading.Thread(target=watch)
        watcher.start()
        with ThreadPoolExecutor(50) as threads:
            answers = list(threads.map(lambda number: admin.try_deploy(f"d{number}"), range(50)))
        assert {answer.status_code for answer in answers} == {201}, [answer.text for answer in answers]
        eventually(lambda: list(admin.states().values()).count("running") == 10)
        stop.set()
        watcher.join()
    assert wrong == []
    assert sorted(answer.json()["status"] for answer in answers) == ["queued"] * 40 + ["running"] * 10
    assert list(admin.states().values()).count("queued") == 40
    assert admin.allocated() == (10, 10, 10)


@pytest.mark.parametrize("backfill", ["none", "reserve", "any"])
@pytest.mark.parametrize("how", ["arrival", "completion"])
def test_arrival_and_completion_follow_one_rule(site: Site, backfill: str, how: str) -> None:
    """L(6,6) runs, H(8,8) waits, L(4,4) waits or overtakes: however that state was reached."""
    admin = site.admin
    with site.working():
        admin.cluster(size=(10, 10, 0), backfill=backfill)
        if how == "completion":
            admin.deploy("first", (4, 4, 0), ttl_seconds=5)
        admin.deploy("runs", (6, 6, 0), ttl_seconds=100)
        admin.deploy("head", (8, 8, 0), priority="HIGH")
        admin.deploy("small", (4, 4, 0))
        if how == "completion":
            site.pass_time(6)
            site.until(admin, "first", "done")
            decided: LiteralString = "SELECT bool_and(is_decided) FROM v_compute_cluster WHERE org_id = %s"
            eventually(lambda: site.engine.value(decided, site.org))
    states = admin.states()
    assert (states["runs"], states["head"]) == ("running", "queued")
    assert states["small"] == ("running" if backfill == "any" else "queued")


def test_a_higher_class_goes_first_and_preempts_only_where_that_is_on(site: Site) -> None:
    admin = site.admin
    with site.working():
        admin.cluster("c", preemption=False)
        admin.cluster("p", preemption=True)
        for name in ("c", "p"):
            admin.deploy(f"low {name}", (6, 6, 6), cluster_name=name)
            admin.deploy(f"high {name}", (6, 6, 6), cluster_name=name, priority="HIGH")
        assert admin.states() == {"low c": "running", "high c": "queued", "low p": "queued", "high p": "running"}
        victim = admin.seen(admin.deployments()["low p"]["id"])
        assert [step["to_status"] for step in victim["history"]][-3:] == ["running", "preempted", "queued"]
        assert admin.allocated("p") == (6, 6, 6)
        site.pass_time(31)
        site.until(admin, "high p", "done")
        site.until(admin, "low p", "running")
        site.pass_time(31)
        assert site.until(admin, "low p", "done")
    assert site.engine.value(SUM)


# What is given back ---------------------------------------------------------------------------------------------------


def test_a_completion_that_is_reported_twice_frees_once(site: Site) -> None:
    admin, engine = site.admin, site.engine
    with site.working():
        admin.cluster()
        admin.deploy("a", (6, 6, 6))
        admin.deploy("b", (3, 3, 3))
        job = engine.value("SELECT job_id FROM provision_deployment WHERE name = 'a' AND org_id = %s", site.org)
        site.pass_time(31)
        site.until(admin, "a", "done")
        site.until(admin, "b", "done")
        admin.deploy("c", (5, 5, 5))
    worker = engine.value("SELECT worker_register('late', 'host', 1, '0', '{}')")
    result = Jsonb([{"job_id": str(job), "claim_no": 1, "outcome": "completed", "result": {}}])
    assert engine.value("SELECT job_record(%s, %s)", worker, result) == job
    with refused(engine.owner, "PV422", "row is final"):
        engine.owner.execute("UPDATE provision_deployment SET status_id = status_id WHERE job_id = %s", [job])
    engine.value(
        "SELECT deployment_end(ARRAY(SELECT id FROM deployment WHERE name IN ('a', 'b') AND org_id = %s))", site.org
    )
    assert admin.allocated() == (5, 5, 5)


def test_what_a_dead_worker_had_in_hand_ends_once_whatever_it_reports_late(lone_site: Site) -> None:
    """It had claimed the jobs of both, which another takes over; their shares are freed once, the queue moves on."""
    admin, engine = lone_site.admin, lone_site.engine
    with lone_site.working():
        admin.cluster()
        admin.deploy("a", (5, 5, 5), ttl_seconds=60)
        admin.deploy("b", (5, 5, 5), ttl_seconds=60)
        admin.deploy("next", (10, 10, 10), ttl_seconds=60)
    lone_site.pass_time(61)
    dead = engine.value("SELECT worker_register('dead', 'host', 1, '0', '{}')")
    claimed = engine.rows("SELECT * FROM job_claim(%s, '{provision_deployment_run}', 10)", dead)
    assert len(claimed) == 2
    with lone_site.working():
        engine.owner.execute(
            "UPDATE worker SET heartbeat_date = heartbeat_date - interval '1 hour' WHERE id = %s", [dead]
        )
        lone_site.until(admin, "next", "running")
        assert admin.allocated() == (10, 10, 10)
    assert (
        engine.value(
            "SELECT job_record(%s, %s)",
            dead,
            Jsonb(
                [{"job_id": str(job["job_id"]), "claim_no": job["claim_no"], "outcome": "completed"} for job in claimed]
            ),
        )
        is not None
    )
    assert admin.allocated() == (10, 10, 10)
    assert admin.states() == {"a": "done", "b": "done", "next": "running"}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE compute_cluster SET allocated_cpu = allocated_cpu + 1 WHERE org_id = %s",
        "UPDATE compute_cluster SET allocated_cpu = 0, allocated_ram = 0, allocated_gpu = 0 WHERE org_id = %s",
    ],
)
def test_the_sum_is_held_by_the_database(site: Site, statement: str) -> None:
    with site.working():
        site.admin.cluster()
        site.admin.deploy("a", (6, 6, 6))
    with refused(site.engine.owner, "PV409", "what is allocated is not what runs"):
        site.engine.owner.execute(statement.encode(), [site.org])
    assert site.engine.value(SUM)


def test_more_than_there_is_cannot_be_stored(site: Site) -> None:
    with site.working():
        site.admin.cluster()
        site.admin.deploy("a", (6, 6, 6))
        site.admin.deploy("b", (6, 6, 6))
    with pytest.raises(psycopg.errors.CheckViolation, match="compute_cluster_cpu_ck"):
        site.engine.owner.execute(
            "UPDATE deployment SET state = 'starting', started_date = now() WHERE name = 'b' AND org_id = %s",
            [site.org],
        )


def test_a_share_follows_its_deployment_whoever_changes_it(site: Site) -> None:
    with site.working():
        site.admin.cluster()
        site.admin.deploy("a", (6, 6, 6))
        site.admin.deploy("b", (1, 1, 1))
    site.engine.owner.execute("UPDATE deployment SET state = 'preempted' WHERE name = 'a' AND org_id = %s", [site.org])
    assert site.admin.allocated() == (1, 1, 1)


# Stale decisions ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
def test_a_decision_about_what_has_changed_is_not_applied(lone_site: Site) -> None:
    admin, engine = lone_site.admin, lone_site.engine
    with lone_site.working():
        admin.cluster()
    admin.deploy("a")
    cluster = engine.value("SELECT id FROM compute_cluster")
    worker = engine.value("SELECT worker_register('w', 'host', 1, '0', '{}')")
    job = engine.row("SELECT * FROM job_claim(%s, '{deployment_schedule}', 1)", worker)
    snapshot = engine.value("SELECT deployment_snapshot(%s)", cluster)
    assert [one["id"] for one in snapshot["queue"]] == [1]
    admin.deploy("b")
    decision = {
        "now": snapshot["now"],
        "start": [1],
        "evict": [],
        "displaces": {},
        "expire": [],
        "reject": {},
        "reservations": {},
        "waiting": {},
    }
    commit: LiteralString = "SELECT deployment_commit(%s, %s, %s, %s, %s)"
    claim = (job["job_id"], job["claim_no"], cluster)
    given = Jsonb(decision)
    assert engine.value(commit, *claim, snapshot["generation"], given) is False
    assert admin.states() == {"a": "queued", "b": "queued"}
    current = engine.value("SELECT generation FROM compute_cluster")
    with refused(engine.owner, "PVF01", "the lease is lost"):
        engine.value(commit, job["job_id"], job["claim_no"] - 1, cluster, current, given)
    too_many = Jsonb(decision | {"start": [1, 99]})
    with refused(engine.owner, "PV409", "the decision does not fit the cluster"):
        engine.value(commit, *claim, current, too_many)
    assert admin.states() == {"a": "queued", "b": "queued"}
    assert engine.value(commit, *claim, current, given) is True
    assert admin.states() == {"a": "running", "b": "queued"}


@pytest.mark.usefixtures("impatient")
def test_a_cluster_whose_job_has_failed_is_decided_about_by_the_sweep(site: Site) -> None:
    admin, engine = site.admin, site.engine
    with site.working():
        admin.cluster()
    admin.deploy("a")
    engine.value("SELECT job_cancel(schedule_job_id) FROM compute_cluster WHERE org_id = %s", site.org)
    engine.owner.execute("SELECT clock_advance('61 s')")
    with site.working():
        site.until(admin, "a", "running")


# Waiting and ending ---------------------------------------------------------------------------------------------------


def test_dependencies_come_first_and_failures_cancel_what_waits_for_them(site: Site) -> None:
    admin = site.admin
    with site.working():
        admin.cluster()
        first = admin.deploy("first", ttl_seconds=10)["id"]
        second = admin.deploy("second", depends_on=[first], ttl_seconds=10)
        assert second["status"] == "pending"
        assert admin.seen(second["id"])["reason"] == f"waits until these are done: first ({first})"
        admin.deploy("third", depends_on=[first, second["id"]])
        site.pass_time(11)
        site.until(admin, "second", "running")
        assert admin.states()["third"] == "pending"
        admin.done("/cancel_deployment", deployment_id=second["id"])
        third = site.until(admin, "third", "cancelled")
        assert third["reason"] == f"depends on second ({second['id']}), which is cancelled"


def test_dependencies_that_cannot_be_are_refused(site: Site) -> None:
    admin, engine = site.admin, site.engine
    with site.working():
        admin.cluster()
        done = admin.deploy("a")["id"]
        admin.done("/cancel_deployment", deployment_id=done)
        site.until(admin, "a", "cancelled")
    hopeless = admin.try_deploy("b", depends_on=[done])
    assert (hopeless.status_code, hopeless.json()["errors"][0]["field"]) == (409, "depends_on")
    unknown = admin.try_deploy("b", depends_on=[done + 1])
    assert (unknown.status_code, unknown.json()["errors"][0]["field"]) == (404, "depends_on")
    with refused(engine.owner, "PV422", "depends_on: it cannot wait for itself"):
        engine.owner.execute(
            "INSERT INTO provision_deployment"
            " (id, tenant_customer_id, org_id, compute_cluster_id, name, cpu, ram, docker_path, depends_on)"
            " SELECT o.id, c.tenant_customer_id, c.org_id, c.id, 'b', 1, 1, 'nginx', ARRAY[o.id]"
            " FROM compute_cluster AS c JOIN org AS o ON o.id = c.org_id WHERE o.id = %s",
            [site.org],
        )
    assert list(admin.states()) == ["a"]


def test_time_to_wait_and_time_to_run_are_limited(site: Site) -> None:
    admin = site.admin
    with site.working():
        admin.cluster()
        admin.deploy("long", (10, 10, 10), ttl_seconds=1000)
        admin.deploy("impatient", (1, 1, 1), queue_ttl_seconds=30)
        admin.deploy("patient", (1, 1, 1), ttl_seconds=10)
        site.pass_time(31)
        assert site.until(admin, "impatient", "cancelled")["reason"] == "waited longer than queue_ttl_seconds"
        site.pass_time(970)
        site.until(admin, "patient", "running")
        assert admin.states()["long"] == "done"


def test_what_waits_is_cancelled_at_once_and_what_runs_when_it_has_ended(site: Site) -> None:
    admin = site.admin
    with site.working():
        admin.cluster()
        running = admin.deploy("a", (10, 10, 10))["id"]
        waiting = admin.deploy("b")["id"]
        said = admin.done("/cancel_deployment", deployment_id=waiting)
        assert said == {"message": "Deployment cancelled", "id": waiting, "status": "cancelled"}
        assert admin.done("/cancel_deployment", deployment_id=running)["message"] == "Deployment is being stopped"
        assert site.until(admin, "a", "cancelled")["reason"] == "cancelled by admin"
        assert admin.allocated() == (0, 0, 0)
        eventually(
            lambda: site.engine.value(
                "SELECT bool_and(finished_date IS NOT NULL) FROM provision_deployment_stop WHERE org_id = %s", site.org
            )
        )
    again = admin.post("/cancel_deployment", deployment_id=running)
    assert again.status_code == 409
    assert site.attention() == []


def test_a_cluster_made_smaller_rejects_what_it_cannot_hold_any_more(site: Site) -> None:
    admin = site.admin
    with site.working():
        cluster = admin.cluster()
        admin.deploy("runs", (4, 4, 4))
        admin.deploy("large", (8, 8, 8))
        busy = admin.post("/update_cluster", cluster_id=cluster, total_cpu=3)
        assert (busy.status_code, busy.json()["errors"][0]["field"]) == (409, "total_cpu")
        admin.done("/update_cluster", cluster_id=cluster, total_cpu=7)
        assert site.until(admin, "large", "rejected")["reason"] == "its cluster was made too small for it"
        (one,) = admin.call("GET", "/clusters").json()
        assert (one["total_cpu"], one["total_ram"]) == (7, 10)
        assert one["updated_at"] > one["created_at"]
        assert admin.try_deploy("more", (8, 1, 1)).json()["errors"] == [
            {"field": "cpu", "reason": "more than the cluster has (8 of 7)"}
        ]


def test_a_cluster_goes_when_nothing_waits_or_runs_there(site: Site) -> None:
    admin = site.admin
    with site.working():
        cluster = admin.cluster()
        admin.deploy("a")
        assert admin.post("/delete_cluster", cluster_id=cluster).status_code == 409
        site.pass_time(31)
        site.until(admin, "a", "done")
        assert admin.done("/delete_cluster", cluster_id=cluster) == {"message": "Cluster deleted"}
        eventually(lambda: admin.call("GET", "/clusters").json() == [])
        assert admin.cluster() != cluster


@pytest.mark.usefixtures("impatient")
def test_without_a_worker_deployments_wait_and_start_when_one_comes(site: Site) -> None:
    admin = site.admin
    cluster = admin.cluster()
    made = admin.deploy("a")
    assert made["status"] == "queued"
    assert admin.seen(made["id"])["reason"] == "its cluster is creating"
    with site.working():
        site.until(admin, "a", "running")
        assert admin.done("/trigger_deployment", cluster_id=cluster) == {"message": "Queue processed"}


# The root surface -----------------------------------------------------------------------------------------------------


def test_the_first_user_is_admin_and_others_are_viewers(lone_site: Site) -> None:
    viewer = lone_site.member("viewer")
    assert (
        lone_site.client.post("/register", json={"username": "Viewer", "password": "correct horse"}).status_code == 409
    )
    assert viewer.call("GET", "/clusters").json() == []
    assert [(one["username"], one["role"]) for one in viewer.call("GET", "/members").json()] == [
        ("admin", "ADMIN"),
        ("viewer", "VIEWER"),
    ]
    beyond: dict[str, Any] = {
        "/create_cluster": {"name": "x", "total_cpu": 1, "total_ram": 1, "total_gpu": 1},
        "/update_role": {"user_id": 1, "role": "VIEWER"},
        "/create_organization": {"name": "Mine"},
    }
    for path, body in beyond.items():
        answer = viewer.post(path, **body)
        assert answer.status_code == 403, answer.text
        assert set(answer.json()) >= {"message", "errors"}


def test_roles_are_set_together_with_the_memberships(site: Site) -> None:
    viewer = site.member("jane")
    number = site.number(viewer)
    said = site.admin.done("/update_role", user_id=number, role="DEVELOPER")
    organization = said["user"].pop("organization_id")
    assert said == {
        "message": "User role updated",
        "user": {"id": number, "username": viewer.username, "role": "DEVELOPER"},
    }
    assert organization == site.engine.value("SELECT number FROM org WHERE id = %s", site.org)
    with site.working():
        viewer.cluster("by jane")
    (cluster,) = viewer.call("GET", "/clusters").json()
    assert set(cluster) == {
        "id",
        "name",
        "total_cpu",
        "total_ram",
        "total_gpu",
        "allocated_cpu",
        "allocated_ram",
        "allocated_gpu",
        "created_at",
        "updated_at",
        "created_by",
        "organization_id",
    }
    assert (cluster["created_by"], cluster["organization_id"]) == (number, organization)
    site.admin.done("/update_role", user_id=number, role="viewer")
    assert viewer.post("/create_cluster", name="x", total_cpu=1, total_ram=1, total_gpu=0).status_code == 403
    last = site.admin.post("/update_role", user_id=site.number(site.admin), role="VIEWER")
    assert (last.status_code, last.json()["errors"][0]["field"]) == (409, "role")
    assert site.admin.post("/update_role", user_id=10**6, role="VIEWER").status_code == 404
    assert site.admin.post("/update_role", user_id=number, role="KING").json()["errors"][0]["field"] == "role"


def test_logging_out_ends_the_token_and_leaving_the_membership(site: Site) -> None:
    jane = site.member("jane", "DEVELOPER")
    wrong = site.client.post("/login", json={"username": jane.username, "password": "wrong horse"})
    assert (wrong.status_code, set(wrong.json())) == (401, {"message", "errors", "hint"})
    assert jane.done("/leave_organization") == {"message": "Left organization"}
    assert jane.call("GET", "/deployments").status_code == 403
    assert jane.post("/join_organization", invite_code="NOSUCH").status_code == 404
    jane.done("/join_organization", invite_code=site.code)
    assert jane.post("/join_organization", invite_code=site.code).status_code == 409
    assert jane.done("/logout") == {"message": "Logged out"}
    assert jane.call("GET", "/clusters").status_code == 401
    assert site.client.get("/clusters").status_code == 401


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests do not wait for a decision that nobody makes yet."""
    monkeypatch.setattr(surface, "WAIT_SECONDS", 0.1)


def foreign(site: Site) -> User:
    """A developer of another organization."""
    code = site.admin.done("/create_organization", name=f"Not {site.organization}")["invite_code"]
    user = site.user("foreign")
    site.admin.done("/update_role", user_id=site.number(user), role="DEVELOPER")
    user.done("/join_organization", invite_code=code)
    return user


def test_what_is_anothers_does_not_exist(site: Site) -> None:
    jane = site.member("jane", "DEVELOPER")
    with site.working():
        cluster = jane.cluster()
        made = jane.deploy("a")["id"]
    other = foreign(site)
    assert other.call("GET", "/clusters").json() == other.call("GET", "/deployments").json() == []
    assert other.call("GET", f"/deployments/{made}").status_code == 404
    for path, body in {
        "/trigger_deployment": {"cluster_id": cluster},
        "/delete_cluster": {"cluster_id": cluster},
        "/update_cluster": {"cluster_id": cluster, "total_cpu": 1},
        "/cancel_deployment": {"deployment_id": made},
    }.items():
        answers = [
            other.post(path, **body),
            other.post(path, **(body | {key: 10**12 for key in body if key.endswith("_id")})),
        ]
        assert [answer.status_code for answer in answers] == [404, 404], answers[0].text
        assert answers[0].json()["errors"] == [
            {"field": next(iter(body)), "reason": answers[0].json()["errors"][0]["reason"]}
        ]
    assert other.try_deploy("x").json()["errors"] == [{"field": "cluster_name", "reason": "cluster not found (c)"}]
    with site.working():
        other.cluster("theirs")
    answer = other.try_deploy("x", cluster_name="theirs", depends_on=[made])
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (404, "depends_on")


@pytest.mark.parametrize("amount", [-1, 1.5, "1", True, None, 2**63, 2**31, [1]])
@pytest.mark.parametrize("field", ["cpu", "gpu"])
def test_amounts_that_are_none_are_refused_with_their_field(strict_site: Site, amount: Any, field: str) -> None:
    body = {"name": "c", "total_cpu": 1, "total_ram": 1, "total_gpu": 1} | {f"total_{field}": amount}
    wrong = strict_site.admin.post("/create_cluster", **body)
    assert (wrong.status_code, [error["field"] for error in wrong.json()["errors"]]) == (400, [f"total_{field}"])
    wrong = strict_site.admin.try_deploy("a", **{"demand": (1, 1, 1), field: amount})
    assert (wrong.status_code, [error["field"] for error in wrong.json()["errors"]]) == (400, [field])
    assert strict_site.engine.value("SELECT count(*) FROM compute_cluster") == 1


def test_nothing_at_all_and_too_much_are_refused_with_their_field(site: Site) -> None:
    admin = site.admin
    zero = admin.post("/create_cluster", name="c", total_cpu=0, total_ram=0, total_gpu=0)
    assert (zero.status_code, zero.json()["errors"][0]["field"]) == (400, "total_cpu")
    with site.working():
        admin.cluster(size=(8, 64, 0))
    zero = admin.try_deploy("a", (0, 0, 0))
    assert (zero.status_code, zero.json()["errors"][0]["field"]) == (400, "cpu")
    much = admin.try_deploy("a", (1, 1, 1))
    assert (much.status_code, much.json()["errors"]) == (
        400,
        [{"field": "gpu", "reason": "more than the cluster has (1 of 0)"}],
    )
    assert admin.deployments() == {}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("priority", "URGENT"),
        ("priority", 7),
        ("priority", True),
        ("docker_path", "Not An Image"),
        ("docker_path", "http://example.net/Dockerfile"),
        ("ttl_seconds", 0),
        ("name", ""),
        ("name", " "),
        ("depends_on", [0]),
        ("depends_on", 3),
        ("colour", "red"),
    ],
)
def test_other_wrong_values_are_refused_with_their_field(strict_site: Site, field: str, value: Any) -> None:
    wrong = strict_site.admin.try_deploy(**{"name": "a", field: value})
    assert (wrong.status_code, [error["field"] for error in wrong.json()["errors"]]) == (400, [field]), wrong.text


@pytest.mark.parametrize("body", [b"no json", b"", b"[1]", b'{"name": "a"', b'{"name": 1, "name": 2}'])
@pytest.mark.parametrize("kind", ["application/json", "text/plain"])
def test_a_body_that_is_no_json_object_is_refused(strict_site: Site, body: bytes, kind: str) -> None:
    answer = strict_site.admin.call("POST", "/create_deployment", content=body, headers={"Content-Type": kind})
    assert answer.status_code == 400
    assert set(answer.json()) >= {"message", "errors"}


def test_every_refusal_at_the_root_has_one_shape(database: Database) -> None:
    """Also of what no handler has seen: a wrong method, a body too large, too many requests, a path of no form."""
    limits = {"rate_per_caller": 0, "rate_per_address": 0, "body_limit_bytes": 100}
    with TestClient(make_app(settings_for(database.url, **limits))) as client:
        method, size = client.delete("/clusters"), client.post("/login", content=b"x" * 101)
        paths = [client.get("/deployments/one"), client.get("/members/1")]
    with TestClient(make_app(settings_for(database.url, rate_per_address=0.01, rate_burst_seconds=100))) as client:
        client.get("/clusters")
        often = client.get("/clusters")
    answers = [method, size, *paths, often]
    assert [answer.status_code for answer in answers] == [405, 413, 404, 404, 429]
    for answer in answers:
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.json().keys() - {"hint"} == {"message", "errors"}, answer.text
    assert (method.headers["Allow"], int(often.headers["Retry-After"]) > 0) == ("GET, HEAD, OPTIONS", True)
    assert "DELETE" in method.json()["message"]


def test_names_are_unique_in_an_organization(site: Site) -> None:
    admin = site.admin
    with site.working():
        admin.cluster()
        twice = admin.post("/create_cluster", name="C", total_cpu=1, total_ram=1, total_gpu=1)
        assert (twice.status_code, twice.json()["errors"][0]["field"]) == (409, "name")
        admin.deploy("a", ttl_seconds=5)
        assert admin.try_deploy("a").json()["errors"][0]["field"] == "name"
        site.pass_time(6)
        site.until(admin, "a", "done")
        admin.deploy("a")
    other = admin.post("/create_organization", name=site.organization.lower())
    assert (other.status_code, other.json()["errors"][0]["field"]) == (409, "name")


def ordered(site: Site, *items: tuple[str, dict[str, Any]]) -> UUID:
    """An order of the organization's: its id."""
    documents = Jsonb([{"operation": operation, "data": data} for operation, data in items])
    query: LiteralString = (
        "SELECT order_submit(tenant_customer_id, %s, NULL, jsonb_build_object('org_id', id)) FROM org WHERE id = %s"
    )
    order: UUID = site.engine.value(query, documents, site.org)
    return order


def status_of(site: Site, order: UUID) -> str:
    """How far an order is."""
    return str(site.engine.value("SELECT status FROM v_order WHERE id = %s", order))


def explanation(site: Site, order: UUID) -> str:
    """What operators are told of an order."""
    return "\n".join(row["line"] for row in site.engine.rows("SELECT order_explain(%s) AS line", order))


def ended(site: Site, order: UUID) -> str:
    """How an order has ended."""
    eventually(lambda: site.engine.value("SELECT finished_date FROM v_order WHERE id = %s", order), "the order")
    return status_of(site, order)


ONE: dict[str, Any] = {"cpu": 1, "ram": 1, "docker_path": "nginx", "cluster": "c"}


def test_clusters_and_deployments_can_be_ordered(site: Site) -> None:
    admin = site.admin
    with site.working():
        cluster = {"name": "c", "total_cpu": 4, "total_ram": 4, "total_gpu": 0, "max_wait_seconds": 60}
        assert ended(site, ordered(site, ("compute_cluster.create", cluster))) == "completed"
        changes = {"total_cpu": 6, "backfill": "any", "max_wait_seconds": 0}
        assert ended(site, ordered(site, ("compute_cluster.update", {"cluster": "c"} | changes))) == "completed"
        assert site.engine.row(
            "SELECT total_cpu, total_ram, backfill, max_wait_seconds FROM v_compute_cluster WHERE org_id = %s", site.org
        ) == {"total_cpu": 6, "total_ram": 4, "backfill": "any", "max_wait_seconds": None}
        first = ordered(site, ("deployment.create", ONE | {"name": "a", "ttl_seconds": 10, "priority": "HIGH"}))
        number = site.until(admin, "a", "running")["id"]
        second = ordered(site, ("deployment.create", ONE | {"name": "b", "depends_on": [number]}))
        assert status_of(site, first) == "processing"
        site.pass_time(11)
        assert ended(site, first) == "completed"
        number = site.until(admin, "b", "running")["id"]
        stop = ordered(site, ("deployment.stop", {"deployment": number, "reason": "enough"}))
        assert (ended(site, stop), ended(site, second)) == ("completed", "cancelled")
        assert (admin.seen(number)["status"], admin.seen(number)["reason"]) == ("cancelled", "enough")
        assert ended(site, ordered(site, ("compute_cluster.delete", {"cluster": "c"}))) == "completed"
    assert site.attention() == []


@pytest.mark.parametrize(
    ("operation", "data", "code", "message"),
    [
        ("deployment.create", ONE | {"name": "d", "cluster": "x"}, "PV404", "cluster: cluster not found"),
        ("deployment.create", ONE | {"name": "d", "cpu": 1.5}, "PV422", "cpu: must be a whole number"),
        ("deployment.create", ONE | {"name": "d", "ram": 2**63}, "PV422", "ram: must be a whole number"),
        ("deployment.create", ONE | {"name": "d", "gpu": -1}, "PV422", "gpu: must be a whole number"),
        ("deployment.create", ONE | {"name": "d", "cpu": "1"}, "PV400", "cpu must be number"),
        ("deployment.create", ONE | {"name": "d", "cpu": 0, "ram": 0}, "PV422", "cpu: not everything can be 0"),
        ("deployment.create", ONE | {"name": "d", "depends_on": [10**9]}, "PV404", "depends_on: deployment not found"),
        ("deployment.stop", {"deployment": 10**9}, "PV404", "deployment: deployment not found"),
        ("compute_cluster.update", {"cluster": "c", "total_gpu": 0.5}, "PV422", "total_gpu: must be a whole number"),
        ("compute_cluster.update", {"cluster": "x"}, "PV404", "cluster: cluster not found"),
        ("compute_cluster.update", {"cluster": "c", "objective": "x"}, "PV422", "objective: is not known"),
    ],
)
def test_orders_of_what_cannot_be_are_refused_with_their_field(
    strict_site: Site, operation: str, data: dict[str, Any], code: str, message: str
) -> None:
    with refused(strict_site.engine.owner, code, message):
        ordered(strict_site, (operation, data))


def test_a_cancelled_order_takes_back_what_waits_and_leaves_what_runs(site: Site) -> None:
    admin = site.admin
    with site.working():
        admin.cluster(size=(4, 4, 0))
        long = ONE | {"cpu": 4, "ram": 4}
        order = ordered(
            site,
            ("deployment.create", long | {"name": "runs", "priority": "HIGH", "ttl_seconds": 60}),
            ("deployment.create", long | {"name": "waits"}),
        )
        number = site.until(admin, "runs", "running")["id"]
        other = ordered(site, ("deployment.create", ONE | {"name": "pending", "depends_on": [number]}))
        explained = [explanation(site, order), explanation(site, other)]
        assert "is next: needs 4 cpu (0 free)" in explained[0]
        assert f"waits until these are done: runs ({number})" in explained[1]
        assert site.engine.value("SELECT order_cancel(%s, 'ordered twice')", other) == "cancelled"
        assert site.engine.value("SELECT order_cancel(%s, 'ordered twice')", order) == "processing"
        assert admin.states() == {"runs": "running", "waits": "cancelled", "pending": "cancelled"}
        assert admin.deployments()["waits"]["reason"] == "ordered twice"
        assert admin.allocated() == (4, 4, 0)
        site.pass_time(61)
        assert ended(site, order) == "partially_completed"
        assert admin.allocated() == (0, 0, 0)
    assert site.attention() == []


def test_an_order_that_is_cancelled_while_its_deployment_is_started_takes_it_back(site: Site) -> None:
    """The scheduler has the cluster and goes on to the row: a cancellation waits for it, and does not hold it up."""
    with site.working():
        site.admin.cluster()
    engine = site.engine
    order = ordered(site, ("deployment.create", ONE | {"name": "a"}))
    scheduler: LiteralString = "SELECT deployment_start(c, ARRAY[%s::bigint], engine_now()) FROM compute_cluster AS c"
    with ThreadPoolExecutor(1) as threads, psycopg.connect(engine.database.url) as starting:
        starting.execute("SELECT FROM compute_cluster WHERE org_id = %s FOR NO KEY UPDATE", [site.org])
        with psycopg.connect(engine.database.url) as cancelling:
            answer = threads.submit(cancelling.execute, "SELECT order_cancel(%s, 'no')", [order])
            eventually(lambda: is_blocked(engine, cancelling.info.backend_pid))
            number = site.admin.deployments()["a"]["id"]
            starting.execute(scheduler + " WHERE c.org_id = %s", [number, site.org])
            starting.commit()
            assert answer.result(10).fetchone() == ("cancelled",)
    assert site.admin.states() == {"a": "cancelled"}
    assert site.admin.allocated() == (0, 0, 0)


def is_blocked(engine: Engine, pid: int) -> bool:
    """Whether a session waits for another."""
    return bool(engine.value("SELECT cardinality(pg_blocking_pids(%s)) > 0", pid))


# Under /v1 ------------------------------------------------------------------------------------------------------------


def test_the_same_is_there_under_v1(site: Site) -> None:
    jane = site.member("jane", "DEVELOPER")
    org = {"Provision-Org": site.slug}
    with site.working():
        made = jane.call(
            "POST",
            "/v1/compute-clusters",
            json={"name": "c", "total_cpu": 4, "total_ram": 4, "total_gpu": 0, "max_wait_seconds": 60},
            headers=org,
        )
        assert made.status_code == 201, made.text
        cluster = made.json()["id"]
        path = f"/v1/compute-clusters/{cluster}"
        eventually(lambda: jane.call("GET", path, headers=org).json()["state"] == "active")
        body = {
            "name": "a",
            "cpu": 3,
            "ram": 3,
            "gpu": 0,
            "priority": "HIGH",
            "docker_path": "nginx",
            "cluster": cluster,
        }
        first = jane.call("POST", "/v1/deployments", json=body, headers=org)
        assert first.status_code == 201, first.text
        one = f"/v1/deployments/{first.json()['id']}"
        eventually(lambda: jane.call("GET", one, headers=org).json()["state"] == "running")
        second = jane.call(
            "POST", "/v1/deployments", json=body | {"name": "b", "depends_on": [first.json()["id"]]}, headers=org
        )
        assert second.status_code == 201, second.text
        assert (second.json()["state"], second.json()["depends_on"]) == ("pending", [first.json()["id"]])
        known = jane.call("GET", path, headers=org)
        changed = jane.call(
            "PATCH",
            path,
            json={"total_ram": 5, "max_wait_seconds": None},
            headers=org | {"If-Match": known.headers["ETag"]},
        )
        assert changed.status_code == 200, changed.text
        eventually(lambda: jane.call("GET", path, headers=org).json()["total_ram"] == 5)
        assert jane.call("GET", path, headers=org).json()["max_wait_seconds"] is None
        assert jane.call("PATCH", path, json={}, headers=org | {"If-Match": known.headers["ETag"]}).status_code == 412
        assert jane.call("POST", f"{one}/cancel", headers=org).status_code == 200
        eventually(
            lambda: (
                jane.call("GET", f"/v1/deployments/{second.json()['id']}", headers=org).json()["state"] == "cancelled"
            )
        )
        history = jane.call("GET", f"{one}/history", headers=org).json()["history"]
        assert [step["to_state"] for step in history] == ["queued", "starting", "running", "cancelled"]
        assert jane.call("DELETE", path, headers=org | {"If-Match": "*"}).status_code == 204
    assert jane.call("GET", "/v1/deployments?state=cancelled", headers=org).json()["deployments"][0]["name"] == "b"
    nobody = foreign(site)
    assert nobody.call("GET", one, headers={}).status_code == 404
