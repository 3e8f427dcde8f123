"""Connections to the database, the log-in of each part of the engine, and the named statements of `sql/queries`.

Time-outs of statements, locks and idle transactions belong to the log-in roles (`sql/roles.sql`), not to the
connection: so they also hold for psql, and a pooler has no start-up options to refuse.
"""

import hashlib
import hmac
import re
from functools import cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from provision import ProvisionError
from provision.settings import Settings

Role = Literal["owner", "api", "worker"]

# Without these a peer that vanished without a word (power, firewall) is noticed only after hours.
CONNECTION_OPTIONS: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
# The pool gives a failed connection attempt up after so many seconds; waiting callers have their own time-out.
RECONNECT_SECONDS = 60.0


def role_url(settings: Settings, role: Role) -> str:
    """The connection URL of one part of the engine.

    Raises:
        ProvisionError: no database is set.
    """
    explicit = {"api": settings.api_database_url, "worker": settings.worker_database_url}.get(role)
    if explicit is not None:
        return explicit.get_secret_value()
    if settings.database_url is None:
        raise ProvisionError("no database: set DATABASE_URL=postgresql://user:password@host:port/database")
    owner = settings.database_url.get_secret_value()
    return owner if role == "owner" else url_as(owner, f"provision_{role}", role_password(owner, f"provision_{role}"))


def role_password(owner_url: str, role: str) -> str | None:
    """The password of a log-in role: hex HMAC-SHA256 keyed with the owner's password; None when that has none.

    So one secret sets up an installation. Those who want other passwords change them and set the URLs.
    """
    password = conninfo_to_dict(owner_url).get("password")
    if not password:
        return None
    return hmac.new(str(password).encode(), role.encode(), hashlib.sha256).hexdigest()


def url_as(url: str, user: str, password: str | None = None) -> str:
    """The same database for another user; what the URL said about user and password is gone."""
    parts = urlsplit(url)
    credentials = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
    query = [(key, value) for key, value in parse_qsl(parts.query) if key not in ("user", "password")]
    address = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{credentials}@{address}", query=urlencode(query, quote_via=quote)))


def url_for(url: str, database: str) -> str:
    """Another database of the same server, for the same user."""
    return urlunsplit(urlsplit(url)._replace(path="/" + quote(database, safe="")))


def url_shown(url: str) -> str:
    """The URL without its password, for people to read."""
    parts = urlsplit(url)
    user, _, address = parts.netloc.rpartition("@")
    name = unquote(user.partition(":")[0])
    return urlunsplit(parts._replace(netloc=f"{name}@{address}" if name else address, query=""))


def connect(url: str, application_name: str, *, autocommit: bool = False, **options: Any) -> psycopg.Connection:
    """A connection that says who it is and notices a dead peer; `options` go to `psycopg.connect`."""
    arguments = {**CONNECTION_OPTIONS, "application_name": application_name, **options}
    return psycopg.connect(url, autocommit=autocommit, **arguments)


async def connect_async(
    url: str, application_name: str, *, autocommit: bool = False, **options: Any
) -> psycopg.AsyncConnection:
    """Like `connect`, for asyncio."""
    arguments = {**CONNECTION_OPTIONS, "application_name": application_name, **options}
    return await psycopg.AsyncConnection.connect(url, autocommit=autocommit, **arguments)


def pool(url: str, application_name: str, *, size: int, timeout: float = 10.0, **options: Any) -> ConnectionPool:
    """A closed pool of up to `size` connections (`with` opens it); a caller waits `timeout` seconds at most.

    Connections are checked when they are handed out, so that a restart of the server costs no caller an error.
    """
    return ConnectionPool(
        url,
        kwargs={**CONNECTION_OPTIONS, "application_name": application_name, **options},
        min_size=1,
        max_size=size,
        timeout=timeout,
        reconnect_timeout=RECONNECT_SECONDS,
        check=ConnectionPool.check_connection,
        name=application_name,
        open=False,
    )


def async_pool(
    url: str, application_name: str, *, size: int, timeout: float = 10.0, **options: Any
) -> AsyncConnectionPool:
    """Like `pool`, for asyncio."""
    return AsyncConnectionPool(
        url,
        kwargs={**CONNECTION_OPTIONS, "application_name": application_name, **options},
        min_size=1,
        max_size=size,
        timeout=timeout,
        reconnect_timeout=RECONNECT_SECONDS,
        check=AsyncConnectionPool.check_connection,
        name=application_name,
        open=False,
    )


def sql_directory() -> Path:
    """Where the SQL lies: inside an installed package, else beside it in the checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "_sql"
    return installed if installed.is_dir() else package.parent / "sql"


@cache
def load_queries(module: str) -> dict[str, str]:
    """The statements of `sql/queries/<module>.sql` by name; each begins with a line `-- name: <name>`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a name occurs twice.
    """
    path = sql_directory() / "queries" / f"{module}.sql"
    _, *pieces = re.split(r"^-- name: *(\w+) *$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    names = pieces[::2]
    if len(set(names)) < len(names):
        raise ValueError(f"{path.name}: a statement name occurs twice")
    return dict(zip(names, (text.strip() for text in pieces[1::2]), strict=True))
