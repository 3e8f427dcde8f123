"""Why a deployment waits, in words. They are made when they are read: most never are."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf

from .state import Id, State, Waiting, Why
from .timeline import Timeline, fit


@dataclass(frozen=True, slots=True)
class Situation:
    """How things stand after a decision: what is free when, and the heads with their times."""

    state: State
    line: Timeline
    heads: Mapping[Id, float]
    is_closed: bool
    is_any: bool

    def why(self, one: Waiting) -> Why:
        """Why one waits that could start as far as its dependencies go."""
        needs = self._needs(one)
        if one.id in self.heads:
            return self._head(needs or "others were chosen", self.heads[one.id])
        if needs:
            return Why("no_room", needs)
        head = next(iter(self.heads), None)
        if self.is_closed:
            return Why("overtakes", f"fits, but {head} is before it")
        if not self.line.fits(one):
            return Why("delays", f"fits, but would delay {head}")
        return Why("not_chosen", "fits, but others were chosen")

    def _head(self, needs: str, at: float) -> Why:
        if at < inf:
            return Why("reserved", f"is next: {needs}; starts in {max(at - self.state.now, 0):.0f} s at the latest")
        if self.is_any:
            return Why("no_room", f"is next: {needs}; nothing is reserved, as the cluster lets any overtake")
        return Why("no_room", f"is next: {needs}; nobody can say until when, as not all that runs has a TTL")

    def _needs(self, one: Waiting) -> str:
        """What of its demand is not free; empty if it fits now."""
        if fit(one.demand, self.line.free()):
            return ""
        short = [
            f"{wanted} {axis} ({max(left, 0)} free)"
            for axis, wanted, left in zip(self.state.axes, one.demand, self.line.free(), strict=True)
            if wanted > left
        ]
        return f"needs {', '.join(short)}"


class Reasons(Mapping[Id, Why]):
    """A reason for each that waits."""

    def __init__(self, known: Mapping[Id, Why], left: Mapping[Id, Waiting], situation: Situation) -> None:
        self._known = known
        self._left = left
        self._situation = situation

    def __getitem__(self, name: Id) -> Why:
        return self._known[name] if name in self._known else self._situation.why(self._left[name])

    def __iter__(self) -> Iterator[Id]:
        yield from self._left
        yield from self._known

    def __len__(self) -> int:
        return len(self._left) + len(self._known)

    def __repr__(self) -> str:
        return repr(dict(self))
