"""Clusters and deployments: at the root with integer ids and words of its own, and under `/v1` as nouns like others.

The root surface has one shape of refusals (`Refused`), and acts for the organization that the user has last joined, or
that a token, a key or the header `Provision-Org` names. Who waits, who runs and why is decided by the scheduler, for an
arrival as for an end; a request waits a moment for its decision, so that it can be told.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import BigInteger, Boolean, Select, Text, Uuid, bindparam, column, func, select, table
from sqlalchemy.dialects.postgresql import JSONB
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from provision_api import password, session
from provision_api.auth import authenticate
from provision_api.database import ANONYMOUS, Caller, Row, Statement, fetch
from provision_api.noun import Noun
from provision_api.page import PageQuery
from provision_api.problem import Problem, Refusal
from provision_api.resource import Operation, Success, resource
from provision_api.shape import WHOLE, read_body, read_query
from provision_api.state import state_of
from provision_api.tenancy import Body, Patch

# How long a request waits for a decision, and how seldom at last it looks.
WAIT_SECONDS = 2.0
FIRST_LOOK_SECONDS = 0.02
LAST_LOOK_SECONDS = 0.2
LARGEST = 2**31 - 1

Amount = Annotated[int, Field(ge=0, le=LARGEST), WHOLE]
Seconds = Annotated[int, Field(ge=1, le=LARGEST), WHOLE]
Number = Annotated[int, Field(ge=1, lt=2**63), WHOLE]
Name = Annotated[str, Field(min_length=1, max_length=255)]
Path = Annotated[
    str,
    Field(
        min_length=1,
        max_length=2048,
        description="an image reference, or the https URL of a Dockerfile",
        examples=["docker.io/library/nginx:1.27"],
    ),
]
Id = Annotated[
    str, Field(pattern=r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$", json_schema_extra={"format": "uuid"})
]
Priority = Annotated[int | str, Field(description="HIGH (1) or LOW (0)", examples=["HIGH"])]
LaunchType = Annotated[str, Field(max_length=20, description="simulated, fargate or ec2", examples=["simulated"])]
Objective = Literal["auto", "count", "expansion"]
Solver = Literal["auto", "combinations", "genetic"]
Backfill = Literal["none", "reserve", "any"]
ClusterState = Literal["creating", "active", "failed", "deleting", "deleted"]
DeploymentState = Literal[
    "pending", "queued", "starting", "running", "preempted", "done", "failed", "cancelled", "rejected"
]


# What goes in and out at the root -------------------------------------------------------------------------------------


class FieldReason(BaseModel):
    """One wrong field."""

    field: str
    reason: str


class Refused(BaseModel):
    """Why a request was not served."""

    message: str = Field(description="what is wrong, with which value")
    errors: list[FieldReason] = Field(description="each field that is wrong; empty if it is none")
    hint: str | None = Field(None, description="the way out")


class Said(BaseModel):
    """What was done."""

    message: str


class RootCredentials(Body):
    """Who signs up."""

    username: session.Username
    password: session.Password


class RootLogIn(Body):
    """Who logs in."""

    username: str = Field(max_length=254)
    password: session.Password
    totp: session.Code | None = None


class RootLoggedIn(Said):
    """What a log-in gives."""

    token: str = Field(description="for Authorization: Bearer")


class RoleChange(Body):
    """Which role a user gets."""

    user_id: Number
    role: str = Field(max_length=20, description="ADMIN, DEVELOPER or VIEWER", examples=["DEVELOPER"])


class UserRole(BaseModel):
    """A user and the role they have."""

    id: int
    username: str
    role: str
    organization_id: int | None


class RoleChanged(Said):
    """The user as it is now."""

    user: UserRole


class OrganizationRequest(Body):
    """A new organization."""

    name: Name


class OrganizationMade(Said):
    """With what others join it."""

    invite_code: str


class RootInviteCode(Body):
    """The code that somebody gave you."""

    invite_code: Annotated[str, Field(min_length=1, max_length=40)]


class RootMember(BaseModel):
    """Somebody of the organization."""

    id: int
    username: str
    role: str


class RootClusterRequest(Body):
    """A new cluster."""

    name: Name
    total_cpu: Amount = Field(description="vCPU")
    total_ram: Amount = Field(description="GiB")
    total_gpu: Amount = Field(description="devices")
    launch_type: LaunchType | None = None
    objective: Objective | None = None
    solver: Solver | None = None
    backfill: Backfill | None = None
    preemption: bool | None = None
    max_wait_seconds: Annotated[int, Field(ge=0, le=LARGEST), WHOLE] | None = None


class RootClusterChange(Body):
    """What changes of a cluster; what is not named stays."""

    cluster_id: Number
    total_cpu: Amount = 0
    total_ram: Amount = 0
    total_gpu: Amount = 0
    objective: Objective = "auto"
    solver: Solver = "auto"
    backfill: Backfill = "reserve"
    preemption: bool = False
    max_wait_seconds: Annotated[int, Field(ge=0, le=LARGEST), WHOLE] | None = None


class RootClusterNamed(Body):
    """Which cluster."""

    cluster_id: Number


class RootMade(Said):
    """The id of what was made."""

    id: int


class RootCluster(BaseModel):
    """A cluster and how much of it is in use."""

    id: int
    name: str
    total_cpu: int
    total_ram: int
    total_gpu: int
    allocated_cpu: int
    allocated_ram: int
    allocated_gpu: int
    created_at: datetime
    updated_at: datetime | None
    created_by: int | None = Field(description="the user's id")
    organization_id: int


class RootDeploymentRequest(Body):
    """A new deployment."""

    name: Name
    cpu: Amount = Field(description="vCPU")
    ram: Amount = Field(description="GiB")
    gpu: Amount = Field(description="devices")
    priority: Priority
    docker_path: Path
    cluster_name: Name
    ttl_seconds: Seconds | None = Field(None, description="how long it may run")
    queue_ttl_seconds: Seconds | None = Field(None, description="how long it may wait")
    depends_on: list[Number] | None = Field(None, max_length=1000, description="deployments to be done first")


class RootDeploymentMade(RootMade):
    """And how far it is."""

    status: DeploymentState


class RootDeploymentNamed(Body):
    """Which deployment."""

    deployment_id: Number
    reason: Annotated[str, Field(min_length=1, max_length=1000)] | None = None


class RootDeployment(BaseModel):
    """A deployment, and why it waits or has ended as it did."""

    id: int
    name: str
    cpu: int
    ram: int
    gpu: int
    priority: str
    status: DeploymentState
    docker_path: str
    cluster_id: int
    created_at: datetime
    updated_at: datetime | None
    created_by: int | None = Field(description="the user's id")
    reason: str | None


class RootTransition(BaseModel):
    """A step of a deployment's history."""

    time: datetime
    by: str
    from_status: str | None
    to_status: str
    reason: str | None


class RootDeploymentWhole(RootDeployment):
    """All about a deployment."""

    cluster_name: str
    image: str | None = Field(description="what runs, pinned to a digest")
    ttl_seconds: int | None
    queue_ttl_seconds: int | None
    depends_on: list[int]
    promised_at: datetime | None = Field(description="by when it starts at the latest, if it is next")
    started_at: datetime | None
    ends_at: datetime | None = Field(description="when its time is over")
    finished_at: datetime | None
    history: list[RootTransition]


class ListQuery(BaseModel):
    """Which part of a list, which is in order of id."""

    model_config = ConfigDict(extra="forbid")

    after: int = Field(0, ge=0, lt=2**63, description="ids above this one")
    limit: int = Field(1000, ge=1, le=1000, description="at most so many")


# Statements -----------------------------------------------------------------------------------------------------------

_ID, _BODY, _NUMBER = bindparam("id", type_=Uuid), bindparam("body", type_=JSONB), bindparam("number", type_=BigInteger)


def _call(function: str, *parameters: Any) -> Statement:
    return Statement(select(getattr(func, function)(*parameters).label("value")))


_home = func.deployment_home(
    bindparam("user", type_=Uuid), bindparam("customer", type_=Uuid), bindparam("org", type_=Uuid)
)
_HOME = Statement(select(_home.table_valued(column("tenant_customer_id"), column("org_id"))))
_REGISTER = _call("deployment_register", bindparam("username", type_=Text), bindparam("hashed", type_=Text))
_role_change = func.deployment_role_change(_NUMBER, bindparam("role", type_=Text))
_ROLE = Statement(select(_role_change.table_valued(*UserRole.model_fields)))
_ORG_CREATE = _call("deployment_org_create", bindparam("name", type_=Text))
_ORG_JOIN = _call("deployment_org_join", bindparam("code", type_=Text))
_CREATE_CLUSTER = _call("compute_cluster_create", _BODY)
_CHANGE_CLUSTER = _call("compute_cluster_change", _ID, _BODY)
_REMOVE_CLUSTER = _call("compute_cluster_remove", _ID)
_TRIGGER = _call("compute_cluster_trigger", _ID)
_CREATE = _call("deployment_create", _BODY)
_CANCEL = _call("deployment_cancel", _ID, bindparam("reason", type_=Text))
_LEAVE = _call("membership_remove", _ID)

_RENAMED = {
    "number": "id",
    "created_date": "created_at",
    "updated_date": "updated_at",
    "user_number": "created_by",
    "org_number": "organization_id",
    "cluster_number": "cluster_id",
    "state": "status",
    "cluster": "cluster_name",
    "promised_date": "promised_at",
    "started_date": "started_at",
    "ends_date": "ends_at",
    "finished_date": "finished_at",
    "depends_on_numbers": "depends_on",
    "from_state": "from_status",
    "to_state": "to_status",
}


def _columns(model: type[BaseModel], *without: str) -> list[str]:
    """The columns of a view that a model shows, under the names of the database."""
    names = {shown: name for name, shown in _RENAMED.items()}
    return [names.get(field, field) for field in model.model_fields if field not in without]


def _list(view: str, names: list[str]) -> Select[Any]:
    """Those of an org, in order of their numbers."""
    rows = table(view, column("org_id", Uuid), column("number", BigInteger), *map(column, {*names} - {"number"}))
    shown = [rows.c[name].label(_RENAMED.get(name, name)) for name in names]
    return select(*shown).where(rows.c.org_id == bindparam("org", type_=Uuid)).order_by(rows.c.number)


def _page(view: str, model: type[BaseModel]) -> Statement:
    after, limit = bindparam("after", type_=BigInteger), bindparam("limit", type_=BigInteger)
    return Statement(_list(view, _columns(model)).where(column("number") > after).limit(limit))


def _one(view: str, names: list[str]) -> Statement:
    return Statement(_list(view, ["id", *names]).where(column("number") == _NUMBER))


def _made(view: str) -> Statement:
    """How far something is that was just made."""
    flags = [column("number"), column("state"), column("is_decided", Boolean)]
    return Statement(select(*flags).select_from(table(view)).where(column("id", Uuid) == _ID))


_CLUSTERS, _DEPLOYMENTS = _page("v_compute_cluster", RootCluster), _page("v_deployment", RootDeployment)
_CLUSTER = _one("v_compute_cluster", [])
# Its own id, which the history is found by, beside the number that is shown as one.
_deployment = table(
    "v_deployment", column("org_id", Uuid), *map(column, {"id", *_columns(RootDeploymentWhole, "history")})
)
_DEPLOYMENT = Statement(
    select(
        _deployment.c.id.label("uuid"),
        *(_deployment.c[name].label(_RENAMED.get(name, name)) for name in _columns(RootDeploymentWhole, "history")),
    ).where(_deployment.c.org_id == bindparam("org", type_=Uuid), _deployment.c.number == _NUMBER)
)
_history = table(
    "v_deployment_history", column("id"), column("deployment_id", Uuid), *map(column, _columns(RootTransition))
)
_HISTORY = Statement(
    select(*(_history.c[name].label(_RENAMED.get(name, name)) for name in _columns(RootTransition)))
    .where(_history.c.deployment_id == _ID)
    .order_by(_history.c.id)
)
_CLUSTER_MADE, _DEPLOYMENT_MADE = _made("v_compute_cluster"), _made("v_deployment")
_membership = table(
    "v_membership", *map(column, ("id", "user_id", "role", "is_live", "number")), column("org_id", Uuid)
)
_user = table("v_user", *map(column, ("id", "number", "username", "is_platform_admin")))
_MEMBERS = Statement(
    select(_user.c.number.label("id"), _user.c.username, _user.c.is_platform_admin, _membership.c.role)
    .select_from(_membership.join(_user, _user.c.id == _membership.c.user_id))
    .where(_membership.c.org_id == bindparam("org", type_=Uuid), _membership.c.is_live)
    .order_by(_user.c.number)
)
_MINE = Statement(
    select(_membership.c.id).where(
        _membership.c.org_id == bindparam("org", type_=Uuid),
        _membership.c.user_id == bindparam("user", type_=Uuid),
        _membership.c.is_live,
    )
)

# Refusals -------------------------------------------------------------------------------------------------------------

# What is wrong with the body is one thing here, whoever finds it out.
_STATUS = {415: 400, 422: 400}
_FIELD = re.compile(r"([a-z_]+): (.+)")
_FIELDS = {"cluster": "cluster_name", "compute_cluster_id": "cluster_id"}


def refusal(problem: Problem) -> Response:
    """A problem as this surface tells it."""
    errors = {_field(error.pointer): error.message for error in problem.errors}
    message = problem.title
    if match := _FIELD.fullmatch(message):
        field = _FIELDS.get(match[1], match[1])
        message = f"{field}: {match[2]}"
        errors = {field: match[2] if problem.detail is None else f"{match[2]} ({problem.detail})"}
    elif errors:
        message += "".join(f"; {field}: {reason}" for field, reason in errors.items())
    if problem.detail is not None:
        message += f": {problem.detail}"
    shown = [FieldReason(field=field, reason=reason) for field, reason in errors.items()]
    body = Refused(message=message, errors=shown, hint=problem.hint)
    return JSONResponse(
        body.model_dump(exclude_none=True), _STATUS.get(problem.status, problem.status), problem.headers
    )


def _field(pointer: str) -> str:
    return pointer.strip("/?").partition("/")[0] or "body"


# Callers --------------------------------------------------------------------------------------------------------------


async def member(request: Request) -> Caller:
    """The caller, acting for an organization.

    Raises:
        Problem: 403, they are in none.
    """
    caller = await authenticate(request)
    if caller.org is not None:
        return caller
    scope = {"user": caller.user, "customer": caller.customer, "org": None}
    homes = await state_of(request).database.read(_HOME, **scope)
    if not homes:
        raise Problem(403, "you are in no organization", hint="POST /join_organization with an invite code")
    return caller._replace(customer=homes[0]["tenant_customer_id"], org=homes[0]["org_id"])


async def _run(request: Request, caller: Caller, statement: Statement, **values: Any) -> list[Row]:
    return await session.run(request, caller, statement, **values)


def _answer(model: BaseModel, status: int = 200) -> Response:
    return JSONResponse(model.model_dump(mode="json"), status)


def _list_answer(model: type[BaseModel], rows: list[Row]) -> Response:
    return JSONResponse([model.model_validate(row).model_dump(mode="json") for row in rows])


# Users and organizations ----------------------------------------------------------------------------------------------


async def register(request: Request) -> Response:
    """A new user."""
    body = await read_body(request, RootCredentials)
    password.check(body.password, body.username)
    await session.count_attempt(request, "register")
    hashed = await state_of(request).hasher.hash(body.password)
    await _run(request, ANONYMOUS, _REGISTER, username=body.username, hashed=hashed)
    return _answer(Said(message="User registered successfully"), 201)


async def log_in(request: Request) -> Response:
    """A token for the right password."""
    body = await read_body(request, RootLogIn)
    pair = await session.open_by_password(request, body.username, body.password, None, body.totp)
    return _answer(RootLoggedIn(message="Login successful", token=session.tokens_of(pair).access_token))


async def log_out(request: Request) -> Response:
    """The token is good no more."""
    await session.close_session(request, await session.authenticate_session(request))
    return _answer(Said(message="Logged out"))


async def update_role(request: Request) -> Response:
    """Another role for a user."""
    caller = await authenticate(request)
    body = await read_body(request, RoleChange)
    rows = await _run(request, caller, _ROLE, number=body.user_id, role=body.role)
    return _answer(RoleChanged(message="User role updated", user=UserRole.model_validate(rows[0])))


async def create_organization(request: Request) -> Response:
    """An organization, and the code to join it."""
    caller = await authenticate(request)
    body = await read_body(request, OrganizationRequest)
    (made,) = await _run(request, caller, _ORG_CREATE, name=body.name)
    return _answer(OrganizationMade(message="Organization created", invite_code=made["value"]), 201)


async def join_organization(request: Request) -> Response:
    """One more member."""
    caller = await authenticate(request)
    body = await read_body(request, RootInviteCode)
    await _run(request, caller, _ORG_JOIN, code=body.invite_code)
    return _answer(Said(message="Joined organization"))


async def leave_organization(request: Request) -> Response:
    """One member less."""
    caller = await member(request)
    mine = await _run(request, caller, _MINE, org=caller.org, user=caller.user)
    if not mine:
        raise Problem(404, "you are no member of this organization yourself", str(caller.org))
    await _run(request, caller, _LEAVE, id=mine[0]["id"])
    return _answer(Said(message="Left organization"))


async def members(request: Request) -> Response:
    """Who is in the organization."""
    caller = await member(request)
    rows = await _run(request, caller, _MEMBERS, org=caller.org)
    roles = ("ADMIN" if row["is_platform_admin"] else row["role"].upper() for row in rows)
    return _list_answer(RootMember, [row | {"role": role} for row, role in zip(rows, roles, strict=True)])


# Clusters -------------------------------------------------------------------------------------------------------------


async def _watch(request: Request, caller: Caller, seen: Statement, id: UUID, is_settled: Callable[[Row], bool]) -> Row:
    """The row when it is settled, or as it is when time is up."""
    loop, pause = asyncio.get_running_loop(), FIRST_LOOK_SECONDS
    until = loop.time() + WAIT_SECONDS
    while True:
        rows = await _run(request, caller, seen, id=id)
        if not rows:
            raise Problem(404, "it was deleted meanwhile", str(id))
        if is_settled(rows[0]) or loop.time() >= until or state_of(request).stopping.is_set():
            return rows[0]
        await state_of(request).pause(pause)
        pause = min(pause * 1.5, LAST_LOOK_SECONDS)


async def _find(request: Request, caller: Caller, statement: Statement, number: int, what: str) -> Row:
    rows = await _run(request, caller, statement, org=caller.org, number=number) if number < 2**63 else []
    if not rows:
        raise Problem(404, f"{what}_id: {what} not found", str(number)[:30], hint=f"GET /{what}s lists yours")
    return rows[0]


async def create_cluster(request: Request) -> Response:
    """A cluster, which takes deployments at once."""
    caller = await member(request)
    body = await read_body(request, RootClusterRequest)
    (made,) = await _run(request, caller, _CREATE_CLUSTER, body=Jsonb(body.model_dump(mode="json", exclude_none=True)))
    row = await _watch(request, caller, _CLUSTER_MADE, made["value"], lambda row: row["state"] != "creating")
    return _answer(RootMade(message="Cluster created", id=row["number"]), 201)


async def clusters(request: Request) -> Response:
    """The clusters of the organization."""
    caller = await member(request)
    query = read_query(request, ListQuery)
    return _list_answer(RootCluster, await _run(request, caller, _CLUSTERS, org=caller.org, **query.model_dump()))


async def update_cluster(request: Request) -> Response:
    """A cluster of another size, or that chooses in another way."""
    caller = await member(request)
    body = await read_body(request, RootClusterChange)
    cluster = await _find(request, caller, _CLUSTER, body.cluster_id, "cluster")
    given = body.model_dump(mode="json", exclude={"cluster_id"}, exclude_unset=True)
    await _run(request, caller, _CHANGE_CLUSTER, id=cluster["id"], body=Jsonb(given))
    return _answer(Said(message="Cluster updated"))


async def delete_cluster(request: Request) -> Response:
    """A cluster less, in which nothing waits or runs."""
    caller = await member(request)
    body = await read_body(request, RootClusterNamed)
    cluster = await _find(request, caller, _CLUSTER, body.cluster_id, "cluster")
    await _run(request, caller, _REMOVE_CLUSTER, id=cluster["id"])
    return _answer(Said(message="Cluster deleted"))


async def trigger_deployment(request: Request) -> Response:
    """The queue of a cluster, looked through now."""
    caller = await member(request)
    body = await read_body(request, RootClusterNamed)
    cluster = await _find(request, caller, _CLUSTER, body.cluster_id, "cluster")
    await _run(request, caller, _TRIGGER, id=cluster["id"])
    await _watch(request, caller, _CLUSTER_MADE, cluster["id"], lambda row: row["is_decided"])
    return _answer(Said(message="Queue processed"))


# Deployments ----------------------------------------------------------------------------------------------------------


async def create_deployment(request: Request) -> Response:
    """A deployment, which runs or waits."""
    caller = await member(request)
    given = (await read_body(request, RootDeploymentRequest)).model_dump(mode="json", exclude_none=True)
    given["cluster"] = given.pop("cluster_name")
    (made,) = await _run(request, caller, _CREATE, body=Jsonb(given))
    row = await _watch(request, caller, _DEPLOYMENT_MADE, made["value"], _is_decided)
    state = row["state"]
    how = "queued" if state in ("pending", "queued") else state if state == "rejected" else "running"
    return _answer(RootDeploymentMade(message=f"Deployment created and {how}", id=row["number"], status=state), 201)


def _is_decided(row: Row) -> bool:
    return bool(row["is_decided"]) or row["state"] != "queued"


async def deployments(request: Request) -> Response:
    """The deployments of the organization."""
    caller = await member(request)
    query = read_query(request, ListQuery)
    return _list_answer(RootDeployment, await _run(request, caller, _DEPLOYMENTS, org=caller.org, **query.model_dump()))


async def show_deployment(request: Request) -> Response:
    """One deployment: how far it is, why, and how it came to that."""
    caller = await member(request)
    row = await _find(request, caller, _DEPLOYMENT, request.path_params["id"], "deployment")
    history = await _run(request, caller, _HISTORY, id=row["uuid"])
    return _answer(RootDeploymentWhole.model_validate(row | {"history": history}))


async def cancel_deployment(request: Request) -> Response:
    """A deployment that is not to run, or no longer."""
    caller = await member(request)
    body = await read_body(request, RootDeploymentNamed)
    found = await _find(request, caller, _DEPLOYMENT, body.deployment_id, "deployment")

    async def work(connection: AsyncConnection) -> Row:
        await fetch(connection, _CANCEL, id=found["uuid"], reason=body.reason)
        return (await fetch(connection, _DEPLOYMENT_MADE, id=found["uuid"]))[0]

    row = await state_of(request).database.run(caller, work)
    said = "Deployment cancelled" if row["state"] == "cancelled" else "Deployment is being stopped"
    return _answer(RootDeploymentMade(message=said, id=row["number"], status=row["state"]))


# Under /v1 ------------------------------------------------------------------------------------------------------------


class ComputeCluster(BaseModel):
    """A cluster of a fixed capacity that deployments share."""

    id: UUID
    number: int = Field(description="its id at the root surface")
    name: str
    total_cpu: int = Field(description="vCPU")
    total_ram: int = Field(description="GiB")
    total_gpu: int = Field(description="devices")
    allocated_cpu: int
    allocated_ram: int
    allocated_gpu: int
    launch_type: str
    objective: Objective
    solver: Solver
    backfill: Backfill
    preemption: bool
    max_wait_seconds: int | None
    state: ClusterState
    reason: str | None
    queued: int = Field(description="how many wait")
    running: int = Field(description="how many start or run")
    arn: str | None
    version: int
    created_date: datetime
    updated_date: datetime | None
    created_by: str
    tenant_customer_id: UUID
    org_id: UUID


class ComputeClusterRequest(RootClusterRequest):
    """A new cluster; deployments may be made for it at once."""

    org: Annotated[str, Field(min_length=1, max_length=254)] | None = Field(None, description="its slug or id")


class ComputeClusterPatch(Patch):
    """What changes of a cluster."""

    total_cpu: Amount = 0
    total_ram: Amount = 0
    total_gpu: Amount = 0
    objective: Objective = "auto"
    solver: Solver = "auto"
    backfill: Backfill = "reserve"
    preemption: bool = False
    max_wait_seconds: Seconds | None = None


class ComputeClusterQuery(PageQuery):
    """Which clusters."""

    name: Name | None = None
    state: ClusterState | None = None
    org_id: UUID | None = None


class Deployment(BaseModel):
    """A deployment: how far it is, and why."""

    id: UUID
    number: int = Field(description="its id at the root surface")
    name: str
    cpu: int
    ram: int
    gpu: int
    priority: str
    docker_path: str
    image: str | None = Field(description="what runs, pinned to a digest")
    ttl_seconds: int | None
    queue_ttl_seconds: int | None
    state: DeploymentState
    reason: str | None = Field(description="why it waits, or ended as it did")
    promised_date: datetime | None = Field(description="by when it starts at the latest, if it is next")
    compute_cluster_id: UUID
    cluster: str
    depends_on: list[UUID]
    starts: int = Field(description="how often it was started")
    arrived_date: datetime
    started_date: datetime | None
    running_date: datetime | None
    ends_date: datetime | None
    finished_date: datetime | None
    task_arn: str | None
    version: int
    created_date: datetime
    updated_date: datetime | None
    created_by: str
    tenant_customer_id: UUID
    org_id: UUID


class DeploymentRequest(Body):
    """A new deployment."""

    name: Name
    cpu: Amount
    ram: Amount
    gpu: Amount
    priority: Priority
    docker_path: Path
    cluster: Name = Field(description="its name or id")
    ttl_seconds: Seconds | None = None
    queue_ttl_seconds: Seconds | None = None
    depends_on: list[Id] | None = Field(None, max_length=1000)
    org: Annotated[str, Field(min_length=1, max_length=254)] | None = Field(None, description="its slug or id")


class DeploymentQuery(PageQuery):
    """Which deployments."""

    name: Name | None = None
    state: DeploymentState | None = None
    compute_cluster_id: UUID | None = None
    org_id: UUID | None = None


compute_cluster = Noun(
    "compute_cluster",
    "compute_clusters",
    ComputeCluster,
    ComputeClusterQuery,
    create=ComputeClusterRequest,
    change=ComputeClusterPatch,
    actions={"trigger": "Have the queue of a compute cluster looked through"},
)
deployment = Noun(
    "deployment",
    "deployments",
    Deployment,
    DeploymentQuery,
    create=DeploymentRequest,
    is_removable=False,
    actions={"cancel": "Cancel a deployment"},
)


class HistoryStep(BaseModel):
    """Which state followed which."""

    time: datetime
    by: str
    from_state: str | None
    to_state: str
    reason: str | None


class History(BaseModel):
    """The history of a deployment, from its arrival on."""

    history: list[HistoryStep]


async def show_history(request: Request) -> Response:
    """What happened to a deployment."""
    caller = await authenticate(request)
    id: UUID = request.path_params["id"]

    async def work(connection: AsyncConnection) -> list[Row]:
        await deployment.read(connection, id)
        return await fetch(connection, _HISTORY, id=id)

    rows = await state_of(request).database.run(caller, work)
    names = {shown: name for name, shown in _RENAMED.items()}
    steps = [{names.get(name, name): value for name, value in row.items()} for row in rows]
    return _answer(History.model_validate({"history": steps}))


# Routes ---------------------------------------------------------------------------------------------------------------

_TAG = "root"


def _operation(
    handler: Callable[[Request], Awaitable[Response]],
    summary: str,
    model: type[BaseModel],
    *problems: int,
    status: int = 200,
    is_list: bool = False,
    body: type[BaseModel] | None = None,
    **more: Any,
) -> Operation:
    reading = (400, 408, 413) if body else ()
    success = Success(description="a list" if is_list else "done", model=model, is_list=is_list)
    return Operation(
        handler=handler,
        summary=summary,
        tag=_TAG,
        body=body,
        success={status: success},
        problems=(*reading, *problems),
        refusal=Refused,
        **more,
    )


_MAKING = (403, 404, 409)
routes = [
    *compute_cluster.routes(),
    *deployment.routes(),
    resource(
        "/v1/deployments/{id:uuid}/history",
        get=Operation(
            handler=show_history,
            summary="See what happened to a deployment",
            tag="deployments",
            success={200: Success(description="from its arrival on", model=History)},
            problems=(404,),
        ),
    ),
]
_root = [
    resource(
        "/register",
        post=_operation(register, "Sign up by name", Said, 409, status=201, body=RootCredentials, public=True),
    ),
    resource("/login", post=_operation(log_in, "Log in by name", RootLoggedIn, 401, 403, body=RootLogIn, public=True)),
    resource("/logout", post=_operation(log_out, "Log out here", Said, 403)),
    resource(
        "/update_role", post=_operation(update_role, "Give a user a role", RoleChanged, *_MAKING, body=RoleChange)
    ),
    resource(
        "/create_organization",
        post=_operation(
            create_organization,
            "Make an organization",
            OrganizationMade,
            *_MAKING,
            status=201,
            body=OrganizationRequest,
        ),
    ),
    resource(
        "/join_organization",
        post=_operation(join_organization, "Join an organization", Said, *_MAKING, body=RootInviteCode),
    ),
    resource("/leave_organization", post=_operation(leave_organization, "Leave the organization", Said, *_MAKING)),
    resource(
        "/members", get=_operation(members, "List the members of the organization", RootMember, 403, is_list=True)
    ),
    resource(
        "/create_cluster",
        post=_operation(create_cluster, "Make a cluster", RootMade, *_MAKING, status=201, body=RootClusterRequest),
    ),
    resource(
        "/update_cluster", post=_operation(update_cluster, "Change a cluster", Said, *_MAKING, body=RootClusterChange)
    ),
    resource(
        "/delete_cluster", post=_operation(delete_cluster, "Delete a cluster", Said, *_MAKING, body=RootClusterNamed)
    ),
    resource(
        "/clusters", get=_operation(clusters, "List clusters", RootCluster, 400, 403, query=ListQuery, is_list=True)
    ),
    resource(
        "/create_deployment",
        post=_operation(
            create_deployment,
            "Deploy a container",
            RootDeploymentMade,
            *_MAKING,
            status=201,
            body=RootDeploymentRequest,
        ),
    ),
    resource(
        "/deployments",
        get=_operation(deployments, "List deployments here", RootDeployment, 400, 403, query=ListQuery, is_list=True),
    ),
    resource(
        "/deployments/{id:int}",
        get=_operation(
            show_deployment, "See a deployment, its history, and why it waits", RootDeploymentWhole, 403, 404
        ),
    ),
    resource(
        "/cancel_deployment",
        post=_operation(cancel_deployment, "Stop a deployment", RootDeploymentMade, *_MAKING, body=RootDeploymentNamed),
    ),
    resource(
        "/trigger_deployment",
        post=_operation(trigger_deployment, "Look through a cluster's queue", Said, *_MAKING, body=RootClusterNamed),
    ),
]
routes += _root
# Whoever refuses a request to the root surface, and be it before it is known which, speaks as it does.
refusals: dict[str, Refusal] = {route.path.split("/")[1]: refusal for route in _root}
