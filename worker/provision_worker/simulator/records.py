"""What the registry keeps: its policy, the objects, and the messages for registrars."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

from provision_worker.providers.epp.protocol import EXTENSIONS, OBJECTS
from provision_worker.providers.epp.xml import NS, Element, find_all


@dataclass(frozen=True)
class Policy:
    """The rules a registry is free to choose. `extensions` are the URIs it offers; the grace periods are RFC 3915's.

    Restores want a report in `restore_report_zones`, or everywhere with `restore_report`; in `thin_zones` domains have
    no contacts. `transfer_unanswered` is what becomes of a transfer when its time is up. Labels that start with
    `refused_prefix` are never registered (2306), which gives demos and tests a name that is refused; those that start
    with `premium_prefix` cost ten times as much as others.
    """

    zones: tuple[str, ...] = ("test", "co.test", "example")
    extensions: tuple[str, ...] = EXTENSIONS
    host_model: Literal["objects", "attributes"] = "objects"
    refused_prefix: str = "refused-"
    premium_prefix: str = "premium-"
    auth_info_pattern: str = r"[\x21-\x7e]{6,64}"
    max_years: int = 10
    max_name_servers: int = 13
    max_sessions: int = 20
    transfer_at_once: bool = False
    transfer_unanswered: Literal["approve", "cancel", "keep"] = "approve"
    restore_report: bool = False
    restore_report_zones: tuple[str, ...] = ()
    thin_zones: tuple[str, ...] = ()
    add_grace: timedelta = timedelta(days=5)
    renew_grace: timedelta = timedelta(days=5)
    auto_renew_grace: timedelta = timedelta(days=45)
    transfer_grace: timedelta = timedelta(days=5)
    redemption: timedelta = timedelta(days=30)
    pending_delete: timedelta = timedelta(days=5)
    pending_restore: timedelta = timedelta(days=7)
    transfer_wait: timedelta = timedelta(days=5)

    @property
    def objects(self) -> tuple[str, ...]:
        """The URIs of the objects it has: no hosts where they are attributes of domains."""
        return tuple(uri for uri in OBJECTS if self.host_model == "objects" or uri != NS["host"])

    def wants_report(self, name: str) -> bool:
        """Whether a restored name waits for a report."""
        return self.restore_report or self.zone_of(name) in self.restore_report_zones

    def is_thin(self, name: str) -> bool:
        """Whether a name has no contacts here."""
        return self.zone_of(name) in self.thin_zones

    def zone_of(self, name: str) -> str | None:
        """The longest zone that `name` is in, on a label border; None for a name outside all of them."""
        return max((zone for zone in self.zones if name.endswith(f".{zone}")), key=len, default=None)


@dataclass
class TransferState:
    """The last transfer of an object."""

    status: str
    requested_by: str
    requested_at: datetime
    acted_by: str
    acted_at: datetime
    years: int = 0


@dataclass(kw_only=True)
class Record:
    """What all objects have; `sponsor`, `created_by`, `updated_by` are registrar ids."""

    name: str
    roid: str
    sponsor: str
    created_by: str
    created_at: datetime
    statuses: set[str] = field(default_factory=set)
    updated_by: str | None = None
    updated_at: datetime | None = None
    transferred_at: datetime | None = None
    transfer: TransferState | None = None


@dataclass(kw_only=True)
class Contact(Record):
    """`details` are the elements of its create, by name (`postalInfo/int`, `voice`, …)."""

    auth_info: str = field(default="", repr=False)
    details: dict[str, Element] = field(default_factory=dict, repr=False)


@dataclass(kw_only=True)
class Host(Record):
    """`superordinate` is the name of the domain above it, None for a host outside the registry's zones."""

    addresses: list[IPv4Address | IPv6Address] = field(default_factory=list)
    superordinate: str | None = None


@dataclass(kw_only=True)
class Domain(Record):
    """`grace` has the end of every grace period by its RGP status; `host_attributes` are elements by name."""

    expires_at: datetime
    auth_info: str = field(default="", repr=False)
    registrant: str = ""
    contacts: list[tuple[str, str]] = field(default_factory=list)
    host_objects: list[str] = field(default_factory=list)
    host_attributes: dict[str, Element] = field(default_factory=dict)
    grace: dict[str, datetime] = field(default_factory=dict)
    ds_records: list[tuple[str, ...]] = field(default_factory=list)

    def handles(self) -> set[str]:
        """The handles of all its contacts, the registrant's too."""
        return {self.registrant, *(handle for _, handle in self.contacts)}


@dataclass(frozen=True)
class Message:
    """A message in a registrar's queue; `data` is the child of `resData`."""

    id: str
    queued_at: datetime
    text: str
    data: Element | None = None


@dataclass(frozen=True)
class Request:
    """One command of a logged-in registrar, taken apart. `extensions` by name (`secDNS:create`), `services` by URI."""

    registrar: str
    verb: str
    kind: str
    name: str
    payload: Element
    op: str | None = None
    cl_trid: str | None = None
    extensions: dict[str, Element] = field(default_factory=dict)
    services: frozenset[str] = frozenset()

    def part(self, part: str, child: str) -> list[Element]:
        """The elements `child` in the `add`, `rem` or `chg` of an update."""
        return find_all(self.payload, f"{self.kind}:{part}/{self.kind}:{child}")


def plus_years(moment: datetime, years: int) -> datetime:
    """The same day `years` later; 29 February becomes 28 February where there is none."""
    try:
        return moment.replace(year=moment.year + years)
    except ValueError:
        return moment.replace(year=moment.year + years, day=28)
