"""Days of a cluster, replayed: promises are kept, nobody starves, and it is the same day again."""

from collections.abc import Callable
from statistics import fmean, geometric_mean

import pytest
from provision_worker.scheduler import Decision, Policy, State, decide

from benchmarks.packing import replay
from benchmarks.packing.replay import CAPACITY, Outcome, ours, workload

POLICIES = {
    "expansion": Policy(),
    "count": Policy(objective="count"),
    "starvation": Policy(max_wait=600.0),
    "nobody overtakes": Policy(backfill="none"),
}


def checked(policy: Policy, heads: dict[object, float]) -> replay.Chooser:
    """Decides, and looks at every decision: no more than there is, and no head later than it was told before."""

    def choose(state: State) -> Decision:
        decision = decide(state, policy)
        running = [one.demand for one in state.running]
        running += [one.demand for one in state.queue if one.id in decision.start]
        assert all(sum(column) <= total for column, total in zip(zip(*running, strict=True), CAPACITY, strict=True))
        high = {one.id for one in state.queue if one.priority}
        for name, at in decision.reservations.items():
            if name in high:
                assert at <= heads.setdefault(name, at)
        return decision

    return choose


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_a_high_head_starts_no_later_than_it_was_promised(policy: Policy, seed: int) -> None:
    heads: dict[object, float] = {}
    outcome = replay.replay(workload(seed, 120, 0.9), checked(policy, heads))
    assert heads
    assert outcome.late <= 0


def test_a_day_replayed_is_the_same_day() -> None:
    jobs = workload(3, 150, 0.9)
    assert replay.replay(jobs, ours()).waits == replay.replay(jobs, ours()).waits


def test_promises_are_broken_where_any_may_overtake_which_is_how_this_test_can_fail() -> None:
    def reserve_only_in_words(state: State) -> Decision:
        kept = decide(state, Policy())
        broken = decide(state, Policy(backfill="any"))
        return Decision(start=broken.start, reservations=kept.reservations)

    assert replay.replay(workload(0, 150, 0.9), reserve_only_in_words).late > 0


def test_the_starvation_slot_shortens_the_longest_wait() -> None:
    jobs = workload(1, 300, 0.85)
    without, with_it = (replay.replay(jobs, ours(Policy(max_wait=limit))) for limit in (None, 600.0))
    assert max(with_it.waits) < max(without.waits)


@pytest.mark.slow
def test_it_beats_the_original_and_easy_on_the_same_arrivals() -> None:
    days = [workload(seed, 400, 0.85) for seed in range(4)]
    mine = [replay.replay(jobs, ours(Policy(max_wait=2400.0))) for jobs in days]
    original = [replay.replay(jobs, replay.by_original) for jobs in days]
    easy = [replay.replay(jobs, replay.by_easy) for jobs in days]

    def middle(outcomes: list[Outcome], of: Callable[[Outcome], float]) -> float:
        return geometric_mean(map(of, outcomes))

    assert middle(mine, lambda one: max(one.waits)) < 0.5 * middle(original, lambda one: max(one.waits))
    assert middle(mine, lambda one: max(one.high_waits)) < 0.5 * middle(original, lambda one: max(one.high_waits))
    assert middle(mine, lambda one: fmean(one.slowdowns)) < middle(easy, lambda one: fmean(one.slowdowns))
