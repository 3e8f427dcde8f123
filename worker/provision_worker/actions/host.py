"""Name server objects at EPP registries (RFC 5732)."""

from ipaddress import ip_address
from typing import Any
from uuid import UUID

from provision_worker.job import Outcome, failed
from provision_worker.providers import epp
from provision_worker.task import Site, Task

from . import registry


def create(task: Task) -> Outcome:
    """Creates a host, or shares the one that is there.

    A registrar has each host once, so that several customers use the same object. One with other addresses than asked
    for is not shared: its addresses are somebody's name server.
    """
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


def find(site: Site, parameters: dict[str, Any], token: UUID) -> str | None:
    """The name of the host that an effect was to create, if it is there and ours."""
    name: str = parameters["name"]
    return name if registry.find(site, epp.host.info(name)) else None


def why_missing(site: Site, name: str) -> str | None:
    """Why a host of the inventory is gone outside; None if it is not."""
    return registry.why_missing(site, epp.host.info(name))
