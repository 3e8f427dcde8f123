"""The message queues of registries (RFC 5730 section 2.9.2.3), read as a recurring job."""

from contextlib import suppress
from typing import Any
from uuid import uuid4

from psycopg.types.json import Jsonb

from provision_worker.effects import fenced
from provision_worker.job import Json, Outcome, again, completed
from provision_worker.providers import epp
from provision_worker.providers.epp.domain import DomainInfo
from provision_worker.providers.epp.poll import Message, PendingAction
from provision_worker.task import Task

from . import registry

PAGE = 50
"""Messages per claim, so that a long queue does not hold a worker."""


def run(task: Task) -> Outcome:
    """Stores each message and acknowledges it then: one that is read twice is stored once."""
    count = int(task.state.get("messages", 0))
    for _ in range(PAGE):
        message = registry.send(task.site, epp.poll.request(), uuid4()).data
        if message is None:
            return completed({"messages": count})
        _store(task, message)
        _acknowledge(task, message)
        count += 1
    return again(0, {"messages": count})


def _store(task: Task, message: Message) -> None:
    kind, data = _taken_apart(message.data)
    document = {
        "message_id": message.id,
        "queued_date": message.queued_at and message.queued_at.isoformat(),
        "text": message.text,
        "kind": kind,
        "data": data,
        "xml": message.xml,
    }
    with fenced():
        task.resources.execute(
            "registry", "take", job=task.job.job_id, claim_no=task.job.claim_no, message=Jsonb(document)
        )


def _acknowledge(task: Task, message: Message) -> None:
    # If it is not there, somebody else has taken it from the queue; it is stored.
    with suppress(epp.EppObjectNotFound):
        registry.send(task.site, epp.poll.acknowledge(message.id), uuid4())


def _taken_apart(data: PendingAction | epp.Transfer | DomainInfo | None) -> tuple[str, Json]:
    """What a message is about, and what it says to programs."""
    if isinstance(data, PendingAction):
        fields: dict[str, Any] = {"object": data.object, "name": data.name.lower(), "is_done": data.done}
        return "pending_action", fields | {"cl_trid": data.cl_trid, "sv_trid": data.sv_trid}
    if isinstance(data, epp.Transfer) and data.object == "domain":
        fields = {
            "name": data.name.lower(),
            "status": data.status,
            "requested_by": data.requested_by,
            "acted_by": data.acted_by,
        }
        return "transfer", fields | {"acted_at": data.acted_at and data.acted_at.isoformat()}
    if isinstance(data, DomainInfo):
        return "domain", {"name": data.name.lower(), "expires_at": data.expires_at and data.expires_at.isoformat()}
    return "other", {}
