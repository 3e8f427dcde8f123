"""A day of a cluster, replayed under several schedulers: the same arrivals, the same run times, other decisions."""

import heapq
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from provision_worker.scheduler import Decision, Policy, Running, State, Waiting, decide
from provision_worker.scheduler.objective import profits
from provision_worker.scheduler.original import original
from provision_worker.scheduler.state import Id

CAPACITY = (64, 256, 8)
HIGH_SHARE = 0.25
Chooser = Callable[[State], Decision]


@dataclass(frozen=True, slots=True)
class Job:
    """A deployment to come, and how long it really runs, which no scheduler knows; at most its TTL."""

    waiting: Waiting
    seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """Waits in seconds, by class; slowdowns (wait + run) / run; processor time and number of the decisions.

    `late`: by how many seconds heads started after what they were promised first, the most.
    """

    waits: Sequence[float]
    high_waits: Sequence[float]
    slowdowns: Sequence[float]
    decision_seconds: float
    decisions: int
    late: float


def workload(seed: int, count: int, load: float) -> list[Job]:
    """Arrivals at random (Poisson), run times log-normal around a minute, TTLs one to three times as long.

    `load`: what they ask for, over what the cluster has, on the axis that is asked for most.
    """
    random = np.random.default_rng(seed)
    cpu = 2 ** random.integers(0, 6, count)
    demand = np.stack([cpu, cpu * random.choice([2, 4, 8], count), random.choice([0, 0, 0, 1, 2, 4], count)], axis=1)
    demand = np.minimum(demand, CAPACITY)
    seconds = np.clip(np.rint(random.lognormal(4, 1, count)), 5, 1800)
    ttl = np.ceil(seconds * random.choice([1, 1.5, 2, 3], count))
    busy = (demand * seconds[:, None]).sum(axis=0) / CAPACITY
    arrival = np.cumsum(random.exponential(busy.max() / load / count, count))
    high = random.random(count) < HIGH_SHARE
    return [
        Job(
            Waiting(index, tuple(demand[index].tolist()), int(high[index]), float(arrival[index]), float(ttl[index])),
            run,
        )
        for index, run in enumerate(seconds.tolist())
    ]


def replay(jobs: Sequence[Job], choose: Chooser) -> Outcome:
    """What becomes of jobs if `choose` is asked at every arrival and every end."""
    events = [(job.waiting.arrival, job.waiting.id, True) for job in jobs]
    heapq.heapify(events)
    by_id = {job.waiting.id: job for job in jobs}
    queue: dict[Id, Waiting] = {}
    running: dict[Id, Running] = {}
    begun: dict[Id, float] = {}
    promised: dict[Id, float] = {}
    spent, decisions = 0.0, 0
    while events:
        now, name, is_arrival = heapq.heappop(events)
        if is_arrival:
            queue[name] = by_id[name].waiting
        else:
            del running[name]
        if not queue or (events and events[0][0] == now):
            continue
        state = State(CAPACITY, tuple(running.values()), tuple(queue.values()), now)
        before = time.process_time()
        decision = choose(state)
        spent, decisions = spent + time.process_time() - before, decisions + 1
        for chosen in decision.start:
            one = queue.pop(chosen)
            begun[chosen] = now
            running[chosen] = Running(chosen, one.demand, one.priority, one.arrival, now, one.ttl)
            heapq.heappush(events, (now + by_id[chosen].seconds, chosen, False))
        for head, at in decision.reservations.items():
            promised.setdefault(head, at)
        for one in list(queue.values()):
            queue[one.id] = replace(one, promised=decision.reservations.get(one.id))
    return _outcome(jobs, begun, promised, spent, decisions)


def _outcome(
    jobs: Sequence[Job], begun: dict[Id, float], promised: dict[Id, float], spent: float, decisions: int
) -> Outcome:
    waits = {job.waiting.id: begun[job.waiting.id] - job.waiting.arrival for job in jobs}
    high = {job.waiting.id for job in jobs if job.waiting.priority}
    return Outcome(
        waits=list(waits.values()),
        high_waits=[waits[name] for name in waits if name in high],
        slowdowns=[(waits[job.waiting.id] + job.seconds) / job.seconds for job in jobs],
        decision_seconds=spent,
        decisions=decisions,
        late=max((begun[name] - at for name, at in promised.items() if name in high), default=0.0),
    )


def ours(policy: Policy = Policy()) -> Chooser:  # noqa: B008 - it is frozen
    """The product's."""
    return lambda state: decide(state, policy)


def by_original(state: State) -> Decision:
    """As the original chose: from all that wait, most HIGH, most LOW, most utilization; no order, no reservation."""
    packing = original(
        profits("count", state.queue, state.capacity, state.now),
        np.array([one.demand for one in state.queue]).T,
        free(state),
    )
    return Decision(start=tuple(state.queue[index].id for index in packing.chosen))


def by_first_fit(state: State) -> Decision:
    """In order of class and arrival, whatever fits."""
    left = free(state)
    started = []
    for one in in_order(state):
        if all(amount <= room for amount, room in zip(one.demand, left, strict=True)):
            left = [room - amount for amount, room in zip(one.demand, left, strict=True)]
            started.append(one.id)
    return Decision(start=tuple(started))


def by_easy(state: State) -> Decision:
    """EASY (Lifka 1995): in order until one does not fit, which gets a reservation; then first fit that respects it."""
    left, started = free(state), []
    order = in_order(state)
    held = [(one.ends, one.demand) for one in state.running]
    while order and all(amount <= room for amount, room in zip(order[0].demand, left, strict=True)):
        one = order.pop(0)
        left = [room - amount for amount, room in zip(one.demand, left, strict=True)]
        held.append((state.now + (one.ttl or 0), one.demand))
        started.append(one.id)
    if order:
        at, spare = _reservation(order[0], left, held)
        for one in order[1:]:
            is_short = state.now + (one.ttl or 0) <= at
            rooms = [left] if is_short else [left, spare]
            if all(amount <= room for free_one in rooms for amount, room in zip(one.demand, free_one, strict=True)):
                for free_one in rooms:
                    free_one[:] = [room - amount for amount, room in zip(one.demand, free_one, strict=True)]
                started.append(one.id)
    return Decision(start=tuple(started))


def _reservation(head: Waiting, left: list[int], held: list[tuple[float, tuple[int, ...]]]) -> tuple[float, list[int]]:
    """When the head fits, and what is left beside it then."""
    room, at = list(left), 0.0
    for ends, demand in sorted(held):
        room = [left_one + amount for left_one, amount in zip(room, demand, strict=True)]
        at = ends
        if all(amount <= left_one for amount, left_one in zip(head.demand, room, strict=True)):
            break
    return at, [left_one - amount for left_one, amount in zip(room, head.demand, strict=True)]


def in_order(state: State) -> list[Waiting]:
    """By class, then arrival."""
    return sorted(state.queue, key=lambda one: (-one.priority, one.arrival))


def free(state: State) -> list[int]:
    """What nothing runs on."""
    return [total - sum(one.demand[axis] for one in state.running) for axis, total in enumerate(state.capacity)]
