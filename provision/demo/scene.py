"""What is asked of the engine in the demo, over HTTP and over SQL."""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from provision import ProvisionError

from .client import Answer, Client, Document
from .data import HOSTED, MOVED, RIVAL_SECRET, TAKEN, Cast, Database
from .deployment import Lab
from .stage import Stage

HOSTS = ["ns1.example.net", "ns2.example.net"]


def contact(reference: str, name: str) -> Document:
    """A contact with all that a registry asks for; a mere {"reference": …} means one that was described before."""
    address = {"street": ["Long Road 1"], "city": "Berlin", "postal_code": "10115", "country_code": "DE"}
    return {
        "reference": reference,
        "name": name,
        "email": f"{reference}@blue.example",
        "phone": "+49.301234567",
    } | address


def domain(name: str, registrant: Document, tech: Document, **more: Any) -> Document:
    """An order item that registers a name."""
    contacts = {"registrant": registrant, "admin": {"reference": registrant["reference"]}, "tech": tech}
    return {"operation": "domain.create", "data": {"name": name, "contacts": contacts, "hosts": HOSTS} | more}


JANE = {"reference": "jane"}
TECH = {"reference": "tech"}
NEW = domain("example.test", contact("jane", "Jane Doe"), contact("tech", "Technical Desk"))
REUSE = domain("shop.co.test", JANE, JANE)
CERTIFICATE = {
    "operation": "ssl.create",
    "data": {"domain_name": HOSTED, "alternative_names": [f"www.{HOSTED}"]},
}
TOO_LONG = domain("long.test", JANE, JANE, period=7)
REFUSED = domain(TAKEN, contact("green", "Green Agency"), {"reference": "green"})
TRANSFER = {"operation": "domain.transfer", "data": {"name": MOVED, "pw": RIVAL_SECRET}}
DEAR_NAME = "premium-shop.test"
DEAR = domain(DEAR_NAME, JANE, TECH, max_price=50)
LOST = domain("lost.test", JANE, TECH)
BY_HAND = {"operation": "contact.create", "data": contact("paper", "Paul Per") | {"accreditation": "desk"}}
INSERTED = contact("inserted", "Ines Ert")


@dataclass(frozen=True)
class Scene:
    """One request: `id` is the order's, or the row's if there is no order; None: it was refused with `refusal`."""

    what: str
    by: str
    id: UUID | None
    ends: str
    refusal: Document | None = None


class Play:
    """The scenes, by name, in the order in which they are asked for."""

    def __init__(self, stage: Stage, cast: Cast, database: Database, shop: Database) -> None:
        self.stage = stage
        self.cast = cast
        self.database = database
        self._shop = shop
        self.client = Client(stage.api_url, cast.shop.api_key)
        self.agency = Client(stage.api_url, cast.agency.api_key)
        self.lab = Lab(self.client)
        self.scenes: dict[str, Scene] = {}

    def perform(self) -> Iterator[Scene]:
        """Asks for everything at once; what has to wait for something else is the engine's business."""
        ask: dict[str, Callable[[], Scene]] = {
            "new": self._new,
            "reuse": lambda: self._by_sql("domain shop.co.test with the contact and hosts of the first order", REUSE),
            "certificate": lambda: self._by_http(f"certificate for {HOSTED} and www.{HOSTED}", CERTIFICATE),
            "invalid": self._invalid,
            "taken": lambda: self._by_http(
                f"domain {TAKEN}, which another registrar has", REFUSED, "failed", self.agency
            ),
            "lost": self._lost,
            "moved": lambda: self._by_http(f"transfer of {MOVED} from another registrar", TRANSFER),
            "dear": lambda: self._by_http(f"domain {DEAR_NAME} for at most 50, which costs 100", DEAR, "failed"),
            "inserted": self._inserted,
            "desk": lambda: self._by_sql("contact at a registry that people serve by hand", BY_HAND, "processing"),
        }
        for name, scene in ask.items():
            self.scenes[name] = scene()
            yield self.scenes[name]

    def _new(self) -> Scene:
        """The same request twice, as a client does that got no answer: it is one order."""
        key = secrets.token_hex(8)
        first, again = (_order_id(self.client.post(NEW, key)) for _ in range(2))
        if first != again:
            raise ProvisionError(f"the same request with the same Idempotency-Key became two orders: {first}, {again}")
        return Scene("domain example.test with two new contacts and two new hosts", "HTTP", first, "completed")

    def _by_http(self, what: str, item: Document, ends: str = "completed", client: Client | None = None) -> Scene:
        return Scene(what, "HTTP", _order_id((client or self.client).post(item)), ends)

    def _by_sql(self, what: str, item: Document, ends: str = "completed") -> Scene:
        order = self._shop.value("order", customer=self.cast.shop.account, items=Jsonb([item]))
        return Scene(what, "SQL", order, ends)

    def _invalid(self) -> Scene:
        answer = self.client.post(TOO_LONG)
        order = UUID(answer.document["id"]) if answer.status < 400 else None
        return Scene(
            "domain long.test for 7 years, which its zone does not allow", "HTTP", order, "refused", answer.document
        )

    def _lost(self) -> Scene:
        self.stage.registry.faults.add("lose_answer", verb="create", object="domain", name="lost.test")
        return self._by_sql("domain lost.test, while the registry's answer gets lost", LOST)

    def _inserted(self) -> Scene:
        row = self._shop.value(
            "insert", accreditation=self.cast.registry, customer=self.cast.shop.account, **_columns(INSERTED)
        )
        return Scene("contact inserted into provision_contact, without an order", "INSERT", row, "completed")


def _columns(contact: Document) -> Document:
    return {name: contact[name] for name in ("reference", "name", "street", "city", "country_code", "email")}


def _order_id(answer: Answer) -> UUID:
    if answer.status >= 400:
        raise ProvisionError(f"an order that should be taken was answered {answer.status}: {answer.document}")
    return UUID(answer.document["id"])
