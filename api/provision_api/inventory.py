"""What exists: domains, contacts, name servers and certificates, listed a page at a time and seen one by one.

A list `domains` is a call of `domain_page(filter, after, limit)`, which knows what may be asked for and whose things
they are, and then the rows of `v_domain` with the ids it gave. Changes are orders.
"""

from datetime import datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Any, Literal, get_args
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb
from pydantic import AwareDatetime, BaseModel, BeforeValidator, Field, create_model
from sqlalchemy import Integer, Text, Uuid, bindparam, column, func, select, table
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from provision_api import header, idn, page
from provision_api.auth import authenticate
from provision_api.database import Row, Statement, fetch
from provision_api.problem import Problem
from provision_api.resource import ETAG, IF_NONE_MATCH, LINK, Header, Operation, Success, resource
from provision_api.shape import JSON, read_query
from provision_api.state import state_of

# Of all that is taken for a moment elsewhere, only what the description says.
Moment = Annotated[AwareDatetime, BeforeValidator(lambda given: datetime.fromisoformat(given))]
Name = Annotated[str, Field(min_length=1, max_length=255)]

# Filters that are names of the DNS.
NAMES = frozenset({"name", "zone", "host", "domain_name"})

_PAGE = ("filter", JSONB), ("after", Uuid), ("limit", Integer)
_IDS = bindparam("ids", type_=ARRAY(Uuid))


class InventoryQuery(page.PageQuery):
    """What is listed, newest first."""

    accreditation: Name | None = Field(None, description="only what is at this one")
    org_id: UUID | None = Field(None, description="only what is this org's")
    is_live: bool = Field(True, description="false: what was deleted, transferred away or revoked")

    def filters(self) -> dict[str, Any]:
        """As the database's functions take it."""
        given = self.model_dump(mode="json", exclude={"limit", "after"}, exclude_none=True)
        return given | {name: idn.a_labels(given[name]) for name in NAMES & given.keys()}


class DomainQuery(InventoryQuery):
    """Which names are listed, newest first."""

    name: Name | None = None
    zone: Name | None = Field(None, description="only names of this zone")
    host: Name | None = Field(None, description="only names with this name server")
    contact: Name | None = Field(None, description="only names with the contact of this reference")
    status: Name | None = Field(None, description="only names with this status at the registry")
    expires_before: Moment | None = None
    expires_after: Moment | None = None


class ContactQuery(InventoryQuery):
    """Which contacts are listed, newest first."""

    reference: Name | None = None
    handle: Name | None = None
    email: Name | None = None


class HostQuery(InventoryQuery):
    """Which name servers are listed, newest first."""

    name: Name | None = None


class CertificateQuery(InventoryQuery):
    """Which certificates are listed, newest first."""

    domain_name: Name | None = None
    expires_before: Moment | None = None


class Thing(BaseModel):
    """What all of them have."""

    id: UUID
    org_id: UUID | None
    accreditation: str = Field(description="where it is")
    created_date: datetime
    missing_reason: str | None = Field(description="set when the other side does not have it any more")


class DsRecord(BaseModel):
    """A DS record of RFC 4034."""

    key_tag: int
    algorithm: int
    digest_type: int
    digest: str


class KeyRecord(BaseModel):
    """A DNSKEY record of RFC 4034."""

    flags: int
    protocol: int
    algorithm: int
    public_key: str


class Domain(Thing):
    """A registered name."""

    name: str
    roid: str | None
    ry_created_date: datetime | None
    ry_expiry_date: datetime | None
    statuses: list[str] = Field(description="at the registry, locks among them")
    rgp_state: str | None = Field(description="the grace period it is in (RFC 3915)")
    rgp_until: datetime | None
    auto_renew: bool
    contacts: dict[Literal["registrant", "admin", "tech", "billing"], list[str]] | None = Field(
        description="references by type"
    )
    hosts: list[str] | None = Field(description="name servers")
    ds_records: list[DsRecord | KeyRecord]
    deleted_date: datetime | None


class Contact(Thing):
    """A contact at a registry."""

    reference: str
    handle: str
    roid: str | None
    name: str
    organization: str | None
    street: list[str]
    city: str
    state: str | None
    postal_code: str | None
    country_code: str
    phone: str | None
    fax: str | None
    email: str
    deleted_date: datetime | None


class Host(Thing):
    """A name server known to a registry."""

    name: str
    addresses: list[IPv4Address | IPv6Address]
    roid: str | None
    deleted_date: datetime | None


class Certificate(Thing):
    """An issued certificate."""

    domain_name: str
    alternative_names: list[str]
    arn: str
    not_before: datetime | None
    not_after: datetime | None
    renewal_date: datetime | None = Field(description="when it is renewed by itself")
    revoked_date: datetime | None


class AuthInfo(BaseModel):
    """The secret that another registrar needs to take the name over."""

    auth_info: str


class Inventory:
    """Things of one kind at `/v1/<plural>`: `shown` has a field for each column of the view `v_<name>` that is told."""

    def __init__(self, name: str, words: str, shown: type[BaseModel], query: type[InventoryQuery]) -> None:
        self.plural, self.words, self.shown, self.query = f"{name}s", words, shown, query
        self.path = f"/v1/{self.plural}"
        fields: dict[str, Any] = {self.plural: (list[shown], ...)}  # type: ignore[valid-type]
        self.page = create_model(f"{shown.__name__}Page", __doc__="One page.", **fields)
        view = table(
            f"v_{name}", *(column(field, _type(info.annotation)) for field, info in shown.model_fields.items())
        )
        parameters = (bindparam(parameter, type_=type) for parameter, type in _PAGE)
        self._ids = Statement(select(getattr(func, f"{name}_page")(*parameters).column_valued("id")))
        some = select(*view.c).where(view.c.id == func.any(_IDS)).order_by(view.c.id.desc())
        self._rows = Statement(some)

    async def read(self, connection: AsyncConnection, query: InventoryQuery) -> list[Row]:
        """A page, and one more."""
        values = {"filter": Jsonb(query.filters()), "after": query.after, "limit": query.limit + 1}
        ids = [row["id"] for row in await fetch(connection, self._ids, **values)]
        return await fetch(connection, self._rows, ids=ids)

    async def index(self, request: Request) -> Response:
        """A page of them."""
        caller = await authenticate(request)
        query = read_query(request, self.query)
        rows = await state_of(request).database.run(caller, lambda connection: self.read(connection, query))
        return page.answer(request, query, self.page, self.plural, rows)

    async def show(self, request: Request) -> Response:
        """One of them."""
        caller = await authenticate(request)
        id: UUID = request.path_params["id"]
        rows = await state_of(request).database.run(caller, lambda connection: fetch(connection, self._rows, ids=[id]))
        if not rows:
            raise Problem(404, f"the {self.words} is not found", str(id), hint=f"GET {self.path} lists yours")
        return header.conditional(
            request, Response(self.shown.model_validate(rows[0]).model_dump_json(), media_type=JSON)
        )

    def routes(self) -> list[Route]:
        """The list and the one."""
        known: dict[str, Header] = {"If-None-Match": IF_NONE_MATCH}
        unchanged = Success(description="unchanged", headers={"ETag": ETAG})
        many = Success(description=f"a page of {self.words}s", model=self.page, headers={"ETag": ETAG, "Link": LINK})
        one = Success(description=f"the {self.words}", model=self.shown, headers={"ETag": ETAG})
        listing = Operation(
            handler=self.index,
            summary=f"List {self.words}s",
            tag=self.plural,
            query=self.query,
            headers=known,
            success={200: many, 304: unchanged},
            problems=(400, 422),
        )
        showing = Operation(
            handler=self.show,
            summary=f"See a {self.words}",
            tag=self.plural,
            headers=known,
            success={200: one, 304: unchanged},
            problems=(404,),
        )
        return [resource(self.path, get=listing), resource(f"{self.path}/{{id:uuid}}", get=showing)]


def _type(annotation: Any) -> Any:
    """The SQL type of a column, as far as it matters for a comparison."""
    return Uuid() if UUID in (annotation, *get_args(annotation)) else Text()


_AUTH_INFO = Statement(select(func.domain_auth_info(bindparam("id", type_=Uuid)).label("auth_info")))


async def auth_info(request: Request) -> Response:
    """The transfer secret of a name."""
    caller = await authenticate(request)
    id: UUID = request.path_params["id"]
    rows = await state_of(request).database.run(caller, lambda connection: fetch(connection, _AUTH_INFO, id=id))
    body = AuthInfo.model_validate(rows[0]).model_dump_json()
    return Response(body, headers={"Cache-Control": "no-store"}, media_type=JSON)


INVENTORIES = (
    Inventory("domain", "domain", Domain, DomainQuery),
    Inventory("contact", "contact", Contact, ContactQuery),
    Inventory("host", "name server", Host, HostQuery),
    Inventory("certificate", "certificate", Certificate, CertificateQuery),
)
_SECRET = Operation(
    handler=auth_info,
    summary="See the transfer secret of a domain",
    description="Only for whom it belongs to and may order; that it was shown is an event.",
    tag="domains",
    success={200: Success(description="the secret", model=AuthInfo)},
    problems=(403, 404),
)
routes = [
    *(route for inventory in INVENTORIES for route in inventory.routes()),
    resource("/v1/domains/{id:uuid}/auth-info", get=_SECRET),
]
