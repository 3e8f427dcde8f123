"""An HTTP proxy before the AWS endpoint that knows the calls: counts them, holds them, fails them, and can die.

`calls` has the name of every call that went through, such as `CreateLoadBalancer`; `mutating` those that change
something. `refuse_after(n)` lets n more mutating calls through, loses the answer to the last of them and from then on
refuses every connection, which is what AWS sees of a worker that was killed; `heal()` ends that.
"""

import http.client
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

# Names of calls that change nothing begin so.
READING = ("Describe", "Get", "List", "Head", "Simulate", "Lookup", "AssumeRole")
_REST = {
    ("GET", "file-systems"): "DescribeFileSystems",
    ("POST", "file-systems"): "CreateFileSystem",
    ("DELETE", "file-systems"): "DeleteFileSystem",
    ("GET", "mount-targets"): "DescribeMountTargets",
    ("POST", "mount-targets"): "CreateMountTarget",
    ("DELETE", "mount-targets"): "DeleteMountTarget",
    ("GET", "rrset"): "ListResourceRecordSets",
    ("POST", "rrset"): "ChangeResourceRecordSets",
    ("GET", "hostedzone"): "GetHostedZone",
    ("POST", "hostedzone"): "CreateHostedZone",
}


def name_of(method: str, path: str, headers: Mapping[str, str], body: bytes) -> str:
    """The name of a call, in whichever of AWS's protocols it is made."""
    target = headers.get("X-Amz-Target", "")
    if target:
        return target.rpartition(".")[2]
    form = parse_qs(body.decode(errors="replace")) if b"Action=" in body else {}
    if "Action" in form:
        return form["Action"][0]
    for part in reversed(urlsplit(path).path.strip("/").split("/")):
        if (method, part) in _REST:
            return _REST[method, part]
    # S3 says what it wants by the method alone.
    return {"GET": "GetObject", "HEAD": "HeadObject", "PUT": "PutObject", "DELETE": "DeleteObject"}.get(method, method)


class AwsProxy:
    """The proxy; `url` is where it listens."""

    def __init__(self, endpoint: str) -> None:
        self._target = urlsplit(endpoint).netloc
        self._lock = threading.Lock()
        self._left: int | None = None
        self._is_dead = False
        self._held: Callable[[str, bytes], bool] = lambda name, body: False
        self._failing: dict[str, tuple[int, str]] = {}
        self.released = threading.Event()
        self.calls: list[str] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                proxy._serve(self)

            def __getattr__(self, name: str) -> Any:
                """`do_GET` and the like."""
                if name.startswith("do_"):
                    return self._serve
                raise AttributeError(name)

            def log_message(self, format: str, *arguments: Any) -> None:
                """Tests are quiet."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that left is none."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @property
    def mutating(self) -> list[str]:
        """The calls that have changed something, or tried to, in order."""
        return [name for name in self.calls if not name.startswith(READING)]

    def counts(self) -> Counter[str]:
        """How often each call that changes something was made."""
        return Counter(self.mutating)

    def reset(self) -> None:
        """Counts from zero."""
        self.calls.clear()

    def refuse_after(self, count: int) -> None:
        """Dies after so many more mutating calls; the answer to the last one is lost."""
        self._left = count

    def heal(self) -> None:
        """Everything goes through again."""
        self._left, self._is_dead = None, False
        self._failing.clear()
        self._held = lambda name, body: False
        self.released.set()

    def hold(self, condition: Callable[[str, bytes], bool]) -> None:
        """Calls for which it is true are not answered until `heal`."""
        self.released.clear()
        self._held = condition

    def fail(self, name: str, status: int, code: str) -> None:
        """Answers calls of that name with an error, without asking."""
        self._failing[name] = (status, code)

    def garble(self, name: str) -> None:
        """Answers calls of that name with a page for people, as proxies do."""
        self._failing[name] = (500, "")

    @property
    def is_dead(self) -> bool:
        """Whether it has died."""
        return self._is_dead

    @contextmanager
    def running(self) -> Iterator["AwsProxy"]:
        """Listens until the end of the block."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.heal()
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        name = name_of(handler.command, handler.path, dict(handler.headers), body)
        if not self._admit(name):
            self._drop(handler)
            return
        if self._held(name, body):
            self.released.wait(60)
        if name in self._failing:
            self._answer(handler, *_error(*self._failing[name], dict(handler.headers)))
            return
        status, headers, content = self._forward(handler, body)
        if self._is_dead:
            self._drop(handler)
            return
        self._answer(handler, status, headers, content)

    def _admit(self, name: str) -> bool:
        """Counts a call, unless it comes too late."""
        with self._lock:
            if self._is_dead:
                return False
            self.calls.append(name)
            if self._left is not None and not name.startswith(READING):
                self._left -= 1
                self._is_dead = self._left <= 0
            return True

    def _drop(self, handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        with suppress(OSError):
            handler.connection.shutdown(socket.SHUT_RDWR)

    def _forward(self, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self._target, timeout=30)
        try:
            headers = {key: value for key, value in handler.headers.items() if key.lower() != "connection"}
            connection.request(handler.command, handler.path, body, headers | {"Connection": "close"})
            answer = connection.getresponse()
            kept = [pair for pair in answer.getheaders() if pair[0].lower() not in _HOP]
            if handler.command == "HEAD":
                kept.append(("Content-Length", answer.getheader("Content-Length") or "0"))
            return answer.status, kept, answer.read()
        finally:
            connection.close()

    def _answer(self, handler: BaseHTTPRequestHandler, status: int, headers: Any, content: bytes) -> None:
        handler.send_response_only(status)
        for key, value in headers:
            handler.send_header(key, value)
        # What HEAD is told, how long the answer to GET would be, is among the headers.
        if handler.command != "HEAD":
            handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(content)


_HOP = frozenset({"connection", "content-length", "transfer-encoding", "keep-alive", "server", "date"})


def _error(status: int, code: str, headers: Mapping[str, str]) -> tuple[int, list[tuple[str, str]], bytes]:
    """An error as the protocol of the call has it; without a code, a page."""
    if not code:
        return status, [("Content-Type", "text/html")], b"<!doctype html>\n<title>Error</title>\n"
    if "X-Amz-Target" in headers:
        return (
            status,
            [("Content-Type", "application/x-amz-json-1.1")],
            b'{"__type": "%s", "message": "no"}' % code.encode(),
        )
    text = f"<ErrorResponse><Error><Code>{code}</Code><Message>no</Message></Error></ErrorResponse>"
    return status, [("Content-Type", "text/xml")], text.encode()
