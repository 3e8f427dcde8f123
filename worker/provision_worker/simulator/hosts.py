"""Host objects at the registry (RFC 5732).

A host below one of the registry's zones is subordinate: its domain must exist and belong to the same registrar, and it
needs at least one address (glue). Any other host is external and must have none.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

from provision_worker.providers.epp.xml import Element, find_all, node, text, text_of

from . import common
from .records import Domain, Host, Request
from .results import Answer, Refusal
from .store import Store

STATUSES = frozenset({"clientDeleteProhibited", "clientUpdateProhibited"})


def check(store: Store, request: Request) -> Answer:
    """Which names are free."""
    return common.check(store, request, lambda _store, name: common.require_host_name(name))


def info(store: Store, request: Request) -> Answer:
    """A host, for everybody."""
    host = store.host(request.name)
    computed = ["linked"] if store.users_of_host(host.name) else []
    return Answer(
        data=node(
            "host:infData",
            node("host:name", host.name),
            node("host:roid", host.roid),
            common.status_nodes("host", host, *computed),
            [node("host:addr", str(address), ip=f"v{address.version}") for address in host.addresses],
            common.trail("host", host),
        )
    )


def create(store: Store, request: Request) -> Answer:
    """A new host object."""
    common.require_host_name(request.name)
    common.require_free(store, request)
    superordinate = _superordinate(store, request, request.name)
    addresses = read_addresses(find_all(request.payload, "host:addr"))
    _require_glue(request.name, superordinate, addresses)
    store.hosts[request.name] = Host(
        name=request.name,
        roid=store.roid("H"),
        sponsor=request.registrar,
        created_by=request.registrar,
        created_at=store.now(),
        addresses=addresses,
        superordinate=superordinate.name if superordinate else None,
    )
    return common.created(store, "host", request.name)


def _superordinate(store: Store, request: Request, name: str) -> Domain | None:
    """The domain above a host name; 2303 if it should exist and does not, 2201 if it is another registrar's."""
    zone = store.policy.zone_of(name)
    if zone is None:
        return None
    above = name.removesuffix(f".{zone}").rpartition(".")[2]
    domain = store.domain(f"{above}.{zone}")
    common.require_sponsor(domain, request)
    return domain


def read_addresses(elements: list[Element]) -> list[IPv4Address | IPv6Address]:
    """The addresses in these elements; 2005 for what is none, or not of the version its `ip` says (default v4)."""
    return [_read_address(element) for element in elements]


def _read_address(element: Element) -> IPv4Address | IPv6Address:
    version = element.get("ip", "v4")
    try:
        address = ip_address(text_of(element) or "")
    except ValueError:
        raise Refusal(2005, f"{text_of(element)!r} is not an IP address", element) from None
    if version != f"v{address.version}":
        raise Refusal(2005, f"{address} is not an IP{version} address", element)
    return address


def _require_glue(name: str, superordinate: Domain | None, addresses: list[IPv4Address | IPv6Address]) -> None:
    if superordinate is None and addresses:
        raise Refusal(2306, f"{name} is outside this registry's zones and cannot have addresses here")
    if superordinate is not None and not addresses:
        raise Refusal(2003, f"{name} is below {superordinate.name} and needs at least one address")


def delete(store: Store, request: Request) -> Answer:
    """Deletes a host object that no domain delegates to."""
    host = store.host(request.name)
    common.require_transformable(host, request)
    users = store.users_of_host(host.name)
    if users:
        raise Refusal(2305, f"host {host.name} is in use by {', '.join(domain.name for domain in users[:5])}")
    store.remove("host", host.name)
    return Answer()


def update(store: Store, request: Request) -> Answer:
    """Changes addresses, statuses, and the name; domains that use the host follow."""
    host = store.host(request.name)
    common.require_transformable(host, request)
    statuses = common.changed_statuses(host, request, STATUSES)
    name = common.spelling("host", text(request.payload, "host:chg/host:name")) or host.name
    superordinate = _superordinate(store, request, name)
    addresses = _changed_addresses(host, request)
    _require_glue(name, superordinate, addresses)
    if name != host.name:
        _rename(store, host, name)
    host.statuses, host.addresses = statuses, addresses
    host.superordinate = superordinate.name if superordinate else None
    common.touch(store, host, request)
    return Answer()


def _changed_addresses(host: Host, request: Request) -> list[IPv4Address | IPv6Address]:
    added = [str(address) for address in read_addresses(request.part("add", "addr"))]
    removed = [str(address) for address in read_addresses(request.part("rem", "addr"))]
    have = [str(address) for address in host.addresses]
    return [ip_address(address) for address in common.changed_list(have, added, removed, "address")]


def _rename(store: Store, host: Host, name: str) -> None:
    common.require_host_name(name)
    if name in store.hosts:
        raise Refusal(2302, f"host {name} exists")
    for domain in store.users_of_host(host.name):
        domain.host_objects = [name if used == host.name else used for used in domain.host_objects]
    store.hosts[name] = store.hosts.pop(host.name)
    host.name = name


def subordinate_nodes(store: Store, domain: Domain) -> list[Element]:
    """The `domain:host` elements of a domain's info."""
    return [node("domain:host", host.name) for host in store.subordinates(domain.name)]


def attribute_name(element: Element) -> str:
    """The name in a `hostAttr` element, its addresses checked."""
    read_addresses(find_all(element, "domain:hostAddr"))
    name = common.spelling("host", text(element, "domain:hostName"))
    common.require_host_name(name)
    return name
