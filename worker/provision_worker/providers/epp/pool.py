"""The client of one accreditation: a few sessions, shared by threads, within the registry's limits.

Each accreditation has a pool of its own and every wait ends (`EppBusy`), so a slow registry holds up nobody else.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self, TypeVar

from . import errors
from .protocol import Command, Greeting, Result
from .session import Session, Settings

T = TypeVar("T")


class RateLimit:
    """At most `rate` commands a second in the long run, `burst` of them at once (generic cell rate algorithm)."""

    def __init__(self, rate: float | None, burst: int, clock: Callable[[], float]) -> None:
        self._interval = 0.0 if rate is None else 1.0 / rate
        self._burst = burst
        self._clock = clock
        self._lock = threading.Lock()
        self._next = float("-inf")

    def reserve(self, patience: float) -> float | None:
        """Seconds to wait before the next command may go; None, and nothing is reserved, if that is over `patience`."""
        with self._lock:
            now = self._clock()
            earliest = max(self._next, now - (self._burst - 1) * self._interval)
            wait = max(0.0, earliest - now)
            if wait > patience:
                return None
            self._next = earliest + self._interval
            return wait


class Client:
    """Sends commands for one accreditation, from any thread. Close it to log out."""

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        """`clock` counts seconds monotonically; `pause` sleeps that long (by default less, if we are closed)."""
        self._settings = settings
        self._clock = clock
        self._closed = threading.Event()
        self._pause = pause or self._closed.wait
        self._rate = RateLimit(settings.commands_per_second, settings.burst, clock)
        self._room = threading.Condition()
        self._idle: list[Session] = []
        self._busy = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def send(self, command: Command[T], cl_trid: str) -> Result[T]:
        """Sends `command` under the client transaction id `cl_trid` (3–64 characters) and returns its result.

        The result is done or pending (`result.outcome`); everything else is raised, see `errors`.
        """
        with self._session() as session:
            return session.send(command, cl_trid)

    def hello(self) -> Greeting:
        """The registry's greeting, asked for anew: a health check. Raises EppNotExecuted's kinds."""
        with self._session() as session:
            return session.hello()

    def close(self) -> None:
        """Logs idle sessions out; those in use close when their command ends. Later commands are EppUnavailable."""
        with self._room:
            self._closed.set()
            idle, self._idle = self._idle, []
            self._room.notify_all()
        for session in idle:
            session.logout()

    @contextmanager
    def _session(self) -> Iterator[Session]:
        """A fresh session for one command, after as much waiting as the limits ask for and the settings allow."""
        patience_ends = self._clock() + self._settings.wait_timeout
        self._take_place(patience_ends)
        session: Session | None = None
        try:
            session = self._take_fresh() or self._open(patience_ends)
            self._await_turn(patience_ends)
            yield session
        finally:
            self._give_back(session)

    def _take_place(self, patience_ends: float) -> None:
        with self._room:
            while self._busy >= self._settings.max_sessions and not self._closed.is_set():
                if not self._room.wait(max(0.0, patience_ends - self._clock())):
                    raise errors.EppBusy(
                        f"all {self._settings.max_sessions} sessions at {self._settings.host} are in use"
                    )
            self._require_open()
            self._busy += 1

    def _require_open(self) -> None:
        if self._closed.is_set():
            raise errors.EppUnavailable(f"the client of {self._settings.host} is closed")

    def _take_fresh(self) -> Session | None:
        """The session used last that is still good; the others seen on the way are dropped."""
        while (session := self._pop_idle()) is not None:
            if session.is_fresh():
                return session
            session.close()
        return None

    def _pop_idle(self) -> Session | None:
        with self._room:
            return self._idle.pop() if self._idle else None

    def _open(self, patience_ends: float) -> Session:
        self._await_turn(patience_ends)
        return Session.open(self._settings, self._clock)

    def _await_turn(self, patience_ends: float) -> None:
        wait = self._rate.reserve(max(0.0, patience_ends - self._clock()))
        if wait is None:
            raise errors.EppBusy(f"the limit of {self._settings.commands_per_second} commands/s leaves no room")
        if wait:
            self._pause(wait)
        self._require_open()

    def _give_back(self, session: Session | None) -> None:
        with self._room:
            self._busy -= 1
            keep = session is not None and session.usable and not self._closed.is_set()
            if session is not None and keep:
                self._idle.append(session)
            self._room.notify()
        if session is not None and not keep:
            session.close()
