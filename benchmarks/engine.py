"""Measures the whole engine beside job queues: `python3 run.py bench engine`. How to read it: docs/benchmarks.md."""

from pathlib import Path
from typing import Any

import click
from rich.console import Console

from benchmarks.comparison.lines import FIGURES, RATIOS, ratios
from benchmarks.comparison.run import Comparison, Extent
from benchmarks.harness import report
from benchmarks.harness.cluster import OPTIONS, cluster
from benchmarks.orders.installation import UnfinishedError
from benchmarks.orders.throughput import Load
from provision import ProvisionError
from provision.settings import load as load_settings

COUNT = click.IntRange(min=1)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--orders", type=click.IntRange(min=10), default=20_000, help="Orders per measurement and round.")
@click.option("--rounds", type=COUNT, default=3, help="Rounds; medians are shown.")
@click.option("--submitters", type=COUNT, default=1, help="Connections that submit at once.")
@click.option("--batch", type=COUNT, default=500, help="Orders per transaction of a submitter.")
@click.option("--jobs", type=click.IntRange(min=100), default=20_000, help="Jobs of pgqueuer; others accordingly.")
@click.option("--pickups", type=COUNT, default=60, help="Pick-ups per round.")
@click.option("--seconds", type=click.FloatRange(min=0.1), default=3.0, help="How long submitters submit per round.")
@click.option("--history", type=click.IntRange(min=0), default=50_000, help="Finished orders of an old installation.")
@click.option("--brief", is_flag=True, help="Only what is compared with the peers.")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="Where the server keeps its data.  [default: in memory if there is room, else the temporary directory]",
)
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON: ratios, figures, machine.")
def main(directory: Path | None, as_json: bool, **options: Any) -> None:
    """Measure the whole engine beside procrastinate, pgqueuer and two bare statements, on one server, by turns."""
    console = Console(width=None if Console().is_terminal else 120)
    try:
        with cluster(directory, load_settings().pg_bin) as server, report.progress("starting a server") as say:
            comparison = Comparison(server, extent(**options), say)
            comparison.run()
            version, place = server.version, server.place
    except (ProvisionError, UnfinishedError) as error:
        raise click.ClickException(str(error)) from None
    found = ratios(comparison.samples)
    machine = report.machine() | {"postgresql": version, "data_in": str(place), "settings": OPTIONS}
    show(console, comparison, found, machine)
    if as_json:
        click.echo(report.document(comparison.samples, found, machine))


def extent(orders: int, submitters: int, batch: int, jobs: int, brief: bool, **others: Any) -> Extent:
    """What the options come to. The faster a queue is, the more jobs it gets, so that each is measured for seconds."""
    return Extent(
        load=Load(orders, submitters, batch),
        jobs={"procrastinate": max(100, jobs // 10), "pgqueuer": jobs, "pgbench": jobs * 10},
        is_brief=brief,
        **others,
    )


def show(console: Console, comparison: Comparison, found: dict[str, float], machine: dict[str, Any]) -> None:
    """Prints the tables, the notes, and what it ran on."""
    report.show(console, FIGURES, comparison.samples)
    report.show_ratios(console, RATIOS, found)
    for note in comparison.notes:
        console.print(note, soft_wrap=True)
    for name, value in machine.items():
        console.print(f"{name}: {value}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    main()
