"""Domains at EPP registries (RFC 5731)."""

from datetime import datetime
from typing import Any
from uuid import UUID

from provision_worker.job import Json, Outcome, failed
from provision_worker.providers import epp
from provision_worker.task import Site, Task

from . import registry

ROLES = ("admin", "tech", "billing")


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
    )


def find(site: Site, parameters: dict[str, Any], token: UUID) -> str | None:
    """The name that an effect was to register, if it is there and ours."""
    name: str = parameters["name"]
    return name if registry.find(site, epp.domain.info(name)) else None


def why_missing(site: Site, name: str) -> str | None:
    """Why a domain of the inventory is gone outside; None if it is not."""
    return registry.why_missing(site, epp.domain.info(name))


def _registration(data: dict[str, Any], auth_info: str) -> epp.domain.Registration:
    contacts = data.get("contacts") or {}
    return epp.domain.Registration(
        name=data["name"],
        registrant=contacts.get("registrant"),
        auth_info=auth_info,
        years=data["period"],
        contacts=tuple(epp.domain.DomainContact(role, handle) for role in ROLES for handle in contacts.get(role) or ()),
        host_objects=tuple(data.get("hosts") or ()),
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
    }


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
