"""Who is calling: an API key (40 hex digits, of which the database knows the SHA-256) or an access token (a JWT),
either of them in `Authorization: Token …` or in `Authorization: Bearer …` (RFC 6750).

A request acts for one account: that of the key or of the token's org, else the one that the headers `Provision-Account`
and `Provision-Org` name, else the only one the user has.
"""

import hashlib
import re
from typing import NoReturn

import structlog
from sqlalchemy import LargeBinary, Text, Uuid, bindparam, column, func, select
from starlette.requests import Request

from provision_api import token
from provision_api.database import Caller, Row, Statement
from provision_api.problem import Problem
from provision_api.state import state_of

_CREDENTIALS = re.compile(r"(?i:token|bearer) +([!-~]{1,4096})")
_API_KEY = re.compile(r"[0-9a-f]{40}")
_CHALLENGE = 'Token realm="provision", Bearer realm="provision"'
_HINT = "send Authorization: Token <API key of 40 hex digits>, or Authorization: Bearer <access token>"

_log = structlog.get_logger(__name__)

_LOOK_UP = Statement(
    select(
        func.api_key_caller(bindparam("key_hash", type_=LargeBinary)).table_valued(
            column("tenant_customer_id"), column("org_id"), column("name"), column("user_id")
        )
    )
)
_LOGIN_TOKEN = Statement(
    select(
        func.login_token_caller(bindparam("key_hash", type_=LargeBinary)).table_valued(
            column("user_id"), column("username")
        )
    )
)
_session = func.session_caller(
    bindparam("kid", type_=Uuid), bindparam("jti", type_=Uuid), bindparam("user", type_=Uuid)
).table_valued(*(column(name) for name in ("session_id", "user_id", "username", "tenant_customer_id", "org_id")))
_SESSION = Statement(select(_session))
_SCOPE = Statement(
    select(
        func.caller_scope(
            bindparam("user", type_=Uuid),
            bindparam("account", type_=Text),
            bindparam("org", type_=Text),
            bindparam("customer", type_=Uuid),
            bindparam("limit", type_=Uuid),
        ).table_valued(column("tenant_customer_id"), column("org_id"))
    )
)


async def authenticate(request: Request) -> Caller:
    """The caller.

    Raises:
        Problem: 401, malformed credentials without asking the database; 429 if the caller asks too often.
    """
    caller = await _caller(request)
    state_of(request).callers.take(str(caller.user or caller.customer))
    return caller


async def _caller(request: Request) -> Caller:
    text = given(request)
    if _API_KEY.fullmatch(text):
        return await _key_caller(request, text)
    return await _token_caller(request, text)


async def _key_caller(request: Request, key: str) -> Caller:
    found = await state_of(request).database.read(_LOOK_UP, key_hash=hashlib.sha256(key.encode()).digest())
    if not found:
        return await _login_token_caller(request, key)
    scope = await _scope(request, found[0])
    return Caller(scope["tenant_customer_id"], scope["org_id"], found[0]["name"], found[0]["user_id"])


async def _login_token_caller(request: Request, key: str) -> Caller:
    """Whoever has logged in for an opaque token, which looks like an API key."""
    found = await state_of(request).database.read(_LOGIN_TOKEN, key_hash=hashlib.sha256(key.encode()).digest())
    if not found:
        refuse("the API key is not valid", "it is unknown, expired or revoked", error=', error="invalid_token"')
    scope = await _scope(request, {"tenant_customer_id": None, "org_id": None, **found[0]})
    return Caller(scope["tenant_customer_id"], scope["org_id"], found[0]["username"], found[0]["user_id"])


async def _token_caller(request: Request, text: str) -> Caller:
    state = state_of(request)
    try:
        kid, claims = await state.keys.read(text, "access")
    except token.TokenError as error:
        _log.info("access token refused", reason=str(error))
        _refuse_token()
    found = await state.database.read(_SESSION, kid=kid, jti=claims.jti, user=claims.user)
    if not found:
        _refuse_token()
    row, scope = found[0], await _scope(request, found[0])
    account, org = scope["tenant_customer_id"], scope["org_id"]
    return Caller(account, org, row["username"], row["user_id"], row["session_id"], claims.expires)


async def authenticate_in(request: Request, org: str) -> Caller:
    """The caller, acting for an org by slug or id.

    Raises:
        Problem: as `authenticate`.
        psycopg.Error: PV404, the caller does not reach the org.
    """
    caller = await authenticate(request)
    limits = {"customer": caller.customer, "limit": caller.org}
    (scope,) = await state_of(request).database.read(_SCOPE, user=caller.user, account=None, org=org, **limits)
    return caller._replace(customer=scope["tenant_customer_id"], org=scope["org_id"])


async def _scope(request: Request, found: Row) -> Row:
    """The account and org that the headers name, within what the key or token is for; without headers just that."""
    account, org = (request.headers.get(f"provision-{name}") for name in ("account", "org"))
    if account is None and org is None and found["tenant_customer_id"]:
        return found
    limits = {"customer": found["tenant_customer_id"], "limit": found["org_id"]}
    rows = await state_of(request).database.read(_SCOPE, user=found["user_id"], account=account, org=org, **limits)
    return rows[0]


async def scope_within(request: Request, caller: Caller, account: str, org: str) -> Caller:
    """The caller, acting for an account and an org of it that the request names elsewhere than in headers.

    Raises:
        Problem: 404, they are none of the caller's.
    """
    limits = {"customer": caller.customer, "limit": caller.org}
    rows = await state_of(request).database.read(_SCOPE, user=caller.user, account=account, org=org, **limits)
    return caller._replace(customer=rows[0]["tenant_customer_id"], org=rows[0]["org_id"])


def given(request: Request) -> str:
    """The key or token of the request.

    Raises:
        Problem: 401, there is none, or it cannot be one.
    """
    headers = request.headers.getlist("authorization")
    if not headers:
        refuse("credentials are required")
    match = _CREDENTIALS.fullmatch(headers[0])
    if match is None or len(headers) > 1 or not (_API_KEY.fullmatch(match[1]) or token.SHAPE.fullmatch(match[1])):
        refuse("the credentials are malformed", "Authorization", error=', error="invalid_request"')
    return match[1]


def _refuse_token() -> NoReturn:
    refuse("the access token is not valid", "it is forged, expired or ended", error=', error="invalid_token"')


def refuse(title: str, detail: str | None = None, *, hint: str = _HINT, error: str = "") -> NoReturn:
    """Answer 401 with the challenge that belongs to it."""
    raise Problem(401, title, detail, hint=hint, headers={"WWW-Authenticate": _CHALLENGE + error})
