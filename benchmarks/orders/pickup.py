"""How soon an idle worker begins with a job or an order, beside how soon PostgreSQL lets anybody hear of anything."""

import time
from multiprocessing.connection import Connection
from typing import NamedTuple

import psycopg
from psycopg.types.json import Jsonb

from benchmarks.harness import apart
from provision.database import connect

from .installation import CUSTOMER, INSERT_JOB, SUBMIT_ONE, Installation
from .worker import worker

# With a row, as a notification of news has one; without, the commit would not wait for the disk.
NOTIFY = "WITH news AS (INSERT INTO news DEFAULT VALUES) SELECT pg_notify('benchmark', '')"
IS_ASLEEP = """
SELECT EXISTS (
    SELECT FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.mode = 'ExclusiveLock' AND a.state = 'idle' AND a.query LIKE '%job_next_due%'
)
"""


class Pickups(NamedTuple):
    """Seconds from a new job to its action, from an order to its action, from a NOTIFY to its arrival."""

    jobs: list[float]
    orders: list[float]
    notifications: list[float]


def pickup(installation: Installation, samples: int) -> Pickups:
    """The three by turns; the worker sleeps each time."""
    found = Pickups([], [], [])
    with (
        worker(installation.worker_url, tells=True) as handle,
        apart.running(_listen, installation.shop_url) as listener,
        connect(installation.shop_url, "shop", autocommit=True) as shop,
        connect(installation.url, "benchmark", autocommit=True) as owner,
    ):
        listener.recv()
        for _ in range(samples):
            began = time.monotonic()
            shop.execute(NOTIFY)
            found.notifications.append(listener.recv() - began)
            _wait_for_sleep(owner)
            began = time.monotonic()
            owner.execute(INSERT_JOB)
            found.jobs.append(handle.started() - began)
            _wait_for_sleep(owner)
            order = Jsonb([installation.item()])
            began = time.monotonic()
            shop.execute(SUBMIT_ONE, (CUSTOMER, order))
            found.orders.append(handle.started() - began)
        _wait_for_sleep(owner)
        owner.execute("DELETE FROM job WHERE reference_id IS NULL")
    installation.ordered += samples
    return found


def _wait_for_sleep(owner: psycopg.Connection) -> None:
    while owner.execute(IS_ASLEEP).fetchone() != (True,):
        time.sleep(0.005)


def _listen(pipe: Connection, url: str) -> None:
    """Tells when each notification arrives, until the other end is closed."""
    with connect(url, "listener", autocommit=True) as connection:
        connection.execute("LISTEN benchmark")
        pipe.send("listening")
        while not pipe.poll():
            for _ in connection.notifies(timeout=0.2, stop_after=1):
                pipe.send(time.monotonic())
