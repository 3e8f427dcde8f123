"""XML as EPP needs it: safe parsing, compact building, and redaction for logs.

Names are written `prefix:local` with the prefixes of `NS` throughout, whatever prefixes the other side uses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Any

from lxml import etree

Element = etree._Element

NS = {
    "epp": "urn:ietf:params:xml:ns:epp-1.0",
    "contact": "urn:ietf:params:xml:ns:contact-1.0",
    "host": "urn:ietf:params:xml:ns:host-1.0",
    "domain": "urn:ietf:params:xml:ns:domain-1.0",
    "rgp": "urn:ietf:params:xml:ns:rgp-1.0",
    "secDNS": "urn:ietf:params:xml:ns:secDNS-1.1",
    "fee": "urn:ietf:params:xml:ns:epp:fee-1.0",
}
PREFIXES = {uri: prefix for prefix, uri in NS.items()}

SECRETS = frozenset({"pw", "newPW", "authInfo"})
MASK = "***"

# Whatever may stand before the root element, then a DTD. Possessive, so that no input makes it backtrack.
_DOCTYPE = re.compile(rb"(?:\xef\xbb\xbf)?(?:\s|<\?.*?\?>|<!--.*?-->)*+<!DOCTYPE", re.DOTALL)


class XmlError(Exception):
    """The message is not well-formed UTF-8 XML, brings a DTD, or lacks an element that EPP promises."""


def parse(payload: bytes) -> Element:
    """The root element of a message from outside.

    A document type declaration is refused before any parser sees it (RFC 5730 needs none), entities are never
    resolved and nothing is ever fetched. Only UTF-8 is read, so that no other encoding can hide a declaration.
    """
    if _DOCTYPE.match(payload):
        raise XmlError("a document type declaration is not allowed")
    parser = etree.XMLParser(
        encoding="utf-8", resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True
    )
    try:
        return etree.fromstring(payload, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise XmlError(f"not well-formed: {error}") from None


def serialise(root: Element) -> bytes:
    """The message as it goes over the line."""
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8")


Content = Element | str | None
Contents = Content | Iterable[Content]


def node(name: str, *contents: Contents, **attributes: str | None) -> Element:
    """An element `prefix:local` with text and children in the order given; None among them is left out.

    Raises ValueError for text that XML cannot carry (control characters).
    """
    prefix, _, local = name.partition(":")
    # The stubs know no default namespace (None), lxml does.
    nsmap: dict[Any, str] = {None if prefix == "epp" else prefix: NS[prefix]}
    made = etree.Element(f"{{{NS[prefix]}}}{local}", nsmap=nsmap)
    for key, value in attributes.items():
        if value is not None:
            made.set(key, value)
    for content in contents:
        _append(made, content)
    return made


def _append(parent: Element, content: Contents) -> None:
    if isinstance(content, str):
        parent.text = content
    elif isinstance(content, Element):
        parent.append(content)
    elif content is not None:
        for item in content:
            _append(parent, item)


def optional(name: str, value: str | None) -> Element | None:
    """The element `name` with that text, or None where there is no value."""
    return None if value is None else node(name, value)


def find(parent: Element, path: str) -> Element | None:
    """The first element at `path` (`prefix:local/…`, `.//` allowed) below `parent`."""
    return parent.find(path, NS)


def find_all(parent: Element, path: str) -> list[Element]:
    """All elements at `path`, in document order."""
    return parent.findall(path, NS)


def need(parent: Element, path: str) -> Element:
    """The element at `path`; XmlError if it is missing."""
    found = find(parent, path)
    if found is None:
        raise XmlError(f"{name_of(parent)} has no {path}")
    return found


def text(parent: Element, path: str) -> str | None:
    """The text at `path` without surrounding white space, or None where the element is missing or empty."""
    found = find(parent, path)
    return None if found is None else text_of(found)


def text_of(element: Element) -> str | None:
    """The text of `element` without surrounding white space; None if there is none."""
    return (element.text or "").strip() or None


def texts(parent: Element, path: str) -> tuple[str, ...]:
    """The texts at `path`, empty ones left out."""
    return tuple(value for element in find_all(parent, path) if (value := text_of(element)))


def name_of(element: Element) -> str:
    """`prefix:local` in our prefixes; elements of namespaces we do not know keep lxml's `{uri}local`."""
    name = etree.QName(element)
    prefix = PREFIXES.get(name.namespace)
    return f"{prefix}:{name.localname}" if prefix else str(element.tag)


def moment(parent: Element, path: str) -> datetime | None:
    """The date and time at `path` in UTC. None if missing or unreadable: a registry's odd date must wedge no job."""
    try:
        value = datetime.fromisoformat(text(parent, path) or "")
    except ValueError:
        return None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def stamp(value: datetime) -> str:
    """A date and time as EPP writes it: UTC, milliseconds, `Z` (RFC 5731 section 2.4)."""
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def day(value: date) -> str:
    """A date as EPP writes it in `curExpDate`; of a datetime the date in UTC."""
    return (value.astimezone(UTC).date() if isinstance(value, datetime) else value).isoformat()


def redact(payload: bytes) -> str:
    """The message as a log may show it: passwords and auth info masked, and nothing at all of what is not XML."""
    try:
        root = parse(payload)
    except XmlError:
        return f"<{len(payload)} bytes that are not well-formed XML>"
    return redact_element(root)


def redact_element(root: Element) -> str:
    """`root` as text with everything inside `pw`, `newPW` and `authInfo` masked, in any namespace. Changes `root`."""
    for element in list(root.iter()):
        if etree.QName(element).localname in SECRETS:
            tail = element.tail
            element.clear()
            element.text, element.tail = MASK, tail
    return etree.tostring(root, encoding="unicode")
