"""Errors as callers see them: problem documents (RFC 9457), and the one table from SQLSTATE to HTTP status.

SQL says MESSAGE (what), DETAIL (which value) and HINT (way out); they become `title`, `detail` and `hint`. What
PostgreSQL itself says may hold other people's values, so the table replaces it; class 22 speaks of the caller's own
value, and that is the detail.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

import psycopg
import structlog
from psycopg.errors import Diagnostic, UniqueViolation
from starlette.exceptions import HTTPException
from starlette.responses import Response

RETRY_AFTER_SECONDS = 2
CONTENT_TYPE = "application/problem+json"
DETAIL_LIMIT = 200
# Paths whose clients are others' programs, with an error shape of their own.
FOREIGN = "/api/"
# Answers that say when to try again.
RETRIABLE = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)

_log = structlog.get_logger(__name__)


class FieldError(NamedTuple):
    """One wrong place in a request; `pointer` is a JSON pointer (RFC 6901) or `?name` for a query parameter."""

    pointer: str
    message: str


class Problem(Exception):  # noqa: N818 - the word of RFC 9457
    """A request that cannot be served, and all the caller is told about it."""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str | None = None,
        *,
        hint: str | None = None,
        code: str | None = None,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(title)
        self.status = status
        self.title = title
        self.detail = detail
        self.hint = hint
        self.code = code or f"PV{status}"
        self.errors = errors
        self.headers = dict(headers or {})
        if status in RETRIABLE:
            self.headers.setdefault("Retry-After", str(RETRY_AFTER_SECONDS))

    def document(self, request_id: str) -> dict[str, Any]:
        """The members of RFC 9457, and ours: code, hint, errors, request_id. What is not known is left out."""
        members = {
            "type": f"/docs#{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "hint": self.hint,
            "code": self.code,
            "errors": [error._asdict() for error in self.errors] or None,
            "request_id": request_id,
        }
        return {name: value for name, value in members.items() if value is not None}

    def response(self, request_id: str, path: str = "") -> Response:
        """The answer; under /api/ in the words of the clients that speak it."""
        is_foreign = path.startswith(FOREIGN)
        document = self.foreign_document(request_id) if is_foreign else self.document(request_id)
        body = json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")
        return Response(body, self.status, self.headers, "application/json" if is_foreign else CONTENT_TYPE)

    def foreign_document(self, request_id: str) -> dict[str, Any]:
        """What the clients of /api/ read: `error_msg`, `msg` or `detail`, whichever they know."""
        said = ": ".join(text for text in (self.title, self.detail) if text)
        texts = {"status": "FAILED", "error_msg": said, "msg": said, "detail": said, "hint": self.hint or ""}
        return texts | {"code": self.code, "request_id": request_id}


Refusal = Callable[[Problem], Response]
"""How a surface with a shape of its own answers a problem."""


class Answer(NamedTuple):
    """How an SQLSTATE is answered; without a title all texts of the error are passed through."""

    status: int
    title: str | None = None
    says_which: bool = False


# By SQLSTATE, else by its first two characters (the class, see PostgreSQL's appendix A), else 500.
SQLSTATE: Mapping[str, Answer] = {
    "PV400": Answer(400),
    "PV401": Answer(401),
    "PV403": Answer(403),
    "PV404": Answer(404),
    "PV409": Answer(409),
    "PV412": Answer(412),
    "PV422": Answer(422),
    "PV428": Answer(428),
    "PV429": Answer(429),
    "PV503": Answer(503),
    "PVF01": Answer(409),
    "08": Answer(503, "the database cannot be reached"),
    "22": Answer(400, "a value is malformed", says_which=True),
    "23": Answer(400, "a value is not allowed"),
    "23503": Answer(409, "something refers to it, or what it refers to does not exist"),
    "23505": Answer(409, "it exists already"),
    "23P01": Answer(409, "it is in conflict with another"),
    "25006": Answer(503, "the database is being moved"),
    "25P03": Answer(503, "the request took too long"),
    "25P04": Answer(503, "the request took too long"),
    "40001": Answer(503, "others were changing the same thing"),
    "40P01": Answer(503, "others were changing the same thing"),
    "42501": Answer(403, "this is not allowed"),
    "53": Answer(503, "the database is out of resources"),
    "54": Answer(400, "the request is too complex"),
    "55P03": Answer(503, "others were changing the same thing"),
    "57": Answer(503, "the database is restarting"),
    "57014": Answer(503, "the request took too long"),
}


def problem_of(error: Exception) -> Problem:
    """What a caller is told about an exception; what an operator needs besides goes to the log."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, HTTPException):
        return Problem(error.status_code, HTTPStatus(error.status_code).phrase, headers=error.headers)
    if isinstance(error, psycopg.Error):
        return _of_database(error)
    return _unexpected(error)


def _of_database(error: psycopg.Error) -> Problem:
    state = error.sqlstate
    if state is None and not isinstance(error, psycopg.OperationalError):
        return _unexpected(error)
    # No SQLSTATE: the connection was lost, or the pool could not give one in time.
    answer = SQLSTATE.get(state or "08") or SQLSTATE.get((state or "")[:2])
    if answer is None:
        return _unexpected(error)
    said = error.diag
    if answer.title is None:
        detail, hint = said.message_detail or None, said.message_hint or None
        return Problem(answer.status, said.message_primary or "", detail, hint=hint, code=state)
    if answer.says_which:
        return Problem(answer.status, answer.title, (said.message_primary or "")[:DETAIL_LIMIT] or None, code=state)
    _log.warning("database error", sqlstate=state, error=said.message_primary or str(error))
    if state == UniqueViolation.sqlstate:
        return Problem(answer.status, answer.title, _taken(said), hint="take another, or use what there is", code=state)
    return Problem(answer.status, answer.title, code=state)


def _taken(said: Diagnostic) -> str | None:
    """What is there already, from the name of the constraint, which is <table>_<what>_uk."""
    table, name = said.table_name or "", said.constraint_name or ""
    what = name.removeprefix(f"{table}_").removesuffix("_uk")
    return f"{what} of {table}".replace("_", " ") if table and what else None


def _unexpected(error: Exception) -> Problem:
    _log.error("unexpected failure", exc_info=error)
    return Problem(500, "something went wrong on our side", hint="tell your operator the request_id")
