"""A path and what can be done with it: dispatch by method, and the description that OpenAPI is generated from."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
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
    is_required: bool = False


ETAG = Header(description="changes whenever the answer does")
IF_MATCH = Header(
    description="ETag of what you have seen; 412 if it has changed since. * changes it whatever it is",
    schema={"type": "string", "pattern": r'^(\*|"[1-9][0-9]{0,17}")$', "example": '"1"'},
    is_required=True,
)
IF_NONE_MATCH = Header(description="ETag of the answer you have; 304 if it is still the same")
LINK = Header(description='rel="first" and rel="next" (RFC 8288)')
LOCATION = Header(description="where it is")


@dataclass(frozen=True, kw_only=True)
class Success:
    """One way in which an operation succeeds; without a model and a media type the answer has no body.

    `is_list`: the answer is an array of the model.
    """

    description: str
    model: type[BaseModel] | None = None
    media_type: str | None = None
    is_list: bool = False
    headers: Mapping[str, Header] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Operation:
    """What one method of a resource does.

    `is_free`: it is never answered 429; not `is_described`: it is as programs of others want it, and OpenAPI does not
    tell of it. `refusal`: its own shape of what others answer with a problem document.
    """

    handler: Handler
    summary: str
    description: str = ""
    tag: str
    query: type[BaseModel] | None = None
    headers: Mapping[str, Header] = field(default_factory=dict)
    body: type[BaseModel] | None = None
    body_required: bool = True
    body_types: tuple[str, ...] = ("application/json",)
    success: Mapping[int, Success]
    problems: tuple[int, ...] = ()
    public: bool = False
    is_free: bool = False
    is_described: bool = True
    refusal: type[BaseModel] | None = None


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


def free_paths(routes: Iterable[Route]) -> frozenset[str]:
    """The paths at which requests are not counted."""
    return frozenset(
        route.path
        for route in routes
        if isinstance(route.endpoint, Methods) and all(one.is_free for one in route.endpoint.operations.values())
    )
