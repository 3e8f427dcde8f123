"""Effects outside the database: made once, looked for when in doubt, in no transaction, only with the lease."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from provision_worker.effects import Effects, LeaseLostError, Thing
from provision_worker.job import Job, Outcome, failed
from provision_worker.outcome import outcome_of
from psycopg_pool import ConnectionPool

from provision.database import pool

from . import worker_fixtures
from .worker_fixtures import Engine

engine = worker_fixtures.engine


class RefusedError(Exception):
    """The provider's no."""


@outcome_of.register
def _(error: RefusedError) -> Outcome:
    return failed("no")


@dataclass
class Outside:
    """A provider whose API is one call, with a ledger; and a worker that is not really there."""

    engine: Engine
    connections: ConnectionPool
    worker: UUID
    made: list[UUID] = field(default_factory=list)
    asked: list[UUID] = field(default_factory=list)

    def make(self, token: UUID) -> Thing:
        self.made.append(token)
        return Thing(f"thing-{token}", {"number": len(self.made)})

    def make_unanswered(self, token: UUID) -> Thing:
        self.make(token)
        raise ConnectionResetError

    def make_in_vain(self, token: UUID) -> Thing:
        raise ConnectionRefusedError

    def find(self, token: UUID) -> Thing | None:
        self.asked.append(token)
        return Thing(f"thing-{token}", {"number": 1}) if token in self.made else None

    def claim(self) -> Effects:
        """The effects of the next job, under a new claim."""
        row = self.engine.row("SELECT * FROM job_claim(%s, '{test}', 1)", self.worker)
        return Effects(self.connections, Job(**row))

    def lose(self) -> None:
        """All leases are lost, and their jobs go back to the queue."""
        self.engine.lose_workers()
        self.worker = register(self.engine)

    def once(self, make: Callable[[UUID], Thing] | None = None, *, look_first: bool = False) -> dict[str, Any]:
        """One try of the step `create` under a new claim."""
        return self.claim().once("create", {"name": "a"}, make=make or self.make, find=self.find, look_first=look_first)

    @property
    def effect(self) -> dict[str, Any]:
        """The one effect, as operators see it."""
        return self.engine.row("SELECT step, status, external_name, attempt, result FROM v_effect")


def register(engine: Engine) -> UUID:
    worker: UUID = engine.value("SELECT worker_register('test', 'here', 1, '0', '{test}')")
    return worker


@pytest.fixture
def outside(engine: Engine) -> Iterator[Outside]:
    """With one job that can be claimed."""
    engine.submit(limit=100)
    with pool(engine.database.url_as("provision_worker"), "effects", size=2, autocommit=True) as connections:
        yield Outside(engine, connections, register(engine))


def test_a_first_try_makes_the_thing_without_looking(outside: Outside) -> None:
    assert outside.once() == {"number": 1}
    assert (len(outside.made), outside.asked) == (1, [])
    name = f"thing-{outside.made[0]}"
    done = {"step": "create", "status": "done", "external_name": name, "attempt": 1, "result": {"number": 1}}
    assert outside.effect == done


def test_where_looking_is_cheap_it_comes_first(outside: Outside) -> None:
    outside.once(look_first=True)
    assert outside.asked == outside.made


def test_what_is_done_is_not_done_again(outside: Outside) -> None:
    outside.once()
    outside.lose()
    assert outside.once() == {"number": 1}
    assert (len(outside.made), outside.asked) == (1, [])


def test_after_a_lost_answer_the_thing_is_found_and_kept(outside: Outside) -> None:
    with pytest.raises(ConnectionResetError):
        outside.once(outside.make_unanswered)
    assert outside.effect["status"] == "intended"
    outside.lose()
    assert outside.once() == {"number": 1}
    assert (len(outside.made), outside.asked) == (1, outside.made)
    assert (outside.effect["status"], outside.effect["attempt"]) == ("done", 2)


def test_a_try_that_came_to_nothing_is_made_good(outside: Outside) -> None:
    with pytest.raises(ConnectionRefusedError):
        outside.once(outside.make_in_vain)
    outside.lose()
    outside.once()
    assert outside.asked == outside.made


def test_a_refusal_leaves_nothing_to_look_for(outside: Outside) -> None:
    def refuse(token: UUID) -> Thing:
        raise RefusedError

    with pytest.raises(RefusedError):
        outside.once(refuse)
    assert outside.effect["status"] == "absent"


def test_the_intent_is_committed_and_no_transaction_is_open_while_the_outside_is_asked(outside: Outside) -> None:
    def look_around(token: UUID) -> Thing:
        seen = outside.engine.value(
            "SELECT array_agg(xact_start) FILTER (WHERE xact_start IS NOT NULL) FROM pg_stat_activity"
            " WHERE application_name = 'effects'"
        )
        return Thing("thing", {"transactions": seen, "status": outside.effect["status"]})

    assert outside.once(look_around) == {"transactions": None, "status": "intended"}


def test_without_the_lease_nothing_is_begun(outside: Outside) -> None:
    effects = outside.claim()
    outside.lose()
    with pytest.raises(LeaseLostError):
        effects.once("create", {}, make=outside.make, find=outside.find)
    assert outside.made == []


def test_when_the_lease_is_lost_during_the_call_the_next_claim_takes_the_thing(outside: Outside) -> None:
    def lose_and_make(token: UUID) -> Thing:
        outside.lose()
        return outside.make(token)

    with pytest.raises(LeaseLostError):
        outside.once(lose_and_make)
    assert outside.effect["status"] == "intended"
    outside.once()
    assert (len(outside.made), outside.effect["status"]) == (1, "done")


def test_two_claims_of_one_job_at_once_make_one_thing(outside: Outside) -> None:
    """The first one's lease is lost while it calls; the second looks, finds it, and is the one that records."""
    results = []

    def overtaken(token: UUID) -> Thing:
        thing = outside.make(token)
        outside.lose()
        results.append(outside.once())
        return thing

    with pytest.raises(LeaseLostError):
        outside.once(overtaken)
    assert (len(outside.made), results) == (1, [{"number": 1}])


def test_steps_and_jobs_have_tokens_of_their_own(outside: Outside) -> None:
    outside.engine.submit()
    for effects in (outside.claim(), outside.claim()):
        for step in ("contact", "domain"):
            effects.once(step, {}, make=outside.make, find=outside.find)
    assert len(set(outside.made)) == 4


@pytest.mark.parametrize("seed", range(5))
def test_whatever_goes_wrong_in_whatever_order_one_thing_is_made(outside: Outside, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(chance.randrange(1, 8)):
        outside.lose()
        with pytest.raises((ConnectionError, LeaseLostError)):
            outside.once(chance.choice([outside.make_unanswered, outside.make_in_vain]))
        if outside.made:
            break
    outside.lose()
    outside.once()
    assert (len(outside.made), outside.effect["status"]) == (1, "done")
