"""The job queues that the engine is measured beside. Each does nothing but jobs that do nothing."""

from typing import Protocol


class Peer(Protocol):
    """A queue for Python. Its methods are run in processes of their own (`benchmarks.harness.apart`)."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def settings(self) -> tuple[str, ...]:
        """The settings that are tried in every round; the best one counts."""

    @property
    def meaning(self) -> str:
        """What a setting says."""

    def install(self, url: str) -> None:
        """Makes its tables."""

    def fill(self, url: str, jobs: int) -> None:
        """Empties its tables, then queues so many jobs."""

    def drain(self, url: str, setting: str) -> float:
        """Has one worker do all jobs; the seconds from its start to its return."""

    def left(self, url: str) -> int:
        """How many jobs are not done."""
