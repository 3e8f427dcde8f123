"""One EPP session: connect, greeting, login, commands, logout; and what is known when it breaks."""

from __future__ import annotations

import itertools
import os
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import structlog

from . import errors, protocol, xml
from .connection import Connection, require_verification
from .framing import DEFAULT_LIMIT, FrameError
from .protocol import Command, Greeting, Result, Verb
from .xml import Element

T = TypeVar("T")

log = structlog.get_logger(__name__)

FAREWELL_SECONDS = 2.0
"""How long a logout may take: a registry that hangs must not hold up our own end."""

_serial = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Settings:
    """How to reach one registry under one accreditation, and how much to ask of it. Times are in seconds.

    `wait_timeout` is how long a command may wait for a session and for the rate limit together. Sessions idle for
    `idle_limit` or older than `age_limit` are replaced: keep these below the registry's own limits. With `log_frames`
    whole messages go to the log (debug), secrets masked; they hold personal data.
    """

    host: str
    registrar: str
    password: str = field(repr=False)
    tls: ssl.SSLContext = field(repr=False)
    port: int = 700
    new_password: str | None = field(default=None, repr=False)
    max_sessions: int = 2
    commands_per_second: float | None = None
    burst: int = 1
    connect_timeout: float = 10.0
    command_timeout: float = 30.0
    wait_timeout: float = 5.0
    idle_limit: float = 240.0
    age_limit: float = 6 * 3600.0
    max_frame_bytes: int = DEFAULT_LIMIT
    log_frames: bool = False

    def __post_init__(self) -> None:
        require_verification(self.tls)
        if self.max_sessions < 1 or self.burst < 1:
            raise ValueError("max_sessions and burst are at least 1")
        if self.commands_per_second is not None and self.commands_per_second <= 0:
            raise ValueError(f"commands_per_second is above 0 or None, not {self.commands_per_second}")


class Session:
    """A logged-in session, used by one thread at a time. `usable` turns false when it must not be used again."""

    def __init__(self, connection: Connection, settings: Settings, clock: Callable[[], float]) -> None:
        self._connection = connection
        self._settings = settings
        self._clock = clock
        self._opened = self._used = clock()
        self._log = log.bind(registry=settings.host, registrar=settings.registrar)
        self.usable = True
        self.greeting = Greeting("", None, (), (), (), ())

    @classmethod
    def open(cls, settings: Settings, clock: Callable[[], float] = time.monotonic) -> Session:
        """Connects, reads the greeting and logs in.

        Raises EppUnavailable, EppBusy or EppLoginRefused: whatever fails here, no command has been sent.
        """
        where = f"{settings.host}:{settings.port}"
        try:
            connection = Connection.open(
                settings.host, settings.port, settings.tls, settings.connect_timeout, settings.max_frame_bytes
            )
        except OSError as error:
            raise errors.EppUnavailable(f"cannot connect to {where}: {error}") from error
        session = cls(connection, settings, clock)
        try:
            session._enter()
        except BaseException:
            session.close()
            raise
        return session

    def _enter(self) -> None:
        try:
            self.greeting = protocol.read_greeting(self._receive(self._settings.connect_timeout))
            self._login()
        except errors.EppUncertain as error:
            raise errors.EppUnavailable(f"no session at {self._settings.host}: {error}") from error
        except (OSError, FrameError, xml.XmlError) as error:
            raise errors.EppUnavailable(f"no greeting from {self._settings.host}: {error}") from error

    def _login(self) -> None:
        mine = self._settings
        cl_trid = _own_trid()
        frame = protocol.login_frame(mine.registrar, mine.password, mine.new_password, self.greeting, cl_trid)
        response = xml.need(self._exchange(frame, cl_trid, "login"), "epp:response")
        result = protocol.read_head(response, Verb.LOGIN)
        if result.code == 2501 or result.outcome is protocol.Outcome.REFUSED:
            raise errors.EppLoginRefused(f"{mine.host} refused the login of {mine.registrar}: {result.text}", result)
        protocol.raise_for(f"login {mine.registrar}", result)
        self._log.info("epp.login", server=self.greeting.server, extensions=self.offered())

    def offered(self) -> tuple[str, ...]:
        """The extensions this session uses: those we know and the registry offers."""
        return tuple(uri for uri in protocol.EXTENSIONS if uri in self.greeting.extensions)

    def send(self, command: Command[T], cl_trid: str) -> Result[T]:
        """Sends a command and reads its answer; raises as `errors` says."""
        self._require(command)
        started = self._clock()
        root = self._exchange(protocol.command_frame(command.body, command.extensions, cl_trid), cl_trid, str(command))
        try:
            response = xml.need(root, "epp:response")
            head = protocol.read_head(response, command.verb)
            # 25xx announce that the registry hangs up; to 2002 it may have come by forgetting our login.
            self.usable = head.code < 2500 and head.code != 2002
            self._log_answer(command, cl_trid, head, self._clock() - started)
            return protocol.read_data(response, head, command)
        except xml.XmlError as error:
            raise self._lost(str(command), cl_trid, error) from error

    def _require(self, command: Command[T]) -> None:
        missing = sorted(command.needs.difference(self.offered()))
        if missing:
            raise errors.EppNotOffered(f"{self._settings.host} does not offer {', '.join(missing)}: {command} not sent")
        if not self._connection.is_quiet():
            self.usable = False
            raise errors.EppUnavailable(f"{self._settings.host} had closed the session before {command} was sent")

    def _exchange(self, frame: Element, cl_trid: str, what: str) -> Element:
        """The answer to a frame. From its first byte on every failure is EppUncertain, and the session is over."""
        payload = xml.serialise(frame)
        self._log_frame("epp.sent", payload)
        # Unusable until the answer is here: also an interrupt in between leaves an answer nobody waits for.
        self.usable = False
        try:
            self._connection.send(payload, self._settings.command_timeout)
            root = self._receive(self._settings.command_timeout)
            self._require_own(root, cl_trid)
        except (OSError, FrameError, xml.XmlError) as error:
            raise self._lost(what, cl_trid, error) from error
        self._used = self._clock()
        self.usable = True
        return root

    def _receive(self, timeout: float) -> Element:
        payload = self._connection.receive(timeout)
        self._log_frame("epp.received", payload)
        return xml.parse(payload)

    def _require_own(self, root: Element, cl_trid: str) -> None:
        theirs = xml.text(root, "epp:response/epp:trID/epp:clTRID")
        if theirs not in (None, cl_trid):
            raise xml.XmlError(f"the answer belongs to another command ({theirs})")

    def _lost(self, what: str, cl_trid: str, error: Exception) -> errors.EppUncertain:
        self.usable = False
        self._log.warning("epp.lost", command=what, cl_trid=cl_trid, reason=str(error))
        return errors.EppUncertain(f"no usable answer to {what} ({cl_trid}): {error}")

    def _log_answer(self, command: Command[T], cl_trid: str, result: Result[None], seconds: float) -> None:
        self._log.info(
            "epp.command",
            command=str(command),
            cl_trid=cl_trid,
            code=result.code,
            sv_trid=result.sv_trid,
            seconds=round(seconds, 4),
        )

    def _log_frame(self, event: str, payload: bytes) -> None:
        if self._settings.log_frames:
            self._log.debug(event, frame=xml.redact(payload))

    def hello(self) -> Greeting:
        """Asks for the greeting anew, which also keeps the session alive. EppUnavailable if it is dead."""
        try:
            self._connection.send(xml.serialise(protocol.hello_frame()), self._settings.command_timeout)
            greeting = protocol.read_greeting(self._receive(self._settings.command_timeout))
        except (OSError, FrameError, xml.XmlError) as error:
            self.usable = False
            raise errors.EppUnavailable(f"{self._settings.host} does not answer hello: {error}") from error
        self._used = self._clock()
        return greeting

    def is_fresh(self) -> bool:
        """Whether the session may serve another command: unbroken, quiet, and not idle or old beyond the settings."""
        now = self._clock()
        rested, aged = now - self._used, now - self._opened
        in_time = rested < self._settings.idle_limit and aged < self._settings.age_limit
        return self.usable and in_time and self._connection.is_quiet()

    def logout(self) -> None:
        """Says goodbye if the session is still good, and closes it. Never raises: there is nothing left to lose."""
        try:
            if self.usable:
                self._connection.send(xml.serialise(protocol.logout_frame(_own_trid())), FAREWELL_SECONDS)
                self._connection.receive(FAREWELL_SECONDS)
        except (OSError, FrameError) as error:
            self._log.debug("epp.logout_failed", reason=str(error))
        finally:
            self.close()

    def close(self) -> None:
        """Closes the connection without a word."""
        self.usable = False
        self._connection.close()


def _own_trid() -> str:
    return f"session-{os.getpid()}-{next(_serial)}"
