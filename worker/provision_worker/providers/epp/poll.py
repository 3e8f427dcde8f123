"""The poll queue (RFC 5730 section 2.9.2.3): what happened at the registry without our asking, oldest first."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from datetime import datetime

from . import objects, xml
from .domain import DomainInfo, read_info_data
from .objects import Transfer
from .protocol import Command, Verb
from .xml import Element, node

KIND = ""


@dataclass(frozen=True, slots=True)
class PendingAction:
    """The end of an action that was answered with 1001: `done` or not; `cl_trid` and `sv_trid` are that command's."""

    object: str
    name: str
    done: bool
    cl_trid: str | None
    sv_trid: str | None
    decided_at: datetime | None


@dataclass(frozen=True, slots=True)
class Message:
    """One message; acknowledge `id` once it is stored. `count` includes it; `xml` is all of it, secrets masked."""

    id: str
    count: int
    queued_at: datetime | None
    text: str
    data: PendingAction | Transfer | DomainInfo | None
    xml: str


def request() -> Command[Message | None]:
    """The first message of the queue, or None if it is empty (1300)."""
    return Command(Verb.POLL, KIND, "request", node("epp:poll", op="req"), _read_message)


def acknowledge(message_id: str) -> Command[None]:
    """Takes the message from the queue."""
    body = node("epp:poll", op="ack", msgID=message_id)
    return Command(Verb.POLL, KIND, f"acknowledge {message_id}", body, objects.read_nothing)


def _read_message(response: Element) -> Message | None:
    queue = xml.find(response, "epp:msgQ")
    if queue is None or xml.need(response, "epp:result").get("code") == "1300":
        return None
    count = queue.get("count") or ""
    return Message(
        id=queue.get("id") or "",
        count=int(count) if count.isdigit() else 1,
        queued_at=xml.moment(queue, "epp:qDate"),
        text=_text(queue),
        data=_data(response),
        xml=xml.redact_element(copy.deepcopy(response)),
    )


def _text(queue: Element) -> str:
    message = xml.find(queue, "epp:msg")
    return "" if message is None else " ".join("".join(map(str, message.itertext())).split())


def _data(response: Element) -> PendingAction | Transfer | DomainInfo | None:
    for kind in ("domain", "contact", "host"):
        pending = xml.find(response, f"epp:resData/{kind}:panData")
        if pending is not None:
            return _pending(pending, kind)
        if xml.find(response, f"epp:resData/{kind}:trnData") is not None:
            return objects.read_transfer(kind, "")(response)
    info = xml.find(response, "epp:resData/domain:infData")
    return None if info is None else read_info_data(info)


def _pending(data: Element, kind: str) -> PendingAction:
    name = xml.need(data, f"{kind}:{'id' if kind == 'contact' else 'name'}")
    return PendingAction(
        object=kind,
        name=xml.text_of(name) or "",
        done=name.get("paResult") in ("1", "true"),
        cl_trid=xml.text(data, f"{kind}:paTRID/epp:clTRID"),
        sv_trid=xml.text(data, f"{kind}:paTRID/epp:svTRID"),
        decided_at=xml.moment(data, f"{kind}:paDate"),
    )
