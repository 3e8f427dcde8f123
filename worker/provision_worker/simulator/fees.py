"""What the registry's commands cost (RFC 8748), and that dear names are not sold by mistake."""

from __future__ import annotations

from decimal import Decimal

from provision_worker.providers.epp.xml import Element, find_all, node, text, text_of

from .records import Request
from .results import Refusal
from .store import Store

PRICES = {"create": Decimal(10), "renew": Decimal(10), "transfer": Decimal(10), "restore": Decimal(40)}
PREMIUM_FACTOR = 10
CURRENCY = "USD"


def is_premium(store: Store, name: str) -> bool:
    """Whether a name costs more than others."""
    return name.startswith(store.policy.premium_prefix)


def price(store: Store, name: str, command: str, years: int) -> Decimal:
    """What a command costs; a restore has no years."""
    factor = PREMIUM_FACTOR if is_premium(store, name) else 1
    return PRICES[command] * factor * (1 if command == "restore" else years)


def quoted(store: Store, request: Request) -> list[Element]:
    """The extension of the answer to a check that asked for prices."""
    asked = request.extensions.get("fee:check")
    if asked is None:
        return []
    lines = [
        node(
            "fee:cd",
            node("fee:objID", name),
            node("fee:class", "premium" if is_premium(store, name) else "standard"),
            [_command(store, name, command) for command in find_all(asked, "fee:command")],
            avail="1",
        )
        for element in request.payload
        if (name := (text_of(element) or "").lower())
    ]
    return [node("fee:chkData", node("fee:currency", CURRENCY), lines)]


def _command(store: Store, name: str, asked: Element) -> Element:
    word, years = asked.get("name") or "", int(text(asked, "fee:period") or "1")
    if word in PRICES:
        fee = node("fee:fee", f"{price(store, name, word, years):.2f}", description=f"{word} fee")
        period = None if word == "restore" else node("fee:period", str(years), unit="y")
        command = node("fee:command", period, fee, standard="0" if is_premium(store, name) else "1")
    else:
        command = node("fee:command", node("fee:reason", f"there is no command {word!r}"))
    command.set("name", word)
    return command


def require_agreed(store: Store, request: Request, years: int, word: str | None = None) -> None:
    """2004 unless a command that tells a price tells the right one; one for a premium name must (RFC 8748)."""
    told = request.extensions.get(f"fee:{request.verb}")
    wanted = price(store, request.name, word or request.verb, years)
    if told is None:
        if is_premium(store, request.name):
            raise Refusal(2003, f"{request.name} is premium: say that it costs {wanted:.2f} {CURRENCY}")
        return
    if Decimal(text(told, "fee:fee") or "0") != wanted:
        raise Refusal(2004, f"{request.name} costs {wanted:.2f} {CURRENCY}")
