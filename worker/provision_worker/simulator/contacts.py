"""Contacts at the registry (RFC 5733)."""

from __future__ import annotations

import copy
import re

from provision_worker.providers.epp.xml import Element, find, name_of, node, text, text_of

from . import common
from .records import Contact, Request
from .results import Answer, Refusal
from .store import Store

STATUSES = frozenset({"clientDeleteProhibited", "clientTransferProhibited", "clientUpdateProhibited"})

DETAILS = ("postalInfo/int", "postalInfo/loc", "voice", "fax", "email")

_PHONE = re.compile(r"\+[0-9]{1,3}\.[0-9]{1,14}")


def check(store: Store, request: Request) -> Answer:
    """Which handles are free."""
    return common.check(store, request, require_handle)


def require_handle(_store: Store, handle: str) -> None:
    """2005 unless a handle has 3–16 characters."""
    if not 3 <= len(handle) <= 16:
        raise Refusal(2005, f"a contact id has 3–16 characters, not {len(handle)}")


def info(store: Store, request: Request) -> Answer:
    """A contact, for its sponsor and for who knows its auth info."""
    contact = store.contact(request.name)
    if not common.knows_secret(request, contact.auth_info):
        common.require_sponsor(contact, request)
    return Answer(data=_info_data(store, contact))


def _info_data(store: Store, contact: Contact) -> Element:
    computed = ["linked"] if store.users_of_contact(contact.name) else []
    details = {name: copy.deepcopy(detail) for name, detail in contact.details.items()}
    disclose = details.pop("disclose", None)
    return node(
        "contact:infData",
        node("contact:id", contact.name),
        node("contact:roid", contact.roid),
        common.status_nodes("contact", contact, *computed),
        [details[name] for name in DETAILS if name in details],
        common.trail("contact", contact),
        node("contact:authInfo", node("contact:pw", contact.auth_info)),
        disclose,
    )


def create(store: Store, request: Request) -> Answer:
    """A new contact, sponsored by who creates it."""
    require_handle(store, request.name)
    common.require_free(store, request)
    details = _details(request.payload)
    store.contacts[request.name] = Contact(
        name=request.name,
        roid=store.roid("C"),
        sponsor=request.registrar,
        created_by=request.registrar,
        created_at=store.now(),
        auth_info=common.new_auth_info(store, request, request.payload) or "",
        details=details,
    )
    return common.created(store, "contact", request.name)


def delete(store: Store, request: Request) -> Answer:
    """Deletes a contact that no domain names."""
    contact = store.contact(request.name)
    common.require_transformable(contact, request)
    users = store.users_of_contact(contact.name)
    if users:
        raise Refusal(2305, f"contact {contact.name} is in use by {', '.join(domain.name for domain in users[:5])}")
    store.remove("contact", contact.name)
    return Answer()


def update(store: Store, request: Request) -> Answer:
    """Changes statuses, details and auth info."""
    contact = store.contact(request.name)
    common.require_transformable(contact, request)
    statuses = common.changed_statuses(contact, request, STATUSES)
    change = find(request.payload, "contact:chg")
    if change is not None:
        details = _details(change, contact.details)
        contact.auth_info = common.new_auth_info(store, request, change) or contact.auth_info
        contact.details = details
    contact.statuses = statuses
    common.touch(store, contact, request)
    return Answer()


def _details(parent: Element, old: dict[str, Element] | None = None) -> dict[str, Element]:
    """The details in a create or `chg`, over the old ones; Refusal for values no registry takes."""
    details = dict(old or {})
    for element in parent:
        name = name_of(element).partition(":")[2]
        if name == "postalInfo":
            key = f"postalInfo/{element.get('type')}"
            details[key] = _merged(old.get(key) if old else None, element)
            _require_postal(details[key])
        elif name in ("voice", "fax", "email", "disclose"):
            details[name] = copy.deepcopy(element)
    _require_reachable(details)
    return details


def _merged(old: Element | None, new: Element) -> Element:
    """Postal details after a change: what the change names is replaced, the rest stays (RFC 5733 section 3.2.5)."""
    parts = {name_of(part): part for source in (old, new) if source is not None for part in source}
    order = ("contact:name", "contact:org", "contact:addr")
    return node(
        "contact:postalInfo", [copy.deepcopy(parts[name]) for name in order if name in parts], type=new.get("type")
    )


def _require_postal(postal: Element) -> None:
    if postal.get("type") not in ("int", "loc"):
        raise Refusal(2001, f"postalInfo has type int or loc, not {postal.get('type')!r}", postal)
    for path in ("contact:name", "contact:addr/contact:city"):
        if not text(postal, path):
            raise Refusal(2003, f"{path} is required", find(postal, path))
    country = text(postal, "contact:addr/contact:cc") or ""
    if not re.fullmatch("[A-Z]{2}", country):
        raise Refusal(2005, f"{country!r} is not an ISO 3166-1 country code", find(postal, "contact:addr/contact:cc"))
    if postal.get("type") == "int" and not "".join(map(str, postal.itertext())).isascii():
        raise Refusal(2005, "international postal details are ASCII (RFC 5733 section 2.4)")


def _require_reachable(details: dict[str, Element]) -> None:
    for name in ("voice", "fax"):
        if name in details and (number := text_of(details[name])) and not _PHONE.fullmatch(number):
            raise Refusal(2005, f"{number!r} is not an E.164 number (+1.7035555555)", details[name])
    email = text_of(details["email"]) if "email" in details else None
    if not email or not re.fullmatch(r"[^@\s]+@[^@\s]+", email):
        raise Refusal(2005, f"{email!r} is not an e-mail address", details.get("email"))
