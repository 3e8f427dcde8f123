"""What the demo begins with: a tenant, its customers, accreditations and zones, and a name that somebody else has."""

import secrets
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from provision.database import load_queries, url_as

from .stage import PASSWORD_VARIABLE, REGISTRAR, RIVAL, Stage

ZONES = ("test", "co.test")
ZONE_SETTINGS: dict[str, Any] = {
    "order_types": ["create", "renew", "transfer", "restore", "delete", "update"],
    "registration_periods": [1, 2, 3, 5, 10],
    "renewal_periods": [1, 2, 3, 5, 9],
    "transfer_periods": [1],
    "maximum_lifetime": 10,
    "name_length_minimum": 2,
    "name_length_maximum": 63,
    "host_count_minimum": 2,
    "host_count_maximum": 13,
    "host_model": "objects",
    "host_ipv6_allowed": True,
    "contact_model": "thick",
    "contact_types_required": ["registrant", "admin", "tech"],
    "auth_info_pattern": "^.{8,64}$",
    "dnssec_count_maximum": 4,
    "grace_hours_add": 120,
    "grace_hours_renew": 120,
    "grace_hours_transfer": 120,
    "grace_hours_redemption": 720,
    "grace_hours_pending_delete": 120,
    "restore_report_required": False,
}
TAKEN, MOVED, HOSTED = "taken.test", "moved.test", "example.test"
RIVAL_SECRET = "no-1-else"


@dataclass(frozen=True)
class Customer:
    """A customer's account and how it gets in."""

    name: str
    account: UUID
    api_key: str


@dataclass(frozen=True)
class Cast:
    """Who takes part. `shop_url` is the log-in of the shop's own software, `operator_url` that of a person in psql."""

    shop: Customer
    agency: Customer
    registry: UUID
    shop_url: str
    operator_url: str


class Database:
    """The owner's connection, and the demo's named statements."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection
        self._queries = load_queries("demo")

    def value(self, query: str, **parameters: object) -> Any:
        """The first column of the first row."""
        row = self.connection.execute(self._queries[query], parameters).fetchone()
        return row[0] if row else None

    def rows(self, query: str, **parameters: object) -> list[dict[str, Any]]:
        """All rows, by column."""
        cursor = self.connection.cursor(row_factory=psycopg.rows.dict_row)
        return cursor.execute(self._queries[query], parameters).fetchall()

    def execute(self, query: str, **parameters: object) -> None:
        """Runs a statement that gives no rows."""
        self.connection.execute(self._queries[query], parameters)

    def login(self, login: str, group: str, url: str) -> str:
        """Makes a log-in that is a member of a group; its URL."""
        password = secrets.token_hex(12)
        statement = sql.SQL(self._queries["login"]).format(
            login=sql.Identifier(login), password=sql.Literal(password), group=sql.Identifier(group)
        )
        self.connection.execute(statement)
        return url_as(url, login, password)


def fill(stage: Stage, database: Database) -> Cast:
    """Makes everything that must be there before the first order."""
    tenant: UUID = database.value("tenant", name="Acme Registrar")
    registry = _accreditations(stage, database, tenant)
    for name in ZONES:
        database.execute("zone", name=name, accreditation=registry, settings=Jsonb(ZONE_SETTINGS))
    shop = _customer(database, tenant, "Blue Shop", "shop@blue.example")
    agency = _customer(database, tenant, "Green Agency", "desk@green.example")
    shop_url = database.login("demo_shop", "provision_integration", stage.owner_url)
    database.execute("integration", login="demo_shop", customer=shop.account)
    operator_url = database.login("demo_operator", "provision_operator", stage.owner_url)
    database.execute("first_admin")
    _host_zone(stage)
    _take_name(stage)
    return Cast(shop, agency, registry, shop_url, operator_url)


def _customer(database: Database, tenant: UUID, name: str, email: str) -> Customer:
    account: UUID = database.value("customer", tenant=tenant, name=name, email=email)
    return Customer(name, account, database.value("api_key", customer=account, name="demo"))


def _accreditations(stage: Stage, database: Database, tenant: UUID) -> UUID:
    """At the registry, in AWS, and at a desk where people work; returns the registry's."""
    nothing = {"registrar_id": None, "endpoint": None, "region": None, "secret_ref": None, "settings": Jsonb({})}
    registry: UUID = database.value(
        "accreditation",
        tenant=tenant,
        provider="epp",
        name="registry",
        registrar_id=REGISTRAR,
        endpoint=f"{stage.registry.host}:{stage.registry.port}",
        region=None,
        secret_ref=f"env:{PASSWORD_VARIABLE}",
        settings=Jsonb({"ca_file": str(stage.registry.ca_file), "max_sessions": 4}),
    )
    aws = nothing | {"region": "us-east-1"}
    database.value("accreditation", tenant=tenant, provider="aws", name="cloud", **aws)
    database.value("accreditation", tenant=tenant, provider="manual", name="desk", **nothing)
    return registry


def aws_client(stage: Stage, service: Any) -> Any:
    """A client of the demo's AWS endpoint."""
    import boto3

    return boto3.client(service, endpoint_url=stage.aws_url, region_name="us-east-1")


def _host_zone(stage: Stage) -> None:
    """The public hosted zone that a certificate's validation record goes to."""
    aws_client(stage, "route53").create_hosted_zone(Name=HOSTED, CallerReference=HOSTED)


def _take_name(stage: Stage) -> None:
    """Another registrar registers two names, over the registry's own protocol."""
    from provision_worker.providers import epp

    details = epp.contact.PostalInfo(name="R. Val", streets=("1 Road",), city="Elsewhere", country="IS")
    person = epp.contact.ContactDetails(
        handle="RIVAL-1", email="r@rival.example", international=details, auth_info=RIVAL_SECRET
    )
    settings = epp.Settings(
        host=stage.registry.host,
        port=stage.registry.port,
        registrar=RIVAL,
        password=stage.passwords[RIVAL],
        tls=epp.tls_context(str(stage.registry.ca_file)),
    )
    with epp.Client(settings) as client:
        client.send(epp.contact.create(person), "demo-contact")
        for name in (TAKEN, MOVED):
            registration = epp.domain.Registration(name=name, registrant=person.handle, auth_info=RIVAL_SECRET, years=1)
            client.send(epp.domain.create(registration), "demo-domain")
