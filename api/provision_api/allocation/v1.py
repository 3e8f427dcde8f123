"""Projects, offerings, allocations, their orders and invoices under `/v1`, for people and their programs.

They are read here; everything changes by an order (`POST /v1/orders` with allocation.create, .update or .terminate) or
through the allocators' API.
"""

from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from provision_api import header, page
from provision_api.database import Row
from provision_api.noun import Noun
from provision_api.shape import JSON


class Seen(Noun):
    """A noun that is only read."""

    def __init__(self, name: str, plural: str, shown: type[BaseModel], query: type[page.PageQuery]) -> None:
        super().__init__(name, plural, shown, query, is_removable=False)

    def seen(self, request: Request, row: Row) -> Response:
        """One of them, or 304 if the caller knows it as it is."""
        response = Response(self.shown.model_validate(row).model_dump_json(), media_type=JSON)
        return header.conditional(request, response)


class Project(BaseModel):
    """What allocations belong to."""

    id: UUID
    tenant_customer_id: UUID
    name: str
    description: str
    backend_id: str = Field(description="the allocator's own name for it")
    start_date: date | None
    end_date: date | None
    created_date: datetime


class ProjectQuery(page.PageQuery):
    """Which projects."""

    backend_id: str | None = None


class Offering(BaseModel):
    """What a provider offers."""

    id: UUID
    name: str
    description: str
    state: str
    backend: str
    category: str | None
    is_shared: bool
    components: dict[str, Any] | None = Field(description="unit, bounds and what is left of the pool, by component")
    plans: dict[str, UUID] | None = Field(description="ids by name")
    created_date: datetime


class OfferingQuery(page.PageQuery):
    """Which offerings."""

    state: str | None = None
    backend: str | None = None


class Allocation(BaseModel):
    """What a project has of an offering."""

    id: UUID
    org_id: UUID = Field(description="the project")
    offering_id: UUID
    plan_id: UUID | None
    name: str
    state: str
    limits: dict[str, int]
    current_usages: dict[str, float] = Field(description="what was used this month")
    backend_id: str = Field(description="the provider's name for it")
    end_date: date | None
    error_message: str
    created_date: datetime
    activated_date: datetime | None
    deleted_date: datetime | None


class AllocationQuery(page.PageQuery):
    """Which allocations."""

    state: str | None = None
    org_id: UUID | None = None
    offering_id: UUID | None = None


class AllocationOrder(BaseModel):
    """How an order of an allocation stands; its id is the order's."""

    id: UUID
    allocation_id: UUID
    type: str
    state: str
    limits: dict[str, int]
    old_limits: dict[str, int]
    cost: Decimal | None
    consumer_reviewed_date: datetime | None
    provider_reviewed_date: datetime | None
    comment: str
    error_message: str
    created_date: datetime
    finished_date: datetime | None


class AllocationOrderQuery(page.PageQuery):
    """Which orders."""

    state: str | None = None
    allocation_id: UUID | None = None


class Invoice(BaseModel):
    """What a customer's allocations cost in a month."""

    id: UUID
    number: int
    tenant_customer_id: UUID
    year: int
    month: int
    state: str
    price: Decimal
    tax_percent: Decimal
    due_date: date | None


class InvoiceQuery(page.PageQuery):
    """Which invoices."""

    state: str | None = None


NOUNS = (
    Seen("project", "projects", Project, ProjectQuery),
    Seen("offering", "offerings", Offering, OfferingQuery),
    Seen("allocation", "allocations", Allocation, AllocationQuery),
    Seen("allocation_order", "allocation_orders", AllocationOrder, AllocationOrderQuery),
    Seen("invoice", "invoices", Invoice, InvoiceQuery),
)
routes = [route for noun in NOUNS for route in noun.routes()]
