"""Lists, a page at a time: newest first, by keyset (ids are time-ordered), with the filters that a list has."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import ColumnElement, TableClause, bindparam, select, tuple_
from starlette.requests import Request
from starlette.responses import Response

from provision_api import header
from provision_api.database import Row, Statement

# Between the parts of a place in a list whose order takes several columns.
SEPARATOR = ":"


class PageQuery(BaseModel):
    """Where a page begins and how long it is; what a model adds are filters, each named as the column it compares."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(50, ge=1, le=200, description="most on a page")
    after: UUID | None = Field(None, description="the last of the page before; the Link header has it")

    def filters(self) -> dict[str, Any]:
        """What is asked for, by column."""
        return self.model_dump(exclude={"limit", "after"}, exclude_none=True)


def statement(
    query: PageQuery,
    table: TableClause,
    shown: Sequence[ColumnElement[Any]],
    *wanted: ColumnElement[bool],
    key: tuple[str, ...] = ("id",),
) -> Statement:
    """One row more than asked for, to see whether there is a next page; `key` is unique and the order, backwards."""
    conditions = [*wanted, *(table.c[name] == value for name, value in query.filters().items())]
    order = [table.c[name] for name in key]
    if query.after is not None:
        place = (str(query.after).split(SEPARATOR, len(key) - 1) + [""] * len(key))[: len(key)]
        last = (bindparam(f"after_{at.name}", value, at.type) for at, value in zip(order, place, strict=True))
        conditions.append(tuple_(*order) < tuple_(*last))
    newest = (column.desc() for column in order)
    return Statement(select(*shown).where(*conditions).order_by(*newest).limit(query.limit + 1))


def answer(
    request: Request,
    query: PageQuery,
    model: type[BaseModel],
    name: str,
    rows: Sequence[Row],
    key: tuple[str, ...] = ("id",),
) -> Response:
    """The rows of `statement` as a page of the model, whose list has that name; 304 if the caller has it already."""
    page = model.model_validate({name: rows[: query.limit]})
    more = rows[query.limit - 1] if len(rows) > query.limit else None
    last = None if more is None else SEPARATOR.join(str(more[column]) for column in key)
    links = {"Link": _links(request.url.path, query, last)}
    return header.conditional(request, Response(page.model_dump_json(), headers=links, media_type="application/json"))


def _links(path: str, query: PageQuery, last: str | None) -> str:
    """The Link header (RFC 8288) to the first page and, if there is one, the next."""
    given = query.model_dump(mode="json", exclude_defaults=True, exclude={"after"})
    links = [_link(path, given, "first")]
    if last is not None:
        links.append(_link(path, given | {"after": last}, "next"))
    return ", ".join(links)


def _link(path: str, parameters: Mapping[str, Any], relation: str) -> str:
    query = urlencode(parameters)
    return f'<{path}{"?" if query else ""}{query}>; rel="{relation}"'
