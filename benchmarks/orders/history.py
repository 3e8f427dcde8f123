"""Whether an installation that has done much is slower than a young one."""

from benchmarks.harness.cluster import Cluster
from provision.database import connect

from .installation import HERE, Installation


def aged(cluster: Cluster, young: Installation, name: str, orders: int) -> Installation:
    """A copy of an installation with at least so many finished orders."""
    old = Installation(cluster, cluster.copy(young.url, name), young.ordered)
    copies = -(-max(0, orders - young.ordered) // young.ordered)
    with connect(old.url, "benchmark") as owner:
        owner.execute((HERE / "history.sql").read_bytes())
        # No triggers: what is copied has been through all of them.
        owner.execute("SET LOCAL session_replication_role = replica")
        owner.execute("CALL multiply(%s)", (copies,))
    old.ordered += copies * young.ordered
    return old
