"""What starts, what waits and why: the rules of the scheduler, one story each."""

import random
from dataclasses import replace
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from provision_worker.scheduler import Decision, Policy, Running, State, Waiting, decide

HIGH, LOW = 1, 0
TEN = (10, 10, 10)


def high(id: int, *demand: int, **others: float) -> Waiting:
    return Waiting(id, demand, HIGH, **{"arrival": float(id)} | others)  # type: ignore[arg-type]


def low(id: int, *demand: int, **others: float) -> Waiting:
    return Waiting(id, demand, LOW, **{"arrival": float(id)} | others)  # type: ignore[arg-type]


def run(id: int, *demand: int, ttl: float | None = None, priority: int = LOW, started: float = 0.0) -> Running:
    return Running(id, demand, priority, started=started, ttl=ttl)


def state(
    capacity: tuple[int, ...], *queue: Waiting, running: tuple[Running, ...] = (), now: float = 100.0, **ended: str
) -> State:
    return State(capacity, running, queue, now, {int(name[1:]): how for name, how in ended.items()})


def codes(decision: Decision) -> dict[object, str]:
    return {name: why.code for name, why in decision.waiting.items()}


# Worked examples ------------------------------------------------------------------------------------------------------

ONE_LARGE = (high(1, 8, 8, 2), high(2, 4, 3, 3), high(3, 3, 4, 3), high(4, 3, 3, 4), low(5, 2, 2, 2))


@pytest.mark.parametrize("backfill", ["none", "reserve", "any"])
@pytest.mark.parametrize("solver", ["auto", "combinations"])
def test_three_high_ones_start_rather_than_a_large_one(backfill: str, solver: str) -> None:
    policy = Policy(backfill=backfill, solver=solver)  # type: ignore[arg-type]
    decision = decide(state(TEN, *ONE_LARGE), policy)
    assert decision.start == (2, 3, 4)
    assert decision.proven
    assert decision.reservations == {1: inf}
    assert codes(decision) == {1: "no_room", 5: "no_room"}


def test_what_can_never_run_is_rejected_and_the_axis_named() -> None:
    queue = (high(1, 6, 4, 0), high(2, 5, 8, 0), high(3, 3, 48, 0), low(4, 2, 8, 0), low(5, 1, 1, 1))
    decision = decide(state((8, 64, 0), *queue))
    assert decision.start == (2, 3)
    assert {name: why.text for name, why in decision.reject.items()} == {5: "needs 1 gpu, the cluster has 0"}
    assert decision.waiting[4].text == "needs 2 cpu (0 free)"


def test_without_backfill_nobody_overtakes() -> None:
    decision = decide(
        state((10, 10, 0), high(1, 8, 8, 0), low(2, 4, 4, 0), running=(run(9, 6, 6, 0),)), Policy(backfill="none")
    )
    assert decision.start == ()
    assert codes(decision) == {1: "no_room", 2: "overtakes"}
    assert decision.waiting[2].text == "fits, but 1 is before it"


# Reservation and backfill ---------------------------------------------------------------------------------------------


def test_the_head_is_told_when_it_starts_at_the_latest() -> None:
    running = (run(8, 6, 6, 0, ttl=130), run(9, 2, 2, 0, ttl=500))
    decision = decide(state((10, 10, 0), high(1, 8, 8, 0), running=running))
    assert decision.reservations == {1: 130.0}
    expected = "is next: needs 8 cpu (2 free), 8 ram (2 free); starts in 30 s at the latest"
    assert decision.waiting[1].text == expected


def test_only_who_is_gone_by_then_or_fits_beside_overtakes() -> None:
    running = (run(9, 6, 6, 6, ttl=130),)
    short, beside, longer = low(2, 2, 2, 2, ttl=30), low(3, 2, 2, 2, ttl=900), low(4, 2, 2, 1, ttl=31)
    decision = decide(state(TEN, high(1, 8, 8, 8, ttl=60), short, beside, longer, running=running))
    assert decision.reservations == {1: 130.0}
    assert decision.start[0] == 2
    assert len(decision.start) == 2
    assert codes(decision)[1] == "reserved"


def test_who_would_delay_the_head_is_told_so() -> None:
    decision = decide(
        state(TEN, high(1, 8, 8, 8, ttl=60), low(2, 3, 3, 3, ttl=31), running=(run(9, 6, 6, 6, ttl=130),))
    )
    assert decision.start == ()
    assert decision.waiting[2].text == "fits, but would delay 1"


def test_where_any_may_overtake_nothing_is_reserved() -> None:
    queue = (high(1, 8, 8, 8, ttl=60), low(2, 3, 3, 3, ttl=900))
    decision = decide(state(TEN, *queue, running=(run(9, 6, 6, 6, ttl=130),)), Policy(backfill="any"))
    assert (decision.start, decision.reservations) == ((2,), {1: inf})


def test_without_ttls_there_is_no_time_and_that_is_said() -> None:
    decision = decide(state(TEN, high(1, 8, 8, 8), low(2, 3, 3, 3), running=(run(9, 6, 6, 6),)))
    assert (decision.start, decision.reservations) == ((2,), {1: inf})
    assert "not all that runs has a TTL" in decision.waiting[1].text


def test_who_was_passed_over_once_is_not_passed_over_again() -> None:
    first, *others = ONE_LARGE
    decision = decide(state(TEN, replace(first, promised=inf), *others))
    assert decision.start == (1, 5)
    assert decision.reservations == {2: inf}


def test_an_overdue_one_holds_its_share_until_it_has_ended() -> None:
    decision = decide(state(TEN, high(1, 8, 8, 8), running=(run(9, 6, 6, 6, ttl=50),)))
    assert (decision.start, decision.stop) == ((), (9,))
    assert decision.reservations[1] == pytest.approx(100.0)


def test_a_cluster_that_was_made_too_small_starts_nothing_more() -> None:
    decision = decide(state((5, 5, 5), low(1, 1, 1, 1), running=(run(9, 6, 6, 6),)))
    assert (decision.start, codes(decision)) == ((), {1: "no_room"})


# Objectives -----------------------------------------------------------------------------------------------------------


def test_count_prefers_many_low_ones_only_after_the_high_ones() -> None:
    queue = (low(1, 5, 5, 5), low(2, 5, 5, 5), high(3, 9, 9, 9))
    assert decide(state(TEN, *queue), Policy(objective="count")).start == (3,)


def test_of_equally_many_the_fuller_then_the_older_start() -> None:
    assert decide(state(TEN, high(1, 6, 6, 6), high(2, 7, 7, 7)), Policy(objective="count")).start == (2,)
    assert decide(state(TEN, high(1, 6, 6, 6), high(2, 6, 6, 6)), Policy(objective="count")).start == (1,)


def test_expansion_lets_the_short_one_overtake() -> None:
    running = (run(9, 6, 6, 6, ttl=1000),)
    queue = (high(1, 8, 8, 8, ttl=10), low(2, 3, 3, 3, ttl=500), low(3, 3, 3, 3, ttl=5))
    assert decide(state(TEN, *queue, running=running)).start == (3,)
    assert decide(state(TEN, *queue, running=running), Policy(objective="count")).start == (2,)


# Starvation, preemption -----------------------------------------------------------------------------------------------


def test_who_has_waited_too_long_is_next_and_nobody_overtakes() -> None:
    running = (run(9, 6, 6, 6),)
    queue = (low(1, 8, 8, 8, arrival=0), high(2, 3, 3, 3))
    assert decide(state(TEN, *queue, running=running), Policy(max_wait=200)).start == (2,)
    decision = decide(state(TEN, *queue, running=running), Policy(max_wait=60))
    assert decision.start == ()
    assert codes(decision) == {1: "no_room", 2: "overtakes"}
    assert decide(state(TEN, *queue), Policy(max_wait=60)).start == (1,)


def test_only_one_is_next_for_having_waited_and_its_class_stays() -> None:
    queue = (low(1, 6, 6, 6, arrival=0), low(2, 5, 5, 5, arrival=1), high(3, 4, 4, 4))
    assert decide(state(TEN, *queue), Policy(max_wait=60)).start == (1, 3)


def test_what_a_high_one_was_promised_holds_when_another_starves() -> None:
    running = (run(9, 6, 6, 6, ttl=130),)
    queue = (high(1, 10, 10, 10, ttl=20, promised=130.0), low(2, 9, 9, 9, arrival=0.0, ttl=20))
    decision = decide(state(TEN, *queue, running=running), Policy(max_wait=60))
    assert decision.reservations == {1: 130.0, 2: 150.0}


def test_preemption_evicts_the_fewest_then_the_newest_of_lower_classes() -> None:
    running = (
        run(5, 4, 4, 4, started=1),
        run(6, 2, 2, 2, started=2),
        run(7, 2, 2, 2, started=3),
        run(8, 2, 2, 2, started=4, priority=HIGH),
    )
    on = Policy(preemption=True)
    assert decide(state(TEN, high(1, 2, 2, 2), running=running), on).evict == (7,)
    assert decide(state(TEN, high(1, 4, 4, 4), running=running), on).evict == (5,)
    decision = decide(state(TEN, high(1, 6, 6, 6), running=running), on)
    assert (decision.start, decision.evict, decision.displaces) == ((1,), (5, 7), {1: (5, 7)})


def test_preemption_evicts_nobody_in_vain_and_nobody_of_the_own_class() -> None:
    running = (run(7, 2, 2, 2), run(8, 8, 8, 8, priority=HIGH))
    on = Policy(preemption=True)
    assert decide(state(TEN, high(1, 3, 3, 3), running=running), on).evict == ()
    assert decide(state(TEN, low(1, 2, 2, 2), running=running), on).evict == ()
    assert decide(state(TEN, high(1, 2, 2, 2), running=running)).evict == ()


# Dependencies, expiry -------------------------------------------------------------------------------------------------


def test_who_depends_on_others_waits_until_they_are_done() -> None:
    queue = (low(1, 1, 1, 1), low(2, 1, 1, 1, depends_on=(1, 9)))  # type: ignore[arg-type]
    decision = decide(state(TEN, *queue, running=(run(9, 1, 1, 1),)))
    assert decision.start == (1,)
    assert decision.waiting[2].text == "waits for 1 and 9 to be done"
    assert decide(state(TEN, queue[1], _1="done", _9="done")).start == (2,)


@pytest.mark.parametrize("how", ["failed", "cancelled", "rejected", "expired"])
def test_who_depends_on_a_failure_is_cancelled_and_so_on(how: str) -> None:
    queue = (low(2, 1, 1, 1, depends_on=(1,)), low(3, 1, 1, 1, depends_on=(2,)))  # type: ignore[arg-type]
    decision = decide(state(TEN, *queue, _1=how))
    assert {name: why.text for name, why in decision.cancel.items()} == {
        2: f"depends on 1, which is {how}",
        3: "depends on 2, which will never be done",
    }
    assert decision.waiting == {}


def test_circles_and_strangers_are_refused() -> None:
    queue = (
        low(1, 1, 1, 1, depends_on=(2,)),  # type: ignore[arg-type]
        low(2, 1, 1, 1, depends_on=(1,)),  # type: ignore[arg-type]
        low(3, 1, 1, 1, depends_on=(3,)),  # type: ignore[arg-type]
        low(4, 1, 1, 1, depends_on=(77,)),  # type: ignore[arg-type]
    )
    cancel = decide(state(TEN, *queue)).cancel
    assert cancel.keys() == {1, 2, 3, 4}
    assert cancel[3].text == "depends on itself"
    assert cancel[4].text == "depends on 77, which does not exist"


def test_who_waits_for_too_long_expires_with_those_that_depend_on_it() -> None:
    decision = decide(state(TEN, low(1, 1, 1, 1, expires=100.0), low(2, 1, 1, 1, depends_on=(1,))))  # type: ignore[arg-type]
    assert (decision.start, decision.expire) == ((), (1,))
    assert decision.cancel[2].text == "depends on 1, which is expired"


# Whatever the state ---------------------------------------------------------------------------------------------------


@st.composite
def states(draw: st.DrawFn) -> tuple[State, Policy]:
    generator = random.Random(draw(st.integers(0, 2**32)))

    def amounts(most: int) -> tuple[int, ...]:
        return tuple(generator.randint(0, most) for _ in range(3))

    def ttl() -> float | None:
        return generator.choice([None, 5.0, 50.0, 500.0])

    free, running = [12, 12, 12], []
    for name in range(generator.randint(0, 6)):
        demand = amounts(4)
        if all(amount <= left for amount, left in zip(demand, free, strict=True)):
            free = [left - amount for amount, left in zip(demand, free, strict=True)]
            running.append(Running(name, demand, generator.randint(0, 2), 0.0, generator.uniform(0, 99), ttl()))
    queue = [
        Waiting(name, amounts(9), generator.randint(0, 2), generator.uniform(0, 99), ttl(), None, (), promise)
        for name in range(10, 10 + generator.randint(0, 14))
        for promise in [generator.choice([None, None, inf, 150.0])]
    ]
    policy = Policy(
        objective=generator.choice([None, "count", "expansion"]),
        backfill=generator.choice(["none", "reserve", "any"]),
        preemption=generator.random() < 0.3,
        max_wait=generator.choice([None, 50.0]),
    )
    return State((12, 12, 12), tuple(running), tuple(queue), 100.0), policy


@given(states(), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=150)
def test_the_order_of_rows_does_not_matter(case: tuple[State, Policy], shuffler: random.Random) -> None:
    given_state, policy = case
    queue, running = list(given_state.queue), list(given_state.running)
    shuffler.shuffle(queue)
    shuffler.shuffle(running)
    assert decide(replace(given_state, queue=tuple(queue), running=tuple(running)), policy) == decide(*case)


@given(states())
@settings(deadline=None, max_examples=150)
def test_capacity_is_kept_everybody_is_answered_and_nothing_is_left_to_do(case: tuple[State, Policy]) -> None:
    given_state, policy = case
    decision = decide(given_state, policy)
    evicted = {one.id: one for one in given_state.running if one.id in decision.evict}
    started = [one for one in given_state.queue if one.id in decision.start]
    running = [one for one in given_state.running if one.id not in evicted]
    demands = [one.demand for one in running] + [one.demand for one in started]
    for axis, total in enumerate(given_state.capacity):
        assert sum(demand[axis] for demand in demands) <= total
    assert {one.id for one in given_state.queue} == {*decision.start, *decision.waiting, *decision.reject}
    for newcomer, victims in decision.displaces.items():
        (one,) = (one for one in started if one.id == newcomer)
        assert all(evicted[victim].priority < one.priority for victim in victims)
    now = given_state.now
    after = replace(
        given_state,
        running=(*running, *(Running(one.id, one.demand, one.priority, one.arrival, now, one.ttl) for one in started)),
        queue=tuple(
            replace(one, promised=decision.reservations.get(one.id))
            for one in given_state.queue
            if one.id not in decision.start
        ),
    )
    again = decide(after, policy)
    assert again.start == () or policy.max_wait is not None
    # Who has waited too long goes first, whatever was promised; when it has started, it is the turn of the next such.
    assert again.start or all(
        at <= decision.reservations[name] for name, at in again.reservations.items() if name in decision.reservations
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (state(TEN, low(1, 1, 1)), "1 has 2 amounts for the axes cpu, ram, gpu"),
        (state(TEN, low(1, 1, -1, 1)), "1 has a negative amount"),
        (state(TEN, low(1, 1, 1, 1), running=(run(1, 1, 1, 1),)), "an id occurs twice"),
    ],
)
def test_what_is_no_state_is_refused(wrong: State, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decide(wrong)


def test_an_unknown_solver_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown solver 'best'; there is auto, combinations, genetic"):
        decide(state(TEN), Policy(solver="best"))  # type: ignore[arg-type]
