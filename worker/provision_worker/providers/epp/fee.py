"""Prices of domains (RFC 8748, the fee extension 1.0): asked for with a check, agreed to with a command."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import TypeVar

from . import objects, xml
from .protocol import Command, Verb
from .xml import Element, node

T = TypeVar("T")

AGREEABLE = (Verb.CREATE, Verb.RENEW, Verb.TRANSFER, Verb.UPDATE)
"""Commands that say which price they are given for; an update is a restore here."""


@dataclass(frozen=True, slots=True)
class Quote:
    """What a registry says of one name: whether it is free, why not, its class, and prices by command (`create`, …).

    A command without a price is not in `prices`; `is_premium` says that the name is not of the standard class.
    """

    name: str
    available: bool
    reason: str | None
    currency: str | None
    is_premium: bool
    prices: dict[str, Decimal]


def check(name: str, commands: Sequence[str], years: int | None = 1) -> Command[Quote]:
    """Whether a name is free, and what `commands` (`create`, `renew`, `transfer`, `restore`) cost for `years`."""
    body = node("epp:check", node("domain:check", node("domain:name", name)))
    asked = [_asked(word, years) for word in commands]
    return Command(
        Verb.CHECK, "domain", name, body, _reader(name), (node("fee:check", asked),), frozenset({xml.NS["fee"]})
    )


def agreed(command: Command[T], currency: str | None, price: Decimal) -> Command[T]:
    """The command with the price it is given for; as it is where it takes none."""
    if command.verb not in AGREEABLE:
        return command
    told = node(f"fee:{command.verb}", xml.optional("fee:currency", currency), node("fee:fee", f"{price:.2f}"))
    return replace(command, extensions=(*command.extensions, told), needs=command.needs | {xml.NS["fee"]})


def _asked(word: str, years: int | None) -> Element:
    command = node("fee:command", None if years is None or word == "restore" else _period(years))
    command.set("name", word)
    return command


def _period(years: int) -> Element:
    return node("fee:period", str(years), unit="y")


def _reader(name: str) -> Callable[[Element], Quote]:
    read_checked = objects.read_checked("domain")

    def read(response: Element) -> Quote:
        lines = read_checked(response)
        line = lines.get(name) or next(iter(lines.values()), None)
        if line is None:
            raise xml.XmlError(f"the answer to a check says nothing of {name}")
        data = xml.find(response, "epp:extension/fee:chkData")
        found = None if data is None else xml.find(data, "fee:cd")
        commands = [] if found is None else xml.find_all(found, "fee:command")
        kind = None if found is None else xml.text(found, "fee:class")
        return Quote(
            name=name,
            available=line.available,
            reason=line.reason,
            currency=None if data is None else xml.text(data, "fee:currency"),
            is_premium=kind not in (None, "standard") or any(c.get("standard") in ("0", "false") for c in commands),
            prices={c.get("name") or "": price for c in commands if (price := _price(c)) is not None},
        )

    return read


def _price(command: Element) -> Decimal | None:
    """The sum of a command's fees; None where there is none, or one that is no number."""
    try:
        fees = [Decimal(text) for text in xml.texts(command, "fee:fee")]
    except InvalidOperation:
        return None
    return sum(fees, Decimal(0)) if fees else None
