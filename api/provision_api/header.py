"""Request headers that mean something to us, and conditional requests."""

import hashlib
import re

from starlette.requests import Request
from starlette.responses import Response

from provision_api.problem import FieldError, Problem

WAIT_LIMIT_SECONDS = 60

_IDEMPOTENCY_KEY = re.compile(r"[!-~]{1,255}")
_WAIT = re.compile(r"wait\s*=\s*\"?([0-9]{1,9})\"?", re.IGNORECASE)
_VERSION = re.compile(r'"([1-9][0-9]{0,17})"')
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}(-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})(-.*)?")


def idempotency_key(request: Request) -> str | None:
    """The `Idempotency-Key`, 1–255 visible ASCII characters; None without one."""
    given = request.headers.getlist("idempotency-key")
    if not given:
        return None
    if len(given) > 1 or not _IDEMPOTENCY_KEY.fullmatch(given[0]):
        wrong = FieldError("Idempotency-Key", "must be one value of 1–255 visible ASCII characters")
        raise Problem(400, "a header is malformed", errors=[wrong])
    return given[0]


def preferred_wait(request: Request) -> int:
    """Seconds of `Prefer: wait=N` (RFC 7240), at most 60; 0 without one. What cannot be understood is ignored."""
    for preference in ",".join(request.headers.getlist("prefer")).split(","):
        match = _WAIT.fullmatch(preference.partition(";")[0].strip())
        if match:
            return min(int(match[1]), WAIT_LIMIT_SECONDS)
    return 0


def traceparent(request: Request) -> str | None:
    """The `traceparent` of W3C Trace Context in version 00, which later versions must contain; None if invalid."""
    given = request.headers.getlist("traceparent")
    match = _TRACEPARENT.fullmatch(given[0]) if len(given) == 1 else None
    if match is None or (match[2] and given[0].startswith("00")):
        return None
    return "00" + match[1]


def conditional(request: Request, response: Response, version: int | None = None) -> Response:
    """Give the answer its ETag, weak without a version; 304 without body when the caller has it already
    (RFC 9110 section 13.1.2).
    """
    tag = f'W/"{hashlib.sha256(response.body).hexdigest()[:32]}"' if version is None else f'"{version}"'
    response.headers["ETag"] = tag
    response.headers["Cache-Control"] = "private, no-cache"
    if request.method in ("GET", "HEAD") and _knows(request, tag):
        kept = {name: response.headers[name] for name in ("ETag", "Cache-Control")}
        return Response(status_code=304, headers=kept)
    return response


def _knows(request: Request, tag: str) -> bool:
    given = ",".join(request.headers.getlist("if-none-match"))
    known = {entry.strip().removeprefix("W/") for entry in given.split(",")}
    return "*" in known or tag.removeprefix("W/") in known


def expected_version(request: Request) -> int | None:
    """The version of `If-Match` (RFC 9110 section 13.1.1); None for `*`, any.

    Raises:
        Problem: 428 without the header (RFC 6585), 412 if it is no ETag that a version has: a weak one never matches.
    """
    given = ",".join(request.headers.getlist("if-match")).strip()
    if not given:
        raise Problem(428, "If-Match is required", hint="send the ETag of what you have seen, or *")
    if given == "*":
        return None
    match = _VERSION.fullmatch(given)
    if match is None:
        raise Problem(412, "it has changed meanwhile", given[:100], hint="send the one ETag that GET has answered")
    return int(match[1])
