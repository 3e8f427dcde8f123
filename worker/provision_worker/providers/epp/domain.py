"""Domains (RFC 5731), their DNSSEC records (RFC 5910) and grace periods (RFC 3915)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime

from . import objects, xml
from .host import Host, address_nodes, read_addresses
from .objects import Availability, Created, Trail, Transfer, TransferOp
from .protocol import Command, Verb
from .xml import Element, node

KIND = "domain"


@dataclass(frozen=True, slots=True)
class DomainContact:
    """A contact in one of the roles `admin`, `tech`, `billing`; the registrant is apart from these."""

    role: str
    handle: str


@dataclass(frozen=True, slots=True)
class DsRecord:
    """A delegation signer record (RFC 4034 section 5); `digest` in hexadecimal."""

    key_tag: int
    algorithm: int
    digest_type: int
    digest: str


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A DNSSEC key (RFC 4034 section 2), for registries that make the DS record themselves; `public_key` in base64."""

    flags: int
    protocol: int
    algorithm: int
    public_key: str


SecurityRecord = DsRecord | KeyRecord
"""What a registry takes of the two; it has one of the interfaces of RFC 5910 section 4, and never both."""


@dataclass(frozen=True, slots=True)
class Registration:
    """A domain to be created for `years`. Name servers are host objects or host attributes, as the registry has it."""

    name: str
    registrant: str | None
    auth_info: str = field(repr=False)
    years: int = 1
    contacts: tuple[DomainContact, ...] = ()
    host_objects: tuple[str, ...] = ()
    host_attributes: tuple[Host, ...] = ()
    ds_records: tuple[SecurityRecord, ...] = ()

    def __post_init__(self) -> None:
        _one_host_model(self.name, self.host_objects, self.host_attributes)


@dataclass(frozen=True, slots=True)
class Part:
    """What an update adds to a domain or takes from it."""

    host_objects: tuple[str, ...] = ()
    host_attributes: tuple[Host, ...] = ()
    contacts: tuple[DomainContact, ...] = ()
    statuses: tuple[str, ...] = ()
    ds_records: tuple[SecurityRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class DomainUpdate:
    """What to change of a domain; None leaves a thing as it is."""

    name: str
    add: Part = Part()
    remove: Part = Part()
    registrant: str | None = None
    auth_info: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for part in (self.add, self.remove):
            _one_host_model(self.name, part.host_objects, part.host_attributes)


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What a registry wants to hear after a restore (RFC 3915 section 4.2.5): data before and after, why, and when."""

    before: str
    after: str
    deleted_at: datetime
    restored_at: datetime
    reason: str
    statements: tuple[str, str]


@dataclass(frozen=True, slots=True)
class DomainInfo:
    """A domain as the registry has it. Of another sponsor's domain most of it is missing; `auth_info` only for its own.

    `subordinate_hosts` are host objects below the name; `rgp_statuses` the grace periods it is in (`addPeriod`, …).
    """

    name: str
    roid: str | None
    statuses: tuple[str, ...]
    rgp_statuses: tuple[str, ...]
    registrant: str | None
    contacts: tuple[DomainContact, ...]
    host_objects: tuple[str, ...]
    host_attributes: tuple[Host, ...]
    subordinate_hosts: tuple[str, ...]
    ds_records: tuple[SecurityRecord, ...]
    trail: Trail
    expires_at: datetime | None
    auth_info: str | None = field(repr=False)

    @property
    def name_servers(self) -> tuple[str, ...]:
        """Names of its name servers, whichever host model the registry has."""
        return self.host_objects + tuple(host.name for host in self.host_attributes)


@dataclass(frozen=True, slots=True)
class Renewed:
    """A renewed domain and its new expiry, if the registry gave it."""

    name: str
    expires_at: datetime | None


def check(*names: str) -> Command[dict[str, Availability]]:
    """Which of `names` can be registered."""
    body = node("epp:check", node("domain:check", [node("domain:name", name) for name in names]))
    return Command(Verb.CHECK, KIND, " ".join(names), body, objects.read_checked(KIND))


def info(name: str, auth_info: str | None = None) -> Command[DomainInfo]:
    """Everything about a domain; with its auth info also about one of another sponsor."""
    body = node(
        "epp:info",
        node("domain:info", node("domain:name", name, hosts="all"), objects.auth_info(KIND, auth_info)),
    )
    return Command(Verb.INFO, KIND, name, body, _read_info)


def create(registration: Registration) -> Command[Created]:
    """Registers a domain."""
    body = _on(
        Verb.CREATE,
        registration.name,
        _period(registration.years),
        _name_servers(registration.host_objects, registration.host_attributes),
        xml.optional("domain:registrant", registration.registrant),
        _contacts(registration.contacts),
        objects.auth_info(KIND, registration.auth_info),
    )
    extension = objects.chunk("secDNS:create", _ds_nodes(registration.ds_records))
    parse = objects.read_created(KIND, registration.name)
    return Command(Verb.CREATE, KIND, registration.name, body, parse, *_extended(extension))


def delete(name: str) -> Command[None]:
    """Deletes a domain; done as well if there is none. Outside the add grace period it enters redemption."""
    return Command(Verb.DELETE, KIND, name, _on(Verb.DELETE, name), objects.read_nothing)


def renew(name: str, current_expiry: date, years: int = 1) -> Command[Renewed]:
    """Renews a domain. `current_expiry` (its date in UTC) keeps a repeated command from renewing twice."""
    body = _on(Verb.RENEW, name, node("domain:curExpDate", xml.day(current_expiry)), _period(years))

    def read(response: Element) -> Renewed:
        return Renewed(name, xml.moment(response, "epp:resData/domain:renData/domain:exDate"))

    return Command(Verb.RENEW, KIND, name, body, read)


def transfer(op: TransferOp, name: str, auth_info: str | None = None, years: int | None = None) -> Command[Transfer]:
    """One of the five transfer operations; a request needs the auth info, and may add `years`."""
    period = None if years is None else _period(years)
    body = _on(Verb.TRANSFER, name, period, objects.auth_info(KIND, auth_info))
    body.set("op", op)
    return Command(Verb.TRANSFER, KIND, name, body, objects.read_transfer(KIND, name))


def update(change: DomainUpdate) -> Command[None]:
    """Changes a domain: name servers, contacts, statuses, registrant, auth info, DNSSEC records."""
    body = _on(
        Verb.UPDATE,
        change.name,
        _part("domain:add", change.add),
        _part("domain:rem", change.remove),
        objects.chunk(
            "domain:chg",
            xml.optional("domain:registrant", change.registrant),
            objects.auth_info(KIND, change.auth_info),
        ),
    )
    extension = objects.chunk(
        "secDNS:update",
        objects.chunk("secDNS:rem", _ds_nodes(change.remove.ds_records)),
        objects.chunk("secDNS:add", _ds_nodes(change.add.ds_records)),
    )
    return Command(Verb.UPDATE, KIND, change.name, body, objects.read_nothing, *_extended(extension))


def restore(name: str) -> Command[None]:
    """Asks for a domain in redemption back (RFC 3915)."""
    return _restore(name, node("rgp:restore", op="request"))


def report_restore(name: str, report: RestoreReport) -> Command[None]:
    """Reports on a restore that the registry holds in `pendingRestore` until then."""
    told = node(
        "rgp:report",
        node("rgp:preData", report.before),
        node("rgp:postData", report.after),
        node("rgp:delTime", xml.stamp(report.deleted_at)),
        node("rgp:resTime", xml.stamp(report.restored_at)),
        node("rgp:resReason", report.reason),
        [node("rgp:statement", statement) for statement in report.statements],
    )
    return _restore(name, node("rgp:restore", told, op="report"))


def read_info_data(data: Element, rgp: tuple[str, ...] = (), ds: tuple[SecurityRecord, ...] = ()) -> DomainInfo:
    """An `infData` element, in an answer or in a poll message."""
    hosts = xml.find_all(data, "domain:ns/domain:hostAttr")
    return DomainInfo(
        name=xml.text(data, "domain:name") or "",
        roid=xml.text(data, "domain:roid"),
        statuses=objects.statuses(data, KIND),
        rgp_statuses=rgp,
        registrant=xml.text(data, "domain:registrant"),
        contacts=tuple(
            DomainContact(contact.get("type") or "", xml.text_of(contact) or "")
            for contact in xml.find_all(data, "domain:contact")
        ),
        host_objects=xml.texts(data, "domain:ns/domain:hostObj"),
        host_attributes=tuple(
            Host(xml.text(host, "domain:hostName") or "", read_addresses(host, "domain:hostAddr")) for host in hosts
        ),
        subordinate_hosts=xml.texts(data, "domain:host"),
        ds_records=ds,
        trail=objects.read_trail(data, KIND),
        expires_at=xml.moment(data, "domain:exDate"),
        auth_info=xml.text(data, "domain:authInfo/domain:pw"),
    )


def _read_info(response: Element) -> DomainInfo:
    data = xml.need(response, "epp:resData/domain:infData")
    periods = xml.find_all(response, "epp:extension/rgp:infData/rgp:rgpStatus")
    found = xml.find(response, "epp:extension/secDNS:infData")
    return read_info_data(
        data,
        rgp=tuple(status for period in periods if (status := period.get("s"))),
        ds=() if found is None else read_security(found),
    )


def read_security(parent: Element) -> tuple[SecurityRecord, ...]:
    """The DS records in an element of secDNS, or the keys; a key beside the DS record made of it is left out."""
    records: list[SecurityRecord] = []
    for record in xml.find_all(parent, "secDNS:dsData"):
        key_tag, algorithm, digest_type = _numbers(record, "keyTag", "alg", "digestType")
        records.append(DsRecord(key_tag, algorithm, digest_type, (xml.text(record, "secDNS:digest") or "").upper()))
    for key in xml.find_all(parent, "secDNS:keyData"):
        flags, protocol, algorithm = _numbers(key, "flags", "protocol", "alg")
        records.append(KeyRecord(flags, protocol, algorithm, "".join((xml.text(key, "secDNS:pubKey") or "").split())))
    return tuple(records)


def _numbers(record: Element, *names: str) -> list[int]:
    numbers = [xml.text(record, f"secDNS:{name}") or "" for name in names]
    if not all(number.isdigit() for number in numbers):
        raise xml.XmlError(f"a DNSSEC record has numbers, not {numbers}")
    return list(map(int, numbers))


def _one_host_model(name: str, objects_: tuple[str, ...], attributes: tuple[Host, ...]) -> None:
    if objects_ and attributes:
        raise ValueError(f"{name}: name servers are host objects or host attributes, never both (RFC 5731 section 1.1)")


def _on(verb: Verb, name: str, *contents: xml.Contents) -> Element:
    return node(f"epp:{verb}", node(f"domain:{verb}", node("domain:name", name), *contents))


def _period(years: int) -> Element:
    if not 1 <= years <= 99:
        raise ValueError(f"an EPP period is 1–99 years, not {years}")
    return node("domain:period", str(years), unit="y")


def _name_servers(host_objects: tuple[str, ...], host_attributes: tuple[Host, ...]) -> Element | None:
    return objects.chunk(
        "domain:ns",
        [node("domain:hostObj", name) for name in host_objects],
        [
            node(
                "domain:hostAttr",
                node("domain:hostName", host.name),
                address_nodes("domain:hostAddr", host.addresses),
            )
            for host in host_attributes
        ],
    )


def _contacts(contacts: tuple[DomainContact, ...]) -> list[Element]:
    return [node("domain:contact", contact.handle, type=contact.role) for contact in contacts]


def _part(name: str, part: Part) -> Element | None:
    return objects.chunk(
        name,
        _name_servers(part.host_objects, part.host_attributes),
        _contacts(part.contacts),
        [node("domain:status", s=status) for status in part.statuses],
    )


def _ds_nodes(records: tuple[SecurityRecord, ...]) -> list[Element]:
    return [_ds_node(record) for record in records]


def _ds_node(record: SecurityRecord) -> Element:
    if isinstance(record, KeyRecord):
        return node(
            "secDNS:keyData",
            node("secDNS:flags", str(record.flags)),
            node("secDNS:protocol", str(record.protocol)),
            node("secDNS:alg", str(record.algorithm)),
            node("secDNS:pubKey", record.public_key),
        )
    return node(
        "secDNS:dsData",
        node("secDNS:keyTag", str(record.key_tag)),
        node("secDNS:alg", str(record.algorithm)),
        node("secDNS:digestType", str(record.digest_type)),
        node("secDNS:digest", record.digest),
    )


def _extended(extension: Element | None) -> tuple[tuple[Element, ...], frozenset[str]]:
    """An extension of secDNS, and that it is needed, if there is one."""
    return ((), frozenset()) if extension is None else ((extension,), frozenset({xml.NS["secDNS"]}))


def _restore(name: str, restore_node: Element) -> Command[None]:
    # RFC 3915 section 4.2.5: the update needs an element that changes something, so an empty `chg` stands there.
    body = _on(Verb.UPDATE, name, node("domain:chg"))
    extension = node("rgp:update", restore_node)
    return Command(Verb.UPDATE, KIND, name, body, objects.read_nothing, (extension,), frozenset({xml.NS["rgp"]}))
