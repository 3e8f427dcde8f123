"""How long to wait before the database is tried again."""

import random

FIRST_SECONDS = 0.1
LIMIT_SECONDS = 5.0


class Backoff:
    """Waits that double from 0.1 s to 5 s, each shortened at random, so that all workers do not return at once."""

    def __init__(self) -> None:
        self._failures = 0

    def next_seconds(self) -> float:
        """The wait after one more failure."""
        longest = min(LIMIT_SECONDS, FIRST_SECONDS * 2 ** min(self._failures, 10))
        self._failures += 1
        return random.uniform(longest / 2, longest)

    def succeeded(self) -> None:
        """It works: the next failure is a first one again."""
        self._failures = 0
