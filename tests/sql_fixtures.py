"""What the tests of the database share: a tenant with customers and zones, things to order, and a worker's hands.

`shop` lives in a transaction that is rolled back; `open_shop` sets up the same in a database of the test's own, for
tests that need several sessions. Time stands still unless a test (or `Shop.claim`) turns it forward.
"""

import copy
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, LiteralString
from uuid import UUID

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row, scalar_row
from psycopg.types.json import Jsonb

Row = dict[str, Any]
Json = dict[str, Any]

TYPES = ["provision_contact_create", "provision_domain_create", "provision_host_create", "provision_ssl_create"]
TYPES += ["provision_contact_update", "provision_contact_delete", "provision_host_update", "provision_host_delete"]
TYPES += ["provision_domain_renew", "provision_domain_delete", "provision_domain_restore", "provision_domain_update"]
TYPES += ["provision_ssl_renew", "provision_ssl_revoke"]
TYPES += ["provision_domain_transfer_request", "provision_domain_transfer_answer"]

# Every setting a zone must have.
ZONE: Json = {
    "order_types": ["create", "renew", "transfer", "restore", "delete", "update"],
    "registration_periods": [1, 2, 5, 10],
    "renewal_periods": [1, 2],
    "transfer_periods": [1],
    "maximum_lifetime": 10,
    "name_length_minimum": 3,
    "name_length_maximum": 63,
    "host_count_minimum": 2,
    "host_count_maximum": 4,
    "host_model": "objects",
    "host_ipv6_allowed": True,
    "contact_model": "thick",
    "contact_types_required": ["registrant", "admin"],
    "auth_info_pattern": "^.{8,64}$",
    "dnssec_count_maximum": 4,
    "grace_hours_add": 120,
    "grace_hours_renew": 1080,
    "grace_hours_transfer": 120,
    "grace_hours_redemption": 720,
    "grace_hours_pending_delete": 120,
    "restore_report_required": False,
}

# Things to order ------------------------------------------------------------------------------------------------------


def person(reference: str | None = "jane", **changes: Any) -> Json:
    """The details of a contact."""
    details = {"name": "Jane Doe", "street": ["1 Road"], "city": "Bonn", "country_code": "DE", "email": "j@example.net"}
    return details | ({} if reference is None else {"reference": reference}) | changes


def known(reference: str) -> Json:
    """A contact that is there or on its way."""
    return {"reference": reference}


def contact_item(reference: str = "jane", **changes: Any) -> Json:
    return {"operation": "contact.create", "data": person(reference, **changes)}


def host_item(name: str = "ns1.example.net", **changes: Any) -> Json:
    return {"operation": "host.create", "data": {"name": name} | changes}


def domain_item(
    name: str = "example.test",
    registrant: Json | None = None,
    admin: Any = None,
    hosts: Sequence[Any] = ("ns1.example.net", "ns2.example.net"),
    **changes: Any,
) -> Json:
    """By default a registration with two new contacts and two new name servers."""
    contacts = {"registrant": registrant or person("jane"), "admin": admin or person("tech")}
    return {"operation": "domain.create", "data": {"name": name, "contacts": contacts, "hosts": list(hosts)} | changes}


def certificate_item(name: str = "www.example.test", **changes: Any) -> Json:
    return {"operation": "ssl.create", "data": {"domain_name": name} | changes}


# A worker's answers ---------------------------------------------------------------------------------------------------


def outcome(job: Row, kind: str, **more: Any) -> Json:
    """What a worker says about a claimed job."""
    return {"job_id": str(job["job_id"]), "claim_no": job["claim_no"], "outcome": kind} | more


def success(job: Row) -> Json:
    """What the outside answers when it does as it is told."""
    number = str(job["reference_id"])[-12:].upper()
    result: Json = {"roid": f"R{number}"}
    if job["type"] == "provision_domain_create":
        result |= {"ry_created_date": "2026-03-01T10:00:00Z", "ry_expiry_date": "2027-03-01T10:00:00Z"}
    if job["type"] == "provision_domain_renew":
        result = {"ry_expiry_date": f"{job['data']['target_expiry']}T10:00:00Z"}
    if job["type"] == "provision_domain_restore":
        result = {"ry_expiry_date": "2028-03-01T10:00:00Z"}
    if job["type"] == "provision_domain_delete":
        result = {"ry_state": "redemptionPeriod"}
    if job["type"] == "provision_ssl_create":
        result = {
            "arn": f"arn:aws:acm:eu-central-1:1:certificate/{number}",
            "not_before": "2026-03-01T00:00:00Z",
            "not_after": "2027-03-01T00:00:00Z",
        }
    return outcome(job, "completed", result=result)


# The shop -------------------------------------------------------------------------------------------------------------


class Shop:
    """A tenant with one customer, a registry with the zone `test`, an AWS account, and a worker driven by hand.

    Names are the shop's own, so that several can be in one database.
    """

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection
        self.name = f"shop-{uuid.uuid4().hex[:8]}"
        self.tenant = self.insert("tenant", name=self.name)
        self.account = self.customer("Jane Ltd")
        self.registry = self.accreditation("registry")
        self.cloud = self.accreditation("cloud", "aws")
        self._worker: UUID | None = None

    def on(self, connection: psycopg.Connection) -> "Shop":
        """The same shop over another connection."""
        shop = copy.copy(self)
        shop.connection = connection
        return shop

    # Asking

    def value(self, query: LiteralString, *parameters: object) -> Any:
        """The first column of the first row; None without one."""
        return self.connection.cursor(row_factory=scalar_row).execute(query, parameters).fetchone()

    def values(self, query: LiteralString, *parameters: object) -> list[Any]:
        """The first column."""
        return self.connection.cursor(row_factory=scalar_row).execute(query, parameters).fetchall()

    def row(self, query: LiteralString, *parameters: object) -> Row:
        """The only row, by column."""
        (row,) = self.rows(query, *parameters)
        return row

    def rows(self, query: LiteralString, *parameters: object) -> list[Row]:
        """The rows, by column."""
        return self.connection.cursor(row_factory=dict_row).execute(query, parameters).fetchall()

    def pairs(self, query: LiteralString, *parameters: object) -> dict[Any, Any]:
        """The second column by the first."""
        return dict(self.connection.execute(query, parameters).fetchall())

    def count(self, table: str) -> int:
        """How many rows a table has."""
        statement = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
        (number,) = self.connection.cursor(row_factory=scalar_row).execute(statement)
        return int(number)

    def document(self, order: UUID) -> Json:
        """The order as the API answers it."""
        document: Json = self.value("SELECT order_document(%s)", order)
        return document

    def status(self, order: UUID) -> str:
        """How far the order is."""
        status: str = self.value("SELECT status FROM v_order WHERE id = %s", order)
        return status

    def plan(self, order: UUID) -> dict[str, str]:
        """Status of each step of the order, by name."""
        return self.pairs("SELECT name, status FROM v_order_item_plan WHERE order_id = %s ORDER BY name", order)

    # Setting up

    def insert(self, table: str, **values: Any) -> UUID:
        """A new row; returns its id."""
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING id").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, values)),
            sql.SQL(", ").join(sql.Placeholder() * len(values)),
        )
        adapted = [Jsonb(value) if isinstance(value, dict) else value for value in values.values()]
        (id,) = self.connection.cursor(row_factory=scalar_row).execute(statement, adapted)
        assert isinstance(id, UUID)
        return id

    def customer(self, name: str, tenant: UUID | None = None) -> UUID:
        """A customer's account with the tenant."""
        customer = self.insert("customer", name=name, email=f"{uuid.uuid4().hex}@example.net")
        return self.insert("tenant_customer", tenant_id=tenant or self.tenant, customer_id=customer)

    def org(self, account: UUID | None = None) -> UUID:
        """An org of the customer."""
        return self.insert("org", tenant_customer_id=account or self.account, slug=f"org-{uuid.uuid4().hex[:8]}")

    def accreditation(self, name: str, provider: str = "epp", zones: Iterable[str] = ("test",), **values: Any) -> UUID:
        """An accreditation of the tenant; one at a registry registers names in the zones."""
        epp = {"registrar_id": "shop", "endpoint": "registry.example:700", "secret_ref": "env:PASSWORD"}
        values = {"tenant_id": self.tenant} | (epp if provider == "epp" else {}) | values
        id = self.insert("accreditation", name=name, provider=provider, **values)
        for zone in zones if provider == "epp" else ():
            self.zone(zone, id)
        return id

    def zone(self, name: str, accreditation: UUID, **settings: Any) -> UUID:
        """A zone with all its settings, at the accreditation; returns accreditation_tld.id."""
        tld = self.value("SELECT id FROM tld WHERE name = %s", name) or self.insert("tld", name=name)
        for key, value in (ZONE | settings).items():
            self.connection.execute(
                "INSERT INTO tld_setting (tld_id, name, value) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
                [tld, key, Jsonb(value)],
            )
        return self.insert("accreditation_tld", accreditation_id=accreditation, tld_id=tld)

    def set_zone(self, key: str, value: Any, zone: str = "test") -> None:
        """Change one setting of a zone."""
        self.connection.execute(
            "UPDATE tld_setting SET value = %s WHERE name = %s AND tld_id = (SELECT id FROM tld WHERE name = %s)",
            [Jsonb(value), key, zone],
        )

    def set(self, name: str, value: object) -> None:
        """Change a setting of the engine."""
        self.connection.execute("UPDATE setting SET value = %s WHERE name = %s", [str(value), name])

    def pass_time(self, interval: str) -> None:
        """Turn the clock forward."""
        self.connection.execute("SELECT clock_advance(%s)", [interval])

    def turn_clock(self, moment: str) -> None:
        """Turn the clock to a moment, for what depends on the hour, the day or the month."""
        self.connection.execute("SELECT clock_advance(%s::timestamptz - engine_now())", [moment])

    def sweep(self) -> Json:
        """House-keeping, as every worker does it once a second."""
        counters: Json = self.value("SELECT engine_sweep(NULL)")
        return counters

    # Ordering

    def order(self, *items: Json, account: UUID | None = None, key: str | None = None, **options: Any) -> UUID:
        """Submit an order for the customer."""
        id: UUID = self.value(
            "SELECT order_submit(%s, %s, %s, %s)", account or self.account, Jsonb(list(items)), key, Jsonb(options)
        )
        return id

    def done(self, *items: Json, **options: Any) -> UUID:
        """An order that completed."""
        order = self.order(*items, **options)
        self.work()
        assert self.status(order) == "completed", self.document(order)
        return order

    # Working

    @property
    def worker(self) -> UUID:
        """A registered worker."""
        if self._worker is None:
            self._worker = self.register()
        return self._worker

    def register(self, types: Sequence[str] = TYPES) -> UUID:
        """One more worker."""
        id: UUID = self.value("SELECT worker_register('hand', 'here', 1, '0', %s)", list(types))
        return id

    def claim(self, limit: int = 100, types: Sequence[str] = TYPES, worker: UUID | None = None) -> list[Row]:
        """What a worker gets to do, a second later."""
        self.pass_time("1 second")
        return self.take(limit, types, worker)

    def take(self, limit: int = 100, types: Sequence[str] = TYPES, worker: UUID | None = None) -> list[Row]:
        """What a worker gets to do now."""
        return self.rows("SELECT * FROM job_claim(%s, %s, %s)", worker or self.worker, list(types), limit)

    def record(self, *results: Json, worker: UUID | None = None) -> list[UUID]:
        """Report results; returns the refused jobs."""
        return self.values("SELECT job_record(%s, %s)", worker or self.worker, Jsonb(list(results)))

    def complete(self, jobs: Iterable[Row]) -> None:
        """Report that all went well."""
        assert self.record(*map(success, jobs)) == []

    def work(self) -> list[str]:
        """Do everything until nothing is due; returns the types of the jobs done, in order."""
        done: list[str] = []
        while jobs := self.claim():
            self.complete(jobs)
            done += [job["type"] for job in jobs]
        return done

    def fail(self, step: str, reason: str = "2306 parameter value policy error") -> None:
        """Claim everything and report that the step's job failed; the others are handed back."""
        jobs = self.claim()
        name = "SELECT name FROM order_item_plan WHERE provision_id = %s"
        bad = [job for job in jobs if self.value(name, job["reference_id"]) == step]
        assert bad, f"{step} has no job that is due"
        self.record(*(outcome(job, "hand_back") for job in jobs if job not in bad))
        assert self.record(outcome(bad[0], "failed", message=reason)) == []


@pytest.fixture
def shop(transaction: psycopg.Connection) -> Shop:
    """A shop in a transaction that is rolled back."""
    return Shop(transaction)


@pytest.fixture
def open_shop(owner: psycopg.Connection) -> Shop:
    """A shop in a database of the test's own; every statement commits."""
    return Shop(owner)


# Refusals and roles ---------------------------------------------------------------------------------------------------


@contextmanager
def refused(connection: psycopg.Connection, code: str, text: str = "") -> Iterator[None]:
    """What is done inside is refused with this SQLSTATE, `text` in message or detail, and a way out; nothing stays."""
    with pytest.raises(psycopg.Error) as caught, connection.transaction():
        yield
    assert caught.value.sqlstate == code, caught.value
    said = f"{caught.value.diag.message_primary} {caught.value.diag.message_detail}"
    assert text in said, said
    assert not code.startswith("PV") or caught.value.diag.message_hint


@contextmanager
def acting_as(connection: psycopg.Connection, login: str, **settings: object) -> Iterator[None]:
    """What is done inside is done by a log-in, with settings such as `caller_customer` set by it.

    Without a `caller_user` the API acts for a program that owns the customer, or the org.
    """
    account = settings.get("caller_customer")
    if login == "provision_api" and account and "caller_user" not in settings:
        settings["caller_user"] = program(connection, account, settings.get("caller_org"))
    connection.execute(sql.SQL("SET SESSION AUTHORIZATION {}").format(sql.Identifier(login)))
    for name, value in settings.items():
        connection.execute("SELECT set_config(%s, %s, true)", [f"provision.{name}", str(value or "")])
    yield
    for name in settings:
        connection.execute("SELECT set_config(%s, '', true)", [f"provision.{name}"])
    connection.execute("RESET SESSION AUTHORIZATION")


def program(connection: psycopg.Connection, account: object, org: object = None) -> UUID:
    """A user that owns the account, or one org of it."""
    username = f"program-{org or account}"
    known = connection.execute("SELECT id FROM app_user WHERE username = %s", [username]).fetchone()
    if known:
        return known[0]  # type: ignore[no-any-return]
    statement: LiteralString = """
        WITH made AS (INSERT INTO app_user (username, is_technical) VALUES (%s, true) RETURNING id)
        INSERT INTO membership (user_id, tenant_customer_id, org_id, role)
        SELECT id, %s, (SELECT id FROM org WHERE id = %s), 'owner' FROM made RETURNING user_id"""
    return connection.cursor(row_factory=scalar_row).execute(statement, [username, account, org]).fetchone()  # type: ignore[return-value]


def integration_login(shop: Shop, account: UUID | None = None, org: UUID | None = None) -> str:
    """A new log-in of another system that acts for the customer."""
    login = f"other_system_{uuid.uuid4().hex[:8]}"
    shop.connection.execute(sql.SQL("CREATE ROLE {} LOGIN IN ROLE provision_integration").format(sql.Identifier(login)))
    shop.connection.execute("INSERT INTO integration_login VALUES (%s, %s, %s)", [login, account or shop.account, org])
    return login
