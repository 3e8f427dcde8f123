"""Measures the allocators' API: `python3 run.py bench allocation`. How to read it: docs/benchmarks.md.

An allocator has thousands of projects with an allocation each. Every page of both lists is read over HTTP, and orders
of allocations are placed that nobody has to approve: done by the time they are answered.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import click
import httpx2
import psutil
import psycopg
from provision_api.allocation.example import Allocator
from rich.console import Console
from rich.table import Table

from benchmarks.harness import report
from benchmarks.harness.cluster import OPTIONS, Cluster, cluster
from provision import ProvisionError
from provision.database import connect, url_as
from provision.migrate import migrate
from provision.settings import Settings
from provision.settings import load as load_settings

FILL = Path(__file__).parent / "orders" / "allocation.sql"
LISTS = {"projects": "projects", "allocations": "marketplace-resources"}


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--count", type=click.IntRange(min=100), default=10_000, help="Projects, and allocations.")
@click.option("--page-size", type=click.IntRange(1, 300), default=100, help="Rows of a page.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, help="How often every page is read.")
@click.option("--seconds", type=click.FloatRange(min=0.5), default=5.0, help="How long orders are placed.")
@click.option("--clients", type=click.IntRange(min=1), default=4, help="Portals that order at once.")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="Where the server keeps its data.  [default: in memory if there is room, else the temporary directory]",
)
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
def main(directory: Path | None, as_json: bool, **options: Any) -> None:
    """Measure pages of lists, and orders from being placed to being done."""
    console = Console(width=None if Console().is_terminal else 120)
    try:
        with (
            cluster(directory, load_settings().pg_bin) as server,
            report.progress("filling, reading, ordering"),
        ):
            figures = measure(server, **options)
            version, place = server.version, server.place
    except ProvisionError as error:
        raise click.ClickException(str(error)) from None
    show(console, figures, options)
    machine = report.machine() | {"postgresql": version, "data_in": str(place), "settings": OPTIONS}
    for name, value in machine.items():
        console.print(f"{name}: {value}", soft_wrap=True, highlight=False)
    if as_json:
        click.echo(json.dumps({"figures": figures, "options": options, "machine": machine}, default=str))


def measure(server: Cluster, count: int, page_size: int, rounds: int, seconds: float, clients: int) -> dict[str, Any]:
    """The figures: milliseconds of pages, orders per second, and the processor time of client, API and PostgreSQL."""
    url = server.url("allocation")
    migrate(url)
    with connect(url, "benchmark", autocommit=True) as owner:
        example = prepare(owner, url, count)
    figures: dict[str, Any] = {}
    with serving(url) as (base, api), httpx2.Client(base_url=base, timeout=30) as client:
        headers = {"Authorization": f"Token {example['token']}"}
        number_of_pages = -(-count // page_size)

        def spent() -> float:
            times = api.cpu_times()
            return server.cpu_seconds() + time.process_time() + float(times.user + times.system)

        for name, endpoint in LISTS.items():
            before = spent()
            found = pages(client, headers, endpoint, number_of_pages, page_size, rounds)
            figures[name] = found | {"processor": (spent() - before) * 1000 / (number_of_pages * rounds)}
        body = order_body(client, headers, example)
        for number in (1, clients):
            before = spent()
            done = orders(base, headers, body, number, seconds)
            figures[f"orders per second, {number} at once"] = done
            figures[f"milliseconds of processor per order, {number} at once"] = (
                (spent() - before) * 1000 / done / seconds
            )
    return figures


def prepare(owner: psycopg.Connection, url: str, count: int) -> dict[str, str]:
    """The example's people and offerings, nobody's approval needed, and as many projects with an allocation each."""
    settings = Settings.model_validate({"database_url": url, "password_memory_kib": 1024})
    with owner.transaction():
        example = Allocator(owner, settings).make()
    offering, customer = UUID(example["offering"]), UUID(example["customer"])
    owner.execute("SELECT offering_change(%s, '{\"auto_approve\": true}')", [offering])
    with owner.transaction():
        owner.execute("SET LOCAL session_replication_role = replica")
        for statement in FILL.read_text().split(";\n"):
            if statement.strip():
                owner.execute(statement.encode(), {"count": count, "offering": offering, "customer": customer})
    owner.execute("ANALYZE")
    return example


@contextmanager
def serving(url: str) -> Iterator[tuple[str, psutil.Process]]:
    """The API as a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings = {"API_DATABASE_URL": url_as(url, "provision_api"), "API_PORT": str(port), "LOG_LEVEL": "error"}
    settings |= {"RATE_PER_CALLER": "0", "RATE_PER_ADDRESS": "0"}
    environment = os.environ | {f"PROVISION_{name}": value for name, value in settings.items()}
    process = subprocess.Popen([sys.executable, "-m", "provision", "api"], env=environment)
    base = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            time.sleep(0.1)
            try:
                if httpx2.get(f"{base}/readyz").status_code == 200:
                    break
            except httpx2.HTTPError:
                continue
        yield base, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)


def pages(
    client: httpx2.Client, headers: dict[str, str], endpoint: str, count: int, size: int, rounds: int
) -> dict[str, float]:
    """Milliseconds of a page: medians of the first, the middle and the last tenth, and of all."""
    samples: list[list[float]] = [[] for _ in range(count)]
    for _ in range(rounds):
        for number in range(count):
            begun = time.perf_counter()
            answer = client.get(f"/api/{endpoint}/?page_size={size}&page={number + 1}", headers=headers)
            samples[number].append((time.perf_counter() - begun) * 1000)
            if answer.status_code != 200:
                raise ProvisionError(f"page {number + 1} of {endpoint} is answered {answer.status_code}")
    tenth = max(count // 10, 1)
    middle = count // 2
    parts = {
        "first tenth": samples[:tenth],
        "middle tenth": samples[middle : middle + tenth],
        "last tenth": samples[-tenth:],
    }
    found = {name: statistics.median(each for page in part for each in page) for name, part in parts.items()}
    return found | {"all": statistics.median(each for page in samples for each in page)}


def order_body(client: httpx2.Client, headers: dict[str, str], example: dict[str, str]) -> dict[str, Any]:
    """An order of an allocation in one of the projects."""
    project = client.get("/api/projects/?page_size=1", headers=headers).json()[0]
    offering = client.get(f"/api/marketplace-public-offerings/{example['offering']}/", headers=headers).json()
    plan, limits = offering["plans"][0]["url"], {"cpu_hours": 1, "gpu_hours": 1}
    return {"project": project["url"], "offering": offering["url"], "plan": plan, "limits": limits}


def orders(base: str, headers: dict[str, str], body: dict[str, Any], clients: int, seconds: float) -> float:
    """How many orders were placed and done per second."""
    until = time.perf_counter() + seconds

    def portal(_: int) -> int:
        done = 0
        with httpx2.Client(base_url=base, timeout=30) as client:
            while time.perf_counter() < until:
                answer = client.post("/api/marketplace-orders/", headers=headers, json=body)
                if answer.status_code != 201 or answer.json()["state"] != "done":
                    raise ProvisionError(f"an order is answered {answer.status_code}: {answer.text[:200]}")
                done += 1
        return done

    with ThreadPoolExecutor(clients) as threads:
        return sum(threads.map(portal, range(clients))) / seconds


def show(console: Console, figures: dict[str, Any], options: dict[str, Any]) -> None:
    """Prints the tables."""
    table = Table(
        title=f"Milliseconds per page of {options['page_size']}, of {options['count']}; medians, and processor time"
    )
    for name in ("list", "first tenth", "middle tenth", "last tenth", "all", "processor"):
        table.add_column(name, justify="left" if name == "list" else "right")
    for name in LISTS:
        table.add_row(name, *(f"{value:.1f}" for value in figures[name].values()))
    console.print(table)
    for name, value in figures.items():
        if name not in LISTS:
            console.print(f"{name}: {value:.1f}")


if __name__ == "__main__":
    main()
