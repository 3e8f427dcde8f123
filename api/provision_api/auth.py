"""Who is calling: an API key in `Authorization: Token <key>`, or in `Authorization: Bearer <key>` for clients that know
only that (RFC 6750). A key is 40 hex digits; the database knows its SHA-256.
"""

import hashlib
import re
from typing import NoReturn

from sqlalchemy import LargeBinary, bindparam, column, func, select
from starlette.requests import Request

from provision_api.database import Caller, Statement
from provision_api.problem import Problem
from provision_api.state import state_of

_CREDENTIALS = re.compile(r"(?i:token|bearer) +([0-9a-f]{40})")
_CHALLENGE = 'Token realm="provision", Bearer realm="provision"'
_HINT = "send Authorization: Token <API key of 40 hex digits>"

_LOOK_UP = Statement(
    select(
        func.api_key_caller(bindparam("key_hash", type_=LargeBinary)).table_valued(
            column("tenant_customer_id"), column("org_id"), column("name"), column("user_id")
        )
    )
)


async def authenticate(request: Request) -> Caller:
    """The caller.

    Raises:
        Problem: 401; malformed credentials are refused without asking the database.
    """
    found = await state_of(request).database.read(_LOOK_UP, key_hash=hashlib.sha256(_key(request)).digest())
    if not found:
        _refuse("the API key is not valid", "it is unknown, expired or revoked", error=', error="invalid_token"')
    key = found[0]
    return Caller(key["tenant_customer_id"], key["org_id"], key["name"], key["user_id"])


def _key(request: Request) -> bytes:
    given = request.headers.getlist("authorization")
    if not given:
        _refuse("credentials are required")
    match = _CREDENTIALS.fullmatch(given[0])
    if match is None or len(given) > 1:
        _refuse("the credentials are malformed", "Authorization", error=', error="invalid_request"')
    return match[1].encode()


def _refuse(title: str, detail: str | None = None, *, error: str = "") -> NoReturn:
    raise Problem(401, title, detail, hint=_HINT, headers={"WWW-Authenticate": _CHALLENGE + error})
