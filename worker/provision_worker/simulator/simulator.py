"""A whole registry that can be started and stopped: server thread, certificates, control line."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from .certificates import Certificates, generate
from .faults import Faults
from .ledger import Ledger
from .records import Policy
from .registry import Registry
from .server import Server

T = TypeVar("T")


class RegistrySimulator:
    """An EPP registry in this process, in a thread with an event loop of its own.

        with RegistrySimulator(registrars={"alpha": "secret-of-alpha"}) as simulator:
            …  # epp.Settings(host=simulator.host, port=simulator.port, tls=epp.tls_context(simulator.ca_file), …)

    `faults`, `ledger` and the methods may be used from any thread while it runs; `control` offers the same to others.
    """

    def __init__(
        self,
        registrars: Mapping[str, str],
        policy: Policy | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        certificates: Certificates | None = None,
        require_client_certificate: bool = False,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        """`registrars` are passwords by registrar id; port 0 takes a free one; `clock` is the registry's time (UTC)."""
        self.registry = Registry(registrars, policy or Policy(), clock)
        self.faults = Faults()
        self.ledger = Ledger()
        self.host = host
        self.port = port
        self._directory = tempfile.TemporaryDirectory(prefix="registry-simulator-")
        self.certificates = certificates or generate(Path(self._directory.name), "localhost", "127.0.0.1", host)
        tls = self.certificates.server_context(require_client_certificate)
        self._server = Server(self.registry, self.faults, self.ledger, tls)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="registry-simulator", daemon=True)

    @property
    def ca_file(self) -> Path:
        """The authority that verifies the server."""
        return self.certificates.ca_file

    def start(self) -> Self:
        """Listens on `host` and `port`; OSError if the port is taken."""
        self._thread.start()
        try:
            self.port = self._call(self._server.start(self.host, self.port))
        except BaseException:
            self._end_loop()
            raise
        return self

    def stop(self) -> None:
        """Ends all connections and frees everything; once."""
        self.faults.clear()
        self._call(self._server.stop())
        self._end_loop()

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._directory.cleanup()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def drop_connections(self) -> None:
        """Ends all connections from the registry's side; returns when they are closed."""
        self._call(self._server.drop_connections())

    def objects(self, kind: str) -> dict[str, dict[str, object]]:
        """What exists: `contact`, `host` or `domain` objects by handle or name, without secrets."""
        return self.registry.objects(kind)

    def settle(self, kind: str, name: str, done: bool = True, reason: str = "") -> bool:
        """Decides about a command that the fault `pending` answered with 1001; KeyError if there is none."""
        return self.registry.settle(kind, name, done, reason)

    def advance(self, delta: timedelta) -> None:
        """Moves the registry's time ahead."""
        self.registry.advance(delta)
