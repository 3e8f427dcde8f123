"""What time does to a domain: grace periods (RFC 3915), redemption, purge, auto-renewal, transfers nobody answered."""

from __future__ import annotations

from datetime import datetime, timedelta

from provision_worker.providers.epp.xml import node, stamp

from . import transfers
from .records import Domain, plus_years
from .store import Store


def run(store: Store) -> None:
    """Does everything that has become due."""
    while (name := store.next_due()) is not None:
        domain = store.domains.get(name)
        if domain is not None:
            _age(store, domain)


def _age(store: Store, domain: Domain) -> None:
    ended = [(until, status) for status, until in domain.grace.items() if until <= store.now()]
    for until, status in sorted(ended):
        domain.grace.pop(status, None)
        _end(store, domain, status, until)
    if domain.name in store.domains:
        transfers.approve_if_due(store, domain)
        _auto_renew(store, domain)


def _end(store: Store, domain: Domain, status: str, ended_at: datetime) -> None:
    if status == "redemptionPeriod":
        grant(store, domain, "pendingDelete", store.policy.pending_delete, ended_at)
    elif status == "pendingDelete":
        store.remove("domain", domain.name)
        store.notify(domain.sponsor, f"{domain.name} was purged.")
    elif status == "pendingRestore":
        redeemable(store, domain, ended_at)


def _auto_renew(store: Store, domain: Domain) -> None:
    """A name that is not being deleted is renewed by a year when it expires, which can be taken back for a while."""
    if domain.expires_at > store.now() or "pendingDelete" in domain.statuses:
        return
    while domain.expires_at <= store.now():
        extend(store, domain, plus_years(domain.expires_at, 1))
    grant(store, domain, "autoRenewPeriod", store.policy.auto_renew_grace)
    store.notify(
        domain.sponsor,
        f"{domain.name} was renewed automatically.",
        node(
            "domain:infData",
            node("domain:name", domain.name),
            node("domain:roid", domain.roid),
            node("domain:clID", domain.sponsor),
            node("domain:exDate", stamp(domain.expires_at)),
        ),
    )


def grant(store: Store, domain: Domain, status: str, length: timedelta, since: datetime | None = None) -> None:
    """Starts a grace period at `since`, by default now, unless it has no length."""
    if length > timedelta(0):
        domain.grace[status] = (since or store.now()) + length
        store.remind(domain.grace[status], domain.name)


def extend(store: Store, domain: Domain, expires_at: datetime) -> None:
    """Gives a domain a later expiry."""
    domain.expires_at = expires_at
    store.remind(expires_at, domain.name)


def redeemable(store: Store, domain: Domain, since: datetime | None = None) -> None:
    """Puts a deleted domain into its redemption period at `since`, by default now."""
    domain.statuses.add("pendingDelete")
    domain.grace.clear()
    grant(store, domain, "redemptionPeriod", store.policy.redemption, since)


def restore(store: Store, domain: Domain) -> None:
    """Restores a domain, or waits for the report where the policy wants one."""
    domain.grace.clear()
    if store.policy.wants_report(domain.name):
        grant(store, domain, "pendingRestore", store.policy.pending_restore)
    else:
        restored(store, domain)


def restored(store: Store, domain: Domain) -> None:
    """The end of a restore; a name that expired meanwhile is renewed until it is valid again."""
    domain.grace.clear()
    domain.statuses.discard("pendingDelete")
    while domain.expires_at <= store.now():
        extend(store, domain, plus_years(domain.expires_at, 1))
