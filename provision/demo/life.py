"""The life of a name in the demo: it is locked and signed, renewed, deleted in its add grace period, and had again."""

from collections.abc import Callable, Iterator

from .client import Answer, Document
from .expectation import Expectation
from .scene import JANE, Play, domain

NAME = "shop.co.test"
LOCK = "clientDeleteProhibited"
RECORD: Document = {
    "key_tag": 12345,
    "algorithm": 13,
    "digest_type": 2,
    "digest": "3490A6806D47F17A34C29E2CE80E8A99" * 2,
}
Say = Callable[[str], None]


def perform(play: Play, say: Say) -> Iterator[Expectation]:
    """Everything that is ordered for a name, one after the other, and what must have come of it."""
    changed = _order(play, "update", statuses=[LOCK], ds_records=[RECORD], auto_renew=True)
    before = _row(play)
    say(f"{NAME} is locked against deletion, signed, and renewed by itself from now on")
    is_so = (before["statuses"], before["ds_records"], before["auto_renew"]) == ([LOCK], [RECORD], True)
    yield Expectation("a name is locked, signed and kept by one domain.update", is_so, _told(changed))
    refused = _order(play, "delete")
    say(f"deleting it is refused: {refused.document.get('title')}, {refused.document.get('detail')}")
    yield Expectation("a lock refuses the deletion it is against", refused.status == 409, _told(refused))
    renewed = _order(play, "renew", period=2, current_expiry=str(before["ry_expiry_date"])[:10])
    after = str(_row(play)["ry_expiry_date"])
    say(f"renewed for two years it expires on {after[:10]}")
    is_later = int(after[:4]) == int(str(before["ry_expiry_date"])[:4]) + 2
    yield Expectation("a renewal of two years moves the expiry by two years", is_later, _told(renewed))
    again = _order(play, "renew", period=2, current_expiry=str(before["ry_expiry_date"])[:10])
    say(f"asked for again with the day it expired before: {again.document.get('detail')}")
    yield Expectation("the same renewal is not done twice", again.status == 409, _told(again))
    _order(play, "update", statuses=[])
    deleted = _order(play, "delete")
    anew = play.client.call("/v1/orders", {"items": [domain(NAME, JANE, JANE)]}, WAIT)
    say(f"unlocked and deleted in its add grace period it is free at once, and registered again: {_told(anew)}")
    ends = [_told(deleted), _told(anew)]
    yield Expectation("a name that is deleted young can be had again at once", ends == ["completed"] * 2, str(ends))


WAIT = {"Prefer": "wait=30"}


def _order(play: Play, operation: str, **data: object) -> Answer:
    """Orders something for the name and waits for its end."""
    item = {"operation": f"domain.{operation}", "data": {"name": NAME} | data}
    return play.client.call("/v1/orders", {"items": [item]}, WAIT)


def _told(answer: Answer) -> str:
    return str(answer.document.get("status"))


def _row(play: Play) -> Document:
    (row,) = play.client.call(f"/v1/domains?name={NAME}").document["domains"]
    return dict(row)
