"""The named statements of `sql/queries/job.sql` on one connection: the whole of what the loop asks the database."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import class_row, scalar_row
from psycopg.types.json import Jsonb

from provision.database import load_queries

from .job import Job, Json, Lease

CLUSTERS_AT_ONCE = 20


class Store:
    """One autocommit connection; every method is one transaction, and all but a few are one statement."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection
        self._queries = load_queries("job")

    def register(self, name: str, host: str, pid: int, version: str, types: Sequence[str]) -> UUID:
        """A new worker id; the database knows the worker by it from now on."""
        worker: UUID = self._value("register", name=name, host=host, pid=pid, version=version, types=list(types))
        return worker

    def heartbeat(self, worker: UUID) -> bool:
        """Keeps the worker's leases alive; False if it has been given up and its leases with it."""
        return bool(self._value("heartbeat", worker=worker))

    def deregister(self, worker: UUID) -> None:
        """Forgets the worker and hands back whatever it still holds."""
        self._value("deregister", worker=worker)

    def claim(self, worker: UUID, types: Sequence[str], limit: int) -> list[Job]:
        """Up to `limit` due jobs of these types, leased to the worker."""
        cursor = self.connection.cursor(row_factory=class_row(Job))
        parameters = {"worker": worker, "types": list(types), "limit": limit}
        return cursor.execute(self._queries["claim"], parameters).fetchall()

    def record(self, worker: UUID, results: Sequence[Json]) -> set[UUID]:
        """Records outcomes; returns the jobs whose lease is no longer held, for which nothing was recorded."""
        cursor = self.connection.cursor(row_factory=scalar_row)
        return set(cursor.execute(self._queries["record"], {"worker": worker, "results": Jsonb(list(results))}))

    def record_promptly(self, worker: UUID, results: Sequence[Json]) -> set[UUID]:
        """The same, in a transaction that waits 200 ms at most for what somebody else has locked.

        Raises:
            psycopg.errors.LockNotAvailable: that was not enough; nothing is recorded.
        """
        with self.connection.transaction():
            self.connection.execute(self._queries["be_prompt"])
            return self.record(worker, results)

    def held(self, worker: UUID) -> list[Lease]:
        """The claims that are leased to the worker."""
        cursor = self.connection.cursor(row_factory=class_row(Lease))
        return cursor.execute(self._queries["held"], {"worker": worker}).fetchall()

    def seconds_to_next_due(self, types: Sequence[str]) -> float | None:
        """Seconds until the earliest waiting job of these types is due (negative: overdue); None if there is none."""
        seconds: float | None = self._value("seconds_to_next_due", types=list(types))
        return seconds

    def sweep(self, worker: UUID) -> dict[str, Any]:
        """Does what is due in the database: dead workers' leases, schedules, partitions, pruning. Returns counters."""
        counters: dict[str, Any] | None = self._value("sweep", worker=worker)
        return counters or {}

    def tick_clusters(self) -> None:
        """Looks at clusters of which something is due, a few at a time, so that each is soon seen by others."""
        while self._value("tick_clusters", limit=CLUSTERS_AT_ONCE) == CLUSTERS_AT_ONCE:
            pass

    def be_sentinel(self) -> bool:
        """Tries to become the sleeper that new jobs notify, and listens if so."""
        if not self._value("be_sentinel"):
            return False
        self.connection.execute(self._queries["listen"])
        return True

    def be_no_sentinel(self) -> None:
        """Stops listening and lets another sleeper be the sentinel."""
        with self.connection.pipeline():
            self.connection.execute(self._queries["unlisten"])
            self.connection.execute(self._queries["be_no_sentinel"])

    def _value(self, query: str, **parameters: Any) -> Any:
        cursor = self.connection.cursor(row_factory=scalar_row)
        return cursor.execute(self._queries[query], parameters).fetchone()
