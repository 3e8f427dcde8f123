"""The two algorithms that the auto solver replaces, kept selectable: all combinations, and a genetic algorithm.

They take and return what `solver.pack` does.
"""

from itertools import combinations as subsets

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .packing import Packing, Problem, prepared

FEW = 10
GENERATIONS = 10
POPULATION = 10
MUTATION = 0.1
MOST = 20
"""So many can all be combined; of more, the first."""


def original(profit: ArrayLike, weight: ArrayLike, capacity: ArrayLike, *, work_limit: int | None = None) -> Packing:
    """All combinations below ten, the genetic algorithm from ten up."""
    choose = combinations if np.shape(profit)[-1] < FEW else genetic
    return choose(profit, weight, capacity, work_limit=work_limit)


def combinations(
    profit: ArrayLike, weight: ArrayLike, capacity: ArrayLike, *, work_limit: int | None = None
) -> Packing:
    """The best of all subsets, one by one."""
    problem = prepared(profit, weight, capacity)
    count = min(problem.size, MOST)
    best: tuple[int, ...] = ()
    value = problem.value(best)
    for size in range(1, count + 1):
        for chosen in subsets(range(count), size):
            if problem.fits(chosen) and problem.value(chosen) > value:
                best, value = chosen, problem.value(chosen)
    return problem.packing(best, proven=count == problem.size)


def genetic(profit: ArrayLike, weight: ArrayLike, capacity: ArrayLike, *, work_limit: int | None = None) -> Packing:
    """Ten generations of ten permutations, each packed first fit; the better half goes on, with ordered crossover."""
    problem = prepared(profit, weight, capacity)
    random = np.random.default_rng(problem.size)
    population = [random.permutation(problem.size) for _ in range(POPULATION)]
    for _ in range(GENERATIONS):
        population.sort(key=lambda order: problem.value(first_fit(problem, order)), reverse=True)
        parents = population[: POPULATION // 2]
        children = [crossed(parents, random) for _ in range(POPULATION - len(parents))]
        population = parents + children
    packed = [first_fit(problem, order) for order in population]
    return problem.packing(max(packed, key=problem.value), proven=False)


def first_fit(problem: Problem, order: NDArray[np.int64]) -> tuple[int, ...]:
    """What starts if each in turn starts that fits."""
    left = problem.capacity.tolist()
    rows = problem.weight.T.tolist()
    chosen = []
    for index in order.tolist():
        after = [free - amount for free, amount in zip(left, rows[index], strict=True)]
        if min(after, default=0) >= 0:
            left = after
            chosen.append(index)
    return tuple(sorted(chosen))


def crossed(parents: list[NDArray[np.int64]], random: np.random.Generator) -> NDArray[np.int64]:
    """A piece of one parent, the rest in the order of another; now and then two change places."""
    one, other = (parents[index] for index in random.choice(len(parents), 2))
    begin, end = np.sort(random.integers(0, one.size + 1, 2))
    piece = one[begin:end]
    rest = other[~np.isin(other, piece)]
    child = np.concatenate([rest[:begin], piece, rest[begin:]])
    if random.random() < MUTATION:
        left, right = random.integers(0, one.size, 2)
        child[[left, right]] = child[[right, left]]
    return child
