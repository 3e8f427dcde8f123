"""The problem that solvers solve, checked, and their answer.

Choose a set whose weights fit the capacity on every axis and whose profit is the largest: a multidimensional 0/1
knapsack, with any number of profits of which each decides only between sets that are equal in all before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

EXACT = 2.0**53
"""Whole numbers below are exact as floats."""
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Packing:
    """A solver's answer.

    `chosen`: indices, ascending. `value`: their profit per level. `bound`: no set is better, compared level by level.
    `proven`: none is better than `chosen`.
    """

    chosen: Integers
    value: tuple[int, ...]
    bound: tuple[int, ...]
    proven: bool


@dataclass(frozen=True, slots=True)
class Problem:
    """`profit` (levels, n), `weight` (m, n), `capacity` (m,): int64, weights and capacities not negative."""

    profit: Integers
    weight: Integers
    capacity: Integers

    @property
    def size(self) -> int:
        """How many there are to choose from."""
        return int(self.profit.shape[1])

    def value(self, chosen: Sequence[int]) -> tuple[int, ...]:
        """The profit of a set, per level."""
        return tuple(self.profit[:, list(chosen)].sum(axis=1).tolist())

    def packing(self, chosen: Sequence[int], *, proven: bool, bound: tuple[int, ...] | None = None) -> Packing:
        """A set as an answer; without a bound, everything at once is one."""
        value = self.value(chosen)
        if proven or bound is None:
            bound = value if proven else tuple(np.maximum(self.profit, 0).sum(axis=1).tolist())
        return Packing(np.array(sorted(chosen), np.int64), value, bound, proven)


def prepared(profit: ArrayLike, weight: ArrayLike, capacity: ArrayLike) -> Problem:
    """Arguments of a solver, checked; ValueError says what is wrong with them."""
    problem = Problem(
        np.atleast_2d(integers(profit, "profit")), integers(weight, "weight"), integers(capacity, "capacity")
    )
    if problem.weight.ndim != 2 or problem.weight.shape != (*problem.capacity.shape, problem.size):
        raise ValueError(
            f"weight has the shape {problem.weight.shape}; {problem.size} profits and capacities of shape "
            f"{problem.capacity.shape} want {(*problem.capacity.shape, problem.size)}"
        )
    if (problem.weight < 0).any():
        raise ValueError("a weight is negative")
    for name, rows in (("profit", problem.profit), ("weight", problem.weight)):
        most = max(float(rows.max(initial=0)), -float(rows.min(initial=0)))
        if most * rows.size >= EXACT and (np.abs(rows.astype(np.float64)).sum(axis=1) >= EXACT).any():
            raise ValueError(f"{name} sums up to more than 2^53")
    return problem


def integers(values: Any, name: str) -> Integers:
    """As int64, if nothing is lost by it."""
    given = np.asarray(values)
    if given.size == 0:
        return given.astype(np.int64)
    if given.dtype.kind not in "iu":
        raise ValueError(f"{name} is not of integers but of {given.dtype}")
    return given.astype(np.int64, casting="same_kind" if given.dtype.kind == "i" else "unsafe")


def first_fit(order: Sequence[int], columns: Sequence[Sequence[int]], capacity: Sequence[int]) -> list[int]:
    """What starts if each in turn starts that still fits."""
    left = list(capacity)
    chosen = []
    for index in order:
        if all(amount <= free for amount, free in zip(columns[index], left, strict=True)):
            left = [free - amount for amount, free in zip(columns[index], left, strict=True)]
            chosen.append(index)
    return chosen
