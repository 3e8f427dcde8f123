"""Events: `GET /v1/events`, a stream of server-sent events that goes on from the last one its client got.

The stream asks `event_page()` again and again, each time in a short transaction: neither a quiet stream nor a slow
client keeps a connection to the database. What has been read and not sent yet is a page at most.
"""

import asyncio
from typing import Annotated, Any

import psycopg
import structlog
from psycopg import AsyncConnection
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from sqlalchemy import ARRAY, Integer, Text, bindparam, cast, column, func, select
from sqlalchemy.dialects.postgresql import JSONB
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from provision_api.auth import authenticate
from provision_api.database import Caller, Row, Statement, fetch
from provision_api.limit import lift_deadline
from provision_api.problem import Problem
from provision_api.resource import Header, Operation, Success, resource
from provision_api.shape import read_query
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


Types = Annotated[
    list[str],
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
]
