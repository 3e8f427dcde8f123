"""Rules and elements that contacts, hosts and domains share."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime

from provision_worker.providers.epp.xml import Element, find, node, stamp, text, text_of

from .records import Record, Request
from .results import Answer, Refusal
from .store import Store

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def key_of(kind: str) -> str:
    """The element that names an object: contacts have ids, hosts and domains names."""
    return f"{kind}:{'id' if kind == 'contact' else 'name'}"


def spelling(kind: str, name: str | None) -> str:
    """A name as the registry compares it: host names in lower case, handles as they are."""
    return (name or "") if kind == "contact" else (name or "").lower()


def check(store: Store, request: Request, rule: Callable[[Store, str], None]) -> Answer:
    """The answer to a check; `rule` refuses the names that could not be created even if they are free."""
    kind = request.kind
    lines = []
    for element in request.payload:
        name = spelling(kind, text_of(element))
        reason = "In use" if name in store.objects(kind) else _refusal_of(rule, store, name)
        about = node(key_of(kind), name, avail="0" if reason else "1")
        lines.append(node(f"{kind}:cd", about, None if reason is None else node(f"{kind}:reason", reason)))
    return Answer(data=node(f"{kind}:chkData", lines))


def _refusal_of(rule: Callable[[Store, str], None], store: Store, name: str) -> str | None:
    try:
        rule(store, name)
    except Refusal as refusal:
        return refusal.reason
    return None


def require_free(store: Store, request: Request) -> None:
    """2302 if the object to be created exists."""
    if request.name in store.objects(request.kind):
        raise Refusal(2302, f"{request.kind} {request.name} exists", find(request.payload, key_of(request.kind)))


def require_host_name(name: str) -> None:
    """2005 unless `name` has at least two lower-case labels of letters, digits and inner hyphens (RFC 1123)."""
    labels = name.split(".")
    if len(labels) < 2 or len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise Refusal(2005, f"{name!r} is not a host name")


def require_sponsor(record: Record, request: Request) -> None:
    """2201 unless the registrar sponsors the object."""
    if record.sponsor != request.registrar:
        raise Refusal(2201, f"{record.name} is sponsored by another registrar")


def require_transformable(record: Record, request: Request) -> None:
    """2201 for another registrar's object, 2304 if a status of the object prohibits the command."""
    require_sponsor(record, request)
    word = request.verb.title()
    blocking = blocking_statuses(record, word)
    if request.verb == "update":
        # RFC 5731 section 2.3: the one update that may pass is that which removes the prohibition.
        blocking -= set(_statuses(request, "rem")) & {"clientUpdateProhibited"}
    if blocking:
        raise Refusal(2304, f"{record.name} has status {', '.join(sorted(blocking))}")


def blocking_statuses(record: Record, word: str) -> set[str]:
    """The statuses that keep an object from the command `Delete`, `Update`, `Renew` or `Transfer`."""
    prohibitions = {f"client{word}Prohibited", f"server{word}Prohibited"}
    return {status for status in record.statuses if status in prohibitions or status.startswith("pending")}


def require_usable(record: Record) -> None:
    """2304 for an object that is still to be created and so cannot be referred to."""
    if "pendingCreate" in record.statuses:
        raise Refusal(2304, f"{record.name} has status pendingCreate")


def changed_statuses(record: Record, request: Request, allowed: frozenset[str]) -> set[str]:
    """The statuses after an update; 2306 for those a client cannot set, those missing and those already there."""
    added, removed = _statuses(request, "add"), _statuses(request, "rem")
    for status in (*added, *removed):
        if status not in allowed:
            raise Refusal(2306, f"a client cannot change status {status!r} of a {request.kind}")
    return set(changed_list(sorted(record.statuses), added, removed, "status"))


def _statuses(request: Request, part: str) -> list[str]:
    return [element.get("s") or "" for element in request.part(part, "status")]


def changed_list(have: list[str], added: list[str], removed: list[str], what: str) -> list[str]:
    """`have` without `removed` and with `added`; 2306 if one to remove is missing or one to add is doubled."""
    missing = [name for name in removed if name not in have]
    if missing:
        raise Refusal(2306, f"no {what} {missing[0]} to remove")
    kept = [name for name in have if name not in removed]
    doubled = [name for name in added if name in kept]
    if doubled:
        raise Refusal(2306, f"{what} {doubled[0]} is there already")
    if len(set(added)) < len(added):
        raise Refusal(2306, f"a {what} is named twice")
    return kept + added


def new_auth_info(store: Store, request: Request, parent: Element) -> str | None:
    """The auth info given in `parent`, or None; 2306 if the registry's pattern does not allow it."""
    secret = text(parent, f"{request.kind}:authInfo/{request.kind}:pw")
    if find(parent, f"{request.kind}:authInfo") is not None and not re.fullmatch(
        store.policy.auth_info_pattern, secret or ""
    ):
        raise Refusal(2306, f"authInfo must match {store.policy.auth_info_pattern}")
    return secret


def knows_secret(request: Request, secret: str) -> bool:
    """Whether the command brings the right auth info; 2202 if it brings a wrong one."""
    given = text(request.payload, f"{request.kind}:authInfo/{request.kind}:pw")
    if given is not None and given != secret:
        raise Refusal(2202, "the auth info is wrong")
    return given is not None


def touch(store: Store, record: Record, request: Request) -> None:
    """Notes who changed an object, and when."""
    record.updated_by, record.updated_at = request.registrar, store.now()


def created(store: Store, kind: str, name: str, expires_at: datetime | None = None) -> Answer:
    """The answer to a create."""
    expiry = None if expires_at is None else node(f"{kind}:exDate", stamp(expires_at))
    return Answer(
        data=node(f"{kind}:creData", node(key_of(kind), name), node(f"{kind}:crDate", stamp(store.now())), expiry)
    )


def status_nodes(kind: str, record: Record, *computed: str) -> list[Element]:
    """The status elements: those set and those computed; `ok` stands alone or with `linked` (RFC 5731 section 2.3)."""
    found = record.statuses.union(computed)
    if found <= {"linked"}:
        found = found | {"ok"}
    return [node(f"{kind}:status", s=status) for status in sorted(found)]


def trail(kind: str, record: Record, expires_at: datetime | None = None) -> list[Element | None]:
    """The ids and dates at the end of an `infData`, in the order of the schemas."""
    return [
        node(f"{kind}:clID", record.sponsor),
        node(f"{kind}:crID", record.created_by),
        node(f"{kind}:crDate", stamp(record.created_at)),
        None if record.updated_by is None else node(f"{kind}:upID", record.updated_by),
        None if record.updated_at is None else node(f"{kind}:upDate", stamp(record.updated_at)),
        None if expires_at is None else node(f"{kind}:exDate", stamp(expires_at)),
        None if record.transferred_at is None else node(f"{kind}:trDate", stamp(record.transferred_at)),
    ]
