"""The catalogue: categories, and offerings with their components and plans."""

import json
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb
from sqlalchemy import Text, Uuid, any_, bindparam, cast, column, func, literal, or_, select, table
from sqlalchemy.dialects.postgresql import JSONB
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from provision_api.allocation import wire
from provision_api.allocation.endpoint import OFFERINGS, Index, actions, call, do, made, noun, path_id, show, shower
from provision_api.allocation.listing import Listing, among, chosen, contains, exact, flag, identity, provided
from provision_api.allocation.wire import Json, Refusal, at, read
from provision_api.database import Statement, fetch
from provision_api.state import state_of

_CATEGORY_CREATE = call("offering_category_create", body="json")
_OFFERING_CREATE = call("offering_create", body="json")
_OFFERING_CHANGE = call("offering_change", id="uuid", body="json")
_COMPONENT_SET = call("offering_component_set", id="uuid", body="json")
_PLAN_SET = call("offering_plan_set", id="uuid", body="json")
_show_plan = shower(
    "marketplace-plans",
    "uuid offering_uuid unit billing_mode prices future_prices quotas",
    offering=("marketplace-public-offerings", "offering_uuid"),
)


def _show_offering(request: Request, row: Json) -> Json:
    offering = shower(
        "marketplace-public-offerings",
        "uuid created category_uuid attributes options resource_options plugin_options account_settings state country"
        " backend_metadata",
        customer=("customers", "customer_uuid"),
        category=("marketplace-categories", "category_uuid"),
    )(request, row)
    offering["plans"] = [_show_plan(request, plan) for plan in row["plans"]]
    return dict(offering)


_show_category = shower("marketplace-categories", "uuid")
_OFFERING_STATES: dict[str, tuple[str, ...]] = {
    name.capitalize(): (name,) for name in ("draft", "active", "paused", "archived")
}


def _attributes(view: Any, value: str) -> Any:
    """It has these attributes; what is no JSON is refused."""
    try:
        given = wire.objects({"attributes": value}, "attributes")
    except Refusal:
        raise Refusal(400, ["Filter attribute is not valid json."]) from None
    return view.c.details["attributes"].contains(cast(literal(json.dumps(given), Text()), JSONB)) if given else None


def _of_provider(view: Any, value: str) -> Any:
    return provided("customer")(view, wire.reference({"customer": value}, "customer", "customers") or "")


def _allowed(view: Any, customer: Any) -> Any:
    """It may be ordered of by that customer."""
    return or_(view.c.is_shared, view.c.customer_id == customer, customer == any_(view.c.granted_ids))


def _for_customer(view: Any, value: str) -> Any:
    return _allowed(view, literal(UUID(wire.uuid(value, "allowed_customer_uuid")), Uuid()))


def _for_project(view: Any, value: str) -> Any:
    projects = table("v_project", column("id", Uuid()), column("customer_id", Uuid()))
    id = literal(UUID(wire.uuid(value, "project_uuid")), Uuid())
    return _allowed(view, select(projects.c.customer_id).where(projects.c.id == id).scalar_subquery())


def _of_manager(view: Any, value: str) -> Any:
    managers = table("v_offering_manager", column("offering_id", Uuid()), column("user_id", Uuid()))
    user = literal(UUID(wire.uuid(value, "service_manager_uuid")), Uuid())
    return view.c.id.in_(select(managers.c.offering_id).where(managers.c.user_id == user))


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
        "provider_account_id": "uuid",
        "type": "text",
        "created_date": "date",
        "is_managed": "bool",
        "details": "json",
        "granted_ids": "uuids",
    },
    {
        "name": contains("name"),
        "name_exact": exact("name"),
        "keyword": contains("name", "description"),
        "customer": _of_provider,
        "customer_uuid": provided("customer_uuid"),
        "allowed_customer_uuid": _for_customer,
        "project_uuid": _for_project,
        "service_manager_uuid": _of_manager,
        "category_uuid": identity("category_id", "category_uuid"),
        "uuid_list": identity("id", "uuid_list"),
        "state": chosen("state", "state", _OFFERING_STATES),
        "shared": flag("is_shared"),
        "billable": flag("is_billable"),
        "type": among("type"),
        "attributes": _attributes,
    },
    _show_offering,
    {"name": "name", "created": "created_date", "state": "state"},
    many=("state", "type"),
)
CATEGORIES = Listing(
    "Category",
    "v_offering_category",
    "offering_category_documents",
    {"id": "uuid", "title": "text"},
    {"title": contains("title")},
    _show_category,
    {"title": "title"},
)


async def _plans(request: Request) -> list[Json]:
    caller, id = await wire.caller_of(request), path_id(request, "Offering")
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
    caller, id = await wire.caller_of(request), path_id(request, "Plan")
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
    return await made(request, CATEGORIES, _CATEGORY_CREATE, body=Jsonb(given))


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
    given, caller = _offering(body, is_new=True), await wire.caller_of(request)

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
    return await made(request, OFFERING, _OFFERING_CHANGE, 200, id=path_id(request, "Offering"), body=Jsonb(body))


def _offering_state(state: str) -> Any:
    async def handle(request: Request) -> Response:
        body = await read(request)
        given: Json = {"state": state}
        if state == "paused":
            given["paused_reason"] = wire.text(body, "paused_reason") or ""
        await do(request, _OFFERING_CHANGE, id=path_id(request, "Offering"), body=Jsonb(given))
        return JSONResponse({"detail": "Offering state updated.", "state": state.capitalize()})

    return handle


def _offering_part(statement: Statement) -> Any:
    async def handle(request: Request) -> Response:
        body = await read(request)
        id = await do(request, statement, id=path_id(request, "Offering"), body=Jsonb(body))
        return JSONResponse({"uuid": wire.hexed(id)}, 201)

    return handle


routes = [
    *noun("marketplace-categories", CATEGORIES, create_category),
    *at("/api/marketplace-plans/{id}/", get=show_any_plan),
]
for _path in OFFERINGS:
    # A provider's people see there what they manage, and nothing else.
    _condition = (lambda view: view.c.is_managed) if "provider" in _path else None
    routes += at(f"/api/{_path}/", get=Index(OFFERING, _condition), post=create_offering)
    routes += at(f"/api/{_path}/{{id}}/", get=show(OFFERING), patch=change_offering)
    routes += actions(_path, "get", plans=plan_index)
    routes += at(f"/api/{_path}/{{id}}/plans/{{plan}}/", get=show_plan)
    routes += actions(
        _path,
        activate=_offering_state("active"),
        pause=_offering_state("paused"),
        unpause=_offering_state("active"),
        archive=_offering_state("archived"),
        set_component=_offering_part(_COMPONENT_SET),
        set_plan=_offering_part(_PLAN_SET),
    )
