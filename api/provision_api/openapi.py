"""OpenAPI 3.1, generated from the routes and their models, and an interactive page that reads it."""

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from http import HTTPStatus
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from pydantic import BaseModel, Field
from pydantic.json_schema import models_json_schema
from starlette.convertors import Convertor, IntegerConvertor, UUIDConvertor
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from provision_api.problem import CONTENT_TYPE, RETRIABLE
from provision_api.resource import Header, Methods, Operation, Success, resource

_REFERENCE = "#/components/schemas/{model}"
# Any request may be answered so; 401 only where a key is asked for, 429 where requests are counted.
_ALWAYS = {500, 503}


class ProblemError(BaseModel):
    """One wrong place."""

    pointer: str = Field(description="JSON pointer into the body, ?name of a query parameter, or name of a header")
    message: str


class ProblemDocument(BaseModel):
    """Why a request was not served (RFC 9457)."""

    type: str
    title: str = Field(description="what")
    status: int
    detail: str | None = Field(None, description="which value")
    hint: str | None = Field(None, description="the way out")
    code: str = Field(description="SQLSTATE of the refusal; ours read PV + status")
    errors: list[ProblemError] | None = None
    request_id: str = Field(description="names the request in the log")


def document(routes: Iterable[BaseRoute]) -> dict[str, Any]:
    """The OpenAPI document of these routes."""
    paths = {route.path_format: _path(route, operations) for route, operations in _described(routes)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Provision",
            "version": version("provision"),
            "description": "Orders for domains, certificates and what else the engine provisions.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": _schemas(routes), "securitySchemes": _SECURITY},
    }


_SECURITY = {
    "token": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "Token and an API key of 40 hex digits, or an access token",
    },
    "bearer": {"type": "http", "scheme": "bearer", "description": "an access token, or an API key"},
}


def _described(routes: Iterable[BaseRoute]) -> Iterator[tuple[Route, Mapping[str, Operation]]]:
    for route in routes:
        if isinstance(route, Route) and isinstance(route.endpoint, Methods):
            operations = route.endpoint.operations
            if all(operation.is_described for operation in operations.values()):
                yield route, operations


def _schemas(routes: Iterable[BaseRoute]) -> dict[str, Any]:
    operations = [operation for _, described in _described(routes) for operation in described.values()]
    taken = {operation.body for operation in operations if operation.body}
    given = {success.model for operation in operations for success in operation.success.values() if success.model}
    given |= {operation.refusal for operation in operations if operation.refusal}
    models = [(model, "validation") for model in taken] + [(model, "serialization") for model in given]
    models.append((ProblemDocument, "serialization"))
    _, definitions = models_json_schema(sorted(models, key=lambda entry: entry[0].__name__), ref_template=_REFERENCE)  # type: ignore[arg-type]
    schemas: dict[str, Any] = definitions["$defs"]
    return schemas


def _path(route: Route, operations: Mapping[str, Operation]) -> dict[str, Any]:
    path: dict[str, Any] = {method.lower(): _operation(method, route, each) for method, each in operations.items()}
    if route.param_convertors:
        path["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": _parameter(convertor)}
            for name, convertor in route.param_convertors.items()
        ]
    return path


def _parameter(convertor: Convertor[Any]) -> dict[str, Any]:
    if isinstance(convertor, IntegerConvertor):
        return {"type": "integer", "minimum": 0}
    return {"type": "string"} | ({"format": "uuid"} if isinstance(convertor, UUIDConvertor) else {"minLength": 1})


def _operation(method: str, route: Route, operation: Operation) -> dict[str, Any]:
    answers = {str(status): _success(success) for status, success in operation.success.items()}
    answers |= {str(status): _problem(status, operation.refusal) for status in _problems(operation)}
    described: dict[str, Any] = {
        "operationId": f"{method.lower()}{re.sub(r'[^a-z0-9]+', '_', route.path_format)}".rstrip("_"),
        "summary": operation.summary,
        "description": operation.description,
        "tags": [operation.tag],
        "parameters": [*_query(operation), *_headers(operation)],
        "requestBody": _body(operation),
        "responses": answers,
        "security": [] if operation.public else [{"token": []}, {"bearer": []}],
    }
    return {name: value for name, value in described.items() if value or name == "security"}


def _problems(operation: Operation) -> list[int]:
    public, free = operation.public, operation.is_free
    return sorted({*operation.problems} | _ALWAYS | (set() if public else {401}) | (set() if free else {429}))


def _query(operation: Operation) -> list[dict[str, Any]]:
    if operation.query is None:
        return []
    properties = operation.query.model_json_schema()["properties"]
    return [{"name": name, "in": "query", "schema": _not_null(schema)} for name, schema in properties.items()]


def _not_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A query parameter is left out, never null."""
    if "anyOf" not in schema:
        return schema
    option: dict[str, Any] = next(option for option in schema["anyOf"] if option.get("type") != "null")
    return {name: value for name, value in schema.items() if name not in ("anyOf", "default")} | option


def _headers(operation: Operation) -> list[dict[str, Any]]:
    return [{"name": name, "in": "header", **_header(header)} for name, header in operation.headers.items()]


def _header(header: Header) -> dict[str, Any]:
    described = {"description": header.description, "schema": dict(header.schema)}
    return described | ({"required": True} if header.is_required else {})


def _body(operation: Operation) -> dict[str, Any] | None:
    if operation.body is None:
        return None
    return {"required": operation.body_required, "content": _content(operation.body, *operation.body_types)}


def _content(model: type[BaseModel], *media_types: str) -> dict[str, Any]:
    return {media_type: {"schema": {"$ref": _REFERENCE.format(model=model.__name__)}} for media_type in media_types}


def _success(success: Success) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": success.description}
    if success.model is not None:
        answer["content"] = content = _content(success.model, "application/json")
        if success.is_list:
            content["application/json"] = {"schema": {"type": "array", "items": content["application/json"]["schema"]}}
    elif success.media_type is not None:
        kind = "object" if success.media_type == "application/json" else "string"
        answer["content"] = {success.media_type: {"schema": {"type": kind}}}
    if success.headers:
        answer["headers"] = {name: _header(header) for name, header in success.headers.items()}
    return answer


def _problem(status: int, refusal: type[BaseModel] | None) -> dict[str, Any]:
    described: dict[str, Any] = {"content": _content(ProblemDocument, CONTENT_TYPE)}
    if refusal is not None:
        described["content"] |= _content(refusal, "application/json")
    if status in RETRIABLE:
        described["headers"] = {"Retry-After": {"description": "in how many seconds", "schema": {"type": "integer"}}}
    return {"description": HTTPStatus(status).phrase} | described


# The page -------------------------------------------------------------------------------------------------------------


@cache
def _page() -> tuple[str, str]:
    """The page, and a content security policy that lets nothing run but its own script and style."""
    page = files("provision_api").joinpath("docs.html").read_text(encoding="utf-8")
    script, style = (digest(page, tag) for tag in ("script", "style"))
    policy = f"default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; img-src data:"
    return page, f"{policy}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def digest(page: str, tag: str) -> str:
    """The source expression of a content security policy for the inline script or style of a page."""
    text = page.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


async def show(request: Request) -> Response:
    """The OpenAPI document."""
    return JSONResponse(request.app.state.openapi)


async def show_page(request: Request) -> Response:
    """The interactive page."""
    page, policy = _page()
    return Response(page, media_type="text/html", headers={"Content-Security-Policy": policy})


routes = [
    resource(
        "/openapi.json",
        get=Operation(
            handler=show,
            summary="This description",
            tag="operation",
            success={200: Success(description="OpenAPI 3.1", media_type="application/json")},
            public=True,
        ),
    ),
    resource(
        "/docs",
        get=Operation(
            handler=show_page,
            summary="This description as a page to try out",
            tag="operation",
            success={200: Success(description="a page that needs no other host", media_type="text/html")},
            public=True,
        ),
    ),
]
