"""What the benchmark draws: the gap over time, and how long deployments wait."""

from collections.abc import Mapping, Sequence
from pathlib import Path


def draw(path: Path, gaps: Mapping[str, Sequence[tuple[float, float]]], waits: Mapping[str, Sequence[float]]) -> None:
    """Write both into one file. `gaps`: per solver, seconds and gap in percent. `waits`: per scheduler, seconds."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 4.5))
    for name, points in gaps.items():
        left.plot(*zip(*points, strict=True), marker="o", label=name)
    left.set(xscale="log", xlabel="processor time in seconds", ylabel="mean gap to the best known in %")
    left.set_yscale("symlog", linthresh=0.01)
    left.set_title("Instances as of Chu and Beasley")
    for name, seconds in waits.items():
        ordered = sorted(seconds)
        right.plot(ordered, [1 - index / len(ordered) for index in range(len(ordered))], label=name)
    right.set(xscale="symlog", yscale="log", xlabel="wait in seconds", ylabel="part that waits longer")
    right.set_title("Replays")
    for axes in (left, right):
        axes.legend()
        axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path)
