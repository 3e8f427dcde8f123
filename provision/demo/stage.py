"""What the demo runs: PostgreSQL, an AWS endpoint, a registry, the API and a worker, all on the loopback interface.

The AWS endpoint (moto) and the registry simulator are threads of this process; PostgreSQL, `provision api` and
`provision worker` are processes as in production, with their logs in files.
"""

import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from provision import ProvisionError
from provision.database import Role, role_url
from provision.migrate import migrate
from provision.server import Server
from provision.settings import Settings

from .endpoint import mend_launch_templates, play_dumps
from .place import note_process

if TYPE_CHECKING:
    from provision_worker.simulator import RegistrySimulator

# By module: what `pip install 'provision[demo]'` brings.
EXTRA = ("flask", "flask_cors", "moto", "trustme")
REGISTRAR, RIVAL = "acme", "rival"
PASSWORD_VARIABLE = "DEMO_REGISTRY_PASSWORD"
ISSUE_SECONDS = 1
READY_SECONDS = 30.0
STOP_SECONDS = 10.0


def require_extra() -> None:
    """Raises ProvisionError where the packages of the extra `demo` are missing."""
    missing = [name for name in (*EXTRA, "provision_api", "provision_worker") if find_spec(name) is None]
    if missing:
        raise ProvisionError(
            f"the demo needs packages that are not installed ({', '.join(missing)}):"
            " pip install 'provision[demo]', or in a checkout python3 run.py demo"
        )


def isolate() -> None:
    """Take from this process and its children the way to any database and AWS account but the demo's own."""
    os.umask(0o022)  # what root writes for PostgreSQL's user must be readable for it
    for name in list(os.environ):
        if name.startswith(("PROVISION_", "AWS_", "PG", "DATABASE_URL")):
            del os.environ[name]
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "demo",
        "AWS_SECRET_ACCESS_KEY": "demo",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "MOTO_ACM_VALIDATION_WAIT": str(ISSUE_SECONDS),
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }


class Child:
    """`provision api` or `provision worker` as a process with its output in a file."""

    def __init__(self, directory: Path, name: str, environment: dict[str, str]) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        self._environment = environment
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        directory = self.log.parent
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C reaches the demo alone, which then stops everything in order.
            process = subprocess.Popen(
                [sys.executable, "-m", "provision", self.name],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=directory,
                env=os.environ | self._environment,
                start_new_session=True,
            )
        note_process(directory, process.pid)
        return process

    def revive(self) -> str | None:
        """Start it again if it has ended, as a supervisor would; what to say about it."""
        code = self.process.poll()
        if code is None:
            return None
        self.process = self._start()
        return f"provision {self.name} ended with code {code} and was started again, as process {self.process.pid}"

    def check(self) -> None:
        """Raises ProvisionError, with the end of the log, if the process has ended."""
        if self.process.poll() is not None:
            end = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
            raise ProvisionError(f"provision {self.name} ended with code {self.process.returncode}; {self.log}:\n{end}")

    def stop(self) -> None:
        """Have it finish what it does; kill it if that takes too long."""
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@dataclass(frozen=True)
class Stage:
    """Where everything is; `passwords` are those of the registry, by registrar."""

    directory: Path
    owner_url: str
    psql: str
    aws_url: str
    registry: "RegistrySimulator"
    passwords: Mapping[str, str]
    api_url: str
    children: tuple[Child, ...]

    def check(self) -> None:
        """Raises ProvisionError if the API or the worker has ended."""
        for child in self.children:
            child.check()


@contextmanager
def stage(directory: Path, settings: Settings, say: Callable[[str], None]) -> Iterator[Stage]:
    """Everything, started in `directory`; stopped in the opposite order at the end. `say` is told what runs.

    Raises:
        ProvisionError: something does not start.
    """
    with ExitStack() as stack:
        server = stack.enter_context(_database(directory, settings))
        owner_url = server.ensure_database("provision")
        migrate(owner_url)
        say(f"PostgreSQL {server.version} on port {server.port}, migrated")
        aws_url = stack.enter_context(_aws())
        say(f"an AWS endpoint at {aws_url}")
        passwords = {registrar: secrets.token_hex(8) for registrar in (REGISTRAR, RIVAL)}
        registry = stack.enter_context(_registry(directory, passwords))
        say(f"a registry that speaks EPP over TLS on port {registry.port}")
        api, api_url = _api(directory, owner_url, stack)
        say(f"the API at {api_url}, process {api.process.pid}")
        worker = _worker(directory, owner_url, aws_url, passwords[REGISTRAR], stack)
        say(f"a worker, process {worker.process.pid}")
        psql = str(server.binaries / "psql")
        yield Stage(directory, owner_url, psql, aws_url, registry, passwords, api_url, (api, worker))


@contextmanager
def _database(directory: Path, settings: Settings) -> Iterator[Server]:
    with Server(directory / "postgres", pg_bin=settings.pg_bin) as server:
        if server.pid:
            note_process(directory, server.pid)
        yield server


@contextmanager
def _aws() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    mend_launch_templates()
    play_dumps()
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        yield "http://{}:{}".format(*server.get_host_and_port())
    finally:
        server.stop()


def _registry(directory: Path, passwords: Mapping[str, str]) -> "RegistrySimulator":
    from provision_worker.simulator import Policy, RegistrySimulator
    from provision_worker.simulator.certificates import generate

    policy = Policy(transfer_at_once=True)
    return RegistrySimulator(passwords, policy, certificates=generate(directory, "127.0.0.1"))


def _api(directory: Path, owner_url: str, stack: ExitStack) -> tuple[Child, str]:
    port = _free_port()
    environment = {"PROVISION_API_DATABASE_URL": _role_url(owner_url, "api"), "PROVISION_API_PORT": str(port)}
    child = Child(directory, "api", environment)
    stack.callback(child.stop)
    url = f"http://127.0.0.1:{port}"
    _until_ready(child, f"{url}/readyz")
    return child, url


def _worker(directory: Path, owner_url: str, aws_url: str, password: str, stack: ExitStack) -> Child:
    environment = {
        "PROVISION_WORKER_DATABASE_URL": _role_url(owner_url, "worker"),
        "PROVISION_WORKER_NAME": "demo",
        "PROVISION_AWS_ENDPOINT_URL": aws_url,
        PASSWORD_VARIABLE: password,
    }
    child = Child(directory, "worker", environment)
    stack.callback(child.stop)
    return child


def _role_url(owner_url: str, role: Role) -> str:
    """Each process gets the log-in of its own part, not the owner's."""
    return role_url(Settings(database_url=SecretStr(owner_url)), role)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _until_ready(child: Child, url: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        child.check()
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError as error:
            if time.monotonic() > deadline:
                raise ProvisionError(f"{url} did not answer within {READY_SECONDS:.0f} s: {error}") from None
        time.sleep(0.1)
