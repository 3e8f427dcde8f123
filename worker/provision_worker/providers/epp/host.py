"""Name servers as objects of their own (RFC 5732): a host under a domain of the registry has addresses (glue)."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from . import objects, xml
from .objects import Availability, Created, Trail
from .protocol import Command, Verb
from .xml import Element, node

KIND = "host"

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Host:
    """A name server: a host object to be created, or a host attribute of a domain."""

    name: str
    addresses: tuple[Address, ...] = ()


@dataclass(frozen=True, slots=True)
class HostUpdate:
    """What to change of a host object; `new_name` renames it."""

    name: str
    add_addresses: tuple[Address, ...] = ()
    add_statuses: tuple[str, ...] = ()
    remove_addresses: tuple[Address, ...] = ()
    remove_statuses: tuple[str, ...] = ()
    new_name: str | None = None


@dataclass(frozen=True, slots=True)
class HostInfo:
    """A host as the registry has it; `linked` is among `statuses` while a domain uses it."""

    name: str
    roid: str | None
    statuses: tuple[str, ...]
    addresses: tuple[Address, ...]
    trail: Trail


def check(*names: str) -> Command[dict[str, Availability]]:
    """Which of `names` are free."""
    body = node("epp:check", node("host:check", [node("host:name", name) for name in names]))
    return Command(Verb.CHECK, KIND, " ".join(names), body, objects.read_checked(KIND))


def info(name: str) -> Command[HostInfo]:
    """Everything about a host; any registrar may ask."""
    return Command(Verb.INFO, KIND, name, _on(Verb.INFO, name), _read_info)


def create(host: Host) -> Command[Created]:
    """A new host object."""
    body = _on(Verb.CREATE, host.name, address_nodes("host:addr", host.addresses))
    return Command(Verb.CREATE, KIND, host.name, body, objects.read_created(KIND, host.name))


def delete(name: str) -> Command[None]:
    """Deletes a host object; done as well if there is none, refused (2305) while a domain uses it."""
    return Command(Verb.DELETE, KIND, name, _on(Verb.DELETE, name), objects.read_nothing)


def update(change: HostUpdate) -> Command[None]:
    """Changes a host object."""
    body = _on(
        Verb.UPDATE,
        change.name,
        _change("host:add", change.add_addresses, change.add_statuses),
        _change("host:rem", change.remove_addresses, change.remove_statuses),
        objects.chunk("host:chg", xml.optional("host:name", change.new_name)),
    )
    return Command(Verb.UPDATE, KIND, change.name, body, objects.read_nothing)


def address_nodes(name: str, addresses: tuple[Address, ...]) -> list[Element]:
    """One element `name` per address, with the version that RFC 5732 wants beside it."""
    return [node(name, str(address), ip=f"v{address.version}") for address in addresses]


def read_addresses(parent: Element, path: str) -> tuple[Address, ...]:
    """The addresses at `path`; what is none is left out."""
    return tuple(address for text in xml.texts(parent, path) if (address := _address(text)))


def _address(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _on(verb: Verb, name: str, *contents: xml.Contents) -> Element:
    return node(f"epp:{verb}", node(f"host:{verb}", node("host:name", name), *contents))


def _change(name: str, addresses: tuple[Address, ...], statuses: tuple[str, ...]) -> Element | None:
    return objects.chunk(
        name, address_nodes("host:addr", addresses), [node("host:status", s=status) for status in statuses]
    )


def _read_info(response: Element) -> HostInfo:
    data = xml.need(response, "epp:resData/host:infData")
    return HostInfo(
        name=xml.text(data, "host:name") or "",
        roid=xml.text(data, "host:roid"),
        statuses=objects.statuses(data, KIND),
        addresses=read_addresses(data, "host:addr"),
        trail=objects.read_trail(data, KIND),
    )
