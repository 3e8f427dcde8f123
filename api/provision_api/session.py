"""Signing up, logging in and out, and what a user can do about their own credentials.

`login_begin()` counts the attempt and gives the hash, `session_open()` makes the session once the password was right;
tokens are signed here. What a session may do, and whether it still may, is decided in the database.
"""

import ipaddress
from datetime import datetime
from typing import Annotated, Any, Literal, NoReturn
from uuid import UUID

import structlog
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import BigInteger, Boolean, Text, Uuid, bindparam, column, func, select
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from provision_api import password, token, totp
from provision_api.auth import authenticate, refuse
from provision_api.database import ANONYMOUS, Caller, Row, Statement, fetch
from provision_api.problem import FieldError, Problem
from provision_api.resource import Header, Operation, Success, resource
from provision_api.shape import read_body, read_query
from provision_api.state import state_of

Username = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,149}$", examples=["jane"])]
Email = Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$", max_length=254, examples=["jane@example.net"])]
# Longer ones are refused before anything is counted or compared, of every user alike.
Password = Annotated[str, Field(max_length=password.BYTES_MAXIMUM)]
Code = Annotated[str, Field(pattern=r"^[0-9]{6}$", description="the present code of your authenticator")]
OrgName = Annotated[str, Field(min_length=1, max_length=63, description="slug or id of the org to limit it to")]
Token = Annotated[str, Field(max_length=token.LENGTH_LIMIT)]

_log = structlog.get_logger(__name__)


class Body(BaseModel):
    """A body without other fields."""

    model_config = ConfigDict(extra="forbid")


class Registration(Body):
    """Who signs up."""

    username: Username
    email: Email
    name: str = Field("", max_length=200, description="for people")
    password: Password = Field(description="8 characters at least, 1024 bytes at most")


class Registered(BaseModel):
    """A user who has to verify the e-mail address yet."""

    id: UUID
    username: str


class CodeRequest(Body):
    """Who did not get a code."""

    username: Username


class Verification(Body):
    """The code that came."""

    username: Username
    code: str = Field(max_length=20)


class LogIn(Body):
    """Who logs in."""

    username: str = Field(max_length=254)
    password: Password
    org: OrgName | None = None
    totp: Code | None = None


class Refresh(Body):
    """The token to spend."""

    refresh_token: Token


class Tokens(BaseModel):
    """What a log-in gives."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"
    expires_in: int = Field(description="seconds")
    refresh_token: str = Field(description="good for the next pair, once")
    refresh_expires_in: int = Field(description="seconds")
    org: str | None = Field(description="slug of the org the tokens are limited to")


class LogOut(BaseModel):
    """What is ended."""

    model_config = ConfigDict(extra="forbid")

    all: bool = Field(False, description="every session of yours, not only this one")


class LinkedIdentity(BaseModel):
    """An account elsewhere that may log in as the user."""

    id: UUID
    issuer: str
    subject: str


class Me(BaseModel):
    """The caller, and what this request is for."""

    id: UUID
    username: str
    name: str | None
    email: str | None
    is_platform_admin: bool
    is_staff: bool
    is_support: bool
    is_identity_manager: bool
    has_password: bool
    has_totp: bool
    identities: list[LinkedIdentity]
    tenant_customer_id: UUID | None = Field(description="the account this request is for")
    org_id: UUID | None = Field(description="the org this request is for; null: all of the account's")


class PasswordChange(Body):
    """The next password."""

    current: Password | None = Field(None, description="needed if there is one")
    new: Password


class TotpRequest(Body):
    """Who wants a second factor."""

    password: Password | None = Field(None, description="needed if there is one")


class TotpSecret(BaseModel):
    """The key of a generator that has to be confirmed yet; it is shown this once."""

    secret: str = Field(description="base32")
    uri: str = Field(description="as a QR code has it")


class TotpCode(Body):
    """A code of the generator."""

    totp: Code


class KeySet(BaseModel):
    """Public keys (RFC 7517)."""

    keys: list[dict[str, Any]]


# Statements -----------------------------------------------------------------------------------------------------------


def _call(function: str, **types: Any) -> Any:
    return getattr(func, function)(*(bindparam(name, type_=kind) for name, kind in types.items()))


def _rows(function: str, columns: str, **types: Any) -> Statement:
    return Statement(select(_call(function, **types).table_valued(*map(column, columns.split()))))


def _value(function: str, **types: Any) -> Statement:
    return Statement(select(_call(function, **types).label("value")))


_PAIR = "session_id user_id username org key_id algorithm secret"
_PAIR += " issued_date access_jti access_date refresh_jti refresh_date"
_ATTEMPT = _value("attempt_take", kind=Text, key=Text)
_BEGIN = _rows("login_begin", "retry_after user_id password_hash totp_secret now_seconds", username=Text, address=Text)
_OPEN = _rows("session_open", _PAIR, user=Uuid, org=Text, step=BigInteger, how=Text)
_REFRESH = _rows("session_refresh", _PAIR, kid=Uuid, jti=Uuid, user=Uuid)
_REHASH = _value("password_rehash", user=Uuid, old=Text, new=Text)
_CLOSE = _value("session_close", session=Uuid, all=Boolean)
_REGISTER = _value("user_register", username=Text, email=Text, name=Text, password_hash=Text)
_VERIFY = _value("user_verify", username=Text, code=Text)
_AGAIN = _value("verification_again", username=Text)
_ME = _value("session_me")
_MINE = _rows("credential_mine", "retry_after password_hash totp_secret is_confirmed now_seconds")
_CHANGE = _value("password_change", password_hash=Text, session=Uuid)
_ENROL = _value("totp_enrol", secret=Text)
_CONFIRM = _value("totp_confirm", step=BigInteger)
_REMOVE = _value("totp_remove", step=BigInteger)
_PUBLIC = _rows("signing_key_public", "kid secret")


async def run(request: Request, caller: Caller, statement: Statement, **values: Any) -> list[Row]:
    """Rows of one statement in a transaction of the caller's."""
    return await state_of(request).database.run(caller, lambda connection: fetch(connection, statement, **values))


# Attempts -------------------------------------------------------------------------------------------------------------


def address_of(request: Request) -> str:
    """Whom to count: the address, of IPv6 the network of 64 bits, of which one machine has all."""
    host = request.client.host if request.client else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host[:64]
    if isinstance(address, ipaddress.IPv6Address):
        return str(address.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False))
    return str(address)


async def count_attempt(request: Request, kind: Literal["address", "register"]) -> None:
    """Count one of this address.

    Raises:
        Problem: 429, it was one too many.
    """
    rows = await run(request, ANONYMOUS, _ATTEMPT, kind=kind, key=address_of(request))
    refuse_too_many(rows[0]["value"])


def refuse_too_many(seconds: int) -> None:
    """Answer 429 if there are seconds to wait."""
    if seconds:
        headers = {"Retry-After": str(seconds)}
        raise Problem(429, "too many attempts", f"try again in {seconds} seconds", headers=headers)


# Signing up -----------------------------------------------------------------------------------------------------------


async def register(request: Request) -> Response:
    """A new user, who may log in once the address is verified."""
    body = await read_body(request, Registration)
    password.check(body.password, body.username)
    await count_attempt(request, "register")
    hashed = await state_of(request).hasher.hash(body.password)
    given = body.model_dump(include={"username", "email", "name"})
    rows = await run(request, ANONYMOUS, _REGISTER, **given, password_hash=hashed)
    answer = Registered(id=rows[0]["value"], username=body.username)
    return JSONResponse(answer.model_dump(mode="json"), 201, {"Location": "/v1/register/verify"})


async def send_again(request: Request) -> Response:
    """A new code; whether there is such a user is not told."""
    body = await read_body(request, CodeRequest)
    await count_attempt(request, "register")
    await run(request, ANONYMOUS, _AGAIN, username=body.username)
    return Response(status_code=202)


async def verify(request: Request) -> Response:
    """The code comes back."""
    body = await read_body(request, Verification)
    await count_attempt(request, "address")
    rows = await run(request, ANONYMOUS, _VERIFY, username=body.username, code=body.code)
    if not rows[0]["value"]:
        hint = "POST /v1/register/code sends another"
        raise Problem(422, "the code is not valid", "it is wrong, expired or was tried too often", hint=hint)
    return Response(status_code=204)


# Logging in and out ---------------------------------------------------------------------------------------------------


async def log_in(request: Request) -> Response:
    """A session, for the right password and, if there is one, the second factor."""
    body = await read_body(request, LogIn)
    return _answer(await open_by_password(request, body.username, body.password, body.org, body.totp))


async def open_by_password(
    request: Request, username: str, password: str, org: str | None, code: str | None, *, needs_code: bool = False
) -> Row:
    """A new session, for the right password and, if there is one or it is needed, the second factor."""
    (begun,) = await run(request, ANONYMOUS, _BEGIN, username=username, address=address_of(request))
    refuse_too_many(begun["retry_after"])
    hasher = state_of(request).hasher
    if not await hasher.verify(password, begun["password_hash"]):
        _log.info("log-in refused", username=username, address=address_of(request))
        refuse("the username or the password is not right", hint="POST /v1/register makes a new user")
    if needs_code and begun["totp_secret"] is None:
        refuse("a second factor is required", "the user has none", hint="provision admin mfa")
    pair = await open_session(request, begun, org, code, "password")
    if hasher.is_outdated(begun["password_hash"]):
        new = await hasher.hash(password)
        await run(request, ANONYMOUS, _REHASH, user=begun["user_id"], old=begun["password_hash"], new=new)
    return pair


async def open_session(request: Request, user: Row, org: str | None, code: str | None, how: str) -> Row:
    """A new session of a user who has shown who they are, but for the second factor."""
    secret = user["totp_secret"]
    step = totp.matching_step(secret, code, user["now_seconds"]) if secret and code else None
    (pair,) = await run(request, ANONYMOUS, _OPEN, user=user["user_id"], org=org, step=step, how=how)
    return pair


async def close_session(request: Request, caller: Caller) -> None:
    """End the caller's session."""
    await run(request, caller, _CLOSE, session=caller.session, all=False)


async def refresh(request: Request) -> Response:
    """The next pair for a refresh token, which is spent."""
    body = await read_body(request, Refresh)
    pair = await next_pair(request, await read_refresh(request, body.refresh_token))
    return refuse_refresh() if pair is None else _answer(pair)


async def read_refresh(request: Request, text: str) -> tuple[UUID, token.Claims]:
    """The key's id and the claims of a refresh token that we have signed.

    Raises:
        Problem: 401.
    """
    try:
        return await state_of(request).keys.read(text, "refresh")
    except token.TokenError as error:
        _log.info("refresh token refused", reason=str(error))
        refuse_refresh()


async def next_pair(request: Request, known: tuple[UUID, token.Claims]) -> Row | None:
    """The next pair of tokens for a refresh token, which is spent; None: it is not good any more."""
    kid, claims = known
    pairs = await run(request, ANONYMOUS, _REFRESH, kid=kid, jti=claims.jti, user=claims.user)
    return pairs[0] if pairs else None


def refuse_refresh() -> NoReturn:
    """Answer 401."""
    refuse("the refresh token is not valid", "it is forged, expired, ended or was used before", hint="log in again")


def _answer(pair: Row) -> Response:
    return JSONResponse(tokens_of(pair).model_dump(mode="json"), 201)


def tokens_of(pair: Row) -> Tokens:
    """The signed tokens of a pair."""
    key = token.Key(pair["key_id"], pair["algorithm"], bytes(pair["secret"]), pair["org"])
    holder = token.Holder(pair["user_id"], pair["username"], pair["org"])
    issued: datetime = pair["issued_date"]
    return Tokens(
        access_token=token.sign(key, "access", holder, pair["access_jti"], issued, pair["access_date"]),
        expires_in=int((pair["access_date"] - issued).total_seconds()),
        refresh_token=token.sign(key, "refresh", holder, pair["refresh_jti"], issued, pair["refresh_date"]),
        refresh_expires_in=int((pair["refresh_date"] - issued).total_seconds()),
        org=pair["org"],
    )


async def log_out(request: Request) -> Response:
    """No token of the session is accepted any more."""
    caller = await authenticate_session(request)
    query = read_query(request, LogOut)
    await run(request, caller, _CLOSE, session=caller.session, all=query.all)
    return Response(status_code=204)


async def authenticate_session(request: Request) -> Caller:
    """The caller, who must have logged in: what keys may not do."""
    caller = await authenticate(request)
    if caller.session is None:
        raise Problem(403, "an API key may not do this", hint="log in: POST /v1/sessions")
    return caller


async def show_keys(request: Request) -> Response:
    """The public halves of the keys that sign tokens for no org in particular."""
    rows = await run(request, ANONYMOUS, _PUBLIC)
    keys = [token.public_key(row["kid"], bytes(row["secret"])) for row in rows]
    return JSONResponse({"keys": keys}, headers={"Cache-Control": "public, max-age=300"})


# The caller's own -----------------------------------------------------------------------------------------------------


async def show_me(request: Request) -> Response:
    """Who the caller is."""
    caller = await authenticate(request)
    rows = await run(request, caller, _ME)
    if rows[0]["value"] is None:
        raise Problem(404, "there is no user behind this key", caller.name, hint="log in: POST /v1/sessions")
    return JSONResponse(rows[0]["value"])


async def change_password(request: Request) -> Response:
    """Another password; all other sessions end."""
    caller = await authenticate_session(request)
    body = await read_body(request, PasswordChange)
    password.check(body.new, caller.name, "/new")
    await _prove(request, caller, body.current, "/current")
    hashed = await state_of(request).hasher.hash(body.new)
    await run(request, caller, _CHANGE, password_hash=hashed, session=caller.session)
    return Response(status_code=204)


async def enrol_totp(request: Request) -> Response:
    """A key for an authenticator, which counts once it has shown a code."""
    caller = await authenticate_session(request)
    body = await read_body(request, TotpRequest)
    await _prove(request, caller, body.password, "/password")
    secret = totp.new_secret()
    await run(request, caller, _ENROL, secret=secret)
    return JSONResponse(TotpSecret(secret=secret, uri=totp.uri(secret, caller.name)).model_dump(), 201)


async def confirm_totp(request: Request) -> Response:
    """The authenticator works: log-ins ask for it from now on."""
    caller = await authenticate_session(request)
    await run(request, caller, _CONFIRM, step=await _shown_step(request, caller, False))
    return Response(status_code=204)


async def remove_totp(request: Request) -> Response:
    """No second factor any more, for a last code of it."""
    caller = await authenticate_session(request)
    await run(request, caller, _REMOVE, step=await _shown_step(request, caller, True))
    return Response(status_code=204)


async def _prove(request: Request, caller: Caller, given: str | None, pointer: str) -> None:
    """Whoever holds a session that was left open does not know the password."""
    (mine,) = await run(request, caller, _MINE)
    refuse_too_many(mine["retry_after"])
    if mine["password_hash"] and not await state_of(request).hasher.verify(given or "", mine["password_hash"]):
        raise Problem(403, "the password is not right", errors=[FieldError(pointer, "is not your present password")])


async def _shown_step(request: Request, caller: Caller, is_confirmed: bool) -> int:
    body = await read_body(request, TotpCode)
    (mine,) = await run(request, caller, _MINE)
    refuse_too_many(mine["retry_after"])
    if mine["totp_secret"] is None or mine["is_confirmed"] is not is_confirmed:
        raise Problem(409, "there is no second factor that waits for this", hint="POST /v1/me/totp makes one")
    step = totp.matching_step(mine["totp_secret"], body.totp, mine["now_seconds"])
    if step is None:
        raise Problem(422, "the code is not right", errors=[FieldError("/totp", "is not the present code")])
    return step


# Routes ---------------------------------------------------------------------------------------------------------------

RETRY_AFTER = {"Retry-After": Header(description="seconds", schema={"type": "integer"})}
_TAG = "session"
TOKENS = {201: Success(description="logged in", model=Tokens)}
_DONE = {204: Success(description="done")}


def _own(handler: Any, summary: str, body: type[BaseModel], **more: Any) -> Operation:
    """Something that the caller does with their own credentials."""
    problems = (400, 403, 409, 413, 415, 422, 429)
    return Operation(
        handler=handler, summary=summary, tag=_TAG, body=body, problems=problems, **{"success": _DONE} | more
    )


def _public(handler: Any, summary: str, body: type[BaseModel], success: dict[int, Success], *more: int) -> Operation:
    """Something that needs no credentials."""
    problems = (400, 413, 415, 429, *more)
    return Operation(
        handler=handler, summary=summary, tag=_TAG, body=body, success=success, problems=problems, public=True
    )


routes = [
    resource(
        "/v1/register",
        post=_public(
            register, "Sign up", Registration, {201: Success(description="signed up", model=Registered)}, 409, 422
        ),
    ),
    resource(
        "/v1/register/code",
        post=_public(
            send_again, "Get another code", CodeRequest, {202: Success(description="sent if there is such a user")}
        ),
    ),
    resource("/v1/register/verify", post=_public(verify, "Verify the e-mail address", Verification, _DONE, 422)),
    resource(
        "/v1/sessions",
        post=_public(log_in, "Log in", LogIn, TOKENS, 401, 403, 404),
        delete=Operation(
            handler=log_out,
            summary="Log out",
            tag=_TAG,
            query=LogOut,
            success=_DONE,
            problems=(400, 403),
        ),
    ),
    resource("/v1/sessions/refresh", post=_public(refresh, "Get the next pair of tokens", Refresh, TOKENS, 401)),
    resource(
        "/v1/me",
        get=Operation(
            handler=show_me,
            summary="Who am I?",
            tag=_TAG,
            success={200: Success(description="the caller", model=Me)},
            problems=(404,),
        ),
    ),
    resource("/v1/me/password", post=_own(change_password, "Change the password", PasswordChange)),
    resource(
        "/v1/me/totp",
        post=_own(
            enrol_totp,
            "Begin to use a second factor (TOTP)",
            TotpRequest,
            success={201: Success(description="to be confirmed", model=TotpSecret)},
        ),
    ),
    resource("/v1/me/totp/confirm", post=_own(confirm_totp, "Show that the authenticator works", TotpCode)),
    resource("/v1/me/totp/remove", post=_own(remove_totp, "Use no second factor any more", TotpCode)),
    resource(
        "/.well-known/jwks.json",
        get=Operation(
            handler=show_keys,
            summary="Public keys that tokens for no org in particular are signed with",
            tag=_TAG,
            success={200: Success(description="a JSON Web Key Set", model=KeySet)},
            public=True,
        ),
    ),
]
