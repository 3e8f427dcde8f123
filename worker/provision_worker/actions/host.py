"""Name server objects at EPP registries (RFC 5732)."""

from ipaddress import ip_address
from typing import Any
from uuid import UUID

from provision_worker.job import Outcome, completed, failed
from provision_worker.providers import epp
from provision_worker.task import Site, Task

from . import registry

UPDATE, DELETE = "host.update", "host.delete"


def create(task: Task) -> Outcome:
    """Creates a host, or shares the one that is there.

    A registrar has each host once, so that several customers use the same object. One with other addresses than asked
    for is not shared: its addresses are somebody's name server. Where name servers are attributes of domains, there is
    nothing to create.
    """
    if not task.job.data["is_object"]:
        return completed()
    name = task.job.data["name"]
    try:
        addresses = tuple(ip_address(text) for text in task.job.data.get("addresses") or ())
        command = epp.host.create(epp.host.Host(name, addresses))
    except ValueError as error:
        return failed(str(error))
    return registry.create(
        task,
        command,
        epp.host.info(name),
        is_ours=lambda found: not addresses or set(addresses) == set(found.addresses),
        result=lambda found: {"roid": found.roid},
    )


def update(task: Task) -> Outcome:
    """Gives a host the addresses it is to have, and no others; attributes of domains follow with the domains."""
    if not task.job.data["is_object"]:
        return completed()
    name = task.job.data["name"]
    wanted = _addresses(task.job.data["addresses"])
    return registry.amend(
        task, UPDATE, epp.host.info(name), lambda found: _difference(name, set(found.addresses), wanted)
    )


def delete(task: Task) -> Outcome:
    """Deletes a host; one that others have made known too stays at the registry."""
    name = task.job.data["name"]
    if task.job.data["is_shared"] or not task.job.data["is_object"]:
        return completed()
    return registry.remove(task, DELETE, epp.host.info(name), epp.host.delete(name))


def _addresses(texts: list[str]) -> set[epp.host.Address]:
    return set(map(ip_address, texts))


def _difference(name: str, has: set[epp.host.Address], wanted: set[epp.host.Address]) -> list[epp.Command[None]]:
    if has == wanted:
        return []
    added, removed = (tuple(sorted(some, key=str)) for some in (wanted - has, has - wanted))
    return [epp.host.update(epp.host.HostUpdate(name, add_addresses=added, remove_addresses=removed))]


def find_update(site: Site, parameters: dict[str, Any], token: UUID) -> str | None:
    """The change of a host that an effect was to bring about, if the registry has it."""
    found = registry.look(site, epp.host.info(parameters["name"]))
    is_there = found is not None and set(found.addresses) == _addresses(parameters["addresses"])
    return f"{UPDATE} {parameters['name']}" if is_there else None


def find_deletion(site: Site, parameters: dict[str, Any], token: UUID) -> str | None:
    """The deletion of a host that an effect was to bring about, if it is gone."""
    return registry.find_removal(site, DELETE, epp.host.info(parameters["name"]))


def find(site: Site, parameters: dict[str, Any], token: UUID) -> str | None:
    """The name of the host that an effect was to create, if it is there and ours."""
    name: str = parameters["name"]
    return name if registry.find(site, epp.host.info(name)) else None


def why_missing(site: Site, name: str) -> str | None:
    """Why a host of the inventory is gone outside; None if it is not."""
    return registry.why_missing(site, epp.host.info(name))
