"""What all endpoints of the allocators' API have in common: bodies, references, errors, pages as its clients know them.

The API is that of Waldur, on which Puhuri runs (Django REST framework's shapes): bare arrays with `X-Result-Count` and
`Link`, `{"field": ["…"]}` for what is wrong with a field, a bare `["…"]` for a rule, `{"detail": "…"}` for the rest.
"""

import email
import email.policy
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit
from uuid import UUID

import psycopg
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from provision_api.auth import authenticate
from provision_api.database import Caller
from provision_api.problem import Problem, problem_of
from provision_api.shape import parse_json

Handler = Callable[[Request], Awaitable[Response]]
Json = dict[str, Any]

REQUIRED = "This field is required."
NULL = "This field may not be null."
BLANK = "This field may not be blank."
FORBIDDEN = {"detail": "You do not have permission to perform this action."}
# Portals are pages of other hosts. Nothing here goes by a cookie, so a page can do what it has a token for.
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, X-CSRFToken",
    "Access-Control-Expose-Headers": "Link, Location, X-Result-Count",
}
# Fields whose values are URLs of other things.
LINKS = ("project", "offering", "plan", "customer", "category")
# What the database calls a thing, and what the API calls it.
NAMES = {
    "project": "Project",
    "org": "Project",
    "scope": "Project",
    "allocation": "Resource",
    "order": "Order",
    "offering": "Offering",
    "usage": "ComponentUsage",
    "customer": "Customer",
    "account": "Customer",
    "user": "User",
    "membership": "ProjectPermission",
}
TIMES = {
    *("created", "modified", "expiration_time", "date_joined", "last_sync", "project_created", "date", "start", "end"),
    *("consumer_reviewed_at", "provider_reviewed_at", "approved_at"),
}
_TIME = re.compile(r"\d{4}-\d\d-\d\dT")
_TRAP = re.compile("next|prev", re.IGNORECASE)
_HEX = re.compile(r"[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")
_log = structlog.get_logger(__name__)


class Refusal(Exception):  # noqa: N818 - as Problem is one
    """An answer that is no success."""

    def __init__(self, status: int, body: Any, **headers: str) -> None:
        super().__init__(body)
        self.status = status
        self.body = body
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def response(self) -> Response:
        return JSONResponse(self.body, self.status, self.headers)


def wrong(field: str, message: str) -> Refusal:
    """400: one field is not as it should be."""
    return Refusal(400, {field: [message]})


def missing(name: str) -> Refusal:
    """404: there is no such thing, or none the caller sees."""
    return Refusal(404, {"detail": f"No {name} matches the given query."})


# Endpoints ------------------------------------------------------------------------------------------------------------


class Endpoint:
    """The ASGI application of one path, by method; whatever goes wrong is told in the API's shapes."""

    def __init__(self, **handlers: Handler) -> None:
        self.handlers = {method.upper(): handler for method, handler in handlers.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        try:
            response = await self._answer(request)
        except ClientDisconnect:
            raise
        except Exception as error:
            response = refusal_of(error).response()
        response.headers.update(CORS)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        if method == "OPTIONS":
            methods = ", ".join(self.handlers)
            return Response(status_code=200, headers={"Allow": methods, "Access-Control-Allow-Methods": methods})
        if method not in self.handlers:
            allow = ", ".join(self.handlers)
            raise Refusal(405, {"detail": f'Method "{request.method[:20]}" not allowed.'}, Allow=allow)
        return await self.handlers[method](request)


def at(path: str, **handlers: Handler) -> list[Route]:
    """A path, and the same without its last slash, which leads there."""
    return [Route(path, Endpoint(**handlers), name=path), Route(path[:-1], _slash, name=path[:-1])]


class _Slash:
    """301 to the path with a slash; clients send it, people forget it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        url = Request(scope).url
        response = Response(status_code=301, headers={"Location": str(url.replace(path=url.path + "/"))})
        await response(scope, receive, send)


_slash = _Slash()


# Errors ---------------------------------------------------------------------------------------------------------------


def refusal_of(error: Exception) -> Refusal:
    """What a client is told about an exception."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, psycopg.Error) and (error.sqlstate or "").startswith("PV"):
        return _of_rule(error)
    if isinstance(error, psycopg.Error) and (error.sqlstate or "")[:2] in ("22", "23"):
        _log.info("a value was refused by the database", error=error.diag.message_primary)
        return Refusal(400, ["A value is malformed or out of range."])
    problem = problem_of(error)
    if problem.status == 401:
        given = problem.title != "credentials are required"
        detail = "Invalid token." if given else "Authentication credentials were not provided."
        return Refusal(401, {"detail": detail}, WWW_Authenticate="Token")
    return Refusal(problem.status, {"detail": problem.title}, **problem.headers)


def _of_rule(error: psycopg.Error) -> Refusal:
    said, code = error.diag, error.sqlstate
    message, field = said.message_primary or "", said.column_name
    if field:
        return _of_field(code or "", field, message, said.message_detail or "")
    if code == "PV401":
        return Refusal(401, {"detail": "Invalid username/password."}, WWW_Authenticate="Token")
    if code == "PV403":
        return Refusal(403, FORBIDDEN)
    if code == "PV404":
        return missing(NAMES.get(message.split(" ")[0], "object"))
    if code in ("PV409", "PV412", "PV429", "PV503"):
        return Refusal(int(code[2:]), {"detail": message})
    return Refusal(400, [": ".join(filter(None, (message, said.message_detail)))])


def _of_field(code: str, field: str, message: str, which: str) -> Refusal:
    if field == "[]":
        return Refusal(400, [message])
    if code == "PV404" and field in LINKS:
        message = "Invalid hyperlink - Object does not exist."
    elif code == "PV404" and field in ("resource", "plan_period"):
        message = f"Object with uuid={which} does not exist."
    return wrong(field, message)


async def caller_of(request: Request) -> Caller:
    """The caller; asked for once in a request, however many statements it makes.

    Raises:
        Problem: as `authenticate`.
    """
    if "provision.caller" not in request.scope:
        request.scope["provision.caller"] = await authenticate(request)
    caller: Caller = request.scope["provision.caller"]
    return caller


# Bodies ---------------------------------------------------------------------------------------------------------------


async def read(request: Request) -> Json:
    """The body, be it JSON, a form or multipart; none at all is `{}`."""
    body = await request.body()
    kind = request.headers.get("content-type", "").lower()
    if not body.strip():
        return {}
    if kind.startswith("application/x-www-form-urlencoded"):
        return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    if kind.startswith("multipart/form-data"):
        return _multipart(request.headers["content-type"], body)
    try:
        found = parse_json(body)
    except Problem as error:
        detail = ", ".join(filter(None, (error.title, error.detail, *(one.message for one in error.errors))))
        raise Refusal(400, {"detail": f"JSON parse error - {detail}"}) from None
    if not isinstance(found, dict):
        message = f"Invalid data. Expected a dictionary, but got {_kind(found)}."
        raise Refusal(400, {"non_field_errors": [message]})
    return found


def _multipart(kind: str, body: bytes) -> Json:
    head = f"Content-Type: {kind}\r\n\r\n".encode()
    message = email.message_from_bytes(head + body, policy=email.policy.HTTP)
    found: Json = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        if name:
            found[str(name)] = part.get_content().rstrip("\r\n")
    return found


def _kind(value: Any) -> str:
    names = {list: "list", str: "str", bool: "bool", int: "int", float: "float", type(None): "NoneType"}
    return names.get(type(value), "object")


def text(body: Json, name: str, *, limit: int = 255, required: bool = False, blank: bool = True) -> str | None:
    """A text of the body; None without one."""
    if name not in body:
        if required:
            raise wrong(name, REQUIRED)
        return None
    value = body[name]
    if value is None:
        if required:
            raise wrong(name, NULL)
        return None
    if not isinstance(value, str):
        if isinstance(value, list | dict | bool):
            raise wrong(name, "Not a valid string.")
        value = str(value)
    if not blank and not value.strip():
        raise wrong(name, BLANK)
    if len(value) > limit:
        raise wrong(name, f"Ensure this field has no more than {limit} characters.")
    return value.strip()


def day(body: Json, name: str) -> str | None:
    """A date of the body; None without one."""
    value = text(body, name)
    if not value:
        return None
    try:
        return date.fromisoformat(value[:10]).isoformat()
    except ValueError:
        raise wrong(name, "Date has wrong format. Use one of these formats instead: YYYY-MM-DD.") from None


def moment(body: Json, name: str) -> str | None:
    """A time of the body; None without one. A date is its beginning, and without a zone it is UTC."""
    value = text(body, name)
    if not value:
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        message = "Datetime has wrong format. Use this format instead: YYYY-MM-DDThh:mm[:ss[.uuuuuu]][+HH:MM|-HH:MM|Z]."
        raise wrong(name, message) from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).isoformat()


def truth(value: Any) -> bool | None:
    """What a client means by True, true, 1 …; None: nothing."""
    known = {"true": True, "1": True, "false": False, "0": False}
    return known.get(str(value).lower())


def limits_of(body: Json, name: str = "limits") -> dict[str, int] | None:
    """Limits of the body: whole numbers by component."""
    given = objects(body, name)
    if given is None:
        return None
    bad = {key: ["A valid integer is required."] for key, value in given.items() if _whole(value) is None}
    if bad:
        raise Refusal(400, {name: bad})
    return {str(key): int(_whole(value) or 0) for key, value in given.items()}


def _whole(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if abs(value) < 10**18 else None
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 10**18 else None
    return int(value) if isinstance(value, str) and re.fullmatch(r"-?\d{1,18}", value) else None


def amount(value: Any) -> str:
    """A number with at most two decimals, as text.

    Raises:
        ValueError: it is none; the text says what is wrong.
    """
    try:
        number = Decimal(str(value).strip()) if not isinstance(value, bool | dict | list | type(None)) else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite():
        raise ValueError("A valid number is required.")
    if number < 0:
        raise ValueError("Ensure this value is greater than or equal to 0.")
    if number != round(number, 2):
        raise ValueError("Ensure that there are no more than 2 decimal places.")
    if number >= 10**18:
        raise ValueError("Ensure that there are no more than 20 digits in total.")
    return str(number)


def objects(body: Json, name: str) -> Json | None:
    """An object of the body; None without one."""
    given = body.get(name)
    if isinstance(given, str):
        given = _json(given, name)
    if given is None:
        return None
    if not isinstance(given, dict):
        raise wrong(name, f'Expected a dictionary of items but got type "{_kind(given)}".')
    return given


def _json(given: str, name: str) -> Any:
    try:
        return json.loads(given or "null")
    except ValueError:
        raise wrong(name, "Value must be valid JSON.") from None


# References -----------------------------------------------------------------------------------------------------------


def uuid(value: Any, field: str, message: str = "Enter a valid UUID.") -> str:
    """A uuid with hyphens, from one with or without.

    Raises:
        Refusal: 400.
    """
    if not isinstance(value, str | UUID) or not _HEX.fullmatch(str(value)):
        raise wrong(field, message)
    return str(UUID(str(value)))


def reference(body: Json, field: str, *endpoints: str, required: bool = True) -> str | None:
    """The uuid of what a field names by its URL, under one of the endpoints; None without one."""
    value = body.get(field)
    if isinstance(value, list) and len(value) == 1 and field == "plan":
        value = value[0]  # client 1.1.0
    if field not in body or value is None or (value == "" and not required):
        if required:
            raise wrong(field, REQUIRED if field not in body else NULL)
        return None
    if not isinstance(value, str):
        raise wrong(field, f"Incorrect type. Expected URL string, received {_kind(value)}.")
    parts = [part for part in urlsplit(value).path.split("/") if part]
    if "/" not in value or not parts or "api" not in parts:
        raise wrong(field, "Invalid hyperlink - No URL match.")
    tail = parts[parts.index("api") + 1 :]
    if len(tail) < 2 or not _HEX.fullmatch(tail[-1]):
        raise wrong(field, "Invalid hyperlink - No URL match.")
    if tail[-2] not in endpoints and tail[0] not in endpoints:
        raise wrong(field, "Invalid hyperlink - Incorrect URL match.")
    return str(UUID(tail[-1]))


def base(request: Request) -> str:
    """Where the API is, as this client reaches it."""
    return f"{request.url.scheme}://{request.url.netloc}/api/"


def link(request: Request, endpoint: str, id: Any) -> str:
    """The URL of one of an endpoint's things."""
    return f"{base(request)}{endpoint}/{hexed(id)}/"


def hexed(id: Any) -> str:
    """A uuid as 32 hex digits; a number as it is."""
    return str(id).replace("-", "")


# Answers --------------------------------------------------------------------------------------------------------------


def shown(request: Request, row: Json, urls: Mapping[str, tuple[str, str]], omit: Iterable[str]) -> Json:
    """A document of the database as clients are shown it: URLs, hex uuids, times with microseconds and `Z`.

    `urls` are the fields that are URLs, each with its endpoint and the field its uuid is in; `omit` are fields that a
    strict client cannot take as null.
    """
    for field, (endpoint, source) in urls.items():
        id = row.get(source)
        row[field] = None if id is None else link(request, endpoint, id)
    return {name: _value(name, value) for name, value in row.items() if value is not None or name not in omit}


def _value(name: str, value: Any) -> Any:
    if isinstance(value, str):
        if name.endswith("uuid"):
            return hexed(value)
        if name in TIMES and _TIME.match(value):
            return stamp(value)
    elif isinstance(value, list):
        return [
            {key: _value(key, each) for key, each in one.items()} if isinstance(one, dict) else one for one in value
        ]
    elif name == "marketplace_resource_count":
        return {hexed(key): count for key, count in value.items()}
    return value


def stamp(value: str) -> str:
    """A time in UTC, with microseconds."""
    return datetime.fromisoformat(value).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def reduced(request: Request, row: Json) -> Json:
    """Only the fields that were asked for; names that there are not are passed over."""
    fields = request.query_params.getlist("field")
    return {name: row[name] for name in fields if name in row} if fields else row


# Pages ----------------------------------------------------------------------------------------------------------------

PAGE_SIZE, PAGE_SIZE_LIMIT = 10, 300


def page_of(request: Request) -> tuple[int, int]:
    """Number and size of the page that is asked for."""
    number, size = request.query_params.get("page", "1"), request.query_params.get("page_size", "")
    if not re.fullmatch(r"[0-9]{1,9}", number) or int(number) < 1:
        raise Refusal(404, {"detail": "Invalid page."})
    wanted = int(size) if re.fullmatch(r"[0-9]{1,9}", size) else 0
    return int(number), min(wanted or PAGE_SIZE, PAGE_SIZE_LIMIT)


def paged(request: Request, rows: list[Json], total: int, **more: str) -> Response:
    """A page of a list; `more` are parameters that the links carry besides."""
    number, size = page_of(request)
    last = max(1, -(-total // size))
    if number > last:
        raise Refusal(404, {"detail": "Invalid page."})
    links = [("first", 1)] + [("prev", number - 1)] * (number > 1) + [("next", number + 1)] * (number < last)
    # Clients look for the words anywhere, also in the name of the host. If that has them, the last page tells its links
    # without the host, and the first its next page in both the places where clients may look.
    if number == 1 < last and "prev" in request.url.netloc:
        links.append(links[-1])
    is_relative = number == last and _TRAP.search(request.url.netloc) is not None
    parts = [
        f'<{_page_url(request, page, more, is_relative)}>; rel="{name}"' for name, page in [*links, ("last", last)]
    ]
    headers = {"X-Result-Count": str(total), "Link": ", ".join(parts)}
    return JSONResponse([reduced(request, row) for row in rows], headers=headers)


def _page_url(request: Request, page: int, more: Mapping[str, str], is_relative: bool) -> str:
    """Its parameters by name; a client re-sends its own beside those of the link, so each comes once here.

    Clients look for the words next and prev anywhere in the header, and split it at ", ": one letter of such words is
    written as its code, and so are commas.
    """
    given = [(name, value) for name, value in request.query_params.multi_items() if name != "page"]
    pairs = sorted({*given, *more.items()} | ({("page", str(page))} if page > 1 else set()))
    query = "&".join(f"{_safe(name)}={_safe(value)}" for name, value in pairs)
    host = "" if is_relative else f"{request.url.scheme}://{request.url.netloc}"
    return f"{host}{_safe(request.url.path, '/')}{'?' if query else ''}{query}"


def _safe(text: str, keep: str = "") -> str:
    return _TRAP.sub(lambda found: f"{found[0][:2]}%{ord(found[0][2]):02x}{found[0][3:]}", quote(text, safe=keep))
