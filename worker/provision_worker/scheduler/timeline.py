"""What of a cluster is taken until when, and when something fits at the earliest."""

from collections.abc import Sequence
from math import inf, nextafter

import numpy as np

from .state import Amounts, Id, Running, Waiting


class Timeline:
    """The shares of a cluster from `now` on, if everything takes as long as it may.

    What matters is what is free now and at the times that are reserved: in between shares only end.
    """

    def __init__(self, capacity: Amounts, running: Sequence[Running], now: float) -> None:
        self._now = now
        self._capacity = capacity
        self._shares: list[tuple[float, float, Amounts]] = []
        self._held: dict[Id, tuple[float, float, Amounts]] = {}
        self._free = {now: list(capacity)}
        self._forever = list(capacity)
        for one in running:
            # One that is overdue ends any moment.
            self._hold(one.id, (now, one.ends if one.ends > now else nextafter(now, inf), one.demand))

    @property
    def times(self) -> list[float]:
        """Now, and the times that are reserved."""
        return sorted(self._free)

    def free(self, at: float | None = None) -> list[int]:
        """What is left now or at a reserved time."""
        return self._free[self._now if at is None else at]

    def fits(self, one: Waiting) -> bool:
        """Whether it can start now and delays no reservation."""
        ends = self._end(one)
        return all(ends <= at or fit(one.demand, free) for at, free in self._free.items())

    def ever_fits(self, one: Waiting) -> bool:
        """Whether it can start when all has ended that has a TTL."""
        return fit(one.demand, self._forever)

    def start(self, one: Waiting) -> None:
        """It runs from now on."""
        self._hold(one.id, (self._now, self._end(one), one.demand))

    def evict(self, name: Id) -> None:
        """It gives its share back."""
        self._add(self._held[name], -1)
        self._shares.remove(self._held.pop(name))

    def reserve(self, one: Waiting) -> float:
        """Take a share from the earliest time at which it fits; that time, `inf` if it depends on what has no end."""
        at = self._earliest(one)
        if at < inf:
            share = (at, inf if one.ttl is None else at + one.ttl, one.demand)
            if at not in self._free:
                self._free[at] = [
                    total - sum(amounts[axis] for begins, ends, amounts in self._shares if begins <= at < ends)
                    for axis, total in enumerate(self._capacity)
                ]
            self._hold(one.id, share)
        return at

    def _end(self, one: Waiting) -> float:
        return inf if one.ttl is None else self._now + one.ttl

    def _hold(self, name: Id, share: tuple[float, float, Amounts]) -> None:
        self._held[name] = share
        self._shares.append(share)
        self._add(share, 1)

    def _add(self, share: tuple[float, float, Amounts], sign: int) -> None:
        begins, ends, amounts = share
        for at, free in self._free.items():
            if begins <= at < ends:
                free[:] = [left - sign * amount for left, amount in zip(free, amounts, strict=True)]
        if ends == inf:
            self._forever = [left - sign * amount for left, amount in zip(self._forever, amounts, strict=True)]

    def _earliest(self, one: Waiting) -> float:
        """The first moment from which on it fits for as long as it may take."""
        if not self.ever_fits(one):
            return inf
        begins, ends, amounts = (np.array(column) for column in zip(*self._shares, strict=True))
        later, ending = begins > self._now, ends < inf
        times = np.concatenate([[self._now], ends[ending], begins[later]])
        change = np.vstack([self.free(), amounts[ending], -amounts[later]])
        order = np.argsort(times, kind="stable")
        times, level = times[order], change[order].cumsum(axis=0)
        is_last = np.append(times[1:] > times[:-1], True)  # of several changes at one time only the sum counts
        times, fits = times[is_last], (level[is_last] >= one.demand).all(axis=1)
        for index in np.flatnonzero(fits):
            over = inf if one.ttl is None else times[index] + one.ttl
            if fits[index : np.searchsorted(times, over)].all():
                return float(times[index])
        return inf


def fit(amounts: Amounts, free: Sequence[int]) -> bool:
    """Whether there is enough on every axis."""
    return all(amount <= left for amount, left in zip(amounts, free, strict=True))
