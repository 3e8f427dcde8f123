"""Logging in with an account elsewhere, and linking one to the user who is logged in.

`POST /v1/identities` begins: the client keeps `flow` to itself and sends the browser to `authorization_url`. What the
browser brings back to the client (`code`, `state`) goes with `flow` to `…/login` or `…/link`, once. So a code that
somebody else slips in does nothing: the one who finishes must be the one who began.
"""

import hashlib
from collections.abc import Awaitable
from typing import Annotated, NoReturn, TypeVar
from uuid import UUID

import structlog
from pydantic import BaseModel, Field
from sqlalchemy import LargeBinary, Text, Uuid, bindparam, column, func, select
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from provision_api.auth import refuse
from provision_api.database import ANONYMOUS, Row, Statement
from provision_api.oidc import Client, Identity, IdentityError, IssuerError, new_flow
from provision_api.problem import FieldError, Problem
from provision_api.resource import Operation, Success, resource
from provision_api.session import (
    TOKENS,
    Body,
    Code,
    LinkedIdentity,
    OrgName,
    authenticate_session,
    count_attempt,
    open_session,
    run,
    tokens_of,
)
from provision_api.shape import read_body
from provision_api.state import state_of

T = TypeVar("T")
Secret = Annotated[str, Field(max_length=200)]

_log = structlog.get_logger(__name__)


class Providers(BaseModel):
    """Where users may log in."""

    providers: list[str]


class Begin(Body):
    """Where to log in."""

    provider: str = Field(max_length=100)
    redirect_uri: str | None = Field(None, max_length=2000, description="one of those that are configured")
    link: bool = Field(False, description="to link the account to the caller, who must be logged in")


class Begun(BaseModel):
    """What to go on with."""

    authorization_url: str = Field(description="send the browser there")
    flow: str = Field(description="keep it, and finish with it")


class Finish(Body):
    """What the browser came back with."""

    flow: Secret
    state: Secret
    code: str = Field(max_length=2000)


class FinishLogIn(Finish):
    """What the browser came back with, and for what to log in."""

    org: OrgName | None = None
    totp: Code | None = None


_BEGIN = Statement(
    select(
        func.identity_begin(
            bindparam("flow", type_=LargeBinary),
            bindparam("provider", type_=Text),
            bindparam("state", type_=LargeBinary),
            bindparam("nonce", type_=Text),
            bindparam("verifier", type_=Text),
            bindparam("redirect_uri", type_=Text),
        )
    )
)
_TAKE = Statement(
    select(
        func.identity_take(bindparam("flow", type_=LargeBinary), bindparam("state", type_=LargeBinary)).table_valued(
            *map(column, ("provider", "nonce", "verifier", "redirect_uri", "user_id"))
        )
    )
)
_LOG_IN = Statement(
    select(
        func.identity_login(bindparam("issuer", type_=Text), bindparam("subject", type_=Text)).table_valued(
            *map(column, ("user_id", "totp_secret", "now_seconds"))
        )
    )
)
_LINK = Statement(
    select(
        func.identity_link(
            bindparam("issuer", type_=Text), bindparam("subject", type_=Text), bindparam("user", type_=Uuid)
        ).label("id")
    )
)
_UNLINK = Statement(select(func.identity_unlink(bindparam("id", type_=Uuid))))


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


async def list_providers(request: Request) -> Response:
    """Where users may log in."""
    return JSONResponse({"providers": state_of(request).providers.names()})


async def begin(request: Request) -> Response:
    """A log-in elsewhere begins."""
    body = await read_body(request, Begin)
    caller = await authenticate_session(request) if body.link else ANONYMOUS
    client, redirect_uri = _wanted(request, body)
    await count_attempt(request, "address")
    flow = new_flow()
    url = await ask_provider(client.authorization_url(flow, redirect_uri))
    secrets = {"flow": _digest(flow.flow), "state": _digest(flow.state), "nonce": flow.nonce, "verifier": flow.verifier}
    await run(request, caller, _BEGIN, provider=body.provider, redirect_uri=redirect_uri, **secrets)
    return JSONResponse(Begun(authorization_url=url, flow=flow.flow).model_dump(), 201)


def _wanted(request: Request, body: Begin) -> tuple[Client, str]:
    client = state_of(request).providers.get(body.provider)
    if client is None:
        raise Problem(404, "there is no such provider", body.provider, hint="GET /v1/identities lists them")
    allowed = client.provider.redirect_uris
    redirect_uri = allowed[0] if body.redirect_uri is None else body.redirect_uri
    if redirect_uri not in allowed:
        wrong = FieldError("/redirect_uri", "is not one of those that are configured")
        raise Problem(422, "the browser may not be sent back there", errors=[wrong])
    return client, redirect_uri


async def log_in(request: Request) -> Response:
    """A session, for an account elsewhere that is linked to a user."""
    body = await read_body(request, FinishLogIn)
    await count_attempt(request, "address")
    identity = await finish(request, body, None)
    pair = await open_by_identity(request, identity, body.org, body.totp)
    return JSONResponse(tokens_of(pair).model_dump(mode="json"), 201)


async def open_by_identity(request: Request, identity: Identity, org: str | None, code: str | None) -> Row:
    """A new session of the user whom an account elsewhere is linked to."""
    users = await run(request, ANONYMOUS, _LOG_IN, **identity._asdict())
    if not users:
        hint = "log in with your password and link it: POST /v1/identities with link"
        refuse("this account is not linked to a user", identity.issuer, hint=hint)
    return await open_session(request, users[0], org, code, identity.issuer)


async def link(request: Request) -> Response:
    """The caller may log in with that account from now on."""
    caller = await authenticate_session(request)
    body = await read_body(request, Finish)
    identity = await finish(request, body, caller.user)
    rows = await run(request, caller, _LINK, **identity._asdict(), user=caller.user)
    answer = LinkedIdentity(id=rows[0]["id"], issuer=identity.issuer, subject=identity.subject)
    return JSONResponse(answer.model_dump(mode="json"), 201, {"Location": f"/v1/identities/{answer.id}"})


async def unlink(request: Request) -> Response:
    """The account may not log in as the caller any more."""
    caller = await authenticate_session(request)
    try:
        id = UUID(request.path_params["id"])
    except ValueError:
        raise Problem(404, "identity not found", request.path_params["id"][:100], hint="GET /v1/me") from None
    await run(request, caller, _UNLINK, id=id)
    return Response(status_code=204)


async def finish(request: Request, body: Finish, user: UUID | None) -> Identity:
    """Who it is; the flow must have been begun by the same user, or by nobody in particular for a log-in."""
    rows = await run(request, ANONYMOUS, _TAKE, flow=_digest(body.flow), state=_digest(body.state))
    if not rows or rows[0]["user_id"] != user:
        _refuse("it is unknown, expired or was finished before")
    taken: Row = rows[0]
    client = state_of(request).providers.get(taken["provider"])
    if client is None:
        _refuse("its provider is no longer configured")
    return await ask_provider(client.identify(body.code, taken["verifier"], taken["nonce"], taken["redirect_uri"]))


def _refuse(reason: str) -> NoReturn:
    refuse("this log-in cannot be finished", reason, hint="begin anew: POST /v1/identities")


async def ask_provider(question: Awaitable[T]) -> T:
    """What a provider answers.

    Raises:
        Problem: 401 it does not show who somebody is, 503 it cannot be asked.
    """
    try:
        return await question
    except IdentityError as error:
        _log.info("identity refused", reason=str(error))
        _refuse(str(error))
    except IssuerError as error:
        _log.warning("identity provider failed", reason=str(error))
        raise Problem(503, "the provider cannot be asked") from None


_TAG = "session"
_PROBLEMS = (400, 401, 404, 413, 415, 422, 429)
routes = [
    resource(
        "/v1/identities",
        get=Operation(
            handler=list_providers,
            summary="Where users may log in",
            tag=_TAG,
            success={200: Success(description="names of providers", model=Providers)},
            public=True,
        ),
        post=Operation(
            handler=begin,
            summary="Begin to log in, or to link an account, elsewhere",
            tag=_TAG,
            body=Begin,
            success={201: Success(description="begun", model=Begun)},
            problems=(*_PROBLEMS, 403),
            public=True,
        ),
    ),
    resource(
        "/v1/identities/login",
        post=Operation(
            handler=log_in,
            summary="Finish to log in",
            tag=_TAG,
            body=FinishLogIn,
            success=TOKENS,
            problems=(*_PROBLEMS, 403),
            public=True,
        ),
    ),
    resource(
        "/v1/identities/link",
        post=Operation(
            handler=link,
            summary="Finish to link an account",
            tag=_TAG,
            body=Finish,
            success={201: Success(description="linked", model=LinkedIdentity)},
            problems=(*_PROBLEMS, 403, 409),
        ),
    ),
    resource(
        "/v1/identities/{id}",
        delete=Operation(
            handler=unlink,
            summary="Unlink an account",
            tag=_TAG,
            success={204: Success(description="done")},
            problems=(403, 404),
        ),
    ),
]
