"""What the scheduler is told and what it answers: plain values, no database and no clock.

Times are seconds on one clock of the caller's choice, amounts are integers in the order of the axes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Literal, TypeAlias
from uuid import UUID

Id: TypeAlias = int | str | UUID
Amounts: TypeAlias = tuple[int, ...]
Objective: TypeAlias = Literal["count", "expansion"]
Backfill: TypeAlias = Literal["none", "reserve", "any"]
Solver: TypeAlias = Literal["auto", "combinations", "genetic"]

FAILURES = frozenset({"failed", "cancelled", "rejected", "expired"})
"""How a deployment may end that others then wait for in vain."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A deployment that has not started.

    `priority`: its class, the higher the better. `ttl`: how long it may run, None: no limit. `expires`: when it
    stops waiting. `promised`: what `Decision.reservations` last said of it (`inf` included), None if it said nothing.
    """

    id: Id
    demand: Amounts
    priority: int = 0
    arrival: float = 0.0
    ttl: float | None = None
    expires: float | None = None
    depends_on: tuple[Id, ...] = ()
    promised: float | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """A deployment that holds its share, starting ones included; `ttl` counts from `started`."""

    id: Id
    demand: Amounts
    priority: int = 0
    arrival: float = 0.0
    started: float = 0.0
    ttl: float | None = None

    @property
    def ends(self) -> float:
        """When it has ended at the latest; `inf` without a TTL."""
        return inf if self.ttl is None else self.started + self.ttl


@dataclass(frozen=True, slots=True)
class State:
    """A cluster at one moment. `ended`: how the dependencies ended that neither wait nor run, `done` or a failure."""

    capacity: Amounts
    running: tuple[Running, ...]
    queue: tuple[Waiting, ...]
    now: float = 0.0
    ended: Mapping[Id, str] = field(default_factory=dict)
    axes: tuple[str, ...] = ("cpu", "ram", "gpu")


@dataclass(frozen=True, slots=True)
class Policy:
    """How a cluster chooses.

    `objective`: None is expansion if all that wait have a TTL, else count. `backfill`: who may overtake a head that
    does not fit: nobody (none), whoever does not delay it (reserve), whoever fits (any). `max_wait`: seconds after
    which the oldest becomes head whatever its class. `work_limit`: see `solver.pack`.
    """

    objective: Objective | None = None
    solver: Solver = "auto"
    backfill: Backfill = "reserve"
    preemption: bool = False
    max_wait: float | None = None
    work_limit: int | None = None


@dataclass(frozen=True, slots=True)
class Why:
    """Why something waits or never will start: a word for programs and a sentence for people."""

    code: Literal["dependency", "expired", "too_big", "reserved", "no_room", "overtakes", "delays", "not_chosen"]
    text: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now.

    `start`: in order of right. `evict`: running ones that make room for `start` and go back to the queue with the
    arrival they had; `displaces` says who displaces whom, and who displaces can start when those have ended. `stop`:
    running ones past their TTL; they hold their share until they have ended. `expire`: past their time in the queue.
    `cancel`: their dependencies will never be done. `reject`: larger than the cluster.
    `reservations`: by when the heads of the queue start at the latest, `inf` if nobody can know; to be handed back
    as `Waiting.promised`. `waiting`: all that go on waiting, and why. `proven`: no better choice exists.
    """

    start: tuple[Id, ...] = ()
    evict: tuple[Id, ...] = ()
    displaces: Mapping[Id, tuple[Id, ...]] = field(default_factory=dict)
    stop: tuple[Id, ...] = ()
    expire: tuple[Id, ...] = ()
    cancel: Mapping[Id, Why] = field(default_factory=dict)
    reject: Mapping[Id, Why] = field(default_factory=dict)
    reservations: Mapping[Id, float] = field(default_factory=dict)
    waiting: Mapping[Id, Why] = field(default_factory=dict)
    proven: bool = True
