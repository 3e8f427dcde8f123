"""EPP client (RFC 5730–5734): registries spoken to over TLS, from any thread.

    from provision_worker.providers import epp

    with epp.Client(epp.Settings(host=…, registrar=…, password=…, tls=epp.tls_context())) as client:
        result = client.send(epp.domain.create(epp.domain.Registration(…)), cl_trid="job-…")

Commands are made by `contact`, `host`, `domain` and `poll`; what may be raised, and what
the caller then knows, is in `errors`.
"""

from . import contact, domain, fee, host, poll
from .connection import tls_context
from .errors import (
    EppBusy,
    EppError,
    EppLoginRefused,
    EppNotExecuted,
    EppNotOffered,
    EppObjectExists,
    EppObjectNotFound,
    EppRefused,
    EppUnavailable,
    EppUncertain,
)
from .objects import Availability, Created, Trail, Transfer, TransferOp
from .pool import Client
from .protocol import Command, Greeting, Outcome, Queue, Result, Verb, classify
from .session import Settings
from .xml import redact

__all__ = [
    "Availability",
    "Client",
    "Command",
    "Created",
    "EppBusy",
    "EppError",
    "EppLoginRefused",
    "EppNotExecuted",
    "EppNotOffered",
    "EppObjectExists",
    "EppObjectNotFound",
    "EppRefused",
    "EppUnavailable",
    "EppUncertain",
    "Greeting",
    "Outcome",
    "Queue",
    "Result",
    "Settings",
    "Trail",
    "Transfer",
    "TransferOp",
    "Verb",
    "classify",
    "contact",
    "domain",
    "fee",
    "host",
    "poll",
    "redact",
    "tls_context",
]
