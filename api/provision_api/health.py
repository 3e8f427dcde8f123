"""Whether the process lives, and whether it can serve: for load balancers and supervisors."""

from functools import cache
from typing import Literal

import psycopg
from pydantic import BaseModel
from sqlalchemy import column, select, table
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from provision.database import sql_directory
from provision_api import metrics
from provision_api.database import Statement
from provision_api.problem import Problem
from provision_api.resource import Operation, Success, resource
from provision_api.state import state_of

_APPLIED = Statement(select(column("migration_id")).select_from(table("checksum", schema="migration")))


class Health(BaseModel):
    """All is well."""

    status: Literal["ok"] = "ok"


@cache
def _migrations() -> frozenset[str]:
    names = (path.name for path in (sql_directory() / "schema").glob("*.sql"))
    return frozenset(name.removesuffix(".sql") for name in names if not name.endswith(".rollback.sql"))


async def alive(request: Request) -> Response:
    """The process answers; the database is not asked, because a restart of ours would not heal it."""
    return JSONResponse({"status": "ok"})


async def ready(request: Request) -> Response:
    """The database answers and has every migration of this release; it may have those of a later one too."""
    try:
        rows = await state_of(request).database.read(_APPLIED)
    except psycopg.ProgrammingError:
        rows = []
    missing = _migrations() - {row["migration_id"] for row in rows}
    if missing:
        raise Problem(503, "the database is not migrated", ", ".join(sorted(missing)), hint="run provision migrate")
    return JSONResponse({"status": "ok"})


_OK = {200: Success(description="all is well", model=Health)}
routes = [
    resource(
        "/healthz",
        get=Operation(
            handler=alive, summary="Does the process live?", tag="operation", success=_OK, public=True, is_free=True
        ),
    ),
    resource(
        "/readyz",
        get=Operation(
            handler=ready, summary="Can it serve requests?", tag="operation", success=_OK, public=True, is_free=True
        ),
    ),
    resource(
        "/metrics",
        get=Operation(
            handler=metrics.show,
            summary="Numbers for Prometheus",
            tag="operation",
            success={200: Success(description="in Prometheus' text format", media_type="text/plain")},
            public=True,
            is_free=True,
        ),
    ),
]
