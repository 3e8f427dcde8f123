"""Allocations, which this API calls resources: what is ordered of them, and what their provider says."""

from typing import Any

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from provision_api.allocation import wire
from provision_api.allocation.endpoint import (
    OFFERINGS,
    PLANS,
    RESOURCES,
    Index,
    actions,
    call,
    do,
    many,
    path_id,
    show,
    shower,
)
from provision_api.allocation.listing import Listing, by_url, chosen, contains, exact, identity, provided, since
from provision_api.allocation.member import role_name
from provision_api.allocation.order import OMITTED, RESOURCE_URLS, ordered
from provision_api.allocation.usage import show_usage
from provision_api.allocation.wire import Json, at, read, wrong
from provision_api.database import fetch
from provision_api.state import state_of

_CHANGE = call("allocation_change", id="uuid", body="json")
_PROVIDE = call("allocation_provide", id="uuid", action="text", body="json")
_PERIODS = call("allocation_period_documents", id="uuid")
_TEAM = call("allocation_team", id="uuid")
_show_resource = shower(
    "marketplace-resources",
    OMITTED,
    order_in_progress=("marketplace-orders", "order_in_progress_uuid"),
    creation_order=("marketplace-orders", "creation_order_uuid"),
    **RESOURCE_URLS,
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
        "provider_account_id": "uuid",
        "category_id": "uuid",
        "plan_id": "uuid",
        "backend_id": "text",
        "created_date": "date",
        "modified_date": "date",
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
        "provider_uuid": provided("provider_uuid"),
        "category_uuid": identity("category_id", "category_uuid"),
        "plan_uuid": identity("plan_id", "plan_uuid"),
        "backend_id": exact("backend_id"),
        "query": contains("name", "backend_id", "project", "offering"),
        "created": since("created_date", "created"),
        "modified": since("modified_date", "modified"),
    },
    _show_resource,
    {
        "name": "name",
        "created": "created_date",
        "state": "state",
        "project_name": "project",
        "offering_name": "offering",
        "modified": "modified_date",
    },
    many=("state",),
)


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
    answer = await ordered(request, operation, {"allocation": str(path_id(request, "Resource")), **given})
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
    caller, id = await wire.caller_of(request), path_id(request, "Resource")

    async def work(connection: AsyncConnection) -> Json:
        await fetch(connection, _CHANGE, id=id, body=Jsonb(given))
        return await RESOURCE.one(connection, id)

    row = await state_of(request).database.run(caller, work)
    return JSONResponse({name: row[name] for name in ("name", "description", "end_date")})


async def update_options(request: Request) -> Response:
    """Other options."""
    options = wire.objects(await read(request), "options") or {}
    await do(request, _CHANGE, id=path_id(request, "Resource"), body=Jsonb({"options": options}))
    return JSONResponse({"status": "Resource options are submitted"})


async def plan_periods(request: Request) -> Response:
    """When it had which plan, with what was used."""
    rows = await many(request, _PERIODS, id=path_id(request, "Resource"))
    for row in rows:
        row["components"] = [show_usage(request, usage) for usage in row["components"]]
    return JSONResponse([wire.shown(request, row, {}, ()) for row in rows])


async def team(request: Request) -> Response:
    """Who works with it: the members of its project."""
    rows = await many(request, _TEAM, id=path_id(request, "Resource"))
    urls = {"url": ("users", "uuid")}
    return JSONResponse(
        [wire.shown(request, row | {"role": role_name("project", row["role"])}, urls, ()) for row in rows]
    )


def _provider_action(action: str, status: str, *fields: str) -> Any:
    async def handle(request: Request) -> Response:
        body = await read(request)
        await do(
            request,
            _PROVIDE,
            id=path_id(request, "Resource"),
            action=action,
            body=Jsonb(_provided(body, action, *fields)),
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
    await do(request, _PROVIDE, id=path_id(request, "Resource"), action=f"set_as_{state}", body=Jsonb({}))
    return JSONResponse({"status": f"Resource is {state}."})


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


routes = []
for _path in RESOURCES:
    # A provider's people see there what is given of their offerings.
    _condition = (lambda view: view.c.is_provided) if "provider" in _path else None
    routes += at(f"/api/{_path}/", get=Index(RESOURCE, _condition))
    routes += at(f"/api/{_path}/{{id}}/", get=show(RESOURCE), put=change_resource, patch=change_resource)
    routes += actions(_path, update_limits=update_limits, switch_plan=switch_plan, terminate=terminate)
    routes += actions(_path, update_options=update_options, **_PROVIDER)
    routes += actions(_path, "get", plan_periods=plan_periods, team=team)
