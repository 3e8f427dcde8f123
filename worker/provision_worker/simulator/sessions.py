"""Who is logged in on which connection, and the greeting (RFC 5730 sections 2.4 and 2.9.1)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from provision_worker.providers.epp.xml import Element, node, stamp, text, texts

from .records import Request
from .results import Answer, Refusal
from .store import Store

SERVER_NAME = "Registry simulator"


@dataclass
class Line:
    """One connection: nobody's until a login, and with the services (URIs) that login asked for."""

    registrar: str | None = None
    services: frozenset[str] = field(default_factory=frozenset)


class Sessions:
    """The log-ins of all connections."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._open: Counter[str] = Counter()

    def greeting(self) -> Element:
        """The message on connecting and after a hello."""
        offered = [node("epp:extURI", uri) for uri in self._store.policy.extensions]
        return node(
            "epp:epp",
            node(
                "epp:greeting",
                node("epp:svID", SERVER_NAME),
                node("epp:svDate", stamp(self._store.now())),
                node(
                    "epp:svcMenu",
                    node("epp:version", "1.0"),
                    node("epp:lang", "en"),
                    [node("epp:objURI", uri) for uri in self._store.policy.objects],
                    node("epp:svcExtension", offered) if offered else None,
                ),
                _data_collection_policy(),
            ),
        )

    def login(self, line: Line, request: Request) -> Answer:
        """Opens a session on a connection; 2502 ends the connection as well."""
        if line.registrar is not None:
            raise Refusal(2002, f"{line.registrar} is logged in already")
        self._require_offered(request.payload)
        registrar = request.registrar
        expected = self._store.passwords.get(registrar)
        if expected is None or text(request.payload, "epp:pw") != expected:
            raise Refusal(2200, "the registrar id or the password is wrong")
        if self._open[registrar] >= self._store.policy.max_sessions:
            raise Refusal(2502, f"{registrar} has {self._open[registrar]} sessions already")
        self._store.passwords[registrar] = text(request.payload, "epp:newPW") or expected
        self._open[registrar] += 1
        line.registrar = registrar
        line.services = frozenset(_asked(request.payload))
        return Answer()

    def _require_offered(self, login: Element) -> None:
        if text(login, "epp:options/epp:version") != "1.0":
            raise Refusal(2100, "the version is 1.0")
        if text(login, "epp:options/epp:lang") != "en":
            raise Refusal(2102, "the language is en")
        for code, path, offered in (
            (2307, "epp:svcs/epp:objURI", self._store.policy.objects),
            (2103, "epp:svcs/epp:svcExtension/epp:extURI", self._store.policy.extensions),
        ):
            unknown = sorted(set(texts(login, path)).difference(offered))
            if unknown:
                raise Refusal(code, f"{unknown[0]} is not offered here")

    def end(self, line: Line) -> None:
        """The connection is gone or logs out."""
        if line.registrar is not None:
            self._open[line.registrar] -= 1
            line.registrar = None

    def open_by(self, registrar: str) -> int:
        """How many sessions a registrar has."""
        return self._open[registrar]


def _asked(login: Element) -> tuple[str, ...]:
    return texts(login, "epp:svcs/epp:objURI") + texts(login, "epp:svcs/epp:svcExtension/epp:extURI")


def _data_collection_policy() -> Element:
    return node(
        "epp:dcp",
        node("epp:access", node("epp:all")),
        node(
            "epp:statement",
            node("epp:purpose", node("epp:admin"), node("epp:prov")),
            node("epp:recipient", node("epp:ours"), node("epp:public")),
            node("epp:retention", node("epp:stated")),
        ),
    )
