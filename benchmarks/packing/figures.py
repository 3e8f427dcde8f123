"""The figures of the benchmark: what is measured, what was aimed at, what came out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, geometric_mean, median, quantiles

from provision_worker.scheduler import Policy

from benchmarks.packing import rivals
from benchmarks.packing.instances import Instance
from benchmarks.packing.replay import (
    CAPACITY,
    Chooser,
    Outcome,
    by_easy,
    by_first_fit,
    by_original,
    ours,
    replay,
    workload,
)
from benchmarks.packing.rivals import Answer, Solver

SECONDS = 1.0
MOMENTS = (0.1, 0.3, SECONDS)
"""When the gap is looked at."""
QUEUE_SECONDS = 0.5
MAX_WAIT_SECONDS = 2400.0
LOAD = 0.85
SOLVERS: dict[str, Solver] = {
    "ours": rivals.ours,
    "CP-SAT": rivals.cp_sat,
    "HiGHS": rivals.highs,
    "first fit": rivals.in_turn,
    "original": rivals.by_original,
}
SCHEDULERS: dict[str, Chooser] = {
    "ours": ours(Policy(max_wait=MAX_WAIT_SECONDS)),
    "EASY": by_easy,
    "first fit": by_first_fit,
    "original": by_original,
}


@dataclass(frozen=True)
class Figure:
    """A line of the report. `values`: per solver or scheduler. `is_reached`: None where nothing was aimed at."""

    key: str
    name: str
    wanted: str
    values: Mapping[str, float]
    is_reached: bool | None = None


@dataclass
class Report:
    """All of it, and what is drawn."""

    figures: list[Figure] = field(default_factory=list)
    gaps: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    waits: dict[str, list[float]] = field(default_factory=dict)

    def add(self, key: str, name: str, wanted: str, values: Mapping[str, float], reached: bool | None = None) -> None:
        """One more line."""
        self.figures.append(Figure(key, name, wanted, values, reached))


Say = Callable[[str], None]


def measure_queues(report: Report, instances: Sequence[Instance], prefix: str, say: Say) -> None:
    """Queues: how many have the best value known (of ours if none is known, the best of all), how long it takes."""
    small = [instance for instance in instances if instance.size <= 25]
    large = [instance for instance in instances if instance.size > 25]
    kinds = ((small, "up to 25", 10 * SECONDS, 0.02), (large, "32 to 100", QUEUE_SECONDS, QUEUE_SECONDS))
    for chosen, size, seconds, limit in kinds:
        if not chosen:
            continue
        answers = _answers(chosen, seconds, f"{prefix} queues", say)
        count, is_small = len(chosen), chosen is small
        wanted = count if is_small else count - max(1, count // 72)
        key = f"{prefix}_{'small' if is_small else 'large'}"
        best = _count_best(chosen, answers)
        name = f"{prefix} queues of {size}: best value in, of {count}"
        report.add(f"{key}_best", name, f"≥ {wanted}", best, best["ours"] >= wanted)
        proven = {name: float(sum(answer.is_proven for answer in found)) for name, found in answers.items()}
        wish, is_reached = (str(count), proven["ours"] == count) if is_small else ("", None)
        report.add(f"{key}_proven", "– proven", wish, proven, is_reached)
        slow = {name: 1000 * _p95(found) for name, found in answers.items()}
        report.add(f"{key}_p95", "– 95 of 100 within, ms", f"≤ {1000 * limit:.0f}", slow, slow["ours"] <= 1000 * limit)


def measure_library(report: Report, instances: Sequence[Instance], say: Say) -> None:
    """Small instances of the literature."""
    answers = _answers(instances, 10 * SECONDS, "mknap1, mknap2", say)
    count = len(instances)
    proven = {
        name: float(sum(a.is_proven and a.value == i.best for a, i in zip(found, instances, strict=True)))
        for name, found in answers.items()
    }
    middle = {name: 1000 * median(answer.seconds for answer in found) for name, found in answers.items()}
    report.add(
        "library_proven",
        f"mknap1, mknap2: optimum found and proven, of {count}",
        f"{count}",
        proven,
        proven["ours"] == count,
    )
    report.add(
        "library_median", "– half of them within, ms", "≤ HiGHS / 5", middle, middle["ours"] <= middle["HiGHS"] / 5
    )


def measure_gap(report: Report, instances: Sequence[Instance], prefix: str, say: Say) -> None:
    """The mean gap to the best known, or best found, after so much processor time, in percent."""
    found: dict[str, list[list[int]]] = {name: [] for name in ("ours", "CP-SAT", "HiGHS")}
    for number, instance in enumerate(instances, 1):
        say(f"{prefix}: {number} of {len(instances)}")
        trail = rivals.ours_over_time(instance, SECONDS)
        found["ours"].append([max((a.value[0] for a in trail if a.seconds <= moment), default=0) for moment in MOMENTS])
        for name, solve in (("CP-SAT", rivals.cp_sat), ("HiGHS", rivals.highs)):
            found[name].append([solve(instance, moment).value[0] for moment in MOMENTS])
    best = [
        instance.best[0] if instance.best else max(values[index][-1] for values in found.values())
        for index, instance in enumerate(instances)
    ]
    for name, values in found.items():
        gaps = [
            fmean(100 * (most - value[index]) / most for most, value in zip(best, values, strict=True))
            for index in range(len(MOMENTS))
        ]
        report.gaps[f"{name}, {prefix}"] = list(zip(MOMENTS, gaps, strict=True))
    last = {name: report.gaps[f"{name}, {prefix}"][-1][1] for name in found}
    is_reached = last["ours"] <= min(last["CP-SAT"], last["HiGHS"]) / 3
    report.add(
        f"{prefix}_gap",
        f"{prefix}, {len(instances)} instances: mean gap at {SECONDS:.0f} s, %",
        "≤ a third of theirs",
        last,
        is_reached,
    )


def measure_replays(report: Report, seeds: int, count: int, say: Say) -> None:
    """The same arrivals under every scheduler."""
    outcomes: dict[str, list[Outcome]] = {name: [] for name in SCHEDULERS}
    for seed in range(seeds):
        jobs = workload(seed, count, LOAD)
        for name, choose in SCHEDULERS.items():
            say(f"replay {seed + 1} of {seeds}: {name}")
            outcomes[name].append(replay(jobs, choose))
    report.waits |= {name: [wait for one in found for wait in one.waits] for name, found in outcomes.items()}

    def means(of: Callable[[Outcome], float]) -> dict[str, float]:
        return {name: geometric_mean([max(of(one), 1e-9) for one in found]) for name, found in outcomes.items()}

    longest, high = means(lambda one: max(one.waits)), means(lambda one: max(one.high_waits))
    spent, slow = (
        means(lambda one: 1000 * one.decision_seconds / one.decisions),
        means(lambda one: fmean(one.slowdowns)),
    )
    cluster = "/".join(map(str, CAPACITY))
    name = f"{seeds} replays of {count} on {cluster}: longest wait, s"
    report.add("replay_longest", name, "≤ original / 2", longest, longest["ours"] <= longest["original"] / 2)
    report.add("replay_high", "– longest wait of HIGH, s", "≤ original / 4", high, high["ours"] <= high["original"] / 4)
    report.add("replay_slowdown", "– mean slowdown", "≤ 0.95 EASY", slow, slow["ours"] <= 0.95 * slow["EASY"])
    report.add("replay_decision", "– a decision, ms", "≤ original / 20", spent, spent["ours"] <= spent["original"] / 20)
    late = {"ours": max(one.late for one in outcomes["ours"])}
    report.add("replay_late", "– HIGH heads late for their reservation, s", "0", late, late["ours"] <= 0)


def _answers(instances: Sequence[Instance], seconds: float, what: str, say: Say) -> dict[str, list[Answer]]:
    found: dict[str, list[Answer]] = {name: [] for name in SOLVERS}
    for number, instance in enumerate(instances, 1):
        say(f"{what}: {number} of {len(instances)}")
        for name, solve in SOLVERS.items():
            found[name].append(solve(instance, seconds))
    return found


def _count_best(instances: Sequence[Instance], answers: Mapping[str, Sequence[Answer]]) -> dict[str, float]:
    best = [
        instance.best or max(found[index].value for found in answers.values())
        for index, instance in enumerate(instances)
    ]
    return {
        name: float(sum(answer.value >= most for answer, most in zip(found, best, strict=True)))
        for name, found in answers.items()
    }


def _p95(answers: Sequence[Answer]) -> float:
    seconds = [answer.seconds for answer in answers]
    return quantiles(seconds, n=20, method="inclusive")[-1] if len(seconds) > 1 else seconds[0]
