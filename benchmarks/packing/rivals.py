"""Solvers of other makers, in one thread, and what they have after so many seconds of processor time."""

import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from provision_worker.scheduler import original, solver
from provision_worker.scheduler.packing import first_fit

from benchmarks.packing.instances import Instance

WORK = (0, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000, 2_000_000, 3_000_000)
SHORT_OF = 0.93
"""A solver that measures its time on the wall gets more until it has had this part of what it was promised."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The value per level, whether it is proven, and the processor time it took."""

    value: tuple[int, ...]
    is_proven: bool
    seconds: float


Solver = Callable[[Instance, float], Answer]


def ours(instance: Instance, seconds: float) -> Answer:
    """The product's, as it is called by default; `seconds` is for the others."""
    before = time.process_time()
    packing = solver.pack(instance.profit, instance.weight, instance.capacity)
    return Answer(packing.value, packing.proven, time.process_time() - before)


def ours_over_time(instance: Instance, seconds: float) -> list[Answer]:
    """The product's with more and more work, as long as it is done within the time."""
    answers: list[Answer] = []
    for limit in WORK:
        before = time.process_time()
        packing = solver.pack(instance.profit, instance.weight, instance.capacity, work_limit=limit)
        answers.append(Answer(packing.value, packing.proven, time.process_time() - before))
        if packing.proven or answers[-1].seconds > seconds:
            break
    return [answer for answer in answers if answer.seconds <= seconds] or answers[:1]


def in_turn(instance: Instance, seconds: float) -> Answer:
    """First fit."""
    before = time.process_time()
    chosen = first_fit(range(instance.size), instance.weight.T.tolist(), instance.capacity.tolist())
    return Answer(value(instance, chosen), False, time.process_time() - before)


def by_original(instance: Instance, seconds: float) -> Answer:
    """All combinations below ten, the genetic algorithm from ten up."""
    before = time.process_time()
    packing = original.original(instance.profit, instance.weight, instance.capacity)
    return Answer(packing.value, packing.proven, time.process_time() - before)


def highs(instance: Instance, seconds: float) -> Answer:
    """HiGHS through scipy; levels one after the other."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    def solve(profit: np.ndarray, rows: list[tuple[np.ndarray, float, float]], limit: float) -> tuple[list[int], bool]:
        matrix = np.vstack([row for row, _, _ in rows])
        low, high = np.array([row[1] for row in rows]), np.array([row[2] for row in rows])
        found = milp(
            -profit.astype(float),
            constraints=LinearConstraint(matrix, low, high),
            integrality=np.ones(instance.size),
            bounds=Bounds(0, 1),
            options={"time_limit": limit, "mip_rel_gap": 0},
        )
        chosen = [] if found.x is None else np.flatnonzero(found.x > 0.5).tolist()
        return chosen, found.status == 0

    return _patiently(instance, seconds, solve)


def cp_sat(instance: Instance, seconds: float) -> Answer:
    """CP-SAT of OR-tools; levels one after the other."""
    from ortools.sat.python import cp_model

    def solve(profit: np.ndarray, rows: list[tuple[np.ndarray, float, float]], limit: float) -> tuple[list[int], bool]:
        model = cp_model.CpModel()
        chosen = [model.new_bool_var("") for _ in range(instance.size)]
        for row, low, high in rows:
            total = cp_model.LinearExpr.weighted_sum(chosen, row.tolist())
            model.add(total <= int(high))
            if low > 0:
                model.add(total >= int(low))
        model.maximize(cp_model.LinearExpr.weighted_sum(chosen, profit.tolist()))
        search = cp_model.CpSolver()
        search.parameters.num_workers = 1
        search.parameters.max_time_in_seconds = limit
        status = search.solve(model)
        if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            return [], False
        return [index for index, one in enumerate(chosen) if search.value(one)], status == cp_model.OPTIMAL

    return _patiently(instance, seconds, solve)


def _patiently(instance: Instance, seconds: float, solve: Callable[..., tuple[list[int], bool]]) -> Answer:
    """Solve level by level; again with more time on the wall if it had too little on the processor."""
    limit = seconds
    for _ in range(4):
        before = time.process_time()
        rows = [(row, -np.inf, float(most)) for row, most in zip(instance.weight, instance.capacity, strict=True)]
        chosen: list[int] = []
        is_proven = True
        for level in instance.profit:
            found, is_optimal = solve(level, rows, limit)
            chosen, is_proven = found or chosen, is_proven and is_optimal
            rows.append((level, float(level[chosen].sum()), float(level.sum())))
        spent = time.process_time() - before
        if is_proven or spent >= SHORT_OF * seconds:
            break
        limit *= seconds / spent
    return Answer(value(instance, chosen), is_proven, spent)


def value(instance: Instance, chosen: list[int]) -> tuple[int, ...]:
    """What a set is worth, per level."""
    return tuple(instance.profit[:, chosen].sum(axis=1).tolist())


def missing() -> list[str]:
    """Packages of the extra `solvers` that are not installed."""
    return [name for name in ("scipy", "ortools", "matplotlib") if importlib.util.find_spec(name) is None]
