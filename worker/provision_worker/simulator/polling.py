"""The message queues of registrars (RFC 5730 section 2.9.2.3)."""

from __future__ import annotations

import copy

from provision_worker.providers.epp.xml import Element, node, stamp

from .records import Request
from .results import Answer, Refusal
from .store import Store


def poll(store: Store, request: Request) -> Answer:
    """`req` shows the oldest message, `ack` takes the named one away."""
    if request.op == "req":
        return _first(store, request)
    if request.op == "ack":
        return _acknowledge(store, request)
    raise Refusal(2001, f"poll has op req or ack, not {request.op!r}")


def _first(store: Store, request: Request) -> Answer:
    queue = store.queues[request.registrar]
    if not queue:
        return Answer(1300)
    message = queue[0]
    described = node(
        "epp:msgQ",
        node("epp:qDate", stamp(message.queued_at)),
        node("epp:msg", message.text),
        count=str(len(queue)),
        id=message.id,
    )
    return Answer(1301, data=copy.deepcopy(message.data) if message.data is not None else None, queue=described)


def _acknowledge(store: Store, request: Request) -> Answer:
    queue = store.queues[request.registrar]
    message_id = request.payload.get("msgID")
    if message_id is None:
        raise Refusal(2003, "msgID is required")
    found = next((message for message in queue if message.id == message_id), None)
    if found is None:
        raise Refusal(2303, f"there is no message {message_id}")
    queue.remove(found)
    return Answer(queue=node("epp:msgQ", count=str(len(queue)), id=message_id))


def waiting(store: Store, registrar: str) -> Element | None:
    """The `msgQ` that any other answer carries while messages wait."""
    queue = store.queues.get(registrar)
    return node("epp:msgQ", count=str(len(queue)), id=queue[0].id) if queue else None
