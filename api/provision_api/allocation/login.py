"""Logging in for an opaque token, and the users that a federation knows by a CUID."""

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb
from sqlalchemy import Text, bindparam, func, select
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from provision_api import user_registry
from provision_api.allocation import wire
from provision_api.allocation.endpoint import call, do
from provision_api.allocation.wire import Json, Refusal, at, read
from provision_api.database import ANONYMOUS, Statement, fetch
from provision_api.session import address_of
from provision_api.state import state_of

_IDENTIFY = call("user_identify", cuid="text", body="json")
_IDENTIFY_CHECK = call("user_identify_check")
_LOCAL = Statement(
    select(func.user_identify_local(bindparam("cuid", type_=Text)).table_valued("is_there", "attributes"))
)
_ATTEMPT = call("attempt_take", kind="text", key="text")
_TOKEN = call("login_token_issue", user="uuid")
_LOGIN = Statement(
    select(
        func.login_begin(bindparam("username", type_=Text), bindparam("address", type_=Text)).table_valued(
            "retry_after", "user_id", "password_hash", "totp_secret", "now_seconds"
        )
    )
)


async def log_in(request: Request) -> Response:
    """An opaque token for a name and its password; after some failures the name waits, whatever the password."""
    body = await read(request)
    errors = {name: [wire.REQUIRED] for name in ("username", "password") if not body.get(name)}
    if errors:
        raise Refusal(400, errors)
    username, password = str(body["username"])[:254], str(body["password"])[:1024]
    database = state_of(request).database
    refused = Refusal(401, {"detail": "Invalid username/password."}, WWW_Authenticate="Token")

    async def begin(connection: AsyncConnection) -> Json:
        ((taken),) = await fetch(connection, _ATTEMPT, kind="token", key=username.lower())
        ((begun),) = await fetch(connection, _LOGIN, username=username, address=address_of(request))
        return begun | {"wait": taken["value"] or begun["retry_after"]}

    begun = await database.run(ANONYMOUS, begin)
    matches = await state_of(request).hasher.verify(password, begun["password_hash"])
    # A second factor cannot be given here; who has one makes an API key.
    if begun["wait"] or not matches or begun["totp_secret"] is not None:
        raise refused
    rows = await database.run(ANONYMOUS, lambda connection: fetch(connection, _TOKEN, user=begun["user_id"]))
    return JSONResponse({"token": rows[0]["value"]})


async def identify(request: Request) -> Response:
    """The user of a CUID, as the federation's registry tells who that is."""
    body = await read(request)
    try:
        await do(request, _IDENTIFY_CHECK)
    except Exception as error:
        refusal = wire.refusal_of(error)
        if refusal.status == 403:
            raise Refusal(403, "You do not have permission to perform this action.") from None
        raise
    cuid = wire.text(body, "cuid", required=True, blank=False, limit=256) or ""
    try:
        attributes = await _told(request, cuid)
    except user_registry.RegistryError as error:
        raise Refusal(503, {"detail": f"Eduteams error: {error}."}) from None
    if attributes is None:
        raise Refusal(404, {"detail": f"User {cuid} has not been found"})
    id = await do(request, _IDENTIFY, cuid=cuid, body=Jsonb(attributes))
    return JSONResponse({"uuid": wire.hexed(id)})


async def _told(request: Request, cuid: str) -> Json | None:
    """What the registry tells of a name: the federation's over HTTP, or without one the local one."""
    settings = state_of(request).settings
    if settings.user_registry_url is not None:
        return await user_registry.find(settings, cuid)
    caller = await wire.caller_of(request)
    ((row),) = await state_of(request).database.run(caller, lambda connection: fetch(connection, _LOCAL, cuid=cuid))
    if not row["is_there"]:
        raise user_registry.RegistryError("no user registry is set up")
    attributes: Json | None = row["attributes"]
    return attributes


routes = [
    *at("/api-auth/password/", post=log_in),
    *at("/api-auth/remote-eduteams/", post=identify),
    *at("/api/remote-eduteams/", post=identify),
]
