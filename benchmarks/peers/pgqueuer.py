"""pgqueuer, as its guide to tuning has it: asyncpg, uvloop, its own vacuum settings, batches as large as suit it.

Its tables are durable, its default, as everybody's here are.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import asyncpg  # type: ignore[import-untyped]
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries
from pgqueuer.types import QueueEntrypoint, QueueExecutionMode

BATCH = 1000


@dataclass(frozen=True)
class Pgqueuer:
    """Its worker is its own, in its mode for draining a queue."""

    name: str = "pgqueuer"
    meaning: str = "batch_size"
    settings: tuple[str, ...] = ("100", "500", "1000")

    def install(self, url: str) -> None:
        uvloop.run(_install(url))

    def fill(self, url: str, jobs: int) -> None:
        uvloop.run(_fill(url, jobs))

    def drain(self, url: str, setting: str) -> float:
        return uvloop.run(_drain(url, int(setting)))

    def left(self, url: str) -> int:
        return uvloop.run(_left(url))


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[AsyncpgDriver]:
    connection = await asyncpg.connect(url)
    try:
        yield AsyncpgDriver(connection)
    finally:
        await connection.close()


async def _install(url: str) -> None:
    async with _opened(url) as driver:
        await Queries(driver).install()
        await Queries(driver).optimize_autovacuum()


async def _fill(url: str, jobs: int) -> None:
    async with _opened(url) as driver:
        await driver.execute("TRUNCATE pgqueuer, pgqueuer_log")
        for begin in range(0, jobs, BATCH):
            size = min(BATCH, jobs - begin)
            await Queries(driver).enqueue(["nothing"] * size, [None] * size, [0] * size)


async def _drain(url: str, batch_size: int) -> float:
    async with _opened(url) as driver:
        queue = PgQueuer(driver)

        @queue.entrypoint("nothing")
        async def nothing(job: Job) -> None:
            pass

        began = time.monotonic()
        await queue.run(batch_size=batch_size, mode=QueueExecutionMode.drain, dequeue_timeout=timedelta(seconds=1))
        return time.monotonic() - began


async def _left(url: str) -> int:
    async with _opened(url) as driver:
        return await Queries(driver).queued_work([QueueEntrypoint("nothing")])
