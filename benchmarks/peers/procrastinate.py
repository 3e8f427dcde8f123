"""procrastinate, with as many jobs at a time as suits it best; on uvloop, which its own command does without."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import uvloop
from procrastinate import App, PsycopgConnector
from procrastinate.jobs import DeleteJobCondition

BATCH = 1000


@dataclass(frozen=True)
class Procrastinate:
    """Its worker is its own, as its documentation runs it from Python."""

    name: str = "procrastinate"
    meaning: str = "jobs at a time, and whether finished ones stay in the table"
    settings: tuple[str, ...] = ("1 keep", "1 delete", "10 keep")

    def install(self, url: str) -> None:
        uvloop.run(_install(url))

    def fill(self, url: str, jobs: int) -> None:
        uvloop.run(_fill(url, jobs))

    def drain(self, url: str, setting: str) -> float:
        concurrency, jobs_stay = setting.split()
        return uvloop.run(_drain(url, int(concurrency), deletes=jobs_stay == "delete"))

    def left(self, url: str) -> int:
        return uvloop.run(_left(url))


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[App]:
    app = App(connector=PsycopgConnector(conninfo=url, min_size=2, max_size=20))
    async with app.open_async():
        yield app


async def _install(url: str) -> None:
    async with _opened(url) as app:
        await app.schema_manager.apply_schema_async()


async def _fill(url: str, jobs: int) -> None:
    async with _opened(url) as app:
        await app.connector.execute_query_async("TRUNCATE procrastinate_jobs, procrastinate_events CASCADE")
        job = app.configure_task("nothing")
        for begin in range(0, jobs, BATCH):
            await job.batch_defer_async(*[{} for _ in range(min(BATCH, jobs - begin))])


async def _drain(url: str, concurrency: int, *, deletes: bool) -> float:
    async with _opened(url) as app:

        @app.task(name="nothing")
        async def nothing() -> None:
            pass

        began = time.monotonic()
        await app.run_worker_async(
            concurrency=concurrency,
            wait=False,
            install_signal_handlers=False,
            delete_jobs=DeleteJobCondition.ALWAYS if deletes else DeleteJobCondition.NEVER,
        )
        return time.monotonic() - began


async def _left(url: str) -> int:
    async with _opened(url) as app:
        query = "SELECT count(*) AS n FROM procrastinate_jobs WHERE status <> 'succeeded'"
        return int((await app.connector.execute_query_one_async(query))["n"])
