"""How an idle worker sleeps and is woken.

New jobs notify only while somebody sleeps, since every NOTIFY costs the submitters their group commit. One sleeper, the
sentinel, holds the advisory lock by which they see it, and listens. Who does not get the lock tries again soon: the
sentinel may have been woken, and submitters hold it shared for the time of their transactions.
"""

import random
import selectors
import socket
from types import TracebackType
from typing import Self

import psycopg

from .store import Store


class Waker:
    """Lets one thread wait for a connection, for other threads and for signals at the same time."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._reader.close()
        self._writer.close()

    def wake(self) -> None:
        """Ends the wait that is under way, or the next one. From any thread, and from signal handlers."""
        try:
            self._writer.send(b"!")
        except OSError:
            return  # Full: a wake-up is under way already. Closed: nobody waits any more.

    def wait(self, seconds: float, connection: psycopg.Connection | None = None) -> None:
        """Waits until woken, until a notification comes on the connection, or for so long.

        Raises:
            psycopg.OperationalError: the connection is broken.
        """
        # One that came with the answer to an earlier statement makes the socket readable no more.
        if connection is not None and _take_notifications(connection):
            return
        with selectors.DefaultSelector() as selector:
            selector.register(self._reader, selectors.EVENT_READ)
            if connection is not None:
                selector.register(connection, selectors.EVENT_READ)
            ready = {key.fileobj for key, _ in selector.select(max(0.0, seconds))}
        if self._reader in ready:
            self._drain()
        if connection is not None and connection in ready:
            _take_notifications(connection)

    def _drain(self) -> None:
        try:
            while self._reader.recv(4096):
                pass
        except BlockingIOError:
            return


def _take_notifications(connection: psycopg.Connection) -> bool:
    return bool(list(connection.notifies(timeout=0)))


class Sentinel:
    """Whether this worker is the sleeper that new jobs notify. Belongs to one connection: the lock goes with it."""

    RETRY_SECONDS = 0.1

    def __init__(self, store: Store, *, listens: bool) -> None:
        """Without `listens` (behind a transaction pooler) a worker never is the sentinel, and only polls."""
        self._store = store
        self._listens = listens
        self._is_held = False

    def take(self) -> bool:
        """Tries to become the sentinel; True if it was not and now is, and then the queue must be polled once more."""
        if self._is_held or not self._listens:
            return False
        self._is_held = self._store.be_sentinel()
        return self._is_held

    def release(self) -> None:
        """Awake: submitters need not notify, and another sleeper may take over."""
        if self._is_held:
            self._store.be_no_sentinel()
            self._is_held = False

    def longest_sleep(self) -> float:
        """Seconds after which one that could not get the lock tries again; no limit for the others."""
        if self._is_held or not self._listens:
            return float("inf")
        return random.uniform(0.5, 1) * self.RETRY_SECONDS
