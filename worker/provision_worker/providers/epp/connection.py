"""One TLS connection that carries length-framed messages (RFC 5734), with a deadline on every step."""

from __future__ import annotations

import socket
import ssl
import time
from pathlib import Path

from . import framing


def tls_context(
    ca_file: Path | str | None = None,
    certificate: Path | str | None = None,
    key: Path | str | None = None,
    key_password: str | None = None,
) -> ssl.SSLContext:
    """A context that verifies the registry, by `ca_file` or else by the system's authorities, and names ourselves.

    `certificate` (PEM, with the chain) and `key` are the client certificate many registries ask for; without `key` the
    certificate's file holds it too. TLS 1.2 at least.
    """
    context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate is not None:
        context.load_cert_chain(certificate, key, key_password)
    return context


def require_verification(context: ssl.SSLContext) -> ssl.SSLContext:
    """`context` itself; ValueError if it would talk to a server it has not verified."""
    if context.verify_mode is not ssl.CERT_REQUIRED or not context.check_hostname:
        raise ValueError("this TLS context does not verify the registry's certificate and host name, as EPP must")
    return context


class Connection:
    """A connected socket. Methods raise OSError (a time-out is one) or FrameError; then the connection is over."""

    def __init__(self, tls: ssl.SSLSocket, limit: int) -> None:
        self._socket = tls
        self._limit = limit

    @classmethod
    def open(cls, host: str, port: int, context: ssl.SSLContext, timeout: float, limit: int) -> Connection:
        """Connects and shakes hands within `timeout` seconds each; frames over `limit` bytes will be refused."""
        plain = socket.create_connection((host, port), timeout)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return cls(context.wrap_socket(plain, server_hostname=host), limit)
        except BaseException:
            plain.close()
            raise

    def send(self, payload: bytes, timeout: float) -> None:
        """Sends one frame."""
        self._socket.settimeout(timeout)
        self._socket.sendall(framing.encode(payload))

    def receive(self, timeout: float) -> bytes:
        """The payload of the next frame, complete within `timeout` seconds however slowly it trickles in."""
        deadline = time.monotonic() + timeout
        header = self._read(framing.HEADER_BYTES, deadline)
        return self._read(framing.payload_length(header, self._limit), deadline)

    def _read(self, count: int, deadline: float) -> bytes:
        data = bytearray()
        while len(data) < count:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError("the answer is not complete in time")
            self._socket.settimeout(remaining)
            chunk = self._socket.recv(min(count - len(data), 65536))
            if not chunk:
                raise ConnectionResetError("the registry closed the connection")
            data += chunk
        return bytes(data)

    def is_quiet(self) -> bool:
        """Whether the idle connection is still open and nothing is waiting in it.

        Finds a close by the registry before a command is lost on it. Bytes nobody asked for make it
        unusable as well.
        """
        self._socket.settimeout(0)
        try:
            self._socket.recv(1)
        except ssl.SSLWantReadError:
            return True
        except OSError:
            return False
        return False

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()
