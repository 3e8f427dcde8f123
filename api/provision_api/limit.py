"""Limits of one request, as pure ASGI middleware: size of the body, time to send it, time for everything.

A body that is too large is answered 413 whether its length was announced or it came in chunks; one that does not arrive
in time 408; work that does not end in time 503.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from provision_api.problem import Problem

BODY_SECONDS = 10.0
_DEADLINE = "provision.deadline"


class Limits:
    """Stops requests that are too large or take too long; raises `Problem`, so it belongs inside of what renders it."""

    def __init__(self, app: ASGIApp, *, body_bytes: int, body_seconds: float, seconds: float) -> None:
        self.app = app
        self.body_bytes = body_bytes
        self.seconds = seconds
        self.body_seconds = body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = _Body(receive, self.body_bytes, self.body_seconds)
        body.check_announced(Headers(scope=scope).get("content-length"))
        try:
            async with asyncio.timeout(self.seconds) as deadline:
                scope[_DEADLINE] = deadline
                await self.app(scope, body.receive, send)
        except TimeoutError:
            if not deadline.expired():
                raise
            raise Problem(503, "the request took too long", f"more than {self.seconds:g} seconds") from None


def extend_deadline(scope: Scope, seconds: float) -> None:
    """Give a request that waits on its caller's behalf that much more time."""
    deadline: asyncio.Timeout = scope[_DEADLINE]
    when = deadline.when()
    if when is not None:
        deadline.reschedule(when + seconds)


def lift_deadline(scope: Scope) -> None:
    """Let an answer that has begun go on for as long as its caller wants it."""
    deadline: asyncio.Timeout = scope[_DEADLINE]
    deadline.reschedule(None)


class Seats:
    """How many may hold on to us at the same time, in all and of one customer."""

    def __init__(self, limit: int, limit_each: int) -> None:
        self._limit = limit
        self._limit_each = limit_each
        self._taken: Counter[UUID | None] = Counter()

    @contextmanager
    def take(self, customer: UUID | None) -> Iterator[None]:
        """Hold a seat.

        Raises:
            Problem: 429 the customer has enough of them, 503 there is none left.
        """
        if self._taken[customer] >= self._limit_each:
            raise Problem(429, "too many streams are open", f"{self._limit_each} of yours", hint="end one of them")
        if self._taken.total() >= self._limit:
            raise Problem(503, "too many streams are open", f"{self._limit} of this server")
        self._taken[customer] += 1
        try:
            yield
        finally:
            self._taken[customer] -= 1
            self._taken += Counter()  # forgets customers that have none


class _Body:
    """The receiving side of one request, with its limits."""

    def __init__(self, receive: Receive, limit: int, seconds: float) -> None:
        self._receive = receive
        self._limit = limit
        self._seconds = seconds
        self._until = asyncio.get_running_loop().time() + seconds
        self._size = 0
        self._complete = False

    def check_announced(self, content_length: str | None) -> None:
        if content_length is not None and content_length.isdecimal() and int(content_length[:20]) > self._limit:
            raise self._too_large()

    async def receive(self) -> Message:
        # After the body only "the caller is gone" can come, and may take as long as it likes.
        if self._complete:
            return await self._receive()
        message = await self._receive_in_time()
        self._size += len(message.get("body", b""))
        if self._size > self._limit:
            raise self._too_large()
        self._complete = not message.get("more_body", False)
        return message

    async def _receive_in_time(self) -> Message:
        try:
            async with asyncio.timeout_at(self._until):
                return await self._receive()
        except TimeoutError:
            detail = f"not all of it came within {self._seconds:g} seconds"
            # What still comes would be taken for the next request.
            raise Problem(408, "the body came too slowly", detail, headers={"Connection": "close"}) from None

    def _too_large(self) -> Problem:
        return Problem(413, "the body is too large", f"at most {self._limit} bytes are accepted")
