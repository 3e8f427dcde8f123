"""The application: routes, what surrounds them, and the pool that lives as long as it does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from provision.database import async_pool, role_url
from provision.settings import Settings
from provision_api import (
    allocation,
    cluster,
    cluster_resource,
    deployment,
    event,
    health,
    hosting,
    identity,
    inventory,
    lifecycle,
    openapi,
    order,
    session,
    tenancy,
)
from provision_api.database import Database
from provision_api.envelope import Envelope
from provision_api.key import Keys
from provision_api.limit import BODY_SECONDS, Limits, Seats
from provision_api.metrics import Metrics
from provision_api.oidc import load_providers
from provision_api.password import Hasher
from provision_api.problem import Problem
from provision_api.rate import AddressLimit, Buckets
from provision_api.resource import free_paths
from provision_api.state import State

# How long a request waits for a connection before it is answered 503.
POOL_SECONDS = 5.0


def make_app(
    settings: Settings, *, body_seconds: float = BODY_SECONDS, pool_seconds: float = POOL_SECONDS
) -> Starlette:
    """The ASGI application; its pool opens and closes with its lifespan."""
    pool = async_pool(role_url(settings, "api"), "provision api", size=settings.api_pool_size, timeout=pool_seconds)
    metrics = Metrics()
    metrics.watch(pool)
    surfaces = (
        allocation,
        order,
        lifecycle,
        inventory,
        tenancy,
        session,
        identity,
        cluster,
        cluster_resource,
        deployment,
        hosting,
        event,
        health,
        openapi,
    )
    routes = [route for surface in surfaces for route in surface.routes]
    addresses, callers = (
        Buckets(what, rate, settings.rate_burst_seconds)
        for what, rate in (("address", settings.rate_per_address), ("caller", settings.rate_per_caller))
    )
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(Envelope, metrics=metrics, refusals=deployment.refusals),
            Middleware(AddressLimit, buckets=addresses, free=free_paths(routes)),
            Middleware(
                Limits,
                body_bytes=settings.body_limit_bytes,
                body_seconds=body_seconds,
                seconds=settings.request_timeout_seconds,
            ),
        ],
        exception_handlers={HTTPException: _not_found},
        lifespan=_lifespan,
    )
    app.router.redirect_slashes = False
    database = Database(pool)
    app.state.shared = State(
        settings,
        database,
        metrics,
        callers,
        Seats(settings.api_stream_limit, settings.api_stream_limit_each),
        Keys(database),
        Hasher(settings.password_memory_kib),
        load_providers(settings.identity_file),
    )
    app.state.openapi = openapi.document(app.routes)
    return app


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    """The database may come later than we do: until then requests are answered 503."""
    shared: State = app.state.shared
    async with shared.database.pool:
        yield
    shared.hasher.close()


async def _not_found(request: Request, error: Exception) -> Response:
    """The one thing Starlette itself refuses: a path that no route matches."""
    raise Problem(404, "there is nothing here", request.url.path[:200], hint="/docs shows what there is") from None
