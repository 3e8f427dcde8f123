"""Measures how long it takes to list domains, page by page: `python3 run.py bench domain`.

By the clock a page takes what it costs where nothing else runs; what it costs is processor time, which depends
little on what else runs.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean, median
from typing import NamedTuple

import click
from provision_api.app import make_app
from rich.console import Console
from starlette.testclient import TestClient

from benchmarks.harness import report
from benchmarks.harness.cluster import OPTIONS, Cluster, cluster
from provision import ProvisionError
from provision.database import connect, url_as
from provision.log import configure
from provision.migrate import migrate
from provision.settings import Settings
from provision.settings import load as load_settings

SEED = (Path(__file__).parent / "domains" / "seed.sql").read_text()
LIMIT_MS = 50.0
SLOPE_LIMIT = 1.5


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--domains", type=click.IntRange(min=200), default=10_000, help="Domains of the customer who lists them.")
@click.option("--others", type=click.IntRange(min=0), default=10_000, help="Domains of another customer.")
@click.option("--limit", type=click.IntRange(1, 200), default=100, help="Domains on a page.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, help="Times the whole list is read.")
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON: ratios, figures, machine.")
def main(domains: int, others: int, limit: int, rounds: int, as_json: bool) -> None:
    """Read the whole list of a customer's domains over the API, page by page, and compare first and last pages."""
    console = Console(width=None if Console().is_terminal else 120)
    try:
        with cluster(None, load_settings().pg_bin) as server, report.progress("filling, then reading the list"):
            url, key = seed(server, domains, others)
            about = {"postgresql": server.version, "data_in": str(server.place), "settings": OPTIONS}
            runs = list(measure(server, url, key, limit, rounds, domains))
    except ProvisionError as error:
        raise click.ClickException(str(error)) from None
    samples = collect(runs)
    ratios = {"last_to_first": samples.median("last") / samples.median("first")}
    machine = report.machine() | about
    console.print(f"{domains:,} domains in pages of {limit}")
    report.show(console, LINES, samples)
    report.show_ratios(console, RATIOS, ratios)
    for name, value in machine.items():
        console.print(f"{name}: {value}", soft_wrap=True, highlight=False)
    if as_json:
        click.echo(report.document(samples, ratios, machine))
    if samples.median("cpu") > LIMIT_MS or ratios["last_to_first"] > SLOPE_LIMIT:
        raise click.ClickException(f"a page takes over {LIMIT_MS:g} ms, or the last over {SLOPE_LIMIT} times the first")


def seed(server: Cluster, domains: int, others: int) -> tuple[str, str]:
    """A database with the domains, and the key of the customer who lists them."""
    url = server.url("domains")
    migrate(url)
    with connect(url, "benchmark", autocommit=True) as owner:
        owner.execute(SEED.encode())
        (account,) = (owner.execute("SELECT benchmark_customer(%s, 'lister')", [domains]).fetchone() or ())[:1]
        owner.execute("SELECT benchmark_customer(%s, 'other')", [others])
        ((key,),) = owner.execute("SELECT api_key_create(%s, 'benchmark')", [account]).fetchall()
    server.settle(url)
    return url, key


@contextmanager
def client(url: str) -> Iterator[TestClient]:
    """The API in this process."""
    unlimited = {"rate_per_caller": 1e6, "rate_per_address": 1e6, "log_level": "error"}
    settings = Settings.model_validate({"api_database_url": url_as(url, "provision_api")} | unlimited)
    configure(settings)
    with TestClient(make_app(settings)) as caller:
        yield caller


class Page(NamedTuple):
    """Milliseconds: by the clock, and of processor time of client, API and PostgreSQL."""

    wall: float
    cpu: float


def measure(server: Cluster, url: str, key: str, limit: int, rounds: int, domains: int) -> Iterator[list[Page]]:
    """Every page, for every time the list is read."""
    headers = {"Authorization": f"Token {key}"}
    with client(url) as caller:
        caller.get("/v1/domains?limit=1", headers=headers)
        for _ in range(rounds):
            pages, found = [], 0
            path: str | None = f"/v1/domains?limit={limit}"
            while path:
                # Looking at the server is not counted: the clocks of this process start after it and stop before.
                served, busy, began = server.cpu_seconds(), time.process_time(), time.perf_counter()
                answer = caller.get(path, headers=headers)
                wall, own = time.perf_counter() - began, time.process_time() - busy
                pages.append(Page(wall * 1000, (own + server.cpu_seconds() - served) * 1000))
                found += len(answer.raise_for_status().json()["domains"])
                path = answer.links.get("next", {}).get("url")
            assert found == domains, f"{found} of {domains} domains were listed"
            yield pages


def collect(runs: list[list[Page]]) -> report.Samples:
    """The figures of each round."""
    samples = report.Samples()
    for pages in runs:
        tenth = max(1, len(pages) // 10)
        samples.add("page", median(page.wall for page in pages))
        samples.add("cpu", fmean(page.cpu for page in pages))
        samples.add("first", fmean(page.cpu for page in pages[:tenth]))
        samples.add("last", fmean(page.cpu for page in pages[-tenth:]))
    # Each page at its best, as others use the machine too.
    samples.add("slowest", max(min(page.wall for page in round_) for round_ in zip(*runs, strict=True)))
    return samples


LINES = (
    report.Line(
        "page",
        "a page",
        "ms",
        f"Median of all pages by the clock: the request, with contacts and hosts. Idle, at most {LIMIT_MS:g}.",
    ),
    report.Line(
        "slowest",
        "the slowest page",
        "ms",
        f"By the clock, each at its best of all rounds. Idle, at most {LIMIT_MS:g}.",
    ),
    report.Line("cpu", "… processor", "ms", f"Of client, API and PostgreSQL, for a page. At most {LIMIT_MS:g}."),
    report.Line("first", "the first tenth of the pages", "ms", "Processor, for a page."),
    report.Line("last", "the last tenth of the pages", "ms", "Processor, for a page."),
)
RATIOS = (
    report.Line(
        "last_to_first", "last to first", "", f"About 1 where cost does not grow with the page. At most {SLOPE_LIMIT}."
    ),
)


if __name__ == "__main__":
    main()
