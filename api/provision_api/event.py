"""Events: `GET /v1/events`, a stream of server-sent events that goes on from the last one its client got, and
`/v1/webhooks`, where they are sent.

The stream asks `event_page()` again and again, each time in a short transaction: neither a quiet stream nor a slow
client keeps a connection to the database. What has been read and not sent yet is a page at most.
"""

import asyncio
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from sqlalchemy import ARRAY, BigInteger, Integer, TableClause, Text, Uuid, bindparam, cast, column, func, select, table
from sqlalchemy.dialects.postgresql import JSONB
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from provision_api import header
from provision_api.auth import authenticate
from provision_api.database import Caller, Row, Statement, fetch
from provision_api.limit import lift_deadline
from provision_api.problem import Problem
from provision_api.resource import IF_MATCH, Header, Operation, Success, resource
from provision_api.shape import read_body, read_optional_body, read_query
from provision_api.state import state_of

PAGE = 100
FIRST_POLL_SECONDS = 0.1
LAST_POLL_SECONDS = 1.0
HEARTBEAT_SECONDS = 15.0
# How long one event may take to be sent before the client counts as gone.
WRITE_SECONDS = 30.0
RETRY_MILLISECONDS = 2000

_log = structlog.get_logger(__name__)


def _split(value: Any) -> Any:
    return value.split(",") if isinstance(value, str) else value


EventType = Annotated[str, Field(pattern=r"^[a-z_]{1,60}\.([a-z_]{1,60}|\*)$")]
Types = Annotated[
    list[EventType],
    BeforeValidator(_split),
    Field(description="only these types, with commas between: order.completed,domain.*", max_length=50),
]


class EventQuery(BaseModel):
    """Which events."""

    model_config = ConfigDict(extra="forbid")

    after: str | None = Field(
        None, max_length=60, description="id of the last event you got; 0 for all there is; without it, from now on"
    )
    types: Types | None = None


_page = func.event_page(
    bindparam("after", type_=Text), bindparam("types", type_=ARRAY(Text)), bindparam("limit", type_=Integer)
).table_valued(column("id"), column("event", JSONB), name="page")
_PAGE = Statement(
    select(_page.c.id, _page.c.event.op("->>")("type").label("type"), cast(_page.c.event, Text).label("text"))
)


async def follow(request: Request) -> Response:
    """A stream of events; for HEAD only its headers."""
    caller = await authenticate(request)
    query = read_query(request, EventQuery)
    stream = Stream(request, caller, request.headers.get("last-event-id") or query.after, query.types)
    if request.method == "HEAD":
        await stream.read()
        return Response(headers=dict(stream.headers))
    return stream


class Stream(Response):
    """The events of a caller, until it goes, its credentials end, or the server stops."""

    media_type = "text/event-stream"

    def __init__(self, request: Request, caller: Caller, place: str | None, types: list[str] | None) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._request = request
        self._caller = caller
        self._types = types
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = state_of(self._request)
        with state.streams.take(self._caller.customer):
            # Read before the answer begins, so that what is wrong with the request can be said.
            rows = await self.read()
            lift_deadline(scope)
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            try:
                await self._write(send, f"retry: {RETRY_MILLISECONDS}\nid: {self._place}\n\n")
                await self._follow(send, rows)
            except (psycopg.Error, Problem) as error:
                # The client comes again with the id of the last event, and is told then.
                _log.warning("event stream ended", reason=str(error))
            except TimeoutError:
                _log.warning("event stream ended", reason="the client takes nothing")
                return
            await send({"type": "http.response.body", "body": b""})

    async def _follow(self, send: Send, rows: list[Row]) -> None:
        state, loop = state_of(self._request), asyncio.get_running_loop()
        beat, pause = loop.time() + HEARTBEAT_SECONDS, FIRST_POLL_SECONDS
        while not state.stopping.is_set() and not await self._request.is_disconnected():
            for row in rows:
                await self._write(send, f"id: {row['id']}\nevent: {row['type']}\ndata: {row['text']}\n\n")
            if loop.time() >= beat:
                beat = loop.time() + HEARTBEAT_SECONDS
                if await authenticate(self._request) != self._caller:
                    return
                # With the place reached, however long no event was wanted.
                await self._write(send, f": \nid: {self._place}\n\n")
            before = self._place
            if not rows:
                await state.pause(pause)
                pause = min(pause * 1.5, LAST_POLL_SECONDS)
            rows = await self.read()
            if self._place != before:
                pause = FIRST_POLL_SECONDS

    async def read(self) -> list[Row]:
        """The next page; the place moves behind all that it looked at."""
        statement = {"after": self._place, "types": self._types, "limit": PAGE}

        async def page(connection: AsyncConnection) -> list[Row]:
            return await fetch(connection, _PAGE, **statement)

        *rows, last = await state_of(self._request).database.run(self._caller, page)
        self._place = last["id"]
        return rows

    async def _write(self, send: Send, text: str) -> None:
        async with asyncio.timeout(WRITE_SECONDS):
            await send({"type": "http.response.body", "body": text.encode(), "more_body": True})


# Webhooks -------------------------------------------------------------------------------------------------------------

Url = Annotated[
    str,
    Field(min_length=1, max_length=2000, description="https://…, a public one", examples=["https://example.com/hook"]),
]
Chosen = Annotated[
    list[EventType],
    Field(max_length=50, description="only these types; none: all", examples=[["order.completed", "domain.*"]]),
]


class WebhookRequest(BaseModel):
    """A new webhook."""

    model_config = ConfigDict(extra="forbid")

    url: Url
    types: Chosen = []
    is_active: bool = True


class WebhookChange(BaseModel):
    """What changes of a webhook."""

    model_config = ConfigDict(extra="forbid")

    url: Url | None = None
    types: Chosen | None = None
    is_active: bool | None = Field(None, description="what happens while it is not is sent when it is again")


# A UUID as JSON has it: bodies are read strictly.
LetterId = Annotated[
    str, Field(pattern="^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", json_schema_extra={"format": "uuid"})
]


class Redelivery(BaseModel):
    """What is sent once more."""

    model_config = ConfigDict(extra="forbid")

    dead_letter: LetterId | None = Field(None, description="one of them; without it all")


class Webhook(BaseModel):
    """Where events are sent, and how that goes."""

    id: UUID
    url: str
    types: list[str]
    is_active: bool
    version: int
    delivered_date: datetime | None = Field(description="when an event was last taken")
    failures: int = Field(description="how often the next event was refused")
    failing_since: datetime | None
    last_error: str | None
    dead_letters: int = Field(description="events that were given up")
    created_date: datetime
    updated_date: datetime | None
    org_id: UUID | None


class NewWebhook(Webhook):
    """A new webhook with its secret, shown this once."""

    secret: str = Field(description="what deliveries are signed with")


class WebhookPage(BaseModel):
    """All webhooks; there are at most 20."""

    webhooks: list[Webhook]


class Secret(BaseModel):
    """Another secret; for a day deliveries are signed with the old one too."""

    secret: str


class DeadLetter(BaseModel):
    """An event that was given up."""

    id: UUID
    event: dict[str, Any]
    attempts: int
    reason: str
    created_date: datetime
    requested_date: datetime | None = Field(description="when it was asked for again")


class DeadLetterPage(BaseModel):
    """The oldest dead letters, at most 100."""

    dead_letters: list[DeadLetter]


class Redelivered(BaseModel):
    """How many are sent once more."""

    count: int


def _view(name: str, model: type[BaseModel]) -> TableClause:
    return table(name, *(column(field) for field in (*model.model_fields, "tenant_customer_id")))


_webhook = _view("v_webhook", Webhook)
_letter = table("v_webhook_dead_letter", *map(column, (*DeadLetter.model_fields, "webhook_id")))
_ONE = Statement(select(_webhook).where(_webhook.c.id == bindparam("id", type_=Uuid)))
_ALL = Statement(select(_webhook).order_by(_webhook.c.id))
_LETTERS = Statement(
    select(_letter).where(_letter.c.webhook_id == bindparam("id", type_=Uuid)).order_by(_letter.c.id).limit(100)
)
_given = (bindparam("id", type_=Uuid), bindparam("change", type_=JSONB), bindparam("version", type_=BigInteger))
_CREATE = Statement(
    select(func.webhook_create(bindparam("webhook", type_=JSONB)).table_valued(column("id"), column("secret")))
)
_CHANGE = Statement(select(func.webhook_change(*_given)))
_REMOVE = Statement(select(func.webhook_remove(_given[0], _given[2])))
_ROTATE = Statement(select(func.webhook_secret_rotate(_given[0]).label("secret")))
_REDELIVER = Statement(select(func.webhook_redeliver(_given[0], bindparam("letter", type_=Uuid)).label("count")))


async def _run(request: Request, caller: Caller, statement: Statement, **values: Any) -> list[Row]:
    return await state_of(request).database.run(caller, lambda connection: fetch(connection, statement, **values))


async def _find(request: Request, caller: Caller) -> Row:
    rows = await _run(request, caller, _ONE, id=request.path_params["id"])
    if not rows:
        raise Problem(
            404, "the webhook is not found", str(request.path_params["id"]), hint="GET /v1/webhooks lists yours"
        )
    return rows[0]


def _answer(model: BaseModel, status: int = 200, **headers: str) -> Response:
    return Response(model.model_dump_json(), status, headers, "application/json")


def _shown(row: Row, status: int = 200, model: type[Webhook] = Webhook, **headers: str) -> Response:
    return _answer(model.model_validate(row), status, ETag=f'"{row["version"]}"', **headers)


async def index(request: Request) -> Response:
    """All webhooks."""
    caller = await authenticate(request)
    return _answer(WebhookPage.model_validate({"webhooks": await _run(request, caller, _ALL)}))


async def create(request: Request) -> Response:
    """A new webhook."""
    caller = await authenticate(request)
    body = await read_body(request, WebhookRequest)
    (made,) = await _run(request, caller, _CREATE, webhook=Jsonb(body.model_dump()))
    (row,) = await _run(request, caller, _ONE, id=made["id"])
    return _shown(row | made, 201, NewWebhook, Location=f"/v1/webhooks/{made['id']}")


async def show(request: Request) -> Response:
    """One webhook."""
    return _shown(await _find(request, await authenticate(request)))


async def change(request: Request) -> Response:
    """A webhook, changed."""
    caller = await authenticate(request)
    body = await read_body(request, WebhookChange)
    version = header.expected_version(request)
    given = Jsonb(body.model_dump(exclude_none=True))
    await _run(request, caller, _CHANGE, id=request.path_params["id"], change=given, version=version)
    return _shown(await _find(request, caller))


async def remove(request: Request) -> Response:
    """No webhook any more."""
    caller = await authenticate(request)
    version = header.expected_version(request)
    await _run(request, caller, _REMOVE, id=request.path_params["id"], version=version)
    return Response(status_code=204)


async def rotate(request: Request) -> Response:
    """Another secret."""
    caller = await authenticate(request)
    (row,) = await _run(request, caller, _ROTATE, id=request.path_params["id"])
    return _answer(Secret.model_validate(row))


async def dead_letters(request: Request) -> Response:
    """What was given up."""
    caller = await authenticate(request)
    await _find(request, caller)
    rows = await _run(request, caller, _LETTERS, id=request.path_params["id"])
    return _answer(DeadLetterPage.model_validate({"dead_letters": rows}))


async def redeliver(request: Request) -> Response:
    """Dead letters, once more."""
    caller = await authenticate(request)
    letter = (await read_optional_body(request, Redelivery)).dead_letter
    (row,) = await _run(request, caller, _REDELIVER, id=request.path_params["id"], letter=letter)
    return _answer(Redelivered.model_validate(row), 202)


# Routes ---------------------------------------------------------------------------------------------------------------

_ETAG = Header(description="the version")
_IF_MATCH = {"If-Match": IF_MATCH}
_WEBHOOK = {200: Success(description="the webhook", model=Webhook, headers={"ETag": _ETAG})}
_BODY = (400, 408, 413, 415, 422)

routes = [
    resource(
        "/v1/events",
        get=Operation(
            handler=follow,
            summary="Follow what happens",
            description="Server-sent events, in order and without a gap for who sends the id of the last one it got.",
            tag="events",
            query=EventQuery,
            headers={"Last-Event-ID": Header(description="id of the last event you got; wins over after")},
            success={200: Success(description="events as they happen", media_type="text/event-stream")},
            problems=(400, 429),
        ),
    ),
    resource(
        "/v1/webhooks",
        get=Operation(
            handler=index,
            summary="List your webhooks",
            tag="events",
            success={200: Success(description="all of them", model=WebhookPage)},
        ),
        post=Operation(
            handler=create,
            summary="Have events sent to you",
            tag="events",
            body=WebhookRequest,
            success={
                201: Success(
                    description="the webhook and its secret",
                    model=NewWebhook,
                    headers={"Location": Header(description="the webhook"), "ETag": _ETAG},
                )
            },
            problems=_BODY,
        ),
    ),
    resource(
        "/v1/webhooks/{id:uuid}",
        get=Operation(handler=show, summary="See a webhook", tag="events", success=_WEBHOOK, problems=(404,)),
        patch=Operation(
            handler=change,
            summary="Change a webhook",
            tag="events",
            headers=_IF_MATCH,
            body=WebhookChange,
            success=_WEBHOOK,
            problems=(*_BODY, 404, 412, 428),
        ),
        delete=Operation(
            handler=remove,
            summary="Remove a webhook",
            tag="events",
            headers=_IF_MATCH,
            success={204: Success(description="it is gone")},
            problems=(404, 412, 428),
        ),
    ),
    resource(
        "/v1/webhooks/{id:uuid}/secret",
        post=Operation(
            handler=rotate,
            summary="Get another secret",
            tag="events",
            success={200: Success(description="the secret", model=Secret)},
            problems=(404,),
        ),
    ),
    resource(
        "/v1/webhooks/{id:uuid}/dead-letters",
        get=Operation(
            handler=dead_letters,
            summary="See which events were given up",
            tag="events",
            success={200: Success(description="the oldest", model=DeadLetterPage)},
            problems=(404,),
        ),
    ),
    resource(
        "/v1/webhooks/{id:uuid}/redeliver",
        post=Operation(
            handler=redeliver,
            summary="Have events that were given up sent once more",
            tag="events",
            body=Redelivery,
            body_required=False,
            success={202: Success(description="how many", model=Redelivered)},
            problems=(*_BODY, 404),
        ),
    ),
]
