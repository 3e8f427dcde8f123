"""The lists of the allocators' API: which view each is of, how it is filtered and sorted, and how its rows are shown.

A page is one statement: ids and their number from a view, under the caller's policies, and the documents of the ids.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from sqlalchemy import (
    BigInteger,
    Boolean,
    Date,
    String,
    Text,
    Uuid,
    any_,
    column,
    func,
    literal,
    or_,
    select,
    table,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from starlette.requests import Request
from starlette.responses import Response

from provision_api.allocation import wire
from provision_api.database import Row, Statement, fetch
from provision_api.state import state_of

Condition = Callable[[Any, str], Any]
Columns = Mapping[str, Any]

_TYPES: Mapping[str, Any] = {
    "uuid": Uuid(),
    "uuids": ARRAY(Uuid()),
    "text": Text(),
    "date": Date(),
    "bool": Boolean(),
    "int": BigInteger(),
    "json": JSONB(),
}


# Filters: each takes the view's columns and the value, and refuses one it cannot read ---------------------------------


def exact(name: str) -> Condition:
    """The column has that value."""
    return lambda view, value: view.c[name] == literal(value, Text())


def contains(*names: str) -> Condition:
    """One of the columns contains it, in whichever case."""
    return lambda view, value: or_(*(view.c[name].icontains(value, autoescape=True) for name in names))


def identity(name: str, parameter: str) -> Condition:
    """The column is that uuid, or one of several with commas between them."""

    def condition(view: Any, value: str) -> Any:
        ids = [UUID(wire.uuid(each, parameter)) for each in value.split(",") if each]
        return view.c[name] == any_(literal(ids, ARRAY(Uuid())))

    return condition


def provided(parameter: str) -> Condition:
    """It is of an offering of that customer, or of one of several."""

    def condition(view: Any, value: str) -> Any:
        ids = [UUID(wire.uuid(each, parameter)) for each in value.split(",") if each]
        return view.c.provider_account_id == any_(func.customer_accounts(literal(ids, ARRAY(Uuid()))))

    return condition


def by_url(name: str, parameter: str, *endpoints: str, is_strict: bool = True) -> Condition:
    """The column is the uuid at the end of that URL; one of another kind: none, or refused."""

    def condition(view: Any, value: str) -> Any:
        try:
            id = wire.reference({parameter: value}, parameter, *endpoints)
        except wire.Refusal:
            if is_strict:
                raise
            return literal(False)
        return view.c[name] == UUID(id)

    return condition


def chosen(name: str, parameter: str, choices: Mapping[str, tuple[str, ...]]) -> Condition:
    """The column is one of the choices given; each is what it is called outside, and inside."""

    def condition(view: Any, value: str) -> Any:
        given = value.split("\0")
        for each in given:
            if each not in choices:
                message = f"Select a valid choice. {each[:100]} is not one of the available choices."
                raise wire.wrong(parameter, message)
        return view.c[name] == any_(literal([one for each in given for one in choices[each]], ARRAY(Text())))

    return condition


def among(name: str) -> Condition:
    """The column is one of the values given, whether or not there are such."""
    return lambda view, value: view.c[name] == any_(literal(value.split("\0"), ARRAY(Text())))


def month(name: str, parameter: str) -> Condition:
    """The column is a day of that month; a day of it, or without one, is given."""

    def condition(view: Any, value: str) -> Any:
        try:
            day = wire.day({parameter: value if len(value) > 7 else f"{value}-01"}, parameter)
        except wire.Refusal:
            raise wire.wrong(parameter, "Enter a valid date.") from None
        return func.to_char(view.c[name], "YYYY-MM") == str(day)[:7]

    return condition


def flag(name: str) -> Condition:
    """The column is true, or false; what is neither is no filter."""

    def condition(view: Any, value: str) -> Any:
        wanted = wire.truth(value)
        return None if wanted is None else view.c[name].is_(wanted)

    return condition


def since(name: str, parameter: str, *, is_before: bool = False) -> Condition:
    """The column is a day at or after that one, or at or before it."""

    def condition(view: Any, value: str) -> Any:
        try:
            day = wire.day({parameter: value}, parameter)
        except wire.Refusal:
            raise wire.wrong(parameter, "Enter a valid date.") from None
        found = func.date(view.c[name])
        bound = func.date(literal(day, String()))
        return found <= bound if is_before else found >= bound

    return condition


def number(name: str, parameter: str) -> Condition:
    """The column is that number."""

    def condition(view: Any, value: str) -> Any:
        if not value.isdecimal() or len(value) > 9:
            raise wire.wrong(parameter, "Enter a number.")
        return view.c[name] == int(value)

    return condition


# Listings -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Listing:
    """One kind of thing: `view` has `columns` (name: type), `documents` is the function that tells of ids.

    `filters` and `order` are by parameter; `many` names the parameters that may be repeated; `newest` lists backwards.
    """

    name: str
    view: str
    documents: str
    columns: Columns
    filters: Mapping[str, Condition]
    show: Callable[[Request, wire.Json], wire.Json]
    order: Mapping[str, str] = field(default_factory=dict)
    many: tuple[str, ...] = ()
    newest: str | None = None

    async def index(self, request: Request, *conditions: Callable[[Any], Any]) -> Response:
        """A page of it."""
        caller = await wire.caller_of(request)
        found = self._table()
        wanted = [condition(found) for condition in conditions] + self._wanted(request, found)
        number, size = wire.page_of(request)
        statement = self._page(found, wanted, self._order(request, found), (number - 1) * size, size)
        ((row),) = await state_of(request).database.run(caller, lambda connection: fetch(connection, statement))
        rows = [self.show(request, document) for document in row["documents"]]
        more = {}
        if self.newest and row["upto"] is not None:
            # What is new since the first page would shift all others.
            more = {"upto": request.query_params.get("upto", str(row["upto"]))}
        return wire.paged(request, rows, row["total"], **more)

    async def one(self, connection: AsyncConnection, id: Any) -> Row:
        """The document of one that the caller sees.

        Raises:
            Refusal: 404.
        """
        found = self._table()
        key = found.c.id == (id if isinstance(id, UUID) else UUID(str(id)))
        statement = self._page(found, [key], [found.c.id], 0, 1)
        (row,) = await fetch(connection, statement)
        if not row["documents"]:
            raise wire.missing(self.name)
        return dict(row["documents"][0])

    def _table(self) -> Any:
        return table(self.view, *(column(name, _TYPES[type]) for name, type in self.columns.items()))

    def _wanted(self, request: Request, view: Any) -> list[Any]:
        wanted = []
        for name, condition in self.filters.items():
            given = [value.replace("\0", "") for value in request.query_params.getlist(name) if value]
            if given:
                made = condition(view, "\0".join(given) if name in self.many else given[-1])
                wanted += [] if made is None else [made]
        upto = request.query_params.get("upto", "")
        if self.newest and upto.isdecimal() and len(upto) < 19:
            wanted.append(view.c[self.newest] <= int(upto))
        return wanted

    def _order(self, request: Request, view: Any) -> list[Any]:
        """The order that is asked for; the key at its end makes it one and the same for every page."""
        keys = [key for given in request.query_params.getlist("o") for key in given.split(",") if key]
        for key in keys:
            if key.removeprefix("-") not in self.order:
                raise wire.wrong("o", f"Select a valid choice. {key[:100]} is not one of the available choices.")
        order = [view.c[self.order[key.removeprefix("-")]] for key in keys]
        sorted_ = [each.desc() if key[0] == "-" else each for key, each in zip(keys, order, strict=True)]
        return [*sorted_, view.c[self.newest].desc() if self.newest else view.c.id]

    def _page(self, view: Any, wanted: list[Any], order: list[Any], offset: int, limit: int) -> Statement:
        # One walk over what is wanted counts it, too. A page after the last has no rows and no number: it is refused.
        upto = func.max(view.c[self.newest]).over() if self.newest else literal(None, BigInteger())
        found = select(view.c.id, func.count().over().label("total"), upto.label("upto")).where(*wanted)
        page = found.order_by(*order).offset(offset).limit(limit).cte("page")
        ids = func.array(select(page.c.id).scalar_subquery())
        documents = getattr(func, self.documents)(ids).table_valued("d").render_derived()
        shown = select(func.coalesce(func.jsonb_agg(documents.c.d), func.jsonb_build_array())).scalar_subquery()
        total = func.coalesce(select(func.max(page.c.total)).scalar_subquery(), 0)
        last = select(func.max(page.c.upto)).scalar_subquery()
        return Statement(select(total.label("total"), last.label("upto"), shown.label("documents")))
