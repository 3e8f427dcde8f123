"""A registry simulator with two registrars, clients for them, and a server that says exactly what a test wants."""

import itertools
import queue
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from provision_worker.providers import epp
from provision_worker.providers.epp import framing
from provision_worker.providers.epp.contact import ContactDetails, PostalInfo
from provision_worker.providers.epp.domain import DomainContact, Registration
from provision_worker.providers.epp.host import Host
from provision_worker.simulator import Certificates, Policy, RegistrySimulator
from provision_worker.simulator.certificates import generate

T = TypeVar("T")

SECRET = "alpha's login <&> secret"
REGISTRARS = {"alpha": SECRET, "beta": "beta-secret"}
AUTH_INFO = "Xy7#transfer-me"
START = datetime(2024, 2, 29, 12, tzinfo=UTC)
POSTAL = PostalInfo(
    "Ada Lovelace", "London", "GB", ("12 St James's Square", "Floor 2"), "Engines Ltd", "LND", "SW1Y 4JH"
)


class Clock:
    """A time that moves when a test says so."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


class Registrar:
    """A client with client transaction ids of its own, and shortcuts for the objects that most tests need."""

    def __init__(self, client: epp.Client) -> None:
        self.client = client
        self._serial = itertools.count(1)

    def send(self, command: epp.Command[T], cl_trid: str | None = None) -> epp.Result[T]:
        return self.client.send(command, cl_trid or f"test-{next(self._serial)}")

    def refused(self, command: epp.Command[Any]) -> tuple[int, str]:
        """The code and reasons with which the registry refuses the command."""
        with pytest.raises(epp.EppRefused) as error:
            self.send(command)
        return error.value.result.code, "; ".join(error.value.result.reasons)

    def contact(self, handle: str = "ADA-1") -> str:
        self.send(epp.contact.create(ContactDetails(handle, "ada@engines.example", POSTAL, auth_info=AUTH_INFO)))
        return handle

    def host(self, name: str = "ns1.elsewhere.net") -> str:
        self.send(epp.host.create(Host(name)))
        return name

    def domain(self, name: str = "engines.test", years: int = 1, *hosts: str) -> str:
        """Registers a domain, with its contact if that is not there."""
        if self.send(epp.contact.check("ADA-1")).data["ADA-1"].available:
            self.contact()
        self.send(epp.domain.create(registration(name, years, *hosts)))
        return name

    def messages(self) -> list[epp.poll.Message]:
        """Takes all messages from the queue."""
        found = []
        while (message := self.send(epp.poll.request()).data) is not None:
            found.append(message)
            self.send(epp.poll.acknowledge(message.id))
        return found


def registration(name: str, years: int = 1, *hosts: str, **more: Any) -> Registration:
    """A domain of the contact ADA-1."""
    return Registration(name, "ADA-1", AUTH_INFO, years, (DomainContact("tech", "ADA-1"),), hosts, **more)


class Lab:
    """Simulators and clients for one test; closes all of them."""

    def __init__(self, certificates: Certificates) -> None:
        self.certificates = certificates
        self._stack = ExitStack()

    def registry(self, policy: Policy | None = None, **options: Any) -> RegistrySimulator:
        options.setdefault("certificates", self.certificates)
        return self._stack.enter_context(RegistrySimulator(REGISTRARS, policy, **options))

    def settings(self, port: int, registrar: str = "alpha", **changes: Any) -> epp.Settings:
        known: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": port,
            "registrar": registrar,
            "password": REGISTRARS[registrar],
            "tls": epp.tls_context(self.certificates.ca_file),
        }
        return epp.Settings(**(known | changes))

    def client(self, port: int, registrar: str = "alpha", **changes: Any) -> epp.Client:
        options = {key: changes.pop(key) for key in ("clock", "pause") if key in changes}
        return self._stack.enter_context(epp.Client(self.settings(port, registrar, **changes), **options))

    def registrar(self, registry: RegistrySimulator, registrar: str = "alpha", **changes: Any) -> Registrar:
        return Registrar(self.client(registry.port, registrar, **changes))

    def scripted(self, script: "Script") -> int:
        return self._stack.enter_context(scripted_server(self.certificates, script))

    def close(self) -> None:
        self._stack.close()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return generate(Path(tmp_path_factory.mktemp("certificates")), "localhost", "127.0.0.1")


@pytest.fixture
def lab(certificates: Certificates) -> Iterator[Lab]:
    made = Lab(certificates)
    yield made
    made.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry(lab: Lab, clock: Clock) -> RegistrySimulator:
    return lab.registry(clock=clock)


@pytest.fixture
def alpha(lab: Lab, registry: RegistrySimulator) -> Registrar:
    return lab.registrar(registry)


@pytest.fixture
def beta(lab: Lab, registry: RegistrySimulator) -> Registrar:
    return lab.registrar(registry, "beta")


def days(number: float) -> timedelta:
    return timedelta(days=number)


class Line:
    """The server's end of one connection."""

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self.socket = sock

    def receive(self) -> bytes:
        """The payload of the client's next frame; OSError when it has gone."""
        return self._exactly(framing.payload_length(self._exactly(framing.HEADER_BYTES)))

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            chunk = self.socket.recv(count - len(data))
            if not chunk:
                raise ConnectionResetError
            data += chunk
        return data

    def send(self, payload: bytes) -> None:
        self.socket.sendall(framing.encode(payload))

    def gone(self) -> None:
        """Waits until the client hangs up, or says something that will get no answer."""
        self.socket.recv(4096)


Script = Callable[[Line], None]


@contextmanager
def scripted_server(certificates: Certificates, script: Script) -> Iterator[int]:
    """A TLS server that runs `script` on each connection, one after the other; yields its port."""
    context = certificates.server_context(require_client=False)
    listener = socket.create_server(("127.0.0.1", 0))
    problems: queue.Queue[BaseException] = queue.Queue()

    def serve() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            # Each piece that a script sends travels on its own.
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                with context.wrap_socket(plain, server_side=True) as sock:
                    script(Line(sock))
            except OSError:
                continue  # the client has gone, as it may
            except BaseException as problem:
                problems.put(problem)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(10)
    if not problems.empty():
        raise problems.get()


GREETING = (
    b'<epp xmlns="urn:ietf:params:xml:ns:epp-1.0"><greeting><svID>Scripted</svID><svDate>2024-02-29T12:00:00Z</svDate>'
    b"<svcMenu><version>1.0</version><lang>en</lang><objURI>urn:ietf:params:xml:ns:domain-1.0</objURI></svcMenu>"
    b"</greeting></epp>"
)


def answer(
    code: int, cl_trid: str | None, data: str = "", message: str = "Said by the script", value: str = ""
) -> bytes:
    """A response as a registry writes it."""
    ours = "" if cl_trid is None else f"<clTRID>{cl_trid}</clTRID>"
    return (
        f'<epp xmlns="urn:ietf:params:xml:ns:epp-1.0"><response><result code="{code}"><msg>{message}</msg>{value}'
        f"</result>{data}<trID>{ours}<svTRID>SV-1</svTRID></trID></response></epp>"
    ).encode()


def greet_and_let_in(line: Line) -> None:
    """The start of every session."""
    line.send(GREETING)
    login = line.receive()
    line.send(answer(1000, login.partition(b"<clTRID>")[2].partition(b"</clTRID>")[0].decode()))
