"""Transfers of domains and contacts (RFC 5730 section 2.9.3.4), by their five operations or approved by time."""

from __future__ import annotations

from provision_worker.providers.epp.xml import Element, node, stamp

from . import common
from .records import Contact, Domain, Request, TransferState, plus_years
from .results import Answer, Refusal
from .store import Store

Movable = Contact | Domain


def transfer(store: Store, request: Request) -> Answer:
    """One of the five operations."""
    record: Movable = store.domain(request.name) if request.kind == "domain" else store.contact(request.name)
    operation = {"request": _request, "query": _query, "approve": _approve, "reject": _reject, "cancel": _cancel}.get(
        request.op or ""
    )
    if operation is None:
        raise Refusal(2001, f"transfer has no op {request.op!r}")
    return operation(store, request, record)


def _request(store: Store, request: Request, record: Movable) -> Answer:
    if not common.knows_secret(request, record.auth_info):
        raise Refusal(2003, "authInfo is required")
    if record.sponsor == request.registrar:
        raise Refusal(2106, f"{record.name} is yours already")
    if "pendingTransfer" in record.statuses:
        raise Refusal(2300, f"{record.name} is being transferred already")
    blocking = common.blocking_statuses(record, "Transfer")
    if blocking:
        raise Refusal(2304, f"{record.name} has status {', '.join(sorted(blocking))}")
    state = TransferState(
        status="pending",
        requested_by=request.registrar,
        requested_at=store.now(),
        acted_by=record.sponsor,
        acted_at=store.now() + store.policy.transfer_wait,
        years=_years(request, record),
    )
    record.transfer = state
    if store.policy.transfer_at_once:
        _finish(store, record, state, "serverApproved")
        return Answer(data=_data(record, state))
    record.statuses.add("pendingTransfer")
    store.notify(record.sponsor, f"Transfer of {record.name} requested.", _data(record, state))
    if isinstance(record, Domain):
        store.remind(state.acted_at, record.name)
    return Answer(1001, data=_data(record, state))


def _years(request: Request, record: Movable) -> int:
    """A domain gains a year by a transfer unless the request says otherwise; a contact has no expiry."""
    if not isinstance(record, Domain):
        return 0
    period = request.payload.findtext("{*}period") or "1"
    if not period.isdigit() or not 1 <= int(period) <= 10:
        raise Refusal(2004, "the period is 1–10 years")
    return int(period)


def _query(store: Store, request: Request, record: Movable) -> Answer:
    if record.transfer is None:
        raise Refusal(2301, f"{record.name} has never been transferred")
    parties = (record.sponsor, record.transfer.requested_by, record.transfer.acted_by)
    if not common.knows_secret(request, record.auth_info) and request.registrar not in parties:
        raise Refusal(2201, f"{record.name} is transferred between other registrars")
    return Answer(data=_data(record, record.transfer))


def _approve(store: Store, request: Request, record: Movable) -> Answer:
    state = _pending(record)
    common.require_sponsor(record, request)
    return _settled(store, record, state, "clientApproved", state.requested_by)


def _reject(store: Store, request: Request, record: Movable) -> Answer:
    state = _pending(record)
    common.require_sponsor(record, request)
    return _settled(store, record, state, "clientRejected", state.requested_by)


def _cancel(store: Store, request: Request, record: Movable) -> Answer:
    state = _pending(record)
    if state.requested_by != request.registrar:
        raise Refusal(2201, f"the transfer of {record.name} was requested by another registrar")
    return _settled(store, record, state, "clientCancelled", record.sponsor)


def _pending(record: Movable) -> TransferState:
    if record.transfer is None or "pendingTransfer" not in record.statuses:
        raise Refusal(2301, f"{record.name} is not being transferred")
    return record.transfer


def approve_if_due(store: Store, domain: Domain) -> None:
    """The registry approves by itself, or cancels, what the losing registrar did not answer in time."""
    state = domain.transfer
    if state is None or "pendingTransfer" not in domain.statuses or state.acted_at > store.now():
        return
    if store.policy.transfer_unanswered == "keep":
        return
    losing, how = domain.sponsor, "approved" if store.policy.transfer_unanswered == "approve" else "cancelled"
    _finish(store, domain, state, "serverApproved" if how == "approved" else "serverCancelled")
    for registrar in (losing, state.requested_by):
        store.notify(registrar, f"Transfer of {domain.name} {how} by the registry.", _data(domain, state))


def _settled(store: Store, record: Movable, state: TransferState, status: str, told: str) -> Answer:
    _finish(store, record, state, status)
    store.notify(told, f"Transfer of {record.name}: {status}.", _data(record, state))
    return Answer(data=_data(record, state))


def _finish(store: Store, record: Movable, state: TransferState, status: str) -> None:
    """Ends a transfer; if approved, the object and the hosts below it change hands."""
    record.statuses.discard("pendingTransfer")
    state.status = status
    if status == "clientCancelled":
        state.acted_by = state.requested_by
    state.acted_at = store.now()
    if status.endswith("Approved"):
        _hand_over(store, record, state)


def _hand_over(store: Store, record: Movable, state: TransferState) -> None:
    record.sponsor = state.requested_by
    record.transferred_at = store.now()
    if isinstance(record, Domain):
        for host in store.subordinates(record.name):
            host.sponsor, host.transferred_at = state.requested_by, store.now()
        latest = plus_years(store.now(), store.policy.max_years)
        record.expires_at = min(plus_years(record.expires_at, state.years), latest)
        record.grace = {"transferPeriod": store.now() + store.policy.transfer_grace}
        store.remind(record.grace["transferPeriod"], record.name)
        store.remind(record.expires_at, record.name)


def _data(record: Movable, state: TransferState) -> Element:
    kind = "domain" if isinstance(record, Domain) else "contact"
    return node(
        f"{kind}:trnData",
        node(common.key_of(kind), record.name),
        node(f"{kind}:trStatus", state.status),
        node(f"{kind}:reID", state.requested_by),
        node(f"{kind}:reDate", stamp(state.requested_at)),
        node(f"{kind}:acID", state.acted_by),
        node(f"{kind}:acDate", stamp(state.acted_at)),
        node("domain:exDate", stamp(record.expires_at)) if isinstance(record, Domain) else None,
    )
