"""A worker of the product in a process of its own. Its action takes no time: it answers as a registry would."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import c_longlong
from multiprocessing.connection import Connection
from typing import Any

from provision_worker.actions import Action
from provision_worker.job import Outcome, completed
from provision_worker.loop import Worker
from provision_worker.task import Task

from benchmarks.harness import apart
from provision import log
from provision.settings import Settings

TYPE = "provision_contact_create"
PATIENCE_SECONDS = 600.0


class Handle:
    """A worker that runs in another process."""

    def __init__(self, pipe: Connection, count: Any) -> None:
        self._pipe = pipe
        self._count = count

    @property
    def done(self) -> int:
        """How many actions it has run."""
        return int(self._count.value)

    def wait_for(self, done: int) -> float:
        """Waits until so many actions have been run; when that was, on the clock of `time.monotonic`.

        Raises:
            apart.FailedError: that takes too long.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.done < done:
            if time.monotonic() > deadline:
                raise apart.FailedError(f"the worker has run {self.done} actions instead of {done}")
            time.sleep(0.001)
        return time.monotonic()

    def resume(self) -> None:
        """A paused worker begins."""
        self._pipe.send("resume")

    def started(self) -> float:
        """When the next action began, on the clock of `time.monotonic`; only of a worker that tells."""
        return float(self._pipe.recv())


@contextmanager
def worker(url: str, *, paused: bool = False, tells: bool = False) -> Iterator[Handle]:
    """A worker on the database, registered; `tells` has it say when each action begins."""
    count = apart.CONTEXT.Value(c_longlong, lock=False)
    with apart.running(_work, url, count, paused, tells) as pipe:
        pipe.recv()
        yield Handle(pipe, count)


def _work(pipe: Connection, url: str, count: Any, paused: bool, tells: bool) -> None:
    settings = Settings.model_validate({"worker_database_url": url, "log_level": "error"})
    log.configure(settings)

    def create(task: Task) -> Outcome:
        if tells:
            pipe.send(time.monotonic())
        count.value += 1
        return completed({"roid": "C1-TEST"})

    worker = Worker(settings, {TYPE: Action(create, inline=True)}, paused=paused)
    threading.Thread(target=_obey, args=(pipe, worker), daemon=True).start()
    worker.run()


def _obey(pipe: Connection, worker: Worker) -> None:
    while worker.id is None:
        time.sleep(0.01)
    pipe.send("registered")
    try:
        while pipe.recv():
            worker.resume()
    except EOFError:
        worker.stop()
