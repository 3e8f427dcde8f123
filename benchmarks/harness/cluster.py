"""A throw-away PostgreSQL server with the settings of a server in earnest, and what it has cost so far."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from provision.database import connect, url_for
from provision.server import Server

OPTIONS = {
    # As in earnest; where the disk is memory, waiting for it costs nothing.
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    # What comes at a time of its own would hit some rounds and not others: it is done between rounds, for everybody.
    "checkpoint_timeout": "1h",
    "autovacuum": "off",
    "jit": "off",
}


@dataclass
class Meter:
    """Processor time in seconds; known when its block has ended."""

    seconds: float = 0.0


class Cluster:
    """A running server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.version = server.version
        self.place = server.directory.parent

    @property
    def binaries(self) -> Path:
        """Where its programs are."""
        return self._server.binaries

    def url(self, database: str) -> str:
        """The URL of one of its databases, which is made if it is not there."""
        return self._server.ensure_database(database)

    def copy(self, url: str, name: str) -> str:
        """The URL of a new database with the content of another one, to which nobody may be connected."""
        original = conninfo_to_dict(url)["dbname"]
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
        self._execute(statement.format(sql.Identifier(name), sql.Identifier(str(original))))
        return url_for(url, name)

    def cpu_seconds(self) -> float:
        """Processor time, user and system, of all its processes so far, those that have ended included."""
        assert self._server.pid, "the server runs"
        postmaster = psutil.Process(self._server.pid)
        times = postmaster.cpu_times()
        own = times.user + times.system + times.children_user + times.children_system
        return float(own + sum(_seconds(process) for process in postmaster.children()))

    def settle(self, url: str) -> None:
        """Does the house-keeping of a database now, so that what is measured next begins as clean as all others."""
        with connect(url, "benchmark", autocommit=True) as connection:
            connection.execute("VACUUM (ANALYZE)")
            connection.execute("CHECKPOINT")

    @contextmanager
    def metered(self) -> Iterator["Meter"]:
        """Takes the processor time that the block costs the server, with writing out what it changed."""
        meter = Meter()
        before = self.cpu_seconds()
        yield meter
        self._execute(sql.SQL("CHECKPOINT"))
        meter.seconds = self.cpu_seconds() - before

    @contextmanager
    def configured(self, options: Mapping[str, str]) -> Iterator[None]:
        """Runs the block with other settings that need no restart."""
        for name, value in options.items():
            self._execute(sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), sql.Literal(value)))
        self._execute(sql.SQL("SELECT pg_reload_conf()"))
        try:
            yield
        finally:
            for name in options:
                self._execute(sql.SQL("ALTER SYSTEM RESET {}").format(sql.Identifier(name)))
            self._execute(sql.SQL("SELECT pg_reload_conf()"))

    def _execute(self, statement: sql.SQL | sql.Composed) -> None:
        with connect(self._server.url(), "benchmark", autocommit=True) as connection:
            connection.execute(statement)


def _seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0  # it has just ended; the postmaster counts it from now on
    return float(times.user + times.system)


@contextmanager
def cluster(directory: Path | None, pg_bin: Path | None) -> Iterator[Cluster]:
    """A server below `directory`; without one in memory if it has room, else where temporary files are."""
    with Server(throwaway=True, place=directory, pg_bin=pg_bin, options=OPTIONS) as server:
        yield Cluster(server)
