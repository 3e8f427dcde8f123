"""What is done with registered names at EPP registries: renewing, deleting and restoring them (RFC 5731, RFC 3915)."""

from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID, uuid4

from provision_worker.job import Json, Outcome
from provision_worker.providers import epp
from provision_worker.providers.epp.domain import DomainInfo, DomainUpdate, Part, RestoreReport
from provision_worker.task import Site, Task

from . import price, registry

RENEW, DELETE, RESTORE = "domain.renew", "domain.delete", "domain.restore"
STATEMENTS = (
    "This registrar has not restored the name in order to assume the rights to use or sell it for itself or for a third"
    " party.",
    "The information in this report is true to the best of this registrar's knowledge.",
)
"""What RFC 3915 section 4.2.5 has a registrar state."""


def renew(task: Task) -> Outcome:
    """Renews a domain until the day that was asked for; nothing is sent if it lives that long already."""
    data = task.job.data
    name = data["name"]
    info = epp.domain.info(name)

    def come_of(found: DomainInfo | None) -> Json | None:
        ours = registry.require_ours(task.site, found, name)
        if _lives_until(ours, data["target_expiry"]):
            return _expiry(ours.expires_at.isoformat() if ours.expires_at else None)
        if "pendingRenew" in ours.statuses:
            return {"is_pending": True}
        registry.require_open(ours, name, "Renew")
        return None

    def ask(found: DomainInfo, token: UUID) -> Json:
        current = found.expires_at.astimezone(UTC).date() if found.expires_at else _day(data["current_expiry"])
        if current is None:
            raise registry.Refused(f"neither the registry nor we know when {name} expires")
        years = _years(current, data)
        command = price.within_limit(task.site, data, epp.domain.renew(name, current, years), "renew", years)
        answer = registry.send(task.site, command, token)
        if answer.outcome is epp.Outcome.PENDING:
            return {"is_pending": True}
        # An answer without a date is a success all the same; then `info` knows, or it is what was asked for.
        expires_at = answer.data.expires_at or _look_for_expiry(task.site, info, current)
        return _expiry(expires_at.isoformat() if expires_at else data["target_expiry"])

    return registry.alter(task, RENEW, info, come_of, ask)


def delete(task: Task) -> Outcome:
    """Deletes a domain and the name servers under it; done as well if it is gone or in redemption already."""
    name = task.job.data["name"]

    def come_of(found: DomainInfo | None) -> Json | None:
        if found is None:
            return {"ry_state": "gone"}
        ours = registry.require_ours(task.site, found, name)
        if state := _deletion(ours):
            return state
        registry.require_open(ours, name, "Delete")
        return None

    def ask(found: DomainInfo, token: UUID) -> Json:
        _delete_hosts_below(task.site, found)
        answer = registry.send(task.site, epp.domain.delete(name), token)
        if answer.outcome is epp.Outcome.PENDING:
            return {"is_pending": True}
        return come_of(registry.look(task.site, epp.domain.info(name))) or {"ry_state": "pendingDelete"}

    return registry.alter(task, DELETE, epp.domain.info(name), come_of, ask)


def restore(task: Task) -> Outcome:
    """Restores a domain in its redemption period, and reports on it where the registry wants that."""
    data = task.job.data
    name = data["name"]

    def come_of(found: DomainInfo | None) -> Json | None:
        ours = registry.require_ours(task.site, found, name)
        if {"redemptionPeriod", "pendingRestore"} & set(ours.rgp_statuses):
            return None
        if "pendingDelete" in ours.statuses:
            raise registry.Refused(f"the redemption period of {name} is over")
        return _expiry(ours.expires_at.isoformat() if ours.expires_at else None)

    def decided(found: DomainInfo | None) -> Json | None:
        is_waiting = found is not None and "pendingRestore" in found.rgp_statuses
        return {"is_pending": True} if is_waiting else come_of(found)

    def ask(found: DomainInfo, token: UUID) -> Json:
        if "redemptionPeriod" in found.rgp_statuses:
            command = price.within_limit(task.site, data, epp.domain.restore(name), "restore", None)
            registry.send(task.site, command, token)
        waiting = registry.look(task.site, epp.domain.info(name))
        if data["report"] and waiting and "pendingRestore" in waiting.rgp_statuses:
            registry.send(task.site, epp.domain.report_restore(name, _report(data, found, waiting)), uuid4())
        return decided(registry.look(task.site, epp.domain.info(name))) or {"is_pending": True}

    return registry.alter(task, RESTORE, epp.domain.info(name), come_of, ask, decided)


def _report(data: dict[str, Any], before: DomainInfo, after: DomainInfo) -> RestoreReport:
    """The report of RFC 3915 section 4.2.5; the data before and after are what `info` shows, as text."""
    return RestoreReport(
        before=_described(before),
        after=_described(after),
        deleted_at=datetime.fromisoformat(data["deleted_date"]),
        restored_at=datetime.now(UTC),
        reason=data["reason"],
        statements=STATEMENTS,
    )


def _described(domain: DomainInfo) -> str:
    contacts = [f"registrant {domain.registrant}"] if domain.registrant else []
    contacts += [f"{contact.role} {contact.handle}" for contact in domain.contacts]
    return "; ".join((domain.name, *contacts, *(f"name server {host}" for host in domain.name_servers)))


def find_restoration(site: Site, parameters: dict[str, Any], token: UUID) -> str | None:
    """The restoration that an effect was to make, if the domain lives."""
    found = registry.look(site, epp.domain.info(parameters["name"]))
    is_there = found and registry.is_sponsored(site, found) and "pendingDelete" not in found.statuses
    return f"{RESTORE} {parameters['name']}" if is_there else None


def find_renewal(site: Site, parameters: dict[str, Any], token: UUID) -> str | None:
    """The renewal that an effect was to make, if the domain lives that long."""
    found = registry.look(site, epp.domain.info(parameters["name"]))
    is_there = found and registry.is_sponsored(site, found) and _lives_until(found, parameters["target_expiry"])
    return f"{RENEW} {parameters['name']}" if is_there else None


def find_deletion(site: Site, parameters: dict[str, Any], token: UUID) -> str | None:
    """The deletion that an effect was to make, if the domain is gone or on its way."""
    found = registry.look(site, epp.domain.info(parameters["name"]))
    return f"{DELETE} {parameters['name']}" if found is None or _deletion(found) else None


def _lives_until(found: DomainInfo, target: str | None) -> bool:
    """Whether the registry has it until that day (UTC) or longer."""
    wanted = _day(target)
    return bool(wanted and found.expires_at and found.expires_at.astimezone(UTC).date() >= wanted)


def _years(current: date, data: dict[str, Any]) -> int:
    """Years that are missing: fewer than were asked for if the registry is ahead by some, and never more."""
    target = _day(data["target_expiry"])
    period: int = data["period"]
    if target is None:
        return period
    missing = target.year - current.year + ((target.month, target.day) > (current.month, current.day))
    return min(period, max(1, missing))


def _expiry(moment: str | None) -> Json:
    return {"ry_expiry_date": moment}


def _day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None


def _look_for_expiry(site: Site, info: epp.Command[DomainInfo], before: date) -> Any:
    found = registry.look(site, info)
    if found and found.expires_at and found.expires_at.astimezone(UTC).date() > before:
        return found.expires_at
    return None


def _deletion(found: DomainInfo) -> Json | None:
    """How far the deletion of a domain is. Status pendingDelete without a period of RFC 3915: not decided yet."""
    for state in ("redemptionPeriod", "pendingDelete"):
        if state in found.rgp_statuses:
            return {"ry_state": state}
    return {"is_pending": True} if "pendingDelete" in found.statuses else None


def _delete_hosts_below(site: Site, domain: DomainInfo) -> None:
    """Deletes the hosts under a domain; if the registry will not, the domain keeps its name servers.

    Raises:
        Refused: one of them serves another domain.
        EppRefused: the registry will not delete one, because it serves a domain that we do not know of.
    """
    hosts = {name: registry.look(site, epp.host.info(name)) for name in domain.subordinate_hosts}
    own = tuple(name for name in domain.subordinate_hosts if name in domain.host_objects)
    for name, found in hosts.items():
        if found and "linked" in found.statuses and name not in own:
            raise registry.Refused(f"{name}, under {domain.name}, serves other domains")
    if own:
        registry.send(site, epp.domain.update(DomainUpdate(domain.name, remove=Part(host_objects=own))), uuid4())
    gone: list[str] = []
    try:
        for name, found in hosts.items():
            if found:
                registry.send(site, epp.host.delete(name), uuid4())
                gone.append(name)
    except epp.EppRefused:
        if left := tuple(name for name in own if name not in gone):
            registry.send(site, epp.domain.update(DomainUpdate(domain.name, add=Part(host_objects=left))), uuid4())
        raise
