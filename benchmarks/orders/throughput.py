"""Whole orders per second: from the first that is submitted to the last that is complete, and what they cost."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from psycopg.types.json import Jsonb

from .installation import Installation
from .worker import Handle, worker

SINGLE_SUBMITTERS = 8


@dataclass(frozen=True)
class Load:
    """So many orders, submitted over so many connections in transactions of so many."""

    orders: int
    submitters: int
    batch: int


@dataclass(frozen=True)
class Result:
    """Orders per second end to end and of the submission alone, and microseconds of server processor time per order."""

    rate: float
    submit_rate: float
    server_us: float


def while_draining(installation: Installation, load: Load) -> Result:
    """The worker works all along."""
    batches = installation.batches(load.orders, load.batch)
    return _measure(installation, load, lambda _: installation.submit_batches(batches, load.submitters), paused=False)


def then_drain(installation: Installation, load: Load) -> Result:
    """The worker begins when all are submitted."""
    batches = installation.batches(load.orders, load.batch)

    def submit(handle: Handle) -> None:
        installation.submit_batches(batches, load.submitters)
        handle.resume()

    return _measure(installation, load, submit, paused=True)


def one_by_one(installation: Installation, load: Load) -> Result:
    """The worker works all along, and each order is a transaction of its own."""
    items = [Jsonb([installation.item()]) for _ in range(load.orders)]
    return _measure(installation, load, lambda _: installation.submit_singly(items, SINGLE_SUBMITTERS), paused=False)


def _measure(installation: Installation, load: Load, submit: Callable[[Handle], None], *, paused: bool) -> Result:
    installation.cluster.settle(installation.url)
    with worker(installation.worker_url, paused=paused) as handle, installation.cluster.metered() as meter:
        began = time.monotonic()
        submit(handle)
        submitted = time.monotonic()
        handle.wait_for(load.orders)
        ended = installation.wait_until_idle()
    return Result(
        rate=load.orders / (ended - began),
        submit_rate=load.orders / (submitted - began),
        server_us=meter.seconds / load.orders * 1e6,
    )
