"""What a worker has in hand: jobs that run, and what came of those that have run and are not recorded yet."""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Any

import structlog

from . import metrics
from .actions import Actions
from .effects import LeaseLostError
from .job import Job, Lease, Outcome, hand_back
from .outcome import is_expected, outcome_of
from .task import Resources, Task

log = structlog.get_logger(__name__)

FLUSH_SECONDS = 0.01
"""How long a result waits for others to be recorded with."""
LOCKED_SECONDS = 2.0
"""How long results wait whose rows somebody else has locked, before they are tried again."""


@dataclass(frozen=True, slots=True)
class Done:
    """A job that has run, what came of it, and how long it took."""

    job: Job
    outcome: Outcome
    seconds: float

    def document(self) -> dict[str, Any]:
        """As `job_record` takes it."""
        return self.outcome.document(self.job)

    def report(self, event: str) -> None:
        """Logs what has become of it."""
        log.info(
            event,
            type=self.job.type,
            outcome=self.outcome.kind,
            message=self.outcome.message,
            job=str(self.job.job_id),
            claim_no=self.job.claim_no,
            row=str(self.job.reference_id),
            seconds=round(self.seconds, 4),
        )


class Hand:
    """Used by the loop's thread alone, apart from `_run_threaded`, which brings results in from the threads."""

    def __init__(self, actions: Actions, resources: Resources, concurrency: int, wake: Callable[[], None]) -> None:
        self._actions = actions
        self._resources = resources
        self._concurrency = concurrency
        self._wake = wake
        self._executor = ThreadPoolExecutor(concurrency, thread_name_prefix="action")
        self._running: dict[int, tuple[Job, Future[None]]] = {}
        self._finished: SimpleQueue[tuple[Job, Done | None]] = SimpleQueue()
        # By claim number, the oldest first.
        self._results: dict[int, Done] = {}
        self._flush_at = float("inf")
        self._locked: dict[int, Done] = {}
        self._locked_until = float("inf")

    @property
    def room(self) -> int:
        """How many more jobs can begin at once in threads."""
        return self._concurrency - len(self._running)

    @property
    def is_empty(self) -> bool:
        """Whether nothing runs and nothing waits to be recorded."""
        return not self._running and not self._results and not self._locked

    @property
    def has_locked(self) -> bool:
        """Whether there are results whose rows somebody else has locked."""
        return bool(self._locked)

    def leases(self) -> set[Lease]:
        """The claims this worker knows to hold."""
        jobs = [job for job, _ in self._running.values()]
        jobs += [done.job for results in (self._results, self._locked) for done in results.values()]
        return {Lease(job.job_id, job.claim_no) for job in jobs}

    def start(self, jobs: Iterable[Job], may_run: Callable[[], bool]) -> None:
        """Runs inline jobs here and now, as long as they `may_run`, and lets threads run the others."""
        for job in jobs:
            if not self._actions[job.type].inline:
                self._running[job.claim_no] = (job, self._executor.submit(self._run_threaded, job))
            elif may_run():
                self._keep(self._run(job))
            else:
                self._keep(Done(job, hand_back(), 0.0))
        metrics.RUNNING.set(len(self._running))

    def collect(self) -> None:
        """Takes in what the threads have finished."""
        while True:
            try:
                job, done = self._finished.get_nowait()
            except Empty:
                break
            del self._running[job.claim_no]
            self._keep(done)
        metrics.RUNNING.set(len(self._running))

    def hand_back_unstarted(self) -> None:
        """Gives up the jobs that no thread has begun."""
        for claim_no, (job, future) in list(self._running.items()):
            if future.cancel():
                del self._running[claim_no]
                self._keep(Done(job, hand_back(), 0.0))

    def flush_in(self, batch: int) -> float:
        """Seconds until results should be recorded: 0 with a full batch, or when nothing runs that could add to it."""
        if not self._results:
            return float("inf")
        if len(self._results) >= batch or not self._running:
            return 0.0
        return max(0.0, self._flush_at - time.monotonic())

    def results(self, batch: int) -> Sequence[Done]:
        """The oldest results, at most a batch."""
        return list(islice(self._results.values(), batch))

    def drop(self, batch: Iterable[Done]) -> None:
        """These are recorded."""
        for done in batch:
            self._results.pop(done.job.claim_no, None)
            self._locked.pop(done.job.claim_no, None)
        self._flush_at = time.monotonic() + FLUSH_SECONDS

    def put_aside(self, done: Done) -> None:
        """Somebody else has its rows locked; it is tried again after all others that are."""
        self.drop([done])
        self._locked[done.job.claim_no] = done
        self._locked_until = time.monotonic() + LOCKED_SECONDS

    def locked_in(self) -> float:
        """Seconds until those put aside should be tried again."""
        return max(0.0, self._locked_until - time.monotonic()) if self._locked else float("inf")

    def locked(self, batch: int) -> Sequence[Done]:
        """Those that were put aside first, at most a batch."""
        return list(islice(self._locked.values(), batch))

    def abandon(self) -> None:
        """Forgets all results: the leases they belong to are lost. What still runs will be refused when it ends."""
        self._results.clear()
        self._locked.clear()

    def close(self) -> None:
        """Starts nothing more. Does not wait for what runs."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _keep(self, done: Done | None) -> None:
        if done is None:
            return
        if not self._results:
            self._flush_at = time.monotonic() + FLUSH_SECONDS
        self._results[done.job.claim_no] = done

    def _run_threaded(self, job: Job) -> None:
        context = {"job": str(job.job_id), "claim_no": job.claim_no, "type": job.type, "traceparent": job.traceparent}
        with structlog.contextvars.bound_contextvars(**{key: value for key, value in context.items() if value}):
            done = self._run(job)
        if done:
            metrics.ACTION_SECONDS.labels(job.type).observe(done.seconds)
        self._finished.put((job, done))
        self._wake()

    def _run(self, job: Job) -> Done | None:
        """Runs the job's action; None if its lease was lost on the way, so that there is nothing to record."""
        started = time.monotonic()
        try:
            outcome = self._actions[job.type].function(Task(job, self._resources))
        except LeaseLostError as error:
            log.warning("job.lease_lost", job=str(job.job_id), claim_no=job.claim_no, reason=str(error))
            metrics.REFUSED.labels(job.type).inc()
            return None
        except Exception as error:  # Whatever an action does, its job must not stay in hand for ever.
            outcome = outcome_of(error)
            if not is_expected(error):
                log.error("job.unexpected_error", job=str(job.job_id), claim_no=job.claim_no, exc_info=error)
        return Done(job, outcome, time.monotonic() - started)
