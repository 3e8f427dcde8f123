"""Transfers at EPP registries (RFC 5731 section 3.2.4): to here, and the answers to those that others ask for."""

from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from provision_worker.effects import Thing, fenced
from provision_worker.job import Json, Outcome, again, completed, failed, pending
from provision_worker.providers import epp
from provision_worker.providers.epp.domain import DomainInfo, DomainUpdate
from provision_worker.task import Site, Task

from . import contact, domain, price, registry

REQUEST, CONTACTS, SECRET = "transfer.request", "transfer.contacts", "transfer.secret"
OVERDUE_SECONDS = 3600.0
"""So long after its due date a transfer that nobody has decided is taken back."""
ENDINGS = {
    "clientRejected": "was rejected by its registrar",
    "clientCancelled": "was cancelled",
    "serverCancelled": "was cancelled by the registry",
}
ANSWERS = {
    "approve": (epp.TransferOp.APPROVE, ("clientApproved", "serverApproved")),
    "reject": (epp.TransferOp.REJECT, ("clientRejected",)),
    "cancel": (epp.TransferOp.CANCEL, ("clientCancelled", "serverCancelled")),
}


def request(task: Task) -> Outcome:
    """Asks for a domain of another registrar, and waits until that, the registry or time has decided."""
    name = task.job.data["name"]
    row = task.resources.row("domain", "secret", id=task.job.reference_id)
    if not row:
        return failed("the auth info is gone; the row is final already")
    secret: str = row["value"]
    if known := within(task):
        return stays(known) or _handed_over(task, name)

    def find(token: UUID) -> Thing | None:
        found = registry.look(task.site, epp.domain.info(name))
        state = query(task.site, name, secret)
        is_asked = state and state.status == "pending" and state.requested_by == task.site.accreditation.registrar_id
        return Thing(name) if is_asked or (found and registry.is_sponsored(task.site, found)) else None

    def make(token: UUID) -> Thing:
        found = registry.look(task.site, epp.domain.info(name, secret))
        _require_foreign(task.site, found, name)
        years = task.job.data["period"]
        command = epp.domain.transfer(epp.TransferOp.REQUEST, name, secret, years)
        registry.send(task.site, price.within_limit(task.site, task.job.data, command, "transfer", years or 1), token)
        return Thing(name, {"from": found.trail.sponsor if found else None})

    made = task.effects.once(REQUEST, {"name": name}, make=make, find=find)
    found = registry.look(task.site, epp.domain.info(name))
    if found and registry.is_sponsored(task.site, found):
        return _arrived(task, name)
    return _undecided(task, name, query(task.site, name, secret), made.get("from"))


def within(task: Task) -> dict[str, Any] | None:
    """What is known of a name that another customer has at this accreditation, so that no registry need transfer it.

    None: it is with another registrar. Else `refusal` says why it stays where it is, and `is_busy` that its customer is
    doing something else with it; with neither, the transfer has it to itself.
    """
    job = task.job
    with fenced():
        row = task.resources.row("domain", "transfer_within", job=job.job_id, claim_no=job.claim_no)
    return row if row and row["is_within"] else None


def stays(known: dict[str, Any]) -> Outcome | None:
    """Why a name of another customer at this accreditation does not change hands, or not yet; None: it may."""
    if known["refusal"]:
        return failed(known["refusal"])
    return (
        again(registry.BUSY_SECONDS, message="its customer is doing something else with it")
        if known["is_busy"]
        else None
    )


def _handed_over(task: Task, name: str) -> Outcome:
    """A name that changes hands here: it has the contacts of its new holder then, or does not go."""
    found = registry.require_ours(task.site, registry.look(task.site, epp.domain.info(name)), name)
    for verb in ("Transfer", "Update"):
        registry.require_open(found, name, verb)
    _change_contacts(task, name)
    return _completed(task, name)


def _require_foreign(site: Site, found: DomainInfo | None, name: str) -> None:
    if found is None:
        raise registry.Refused(f"the registry does not have {name}")
    if registry.is_sponsored(site, found):
        raise registry.Refused(f"{name} is with this registrar already")
    registry.require_open(found, name, "Transfer")


def _undecided(task: Task, name: str, state: epp.Transfer | None, losing: str | None) -> Outcome:
    """What to make of a transfer that has not brought the domain here."""
    if state and state.status == "pending":
        due = state.acted_at
        overdue = _seconds_since(task, due)
        if overdue is not None and overdue > OVERDUE_SECONDS:
            registry.send(task.site, epp.domain.transfer(epp.TransferOp.CANCEL, name), uuid4())
            task.effects.gone(REQUEST)
            return failed(f"nobody decided about the transfer of {name} until {due:%Y-%m-%d}; it was taken back")
        looks = int(task.state.get("looks", 0)) + 1
        until = f" until {due:%Y-%m-%d}" if due else ""
        return pending(registry.patience(looks), {"looks": looks}, f"{losing or 'its registrar'} may answer{until}")
    task.effects.gone(REQUEST)
    status = state.status if state else ""
    return failed(f"the transfer of {name} {ENDINGS.get(status, f'ended as {status or chr(63)}')}")


def _seconds_since(task: Task, due: datetime | None) -> float | None:
    row = task.resources.row("registry", "seconds_since", due=due) if due else None
    return row["seconds"] if row else None


def _arrived(task: Task, name: str) -> Outcome:
    """A domain that has come; it keeps the contacts it came with if the registry will not change them, for a lock."""
    with suppress(epp.EppRefused):
        _change_contacts(task, name)
    return _completed(task, name)


def _completed(task: Task, name: str) -> Outcome:
    """All there is to know of a domain that is here now, after it was given a secret that nobody else knows."""
    is_new = _change_secret(task, name)
    found = registry.require_ours(task.site, registry.look(task.site, epp.domain.info(name)), name)
    return completed({**describe(task.site, found), "is_secret_new": is_new})


def _change_contacts(task: Task, name: str) -> None:
    """Gives the domain the contacts that were ordered, if any. Asked again, it asks for what is still missing."""
    if not (handles := task.job.data.get("contacts")):
        return
    wanted = domain.Wanted.of({"name": name, "contacts": handles, "host_model": "objects"})

    def make(token: UUID) -> Thing:
        found = registry.require_ours(task.site, registry.look(task.site, epp.domain.info(name)), name)
        for command in wanted.commands(found, is_secret_told=True):
            registry.send(task.site, command, token)
        return Thing(name)

    task.effects.once(CONTACTS, {"name": name}, make=make, find=lambda token: None)


def _change_secret(task: Task, name: str) -> bool:
    """Gives the domain the secret that is kept for it; false if the registry will not, for a lock maybe."""
    row = task.resources.row("domain", "secret", id=task.job.job_id)
    if not row:
        return False
    command = epp.domain.update(DomainUpdate(name, auth_info=row["value"]))

    def make(token: UUID) -> Thing:
        try:
            registry.send(task.site, command, token)
        except epp.EppRefused:
            return Thing(name, {"is_new": False})
        return Thing(name, {"is_new": True})

    return bool(task.effects.once(SECRET, {"name": name}, make=make, find=lambda token: None).get("is_new"))


def describe(site: Site, found: DomainInfo) -> Json:
    """A domain as it is taken into the inventory: dates, statuses, name servers, contacts and DNSSEC records."""
    # As the inventory spells them, whatever the registry does.
    serving = {name.lower() for name in found.host_objects}
    names = dict.fromkeys(name.lower() for name in (*found.host_objects, *found.subordinate_hosts))
    roles = [("registrant", found.registrant)] if found.registrant else []
    roles += [(contact.role, contact.handle) for contact in found.contacts]
    people = {handle: _contact(site, handle) for handle in dict.fromkeys(handle for _, handle in roles)}
    return {
        "roid": found.roid,
        "ry_created_date": _text(found.trail.created_at),
        "ry_expiry_date": _text(found.expires_at),
        "statuses": registry.kept_statuses(found),
        "hosts": [_host(site, name, name in serving) for name in names] + list(map(_attribute, found.host_attributes)),
        "contacts": [{"type": role, "handle": handle, **people[handle]} for role, handle in roles],
        "ds_records": [asdict(record) for record in found.ds_records],
    }


def _host(site: Site, name: str, serves: bool) -> Json:
    found = registry.look(site, epp.host.info(name))
    addresses = [str(address) for address in found.addresses] if found else []
    return {"name": name, "serves": serves, "addresses": addresses, "roid": found.roid if found else None}


def _attribute(host: epp.host.Host) -> Json:
    return {"name": host.name.lower(), "serves": True, "addresses": list(map(str, host.addresses)), "roid": None}


def _contact(site: Site, handle: str) -> dict[str, Any]:
    """Details of a contact; none of one that the registry shows to its own registrar only."""
    try:
        found = registry.look(site, epp.contact.info(handle))
    except epp.EppRefused:
        return {}
    return contact.described(found) if found else {}


def answer(task: Task) -> Outcome:
    """Approves, rejects or cancels a transfer; done as well if that is how it ended."""
    name, action = task.job.data["name"], task.job.data["action"]
    op, wanted = ANSWERS[action]

    def find(token: UUID) -> Thing | None:
        state = query(task.site, name)
        return None if state and state.status == "pending" else Thing(name, {"status": state.status if state else ""})

    def make(token: UUID) -> Thing:
        result = registry.send(task.site, epp.domain.transfer(op, name), token)
        return Thing(name, {"status": result.data.status or wanted[0]})

    step = f"transfer.{action}"
    made = task.effects.once(step, {"name": name}, make=make, find=find, look_first=True)
    if made["status"] in wanted:
        return completed({"transfer_status": made["status"]})
    task.effects.gone(step)
    return failed(f"the transfer of {name} had ended: {made['status'] or 'there is none'}")


def find_request(site: Site, parameters: dict[str, Any], token: UUID) -> str | None:
    """The transfer that an effect was to ask for, if the domain has come or is on its way."""
    name = parameters["name"]
    state = query(site, name)
    is_asked = state and state.status == "pending" and state.requested_by == site.accreditation.registrar_id
    return f"{REQUEST} {name}" if is_asked or registry.find(site, epp.domain.info(name)) else None


def find_detail(site: Site, parameters: dict[str, Any], token: UUID) -> str | None:
    """A new secret or other contacts of a domain: they stay or fall with the transfer."""
    return None


def find_answer(site: Site, parameters: dict[str, Any], token: UUID) -> str | None:
    """An answer that may have been given: there is no transfer to be answered any more."""
    state = query(site, parameters["name"])
    return None if state and state.status == "pending" else f"the answer to the transfer of {parameters['name']}"


def query(site: Site, name: str, secret: str | None = None) -> epp.Transfer | None:
    """How the last transfer of a domain stands; None: there was none, or the registry does not tell us."""
    try:
        return registry.send(site, epp.domain.transfer(epp.TransferOp.QUERY, name, secret), uuid4()).data
    except epp.EppRefused:
        return None


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
