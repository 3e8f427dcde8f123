"""The control line: HTTP with JSON on the loopback interface, to steer a simulator that runs in another process.

=======  =========================  ===================================================================================
GET      /ledger?verb=…&name=…      the entries that match (`verb object name registrar cl_trid executed`)
GET      /objects/KIND              what exists, by name; KIND is contact, host or domain
GET      /faults                    the faults that are switched on
POST     /faults                    switch one on: {"kind": "lose_answer", "verb": "create", "times": 1, …}
DELETE   /faults                    switch all off
GET      /faults/ID?wait=SECONDS    the fault, at the latest after so long; `reached` tells whether a command has met it
POST     /faults/ID/release         let go what it holds
POST     /settle                    {"kind": "domain", "name": "…", "done": true, "reason": ""}
POST     /advance                   {"days": 30, "hours": 0}: move the registry's time ahead
POST     /drop                      end all EPP connections
=======  =========================  ===================================================================================
"""

from __future__ import annotations

import json
import re
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .faults import Fault
from .simulator import RegistrySimulator

BODY_LIMIT = 1 << 16
POLL_SECONDS = 0.02
"""How long stopping may take."""
FILTERS = frozenset({"verb", "object", "name", "registrar", "cl_trid", "executed"})

Json = Any
Call = Callable[..., Json]


class ControlServer:
    """The control line of one simulator, always on 127.0.0.1."""

    def __init__(self, simulator: RegistrySimulator, port: int = 0) -> None:
        """Listens at once; port 0 takes a free one."""
        self._simulator = simulator
        self._http = _Http(port, self._answer)
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(POLL_SECONDS,), name="simulator-control", daemon=True
        )

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._http.server_port}"

    def start(self) -> None:
        """Serves in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Stops serving."""
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def _answer(self, method: str, path: str, query: dict[str, str], body: dict[str, Any]) -> Json:
        """What a request brings back. KeyError: there is no such thing; TypeError, ValueError: it is badly put."""
        for verb, pattern, call in self._routes():
            found = re.fullmatch(pattern, path)
            if found and verb == method:
                return call(*found.groups(), **(query if verb == "GET" else body))
        raise KeyError(f"{method} {path}")

    def _routes(self) -> list[tuple[str, str, Call]]:
        faults, simulator = self._simulator.faults, self._simulator
        return [
            ("GET", r"/", lambda: {"help": __doc__}),
            ("GET", r"/ledger", self._ledger),
            ("GET", r"/objects/(\w+)", simulator.objects),
            ("GET", r"/faults", lambda: [_describe(fault) for fault in faults.active()]),
            ("POST", r"/faults", lambda **fault: _describe(faults.add(**fault))),
            ("DELETE", r"/faults", faults.clear),
            ("GET", r"/faults/(\d+)", self._fault),
            ("POST", r"/faults/(\d+)/release", lambda fault_id: faults.get(int(fault_id)).release()),
            ("POST", r"/settle", lambda **action: {"done": simulator.settle(**action)}),
            ("POST", r"/advance", lambda **delta: simulator.advance(timedelta(**delta))),
            ("POST", r"/drop", simulator.drop_connections),
        ]

    def _ledger(self, **query: Any) -> Json:
        if unknown := sorted(set(query) - FILTERS):
            raise ValueError(f"the ledger has no {', '.join(unknown)}")
        if "executed" in query:
            query["executed"] = query["executed"] in ("1", "true")
        entries = self._simulator.ledger.entries(**query)
        return [asdict(entry) | {"executed": entry.executed} for entry in entries]

    def _fault(self, fault_id: str, wait: str = "0") -> Json:
        fault = self._simulator.faults.get(int(fault_id))
        fault.reached.wait(min(float(wait), 60.0))
        return _describe(fault)


def _describe(fault: Fault) -> Json:
    shown = ("id", "kind", "verb", "object", "name", "registrar", "times", "code", "reason", "seconds")
    return {key: getattr(fault, key) for key in shown} | {"reached": fault.reached.is_set()}


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, answer: Callable[[str, str, dict[str, str], dict[str, Any]], Json]) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.answer = answer


class _Handler(BaseHTTPRequestHandler):
    server: _Http

    def do_GET(self) -> None:
        self._handle({})

    def do_DELETE(self) -> None:
        self._handle({})

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if length > BODY_LIMIT:
            self._send(413, {"error": f"a body has at most {BODY_LIMIT} bytes"})
            return
        try:
            body = json.loads(self.rfile.read(length) or b"{}")
        except ValueError as error:
            self._send(400, {"error": f"the body is not JSON: {error}"})
            return
        self._handle(body)

    def _handle(self, body: dict[str, Any]) -> None:
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        try:
            self._send(200, self.server.answer(self.command, url.path, query, body))
        except KeyError as error:
            self._send(404, {"error": f"there is no {error.args[0]}"})
        except (TypeError, ValueError) as error:
            self._send(400, {"error": str(error)})

    def _send(self, status: int, document: Json) -> None:
        payload = json.dumps(document, default=str).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the ledger is the log."""


class ControlError(Exception):
    """The simulator did not accept a request; the text says why."""


class Control:
    """The other end of the control line, for tests and demos that run the simulator as a process of its own."""

    def __init__(self, url: str) -> None:
        self._url = url

    def ledger(self, **matching: str) -> list[dict[str, Any]]:
        """The entries that match; see `Ledger.entries`."""
        entries: list[dict[str, Any]] = self._ask("GET", f"/ledger?{urllib.parse.urlencode(matching)}")
        return entries

    def objects(self, kind: str) -> dict[str, dict[str, Any]]:
        """What exists of a kind, by name."""
        found: dict[str, dict[str, Any]] = self._ask("GET", f"/objects/{kind}")
        return found

    def add_fault(self, kind: str, **fault: Any) -> int:
        """Switches a fault on, see `Faults.add`; returns its id."""
        return int(self._ask("POST", "/faults", {"kind": kind, **fault})["id"])

    def wait_reached(self, fault_id: int, seconds: float) -> bool:
        """Whether a command has met the fault, waiting for it for up to `seconds` (60 at most)."""
        return bool(self._ask("GET", f"/faults/{fault_id}?wait={seconds}", timeout=seconds + 10)["reached"])

    def release(self, fault_id: int) -> None:
        """Lets go what the fault holds."""
        self._ask("POST", f"/faults/{fault_id}/release")

    def clear_faults(self) -> None:
        """Switches all faults off."""
        self._ask("DELETE", "/faults")

    def settle(self, kind: str, name: str, done: bool = True, reason: str = "") -> bool:
        """Decides about a pending command."""
        body = {"kind": kind, "name": name, "done": done, "reason": reason}
        return bool(self._ask("POST", "/settle", body)["done"])

    def advance(self, **delta: float) -> None:
        """Moves the registry's time ahead, by `days=`, `hours=`, …"""
        self._ask("POST", "/advance", delta)

    def drop_connections(self) -> None:
        """Ends all EPP connections."""
        self._ask("POST", "/drop")

    def _ask(self, method: str, path: str, body: Json = None, timeout: float = 10.0) -> Json:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data=data, method=method)  # our own loopback address
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise ControlError(json.load(error)["error"]) from None
