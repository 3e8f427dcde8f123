"""What every answer gets, whatever happened inside: a request id, security headers, a log line, a count, and a problem
document in place of an exception.
"""

import re
import time
from collections.abc import Mapping
from uuid import uuid4

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from provision_api.metrics import Metrics
from provision_api.problem import Refusal, problem_of

_CLIENT_GONE = 499  # nginx's number for a caller that did not wait for the answer; never sent
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_HTTPS_ONLY = {"Strict-Transport-Security": "max-age=31536000"}

_log = structlog.get_logger(__name__)


class Envelope:
    """The outermost middleware of ours; no exception gets past it unless an answer had begun.

    `refusals`: by the first part of the path, surfaces that do not answer with problem documents.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, refusals: Mapping[str, Refusal]) -> None:
        self.app = app
        self.metrics = metrics
        self.refusals = refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(scope, send)
        with structlog.contextvars.bound_contextvars(request_id=exchange.request_id):
            try:
                await self._answer(exchange, receive)
            finally:
                self._record(exchange)

    async def _answer(self, exchange: "_Exchange", receive: Receive) -> None:
        try:
            await self.app(exchange.scope, receive, exchange.send)
        except ClientDisconnect:
            exchange.status = _CLIENT_GONE
        except Exception as error:
            if exchange.status is not None:
                raise
            problem, path = problem_of(error), exchange.scope["path"]
            refuse = self.refusals.get(path.split("/", 2)[1] if "/" in path else "")
            response = refuse(problem) if refuse else problem.response(exchange.request_id, path)
            await response(exchange.scope, receive, exchange.send)

    def _record(self, exchange: "_Exchange") -> None:
        seconds = time.perf_counter() - exchange.started
        status = exchange.status or _CLIENT_GONE
        method, route = exchange.scope["method"], exchange.route()
        self.metrics.count(method, route, status, seconds)
        _log.info("request", method=method, route=route, status=status, milliseconds=round(seconds * 1000, 1))


class _Exchange:
    """One request and what became of it."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.scope = scope
        self.started = time.perf_counter()
        self.status: int | None = None
        self.request_id = _request_id(scope)
        self._send = send

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._add_headers(MutableHeaders(scope=message))
        await self._send(message)

    def _add_headers(self, headers: MutableHeaders) -> None:
        headers["X-Request-Id"] = self.request_id
        secure = _HTTPS_ONLY if self.scope["scheme"] == "https" else {}
        for name, value in (_SECURITY_HEADERS | secure).items():
            headers.setdefault(name, value)

    def route(self) -> str:
        """The path with its parameters as names, so that metrics do not grow with what callers ask for."""
        route = self.scope.get("route")
        return route.path_format if isinstance(route, Route) else "none"


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else str(uuid4())
