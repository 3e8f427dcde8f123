"""Branch and bound in breadth, on states held as arrays.

The variables are decided one by one. A level of states is one array of what is left of the capacities, and of values. A
level that has grown too wide is cut: its best chunk goes on, the rest is stacked until it is the most promising, so
that in the end nothing was left out. A state is dropped if no completion of it can beat the incumbent. Its bound is the
least of several Lagrangian ones, each from one vector of multipliers for all rows and everything that is undecided,
never from a mixture of two, which would bound nothing. The vectors are duals of relaxations of promising states.
"""

import heapq
from dataclasses import dataclass, field

import numpy as np

from .packing import Integers
from .simplex import Flags, Floats, relax

WIDTH = 1000
"""States that go on from a level."""
BLOCK = 4
"""Levels that share multipliers, with those of the next block and of the root."""
POOL = 6
"""Multipliers per block."""
MANY = 100
"""So many states are worth a relaxation,"""
GAIN = 0.02
"""and multipliers are kept that take this part off the distance to the incumbent."""
WORD = 63
"""Decisions in an int64."""
LEVEL_COST = 100
"""What a level costs besides its states, in states."""


@dataclass(order=True, frozen=True, slots=True)
class Chunk:
    """States of a level that wait. They are kept as decisions: the rest is computed again."""

    priority: float
    number: int
    level: int = field(compare=False)
    bits: Integers = field(compare=False)


@dataclass(frozen=True, slots=True)
class Core:
    """What is to be decided, in this order.

    `profit` (n,), `weight` (m, n) and `capacity` (m,) ≥ 0; of `exact` rows nothing may be left over. Weights and
    capacities are whole numbers, and so are the differences between the profits of sets.
    """

    profit: Floats
    weight: Floats
    capacity: Floats
    exact: Flags


class Search:
    """One search; `best` is what has to be beaten, in the end the optimum unless `bound` says more."""

    def __init__(self, core: Core, dual: Floats, best: float, tolerance: float) -> None:
        """`dual`: multipliers of the whole core. `best`: to be beaten by one. `tolerance`: the error of bounds."""
        self._size = core.profit.size
        self._weight, self._exact = core.weight, np.flatnonzero(core.exact)
        self._start = np.append(core.capacity, 0.0)
        self._step = np.vstack([-core.weight, core.profit])
        twins = (self._step[:, 1:] == self._step[:, :-1]).all(axis=0)
        self._is_twin = [False, *twins.tolist()]
        self._pool = Pool(core.profit, core.weight, dual)
        self._stack: list[Chunk] = []
        self._number = 0
        self.best, self._tolerance = best, tolerance
        self.bits: Integers | None = None
        self.work = 0

    def run(self, limit: float) -> None:
        """Search until everything was looked at or `work` reaches the limit."""
        bits = np.zeros((-(-self._size // WORD), 1), np.int64)
        bound = self._pool.bounds(self._start[:, None], 0)
        self._put(0, bits, bound)
        while self._stack and self.work < limit:
            self._dive(heapq.heappop(self._stack))

    @property
    def bound(self) -> float:
        """No set has more."""
        return max(self.best, -self._stack[0].priority) if self._stack else self.best

    def chosen(self) -> Flags | None:
        """The set of the value `best`; None if none was found that is better than at first."""
        return None if self.bits is None else self._decisions(self._size, self.bits[:, None])[:, 0] > 0

    def _put(self, level: int, bits: Integers, bound: Floats) -> None:
        self._number += 1
        heapq.heappush(self._stack, Chunk(-float(bound.max()), self._number, level, bits))

    def _dive(self, chunk: Chunk) -> None:
        """Take a chunk down to the last variable, or to where no state is left."""
        level, bits = chunk.level, chunk.bits
        state = self._start[:, None] + self._step[:, :level] @ self._decisions(level, bits)
        state, bits, bound = self._promising(state, bits, level)
        while bound.size and level < self._size:
            if bound.size > WIDTH:
                order = np.argpartition(-bound, WIDTH)
                self._put(level, bits[:, order[WIDTH:]], bound[order[WIDTH:]])
                state, bits = state[:, order[:WIDTH]], bits[:, order[:WIDTH]]
            self.work += bits.shape[1] + LEVEL_COST
            state, bits = self._branch(state, bits, level)
            level += 1
            state, bits, bound = self._promising(state, bits, level)
            if bound.size > MANY and level % 2 == 0 and self._pool.learn(state, bound, level, self.best):
                state, bits, bound = self._promising(state, bits, level)

    def _branch(self, state: Floats, bits: Integers, level: int) -> tuple[Floats, Integers]:
        """All states without the variable, then those with it that fit; twins are taken in order."""
        fits = (state[:-1] >= self._weight[:, level, None]).all(axis=0)
        if self._is_twin[level]:
            word, bit = divmod(level - 1, WORD)
            fits &= (bits[word] >> bit) & 1 > 0
        word, bit = divmod(level, WORD)
        taken = bits[:, fits]
        taken[word] |= 1 << bit
        state = np.concatenate([state, state[:, fits] + self._step[:, level, None]], axis=1)
        bits = np.concatenate([bits, taken], axis=1)
        value = np.where((state[self._exact] == 0).all(axis=0), state[-1], -np.inf) if self._exact.size else state[-1]
        top = int(value.argmax())
        if value[top] > self.best + self._tolerance:
            self.best, self.bits = float(value[top]), bits[:, top].copy()
        return state, bits

    def _promising(self, state: Floats, bits: Integers, level: int) -> tuple[Floats, Integers, Floats]:
        """The states that can beat the incumbent, with their bounds."""
        bound = self._pool.bounds(state, level)
        keep = bound >= self.best + 1 - self._tolerance
        return (state, bits, bound) if keep.all() else (state[:, keep], bits[:, keep], bound[keep])

    def _decisions(self, level: int, bits: Integers) -> Floats:
        """0 or 1 per variable above a level, and state."""
        word, bit = np.divmod(np.arange(level), WORD)
        return ((bits[word] >> bit[:, None]) & 1).astype(np.float64)


class Pool:
    """Multipliers to bound with: those of the root, and others by block of levels."""

    def __init__(self, profit: Floats, weight: Floats, dual: Floats) -> None:
        self._profit, self._weight = profit, weight
        blocks = profit.size // BLOCK + 2
        self._dual = [np.append(dual, 1.0)[None, :]] * blocks
        self._rest = [self._undecided(dual)[None, :]] * blocks
        self._count = [0] * blocks

    def bounds(self, state: Floats, level: int) -> Floats:
        """The least bound of every state, all variables from a level on being undecided."""
        block = level // BLOCK
        table: Floats = self._dual[block] @ state + self._rest[block][:, level, None]
        return np.asarray(table.min(axis=0))

    def learn(self, state: Floats, bound: Floats, level: int, best: float) -> bool:
        """Whether the relaxation of the most promising state gave multipliers worth having."""
        block = level // BLOCK
        if self._count[block] >= POOL or self._profit.size - level < BLOCK:
            return False
        index = int(bound.argmax())
        found = relax(self._profit[level:], self._weight[:, level:], state[:-1, index])
        if found.bound + state[-1, index] > bound[index] - GAIN * max(bound[index] - best, 1.0):
            return False
        self._count[block] += 1
        for place in (block - 1, block) if block else (block,):
            self._dual[place] = np.vstack([self._dual[place], np.append(found.dual, 1.0)])
            self._rest[place] = np.vstack([self._rest[place], self._undecided(found.dual)])
        return True

    def _undecided(self, dual: Floats) -> Floats:
        """What the variables from each level on add to a bound at most."""
        gain = np.maximum(self._profit - dual @ self._weight, 0.0)
        return np.append(gain[::-1].cumsum()[::-1], 0.0)
