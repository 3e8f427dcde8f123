"""Customers and users."""

from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb
from sqlalchemy import Uuid, column, func, literal, select, table
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from provision_api.allocation import wire
from provision_api.allocation.endpoint import call, noun, one, shower
from provision_api.allocation.listing import Listing, contains, exact, flag
from provision_api.allocation.wire import Json, Refusal, at, read
from provision_api.database import Statement, fetch
from provision_api.state import state_of

_CUSTOMER_CREATE = call("customer_create", body="json")
_CUSTOMER_PROFILE = call("customer_profile_set", id="uuid", body="json")
_IDENTIFY_CHECK_STAFF = Statement(select((func.caller_platform() == "all").label("value")))
_show_customer = shower("customers", "uuid created accounting_start_date country billing_price_estimate")


def _of_member(view: Any, value: str) -> Any:
    """A customer in which, or in a project of which, that user has a role."""
    members = table("v_member", column("customer_id"), column("user_id"))
    user = UUID(wire.uuid(value, "user_uuid"))
    return view.c.id.in_(select(members.c.customer_id).where(members.c.user_id == literal(user, Uuid())))


CUSTOMERS = Listing(
    "Customer",
    "v_customer_profile",
    "customer_documents",
    {
        "id": "uuid",
        "name": "text",
        "abbreviation": "text",
        "native_name": "text",
        "backend_id": "text",
        "created_date": "date",
        "is_archived": "bool",
        "is_service_provider": "bool",
        "is_owned": "bool",
    },
    {
        "name": contains("name"),
        "name_exact": exact("name"),
        "abbreviation": contains("abbreviation"),
        "native_name": contains("native_name"),
        "query": contains("name", "native_name", "abbreviation"),
        "backend_id": exact("backend_id"),
        "owned_by_current_user": lambda view, value: view.c.is_owned if wire.truth(value) else None,
        "user_uuid": _of_member,
        "is_service_provider": flag("is_service_provider"),
        "archived": flag("is_archived"),
    },
    _show_customer,
    {"name": "name", "created": "created_date", "abbreviation": "abbreviation", "native_name": "native_name"},
)
_show_user = shower("users", "uuid date_joined attribute_sources details")
USERS = Listing(
    "User",
    "v_user",
    "user_documents",
    {"id": "uuid", "username": "text", "name": "text", "email": "text", "status": "text", "created_date": "date"},
    {
        "username": exact("username"),
        "full_name": contains("name"),
        "email": exact("email"),
        "query": contains("name", "username", "email"),
        "is_active": lambda view, value: (view.c.status == "active") == wire.truth(value),
    },
    _show_user,
    {"username": "username", "full_name": "name", "email": "email", "date_joined": "created_date"},
)


async def create_customer(request: Request) -> Response:
    """A new customer; for staff."""
    body = await read(request)
    name = wire.text(body, "name", required=True, blank=False, limit=150)
    email = wire.text(body, "email") or f"{wire.hexed(uuid5(NAMESPACE_URL, str(name)))[:12]}@customer.invalid"
    caller = await wire.caller_of(request)
    profile = {field: wire.text(body, field) or "" for field in ("abbreviation", "native_name", "backend_id")}

    async def work(connection: AsyncConnection) -> Json:
        ((row),) = await fetch(connection, _IDENTIFY_CHECK_STAFF)
        if not row["value"]:
            raise Refusal(403, wire.FORBIDDEN)
        ((row),) = await fetch(connection, _CUSTOMER_CREATE, body=Jsonb({"name": name, "email": email}))
        await fetch(connection, _CUSTOMER_PROFILE, id=row["value"], body=Jsonb(profile))
        return await CUSTOMERS.one(connection, row["value"])

    row = _show_customer(request, await state_of(request).database.run(caller, work))
    return JSONResponse(row, 201, {"Location": row["url"]})


async def me(request: Request) -> Response:
    """The caller."""
    caller = await wire.caller_of(request)
    if caller.user is None:
        raise wire.missing("User")
    return await one(request, USERS, caller.user)


routes = [*noun("customers", CUSTOMERS, create_customer), *at("/api/users/me/", get=me), *noun("users", USERS)]
