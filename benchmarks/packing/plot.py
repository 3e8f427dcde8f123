"""What the benchmark draws: the gap over time, and how long deployments wait."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The same name has the same colour everywhere, and the same kind of instances the same line.
COLOURS = {"ours": "C0", "CP-SAT": "C1", "HiGHS": "C2", "EASY": "C4", "first fit": "C5", "original": "C3"}
LINES = ("-", "--", ":")
SMALLEST_GAP = 0.01
"""In percent; below, the axis is linear, so that 0 has a place on it."""


def draw(path: Path, gaps: Mapping[str, Sequence[tuple[float, float]]], waits: Mapping[str, Sequence[float]]) -> None:
    """Write both into one file. `gaps`: per "solver, kind", seconds and percent. `waits`: per scheduler, seconds."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 4.8))
    _draw_gaps(left, gaps)
    _draw_waits(right, waits)
    for axes in (left, right):
        axes.legend()
        axes.grid(alpha=0.3)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter("")
    figure.tight_layout()
    figure.savefig(path)


def _draw_gaps(axes: "Axes", gaps: Mapping[str, Sequence[tuple[float, float]]]) -> None:
    kinds = list(dict.fromkeys(_parts(name)[1] for name in gaps))
    for name, points in gaps.items():
        solver, kind = _parts(name)
        style = LINES[kinds.index(kind) % len(LINES)]
        axes.plot(*zip(*points, strict=True), style, color=COLOURS.get(solver), marker="o", label=name)
    axes.set_xscale("log")
    axes.set_yscale("symlog", linthresh=SMALLEST_GAP)
    moments = sorted({moment for points in gaps.values() for moment, _ in points})
    lowest = min((gap for points in gaps.values() for _, gap in points), default=0)
    axes.set(xticks=moments, xlabel="processor time in seconds", ylabel="mean gap to the best known in %")
    axes.set_ylim(bottom=min(2 * lowest, -SMALLEST_GAP / 10))
    axes.set_title("Instances as of Chu and Beasley: lower is better")


def _draw_waits(axes: "Axes", waits: Mapping[str, Sequence[float]]) -> None:
    for name, seconds in waits.items():
        ordered = sorted(seconds)
        percent = [100 * (1 - index / len(ordered)) for index in range(len(ordered))]
        axes.plot(ordered, percent, color=COLOURS.get(name), label=name)
    axes.set(xscale="symlog", yscale="log", xlabel="wait in seconds", ylabel="% of the deployments that wait longer")
    axes.set_title("Replays: who waits how long")


def _parts(name: str) -> tuple[str, str]:
    solver, _, kind = name.partition(", ")
    return solver, kind
