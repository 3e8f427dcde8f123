"""What was used of allocations, and what they cost."""

from typing import Any

from psycopg.types.json import Jsonb
from starlette.requests import Request
from starlette.responses import Response

from provision_api.allocation import wire
from provision_api.allocation.endpoint import RESOURCES, actions, call, do, noun, path_id, shower
from provision_api.allocation.listing import Listing, by_url, chosen, exact, identity, month, number, since
from provision_api.allocation.wire import Json, Refusal, at, read, wrong

_USAGE = call("usage_report", body="json")
_USER_USAGE = call("user_usage_report", id="uuid", body="json")
show_usage = shower(
    "marketplace-component-usages",
    "uuid created date resource_uuid offering_uuid billing_period missing_usage_policy modified_by_uuid",
    modified_by=("users", "modified_by_uuid"),
)
_show_user_usage = shower("marketplace-component-user-usages", "uuid created user_uuid", user=("users", "user_uuid"))
_show_plain_invoice = shower(
    "invoices", "uuid state issuer_details due_date customer_details", customer=("customers", "customer_uuid")
)
_show_item = shower(
    "invoice-items",
    "uuid invoice_uuid project_uuid resource_uuid",
    invoice=("invoices", "invoice_uuid"),
    project=("projects", "project_uuid"),
    resource=("marketplace-resources", "resource_uuid"),
)


def _show_invoice(request: Request, row: Json) -> Json:
    items = [_show_item(request, item) for item in row["items"]]
    return dict(_show_plain_invoice(request, row)) | {"items": items}


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
        "billing_period": month("billing_period", "billing_period"),
        "billing_period_year": number("year", "billing_period_year"),
        "billing_period_month": number("month", "billing_period_month"),
    },
    show_usage,
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
INVOICE_ITEMS = Listing(
    "InvoiceItem",
    "v_invoice_item",
    "invoice_item_documents",
    {"id": "uuid", "invoice_id": "uuid", "org_id": "uuid", "customer_id": "uuid", "allocation_id": "uuid"},
    {
        "invoice_uuid": identity("invoice_id", "invoice_uuid"),
        "project_uuid": identity("org_id", "project_uuid"),
        "customer_uuid": identity("customer_id", "customer_uuid"),
        "resource_uuid": identity("allocation_id", "resource_uuid"),
    },
    _show_item,
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
    await do(request, _USAGE, body=Jsonb(given))
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
    await do(request, _USER_USAGE, id=path_id(request, "ComponentUsage"), body=Jsonb(given))
    return Response(status_code=201)


routes = [
    # Paths that end in a word come before those that end in an id.
    *at("/api/marketplace-component-usages/set_usage/", post=set_usage),
    *noun("marketplace-component-usages", USAGE),
    *actions("marketplace-component-usages", set_user_usage=set_user_usage),
    *noun("marketplace-component-user-usages", USER_USAGE),
    *noun("invoices", INVOICES),
    *noun("invoice-items", INVOICE_ITEMS),
]
