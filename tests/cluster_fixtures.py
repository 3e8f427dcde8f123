"""What the tests of clusters share: an org with a cluster, people who ask for nodes, and a worker's hands."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psycopg
import pytest

from .sql_fixtures import Row, Shop, outcome
from .tenancy_fixtures import asking, do, member

OPERATIONS = ["provision_cluster_deploy", "provision_cluster_scale", "provision_cluster_shutdown"]


class Fleet:
    """An org of a shop with a cluster, its owner `O` and members `D` and `R`; a worker driven by hand.

    The cluster's limits are 0 to 10 nodes unless `cluster` says otherwise.
    """

    def __init__(self, shop: Shop, **cluster: Any) -> None:
        self.shop = shop
        self.org = shop.org()
        self.version = f"v-{uuid.uuid4().hex[:8]}"
        add_version(shop.connection, self.version)
        given = {"ceiling": 10, "max_nodes": 10} | cluster
        self.cluster = shop.insert(
            "cluster",
            tenant_customer_id=shop.account,
            org_id=self.org,
            accreditation_id=shop.cloud,
            domain="sr.test",
            cost_tag=f"cluster-{self.org}",
            cluster_version=self.version,
            **given,
        )
        self.people = {"O": member(shop, "owner", self.org)} | {
            name: member(shop, "developer", self.org) for name in "DR"
        }

    # Looking

    @property
    def row(self) -> Row:
        """The cluster as operators see it."""
        return self.shop.row("SELECT * FROM v_cluster WHERE id = %s", self.cluster)

    @property
    def target(self) -> int:
        """How many nodes it is to have at this moment."""
        target: int = self.shop.value("SELECT cluster_target(c) FROM cluster AS c WHERE id = %s", self.cluster)
        return target

    @property
    def state(self) -> str:
        """down, deploying, up or shutting_down."""
        state: str = self.row["state"]
        return state

    def request(self, id: UUID) -> Row:
        """A request."""
        return self.shop.row("SELECT * FROM v_capacity_request WHERE id = %s", id)

    def operations(self) -> list[str]:
        """What has been done or is being done, in order."""
        return self.shop.values(
            "SELECT kind FROM v_provision WHERE org_id = %s AND kind LIKE 'provision\\_cluster%%' ORDER BY id", self.org
        )

    # Acting

    @contextmanager
    def by(self, name: str) -> Iterator[None]:
        """What is done inside is asked by that person through the API."""
        with asking(self.shop, self.people[name], self.shop.account, self.org):
            yield

    def ask(self, name: str, nodes: int, minutes: int = 60) -> UUID:
        """That person asks for nodes."""
        with self.by(name):
            id: UUID = self.shop.value("SELECT id FROM capacity_request_create(%s, %s, %s)", self.org, nodes, minutes)
        return id

    def configure(self, **changes: Any) -> None:
        """The owner changes the configuration."""
        with self.by("O"):
            do(self.shop, "cluster_configure", self.org, changes)

    def pass_time(self, interval: str) -> None:
        """Time goes by, and a worker looks at the clock."""
        self.shop.pass_time(interval)
        self.tick()

    def tick(self) -> int:
        """What every worker does twice a second."""
        count: int = self.shop.value("SELECT cluster_tick(1000)")
        return count

    def take(self) -> list[Row]:
        """The operations that are due, claimed."""
        return self.shop.take(types=OPERATIONS)

    def finish(self, kind: str = "completed", **more: Any) -> str:
        """The one operation that is due ends so; its job's type."""
        (job,) = self.take()
        more = more or {"result": {"address": "192.0.2.1"}}
        assert self.shop.record(outcome(job, kind, **more)) == []
        type: str = job["type"]
        return type

    def settle(self) -> list[str]:
        """Does everything until nothing is due, and then looks at what runs; the operations done."""
        done = []
        while jobs := self.take():
            self.shop.record(*(outcome(job, "completed", result={"address": "192.0.2.1"}) for job in jobs))
            done += [job["type"].removeprefix("provision_cluster_") for job in jobs]
        self.observe()
        return done

    def observe(self, nodes: int | None = None, drift: str | None = None) -> bool:
        """A worker looks at what runs: as many nodes as were made, unless told otherwise."""
        row = self.shop.row(
            "SELECT generation, COALESCE((applied ->> 'nodes')::int, 0) AS nodes FROM cluster WHERE id = %s",
            self.cluster,
        )
        seen = row["nodes"] if nodes is None else nodes
        done: bool = self.shop.value(
            "SELECT cluster_observed(%s, %s, %s, %s)", self.cluster, row["generation"], seen, drift
        )
        return done


def add_version(connection: psycopg.Connection, name: str, **values: Any) -> None:
    """A software version."""
    connection.execute(
        "INSERT INTO cluster_version (name, node_image, overhead_image) VALUES (%s, 'ami-12c6146b', 'ami-12c6146b')",
        [name],
    )


@pytest.fixture
def fleet(shop: Shop) -> Fleet:
    """An org with a cluster, in a transaction that is rolled back."""
    return Fleet(shop)
