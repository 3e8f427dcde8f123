"""Which waiting deployments of a cluster start next: pure functions on numpy, from a state to a decision.

`decide` is the entry; `solver.pack` chooses sets for it. No clock, no database, nothing of the rest of the engine.
"""

from .rules import decide
from .state import Decision, Policy, Running, State, Waiting, Why

__all__ = ["Decision", "Policy", "Running", "State", "Waiting", "Why", "decide"]
