"""What of a cluster is taken until when, and when something fits at the earliest.

Few shares of few axes: plain numbers are faster here than arrays.
"""

from collections.abc import Callable, Iterable, Sequence
from math import inf, nextafter
from operator import add, itemgetter, le, sub
from typing import NamedTuple

from .state import Amounts, Id, Running, Waiting


class Share(NamedTuple):
    """A part of a cluster that is taken from `begins` until `ends` at the latest, which may be `inf`."""

    begins: float
    ends: float
    amounts: Amounts


class Timeline:
    """The shares of a cluster from `now` on, if everything takes as long as it may.

    What matters is what is free now and at the times that are reserved: in between shares only end.
    """

    def __init__(self, capacity: Amounts, running: Sequence[Running], now: float) -> None:
        self._now, self._capacity = now, capacity
        soon = nextafter(now, inf)  # one that is overdue ends any moment
        self._shares = {one.id: Share(now, max(one.ends, soon), one.demand) for one in running}
        self._free = {now: self._left(now)}

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

    def forever(self) -> list[int]:
        """What is left when all has ended that has a TTL."""
        return rest(self._capacity, (share.amounts for share in self._shares.values() if share.ends == inf))

    def start(self, one: Waiting) -> None:
        """It runs from now on."""
        self._hold(one.id, Share(self._now, self._end(one), one.demand))

    def evict(self, name: Id) -> None:
        """It gives its share back."""
        share = self._shares.pop(name)
        self._change(share, add)

    def reserve(self, one: Waiting) -> float:
        """Take a share from the earliest time at which it fits; that time, `inf` if it depends on what has no end."""
        at = self._earliest(one)
        if at < inf:
            self._free.setdefault(at, self._left(at))
            self._hold(one.id, Share(at, inf if one.ttl is None else at + one.ttl, one.demand))
        return at

    def _end(self, one: Waiting) -> float:
        return inf if one.ttl is None else self._now + one.ttl

    def _left(self, at: float) -> list[int]:
        taken = (share.amounts for share in self._shares.values() if share.begins <= at < share.ends)
        return rest(self._capacity, taken)

    def _hold(self, name: Id, share: Share) -> None:
        self._shares[name] = share
        self._change(share, sub)

    def _change(self, share: Share, change: Callable[[int, int], int]) -> None:
        for at, free in self._free.items():
            if share.begins <= at < share.ends:
                free[:] = map(change, free, share.amounts)

    def _earliest(self, one: Waiting) -> float:
        """The first moment from which on it fits for as long as it may take."""
        shares = self._shares.values()
        changes = [(ends, add, amounts) for _, ends, amounts in shares if ends < inf]
        if len(self._free) > 1:
            changes += [(begins, sub, amounts) for begins, _, amounts in shares if begins > self._now]
        changes.sort(key=itemgetter(0))
        duration = inf if one.ttl is None else one.ttl
        free = self.free()
        found = self._now if fit(one.demand, free) else inf
        for index, (at, change, amounts) in enumerate(changes):
            free = [*map(change, free, amounts)]
            if index + 1 < len(changes) and changes[index + 1][0] == at:
                continue  # of several changes at one time only the sum counts
            if at >= found + duration:
                break
            found = min(found, at) if fit(one.demand, free) else inf
        return found


def rest(capacity: Sequence[int], taken: Iterable[Amounts]) -> list[int]:
    """What is left of a capacity."""
    sums = [*map(sum, zip(*taken, strict=True))] or [0] * len(capacity)
    return [*map(sub, capacity, sums)]


def fit(amounts: Sequence[int], free: Sequence[int]) -> bool:
    """Whether there is enough on every axis."""
    return all(map(le, amounts, free))
