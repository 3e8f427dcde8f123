"""The exact solver: `pack`.

Levels of profit are joined into one number, one more from stage to stage, and each stage adds to the rows what was
proven of it, so that the relaxation of the next does not promise what cannot be. A stage is its relaxation, a first
set by rounding and exchanging, fixing what reduced costs prove, and `search` on the core that is left.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from .packing import Integers, Packing, Problem, first_fit, prepared
from .search import Core, Search
from .simplex import Flags, Floats, Relaxation, relax

WORK_LIMIT = 1_500_000
"""States that are looked at, every level of them counting as 100 more: about half a second."""
EXACT = 2**40
"""Up to here the error of a bound is less than a half."""
PRECISION = 1e-13
"""The error of a bound, relative."""

FEW = 12
"""So many columns are enumerated."""
NEAR = 30
"""So many of each side are tried against each other."""
SIZE = 0.03
"""This part of what the duals say a column takes is added to its reduced cost: the large are decided first, and the
small are there to fill what is left over."""
SMALL = 16
"""A level of numbers up to here is a stage of its own."""
SHARE = 1 / 3
"""A stage that is not the last may take this part of the work."""


def pack(profit: ArrayLike, weight: ArrayLike, capacity: ArrayLike, *, work_limit: int | None = None) -> Packing:
    """The set of the largest profit that fits, and whether that is proven.

    `profit`: integers of shape (n,), or (levels, n), highest level first, of which each decides between sets that are
    equal in all before. `weight`: (m, n), not negative. `capacity`: (m,). `work_limit`: how many states may be looked
    at, None: `WORK_LIMIT`. A proven set does not depend on the order of columns; of equal columns the
    first are chosen. An unproven one is at least as good as first fit in the order given.
    ValueError: other shapes, negative weights, no integers, sums beyond 2^53.
    """
    problem = prepared(profit, weight, capacity)
    if 0 < problem.size <= FEW and len(best := best_of_all(problem)) == 1:
        return problem.packing(np.flatnonzero(best[0]).tolist(), proven=True)
    order = canonical(problem)
    if not order.size:
        return problem.packing((), proven=True)
    reduced = Problem(problem.profit[:, order], problem.weight[:, order], problem.capacity)
    if order.size <= FEW:
        chosen = order[first_of_equals(reduced, best_of_all(reduced)[0])]
        return problem.packing(chosen.tolist(), proven=True)
    stages = Stages(reduced, WORK_LIMIT if work_limit is None else work_limit)
    stages.solve()
    chosen = order[first_of_equals(reduced, stages.chosen)]
    if not stages.proven:
        in_turn = first_fit(range(problem.size), problem.weight.T.tolist(), problem.capacity.tolist())
        return problem.packing(max(chosen.tolist(), in_turn, key=problem.value), proven=False, bound=stages.bound)
    return problem.packing(chosen.tolist(), proven=True)


def canonical(problem: Problem) -> Integers:
    """Indices of what may be worth choosing and fits alone, in an order that depends on the columns only."""
    profit, weight = problem.profit, problem.weight
    decisive = profit[(profit != 0).argmax(axis=0), np.arange(problem.size)]
    useful = np.flatnonzero((decisive > 0) & (weight <= problem.capacity[:, None]).all(axis=0))
    keys = np.vstack([-profit[:, useful], weight[:, useful]])
    return useful[np.lexsort(keys[::-1])]


def first_of_equals(problem: Problem, chosen: Flags) -> Flags:
    """As many of each kind of columns as were chosen, but the first ones; equal columns are beside each other."""
    if chosen.size < 2:
        return chosen
    columns = np.vstack([problem.profit, problem.weight])
    starts = np.append(True, (columns[:, 1:] != columns[:, :-1]).any(axis=0))
    if starts.all():
        return chosen
    kind = starts.cumsum() - 1
    rank = np.arange(chosen.size) - np.flatnonzero(starts)[kind]
    return np.asarray(rank < np.bincount(kind, chosen)[kind])


@lru_cache
def subsets(size: int) -> Floats:
    """All subsets, one per column."""
    return ((np.arange(2**size) >> np.arange(size)[:, None]) & 1).astype(np.float64)


def best_of_all(problem: Problem) -> Flags:
    """The best of all subsets that fit, one per row."""
    every = subsets(problem.size)
    left = np.flatnonzero((problem.weight.astype(np.float64) @ every <= problem.capacity[:, None]).all(axis=0))
    for level in problem.profit.astype(np.float64):
        value = level @ every[:, left]
        left = left[value == value.max(initial=-np.inf)]
    return every[:, left].T > 0


class Stages:
    """The levels of one problem, joined into one number of which more and more is solved.

    Levels of small numbers, such as counts, are solved before the next is added: that the relaxation cannot have a part
    of one more is worth much to all that follows.
    """

    def __init__(self, problem: Problem, limit: int) -> None:
        self._levels, self._limit = problem.profit, limit
        self._rows = binding(problem)
        self._joined = np.zeros(problem.size, np.int64)
        self._spans: list[int] = []
        self.chosen = np.zeros(problem.size, bool)
        self.bound: tuple[int, ...] = ()
        self.proven = True

    def solve(self) -> None:
        """Sets `chosen`, `bound` and `proven`."""
        last = len(self._levels) - 1
        for index, level in enumerate(self._levels):
            span = 1 + int(np.abs(level).sum())
            if not self._has_room(span) and not self._begin_anew(index, span):
                self.proven = False
                self.bound += self._at_most(index)
                return
            self._joined = self._joined * span + level
            self._spans.append(span)
            if (
                index == last
                or level.max() <= SMALL
                or not self._has_room(1 + int(np.abs(self._levels[index + 1]).sum()))
            ):
                self._solve(index, self._limit if index == last else self._limit * SHARE)

    def _has_room(self, span: int) -> bool:
        return (int(self._joined.sum()) + 1) * span <= EXACT

    def _begin_anew(self, index: int, span: int) -> bool:
        """Let all levels so far be rows of which nothing may be left over, if they are solved."""
        if not self.proven or (self._levels[:index] < 0).any() or span > EXACT:
            return False
        for solved in self._levels[:index]:
            self._rows.add(solved, int(solved @ self.chosen), exact=True)
        self._joined, self._spans = np.zeros_like(self._joined), []
        return True

    def _solve(self, index: int, limit: float) -> None:
        stage = Stage(self._joined, self._rows, self.chosen)
        self._limit -= stage.solve(limit)
        self.chosen, self.proven = stage.chosen, stage.is_proven
        values = tuple((self._levels[: index + 1] @ self.chosen).tolist())
        first = index + 1 - len(self._spans)
        self.bound = values if self.proven else values[:first] + self._parts(stage.bound, index)
        if self.proven and (self._levels[index] >= 0).all():
            self._rows.add(self._levels[index], values[index], exact=False)

    def _parts(self, number: int, index: int) -> tuple[int, ...]:
        """What a bound of the joined number is for its levels, up to one."""
        first = index + 1 - len(self._spans)
        if (self._levels[first : index + 1] < 0).any():
            return self._at_most(first, index + 1)
        parts = []
        for span in self._spans[::-1]:
            number, part = divmod(number, span)
            parts.append(part)
        return tuple(parts[::-1])

    def _at_most(self, first: int, end: int | None = None) -> tuple[int, ...]:
        """What levels have at most, if everything fits."""
        return tuple(np.maximum(self._levels[first:end], 0).sum(axis=1).tolist())


class Rows:
    """Weights and capacities; of `exact` rows nothing may be left over."""

    def __init__(self, weight: Floats, capacity: Floats) -> None:
        self.weight, self.capacity = weight, capacity
        self.exact = np.zeros(len(capacity), bool)

    def add(self, level: Integers, most: int, *, exact: bool) -> None:
        """No set that is wanted has more of a level, or, if exact, less."""
        if exact or level.sum() > most:
            self.weight = np.vstack([self.weight, level.astype(np.float64)])
            self.capacity = np.append(self.capacity, float(most))
            self.exact = np.append(self.exact, exact)


def binding(problem: Problem) -> Rows:
    """The rows that not everything fits, divided by what all their weights have in common."""
    rows = problem.weight.sum(axis=1) > problem.capacity
    weight, capacity = problem.weight[rows], problem.capacity[rows]
    common = np.maximum(np.gcd.reduce(weight, axis=1), 1) if weight.size else np.ones(len(weight), np.int64)
    return Rows((weight // common[:, None]).astype(np.float64), (capacity // common).astype(np.float64))


class Stage:
    """One number to be maximised. `chosen`: a set to begin with, then the best; `bound`: no set has more."""

    def __init__(self, profit: Integers, rows: Rows, chosen: Flags) -> None:
        self._profit = profit.astype(np.float64)
        self._rows, self._weight, self._capacity = rows, rows.weight, rows.capacity
        self.chosen = chosen
        self.best = int(self._profit @ chosen)
        self.bound = self.best

    @property
    def is_proven(self) -> bool:
        """Whether nothing is better than `chosen`."""
        return self.bound <= self.best

    def solve(self, limit: float) -> int:
        """The work it took."""
        if not self._capacity.size:
            self.chosen = self._profit > 0
            self.best = self.bound = int(self._profit.sum())
            return 0
        exact = self._rows.exact
        start = self.chosen if exact.any() else None
        relaxation = relax(self._profit, self._weight, self._capacity, start, exact)
        size = float(np.abs(relaxation.dual) @ (self._capacity + self._weight.sum(axis=1)))
        tolerance = max(1e-6, PRECISION * (size + float(np.abs(self._profit).sum())))
        self.bound = math.floor(relaxation.bound + tolerance)
        if not exact.any():
            self._take(self._polished(relaxation.x > 1 - 1e-9, relaxation.reduced))
            self._take(self._polished(self.chosen, relaxation.reduced))
        return 0 if self.is_proven else self._search(relaxation, tolerance, limit)

    def _search(self, relaxation: Relaxation, tolerance: float, limit: float) -> int:
        """Fix what is certain if something better is to be found, and search the rest."""
        reduced = relaxation.reduced
        certain = np.abs(reduced) > relaxation.bound - self.best - 1 + tolerance
        core = np.flatnonzero(~certain)
        takes = np.maximum(relaxation.dual, 0.0) @ self._weight
        core = core[np.argsort(-np.abs(reduced[core]) - SIZE * takes[core], kind="stable")]
        fixed = certain & (reduced > 0)
        left = self._capacity - self._weight[:, fixed].sum(axis=1)
        # What an exact row must have is worth what its dual says: no price for it is left, and no set needs less of it.
        price = np.where(self._rows.exact, relaxation.dual, 0.0)
        worth = self._profit - price @ self._weight
        value = float(worth[fixed].sum() + price @ self._capacity)
        search = Search(
            Core(worth[core], self._weight[:, core], left, self._rows.exact),
            relaxation.dual - price,
            self.best - value,
            tolerance,
        )
        search.run(limit)
        self.bound = min(self.bound, math.floor(search.bound + value + tolerance))
        found = search.chosen()
        if found is not None:
            fixed[core[found]] = True
            self._take(fixed)
        return search.work

    def _take(self, chosen: Flags) -> None:
        value = int(self._profit @ chosen)
        if value > self.best:
            self.best, self.chosen = value, chosen

    def _polished(self, begin: Flags, reduced: Floats) -> Flags:
        """A set, filled up and improved by exchanging one for one as long as that helps."""
        chosen = begin.copy()
        left = self._capacity - self._weight @ chosen
        while True:
            fits = ~chosen & (self._weight <= left[:, None]).all(axis=0) & (self._profit > 0)
            if fits.any():
                into = int(np.where(fits, reduced, -np.inf).argmax())
            else:
                outs, ins = self._near(chosen, reduced)
                gain = self._profit[ins] - self._profit[outs][:, None]
                room = (left[:, None] + self._weight[:, outs])[:, :, None] >= self._weight[:, ins][:, None, :]
                gain = np.where(room.all(axis=0), gain, 0.0)
                if not gain.size or gain.max() <= 0:
                    return chosen
                first, second = np.unravel_index(gain.argmax(), gain.shape)
                into = int(ins[second])
                chosen[outs[first]] = False
                left = left + self._weight[:, outs[first]]
            chosen[into] = True
            left = left - self._weight[:, into]

    def _near(self, chosen: Flags, reduced: Floats) -> tuple[Integers, Integers]:
        """Those inside and those outside that it costs the least to exchange."""
        order = np.argsort(reduced, kind="stable")
        return order[chosen[order]][:NEAR], order[~chosen[order]][-NEAR:]
