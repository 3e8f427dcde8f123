"""Effects outside the database, each exactly once, however often and by whichever worker a job is run.

The five steps (no transaction is open during any of the calls):

1. `effect_begin` commits the intent and a token that is the same for every try of this step of this job;
2. where an earlier try may have got through, or the provider asks for it, `find` looks for the thing by that token;
3. otherwise `make` makes it, with the token where the provider takes one;
4. `effect_finish` commits the result under the fencing token of the claim;
5. what a crash leaves between 3 and 4 is found by the next try in step 2, or by `reconcile` if there is none.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool

from provision.database import load_queries

from .job import Job, Json
from .outcome import outcome_of

LEASE_LOST = "PVF01"


@dataclass(frozen=True, slots=True)
class Thing:
    """Something that exists outside: the name it has there, and what an action wants to remember of it."""

    name: str
    result: Json = field(default_factory=dict)


class LeaseLostError(Exception):
    """The claim is over: another worker may have the job, and nothing more may be done or recorded under it."""


@dataclass(frozen=True, slots=True)
class _Intent:
    token: UUID
    status: Literal["intended", "done"]
    result: dict[str, Any] | None
    attempt: int

    @property
    def is_uncertain(self) -> bool:
        """Whether an earlier try may have reached the outside."""
        return self.attempt > 1


class Effects:
    """The effects of one claimed job."""

    def __init__(self, pool: ConnectionPool, job: Job) -> None:
        self._pool = pool
        self._job = job
        self._queries = load_queries("effect")

    def once(
        self,
        step: str,
        parameters: Json,
        *,
        make: Callable[[UUID], Thing],
        find: Callable[[UUID], Thing | None],
        look_first: bool = False,
    ) -> dict[str, Any]:
        """The result of `step`, which is made if it is not there yet. `make` and `find` are given the token.

        `look_first` asks `find` even before the first try, for providers where that is cheap.

        Raises:
            LeaseLostError: the claim is over.
        """
        intent = self._begin(step, parameters)
        if intent.status == "done":
            return intent.result or {}
        try:
            thing = find(intent.token) if look_first or intent.is_uncertain else None
            thing = thing or make(intent.token)
        except Exception as error:
            if outcome_of(error).kind == "failed":
                self.gone(step)
            raise
        self._finish(step, thing)
        return dict(thing.result)

    def gone(self, step: str) -> None:
        """Notes that the outside said no for good, be it after it said yes: nobody need look for what `step` makes.

        Raises:
            LeaseLostError: the claim is over.
        """
        fate = {"status": "absent", "external_name": None, "by_job": self._job.job_id}
        with self._pool.connection() as connection, fenced():
            connection.execute(self._queries["settle"], self._claim(step) | fate)

    def _begin(self, step: str, parameters: Json) -> _Intent:
        with self._pool.connection() as connection, fenced():
            cursor = connection.cursor(row_factory=class_row(_Intent))
            arguments = self._claim(step) | {"parameters": Jsonb(dict(parameters))}
            (intent,) = cursor.execute(self._queries["begin"], arguments)
            return intent

    def _finish(self, step: str, thing: Thing) -> None:
        outcome = {"external_name": thing.name, "result": Jsonb(dict(thing.result))}
        with self._pool.connection() as connection, fenced():
            connection.execute(self._queries["finish"], self._claim(step) | outcome)

    def _claim(self, step: str) -> dict[str, Any]:
        return {"job": self._job.job_id, "claim_no": self._job.claim_no, "step": step}


@contextmanager
def fenced() -> Iterator[None]:
    """Turns the database's refusal of an old fencing token into LeaseLostError."""
    try:
        yield
    except psycopg.Error as error:
        if error.sqlstate == LEASE_LOST:
            raise LeaseLostError(str(error)) from error
        raise
