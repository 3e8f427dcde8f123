"""What makes a set of deployments better than another: profits per level, highest level first."""

from collections.abc import Sequence

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
    worth = np.array([expansion(one, now) if name == "expansion" else 1 for one in candidates], np.int64)
    class_of = np.array([one.priority for one in candidates])
    levels = [worth * (class_of == rank) for rank in classes]
    if name == "count":
        demand = np.array([one.demand for one in candidates], np.int64)
        used = (demand * UTILIZATION / np.maximum(capacity, 1)).sum(axis=1) / len(capacity)
        levels.append(np.rint(used).astype(np.int64))
    newest = sorted(range(len(candidates)), key=lambda index: (-candidates[index].arrival, -index))
    age = np.empty(len(candidates), np.int64)
    age[newest] = np.arange(1, len(candidates) + 1)
    return np.vstack([*levels, age])


def expansion(one: Waiting, now: float) -> int:
    """(wait + ttl) / ttl in hundredths: how much longer it takes than it would alone."""
    if not one.ttl:
        return EXPANSION
    return min(round(EXPANSION * (max(now - one.arrival, 0.0) + one.ttl) / one.ttl), LONGEST)
