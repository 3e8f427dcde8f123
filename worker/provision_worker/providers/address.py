"""Speaks HTTP with servers that customers name: at public addresses only, and within a bounded time.

The address is looked at after the name was resolved and is the one that is connected to, so that no name can lead
inside (RFC 1918, loopback, link-local, cloud metadata …). Redirects are not followed: they would name another server.
"""

import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

CONNECT_SECONDS = 5.0
TOTAL_SECONDS = 15.0

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class RefusedAddressError(OSError):
    """The name leads to an address that is none of the public Internet."""


class TooLargeError(OSError):
    """The answer is longer than what was asked for."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server has answered; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


def exchange(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | None = None,
    *,
    limit: int = 0,
    may_be_private: bool = False,
) -> Answer:
    """One request and its answer, of whose body at most `limit` bytes are read; 0: none.

    Raises:
        OSError: it cannot be reached, took too long (TimeoutError), or is none of ours to speak to.
        http.client.HTTPException, ValueError: it does not speak HTTP, or the URL is none.
    """
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    connection = http.client.HTTPConnection(parts.hostname or "", port, timeout=CONNECT_SECONDS)
    connection.sock = _connect(parts.hostname or "", port, may_be_private)
    with _deadline(connection.sock, TOTAL_SECONDS):
        try:
            if parts.scheme == "https":
                connection.sock = ssl.create_default_context().wrap_socket(
                    connection.sock, server_hostname=parts.hostname
                )
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request(method, target, body, {"Host": parts.netloc, "Connection": "close", **headers})
            return _read(connection.getresponse(), limit)
        finally:
            connection.close()


def _read(answer: http.client.HTTPResponse, limit: int) -> Answer:
    body = answer.read(limit + 1) if limit else b""
    if len(body) > limit:
        raise TooLargeError(f"the answer is longer than {limit} bytes")
    return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, body)


def words(error: Exception) -> str:
    """An error of `exchange`, for people."""
    if isinstance(error, TimeoutError):
        return f"it did not answer within {TOTAL_SECONDS:g} seconds"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {error.verify_message}"
    if isinstance(error, RefusedAddressError | TooLargeError):
        return str(error)
    return f"it cannot be reached: {type(error).__name__}: {error}"[:300]


def _connect(host: str, port: int, may_be_private: bool) -> socket.socket:
    """A connection to an address of the host, all of which must be public ones."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for *_, address in found:
        if not may_be_private and not is_public(str(address[0])):
            raise RefusedAddressError(f"{host} is at {address[0]}, which is no public address")
    failure: OSError = OSError("it has no address")
    for family, kind, protocol, _, address in found:
        connection = socket.socket(family, kind, protocol)
        connection.settimeout(CONNECT_SECONDS)
        try:
            connection.connect(address)
        except OSError as error:
            connection.close()
            failure = error
        else:
            connection.settimeout(TOTAL_SECONDS)
            return connection
    raise failure


def is_public(text: str) -> bool:
    """Whether an address is one of the public Internet, also where it carries another one inside."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return address.is_global and not address.is_multicast and not address.is_reserved


@contextmanager
def _deadline(connection: socket.socket, seconds: float) -> Iterator[None]:
    """Cuts the connection when time is up: a server that sends a byte now and then never times out otherwise."""
    is_over = threading.Event()
    with connection.dup() as descriptor:
        timer = threading.Timer(seconds, _cut, [descriptor, is_over])
        timer.daemon = True
        timer.start()
        try:
            yield
        except (OSError, http.client.HTTPException) as error:
            if is_over.is_set():
                raise TimeoutError from error
            raise
        finally:
            timer.cancel()
            timer.join()
        # To http.client the end of a connection is a good end of a head.
        if is_over.is_set():
            raise TimeoutError


def _cut(connection: socket.socket, is_over: threading.Event) -> None:
    is_over.set()
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
