"""The two algorithms that the auto solver replaces, kept selectable: all combinations, and a genetic algorithm.

In plain Python, as they were. They take and return what `solver.pack` does.
"""

import random
from collections.abc import Sequence
from itertools import combinations as subsets

from numpy.typing import ArrayLike

from .packing import Packing, Problem, first_fit, prepared

FEW = 10
GENERATIONS = 10
POPULATION = 10
MUTATION = 0.1
MOST = 16
"""So many can all be combined; of more, the first."""


def original(profit: ArrayLike, weight: ArrayLike, capacity: ArrayLike, *, work_limit: int | None = None) -> Packing:
    """All combinations below ten, the genetic algorithm from ten up."""
    problem = prepared(profit, weight, capacity)
    return _combined(problem) if problem.size < FEW else _bred(problem)


def combinations(
    profit: ArrayLike, weight: ArrayLike, capacity: ArrayLike, *, work_limit: int | None = None
) -> Packing:
    """The best of all subsets, one by one."""
    return _combined(prepared(profit, weight, capacity))


def genetic(profit: ArrayLike, weight: ArrayLike, capacity: ArrayLike, *, work_limit: int | None = None) -> Packing:
    """Ten generations of ten permutations, each packed first fit; the better half goes on, with ordered crossover."""
    return _bred(prepared(profit, weight, capacity))


def _combined(problem: Problem) -> Packing:
    count = min(problem.size, MOST)
    profit, weight, capacity = problem.profit.tolist(), problem.weight.tolist(), problem.capacity.tolist()
    best: tuple[int, ...] = ()
    value = [0] * len(profit)
    for size in range(1, count + 1):
        for chosen in subsets(range(count), size):
            if all(sum(row[index] for index in chosen) <= most for row, most in zip(weight, capacity, strict=True)):
                worth = [sum(level[index] for index in chosen) for level in profit]
                if worth > value:
                    best, value = chosen, worth
    return problem.packing(best, proven=count == problem.size)


def _bred(problem: Problem) -> Packing:
    generator = random.Random(problem.size)
    columns, capacity = problem.weight.T.tolist(), problem.capacity.tolist()
    levels = problem.profit.tolist()

    def fitness(order: Sequence[int]) -> list[int]:
        chosen = first_fit(order, columns, capacity)
        return [sum(level[index] for index in chosen) for level in levels]

    population = [generator.sample(range(problem.size), problem.size) for _ in range(POPULATION)]
    for _ in range(GENERATIONS):
        population.sort(key=fitness, reverse=True)
        parents = population[: POPULATION // 2]
        children = [_crossed(generator.sample(parents, 2), generator) for _ in range(POPULATION - len(parents))]
        population = parents + children
    return problem.packing(first_fit(max(population, key=fitness), columns, capacity), proven=False)


def _crossed(parents: list[list[int]], generator: random.Random) -> list[int]:
    """A piece of one parent, the rest in the order of the other; now and then two change places."""
    one, other = parents
    begin, end = sorted(generator.sample(range(len(one) + 1), 2))
    piece = set(one[begin:end])
    rest = [index for index in other if index not in piece]
    child = rest[:begin] + one[begin:end] + rest[begin:]
    if generator.random() < MUTATION:
        left, right = generator.randrange(len(child)), generator.randrange(len(child))
        child[left], child[right] = child[right], child[left]
    return child
