"""Domains at the registry (RFC 5731), with DNSSEC (RFC 5910) and the commands of the grace periods (RFC 3915)."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import date

from provision_worker.providers.epp.xml import NS, Element, find, find_all, name_of, need, node, stamp, text, text_of

from . import common, fees, hosts, lifecycle
from .records import Domain, Request, plus_years
from .results import Answer, Refusal
from .store import Store

STATUSES = frozenset(
    f"client{what}"
    for what in ("DeleteProhibited", "Hold", "RenewProhibited", "TransferProhibited", "UpdateProhibited")
)
# What DNSSEC records consist of, by the name of their element (RFC 5910 section 4).
_DS_NAMES = {"dsData": "DS record", "keyData": "DNSSEC key"}
_DS_PARTS = {"dsData": ("keyTag", "alg", "digestType", "digest"), "keyData": ("flags", "protocol", "alg", "pubKey")}

ROLES = frozenset({"admin", "tech", "billing"})


def check(store: Store, request: Request) -> Answer:
    """Which names can be registered."""
    answer = common.check(store, request, require_registrable)
    answer.extensions = fees.quoted(store, request)
    return answer


def require_registrable(store: Store, name: str) -> None:
    """Refuses names that are none (2005), outside the zones or refused by policy (2306)."""
    common.require_host_name(name)
    zone = store.policy.zone_of(name)
    if zone is None or name in store.policy.zones:
        raise Refusal(2306, f"{name} is in none of the zones {', '.join(store.policy.zones)}")
    label = name.removesuffix(f".{zone}")
    if "." in label:
        raise Refusal(2306, f"{name} is not directly below .{zone}")
    if label.startswith(store.policy.refused_prefix):
        raise Refusal(2306, f"{name} is reserved by the policy of this registry")


def info(store: Store, request: Request) -> Answer:
    """A domain: everything for its sponsor and who knows its auth info, little for others."""
    domain = store.domain(request.name)
    full = common.knows_secret(request, domain.auth_info) or domain.sponsor == request.registrar
    data = _full_data(store, domain, request) if full else _public_data(domain)
    return Answer(data=data, extensions=_extension_data(domain, request))


def _public_data(domain: Domain) -> Element:
    return node(
        "domain:infData",
        node("domain:name", domain.name),
        node("domain:roid", domain.roid),
        _status_nodes(domain),
        node("domain:clID", domain.sponsor),
    )


def _full_data(store: Store, domain: Domain, request: Request) -> Element:
    which = need(request.payload, "domain:name").get("hosts", "all")
    return node(
        "domain:infData",
        node("domain:name", domain.name),
        node("domain:roid", domain.roid),
        _status_nodes(domain),
        node("domain:registrant", domain.registrant) if domain.registrant else None,
        [node("domain:contact", handle, type=role) for role, handle in domain.contacts],
        _name_servers(domain) if which in ("all", "del") else None,
        hosts.subordinate_nodes(store, domain) if which in ("all", "sub") else None,
        common.trail("domain", domain, domain.expires_at),
        node("domain:authInfo", node("domain:pw", domain.auth_info)),
    )


def _status_nodes(domain: Domain) -> list[Element]:
    delegated = domain.host_objects or domain.host_attributes
    return common.status_nodes("domain", domain, *([] if delegated else ["inactive"]))


def _name_servers(domain: Domain) -> Element | None:
    servers = [node("domain:hostObj", name) for name in domain.host_objects]
    servers += [copy.deepcopy(element) for element in domain.host_attributes.values()]
    return node("domain:ns", servers) if servers else None


def _extension_data(domain: Domain, request: Request) -> list[Element]:
    found = []
    if domain.grace and NS["rgp"] in request.services:
        found.append(node("rgp:infData", [node("rgp:rgpStatus", s=status) for status in sorted(domain.grace)]))
    if domain.ds_records and NS["secDNS"] in request.services:
        found.append(node("secDNS:infData", [_ds_node(record) for record in domain.ds_records]))
    return found


def create(store: Store, request: Request) -> Answer:
    """Registers a domain for its period, one year unless told otherwise."""
    require_registrable(store, request.name)
    common.require_free(store, request)
    years = _years(store, request)
    fees.require_agreed(store, request, years)
    made = Domain(
        name=request.name,
        roid="",
        sponsor=request.registrar,
        created_by=request.registrar,
        created_at=store.now(),
        expires_at=plus_years(store.now(), years),
        auth_info=common.new_auth_info(store, request, request.payload) or "",
        registrant=_registrant(store, request.name, request.payload),
        contacts=[_contact(store, request.name, element) for element in find_all(request.payload, "domain:contact")],
        ds_records=_one_interface([_read_ds(record) for record in _ds(request, "secDNS:create")]),
    )
    _set_name_servers(store, made, find_all(request.payload, "domain:ns/*"), [])
    made.roid = store.roid("D")
    store.domains[made.name] = made
    lifecycle.grant(store, made, "addPeriod", store.policy.add_grace)
    store.remind(made.expires_at, made.name)
    return common.created(store, "domain", made.name, made.expires_at)


def _years(store: Store, request: Request) -> int:
    period = find(request.payload, "domain:period")
    if period is None:
        return 1
    if period.get("unit") != "y":
        raise Refusal(2306, "periods are in years (unit y)", period)
    value = text_of(period) or ""
    if not value.isdigit() or not 1 <= int(value) <= store.policy.max_years:
        raise Refusal(2004, f"the period is 1–{store.policy.max_years} years", period)
    return int(value)


def _registrant(store: Store, domain: str, parent: Element) -> str:
    handle = text(parent, "domain:registrant")
    if store.policy.is_thin(domain):
        if handle is not None:
            raise Refusal(2306, f"{store.policy.zone_of(domain)} is thin: it has no contacts")
        return ""
    if handle is None:
        raise Refusal(2003, "registrant is required")
    common.require_usable(store.contact(handle))
    return handle


def _contact(store: Store, domain: str, element: Element) -> tuple[str, str]:
    if store.policy.is_thin(domain):
        raise Refusal(2306, f"{store.policy.zone_of(domain)} is thin: it has no contacts")
    role, handle = element.get("type") or "", text_of(element) or ""
    if role not in ROLES:
        raise Refusal(2005, f"a domain contact is of type {', '.join(sorted(ROLES))}, not {role!r}", element)
    common.require_usable(store.contact(handle))
    return role, handle


def _set_name_servers(store: Store, domain: Domain, added: list[Element], removed: list[Element]) -> None:
    """Changes the delegation in the registry's host model; the other one is refused (2306)."""
    kind = "hostObj" if store.policy.host_model == "objects" else "hostAttr"
    for element in (*added, *removed):
        if not element.tag.endswith(f"}}{kind}"):
            raise Refusal(2306, f"this registry has name servers as {kind}", element)
    if kind == "hostObj":
        domain.host_objects = _changed_objects(store, domain, added, removed)
    else:
        domain.host_attributes = _changed_attributes(domain, added, removed)
    if len(domain.host_objects) + len(domain.host_attributes) > store.policy.max_name_servers:
        raise Refusal(2306, f"a domain has at most {store.policy.max_name_servers} name servers")


def _changed_objects(store: Store, domain: Domain, added: list[Element], removed: list[Element]) -> list[str]:
    names = [common.spelling("host", text_of(element)) for element in added]
    for name in names:
        common.require_usable(store.host(name))
    gone = [common.spelling("host", text_of(element)) for element in removed]
    return common.changed_list(domain.host_objects, names, gone, "name server")


def _changed_attributes(domain: Domain, added: list[Element], removed: list[Element]) -> dict[str, Element]:
    new = {hosts.attribute_name(element): copy.deepcopy(element) for element in added}
    gone = [hosts.attribute_name(element) for element in removed]
    kept = common.changed_list(list(domain.host_attributes), list(new), gone, "name server")
    everything = {**domain.host_attributes, **new}
    return {name: everything[name] for name in kept}


def delete(store: Store, request: Request) -> Answer:
    """Deletes a domain: at once in its add grace period, else into redemption. Subordinate hosts go first (2305)."""
    domain = store.domain(request.name)
    common.require_transformable(domain, request)
    below = store.subordinates(domain.name)
    if below:
        raise Refusal(2305, f"{domain.name} has subordinate hosts {', '.join(host.name for host in below)}")
    if "addPeriod" in domain.grace:
        store.remove("domain", domain.name)
    else:
        lifecycle.redeemable(store, domain)
    return Answer()


def renew(store: Store, request: Request) -> Answer:
    """Moves the expiry, if the client knows the current one and the registry's longest period allows it."""
    domain = store.domain(request.name)
    common.require_transformable(domain, request)
    years = _years(store, request)
    if _date(text(request.payload, "domain:curExpDate")) != domain.expires_at.date():
        raise Refusal(2004, f"curExpDate is not {domain.expires_at.date()}", find(request.payload, "domain:curExpDate"))
    fees.require_agreed(store, request, years)
    expires_at = plus_years(domain.expires_at, years)
    if expires_at > plus_years(store.now(), store.policy.max_years):
        raise Refusal(2105, f"a domain lives at most {store.policy.max_years} years from now")
    lifecycle.extend(store, domain, expires_at)
    lifecycle.grant(store, domain, "renewPeriod", store.policy.renew_grace)
    common.touch(store, domain, request)
    expiry = node("domain:exDate", stamp(expires_at))
    return Answer(data=node("domain:renData", node("domain:name", domain.name), expiry))


def _date(value: str | None) -> date:
    try:
        return date.fromisoformat((value or "")[:10])
    except ValueError:
        raise Refusal(2005, f"{value!r} is not a date") from None


def update(store: Store, request: Request) -> Answer:
    """Changes name servers, contacts, statuses, registrant, auth info and DNSSEC; or restores (RFC 3915)."""
    domain = store.domain(request.name)
    restore = request.extensions.get("rgp:update")
    if restore is not None:
        return _restore(store, request, domain, need(restore, "rgp:restore"))
    common.require_transformable(domain, request)
    changed = _changed(store, request, domain)
    # Replaced as a whole and only when nothing has refused it, so that a refused update changes nothing.
    store.domains[domain.name] = changed
    common.touch(store, changed, request)
    return Answer()


def _changed(store: Store, request: Request, domain: Domain) -> Domain:
    contacts = common.changed_list(
        [f"{role} {handle}" for role, handle in domain.contacts],
        [" ".join(_contact(store, domain.name, element)) for element in request.part("add", "contact")],
        [f"{element.get('type')} {text_of(element)}" for element in request.part("rem", "contact")],
        "contact",
    )
    changed = replace(
        domain,
        statuses=common.changed_statuses(domain, request, STATUSES),
        contacts=[(role, handle) for role, _, handle in (contact.partition(" ") for contact in contacts)],
        ds_records=_changed_ds(domain, request),
    )
    _set_name_servers(store, changed, request.part("add", "ns/*"), request.part("rem", "ns/*"))
    change = find(request.payload, "domain:chg")
    if change is not None and len(change):
        if find(change, "domain:registrant") is not None:
            changed.registrant = _registrant(store, domain.name, change)
        changed.auth_info = common.new_auth_info(store, request, change) or domain.auth_info
    return changed


def _restore(store: Store, request: Request, domain: Domain, restore: Element) -> Answer:
    common.require_sponsor(domain, request)
    op = restore.get("op")
    if op == "report":
        if "pendingRestore" not in domain.grace:
            raise Refusal(2304, f"{domain.name} waits for no restore report")
        if find(restore, "rgp:report") is None:
            raise Refusal(2003, "report is required")
        lifecycle.restored(store, domain)
        return Answer()
    if op != "request":
        raise Refusal(2001, f"restore has op request or report, not {op!r}")
    if "redemptionPeriod" not in domain.grace:
        raise Refusal(2304, f"{domain.name} is not in its redemption period")
    fees.require_agreed(store, request, 1, "restore")
    lifecycle.restore(store, domain)
    waits = "pendingRestore" in domain.grace
    return Answer(extensions=[node("rgp:upData", node("rgp:rgpStatus", s="pendingRestore"))] if waits else [])


def _ds(request: Request, extension: str, part: str | None = None) -> list[Element]:
    """The DNSSEC records in an extension, or in a part of it."""
    element = request.extensions.get(extension)
    if element is not None and part is not None:
        element = find(element, part)
    return [] if element is None else [record for kind in _DS_PARTS for record in find_all(element, f"secDNS:{kind}")]


def _changed_ds(domain: Domain, request: Request) -> list[tuple[str, ...]]:
    added = [_read_ds(record) for record in _ds(request, "secDNS:update", "secDNS:add")]
    removed = [_read_ds(record) for record in _ds(request, "secDNS:update", "secDNS:rem")]
    extension = request.extensions.get("secDNS:update")
    if extension is not None and find(extension, "secDNS:rem/secDNS:all") is not None:
        removed = list(domain.ds_records)
    missing = [record for record in removed if record not in domain.ds_records]
    if missing:
        kind, *values = missing[0]
        raise Refusal(2306, f"no {_DS_NAMES[kind]} {' '.join(values)} to remove")
    return _one_interface([record for record in domain.ds_records if record not in removed] + added)


def _one_interface(records: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    if len({kind for kind, *_ in records}) > 1:
        raise Refusal(2306, "a domain has DS records or keys, never both (RFC 5910 section 4)")
    return records


def _read_ds(record: Element) -> tuple[str, ...]:
    kind = name_of(record).partition(":")[2]
    values = [text(record, f"secDNS:{part}") or "" for part in _DS_PARTS[kind]]
    *numbers, data = values
    if not all(number.isdigit() and int(number) <= 65535 for number in numbers):
        raise Refusal(
            2005, f"a {_DS_NAMES[kind]} has numbers up to 65535 for {', '.join(_DS_PARTS[kind][:-1])}", record
        )
    if kind == "dsData" and (not data or set(data) - set("0123456789abcdefABCDEF")):
        raise Refusal(2005, "a DS record's digest is hexadecimal", record)
    return (kind, *numbers, data.upper() if kind == "dsData" else data)


def _ds_node(record: tuple[str, ...]) -> Element:
    kind, *values = record
    parts = zip(_DS_PARTS[kind], values, strict=True)
    return node(f"secDNS:{kind}", [node(f"secDNS:{part}", value) for part, value in parts])
