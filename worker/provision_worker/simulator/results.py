"""The registry's answers: result codes with their texts (RFC 5730 section 3), refusals, and what a handler returns."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

from provision_worker.providers.epp.xml import Element, node

MESSAGES = {
    1000: "Command completed successfully",
    1001: "Command completed successfully; action pending",
    1300: "Command completed successfully; no messages",
    1301: "Command completed successfully; ack to dequeue",
    1500: "Command completed successfully; ending session",
    2000: "Unknown command",
    2001: "Command syntax error",
    2002: "Command use error",
    2003: "Required parameter missing",
    2004: "Parameter value range error",
    2005: "Parameter value syntax error",
    2100: "Unimplemented protocol version",
    2101: "Unimplemented command",
    2102: "Unimplemented option",
    2103: "Unimplemented extension",
    2104: "Billing failure",
    2105: "Object is not eligible for renewal",
    2106: "Object is not eligible for transfer",
    2200: "Authentication error",
    2201: "Authorization error",
    2202: "Invalid authorization information",
    2300: "Object pending transfer",
    2301: "Object not pending transfer",
    2302: "Object exists",
    2303: "Object does not exist",
    2304: "Object status prohibits operation",
    2305: "Object association prohibits operation",
    2306: "Parameter value policy error",
    2307: "Unimplemented object service",
    2308: "Data management policy violation",
    2400: "Command failed",
    2500: "Command failed; server closing connection",
    2501: "Authentication error; server closing connection",
    2502: "Session limit exceeded; server closing connection",
}


class Refusal(Exception):  # noqa: N818 - a registry's normal answer, no error of the program
    """A command the registry does not carry out: the result code, why, and the element it is about."""

    def __init__(self, code: int, reason: str, element: Element | None = None) -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason
        self.element = element


@dataclass
class Answer:
    """What a command returned: the child of `resData`, elements of `extension`, and `msgQ` while messages wait."""

    code: int = 1000
    data: Element | None = None
    extensions: list[Element] = field(default_factory=list)
    queue: Element | None = None
    reason: str | None = None
    element: Element | None = None


def refused(refusal: Refusal) -> Answer:
    """The answer that tells of a refusal."""
    return Answer(refusal.code, reason=refusal.reason, element=refusal.element)


def response(answer: Answer, cl_trid: str | None, sv_trid: str) -> Element:
    """The whole message (RFC 5730 section 2.6)."""
    return node(
        "epp:epp",
        node(
            "epp:response",
            node("epp:result", node("epp:msg", MESSAGES[answer.code]), _reason(answer), code=str(answer.code)),
            answer.queue,
            None if answer.data is None else node("epp:resData", answer.data),
            node("epp:extension", answer.extensions) if answer.extensions else None,
            node(
                "epp:trID",
                None if cl_trid is None else node("epp:clTRID", cl_trid),
                node("epp:svTRID", sv_trid),
            ),
        ),
    )


def _reason(answer: Answer) -> Element | None:
    if answer.reason is None:
        return None
    about = node("epp:undef") if answer.element is None else copy.deepcopy(answer.element)
    return node("epp:extValue", node("epp:value", about), node("epp:reason", answer.reason))
