"""Sends a webhook its events, in order, one at a time, each until it is taken or becomes a dead letter.

What was taken is noted at once; a crash in between sends the event again. The job lives as long as the webhook is
active: it looks again when it is woken, because there are events, or when an event is to be sent once more.
"""

import threading
import time
from typing import Any

from psycopg.types.json import Jsonb

from provision_worker.effects import fenced
from provision_worker.job import Outcome, again, completed
from provision_worker.providers import webhook
from provision_worker.task import Task

IDLE_SECONDS = 60.0
# Others want their turn.
TURN_SECONDS = 20.0
# Servers of customers may be slow: most of a worker's threads are kept for what it is there for.
SEATS = threading.BoundedSemaphore(4)
BUSY_SECONDS = 1.0


def deliver(task: Task) -> Outcome:
    """What waits for the webhook of the job, as long as its turn lasts."""
    if not SEATS.acquire(blocking=False):
        return again(BUSY_SECONDS)
    try:
        return _send_all(task)
    finally:
        SEATS.release()


def _send_all(task: Task) -> Outcome:
    until = time.monotonic() + TURN_SECONDS
    while page := task.resources.rows("event", "take", webhook=task.job.data["webhook"]):
        for entry in page:
            if time.monotonic() >= until:
                return again(0)
            outcome = _send(task, entry)
            if outcome is not None:
                return outcome
    return completed()


def _send(task: Task, entry: dict[str, Any]) -> Outcome | None:
    """Sends one event; None if the next may follow."""
    if entry["id"] is None:
        return again(IDLE_SECONDS)
    if entry["event"] is not None:
        try:
            webhook.post(entry["url"], entry["secrets"], entry["event"], may_be_private=entry["may_be_private"])
        except webhook.RefusedError as error:
            row = _note(task, "failed", entry, event=Jsonb(entry["event"]), reason=str(error))
            seconds = max(float(row["seconds"]), error.after_seconds if row["seconds"] else 0.0)
            return again(seconds, message=str(error)) if seconds else None
    row = _note(task, "delivered", entry, is_event=entry["event"] is not None)
    return None if row["go_on"] else completed()


def _note(task: Task, query: str, entry: dict[str, Any], **values: Any) -> dict[str, Any]:
    known = {"webhook": task.job.data["webhook"], "id": entry["id"], "dead_letter": entry["dead_letter"]}
    claim = {"job": task.job.job_id, "claim_no": task.job.claim_no}
    with fenced():
        row = task.resources.row("event", query, **claim, **known, **values)
    return row or {}
