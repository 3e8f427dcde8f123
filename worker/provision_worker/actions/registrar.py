"""Domains at Route 53 Domains, where AWS is the registrar: registered, renewed, transferred, changed and deleted.

There are no contacts and hosts of their own: their details travel with the domain. What is asked for becomes an
operation of AWS, which takes minutes to days; its id is kept and it is polled to its end. Route 53 Domains takes no
token, so after an answer that was lost the operation is looked for by its type and name, among those since the request.

======================= ===============================================
the operation           the job
======================= ===============================================
SUBMITTED, IN_PROGRESS  pending, and looks again in growing intervals
SUCCESSFUL              the next step, or completed
ERROR, FAILED           failed, with AWS's message
======================= ===============================================
"""

import random
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import partial
from hashlib import sha256
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from uuid import UUID

from provision_worker.effects import Thing
from provision_worker.job import Json, Outcome, completed, failed, pending
from provision_worker.task import Site, Task

from . import registry, transfer

if TYPE_CHECKING:
    from types_boto3_route53domains import Route53DomainsClient
    from types_boto3_route53domains.type_defs import (
        ContactDetailTypeDef,
        GetDomainDetailResponseTypeDef,
        NameserverOutputTypeDef,
        NameserverTypeDef,
    )

LOOK_SECONDS = 15.0
LOOK_LIMIT_SECONDS = 3600.0
# AWS's clock may be behind ours.
SLACK = timedelta(minutes=10)
OPERATIONS = {
    "registrar.register": "REGISTER_DOMAIN",
    "registrar.renew": "RENEW_DOMAIN",
    "registrar.transfer": "TRANSFER_IN_DOMAIN",
    "registrar.delete": "DELETE_DOMAIN",
    "registrar.nameservers": "UPDATE_NAMESERVER",
    "registrar.contacts": "UPDATE_DOMAIN_CONTACT",
    "registrar.lock": "DOMAIN_LOCK",
    "registrar.key": "ADD_DNSSEC",
    "registrar.keyless": "REMOVE_DNSSEC",
}
# What Route 53 Domains says beforehand of names that cannot be transferred here.
UNTRANSFERABLE = {
    "UNTRANSFERABLE": "it cannot be transferred",
    "DOMAIN_IN_OWN_ACCOUNT": "the account has it already",
    "DOMAIN_IN_ANOTHER_ACCOUNT": "another AWS account has it, and gives it away in Route 53 Domains only",
    "PREMIUM_DOMAIN": "it is a premium name, of which Route 53 Domains takes none",
    "PENDING": "it is being transferred already",
}
LOCK = "clientTransferProhibited"
ROLES = ("registrant", "admin", "tech")


def keep(task: Task) -> Outcome:
    """Contacts and name servers are of no concern to Route 53 Domains until a domain has them."""
    return completed()


def create(task: Task) -> Outcome:
    """Registers a domain, and then gives it its name servers and DNSSEC keys."""
    data, client = task.job.data, task.site.account.route53domains
    name: str = data["name"]
    people = contacts(task, "contacts_of_registration")

    def register() -> str:
        return client.register_domain(
            DomainName=name,
            DurationInYears=data["period"],
            AutoRenew=False,
            RegistrantContact=people["registrant"],
            AdminContact=people.get("admin", people["registrant"]),
            TechContact=people.get("tech", people["registrant"]),
        )["OperationId"]

    if not people.get("registrant"):
        return failed("Route 53 Domains asks for a registrant")
    waits = operate(task, "registrar.register", {"name": name, "period": data["period"]}, register)
    waits = waits or name_servers(task, name, data["hosts"]) or keys(task, name, data["ds_records"])
    if waits:
        return waits
    # The secret it was ordered with is not the one that AWS has chosen; domain.update asks for that.
    task.resources.execute("domain", "keep_auth_info", id=task.job.reference_id, code=None)
    return completed(result(client.get_domain_detail(DomainName=name)))


def renew(task: Task) -> Outcome:
    """Renews a domain until the day that was asked for; nothing is sent if it lives that long already."""
    data, client = task.job.data, task.site.account.route53domains
    name, target = data["name"], date.fromisoformat(data["target_expiry"])
    found = look(task.site, name)
    if found is None:
        return failed(f"the account does not have {name}")
    if not task.state and found["ExpirationDate"].astimezone(UTC).date() >= target:
        return completed(result(found))
    waits = operate(
        task,
        "registrar.renew",
        {"name": name, "target_expiry": data["target_expiry"]},
        lambda: client.renew_domain(
            DomainName=name,
            DurationInYears=data["period"],
            CurrentExpiryYear=found["ExpirationDate"].astimezone(UTC).year,
        )["OperationId"],
    )
    return waits or completed(result(client.get_domain_detail(DomainName=name)))


def request(task: Task) -> Outcome:
    """Transfers a domain here from another registrar; AWS waits for the losing one, and the job for AWS."""
    data = task.job.data
    name: str = data["name"]
    row = task.resources.row("domain", "secret", id=task.job.reference_id)
    if not row:
        return failed("the auth info is gone; the row is final already")
    if known := transfer.within(task):
        waits = transfer.stays(known) or people_of(task, name)
    else:
        parameters: Json = {"name": name, "period": data["period"]}
        waits = operate(task, "registrar.transfer", parameters, lambda: _ask_for(task, name, row["value"]))
    return waits or completed(_arrived(task, name))


def _ask_for(task: Task, name: str, secret: str) -> str:
    """Begins the transfer of a domain, if AWS thinks that it can be."""
    client, people = task.site.account.route53domains, contacts(task, "contacts_of_change")
    verdict = client.check_domain_transferability(DomainName=name, AuthCode=secret)
    if reason := UNTRANSFERABLE.get(verdict["Transferability"].get("Transferable", "")):
        told = verdict.get("Message")
        raise registry.Refused(f"{name}: {reason}" + (f" ({told})" if told else ""))
    years: Any = {"DurationInYears": task.job.data["period"]} if task.job.data["period"] else {}
    return client.transfer_domain(
        DomainName=name,
        AuthCode=secret,
        AutoRenew=False,
        RegistrantContact=people["registrant"],
        AdminContact=people.get("admin", people["registrant"]),
        TechContact=people.get("tech", people["registrant"]),
        **years,
    )["OperationId"]


def _arrived(task: Task, name: str) -> Json:
    """A domain as it is taken into the inventory. Its secret is AWS's to choose, and asked for by domain.update."""
    found = task.site.account.route53domains.get_domain_detail(DomainName=name)
    people = (task.job.data.get("contacts") or {}).items()
    return {
        **result(found),
        "hosts": [
            {"name": server["Name"].lower(), "serves": True, "addresses": server.get("GlueIps") or []}
            for server in found["Nameservers"]
        ],
        "contacts": [{"type": role, "handle": handle} for role, handles in people for handle in handles],
        "ds_records": [
            {"flags": key["Flags"], "protocol": 3, "algorithm": key["Algorithm"], "public_key": key["PublicKey"]}
            for key in found.get("DnssecKeys") or ()
        ],
        "is_secret_known": False,
    }


def delete(task: Task) -> Outcome:
    """Deletes a domain; done as well if the account does not have it. The registry keeps the name for a while."""
    name, client = task.job.data["name"], task.site.account.route53domains
    if not task.state and look(task.site, name) is None:
        return completed({"ry_state": "gone"})
    waits = operate(
        task, "registrar.delete", {"name": name}, lambda: client.delete_domain(DomainName=name)["OperationId"]
    )
    return waits or completed({"ry_state": "pendingDelete"})


def update(task: Task) -> Outcome:
    """Changes name servers, contacts, DNSSEC keys and the lock, one after the other, and asks for the auth code."""
    data, client = task.job.data, task.site.account.route53domains
    name: str = data["name"]
    waits = None
    if "hosts" in data:
        waits = name_servers(task, name, data["hosts"])
    if not waits and "contacts" in data:
        waits = people_of(task, name)
    if not waits and "ds_records" in data:
        waits = keys(task, name, data["ds_records"])
    if not waits and "statuses" in data:
        waits = lock(task, name, LOCK in data["statuses"])
    if waits:
        return waits
    if data["has_auth_info"]:
        code = client.retrieve_domain_auth_code(DomainName=name)["AuthCode"]
        task.resources.execute("domain", "keep_auth_info", id=task.job.reference_id, code=code)
    return completed({"statuses": statuses(client.get_domain_detail(DomainName=name))})


def name_servers(task: Task, name: str, hosts: list[dict[str, Any]]) -> Outcome | None:
    """Gives a domain its name servers, those under it with their glue addresses, unless it has just those."""
    client = task.site.account.route53domains
    wanted: list[NameserverTypeDef] = [_name_server(name, host) for host in hosts]

    def change() -> str:
        return client.update_domain_nameservers(DomainName=name, Nameservers=wanted)["OperationId"]

    has = client.get_domain_detail(DomainName=name)["Nameservers"]
    if not hosts or sorted(map(_spelled, has)) == sorted(map(_spelled, wanted)):
        return None
    return operate(task, "registrar.nameservers", {"name": name, "hosts": hosts}, change)


def _name_server(name: str, host: dict[str, Any]) -> "NameserverTypeDef":
    is_below = host["name"].endswith(f".{name}") and host["addresses"]
    return {"Name": host["name"], "GlueIps": host["addresses"]} if is_below else {"Name": host["name"]}


def _spelled(server: "NameserverTypeDef | NameserverOutputTypeDef") -> tuple[str, list[str]]:
    return server["Name"].lower(), sorted(str(ip_address(text)) for text in server.get("GlueIps") or ())


def keys(task: Task, name: str, records: list[dict[str, Any]]) -> Outcome | None:
    """Gives a domain the DNSSEC keys it is to have, and takes others away, one operation after the other."""
    client = task.site.account.route53domains
    found = client.get_domain_detail(DomainName=name).get("DnssecKeys") or []
    wanted = {_key(record["flags"], record["algorithm"], record["public_key"]) for record in records}
    has = {_key(key["Flags"], key["Algorithm"], key["PublicKey"]): key["Id"] for key in found}
    for key in sorted(wanted - set(has)):
        waits = operate(
            task, f"registrar.key {_digest(key)}", {"name": name, "key": list(key)}, partial(_add, client, name, key)
        )
        if waits:
            return waits
    for key in sorted(set(has) - wanted):
        parameters: Json = {"name": name, "key": list(key)}
        waits = operate(task, f"registrar.keyless {_digest(key)}", parameters, partial(_remove, client, name, has[key]))
        if waits:
            return waits
    return None


Key = tuple[int, int, str]
"""Flags, algorithm and public key in base64; the protocol is always 3 (RFC 4034 section 2.1.2)."""


def _key(flags: int, algorithm: int, public_key: str) -> Key:
    return flags, algorithm, "".join(public_key.split())


def _digest(key: Key) -> str:
    """A short name of a key, so that each is one effect."""
    return sha256(repr(key).encode()).hexdigest()[:12]


def _add(client: "Route53DomainsClient", name: str, key: Key) -> str:
    flags, algorithm, public_key = key
    attributes: Any = {"Flags": flags, "Algorithm": algorithm, "PublicKey": public_key}
    return client.associate_delegation_signer_to_domain(DomainName=name, SigningAttributes=attributes)["OperationId"]


def _remove(client: "Route53DomainsClient", name: str, key_id: str) -> str:
    return client.disassociate_delegation_signer_from_domain(DomainName=name, Id=key_id)["OperationId"]


def people_of(task: Task, name: str) -> Outcome | None:
    """Gives a domain the contacts of the types that are named."""
    client, people = task.site.account.route53domains, contacts(task, "contacts_of_change")
    named: Any = {f"{role.capitalize()}Contact": people[role] for role in ROLES if role in people}
    if not named:
        return None
    return operate(
        task,
        "registrar.contacts",
        {"name": name, "contacts": task.job.data["contacts"]},
        lambda: client.update_domain_contact(DomainName=name, **named)["OperationId"],
    )


def lock(task: Task, name: str, is_wanted: bool) -> Outcome | None:
    """Sets or takes away the lock against transfers, unless it is so."""
    client = task.site.account.route53domains
    if (LOCK in statuses(client.get_domain_detail(DomainName=name))) == is_wanted:
        return None
    change = client.enable_domain_transfer_lock if is_wanted else client.disable_domain_transfer_lock
    parameters = {"name": name, "is_locked": is_wanted}
    return operate(task, "registrar.lock", parameters, lambda: change(DomainName=name)["OperationId"])


# Operations -----------------------------------------------------------------------------------------------------------


def operate(task: Task, step: str, asked: Json, begin: Callable[[], str]) -> Outcome | None:
    """Begins an operation once and looks how far it is; None when it has succeeded."""
    row = task.resources.row("domain", "asked_since", job=task.job.job_id)
    parameters: Json = {"step": step, "since": row and row["since"], **asked}

    def make(token: UUID) -> Thing:
        operation = begin()
        return Thing(operation, {"operation": operation})

    def look_for(token: UUID) -> Thing | None:
        operation = find(task.site, dict(parameters), token)
        return Thing(operation, {"operation": operation}) if operation else None

    made = task.effects.once(step, parameters, make=make, find=look_for)
    detail = task.site.account.route53domains.get_operation_detail(OperationId=made["operation"])
    match detail["Status"]:
        case "SUCCESSFUL":
            return None
        case "ERROR" | "FAILED":
            task.effects.gone(step)
            return failed(f"{detail['Type']} of {asked['name']}: {detail.get('Message') or 'AWS gives no reason'}")
    looks = int(task.state.get("looks", 0)) + 1
    seconds = random.uniform(0.5, 1) * min(LOOK_LIMIT_SECONDS, LOOK_SECONDS * (1 << min(looks, 20)))
    return pending(seconds, {"looks": looks}, f"AWS works on it: {detail['Type']} is {detail['Status']}")


def find(site: Site, parameters: dict[str, Any], token: UUID) -> str | None:
    """Id of the operation that an effect was to begin, if AWS has it and it has not failed."""
    client = site.account.route53domains
    since = datetime.fromisoformat(parameters["since"]) - SLACK
    for page in client.get_paginator("list_operations").paginate(SubmittedSince=since):
        for operation in page["Operations"]:
            if operation["Type"] != OPERATIONS[parameters["step"].split(" ")[0]] or operation["Status"] in (
                "ERROR",
                "FAILED",
            ):
                continue
            detail = client.get_operation_detail(OperationId=operation["OperationId"])
            if detail["DomainName"] == parameters["name"]:
                return operation["OperationId"]
    return None


def look(site: Site, name: str) -> "GetDomainDetailResponseTypeDef | None":
    """The domain as the account has it, or None."""
    client = site.account.route53domains
    for page in client.get_paginator("list_domains").paginate():
        if any(domain["DomainName"] == name for domain in page["Domains"]):
            return client.get_domain_detail(DomainName=name)
    return None


def why_missing(site: Site, name: str) -> str | None:
    """Why a domain of the inventory is gone outside; None if it is not."""
    return None if look(site, name) else "the account does not have it"


def result(found: "GetDomainDetailResponseTypeDef") -> Json:
    """What the inventory keeps."""
    expires = found["ExpirationDate"].isoformat()
    return {
        "roid": found.get("RegistryDomainId") or None,
        "ry_created_date": found["CreationDate"].isoformat(),
        "ry_expiry_date": expires,
        "statuses": statuses(found),
    }


def statuses(found: "GetDomainDetailResponseTypeDef") -> list[str]:
    """Its statuses, in the words of EPP."""
    told = {status.split(" ")[0] for status in found.get("StatusList") or ()}
    return sorted(told - registry.COMPUTED)


def contacts(task: Task, query: str) -> dict[str, "ContactDetailTypeDef"]:
    """The contacts of a domain by type, as Route 53 Domains wants them; one of each."""
    rows = task.resources.rows("domain", query, id=task.job.reference_id)
    return {row["type"]: person(row) for row in reversed(rows)}


def person(row: dict[str, Any]) -> "ContactDetailTypeDef":
    """Details of a contact in AWS's words. What has no given name and family name has its one name as both."""
    first, _, last = row["name"].rpartition(" ")
    street, *more = row["street"]
    given: dict[str, Any] = {
        "FirstName": first or last,
        "LastName": last,
        "ContactType": "COMPANY" if row["organization"] else "PERSON",
        "OrganizationName": row["organization"],
        "AddressLine1": street,
        "AddressLine2": ", ".join(more) or None,
        "City": row["city"],
        "State": row["state"],
        "CountryCode": row["country_code"],
        "ZipCode": row["postal_code"],
        "PhoneNumber": row["phone"],
        "Fax": row["fax"],
        "Email": row["email"],
    }
    return {key: value for key, value in given.items() if value}  # type: ignore[return-value]
