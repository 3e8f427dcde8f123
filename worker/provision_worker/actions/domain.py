"""Domains at EPP registries (RFC 5731): registering and changing them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from ipaddress import ip_address
from typing import Any, TypeVar
from uuid import UUID

from provision_worker.job import Json, Outcome, failed
from provision_worker.providers import epp
from provision_worker.providers.epp.domain import DomainInfo, DomainUpdate, Part, SecurityRecord
from provision_worker.task import Site, Task

from . import price, registry

T = TypeVar("T")

ROLES = ("admin", "tech", "billing")
UPDATE = "domain.update"


def create(task: Task) -> Outcome:
    """Registers a domain."""
    row = task.resources.row("domain", "auth_info", id=task.job.reference_id)
    if not row or not row["pw"]:
        return failed("the row has no auth info; it is final already")
    try:
        registration = _registration(task.job.data, row["pw"])
        command = epp.domain.create(registration)
    except ValueError as error:
        return failed(str(error))
    return registry.create(
        task,
        command,
        epp.domain.info(registration.name),
        is_ours=lambda found: _is_ours(found, registration),
        result=_result,
        priced=lambda plain: price.within_limit(task.site, task.job.data, plain, "create", registration.years),
    )


def update(task: Task) -> Outcome:
    """Brings a domain to how it is to be. The registry is told what it lacks of that, and nothing else."""
    data = task.job.data
    auth_info = None
    if data["has_auth_info"]:
        row = task.resources.row("domain", "new_auth_info", id=task.job.reference_id)
        if not row or not row["pw"]:
            return failed("the row has no auth info; it is final already")
        auth_info = row["pw"]
    wanted = Wanted.of(data, auth_info)
    # Where the registry shows no secrets, only its answer tells whether it has the new one.
    return registry.amend(
        task,
        UPDATE,
        epp.domain.info(data["name"]),
        lambda found: wanted.commands(found, is_secret_told=bool(task.state)),
        lambda found: {"statuses": registry.kept_statuses(found)},
    )


def find_update(site: Site, parameters: dict[str, Any], token: UUID) -> str | None:
    """The change that an effect was to bring about, if the registry has it, as far as it shows that."""
    found = registry.look(site, epp.domain.info(parameters["name"]))
    is_there = found and registry.is_sponsored(site, found) and not Wanted.of(parameters).commands(found, True)
    return f"{UPDATE} {parameters['name']}" if is_there else None


LOCK = "clientUpdateProhibited"
LOCKS = frozenset(
    {LOCK, "clientTransferProhibited", "clientDeleteProhibited", "clientRenewProhibited", "clientHold"}
)  # RFC 5731 section 2.3


@dataclass(frozen=True, slots=True)
class Wanted:
    """How a domain is to be; None: whatever it is. `contacts` by role, and only those of the roles that are named."""

    name: str
    hosts: frozenset[epp.host.Host] | None
    are_objects: bool
    contacts: Mapping[str, frozenset[str]]
    statuses: frozenset[str] | None
    records: frozenset[SecurityRecord] | None
    auth_info: str | None = field(repr=False)

    @classmethod
    def of(cls, data: dict[str, Any], auth_info: str | None = None) -> "Wanted":
        """What a job asks for."""
        return cls(
            name=data["name"],
            hosts=None if data.get("hosts") is None else frozenset(map(_host, data["hosts"])),
            are_objects=data["host_model"] == "objects",
            contacts={role: frozenset(handles) for role, handles in (data.get("contacts") or {}).items()},
            statuses=None if data.get("statuses") is None else frozenset(data["statuses"]),
            records=None if data.get("ds_records") is None else frozenset(map(_record, data["ds_records"])),
            auth_info=auth_info,
        )

    def lacking(self, found: DomainInfo, is_secret_told: bool) -> DomainUpdate:
        """What the domain lacks of it."""
        hosts = self._hosts(found)
        contacts = {(contact.role, contact.handle) for contact in found.contacts if contact.role in self.contacts}
        their = {(role, handle) for role in ROLES for handle in self.contacts.get(role, ())}
        statuses = self._changed(self.statuses, LOCKS.intersection(found.statuses))
        records = self._changed(self.records, frozenset(found.ds_records))
        parts = [
            self._part(hosts[side], {0: their - contacts, 1: contacts - their}[side], statuses[side], records[side])
            for side in (0, 1)
        ]
        (registrant,) = self.contacts.get("registrant", (found.registrant,))
        is_same = self.auth_info == found.auth_info or (is_secret_told and found.auth_info is None)
        return DomainUpdate(
            self.name,
            add=parts[0],
            remove=parts[1],
            registrant=registrant if registrant != found.registrant else None,
            auth_info=None if is_same else self.auth_info,
        )

    def commands(self, found: DomainInfo, is_secret_told: bool) -> list[epp.Command[None]]:
        """The commands that are missing. A lock against changes goes first and by itself, as some registries ask."""
        updates = [self.lacking(found, is_secret_told)]
        if LOCK in updates[0].remove.statuses:
            others = tuple(status for status in updates[0].remove.statuses if status != LOCK)
            rest = replace(updates[0], remove=replace(updates[0].remove, statuses=others))
            updates = [DomainUpdate(self.name, remove=Part(statuses=(LOCK,))), rest]
        return [epp.domain.update(update) for update in updates if update != DomainUpdate(self.name)]

    def _hosts(self, found: DomainInfo) -> tuple[list[epp.host.Host], list[epp.host.Host]]:
        if not self.are_objects or self.hosts is None:
            has = (epp.host.Host(host.name, tuple(sorted(host.addresses, key=str))) for host in found.host_attributes)
            return self._changed(self.hosts, frozenset(has))
        return self._changed(
            frozenset(epp.host.Host(host.name) for host in self.hosts),
            frozenset(map(epp.host.Host, found.host_objects)),
        )

    @staticmethod
    def _changed(wanted: frozenset[T] | None, has: frozenset[T]) -> tuple[list[T], list[T]]:
        """What is to be added and what removed."""
        if wanted is None:
            return [], []
        return sorted(wanted - has, key=repr), sorted(has - wanted, key=repr)

    def _part(
        self,
        hosts: list[epp.host.Host],
        contacts: set[tuple[str, str]],
        statuses: list[str],
        records: list[SecurityRecord],
    ) -> Part:
        return Part(
            host_objects=tuple(host.name for host in hosts) if self.are_objects else (),
            host_attributes=() if self.are_objects else tuple(hosts),
            contacts=tuple(epp.domain.DomainContact(role, handle) for role, handle in sorted(contacts)),
            statuses=tuple(statuses),
            ds_records=tuple(records),
        )


def _host(data: dict[str, Any]) -> epp.host.Host:
    return epp.host.Host(data["name"], tuple(sorted(map(ip_address, data["addresses"]), key=str)))


def _record(data: dict[str, Any]) -> SecurityRecord:
    if "public_key" in data:
        return epp.domain.KeyRecord(data["flags"], data["protocol"], data["algorithm"], data["public_key"])
    return epp.domain.DsRecord(data["key_tag"], data["algorithm"], data["digest_type"], data["digest"])


def find(site: Site, parameters: dict[str, Any], token: UUID) -> str | None:
    """The name that an effect was to register, if it is there and ours."""
    name: str = parameters["name"]
    return name if registry.find(site, epp.domain.info(name)) else None


def why_missing(site: Site, name: str) -> str | None:
    """Why a domain of the inventory is gone outside; None if it is not."""
    return registry.why_missing(site, epp.domain.info(name))


def _registration(data: dict[str, Any], auth_info: str) -> epp.domain.Registration:
    contacts = data.get("contacts") or {}
    hosts = tuple(map(_host, data["hosts"]))
    are_objects = data["host_model"] == "objects"
    return epp.domain.Registration(
        name=data["name"],
        registrant=contacts.get("registrant"),
        auth_info=auth_info,
        years=data["period"],
        contacts=tuple(epp.domain.DomainContact(role, handle) for role in ROLES for handle in contacts.get(role) or ()),
        host_objects=tuple(host.name for host in hosts) if are_objects else (),
        host_attributes=() if are_objects else hosts,
        ds_records=tuple(map(_record, data["ds_records"])),
    )


def _is_ours(found: epp.domain.DomainInfo, asked: epp.domain.Registration) -> bool:
    """Whether this very row registered it: the auth info tells, or the contacts where the registry shows no secrets."""
    if found.auth_info is not None:
        return found.auth_info == asked.auth_info
    return found.registrant == asked.registrant and set(found.contacts) == set(asked.contacts)


def _result(found: epp.domain.DomainInfo) -> Json:
    return {
        "roid": found.roid,
        "ry_created_date": _text(found.trail.created_at),
        "ry_expiry_date": _text(found.expires_at),
        "statuses": registry.kept_statuses(found),
    }


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
