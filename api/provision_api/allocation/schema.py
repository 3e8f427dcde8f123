"""What there is under /api/: paths, methods, and the filters and orders of lists, as OpenAPI 3.1.

Bodies are not described: they are what the clients of Waldur send and read.
"""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from provision_api.allocation.endpoint import Index
from provision_api.allocation.wire import Endpoint, at

_PAGING = {
    "page": "from 1",
    "page_size": "10 unless said, at most 300",
    "field": "only this one; may be repeated",
    "o": "what the list is sorted by, with a minus backwards",
}


def document(routes: list[Route]) -> dict[str, Any]:
    """The document of these routes; the same path without its last slash leads there and is left out."""
    found = {route.path: route.endpoint for route in routes if isinstance(route.endpoint, Endpoint)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Allocations, as clients of Waldur know them", "version": "1"},
        "paths": {path.replace(":int", ""): _path(path, endpoint) for path, endpoint in found.items()},
        "components": {"securitySchemes": {"token": {"type": "apiKey", "in": "header", "name": "Authorization"}}},
        "security": [{"token": []}],
    }


def _path(path: str, endpoint: Endpoint) -> dict[str, Any]:
    operations: dict[str, Any] = {method.lower(): _operation(path, each) for method, each in endpoint.handlers.items()}
    names = [part.strip("{}").removesuffix(":int") for part in path.split("/") if part.startswith("{")]
    if names:
        operations["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ]
    return operations


def _operation(path: str, handler: Any) -> dict[str, Any]:
    words = [part for part in path.split("/") if part and not part.startswith("{")]
    said = None if isinstance(handler, Index) else handler.__doc__
    operation: dict[str, Any] = {
        "summary": said.strip().split("\n")[0] if said else words[-1].replace("_", " "),
        "tags": [words[1] if len(words) > 1 else words[0]],
        "responses": {"default": {"description": "JSON"}},
    }
    if isinstance(handler, Index):
        filters, sorts = handler.listing.filters, handler.listing.order
        given = dict.fromkeys(filters, "filter") | _PAGING
        operation["parameters"] = [
            {"name": name, "in": "query", "description": text, "schema": {"type": "string"}}
            for name, text in given.items()
        ]
        operation["parameters"][-1]["schema"]["examples"] = sorted(sorts)
    return operation


def describing(routes: list[Route]) -> list[Route]:
    """The route that tells of the others; it needs no token."""
    described = document(routes)

    async def show(request: Request) -> Response:
        """This description."""
        return JSONResponse(described)

    return at("/api/schema/", get=show)
