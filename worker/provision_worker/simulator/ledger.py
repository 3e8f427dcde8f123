"""What the registry was asked and did, in order: how a test proves that exactly one thing exists."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Entry:
    """One command. `code` is what became of it inside, whatever answer a `fault` let out; None if cut off before.

    `object` is `contact`, `host`, `domain`, or empty for `login`, `logout` and `poll`; `at` is the registry's time.
    """

    number: int
    at: datetime
    registrar: str
    verb: str
    object: str
    name: str
    op: str | None
    cl_trid: str | None
    sv_trid: str
    code: int | None
    fault: str | None

    @property
    def executed(self) -> bool:
        """Whether the command did what it says, or will (1001)."""
        return self.code is not None and self.code < 2000


class Ledger:
    """All entries since the start; safe to read while the registry works."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._lock = threading.Lock()

    def append(self, entry: Entry) -> None:
        """Adds an entry."""
        with self._lock:
            self._entries.append(entry)

    def __len__(self) -> int:
        with self._lock:
            return len(self._entries)

    def entries(
        self,
        verb: str | None = None,
        object: str | None = None,
        name: str | None = None,
        registrar: str | None = None,
        cl_trid: str | None = None,
        executed: bool | None = None,
    ) -> list[Entry]:
        """The entries with these values, oldest first; None matches everything."""
        wanted = {
            key: value
            for key, value in (
                ("verb", verb),
                ("object", object),
                ("name", name),
                ("registrar", registrar),
                ("cl_trid", cl_trid),
                ("executed", executed),
            )
            if value is not None
        }
        with self._lock:
            entries = list(self._entries)
        return [entry for entry in entries if all(getattr(entry, key) == value for key, value in wanted.items())]

    def executed(self, verb: str, object: str, name: str) -> int:
        """How often that command was carried out on that object."""
        return len(self.entries(verb=verb, object=object, name=name, executed=True))
