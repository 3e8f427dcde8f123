"""Customers, orgs, spaces, users, memberships, invite codes, API keys, quotas and roles: what is theirs of the surface.

The nouns at the end say all; the models before them are what goes in and out.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from psycopg import AsyncConnection
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from sqlalchemy import Text, Uuid, bindparam
from starlette.requests import Request
from starlette.responses import Response

from provision_api.auth import authenticate
from provision_api.database import Row, fetch
from provision_api.noun import ACTING, BODY, Noun, call, run
from provision_api.page import PageQuery
from provision_api.problem import Problem
from provision_api.resource import resource
from provision_api.shape import JSON, WHOLE, read_body, read_query

# Values ---------------------------------------------------------------------------------------------------------------

YEARS = range(2000, 3000)


def _moment(text: str) -> str:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("the offset from UTC is missing")
    if moment.year not in YEARS:
        raise Problem(422, "nobody waits that long", text, hint=f"a year from {YEARS[0]} to {YEARS[-1]}")
    return moment.astimezone(UTC).isoformat()


def _flag(value: object) -> bool:
    if value not in ("true", "false"):
        raise ValueError("expected true or false")
    return value == "true"


Name = Annotated[str, Field(min_length=1, max_length=255)]
Named = Annotated[str, Field(min_length=1, max_length=254)]
Email = Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$", max_length=254, examples=["jane@example.net"])]
Label = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", examples=["blue-shop"])]
Moment = Annotated[str, AfterValidator(_moment), Field(json_schema_extra={"format": "date-time"})]
Flag = Annotated[bool, BeforeValidator(_flag)]
Scope = Literal["customer", "org", "space"]
OrgKind = Literal["organization", "project", "hosting"]
MembershipState = Literal["requested", "active", "inactive", "removed"]

CUSTOMER = "its cid or id; default: the one you act for"
ORG = "its slug or id"


class Body(BaseModel):
    """Fields that are not sent are left to the database."""

    model_config = ConfigDict(extra="forbid")


def _without_defaults(schema: dict[str, Any]) -> None:
    for field in schema["properties"].values():
        field.pop("default", None)


class Patch(BaseModel):
    """Fields that are not sent stay as they are, so their defaults here are never read."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_without_defaults)


# Customers ------------------------------------------------------------------------------------------------------------

CustomerStatus = Literal["free", "paid", "suspended", "to_be_removed"]


class Customer(BaseModel):
    """A legal entity, and its account with the tenant."""

    id: UUID
    tenant_customer_id: UUID = Field(description="its account: the owner of orders")
    cid: str = Field(description="its short name, made from its name, never changed")
    tenant: str
    name: str
    email: str
    status: CustomerStatus
    payment_reference: str | None = Field(description="seen by those who see all of it, as payment_status")
    payment_status: str | None
    quota_plan: str
    removal_date: datetime | None = Field(description="from when it is gone for good")
    is_active: bool = Field(description="whether it may order")
    version: int
    created_date: datetime
    updated_date: datetime | None


class CustomerRequest(Body):
    """A new customer, with an account; who makes it owns it."""

    name: Name
    email: Email
    tenant: Name | None = Field(None, description="where there are several")


class CustomerPatch(Patch):
    """What changes of a customer; the status and payments are the operators' to change."""

    name: Name = ""
    email: Email = ""
    status: Literal["free", "paid", "suspended"] = "free"
    payment_reference: Name | None = None
    payment_status: Name | None = None


class CustomerQuery(PageQuery):
    """Which customers."""

    after: UUID | None = Field(None, description="account of the last of the page before; the Link header has it")
    cid: Named | None = None
    email: Named | None = None
    status: CustomerStatus | None = None


# Orgs and spaces ------------------------------------------------------------------------------------------------------


class Org(BaseModel):
    """An independent, isolated, separately billed part of a customer."""

    id: UUID
    tenant_customer_id: UUID
    cid: str
    slug: str = Field(description="DNS label, unique in the installation, never changed")
    name: str
    description: str | None
    kind: OrgKind
    contact_email: str | None
    is_joinable: bool
    is_public: bool
    quota_plan: str
    version: int
    created_date: datetime
    updated_date: datetime | None


class JoinableOrg(BaseModel):
    """An org that accepts requests for a membership."""

    model_config = ConfigDict(extra="forbid")

    id: UUID
    slug: str
    name: str
    contact_email: str | None
    is_public: bool


class OrgRequest(Body):
    """A new org; who makes it owns it."""

    name: Name
    description: str | None = Field(None, max_length=1000)
    kind: OrgKind = "organization"
    slug: Label | None = Field(None, description="default: made from the name")
    customer: Named | None = Field(None, description=f"{CUSTOMER}, or a new one for a user who has none")
    contact_email: Email | None = Field(None, description="whom to ask about it")
    is_joinable: bool = Field(False, description="whether everybody sees it and may request a membership")
    is_public: bool = Field(False, description="whether what it offers can be used without a membership")


class OrgPatch(Patch):
    """What changes of an org."""

    name: Name = ""
    description: str | None = Field(None, max_length=1000)
    contact_email: Email | None = None
    is_joinable: bool = False
    is_public: bool = False


class JoinableQuery(PageQuery):
    """Which orgs that accept requests for a membership."""

    joinable: Flag | None = Field(None, description="true: those anybody may ask to join, instead of your own")
    slug: Named | None = None
    is_public: Flag | None = None

    def filters(self) -> dict[str, Any]:
        """Which list it is is no column."""
        return {name: value for name, value in super().filters().items() if name != "joinable"}


class OrgQuery(JoinableQuery):
    """Which orgs."""

    cid: Named | None = None
    kind: OrgKind | None = None
    name: Named | None = None


class OrgName(Body):
    """The org to join."""

    slug: Label


class Space(BaseModel):
    """A part of an org with a quota and members of its own."""

    id: UUID
    tenant_customer_id: UUID
    org_id: UUID
    org: str
    name: str
    description: str | None
    quota_plan: str
    version: int
    created_date: datetime
    updated_date: datetime | None


class SpaceRequest(Body):
    """A new space."""

    org: Named = Field(description=ORG)
    name: Label
    description: str | None = None


class SpacePatch(Patch):
    """What changes of a space."""

    name: Label = ""
    description: str | None = None


class SpaceQuery(PageQuery):
    """Which spaces."""

    org_id: UUID | None = None
    org: Named | None = None
    name: Named | None = None


class DefaultSpaceQuery(BaseModel):
    """Whose default space."""

    model_config = ConfigDict(extra="forbid")

    org_id: UUID | None = Field(None, description="default: the org you act for, or the default org")


# Users and memberships ------------------------------------------------------------------------------------------------

UserStatus = Literal["active", "disabled"]
Username = Annotated[str, Field(pattern=r"^\S+$", min_length=1, max_length=254)]


class User(BaseModel):
    """Somebody, or something, that logs in or has API keys."""

    id: UUID
    number: int = Field(description="never used again")
    username: str
    email: str | None
    name: str | None
    customer_id: UUID | None = Field(description="the customer that manages it; null: registered by itself")
    cid: str | None
    status: UserStatus
    verified_date: datetime | None = Field(description="when the e-mail address was verified")
    is_technical: bool
    is_platform_admin: bool
    is_staff: bool
    is_support: bool
    is_identity_manager: bool
    version: int
    created_date: datetime
    updated_date: datetime | None


class UserRequest(Body):
    """A new user of a customer; platform admins also make users of none, and give rights over the installation."""

    username: Username | None = Field(None, description="default: the e-mail address")
    email: Email | None = None
    name: Name | None = None
    customer: Named | None = Field(None, description=CUSTOMER)
    is_platform_admin: bool = False
    is_staff: bool = Field(False, description="sees and does all")
    is_support: bool = Field(False, description="sees all")
    is_identity_manager: bool = Field(False, description="maps identities of other systems")


class UserPatch(Patch):
    """What changes of a user."""

    email: Email | None = Field(None, description="to be verified anew")
    name: Name | None = None
    status: UserStatus = "active"
    is_platform_admin: bool = False
    is_staff: bool = False
    is_support: bool = False
    is_identity_manager: bool = False


class UserQuery(PageQuery):
    """Which users."""

    username: Named | None = None
    email: Named | None = None
    customer_id: UUID | None = None
    status: UserStatus | None = None


class Membership(BaseModel):
    """A role of a user in an org, or in the whole of a customer."""

    id: UUID
    number: int = Field(description="never used again")
    user_id: UUID
    username: str | None
    tenant_customer_id: UUID
    cid: str | None
    org_id: UUID | None = Field(description="null: the whole customer")
    org: str | None
    role: str
    state: MembershipState
    expires_date: datetime | None = Field(description="when it lapses")
    spaces: list[UUID] = Field(description="what it is limited to; empty: nothing")
    version: int
    created_date: datetime
    updated_date: datetime | None


class MembershipRequest(Body):
    """A new member."""

    user: Named = Field(description="its id or username")
    role: Name = Field(description="GET /v1/roles lists them")
    org: Named | None = Field(None, description=f"{ORG}; default: the whole customer")
    customer: Named | None = Field(None, description=CUSTOMER)
    expires_date: Moment | None = None
    spaces: list[Named] | None = Field(None, max_length=1000, description="ids or names of spaces it is limited to")


class MembershipPatch(Patch):
    """What changes of a membership."""

    role: Name = ""
    expires_date: Moment | None = None
    spaces: list[Named] | None = Field(None, max_length=1000)


class MembershipQuery(PageQuery):
    """Which memberships."""

    user_id: UUID | None = None
    org_id: UUID | None = None
    tenant_customer_id: UUID | None = None
    role: Named | None = None
    state: MembershipState | None = None


# Codes and keys -------------------------------------------------------------------------------------------------------

Uses = Annotated[int, Field(ge=0, le=2**31 - 1, description="how often it can still be used; null: any number"), WHOLE]


class InviteCode(BaseModel):
    """Who has it can become a member."""

    id: UUID
    tenant_customer_id: UUID
    org_id: UUID
    org: str
    code: str
    role: str
    expires_date: datetime | None
    uses_left: int | None
    version: int
    created_date: datetime
    updated_date: datetime | None


class InviteCodeRequest(Body):
    """A new invite code."""

    org: Named = Field(description=ORG)
    role: Name = "viewer"
    expires_date: Moment | None = None
    uses_left: Uses | None = None


class InviteCodePatch(Patch):
    """What changes of an invite code."""

    role: Name = ""
    expires_date: Moment | None = None
    uses_left: Uses | None = None


class InviteCodeQuery(PageQuery):
    """Which invite codes."""

    org_id: UUID | None = None
    org: Named | None = None
    role: Named | None = None


class Code(Body):
    """The code that somebody gave you."""

    code: Annotated[str, Field(min_length=6, max_length=32)]


class ApiKey(BaseModel):
    """A key of a user: it can do what the user can, unless it is limited."""

    id: UUID
    user_id: UUID
    username: str
    tenant_customer_id: UUID | None = Field(description="the one account it is limited to")
    org_id: UUID | None = Field(description="the one org it is limited to")
    name: str
    prefix: str = Field(description="the first 8 digits")
    expires_date: datetime
    version: int
    created_date: datetime
    updated_date: datetime | None


class IssuedApiKey(ApiKey):
    """A new key."""

    key: str = Field(description="40 hex digits, shown this once")


class ApiKeyRequest(Body):
    """A new API key; two of a name are valid at a time."""

    name: Name
    user: Named | None = Field(None, description="id or username; default: you")
    account: Named | None = Field(None, description="cid or id of the one account it is limited to")
    org: Named | None = Field(None, description="slug or id of the one org it is limited to")
    expires_date: Moment | None = Field(None, description="at most 90 days away, the default")


class ApiKeyPatch(Patch):
    """What changes of an API key."""

    expires_date: Moment = Field("", description="at most 90 days after it was made")


class ApiKeyQuery(PageQuery):
    """Which API keys, of those that are not revoked."""

    user_id: UUID | None = None
    org_id: UUID | None = None
    name: Named | None = None


# Quotas and roles -----------------------------------------------------------------------------------------------------


class Quota(BaseModel):
    """How much of what there may be, and is."""

    scope: Scope
    scope_id: UUID = Field(description="the account, the org or the space")
    plan: str
    resource: str
    maximum: int = Field(description="-1: no limit")
    used: int
    tenant_customer_id: UUID
    org_id: UUID | None


PLACE = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}:[a-z][a-z_]{0,62}$"


class QuotaQuery(PageQuery):
    """Which quotas."""

    after: Annotated[str, Field(pattern=PLACE)] | None = Field(  # type: ignore[assignment]
        None, description="scope_id:resource of the last of the page before; the Link header has it"
    )
    scope: Scope | None = None
    scope_id: UUID | None = None
    resource: Named | None = None


class QuotaPlan(Body):
    """The plan that decides."""

    plan: Name = Field(examples=["small"])


class Role(BaseModel):
    """What may be held in a membership, or in the whole installation."""

    role: str
    scope: Literal["platform", "customer", "org", "offering"]
    description: str
    permissions: list[str]


class RoleQuery(PageQuery):
    """Which roles."""

    after: Named | None = Field(None, description="the last of the page before; the Link header has it")  # type: ignore[assignment]
    scope: Literal["platform", "customer", "org", "offering"] | None = None


# The nouns ------------------------------------------------------------------------------------------------------------

CUSTOMERS = Noun(
    "customer",
    "customers",
    Customer,
    CustomerQuery,
    create=CustomerRequest,
    change=CustomerPatch,
    actions={"restore": "Take the removal of a customer back"},
    # A customer is there once for each of its accounts.
    key=("tenant_customer_id",),
)
JOINABLE_ORGS = Noun("joinable_org", "orgs", JoinableOrg, JoinableQuery)


class _Orgs(Noun):
    async def index(self, request: Request) -> Response:
        """Your orgs, or those that anybody may ask to join."""
        is_joinable = request.query_params.getlist("joinable") == ["true"]
        return await (JOINABLE_ORGS.index(request) if is_joinable else super().index(request))


ORGS = _Orgs("org", "orgs", Org, OrgQuery, create=OrgRequest, change=OrgPatch, listed=Org | JoinableOrg)
SPACES = Noun("space", "spaces", Space, SpaceQuery, create=SpaceRequest, change=SpacePatch)
USERS = Noun("user", "users", User, UserQuery, create=UserRequest, change=UserPatch)
MEMBERSHIPS = Noun(
    "membership",
    "memberships",
    Membership,
    MembershipQuery,
    create=MembershipRequest,
    change=MembershipPatch,
    actions={
        "accept": "Accept a request for membership",
        "decline": "Decline a request for membership",
        "deactivate": "Stop a member, from the next request on",
        "activate": "Let a member go on",
    },
)
INVITE_CODES = Noun(
    "invite_code",
    "invite_codes",
    InviteCode,
    InviteCodeQuery,
    create=InviteCodeRequest,
    change=InviteCodePatch,
    actions={"rotate": "Replace the code; the old one is worth nothing any more"},
)
API_KEYS = Noun(
    "api_key",
    "api_keys",
    ApiKey,
    ApiKeyQuery,
    create=ApiKeyRequest,
    create_function="issue",
    change=ApiKeyPatch,
    issued=IssuedApiKey,
)
QUOTAS = Noun("quota", "quotas", Quota, QuotaQuery, key=("scope_id", "resource"))
ROLES = Noun("role", "roles", Role, RoleQuery, key=("role",))

# What is not of the common pattern ------------------------------------------------------------------------------------

_ID = bindparam("id", type_=Uuid)
_JOIN = call("org_join", bindparam("slug", type_=Text))
_USE = call("invite_code_use", bindparam("code", type_=Text))
_ROTATE = call("api_key_rotate", _ID, returns=("id", "key"))
_DEFAULT_ORG = call("org_default", _ID)
_DEFAULT_SPACE = call("space_default", _ID)
_QUOTA = call("quota_change", bindparam("scope", type_=Text), _ID, bindparam("plan", type_=Text))


async def join(request: Request) -> Response:
    """A request for a membership."""
    caller = await authenticate(request)
    body = await read_body(request, OrgName)
    return MEMBERSHIPS.answer(await MEMBERSHIPS.make(request, caller, _JOIN, slug=body.slug), 201)


async def use_code(request: Request) -> Response:
    """A membership for who has a code."""
    caller = await authenticate(request)
    body = await read_body(request, Code)
    return MEMBERSHIPS.answer(await MEMBERSHIPS.make(request, caller, _USE, code=body.code), 201)


async def rotate_key(request: Request) -> Response:
    """A key in place of another."""
    caller = await authenticate(request)
    return API_KEYS.answer(await API_KEYS.make(request, caller, _ROTATE, id=request.path_params["id"]), 201)


async def _default_org(connection: AsyncConnection, account: UUID | None) -> UUID:
    if account is None:
        hint = "send Provision-Account with its cid or id"
        raise Problem(400, "it is not clear for which customer you act", "you have several, or none", hint=hint)
    id: UUID = (await fetch(connection, _DEFAULT_ORG, id=account))[0]["id"]
    return id


async def default_org(request: Request) -> Response:
    """The org named default, which comes into being when it is first asked for."""
    caller = await authenticate(request)

    async def find(connection: AsyncConnection) -> Row:
        return await ORGS.read(connection, await _default_org(connection, caller.customer))

    return ORGS.seen(request, await run(request, caller, find))


async def default_space(request: Request) -> Response:
    """The space named default of an org, which comes into being when it is first asked for."""
    caller = await authenticate(request)
    named = read_query(request, DefaultSpaceQuery).org_id or caller.org

    async def find(connection: AsyncConnection) -> Row:
        org = named or await _default_org(connection, caller.customer)
        return await SPACES.read(connection, (await fetch(connection, _DEFAULT_SPACE, id=org))[0]["id"])

    return SPACES.seen(request, await run(request, caller, find))


async def change_quota(request: Request) -> Response:
    """Another plan, and what it makes of the quotas."""
    caller = await authenticate(request)
    body = await read_body(request, QuotaPlan)
    id: UUID = request.path_params["id"]
    scope = request.url.path.split("/")[-2]

    async def change(connection: AsyncConnection) -> list[Row]:
        await fetch(connection, _QUOTA, scope=scope, id=id, plan=body.plan)
        return await fetch(connection, QUOTAS.listing(QuotaQuery(scope_id=id, limit=200)))

    quotas = {QUOTAS.plural: await run(request, caller, change)}
    return Response(QUOTAS.page.model_validate(quotas).model_dump_json(), media_type=JSON)


# Routes ---------------------------------------------------------------------------------------------------------------

routes = [
    *(route for noun in (CUSTOMERS, ORGS, SPACES, USERS, MEMBERSHIPS) for route in noun.routes()),
    *(route for noun in (INVITE_CODES, API_KEYS, QUOTAS, ROLES) for route in noun.routes()),
    resource(
        "/v1/orgs/default",
        get=ORGS.operation(default_org, "See the default org of your customer", ORGS.one, (400, 404)),
    ),
    resource(
        "/v1/orgs/join",
        post=ORGS.operation(join, "Request a membership of an org", MEMBERSHIPS.made, (*BODY, *ACTING), body=OrgName),
    ),
    resource(
        "/v1/spaces/default",
        get=SPACES.operation(
            default_space, "See the default space of an org", SPACES.one, (400, 404), query=DefaultSpaceQuery
        ),
    ),
    resource(
        "/v1/invite-codes/use",
        post=INVITE_CODES.operation(
            use_code, "Become a member with an invite code", MEMBERSHIPS.made, (*BODY, *ACTING), body=Code
        ),
    ),
    resource(
        "/v1/api-keys/{id:uuid}/rotate",
        post=API_KEYS.operation(
            rotate_key, "Make a key in place of this one, which is good for 24 hours more", API_KEYS.made, ACTING
        ),
    ),
    *(
        resource(
            f"/v1/quotas/{scope}/{{id:uuid}}",
            put=QUOTAS.operation(
                change_quota,
                f"Put {what} under another quota plan",
                QUOTAS.many,
                (*BODY, 403, 404, 422),
                body=QuotaPlan,
            ),
        )
        for scope, what in (("customer", "a customer's account"), ("org", "an org"), ("space", "a space"))
    ),
]
