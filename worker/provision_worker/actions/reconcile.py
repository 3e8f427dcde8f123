"""Compares the database with the outside, both ways, for one accreditation.

Effects whose job has ended without their fate being known are looked for: `absent`, or `orphaned` when a thing is there
that no row stands for. Then every thing of the inventory is looked for, and those that are gone are noted with the
reason. Nothing is changed outside; v_attention shows what was found and what an operator can do about it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

import structlog

from provision_worker.effects import fenced
from provision_worker.job import Lease, Outcome, again, completed
from provision_worker.task import Site, Task

from . import allocation, certificate, contact, deployment, domain, host, hosting, lifecycle, registrar, transfer

log = structlog.get_logger(__name__)

PAGE = 100

# By the first word of the effect's step: the name of the thing outside, or None.
FIND: dict[str, Callable[[Site, dict[str, Any], UUID], str | None]] = {
    "contact.create": contact.find,
    "contact.update": contact.find_update,
    "contact.delete": contact.find_deletion,
    "host.create": host.find,
    "host.update": host.find_update,
    "host.delete": host.find_deletion,
    "domain.create": domain.find,
    "domain.update": domain.find_update,
    "domain.renew": lifecycle.find_renewal,
    "domain.delete": lifecycle.find_deletion,
    "domain.restore": lifecycle.find_restoration,
    "transfer.request": transfer.find_request,
    "transfer.contacts": transfer.find_detail,
    "transfer.secret": transfer.find_detail,
    "transfer.approve": transfer.find_answer,
    "transfer.reject": transfer.find_answer,
    "transfer.cancel": transfer.find_answer,
    "allocation.account": allocation.find_account,
    "allocation.budget": allocation.find_budget,
    "allocation.close": allocation.find_closed,
    "certificate.request": certificate.find,
    "certificate.revoke": certificate.find_end,
    "certificate.delete": certificate.find_end,
    "record.write": certificate.find_record,
    "compute.create": deployment.find_cluster,
    "group.create": deployment.find_group,
    "definition.register": deployment.find_definition,
    "task.run": deployment.find_task,
    "repository.create": deployment.find_repository,
    "project.create": deployment.find_repository,
    "image.build": deployment.find_repository,
    "secret.create": hosting.find_secret,
    "snapshot.create": hosting.find_snapshot,
    "database.restore": hosting.find_database,
    "machine.start": hosting.find_machine,
}
FIND |= dict.fromkeys(registrar.OPERATIONS, registrar.find)
# By inventory table: why the thing of that name is not there any more, or None.
WHY_MISSING: dict[str, Callable[[Site, str], str | None]] = {
    "contact": contact.why_missing,
    "host": host.why_missing,
    "domain": domain.why_missing,
    "allocation": allocation.why_missing,
    "certificate": certificate.why_missing,
    "compute_cluster": deployment.why_cluster_missing,
    "wpaas_backup": hosting.why_missing,
}
# At Route 53 Domains, where there are no contacts and hosts apart from domains.
WHY_MISSING_AT_AWS: dict[str, Callable[[Site, str], str | None]] = WHY_MISSING | {
    "contact": lambda site, name: None,
    "host": lambda site, name: None,
    "domain": registrar.why_missing,
}


class Place(NamedTuple):
    """How far a pass over the inventory has come."""

    table: str = ""
    id: UUID = UUID(int=0)


@dataclass
class Counts:
    """What a pass has found."""

    absent: int = 0
    orphaned: int = 0
    present: int = 0
    missing: int = 0


def run(task: Task) -> Outcome:
    """One page of the job `reconcile`; more pages are more looks, so that a large inventory keeps no worker busy."""
    counts = Counts(**task.state.get("counts", {}))
    after = Place()
    if "table" in task.state:
        after = Place(task.state["table"], UUID(task.state["id"]))
    else:
        settle_effects(task.site, counts, task.job)
    reached = check_inventory(task.site, after, counts)
    if reached is None:
        return completed(vars(counts))
    return again(0, {"table": reached.table, "id": str(reached.id), "counts": vars(counts)})


def run_all(site: Site) -> Counts:
    """A whole pass, for the command `provision reconcile`."""
    counts = Counts()
    settle_effects(site, counts)
    place: Place | None = Place()
    while place:
        place = check_inventory(site, place, counts)
    return counts


def settle_effects(site: Site, counts: Counts, lease: Lease | None = None) -> None:
    """Finds out about effects of unknown fate, at most a page of them, under the lease of the job that does it."""
    effects = site.resources.rows("effect", "open", accreditation=site.accreditation.id, limit=PAGE)
    for effect in effects:
        finder = FIND.get(effect["step"].split(" ")[0])
        if finder is None:
            log.warning("reconcile.unknown_step", step=effect["step"], job=str(effect["job_id"]))
            continue
        _settle(site, effect, finder(site, effect["parameters"], effect["token"]), counts, lease)


def _settle(site: Site, effect: dict[str, Any], name: str | None, counts: Counts, lease: Lease | None) -> None:
    is_orphaned = name is not None and not _is_known(site, name)
    status = "orphaned" if is_orphaned else "absent"
    orphan = name if is_orphaned else None
    with fenced():
        site.resources.execute(
            "effect",
            "settle",
            job=effect["job_id"],
            step=effect["step"],
            status=status,
            external_name=orphan,
            by_job=lease and lease.job_id,
            claim_no=lease and lease.claim_no,
        )
    log.info("reconcile.effect", job=str(effect["job_id"]), step=effect["step"], status=status, external_name=orphan)
    counts.orphaned += is_orphaned
    counts.absent += not is_orphaned


def _is_known(site: Site, name: str) -> bool:
    row = site.resources.row("reconcile", "is_known", accreditation=site.accreditation.id, name=name)
    return bool(row and row["is_known"])


def check_inventory(site: Site, after: Place, counts: Counts) -> Place | None:
    """Looks for a page of the inventory outside; returns how far it came, None at the end."""
    page = site.resources.rows(
        "reconcile",
        "inventory",
        accreditation=site.accreditation.id,
        after_table=after.table,
        after_id=after.id,
        limit=PAGE,
    )
    for thing in page:
        _check(site, thing, counts)
    return Place(page[-1]["table_name"], page[-1]["id"]) if len(page) == PAGE else None


def _check(site: Site, thing: dict[str, Any], counts: Counts) -> None:
    table, name = thing["table_name"], thing["name"]
    known = WHY_MISSING_AT_AWS if site.accreditation.provider == "aws" else WHY_MISSING
    reason = known[table](site, name)
    counts.missing += reason is not None
    counts.present += reason is None
    if reason != thing["missing_reason"]:
        site.resources.execute("effect", "missing", table=table, id=thing["id"], reason=reason)
        log.warning("reconcile.inventory", table=table, name=name, reason=reason or "it is there again")
