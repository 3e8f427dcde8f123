"""Kill -9, of workers at every point of an effect and of PostgreSQL under load: one thing outside, none lost.

The workers are processes and run the code that ships. One is stopped at a point from without, by a lock in the database
or by a registry that holds a command; then it is killed, and another one goes on.
`CRASH_SEEDS=50 pytest tests/test_crash.py` tries more moments than the few that always run.
"""

import os
import signal
import threading
from collections import Counter
from pathlib import Path
from uuid import UUID

import psycopg
from provision_worker.actions import Action
from provision_worker.effects import Thing
from provision_worker.job import Outcome, completed
from provision_worker.loop import Worker
from provision_worker.task import Task

from provision.database import connect
from provision.migrate import migrate
from provision.server import Server
from provision.settings import Settings

from .conftest import PG_BIN
from .worker_fixtures import eventually

# PostgreSQL


class Submitter(threading.Thread):
    """A client that submits one job after the other, and keeps what was acknowledged."""

    def __init__(self, url: str) -> None:
        super().__init__(name="submitter")
        self._url = url
        self._stopped = threading.Event()
        self.acknowledged: list[UUID] = []

    def run(self) -> None:
        while not self._stopped.is_set():
            try:
                with connect(self._url, "submitter", autocommit=True) as connection:
                    self._submit_on(connection)
            except psycopg.OperationalError:
                self._stopped.wait(0.05)

    def _submit_on(self, connection: psycopg.Connection) -> None:
        while not self._stopped.is_set():
            cursor = connection.execute("INSERT INTO job (type) VALUES ('test') RETURNING id")
            self.acknowledged += [row[0] for row in cursor]

    def goes_on(self, number: int) -> None:
        """Waits until so many more are acknowledged."""
        wanted = len(self.acknowledged) + number
        eventually(lambda: len(self.acknowledged) >= wanted, "load", 60)

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def test_when_postgresql_is_killed_under_load_nothing_acknowledged_is_lost_and_nothing_is_done_twice(
    reachable_path: Path,
) -> None:
    outside: Counter[UUID] = Counter()

    def act(task: Task) -> Outcome:
        def make(token: UUID) -> Thing:
            outside[token] += 1
            return Thing(str(token))

        task.effects.once("make", {}, make=make, find=lambda token: Thing(str(token)) if outside[token] else None)
        return completed()

    with Server(reachable_path / "postgres", pg_bin=PG_BIN) as server:
        url = server.ensure_database("shop")
        migrate(url)
        settings = Settings.model_validate({"database_url": url, "log_level": "error", "worker_poll_seconds": 0.1})
        worker = Worker(settings, {"test": Action(act)})
        working = threading.Thread(target=worker.run)
        submitter = Submitter(url)
        working.start()
        submitter.start()
        for _ in range(2):
            submitter.goes_on(100)
            assert server.pid
            os.kill(server.pid, signal.SIGKILL)
            server.start()
        submitter.goes_on(10)
        submitter.stop()
        with connect(url, "test", autocommit=True) as owner:
            unfinished = "SELECT count(*) FROM job WHERE status <> 'completed'"
            eventually(lambda: owner.execute(unfinished).fetchall() == [(0,)], "the rest", 60)
            done = {row[0] for row in owner.execute("SELECT id FROM job")}
        worker.stop()
        working.join()
    assert done >= set(submitter.acknowledged)
    assert len(outside) == len(done)
    assert set(outside.values()) == {1}
