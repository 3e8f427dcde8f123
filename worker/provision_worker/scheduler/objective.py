"""What makes a set of deployments better than another: profits per level, highest level first."""

from collections.abc import Sequence
from operator import mul

import numpy as np

from .packing import Integers
from .state import Amounts, Objective, Policy, Waiting

UTILIZATION = 10_000
"""A deployment that takes the whole cluster."""
EXPANSION = 100
"""One deployment that has waited no time."""
LONGEST = 10**8
"""No expansion counts more: of something that waits for years and runs for a second."""


def objective(policy: Policy, queue: Sequence[Waiting]) -> Objective:
    """The one asked for; else what can be known decides."""
    if policy.objective:
        return policy.objective
    return "expansion" if queue and all(one.ttl for one in queue) else "count"


def profits(name: Objective, candidates: Sequence[Waiting], capacity: Amounts, now: float) -> Integers:
    """Levels for candidates in order of their right.

    Per class, how many, then utilization (count); per class, the expansion (wait + ttl) / ttl; then the oldest.
    """
    classes = sorted({one.priority for one in candidates}, reverse=True)
    worth = [expansion(one, now) if name == "expansion" else 1 for one in candidates]
    levels = [
        [amount if one.priority == rank else 0 for one, amount in zip(candidates, worth, strict=True)]
        for rank in classes
    ]
    if name == "count":
        parts = [UTILIZATION / (max(total, 1) * len(capacity)) for total in capacity]
        levels.append([round(sum(map(mul, one.demand, parts))) for one in candidates])
    newest = sorted(range(len(candidates)), key=lambda index: (-candidates[index].arrival, -index))
    age = dict(zip(newest, range(1, len(newest) + 1), strict=True))
    return np.array([*levels, [age[index] for index in range(len(newest))]], np.int64)


def expansion(one: Waiting, now: float) -> int:
    """(wait + ttl) / ttl in hundredths: how much longer it takes than it would alone."""
    if not one.ttl:
        return EXPANSION
    return min(round(EXPANSION * (max(now - one.arrival, 0.0) + one.ttl) / one.ttl), LONGEST)
