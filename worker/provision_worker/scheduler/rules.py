"""From the state of a cluster to what starts now.

`decide` sorts the queue out (`eligible`) and puts it in order: class, then arrival. Who was passed over before
(`promised`) or has waited too long goes first and starts as soon as it fits; of the others the objective chooses a
set, class by class. The first that does not start is the head. It gets a reservation, the earliest time it can start
if everything takes as long as it may, and the rest of the queue may start as far as it does not delay that: again the
best set.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from math import inf
from operator import attrgetter

import numpy as np

from . import original, solver
from .eligible import name_key, sort_out
from .objective import objective, profits
from .packing import Packing
from .reasons import Reasons, Situation
from .state import Amounts, Decision, Id, Policy, Running, State, Waiting, Why
from .timeline import Timeline, fit

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
        start=tuple(plan.started),
        evict=tuple(victim for victims in plan.displaces.values() for victim in victims),
        displaces=plan.displaces,
        stop=overdue(state),
        expire=tuple(queue.expire),
        cancel=queue.cancel,
        reject=queue.reject,
        reservations=plan.heads,
        waiting=plan.reasons(queue.waiting),
        proven=plan.proven,
    )


def overdue(state: State) -> tuple[Id, ...]:
    """Who has run for longer than its TTL, the longest first."""
    late = [one for one in state.running if one.ends <= state.now]
    return tuple(one.id for one in sorted(late, key=lambda one: (one.ends, name_key(one.id))))


def check(state: State, policy: Policy) -> None:
    """Refuse what is no state: other axes, amounts that are none, an id twice."""
    everything: list[Running | Waiting] = [*state.running, *state.queue]
    if len({one.id for one in everything}) < len(everything):
        raise ValueError("an id occurs twice")
    amounts = [state.capacity, *[one.demand for one in everything]]
    if {*map(len, amounts)} != {len(state.axes)} or min(map(min, amounts)) < 0:
        names = ["the capacity", *(one.id for one in everything)]
        raise ValueError(next(filter(None, map(problem, names, amounts, repeat(state.axes)))))
    if policy.solver not in SOLVERS:
        raise ValueError(f"unknown solver {policy.solver!r}; there is {', '.join(SOLVERS)}")


def problem(name: Id, amounts: Amounts, axes: Sequence[str]) -> str:
    """What is wrong with amounts; empty if nothing is."""
    if len(amounts) != len(axes):
        return f"{name} has {len(amounts)} amounts for the axes {', '.join(axes)}"
    return f"{name} has a negative amount: {amounts}" if min(amounts) < 0 else ""


class Plan:
    """A decision in the making."""

    def __init__(self, state: State, policy: Policy, order: Sequence[Waiting]) -> None:
        self._state, self._policy = state, policy
        self._left = {one.id: one for one in order}
        self._order = order
        self._line = Timeline(state.capacity, state.running, state.now)
        self._starving: Id | None = None
        self.started: list[Id] = []
        self.heads: dict[Id, float] = {}
        self.displaces: dict[Id, tuple[Id, ...]] = {}
        self.proven = True

    def serve(self) -> None:
        """Serve who goes first, then class after class until one of it has to wait, then who may overtake."""
        for one in self._first():
            self._serve(one)
        while not self.heads and self._left:
            best = next(iter(self._left.values())).priority
            self._serve_class([one for one in self._left.values() if one.priority == best])
        if not self.is_closed():
            self._backfill()

    def _first(self) -> list[Waiting]:
        """The head as it was promised, then the oldest if it has waited too long."""
        first = [one for one in self._order[:1] if one.promised is not None]
        limit = self._policy.max_wait
        if limit is not None and self._order:
            oldest = min(self._order, key=attrgetter("arrival"))
            if self._state.now - oldest.arrival > limit:
                self._starving = oldest.id
                first += [oldest] if oldest not in first else []
        return first

    def _serve(self, one: Waiting) -> None:
        """Start one, making room if need be and allowed; else it is a head, with a reservation."""
        if self._line.fits(one) or self._displace(one):
            self._start(one)
        elif self._policy.backfill == "any" and one.id != self._starving:
            self.heads[one.id] = inf
        else:
            self.heads[one.id] = self._line.reserve(one)

    def _serve_class(self, members: list[Waiting]) -> None:
        """Start the best set of a class; the first of the others is the head."""
        for one in members:
            if one.promised is not None and not self.heads:
                self._serve(one)
        if self.heads:
            return
        open_ones = [one for one in members if one.id in self._left]
        fence = self._fence(open_ones)
        lower = [] if fence is not None else [one for one in self._left.values() if one.priority < members[0].priority]
        for one in self._best(open_ones[:fence] + lower, times=1):
            if one.priority == members[0].priority:
                self._start(one)
        for one in open_ones:
            if one.id in self._left and not self.heads:
                self._serve(one)

    def _fence(self, members: Sequence[Waiting]) -> int | None:
        """The first that cannot start now whatever is chosen, and may not be overtaken as if it were not there."""
        if self._policy.backfill == "any":
            return None
        forever = self._line.forever()
        for index, one in enumerate(members):
            if not self._line.fits(one) and (self._policy.backfill == "none" or fit(one.demand, forever)):
                return index
        return None

    def is_closed(self) -> bool:
        """Whether nobody may overtake."""
        if self._policy.backfill == "none":
            return True
        return self._starving in self.heads and self.heads[self._starving] == inf

    def _backfill(self) -> None:
        """Start the best set of those that fit and delay no head."""
        for one in self._best([one for one in self._left.values() if one.id not in self.heads]):
            self._start(one)

    def _best(self, candidates: Sequence[Waiting], times: int | None = None) -> list[Waiting]:
        """The best set that fits now and, as far as it is still there, at the times that are reserved."""
        free = self._line.free()
        fitting = [one for one in candidates if fit(one.demand, free) and self._line.fits(one)]
        if len(fitting) < 2:
            return fitting
        demand = np.array([one.demand for one in fitting], np.int64).T
        ends = np.array([inf if one.ttl is None else self._state.now + one.ttl for one in fitting])
        moments = self._line.times[:times]
        weight = np.concatenate([demand * (ends > at) for at in moments])
        room = np.concatenate([self._line.free(at) for at in moments])
        if (weight.sum(axis=1) <= room).all():
            return fitting
        name = objective(self._policy, self._order)
        worth = profits(name, fitting, self._state.capacity, self._state.now)
        packing = SOLVERS[self._policy.solver](worth, weight, room, work_limit=self._policy.work_limit)
        self.proven &= packing.proven
        return [fitting[index] for index in packing.chosen]

    def _start(self, one: Waiting) -> None:
        self._line.start(one)
        del self._left[one.id]
        self.started.append(one.id)

    def _displace(self, newcomer: Waiting) -> bool:
        """Make room by evicting the fewest of lower classes, of these the newest; nobody if it does not help."""
        if not self._policy.preemption:
            return False
        evicted = {name for names in self.displaces.values() for name in names}
        lower = [one for one in self._state.running if one.priority < newcomer.priority and one.id not in evicted]
        lower.sort(key=lambda one: (one.started, one.arrival, name_key(one.id)))
        room = [left - amount for left, amount in zip(self._line.free(), newcomer.demand, strict=True)]
        room = [left + sum(amounts) for left, *amounts in zip(room, *(one.demand for one in lower), strict=True)]
        if min(room) < 0:
            return False
        seniority = np.arange(len(lower), 0, -1)
        demand = np.array([one.demand for one in lower], np.int64).reshape(-1, len(room)).T
        kept = solver.pack(np.vstack([np.ones_like(seniority), seniority]), demand, room).chosen.tolist()
        victims = [one.id for index, one in enumerate(lower) if index not in kept]
        for name in victims:
            self._line.evict(name)
        self.displaces[newcomer.id] = tuple(victims)
        return True

    def reasons(self, known: Mapping[Id, Why]) -> Reasons:
        """Why each of those that are left waits."""
        is_any = self._policy.backfill == "any"
        return Reasons(known, self._left, Situation(self._state, self._line, self.heads, self.is_closed(), is_any))
