"""The simulator on the network: asyncio, TLS, length framing (RFC 5734); here the faults strike."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

from provision_worker.providers.epp import framing
from provision_worker.providers.epp.xml import XmlError, name_of, parse, serialise

from . import requests, results
from .faults import Fault, FaultKind, Faults
from .ledger import Entry, Ledger
from .records import Request
from .registry import Registry
from .results import Answer, Refusal
from .sessions import Line, Sessions


class HangUpError(Exception):
    """The connection ends here, abruptly unless what was written is to arrive first."""

    def __init__(self, abrupt: bool = True) -> None:
        super().__init__()
        self.abrupt = abrupt


class Server:
    """Serves one registry; lives in one event loop."""

    def __init__(self, registry: Registry, faults: Faults, ledger: Ledger, tls: ssl.SSLContext) -> None:
        self._registry = registry
        self._faults = faults
        self._ledger = ledger
        self._tls = tls
        self._sessions = Sessions(registry.store)
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listens, and returns the port (a free one if `port` is 0)."""
        self._server = await asyncio.start_server(self._serve, host, port, ssl=self._tls)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Ends the server and all connections."""
        if self._server is not None:
            self._server.close()
            await self.drop_connections()
            await self._server.wait_closed()

    async def drop_connections(self) -> None:
        """Ends all connections, as a registry does that restarts or thinks them idle for too long."""
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        line = Line()
        abrupt = True
        try:
            await self._talk(line, reader, writer)
        except HangUpError as end:
            abrupt = end.abrupt
        except (OSError, EOFError, framing.FrameError):
            pass  # the client is gone or talks nonsense: nobody to tell
        except asyncio.CancelledError:
            pass  # dropped; asyncio's streams log the end of a cancelled task as an error
        finally:
            self._sessions.end(line)
            self._connections.discard(task)
            await _close(writer, abrupt)

    async def _talk(self, line: Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _send(writer, serialise(self._sessions.greeting()))
        while True:
            length = framing.payload_length(await reader.readexactly(framing.HEADER_BYTES))
            payload = await reader.readexactly(length)
            await self._answer(line, payload, writer)

    async def _answer(self, line: Line, payload: bytes, writer: asyncio.StreamWriter) -> None:
        cl_trid = None
        try:
            root = parse(payload)
            if requests.is_hello(root):
                await _send(writer, serialise(self._sessions.greeting()))
                return
            cl_trid = requests.cl_trid_of(root)
            request = requests.take_apart(root, line.registrar, line.services)
        except XmlError as error:
            await self._reply(writer, Answer(2001, reason=str(error)), None, self._sv_trid())
        except Refusal as refusal:
            await self._reply(writer, results.refused(refusal), cl_trid, self._sv_trid())
        else:
            await self._command(line, request, writer)

    async def _command(self, line: Line, request: Request, writer: asyncio.StreamWriter) -> None:
        fault = self._faults.take(request.registrar, request.verb, request.kind, request.name)
        sv_trid = self._sv_trid()
        if fault is not None and fault.kind is FaultKind.HOLD:
            await fault.hold()
        answer = self._carried_out(line, request, sv_trid, fault)
        self._note(request, sv_trid, None if answer is None else answer.code, fault)
        if answer is None:
            raise HangUpError
        if fault is not None:
            answer = await self._spoiled(fault, answer, request, sv_trid, writer)
        await self._reply(writer, answer, request.cl_trid, sv_trid)
        if request.verb == "logout":
            raise HangUpError(abrupt=False)

    def _carried_out(self, line: Line, request: Request, sv_trid: str, fault: Fault | None) -> Answer | None:
        """What the registry makes of a command; None if a fault cuts the line before."""
        kind = None if fault is None else fault.kind
        if kind is FaultKind.CUT:
            return None
        if fault is not None and kind is FaultKind.FAIL:
            return Answer(fault.code, reason=fault.reason)
        try:
            return self._execute(line, request, sv_trid, kind is FaultKind.PENDING)
        except Refusal as refusal:
            return results.refused(refusal)

    def _execute(self, line: Line, request: Request, sv_trid: str, pending: bool) -> Answer:
        if request.verb == "login":
            return self._sessions.login(line, request)
        if request.verb == "logout":
            self._sessions.end(line)
            return Answer(1500)
        return self._registry.execute(request, sv_trid, pending)

    async def _spoiled(
        self, fault: Fault, answer: Answer, request: Request, sv_trid: str, writer: asyncio.StreamWriter
    ) -> Answer:
        """The answer after a fault that strikes when the command has been executed."""
        if fault.kind is FaultKind.LOSE_ANSWER:
            raise HangUpError
        if fault.kind is FaultKind.MID_FRAME:
            frame = framing.encode(serialise(results.response(answer, request.cl_trid, sv_trid)))
            writer.write(frame[: len(frame) // 2])
            raise HangUpError(abrupt=False)
        if fault.kind is FaultKind.GARBAGE:
            await _send(writer, b"this is not XML")
            raise HangUpError(abrupt=False)
        if fault.kind is FaultKind.HOLD_ANSWER:
            await fault.hold()
        if fault.kind is FaultKind.NO_DATES and answer.data is not None:
            for element in answer.data:
                if name_of(element).endswith(("exDate", "upDate", "trDate")):
                    answer.data.remove(element)
        return Answer(fault.code, reason=fault.reason) if fault.kind is FaultKind.FAIL_AFTER else answer

    async def _reply(self, writer: asyncio.StreamWriter, answer: Answer, cl_trid: str | None, sv_trid: str) -> None:
        await _send(writer, serialise(results.response(answer, cl_trid, sv_trid)))
        if answer.code >= 2500:
            raise HangUpError(abrupt=False)

    def _note(self, request: Request, sv_trid: str, code: int | None, fault: Fault | None) -> None:
        self._ledger.append(
            Entry(
                number=len(self._ledger) + 1,
                at=self._registry.store.now(),
                registrar=request.registrar,
                verb=request.verb,
                object=request.kind,
                name=request.name,
                op=request.op,
                cl_trid=request.cl_trid,
                sv_trid=sv_trid,
                code=code,
                fault=None if fault is None else str(fault.kind),
            )
        )

    def _sv_trid(self) -> str:
        return f"SIM-{self._registry.store.serial()}"


async def _send(writer: asyncio.StreamWriter, payload: bytes) -> None:
    writer.write(framing.encode(payload))
    await writer.drain()


async def _close(writer: asyncio.StreamWriter, abrupt: bool) -> None:
    if abrupt:
        writer.transport.abort()
    writer.close()
    # The client may have been faster.
    with contextlib.suppress(OSError):
        await writer.wait_closed()
