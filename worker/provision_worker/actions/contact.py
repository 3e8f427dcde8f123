"""Contacts at EPP registries (RFC 5733)."""

import secrets
from dataclasses import replace
from typing import Any
from uuid import UUID

from provision_worker.job import Outcome, failed
from provision_worker.providers import epp
from provision_worker.task import Site, Task

from . import registry

UPDATE, DELETE = "contact.update", "contact.delete"


def create(task: Task) -> Outcome:
    """Creates a contact under the handle chosen for it. Nobody else knows that: if it is there, it is ours."""
    try:
        command = epp.contact.create(_details(task))
    except ValueError as error:
        return failed(str(error))
    handle = task.job.data["handle"]
    return registry.create(
        task,
        command,
        epp.contact.info(handle),
        is_ours=lambda found: True,
        result=lambda found: {"roid": found.roid, "handle": handle},
    )


def update(task: Task) -> Outcome:
    """Gives a contact the details it is to have. What the registry shows of them already is not told to it again."""
    handle = task.job.data["handle"]
    try:
        wanted = _change(task.job.data)
        command = epp.contact.update(wanted)
    except ValueError as error:
        return failed(str(error))
    return registry.amend(
        task,
        UPDATE,
        epp.contact.info(handle),
        lambda found: [] if _is_as_wanted(found, wanted) else [command],
    )


def delete(task: Task) -> Outcome:
    """Deletes a contact; done as well if it is not there."""
    handle = task.job.data["handle"]
    return registry.remove(task, DELETE, epp.contact.info(handle), epp.contact.delete(handle))


def find_update(site: Site, parameters: dict[str, Any], token: UUID) -> str | None:
    """The change of a contact that an effect was to bring about, if the registry has it."""
    found = registry.look(site, epp.contact.info(parameters["handle"]))
    is_there = found is not None and _is_as_wanted(found, _change(parameters))
    return f"{UPDATE} {parameters['handle']}" if is_there else None


def find_deletion(site: Site, parameters: dict[str, Any], token: UUID) -> str | None:
    """The deletion of a contact that an effect was to bring about, if it is gone."""
    return registry.find_removal(site, DELETE, epp.contact.info(parameters["handle"]))


def find(site: Site, parameters: dict[str, Any], token: UUID) -> str | None:
    """The handle that an effect was to create, if it is there and ours."""
    handle: str = parameters["name"]
    return handle if registry.find(site, epp.contact.info(handle)) else None


def why_missing(site: Site, handle: str) -> str | None:
    """Why a contact of the inventory is gone outside; None if it is not."""
    return registry.why_missing(site, epp.contact.info(handle))


def described(found: epp.contact.ContactInfo) -> dict[str, Any]:
    """The details of a contact as the inventory has them, as far as the registry shows them."""
    postal = found.international or found.local
    address: dict[str, Any] = {}
    if postal:
        address = {
            "name": postal.name or None,
            "organization": postal.organisation,
            "street": list(postal.streets),
            "city": postal.city or None,
            "state": postal.state,
            "postal_code": postal.postal_code,
            "country_code": postal.country or None,
        }
    return {"roid": found.roid, "phone": found.voice, "fax": found.fax, "email": found.email, **address}


def _details(task: Task) -> epp.contact.ContactDetails:
    data = task.job.data
    international, local = _scripts(data)
    return epp.contact.ContactDetails(
        handle=data["handle"],
        email=data["email"],
        international=international,
        local=local,
        voice=data.get("phone"),
        fax=data.get("fax"),
        # RFC 5733 asks for one; contacts are never transferred, so nobody needs to know it.
        auth_info=secrets.token_urlsafe(12),
    )


def _change(data: dict[str, Any]) -> epp.contact.ContactUpdate:
    international, local = _scripts(data)
    return epp.contact.ContactUpdate(
        handle=data["handle"],
        email=data["email"],
        international=international,
        local=local,
        voice=data.get("phone"),
        fax=data.get("fax"),
    )


def _is_as_wanted(found: epp.contact.ContactInfo, wanted: epp.contact.ContactUpdate) -> bool:
    """Whether the registry shows every detail that is to be; an empty one must not be there."""
    pairs = (
        (found.email, wanted.email),
        (found.voice, wanted.voice),
        (found.fax, wanted.fax),
        (found.international, wanted.international and _seen(wanted.international)),
        (found.local, wanted.local and _seen(wanted.local)),
    )
    return all(want is None or (has or None) == (want or None) for has, want in pairs)


def _seen(postal: epp.contact.PostalInfo) -> epp.contact.PostalInfo:
    return replace(postal, organisation=postal.organisation or None)


def _scripts(data: dict[str, Any]) -> tuple[epp.contact.PostalInfo | None, epp.contact.PostalInfo | None]:
    """The international form, which is US-ASCII (RFC 5733 section 2.2), or else the local one."""
    info = epp.contact.PostalInfo(
        name=data["name"],
        organisation=data.get("organization"),
        streets=tuple(data.get("street") or ()),
        city=data["city"],
        state=data.get("state"),
        postal_code=data.get("postal_code"),
        country=data["country_code"],
    )
    texts = (info.name, info.organisation, *info.streets, info.city, info.state, info.postal_code)
    is_ascii = all(text.isascii() for text in texts if text)
    return (info, None) if is_ascii else (None, info)
