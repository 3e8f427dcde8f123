"""Faults that can be switched on while the simulator runs: how a registry, or the line to it, fails a client."""

from __future__ import annotations

import asyncio
import itertools
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase

from .results import MESSAGES


class FaultKind(StrEnum):
    """What happens to a command."""

    CUT = "cut"
    """The connection ends; the command is not executed."""
    LOSE_ANSWER = "lose_answer"
    """The command is executed, then the connection ends without an answer."""
    MID_FRAME = "mid_frame"
    """The command is executed, then the connection ends in the middle of the answer."""
    NO_DATES = "no_dates"
    """The command is executed, and its answer leaves out every date that the schemas make optional."""
    GARBAGE = "garbage"
    """The command is executed, and the answer is not XML."""
    FAIL = "fail"
    """The command is not executed and answered with `code` (2400 unless told otherwise) and `reason`."""
    FAIL_AFTER = "fail_after"
    """The command is executed and answered as if it had failed."""
    PENDING = "pending"
    """The command is answered with 1001; `settle` decides about it later, and a poll message tells."""
    HOLD = "hold"
    """The command waits before it is executed, until `release` or for `seconds`."""
    HOLD_ANSWER = "hold_answer"
    """The command is executed, and its answer waits until `release` or for `seconds`."""


@dataclass
class Fault:
    """One fault and the commands it is for: None matches all, `name` may have `*` and `?`. `times` None is for ever."""

    id: int
    kind: FaultKind
    verb: str | None = None
    object: str | None = None
    name: str | None = None
    registrar: str | None = None
    times: int | None = 1
    code: int = 2400
    reason: str | None = None
    seconds: float | None = None
    reached: threading.Event = field(default_factory=threading.Event, repr=False)
    """Set when the first command has met the fault."""
    _released: Future[None] = field(default_factory=Future, repr=False)

    def matches(self, registrar: str, verb: str, object: str, name: str) -> bool:
        """Whether the fault is for this command."""
        exact = ((self.registrar, registrar), (self.verb, verb), (self.object, object))
        return all(want is None or want == have for want, have in exact) and fnmatchcase(name, self.name or "*")

    def release(self) -> None:
        """Lets all commands held by this fault go on, and those to come."""
        if not self._released.done():
            self._released.set_result(None)

    async def hold(self) -> None:
        """Waits for `release`, or for `seconds` if they are given."""
        await asyncio.wait({asyncio.wrap_future(self._released)}, timeout=self.seconds)


class Faults:
    """The faults that are switched on; for each command the oldest that matches counts. Safe from any thread."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._all: list[Fault] = []
        self._lock = threading.Lock()
        self._ids = itertools.count(1)

    def add(
        self,
        kind: FaultKind | str,
        *,
        verb: str | None = None,
        object: str | None = None,
        name: str | None = None,
        registrar: str | None = None,
        times: int | None = 1,
        code: int = 2400,
        reason: str | None = None,
        seconds: float | None = None,
    ) -> Fault:
        """Switches a fault on for the next `times` commands that match. ValueError for an unknown kind or code."""
        if code not in MESSAGES:
            raise ValueError(f"{code} is not an EPP result code")
        if (times is not None and times < 1) or (seconds is not None and seconds < 0):
            raise ValueError("times is at least 1, and seconds at least 0, or they are left out")
        made = Fault(next(self._ids), FaultKind(kind), verb, object, name, registrar, times, code, reason, seconds)
        with self._lock:
            self._faults.append(made)
            self._all.append(made)
        return made

    def take(self, registrar: str, verb: str, object: str, name: str) -> Fault | None:
        """The fault this command meets, one use of it spent."""
        with self._lock:
            for fault in self._faults:
                if fault.matches(registrar, verb, object, name):
                    self._spend(fault)
                    return fault
        return None

    def _spend(self, fault: Fault) -> None:
        if fault.times is not None:
            fault.times -= 1
            if fault.times <= 0:
                self._faults.remove(fault)
        fault.reached.set()

    def active(self) -> list[Fault]:
        """The faults that can still hit a command."""
        with self._lock:
            return list(self._faults)

    def get(self, fault_id: int) -> Fault:
        """The fault of that id, also when it is spent; KeyError if there was none since the last `clear`."""
        with self._lock:
            found = next((fault for fault in self._all if fault.id == fault_id), None)
        if found is None:
            raise KeyError(f"fault {fault_id}")
        return found

    def clear(self) -> None:
        """Switches all faults off and releases what they hold."""
        with self._lock:
            everything, self._all, self._faults = self._all, [], []
        for fault in everything:
            fault.release()
