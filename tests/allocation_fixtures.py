"""What the tests of allocations share: a market with an allocator, another one, and a provider with an offering."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb

from .sql_fixtures import Json, Shop
from .tenancy_fixtures import asking, do, member


class Market:
    """An allocator with a project, its neighbour, and a provider with an offering that has CPU and a pool of GPU hours.

    Everything is done by hand at once, once the provider has approved it.
    """

    def __init__(self, shop: Shop, **offering: Any) -> None:
        self.shop = shop
        self.allocator = shop.account
        self.neighbour = shop.customer("Neighbour Ltd")
        self.provider = shop.customer("Provider Ltd")
        if not shop.value(
            "SELECT EXISTS (SELECT FROM accreditation WHERE tenant_id = %s AND name = 'desk')", shop.tenant
        ):
            shop.accreditation("desk", "manual")
        self.owner, self.neighbours_owner, self.providers_owner = (
            member(shop, "owner", account=account) for account in (self.allocator, self.neighbour, self.provider)
        )
        self.project = self.new_project()
        self.category = shop.insert("offering_category", title=f"HPC {uuid4()}")
        self.offering = self.new_offering(**offering)
        self.plan: UUID = shop.value("SELECT id FROM offering_plan WHERE offering_id = %s", self.offering)

    def new_project(self, account: UUID | None = None, **values: Any) -> UUID:
        """A project of the allocator's, or of another account."""
        given = {"name": "Climate", "customer": str(account or self.allocator)}
        id: UUID = do(self.shop, "project_create", given | values)
        return id

    def new_offering(self, pool: int | None = 100, **values: Any) -> UUID:
        """An active offering of the provider's."""
        given = {"name": "LUMI", "category": str(self.category), "customer": str(self.provider), "state": "active"}
        id: UUID = do(self.shop, "offering_create", given | values)
        parts: list[Json] = [
            {"type": "cpu", "name": "CPU", "measured_unit": "hours", "billing_type": "usage", "min_value": 1},
            {"type": "gpu", "name": "GPU", "measured_unit": "hours", "max_available_limit": pool, "max_value": 100},
            {"type": "seat", "name": "Seat", "billing_type": "fixed"},
            {"type": "setup", "name": "Setup", "billing_type": "one"},
        ]
        for part in parts:
            self.shop.value("SELECT offering_component_set(%s, %s)", id, Jsonb(part))
        plan = {
            "name": "Standard",
            "prices": {"cpu": 0.1, "gpu": 0.5, "seat": 10, "setup": 7},
            "quotas": {"seat": 2, "setup": 1},
        }
        self.shop.value("SELECT offering_plan_set(%s, %s)", id, Jsonb(plan))
        return id

    @contextmanager
    def as_(self, user: UUID | None) -> Iterator[None]:
        """What is done inside is asked by a user through the API; where every statement commits, by an operator."""
        if self.shop.connection.autocommit:
            yield
            return
        with asking(self.shop, user):
            yield

    # Ordering

    def request(self, operation: str, user: UUID | None = None, **data: Any) -> Json:
        """Order something, by default as the allocator's owner; what allocation_request answers."""
        values = {name: str(value) if isinstance(value, UUID) else value for name, value in data.items()}
        with self.as_(user or self.owner):
            answer: Json = self.shop.value(
                "SELECT allocation_request(%s, %s)", f"allocation.{operation}", Jsonb(values)
            )
        return answer

    def order(self, user: UUID | None = None, **data: Any) -> Json:
        """Order an allocation; by default of 10 CPU and 10 GPU hours."""
        given = {"project": self.project, "offering": self.offering, "plan": self.plan, "name": "run"}
        return self.request("create", user, **(given | {"limits": {"cpu": 10, "gpu": 10}} | data))

    def act(self, order: Any, action: str, user: UUID | None = None, **data: Any) -> str:
        """Say something to an order, by default as the provider's owner; the state it is in then."""
        with self.as_(user or self.providers_owner):
            answer = self.shop.value("SELECT allocation_order_act(%s, %s, %s)", _id(order), action, Jsonb(data))
        return str(answer["state"])

    def given(self, **data: Any) -> UUID:
        """An allocation that was ordered and approved."""
        order = self.order(**data)
        if order["state"] == "pending_provider":
            assert self.act(order, "approve_by_provider") == "done"
        return UUID(order["allocation"])

    def provide(self, allocation: UUID, action: str, user: UUID | None = None, **data: Any) -> None:
        """Say something of an allocation, by default as the provider's owner."""
        with self.as_(user or self.providers_owner):
            self.shop.connection.execute("SELECT allocation_provide(%s, %s, %s)", [allocation, action, Jsonb(data)])

    def report(self, allocation: UUID, user: UUID | None = None, **amounts: float) -> None:
        """Report what was used."""
        usages = [{"type": type, "amount": amount} for type, amount in amounts.items()]
        with self.as_(user or self.providers_owner):
            self.shop.connection.execute(
                "SELECT usage_report(%s)", [Jsonb({"resource": str(allocation), "usages": usages})]
            )

    # Asking

    def allocation(self, id: Any) -> dict[str, Any]:
        """The row."""
        return self.shop.row("SELECT * FROM allocation WHERE id = %s", id)

    def state(self, id: Any) -> str:
        """How an allocation is."""
        return str(self.allocation(id)["state"])

    def order_state(self, order: Any) -> str:
        """How far an order is."""
        return str(self.shop.value("SELECT state FROM v_allocation_order WHERE id = %s", _id(order)))

    def pool(self, offering: UUID | None = None) -> int:
        """How many GPU hours are taken; it must be what allocations have reserved."""
        id = offering or self.offering
        used: int = self.shop.value("SELECT used FROM offering_pool WHERE offering_id = %s", id)
        reserved = "SELECT COALESCE(sum((reserved ->> 'gpu')::int), 0) FROM allocation WHERE offering_id = %s"
        assert used == self.shop.value(reserved, id)
        return used


def _id(order: Any) -> Any:
    return order["order"] if isinstance(order, dict) else order
