"""Takes a message apart into a `Request`, refusing what is no command of this session (RFC 5730 section 2.5)."""

from __future__ import annotations

from provision_worker.providers.epp.xml import NS, PREFIXES, Element, find, find_all, name_of, text, text_of

from . import common
from .records import Request
from .results import Refusal
from .schema import validate

KINDS = ("contact", "host", "domain")
OBJECT_VERBS = frozenset({"check", "info", "create", "delete", "update", "renew", "transfer"})
SESSION_VERBS = frozenset({"login", "logout", "poll"})
UNMAPPED = frozenset({("contact", "renew"), ("host", "renew"), ("host", "transfer")})
"""What RFC 5732 and 5733 leave out."""


def is_hello(root: Element) -> bool:
    """Whether the message asks for a greeting."""
    return name_of(root) == "epp:epp" and [name_of(child) for child in root] == ["epp:hello"]


def cl_trid_of(root: Element) -> str | None:
    """The client transaction id, as far as it can be found, for answers to broken commands too."""
    return text(root, "epp:command/epp:clTRID")


def take_apart(root: Element, registrar: str | None, services: frozenset[str]) -> Request:
    """The request in a message of a session that `registrar` (None: nobody yet) has opened for `services`.

    Raises Refusal: 2000 for an unknown command, 2001 for a shape no schema allows, 2002 before the login, 2101 for
    what a mapping does not have, 2103 and 2307 for extensions and objects that the login did not ask for.
    """
    element = _verb_element(root)
    verb = name_of(element).partition(":")[2]
    if verb not in OBJECT_VERBS | SESSION_VERBS:
        raise Refusal(2000, f"there is no command {verb}")
    payload = _payload(element, verb, services) if verb in OBJECT_VERBS else element
    extensions = _extensions(root, services)
    validate(root)
    if registrar is None and verb != "login":
        raise Refusal(2002, "log in first")
    kind = name_of(payload).partition(":")[0] if verb in OBJECT_VERBS else ""
    return Request(
        registrar=registrar or text(payload, "epp:clID") or "",
        verb=verb,
        kind=kind,
        name=_name(payload, kind, verb),
        payload=payload,
        op=element.get("op"),
        cl_trid=cl_trid_of(root),
        extensions=extensions,
        services=services,
    )


def _verb_element(root: Element) -> Element:
    command = find(root, "epp:command")
    if name_of(root) != "epp:epp" or command is None or not len(command):
        raise Refusal(2001, "a message holds a command or a hello")
    return command[0]


def _payload(element: Element, verb: str, services: frozenset[str]) -> Element:
    if len(element) != 1:
        raise Refusal(2001, f"{verb} holds one object")
    payload = element[0]
    kind, _, local = name_of(payload).partition(":")
    # Before the login the session has no services; that refusal is 2002, and comes later.
    if kind not in KINDS or (services and NS[kind] not in services):
        raise Refusal(2307, "the object is not offered here or was not asked for at login")
    if (kind, verb) in UNMAPPED:
        raise Refusal(2101, f"{verb} is not implemented for {kind}")
    if local != verb:
        raise Refusal(2001, f"{verb} cannot hold {kind}:{local}")
    return payload


def _extensions(root: Element, services: frozenset[str]) -> dict[str, Element]:
    found = find_all(root, "epp:command/epp:extension/*")
    for element in found:
        uri = element.tag.partition("}")[0].lstrip("{")
        if uri not in PREFIXES or uri not in services:
            raise Refusal(2103, f"extension {uri} is not offered here or was not asked for at login")
    return {name_of(element): element for element in found}


def _name(payload: Element, kind: str, verb: str) -> str:
    if verb in SESSION_VERBS:
        return text(payload, "epp:clID") or ""
    return " ".join(common.spelling(kind, text_of(child)) for child in find_all(payload, common.key_of(kind)))
