"""Packing problems: those of the OR-Library and queues of clusters, if they are there, and others made here."""

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "mkp"
"""Beside the checkout: the data are others', and not part of the project."""
CHU_BEASLEY = ("mknapcb1.txt", "mknapcb2.txt", "mknapcb4.txt", "mknapcb7.txt")
POD = ((3152, 5600), (4000, 15258), (8000, 30517), (11300, 49152), (11908, 47104), (16500, 51200))
"""Sizes of pods as in a cluster that serves models: thousandths of a vCPU, MiB."""

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Instance:
    """`profit` (levels, n), `weight` (m, n), `capacity` (m,); `best`: the best value known, None if none is."""

    name: str
    profit: Integers
    weight: Integers
    capacity: Integers
    best: tuple[int, ...] | None = None

    @property
    def size(self) -> int:
        """How many there are to choose from."""
        return int(self.profit.shape[1])


def library(data: Path) -> list[Instance]:
    """The 55 small ones of mknap1 and mknap2."""
    return [*_mknap1(data / "mknap1.txt"), *_mknap2(data / "mknap2.txt")]


def chu_beasley(data: Path) -> list[Instance]:
    """The 120 large ones, with the best known values."""
    with (data / "best_known.csv").open() as file:
        best = {row["name"]: int(row["best_here"]) for row in csv.DictReader(file)}
    return [instance for name in CHU_BEASLEY for instance in _mknapcb(data / name, best)]


def queues(data: Path) -> list[Instance]:
    """Queues of clusters: most HIGH, then utilization, then most at all."""
    rows = [json.loads(line) for line in (data / "queue.jsonl").read_text().splitlines()]
    return [queue(row["id"], row["high"], row["util"], row["demand"], row["cap"], tuple(row["best"])) for row in rows]


def queue(
    name: str, high: object, util: object, demand: object, capacity: object, best: tuple[int, ...] | None = None
) -> Instance:
    """A queue as an instance; `demand` is one row per deployment."""
    weight = np.array(demand, np.int64).T
    profit = np.array([high, util, np.ones(weight.shape[1])]).astype(np.int64)
    return Instance(name, profit, weight, np.array(capacity, np.int64), best)


def made_chu_beasley(count: int) -> list[Instance]:
    """As Chu and Beasley (1998) made theirs, of the sizes of the four files in turn."""
    made = []
    for seed in range(count):
        random = np.random.default_rng([1998, seed])
        rows, size = ((5, 100), (5, 250), (10, 100), (30, 100))[seed % 4]
        weight = random.integers(1, 1001, (rows, size))
        capacity = (weight.sum(axis=1) * (0.25, 0.5, 0.75)[seed // 4 % 3]).astype(np.int64)
        profit = np.rint(weight.mean(axis=0) + 500 * random.random(size)).astype(np.int64)
        made.append(Instance(f"made-{rows}.{size}-{seed}", profit[None, :], weight, capacity))
    return made


def made_queues(sizes: tuple[int, ...], each: int) -> list[Instance]:
    """Queues of three kinds: small whole demands, machines with GPUs, pods of a few sizes."""
    return [
        _made_queue(kind, size, np.random.default_rng([7, index, size, seed]))
        for size in sizes
        for index, kind in enumerate(("small", "machine", "pod"))
        for seed in range(each)
    ]


def _made_queue(kind: str, size: int, random: np.random.Generator) -> Instance:
    if kind == "small":
        demand = random.integers((1, 1, 0), (8, 8, 5), (size, 3))
        capacity = np.full(3, max(10, size * 4 // 5))
    elif kind == "machine":
        cpu, gpu = 2 ** random.integers(0, 6, size), random.choice([0, 0, 1, 2, 4], size)
        demand = np.column_stack([cpu, cpu * random.choice([2, 3, 4, 7, 8], size), gpu])
        capacity = np.array([64, 256, 8]) * max(1, size // 20)
    else:
        pods = np.array(POD)[random.integers(0, len(POD), size)]
        demand = np.column_stack([pods, random.choice([0, 220, 470, 810, 1000], size)])
        capacity = (demand.sum(axis=0) * random.uniform(0.25, 0.6)).astype(np.int64)
    demand = np.minimum(demand, capacity)
    util = np.rint((demand * (10_000 / 3) / capacity).sum(axis=1))
    return queue(f"made-{kind}-{size}", random.random(size) < 0.3, util, demand, capacity)


def _mknapcb(path: Path, best: dict[str, int]) -> Iterator[Instance]:
    numbers = iter(path.read_text().split())
    for index in range(int(next(numbers))):
        size, rows, _ = (int(float(next(numbers))) for _ in range(3))
        profit, weight, capacity = _take(numbers, 1, size), _take(numbers, rows, size), _take(numbers, rows)
        name = f"{rows}.{size}-{index:02d}"
        yield _whole(name, profit, weight, capacity, best[name])


def _mknap1(path: Path) -> Iterator[Instance]:
    numbers = iter(path.read_text().split())
    for index in range(int(next(numbers))):
        size, rows, best = int(next(numbers)), int(next(numbers)), float(next(numbers))
        profit, weight, capacity = _take(numbers, 1, size), _take(numbers, rows, size), _take(numbers, rows)
        yield _whole(f"mknap1-{index}", profit, weight, capacity, best)


def _mknap2(path: Path) -> Iterator[Instance]:
    for part in re.split(r"\+{10,}\s*problem ", path.read_text())[1:]:
        head, _, body = part.partition("\n")
        numbers = iter(re.sub(r"//.*|\+{5,}", "", body).split())
        rows, size = int(next(numbers)), int(next(numbers))
        profit, capacity, weight = _take(numbers, 1, size), _take(numbers, rows), _take(numbers, rows, size)
        yield _whole(head.split(".")[0], profit, weight, capacity, float(next(numbers)))


def _take(numbers: Iterator[str], *shape: int) -> NDArray[np.float64]:
    return np.array([float(next(numbers)) for _ in range(int(np.prod(shape)))]).reshape(shape)


def _whole(
    name: str, profit: NDArray[np.float64], weight: NDArray[np.float64], capacity: NDArray[np.float64], best: float
) -> Instance:
    """Some are in tenths and hundredths: every row is multiplied until it is of whole numbers."""
    by_profit = _factor(profit)
    by_row = np.array([_factor(np.append(row, most)) for row, most in zip(weight, capacity, strict=True)])
    return Instance(
        name,
        np.rint(profit * by_profit).astype(np.int64),
        np.rint(weight * by_row[:, None]).astype(np.int64),
        np.rint(capacity * by_row).astype(np.int64),
        (round(best * by_profit),),
    )


def _factor(numbers: NDArray[np.float64]) -> int:
    return next(power for power in (1, 10, 100, 1000) if np.allclose(numbers * power, np.rint(numbers * power)))
