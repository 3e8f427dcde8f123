"""What endpoints of the allocators' API are made of: calls of the database, and how one thing and many are shown."""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from sqlalchemy import Boolean, LargeBinary, Text, Uuid, bindparam, func, select
from sqlalchemy.dialects.postgresql import JSONB
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from provision_api.allocation import wire
from provision_api.allocation.listing import Listing
from provision_api.allocation.wire import Json, Refusal, at
from provision_api.database import Statement, fetch
from provision_api.state import state_of

OFFERINGS = ("marketplace-public-offerings", "marketplace-offerings", "marketplace-provider-offerings")
PLANS = ("marketplace-plans", "plans", *OFFERINGS)
RESOURCES = ("marketplace-resources", "marketplace-provider-resources")
_TYPES: Mapping[str, Any] = {"uuid": Uuid, "json": JSONB, "text": Text, "bool": Boolean, "bytes": LargeBinary}


def call(function: str, **parameters: str) -> Statement:
    """A function that returns one value."""
    given = (bindparam(name, type_=_TYPES[type]) for name, type in parameters.items())
    return Statement(select(getattr(func, function)(*given).label("value")))


async def do(request: Request, statement: Statement, **values: Any) -> Any:
    """What a function of the database answers to this caller."""
    caller = await wire.caller_of(request)

    async def work(connection: AsyncConnection) -> Any:
        return [row["value"] for row in await fetch(connection, statement, **values)]

    rows = await state_of(request).database.run(caller, work)
    return rows[0] if rows else None


async def many(request: Request, statement: Statement, **values: Any) -> list[Any]:
    """The rows that it answers."""
    caller = await wire.caller_of(request)
    rows = await state_of(request).database.run(caller, lambda connection: fetch(connection, statement, **values))
    return [row["value"] for row in rows]


async def made(request: Request, listing: Listing, statement: Statement, status: int = 201, **values: Any) -> Response:
    """The thing whose id a function answers; its URL is in Location."""
    caller = await wire.caller_of(request)

    async def work(connection: AsyncConnection) -> Json:
        ((row),) = await fetch(connection, statement, **values)
        id = row["value"] if isinstance(row["value"], UUID) else values["id"]
        return await listing.one(connection, id)

    row = listing.show(request, await state_of(request).database.run(caller, work))
    return JSONResponse(row, status, {"Location": row["url"]} if status == 201 else {})


async def one(request: Request, listing: Listing, id: Any) -> Response:
    """One thing."""
    caller = await wire.caller_of(request)
    row = await state_of(request).database.run(caller, lambda connection: listing.one(connection, id))
    return JSONResponse(wire.reduced(request, listing.show(request, row)))


def path_id(request: Request, name: str = "Object") -> UUID:
    """The uuid of the path, with hyphens or without."""
    try:
        return UUID(wire.uuid(request.path_params["id"], "uuid"))
    except Refusal:
        raise wire.missing(name) from None


def shower(endpoint: str, omit: str = "", **urls: tuple[str, str]) -> Any:
    """Shows documents of one kind, whose own URL is under that endpoint."""
    fields = {"url": (endpoint, "uuid"), **urls}
    names = frozenset(omit.split())
    return lambda request, row: wire.shown(request, row, fields, names)


class Index:
    """Answers a page of a list, or of the part of it for which the condition holds."""

    def __init__(self, listing: Listing, condition: Callable[[Any], Any] | None = None) -> None:
        self.listing = listing
        self._conditions = [] if condition is None else [condition]

    async def __call__(self, request: Request) -> Response:
        return await self.listing.index(request, *self._conditions)


def show(listing: Listing) -> Any:
    """Answers one of a list."""

    async def handle(request: Request) -> Response:
        return await one(request, listing, path_id(request, listing.name))

    return handle


def noun(path: str, listing: Listing, post: Any = None, **changes: Any) -> list[Route]:
    """The routes of a list and of each of its things; `post` makes one, `changes` change one, by method."""
    making = {"post": post} if post else {}
    return at(f"/api/{path}/", get=Index(listing), **making) + at(f"/api/{path}/{{id}}/", get=show(listing), **changes)


def actions(path: str, method: str = "post", **handlers: Any) -> list[Route]:
    """The routes of what can be done with one thing, each by its word."""
    found = [at(f"/api/{path}/{{id}}/{word}/", **{method: handler}) for word, handler in handlers.items()]
    return [route for routes in found for route in routes]
