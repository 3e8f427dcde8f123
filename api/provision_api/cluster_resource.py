"""Clusters, requests for their nodes, and accounts as resources of an org: what `cluster` serves, for people and other
programs.
"""

import asyncio
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import BigInteger, Boolean, Text, Uuid, bindparam, column, func, select, table
from sqlalchemy.dialects.postgresql import JSONB
from starlette.requests import Request
from starlette.responses import Response

from provision_api import chart, header, page
from provision_api.auth import authenticate_in
from provision_api.cluster import ASK, REMOVE, call
from provision_api.database import Caller, Row, Statement, fetch
from provision_api.noun import ACTING, BODY, Noun
from provision_api.page import PageQuery
from provision_api.problem import Problem
from provision_api.resource import ETAG, IF_MATCH, LINK, LOCATION, Operation, Success, resource
from provision_api.shape import JSON, WHOLE, read_body, read_optional_body, read_query
from provision_api.state import state_of
from provision_api.tenancy import MEMBERSHIPS, MembershipQuery, MembershipState, Patch

SVG = "image/svg+xml"
Nodes = Annotated[int, Field(ge=0, le=1_000_000), WHOLE]
Minutes = Annotated[int, Field(ge=1, le=10_080, description="15 to 720, unless set otherwise"), WHOLE]
Dollars = Annotated[str, Field(pattern=r"^[0-9]{1,3}(\.[0-9]{1,6})?$", examples=["0.25"])]
Words = Annotated[str, Field(min_length=1, max_length=100)]
ClusterState = Literal["down", "deploying", "up", "shutting_down"]
RequestState = Literal["accepted", "in_effect", "expired", "withdrawn", "refused"]


class Cluster(BaseModel):
    """An org's cluster: how it is configured, and how it is."""

    id: UUID
    org: str
    state: ClusterState
    is_wanted: bool = Field(description="whether it is to be up")
    current_nodes: int
    target_nodes: int = Field(description="what is asked for, within the limits")
    min_nodes: int
    max_nodes: int
    ceiling: int = Field(description="the most that max_nodes may be")
    destroy_when_no_nodes: bool
    allow_deploy_by_token: bool = Field(description="whether a request deploys it")
    is_public: bool
    is_suspended: bool
    cluster_version: str = Field(description="the software it is to run")
    deployed_version: str | None = Field(description="the software it runs")
    spot_max_price: Decimal | None
    allocation_strategy: str
    instance_types: list[str]
    zone: str | None
    subnet_id: str | None
    domain: str
    address: str | None
    overhead_cost: Decimal = Field(description="US dollars per hour")
    node_cost: Decimal = Field(description="US dollars per node and hour")
    generation: int
    ready_date: datetime | None
    ready_estimate_date: datetime | None
    shutdown_date: datetime | None = Field(description="when it goes if nobody asks for more")
    operation: str | None = Field(description="what is being done")
    progress: str | None
    drift: str | None
    failure: str | None
    retry_date: datetime | None


class Configuration(Patch):
    """What changes of the configuration; what is not named stays."""

    min_nodes: Nodes = 0
    max_nodes: Nodes = 0
    destroy_when_no_nodes: bool = True
    allow_deploy_by_token: bool = True
    is_public: bool = False
    is_suspended: bool = False
    version: Words = Field("", description="GET /v1/cluster-versions lists them")
    spot_max_price: Dollars | None = None
    allocation_strategy: Words = ""
    instance_types: list[Words] = Field([], min_length=1, max_length=20)
    zone: Words | None = None
    subnet_id: Words | None = None


class ShutDown(BaseModel):
    """How it is shut down."""

    model_config = ConfigDict(extra="forbid")

    end_requests: bool = Field(False, description="whether live requests end with it; otherwise they keep it up")


class Command(BaseModel):
    """What became of a command."""

    status: Literal["queued", "redundant"]


class CapacityRequest(BaseModel):
    """Somebody asks for nodes."""

    id: UUID
    username: str | None
    nodes: int = Field(description="as asked")
    state: RequestState
    created_date: datetime
    expires_date: datetime
    ready_estimate_date: datetime | None
    effective_date: datetime | None = Field(description="since when the nodes run")
    finished_date: datetime | None
    reason: str | None


class CapacityAsked(BaseModel):
    """Nodes for some time."""

    model_config = ConfigDict(extra="forbid")

    nodes: Nodes
    minutes: Minutes


class CapacityQuery(PageQuery):
    """Which requests."""

    state: RequestState | None = None


class CapacityPage(BaseModel):
    """One page."""

    capacity_requests: list[CapacityRequest]


class ClusterOperation(BaseModel):
    """What was done, or is being done, with a cluster."""

    id: UUID
    operation: Literal["deploy", "scale", "repair", "shutdown", "redeploy"] = Field(
        description="redeploy: taken away, to be deployed again"
    )
    status: str
    generation: int | None = Field(description="which deployment of the cluster it made or changed")
    nodes: int | None = Field(description="how many nodes it was to have")
    created_date: datetime
    processing_date: datetime | None
    finished_date: datetime | None
    attempts: int
    message: str | None = Field(description="what it waits for, or why it failed")


class ClusterOperationPage(BaseModel):
    """One page."""

    operations: list[ClusterOperation]


class OrgMembershipQuery(PageQuery):
    """Which memberships."""

    state: MembershipState | None = None


class Account(BaseModel):
    """An org's account; members see its balance and state. Amounts are texts, in US dollars."""

    org_id: UUID
    currency: Literal["USD"]
    balance: str
    state: Literal["ok", "low", "empty"]
    monthly_allowance: str | None = None
    max_allowance: str | None = None
    fiscal_year_start: str | None = None
    spent: dict[str, str] | None = None
    burn_rates: dict[str, str] | None = Field(None, description="per hour, with the least, present and most nodes")
    runs_out: dict[str, datetime | None] | None = Field(None, description="the hour in which it is empty at each rate")


class ForecastQuery(BaseModel):
    """How far and how fine."""

    model_config = ConfigDict(extra="forbid")

    step: Literal["hour", "day", "month"] = Field("day", description="14 days hourly, 90 daily, or 12 months")


class Point(BaseModel):
    """The balance at a time."""

    at: datetime
    min: Decimal | None
    current: Decimal | None
    max: Decimal | None


class Forecast(BaseModel):
    """How the balance goes on with the least, present and most nodes."""

    step: str
    points: list[Point]


class ClusterVersion(BaseModel):
    """A version of the software."""

    name: str
    description: str | None
    node_image: str
    overhead_image: str
    overhead_instance_type: str
    is_active: bool
    is_limited: bool
    orgs: list[str] = Field(description="for which of your orgs, if it is limited")


class VersionQuery(PageQuery):
    """Which versions."""

    after: Words | None = Field(None, description="the last of the page before; the Link header has it")  # type: ignore[assignment]


VERSIONS = Noun("cluster_version", "cluster_versions", ClusterVersion, VersionQuery, key=("name",))

# Statements -----------------------------------------------------------------------------------------------------------

_ORG = bindparam("org", type_=Uuid)
_cluster = table("v_cluster", column("org_id", Uuid), column("version"), *map(column, Cluster.model_fields))
_CLUSTER = Statement(
    select(*(_cluster.c[name] for name in Cluster.model_fields), _cluster.c.version).where(_cluster.c.org_id == _ORG)
)
_asked = table(
    "v_capacity_request",
    column("org_id", Uuid),
    column("id", Uuid),
    *(column(name, Text) for name in CapacityRequest.model_fields if name != "id"),
)
_ASKED = [_asked.c[name] for name in CapacityRequest.model_fields]
_ONE = Statement(select(*_ASKED).where(_asked.c.org_id == _ORG, _asked.c.id == bindparam("id", type_=Uuid)))
_operation = table(
    "v_cluster_operation",
    column("org_id", Uuid),
    column("id", Uuid),
    *(column(name) for name in ClusterOperation.model_fields if name != "id"),
)
_CONFIGURE = Statement(
    select(func.cluster_configure(_ORG, bindparam("body", type_=JSONB), bindparam("version", type_=BigInteger)))
)
_DEPLOY, _REFRESH = call("cluster_deploy", org=Uuid), call("cluster_refresh", org=Uuid)
_SHUT_DOWN = call("cluster_shutdown", org=Uuid, end_requests=Boolean)
_ACCOUNT = call("account_document", org=Uuid)
_FORECAST = Statement(
    select(func.account_forecast(_ORG, bindparam("step", type_=Text)).table_valued(*map(column, Point.model_fields)))
)


async def _in_org(request: Request) -> Caller:
    return await authenticate_in(request, request.path_params["org"])


async def _run(request: Request, caller: Caller, statement: Statement, **values: Any) -> list[Row]:
    return await state_of(request).database.run(
        caller, lambda connection: fetch(connection, statement, org=caller.org, **values)
    )


# The cluster ----------------------------------------------------------------------------------------------------------


async def _read(connection: AsyncConnection, caller: Caller) -> Row:
    rows = await fetch(connection, _CLUSTER, org=caller.org)
    if not rows:
        raise Problem(404, "the org has no cluster", hint="ask the operators for one")
    return rows[0]


def _cluster_answer(request: Request, row: Row) -> Response:
    response = Response(Cluster.model_validate(row).model_dump_json(), media_type=JSON)
    response.headers["ETag"] = f'"{row["version"]}"'
    return response


async def show(request: Request) -> Response:
    """The cluster."""
    caller = await _in_org(request)
    row = await state_of(request).database.run(caller, lambda connection: _read(connection, caller))
    return _cluster_answer(request, row)


async def configure(request: Request) -> Response:
    """The cluster, configured anew."""
    caller = await _in_org(request)
    version = header.expected_version(request)
    body = (await read_body(request, Configuration)).model_dump(mode="json", exclude_unset=True)

    async def change(connection: AsyncConnection) -> Row:
        await fetch(connection, _CONFIGURE, org=caller.org, body=Jsonb(body), version=version)
        return await _read(connection, caller)

    return _cluster_answer(request, await state_of(request).database.run(caller, change))


async def deploy(request: Request) -> Response:
    """The owner wants it up."""
    return await _command(request, _DEPLOY)


async def refresh(request: Request) -> Response:
    """The owner wants it looked at."""
    return await _command(request, _REFRESH)


async def shut_down(request: Request) -> Response:
    """The owner wants it down."""
    body = await read_optional_body(request, ShutDown)
    return await _command(request, _SHUT_DOWN, end_requests=body.end_requests)


async def _command(request: Request, statement: Statement, **values: Any) -> Response:
    caller = await _in_org(request)
    rows = await _run(request, caller, statement, **values)
    return Response(Command(status=rows[0]["value"]).model_dump_json(), 202, media_type=JSON)


async def list_operations(request: Request) -> Response:
    """A page of its history."""
    caller = await _in_org(request)
    query = read_query(request, PageQuery)
    shown = [_operation.c[name] for name in ClusterOperation.model_fields]
    rows = await _run(request, caller, page.statement(query, _operation, shown, _operation.c.org_id == _ORG))
    return page.answer(request, query, ClusterOperationPage, "operations", rows)


# Requests -------------------------------------------------------------------------------------------------------------


async def list_requests(request: Request) -> Response:
    """A page of requests."""
    caller = await _in_org(request)
    query = read_query(request, CapacityQuery)
    rows = await _run(request, caller, page.statement(query, _asked, _ASKED, _asked.c.org_id == _ORG))
    return page.answer(request, query, CapacityPage, "capacity_requests", rows)


async def ask(request: Request) -> Response:
    """Nodes, for some time; 200 and the request there is if the same is asked for already."""
    caller = await _in_org(request)
    body = await read_body(request, CapacityAsked)

    async def make(connection: AsyncConnection) -> Row:
        values = {"nodes": body.nodes, "minutes": body.minutes, "until": None}
        (made,) = await fetch(connection, ASK, org=caller.org, **values)
        return made | (await fetch(connection, _ONE, org=caller.org, id=made["id"]))[0]

    row = await state_of(request).database.run(caller, make)
    headers = {"Location": f"/v1/orgs/{request.path_params['org']}/capacity-requests/{row['id']}"}
    content = CapacityRequest.model_validate(row).model_dump_json()
    return Response(content, 200 if row["is_redundant"] else 201, headers, JSON)


async def show_request(request: Request) -> Response:
    """One request."""
    caller = await _in_org(request)
    rows = await _run(request, caller, _ONE, id=request.path_params["id"])
    if not rows:
        raise Problem(404, "the request is not found", str(request.path_params["id"]), hint="list them")
    return Response(CapacityRequest.model_validate(rows[0]).model_dump_json(), media_type=JSON)


async def remove_request(request: Request) -> Response:
    """One request less."""
    caller = await _in_org(request)
    await _run(request, caller, REMOVE, of_all=False, id=request.path_params["id"])
    return Response(status_code=204)


async def list_memberships(request: Request) -> Response:
    """A page of the org's memberships."""
    caller = await _in_org(request)
    query = read_query(request, OrgMembershipQuery)
    listing = MEMBERSHIPS.listing(MembershipQuery(org_id=caller.org, **query.model_dump()))
    rows = await _run(request, caller, listing)
    return page.answer(request, query, MEMBERSHIPS.page, MEMBERSHIPS.plural, rows)


# Money ----------------------------------------------------------------------------------------------------------------


async def account(request: Request) -> Response:
    """The account, as far as the caller may see it."""
    caller = await _in_org(request)
    rows = await _run(request, caller, _ACCOUNT)
    content = Account.model_validate(rows[0]["value"]).model_dump_json(exclude_unset=True)
    return Response(content, media_type=JSON)


async def _points(request: Request) -> tuple[str, list[Row]]:
    caller = await _in_org(request)
    step = read_query(request, ForecastQuery).step
    return step, await _run(request, caller, _FORECAST, step=step)


async def forecast(request: Request) -> Response:
    """How the balance goes on."""
    step, rows = await _points(request)
    return Response(Forecast.model_validate({"step": step, "points": rows}).model_dump_json(), media_type=JSON)


async def forecast_chart(request: Request) -> Response:
    """The same, drawn."""
    _step, rows = await _points(request)
    names = {"min": "least nodes", "current": "present nodes", "max": "most nodes"}
    values = {text: [row[name] for row in rows] for name, text in names.items()}
    at = [row["at"] for row in rows]
    title = f"Balance of {request.path_params['org']}"
    document = await asyncio.to_thread(chart.lines, title, "US dollars", at, values)
    return Response(document, media_type=SVG)


# Routes ---------------------------------------------------------------------------------------------------------------

_TAG = "clusters"
_CLUSTERS = {200: Success(description="the cluster", model=Cluster, headers={"ETag": ETAG})}
_QUEUED = {202: Success(description="it will be done, or is being done already", model=Command)}
_A_REQUEST = Success(description="the request", model=CapacityRequest, headers={"Location": LOCATION})


def _at(path: str, **operations: Operation) -> Any:
    return resource(f"/v1/orgs/{{org}}/{path}", **operations)


def _get(handler: Any, summary: str, success: Success, *problems: int, **more: Any) -> Operation:
    return Operation(
        handler=handler, summary=summary, tag=_TAG, success={200: success}, problems=problems or (404,), **more
    )


def _post(handler: Any, summary: str, **more: Any) -> Operation:
    known: dict[str, Any] = {"success": _QUEUED, "problems": ACTING}
    return Operation(handler=handler, summary=summary, tag=_TAG, **(known | more))


routes = [
    *VERSIONS.routes(),
    _at(
        "cluster",
        get=Operation(handler=show, summary="See the cluster of an org", tag=_TAG, success=_CLUSTERS, problems=(404,)),
        put=Operation(
            handler=configure,
            summary="Configure the cluster of an org",
            description="What is not named stays as it is.",
            tag=_TAG,
            headers={"If-Match": IF_MATCH},
            body=Configuration,
            success=_CLUSTERS,
            problems=(*BODY, *ACTING, 412, 422, 428),
        ),
    ),
    _at("cluster/deploy", post=_post(deploy, "Deploy the cluster of an org")),
    _at("cluster/refresh", post=_post(refresh, "Have it looked at what runs of the cluster of an org")),
    _at(
        "cluster/shutdown",
        post=_post(
            shut_down,
            "Shut the cluster of an org down",
            body=ShutDown,
            body_required=False,
            problems=(*BODY, *ACTING),
        ),
    ),
    _at(
        "cluster/operations",
        get=_get(
            list_operations,
            "List what was done with the cluster of an org",
            Success(
                description="a page of operations", model=ClusterOperationPage, headers={"ETag": ETAG, "Link": LINK}
            ),
            400,
            404,
            query=PageQuery,
        ),
    ),
    _at(
        "capacity-requests",
        get=_get(
            list_requests,
            "List requests for nodes",
            Success(description="a page of requests", model=CapacityPage, headers={"ETag": ETAG, "Link": LINK}),
            400,
            404,
            query=CapacityQuery,
        ),
        post=_post(
            ask,
            "Ask for nodes",
            body=CapacityAsked,
            success={200: _A_REQUEST, 201: _A_REQUEST},
            problems=(*BODY, *ACTING),
        ),
    ),
    _at(
        "capacity-requests/{id:uuid}",
        get=_get(show_request, "See a request for nodes", Success(description="the request", model=CapacityRequest)),
        delete=Operation(
            handler=remove_request,
            summary="Take a request for nodes back",
            tag=_TAG,
            success={204: Success(description="it has ended")},
            problems=(403, 404),
        ),
    ),
    _at(
        "memberships",
        get=_get(
            list_memberships,
            "List the memberships of an org",
            Success(description="a page of memberships", model=MEMBERSHIPS.page, headers={"ETag": ETAG, "Link": LINK}),
            400,
            404,
            query=OrgMembershipQuery,
        ),
    ),
    _at("account", get=_get(account, "See the account of an org", Success(description="the account", model=Account))),
    _at(
        "forecast",
        get=_get(
            forecast,
            "See how long the money of an org lasts",
            Success(description="the balance to come", model=Forecast),
            400,
            403,
            404,
            query=ForecastQuery,
        ),
    ),
    _at(
        "forecast.svg",
        get=_get(
            forecast_chart,
            "See how long the money of an org lasts, drawn",
            Success(description="a chart", media_type=SVG),
            400,
            403,
            404,
            query=ForecastQuery,
        ),
    ),
]
