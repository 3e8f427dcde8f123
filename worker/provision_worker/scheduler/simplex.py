"""Linear relaxation: a bounded-variable primal simplex that keeps the m × m inverse of its basis.

Dantzig's rule with bound flips (Chvátal, Linear Programming, chapter 8). It begins with a set that fits, all slacks
basic. The bound is computed from the duals, so that it is valid whenever it stops.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Relaxation:
    """`x`: between 0 and 1. `dual`: per row. `reduced`: profit - dual @ weight. `bound`: on any profit."""

    x: Floats
    dual: Floats
    reduced: Floats
    bound: float


def relax(
    profit: Floats, weight: Floats, capacity: Floats, start: Flags | None = None, exact: Flags | None = None
) -> Relaxation:
    """Maximise profit @ x where weight @ x ≤ capacity and 0 ≤ x ≤ 1. All weights and capacities are ≥ 0.

    `start`: a set that fits, to begin with. `exact`: rows of which it leaves nothing over and nothing may be left over;
    only their duals may be negative.
    """
    scale = np.maximum(weight.max(axis=1), 1.0)
    even, room = weight / scale[:, None], capacity / scale
    rest = np.full(len(scale), np.inf) if exact is None else np.where(exact, 0.0, np.inf)
    tableau = _Tableau(profit, even, room, _prefix(profit, even, room) if start is None else start, rest)
    for _ in range(20 + 4 * sum(weight.shape)):
        if not tableau.improve():
            break
    dual = np.where(rest > 0, np.maximum(tableau.dual, 0.0), tableau.dual) / scale
    reduced = profit - dual @ weight
    bound = float(dual @ capacity + np.maximum(reduced, 0.0).sum())
    return Relaxation(tableau.solution(), dual, reduced, bound)


def _prefix(profit: Floats, weight: Floats, capacity: Floats) -> Flags:
    """The longest beginning that fits, of all in order of profit for the part of the capacity they take."""
    share = (weight / np.maximum(capacity, 1.0)[:, None]).sum(axis=0)
    order = np.argsort(-profit / np.maximum(share, TOLERANCE), kind="stable")
    fits = (weight[:, order].cumsum(axis=1) <= capacity[:, None]).all(axis=0)
    chosen = np.zeros(profit.size, bool)
    chosen[order[fits]] = True  # weights are not negative: what fits is a beginning
    return chosen


class _Tableau:
    """A basis, and which of the others are at their upper bound."""

    def __init__(self, profit: Floats, weight: Floats, capacity: Floats, chosen: Flags, rest: Floats) -> None:
        rows, self._size = weight.shape
        self._columns = np.hstack([weight, np.eye(rows)])
        self._gain = np.concatenate([profit, np.zeros(rows)])
        self._upper = np.concatenate([np.ones(self._size), rest])
        self._sign = np.where(np.concatenate([chosen, np.zeros(rows, bool)]), -1.0, 1.0)
        self._basis = np.arange(self._size, self._size + rows)
        self._inverse = np.eye(rows)
        self._level = capacity - weight[:, chosen].sum(axis=1)
        self._least = TOLERANCE * max(float(np.abs(profit).max(initial=1.0)), 1.0)
        self.dual = np.zeros(rows)

    def improve(self) -> bool:
        """One step: a variable enters the basis or goes to its other bound. False at the optimum."""
        self.dual = self._gain[self._basis] @ self._inverse
        step = (self._gain - self.dual @ self._columns) * self._sign
        step[self._basis] = 0.0
        entering = int(step.argmax())
        if step[entering] <= self._least:
            return False
        column = self._inverse @ self._columns[:, entering]
        direction = column * self._sign[entering]  # the basic variables move by -length × direction
        down = np.where(direction > TOLERANCE, self._level / np.maximum(direction, TOLERANCE), np.inf)
        above = self._upper[self._basis] - self._level
        up = np.where(direction < -TOLERANCE, above / np.maximum(-direction, TOLERANCE), np.inf)
        limits = np.minimum(down, up)
        leaving = int(limits.argmin())
        length = max(float(limits[leaving]), 0.0)
        if self._upper[entering] <= length:
            self._level -= self._upper[entering] * direction
            self._sign[entering] = -self._sign[entering]
            return True
        self._level -= length * direction
        self._sign[self._basis[leaving]] = -1.0 if up[leaving] < down[leaving] else 1.0
        self._exchange(leaving, entering, column)
        self._level[leaving] = length if self._sign[entering] > 0 else self._upper[entering] - length
        self._sign[entering] = 1.0
        return True

    def _exchange(self, leaving: int, entering: int, column: Floats) -> None:
        row = self._inverse[leaving] / column[leaving]
        self._inverse -= column[:, None] * row
        self._inverse[leaving] = row
        self._basis[leaving] = entering

    def solution(self) -> Floats:
        """The variables, without the slacks."""
        x = (self._sign < 0).astype(np.float64)
        x[self._basis] = self._level
        return np.clip(x[: self._size], 0.0, 1.0)
