"""Bring a database to this release: roles, then migrations, then procedures, views and grants.

Migrations (`sql/schema`, applied by yoyo) go forward, once each, and are never edited. Procedures, views and grants are
text that is replaced: if one file changed, all are loaded again, in one transaction. Everything belongs to the role
`provision_owner`. An advisory lock lets one process work at a time; it goes with its connection, so nothing has to be
cleaned up after a crash.
"""

import hashlib
import random
import socket
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, redirect_stdout
from datetime import UTC, datetime
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from psycopg import sql
from yoyo import exceptions as yoyo_exceptions
from yoyo import read_migrations
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import parse_uri
from yoyo.migrations import Migration, MigrationList, default_migration_table

from provision import ProvisionError
from provision.database import connect, role_password, sql_directory, url_as

OWNER = "provision_owner"
LOGIN_ROLES = ("provision_api", "provision_worker")
LOCK_KEY = int.from_bytes(hashlib.sha256(b"provision migrate").digest()[:8], signed=True)

# A statement that waits for a lock makes everyone behind it wait, so it gives up soon and tries again.
LOCK_TIMEOUT = "3s"
TRIES = 20

# In this order: what is above may not need what is below.
REPEATABLE = (
    "stored-procedures",
    "stored-procedures/validation",
    "stored-procedures/pre",
    "stored-procedures/post",
    "views",
)

# What passes by itself: a lock that was not to be had in time, and two migrations of one cluster that collided in its
# roles, which PostgreSQL reports as "tuple concurrently updated" (an internal error) or as a role that is there.
BUSY = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)
COLLISION = (psycopg.errors.InternalError_, psycopg.errors.UniqueViolation, psycopg.errors.DuplicateObject)

Progress = Callable[[str], None]


class MigrationError(ProvisionError):
    """The database could not be brought to this release; what was begun was taken back."""


class Status(NamedTuple):
    """How a database compares with this release, in file names."""

    applied: list[str]
    pending: list[str]
    edited: list[str]
    unknown: list[str]
    changed: list[str]

    @property
    def current(self) -> bool:
        """Nothing is to be done and nothing is in the way."""
        return not (self.pending or self.edited or self.unknown or self.changed)


def migrate(
    url: str, progress: Progress = lambda _: None, *, logins: Collection[str] = LOGIN_ROLES, source: Path | None = None
) -> None:
    """Bring the database to this release; does nothing if it is there.

    Args:
        url: the database as a superuser, or as its owner with CREATEROLE; not through a transaction pooler.
        progress: is told what happens, a line at a time.
        logins: the log-in roles whose passwords are derived from the one in `url`.
        source: the directory of the SQL, if not this release's.

    Raises:
        MigrationError: a file fails (it is named, with the line), or an applied migration was edited since.
    """
    source = source or sql_directory()
    with _locked(url, progress) as connection:
        _make_roles(connection, source / "roles.sql")
        _set_passwords(connection, url, logins)
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(OWNER)))
        applied = _apply_schema(url, source, progress)
        _load_repeatable(connection, source, progress, anyway=applied)


def rollback(url: str, count: int, progress: Progress = lambda _: None, *, source: Path | None = None) -> None:
    """Take back the last `count` migrations, and the procedures and views with them.

    Afterwards the release that one goes back to loads its own with `migrate`.
    """
    source = source or sql_directory()
    with _locked(url, progress) as connection, _Backend(url) as backend:
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(OWNER)))
        migrations = backend.to_rollback(_read_migrations(source))
        _unload_repeatable(connection)
        for migration in migrations[:count]:
            progress(f"rolling back {migration.id}")
            _patiently(partial(_run, backend.rollback_one, migration), BUSY)


def status(url: str, *, source: Path | None = None) -> Status:
    """Compare the database with this release; changes nothing."""
    source = source or sql_directory()
    files = {path.name.removesuffix(".sql"): _sha256(path) for path in _migration_files(source)}
    with connect(url, "provision migrate", autocommit=True) as connection:
        applied = _read(connection, "migration.checksum", "SELECT migration_id, sha256 FROM migration.checksum")
        loaded = _read(connection, "migration.repeatable_file", "SELECT name, sha256 FROM migration.repeatable_file")
    return Status(
        applied=sorted(applied),
        pending=sorted(files.keys() - applied.keys()),
        edited=sorted(name for name in applied.keys() & files.keys() if applied[name] != files[name]),
        unknown=sorted(applied.keys() - files.keys()),
        changed=_changed(loaded, _checksums(source)),
    )


def _read(connection: psycopg.Connection, table: str, query: str) -> dict[str, str]:
    """Names with checksums; none where `migrate` has not been."""
    known = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (table,)).fetchone()
    return dict(connection.execute(query.encode()).fetchall()) if known and known[0] else {}


@contextmanager
def _locked(url: str, progress: Progress) -> Iterator[psycopg.Connection]:
    with connect(url, "provision migrate", autocommit=True) as connection:
        got = connection.execute("SELECT pg_try_advisory_lock(%s)", (LOCK_KEY,)).fetchone()
        if got and not got[0]:
            progress("waiting for another migration to end")
            connection.execute("SELECT pg_advisory_lock(%s)", (LOCK_KEY,))
        yield connection


def _patiently(work: Callable[[], object], passing: tuple[type[psycopg.Error], ...]) -> None:
    """Do the work, again while it fails with an error that passes; the last try's error is the caller's."""
    for _ in range(TRIES - 1):
        try:
            work()
        except (MigrationError, psycopg.Error) as error:
            cause = error.__cause__ if isinstance(error, MigrationError) else error
            if not isinstance(cause, passing):
                raise
            time.sleep(random.uniform(0.05, 0.5))
        else:
            return
    work()


# Roles --------------------------------------------------------------------------------------------------------------


def _make_roles(connection: psycopg.Connection, path: Path) -> None:
    """Roles are shared by all databases of a cluster, and advisory locks are not."""
    _patiently(lambda: _execute_file(connection, path), COLLISION)


def _set_passwords(connection: psycopg.Connection, url: str, logins: Collection[str]) -> None:
    """Set a derived password where it does not let in; where it does, there is nothing to change."""
    for role in logins:
        password = role_password(url, role)
        if password is None or _lets_in(url_as(url, role, password)):
            continue
        statement = sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(password))
        _patiently(partial(connection.execute, statement), COLLISION)


def _lets_in(url: str) -> bool:
    try:
        connect(url, "provision migrate").close()
    except psycopg.OperationalError:
        return False
    return True


# Migrations ---------------------------------------------------------------------------------------------------------


class _Cursor(psycopg.Cursor[Any]):
    """Remembers in the error which statement failed: its position alone does not tell the line of the file."""

    def execute(self, query: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return super().execute(query, *arguments, **options)
        except psycopg.Error as error:
            error.add_note(str(query))
            raise


class _Backend(PostgresqlPsycopgBackend):  # type: ignore[misc]
    """yoyo's backend, made safe: a migration and the note that it was applied are one transaction.

    yoyo's tables lie in the schema `migration`. Its lock, a row that a crash leaves behind, is not needed under ours.
    """

    def __init__(self, url: str, search_path: str = "migration") -> None:
        self._url = url
        self._search_path = search_path
        # Its reading of the URL is not used: it knows neither several hosts nor libpq's parameters.
        super().__init__(parse_uri("postgresql+psycopg:///"), default_migration_table)

    def connect(self, dburi: object) -> psycopg.Connection:
        connection = connect(self._url, "provision migrate", autocommit=True, cursor_factory=_Cursor)
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(OWNER)))
        connection.execute("CREATE SCHEMA IF NOT EXISTS migration")
        connection.execute(sql.SQL("SET search_path TO {}").format(sql.Identifier(self._search_path)))
        return connection

    def copy(self) -> "_Backend":
        return _Backend(self._url, "public")

    @contextmanager
    def lock(self, timeout: float = 0) -> Iterator[None]:
        yield

    def apply_one(self, migration: Migration, force: bool = False, mark: bool = True) -> None:
        with self._noted(migration, "apply"):
            self.mark_one(migration, log=False)
            checksum = _sha256(Path(migration.path))
            self.connection.execute("INSERT INTO checksum VALUES (%s, %s)", (migration.id, checksum))

    def rollback_one(self, migration: Migration, force: bool = False) -> None:
        with self._noted(migration, "rollback"):
            self.unmark_one(migration, log=False)
            self.connection.execute("DELETE FROM checksum WHERE migration_id = %s", (migration.id,))

    @contextmanager
    def _noted(self, migration: Migration, operation: str) -> Iterator[None]:
        """Run a migration and what the block does in one transaction.

        One marked `-- transactional: false` (CREATE INDEX CONCURRENTLY) runs before it, so it must bear to run twice.
        """
        migration.load()
        if not migration.use_transactions:
            with self.copy() as other:
                _process_silently(migration, other, operation)
        with self.transaction():
            if migration.use_transactions:
                self.connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'".encode())
                self.connection.execute("SET LOCAL search_path TO public")
                _process_silently(migration, self, operation)
                self.connection.execute("SET LOCAL search_path TO migration")
            self.log_migration(migration, operation)
            yield

    def get_log_data(self, migration: Migration | None = None, operation: str = "apply") -> dict[str, Any]:
        """Like yoyo's, but asks neither the name service nor the password file, which may not know us."""
        return {
            "id": str(uuid.uuid4()),
            "migration_id": migration and migration.id,
            "migration_hash": migration and migration.hash,
            "username": self.connection.info.user,
            "hostname": socket.gethostname(),
            "created_at_utc": datetime.now(UTC).replace(tzinfo=None),
            "operation": operation,
        }


def _process_silently(migration: Migration, backend: _Backend, operation: str) -> None:
    """yoyo prints what a migration selects, also if it only calls a function."""
    with redirect_stdout(StringIO()):
        migration.process_steps(backend, operation)


def _apply_schema(url: str, source: Path, progress: Progress) -> bool:
    """Apply what is missing; whether anything was."""
    with _Backend(url) as backend:
        backend.ensure_internal_schema_updated()
        _execute_file(backend.connection, source / "bookkeeping.sql")
        _refuse_strange(status(url, source=source))
        pending = backend.to_apply(_read_migrations(source))
        for migration in pending:
            progress(f"applying {migration.id}")
            _patiently(partial(_run, backend.apply_one, migration), BUSY)
        return len(pending) > 0


def _refuse_strange(found: Status) -> None:
    if found.edited:
        raise MigrationError(
            f"applied migrations were edited since: {', '.join(found.edited)};"
            " restore their text and put the change into a new migration"
        )
    if found.unknown:
        raise MigrationError(
            f"the database has migrations that this release does not know: {', '.join(found.unknown)};"
            " use the release that made them, or a later one"
        )


def _read_migrations(source: Path) -> MigrationList:
    """yoyo's list, in order; a dependency that does not exist is refused here and not passed over."""
    migrations = read_migrations(str(source / "schema"))
    try:
        for migration in migrations:
            migration.load()
    except yoyo_exceptions.BadMigration as error:
        raise MigrationError(str(error)) from None
    return migrations


def _run(work: Callable[[Migration], None], migration: Migration) -> None:
    """Apply or roll back one migration; an error says where it is."""
    path = Path(migration.path)
    if work.__name__ == "rollback_one":
        path = path.with_suffix(".rollback.sql")
    try:
        work(migration)
    except psycopg.Error as error:
        text = path.read_text(encoding="utf-8")
        statement = (getattr(error, "__notes__", None) or [""])[0]
        raise MigrationError(_explain(error, path.name, text, max(text.find(statement), 0))) from error


def _migration_files(source: Path) -> list[Path]:
    return [path for path in (source / "schema").glob("*.sql") if not path.name.endswith(".rollback.sql")]


# Procedures, views, grants ------------------------------------------------------------------------------------------


def _repeatable_files(source: Path) -> list[Path]:
    files = [path for directory in REPEATABLE for path in sorted((source / directory).glob("*.sql"))]
    return [*files, *source.glob("grants.sql")]


def _checksums(source: Path) -> dict[str, str]:
    return {str(path.relative_to(source)): _sha256(path) for path in _repeatable_files(source)}


def _changed(loaded: dict[str, str], wanted: dict[str, str]) -> list[str]:
    return sorted(name for name in loaded.keys() | wanted.keys() if loaded.get(name) != wanted.get(name))


def _load_repeatable(connection: psycopg.Connection, source: Path, progress: Progress, *, anyway: bool) -> None:
    loaded = _read(connection, "migration.repeatable_file", "SELECT name, sha256 FROM migration.repeatable_file")
    checksums = _checksums(source)
    if loaded == checksums and not anyway:
        return
    progress(f"loading {len(checksums)} files of procedures, views and grants")
    _patiently(lambda: _load_once(connection, source, checksums), BUSY)


def _load_once(connection: psycopg.Connection, source: Path, checksums: dict[str, str]) -> None:
    with connection.transaction():
        connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'".encode())
        connection.execute("SET LOCAL search_path TO public")
        before = _routines(connection)
        _drop_views(connection)
        for path in _repeatable_files(source):
            if path.name != "grants.sql":
                _execute_file(connection, path)
        _attach_triggers(connection)
        for path in source.glob("grants.sql"):
            _execute_file(connection, path)
        _remember(connection, checksums, _routines(connection) - before)


def _remember(connection: psycopg.Connection, checksums: dict[str, str], routines: set[str]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM migration.repeatable_file")
        cursor.executemany(
            "INSERT INTO migration.repeatable_file (name, sha256) VALUES (%s, %s)", list(checksums.items())
        )
        cursor.executemany(
            "INSERT INTO migration.repeatable_routine VALUES (%s) ON CONFLICT DO NOTHING",
            [(routine,) for routine in sorted(routines)],
        )


def _routines(connection: psycopg.Connection) -> set[str]:
    """Our functions and procedures, as `schema.name(types)`."""
    rows = connection.execute(
        """
        SELECT format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid))
        FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
        WHERE p.proowner = 'provision_owner'::regrole
        """
    )
    return {row[0] for row in rows}


def _drop_views(connection: psycopg.Connection) -> None:
    """Replacing a view cannot take a column away; so they all go, in one statement because they use each other."""
    row = connection.execute(
        r"""
        SELECT string_agg(c.oid::regclass::text, ', ') FROM pg_class AS c
        WHERE c.relkind = 'v' AND c.relname LIKE 'v\_%'
          AND c.relowner IN ('provision_owner'::regrole, 'provision_reader'::regrole)
        """
    ).fetchone()
    if row and row[0]:
        connection.execute(f"DROP VIEW {row[0]}".encode())


def _attach_triggers(connection: psycopg.Connection) -> None:
    known = connection.execute("SELECT to_regprocedure('class.attach_triggers()') IS NOT NULL").fetchone()
    if known and known[0]:
        _execute(connection, "SELECT class.attach_triggers()", "class.attach_triggers()")


def _unload_repeatable(connection: psycopg.Connection) -> None:
    """Drop views and loaded routines: they stand on tables that a rollback drops."""
    with connection.transaction():
        _drop_views(connection)
        known = {row[0] for row in connection.execute("SELECT routine FROM migration.repeatable_routine")}
        for routine in sorted(known & _routines(connection)):
            connection.execute(f"DROP ROUTINE IF EXISTS {routine} CASCADE".encode())
        connection.execute("DELETE FROM migration.repeatable_routine")
        connection.execute("DELETE FROM migration.repeatable_file")


# Files --------------------------------------------------------------------------------------------------------------


def _sha256(path: Path) -> str:
    """Of the text, so that another line ending in a checkout is no edit."""
    return hashlib.sha256(path.read_text(encoding="utf-8").encode()).hexdigest()


def _execute_file(connection: psycopg.Connection, path: Path) -> None:
    _execute(connection, path.read_text(encoding="utf-8"), path.name)


def _execute(connection: psycopg.Connection, text: str, name: str) -> None:
    """Run all statements of a text at once; an error says where it is."""
    try:
        connection.execute(text.encode())
    except psycopg.Error as error:
        raise MigrationError(_explain(error, name, text)) from error


def _explain(error: psycopg.Error, name: str, text: str, offset: int = 0) -> str:
    """`file:line: message`, with detail, hint and context as PostgreSQL gives them."""
    position = error.diag.statement_position
    line = text.count("\n", 0, offset + int(position) - 1) + 1 if position else None
    parts = [f"{name}:{line}" if line else name, error.diag.message_primary or str(error)]
    more = [error.diag.message_detail, error.diag.message_hint, error.diag.context]
    return "\n  ".join([": ".join(parts), *(text for text in more if text)])
