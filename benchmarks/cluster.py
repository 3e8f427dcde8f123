"""Measures requests for nodes and their expiry: `python3 run.py bench cluster`. How to read it: docs/benchmarks.md."""

import json
import re
import statistics
import threading
import time
from pathlib import Path
from typing import Any

import click
import psycopg
from provision_worker.loop import CLUSTER_SECONDS
from provision_worker.store import Store
from provision_worker.ticker import Ticker
from psycopg.rows import dict_row
from rich.console import Console

from benchmarks.harness import report
from benchmarks.harness.cluster import Cluster, cluster
from provision import ProvisionError
from provision.database import connect, url_as
from provision.migrate import migrate
from provision.settings import load as load_settings

HERE = Path(__file__).parent / "clusters"
# What must hold.
EVALUATION_MILLISECONDS, LATE_SECONDS = 5.0, 1.0
# How long it may take to say when each request expires.
SPREAD_SECONDS = 30.0


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--clusters", type=click.IntRange(min=1), default=200, help="How many clusters.")
@click.option("--requests", type=click.IntRange(min=1), default=50, help="Requests for nodes of each.")
@click.option("--seconds", type=click.FloatRange(min=1), default=60.0, help="In how long all of them expire.")
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
def main(clusters: int, requests: int, seconds: float, as_json: bool) -> None:
    """Ask for nodes of many clusters, one request after the other, and let all of them expire at any moment."""
    try:
        with (
            cluster(None, load_settings().pg_bin) as server,
            report.progress("asking, then expiring"),
        ):
            found = measure(server, clusters, requests, seconds)
    except ProvisionError as error:
        raise click.ClickException(str(error)) from None
    console = Console()
    for name, value in found.items():
        console.print(f"{name}: {value}", highlight=False)
    is_met = found["request cpu ms"] <= EVALUATION_MILLISECONDS and found["late max s"] <= LATE_SECONDS
    console.print(f"a request ≤ {EVALUATION_MILLISECONDS} ms, expiry ≤ {LATE_SECONDS} s late: {is_met}")
    if as_json:
        click.echo(json.dumps(found | {"is_met": is_met}))


def measure(server: Cluster, clusters: int, requests: int, seconds: float) -> dict[str, Any]:
    """Processor time of the server per request and expiry; times of requests, with their commit; lateness."""
    url = server.url("clusters")
    migrate(url)
    queries = dict(re.findall(r"-- name: (\w+)\n(.*?)(?=\n-- name|\Z)", (HERE / "queries.sql").read_text(), re.DOTALL))
    with connect(url, "benchmark", autocommit=True, cursor_factory=psycopg.ClientCursor) as owner:
        owner.execute((HERE / "seed.sql").read_bytes(), {"clusters": clusters})
        server.settle(url)
        with server.metered() as meter:
            times = _ask(owner, queries, requests)
        server.settle(url)
        with server.metered() as expiring:
            late = _expire(owner, queries, url_as(url, "provision_worker"), seconds)
        wrong = owner.execute(queries["wrong"]).fetchone()
    assert wrong == (0,), f"{wrong} clusters have a wrong target"
    return {
        "requests": len(times),
        "request cpu ms": round(meter.seconds * 1000 / len(times), 2),
        "request p50 ms": round(statistics.median(times), 2),
        "request p99 ms": round(statistics.quantiles(times, n=100)[98], 2),
        "expired": len(late),
        "expiry cpu ms": round(expiring.seconds * 1000 / len(late), 2),
        "late p50 s": round(statistics.median(late), 3),
        "late p99 s": round(statistics.quantiles(late, n=100)[98], 3),
        "late max s": round(max(late), 3),
    }


def _ask(owner: psycopg.Connection, queries: dict[str, str], requests: int) -> list[float]:
    asked = owner.cursor(row_factory=dict_row).execute(queries["requests"].encode(), {"requests": requests}).fetchall()
    times = []
    with psycopg.Cursor(owner) as cursor:
        for row in asked:
            begun = time.perf_counter()
            cursor.execute(queries["ask"].encode(), row)
            times.append((time.perf_counter() - begun) * 1000)
    return times


def _expire(owner: psycopg.Connection, queries: dict[str, str], worker_url: str, seconds: float) -> list[float]:
    """Lets a worker's clock do it, and nothing else of a worker."""
    begun = time.monotonic()
    owner.execute(queries["spread"].encode(), {"after": SPREAD_SECONDS, "seconds": seconds})
    owner.execute(queries["set_clocks"])
    left = SPREAD_SECONDS - (time.monotonic() - begun)
    if left < 1:
        raise ProvisionError("the machine is too busy: requests have expired before anybody looked")
    done = threading.Event()
    ticker = Ticker("clusters", lambda: connect(worker_url, "benchmark", autocommit=True), CLUSTER_SECONDS, _tick)
    ticker.start()
    done.wait(left + seconds + 4)
    ticker.stop()
    return [row[0] for row in owner.execute(queries["late"]).fetchall()]


def _tick(store: Store) -> None:
    store.tick_clusters()


if __name__ == "__main__":
    main()
