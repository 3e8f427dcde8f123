"""From the state of a cluster to what starts now.

`decide` sorts the queue out (`eligible`) and puts it in order: class, then arrival. Who was passed over before
(`promised`) or has waited too long goes first and starts as soon as it fits; of the others the objective chooses a
set, class by class. The first that does not start is the head. It gets a reservation, the earliest time it can start
if everything takes as long as it may, and the rest of the queue may start as far as it does not delay that: again the
best set.
"""

from collections.abc import Callable, Sequence
from math import inf

import numpy as np

from . import original, solver
from .eligible import sort_out
from .objective import objective, profits
from .packing import Integers, Packing
from .state import Decision, Id, Policy, Running, State, Waiting, Why
from .timeline import Timeline

SOLVERS: dict[str, Callable[..., Packing]] = {
    "auto": solver.pack,
    "combinations": original.combinations,
    "genetic": original.genetic,
}


def decide(state: State, policy: Policy = Policy()) -> Decision:  # noqa: B008 - it is frozen
    """What to do now; the same for any order of rows. ValueError if the state is not one."""
    check(state, policy)
    queue = sort_out(state)
    plan = Plan(state, policy, queue.order)
    plan.serve()
    return Decision(
        start=tuple(one.id for one in plan.started),
        evict=tuple(victim for victims in plan.displaces.values() for victim in victims),
        displaces=plan.displaces,
        stop=overdue(state),
        expire=tuple(queue.expire),
        cancel=queue.cancel,
        reject=queue.reject,
        reservations={one.id: at for one, at in plan.heads},
        waiting=queue.waiting | plan.reasons(),
        proven=plan.proven,
    )


def overdue(state: State) -> tuple[Id, ...]:
    """Who has run for longer than its TTL, the longest first."""
    late = [(one.ends, str(one.id), one.id) for one in state.running if one.ends <= state.now]
    return tuple(name for *_, name in sorted(late))


def check(state: State, policy: Policy) -> None:
    """Refuse what is no state: other axes, amounts that are none, an id twice."""
    everything: list[Running | Waiting] = [*state.running, *state.queue]
    if len({one.id for one in everything}) < len(everything):
        raise ValueError("an id occurs twice")
    for what, amounts in [("the capacity", state.capacity), *((f"{one.id}", one.demand) for one in everything)]:
        if len(amounts) != len(state.axes):
            raise ValueError(f"{what} has {len(amounts)} amounts for the axes {', '.join(state.axes)}")
        if min(amounts) < 0:
            raise ValueError(f"{what} has a negative amount: {amounts}")
    if policy.solver not in SOLVERS:
        raise ValueError(f"unknown solver {policy.solver!r}; there is {', '.join(SOLVERS)}")


class Plan:
    """A decision in the making."""

    def __init__(self, state: State, policy: Policy, order: Sequence[Waiting]) -> None:
        self._state, self._policy, self._now = state, policy, state.now
        self._left = list(order)
        self._objective = objective(policy, order)
        self._capacity = np.array(state.capacity, np.int64)
        self._line = Timeline(self._capacity, state.now)
        self._running = sorted(state.running, key=lambda one: (one.started, one.arrival, str(one.id)))
        self._shares = {one.id: self._line.take(vector(one), one.started, one.ttl) for one in self._running}
        self._starving: Id | None = None
        self.started: list[Waiting] = []
        self.heads: list[tuple[Waiting, float]] = []
        self.displaces: dict[Id, tuple[Id, ...]] = {}
        self.proven = True

    def serve(self) -> None:
        """Serve who goes first, then class after class until one of it has to wait, then who may overtake."""
        for one in self._first():
            self._serve(one)
        while not self.heads and self._left:
            self._serve_class([one for one in self._left if one.priority == self._left[0].priority])
        if not self._is_closed():
            self._backfill()

    def _first(self) -> list[Waiting]:
        """The head as it was promised, then the oldest if it has waited too long."""
        first = [one for one in self._left[:1] if one.promised is not None]
        oldest = min(self._left, key=lambda one: one.arrival, default=None)
        limit = self._policy.max_wait
        if oldest and limit is not None and self._now - oldest.arrival > limit:
            self._starving = oldest.id
            first += [oldest] if oldest not in first else []
        return first

    def _serve(self, one: Waiting) -> None:
        """Start one, making room if need be and allowed; else it is a head, with a reservation."""
        if self._fits(one) or self._displace(one):
            self._start(one)
            return
        has_time = self._policy.backfill != "any" or one.id == self._starving
        at = self._line.earliest(vector(one), one.ttl) if has_time else inf
        self.heads.append((one, at))
        if at < inf:
            self._line.take(vector(one), at, one.ttl)

    def _serve_class(self, members: list[Waiting]) -> None:
        """Start the best set of a class; the first of the others is the head."""
        for one in members:
            if one.promised is not None and not self.heads:
                self._serve(one)
        if self.heads:
            return
        open_ones = [one for one in members if one in self._left]
        fence = next((index for index, one in enumerate(open_ones) if self._is_fence(one)), None)
        lower = [] if fence is not None else [one for one in self._left if one.priority < members[0].priority]
        for one in self._best([one for one in open_ones[:fence] + lower if self._fits(one)], []):
            if one in open_ones:
                self._start(one)
        for one in open_ones:
            if one in self._left and not self.heads:
                self._serve(one)

    def _is_fence(self, one: Waiting) -> bool:
        """Whether one cannot start now whatever is chosen, and may not be overtaken as if it were not there."""
        if self._fits(one) or self._policy.backfill == "any":
            return False
        return self._policy.backfill == "none" or self._line.earliest(vector(one), one.ttl) < inf

    def _is_closed(self) -> bool:
        """Whether nobody may overtake."""
        if self._policy.backfill == "none":
            return True
        return any(one.id == self._starving and at == inf for one, at in self.heads)

    def _backfill(self) -> None:
        """Start the best set of those that fit and delay no head."""
        waiting = [one for one, _ in self.heads]
        times = sorted({at for _, at in self.heads if at < inf})
        for one in self._best([one for one in self._left if one not in waiting and self._fits(one)], times):
            self._start(one)

    def _best(self, candidates: list[Waiting], times: Sequence[float]) -> list[Waiting]:
        """The best set that fits now and, as far as it is still there, at the times given."""
        if not candidates:
            return []
        demand = np.array([one.demand for one in candidates], np.int64).T
        ends = np.array([inf if one.ttl is None else self._now + one.ttl for one in candidates])
        packing = SOLVERS[self._policy.solver](
            profits(self._objective, candidates, self._capacity, self._now),
            np.vstack([demand, *(demand * (ends > at) for at in times)]),
            np.concatenate([self._line.free(at) for at in (self._now, *times)]),
            work_limit=self._policy.work_limit,
        )
        self.proven &= packing.proven
        return [candidates[index] for index in packing.chosen]

    def _fits(self, one: Waiting) -> bool:
        return self._line.fits(vector(one), self._now, one.ttl)

    def _start(self, one: Waiting) -> None:
        self._line.take(vector(one), self._now, one.ttl)
        self._left.remove(one)
        self.started.append(one)

    def _displace(self, newcomer: Waiting) -> bool:
        """Make room by evicting the fewest of lower classes, of these the newest; nobody if it does not help."""
        if not self._policy.preemption:
            return False
        lower = [one for one in self._running if one.priority < newcomer.priority and one.id in self._shares]
        if not lower:
            return False
        demand = np.array([one.demand for one in lower], np.int64).T
        room = self._line.free(self._now) + demand.sum(axis=1) - vector(newcomer)
        if (room < 0).any():
            return False
        seniority = np.arange(len(lower), 0, -1)
        kept = solver.pack(np.vstack([np.ones_like(seniority), seniority]), demand, room).chosen.tolist()
        victims = [one for index, one in enumerate(lower) if index not in kept]
        for one in victims:
            self._line.give_back(self._shares.pop(one.id))
        self.displaces[newcomer.id] = tuple(one.id for one in victims)
        return True

    def reasons(self) -> dict[Id, Why]:
        """Why each of those that are left waits."""
        heads = dict(self.heads)
        free = self._line.free(self._now)
        return {one.id: self._head(one, heads[one]) if one in heads else self._why(one, free) for one in self._left}

    def _head(self, one: Waiting, at: float) -> Why:
        needs = self._needs(one, self._line.free(self._now)) or "others were chosen"
        if at < inf:
            return Why("reserved", f"is next: {needs}; starts in {max(at - self._now, 0):.0f} s at the latest")
        if self._policy.backfill == "any":
            return Why("no_room", f"is next: {needs}; nothing is reserved, as the cluster lets any overtake")
        return Why("no_room", f"is next: {needs}; nobody can say until when, as not all that runs has a TTL")

    def _why(self, one: Waiting, free: Integers) -> Why:
        head = self.heads[0][0].id if self.heads else None
        if needs := self._needs(one, free):
            return Why("no_room", needs)
        if self._is_closed():
            return Why("overtakes", f"fits, but {head} is before it")
        if not self._fits(one):
            return Why("delays", f"fits, but would delay {head}")
        return Why("not_chosen", "fits, but others were chosen")

    def _needs(self, one: Waiting, free: Integers) -> str:
        """What of its demand is not free; empty if it fits now."""
        short = [
            f"{wanted} {axis} ({max(left, 0)} free)"
            for axis, wanted, left in zip(self._state.axes, one.demand, free.tolist(), strict=True)
            if wanted > left
        ]
        return f"needs {', '.join(short)}" if short else ""


def vector(one: Waiting | Running) -> Integers:
    """A demand to calculate with."""
    return np.array(one.demand, np.int64)
