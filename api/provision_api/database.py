"""Transactions in the name of a caller, and SQLAlchemy Core expressions over psycopg.

The API's log-in owns nothing and sees only the rows of the caller that a transaction names, so there is no way to run a
statement on a customer's data without one.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.errors import DeadlockDetected, SerializationFailure
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool
from sqlalchemy import Text, bindparam, func, select
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.functions import Function

ATTEMPTS = 5
BACKOFF_SECONDS = 0.02

T = TypeVar("T")
Row = dict[str, Any]
_dialect = PGDialect_psycopg()  # type: ignore[no-untyped-call]  # as SQLAlchemy has it


class Caller(NamedTuple):
    """On whose behalf a request runs; without a customer it sees nothing that belongs to one.

    `until` is when the access token ends; None for API keys.
    """

    customer: UUID | None
    org: UUID | None
    name: str
    user: UUID | None = None
    session: UUID | None = None
    until: datetime | None = None


ANONYMOUS = Caller(None, None, "")


class Statement:
    """A Core expression as psycopg takes it: text with named places, and the values that are part of it."""

    def __init__(self, expression: ClauseElement) -> None:
        compiled = expression.compile(dialect=_dialect)
        self.text = str(compiled).encode()
        self.values = dict(compiled.params)


def _setting(name: str, parameter: str) -> Function[Any]:
    return func.set_config(name, bindparam(parameter, type_=Text), True)


_SET_CALLER = Statement(
    select(
        _setting("provision.caller_customer", "customer"),
        _setting("provision.caller_org", "org"),
        _setting("provision.caller_user", "user"),
        _setting("provision.caller", "name"),
    )
)


class Database:
    """The pool of connections, and what may be done with one."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self.pool = pool

    async def read(self, statement: Statement, **values: Any) -> list[Row]:
        """Rows of a statement that belongs to no caller: authentication and health."""
        async with self.pool.connection() as connection:
            return await fetch(connection, statement, **values)

    async def run(self, caller: Caller, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Do `work` in one transaction of the caller's, and again when it collides with others (40001, 40P01)."""
        for attempt in range(1, ATTEMPTS):
            try:
                return await self._once(caller, work)
            except (SerializationFailure, DeadlockDetected):
                await asyncio.sleep(random.uniform(0, BACKOFF_SECONDS * 2**attempt))
        return await self._once(caller, work)

    async def _once(self, caller: Caller, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        async with self.pool.connection() as connection:
            ids = {"customer": caller.customer, "org": caller.org, "user": caller.user}
            texts = {name: "" if id is None else str(id) for name, id in ids.items()}
            await fetch(connection, _SET_CALLER, **texts, name=caller.name)
            return await work(connection)


async def fetch(connection: AsyncConnection, statement: Statement, **values: Any) -> list[Row]:
    """All rows of a statement, by column name; `values` fill its `bindparam`s."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(statement.text, statement.values | values)
        return await cursor.fetchall()
