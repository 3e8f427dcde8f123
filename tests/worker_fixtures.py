"""What the tests of the worker share: workers in threads and processes, jobs of any type, waiting, and bad lines.

Nothing here sleeps for a time that is hoped to be enough: `eventually` asks until the answer is yes.
"""

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, LiteralString, Self, TypeVar
from uuid import UUID

import psycopg
import pytest
from moto import settings as moto_settings
from moto.core.base_backend import BackendDict
from moto.core.model_instances import reset_model_data
from moto.server import ThreadedMotoServer
from provision_worker.actions import Action, Actions
from provision_worker.job import Outcome, completed
from provision_worker.loop import Worker
from provision_worker.simulator import Policy, RegistrySimulator
from provision_worker.task import Task
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from provision.settings import Settings
from tests.conftest import Database

T = TypeVar("T")
PATIENCE_SECONDS = 10.0
REGISTRY_PASSWORD = "correct horse"


def eventually(ask: Callable[[], T], what: str = "it", patience: float = PATIENCE_SECONDS) -> T:
    """The first answer of `ask` that is true. Fails after `patience` seconds."""
    deadline = time.monotonic() + patience
    while not (answer := ask()):
        assert time.monotonic() < deadline, f"{what} did not happen within {patience} s"
        time.sleep(0.005)
    return answer


def hurry(engine: "Engine", ask: Callable[[], object], step_seconds: float = 2) -> None:
    """Turns the clock forward until it is so, so that whoever waits for his time to look looks now.

    With short leases the steps are small: a worker must be able to prolong them.
    """

    def step() -> bool:
        engine.owner.execute("SELECT clock_advance(make_interval(secs => %s))", [step_seconds])
        return bool(ask())

    eventually(step, "it", 120)


def inline(function: Callable[[Task], Outcome]) -> Actions:
    """The action `test`, which runs in the loop."""
    return {"test": Action(function, inline=True)}


def threaded(function: Callable[[Task], Outcome]) -> Actions:
    """The action `test`, which runs in a thread."""
    return {"test": Action(function)}


@dataclass
class Gate:
    """An action's stop: `entered` counts those who came, and nobody goes on before `opened`."""

    opened: threading.Event = field(default_factory=threading.Event)
    entered: int = 0
    inside: int = 0
    most_inside: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def open(self) -> None:
        """Everybody may go on."""
        self.opened.set()

    def pass_through(self) -> None:
        """Waits until the gate is open; half a minute at most, so that no failed test hangs."""
        with self._lock:
            self.entered += 1
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
        try:
            assert self.opened.wait(30), "nobody opened the gate"
        finally:
            with self._lock:
                self.inside -= 1

    def complete(self, task: Task) -> Outcome:
        """An action that passes through and is done."""
        self.pass_through()
        return completed()


class Engine:
    """A migrated database of the test's own, and workers on it."""

    def __init__(self, database: Database, owner: psycopg.Connection) -> None:
        self.database = database
        self.owner = owner

    def settings(self, **changes: Any) -> Settings:
        """Settings of a worker; polls seldom unless told otherwise, so that tests see whether they are woken."""
        url = self.database.url_as("provision_worker")
        return Settings.model_validate(
            {"worker_database_url": url, "worker_concurrency": 4, "log_level": "error"} | changes
        )

    @contextmanager
    def worker(self, actions: Actions, *, paused: bool = False, **settings: Any) -> Iterator[Worker]:
        """A worker in a thread, registered; stopped gracefully at the end."""
        worker = Worker(self.settings(**settings), actions, paused=paused)
        failures: list[BaseException] = []

        def run() -> None:
            try:
                worker.run()
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=run, name="worker")
        thread.start()
        try:
            eventually(lambda: worker.id or failures, "registration")
            yield worker
        finally:
            worker.stop()
            thread.join(60)
            assert not thread.is_alive(), "the worker did not stop"
            assert not failures, failures

    def lose_workers(self) -> None:
        """Sweep as if no worker had said for long that it lives. Not more than one sweeps at a time, so try again."""
        silent: LiteralString = "UPDATE worker SET heartbeat_date = '-infinity'"

        def sweep() -> bool:
            with self.owner.transaction():
                self.owner.execute(silent)
                return bool(self.value("SELECT engine_sweep(NULL) ? 'leases_lost'"))

        eventually(sweep, "the sweep")

    def value(self, query: LiteralString, *parameters: object) -> Any:
        """The first column of the first row."""
        row = self.owner.execute(query, parameters).fetchone()
        return row[0] if row else None

    def row(self, query: LiteralString, *parameters: object) -> dict[str, Any]:
        """The first row, by column."""
        row = self.owner.cursor(row_factory=dict_row).execute(query, parameters).fetchone()
        assert row, query
        return row

    def rows(self, query: LiteralString, *parameters: object) -> list[dict[str, Any]]:
        """All rows, by column."""
        return self.owner.cursor(row_factory=dict_row).execute(query, parameters).fetchall()

    def submit(
        self,
        data: dict[str, Any] | None = None,
        *,
        type: str = "test",
        accreditation: UUID | None = None,
        limit: int = 8,
    ) -> UUID:
        """A new job."""
        job: UUID = self.value(
            "INSERT INTO job (type, data, accreditation_id, max_attempts) VALUES (%s, %s, %s, %s) RETURNING id",
            type,
            Jsonb(data or {}),
            accreditation,
            limit,
        )
        return job

    def job(self, job: UUID) -> dict[str, Any]:
        """The job as operators see it."""
        return self.row("SELECT * FROM v_job WHERE id = %s", job)

    def ended(self, job: UUID, patience: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """The job, once it has ended."""
        eventually(
            lambda: self.value("SELECT finished_date IS NOT NULL FROM job WHERE id = %s", job), f"job {job}", patience
        )
        return self.job(job)

    def attempted(self, job: UUID, times: int = 1) -> dict[str, Any]:
        """The job, once it has been put off and nobody holds it."""
        eventually(
            lambda: self.value("SELECT attempts >= %s FROM v_job WHERE id = %s AND worker IS NULL", times, job),
            f"attempt {times} of {job}",
        )
        return self.job(job)

    def waits_for_lock(self, pattern: str) -> bool:
        """Whether a worker's statement that matches the LIKE pattern waits for a lock."""
        return bool(
            self.value(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
                " AND usename = 'provision_worker' AND query LIKE %s",
                pattern,
            )
        )

    def someone_sleeps(self) -> bool:
        """Whether a worker is the sentinel, and has polled for the last time before it sleeps."""
        return bool(
            self.value(
                "SELECT count(*) FROM pg_stat_activity AS a JOIN pg_locks AS l ON l.pid = a.pid"
                " WHERE l.locktype = 'advisory' AND l.granted AND l.mode = 'ExclusiveLock' AND l.objid ="
                " (job_wake_key() & x'ffffffff'::bigint)::oid AND a.state = 'idle' AND a.query LIKE '%%job_next_due%%'"
                " AND a.datname = current_database()"
            )
        )


@pytest.fixture
def engine(database: Database, owner: psycopg.Connection) -> Engine:
    """A fresh engine without workers."""
    return Engine(database, owner)


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    """For what must be closed at the end of a test, in reverse order."""
    with ExitStack() as stack:
        yield stack


# Rows to begin with


def insert(engine: Engine, table: str, **values: Any) -> UUID:
    """A new row; returns its id."""
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING id").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, values)),
        sql.SQL(", ").join(sql.Placeholder() * len(values)),
    )
    adapted = [Jsonb(value) if isinstance(value, dict) else value for value in values.values()]
    row = engine.owner.execute(statement, adapted).fetchone()
    assert row
    id: UUID = row[0]
    return id


@dataclass(frozen=True)
class Customer:
    """A customer's account with a tenant."""

    tenant: UUID
    account: UUID


def make_customer(engine: Engine, name: str = "shop") -> Customer:
    """A tenant of its own with one customer."""
    tenant = insert(engine, "tenant", name=name)
    customer = insert(engine, "customer", name=name, email=f"{name}@example.net")
    return Customer(tenant, insert(engine, "tenant_customer", tenant_id=tenant, customer_id=customer))


def make_accreditation(engine: Engine, tenant: UUID | None = None, **values: Any) -> UUID:
    """An accreditation, by default at AWS and of a tenant of its own."""
    tenant = tenant or insert(engine, "tenant", name="of a lane")
    return insert(engine, "accreditation", **({"tenant_id": tenant, "name": "cloud", "provider": "aws"} | values))


def make_contact(engine: Engine, customer: Customer, accreditation: UUID, reference: str = "jane") -> UUID:
    """The job of a new contact."""
    row = insert(
        engine,
        "provision_contact",
        tenant_customer_id=customer.account,
        accreditation_id=accreditation,
        reference=reference,
        name="Jane Doe",
        street=["1 Main Street"],
        city="Springfield",
        country_code="US",
        email="jane@example.net",
    )
    job: UUID = engine.value("SELECT job_id FROM provision_contact WHERE id = %s", row)
    return job


# A registry


@dataclass(frozen=True)
class Shop:
    """A customer who sells names of the zone `example`, which a registry runs over TLS."""

    engine: Engine
    registry: RegistrySimulator
    customer: Customer
    accreditation: UUID

    def order(self, *items: tuple[str, dict[str, Any]]) -> UUID:
        """A new order of (operation, data) pairs."""
        documents = [{"operation": operation, "data": data} for operation, data in items]
        order: UUID = self.engine.value("SELECT order_submit(%s, %s)", self.customer.account, Jsonb(documents))
        return order

    def order_domain(self, name: str, **changes: Any) -> UUID:
        """A new order of a domain with two new contacts and two new hosts."""
        hosts = [{"name": f"ns{number}.{name}.net"} for number in (1, 2)]
        contacts = {
            "registrant": person("jane", name),
            "admin": person("joe", name),
            "tech": {"reference": f"joe of {name}"},
        }
        return self.order(("domain.create", {"name": name, "contacts": contacts, "hosts": hosts} | changes))

    def ended(self, order: UUID, patience: float = PATIENCE_SECONDS) -> str:
        """The status of the order, once it has ended."""
        query = 'SELECT finished_date IS NOT NULL FROM "order" WHERE id = %s'
        eventually(lambda: self.engine.value(query, order), f"order {order}", patience)
        status: str = self.engine.value("SELECT status FROM v_order WHERE id = %s", order)
        return status

    def job(self, table: str) -> dict[str, Any]:
        """The last job for a row of the table."""
        return self.engine.row("SELECT * FROM v_job WHERE reference_table = %s ORDER BY id DESC LIMIT 1", table)

    def creations(self) -> Counter[tuple[str, str]]:
        """What the registry has created, and how often."""
        return Counter((entry.object, entry.name) for entry in self.registry.ledger.entries("create", executed=True))


def person(first_name: str, of: str) -> dict[str, Any]:
    """A contact as an order has it."""
    return {
        "reference": f"{first_name} of {of}",
        "name": f"{first_name.capitalize()} Doe",
        "street": ["1 Main Street"],
        "city": "Springfield",
        "country_code": "US",
        "email": f"{first_name}@example.net",
    }


ZONE_SETTINGS: dict[str, Any] = {
    "order_types": ["create", "renew", "transfer", "restore", "delete", "update"],
    "registration_periods": [1, 2],
    "renewal_periods": [1, 2, 5],
    "transfer_periods": [1],
    "maximum_lifetime": 10,
    "name_length_minimum": 1,
    "name_length_maximum": 63,
    "host_count_minimum": 2,
    "host_count_maximum": 13,
    "host_model": "objects",
    "host_ipv6_allowed": True,
    "contact_model": "thick",
    "contact_types_required": ["registrant", "admin", "tech"],
    "auth_info_pattern": "^.{8,}$",
    "dnssec_count_maximum": 4,
    "grace_hours_add": 120,
    "grace_hours_renew": 120,
    "grace_hours_transfer": 120,
    "grace_hours_redemption": 720,
    "grace_hours_pending_delete": 120,
    "restore_report_required": False,
}


@pytest.fixture
def registry() -> Iterator[RegistrySimulator]:
    """A registry with the registrars `us` and `them`."""
    registrars = {"us": REGISTRY_PASSWORD, "them": "battery staple"}
    with RegistrySimulator(registrars, Policy(zones=("example",))) as registry:
        yield registry


@pytest.fixture
def shop(engine: Engine, registry: RegistrySimulator, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """One customer, one accreditation, one zone."""
    monkeypatch.setenv("REGISTRY_PASSWORD", REGISTRY_PASSWORD)
    customer = make_customer(engine)
    accreditation = make_registry_accreditation(engine, customer.tenant, registry)
    zone = insert(engine, "tld", name="example")
    insert(engine, "accreditation_tld", accreditation_id=accreditation, tld_id=zone)
    engine.owner.cursor().executemany(
        "INSERT INTO tld_setting (tld_id, name, value) VALUES (%s, %s, %s)",
        [(zone, name, Jsonb(value)) for name, value in ZONE_SETTINGS.items()],
    )
    return Shop(engine, registry, customer, accreditation)


def make_registry_accreditation(engine: Engine, tenant: UUID, registry: RegistrySimulator, **values: Any) -> UUID:
    """The right of `us` to use the registry."""
    settings = {"ca_file": str(registry.ca_file)} | values.pop("settings", {})
    known = {
        "name": "registry",
        "provider": "epp",
        "registrar_id": "us",
        "endpoint": f"127.0.0.1:{registry.port}",
        "secret_ref": "env:REGISTRY_PASSWORD",
        "settings": settings,
    }
    return make_accreditation(engine, tenant, **(known | values))


# AWS


@pytest.fixture
def aws() -> Iterator[str]:
    """URL of an empty AWS endpoint, spoken to over HTTP. Certificates are issued when `issue_certificates` says so."""
    with pytest.MonkeyPatch.context() as patch, aws_endpoint() as url:
        patch.setattr(moto_settings, "ACM_VALIDATION_WAIT", 10**9)
        yield url


@contextmanager
def aws_endpoint() -> Iterator[str]:
    """URL of an AWS endpoint, which is empty at first."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        yield "http://{}:{}".format(*server.get_host_and_port())
    finally:
        empty_aws()
        server.stop()


def empty_aws() -> None:
    """From now on the endpoint has nothing."""
    BackendDict.reset()
    reset_model_data()


def issue_certificates() -> None:
    """From now on the endpoint issues certificates at once, validated or not."""
    moto_settings.ACM_VALIDATION_WAIT = -1


class Relay:
    """A TCP relay to another address that can fail the way lines fail: hold what is sent, or lose the answers to it."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._is_closed = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self.pass_everything()

    def pass_everything(self) -> None:
        """From now on nothing is held or lost."""
        self._holds_requests = False
        self._lost_request: bytes | None = None
        self._held_request: bytes | None = None

    def hold_requests(self) -> None:
        """From now on nothing that is sent arrives."""
        self._holds_requests = True

    def hold_answers(self, request: bytes = b"") -> None:
        """From now on nothing comes back on a connection that has carried `request`."""
        self._held_request = request

    def lose_answers(self, request: bytes = b"") -> None:
        """From now on a connection that has carried `request` ends instead of bringing the answer."""
        self._lost_request = request

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._is_closed.set()
        # Closing alone does not wake a thread that waits in accept().
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._target) as server, suppress(OSError):
            sent = b""
            while not self._is_closed.is_set():
                watched = [] if self._holds_requests else [client]
                if self._held_request is None or self._held_request not in sent:
                    watched.append(server)
                for source in select.select(watched, [], [], 0.02)[0]:
                    data = source.recv(65536)
                    if not data:
                        return
                    if source is client:
                        sent += data
                        server.sendall(data)
                    elif self._lost_request is not None and self._lost_request in sent:
                        return
                    else:
                        client.sendall(data)


# Workers as processes


class Process:
    """`provision worker` as a process of its own, to be stopped or killed. Its environment has REGISTRY_PASSWORD."""

    def __init__(self, engine: Engine, *arguments: str, **settings: str) -> None:
        self._engine = engine
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PROVISION_")}
        environment |= {
            "PROVISION_WORKER_DATABASE_URL": engine.database.url_as("provision_worker"),
            "PROVISION_LOG_LEVEL": "warning",
            "REGISTRY_PASSWORD": REGISTRY_PASSWORD,
            "PROVISION_WORKER_POLL_SECONDS": "0.1",
            "PROVISION_WORKER_LEASE_SECONDS": "1",
        } | {f"PROVISION_{name.upper()}": value for name, value in settings.items()}
        command = [sys.executable, "-c", "from provision.cli import main; main()", "worker", *arguments]
        self._process = subprocess.Popen(command, env=environment)

    def __enter__(self) -> Self:
        eventually(lambda: self.is_registered or self._process.poll() is not None, "registration", 30)
        assert self._process.poll() is None, "the worker ended before it began"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.kill()

    @property
    def is_registered(self) -> bool:
        """Whether the database knows the worker."""
        return bool(self._engine.value("SELECT count(*) FROM v_worker WHERE pid = %s", self._process.pid))

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """Ends it as a power cut would."""
        self._process.kill()
        self._process.wait()

    def exit_code(self, patience: float = 30) -> int:
        """Waits for its end: the exit code, or the negative number of the signal that ended it."""
        return self._process.wait(patience)
