"""What is done with registered names at EPP registries: renewing and deleting them (RFC 5731, RFC 3915)."""

from datetime import UTC, date
from typing import Any
from uuid import UUID, uuid4

from provision_worker.job import Json, Outcome
from provision_worker.providers import epp
from provision_worker.providers.epp.domain import DomainInfo, DomainUpdate, Part
from provision_worker.task import Site, Task

from . import registry

RENEW, DELETE = "domain.renew", "domain.delete"


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
        command = epp.domain.renew(name, current, _years(current, data))
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
