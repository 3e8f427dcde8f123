"""A line to an AWS endpoint that fails the way lines and providers fail, and keeps a ledger of what was carried out."""

import http.client
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

EC2_ERROR = "<Response><Errors><Error><Code>{code}</Code><Message>{text}</Message></Error></Errors></Response>"
ERROR = "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{text}</Message></Error></ErrorResponse>"
# AWS has one group of a name; the endpoint would put another in its place.
UNIQUE = "CreateAutoScalingGroup"
READING = re.compile(r"^(Describe|List|Get)")
ANSWERS = {
    "throttled": (503, "RequestLimitExceeded", "Throttling"),
    "failed": (500, "InternalError", "InternalFailure"),
    "refused": (400, "VcpuLimitExceeded", "LimitExceeded"),
}


class FaultProxy:
    """An HTTP proxy before the endpoint. Calls that change something suffer the `fault`, each kind of them once:

    - `throttled`, `failed`, `refused`: answered so, and not passed on;
    - `lost`: carried out, and the line ends instead of bringing the answer;
    - `twice`: carried out twice, and the second answer is the one that comes;
    - `late`: the line ends, and the call is carried out long after, when `deliver()` says so.

    Not `once`: always; `only`: one kind of call. `ledger` has what the endpoint was asked for and answered.
    """

    def __init__(self, url: str) -> None:
        self.fault: str | None = None
        self.once = True
        self.only: str | None = None
        self.faulted: set[str] = set()
        self.ledger: list[tuple[str, int]] = []
        self._held: list[tuple[BaseHTTPRequestHandler, bytes, str]] = []
        self._target = urlsplit(url).netloc
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                proxy.serve(self, body)

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = handle_any  # noqa: N815 - the names that it looks for

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="aws proxy")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    @property
    def changes(self) -> int:
        """How many calls that change something were carried out."""
        return sum(not READING.match(action) for action, _ in self.ledger)

    def serve(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        """One call."""
        action = parse_qs(body.decode(errors="replace")).get("Action", [f"{request.command} {request.path}"])[0]
        fault = self._fault_for(action, request.command)
        if fault in ANSWERS:
            status, ec2, other = ANSWERS[fault]
            is_ec2 = "/ec2/" in request.headers.get("Authorization", "")
            text = (EC2_ERROR if is_ec2 else ERROR).format(code=ec2 if is_ec2 else other, text=f"{action} {fault}")
            self._answer(request, status, [("Content-Type", "text/xml")], text.encode())
            return
        if fault == "late":
            self._held.append((request, body, action))
            request.close_connection = True
            return
        status, headers, answer = self._pass_on(request, body, action)
        if fault == "twice" and action == UNIQUE:
            status, answer = 400, ERROR.format(code="AlreadyExists", text=action).encode()
        elif fault == "twice":
            status, headers, answer = self._pass_on(request, body, action)
        if fault == "lost":
            request.close_connection = True
            return
        self._answer(request, status, headers, answer)

    def deliver(self) -> None:
        """The calls that are late arrive, and nobody waits for their answers. A second group of a name is refused."""
        held, self._held = self._held, []
        for request, body, action in held:
            if action != UNIQUE:
                self._pass_on(request, body, action)

    def _fault_for(self, action: str, method: str) -> str | None:
        if READING.match(action) or method == "GET" or self.only not in (None, action):
            return None
        with self._lock:
            if self.once and action in self.faulted:
                return None
            if self.fault:
                self.faulted.add(action)
            return self.fault

    def _pass_on(
        self, request: BaseHTTPRequestHandler, body: bytes, action: str
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self._target, timeout=30)
        connection.request(request.command, request.path, body, dict(request.headers.items()))
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        with self._lock:
            self.ledger.append((action, answer.status))
        kept = [(name, value) for name, value in answer.getheaders() if name.lower() == "content-type"]
        return answer.status, kept, content

    def _answer(
        self, request: BaseHTTPRequestHandler, status: int, headers: list[tuple[str, str]], body: bytes
    ) -> None:
        request.send_response(status)
        for name, value in headers:
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)
