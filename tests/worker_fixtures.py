"""What the tests of the worker share: workers that run in threads, jobs of any type, and waiting for what they do.

Nothing here sleeps for a time that is hoped to be enough: `eventually` asks until the answer is yes.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, LiteralString, TypeVar
from uuid import UUID

import psycopg
import pytest
from provision_worker.actions import Action, Actions
from provision_worker.job import Outcome, completed
from provision_worker.loop import Worker
from provision_worker.task import Task
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from provision.settings import Settings
from tests.conftest import Database

T = TypeVar("T")
PATIENCE_SECONDS = 10.0


def eventually(ask: Callable[[], T], what: str = "it", patience: float = PATIENCE_SECONDS) -> T:
    """The first answer of `ask` that is true. Fails after `patience` seconds."""
    deadline = time.monotonic() + patience
    while not (answer := ask()):
        assert time.monotonic() < deadline, f"{what} did not happen within {patience} s"
        time.sleep(0.005)
    return answer


def inline(function: Callable[[Task], Outcome]) -> Actions:
    """The action `test`, which runs in the loop."""
    return {"test": Action(function, inline=True)}


def threaded(function: Callable[[Task], Outcome]) -> Actions:
    """The action `test`, which runs in a thread."""
    return {"test": Action(function)}


@dataclass
class Gate:
    """An action's stop: `entered` counts those who came, and nobody goes on before `opened`."""

    opened: threading.Event = field(default_factory=threading.Event)
    entered: int = 0
    inside: int = 0
    most_inside: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def open(self) -> None:
        """Everybody may go on."""
        self.opened.set()

    def pass_through(self) -> None:
        """Waits until the gate is open; half a minute at most, so that no failed test hangs."""
        with self._lock:
            self.entered += 1
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
        try:
            assert self.opened.wait(30), "nobody opened the gate"
        finally:
            with self._lock:
                self.inside -= 1

    def complete(self, task: Task) -> Outcome:
        """An action that passes through and is done."""
        self.pass_through()
        return completed()


class Engine:
    """A migrated database of the test's own, and workers on it."""

    def __init__(self, database: Database, owner: psycopg.Connection) -> None:
        self.database = database
        self.owner = owner

    def settings(self, **changes: Any) -> Settings:
        """Settings of a worker; polls seldom unless told otherwise, so that tests see whether they are woken."""
        url = self.database.url_as("provision_worker")
        return Settings.model_validate(
            {"worker_database_url": url, "worker_concurrency": 4, "log_level": "error"} | changes
        )

    @contextmanager
    def worker(self, actions: Actions, *, paused: bool = False, **settings: Any) -> Iterator[Worker]:
        """A worker in a thread, registered; stopped gracefully at the end."""
        worker = Worker(self.settings(**settings), actions, paused=paused)
        failures: list[BaseException] = []

        def run() -> None:
            try:
                worker.run()
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=run, name="worker")
        thread.start()
        try:
            eventually(lambda: worker.id or failures, "registration")
            yield worker
        finally:
            worker.stop()
            thread.join(60)
            assert not thread.is_alive(), "the worker did not stop"
            assert not failures, failures

    def value(self, query: LiteralString, *parameters: object) -> Any:
        """The first column of the first row."""
        row = self.owner.execute(query, parameters).fetchone()
        return row[0] if row else None

    def row(self, query: LiteralString, *parameters: object) -> dict[str, Any]:
        """The first row, by column."""
        row = self.owner.cursor(row_factory=dict_row).execute(query, parameters).fetchone()
        assert row, query
        return row

    def submit(
        self,
        data: dict[str, Any] | None = None,
        *,
        type: str = "test",
        accreditation: UUID | None = None,
        limit: int = 8,
    ) -> UUID:
        """A new job."""
        job: UUID = self.value(
            "INSERT INTO job (type, data, accreditation_id, max_attempts) VALUES (%s, %s, %s, %s) RETURNING id",
            type,
            Jsonb(data or {}),
            accreditation,
            limit,
        )
        return job

    def job(self, job: UUID) -> dict[str, Any]:
        """The job as operators see it."""
        return self.row("SELECT * FROM v_job WHERE id = %s", job)

    def ended(self, job: UUID, patience: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """The job, once it has ended."""
        eventually(
            lambda: self.value("SELECT finished_date IS NOT NULL FROM job WHERE id = %s", job), f"job {job}", patience
        )
        return self.job(job)

    def attempted(self, job: UUID, times: int = 1) -> dict[str, Any]:
        """The job, once it has been put off and nobody holds it."""
        eventually(
            lambda: self.value("SELECT attempts >= %s FROM v_job WHERE id = %s AND worker IS NULL", times, job),
            f"attempt {times} of {job}",
        )
        return self.job(job)

    def waits_for_lock(self, pattern: str) -> bool:
        """Whether a worker's statement that matches the LIKE pattern waits for a lock."""
        return bool(
            self.value(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
                " AND usename = 'provision_worker' AND query LIKE %s",
                pattern,
            )
        )

    def someone_sleeps(self) -> bool:
        """Whether a worker is the sentinel, and has polled for the last time before it sleeps."""
        return bool(
            self.value(
                "SELECT count(*) FROM pg_stat_activity AS a JOIN pg_locks AS l ON l.pid = a.pid"
                " WHERE l.locktype = 'advisory' AND l.granted AND l.mode = 'ExclusiveLock' AND l.objid ="
                " (job_wake_key() & x'ffffffff'::bigint)::oid AND a.state = 'idle' AND a.query LIKE '%%job_next_due%%'"
                " AND a.datname = current_database()"
            )
        )


@pytest.fixture
def engine(database: Database, owner: psycopg.Connection) -> Engine:
    """A fresh engine without workers."""
    return Engine(database, owner)


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    """For what must be closed at the end of a test, in reverse order."""
    with ExitStack() as stack:
        yield stack


def make_accreditation(engine: Engine, name: str = "lane", **columns: Any) -> UUID:
    """An accreditation of its own tenant, by default at AWS."""
    values = {"provider": "aws"} | columns
    tenant = engine.value("INSERT INTO tenant (name) VALUES (%s) RETURNING id", f"tenant of {name}")
    accreditation: UUID = engine.value(
        "INSERT INTO accreditation (tenant_id, name, provider, max_concurrency) VALUES (%s, %s, %s, %s) RETURNING id",
        tenant,
        name,
        values["provider"],
        values.get("max_concurrency"),
    )
    return accreditation
