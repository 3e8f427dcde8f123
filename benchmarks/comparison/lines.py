"""The figures of the comparison and what they come to, in plain words."""

from benchmarks.harness.report import Line, Samples
from benchmarks.orders.submitters import MANY
from benchmarks.orders.throughput import SINGLE_SUBMITTERS

FIGURES = (
    Line(
        "engine",
        "engine, whole orders",
        "orders/s",
        "From the first order submitted to the last completed, submitted while the worker works: checks, plan, "
        "history, job, result, inventory. This is what is compared.",
    ),
    Line("engine_then_drain", "… submitted, then drained", "orders/s", "The worker begins when all are submitted."),
    Line(
        "engine_one_by_one",
        "… one by one",
        "orders/s",
        f"Each order is a transaction of its own, over {SINGLE_SUBMITTERS} connections, while the worker works.",
    ),
    Line(
        "engine_server_us",
        "… server",
        "µs/order",
        "Processor time of all PostgreSQL processes for a whole order, writing it out included.",
    ),
    Line(
        "procrastinate",
        "procrastinate, one worker",
        "jobs/s",
        "Jobs that do nothing, taken from a full queue; filling it is not counted.",
    ),
    Line("procrastinate_server_us", "… server", "µs/job", "Processor time of PostgreSQL for the drain of a job."),
    Line("pgqueuer", "pgqueuer, one worker", "jobs/s", "The same for pgqueuer."),
    Line("pgqueuer_server_us", "… server", "µs/job", "The same for pgqueuer."),
    Line(
        "pgbench",
        "claim 100, complete 100",
        "jobs/s",
        "Two bare statements on one table, one connection: the least that a durable queue can do.",
    ),
    Line("pgbench_server_us", "… server", "µs/job", "Processor time of PostgreSQL for a job of that kind."),
    Line("pickup_ms", "pick-up of a job", "ms", "From a new row in job, the worker asleep, to its action."),
    Line("pickup_order_ms", "… of an order", "ms", "From order_submit(), so with its checks and its plan."),
    Line("notify_ms", "bare notification", "ms", "From a bare row with a NOTIFY to its arrival at a listener."),
    Line(
        "pickup_flush_ms",
        "pick-up of a job, 1 ms flush",
        "ms",
        "The same where every commit waits a millisecond for its disk (commit_delay).",
    ),
    Line("pickup_order_flush_ms", "… of an order, 1 ms flush", "ms", "The same, with that wait."),
    Line("notify_flush_ms", "bare notification, 1 ms flush", "ms", "The same, with that wait."),
    Line(
        "submitters_one",
        "one submitter, 1 ms flush",
        "orders/s",
        "Single orders accepted over one connection, while the worker works.",
    ),
    Line("submitters_many", f"{MANY} submitters, 1 ms flush", "orders/s", f"The same over {MANY} connections."),
    Line(
        "engine_history",
        "engine, whole orders, history",
        "orders/s",
        "As the first line, in an installation that has finished many orders before (--history).",
    ),
)

RATIOS = (
    Line(
        "procrastinate",
        "engine : procrastinate",
        "×",
        "Whole orders per second over jobs per second of its best worker; at least 5 is wanted, 10 aimed at.",
    ),
    Line("pgqueuer", "engine : pgqueuer", "×", "The same; at least 0.5 is wanted, 1 aimed at."),
    Line(
        "cpu_vs_pgbench",
        "server, engine : bare queue",
        "×",
        "Server time of a whole order over that of a bare job; at most 16 is wanted, 10 aimed at.",
    ),
    Line("pickup_flush", "pick-up : notification, 1 ms flush", "×", "At most 2.5 is wanted."),
    Line("pickup", "pick-up : notification", "×", "The same where a commit waits for nothing."),
    Line(
        "submitters",
        f"{MANY} submitters : one, 1 ms flush",
        "×",
        "Whether submitters share the waits for the disk; at least 4 is wanted.",
    ),
    Line(
        "snapshot",
        "old snapshot, last fifth : first",
        "×",
        "Speed of a drain while a snapshot from before it is held open; at least 0.8 is wanted.",
    ),
    Line("history", "with a history : without", "×", "Whole orders per second; at least 0.9 is wanted."),
)

_QUOTIENTS = {
    "procrastinate": ("engine", "procrastinate"),
    "pgqueuer": ("engine", "pgqueuer"),
    "cpu_vs_pgbench": ("engine_server_us", "pgbench_server_us"),
    "pickup_flush": ("pickup_flush_ms", "notify_flush_ms"),
    "pickup": ("pickup_ms", "notify_ms"),
    "submitters": ("submitters_many", "submitters_one"),
    "history": ("engine_history", "engine"),
}


def ratios(samples: Samples) -> dict[str, float]:
    """The quotients of the medians that there are."""
    found = {
        key: samples.median(above) / samples.median(below)
        for key, (above, below) in _QUOTIENTS.items()
        if above in samples and below in samples
    }
    if "snapshot" in samples:
        found["snapshot"] = samples.median("snapshot")
    return found
