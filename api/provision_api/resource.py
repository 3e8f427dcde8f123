"""A path and what can be done with it: dispatch by method, and the description that OpenAPI is generated from."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from provision_api.problem import Problem

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, kw_only=True)
class Header:
    """A header that a request may carry, or an answer carries."""

    description: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})


@dataclass(frozen=True, kw_only=True)
class Success:
    """One way in which an operation succeeds; without a model and a media type the answer has no body."""

    description: str
    model: type[BaseModel] | None = None
    media_type: str | None = None
    headers: Mapping[str, Header] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Operation:
    """What one method of a resource does."""

    handler: Handler
    summary: str
    description: str = ""
    tag: str
    query: type[BaseModel] | None = None
    headers: Mapping[str, Header] = field(default_factory=dict)
    body: type[BaseModel] | None = None
    body_required: bool = True
    success: Mapping[int, Success]
    problems: tuple[int, ...] = ()
    public: bool = False


class Methods:
    """The ASGI application of one path. HEAD is GET without the body, which the server leaves out."""

    def __init__(self, operations: Mapping[str, Operation]) -> None:
        self.operations = operations
        known = {*operations, "OPTIONS"} | ({"HEAD"} if "GET" in operations else set())
        self.allow = ", ".join(sorted(known))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._respond(Request(scope, receive, send))
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": self.allow})
        operation = self.operations.get("GET" if request.method == "HEAD" else request.method)
        if operation is None:
            detail = f"{request.method[:20]}; allowed are {self.allow}"
            raise Problem(405, "the method is not allowed here", detail, headers={"Allow": self.allow})
        return await operation.handler(request)


def resource(path: str, **operations: Operation) -> Route:
    """A route with its operations by method: `resource("/v1/orders", get=…, post=…)`."""
    return Route(path, Methods({method.upper(): operation for method, operation in operations.items()}), name=path)
