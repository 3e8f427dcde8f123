"""Whether an old snapshot, held by a report or a backup, slows the worker down as what it has done piles up."""

import psycopg

from provision.database import connect

from .installation import Installation
from .throughput import Load
from .worker import worker


def last_to_first(installation: Installation, load: Load) -> float:
    """Speed of the last fifth of a drain over that of the first, with a snapshot held from before the orders on."""
    installation.cluster.settle(installation.url)
    batches = installation.batches(load.orders, load.batch)
    fifth = load.orders // 5
    with (
        connect(installation.url, "report") as report,
        worker(installation.worker_url, paused=True) as handle,
    ):
        report.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        report.execute("SELECT")
        installation.submit_batches(batches, load.submitters)
        handle.resume()
        first = [handle.wait_for(done) for done in (1, 1 + fifth)]
        last = [handle.wait_for(done) for done in (load.orders - fifth, load.orders)]
    return (first[1] - first[0]) / (last[1] - last[0])
