"""The shape of requests: strict JSON bodies, query strings and headers; everything wrong is answered 400 (or 415).

JSON is taken as I-JSON (RFC 7493) takes it: UTF-8, no name twice, no NaN, no number that a double or a 64-bit integer
cannot hold. Besides, what PostgreSQL's jsonb cannot hold (NUL, lone surrogates) and what nobody needs (deep nesting) is
refused here, because further in it would be an error without a place.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, BeforeValidator, ValidationError
from starlette.requests import Request

from provision_api.problem import FieldError, Problem

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
DEPTH_LIMIT = 32
INTEGER_LIMIT = 1 << 63
ERRORS_SHOWN = 20

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")

M = TypeVar("M", bound=BaseModel)


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


# For integers: JSON and its schemas know no difference between 5 and 5.0.
WHOLE = BeforeValidator(_whole)
Path = tuple[str | int, ...]


async def read_body(request: Request, model: type[M]) -> M:
    """The JSON body as a model.

    Raises:
        Problem: 415 not JSON, 400 not well-formed or not of the model's shape.
    """
    _require_json(request, JSON)
    return _validate(model, parse_json(await request.body()), strict=True)


async def read_patch(request: Request, model: type[M]) -> M:
    """The same for a JSON merge patch (RFC 7396), which may say so or call itself JSON; what is not set stays."""
    _require_json(request, JSON, MERGE_PATCH)
    return _validate(model, parse_json(await request.body()), strict=True)


async def read_optional_body(request: Request, model: type[M]) -> M:
    """Like `read_body`, but no body at all counts as `{}`."""
    if not await request.body():
        return _validate(model, {}, strict=True)
    return await read_body(request, model)


def read_query(request: Request, model: type[M]) -> M:
    """The query string as a model; each parameter may occur once."""
    pairs = request.query_params.multi_items()
    values = dict(pairs)
    if len(values) < len(pairs):
        _refuse_query([FieldError(f"?{name}", "occurs more than once") for name in _twice(pairs)])
    unstorable = [FieldError(f"?{name}", "has a NUL character") for name, value in pairs if "\0" in name + value]
    if unstorable:
        _refuse_query(unstorable)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        _refuse_query([FieldError(f"?{'.'.join(map(str, path))}", text) for path, text in _errors(error)])


def _refuse_query(errors: Sequence[FieldError]) -> NoReturn:
    raise Problem(400, "the query is not of the expected shape", errors=errors)


def parse_json(body: bytes) -> Any:
    """Parse JSON strictly (see the module).

    Raises:
        Problem: 400, with the position or the pointer of what is wrong.
    """
    try:
        value = _decoder.decode(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Problem(400, "the body is not UTF-8", f"byte {error.start}: {error.reason}") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno} (character {error.pos}): {error.msg}"
        raise Problem(400, "the body is not JSON", where) from None
    except RecursionError:
        raise Problem(400, "the body is nested too deep", f"at most {DEPTH_LIMIT} levels") from None
    wrong = next(_wrong_places(value), None)
    if wrong is not None:
        raise Problem(400, "the body has a value that cannot be stored", errors=[wrong])
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse an object that has a name twice: which one counts would be anybody's guess."""
    value = dict(pairs)
    if len(value) < len(pairs):
        twice = _twice(pairs)[0]
        raise Problem(400, "a name occurs twice in an object of the body", json.dumps(twice))
    return value


def _twice(pairs: Sequence[tuple[str, Any]]) -> list[str]:
    return [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]


class _Huge(int):
    """An integer that is out of range, of any size: `digits` are its first ones."""

    digits: str


def _integer(digits: str) -> int:
    # The length first: int() of very many digits is slow, and refused by Python itself from 4300 on.
    if len(digits) <= 20 and -INTEGER_LIMIT <= int(digits) < INTEGER_LIMIT:
        return int(digits)
    huge = _Huge(INTEGER_LIMIT)
    huge.digits = digits[:24]
    return huge


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise Problem(400, "a number of the body is out of range", f"{text[:24]}: must fit a double")
    return value


def _constant(name: str) -> NoReturn:
    raise Problem(400, "the body is not JSON", f"{name} is no JSON value")


_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant)


def _wrong_places(value: Any) -> Iterator[FieldError]:
    """Walk without recursion; yields what cannot be stored, or is too deep."""
    stack: list[tuple[Path, Any]] = [((), value)]
    while stack:
        path, value = stack.pop()
        if len(path) > DEPTH_LIMIT:
            yield FieldError(pointer(path), f"nested too deep, at most {DEPTH_LIMIT} levels")
        elif isinstance(value, str) and _UNSTORABLE.search(value):
            yield FieldError(pointer(path), "has a NUL character or half a surrogate pair")
        elif isinstance(value, _Huge):
            yield FieldError(pointer(path), f"{value.digits} is out of range: integers must fit 64 bits")
        elif isinstance(value, dict):
            stack.extend(((*path, name), child) for name, child in value.items())
            stack.extend((path, name) for name in value)
        elif isinstance(value, list):
            stack.extend(((*path, index), child) for index, child in enumerate(value))


def pointer(path: Path) -> str:
    """A JSON pointer (RFC 6901), printable whatever the names are."""
    steps = (str(step).replace("~", "~0").replace("/", "~1") for step in path)
    return _UNSTORABLE.sub("\ufffd", "".join(f"/{step}" for step in steps))


def _validate(model: type[M], value: Any, *, strict: bool) -> M:
    try:
        return model.model_validate(value, strict=strict)
    except ValidationError as error:
        errors = [FieldError(pointer(path), text) for path, text in _errors(error)]
        raise Problem(400, "the body is not of the expected shape", errors=errors) from None


def _errors(error: ValidationError) -> list[tuple[Path, str]]:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [(one["loc"], _MESSAGES.get(one["type"], one["msg"])) for one in found[:ERRORS_SHOWN]]


_MESSAGES = {"extra_forbidden": "unknown field", "missing": "is missing"}

# RFC 5789, W3C Linked Data Platform; others have Accept itself (RFC 9110 section 12.5.1).
_ACCEPT = {"PATCH": "Accept-Patch", "POST": "Accept-Post"}


def _require_json(request: Request, *kinds: str) -> None:
    """Only these types, in UTF-8 and not compressed (RFC 8259 section 8.1)."""
    kind, _, parameters = request.headers.get("content-type", "").partition(";")
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if kind.strip().lower() not in kinds or charset not in ("", "utf-8"):
        raise Problem(
            415,
            "the body must be JSON",
            f"Content-Type: {request.headers.get('content-type', 'none')}",
            hint="send Content-Type: application/json",
            headers={_ACCEPT.get(request.method, "Accept"): ", ".join(kinds)},
        )
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(415, "the body must not be compressed", headers={"Accept-Encoding": "identity"})
