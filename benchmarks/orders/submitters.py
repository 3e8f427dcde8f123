"""Whether those who order in single transactions share the waits for the disk, or each waits alone."""

from .installation import Installation
from .worker import worker

MANY = 8


def accepted_per_second(installation: Installation, submitters: int, seconds: float) -> float:
    """Single orders accepted per second over so many connections, while a worker does them."""
    installation.cluster.settle(installation.url)
    with worker(installation.worker_url):
        accepted = installation.submit_for(seconds, submitters)
        installation.wait_until_idle()
    return accepted / seconds
