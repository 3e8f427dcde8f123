"""How soon an idle worker begins with an order, beside how soon anything can be heard of through PostgreSQL."""

import time
from multiprocessing.connection import Connection

from psycopg.types.json import Jsonb

from benchmarks.harness import apart
from provision.database import connect

from .installation import CUSTOMER, SUBMIT_ONE, Installation
from .worker import worker

# With a row, as a notification of news has one; without, the commit would not wait for the disk.
NOTIFY = "WITH news AS (INSERT INTO news DEFAULT VALUES) SELECT pg_notify('benchmark', '')"
IS_ASLEEP = """
SELECT EXISTS (
    SELECT FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.mode = 'ExclusiveLock' AND a.state = 'idle' AND a.query LIKE '%job_next_due%'
)
"""


def pickup(installation: Installation, samples: int) -> tuple[list[float], list[float]]:
    """Seconds from an order to its action, and from a row with a NOTIFY to its arrival; the two by turns."""
    actions, notifications = [], []
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
            notifications.append(listener.recv() - began)
            while owner.execute(IS_ASLEEP).fetchone() != (True,):
                time.sleep(0.005)
            order = Jsonb([installation.item()])
            began = time.monotonic()
            shop.execute(SUBMIT_ONE, (CUSTOMER, order))
            actions.append(handle.started() - began)
    installation.ordered += samples
    return actions, notifications


def _listen(pipe: Connection, url: str) -> None:
    """Tells when each notification arrives, until the other end is closed."""
    with connect(url, "listener", autocommit=True) as connection:
        connection.execute("LISTEN benchmark")
        pipe.send("listening")
        while not pipe.poll():
            for _ in connection.notifies(timeout=0.2, stop_after=1):
                pipe.send(time.monotonic())
