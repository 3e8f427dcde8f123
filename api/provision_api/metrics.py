"""What Prometheus reads at /metrics: requests, their durations, and the pool of database connections."""

from collections.abc import Iterable, Mapping

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from psycopg_pool import AsyncConnectionPool
from starlette.requests import Request
from starlette.responses import Response

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_POOL = {
    "pool_size": "database connections open",
    "pool_available": "database connections idle",
    "requests_waiting": "requests waiting for a database connection",
}


class Metrics:
    """The metrics of one application; a registry of its own lets several live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "provision_api_requests",
            "requests answered; 499: the caller left before",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "provision_api_request_seconds",
            "time from the head of the request to the end of the answer",
            ("method", "route"),
            buckets=_BUCKETS,
            registry=self.registry,
        )

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request; `route` is a pattern, `seconds` how long it took."""
        method = method if method in METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def watch(self, pool: AsyncConnectionPool) -> None:
        """Show how the pool stands whenever the metrics are read."""
        self.registry.register(_PoolCollector(pool))


class _PoolCollector(Collector):
    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    def collect(self) -> Iterable[Metric]:
        stats: Mapping[str, int] = self._pool.get_stats()
        for name, meaning in _POOL.items():
            yield GaugeMetricFamily(f"provision_api_database_{name}", meaning, value=stats.get(name, 0))


async def show(request: Request) -> Response:
    """Everything counted so far, in Prometheus' text format."""
    metrics: Metrics = request.app.state.shared.metrics
    return Response(generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
