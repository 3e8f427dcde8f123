"""What the mappings of contacts, hosts and domains have in common (RFC 5731–5733): values, and readers of answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from . import xml
from .xml import Element, node


@dataclass(frozen=True, slots=True)
class Created:
    """A created object: its handle or name, and its dates as far as the registry gave them (expiry: domains only)."""

    name: str
    created_at: datetime | None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Availability:
    """One line of a check's answer."""

    name: str
    available: bool
    reason: str | None


@dataclass(frozen=True, slots=True)
class Trail:
    """Who made, changed and moved an object, and when: registrar ids and UTC times, as far as the registry tells."""

    sponsor: str | None
    created_by: str | None
    created_at: datetime | None
    updated_by: str | None
    updated_at: datetime | None
    transferred_at: datetime | None


class TransferOp(StrEnum):
    """The five operations of `transfer` (RFC 5730 section 2.9.3.4)."""

    REQUEST = "request"
    QUERY = "query"
    APPROVE = "approve"
    REJECT = "reject"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Transfer:
    """The state of a transfer: `status` is `pending`, `clientApproved`, `serverApproved`, `clientRejected`, …

    `requested_by` is the gaining registrar, `acted_by` the one that has acted or must act by `acted_at`.
    """

    object: str
    name: str
    status: str
    requested_by: str | None
    requested_at: datetime | None
    acted_by: str | None
    acted_at: datetime | None
    expires_at: datetime | None


def read_nothing(response: Element) -> None:
    """`parse` of a command whose answer has no data."""


def read_created(kind: str, name: str) -> Callable[[Element], Created]:
    """`parse` of a create. An answer without data is a success all the same, under the name that was asked for."""
    key = "id" if kind == "contact" else "name"

    def read(response: Element) -> Created:
        data = xml.find(response, f"epp:resData/{kind}:creData")
        if data is None:
            return Created(name, None)
        return Created(
            name=xml.text(data, f"{kind}:{key}") or name,
            created_at=xml.moment(data, f"{kind}:crDate"),
            expires_at=xml.moment(data, f"{kind}:exDate"),
        )

    return read


def read_checked(kind: str) -> Callable[[Element], dict[str, Availability]]:
    """`parse` of a check: availability by name as the registry spells it."""
    key = f"{kind}:{'id' if kind == 'contact' else 'name'}"

    def read(response: Element) -> dict[str, Availability]:
        data = xml.need(response, f"epp:resData/{kind}:chkData")
        lines = [_availability(line, key, f"{kind}:reason") for line in xml.find_all(data, f"{kind}:cd")]
        return {line.name: line for line in lines}

    return read


def _availability(line: Element, key: str, reason: str) -> Availability:
    name = xml.need(line, key)
    return Availability(xml.text_of(name) or "", name.get("avail") in ("1", "true"), xml.text(line, reason))


def read_trail(data: Element, kind: str) -> Trail:
    """The ids and dates every object's `infData` ends with."""
    return Trail(
        sponsor=xml.text(data, f"{kind}:clID"),
        created_by=xml.text(data, f"{kind}:crID"),
        created_at=xml.moment(data, f"{kind}:crDate"),
        updated_by=xml.text(data, f"{kind}:upID"),
        updated_at=xml.moment(data, f"{kind}:upDate"),
        transferred_at=xml.moment(data, f"{kind}:trDate"),
    )


def read_transfer(kind: str, name: str) -> Callable[[Element], Transfer]:
    """`parse` of a transfer, also of the `trnData` in a poll message. Without data: `status` is empty."""
    key = "id" if kind == "contact" else "name"

    def read(response: Element) -> Transfer:
        data = xml.find(response, f"epp:resData/{kind}:trnData")
        if data is None:
            return Transfer(kind, name, "", None, None, None, None, None)
        return Transfer(
            object=kind,
            name=xml.text(data, f"{kind}:{key}") or name,
            status=xml.text(data, f"{kind}:trStatus") or "",
            requested_by=xml.text(data, f"{kind}:reID"),
            requested_at=xml.moment(data, f"{kind}:reDate"),
            acted_by=xml.text(data, f"{kind}:acID"),
            acted_at=xml.moment(data, f"{kind}:acDate"),
            expires_at=xml.moment(data, f"{kind}:exDate"),
        )

    return read


def statuses(data: Element, kind: str) -> tuple[str, ...]:
    """The `s` attributes of an object's status elements."""
    return tuple(status for element in xml.find_all(data, f"{kind}:status") if (status := element.get("s")))


def auth_info(kind: str, secret: str | None) -> Element | None:
    """`authInfo` with a password, or None."""
    return None if secret is None else node(f"{kind}:authInfo", node(f"{kind}:pw", secret))


def chunk(name: str, *contents: xml.Contents) -> Element | None:
    """The element `name`, or None if it would be empty; for the `add`, `rem` and `chg` of an update."""
    made = node(name, *contents)
    return made if len(made) else None
