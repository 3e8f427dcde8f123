"""A claimed job, and what can come of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

Json = Mapping[str, Any]
MESSAGE_CHARACTERS = 1000
"""As much of a message is kept; what the outside says may be of any length."""
Kind = Literal["completed", "failed", "cancelled", "retry", "again", "pending", "hand_back", "children", "hold"]


@dataclass(frozen=True, slots=True)
class Lease:
    """A claim. `claim_no` is the fencing token: every later claim of the job has a higher one."""

    job_id: UUID
    claim_no: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(Lease):
    """One row of `job_claim()`: a job that is leased to the worker that claimed it."""

    type: str
    accreditation_id: UUID | None
    reference_table: str | None
    reference_id: UUID | None
    data: dict[str, Any]
    state: dict[str, Any] | None = None
    attempts: int = 0
    max_attempts: int = 1
    parent_id: UUID | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of running a job, as `job_record()` takes it. Made by the functions below, one for each kind."""

    kind: Kind
    message: str | None = None
    result: Json = field(default_factory=dict)
    state: Json | None = None
    after_seconds: float | None = None
    children: Sequence[Json] = ()

    def __post_init__(self) -> None:
        if self.message and len(self.message) > MESSAGE_CHARACTERS:
            object.__setattr__(self, "message", self.message[:MESSAGE_CHARACTERS])

    def document(self, lease: Lease) -> dict[str, Any]:
        """The outcome as one element of `job_record`'s array; what is not set is left out."""
        document: dict[str, Any] = {"job_id": str(lease.job_id), "claim_no": lease.claim_no, "outcome": self.kind}
        for key in ("message", "result", "state", "after_seconds", "children"):
            value = getattr(self, key)
            if value or (key in ("state", "after_seconds") and value is not None):
                document[key] = value
        return document


def completed(result: Json | None = None) -> Outcome:
    """Done; the keys of `result` that a provision row has a column for become its values."""
    return Outcome(kind="completed", result=result or {})


def failed(message: str) -> Outcome:
    """Refused for good by whoever decides about it; trying again would change nothing."""
    return Outcome(kind="failed", message=message)


def cancelled(message: str) -> Outcome:
    """Ended because somebody who may wanted it to; nothing failed. Of what it did outside nothing is left."""
    return Outcome(kind="cancelled", message=message)


def retry(message: str, after_seconds: float | None = None) -> Outcome:
    """A failed attempt. The database counts it and chooses the time of the next, not before `after_seconds`."""
    return Outcome(kind="retry", message=message, after_seconds=after_seconds)


def again(after_seconds: float, state: Json | None = None, message: str | None = None) -> Outcome:
    """Look again later; no attempt is counted. The next claim brings `state` back."""
    return Outcome(kind="again", after_seconds=after_seconds, state=state, message=message)


def pending(after_seconds: float, state: Json | None = None, message: str | None = None) -> Outcome:
    """Like `again`, when the other side has accepted the request and decides about it later."""
    return Outcome(kind="pending", after_seconds=after_seconds, state=state, message=message)


def hand_back() -> Outcome:
    """Claimed but not started: back to the queue at once."""
    return Outcome(kind="hand_back")


def hold(message: str) -> Outcome:
    """Nothing more can be done without a person, who finds it in v_attention."""
    return Outcome(kind="hold", message=message)


def children(jobs: Sequence[Json]) -> Outcome:
    """Run these jobs (`{"type": …, "data": {…}}`) first; this job is claimed again when all of them have ended."""
    return Outcome(kind="children", children=jobs)
