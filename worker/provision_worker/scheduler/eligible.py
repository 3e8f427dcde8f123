"""Who takes part: what has expired, waits for others, or can never start is set aside, the rest is put in order."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .state import FAILURES, Amounts, Id, State, Waiting, Why
from .timeline import fit


@dataclass
class Sorted:
    """The queue, sorted out; `order` is by class, then arrival, then id."""

    order: list[Waiting] = field(default_factory=list)
    expire: list[Id] = field(default_factory=list)
    cancel: dict[Id, Why] = field(default_factory=dict)
    reject: dict[Id, Why] = field(default_factory=dict)
    waiting: dict[Id, Why] = field(default_factory=dict)


def sort_out(state: State) -> Sorted:
    """The same for any order of rows."""
    result = Sorted()
    left = sorted(state.queue, key=right)
    if any(one.expires is not None for one in left):
        result.expire = [one.id for one in left if one.expires is not None and one.expires <= state.now]
        left = [one for one in left if one.expires is None or one.expires > state.now]
    largest = map(max, zip(*(one.demand for one in left), strict=True))
    if not fit([*largest], state.capacity):
        result.reject = {one.id: never(state, one.demand) for one in left if not fit(one.demand, state.capacity)}
        left = [one for one in left if one.id not in result.reject]
    if not any(one.depends_on for one in left):
        result.order = left
        return result
    result.cancel = hopeless(state, left, result)
    live = {one.id for one in left} | {one.id for one in state.running}
    for one in left:
        open_ones = [name for name in one.depends_on if name in live]
        if one.id not in result.cancel and open_ones:
            result.waiting[one.id] = Why("dependency", f"waits for {listed(open_ones)} to be done")
        elif one.id not in result.cancel:
            result.order.append(one)
    return result


def right(one: Waiting) -> tuple[int, float, str, Id]:
    """The higher the class the better, then the earlier; ids decide between equals."""
    name = one.id
    return (-one.priority, one.arrival, type(name).__name__, name)


def name_key(name: Id) -> tuple[str, Id]:
    """Orders ids, also of several types."""
    return (type(name).__name__, name)


def never(state: State, demand: Amounts) -> Why:
    """Why a demand can never be met by the cluster, naming the axis."""
    axes = zip(state.axes, demand, state.capacity, strict=True)
    axis, wanted, total = next(entry for entry in axes if entry[1] > entry[2])
    return Why("too_big", f"needs {wanted} {axis}, the cluster has {total}")


def hopeless(state: State, left: Iterable[Waiting], gone: Sorted) -> dict[Id, Why]:
    """Who waits for something that will never be done: failed, unknown, itself, or in a circle."""
    ended = {**state.ended, **dict.fromkeys(gone.expire, "expired"), **dict.fromkeys(gone.reject, "rejected")}
    open_ones = {one.id: list(one.depends_on) for one in left}
    running = {one.id for one in state.running}
    done = {name for name, how in ended.items() if how not in FAILURES}
    reachable = running | done
    while met := [name for name, needs in open_ones.items() if name not in reachable and reachable.issuperset(needs)]:
        reachable.update(met)
    return {
        name: Why("dependency", because(name, needs, ended, open_ones, reachable))
        for name, needs in open_ones.items()
        if name not in reachable
    }


def because(
    name: Id, needs: list[Id], ended: Mapping[Id, str], open_ones: Mapping[Id, list[Id]], reachable: set[Id]
) -> str:
    """The first reason why one's dependencies will never be done."""
    first = next(need for need in needs if need not in reachable)
    if first == name:
        return "depends on itself"
    if first in ended:
        return f"depends on {first}, which is {ended[first]}"
    if first not in open_ones:
        return f"depends on {first}, which does not exist"
    return f"depends on {first}, which will never be done"


def listed(names: Iterable[Id]) -> str:
    """For people to read: 1, 2 and 3."""
    *some, last = map(str, names)
    return f"{', '.join(some)} and {last}" if some else last
