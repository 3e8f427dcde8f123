"""Nodes of clusters, as the program `sliderule` asks for them: the surface under `/api/`.

Paths end with a slash, answers and errors have the fields that program reads, and a cluster is named by the slug of its
org. The same things for people and other programs are in `cluster_resource`.
"""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import structlog
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb
from pydantic import BaseModel, Field
from sqlalchemy import Boolean, Integer, Uuid, bindparam, column, func, select, table
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from provision_api import token
from provision_api.auth import authenticate, authenticate_in, given
from provision_api.database import ANONYMOUS, Caller, Row, Statement, fetch
from provision_api.identity import ask_provider, open_by_identity
from provision_api.oidc import GitHubClient
from provision_api.problem import Problem, problem_of
from provision_api.resource import Handler, Operation, resource
from provision_api.session import (
    Password,
    Token,
    close_session,
    count_attempt,
    next_pair,
    open_by_password,
    read_refresh,
    refuse_refresh,
    run,
    tokens_of,
)
from provision_api.shape import read_body
from provision_api.state import state_of

_log = structlog.get_logger(__name__)


class LogIn(BaseModel):
    """Who logs in to an org."""

    username: str = Field(max_length=254)
    password: Password
    org_name: str = Field(min_length=1, max_length=63)
    mfa_code: str | None = Field(None, pattern=r"^[0-9]{6}$")


class GitHubLogIn(BaseModel):
    """Who logs in to an org with an account at GitHub."""

    org_name: str = Field(min_length=1, max_length=63)
    access_token: str = Field(min_length=1, max_length=1000, pattern=r"^[!-~]+$")


class Refresh(BaseModel):
    """The token to spend, or to end."""

    refresh: Token


class Admin(BaseModel):
    """A platform admin, with the second factor."""

    username: str = Field(max_length=254)
    password: Password
    mfa_code: str = Field(pattern=r"^[0-9]{6}$")


# Statements -----------------------------------------------------------------------------------------------------------


def call(function: str, **types: Any) -> Statement:
    """A call that answers one value."""
    arguments = (bindparam(name, type_=kind) for name, kind in types.items())
    return Statement(select(getattr(func, function)(*arguments).label("value")))


_CLUSTER = (
    *("id", "org", "state", "is_wanted", "current_nodes", "target_nodes", "min_nodes", "max_nodes", "cluster_version"),
    *("is_public", "address", "ready_estimate_date", "shutdown_date", "failure", "progress"),
)
_REQUEST = (
    *("id", "username", "nodes", "state", "created_date", "expires_date", "ready_estimate_date", "effective_date"),
    *("finished_date", "reason", "org_id"),
)
_cluster = table("v_cluster", column("org_id", Uuid), *map(column, _CLUSTER))
_request = table("v_capacity_request", column("id", Uuid), *map(column, _REQUEST[1:]))
CLUSTER = Statement(
    select(*(_cluster.c[name] for name in _CLUSTER)).where(_cluster.c.org_id == bindparam("org", type_=Uuid))
)
_REQUEST_BY_ID = Statement(
    select(
        *(_request.c[name] for name in _REQUEST),
        _cluster.c.org,
        _cluster.c.shutdown_date,
        _cluster.c.state.label("cluster"),
    )
    .select_from(_request.join(_cluster, _cluster.c.org_id == _request.c.org_id))
    .where(_request.c.id == bindparam("id", type_=Uuid))
)
ASK = Statement(
    select(
        func.capacity_request_create(
            bindparam("org", type_=Uuid),
            bindparam("nodes", type_=Integer),
            bindparam("minutes", type_=Integer),
            bindparam("until", type_=TIMESTAMP(timezone=True)),
        ).table_valued(column("id"), column("is_redundant"))
    )
)
REMOVE = call("capacity_request_remove", org=Uuid, of_all=Boolean, id=Uuid)
CONFIGURE = Statement(
    select(
        func.cluster_configure(
            bindparam("org", type_=Uuid), bindparam("body", type_=JSONB), bindparam("version", type_=Integer)
        )
    )
)
_SWITCH = call("cluster_switch", on=Boolean)
_SHUT_OUT = call("session_is_shut_out", kid=Uuid, jti=Uuid, user=Uuid)
_BLACKLIST = call("session_blacklist", kid=Uuid, jti=Uuid, user=Uuid)


# Who asks -------------------------------------------------------------------------------------------------------------


async def member(request: Request) -> Caller:
    """The caller, acting for the org of the path; 403 and not 401 if he was a member and is not active any more."""
    try:
        return await authenticate_in(request, request.path_params["org"])
    except Problem as problem:
        if problem.status == 401 and await _was_member(request):
            _refuse_inactive()
        raise


async def _was_member(request: Request) -> bool:
    try:
        kid, claims = await state_of(request).keys.read(given(request), "access")
    except (token.TokenError, Problem):
        return False
    return await _is_shut_out(request, kid, claims)


async def _is_shut_out(request: Request, kid: UUID, claims: token.Claims) -> bool:
    rows = await run(request, ANONYMOUS, _SHUT_OUT, kid=kid, jti=claims.jti, user=claims.user)
    return bool(rows[0]["value"])


def _refuse_inactive() -> None:
    raise Problem(403, "you are not an active member of this org", hint="ask an owner of the org")


# Tokens ---------------------------------------------------------------------------------------------------------------


def _pair(pair: Row) -> Response:
    signed = tokens_of(pair)
    ends: datetime = pair["access_date"].astimezone(UTC)
    return JSONResponse(
        {
            "exp": f"{ends:%Y-%m-%dT%H:%M:%S}UTC",
            "access_lifetime": str(float(signed.expires_in)),
            "refresh_lifetime": str(float(signed.refresh_expires_in)),
            "refresh": signed.refresh_token,
            "access": signed.access_token,
        }
    )


async def log_in(request: Request) -> Response:
    """Tokens for an org, for a password."""
    body = await read_body(request, LogIn)
    try:
        pair = await open_by_password(request, body.username, body.password, body.org_name, body.mfa_code)
    except Exception as error:
        raise _as_forbidden(error) from None
    return _pair(pair)


async def log_in_by_github(request: Request) -> Response:
    """Tokens for an org, for an access token of a linked account at GitHub."""
    body = await read_body(request, GitHubLogIn)
    await count_attempt(request, "address")
    providers = state_of(request).providers
    clients = (providers.get(name) for name in providers.names())
    client = next((client for client in clients if isinstance(client, GitHubClient)), None)
    if client is None:
        raise Problem(403, "nobody logs in with GitHub here", hint="log in with your password")
    try:
        identity = await ask_provider(client.user(body.access_token))
        pair = await open_by_identity(request, identity, body.org_name, None)
    except Exception as error:
        raise _as_forbidden(error, 401, 404) from None
    return _pair(pair)


def _as_forbidden(error: Exception, *statuses: int) -> Problem:
    """An org that is not there, or that the user is not in, is one to which he may not log in."""
    problem = problem_of(error)
    if problem.status in (statuses or (404,)):
        problem.status, problem.code = 403, "PV403"
    return problem


async def refresh(request: Request) -> Response:
    """The next pair for a refresh token. Whatever access token comes with it is not looked at."""
    known = await read_refresh(request, (await read_body(request, Refresh)).refresh)
    pair = await next_pair(request, known)
    if pair is None:
        if await _is_shut_out(request, *known):
            _refuse_inactive()
        refuse_refresh()
    return _pair(pair)


async def blacklist(request: Request) -> Response:
    """No token of the session is accepted any more."""
    kid, claims = await read_refresh(request, (await read_body(request, Refresh)).refresh)
    rows = await run(request, ANONYMOUS, _BLACKLIST, kid=kid, jti=claims.jti, user=claims.user)
    return JSONResponse({}) if rows[0]["value"] else refuse_refresh()


async def membership_status(request: Request) -> Response:
    """That the caller is an active member; nodes let in who gets 200."""
    await member(request)
    return JSONResponse({"active": True})


# Nodes ----------------------------------------------------------------------------------------------------------------


async def read_cluster(connection: AsyncConnection, org: UUID | None) -> Row:
    """The cluster of an org.

    Raises:
        Problem: 404.
    """
    rows = await fetch(connection, CLUSTER, org=org)
    if not rows:
        raise Problem(404, "the org has no cluster", hint="ask the operators for one")
    return rows[0]


async def _find(request: Request) -> Row:
    caller = await member(request)
    return await state_of(request).database.run(caller, lambda connection: read_cluster(connection, caller.org))


async def num_nodes(request: Request) -> Response:
    """How many nodes there are, and may be."""
    cluster = await _find(request)
    counts = {name: int(cluster[name]) for name in ("min_nodes", "current_nodes", "max_nodes")}
    known = {"version": cluster["cluster_version"], "is_public": cluster["is_public"], "state": cluster["state"]}
    return JSONResponse({"status": "SUCCESS"} | counts | known)


async def ip_address(request: Request) -> Response:
    """Where the load balancer is."""
    cluster = await _find(request)
    if cluster["address"] is None or cluster["state"] != "up":
        raise Problem(
            503, "the cluster is not deployed", cluster["state"], hint="ask for nodes, and wait until it is up"
        )
    return JSONResponse({"status": "SUCCESS", "ip_address": cluster["address"]})


async def desire(request: Request) -> Response:
    """Nodes until the access token ends."""
    caller = await member(request)
    if caller.until is None:
        raise Problem(400, "an API key does not end", hint="log in, or name a time: desired_org_num_nodes_ttl")
    return await _ask(request, caller, None, caller.until)


async def desire_for(request: Request) -> Response:
    """Nodes for some minutes."""
    caller = await member(request)
    return await _ask(request, caller, whole(request, "ttl"), None)


def whole(request: Request, name: str) -> int:
    """A number of the path."""
    text: str = request.path_params[name]
    if not text.lstrip("-").isascii() or not text.lstrip("-").isdecimal() or len(text) > 9:
        raise Problem(400, f"{name} must be a whole number", text[:100], hint="give digits only")
    return int(text)


async def _ask(request: Request, caller: Caller, minutes: int | None, until: datetime | None) -> Response:
    nodes = whole(request, "nodes")

    async def ask(connection: AsyncConnection) -> Row:
        (asked,) = await fetch(connection, ASK, org=caller.org, nodes=nodes, minutes=minutes, until=until)
        return asked | (await fetch(connection, _REQUEST_BY_ID, id=asked["id"]))[0]

    asked = await state_of(request).database.run(caller, ask)
    document = _document(asked)
    until_when, ready = document["expires_at"], document["ready_at"]
    msg = f"{asked['nodes']} nodes of {asked['org']} until {until_when}; about ready at {ready}"
    msg += f"; the cluster is {asked['cluster'].replace('_', ' ')}"
    if document["shutdown_at"]:
        msg += f", and goes at {document['shutdown_at']}"
    if asked["is_redundant"]:
        msg = f"asked for already: {msg}"
    status = {"status": "REDUNDANT" if asked["is_redundant"] else "QUEUED", "msg": msg, "error_msg": ""}
    return JSONResponse(document | status)


def _document(asked: Row) -> dict[str, Any]:
    """A request and what became of it."""
    dates = ("created_date", "expires_date", "ready_estimate_date", "effective_date", "finished_date", "shutdown_date")
    names = ("created_at", "expires_at", "ready_at", "effective_at", "finished_at", "shutdown_at")
    return {
        "id": str(asked["id"]),
        "url": f"/api/capacity_request/{asked['id']}/",
        "org": asked["org"],
        "username": asked["username"],
        "nodes": asked["nodes"],
        "state": asked["state"],
        "reason": asked["reason"],
        "cluster": asked["cluster"],
    } | {name: moment(asked[date]) for name, date in zip(names, dates, strict=True)}


def moment(date: datetime | None) -> str | None:
    """A time of the database in UTC."""
    return None if date is None else f"{date.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


async def show_request(request: Request) -> Response:
    """What became of a request."""
    caller = await authenticate(request)
    id: UUID = request.path_params["id"]
    found = await state_of(request).database.run(caller, lambda connection: fetch(connection, _REQUEST_BY_ID, id=id))
    if not found:
        raise Problem(404, "the request is not found", str(id), hint="the answer to your request has its URL")
    return JSONResponse({"status": "SUCCESS"} | _document(found[0]))


async def remove_own(request: Request) -> Response:
    """The caller's requests are over."""
    return await _remove(request, of_all=False)


async def remove_all(request: Request) -> Response:
    """Everybody's requests are over."""
    return await _remove(request, of_all=True)


async def _remove(request: Request, *, of_all: bool) -> Response:
    caller = await member(request)
    rows = await run(request, caller, REMOVE, org=caller.org, of_all=of_all, id=None)
    return JSONResponse({"status": "SUCCESS", "msg": f"{rows[0]['value']} requests were taken back", "error_msg": ""})


async def configure(request: Request) -> Response:
    """Other limits."""
    caller = await member(request)
    limits = {"min_nodes": whole(request, "min"), "max_nodes": whole(request, "max")}
    await run(request, caller, CONFIGURE, org=caller.org, body=Jsonb(limits), version=None)
    msg = f"{limits['min_nodes']} to {limits['max_nodes']} nodes"
    return JSONResponse({"status": "SUCCESS", "msg": msg, "error_msg": ""})


async def disable(request: Request) -> Response:
    """Nothing is provisioned from now on."""
    return await _switch(request, on=False)


async def enable(request: Request) -> Response:
    """Everything is provisioned again."""
    return await _switch(request, on=True)


async def _switch(request: Request, *, on: bool) -> Response:
    body = await read_body(request, Admin)
    pair = await open_by_password(request, body.username, body.password, None, body.mfa_code, needs_code=True)
    admin = Caller(None, None, pair["username"], pair["user_id"], pair["session_id"])
    try:
        await run(request, admin, _SWITCH, on=on)
    finally:
        await close_session(request, admin)
    word = "on" if on else "off"
    _log.warning("provisioning switched", to=word, by=admin.name)
    return JSONResponse({"status": "SUCCESS", "msg": f"provisioning is switched {word}", "error_msg": ""})


# Routes ---------------------------------------------------------------------------------------------------------------


def _at(path: str, *, public: bool = False, **handlers: Handler) -> Route:
    """A path of the surface; its client knows it, so OpenAPI need not tell of it."""
    operations = {
        method: Operation(handler=handler, summary=path, tag="cluster", success={}, public=public, is_described=False)
        for method, handler in handlers.items()
    }
    return resource(f"/api/{path}/", **operations)


routes = [
    _at("org_token", post=log_in, public=True),
    _at("org_token_github", post=log_in_by_github, public=True),
    _at("org_token/refresh", post=refresh, public=True),
    _at("token/blacklist", post=blacklist, public=True),
    _at("membership_status/{org}", get=membership_status),
    _at("org_num_nodes/{org}", get=num_nodes),
    _at("org_ip_adr/{org}", get=ip_address),
    _at("desired_org_num_nodes/{org}/{nodes}", put=desire),
    _at("desired_org_num_nodes_ttl/{org}/{nodes}/{ttl}", post=desire_for),
    _at("capacity_request/{id:uuid}", get=show_request),
    _at("remove_user_org_num_nodes_reqs/{org}", put=remove_own),
    _at("remove_all_org_num_nodes_reqs/{org}", put=remove_all),
    _at("org_config/{org}/{min}/{max}", put=configure),
    _at("disable_provisioning", put=disable, public=True),
    _at("enable_provisioning", put=enable, public=True),
]
