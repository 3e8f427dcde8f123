"""Names: whether one is free and what it costs, and whether one of yours is renewed by itself.

The registry is asked by a job; who waits for its answer holds no connection meanwhile.
"""

import asyncio
from typing import Annotated, Any

from psycopg import AsyncConnection
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Boolean, Text, Uuid, bindparam, func, select
from starlette.requests import Request
from starlette.responses import Response

from provision_api import idn
from provision_api.auth import authenticate
from provision_api.database import Statement, fetch
from provision_api.problem import Problem
from provision_api.resource import Operation, Success, resource
from provision_api.shape import read_body, read_query
from provision_api.state import state_of

WAIT_SECONDS = 10.0
"""How long a registry may take to say whether a name is free."""
FIRST_POLL_SECONDS = 0.02
LAST_POLL_SECONDS = 0.5
JSON = "application/json"


class CheckQuery(BaseModel):
    """Which name."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[
        str,
        Field(min_length=1, max_length=253, description="in A-labels or letters of its own", examples=["byron.test"]),
    ]


class Check(BaseModel):
    """What a registry says of a name."""

    name: str
    available: bool = Field(description="whether it can be registered")
    reason: str | None = Field(description="why it cannot")
    premium: bool | None = Field(description="whether it costs more than others; null: the registry tells no prices")
    fee: dict[str, str | None] | None = Field(
        description="`currency`, and prices of `create`, `renew`, `transfer` and `restore`, for a year; null: not told"
    )


class AutoRenew(BaseModel):
    """Whether a name is renewed by itself."""

    model_config = ConfigDict(extra="forbid")

    auto_renew: bool


_BEGIN = Statement(select(func.domain_check_begin(bindparam("name", type_=Text)).label("job")))
_ANSWER = Statement(select(func.domain_check_answer(bindparam("job", type_=Uuid)).label("answer")))
_SET = Statement(select(func.domain_set_auto_renew(bindparam("name", type_=Text), bindparam("on", type_=Boolean))))


async def check(request: Request) -> Response:
    """Ask the registry of the name's zone."""
    caller = await authenticate(request)
    name = idn.a_labels(read_query(request, CheckQuery).name)
    database = state_of(request).database
    rows = await database.run(caller, lambda connection: fetch(connection, _BEGIN, name=name))
    job = rows[0]["job"]

    async def look(connection: AsyncConnection) -> dict[str, Any] | None:
        found: dict[str, Any] | None = (await fetch(connection, _ANSWER, job=job))[0]["answer"]
        return found

    loop = asyncio.get_running_loop()
    until, pause = loop.time() + WAIT_SECONDS, FIRST_POLL_SECONDS
    while (answer := await database.run(caller, look)) is None:
        if loop.time() > until or state_of(request).stopping.is_set():
            raise Problem(503, "the registry has not answered yet", name, hint="ask again")
        await state_of(request).pause(pause)
        pause = min(pause * 1.5, LAST_POLL_SECONDS)
    return Response(Check.model_validate(answer).model_dump_json(), media_type=JSON)


async def set_auto_renew(request: Request) -> Response:
    """Switch the renewal by itself of a name on or off."""
    caller = await authenticate(request)
    name: str = request.path_params["name"]
    body = await read_body(request, AutoRenew)
    await state_of(request).database.run(
        caller, lambda connection: fetch(connection, _SET, name=name, on=body.auto_renew)
    )
    return Response(body.model_dump_json(), media_type=JSON)


routes = [
    resource(
        "/v1/domains/check",
        get=Operation(
            handler=check,
            summary="See whether a name is free, and what it costs",
            tag="domains",
            query=CheckQuery,
            success={200: Success(description="what its registry says", model=Check)},
            problems=(400, 422, 503),
        ),
    ),
    resource(
        "/v1/domains/{name:str}/auto-renew",
        put=Operation(
            handler=set_auto_renew,
            summary="Have a name renewed by itself, or not",
            tag="domains",
            body=AutoRenew,
            success={200: Success(description="how it is now", model=AutoRenew)},
            problems=(400, 403, 404, 408, 413, 415),
        ),
    ),
]
