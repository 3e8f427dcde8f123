"""What can be wrong with an installation, and what to do about it: one check per line of `provision doctor`."""

from collections.abc import Iterator
from typing import NamedTuple

import psycopg

from provision import ProvisionError
from provision.database import Role, connect, role_url, url_shown
from provision.migrate import LOGIN_ROLES, status
from provision.server import OLDEST_VERSION
from provision.settings import Settings

TIMEOUTS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")


class Check(NamedTuple):
    """One finding; `remedy` says what to do where it is not ok."""

    ok: bool
    what: str
    remedy: str = ""


def examine(settings: Settings) -> Iterator[Check]:
    """All checks in order; those that need what has failed before are left out."""
    yield from _files(settings)
    if settings.database_url is None:
        yield Check(False, "no database is set", "set DATABASE_URL=postgresql://user:password@host:port/database")
        return
    url = role_url(settings, "owner")
    try:
        with connect(url, "provision doctor", autocommit=True) as connection:
            yield _version(connection, url)
            yield _server_settings(connection)
    except psycopg.Error as error:
        yield Check(
            False, f"database {url_shown(url)}: {explain(error)}", "check DATABASE_URL and that the server runs"
        )
        return
    yield _migrations(url)
    for role in LOGIN_ROLES:
        yield from _log_in(settings, role)


def explain(error: psycopg.Error) -> str:
    """A database error in one line: message, detail and hint."""
    parts = [error.diag.message_primary or str(error), error.diag.message_detail, error.diag.message_hint]
    return " ".join("; ".join(part for part in parts if part).split())


def _files(settings: Settings) -> Iterator[Check]:
    for name in ("api_certificate", "api_key_file"):
        path = getattr(settings, name)
        if path is None:
            continue
        try:
            path.read_bytes()
        except OSError as error:
            yield Check(False, f"{name}: cannot read {path}: {error.strerror}", "correct the path or the file's mode")
        else:
            yield Check(True, f"{name}: {path}")


def _version(connection: psycopg.Connection, url: str) -> Check:
    version = connection.info.server_version // 10000
    what = f"database {url_shown(url)}: PostgreSQL {version}"
    return Check(version >= OLDEST_VERSION, what, "" if version >= OLDEST_VERSION else f"{OLDEST_VERSION} is needed")


def _server_settings(connection: psycopg.Connection) -> Check:
    """Without these an acknowledged order may be gone after a power cut."""
    off = [
        name
        for name in ("fsync", "full_page_writes")
        if connection.execute(f"SHOW {name}".encode()).fetchone() == ("off",)
    ]
    if not off:
        return Check(True, "the server keeps what it has acknowledged")
    return Check(False, f"the server may lose what it has acknowledged: {', '.join(off)} off", "set them on")


def _migrations(url: str) -> Check:
    found = status(url)
    if found.current:
        return Check(True, f"migrations: all {len(found.applied)} applied, procedures and views as in this release")
    counts = [f"{len(names)} {state}" for state, names in found._asdict().items() if names and state != "applied"]
    remedy = "run `provision migrate`"
    if found.edited or found.unknown:
        remedy = "`provision migrate --status` names them; install the release that made this database, or a later one"
    return Check(False, f"migrations: {', '.join(counts)}", remedy)


def _log_in(settings: Settings, role: str) -> Iterator[Check]:
    part: Role = "api" if role == "provision_api" else "worker"
    try:
        with connect(role_url(settings, part), "provision doctor", autocommit=True) as connection:
            yield Check(True, f"{role} logs in as {connection.info.user}")
            yield _timeouts(connection, role)
    except (psycopg.Error, ProvisionError) as error:
        reason = explain(error) if isinstance(error, psycopg.Error) else str(error)
        remedy = f"run `provision migrate`, or set PROVISION_{part.upper()}_DATABASE_URL"
        yield Check(False, f"{role} cannot log in: {reason}", remedy)


def _timeouts(connection: psycopg.Connection, role: str) -> Check:
    missing = [name for name in TIMEOUTS if connection.execute(f"SHOW {name}".encode()).fetchone() == ("0",)]
    if not missing:
        return Check(True, f"{role} has time-outs")
    return Check(False, f"{role} has no {' and no '.join(missing)}", "run `provision migrate`")
