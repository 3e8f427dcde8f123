"""Passwords: what they must be like, and argon2id (RFC 9106), off the event loop and only so many at once.

A verification takes some 50 ms of a core and 64 MiB, on purpose. Where there is nothing to compare with, an unknown
user's password is compared with the hash of a random one, so that the answer takes as long.
"""

import asyncio
import os
import secrets
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from provision_api.problem import FieldError, Problem

LENGTH_MINIMUM = 8
BYTES_MAXIMUM = 1024
# More than that are told to come again, rather than to wait longer than they would.
QUEUE_LIMIT = 100

T = TypeVar("T")


def check(password: str, username: str, pointer: str = "/password") -> None:
    """Refuse a password that is too short, too long, or the username.

    Raises:
        Problem: 422.
    """
    if len(password) < LENGTH_MINIMUM:
        reason = f"is shorter than {LENGTH_MINIMUM} characters"
    elif len(_bytes(password)) > BYTES_MAXIMUM:
        reason = f"is longer than {BYTES_MAXIMUM} bytes"
    elif password.casefold() == username.casefold():
        reason = "is the username"
    else:
        return
    raise Problem(422, "the password does not do", hint="choose another", errors=[FieldError(pointer, reason)])


def _bytes(password: str) -> bytes:
    """The same bytes whichever way the keyboard composed the characters (RFC 8265)."""
    return unicodedata.normalize("NFC", password).encode()


class Hasher:
    """argon2id in threads of its own."""

    def __init__(self, memory_kib: int) -> None:
        self._argon2 = PasswordHasher(memory_cost=memory_kib, type=Type.ID)
        self._dummy = self._argon2.hash(secrets.token_bytes(32))
        self._threads = ThreadPoolExecutor(os.cpu_count() or 1, "argon2")
        self._queued = 0

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()

    async def hash(self, password: str) -> str:
        """The hash to keep."""
        return await self._run(partial(self._argon2.hash, _bytes(password)))

    async def verify(self, password: str, hash: str | None) -> bool:
        """Whether it is the password of that hash; None: there is none, which takes as long to find out."""
        matches = await self._run(partial(self._verify, _bytes(password), hash or self._dummy))
        return matches and hash is not None

    def is_outdated(self, hash: str) -> bool:
        """Whether it was made with other parameters than those of now."""
        return self._argon2.check_needs_rehash(hash)

    def _verify(self, password: bytes, hash: str) -> bool:
        try:
            return self._argon2.verify(hash, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        if self._queued >= QUEUE_LIMIT:
            raise Problem(503, "too many log-ins at once", f"{QUEUE_LIMIT} wait already")
        self._queued += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._queued -= 1
