"""The rounds: everything that is measured, by turns, on one server."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median

from benchmarks.harness import apart
from benchmarks.harness.cluster import Cluster
from benchmarks.harness.report import Samples, number
from benchmarks.orders.history import aged
from benchmarks.orders.installation import Installation, UnfinishedError
from benchmarks.orders.pickup import pickup
from benchmarks.orders.snapshot import last_to_first
from benchmarks.orders.submitters import MANY, accepted_per_second
from benchmarks.orders.throughput import Load, one_by_one, then_drain, while_draining
from benchmarks.peers import Peer, pgbench
from benchmarks.peers.pgqueuer import Pgqueuer
from benchmarks.peers.procrastinate import Procrastinate

PEERS: tuple[Peer, ...] = (Procrastinate(), Pgqueuer())
FLUSH = {"commit_delay": "1000", "commit_siblings": "0"}
"""A millisecond for every flush of the log, as of a disk, whatever the disk."""
WARM_UP_ORDERS = 2000
# Where there is no batch to save time, fewer do.
SINGLE_SHARE = 4


@dataclass(frozen=True)
class Extent:
    """How much is measured: orders, rounds, jobs of the peers by name, pick-ups and seconds per round, old orders."""

    load: Load
    rounds: int
    jobs: dict[str, int]
    pickups: int
    seconds: float
    history: int
    is_brief: bool
    """Only what is compared with the peers."""


class Comparison:
    """One run; `say` is told what is being done."""

    def __init__(self, cluster: Cluster, extent: Extent, say: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._extent = extent
        self._say = say
        self._pgbench = pgbench.find(cluster.binaries)
        self.samples = Samples()
        self.notes: list[str] = []

    def run(self) -> None:
        """All rounds.

        Raises:
            UnfinishedError: afterwards something is not in its final state.
        """
        if self._pgbench is None:
            self.notes.append("There is no pgbench here: its statements were sent from Python.")
        young = self._installation()
        old = self._old(young)
        urls = {peer.name: self._installed(peer) for peer in PEERS}
        for _ in range(self._extent.rounds):
            for peer in PEERS:
                self._peer(peer, urls[peer.name])
            self._floor()
            self._orders(young, old)
            if not self._extent.is_brief:
                self._waits(young)
        self._say("checking that everything is final")
        for installation in (young, old) if old else (young,):
            installation.check()

    def _installation(self) -> Installation:
        """A warm one: sessions that planned when the tables were empty would stay slow."""
        self._say("making an installation")
        installation = Installation.create(self._cluster, "engine")
        orders = min(WARM_UP_ORDERS, self._extent.load.orders)
        while_draining(installation, replace(self._extent.load, orders=orders))
        return installation

    def _old(self, young: Installation) -> Installation | None:
        if not self._extent.history:
            return None
        self._say(f"making a history of {self._extent.history:,} orders")
        return aged(self._cluster, young, "history", self._extent.history)

    def _installed(self, peer: Peer) -> str:
        url = self._cluster.url(peer.name)
        apart.run(peer.install, url)
        return url

    # The queues

    def _peer(self, peer: Peer, url: str) -> None:
        """Tries all settings; the best of this round counts."""
        results = {setting: self._drain(peer, url, setting) for setting in peer.settings}
        rate, server_us = max(results.values())
        self.samples.add(peer.name, rate)
        self.samples.add(f"{peer.name}_server_us", server_us)
        tried = ", ".join(f"{setting}: {number(result[0])}" for setting, result in results.items())
        self.notes.append(f"{peer.name}, jobs/s by setting ({peer.meaning}): {tried}")

    def _drain(self, peer: Peer, url: str, setting: str) -> tuple[float, float]:
        """Jobs per second, and microseconds of server time per job."""
        self._say(f"{peer.name}, {setting}")
        jobs = self._extent.jobs[peer.name]
        apart.run(peer.fill, url, jobs)
        self._cluster.settle(url)
        with self._cluster.metered() as meter:
            seconds = apart.run(peer.drain, url, setting)
        if left := apart.run(peer.left, url):
            raise UnfinishedError(f"{peer.name} left {left} of {jobs} jobs undone")
        return jobs / seconds, meter.seconds / jobs * 1e6

    def _floor(self) -> None:
        self._say("claim 100, complete 100")
        url = self._cluster.url("floor")
        jobs = self._extent.jobs["pgbench"]
        pgbench.fill(url, jobs)
        self._cluster.settle(url)
        with self._cluster.metered() as meter:
            seconds = pgbench.drain(url, jobs, self._pgbench)
        self.samples.add("pgbench", jobs / seconds)
        self.samples.add("pgbench_server_us", meter.seconds / jobs * 1e6)

    # The engine

    def _orders(self, young: Installation, old: Installation | None) -> None:
        load = self._extent.load
        self._say("engine")
        result = while_draining(young, load)
        self.samples.add("engine", result.rate)
        self.samples.add("engine_server_us", result.server_us)
        if old is not None:
            self._say("engine, with a history")
            self.samples.add("engine_history", while_draining(old, load).rate)
        if not self._extent.is_brief:
            self._say("engine, submitted, then drained")
            self.samples.add("engine_then_drain", then_drain(young, load).rate)
            self._say("engine, one by one")
            fewer = replace(load, orders=-(-load.orders // SINGLE_SHARE))
            self.samples.add("engine_one_by_one", one_by_one(young, fewer).rate)

    def _waits(self, installation: Installation) -> None:
        self._say("pick-up")
        self._pickup(installation, "")
        with self._cluster.configured(FLUSH):
            self._say("pick-up, 1 ms flush")
            self._pickup(installation, "_flush")
            self._say("submitters, 1 ms flush")
            for key, submitters in (("submitters_one", 1), ("submitters_many", MANY)):
                self.samples.add(key, accepted_per_second(installation, submitters, self._extent.seconds))
        self._say("drain under an old snapshot")
        self.samples.add("snapshot", last_to_first(installation, self._extent.load))

    def _pickup(self, installation: Installation, suffix: str) -> None:
        found = pickup(installation, self._extent.pickups)
        self.samples.add(f"pickup{suffix}_ms", median(found.jobs) * 1000)
        self.samples.add(f"pickup_order{suffix}_ms", median(found.orders) * 1000)
        self.samples.add(f"notify{suffix}_ms", median(found.notifications) * 1000)
