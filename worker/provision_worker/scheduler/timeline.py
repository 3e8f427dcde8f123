"""What of a cluster is taken until when, and when something fits at the earliest."""

from dataclasses import dataclass
from math import inf

import numpy as np

from .packing import Integers


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a cluster that is taken from `begins` until `ends` at the latest, which may be `inf`."""

    amounts: Integers
    begins: float
    ends: float


class Timeline:
    """The shares of a cluster from `now` on."""

    def __init__(self, capacity: Integers, now: float) -> None:
        self.capacity = capacity
        self.now = now
        self._shares: list[Share] = []

    def take(self, amounts: Integers, begins: float, ttl: float | None) -> Share:
        """Take a share until the TTL is over. One that is overdue may end any moment."""
        over = inf if ttl is None else begins + ttl
        share = Share(amounts, begins, float(np.nextafter(self.now, inf)) if over <= self.now else over)
        self._shares.append(share)
        return share

    def give_back(self, share: Share) -> None:
        """A share whose holder will be made to end now."""
        self._shares = [other for other in self._shares if other is not share]

    def free(self, at: float) -> Integers:
        """What is left at a time, if everything takes as long as it may."""
        taken = [share.amounts for share in self._shares if share.begins <= at < share.ends]
        return self.capacity - np.sum(taken, axis=0, dtype=np.int64) if taken else self.capacity

    def fits(self, amounts: Integers, begins: float, ttl: float | None) -> bool:
        """Whether there is room from a time until the TTL is over, without moving anything."""
        over = inf if ttl is None else begins + ttl
        moments = [begins, *(share.begins for share in self._shares if begins < share.begins < over)]
        return all(bool((amounts <= self.free(moment)).all()) for moment in moments)

    def earliest(self, amounts: Integers, ttl: float | None) -> float:
        """When it fits at the earliest; `inf` if that depends on something without an end."""
        moments = sorted({self.now, *(share.ends for share in self._shares if share.ends < inf)})
        return next((moment for moment in moments if self.fits(amounts, moment, ttl)), inf)
