"""EPP itself (RFC 5730), without any object: greeting, commands, results, and what a result code means for a job.

A `Command` is a pure value that the modules `contact`, `host`, `domain` and `poll` make; a session sends it and hands
back a `Result` or raises one of `errors`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeVar

from . import errors, xml
from .xml import Element, node

T = TypeVar("T")

OBJECTS = tuple(xml.NS[prefix] for prefix in ("contact", "host", "domain"))
EXTENSIONS = tuple(xml.NS[prefix] for prefix in ("rgp", "secDNS", "fee"))
"""The extensions we can speak: RFC 3915 (grace periods), RFC 5910 (DNSSEC) and RFC 8748 (prices)."""


class Verb(StrEnum):
    """The commands of RFC 5730; the value is the element's name."""

    LOGIN = "login"
    LOGOUT = "logout"
    CHECK = "check"
    INFO = "info"
    CREATE = "create"
    DELETE = "delete"
    UPDATE = "update"
    RENEW = "renew"
    TRANSFER = "transfer"
    POLL = "poll"


class Outcome(StrEnum):
    """What a result code means for the job that sent the command."""

    DONE = "done"
    PENDING = "pending"
    REFUSED = "refused"
    RETRY = "retry"


def classify(code: int, verb: Verb | None = None) -> Outcome:
    """The policy for result codes (RFC 5730 section 3), all of it.

    1001 is accepted and settled later by a poll message. Deleting what is not there (2303) is what was wanted. 24xx and
    25xx are the registry's own trouble; every other 2xxx is its decision and final. ValueError for what is no EPP code.
    """
    if not 1000 <= code < 2600:
        raise ValueError(f"{code} is not an EPP result code")
    if code == 1001:
        return Outcome.PENDING
    if code < 2000 or (code == 2303 and verb is Verb.DELETE):
        return Outcome.DONE
    return Outcome.REFUSED if code < 2400 else Outcome.RETRY


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a server says of itself on connecting and after `hello` (RFC 5730 section 2.4)."""

    server: str
    server_time: datetime | None
    versions: tuple[str, ...]
    languages: tuple[str, ...]
    objects: tuple[str, ...]
    extensions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Command(Generic[T]):
    """One EPP command, ready to be sent any number of times under different client transaction ids.

    `name` is the object it is about, for logs; `body` the element inside `command`; `needs` the URIs of the extensions
    without which it must not be sent; `parse` reads its answer from the `response` element.
    """

    verb: Verb
    object: str
    name: str
    body: Element = field(repr=False)
    parse: Callable[[Element], T] = field(repr=False)
    extensions: tuple[Element, ...] = field(default=(), repr=False)
    needs: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return " ".join(filter(None, (self.verb, self.object, self.name)))


@dataclass(frozen=True, slots=True)
class Queue:
    """The poll queue as an answer mentions it: how many messages wait, and the id of the first."""

    count: int
    first: str


@dataclass(frozen=True, slots=True)
class Result(Generic[T]):
    """A registry's answer: `data` is what the command's `parse` made of it, `sv_trid` the registry's own reference."""

    code: int
    outcome: Outcome
    message: str
    reasons: tuple[str, ...]
    cl_trid: str | None
    sv_trid: str | None
    queue: Queue | None
    data: T

    @property
    def text(self) -> str:
        """Code, message and reasons in one line, for people."""
        return f"{self.code} {self.message}" + (f" ({'; '.join(self.reasons)})" if self.reasons else "")


# Frames we send


def login_frame(registrar: str, password: str, new_password: str | None, greeting: Greeting, cl_trid: str) -> Element:
    """A login that asks for those of our objects and extensions that the greeting offers, in our order."""
    offered = [node("epp:extURI", uri) for uri in EXTENSIONS if uri in greeting.extensions]
    login = node(
        "epp:login",
        node("epp:clID", registrar),
        node("epp:pw", password),
        xml.optional("epp:newPW", new_password),
        node("epp:options", node("epp:version", "1.0"), node("epp:lang", "en")),
        node(
            "epp:svcs",
            [node("epp:objURI", uri) for uri in OBJECTS if uri in greeting.objects],
            node("epp:svcExtension", offered) if offered else None,
        ),
    )
    return command_frame(login, (), cl_trid)


def logout_frame(cl_trid: str) -> Element:
    """A logout."""
    return command_frame(node("epp:logout"), (), cl_trid)


def hello_frame() -> Element:
    """A hello: the answer is a greeting."""
    return node("epp:epp", node("epp:hello"))


def command_frame(body: Element, extensions: tuple[Element, ...], cl_trid: str) -> Element:
    """The whole message; ValueError unless `cl_trid` has 3–64 characters.

    `body` and `extensions` are copied: an element has one parent, and a command may be under way several times.
    """
    if not 3 <= len(cl_trid) <= 64:
        raise ValueError(f"a client transaction id has 3–64 characters, not {len(cl_trid)}: {cl_trid!r}")
    extra = node("epp:extension", list(map(copy.deepcopy, extensions))) if extensions else None
    return node("epp:epp", node("epp:command", copy.deepcopy(body), extra, node("epp:clTRID", cl_trid)))


# Frames we read; all of these raise XmlError for what EPP does not allow


def read_greeting(root: Element) -> Greeting:
    """The greeting in a message."""
    greeting = xml.need(root, "epp:greeting")
    menu = xml.need(greeting, "epp:svcMenu")
    return Greeting(
        server=xml.text(greeting, "epp:svID") or "",
        server_time=xml.moment(greeting, "epp:svDate"),
        versions=xml.texts(menu, "epp:version"),
        languages=xml.texts(menu, "epp:lang"),
        objects=xml.texts(menu, "epp:objURI"),
        extensions=xml.texts(menu, "epp:svcExtension/epp:extURI"),
    )


def read_data(response: Element, head: Result[None], command: Command[T]) -> Result[T]:
    """The whole result of `command`; raises what `errors` has for a code that is neither done nor pending."""
    raise_for(str(command), head)
    data = command.parse(response)
    return Result(head.code, head.outcome, head.message, head.reasons, head.cl_trid, head.sv_trid, head.queue, data)


def read_head(response: Element, verb: Verb) -> Result[None]:
    """Everything in a response but its data. Of several results (RFC 5730 section 2.6) the first gives the code."""
    results = xml.find_all(response, "epp:result")
    code = _code(xml.need(response, "epp:result"))
    return Result(
        code=code,
        outcome=classify(code, verb),
        message=xml.text(results[0], "epp:msg") or "",
        reasons=tuple(reason for result in results for reason in _reasons(result)),
        cl_trid=xml.text(response, "epp:trID/epp:clTRID"),
        sv_trid=xml.text(response, "epp:trID/epp:svTRID"),
        queue=_queue(response),
        data=None,
    )


def _code(result: Element) -> int:
    code = result.get("code") or ""
    if not (code.isascii() and code.isdigit() and 1000 <= int(code) < 2600):
        raise xml.XmlError(f"{code!r} is not an EPP result code")
    return int(code)


def _reasons(result: Element) -> list[str]:
    """What a registry says beyond the message: the reason of each `extValue`, else the value it rejects, masked."""
    details = xml.find_all(result, "epp:value") + xml.find_all(result, "epp:extValue")
    for detail in details:
        xml.redact_element(detail)
    reasons = [xml.find(detail, "epp:reason") for detail in details]
    told = [detail if reason is None else reason for detail, reason in zip(details, reasons, strict=True)]
    return [text for element in told if (text := " ".join("".join(map(str, element.itertext())).split()))]


def _queue(response: Element) -> Queue | None:
    queue = xml.find(response, "epp:msgQ")
    if queue is None:
        return None
    count = queue.get("count") or ""
    return Queue(count=int(count) if count.isdigit() else 0, first=queue.get("id") or "")


def raise_for(what: str, result: Result[None]) -> None:
    """Raises the error for a result that is neither done nor pending; `what` names the command."""
    if result.outcome is Outcome.REFUSED:
        special = {2302: errors.EppObjectExists, 2303: errors.EppObjectNotFound}
        raise special.get(result.code, errors.EppRefused)(what, result)
    if result.code == 2502:
        raise errors.EppBusy(f"the registry has no session left for {what}: {result.text}", result)
    if result.outcome is Outcome.RETRY:
        raise errors.EppUnavailable(f"the registry could not do {what}: {result.text}", result)
