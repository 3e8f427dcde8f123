"""What the worker counts and measures, for Prometheus. Times are in seconds."""

from collections import Counter as Tally
from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram

_QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_SLOW = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

CLAIMED = Counter("provision_jobs_claimed", "Jobs claimed", ["type"])
RECORDED = Counter("provision_jobs_recorded", "Results the database has taken", ["type", "outcome"])
REFUSED = Counter("provision_results_refused", "Results refused because the lease was lost", ["type"])
RUNNING = Gauge("provision_jobs_running", "Jobs in work in this process")
ACTION_SECONDS = Histogram(
    "provision_action_seconds", "Time an action with outside calls took", ["type"], buckets=_SLOW
)
CLAIM_SECONDS = Histogram("provision_claim_seconds", "Time a claim took in the database", buckets=_QUICK)
RECORD_SECONDS = Histogram("provision_record_seconds", "Time recording a batch took in the database", buckets=_QUICK)
ERRORS = Counter("provision_loop_errors", "Times a part of the worker lost the database", ["part"])


def count_claimed(types: Iterable[str]) -> None:
    """Counts claimed jobs; by the batch, as finding a counter by its labels takes longer than a simple action."""
    for job_type, number in Tally(types).items():
        CLAIMED.labels(job_type).inc(number)


def count_results(results: Iterable[tuple[str, str, bool]]) -> None:
    """Counts results: the job's type, its outcome, and whether the database refused it."""
    for (job_type, outcome, is_refused), number in Tally(results).items():
        if is_refused:
            REFUSED.labels(job_type).inc(number)
        else:
            RECORDED.labels(job_type, outcome).inc(number)
