"""The solver against all subsets of small problems, and against what must hold of large ones."""

import ast
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from provision_worker.scheduler import original, solver
from provision_worker.scheduler.packing import Packing, first_fit
from provision_worker.scheduler.simplex import relax

Array = NDArray[np.int64]
Problem = tuple[Array, Array, Array]
PACKAGE = Path(solver.__file__).parent


def small(random: np.random.Generator) -> Problem:
    """Profits of one to four levels of many kinds, one to five axes, up to twelve columns; zeros and equals occur."""
    size, rows, levels = random.integers(1, 13), random.integers(1, 6), random.integers(1, 5)
    weight = random.integers(0, random.choice([2, 6, 1000]), (rows, size))
    profit = random.integers(0, random.choice([2, 4, 1000]), (levels, size))
    if random.random() < 0.3:
        profit[0] = weight.sum(axis=0) + random.integers(0, 3, size)
    if random.random() < 0.2:
        profit = profit - random.integers(0, 3, profit.shape)
    return profit, weight, np.rint(weight.sum(axis=1) * random.uniform(0.1, 1.1, rows)).astype(np.int64)


def large(random: np.random.Generator, size: int, rows: int, tightness: float) -> Problem:
    """As Chu and Beasley (1998) make them: profits go with weights."""
    weight = random.integers(1, 1001, (rows, size))
    profit = np.rint(weight.mean(axis=0) + 500 * random.random(size)).astype(np.int64)
    return profit[None, :], weight, (weight.sum(axis=1) * tightness).astype(np.int64)


def best_of_all(profit: Array, weight: Array, capacity: Array) -> tuple[int, ...]:
    """The largest value of all subsets."""
    subsets = (np.arange(2 ** profit.shape[1]) >> np.arange(profit.shape[1])[:, None]) & 1
    values = (profit @ subsets)[:, (weight @ subsets <= capacity[:, None]).all(axis=0)]
    return max(map(tuple, values.T.tolist()))


def is_sound(packing: Packing, problem: Problem) -> bool:
    """It fits, and its value and its bound are what they are said to be."""
    profit, weight, capacity = problem
    assert (weight[:, packing.chosen].sum(axis=1) <= capacity).all()
    assert tuple(profit[:, packing.chosen].sum(axis=1).tolist()) == packing.value
    assert packing.chosen.tolist() == sorted(set(packing.chosen.tolist()))
    return packing.value <= packing.bound and (not packing.proven or packing.value == packing.bound)


def in_turn(problem: Problem) -> tuple[int, ...]:
    """The value of first fit."""
    profit, weight, capacity = problem
    chosen = first_fit(range(profit.shape[1]), weight.T.tolist(), capacity.tolist())
    return tuple(profit[:, chosen].sum(axis=1).tolist())


@pytest.mark.parametrize("few", [0, solver.FEW], ids=["searched", "enumerated"])
def test_of_1500_small_problems_none_is_wrong(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solver, "FEW", few)
    random = np.random.default_rng(6)
    for _ in range(1500):
        problem = small(random)
        packing = solver.pack(*problem)
        assert packing.proven
        assert packing.value == best_of_all(*problem)
        assert is_sound(packing, problem)


@pytest.mark.slow
def test_of_10000_small_problems_none_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solver, "FEW", 0)
    random = np.random.default_rng(7)
    for _ in range(10_000):
        problem = small(random)
        assert solver.pack(*problem).value == best_of_all(*problem)


@given(st.integers(0, 2**32), st.sampled_from([0, 100, 300, 1000, 3000]))
@settings(deadline=None, max_examples=60)
def test_a_bound_holds_wherever_the_search_stops(seed: int, limit: int) -> None:
    random = np.random.default_rng(seed)
    problem = large(random, 25, int(random.integers(1, 6)), random.choice([0.25, 0.5, 0.75]))
    stopped, whole = solver.pack(*problem, work_limit=limit), solver.pack(*problem)
    assert is_sound(stopped, problem)
    assert whole.proven
    assert stopped.value <= whole.value <= stopped.bound
    assert not stopped.proven or stopped.value == whole.value


@given(st.integers(0, 2**32))
@settings(deadline=None, max_examples=60)
def test_the_order_of_columns_does_not_matter(seed: int) -> None:
    random = np.random.default_rng(seed)
    profit, weight, capacity = small(random) if seed % 2 else large(random, 30, 3, 0.5)
    columns = np.vstack([profit, weight])
    order = random.permutation(profit.shape[1])
    one = solver.pack(profit, weight, capacity).chosen
    other = solver.pack(profit[:, order], weight[:, order], capacity).chosen
    assert sorted(map(tuple, columns[:, one].T.tolist())) == sorted(map(tuple, columns[:, order[other]].T.tolist()))


def test_of_equal_columns_the_first_are_chosen() -> None:
    assert solver.pack([5] * 9, [[2] * 9], [7]).chosen.tolist() == [0, 1, 2]


@pytest.mark.parametrize("solve", [solver.pack, original.original, original.combinations, original.genetic])
@pytest.mark.parametrize("limit", [0, None])
def test_no_solver_is_worse_than_first_fit_on_a_short_leash(solve: object, limit: int | None) -> None:
    random = np.random.default_rng(8)
    for size in (1, 6, 9, 15):
        problem = large(random, size, 3, 0.5)
        packing = solve(*problem, work_limit=limit)  # type: ignore[operator]
        assert is_sound(packing, problem)
        if solve is solver.pack:
            assert packing.value >= in_turn(problem)


def test_first_fit_is_beaten_even_without_any_search() -> None:
    """Rounding alone would take the column of the largest profit and leave the first two."""
    random = np.random.default_rng(9)
    for _ in range(300):
        problem = large(random, 40, 5, random.choice([0.25, 0.5]))
        assert solver.pack(*problem, work_limit=0).value >= in_turn(problem)


def test_the_same_problem_has_the_same_answer_when_it_is_not_proven() -> None:
    problem = large(np.random.default_rng(10), 100, 10, 0.5)
    packings = [solver.pack(*problem, work_limit=20_000) for _ in range(2)]
    assert packings[0].chosen.tolist() == packings[1].chosen.tolist()
    assert not packings[0].proven
    assert packings[0].value < packings[0].bound


def test_levels_too_large_for_one_number_are_exact_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solver, "FEW", 0)
    random = np.random.default_rng(11)
    for _ in range(30):
        profit = random.integers(1, 4, (5, 10)) * 10 ** random.integers(0, 9, (5, 1))
        weight = random.integers(1, 100, (2, 10))
        problem = (profit, weight, weight.sum(axis=1) // 2)
        packing = solver.pack(*problem)
        assert packing.proven
        assert packing.value == best_of_all(*problem)


def test_nothing_to_choose_from_is_an_answer() -> None:
    for packing in (
        solver.pack([], np.empty((2, 0), int), [1, 1]),
        solver.pack([3], [[2]], [1]),
        solver.pack([0], [[1]], [1]),
        solver.pack([3], [[0]], [-1]),
    ):
        assert (packing.chosen.tolist(), packing.value, packing.proven) == ([], (0,), True)


def test_without_rows_that_bind_everything_is_chosen() -> None:
    packing = solver.pack([[1, 0, 2], [1, 1, 1]], [[1, 1, 1]], [3])
    assert (packing.chosen.tolist(), packing.value, packing.proven) == ([0, 1, 2], (3, 3), True)


@pytest.mark.parametrize(
    ("profit", "weight", "capacity", "message"),
    [
        ([1, 2], [[1, 2, 3]], [4], "weight has the shape"),
        ([1, 2], [1, 2], [4], "weight has the shape"),
        ([1], [[-1]], [4], "a weight is negative"),
        ([1.5], [[1]], [4], "profit is not of integers but of float64"),
        ([1], [[True]], [4], "weight is not of integers but of bool"),
        ([2**62] * 4, [[1] * 4], [4], "profit sums up to more than 2\\^53"),
        ([1] * 4, [[2**62] * 4], [4], "weight sums up to more than 2\\^53"),
    ],
)
def test_what_is_no_problem_is_refused(profit: object, weight: object, capacity: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        solver.pack(profit, weight, capacity)  # type: ignore[arg-type]


def test_a_relaxation_is_the_optimum_and_its_duals_prove_it() -> None:
    random = np.random.default_rng(12)
    for _ in range(200):
        profit, weight, capacity = (array.astype(np.float64) for array in large(random, 40, 5, 0.5))
        found = relax(profit[0], weight, capacity)
        assert (weight @ found.x <= capacity + 1e-6).all()
        assert (found.dual >= 0).all()
        assert found.bound == pytest.approx(profit[0] @ found.x)


def test_it_imports_nothing_but_numpy() -> None:
    names = set()
    for path in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names.add(node.module.split(".")[0])
    assert names - set(sys.stdlib_module_names) == {"numpy"}
