"""The allocators' API: customers, projects and members, offerings, orders, allocations, usage and invoices, as the
clients of Waldur know them, in the shapes of 2021 and of today.

Who may what and what becomes of an order is decided in the database (sql/stored-procedures/allocation.sql and others).
"""

from collections.abc import Mapping
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb
from sqlalchemy import Boolean, LargeBinary, Text, Uuid, bindparam, func, select
from sqlalchemy.dialects.postgresql import JSONB
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from provision_api import allocation_wire as wire
from provision_api import user_registry
from provision_api.allocation_list import (
    Listing,
    by_url,
    chosen,
    contains,
    exact,
    flag,
    identity,
    number,
    since,
)
from provision_api.allocation_wire import Json, Refusal, at, read, wrong
from provision_api.auth import authenticate
from provision_api.database import ANONYMOUS, Statement, fetch
from provision_api.header import idempotency_key
from provision_api.session import address_of
from provision_api.state import state_of

__all__ = ["routes"]

OFFERINGS = ("marketplace-public-offerings", "marketplace-offerings", "marketplace-provider-offerings")
PLANS = ("marketplace-plans", "plans", *OFFERINGS)
RESOURCES = ("marketplace-resources", "marketplace-provider-resources")

# Calls of the database ------------------------------------------------------------------------------------------------

_TYPES: Mapping[str, Any] = {"uuid": Uuid, "json": JSONB, "text": Text, "bool": Boolean, "bytes": LargeBinary}


def _call(function: str, **parameters: str) -> Statement:
    """A function that returns one value."""
    given = (bindparam(name, type_=_TYPES[type]) for name, type in parameters.items())
    return Statement(select(getattr(func, function)(*given).label("value")))


_PROJECT_CREATE = _call("project_create", body="json", key="text")
_PROJECT_CHANGE = _call("project_change", id="uuid", body="json")
_PROJECT_REMOVE = _call("project_remove", id="uuid")
_MEMBER = {name: _call(f"member_{name}", id="uuid", body="json") for name in ("add", "change", "remove")}
_CUSTOMER_CREATE = _call("customer_create", body="json")
_CUSTOMER_PROFILE = _call("customer_profile_set", id="uuid", body="json")
_IDENTIFY = _call("user_identify", cuid="text", body="json")
_IDENTIFY_CHECK = _call("user_identify_check")
_REQUEST = _call("allocation_request", operation="text", body="json", key="text", dry="bool")
_ORDER_ACT = _call("allocation_order_act", id="uuid", action="text", body="json")
_CHANGE = _call("allocation_change", id="uuid", body="json")
_PROVIDE = _call("allocation_provide", id="uuid", action="text", body="json")
_PERIODS = _call("allocation_period_documents", id="uuid")
_TEAM = _call("allocation_team", id="uuid")
_USAGE = _call("usage_report", body="json")
_USER_USAGE = _call("user_usage_report", id="uuid", body="json")
_CATEGORY_CREATE = _call("offering_category_create", body="json")
_OFFERING_CREATE = _call("offering_create", body="json")
_OFFERING_CHANGE = _call("offering_change", id="uuid", body="json")
_COMPONENT_SET = _call("offering_component_set", id="uuid", body="json")
_PLAN_SET = _call("offering_plan_set", id="uuid", body="json")
_LOCAL = Statement(
    select(func.user_identify_local(bindparam("cuid", type_=Text)).table_valued("is_there", "attributes"))
)
_ATTEMPT = _call("attempt_take", kind="text", key="text")
_TOKEN = _call("login_token_issue", user="uuid")
_LOGIN = Statement(
    select(
        func.login_begin(bindparam("username", type_=Text), bindparam("address", type_=Text)).table_valued(
            "retry_after", "user_id", "password_hash", "totp_secret", "now_seconds"
        )
    )
)


async def _do(request: Request, statement: Statement, **values: Any) -> Any:
    """What a function of the database answers to this caller."""
    caller = await authenticate(request)

    async def work(connection: AsyncConnection) -> Any:
        return [row["value"] for row in await fetch(connection, statement, **values)]

    rows = await state_of(request).database.run(caller, work)
    return rows[0] if rows else None


async def _many(request: Request, statement: Statement, **values: Any) -> list[Any]:
    caller = await authenticate(request)
    rows = await state_of(request).database.run(caller, lambda connection: fetch(connection, statement, **values))
    return [row["value"] for row in rows]


async def _made(request: Request, listing: Listing, statement: Statement, status: int = 201, **values: Any) -> Response:
    """The thing whose id a function answers; its URL is in Location."""
    caller = await authenticate(request)

    async def work(connection: AsyncConnection) -> Json:
        ((row),) = await fetch(connection, statement, **values)
        id = row["value"] if isinstance(row["value"], UUID) else values["id"]
        return await listing.one(connection, id)

    row = listing.show(request, await state_of(request).database.run(caller, work))
    return JSONResponse(row, status, {"Location": row["url"]} if status == 201 else {})


async def _one(request: Request, listing: Listing, id: Any) -> Response:
    """One thing."""
    caller = await authenticate(request)
    row = await state_of(request).database.run(caller, lambda connection: listing.one(connection, id))
    return JSONResponse(wire.reduced(request, listing.show(request, row)))


def _id(request: Request, name: str = "Object") -> UUID:
    """The uuid of the path, with hyphens or without."""
    try:
        return UUID(wire.uuid(request.path_params["id"], "uuid"))
    except Refusal:
        raise wire.missing(name) from None


# Showing --------------------------------------------------------------------------------------------------------------


def _shower(endpoint: str, omit: str = "", **urls: tuple[str, str]) -> Any:
    """Shows documents of one kind, whose own URL is under that endpoint."""
    fields = {"url": (endpoint, "uuid"), **urls}
    names = frozenset(omit.split())
    return lambda request, row: wire.shown(request, row, fields, names)


_show_customer = _shower("customers", "uuid created accounting_start_date country billing_price_estimate")
_show_project = _shower(
    "projects",
    "uuid customer_uuid created kind science_domain_uuid marketplace_resource_count billing_price_estimate",
    customer=("customers", "customer_uuid"),
    end_date_requested_by=("users", "end_date_requested_by_uuid"),
)
_show_user = _shower("users", "uuid date_joined attribute_sources details")
_show_usage = _shower(
    "marketplace-component-usages",
    "uuid created date resource_uuid offering_uuid billing_period missing_usage_policy modified_by_uuid",
    modified_by=("users", "modified_by_uuid"),
)
_show_user_usage = _shower("marketplace-component-user-usages", "uuid created user_uuid", user=("users", "user_uuid"))
_show_invoice = _shower(
    "invoices", "uuid state issuer_details due_date customer_details", customer=("customers", "customer_uuid")
)
_RESOURCE_URLS = {
    "offering": ("marketplace-public-offerings", "offering_uuid"),
    "plan": ("marketplace-plans", "plan_uuid"),
    "project": ("projects", "project_uuid"),
    "customer": ("customers", "customer_uuid"),
}
_OMITTED = (
    "uuid offering_uuid provider_uuid category_uuid plan_uuid project_uuid customer_uuid offering_plugin_options"
    " attributes limits created modified state type old_plan_uuid new_plan_uuid order_in_progress_uuid"
    " creation_order_uuid created_by_uuid consumer_reviewed_by_uuid provider_reviewed_by_uuid marketplace_resource_uuid"
    " offering_customer_uuid offering_state backend_metadata current_usages limit_usage last_sync resource_uuid"
)
_show_resource = _shower(
    "marketplace-resources",
    _OMITTED,
    order_in_progress=("marketplace-orders", "order_in_progress_uuid"),
    creation_order=("marketplace-orders", "creation_order_uuid"),
    **_RESOURCE_URLS,
)
_show_flat_order = _shower(
    "marketplace-orders",
    _OMITTED,
    resource=("marketplace-resources", "marketplace_resource_uuid"),
    marketplace_resource=("marketplace-resources", "marketplace_resource_uuid"),
    created_by=("users", "created_by_uuid"),
    consumer_reviewed_by=("users", "consumer_reviewed_by_uuid"),
    provider_reviewed_by=("users", "provider_reviewed_by_uuid"),
    **_RESOURCE_URLS,
)


# States as clients of 2021 name them: of an order, and of its one item.
_OLD_ORDER_STATES: dict[str, tuple[str, ...]] = {
    "requested for approval": ("pending_consumer", "pending_project", "pending_start_date", "pending_provider"),
    "terminated": ("canceled",),
}
_OLD_ITEM_STATES = {"rejected": "terminated", "canceled": "terminated"}
_OLD_ITEM_STATES |= {f"pending-{at}": "pending" for at in ("consumer", "project", "start-date", "provider")}


def _show_order(request: Request, row: Json) -> Json:
    """An order with its fields of today, those of 2021, and its one item of then."""
    item_uuid = row.pop("item_uuid")
    order = _show_flat_order(request, row)
    old = {"approved_by": "by", "approved_by_full_name": "by_full_name", "approved_by_username": "by_username"}
    order |= {name: order.get(f"consumer_reviewed_{source}") for name, source in old.items()}
    order |= {"approved_at": order.get("consumer_reviewed_at"), "total_cost": order["cost"], "file": None}
    order.setdefault("resource_uuid", None)
    order.setdefault("plan_uuid", None)
    item = {name: value for name, value in order.items() if not name.startswith(("approved", "total", "file"))}
    item |= {"uuid": wire.hexed(item_uuid), "state": _OLD_ITEM_STATES.get(order["state"], order["state"])}
    item["url"] = wire.link(request, "marketplace-order-items", order["uuid"])
    shown: Json = order | {"items": [item]}
    return shown


def _show_offering(request: Request, row: Json) -> Json:
    offering = _shower(
        "marketplace-public-offerings",
        "uuid created category_uuid attributes options resource_options plugin_options account_settings state country"
        " backend_metadata",
        customer=("customers", "customer_uuid"),
        category=("marketplace-categories", "category_uuid"),
    )(request, row)
    offering["plans"] = [_show_plan(request, plan) for plan in row["plans"]]
    return dict(offering)


_show_plan = _shower(
    "marketplace-plans",
    "uuid offering_uuid unit billing_mode prices future_prices quotas",
    offering=("marketplace-public-offerings", "offering_uuid"),
)
_show_category = _shower("marketplace-categories", "uuid")

# Roles ----------------------------------------------------------------------------------------------------------------

ROLES = {
    "PROJECT.MEMBER": ("project", "developer"),
    "PROJECT.ADMIN": ("project", "admin"),
    "PROJECT.MANAGER": ("project", "manager"),
    "CUSTOMER.OWNER": ("customer", "owner"),
    "CUSTOMER.MANAGER": ("customer", "manager"),
    "CUSTOMER.SUPPORT": ("customer", "viewer"),
}
# The words of 2021.
OLD_ROLES = {"member": "developer", "admin": "admin", "manager": "manager"}
_OLD_NAMES = {inside: outside for outside, inside in OLD_ROLES.items()}
_PLACE = {"project": "project", "customer": "customer"}


def _role_uuid(name: str) -> str:
    return uuid5(NAMESPACE_URL, f"role:{name}").hex


def _role_name(scope: str, role: str) -> str:
    names = [name for name, known in ROLES.items() if known == (scope, role)]
    return names[0] if names else f"{scope.upper()}.{role.upper()}"


def _role(body: Json, scope: str) -> str:
    """A role of the body, by its name, its uuid, or its word of 2021."""
    given = wire.text(body, "role", required=True) or ""
    known: dict[str, tuple[str, str]] = {}
    for name, role in ROLES.items():
        known |= {name: role, _role_uuid(name): role}
    known |= {name: ("project", role) for name, role in OLD_ROLES.items()}
    found = known.get(given) or known.get(wire.hexed(given)) or known.get(given.upper())
    if found is None:
        raise wrong("role", "Role is not found.")
    if found[0] != scope and given not in OLD_ROLES:
        raise wrong("non_field_errors", "Role is not valid for this scope.")
    return found[1]


def _show_member(scope: str) -> Any:
    def show(request: Request, row: Json) -> Json:
        name = _role_name(scope, row.pop("role"))
        kept: tuple[str, ...] = (
            "uuid",
            "created",
            "expiration_time",
            "user_uuid",
            "user_username",
            "user_full_name",
            "user_email",
        )
        kept += ("user_image", "created_by_uuid", "created_by_full_name")
        shown = wire.shown(request, {key: row[key] for key in kept}, {}, {"created_by_uuid"})
        return shown | {"role_name": name, "role_uuid": _role_uuid(name)}

    return show


def _show_permission(request: Request, row: Json) -> Json:
    """A membership as the API of 2021 showed it."""
    row["role"] = _OLD_NAMES.get(row["role"], row["role"])
    urls = {"user": ("users", "user_uuid"), "project": ("projects", "project_uuid")}
    urls |= {"created_by": ("users", "created_by_uuid"), "url": ("project-permissions", "pk")}
    row.pop("uuid")
    return wire.shown(request, row, urls, {"created_by_uuid"})


# Lists ----------------------------------------------------------------------------------------------------------------

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
        "is_service_provider": flag("is_service_provider"),
        "archived": flag("is_archived"),
    },
    _show_customer,
    {"name": "name", "created": "created_date", "abbreviation": "abbreviation", "native_name": "native_name"},
)
PROJECTS = Listing(
    "Project",
    "v_project",
    "project_documents",
    {
        "id": "uuid",
        "name": "text",
        "description": "text",
        "backend_id": "text",
        "customer_id": "uuid",
        "customer_name": "text",
        "customer_native_name": "text",
        "customer_abbreviation": "text",
        "created_date": "date",
        "end_date": "date",
    },
    {
        "name": contains("name"),
        "name_exact": exact("name"),
        "description": contains("description"),
        "backend_id": exact("backend_id"),
        "customer": identity("customer_id", "customer"),
        "customer_uuid": identity("customer_id", "customer_uuid"),
        "customer_name": contains("customer_name"),
        "customer_native_name": contains("customer_native_name"),
        "customer_abbreviation": contains("customer_abbreviation"),
        "abbreviation": contains("customer_abbreviation"),
        "query": contains("name", "description", "backend_id"),
        "created": since("created_date", "created"),
    },
    _show_project,
    {
        "name": "name",
        "created": "created_date",
        "customer_name": "customer_name",
        "end_date": "end_date",
        "customer_native_name": "customer_native_name",
        "customer_abbreviation": "customer_abbreviation",
    },
)
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


def _members(scope: str, **more: Any) -> Listing:
    columns = {
        "id": "uuid",
        "number": "int",
        "user_id": "uuid",
        "username": "text",
        "full_name": "text",
        "role": "text",
        "org_id": "uuid",
        "customer_id": "uuid",
        "created_date": "date",
        "expires_date": "date",
    }
    given: dict[str, Any] = {
        "filters": {
            "user": identity("user_id", "user"),
            "role": lambda view, value: view.c.role == _role({"role": value}, scope),
            "username": exact("username"),
            "full_name": contains("full_name"),
            "search_string": contains("full_name", "username"),
        },
        "show": _show_member(scope),
        "order": {"username": "username", "full_name": "full_name", "created": "created_date"},
    }
    given |= more
    name = "Project" if scope == "project" else "Customer"
    return Listing(name, "v_member", "member_documents", columns, **given)


MEMBERS = {scope: _members(scope) for scope in ("project", "customer")}
PERMISSIONS = _members(
    "project",
    filters={
        "project": identity("org_id", "project"),
        "project_url": by_url("org_id", "project_url", "projects", is_strict=False),
        "user": identity("user_id", "user"),
        "user_url": by_url("user_id", "user_url", "users", is_strict=False),
        "username": exact("username"),
        "full_name": contains("full_name"),
        "customer": identity("customer_id", "customer"),
        "role": chosen("role", "role", {name: (role,) for name, role in OLD_ROLES.items()}),
    },
    show=_show_permission,
    newest="number",
)
_OFFERING_STATES: dict[str, tuple[str, ...]] = {
    name.capitalize(): (name,) for name in ("draft", "active", "paused", "archived")
}
OFFERING = Listing(
    "Offering",
    "v_offering",
    "offering_documents",
    {
        "id": "uuid",
        "name": "text",
        "description": "text",
        "state": "text",
        "is_shared": "bool",
        "is_billable": "bool",
        "category_id": "uuid",
        "customer_id": "uuid",
        "type": "text",
        "created_date": "date",
        "is_managed": "bool",
    },
    {
        "name": contains("name"),
        "name_exact": exact("name"),
        "keyword": contains("name", "description"),
        "customer": by_url("customer_id", "customer", "customers"),
        "customer_uuid": identity("customer_id", "customer_uuid"),
        "service_manager_uuid": lambda view, value: view.c.is_managed,
        "category_uuid": identity("category_id", "category_uuid"),
        "uuid_list": identity("id", "uuid_list"),
        "state": chosen("state", "state", _OFFERING_STATES),
        "shared": flag("is_shared"),
        "billable": flag("is_billable"),
        "type": chosen("type", "type", {}),
        "attributes": lambda view, value: _attributes(value),
    },
    _show_offering,
    {"name": "name", "created": "created_date", "state": "state"},
    many=("state", "type"),
)


def _attributes(value: str) -> None:
    """Offerings have no attributes to be searched; what is no JSON is refused all the same."""
    try:
        wire.objects({"attributes": value}, "attributes")
    except Refusal:
        raise Refusal(400, ["Filter attribute is not valid json."]) from None


CATEGORIES = Listing(
    "Category",
    "v_offering_category",
    "offering_category_documents",
    {"id": "uuid", "title": "text"},
    {"title": contains("title")},
    _show_category,
    {"title": "title"},
)
_RESOURCE_STATES: dict[str, tuple[str, ...]] = {"OK": ("ok",)}
_RESOURCE_STATES |= {
    name.capitalize(): (name,) for name in ("creating", "updating", "terminating", "terminated", "erred")
}
RESOURCE = Listing(
    "Resource",
    "v_allocation",
    "allocation_documents",
    {
        "id": "uuid",
        "name": "text",
        "description": "text",
        "state": "text",
        "org_id": "uuid",
        "project": "text",
        "customer_id": "uuid",
        "offering_id": "uuid",
        "offering": "text",
        "provider_id": "uuid",
        "category_id": "uuid",
        "plan_id": "uuid",
        "backend_id": "text",
        "created_date": "date",
        "updated_date": "date",
        "is_provided": "bool",
    },
    {
        "state": chosen("state", "state", _RESOURCE_STATES),
        "name": contains("name"),
        "name_exact": exact("name"),
        "project_uuid": identity("org_id", "project_uuid"),
        "project_name": contains("project"),
        "customer": by_url("customer_id", "customer", "customers"),
        "customer_uuid": identity("customer_id", "customer_uuid"),
        "offering": by_url("offering_id", "offering", *OFFERINGS),
        "offering_uuid": identity("offering_id", "offering_uuid"),
        "provider_uuid": identity("provider_id", "provider_uuid"),
        "category_uuid": identity("category_id", "category_uuid"),
        "plan_uuid": identity("plan_id", "plan_uuid"),
        "backend_id": exact("backend_id"),
        "query": contains("name", "backend_id", "project", "offering"),
        "created": since("created_date", "created"),
        "modified": since("updated_date", "modified"),
    },
    _show_resource,
    {
        "name": "name",
        "created": "created_date",
        "state": "state",
        "project_name": "project",
        "offering_name": "offering",
        "modified": "updated_date",
    },
    many=("state",),
)
_ORDER_STATES: dict[str, tuple[str, ...]] = _OLD_ORDER_STATES | {
    name.replace("_", "-"): (name,)
    for name in (
        *("pending_consumer", "pending_project", "pending_start_date", "pending_provider"),
        *("executing", "done", "erred", "rejected", "canceled"),
    )
}
ORDER = Listing(
    "Order",
    "v_allocation_order",
    "allocation_order_documents",
    {
        "id": "uuid",
        "state": "text",
        "type": "text",
        "org_id": "uuid",
        "customer_id": "uuid",
        "offering_id": "uuid",
        "provider_id": "uuid",
        "allocation_id": "uuid",
        "allocation": "text",
        "created_date": "date",
        "cost": "int",
        "updated_date": "date",
        "can_approve_as_consumer": "bool",
        "can_approve_as_provider": "bool",
    },
    {
        "state": chosen("state", "state", _ORDER_STATES),
        "type": chosen("type", "type", {name.capitalize(): (name,) for name in ("create", "update", "terminate")}),
        "project_uuid": identity("org_id", "project_uuid"),
        "customer_uuid": identity("customer_id", "customer_uuid"),
        "offering_uuid": identity("offering_id", "offering_uuid"),
        "provider_uuid": identity("provider_id", "provider_uuid"),
        "resource": by_url("allocation_id", "resource", *RESOURCES),
        "resource_uuid": identity("allocation_id", "resource_uuid"),
        "query": contains("allocation"),
        "created": since("created_date", "created"),
        "modified": since("updated_date", "modified"),
        "can_approve_as_consumer": flag("can_approve_as_consumer"),
        "can_approve_as_provider": flag("can_approve_as_provider"),
    },
    _show_order,
    {"created": "created_date", "modified": "updated_date", "state": "state", "type": "type", "cost": "cost"},
    many=("state", "type"),
)
USAGE = Listing(
    "ComponentUsage",
    "v_allocation_usage",
    "usage_documents",
    {
        "id": "uuid",
        "allocation_id": "uuid",
        "offering_id": "uuid",
        "org_id": "uuid",
        "customer_id": "uuid",
        "type": "text",
        "usage_date": "date",
        "billing_period": "date",
        "year": "int",
        "month": "int",
        "amount": "int",
    },
    {
        "resource": by_url("allocation_id", "resource", *RESOURCES),
        "resource_uuid": identity("allocation_id", "resource_uuid"),
        "offering_uuid": identity("offering_id", "offering_uuid"),
        "project_uuid": identity("org_id", "project_uuid"),
        "customer_uuid": identity("customer_id", "customer_uuid"),
        "type": exact("type"),
        "date_after": since("usage_date", "date_after"),
        "date_before": since("usage_date", "date_before", is_before=True),
        "billing_period": lambda view, value: func.to_char(view.c.billing_period, "YYYY-MM") == value[:7],
        "billing_period_year": number("year", "billing_period_year"),
        "billing_period_month": number("month", "billing_period_month"),
    },
    _show_usage,
    {"billing_period": "billing_period", "usage": "amount", "date": "usage_date"},
)
USER_USAGE = Listing(
    "ComponentUserUsage",
    "v_allocation_user_usage",
    "user_usage_documents",
    {"id": "uuid", "usage_id": "uuid", "allocation_id": "uuid", "username": "text"},
    {
        "component_usage_uuid": identity("usage_id", "component_usage_uuid"),
        "resource_uuid": identity("allocation_id", "resource_uuid"),
        "username": exact("username"),
    },
    _show_user_usage,
    {"username": "username"},
)
INVOICES = Listing(
    "Invoice",
    "v_invoice",
    "invoice_documents",
    {"id": "uuid", "customer_id": "uuid", "year": "int", "month": "int", "state": "text"},
    {
        "customer": by_url("customer_id", "customer", "customers"),
        "customer_uuid": identity("customer_id", "customer_uuid"),
        "year": number("year", "year"),
        "month": number("month", "month"),
        "state": chosen("state", "state", {name: (name,) for name in ("pending", "created", "paid", "canceled")}),
    },
    _show_invoice,
    {"year": "year", "month": "month"},
    many=("state",),
)

# Logging in -----------------------------------------------------------------------------------------------------------


async def log_in(request: Request) -> Response:
    """An opaque token for a name and its password; after some failures the name waits, whatever the password."""
    body = await read(request)
    errors = {name: [wire.REQUIRED] for name in ("username", "password") if not body.get(name)}
    if errors:
        raise Refusal(400, errors)
    username, password = str(body["username"])[:254], str(body["password"])[:1024]
    database = state_of(request).database
    refused = Refusal(401, {"detail": "Invalid username/password."}, WWW_Authenticate="Token")

    async def begin(connection: AsyncConnection) -> Json:
        ((taken),) = await fetch(connection, _ATTEMPT, kind="token", key=username.lower())
        ((begun),) = await fetch(connection, _LOGIN, username=username, address=address_of(request))
        return begun | {"wait": taken["value"] or begun["retry_after"]}

    begun = await database.run(ANONYMOUS, begin)
    matches = await state_of(request).hasher.verify(password, begun["password_hash"])
    # A second factor cannot be given here; who has one makes an API key.
    if begun["wait"] or not matches or begun["totp_secret"] is not None:
        raise refused
    rows = await database.run(ANONYMOUS, lambda connection: fetch(connection, _TOKEN, user=begun["user_id"]))
    return JSONResponse({"token": rows[0]["value"]})


async def identify(request: Request) -> Response:
    """The user of a CUID, as the federation's registry tells who that is."""
    body = await read(request)
    try:
        await _do(request, _IDENTIFY_CHECK)
    except Exception as error:
        refusal = wire.refusal_of(error)
        if refusal.status == 403:
            raise Refusal(403, "You do not have permission to perform this action.") from None
        raise
    cuid = wire.text(body, "cuid", required=True, blank=False, limit=256) or ""
    try:
        attributes = await _told(request, cuid)
    except user_registry.RegistryError as error:
        raise Refusal(503, {"detail": f"Eduteams error: {error}."}) from None
    if attributes is None:
        raise Refusal(404, {"detail": f"User {cuid} has not been found"})
    id = await _do(request, _IDENTIFY, cuid=cuid, body=Jsonb(attributes))
    return JSONResponse({"uuid": wire.hexed(id)})


async def _told(request: Request, cuid: str) -> Json | None:
    """What the registry tells of a name: the federation's over HTTP, or without one the local one."""
    settings = state_of(request).settings
    if settings.user_registry_url is not None:
        return await user_registry.find(settings, cuid)
    caller = await authenticate(request)
    ((row),) = await state_of(request).database.run(caller, lambda connection: fetch(connection, _LOCAL, cuid=cuid))
    if not row["is_there"]:
        raise user_registry.RegistryError("no user registry is set up")
    attributes: Json | None = row["attributes"]
    return attributes


# Customers and projects -----------------------------------------------------------------------------------------------


async def create_customer(request: Request) -> Response:
    """A new customer; for staff."""
    body = await read(request)
    name = wire.text(body, "name", required=True, blank=False, limit=150)
    email = wire.text(body, "email") or f"{wire.hexed(uuid5(NAMESPACE_URL, str(name)))[:12]}@customer.invalid"
    caller = await authenticate(request)
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


_IDENTIFY_CHECK_STAFF = Statement(select((func.caller_platform() == "all").label("value")))


def _project(body: Json, *, is_new: bool, is_whole: bool) -> Json:
    """What a body says of a project."""
    made: Json = {}
    if is_new or "customer" in body:
        made["customer"] = wire.reference(body, "customer", "customers", required=is_new)
    if is_whole or "name" in body:
        made["name"] = wire.text(body, "name", required=True, blank=False, limit=500)
    for name, limit in (("description", 10000), ("backend_id", 255), ("type", 255), ("oecd_fos_2007_code", 80)):
        if name in body:
            made[name] = wire.text(body, name, limit=limit)
    made |= {name: wire.day(body, name) for name in ("start_date", "end_date") if name in body}
    if "is_industry" in body:
        made["is_industry"] = bool(wire.truth(body["is_industry"]))
    return made


async def create_project(request: Request) -> Response:
    """A new project of a customer."""
    body = _project(await read(request), is_new=True, is_whole=True)
    return await _made(request, PROJECTS, _PROJECT_CREATE, body=Jsonb(body), key=idempotency_key(request))


async def change_project(request: Request) -> Response:
    """Another name, description and so on; what PUT leaves out stays too."""
    body = _project(await read(request), is_new=False, is_whole=request.method == "PUT")
    return await _made(request, PROJECTS, _PROJECT_CHANGE, 200, id=_id(request, "Project"), body=Jsonb(body))


async def remove_project(request: Request) -> Response:
    """One less; its allocations must have been terminated."""
    await _do(request, _PROJECT_REMOVE, id=_id(request, "Project"))
    return Response(status_code=204)


# Members --------------------------------------------------------------------------------------------------------------


def _member(scope: str, action: str, status: int) -> Any:
    async def handle(request: Request) -> Response:
        body = await read(request)
        given: Json = {"user": _user(body), "role": _role(body, scope)}
        if action != "remove":
            given["expiration_time"] = wire.moment(body, "expiration_time")
        id = _id(request, scope.capitalize())
        await _do(request, _MEMBER[action], id=id, body=Jsonb(given))
        if action == "remove":
            return Response(status_code=status)
        expires = given["expiration_time"]
        return JSONResponse({"expiration_time": expires and wire.stamp(expires)}, status)

    return handle


def _user(body: Json) -> str:
    value = body.get("user")
    if isinstance(value, str) and "/" in value:
        return wire.reference(body, "user", "users") or ""
    if "user" not in body:
        raise wrong("user", wire.REQUIRED)
    return wire.uuid(value, "user", "User is not found.")


def _member_index(scope: str) -> Any:
    async def handle(request: Request) -> Response:
        id = _id(request, scope.capitalize())
        caller = await authenticate(request)
        place = PROJECTS if scope == "project" else CUSTOMERS
        await state_of(request).database.run(caller, lambda connection: place.one(connection, id))
        if scope == "project":
            return await MEMBERS[scope].index(request, lambda view: view.c.org_id == id)
        return await MEMBERS[scope].index(request, lambda view: (view.c.customer_id == id) & view.c.org_id.is_(None))

    return handle


async def create_permission(request: Request) -> Response:
    """A role in a project, one per user, as in 2021."""
    body = await read(request)
    user = wire.reference(body, "user", "users")
    project = wire.reference(body, "project", "projects")
    role = wire.text(body, "role", required=True) or ""
    if role not in OLD_ROLES:
        raise wrong("role", f'"{role}" is not a valid choice.')
    given = {"user": user, "role": OLD_ROLES[role], "is_only": True}
    given |= {"expiration_time": wire.moment(body, "expiration_time")}
    try:
        return await _made(request, PERMISSIONS, _MEMBER["add"], id=UUID(project), body=Jsonb(given))
    except Exception as error:
        refusal = wire.refusal_of(error)
        if refusal.status == 404 or (refusal.status == 400 and "user" in refusal.body):
            field = "project" if refusal.status == 404 else "user"
            raise wrong(field, "Invalid hyperlink - Object does not exist.") from None
        raise


async def _permission(request: Request) -> Json:
    """The membership with the number of the path."""
    caller = await authenticate(request)
    found = PERMISSIONS._table()
    pk = request.path_params["pk"]
    statement = PERMISSIONS._page(found, [found.c.number == pk, found.c.org_id.is_not(None)], [found.c.id], 0, 1)
    ((row),) = await state_of(request).database.run(caller, lambda connection: fetch(connection, statement))
    if not row["documents"]:
        raise wire.missing("ProjectPermission")
    return dict(row["documents"][0])


async def show_permission(request: Request) -> Response:
    """One of them."""
    return JSONResponse(_show_permission(request, await _permission(request)))


async def change_permission(request: Request) -> Response:
    """Another end; the role stays whatever the body says."""
    row, body = await _permission(request), await read(request)
    given = {"user": row["user_uuid"], "role": row["role"], "expiration_time": wire.moment(body, "expiration_time")}
    await _do(request, _MEMBER["change"], id=UUID(row["project_uuid"]), body=Jsonb(given))
    return await show_permission(request)


async def remove_permission(request: Request) -> Response:
    """It ends now."""
    row = await _permission(request)
    given = {"user": row["user_uuid"], "role": row["role"]}
    await _do(request, _MEMBER["remove"], id=UUID(row["project_uuid"]), body=Jsonb(given))
    return Response(status_code=204)


_ROLE_TABLE = Statement(select(func.role_documents().table_valued("d").render_derived().c.d.label("value")))


async def roles_index(request: Request) -> Response:
    """The roles there are."""
    held = {row["role"]: row for row in await _many(request, _ROLE_TABLE)}
    rows = [
        {
            "uuid": _role_uuid(name),
            "name": name,
            "description": held[role]["description"],
            "permissions": held[role]["permissions"],
            "is_system_role": True,
            "is_active": True,
            "users_count": 0,
            "content_type": scope,
            "url": wire.link(request, "roles", _role_uuid(name)),
        }
        for name, (scope, role) in ROLES.items()
    ]
    number, size = wire.page_of(request)
    return wire.paged(request, rows[(number - 1) * size : number * size], len(rows))


async def me(request: Request) -> Response:
    """The caller."""
    caller = await authenticate(request)
    if caller.user is None:
        raise wire.missing("User")
    return await _one(request, USERS, caller.user)


# Offerings ------------------------------------------------------------------------------------------------------------


async def _plans(request: Request) -> list[Json]:
    caller, id = await authenticate(request), _id(request, "Offering")
    row = await state_of(request).database.run(caller, lambda connection: OFFERING.one(connection, id))
    return [_show_plan(request, plan) for plan in row["plans"]]


async def plan_index(request: Request) -> Response:
    """The plans of an offering; all of them."""
    return JSONResponse([wire.reduced(request, plan) for plan in await _plans(request)])


async def show_plan(request: Request) -> Response:
    """One plan of an offering."""
    wanted = wire.hexed(request.path_params["plan"]).lower()
    found = [plan for plan in await _plans(request) if plan["uuid"] == wanted]
    if not found:
        raise wire.missing("Plan")
    return JSONResponse(found[0])


async def show_any_plan(request: Request) -> Response:
    """One plan, of whichever offering."""
    caller, id = await authenticate(request), _id(request, "Plan")
    statement = Statement(select(func.plan_offering(bindparam("id", type_=Uuid)).label("value")))

    async def work(connection: AsyncConnection) -> Json:
        ((row),) = await fetch(connection, statement, id=id)
        return await OFFERING.one(connection, row["value"]) if row["value"] else {"plans": []}

    row = await state_of(request).database.run(caller, work)
    found = [plan for plan in row["plans"] if plan["uuid"] == str(id)]
    if not found:
        raise wire.missing("Plan")
    return JSONResponse(_show_plan(request, found[0]))


async def create_category(request: Request) -> Response:
    """A new category; for staff."""
    body = await read(request)
    given = {"title": wire.text(body, "title", required=True, blank=False)}
    given["description"] = wire.text(body, "description") or ""
    return await _made(request, CATEGORIES, _CATEGORY_CREATE, body=Jsonb(given))


_OFFERING_FLAGS = {"shared": "is_shared", "billable": "is_billable", "immediate": "is_immediate"}
_OFFERING_FLAGS |= {"auto_approve": "auto_approve", "auto_approve_in_service_provider_projects": "auto_approve_own"}
_OFFERING_DETAILS: tuple[str, ...] = (
    "full_description",
    "terms_of_service",
    "terms_of_service_link",
    "privacy_policy_link",
    "country",
)
_OFFERING_DETAILS += ("getting_started", "vendor_details", "native_name", "native_description", "integration_guide")


def _offering(body: Json, *, is_new: bool) -> Json:
    """What a body says of an offering."""
    made: Json = {inside: bool(wire.truth(body[name])) for name, inside in _OFFERING_FLAGS.items() if name in body}
    if is_new:
        made["customer"] = wire.reference(body, "customer", "customers")
        made["category"] = wire.reference(body, "category", "marketplace-categories")
        made |= {name: body[name] for name in ("backend", "accreditation") if name in body}
    if is_new or "name" in body:
        made["name"] = wire.text(body, "name", required=True, blank=False, limit=150)
    if "description" in body:
        made["description"] = wire.text(body, "description", limit=10000) or ""
    details: Json = {name: wire.text(body, name, limit=20000) or "" for name in _OFFERING_DETAILS if name in body}
    details |= {name: wire.objects(body, name) or {} for name in ("options", "attributes") if name in body}
    return made | ({"details": details} if details else {})


async def create_offering(request: Request) -> Response:
    """A new offering of a provider, with its components and plans; it is a draft."""
    body = await read(request)
    given, caller = _offering(body, is_new=True), await authenticate(request)

    async def work(connection: AsyncConnection) -> Json:
        ((row),) = await fetch(connection, _OFFERING_CREATE, body=Jsonb(given))
        for part in body.get("components") or []:
            await fetch(connection, _COMPONENT_SET, id=row["value"], body=Jsonb(part))
        for plan in body.get("plans") or []:
            await fetch(connection, _PLAN_SET, id=row["value"], body=Jsonb(plan))
        return await OFFERING.one(connection, row["value"])

    row = _show_offering(request, await state_of(request).database.run(caller, work))
    return JSONResponse(row, 201, {"Location": row["url"]})


async def change_offering(request: Request) -> Response:
    """Another text or flag."""
    body = _offering(await read(request), is_new=False)
    return await _made(request, OFFERING, _OFFERING_CHANGE, 200, id=_id(request, "Offering"), body=Jsonb(body))


def _offering_state(state: str) -> Any:
    async def handle(request: Request) -> Response:
        body = await read(request)
        given: Json = {"state": state}
        if state == "paused":
            given["paused_reason"] = wire.text(body, "paused_reason") or ""
        await _do(request, _OFFERING_CHANGE, id=_id(request, "Offering"), body=Jsonb(given))
        return JSONResponse({"detail": "Offering state updated.", "state": state.capitalize()})

    return handle


def _offering_part(statement: Statement) -> Any:
    async def handle(request: Request) -> Response:
        body = await read(request)
        id = await _do(request, statement, id=_id(request, "Offering"), body=Jsonb(body))
        return JSONResponse({"uuid": wire.hexed(id)}, 201)

    return handle


# Orders ---------------------------------------------------------------------------------------------------------------


def _order(body: Json) -> Json:
    """What a body orders, in the shape of today or, with `items`, of 2021."""
    project = wire.reference(body, "project", "projects")
    items = body.get("items")
    if items is None:
        return {"project": project, **_item(body)}
    if not isinstance(items, list) or not items:
        raise wrong("items", "This list may not be empty." if items == [] else "Expected a list of items.")
    if len(items) > 1:
        raise wrong("items", "An order has one item.")
    if not isinstance(items[0], dict):
        raise Refusal(400, {"items": [{"non_field_errors": ["Invalid data. Expected a dictionary."]}]})
    try:
        return {"project": project, **_item(items[0])}
    except Refusal as error:
        raise Refusal(error.status, {"items": [error.body]}) from None


def _item(body: Json) -> Json:
    if body.get("type") not in (None, "Create"):
        raise wrong("type", f'"{body["type"]}" is not a valid choice.')
    given: Json = {"offering": wire.reference(body, "offering", *OFFERINGS)}
    given["plan"] = wire.reference(body, "plan", *PLANS, required=False)
    attributes = wire.objects(body, "attributes") or {}
    given |= {"limits": limits_of_or_none(body), "attributes": attributes}
    given |= {name: str(attributes[name]) for name in ("name", "description") if attributes.get(name)}
    given["start_date"] = wire.day(body, "start_date")
    given["callback_url"] = wire.text(body, "callback_url")
    if attributes.get("end_date"):
        given["end_date"] = wire.day(attributes, "end_date")
    if "accepting_terms_of_service" in body and not wire.truth(body["accepting_terms_of_service"]):
        given["terms"] = False
    return {name: value for name, value in given.items() if value is not None}


def limits_of_or_none(body: Json) -> dict[str, int] | None:
    """Limits of a body; none given is no limits."""
    return wire.limits_of(body) or {}


async def create_order(request: Request) -> Response:
    """An order of an allocation; the answer names the allocation already. Dry: what it would cost."""
    body = await read(request)
    given, is_old = _order(body), "items" in body
    try:
        answer = await _ordered(request, "allocation.create", given)
    except Exception as error:
        refusal = wire.refusal_of(error)
        if is_old and refusal.status == 400 and isinstance(refusal.body, dict) and "project" not in refusal.body:
            raise Refusal(400, {"items": [refusal.body]}) from None
        raise
    if "order" not in answer:
        return JSONResponse(answer)
    caller = await authenticate(request)
    row = await state_of(request).database.run(caller, lambda connection: ORDER.one(connection, answer["order"]))
    shown = _show_order(request, row)
    return JSONResponse(shown, 201, {"Location": shown["url"]})


async def _ordered(request: Request, operation: str, given: Json) -> Json:
    if given.pop("terms", True) is False:
        raise wrong("accepting_terms_of_service", "Terms of service must be accepted.")
    dry = bool(wire.truth(request.query_params.get("dry_run", "")))
    key = None if dry else idempotency_key(request)
    answer: Json = await _do(request, _REQUEST, operation=operation, body=Jsonb(given), key=key, dry=dry)
    if dry:
        return answer | {"state": answer["state"].replace("_", "-")}
    return answer


def _order_action(action: str, status: int = 200) -> Any:
    async def handle(request: Request) -> Response:
        body = await read(request)
        given = {
            name: str(body[name])
            for name in ("comment", "error_message", "error_traceback", "backend_id")
            if body.get(name)
        }
        answer = await _do(request, _ORDER_ACT, id=_id(request, "Order"), action=action, body=Jsonb(given))
        detail = {"detail": f"Order is {answer['state'].replace('_', '-')}."}
        if action == "retry":
            detail["order_uuid"] = wire.hexed(answer["order"])
        return JSONResponse(detail, status)

    return handle


async def approve_order(request: Request) -> Response:
    """As in 2021: for the allocator, or for the provider, whoever is to decide."""
    return await _either(request, "approve")


async def reject_order(request: Request) -> Response:
    """The same."""
    return await _either(request, "reject")


async def _either(request: Request, what: str) -> Response:
    caller, id = await authenticate(request), _id(request, "Order")
    row = await state_of(request).database.run(caller, lambda connection: ORDER.one(connection, id))
    side = "consumer" if row["state"] == "pending-consumer" else "provider"
    answer: Response = await _order_action(f"{what}_by_{side}")(request)
    return answer


async def remove_order(request: Request) -> Response:
    """Taken back before anything was done."""
    caller, id = await authenticate(request), _id(request, "Order")
    row = await state_of(request).database.run(caller, lambda connection: ORDER.one(connection, id))
    if not row["state"].startswith("pending-"):
        raise Refusal(409, {"detail": "Valid states for operation: pending-consumer, pending-provider."})
    await _do(request, _ORDER_ACT, id=id, action="cancel", body=Jsonb({}))
    return Response(status_code=204)


# Allocations ----------------------------------------------------------------------------------------------------------


async def update_limits(request: Request) -> Response:
    """Other limits; components that are not named keep theirs."""
    body = await read(request)
    limits = wire.limits_of(body)
    if limits is None:
        raise wrong("limits", wire.REQUIRED)
    return await _change(request, "allocation.update", limits=limits)


async def switch_plan(request: Request) -> Response:
    """Another plan."""
    return await _change(request, "allocation.update", plan=wire.reference(await read(request), "plan", *PLANS))


async def terminate(request: Request) -> Response:
    """The end."""
    body = await read(request)
    return await _change(request, "allocation.terminate", attributes=wire.objects(body, "attributes") or {})


async def _change(request: Request, operation: str, **given: Any) -> Response:
    answer = await _ordered(request, operation, {"allocation": str(_id(request, "Resource")), **given})
    return JSONResponse({"order_uuid": wire.hexed(answer["order"])} if "order" in answer else answer)


async def change_resource(request: Request) -> Response:
    """Another name, description or end."""
    body, given = await read(request), {}
    if request.method == "PUT" or "name" in body:
        given["name"] = wire.text(body, "name", required=True, blank=False)
    if "description" in body:
        given["description"] = wire.text(body, "description", limit=10000) or ""
    if "end_date" in body:
        given["end_date"] = wire.day(body, "end_date")
    caller, id = await authenticate(request), _id(request, "Resource")

    async def work(connection: AsyncConnection) -> Json:
        await fetch(connection, _CHANGE, id=id, body=Jsonb(given))
        return await RESOURCE.one(connection, id)

    row = await state_of(request).database.run(caller, work)
    return JSONResponse({name: row[name] for name in ("name", "description", "end_date")})


async def update_options(request: Request) -> Response:
    """Other options."""
    options = wire.objects(await read(request), "options") or {}
    await _do(request, _CHANGE, id=_id(request, "Resource"), body=Jsonb({"options": options}))
    return JSONResponse({"status": "Resource options are submitted"})


async def plan_periods(request: Request) -> Response:
    """When it had which plan, with what was used."""
    rows = await _many(request, _PERIODS, id=_id(request, "Resource"))
    for row in rows:
        row["components"] = [_show_usage(request, usage) for usage in row["components"]]
    return JSONResponse([wire.shown(request, row, {}, ()) for row in rows])


async def team(request: Request) -> Response:
    """Who works with it: the members of its project."""
    rows = await _many(request, _TEAM, id=_id(request, "Resource"))
    urls = {"url": ("users", "uuid")}
    return JSONResponse(
        [wire.shown(request, row | {"role": _role_name("project", row["role"])}, urls, ()) for row in rows]
    )


def _provider_action(action: str, status: str, *fields: str) -> Any:
    async def handle(request: Request) -> Response:
        body = await read(request)
        await _do(
            request, _PROVIDE, id=_id(request, "Resource"), action=action, body=Jsonb(_provided(body, action, *fields))
        )
        return JSONResponse({"status": status})

    return handle


def _provided(body: Json, action: str, *fields: str) -> Json:
    given: Json = {}
    for name in fields:
        if name == "report":
            given[name] = _report(body)
        elif name == "limits":
            given[name] = wire.limits_of(body)
        elif name == "backend_metadata":
            given[name] = wire.objects(body, name) or {}
        else:
            given[name] = wire.text(body, name, limit=5000) or ""
    if action == "set_limits" and given["limits"] is None:
        raise wrong("limits", wire.REQUIRED)
    if action == "set_backend_id" and "backend_id" not in body:
        raise wrong("backend_id", wire.REQUIRED)
    return given


def _report(body: Json) -> list[Json]:
    report = body.get("report")
    if not isinstance(report, list) or not report:
        raise wrong("report", wire.REQUIRED if "report" not in body else "Report should be a list of sections.")
    for section in report:
        if not isinstance(section, dict) or not {"header", "body"} <= section.keys():
            raise wrong("report", "Each section has a header and a body.")
    return report


async def set_state_by_provider(request: Request) -> Response:
    """As in 2021: ok, erred or terminated."""
    state = wire.text(await read(request), "state", required=True) or ""
    if state not in ("ok", "erred", "terminated"):
        raise wrong("state", f'"{state}" is not a valid choice.')
    await _do(request, _PROVIDE, id=_id(request, "Resource"), action=f"set_as_{state}", body=Jsonb({}))
    return JSONResponse({"status": f"Resource is {state}."})


# Usage ----------------------------------------------------------------------------------------------------------------


async def set_usage(request: Request) -> Response:
    """What was used this month."""
    body = await read(request)
    given: Json = {name: wire.uuid(body[name], name) for name in ("resource", "plan_period") if body.get(name)}
    usages = body.get("usages")
    if not isinstance(usages, list):
        raise wrong("usages", wire.REQUIRED if usages is None else "Expected a list of items.")
    given["usages"], errors = [], []
    for usage in usages:
        parsed, bad = _usage(usage)
        given["usages"].append(parsed)
        errors.append(bad)
    if any(errors):
        raise Refusal(400, {"usages": errors})
    if body.get("date"):
        given["date"] = wire.moment(body, "date")
    await _do(request, _USAGE, body=Jsonb(given))
    return Response(status_code=201)


def _usage(usage: Any) -> tuple[Json, dict[str, list[str]]]:
    if not isinstance(usage, dict):
        return {}, {"non_field_errors": ["Invalid data. Expected a dictionary."]}
    bad = {name: [wire.REQUIRED] for name in ("type", "amount") if name not in usage}
    parsed: Json = {"type": str(usage.get("type")), "description": str(usage.get("description") or "")}
    parsed["recurring"] = bool(wire.truth(usage.get("recurring", False)))
    if "amount" in usage:
        try:
            parsed["amount"] = wire.amount(usage["amount"])
        except ValueError as error:
            bad["amount"] = [str(error)]
    return parsed, bad


async def set_user_usage(request: Request) -> Response:
    """Which part of it was a user's."""
    body = await read(request)
    given = {"username": wire.text(body, "username", required=True, blank=False, limit=254)}
    try:
        given["usage"] = wire.amount(body.get("usage"))
    except ValueError as error:
        raise wrong("usage", str(error) if "usage" in body else wire.REQUIRED) from None
    given["description"] = wire.text(body, "description") or ""
    await _do(request, _USER_USAGE, id=_id(request, "ComponentUsage"), body=Jsonb(given))
    return Response(status_code=201)


# Routes ---------------------------------------------------------------------------------------------------------------


def _index(listing: Listing) -> Any:
    async def handle(request: Request) -> Response:
        return await listing.index(request)

    return handle


def _provided_index(request: Request) -> Any:
    return RESOURCE.index(request, lambda view: view.c.is_provided)


def _show(listing: Listing) -> Any:
    async def handle(request: Request) -> Response:
        return await _one(request, listing, _id(request, listing.name))

    return handle


def _noun(path: str, listing: Listing, post: Any = None, **one: Any) -> list[Any]:
    many = {"get": _index(listing)} | ({"post": post} if post else {})
    return at(f"/api/{path}/", **many) + at(f"/api/{path}/{{id}}/", get=_show(listing), **one)


def _actions(path: str, name: str = "post", **actions: Any) -> list[Any]:
    return [
        route for action, handler in actions.items() for route in at(f"/api/{path}/{{id}}/{action}/", **{name: handler})
    ]


_PROVIDER = {
    "set_backend_id": _provider_action("set_backend_id", "Resource backend_id has been changed.", "backend_id"),
    "submit_report": _provider_action("submit_report", "Report is submitted", "report"),
    "set_limits": _provider_action("set_limits", "Resource limits have been set.", "limits"),
    "set_as_ok": _provider_action("set_as_ok", "Resource is OK."),
    "set_as_erred": _provider_action("set_as_erred", "Resource is erred.", "error_message", "error_traceback"),
    "refresh_last_sync": _provider_action("refresh_last_sync", "Last sync has been refreshed."),
    "set_backend_metadata": _provider_action(
        "set_backend_metadata", "Resource metadata has been set.", "backend_metadata"
    ),
    "set_state_by_provider": set_state_by_provider,
}
_ORDER_ACTIONS = {
    action: _order_action(action)
    for action in (
        *("approve_by_consumer", "approve_by_provider", "reject_by_consumer", "reject_by_provider", "retry"),
        *("set_state_executing", "set_state_done", "set_state_erred"),
    )
}
routes = [
    *at("/api-auth/password/", post=log_in),
    *at("/api-auth/remote-eduteams/", post=identify),
    *at("/api/remote-eduteams/", post=identify),
    *_noun("customers", CUSTOMERS, create_customer),
    *_noun("projects", PROJECTS, create_project, put=change_project, patch=change_project, delete=remove_project),
    *at("/api/users/me/", get=me),
    *_noun("users", USERS),
    *at("/api/roles/", get=roles_index),
    *at("/api/project-permissions/", get=_index(PERMISSIONS), post=create_permission),
    *at(
        "/api/project-permissions/{pk:int}/",
        get=show_permission,
        put=change_permission,
        patch=change_permission,
        delete=remove_permission,
    ),
    *_noun("marketplace-categories", CATEGORIES, create_category),
    *at("/api/marketplace-plans/{id}/", get=show_any_plan),
    *_noun("marketplace-orders", ORDER, create_order, delete=remove_order),
    *_actions("marketplace-orders", **_ORDER_ACTIONS, cancel=_order_action("cancel", 202)),
    *_actions("marketplace-orders", approve=approve_order, reject=reject_order),
    *at("/api/marketplace-order-items/{id}/", get=_show(ORDER), delete=remove_order),
    *_actions("marketplace-order-items", **_ORDER_ACTIONS, terminate=_order_action("cancel", 202)),
    *_actions("marketplace-order-items", approve=approve_order, reject=reject_order),
    *_noun("marketplace-component-usages", USAGE),
    *_actions("marketplace-component-usages", set_user_usage=set_user_usage),
    *_noun("marketplace-component-user-usages", USER_USAGE),
    *_noun("invoices", INVOICES),
]
# Paths that end in a word come before those that end in an id.
routes[:0] = at("/api/marketplace-component-usages/set_usage/", post=set_usage)
for _scope, _path in (("project", "projects"), ("customer", "customers")):
    routes += _actions(
        _path,
        add_user=_member(_scope, "add", 201),
        update_user=_member(_scope, "change", 200),
        delete_user=_member(_scope, "remove", 200),
    )
    routes += _actions(_path, "get", list_users=_member_index(_scope))
for _path in OFFERINGS:
    routes += _noun(_path, OFFERING, create_offering, patch=change_offering)
    routes += _actions(_path, "get", plans=plan_index)
    routes += at(f"/api/{_path}/{{id}}/plans/{{plan}}/", get=show_plan)
    routes += _actions(
        _path,
        activate=_offering_state("active"),
        pause=_offering_state("paused"),
        unpause=_offering_state("active"),
        archive=_offering_state("archived"),
        set_component=_offering_part(_COMPONENT_SET),
        set_plan=_offering_part(_PLAN_SET),
    )
for _path in RESOURCES:
    _list = _index(RESOURCE) if _path == "marketplace-resources" else _provided_index
    routes += at(f"/api/{_path}/", get=_list)
    routes += at(f"/api/{_path}/{{id}}/", get=_show(RESOURCE), put=change_resource, patch=change_resource)
    routes += _actions(_path, update_limits=update_limits, switch_plan=switch_plan, terminate=terminate)
    routes += _actions(_path, update_options=update_options, **_PROVIDER)
    routes += _actions(_path, "get", plan_periods=plan_periods, team=team)
