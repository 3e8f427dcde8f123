"""Orders: `POST /v1/orders`, the list, one order, and its cancellation.

An order is taken by one call of `order_submit()` and shown by `order_document()`; who may see what, and what may be
ordered, is decided there.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Text, Uuid, bindparam, cast, column, func, select, table
from sqlalchemy.dialects.postgresql import JSONB
from starlette.requests import Request
from starlette.responses import Response

from provision_api import header, idn, page
from provision_api.auth import authenticate
from provision_api.database import Caller, Statement, fetch
from provision_api.limit import extend_deadline
from provision_api.problem import Problem
from provision_api.resource import ETAG, IF_NONE_MATCH, LINK, LOCATION, Header, Operation, Success, resource
from provision_api.shape import WHOLE, read_body, read_optional_body, read_query
from provision_api.state import state_of

# How soon a caller who waits is told, and how seldom at last the database is asked for each of them.
FIRST_POLL_SECONDS = 0.02
LAST_POLL_SECONDS = 0.5

OrderStatus = Literal["created", "processing", "completed", "partially_completed", "failed", "cancelled"]
UNFINISHED: tuple[OrderStatus, ...] = ("created", "processing")
Reference = Annotated[str, Field(min_length=1, max_length=255)]
Priority = Annotated[int, Field(ge=0, le=9, description="of its jobs; lower is sooner"), WHOLE]


class Item(BaseModel):
    """One thing to be done."""

    model_config = ConfigDict(extra="forbid")

    operation: str = Field(max_length=100, description="what to do", examples=["domain.create"])
    data: dict[str, Any] = Field(description="with what; its fields depend on the operation")


class OrderRequest(BaseModel):
    """What is ordered; all items are accepted, or none."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "items": [{"operation": "host.create", "data": {"name": "ns1.example.net"}}],
                "external_reference": "4711",
            }
        },
    )

    items: list[Item] = Field(min_length=1, max_length=1000)
    external_reference: Reference | None = Field(None, description="your own number for the order")
    metadata: dict[str, Any] | None = Field(None, description="your own notes")
    priority: Priority = 5


class CancelRequest(BaseModel):
    """Why an order is cancelled."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, Field(min_length=1, max_length=1000)] | None = None


class OrderQuery(page.PageQuery):
    """Which orders are listed, newest first."""

    status: OrderStatus | None = None
    external_reference: Reference | None = None


class OrderSummary(BaseModel):
    """An order in the list."""

    id: UUID
    status: OrderStatus
    reason: str | None
    priority: int
    items: int = Field(description="how many")
    open_items: int = Field(description="how many have not ended")
    created_date: datetime
    finished_date: datetime | None
    external_reference: str | None
    org_id: UUID | None


class OrderPage(BaseModel):
    """A page of orders, newest first."""

    orders: list[OrderSummary]


class Provision(BaseModel):
    """The row of a provisioning table that a step becomes."""

    table: str
    id: UUID
    status: str | None = Field(description="null until the step begins")


class Job(BaseModel):
    """The work on a provision row."""

    id: UUID
    type: str
    status: Literal["created", "submitted", "processing", "completed", "failed", "cancelled"]
    attempts: int
    max_attempts: int
    next_attempt_date: datetime | None
    result_message: str | None


class Step(BaseModel):
    """A step of an item's plan."""

    id: UUID
    name: str
    status: Literal["new", "waiting", "processing", "completed", "failed", "cancelled"]
    reason: str | None
    depends_on: list[UUID] = Field(description="steps that come first")
    provision: Provision
    job: Job | None


class OrderItem(BaseModel):
    """An item with its plan."""

    id: UUID
    operation: str
    status: Literal["waiting", "processing", "completed", "failed", "cancelled"]
    reason: str | None
    data: dict[str, Any] = Field(description="as it was ordered, without secrets")
    finished_date: datetime | None
    plan: list[Step]


class Order(BaseModel):
    """An order and how far it is."""

    id: UUID
    status: OrderStatus
    reason: str | None = Field(description="why it did not complete")
    priority: int
    org_id: UUID | None
    created_date: datetime
    finished_date: datetime | None
    external_reference: str | None
    metadata: dict[str, Any] | None
    items: list[OrderItem]


# Statements -----------------------------------------------------------------------------------------------------------

_STORED = (
    "id",
    "status",
    "reason",
    "priority",
    "open_count",
    "created_date",
    "finished_date",
    "external_reference",
    "org_id",
)

_SUBMIT = Statement(
    select(
        func.order_submit(
            bindparam("customer", type_=Uuid),
            bindparam("items", type_=JSONB),
            bindparam("key", type_=Text),
            bindparam("options", type_=JSONB),
        ).label("id")
    )
)
_CANCEL = Statement(select(func.order_cancel(bindparam("id", type_=Uuid), bindparam("reason", type_=Text))))

_document = func.order_document(bindparam("id", type_=Uuid)).column_valued("document")
# As text, so that it goes out as the database says it: no number passes through a float.
_DOCUMENT = Statement(select(cast(_document, Text).label("text"), _document.op("->>")("status").label("status")))

# The tables and not v_order: that view is a security barrier, behind which a limit cannot stop the reading early.
# Row-level security keeps tenants apart here as there.
_order = table("order", column("tenant_customer_id", Uuid), *map(column, _STORED))
_item = table("order_item", column("order_id"))
_SUMMARY = (
    *(_order.c[name] for name in _STORED),
    _order.c.open_count.label("open_items"),
    select(func.count()).where(_item.c.order_id == _order.c.id).scalar_subquery().label("items"),
)
_STATUS = Statement(select(_order.c.status).where(_order.c.id == bindparam("id", type_=Uuid)))


class Document(NamedTuple):
    """`order_document()` as JSON text, and the order's status."""

    text: str
    status: str

    @property
    def is_final(self) -> bool:
        return self.status not in UNFINISHED


async def _read_document(connection: AsyncConnection, order_id: UUID) -> Document:
    row = (await fetch(connection, _DOCUMENT, id=order_id))[0]
    if row["text"] is None:
        raise Problem(404, "the order is not found", str(order_id), hint="GET /v1/orders lists yours")
    return Document(row["text"], row["status"])


# Handlers -------------------------------------------------------------------------------------------------------------


async def create(request: Request) -> Response:
    """Take an order; with `Prefer: wait` answer when it has ended, if that is soon enough."""
    caller = await authenticate(request)
    key = header.idempotency_key(request)
    body = await read_body(request, OrderRequest)
    options = _options(body, caller, header.traceparent(request))

    async def submit(connection: AsyncConnection) -> tuple[UUID, Document]:
        items = Jsonb([item.model_dump() | {"data": idn.item_data(item.operation, item.data)} for item in body.items])
        rows = await fetch(connection, _SUBMIT, customer=caller.customer, items=items, key=key, options=Jsonb(options))
        order_id: UUID = rows[0]["id"]
        return order_id, await _read_document(connection, order_id)

    order_id, document = await state_of(request).database.run(caller, submit)
    # A preference may be declined: when too many wait already, nobody else does.
    seconds = 0 if state_of(request).seats.locked() else header.preferred_wait(request)
    if seconds and not document.is_final:
        document = await _wait(request, caller, order_id, seconds)
    headers = {"Location": f"/v1/orders/{order_id}"} | _applied(seconds)
    return _answer(request, document, 201 if document.is_final else 202, headers)


def _options(body: OrderRequest, caller: Caller, traceparent: str | None) -> dict[str, Any]:
    """The options of `order_submit()`; what was not said is left to it."""
    options = {
        "org_id": caller.org and str(caller.org),
        "external_reference": body.external_reference,
        "metadata": body.metadata,
        "traceparent": traceparent,
        "priority": body.priority,
    }
    return {name: value for name, value in options.items() if value is not None}


def _applied(seconds: int) -> dict[str, str]:
    return {"Preference-Applied": f"wait={seconds}"} if seconds else {}


async def _wait(request: Request, caller: Caller, order_id: UUID, seconds: int) -> Document:
    """The order when it has ended, or when time is up, the caller has left, or the server stops.

    A connection is held only for each short look, so those who wait keep nobody from working.
    """
    extend_deadline(request.scope, seconds)
    loop, stopping = asyncio.get_running_loop(), state_of(request).stopping
    until, pause = loop.time() + seconds, FIRST_POLL_SECONDS
    async with state_of(request).seats:
        while (left := until - loop.time()) > 0 and not stopping.is_set() and not await request.is_disconnected():
            if await _has_ended(request, caller, order_id):
                break
            await state_of(request).pause(min(pause, left))
            pause = min(pause * 1.5, LAST_POLL_SECONDS)
    return await _find(request, caller, order_id)


async def _has_ended(request: Request, caller: Caller, order_id: UUID) -> bool:
    rows = await state_of(request).database.run(caller, lambda connection: fetch(connection, _STATUS, id=order_id))
    return not rows or rows[0]["status"] not in UNFINISHED


async def _find(request: Request, caller: Caller, order_id: UUID) -> Document:
    return await state_of(request).database.run(caller, lambda connection: _read_document(connection, order_id))


async def show(request: Request) -> Response:
    """One order, or 304 if the caller knows it as it is."""
    caller = await authenticate(request)
    return _answer(request, await _find(request, caller, request.path_params["id"]))


async def cancel(request: Request) -> Response:
    """Cancel what has not begun."""
    caller = await authenticate(request)
    order_id: UUID = request.path_params["id"]
    reason = (await read_optional_body(request, CancelRequest)).reason

    async def stop(connection: AsyncConnection) -> Document:
        await fetch(connection, _CANCEL, id=order_id, reason=reason)
        return await _read_document(connection, order_id)

    return _answer(request, await state_of(request).database.run(caller, stop))


async def index(request: Request) -> Response:
    """A page of orders."""
    caller = await authenticate(request)
    query = read_query(request, OrderQuery)
    statement = page.statement(query, _order, _SUMMARY, _order.c.tenant_customer_id == caller.customer)
    rows = await state_of(request).database.run(caller, lambda connection: fetch(connection, statement))
    return page.answer(request, query, OrderPage, "orders", rows)


def _answer(
    request: Request, document: Document, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    return header.conditional(request, Response(document.text, status, headers, "application/json"))


# Routes ---------------------------------------------------------------------------------------------------------------

_POST_HEADERS = {
    "Idempotency-Key": Header(
        description="your name for this request: sent again, it is the same order; kept 7 days",
        schema={"type": "string", "pattern": "^[!-~]{1,255}$"},
    ),
    "Prefer": Header(description="wait=N answers when the order has ended, after N seconds (at most 60) at the latest"),
    "traceparent": Header(description="W3C trace context; goes with the order to its jobs"),
}
_ORDER = Success(description="the order", model=Order, headers={"ETag": ETAG})
_UNCHANGED = Success(description="unchanged", headers={"ETag": ETAG})
_ACCEPTED = {"Location": LOCATION, "ETag": ETAG}

routes = [
    resource(
        "/v1/orders",
        get=Operation(
            handler=index,
            summary="List your orders",
            tag="orders",
            query=OrderQuery,
            headers={"If-None-Match": IF_NONE_MATCH},
            success={
                200: Success(
                    description="a page of orders",
                    model=OrderPage,
                    headers={"ETag": ETAG, "Link": LINK},
                ),
                304: _UNCHANGED,
            },
            problems=(400,),
        ),
        post=Operation(
            handler=create,
            summary="Order something",
            description="All items are accepted, or none. What takes time is answered 202; look at Location.",
            tag="orders",
            headers=_POST_HEADERS,
            body=OrderRequest,
            success={
                201: Success(description="accepted, and ended already", model=Order, headers=_ACCEPTED),
                202: Success(description="accepted", model=Order, headers=_ACCEPTED),
            },
            problems=(400, 403, 404, 408, 409, 413, 415, 422),
        ),
    ),
    resource(
        "/v1/orders/{id:uuid}",
        get=Operation(
            handler=show,
            summary="See an order, its plan and its jobs",
            tag="orders",
            headers={"If-None-Match": IF_NONE_MATCH},
            success={200: _ORDER, 304: _UNCHANGED},
            problems=(404,),
        ),
    ),
    resource(
        "/v1/orders/{id:uuid}/cancel",
        post=Operation(
            handler=cancel,
            summary="Cancel what has not begun of an order",
            description="What runs goes on, what succeeded stays.",
            tag="orders",
            body=CancelRequest,
            body_required=False,
            success={200: _ORDER},
            problems=(400, 404, 408, 409, 413, 415),
        ),
    ),
]
