"""The registry itself: carries out the commands of registrars on what it has in memory. No sockets here.

`Registry.execute` takes one command; the modules `contacts`, `hosts`, `domains`, `transfers` and `polling` know the
rules, and before every command `lifecycle` lets time take its course.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from provision_worker.providers.epp.xml import Element, node, stamp

from . import common, contacts, domains, hosts, lifecycle, polling, transfers
from .records import Policy, Record, Request
from .results import Answer, Refusal
from .store import Store

Handler = Callable[[Store, Request], Answer]

HANDLERS: dict[tuple[str, str], Handler] = {
    ("", "poll"): polling.poll,
    ("contact", "check"): contacts.check,
    ("contact", "info"): contacts.info,
    ("contact", "create"): contacts.create,
    ("contact", "delete"): contacts.delete,
    ("contact", "update"): contacts.update,
    ("contact", "transfer"): transfers.transfer,
    ("host", "check"): hosts.check,
    ("host", "info"): hosts.info,
    ("host", "create"): hosts.create,
    ("host", "delete"): hosts.delete,
    ("host", "update"): hosts.update,
    ("domain", "check"): domains.check,
    ("domain", "info"): domains.info,
    ("domain", "create"): domains.create,
    ("domain", "delete"): domains.delete,
    ("domain", "update"): domains.update,
    ("domain", "renew"): domains.renew,
    ("domain", "transfer"): transfers.transfer,
}

PENDING = {"create": "pendingCreate", "delete": "pendingDelete", "update": "pendingUpdate", "renew": "pendingRenew"}


@dataclass(frozen=True)
class Deferred:
    """A command that was answered with 1001 and waits for `settle`."""

    request: Request
    sv_trid: str


class Registry:
    """One registry. Every method may be called from any thread."""

    def __init__(
        self, registrars: Mapping[str, str], policy: Policy, clock: Callable[[], datetime] | None = None
    ) -> None:
        """`registrars` are passwords by registrar id; `clock` gives the registry's time, by default UTC now."""
        self.store = Store(registrars, policy, clock)
        self._deferred: dict[tuple[str, str], Deferred] = {}

    def advance(self, delta: timedelta) -> None:
        """Moves the registry's time ahead and does what has become due."""
        with self.store.lock:
            self.store.offset += delta
            lifecycle.run(self.store)

    def execute(self, request: Request, sv_trid: str, pending: bool = False) -> Answer:
        """Carries a command out; Refusal if the registry will not. With `pending` a transform is answered with 1001."""
        with self.store.lock:
            lifecycle.run(self.store)
            handler = HANDLERS[request.kind, request.verb]
            defer = pending and request.verb in PENDING
            answer = self._defer(request, sv_trid, handler) if defer else handler(self.store, request)
            answer.queue = polling.waiting(self.store, request.registrar) if answer.queue is None else answer.queue
            return answer

    def _defer(self, request: Request, sv_trid: str, handler: Handler) -> Answer:
        """A create is carried out and marked as pending; of the others only the mark is set."""
        answer = Answer()
        if request.verb == "create":
            answer = handler(self.store, request)
        record = self._record(request)
        if request.verb != "create":
            common.require_transformable(record, request)
        record.statuses.add(PENDING[request.verb])
        self._deferred[request.kind, request.name] = Deferred(request, sv_trid)
        answer.code = 1001
        return answer

    def _record(self, request: Request) -> Record:
        record = self.store.objects(request.kind).get(request.name)
        if record is None:
            raise Refusal(2303, f"{request.kind} {request.name} does not exist")
        return record

    def settle(self, kind: str, name: str, done: bool = True, reason: str = "") -> bool:
        """Decides about a pending command and tells its registrar by poll message; returns whether it was carried out.

        KeyError if nothing is pending there.
        """
        with self.store.lock:
            deferred = self._deferred.pop((kind, name), None)
            if deferred is None:
                raise KeyError(f"pending command on {kind} {name}")
            refusal = reason or "The registry decided against it." if not done else self._carry_out(deferred.request)
            if not done:
                self._take_back(deferred.request)
            text = f"{deferred.request.verb} {kind} {name}: {refusal or 'done'}"
            self.store.notify(deferred.request.registrar, text, self._pending_data(deferred, refusal is None))
            return refusal is None

    def _carry_out(self, request: Request) -> str | None:
        """Ends a pending command; why the registry refuses it after all, or None."""
        self._record(request).statuses.discard(PENDING[request.verb])
        if request.verb == "create":
            return None
        try:
            HANDLERS[request.kind, request.verb](self.store, request)
        except Refusal as refusal:
            return refusal.reason
        return None

    def _take_back(self, request: Request) -> None:
        self._record(request).statuses.discard(PENDING[request.verb])
        if request.verb == "create":
            self.store.remove(request.kind, request.name)

    def _pending_data(self, deferred: Deferred, done: bool) -> Element:
        kind, request = deferred.request.kind, deferred.request
        return node(
            f"{kind}:panData",
            node(common.key_of(kind), request.name, paResult="1" if done else "0"),
            node(
                f"{kind}:paTRID",
                None if request.cl_trid is None else node("epp:clTRID", request.cl_trid),
                node("epp:svTRID", deferred.sv_trid),
            ),
            node(f"{kind}:paDate", stamp(self.store.now())),
        )

    def objects(self, kind: str) -> dict[str, dict[str, object]]:
        """What exists of a kind, by name, as plain values for tests and people. KeyError for a kind there is not."""
        with self.store.lock:
            lifecycle.run(self.store)
            return {name: describe(record) for name, record in self.store.objects(kind).items()}


PLAIN = (
    "name",
    "roid",
    "sponsor",
    "created_by",
    "registrant",
    "contacts",
    "host_objects",
    "ds_records",
    "superordinate",
)


def describe(record: Record) -> dict[str, object]:
    """An object without its secrets, as JSON can hold it."""
    found: dict[str, object] = {key: getattr(record, key) for key in PLAIN if hasattr(record, key)}
    found["statuses"] = sorted(record.statuses)
    found["created_at"] = stamp(record.created_at)
    found["updated_at"] = stamp(record.updated_at) if record.updated_at else None
    for key in ("addresses", "host_attributes", "grace"):
        if hasattr(record, key):
            found[key] = [str(value) for value in getattr(record, key)]
    if hasattr(record, "expires_at"):
        found["expires_at"] = stamp(record.expires_at)
    return found
