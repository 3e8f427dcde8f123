"""Deployments: has the scheduler decide for a cluster, and runs what it has started until that was seen to have ended.

The scheduler is pure functions; here it is told what the database says of one moment, and its decision is committed by
one SQL function that takes it only if nothing has changed since. What a deployment is to do next is asked of its row at
every look, so that nothing depends on a message that may be lost: a start, a cancellation and the end of its time only
make the look come sooner.
"""

import math
from collections.abc import Mapping
from typing import Any

from psycopg.types.json import Jsonb

from provision_worker.effects import fenced
from provision_worker.job import Outcome, again, completed, failed
from provision_worker.scheduler import Decision, Policy, Running, State, Waiting, decide
from provision_worker.task import Task

# So often a decision may come too late before others have their turn.
TRIES = 20
# What waits again after it was preempted is woken when it starts; if that is missed, it looks by itself.
WAITING_SECONDS = 10.0
STOPPING_SECONDS = 2.0


# Deciding -------------------------------------------------------------------------------------------------------------


def schedule(task: Task) -> Outcome:
    """Decides for the cluster of the job, and again when somebody's time to wait is over."""
    cluster = task.job.data["cluster"]
    for _ in range(TRIES):
        snapshot = _row(task, "snapshot", cluster=cluster)["snapshot"]
        if snapshot is None:
            return completed()
        decision = decide(state_of(snapshot), Policy(**snapshot["policy"]))
        # What starts is taken to have started when it was decided, so that what was promised on its end can be kept.
        if _commit(task, cluster, snapshot["generation"], document_of(decision) | {"now": snapshot["now"]}):
            seconds = _row(task, "next", job=task.job.job_id, cluster=cluster)["seconds"]
            return completed() if seconds is None else again(seconds)
    return again(0)


def _commit(task: Task, cluster: str, generation: int, decision: dict[str, Any]) -> bool:
    claim = {"job": task.job.job_id, "claim_no": task.job.claim_no}
    with fenced():
        applied = _row(task, "commit", **claim, cluster=cluster, generation=generation, decision=Jsonb(decision))
    return bool(applied["is_applied"])


def state_of(snapshot: Mapping[str, Any]) -> State:
    """What `deployment_snapshot()` says, as the scheduler takes it."""
    running = (Running(**entry | {"demand": tuple(entry["demand"])}) for entry in snapshot["running"])
    queue = (
        Waiting(**entry | {"demand": tuple(entry["demand"]), "promised": _seconds(entry["promised"])})
        for entry in snapshot["queue"]
    )
    return State(tuple(snapshot["capacity"]), tuple(running), tuple(queue), snapshot["now"])


def _seconds(value: float | str | None) -> float | None:
    return None if value is None else float(value)


def document_of(decision: Decision) -> dict[str, Any]:
    """A decision as `deployment_commit()` takes it."""
    return {
        "start": list(decision.start),
        "evict": list(decision.evict),
        "displaces": {str(name): list(victims) for name, victims in decision.displaces.items()},
        "expire": list(decision.expire),
        "reject": {str(name): why.text for name, why in decision.reject.items()},
        "reservations": {str(name): _text(at) for name, at in decision.reservations.items()},
        "waiting": {str(name): {"code": why.code, "text": why.text} for name, why in decision.waiting.items()},
    }


def _text(at: float) -> str:
    """JSON has no infinity."""
    return "inf" if math.isinf(at) else repr(float(at))


def sweep(task: Task) -> Outcome:
    """Has clusters decided about that nobody decides about."""
    return completed(_row(task, "sweep"))


# Clusters -------------------------------------------------------------------------------------------------------------


def create_cluster(task: Task) -> Outcome:
    """Makes a cluster."""
    return completed()


def update_cluster(task: Task) -> Outcome:
    """Changes a cluster."""
    return completed()


def delete_cluster(task: Task) -> Outcome:
    """Deletes a cluster."""
    return completed()


# Running --------------------------------------------------------------------------------------------------------------


def run(task: Task) -> Outcome:
    """Looks at a deployment that was started: whether it has ended, and if not, when to look again."""
    look = _row(task, "look", id=task.job.data["deployment"])
    if look["is_over"]:
        return failed(look["reason"] or "it has ended")
    return _simulate(look)


def _simulate(look: dict[str, Any]) -> Outcome:
    if look["stop_kind"] == "cancel":
        return failed(look["reason"])
    if look["state"] == "queued":
        return again(WAITING_SECONDS, message="was preempted and waits")
    if look["seconds_left"] > 0:
        return again(look["seconds_left"])
    return completed({"exit_code": 0})


def stop(task: Task) -> Outcome:
    """Waits until a cancelled deployment has ended; its own job sees to that."""
    look = _row(task, "look", id=task.job.data["deployment"])
    return completed() if look["is_over"] else again(STOPPING_SECONDS, message="waits until it was seen to have ended")


def _row(task: Task, query: str, **parameters: Any) -> dict[str, Any]:
    row = task.resources.row("deployment", query, **parameters)
    assert row is not None
    return row
