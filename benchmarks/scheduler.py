"""Measures the scheduler beside others: `python3 run.py bench scheduler`. How to read it: docs/scheduler.md."""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # before numpy is there: one thread for everybody

import json
import tempfile
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from benchmarks.harness import report as harness
from benchmarks.packing import figures, instances, plot, rivals
from benchmarks.packing.figures import Report

NAMES = ("ours", "CP-SAT", "HiGHS", "EASY", "first fit", "original")


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--every", type=click.IntRange(min=1), default=1, help="Of the instances, only one in so many.")
@click.option(
    "--every-large", type=click.IntRange(min=1), default=1, help="Of the large ones, only one in so many more."
)
@click.option("--seeds", type=click.IntRange(min=1), default=6, help="Replays.")
@click.option("--deployments", type=click.IntRange(min=20), default=600, help="Deployments of a replay.")
@click.option(
    "--plots",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path(tempfile.gettempdir()) / "scheduler.svg",
    help="Where the plots go; .svg, .png or .pdf.",
)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=instances.DATA,
    help="Where the instances of others are; what is not there is left out.",
)
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
def main(every: int, every_large: int, seeds: int, deployments: int, plots: Path, data: Path, as_json: bool) -> None:
    """Measure the scheduler beside CP-SAT, HiGHS, first fit, EASY and the original: one thread, CPU time."""
    if missing := rivals.missing():
        raise click.ClickException(f"{', '.join(missing)} is missing: pip install 'provision[solvers]'")
    console = Console(width=None if Console().is_terminal else 140)
    report = Report()
    with harness.progress("beginning") as say:
        measure(report, data, (every, every * every_large), (seeds, deployments), say)
    show(console, report)
    plot.draw(plots, report.gaps, report.waits)
    console.print(f"plots: {plots}", soft_wrap=True)
    if not data.is_dir():
        console.print(f"left out, as there is no {data}: queues of the file, mknap1, mknap2, mknapcb", soft_wrap=True)
    for name, what in harness.machine().items():
        console.print(f"{name}: {what}", soft_wrap=True, highlight=False)
    if as_json:
        click.echo(
            json.dumps({one.key: {n: harness.rounded(v) for n, v in one.values.items()} for one in report.figures})
        )


def measure(report: Report, data: Path, parts: tuple[int, int], replays: tuple[int, int], say: figures.Say) -> None:
    """Everything there are data for; `parts`: one in so many of the small instances, and of the large ones."""
    every, large = parts
    figures.measure_replays(report, *replays, say)
    if data.is_dir():
        figures.measure_queues(report, instances.queues(data)[::every], "given", say)
        figures.measure_library(report, instances.library(data)[::every], say)
        figures.measure_gap(report, instances.chu_beasley(data)[::large], "mknapcb", say)
    figures.measure_queues(report, instances.made_queues((8, 16, 25, 40, 60, 100), 3)[::every], "made", say)
    figures.measure_gap(report, instances.made_chu_beasley(24)[::large], "made", say)


def show(console: Console, report: Report) -> None:
    """Prints a line per figure."""
    table = Table("Measured", "wanted", "", *NAMES)
    for figure in report.figures:
        verdict = {None: "", True: "reached", False: "missed"}[figure.is_reached]
        values = (harness.number(figure.values[name]) if name in figure.values else "" for name in NAMES)
        table.add_row(figure.name, figure.wanted, verdict, *values)
    console.print(table)


if __name__ == "__main__":
    main()
