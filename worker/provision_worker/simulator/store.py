"""The registry's memory and clock; the rules are in the modules that work on it."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from provision_worker.providers.epp.xml import Element

from .records import Contact, Domain, Host, Message, Policy, Record
from .results import Refusal

R = TypeVar("R", bound=Record)


class Store:
    """Objects, message queues and due dates. Whoever uses it holds `lock`."""

    def __init__(self, registrars: Mapping[str, str], policy: Policy, clock: Callable[[], datetime] | None) -> None:
        """`registrars` are passwords by registrar id; `clock` gives the registry's time, by default UTC now."""
        self.policy = policy
        self.passwords = dict(registrars)
        self.contacts: dict[str, Contact] = {}
        self.hosts: dict[str, Host] = {}
        self.domains: dict[str, Domain] = {}
        self._stores: dict[str, dict[str, Any]] = {
            "contact": self.contacts,
            "host": self.hosts,
            "domain": self.domains,
        }
        self.queues: dict[str, deque[Message]] = {registrar: deque() for registrar in registrars}
        self.lock = threading.RLock()
        self.offset = timedelta(0)
        self._clock = clock or (lambda: datetime.now(UTC))
        self._serials = itertools.count(1)
        self._due: list[tuple[datetime, str]] = []

    def now(self) -> datetime:
        """The registry's time."""
        return self._clock() + self.offset

    def serial(self) -> int:
        """The next of the numbers that all ids are made from."""
        return next(self._serials)

    def roid(self, letter: str) -> str:
        """A new repository object id."""
        return f"{letter}{self.serial()}-SIM"

    def objects(self, kind: str) -> Mapping[str, Record]:
        """All objects of a kind by handle or name; KeyError for a kind there is not."""
        return self._stores[kind]

    def remove(self, kind: str, name: str) -> None:
        """Removes an object."""
        del self._stores[kind][name]

    def contact(self, handle: str) -> Contact:
        """The contact of that handle; Refusal(2303)."""
        return _there(self.contacts.get(handle), "contact", handle)

    def host(self, name: str) -> Host:
        """The host object of that name; Refusal(2303)."""
        return _there(self.hosts.get(name), "host", name)

    def domain(self, name: str) -> Domain:
        """The domain of that name; Refusal(2303)."""
        return _there(self.domains.get(name), "domain", name)

    def users_of_host(self, name: str) -> list[Domain]:
        """The domains that delegate to a host object."""
        return [domain for domain in self.domains.values() if name in domain.host_objects]

    def users_of_contact(self, handle: str) -> list[Domain]:
        """The domains that name a contact in any role."""
        return [domain for domain in self.domains.values() if handle in domain.handles()]

    def subordinates(self, name: str) -> list[Host]:
        """The host objects below a domain."""
        return [host for host in self.hosts.values() if host.superordinate == name]

    def notify(self, registrar: str, text: str, data: Element | None = None) -> None:
        """Puts a message into a registrar's queue."""
        self.queues.setdefault(registrar, deque()).append(Message(str(self.serial()), self.now(), text, data))

    def remind(self, at: datetime, domain: str) -> None:
        """Asks for a look at a domain when that time has come."""
        heapq.heappush(self._due, (at, domain))

    def next_due(self) -> str | None:
        """Takes the next domain that must be looked at by now."""
        if self._due and self._due[0][0] <= self.now():
            return heapq.heappop(self._due)[1]
        return None


def _there(record: R | None, kind: str, name: str) -> R:
    if record is None:
        raise Refusal(2303, f"{kind} {name} does not exist")
    return record
