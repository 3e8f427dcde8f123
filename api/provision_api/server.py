"""The HTTP server: uvicorn, made patient only to a point, and quick to stop.

uvicorn waits for ever for the head of a request and for the rest of a refused upload. Here a connection on which no
request is being served must bring a complete head within some seconds, or it is closed.
"""

import asyncio
import signal
import socket
import ssl
from pathlib import Path
from uuid import uuid4

import h11
import structlog
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from provision import ProvisionError
from provision.settings import Settings
from provision_api.app import make_app
from provision_api.problem import Problem
from provision_api.state import State

HEAD_SECONDS = 10.0
# A peer that is there but takes nothing of what we send.
UNREAD_MILLISECONDS = 60_000
# Requests that run get so long to end when the server is told to stop.
STOP_SECONDS = 20

_log = structlog.get_logger(__name__)


class Protocol(H11Protocol):
    """HTTP/1.1 with a limit on the time between requests, and problem documents for what is no HTTP."""

    head_seconds = HEAD_SECONDS
    _watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        _drop_if_unread(transport.get_extra_info("socket"))
        self._expect_request_after(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Begin to wait for the next request, unless it is there already."""
        served = self.cycle
        super().on_response_complete()
        self._expect_request_after(served)

    def _expect_request_after(self, served: RequestResponseCycle | None) -> None:
        if self._watch is not None:
            self._watch.cancel()
        self._watch = self.loop.call_later(self.head_seconds, self._close_unless_asked, served)

    def _close_unless_asked(self, served: RequestResponseCycle | None) -> None:
        if self.cycle is served and not self.transport.is_closing():
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Refuse what h11 could not parse, and close."""
        response = Problem(400, "this is not a valid HTTP request", headers={"Connection": "close"}).response(
            str(uuid4())
        )
        head = h11.Response(status_code=response.status_code, headers=response.raw_headers, reason=b"Bad Request")
        for event in (head, h11.Data(data=bytes(response.body)), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def _drop_if_unread(connection: socket.socket) -> None:
    """Have the system close the connection of a peer that takes nothing for so long (Linux)."""
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_MILLISECONDS)


class Server(uvicorn.Server):
    """uvicorn's server, which tells the application that it stops before it waits for the requests that run."""

    def __init__(self, app: Starlette, settings: Settings, *, protocol: type[Protocol] = Protocol) -> None:
        context = _tls(settings.api_certificate, settings.api_key_file)
        super().__init__(
            uvicorn.Config(
                app,
                http=protocol,
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                forwarded_allow_ips=settings.api_proxies,
                timeout_graceful_shutdown=STOP_SECONDS,
                ssl_context_factory=None if context is None else lambda _config, _default: context,
            )
        )
        self._stopping = _state(app).stopping

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Those who wait for an order are answered now."""
        self._stopping.set()
        await super().shutdown(sockets)


def _state(app: Starlette) -> State:
    state: State = app.state.shared
    return state


def serve(settings: Settings) -> None:
    """Serve the API until SIGTERM or SIGINT; what runs is finished first.

    Raises:
        ProvisionError: the address cannot be listened on, or the certificate cannot be read.
    """
    server = Server(make_app(settings), settings)
    listening = listen(settings.api_host, settings.api_port)
    # uvicorn raises the signal that stopped it once more when all is finished; by then it has been obeyed.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: None)
    _log.info("listening", host=settings.api_host, port=settings.api_port, tls=settings.api_certificate is not None)
    server.run([listening])


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; with port 0 on a free port.

    Raises:
        ProvisionError: the address is not to be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ProvisionError(f"cannot listen on {host} port {port}: {reason}; choose another with --port") from None


def _tls(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ProvisionError(f"cannot use the certificate {certificate} with the key {key}: {error}") from None
    return context
