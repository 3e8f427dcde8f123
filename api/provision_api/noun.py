"""Things that are listed, seen, made, changed and removed: routes out of a few words of data.

A noun `org` is read from the view `v_org` and written by the functions `org_create(p)`, `org_change(id, p, version)`,
`org_remove(id, version)` and what more it has, as `org_restore(id)`. Who sees what, who may do what, and what a value
must be like is decided there.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar, get_args
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb
from pydantic import BaseModel, create_model
from sqlalchemy import BigInteger, BindParameter, Text, Uuid, bindparam, column, func, select, table
from sqlalchemy.dialects.postgresql import JSONB
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from provision_api import header, page
from provision_api.auth import authenticate
from provision_api.database import Caller, Row, Statement, fetch
from provision_api.problem import Problem
from provision_api.resource import ETAG, IF_MATCH, IF_NONE_MATCH, LINK, LOCATION, Header, Operation, Success, resource
from provision_api.shape import JSON, MERGE_PATCH, read_body, read_patch, read_query
from provision_api.state import state_of

T = TypeVar("T")
Work = Callable[[AsyncConnection], Awaitable[T]]

_ID = bindparam("id", type_=Uuid)
_BODY = bindparam("body", type_=JSONB)
_VERSION = bindparam("version", type_=BigInteger)

# How it can end: reading a body, doing something to what is there, making or changing it.
BODY = (400, 408, 413, 415)
ACTING = (403, 404, 409)
MAKING = (*BODY, *ACTING, 422)


def call(function: str, *parameters: BindParameter[Any], returns: tuple[str, ...] = ("id",)) -> Statement:
    """A call of a function, which returns a row of these columns, or one value, or nothing."""
    return Statement(select(getattr(func, function)(*parameters).table_valued(*returns).render_derived()))


async def run(request: Request, caller: Caller, work: Work[T]) -> T:
    """Do it in one transaction of the caller's."""
    return await state_of(request).database.run(caller, work)


_UNCHANGED = {304: Success(description="unchanged", headers={"ETag": ETAG})}


class Noun:
    """One kind of thing at `/v1/<plural>`.

    `shown` is what a caller sees of one, a field for each column of the view; `query` has the filters of the list, and
    `listed` what is in it if that is more; `create` and `change` are bodies, and without one that cannot be done;
    `issued` is what its maker sees, this once; `actions` are `POST …/{id}/<action>` with their summary, each a function
    `<name>_<action>(id)`. The list goes backwards by `key`, whose columns are unique.
    """

    def __init__(
        self,
        name: str,
        plural: str,
        shown: type[BaseModel],
        query: type[page.PageQuery],
        *,
        create: type[BaseModel] | None = None,
        create_function: str = "create",
        change: type[BaseModel] | None = None,
        issued: type[BaseModel] | None = None,
        listed: Any = None,
        is_removable: bool = True,
        actions: Mapping[str, str] | None = None,
        key: tuple[str, ...] = ("id",),
    ) -> None:
        self.name, self.plural, self.key = name, plural, key
        self.words = name.replace("_", " ").replace("api", "API")
        self.path = f"/v1/{plural.replace('_', '-')}"
        self.shown, self.query, self.created, self.changed = shown, query, create, change
        self.issued = issued or shown
        self.is_removable = is_removable
        self.actions = actions or {}
        self.page = create_model(f"{shown.__name__}Page", __doc__="One page.", **{plural: (list[listed or shown], ...)})  # type: ignore[call-overload, misc]
        fields = {field: _type(info.annotation) for field, info in shown.model_fields.items()}
        fields |= {field: Uuid() for field in key if field not in fields}
        self._view = table(f"v_{name}", *(column(field, type) for field, type in fields.items()))
        self._shown = [self._view.c[field] for field in fields]
        secret = tuple(self.issued.model_fields.keys() - shown.model_fields.keys())
        self._create = call(f"{name}_{create_function}", _BODY, returns=("id", *secret))
        self._change = call(f"{name}_change", _ID, _BODY, _VERSION)
        self._remove = call(f"{name}_remove", _ID, _VERSION)
        self._act = {action: call(f"{name}_{action}", _ID) for action in self.actions}
        if "id" in fields:
            newest = [self._view.c[field].desc() for field in key]
            self._one = Statement(select(*self._shown).where(self._view.c.id == _ID).order_by(*newest).limit(1))

    async def read(self, connection: AsyncConnection, id: UUID) -> Row:
        """The one of that id.

        Raises:
            Problem: 404.
        """
        rows = await fetch(connection, self._one, id=id)
        if not rows:
            raise Problem(404, f"the {self.words} is not found", str(id), hint=f"GET {self.path} lists yours")
        return rows[0]

    def listing(self, query: page.PageQuery) -> Statement:
        """A page of them, and one more."""
        return page.statement(query, self._view, self._shown, key=self.key)

    def answer(self, row: Row, status: int = 200) -> Response:
        """What a caller is told who has made or changed one."""
        model = self.issued if status == 201 else self.shown
        headers = {"ETag": f'"{row["version"]}"'} if "version" in row else {}
        if status == 201:
            headers["Location"] = f"{self.path}/{row['id']}"
        return Response(model.model_validate(row).model_dump_json(), status, headers, JSON)

    def seen(self, request: Request, row: Row) -> Response:
        """One of them, or 304 if the caller knows it as it is."""
        response = Response(self.shown.model_validate(row).model_dump_json(), media_type=JSON)
        return header.conditional(request, response, row["version"])

    # Handlers

    async def index(self, request: Request) -> Response:
        """A page of them."""
        caller = await authenticate(request)
        query = read_query(request, self.query)
        rows = await run(request, caller, lambda connection: fetch(connection, self.listing(query)))
        return page.answer(request, query, self.page, self.plural, rows, key=self.key)

    async def show(self, request: Request) -> Response:
        """One of them."""
        caller = await authenticate(request)
        row = await run(request, caller, lambda connection: self.read(connection, request.path_params["id"]))
        return self.seen(request, row)

    async def create(self, request: Request) -> Response:
        """A new one."""
        assert self.created is not None
        caller = await authenticate(request)
        body = Jsonb((await read_body(request, self.created)).model_dump(mode="json", exclude_unset=True))
        return self.answer(await self.make(request, caller, self._create, body=body), 201)

    async def make(self, request: Request, caller: Caller, statement: Statement, **values: Any) -> Row:
        """What a statement makes that returns the id of one, and perhaps its secret."""

        async def work(connection: AsyncConnection) -> Row:
            (made,) = await fetch(connection, statement, **values)
            return made | await self.read(connection, made["id"])

        return await run(request, caller, work)

    async def change(self, request: Request) -> Response:
        """Another version of one."""
        assert self.changed is not None
        caller = await authenticate(request)
        version = header.expected_version(request)
        body = (await read_patch(request, self.changed)).model_dump(mode="json", exclude_unset=True)
        return await self._write(request, caller, self._change, body=Jsonb(body), version=version)

    async def remove(self, request: Request) -> Response:
        """One less."""
        caller = await authenticate(request)
        values = {"id": request.path_params["id"], "version": header.expected_version(request)}
        await run(request, caller, lambda connection: fetch(connection, self._remove, **values))
        return Response(status_code=204)

    async def act(self, request: Request) -> Response:
        """What the last part of the path says, done to one."""
        caller = await authenticate(request)
        action = request.url.path.rpartition("/")[2]
        return await self._write(request, caller, self._act[action])

    async def _write(self, request: Request, caller: Caller, statement: Statement, **values: Any) -> Response:
        id: UUID = request.path_params["id"]

        async def work(connection: AsyncConnection) -> Row:
            await fetch(connection, statement, id=id, **values)
            return await self.read(connection, id)

        return self.answer(await run(request, caller, work))

    # Description

    def routes(self) -> list[Route]:
        """All that can be done with the noun."""
        many = {
            "get": self.operation(self.index, f"List {self._many}", self.many | _UNCHANGED, (400,), query=self.query)
        }
        if self.created:
            many["post"] = self.operation(self.create, f"Make {self._a}", self.made, MAKING, body=self.created)
        routes = [resource(self.path, **many)]
        if "id" in self.shown.model_fields:
            routes.append(resource(f"{self.path}/{{id:uuid}}", **self._one_operations()))
        return routes + [
            resource(f"{self.path}/{{id:uuid}}/{action}", post=self.operation(self.act, summary, self.one, ACTING))
            for action, summary in self.actions.items()
        ]

    def _one_operations(self) -> dict[str, Operation]:
        known = {"headers": {"If-None-Match": IF_NONE_MATCH}}
        seen = {"headers": {"If-Match": IF_MATCH}}
        some = {"get": self.operation(self.show, f"See {self._a}", self.one | _UNCHANGED, (404,), **known)}
        if self.changed:
            some["patch"] = self.operation(
                self.change,
                f"Change {self._a}",
                self.one,
                (*MAKING, 412, 428),
                description="What is not named stays as it is (RFC 7396).",
                body=self.changed,
                body_types=(JSON, MERGE_PATCH),
                **seen,
            )
        if self.is_removable:
            gone = {204: Success(description="it is done")}
            some["delete"] = self.operation(self.remove, f"Remove {self._a}", gone, (*ACTING, 412, 428), **seen)
        return some

    def operation(
        self,
        handler: Callable[[Request], Awaitable[Response]],
        summary: str,
        success: Mapping[int, Success],
        problems: tuple[int, ...],
        **more: Any,
    ) -> Operation:
        """An operation under the noun's heading."""
        return Operation(handler=handler, summary=summary, tag=self.plural, success=success, problems=problems, **more)

    @property
    def made(self) -> dict[int, Success]:
        """The answer to who makes one."""
        headers = {"Location": LOCATION, "ETag": ETAG}
        return {201: Success(description=f"the new {self.words}", model=self.issued, headers=headers)}

    @property
    def one(self) -> dict[int, Success]:
        return {200: Success(description=f"the {self.words}", model=self.shown, headers={"ETag": ETAG})}

    @property
    def many(self) -> dict[int, Success]:
        headers: dict[str, Header] = {"ETag": ETAG, "Link": LINK}
        page = Success(description=f"a page of {self._many}", model=self.page, headers=headers)
        return {200: page}

    @property
    def _many(self) -> str:
        return self.plural.replace("_", " ").replace("api", "API")

    @property
    def _a(self) -> str:
        return f"{'an' if self.words[0] in 'aeioAEIO' else 'a'} {self.words}"


def _type(annotation: Any) -> Any:
    """The SQL type of a column, as far as it matters for a comparison."""
    return Uuid() if UUID in (annotation, *get_args(annotation)) else Text()
