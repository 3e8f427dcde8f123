"""Projects of a customer."""

from psycopg.types.json import Jsonb
from starlette.requests import Request
from starlette.responses import Response

from provision_api.allocation import wire
from provision_api.allocation.endpoint import call, do, made, noun, path_id, shower
from provision_api.allocation.listing import Listing, contains, exact, flag, identity, since
from provision_api.allocation.wire import Json, read
from provision_api.header import idempotency_key

_PROJECT_CREATE = call("project_create", body="json", key="text")
_PROJECT_CHANGE = call("project_change", id="uuid", body="json")
_PROJECT_REMOVE = call("project_remove", id="uuid")
_show_project = shower(
    "projects",
    "uuid customer_uuid created kind science_domain_uuid marketplace_resource_count billing_price_estimate",
    customer=("customers", "customer_uuid"),
    end_date_requested_by=("users", "end_date_requested_by_uuid"),
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
        "can_manage": "bool",
        "can_admin": "bool",
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
        "can_manage": flag("can_manage"),
        "can_admin": flag("can_admin"),
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
    return await made(request, PROJECTS, _PROJECT_CREATE, body=Jsonb(body), key=idempotency_key(request))


async def change_project(request: Request) -> Response:
    """Another name, description and so on; what PUT leaves out stays too."""
    body = _project(await read(request), is_new=False, is_whole=request.method == "PUT")
    return await made(request, PROJECTS, _PROJECT_CHANGE, 200, id=path_id(request, "Project"), body=Jsonb(body))


async def remove_project(request: Request) -> Response:
    """One less; its allocations must have been terminated."""
    await do(request, _PROJECT_REMOVE, id=path_id(request, "Project"))
    return Response(status_code=204)


routes = noun("projects", PROJECTS, create_project, put=change_project, patch=change_project, delete=remove_project)
