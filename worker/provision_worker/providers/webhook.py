"""Posts events to customers' servers: signed, over TLS, to public addresses only, within a bounded time.

The address is looked at after the name was resolved and is the one that is connected to, so that no name can lead
inside (RFC 1918, loopback, link-local, cloud metadata …). Redirects are not followed, and no more of an answer is read
than its head.
"""

import hashlib
import hmac
import http.client
import ipaddress
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

CONNECT_SECONDS = 5.0
TOTAL_SECONDS = 15.0
USER_AGENT = "provision-webhook/1"

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class RefusedError(Exception):
    """The event was not taken; the text says why, in words for the customer."""

    def __init__(self, reason: str, after_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.after_seconds = after_seconds


def signature(secrets: Sequence[str], body: bytes, timestamp: int) -> str:
    """The header `Provision-Signature`: time in seconds, and HMAC-SHA256 over `<time>.<body>` by each secret."""
    message = str(timestamp).encode() + b"." + body
    sums = (hmac.new(secret.encode(), message, hashlib.sha256).hexdigest() for secret in secrets)
    return ",".join([f"t={timestamp}", *(f"v1={each}" for each in sums)])


def post(url: str, secrets: Sequence[str], event: Mapping[str, Any], *, may_be_private: bool = False) -> None:
    """Sends an event and waits for a status of 2xx.

    Raises:
        RefusedError: it was not taken, or could not be sent.
    """
    body = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": USER_AGENT,
        "Provision-Event": str(event["type"]),
        "Provision-Event-Id": str(event["id"]),
        "Provision-Signature": signature(secrets, body, int(time.time())),
        "Connection": "close",
    }
    try:
        status, retry_after = _exchange(url, body, headers, may_be_private)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise RefusedError(_words(error)) from error
    if not 200 <= status < 300:
        redirected = "; redirects are not followed" if 300 <= status < 400 else ""
        raise RefusedError(f"it answered {status}{redirected}", _seconds(retry_after))


def _exchange(url: str, body: bytes, headers: Mapping[str, str], may_be_private: bool) -> tuple[int, str | None]:
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
            connection.request("POST", target, body, {"Host": parts.netloc, **headers})
            answer = connection.getresponse()
            return answer.status, answer.headers.get("Retry-After")
        finally:
            connection.close()


def _connect(host: str, port: int, may_be_private: bool) -> socket.socket:
    """A connection to an address of the host, all of which must be public ones."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for *_, address in found:
        if not may_be_private and not is_public(str(address[0])):
            raise RefusedError(f"{host} is at {address[0]}, which is no public address")
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


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"it did not answer within {TOTAL_SECONDS:g} seconds"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {error.verify_message}"
    return f"it cannot be reached: {type(error).__name__}: {error}"[:300]


def _seconds(retry_after: str | None) -> float:
    """The header Retry-After in seconds, at most an hour; a date in it is not heeded."""
    return min(float(retry_after), 3600.0) if retry_after is not None and retry_after.isdecimal() else 0.0
