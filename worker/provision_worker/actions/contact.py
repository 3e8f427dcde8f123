"""Contacts at EPP registries (RFC 5733)."""

import secrets
from typing import Any
from uuid import UUID

from provision_worker.job import Outcome, failed
from provision_worker.providers import epp
from provision_worker.task import Site, Task

from . import registry


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


def find(site: Site, parameters: dict[str, Any], token: UUID) -> str | None:
    """The handle that an effect was to create, if it is there and ours."""
    handle: str = parameters["name"]
    return handle if registry.find(site, epp.contact.info(handle)) else None


def why_missing(site: Site, handle: str) -> str | None:
    """Why a contact of the inventory is gone outside; None if it is not."""
    return registry.why_missing(site, epp.contact.info(handle))


def _details(task: Task) -> epp.contact.ContactDetails:
    data = task.job.data
    postal = _postal(data["postal"])
    # RFC 5733 section 2.2: the international form is US-ASCII; anything else is the local form.
    is_ascii = all(text.isascii() for text in _texts(data["postal"]))
    return epp.contact.ContactDetails(
        handle=data["handle"],
        email=data["email"],
        international=postal if is_ascii else None,
        local=None if is_ascii else postal,
        voice=data.get("phone"),
        fax=data.get("fax"),
        # RFC 5733 asks for one; contacts are never transferred, so nobody needs to know it.
        auth_info=secrets.token_urlsafe(12),
    )


def _postal(postal: dict[str, Any]) -> epp.contact.PostalInfo:
    return epp.contact.PostalInfo(
        name=postal["name"],
        organisation=postal.get("organization"),
        streets=tuple(postal.get("street") or ()),
        city=postal["city"],
        state=postal.get("state"),
        postal_code=postal.get("postal_code"),
        country=postal["country_code"],
    )


def _texts(postal: dict[str, Any]) -> list[str]:
    values = [value for value in postal.values() if value]
    return [text for value in values for text in (value if isinstance(value, list) else [value])]
