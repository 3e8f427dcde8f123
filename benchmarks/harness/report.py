"""Figures of several rounds, their medians, and what they mean in words and as JSON."""

import json
import os
import platform
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table


@dataclass(frozen=True)
class Line:
    """A figure: its key in the JSON, its name and unit, and what it says, in plain words."""

    key: str
    name: str
    unit: str
    meaning: str


class Samples:
    """Values by key, one or more per round."""

    def __init__(self) -> None:
        self._values: defaultdict[str, list[float]] = defaultdict(list)

    def add(self, key: str, value: float) -> None:
        """One more value."""
        self._values[key].append(value)

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def median(self, key: str) -> float:
        """The median of a key's values."""
        return median(self._values[key])

    def medians(self) -> dict[str, float]:
        """All medians by key."""
        return {key: rounded(self.median(key)) for key in self._values}

    def shown(self, key: str) -> tuple[str, str]:
        """Median and range, for people to read."""
        values = self._values[key]
        return number(median(values)), f"{number(min(values))} – {number(max(values))}"


@contextmanager
def progress(what: str) -> Iterator[Callable[[str], None]]:
    """Shows on standard error what is being done and for how long; the block says when that changes."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=None)
        yield lambda then: shown.update(task, description=then)


def rounded(value: float) -> float:
    """To four significant digits: no more is known."""
    return float(f"{value:.4g}")


def number(value: float) -> str:
    """For people to read: 12,300 or 12.3 or 0.12."""
    return f"{rounded(value):,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def show(console: Console, lines: Iterable[Line], samples: Samples) -> None:
    """Prints the lines that there are values for, as a table."""
    table = Table("Measured", "median", "range", "", "what it says", show_lines=True)
    for line in lines:
        if line.key in samples:
            middle, spread = samples.shown(line.key)
            table.add_row(line.name, middle, spread, line.unit, line.meaning)
    console.print(table)


def show_ratios(console: Console, lines: Iterable[Line], ratios: Mapping[str, float]) -> None:
    """Prints what the figures come to, compared."""
    table = Table("Compared", "ratio", "what it says", show_lines=True)
    for line in lines:
        if line.key in ratios:
            table.add_row(line.name, number(ratios[line.key]), line.meaning)
    console.print(table)


def document(samples: Samples, ratios: Mapping[str, float], machine: Mapping[str, Any]) -> str:
    """Everything as one line of JSON."""
    return json.dumps(
        {
            "ratios": {key: rounded(value) for key, value in ratios.items()},
            "figures": samples.medians(),
            "machine": machine,
        }
    )


def machine() -> dict[str, Any]:
    """What it ran on."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": [round(value, 1) for value in os.getloadavg()],
    }


def _cpu_model() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
