"""What names cost: told to who asks, and held against the most that an order may cost."""

from decimal import Decimal
from typing import Any, TypeVar

from provision_worker.job import Json, Outcome, completed
from provision_worker.providers import epp
from provision_worker.task import Site, Task

from . import registry

T = TypeVar("T")

COMMANDS = ("create", "renew", "transfer", "restore")


def check(task: Task) -> Outcome:
    """Whether a name can be registered, and its prices for a year where the registry tells them."""
    name = task.job.data["name"]
    try:
        quote = registry.send(task.site, epp.fee.check(name, COMMANDS), registry.new_token()).data
    except epp.EppNotOffered:
        found = registry.send(task.site, epp.domain.check(name), registry.new_token()).data
        line = found.get(name) or next(iter(found.values()))
        return completed(_answer(line.available, line.reason, None, None))
    prices = {word: str(price) for word, price in quote.prices.items()}
    return completed(_answer(quote.available, quote.reason, quote.is_premium, {"currency": quote.currency, **prices}))


def _answer(available: bool, reason: str | None, premium: bool | None, fee: Json | None) -> Json:
    return {"available": available, "reason": reason, "premium": premium, "fee": fee}


def within_limit(
    site: Site, data: dict[str, Any], command: epp.Command[T], word: str, years: int | None
) -> epp.Command[T]:
    """The command, under the price that the registry quotes for it where the order says what it may cost at most.

    Raises:
        Refused: it costs more, is priced in another currency, or the registry tells no price.
    """
    if data.get("max_price") is None:
        return command
    limit, currency = Decimal(str(data["max_price"])), data.get("currency")
    try:
        quote = registry.send(site, epp.fee.check(command.name, (word,), years), registry.new_token()).data
    except epp.EppNotOffered as error:
        raise registry.Refused(f"nobody can say whether {command.name} costs at most {limit}: {error}") from error
    price = quote.prices.get(word)
    if price is None:
        raise registry.Refused(f"the registry tells no price of {command.name}, and max_price is {limit}")
    told = f"{price} {quote.currency or ''}".strip()
    if currency and quote.currency != currency:
        raise registry.Refused(f"{command.name} costs {told}, and max_price is in {currency}")
    if price > limit:
        raise registry.Refused(f"{command.name} costs {told}, more than max_price {limit}")
    return epp.fee.agreed(command, quote.currency, price)
