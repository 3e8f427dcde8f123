"""Contacts (RFC 5733). Handles have 3–16 characters; postal details are international, local, or both."""

from __future__ import annotations

from dataclasses import dataclass, field

from . import objects, xml
from .objects import Availability, Created, Trail, Transfer, TransferOp
from .protocol import Command, Verb
from .xml import Element, node

KIND = "contact"


@dataclass(frozen=True, slots=True)
class PostalInfo:
    """A name and address in one script; `country` is an ISO 3166-1 alpha-2 code, `streets` has at most three lines."""

    name: str
    city: str
    country: str
    streets: tuple[str, ...] = ()
    organisation: str | None = None
    state: str | None = None
    postal_code: str | None = None


@dataclass(frozen=True, slots=True)
class Disclose:
    """Which details the registry may show (`flag` true) or must hide, against its own policy.

    `details` are the elements of RFC 5733: `name`, `org`, `addr` (each followed by `/int` or `/loc`), `voice`, `fax`,
    `email`.
    """

    flag: bool
    details: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ContactDetails:
    """A contact to be created. Telephone numbers are E.164 with a dot: `+1.7035555555`, an extension after `x`.

    `international` is in US-ASCII, `local` in any script; at least one is there.
    """

    handle: str
    email: str
    international: PostalInfo | None = None
    local: PostalInfo | None = None
    voice: str | None = None
    fax: str | None = None
    auth_info: str = field(default="", repr=False)
    disclose: Disclose | None = None

    def __post_init__(self) -> None:
        if self.international is None and self.local is None:
            raise ValueError(f"contact {self.handle} has neither international nor local postal details")


@dataclass(frozen=True, slots=True)
class ContactUpdate:
    """What to change of a contact; None leaves a detail as it is."""

    handle: str
    add_statuses: tuple[str, ...] = ()
    remove_statuses: tuple[str, ...] = ()
    international: PostalInfo | None = None
    local: PostalInfo | None = None
    voice: str | None = None
    fax: str | None = None
    email: str | None = None
    auth_info: str | None = field(default=None, repr=False)
    disclose: Disclose | None = None


@dataclass(frozen=True, slots=True)
class ContactInfo:
    """A contact as the registry has it; `auth_info` only for its sponsor."""

    handle: str
    roid: str | None
    statuses: tuple[str, ...]
    international: PostalInfo | None
    local: PostalInfo | None
    voice: str | None
    fax: str | None
    email: str | None
    trail: Trail
    auth_info: str | None = field(repr=False)
    disclose: Disclose | None


def check(*handles: str) -> Command[dict[str, Availability]]:
    """Which of `handles` are free."""
    body = node("epp:check", node("contact:check", [node("contact:id", handle) for handle in handles]))
    return Command(Verb.CHECK, KIND, " ".join(handles), body, objects.read_checked(KIND))


def info(handle: str, auth_info: str | None = None) -> Command[ContactInfo]:
    """Everything about a contact; with its auth info also about one of another sponsor."""
    body = _on(Verb.INFO, handle, objects.auth_info(KIND, auth_info))
    return Command(Verb.INFO, KIND, handle, body, _read_info)


def create(contact: ContactDetails) -> Command[Created]:
    """A new contact."""
    body = _on(
        Verb.CREATE,
        contact.handle,
        _postal("int", contact.international),
        _postal("loc", contact.local),
        _phone("voice", contact.voice),
        _phone("fax", contact.fax),
        node("contact:email", contact.email),
        objects.auth_info(KIND, contact.auth_info),
        _disclose(contact.disclose),
    )
    return Command(Verb.CREATE, KIND, contact.handle, body, objects.read_created(KIND, contact.handle))


def delete(handle: str) -> Command[None]:
    """Deletes a contact; done as well if there is none."""
    return Command(Verb.DELETE, KIND, handle, _on(Verb.DELETE, handle), objects.read_nothing)


def update(change: ContactUpdate) -> Command[None]:
    """Changes a contact. Postal details of one script are replaced as a whole."""
    body = _on(
        Verb.UPDATE,
        change.handle,
        objects.chunk("contact:add", [node("contact:status", s=status) for status in change.add_statuses]),
        objects.chunk("contact:rem", [node("contact:status", s=status) for status in change.remove_statuses]),
        objects.chunk(
            "contact:chg",
            _postal("int", change.international),
            _postal("loc", change.local),
            _phone("voice", change.voice),
            _phone("fax", change.fax),
            xml.optional("contact:email", change.email),
            objects.auth_info(KIND, change.auth_info),
            _disclose(change.disclose),
        ),
    )
    return Command(Verb.UPDATE, KIND, change.handle, body, objects.read_nothing)


def transfer(op: TransferOp, handle: str, auth_info: str | None = None) -> Command[Transfer]:
    """One of the five transfer operations; a request needs the contact's auth info."""
    body = _on(Verb.TRANSFER, handle, objects.auth_info(KIND, auth_info))
    body.set("op", op)
    return Command(Verb.TRANSFER, KIND, handle, body, objects.read_transfer(KIND, handle))


def _on(verb: Verb, handle: str, *contents: xml.Contents) -> Element:
    return node(f"epp:{verb}", node(f"contact:{verb}", node("contact:id", handle), *contents))


def _postal(script: str, postal: PostalInfo | None) -> Element | None:
    if postal is None:
        return None
    if len(postal.streets) > 3:
        raise ValueError(f"an EPP address has at most 3 street lines, not {len(postal.streets)}")
    if len(postal.country) != 2:
        raise ValueError(f"a country is two letters (ISO 3166-1), not {postal.country!r}")
    address = node(
        "contact:addr",
        [node("contact:street", line) for line in postal.streets],
        node("contact:city", postal.city),
        xml.optional("contact:sp", postal.state),
        xml.optional("contact:pc", postal.postal_code),
        node("contact:cc", postal.country),
    )
    name, organisation = node("contact:name", postal.name), xml.optional("contact:org", postal.organisation)
    return node("contact:postalInfo", name, organisation, address, type=script)


def _phone(which: str, number: str | None) -> Element | None:
    if number is None:
        return None
    digits, _, extension = number.partition("x")
    return node(f"contact:{which}", digits, x=extension or None)


def _disclose(disclose: Disclose | None) -> Element | None:
    if disclose is None:
        return None
    details = [detail.partition("/") for detail in disclose.details]
    elements = [node(f"contact:{name}", type=script or None) for name, _, script in details]
    return node("contact:disclose", elements, flag=str(int(disclose.flag)))


def _read_info(response: Element) -> ContactInfo:
    data = xml.need(response, "epp:resData/contact:infData")
    return ContactInfo(
        handle=xml.text(data, "contact:id") or "",
        roid=xml.text(data, "contact:roid"),
        statuses=objects.statuses(data, KIND),
        international=_read_postal(data, "int"),
        local=_read_postal(data, "loc"),
        voice=_read_phone(data, "voice"),
        fax=_read_phone(data, "fax"),
        email=xml.text(data, "contact:email"),
        trail=objects.read_trail(data, KIND),
        auth_info=xml.text(data, "contact:authInfo/contact:pw"),
        disclose=_read_disclose(data),
    )


def _read_postal(data: Element, script: str) -> PostalInfo | None:
    postal = xml.find(data, f"contact:postalInfo[@type='{script}']")
    if postal is None:
        return None
    return PostalInfo(
        name=xml.text(postal, "contact:name") or "",
        organisation=xml.text(postal, "contact:org"),
        streets=xml.texts(postal, "contact:addr/contact:street"),
        city=xml.text(postal, "contact:addr/contact:city") or "",
        state=xml.text(postal, "contact:addr/contact:sp"),
        postal_code=xml.text(postal, "contact:addr/contact:pc"),
        country=xml.text(postal, "contact:addr/contact:cc") or "",
    )


def _read_phone(data: Element, which: str) -> str | None:
    phone = xml.find(data, f"contact:{which}")
    if phone is None or not xml.text_of(phone):
        return None
    extension = phone.get("x")
    return f"{xml.text_of(phone)}x{extension}" if extension else xml.text_of(phone)


def _read_disclose(data: Element) -> Disclose | None:
    disclose = xml.find(data, "contact:disclose")
    if disclose is None:
        return None
    details = [(xml.name_of(detail).partition(":")[2], detail.get("type")) for detail in disclose]
    names = tuple(f"{name}/{script}" if script else name for name, script in details)
    return Disclose(disclose.get("flag") in ("1", "true"), names)
