"""A domain registry that speaks EPP over TLS (RFC 5730–5734, 3915, 5910), for the demo and the tests.

It keeps everything in memory, follows the rules of a strict registry, can be told to fail in the ways that registries
and networks do (`faults`), and notes what it executed (`ledger`), so that a test can prove that exactly one thing
exists.
"""

from .certificates import Certificates
from .control import Control, ControlError, ControlServer
from .faults import Fault, FaultKind, Faults
from .ledger import Entry, Ledger
from .records import Policy
from .simulator import RegistrySimulator

__all__ = [
    "Certificates",
    "Control",
    "ControlError",
    "ControlServer",
    "Entry",
    "Fault",
    "FaultKind",
    "Faults",
    "Ledger",
    "Policy",
    "RegistrySimulator",
]
