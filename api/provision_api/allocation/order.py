"""Orders of allocations, flat as today and at once with their one item as in 2021."""

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
    actions,
    call,
    do,
    noun,
    path_id,
    show,
    shower,
)
from provision_api.allocation.listing import Listing, by_url, chosen, contains, flag, identity, provided, since
from provision_api.allocation.wire import Json, Refusal, at, read, wrong
from provision_api.database import fetch
from provision_api.header import idempotency_key
from provision_api.state import state_of

_REQUEST = call("allocation_request", operation="text", body="json", key="text", dry="bool")
_ORDER_ACT = call("allocation_order_act", id="uuid", action="text", body="json")
RESOURCE_URLS = {
    "offering": ("marketplace-public-offerings", "offering_uuid"),
    "plan": ("marketplace-plans", "plan_uuid"),
    "project": ("projects", "project_uuid"),
    "customer": ("customers", "customer_uuid"),
}
OMITTED = (
    "uuid offering_uuid provider_uuid category_uuid plan_uuid project_uuid customer_uuid offering_plugin_options"
    " attributes limits created modified state type old_plan_uuid new_plan_uuid order_in_progress_uuid"
    " creation_order_uuid created_by_uuid consumer_reviewed_by_uuid provider_reviewed_by_uuid marketplace_resource_uuid"
    " offering_customer_uuid offering_state backend_metadata current_usages limit_usage last_sync resource_uuid"
)
_show_flat_order = shower(
    "marketplace-orders",
    OMITTED,
    resource=("marketplace-resources", "marketplace_resource_uuid"),
    marketplace_resource=("marketplace-resources", "marketplace_resource_uuid"),
    created_by=("users", "created_by_uuid"),
    consumer_reviewed_by=("users", "consumer_reviewed_by_uuid"),
    provider_reviewed_by=("users", "provider_reviewed_by_uuid"),
    **RESOURCE_URLS,
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
        "provider_account_id": "uuid",
        "allocation_id": "uuid",
        "allocation": "text",
        "created_date": "date",
        "cost": "int",
        "modified_date": "date",
        "can_approve_as_consumer": "bool",
        "can_approve_as_provider": "bool",
    },
    {
        "state": chosen("state", "state", _ORDER_STATES),
        "type": chosen("type", "type", {name.capitalize(): (name,) for name in ("create", "update", "terminate")}),
        "project_uuid": identity("org_id", "project_uuid"),
        "customer_uuid": identity("customer_id", "customer_uuid"),
        "offering_uuid": identity("offering_id", "offering_uuid"),
        "provider_uuid": provided("provider_uuid"),
        "resource": by_url("allocation_id", "resource", *RESOURCES),
        "resource_uuid": identity("allocation_id", "resource_uuid"),
        "query": contains("allocation"),
        "created": since("created_date", "created"),
        "modified": since("modified_date", "modified"),
        "can_approve_as_consumer": flag("can_approve_as_consumer"),
        "can_approve_as_provider": flag("can_approve_as_provider"),
    },
    _show_order,
    {"created": "created_date", "modified": "modified_date", "state": "state", "type": "type", "cost": "cost"},
    many=("state", "type"),
)


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
    given |= {"limits": wire.limits_of(body) or {}, "attributes": attributes}
    given |= {name: str(attributes[name]) for name in ("name", "description") if attributes.get(name)}
    given["start_date"] = wire.day(body, "start_date")
    given["callback_url"] = wire.text(body, "callback_url")
    if attributes.get("end_date"):
        given["end_date"] = wire.day(attributes, "end_date")
    if "accepting_terms_of_service" in body and not wire.truth(body["accepting_terms_of_service"]):
        given["terms"] = False
    return {name: value for name, value in given.items() if value is not None}


async def create_order(request: Request) -> Response:
    """An order of an allocation; the answer names the allocation already. Dry: what it would cost."""
    body = await read(request)
    given, is_old = _order(body), "items" in body
    try:
        answer = await ordered(request, "allocation.create", given, is_told=True)
    except Exception as error:
        refusal = wire.refusal_of(error)
        if is_old and refusal.status == 400 and isinstance(refusal.body, dict) and "project" not in refusal.body:
            raise Refusal(400, {"items": [refusal.body]}) from None
        raise
    if "order" not in answer:
        return JSONResponse(answer)
    shown = _show_order(request, answer["document"])
    return JSONResponse(shown, 201, {"Location": shown["url"]})


async def ordered(request: Request, operation: str, given: Json, *, is_told: bool = False) -> Json:
    """What comes of an order; with the order's document if that is to be told."""
    if given.pop("terms", True) is False:
        raise wrong("accepting_terms_of_service", "Terms of service must be accepted.")
    dry = bool(wire.truth(request.query_params.get("dry_run", "")))
    key = None if dry else idempotency_key(request)
    values = {"operation": operation, "body": Jsonb(given), "key": key, "dry": dry}

    async def work(connection: AsyncConnection) -> Json:
        ((row),) = await fetch(connection, _REQUEST, **values)
        answer: Json = row["value"]
        return answer | ({"document": await ORDER.one(connection, answer["order"])} if is_told and not dry else {})

    answer = await state_of(request).database.run(await wire.caller_of(request), work)
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
        answer = await do(request, _ORDER_ACT, id=path_id(request, "Order"), action=action, body=Jsonb(given))
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
    caller, id = await wire.caller_of(request), path_id(request, "Order")
    row = await state_of(request).database.run(caller, lambda connection: ORDER.one(connection, id))
    side = "consumer" if row["state"] == "pending-consumer" else "provider"
    answer: Response = await _order_action(f"{what}_by_{side}")(request)
    return answer


async def remove_order(request: Request) -> Response:
    """Taken back before anything was done."""
    caller, id = await wire.caller_of(request), path_id(request, "Order")
    row = await state_of(request).database.run(caller, lambda connection: ORDER.one(connection, id))
    if not row["state"].startswith("pending-"):
        raise Refusal(409, {"detail": "Valid states for operation: pending-consumer, pending-provider."})
    await do(request, _ORDER_ACT, id=id, action="cancel", body=Jsonb({}))
    return Response(status_code=204)


_ORDER_ACTIONS = {
    action: _order_action(action)
    for action in (
        *("approve_by_consumer", "approve_by_provider", "reject_by_consumer", "reject_by_provider", "retry"),
        *("set_state_executing", "set_state_done", "set_state_erred"),
    )
}


routes = [
    *noun("marketplace-orders", ORDER, create_order, delete=remove_order),
    *actions("marketplace-orders", **_ORDER_ACTIONS, cancel=_order_action("cancel", 202)),
    *actions("marketplace-orders", approve=approve_order, reject=reject_order),
    *at("/api/marketplace-order-items/{id}/", get=show(ORDER), delete=remove_order),
    *actions("marketplace-order-items", **_ORDER_ACTIONS, terminate=_order_action("cancel", 202)),
    *actions("marketplace-order-items", approve=approve_order, reject=reject_order),
]
