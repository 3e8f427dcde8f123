"""The worker: claims jobs, runs their actions, records what came of them.

One thread, the loop, owns the connection that claims and records. Inline actions run in it; all others run in a pool
of threads, and it claims no more jobs for those than it has threads free. Results are recorded in batches: when one is
full, ten milliseconds after its first result, or at once when nothing else is going on. Beside the loop the heartbeat
and the sweep tick on connections of their own. When the database goes away, the loop keeps what it has not recorded and
connects again; whether the jobs are still its own the database decides, by their claim numbers. A result whose rows
somebody else keeps locked is put aside and tried again, while all others go on.
"""

import os
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib.metadata import version
from uuid import UUID

import psycopg
import structlog

from provision.database import connect, pool, role_url
from provision.settings import Settings

from . import metrics
from .actions import Actions, default_actions
from .backoff import Backoff
from .effects import LEASE_LOST
from .hand import Done, Hand
from .job import Job, hand_back, hold, retry
from .sleep import Sentinel, Waker
from .store import Store
from .task import Resources
from .ticker import Ticker

log = structlog.get_logger(__name__)

AWAY = (psycopg.OperationalError, psycopg.errors.ReadOnlySqlTransaction)
"""Errors that say the database is away: gone, or a standby that has not been promoted yet."""
BLOCKED = (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled, psycopg.errors.DeadlockDetected)
"""Errors of those that say that it is there, and that somebody else is in the way."""
ALONE_SECONDS = 1.0
"""How long results are recorded one by one; then what else there is has its turn."""
SWEEP_SECONDS = 1.0
CLUSTER_SECONDS = 0.25
"""How often it is looked whether something of a cluster is due: what expires is to count within a second."""
HEARTBEATS_PER_LEASE = 6
STOP_SECONDS = 25.0
"""How long a stopping worker waits for what it runs: less than a lease, and than supervisors wait before a kill."""
OVERDUE_SECONDS = 0.05
"""First wait for a job that is due, but in a lane without room; it doubles up to the longest sleep."""


class Worker:
    """A worker, to be run as a process or in a thread."""

    def __init__(self, settings: Settings, actions: Actions | None = None, *, paused: bool = False) -> None:
        self._settings = settings
        self._actions = default_actions() if actions is None else actions
        self._name = settings.worker_name or f"{socket.gethostname()}-{os.getpid()}"
        self._url = role_url(settings, "worker")
        connections = pool(self._url, f"{self._name} actions", size=settings.worker_concurrency, autocommit=True)
        self._resources = Resources(connections, settings.aws_endpoint_url)
        self._waker = Waker()
        self._hand = Hand(self._actions, self._resources, settings.worker_concurrency, self._waker.wake)
        self._backoff = Backoff()
        self._is_paused = paused
        self._stop_asked = threading.Event()
        # The id under which we were taken for dead. Not a flag: it may become known when we have a new one already.
        self._swept_id: UUID | None = None
        self._give_up_at = float("inf")
        self._empty_polls = 0
        self._id: UUID | None = None

    @property
    def id(self) -> UUID | None:
        """The id by which the database knows this worker, once it is registered."""
        return self._id

    @property
    def is_stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._stop_asked.is_set()

    def stop(self) -> None:
        """Has `run` claim no more, finish what runs, hand back the rest, and return. From any thread, at any time."""
        self._give_up_at = time.monotonic() + STOP_SECONDS
        self._stop_asked.set()
        self._waker.wake()

    def resume(self) -> None:
        """A worker that was started paused begins to claim."""
        self._is_paused = False
        self._waker.wake()

    def run(self) -> bool:
        """Works until `stop`; returns whether everything that ran came to its end.

        Raises:
            psycopg.Error: the database does not fit this release, or refuses us; not that it is away.
        """
        with ExitStack() as stack:
            stack.enter_context(self._waker)
            stack.enter_context(self._resources)
            stack.callback(self._hand.close)
            for ticker in self._tickers():
                ticker.start()
                stack.callback(ticker.stop)
            self._run()
        return self._hand.is_empty

    def _run(self) -> None:
        while time.monotonic() < self._give_up_at:
            try:
                with self._connect("loop") as connection:
                    self._work(Store(connection))
                    return
            except AWAY as error:
                metrics.ERRORS.labels("loop").inc()
                seconds = self._backoff.next_seconds()
                log.warning("worker.database_away", part="loop", reason=str(error).strip(), retry_in=round(seconds, 2))
                self._waker.wait(seconds)

    def _connect(self, part: str) -> psycopg.Connection:
        return connect(self._url, f"{self._name} {part}", autocommit=True)

    # Beside the loop

    def _tickers(self) -> list[Ticker]:
        seconds = self._settings.worker_lease_seconds / HEARTBEATS_PER_LEASE
        return [
            Ticker("heartbeat", lambda: self._connect("heartbeat"), seconds, self._beat),
            Ticker("sweep", lambda: self._connect("sweep"), SWEEP_SECONDS, self._sweep),
            Ticker("clusters", lambda: self._connect("clusters"), CLUSTER_SECONDS, self._tick_clusters),
        ]

    def _beat(self, store: Store) -> None:
        worker = self._id
        if worker and not store.heartbeat(worker):
            self._swept_id = worker
            self._waker.wake()

    def _sweep(self, store: Store) -> None:
        if self._id:
            store.sweep(self._id)

    def _tick_clusters(self, store: Store) -> None:
        if self._id:
            store.tick_clusters()

    # The loop

    def _work(self, store: Store) -> None:
        """Turn after turn on one connection, until stopped."""
        worker = self._id or self._register(store)
        self._return_unknown(store, worker)
        sentinel = Sentinel(store, listens=self._settings.worker_listen)
        while not (self.is_stopping and self._hand.is_empty) and time.monotonic() < self._give_up_at:
            self._turn(store, sentinel)
        if self._id:
            store.deregister(self._id)
            log.info("worker.stopped", worker=str(self._id), left_running=not self._hand.is_empty)

    def _register(self, store: Store) -> UUID:
        self._id = store.register(self._name, socket.gethostname(), os.getpid(), version("provision"), [*self._actions])
        log.info("worker.registered", worker=str(self._id), name=self._name, paused=self._is_paused)
        return self._id

    def _return_unknown(self, store: Store, worker: UUID) -> None:
        """Gives back what was claimed without our knowing, when a connection broke before the answer came."""
        unknown = [lease for lease in store.held(worker) if lease not in self._hand.leases()]
        if unknown:
            store.record(worker, [hand_back().document(lease) for lease in unknown])
            log.warning("worker.returned_unknown", jobs=len(unknown))

    def _turn(self, store: Store, sentinel: Sentinel) -> None:
        """Record what is due, then claim and start what there is, or else sleep."""
        worker = self._require_id(store)
        self._hand.collect()
        if self.is_stopping:
            self._hand.hand_back_unstarted()
        if self._hand.flush_in(self._settings.worker_batch) <= 0:
            self._record(store, worker, self._hand.results(self._settings.worker_batch))
        if self._hand.locked_in() <= 0:
            self._record_each(store, worker, self._hand.locked(self._settings.worker_batch))
        jobs = self._claim(store, worker)
        self._backoff.succeeded()
        if jobs:
            self._hand.start(jobs, lambda: not self.is_stopping)
            sentinel.release()
        elif not (self._types() and sentinel.take()):
            self._sleep(store, sentinel)

    def _require_id(self, store: Store) -> UUID:
        """Our id; a new one if we were taken for dead: then all we held is void."""
        if self._id is not None and self._id != self._swept_id:
            return self._id
        log.warning("worker.was_swept", worker=str(self._id))
        self._hand.abandon()
        return self._register(store)

    def _types(self) -> list[str]:
        """The job types that this worker could begin now."""
        if self.is_stopping or self._is_paused:
            return []
        has_room = self._hand.room > 0
        return [name for name, action in self._actions.items() if action.inline or has_room]

    def _claim(self, store: Store, worker: UUID) -> list[Job]:
        """Inline jobs by the batch, others as many as there are threads free."""
        types = self._types()
        inline = [name for name in types if self._actions[name].inline]
        threaded = [name for name in types if not self._actions[name].inline]
        jobs: list[Job] = []
        if threaded:
            jobs += self._claim_types(store, worker, threaded, self._hand.room)
        if inline:
            jobs += self._claim_types(store, worker, inline, self._settings.worker_batch)
        return jobs

    def _claim_types(self, store: Store, worker: UUID, types: Sequence[str], limit: int) -> list[Job]:
        try:
            with metrics.CLAIM_SECONDS.time():
                jobs = store.claim(worker, types, limit)
        except psycopg.Error as error:
            if error.sqlstate != LEASE_LOST:
                raise
            self._swept_id = worker
            return []
        metrics.count_claimed(job.type for job in jobs)
        return jobs

    def _sleep(self, store: Store, sentinel: Sentinel) -> None:
        types = self._types()
        if not types:
            # Somebody who has room must be the one to be woken.
            sentinel.release()
        longest = min(self._settings.worker_poll_seconds, sentinel.longest_sleep())
        seconds = min(longest, self._due_in(store, types)) if types else longest
        results = min(self._hand.flush_in(self._settings.worker_batch), self._hand.locked_in())
        self._waker.wait(min(seconds, results, self._give_up_at - time.monotonic()), store.connection)

    def _due_in(self, store: Store, types: Sequence[str]) -> float:
        """Seconds until a waiting job is due; patient with one that is overdue, as its lane has no room."""
        seconds = store.seconds_to_next_due(types)
        if seconds is None or seconds > 0:
            self._empty_polls = 0
            return float("inf") if seconds is None else seconds
        self._empty_polls = min(self._empty_polls + 1, 10)
        return OVERDUE_SECONDS * (1 << self._empty_polls - 1)

    # Results

    def _record(self, store: Store, worker: UUID, batch: Sequence[Done]) -> None:
        """Records a batch; one result that the database cannot take must not keep the others from being taken."""
        try:
            self._record_batch(store, worker, batch, promptly=self._hand.has_locked)
        except psycopg.Error as error:
            if is_away(error):
                raise
            self._record_each(store, worker, batch)

    def _record_each(self, store: Store, worker: UUID, batch: Sequence[Done]) -> None:
        """Records results one by one, for a while; those that somebody is in the way of have another turn later."""
        until = time.monotonic() + ALONE_SECONDS
        for done in batch:
            if time.monotonic() >= until or not self._record_alone(store, worker, done):
                self._hand.put_aside(done)

    def _record_alone(self, store: Store, worker: UUID, done: Done) -> bool:
        """Records one result, or else that it could not be recorded; False: somebody is in the way."""
        attempt = done
        for instead in (retry, hold, None):
            try:
                self._record_batch(store, worker, [attempt], promptly=True)
                return True
            except psycopg.Error as error:
                if is_away(error):
                    raise
                reason = str(error.diag.message_primary or error)
                if isinstance(error, BLOCKED):
                    log.warning("job.result_waits", job=str(done.job.job_id), type=done.job.type, reason=reason)
                    return False
                log.error("job.result_not_recorded", job=str(done.job.job_id), type=done.job.type, reason=reason)
                if instead:
                    attempt = replace(done, outcome=instead(f"the result could not be recorded: {reason}"))
        # The lease stays, so that nobody tries in vain; people see the job and its worker in v_job.
        log.error("job.left_to_people", job=str(done.job.job_id), type=done.job.type)
        self._hand.drop([done])
        return True

    def _record_batch(self, store: Store, worker: UUID, batch: Sequence[Done], *, promptly: bool = False) -> None:
        record = store.record_promptly if promptly else store.record
        with metrics.RECORD_SECONDS.time():
            refused = record(worker, [done.document() for done in batch])
        self._recorded(batch, refused)

    def _recorded(self, batch: Sequence[Done], refused: set[UUID]) -> None:
        self._hand.drop(batch)
        metrics.count_results((done.job.type, done.outcome.kind, done.job.job_id in refused) for done in batch)
        for done in batch:
            if done.job.job_id in refused:
                done.report("job.refused")
            elif not self._actions[done.job.type].inline:  # Of those there may be thousands a second.
                done.report("job.recorded")


def is_away(error: psycopg.Error) -> bool:
    """Whether an error says that the database is away."""
    return isinstance(error, AWAY) and not isinstance(error, BLOCKED)
