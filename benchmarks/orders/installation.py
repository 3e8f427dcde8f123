"""An installation of the engine with a customer who orders, and what must be true of it when all is done."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any, Self

import psycopg
from psycopg.types.json import Jsonb

from benchmarks.harness.cluster import Cluster
from provision.database import connect, url_as
from provision.migrate import migrate

HERE = Path(__file__).parent
CUSTOMER = "00000000-0000-7000-8000-000000000003"
SUBMIT_MANY = "SELECT count(*) FROM order_submit_many(%s)"
SUBMIT_ONE = "SELECT order_submit(%s, %s)"
INSERT_JOB = """
INSERT INTO job (type, accreditation_id) VALUES ('provision_contact_create', '00000000-0000-7000-8000-000000000004')
"""
IS_IDLE = "SELECT NOT EXISTS (SELECT FROM job_queue) AND NOT EXISTS (SELECT FROM job_lease)"
PATIENCE_SECONDS = 120.0


class UnfinishedError(Exception):
    """Something is not in its final state though all work should be done; the text says what."""


class Installation:
    """A database of the engine in which the customer `shop` orders contacts; `ordered` counts the orders in it."""

    _references = count()

    def __init__(self, cluster: Cluster, url: str, ordered: int = 0) -> None:
        self.cluster = cluster
        self.url = url
        self.shop_url = url_as(url, "shop")
        self.worker_url = url_as(url, "provision_worker")
        self.ordered = ordered

    @classmethod
    def create(cls, cluster: Cluster, database: str) -> Self:
        """A new one."""
        url = cluster.url(database)
        migrate(url)
        with connect(url, "benchmark", autocommit=True) as owner:
            owner.execute((HERE / "seed.sql").read_bytes())
        return cls(cluster, url)

    def item(self) -> dict[str, Any]:
        """What an order asks for: a contact that does not exist yet."""
        reference = f"c{next(self._references)}"
        return {
            "operation": "contact.create",
            "data": {
                "reference": reference,
                "name": "Jane Doe",
                "organization": "Example Ltd",
                "street": ["1 Example Road", "Second floor"],
                "city": "Berlin",
                "postal_code": "10115",
                "country_code": "DE",
                "phone": "+49.301234567",
                "email": f"{reference}@example.test",
            },
        }

    def batches(self, orders: int, size: int) -> list[Jsonb]:
        """Orders of one item each, as `order_submit_many` takes them."""
        return [
            Jsonb([{"tenant_customer_id": CUSTOMER, "items": [self.item()]} for _ in range(min(size, orders - begin))])
            for begin in range(0, orders, size)
        ]

    def submit_batches(self, batches: Sequence[Jsonb], submitters: int) -> None:
        """Submits them over so many connections at once, each batch one transaction."""

        def submit(shop: psycopg.Connection, batch: Jsonb) -> None:
            shop.execute(SUBMIT_MANY, (batch,))

        self._share(submitters, submit, batches)
        self.ordered += sum(len(batch.obj) for batch in batches)

    def submit_singly(self, items: Sequence[Jsonb], submitters: int) -> None:
        """Submits orders over so many connections at once, each order one transaction."""

        def submit(shop: psycopg.Connection, item: Jsonb) -> None:
            shop.execute(SUBMIT_ONE, (CUSTOMER, item))

        self._share(submitters, submit, items)
        self.ordered += len(items)

    def _share(
        self, submitters: int, submit: Callable[[psycopg.Connection, Jsonb], None], parts: Sequence[Jsonb]
    ) -> None:
        """Each submitter takes its share of the parts, on a connection of its own."""

        def run(first: int) -> None:
            with connect(self.shop_url, "shop", autocommit=True) as shop:
                for part in parts[first::submitters]:
                    submit(shop, part)

        with ThreadPoolExecutor(submitters) as threads:
            list(threads.map(run, range(submitters)))

    def submit_for(self, seconds: float, submitters: int) -> int:
        """Submits single orders over so many connections for so long; how many were accepted."""
        barrier = threading.Barrier(submitters)
        with ThreadPoolExecutor(submitters) as threads:
            accepted = sum(threads.map(lambda _: self._submit_until(barrier, seconds), range(submitters)))
        self.ordered += accepted
        return accepted

    def _submit_until(self, barrier: threading.Barrier, seconds: float) -> int:
        with connect(self.shop_url, "shop", autocommit=True) as shop:
            barrier.wait()
            deadline = time.monotonic() + seconds
            accepted = 0
            while time.monotonic() < deadline:
                shop.execute(SUBMIT_ONE, (CUSTOMER, Jsonb([self.item()])))
                accepted += 1
            return accepted

    def wait_until_idle(self) -> float:
        """Waits until no job waits or is in work; when that was, on the clock of `time.monotonic`.

        Raises:
            UnfinishedError: it takes too long.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        with connect(self.url, "benchmark", autocommit=True) as owner:
            while time.monotonic() < deadline:
                if owner.execute(IS_IDLE).fetchone() == (True,):
                    return time.monotonic()
                time.sleep(0.001)
        raise UnfinishedError(f"jobs wait or are in work after {PATIENCE_SECONDS:.0f} s")

    def check(self) -> None:
        """Makes sure that all orders, and all that belongs to them, are in their final states, and nothing is left.

        Raises:
            UnfinishedError: something is not.
        """
        with connect(self.url, "benchmark", autocommit=True) as owner:
            found = owner.execute((HERE / "check.sql").read_bytes()).fetchall()
        wrong = [
            f"{number} {what} instead of {wanted}"
            for what, number, is_per_order in found
            if number != (wanted := self.ordered if is_per_order else 0)
        ]
        if wrong:
            raise UnfinishedError("not everything is in its final state: " + ", ".join(wrong))
