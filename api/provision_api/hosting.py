"""Managed web sites: customers, orgs, users and spaces by their names, sites with backups and versions, at the root.

The nouns are those of tenancy; paths name customers by their cid, and orgs, spaces, users and sites by name. The org is
`default` unless `?org=` says another. What is changed about a site is an order; answers say which.
"""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from sqlalchemy import (
    ARRAY,
    Integer,
    LargeBinary,
    Text,
    Uuid,
    any_,
    bindparam,
    column,
    func,
    literal,
    select,
    table,
)
from sqlalchemy.dialects.postgresql import JSONB
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from provision_api import header, page, password
from provision_api.auth import authenticate, scope_within
from provision_api.database import ANONYMOUS, Caller, Row, Statement, fetch
from provision_api.identity import Finish, finish
from provision_api.noun import ACTING, BODY, MAKING, call, run
from provision_api.problem import Problem
from provision_api.resource import ETAG, IF_MATCH, Header, Operation, Success, resource
from provision_api.session import Password, count_attempt
from provision_api.shape import JSON, WHOLE, read_body, read_optional_body, read_query
from provision_api.state import state_of
from provision_api.tenancy import Body, Email, Label, Name, Named

DEFAULT = "default"
Nodes = Annotated[int, Field(ge=1, le=100), WHOLE]
CodeUrl = Annotated[str, Field(max_length=2000, examples=["https://git.example.org/site.git", "s3://bucket/site.zip"])]
CodeRef = Annotated[str, Field(min_length=1, max_length=255)]
Phase = Literal["pending", "creating", "ready", "updating", "degraded", "suspended", "deleting", "deleted", "failed"]


Id = Annotated[str, Field(pattern="^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", json_schema_extra={"format": "uuid"})]


def _folded(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


SiteName = Annotated[Label, BeforeValidator(_folded)]
SitePassword = Annotated[str, Field(min_length=12, max_length=128)]


# Customers ------------------------------------------------------------------------------------------------------------


class HostingCustomer(BaseModel):
    """A customer."""

    cid: str
    name: str
    email: str
    status: Literal["free", "paid", "suspended", "to_be_removed"]
    removal_date: datetime | None
    version: int
    created_date: datetime


class NewCustomer(Body):
    """Who wants to be a customer. Without a username, who is logged in becomes its owner."""

    name: Name
    email: Email
    tenant: Named | None = Field(None, description="where several host")
    username: Named | None = None
    password: Password | None = None
    identity: Finish | None = Field(
        None, description="instead of a password: what a log-in elsewhere, begun at POST /v1/identities, came back with"
    )


class CustomerChange(Body):
    """What is to be another way."""

    name: Name | None = None
    email: Email | None = None


class HostingOrg(BaseModel):
    """A part of a customer that is billed by itself."""

    id: UUID
    cid: str
    name: str
    description: str | None
    slug: str
    quota: str = Field(description="its quota plan")
    spaces: list[str]
    version: int


class NewOrg(Body):
    """A new org."""

    name: Name
    cid: Named
    description: str | None = Field(None, max_length=1000)
    quota: Named | None = Field(None, description="a quota plan")
    spaces: list[Label] = Field(default_factory=list, max_length=50)


class OrgChange(Body):
    """What is to be another way."""

    name: Name | None = None
    description: str | None = Field(None, max_length=1000)
    quota: Named | None = None


class Query(BaseModel):
    """What a query says, and nothing else."""

    model_config = ConfigDict(extra="forbid")


class OfMonth(Query):
    """Of when."""

    month: Annotated[str, Field(pattern="^20[0-9]{2}-(0[1-9]|1[0-2])$", examples=["2026-11"])] | None = Field(
        None, description="default: the present one"
    )


class DayCost(BaseModel):
    """What was spent on a day (UTC)."""

    day: date
    amount: Decimal


class ModuleCost(BaseModel):
    """What was spent on a kind of things."""

    module: str
    amount: Decimal


class OrgCosts(BaseModel):
    """What an org spent in a month, as AWS has told until now."""

    cid: str
    org: str
    month: str
    currency: str
    total: Decimal
    modules: list[ModuleCost]
    days: list[DayCost]
    imported_date: datetime | None = Field(description="when AWS last told; null: it has not yet")


class HostingUser(BaseModel):
    """A user of a customer, who acts in spaces of it."""

    name: str | None
    cid: str
    username: str
    email: str | None
    enabled: bool
    spaces: list[str]


class IssuedUser(HostingUser):
    """A new user."""

    api_key: str = Field(description="40 hex digits, shown this once")


class NewUser(Body):
    """A new user; the username is the e-mail address."""

    name: Name
    cid: Named
    email: Email
    password: Password | None = None
    spaces: list[Named] | None = Field(None, max_length=100, description="as space or org/space; default: default")
    enabled: bool = True


class UserChange(Body):
    """What is to be another way."""

    name: Name | None = None
    email: Email | None = None
    password: Password | None = None
    spaces: list[Named] | None = None
    enabled: bool | None = None


class NamedUserChange(UserChange):
    """The same, saying of whom."""

    name: Name


class HostingSpace(BaseModel):
    """A part of an org."""

    id: UUID
    org_id: UUID
    name: str
    description: str | None
    version: int


class NewSpace(Body):
    """A new space."""

    name: Label
    description: str | None = Field(None, max_length=1000)
    org_id: Id | None = None
    orgID: Id | None = None  # noqa: N815 - what some clients send


class SpaceChange(Body):
    """What is to be another way."""

    name: Label | None = None
    description: str | None = Field(None, max_length=1000)


class ByCustomer(Query):
    """Whose."""

    cid: Named
    name: Named | None = None


class ByName(Query):
    """Which."""

    name: Named | None = None


# Sites ----------------------------------------------------------------------------------------------------------------


class Route(Body):
    """A further name below the site's own."""

    route: SiteName
    version: Annotated[int, Field(ge=0), WHOLE] | None = Field(None, description="of the code; default: the site's")
    basic_auth: bool = Field(False, description="whether it asks for the user admin and basic_auth_password")


class SiteChange(Body):
    """What is to be another way."""

    code: CodeUrl | None = Field(None, description="null: a stock WordPress")
    code_ref: CodeRef | None = Field(None, description="branch, tag, commit, or version of the S3 object")
    num_instances: Nodes = 1
    min_instances: Nodes | None = None
    max_instances: Nodes | None = None
    features: list[Named] = Field(default_factory=list, max_length=20)
    domains: list[Named] = Field(default_factory=list, max_length=20)
    routes: list[Route] = Field(default_factory=list, max_length=20)
    basic_auth_password: SitePassword | None = Field(None, description="another one for routes with basic_auth")
    suspended: bool = False
    backup_hours: Annotated[int, Field(ge=0, le=8760, description="0: none"), WHOLE] = 24
    backup_keep: Annotated[int, Field(ge=1, le=90), WHOLE] = 7


class NewSite(Body):
    """A new web site."""

    name: SiteName
    code: CodeUrl | None = Field(None, description="where its code is; without it a stock WordPress is set up")
    code_ref: CodeRef | None = None
    num_instances: Nodes | None = None
    min_instances: Nodes | None = None
    max_instances: Nodes | None = None
    features: list[Named] = Field(default_factory=list, max_length=20)
    profile: Label | None = None
    domains: list[Named] = Field(default_factory=list, max_length=20)
    routes: list[Route] = Field(default_factory=list, max_length=20)
    basic_auth_password: SitePassword | None = Field(None, description="what routes with basic_auth ask for")
    admin_password: SitePassword | None = Field(
        None, description="default: one that nobody has thought up; a log-in link lets you in"
    )
    org: Named | None = None


class Condition(BaseModel):
    """Whether something holds."""

    status: bool
    reason: str | None = None
    code: str | None = None


class Site(BaseModel):
    """A web site: what is wanted of it, and what is there."""

    id: UUID
    name: str
    cid: str
    org: str
    space: str
    hostname: str
    phase: Phase
    num_instances: int
    min_instances: int | None
    max_instances: int | None
    ready_instances: int
    features: list[str]
    profile: str | None
    code: str | None
    code_ref: str | None
    code_version: int | None
    domains: list[dict[str, Any]] = Field(description="name, state and the records you have to set")
    routes: list[dict[str, Any]]
    suspended: bool
    address: str | None
    conditions: dict[str, Condition]
    generation: int
    observed_generation: int
    backup_hours: int
    backup_keep: int
    created_date: datetime


class OrderedSite(Site):
    """A site with what was ordered about it."""

    order: UUID


class Sites(BaseModel):
    """A page of web sites."""

    wpaas: list[Site]


class SiteQuery(page.PageQuery):
    """Which web sites."""

    org: Named | None = Field(None, description="default: default")
    name: Named | None = None
    phase: Phase | None = None
    feature: Named | None = None
    profile: Named | None = None


class AllSitesQuery(page.PageQuery):
    """Which web sites, of all that you see."""

    name: Named | None = None
    phase: Phase | None = None
    profile: Named | None = None


class InOrg(BaseModel):
    """Where."""

    org: Named | None = Field(None, description="default: default")


class Backup(BaseModel):
    """A snapshot of a site's database."""

    id: UUID
    reason: Literal["asked", "scheduled", "replaced", "final"]
    snapshot: str
    size_gib: int | None
    dump_bytes: int | None = Field(description="size of the dump that can be downloaded")
    dump_date: datetime | None = Field(description="when that was made; null: there is none, an order makes it")
    created_date: datetime


class Download(BaseModel):
    """A link to a dump of a backup: SQL, gzipped, as `wp db import` takes it. Whoever has it has the data."""

    url: str
    expires_date: datetime
    size_bytes: int


class Version(BaseModel):
    """A version of a site's code."""

    number: int
    is_wanted: bool
    code_url: str | None
    code_ref: str | None
    resolved_ref: str | None
    snapshot: str | None = Field(description="the data as they were when the next version came")
    snapshot_date: datetime | None = Field(description="how old these data are")
    created_date: datetime


class RollBack(Body):
    """What is to come back with the code."""

    data: bool = Field(False, description="also the data of then; what was written since is lost")


class Profile(BaseModel):
    """A bundle of features and a size."""

    name: str
    description: str
    features: list[str]
    num_instances: int
    min_instances: int | None
    max_instances: int | None


class Ordered(BaseModel):
    """What was ordered."""

    order: UUID


class LoginLink(BaseModel):
    """A link that logs in as the site's administrator, once, within 5 minutes."""

    url: str


class PushHook(BaseModel):
    """Where a git server tells of pushes, and the secret to enter there."""

    path: str = Field(description="below the address of this API")
    secret: str = Field(description="64 hex digits, shown this once")


class Push(BaseModel):
    """What is read of what a git server tells (GitHub, GitLab, Gitea and others)."""

    ref: str | None = None
    after: str | None = None
    repository: dict[str, Any] = {}
    project: dict[str, Any] = {}


class Pushed(BaseModel):
    """What came of a push."""

    update: bool = Field(description="whether it is one; false: the site has that code, or runs another branch")


class LoginToken(Body):
    """What a node has found in a link."""

    token: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    host: Annotated[str, Field(max_length=253)]


# Statements -----------------------------------------------------------------------------------------------------------


def _view(name: str, *columns: str) -> Any:
    types: dict[str, Any] = {"id": Uuid(), "number": Integer(), "features": ARRAY(Text())}
    return table(name, *(column(one, types.get(one)) for one in columns))


_customer = _view("v_customer", "id", "tenant_customer_id", *HostingCustomer.model_fields)
_org = _view("v_org", "id", "tenant_customer_id", "cid", "name", "description", "slug", "kind", "quota_plan", "version")
_space = _view("v_space", "id", "tenant_customer_id", "org_id", "name", "description", "version")
_user = _view("v_user", "id", "cid", "username", "email", "name", "status", "is_technical")
_RENAMED = {"code": "code_url", "suspended": "is_suspended", "domains": "domain_states", "org": "org_name"}
_SITE_COLUMNS = [_RENAMED.get(name, name) for name in Site.model_fields]
_site = _view("v_wpaas", *_SITE_COLUMNS, "org_id", "space_id", "deleted_date")
_SITE = [_site.c[_RENAMED.get(name, name)].label(name) for name in Site.model_fields]
_backup = _view("v_wpaas_backup", "instance_id", "removal_date", "expired_date", *Backup.model_fields)
_version = _view("v_wpaas_version", "instance_id", *Version.model_fields)
_profile = _view("v_wpaas_profile", "id", *Profile.model_fields)

_BODY, _ID = bindparam("body", type_=JSONB), bindparam("id", type_=Uuid)
_CID, _NAME, _HASH = (bindparam(name, type_=Text) for name in ("cid", "name", "hash"))
_SIGN_UP = call("customer_sign_up", _BODY, _HASH, returns=("cid",))
_CUSTOMER_CREATE = call("customer_create", _BODY)
_CALLS = {
    f"{noun}_{verb}": call(
        f"{noun}_{verb}", *([] if verb == "create" else [_ID]), *([] if verb in ("remove", "restore") else [_BODY])
    )
    for noun in ("customer", "org", "space")
    for verb in ("create", "change", "remove", "restore")
    if (noun, verb) not in (("org", "restore"), ("space", "restore"))
}
_QUOTA = call("quota_change", bindparam("scope", type_=Text), _ID, bindparam("plan", type_=Text))
_ORG_DEFAULT, _SPACE_DEFAULT = call("org_default", _ID), call("space_default", _ID)
_USER_CREATE = call("customer_user_create", _CID, _BODY, _HASH, returns=("id", "key"))
_USER_CHANGE = call("customer_user_change", _CID, _NAME, _BODY, _HASH)
_USER_REMOVE = call("customer_user_remove", _CID, _NAME)
_USER_KEY = call("customer_user_key", _CID, _NAME, returns=("id", "key"))
_REQUIRE = call("wpaas_require", bindparam("account", type_=Uuid), bindparam("org", type_=Uuid))
_LINK = call("wpaas_login_link", _ID, returns=("url",))
_DOWNLOAD = call("wpaas_download_link", _ID, returns=tuple(Download.model_fields))
_BACKUP_REMOVE = call("wpaas_backup_remove", _ID)
_LINK_USE = call("wpaas_link_use", bindparam("token", type_=Text), bindparam("host", type_=Text), returns=("used",))
_COSTS = call("org_costs", _ID, bindparam("month", type_=Text), returns=("costs",))
_HOOK_MAKE, _HOOK_REMOVE = call("wpaas_hook_make", _ID, returns=("id", "secret")), call("wpaas_hook_remove", _ID)
_PUSH = call(
    "wpaas_push",
    _ID,
    bindparam("content", type_=LargeBinary),
    bindparam("signature", type_=Text),
    bindparam("token", type_=Text),
    _BODY,
    returns=("news",),
)
_SUBMIT = Statement(
    select(
        func.order_submit(
            bindparam("customer", type_=Uuid),
            bindparam("items", type_=JSONB),
            bindparam("key", type_=Text),
            bindparam("options", type_=JSONB),
        ).label("id")
    )
)


async def _one(connection: AsyncConnection, view: Any, what: str, which: str, *conditions: Any) -> Row:
    rows = await fetch(connection, Statement(select(*view.c).where(*conditions).limit(1)))
    if not rows:
        raise Problem(404, f"the {what} is not found", which[:100], hint="name one of your own")
    return rows[0]


async def _customer_of(connection: AsyncConnection, cid: str) -> Row:
    return await _one(connection, _customer, "customer", cid, _customer.c.cid == cid)


async def _org_of(connection: AsyncConnection, cid: str, name: str) -> Row:
    """An org by name; the one named default is made when it is first asked for."""
    customer = await _customer_of(connection, cid)
    seen = await _org_seen(connection, customer, name)
    if seen:
        return seen
    (found,) = await fetch(connection, _ORG_DEFAULT, id=customer["tenant_customer_id"])
    return await _one(connection, _org, "org", name, _org.c.id == found["id"])


async def _space_of(connection: AsyncConnection, org: UUID, name: str) -> Row:
    if name == DEFAULT:
        await fetch(connection, _SPACE_DEFAULT, id=org)
    return await _one(connection, _space, "space", name, _space.c.org_id == org, _space.c.name == name)


def _path(request: Request, name: str) -> str:
    value: str = request.path_params[name]
    return value


def _given(body: BaseModel, *without: str) -> dict[str, Any]:
    return body.model_dump(mode="json", exclude_unset=True, exclude=set(without), exclude_none=True)


async def _hash(request: Request, given: str | None, username: str) -> str | None:
    if given is None:
        return None
    password.check(given, username)
    return await state_of(request).hasher.hash(given)


def _answer(model: type[BaseModel], row: Any, status: int = 200, **headers: str) -> Response:
    return Response(model.model_validate(row).model_dump_json(), status, headers, JSON)


def _list(model: type[BaseModel], rows: list[Any]) -> Response:
    return JSONResponse([model.model_validate(row).model_dump(mode="json") for row in rows])


# Customers, orgs, spaces, users ---------------------------------------------------------------------------------------


async def create_customer(request: Request) -> Response:
    """A customer: of somebody who signs up, or of a user who is logged in."""
    body = await read_body(request, NewCustomer)
    if (body.username is None) != (body.password is None and body.identity is None) or (
        body.password is not None and body.identity is not None
    ):
        hint = "give both, or a username and an identity, or neither and log in"
        raise Problem(422, "a username and a password belong together", hint=hint)
    if body.username is None:
        caller = await authenticate(request)

        async def work(connection: AsyncConnection) -> Row:
            (made,) = await fetch(connection, _CUSTOMER_CREATE, body=Jsonb(_given(body)))
            return await _one(connection, _customer, "customer", body.name, _customer.c.id == made["id"])

        return _answer(HostingCustomer, await run(request, caller, work), 201)
    await count_attempt(request, "register")
    hashed = await _hash(request, body.password, body.username)
    elsewhere = (await finish(request, body.identity, None))._asdict() if body.identity else {}
    values = {"body": Jsonb(_given(body, "password", "identity") | elsewhere), "hash": hashed}
    (row,) = await run(request, ANONYMOUS, lambda connection: fetch(connection, _SIGN_UP, **values))
    return JSONResponse({"cid": row["cid"], "name": body.name, "email": body.email, "status": "free"}, 201)


async def list_customers(request: Request) -> Response:
    """All for who runs the installation, else one's own."""
    caller = await authenticate(request)
    statement = Statement(select(*_customer.c).order_by(_customer.c.cid).limit(1000))
    return _list(HostingCustomer, await run(request, caller, lambda connection: fetch(connection, statement)))


async def show_customer(request: Request) -> Response:
    """One customer."""
    caller = await authenticate(request)
    cid = _path(request, "cid")
    return _answer(HostingCustomer, await run(request, caller, lambda connection: _customer_of(connection, cid)))


async def _write_customer(request: Request, verb: str, **values: Any) -> Row:
    caller, cid = await authenticate(request), _path(request, "cid")

    async def work(connection: AsyncConnection) -> Row:
        row = await _customer_of(connection, cid)
        await fetch(connection, _CALLS[f"customer_{verb}"], id=row["id"], **values)
        return row | dict(next(iter(await fetch(connection, _CUSTOMER_AGAIN, id=row["id"])), {}))

    return await run(request, caller, work)


_CUSTOMER_AGAIN = Statement(select(*_customer.c).where(_customer.c.id == _ID).limit(1))


async def change_customer(request: Request) -> Response:
    """Another name or address."""
    body = await read_body(request, CustomerChange)
    return _answer(HostingCustomer, await _write_customer(request, "change", body=Jsonb(_given(body))))


async def remove_customer(request: Request) -> Response:
    """Has it removed; that can be taken back for 30 days."""
    await _write_customer(request, "remove")
    return Response(status_code=204)


async def restore_customer(request: Request) -> Response:
    """Takes the removal back."""
    return _answer(HostingCustomer, await _write_customer(request, "restore"))


async def _org_shown(connection: AsyncConnection, row: Row) -> Row:
    spaces = Statement(select(_space.c.name).where(_space.c.org_id == row["id"]).order_by(_space.c.name))
    names = [space["name"] for space in await fetch(connection, spaces)]
    return row | {"quota": row["quota_plan"], "spaces": names}


async def create_org(request: Request) -> Response:
    """An org with spaces."""
    caller, body = await authenticate(request), await read_body(request, NewOrg)

    async def work(connection: AsyncConnection) -> Row:
        await _customer_of(connection, body.cid)
        new = {"name": body.name, "description": body.description, "kind": "hosting", "customer": body.cid}
        (made,) = await fetch(connection, _CALLS["org_create"], body=Jsonb(new))
        id: UUID = made["id"]
        for space in body.spaces:
            await fetch(connection, _CALLS["space_create"], body=Jsonb({"org": str(id), "name": space}))
        if body.quota is not None:
            await fetch(connection, _QUOTA, scope="org", id=id, plan=body.quota)
        return await _org_shown(connection, await _one(connection, _org, "org", body.name, _org.c.id == id))

    return _answer(HostingOrg, await run(request, caller, work), 201)


async def list_orgs(request: Request) -> Response:
    """The orgs of a customer, or the one of a name."""
    query = read_query(request, ByCustomer)
    return await _orgs(request, query.cid, query.name)


async def _orgs(request: Request, cid: str, name: str | None) -> Response:
    caller = await authenticate(request)

    async def work(connection: AsyncConnection) -> list[Row]:
        if name is not None:
            return [await _org_shown(connection, await _org_of(connection, cid, name))]
        customer = await _customer_of(connection, cid)
        mine = (_org.c.tenant_customer_id == customer["tenant_customer_id"], _org.c.kind == "hosting")
        rows = await fetch(connection, Statement(select(*_org.c).where(*mine).order_by(_org.c.name)))
        return [await _org_shown(connection, row) for row in rows]

    return _list(HostingOrg, await run(request, caller, work))


async def show_org(request: Request) -> Response:
    """One org; the one named default is made when it is first asked for."""
    caller, cid, name = await authenticate(request), _path(request, "cid"), request.path_params.get("org", DEFAULT)

    async def work(connection: AsyncConnection) -> Row:
        return await _org_shown(connection, await _org_of(connection, cid, name))

    return _answer(HostingOrg, await run(request, caller, work))


async def change_org(request: Request) -> Response:
    """Another name, or another quota plan."""
    caller, body = await authenticate(request), await read_body(request, OrgChange)
    cid, name = _path(request, "cid"), _path(request, "org")

    async def work(connection: AsyncConnection) -> Row:
        org = await _org_of(connection, cid, name)
        given = _given(body, "quota")
        if given:
            await fetch(connection, _CALLS["org_change"], id=org["id"], body=Jsonb(given))
        if body.quota is not None:
            await fetch(connection, _QUOTA, scope="org", id=org["id"], plan=body.quota)
        return await _org_shown(connection, await _one(connection, _org, "org", name, _org.c.id == org["id"]))

    return _answer(HostingOrg, await run(request, caller, work))


async def show_costs(request: Request) -> Response:
    """The statement of an org for a month."""
    caller, query = await authenticate(request), read_query(request, OfMonth)
    cid, name = _path(request, "cid"), _path(request, "org")

    async def work(connection: AsyncConnection) -> Row:
        org = await _org_of(connection, cid, name)
        (row,) = await fetch(connection, _COSTS, id=org["id"], month=query.month)
        costs: Row = row["costs"]
        return costs | {"cid": cid, "org": org["name"]}

    return _answer(OrgCosts, await run(request, caller, work))


async def remove_org(request: Request) -> Response:
    """One org less; one that still has sites stays."""
    caller, cid, name = await authenticate(request), _path(request, "cid"), _path(request, "org")

    async def work(connection: AsyncConnection) -> None:
        org = await _org_of(connection, cid, name)
        await fetch(connection, _CALLS["org_remove"], id=org["id"])

    await run(request, caller, work)
    return Response(status_code=204)


async def create_space(request: Request) -> Response:
    """A space of an org."""
    caller, body = await authenticate(request), await read_body(request, NewSpace)
    org = body.org_id or body.orgID
    if org is None:
        raise Problem(
            400, "it is not clear whose space it is to be", "org_id is missing", hint="name the org by its id"
        )

    async def work(connection: AsyncConnection) -> Row:
        new = _given(body, "org_id", "orgID") | {"org": str(org)}
        (made,) = await fetch(connection, _CALLS["space_create"], body=Jsonb(new))
        return await _one(connection, _space, "space", body.name, _space.c.id == made["id"])

    return _answer(HostingSpace, await run(request, caller, work), 201)


async def list_spaces(request: Request) -> Response:
    """The spaces of a customer, or those of a name."""
    caller, query = await authenticate(request), read_query(request, ByCustomer)

    async def work(connection: AsyncConnection) -> list[Row]:
        customer = await _customer_of(connection, query.cid)
        wanted = [_space.c.tenant_customer_id == customer["tenant_customer_id"]]
        wanted += [] if query.name is None else [_space.c.name == query.name]
        return await fetch(connection, Statement(select(*_space.c).where(*wanted).order_by(_space.c.name)))

    return _list(HostingSpace, await run(request, caller, work))


async def show_default_space(request: Request) -> Response:
    """The default space of a customer's default org, both made when they are first asked for."""
    caller, cid = await authenticate(request), _path(request, "cid")

    async def work(connection: AsyncConnection) -> Row:
        return await _space_of(connection, (await _org_of(connection, cid, DEFAULT))["id"], DEFAULT)

    return _answer(HostingSpace, await run(request, caller, work))


async def show_space(request: Request) -> Response:
    """One space; the one named default is made when it is first asked for."""
    caller, org, name = await authenticate(request), request.path_params["org_id"], _path(request, "space")
    return _answer(HostingSpace, await run(request, caller, lambda connection: _space_of(connection, org, name)))


async def change_space(request: Request) -> Response:
    """Another name or description."""
    caller, body = await authenticate(request), await read_body(request, SpaceChange)
    org, name = request.path_params["org_id"], _path(request, "space")

    async def work(connection: AsyncConnection) -> Row:
        space = await _space_of(connection, org, name)
        await fetch(connection, _CALLS["space_change"], id=space["id"], body=Jsonb(_given(body)))
        return await _one(connection, _space, "space", name, _space.c.id == space["id"])

    return _answer(HostingSpace, await run(request, caller, work))


async def remove_space(request: Request) -> Response:
    """One space less; one that still has sites stays."""
    caller, org, name = await authenticate(request), request.path_params["org_id"], _path(request, "space")

    async def work(connection: AsyncConnection) -> None:
        space = await _space_of(connection, org, name)
        await fetch(connection, _CALLS["space_remove"], id=space["id"])

    await run(request, caller, work)
    return Response(status_code=204)


_USER = [*_user.c, func.customer_user_places(_user.c.id).label("spaces")]


async def _users(connection: AsyncConnection, cid: str, name: str | None = None) -> list[Row]:
    wanted = [_user.c.cid == cid, _user.c.is_technical.is_(False)]
    wanted += [] if name is None else [func.lower(func.coalesce(_user.c.name, _user.c.username)) == name.lower()]
    rows = await fetch(connection, Statement(select(*_USER).where(*wanted).order_by(_user.c.username).limit(1000)))
    return [row | {"enabled": row["status"] == "active"} for row in rows]


async def create_user(request: Request) -> Response:
    """A user of a customer, with an API key."""
    caller, body = await authenticate(request), await read_body(request, NewUser)
    hashed = await _hash(request, body.password, body.email)

    async def work(connection: AsyncConnection) -> Row:
        given = Jsonb(_given(body, "cid", "password"))
        (made,) = await fetch(connection, _USER_CREATE, cid=body.cid, body=given, hash=hashed)
        (row,) = await _users(connection, body.cid, body.name)
        return row | {"api_key": made["key"]}

    return _answer(IssuedUser, await run(request, caller, work), 201)


async def list_users(request: Request) -> Response:
    """The users of a customer, or the one of a name."""
    caller, cid, query = await authenticate(request), _path(request, "cid"), read_query(request, ByName)

    async def work(connection: AsyncConnection) -> list[Row]:
        await _customer_of(connection, cid)
        return await _users(connection, cid, query.name)

    return _list(HostingUser, await run(request, caller, work))


async def show_user(request: Request) -> Response:
    """One user."""
    caller, cid, name = await authenticate(request), _path(request, "cid"), _path(request, "name")

    async def work(connection: AsyncConnection) -> Row:
        await _customer_of(connection, cid)
        rows = await _users(connection, cid, name)
        if not rows:
            raise Problem(404, "the user is not found", name[:100], hint="GET /users/<cid> lists them")
        return rows[0]

    return _answer(HostingUser, await run(request, caller, work))


async def change_user(request: Request) -> Response:
    """Another name, address, password, other spaces, or locked out."""
    body = await read_body(request, UserChange)
    return await _change_user(request, _path(request, "name"), body)


async def change_named_user(request: Request) -> Response:
    """The same, with the name in the body."""
    body = await read_body(request, NamedUserChange)
    return await _change_user(request, body.name, body)


async def _change_user(request: Request, name: str, body: UserChange) -> Response:
    caller, cid = await authenticate(request), _path(request, "cid")
    hashed = await _hash(request, body.password, body.email or name)

    async def work(connection: AsyncConnection) -> Row:
        given = Jsonb(_given(body, "password"))
        await fetch(connection, _USER_CHANGE, cid=cid, name=name, body=given, hash=hashed)
        (row,) = await _users(connection, cid, body.name or name)
        return row

    return _answer(HostingUser, await run(request, caller, work))


async def remove_user(request: Request) -> Response:
    """One user less."""
    caller, cid, name = await authenticate(request), _path(request, "cid"), _path(request, "name")
    await run(request, caller, lambda connection: fetch(connection, _USER_REMOVE, cid=cid, name=name))
    return Response(status_code=204)


async def rotate_user_key(request: Request) -> Response:
    """A new API key; the one before is good for 24 hours more."""
    caller, cid, name = await authenticate(request), _path(request, "cid"), _path(request, "name")
    (row,) = await run(request, caller, lambda connection: fetch(connection, _USER_KEY, cid=cid, name=name))
    return JSONResponse({"api_key": row["key"]}, 201)


# Web sites ------------------------------------------------------------------------------------------------------------


async def _within(request: Request) -> tuple[Caller, Row]:
    """Whom the request acts for, within the org that its path and `?org=` name, and that org."""
    caller, cid = await authenticate(request), request.path_params.get("cid") or await _own_cid(request)
    name = request.query_params.get("org") or DEFAULT

    async def find(connection: AsyncConnection) -> Row:
        customer = await _customer_of(connection, cid)
        org = await _org_seen(connection, customer, name)
        await fetch(connection, _REQUIRE, account=customer["tenant_customer_id"], org=org and org["id"])
        return org or await _org_of(connection, cid, name)

    org = await run(request, caller, find)
    return await scope_within(request, caller, cid, str(org["id"])), org


async def _org_seen(connection: AsyncConnection, customer: Row, name: str) -> Row | None:
    mine = (_org.c.tenant_customer_id == customer["tenant_customer_id"], _org.c.kind == "hosting")
    rows = await fetch(connection, Statement(select(*_org.c).where(func.lower(_org.c.name) == name.lower(), *mine)))
    if not rows and name.lower() != DEFAULT:
        raise Problem(404, "the org is not found", name[:100], hint="name one of your own")
    return rows[0] if rows else None


async def _own_cid(request: Request) -> str:
    """The cid of the only customer the caller has anything to do with."""
    caller = await authenticate(request)
    statement = Statement(select(_customer.c.cid).distinct().limit(2))
    rows = await run(request, caller, lambda connection: fetch(connection, statement))
    if len(rows) != 1:
        raise Problem(400, "it is not clear for which customer you act", hint="POST /wpaas/<cid>/<space>/")
    cid: str = rows[0]["cid"]
    return cid


async def _site_of(connection: AsyncConnection, request: Request, org: Row) -> Row:
    wanted = (
        _site.c.org_id == org["id"],
        _site.c.space == _path(request, "space"),
        _site.c.name == _path(request, "name").lower(),
        _site.c.deleted_date.is_(None),
    )
    rows = await fetch(connection, Statement(select(*_SITE, _site.c.is_suspended).where(*wanted)))
    if not rows:
        raise Problem(404, "the web site is not found", _path(request, "name")[:100], hint="the list shows yours")
    return rows[0]


async def _order(
    connection: AsyncConnection, request: Request, caller: Caller, org: Row, *items: tuple[str, dict[str, Any]]
) -> UUID:
    """Orders something about sites of an org."""
    documents = [{"operation": f"wpaas.{what}", "data": data} for what, data in items]
    values = {
        "customer": caller.customer,
        "items": Jsonb(documents),
        "key": header.idempotency_key(request),
        "options": Jsonb({"org_id": str(org["id"])}),
    }
    (row,) = await fetch(connection, _SUBMIT, **values)
    id: UUID = row["id"]
    return id


def _spec(body: BaseModel) -> dict[str, Any]:
    """What is said of a site, in the words of orders."""
    given = body.model_dump(mode="json", exclude_unset=True)
    names = {"code": "code_url", "suspended": "is_suspended"}
    return {names.get(name, name): value for name, value in given.items() if name != "org"}


def _site_answer(row: Row, status: int = 200) -> Response:
    headers = {"ETag": f'"{row["generation"]}"'}
    if status == 202:
        headers["Location"] = f"/v1/orders/{row['order']}"
        return _answer(OrderedSite, row, status, **headers)
    return _answer(Site, row, status, **headers)


async def create_site(request: Request) -> Response:
    """A site, which comes up in the course of some minutes."""
    body = await read_body(request, NewSite)
    if body.org is not None and "org" not in request.query_params:
        request.scope["query_string"] += f"{'&' if request.scope['query_string'] else ''}org={body.org}".encode()
        request = Request(request.scope)
    caller, org = await _within(request)
    space = request.path_params.get("space", DEFAULT)

    async def work(connection: AsyncConnection) -> Row:
        order = await _order(connection, request, caller, org, ("create", _spec(body) | {"space": space}))
        wanted = (_site.c.org_id == org["id"], _site.c.name == body.name, _site.c.deleted_date.is_(None))
        (row,) = await fetch(connection, Statement(select(*_SITE).where(*wanted)))
        return row | {"order": order}

    return _site_answer(await run(request, caller, work), 202)


async def list_sites(request: Request) -> Response:
    """A page of the sites of a space."""
    query = read_query(request, SiteQuery)
    caller, org = await _within(request)
    space = _path(request, "space")
    wanted = [_site.c.org_id == org["id"], _site.c.space == space, _site.c.deleted_date.is_(None)]
    wanted += [] if query.feature is None else [literal(query.feature) == any_(_site.c.features)]
    plain = SiteQuery.model_validate(query.model_dump(exclude={"feature", "org"}, exclude_none=True))
    statement = page.statement(plain, _site, _SITE, *wanted)

    async def work(connection: AsyncConnection) -> list[Row]:
        await _space_of(connection, org["id"], space)
        return await fetch(connection, statement)

    return page.answer(request, query, Sites, "wpaas", await run(request, caller, work))


async def show_site(request: Request) -> Response:
    """One site."""
    caller, org = await _within(request)
    row = await run(request, caller, lambda connection: _site_of(connection, request, org))
    return _site_answer(row)


async def change_site(request: Request) -> Response:
    """Another size, code, features, names: an order, which ends when it is so."""
    generation = header.expected_version(request)
    body = await read_body(request, SiteChange)
    caller, org = await _within(request)

    async def work(connection: AsyncConnection) -> Row:
        site = await _site_of(connection, request, org)
        changes = _spec(body)
        password = changes.pop("basic_auth_password", None)
        data = {"name": site["name"], "changes": changes, "generation": generation, "basic_auth_password": password}
        order = await _order(connection, request, caller, org, ("update", data))
        return await _site_of(connection, request, org) | {"order": order}

    return _site_answer(await run(request, caller, work), 202)


async def remove_site(request: Request) -> Response:
    """Takes a site down, after a last snapshot of its database."""
    caller, org = await _within(request)

    async def work(connection: AsyncConnection) -> Row:
        site = await _site_of(connection, request, org)
        order = await _order(connection, request, caller, org, ("delete", {"name": site["name"]}))
        return await _site_of(connection, request, org) | {"order": order}

    return _site_answer(await run(request, caller, work), 202)


async def _about(request: Request, view: Any, model: type[BaseModel], *wanted: Any) -> Response:
    caller, org = await _within(request)

    async def work(connection: AsyncConnection) -> list[Row]:
        site = await _site_of(connection, request, org)
        columns = [view.c[name] for name in model.model_fields]
        statement = Statement(
            select(*columns).where(view.c.instance_id == site["id"], *wanted).order_by(view.c.created_date)
        )
        return await fetch(connection, statement)

    return _list(model, await run(request, caller, work))


_KEPT = (_backup.c.expired_date.is_(None), _backup.c.removal_date.is_(None))


async def list_backups(request: Request) -> Response:
    """The snapshots that are kept."""
    return await _about(request, _backup, Backup, *_KEPT)


async def list_versions(request: Request) -> Response:
    """The versions of the code."""
    return await _about(request, _version, Version)


async def _ordered(request: Request, items: Any) -> Response:
    """What `items` makes of a site, ordered."""
    caller, org = await _within(request)

    async def work(connection: AsyncConnection) -> UUID:
        site = await _site_of(connection, request, org)
        return await _order(connection, request, caller, org, *await items(connection, site))

    order = await run(request, caller, work)
    return _answer(Ordered, {"order": order}, 202, Location=f"/v1/orders/{order}")


async def create_backup(request: Request) -> Response:
    """A snapshot."""

    async def items(connection: AsyncConnection, site: Row) -> list[tuple[str, dict[str, Any]]]:
        return [("backup", {"name": site["name"]})]

    return await _ordered(request, items)


async def restore_backup(request: Request) -> Response:
    """The data of a snapshot come back, in a new database; what was written since is lost."""

    async def items(connection: AsyncConnection, site: Row) -> list[tuple[str, dict[str, Any]]]:
        backup = await _backup_of(connection, request, site)
        return [("restore", {"name": site["name"], "snapshot": backup["snapshot"]})]

    return await _ordered(request, items)


async def show_backup(request: Request) -> Response:
    """One of the snapshots that are kept."""
    caller, org = await _within(request)

    async def work(connection: AsyncConnection) -> Row:
        return await _backup_of(connection, request, await _site_of(connection, request, org))

    return _answer(Backup, await run(request, caller, work))


async def _backup_of(connection: AsyncConnection, request: Request, site: Row) -> Row:
    id: UUID = request.path_params["id"]
    return await _one(
        connection, _backup, "backup", str(id), _backup.c.id == id, _backup.c.instance_id == site["id"], *_KEPT
    )


async def remove_backup(request: Request) -> Response:
    """One backup less, and its dump."""
    caller, org = await _within(request)

    async def work(connection: AsyncConnection) -> None:
        backup = await _backup_of(connection, request, await _site_of(connection, request, org))
        await fetch(connection, _BACKUP_REMOVE, id=backup["id"])

    await run(request, caller, work)
    return Response(status_code=204)


async def order_download(request: Request) -> Response:
    """A dump of a backup, unless there is one, and a link to it."""

    async def items(connection: AsyncConnection, site: Row) -> list[tuple[str, dict[str, Any]]]:
        backup = await _backup_of(connection, request, site)
        return [("download", {"name": site["name"], "backup": str(backup["id"])})]

    return await _ordered(request, items)


async def show_download(request: Request) -> Response:
    """The link that an order has made, while it is good."""
    caller, org = await _within(request)

    async def work(connection: AsyncConnection) -> Row:
        backup = await _backup_of(connection, request, await _site_of(connection, request, org))
        (row,) = await fetch(connection, _DOWNLOAD, id=backup["id"])
        return row

    return _answer(Download, await run(request, caller, work), 200, **{"Cache-Control": "no-store"})


async def roll_back(request: Request) -> Response:
    """The code of an earlier version comes back, and if asked its data."""
    body = await read_optional_body(request, RollBack)
    number = request.path_params["number"]

    async def items(connection: AsyncConnection, site: Row) -> list[tuple[str, dict[str, Any]]]:
        is_it = (_version.c.instance_id == site["id"], _version.c.number == number)
        version = await _one(connection, _version, "version", str(number), *is_it)
        update = ("update", {"name": site["name"], "changes": {"version": number}})
        if not body.data:
            return [update]
        if version["snapshot"] is None:
            raise Problem(409, "the version has no data", str(number), hint="roll back the code only")
        return [("restore", {"name": site["name"], "snapshot": version["snapshot"]}), update]

    return await _ordered(request, items)


async def login_link(request: Request) -> Response:
    """A link for one log-in."""
    caller, org = await _within(request)

    async def work(connection: AsyncConnection) -> Row:
        site = await _site_of(connection, request, org)
        (row,) = await fetch(connection, _LINK, id=site["id"])
        return row

    return _answer(LoginLink, await run(request, caller, work), 201, **{"Cache-Control": "no-store"})


async def use_link(request: Request) -> Response:
    """A node asks whether the link that somebody came with is good; it is so once."""
    await count_attempt(request, "address")
    body = await read_body(request, LoginToken)
    values = body.model_dump()
    (row,) = await run(request, ANONYMOUS, lambda connection: fetch(connection, _LINK_USE, **values))
    if not row["used"]:
        raise Problem(404, "the link is not good", hint="it was used, or is older than 5 minutes; get another")
    return Response(status_code=204)


async def make_hook(request: Request) -> Response:
    """A push hook, in place of the one the site had."""
    caller, org = await _within(request)

    async def work(connection: AsyncConnection) -> Row:
        site = await _site_of(connection, request, org)
        (row,) = await fetch(connection, _HOOK_MAKE, id=site["id"])
        return {"path": f"/wpaas-push/{row['id']}", "secret": row["secret"]}

    return _answer(PushHook, await run(request, caller, work), 201, **{"Cache-Control": "no-store"})


async def remove_hook(request: Request) -> Response:
    """No push hook any more."""
    caller, org = await _within(request)

    async def work(connection: AsyncConnection) -> None:
        site = await _site_of(connection, request, org)
        await fetch(connection, _HOOK_REMOVE, id=site["id"])

    await run(request, caller, work)
    return Response(status_code=204)


async def push(request: Request) -> Response:
    """A git server tells of a push; the site takes its code anew if that is a push of what it runs."""
    await count_attempt(request, "address")
    content = await request.body()
    values = {
        "id": request.path_params["id"],
        "content": content,
        "signature": request.headers.get("X-Hub-Signature-256"),
        "token": request.headers.get("X-Gitlab-Token"),
        "body": Jsonb(_pushed(content)),
    }
    (row,) = await run(request, ANONYMOUS, lambda connection: fetch(connection, _PUSH, **values))
    return _answer(Pushed, {"update": row["news"]}, 202 if row["news"] else 200)


def _pushed(content: bytes) -> dict[str, Any]:
    """Reference, commit and default branch, as far as they are told; the others are taken as they are."""
    try:
        told = Push.model_validate_json(content)
    except ValidationError:
        return {}
    branch = told.repository.get("default_branch") or told.project.get("default_branch")
    return {"ref": told.ref, "commit": told.after, "branch": branch if isinstance(branch, str) else None}


async def list_profiles(request: Request) -> Response:
    """Profiles for new sites: everybody's and the customer's own."""
    caller, cid = await authenticate(request), _path(request, "cid")

    async def work(connection: AsyncConnection) -> list[Row]:
        await _customer_of(connection, cid)
        return await fetch(connection, Statement(select(*_profile.c).order_by(_profile.c.name)))

    return _list(Profile, await run(request, caller, work))


async def list_all_sites(request: Request) -> Response:
    """All sites that the caller sees."""
    caller, query = await authenticate(request), read_query(request, AllSitesQuery)
    statement = page.statement(query, _site, _SITE, _site.c.deleted_date.is_(None))
    rows = await run(request, caller, lambda connection: fetch(connection, statement))
    return page.answer(request, query, Sites, "wpaas", rows)


async def show_site_by_id(request: Request) -> Response:
    """One site, also one that is gone."""
    caller, id = await authenticate(request), request.path_params["id"]
    statement = Statement(select(*_SITE).where(_site.c.id == _ID))
    rows = await run(request, caller, lambda connection: fetch(connection, statement, id=id))
    if not rows:
        raise Problem(404, "the web site is not found", str(id), hint="GET /v1/wpaas lists yours")
    return _site_answer(rows[0])


# Routes ---------------------------------------------------------------------------------------------------------------


def _operation(handler: Any, summary: str, model: type[BaseModel] | None, status: int = 200, **more: Any) -> Operation:
    """An operation under the heading of hosting."""
    body = more.get("body")
    problems = more.pop("problems", MAKING if body else ACTING)
    headers, is_list = more.pop("answers", {}), more.pop("is_list", False)
    success = {status: Success(description="as it is then", model=model, headers=headers, is_list=is_list)}
    more.setdefault("tag", "hosting")
    return Operation(handler=handler, summary=summary, success=success, problems=problems, **more)


_SEEN = {"If-Match": IF_MATCH}
_TAGGED = {"ETag": ETAG}
_KEYED = {"Idempotency-Key": Header(description="your name for this request: sent again, it is the same order")}
_SITE_PATH = "/wpaas/{cid}/{space}/{name}"
_BELOW = (*ACTING, 400)


def _site_routes() -> list[Any]:
    many: dict[str, Any] = {"query": InOrg, "problems": _BELOW}
    create: dict[str, Any] = {"headers": _KEYED, "body": NewSite, "answers": _TAGGED}
    return [
        resource("/wpaas/", post=_operation(create_site, "Make a site in default/default", OrderedSite, 202, **create)),
        resource(
            "/wpaas/{cid}/{space}/",
            get=_operation(list_sites, "List sites", Sites, query=SiteQuery, problems=_BELOW),
            post=_operation(create_site, "Make a site", OrderedSite, 202, query=InOrg, **create),
        ),
        resource(
            _SITE_PATH,
            get=_operation(show_site, "See a site", Site, answers=_TAGGED, **many),
            put=_operation(
                change_site,
                "Change a site",
                OrderedSite,
                202,
                query=InOrg,
                headers=_SEEN,
                body=SiteChange,
                problems=(*MAKING, 412, 428),
                description="What is not named stays as it is.",
            ),
            delete=_operation(remove_site, "Delete a site", OrderedSite, 202, **many),
        ),
        resource(
            f"{_SITE_PATH}/versions", get=_operation(list_versions, "List versions", Version, is_list=True, **many)
        ),
        resource(
            f"{_SITE_PATH}/versions/{{number:int}}/rollback",
            post=_operation(
                roll_back,
                "Bring an earlier version back",
                Ordered,
                202,
                query=InOrg,
                body=RollBack,
                body_required=False,
            ),
        ),
        resource(f"{_SITE_PATH}/login-link", post=_operation(login_link, "Get a log-in link", LoginLink, 201, **many)),
        resource(
            "/wpaas-login",
            post=_operation(
                use_link,
                "Use a log-in link up",
                None,
                204,
                body=LoginToken,
                public=True,
                problems=(*BODY, 404, 429),
            ),
        ),
        resource("/profiles/{cid}", get=_operation(list_profiles, "List profiles", Profile, is_list=True)),
        resource(
            "/v1/wpaas",
            get=_operation(list_all_sites, "List web sites", Sites, query=AllSitesQuery, problems=(400,), tag="wpaas"),
        ),
        resource("/v1/wpaas/{id:uuid}", get=_operation(show_site_by_id, "See a web site", Site, tag="wpaas")),
    ]


def _backup_routes() -> list[Any]:
    many: dict[str, Any] = {"query": InOrg, "problems": _BELOW}
    return [
        resource(
            f"{_SITE_PATH}/backups",
            get=_operation(list_backups, "List backups", Backup, is_list=True, **many),
            post=_operation(create_backup, "Make a backup", Ordered, 202, **many),
        ),
        resource(
            f"{_SITE_PATH}/backups/{{id:uuid}}",
            get=_operation(show_backup, "See a backup", Backup, **many),
            delete=_operation(remove_backup, "Remove a backup", None, 204, **many),
        ),
        resource(
            f"{_SITE_PATH}/backups/{{id:uuid}}/restore",
            post=_operation(restore_backup, "Bring the data of a backup back", Ordered, 202, **many),
        ),
        resource(
            f"{_SITE_PATH}/backups/{{id:uuid}}/download",
            get=_operation(
                show_download,
                "Get the link to a backup",
                Download,
                description="404 until an order (POST) has made it, and when it is an hour old.",
                **many,
            ),
            post=_operation(order_download, "Order a link to a backup", Ordered, 202, **many),
        ),
    ]


def _push_routes() -> list[Any]:
    many: dict[str, Any] = {"query": InOrg, "problems": _BELOW}
    return [
        resource(
            f"{_SITE_PATH}/push-hook",
            post=_operation(make_hook, "Get a push hook", PushHook, 201, **many),
            delete=_operation(remove_hook, "Remove the push hook", None, 204, **many),
        ),
        resource(
            "/wpaas-push/{id:uuid}",
            post=_operation(
                push,
                "Tell of a push",
                Pushed,
                202,
                public=True,
                headers={
                    "X-Hub-Signature-256": Header(description="sha256= and the HMAC of the body (GitHub, Gitea)"),
                    "X-Gitlab-Token": Header(description="the secret itself (GitLab)"),
                },
                description="200 if there is nothing to do.",
                problems=(404, 409, 429),
            ),
        ),
    ]


_ORG_PATHS = ("/orgs/{cid}/{org}", "/org/{cid}/{org}")
routes = [
    resource(
        "/customers",
        post=_operation(
            create_customer,
            "Become a customer",
            HostingCustomer,
            201,
            body=NewCustomer,
            public=True,
            problems=(*MAKING, 401, 429),
        ),
    ),
    resource("/customers/", get=_operation(list_customers, "List customers", HostingCustomer, is_list=True)),
    resource(
        "/customers/{cid}",
        get=_operation(show_customer, "See a customer", HostingCustomer),
        put=_operation(change_customer, "Change a customer", HostingCustomer, body=CustomerChange),
        delete=_operation(remove_customer, "Have a customer removed", None, 204),
    ),
    resource("/customers/{cid}/restore", post=_operation(restore_customer, "Take a removal back", HostingCustomer)),
    resource(
        "/orgs",
        get=_operation(list_orgs, "List orgs", HostingOrg, query=ByCustomer, problems=_BELOW, is_list=True),
        post=_operation(create_org, "Make an org", HostingOrg, 201, body=NewOrg),
    ),
    resource("/orgs/{cid}", get=_operation(show_org, "See a customer's default org", HostingOrg)),
    resource(
        _ORG_PATHS[0],
        get=_operation(show_org, "See an org", HostingOrg),
        put=_operation(change_org, "Change an org", HostingOrg, body=OrgChange),
        delete=_operation(remove_org, "Remove an org", None, 204),
    ),
    resource(
        f"{_ORG_PATHS[0]}/costs",
        get=_operation(show_costs, "See what an org has spent", OrgCosts, query=OfMonth, problems=_BELOW),
    ),
    resource(_ORG_PATHS[1], delete=_operation(remove_org, "Remove an org", None, 204)),
    resource("/users", post=_operation(create_user, "Make a user", IssuedUser, 201, body=NewUser)),
    resource(
        "/users/{cid}",
        get=_operation(list_users, "List users", HostingUser, query=ByName, problems=_BELOW, is_list=True),
        put=_operation(change_named_user, "Change a user that the body names", HostingUser, body=NamedUserChange),
    ),
    resource(
        "/users/{cid}/{name}",
        get=_operation(show_user, "See a user", HostingUser),
        put=_operation(change_user, "Change a user", HostingUser, body=UserChange),
        delete=_operation(remove_user, "Remove a user", None, 204),
    ),
    resource("/users/{cid}/{name}/api-key", post=_operation(rotate_user_key, "Rotate an API key", None, 201)),
    resource(
        "/spaces",
        get=_operation(list_spaces, "List spaces", HostingSpace, query=ByCustomer, problems=_BELOW, is_list=True),
        post=_operation(create_space, "Make a space", HostingSpace, 201, body=NewSpace),
    ),
    resource("/spaces/{cid}", get=_operation(show_default_space, "See a customer's default space", HostingSpace)),
    resource(
        "/spaces/{org_id:uuid}/{space}",
        get=_operation(show_space, "See a space", HostingSpace),
        put=_operation(change_space, "Change a space", HostingSpace, body=SpaceChange),
        delete=_operation(remove_space, "Remove a space", None, 204),
    ),
    *_site_routes(),
    *_backup_routes(),
    *_push_routes(),
]
