"""Domains at Route 53 Domains, where AWS is the registrar: registered, renewed, changed and deleted.

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
from typing import TYPE_CHECKING, Any
from uuid import UUID

from provision_worker.effects import Thing
from provision_worker.job import Json, Outcome, completed, failed, pending
from provision_worker.task import Site, Task

if TYPE_CHECKING:
    from types_boto3_route53domains.type_defs import (
        ContactDetailTypeDef,
        GetDomainDetailResponseTypeDef,
        NameserverTypeDef,
    )

LOOK_SECONDS = 15.0
LOOK_LIMIT_SECONDS = 3600.0
# How far back an operation is looked for whose answer was lost.
LOST_HOURS = 72
OPERATIONS = {
    "registrar.register": "REGISTER_DOMAIN",
    "registrar.renew": "RENEW_DOMAIN",
    "registrar.delete": "DELETE_DOMAIN",
    "registrar.nameservers": "UPDATE_NAMESERVER",
    "registrar.contacts": "UPDATE_DOMAIN_CONTACT",
    "registrar.lock": "DOMAIN_LOCK",
}
LOCK = "clientTransferProhibited"
ROLES = ("registrant", "admin", "tech")


def keep(task: Task) -> Outcome:
    """Contacts and name servers are of no concern to Route 53 Domains until a domain has them."""
    return completed()


def create(task: Task) -> Outcome:
    """Registers a domain, and then gives it its name servers."""
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
    waits = waits or name_servers(task, name, data.get("hosts") or [])
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
    """Changes name servers, contacts and the lock, one operation after the other, and asks for the auth code."""
    data, client = task.job.data, task.site.account.route53domains
    name: str = data["name"]
    waits = None
    if "hosts" in data:
        waits = name_servers(task, name, [host["name"] for host in data["hosts"]])
    if not waits and "contacts" in data:
        waits = people_of(task, name)
    if not waits and "statuses" in data:
        waits = lock(task, name, LOCK in data["statuses"])
    if waits:
        return waits
    if data["has_auth_info"]:
        code = client.retrieve_domain_auth_code(DomainName=name)["AuthCode"]
        task.resources.execute("domain", "keep_auth_info", id=task.job.reference_id, code=code)
    return completed({"statuses": statuses(client.get_domain_detail(DomainName=name))})


def name_servers(task: Task, name: str, hosts: list[str]) -> Outcome | None:
    """Gives a domain its name servers, unless it has just those."""
    client = task.site.account.route53domains
    wanted: list[NameserverTypeDef] = [{"Name": host} for host in hosts]

    def change() -> str:
        return client.update_domain_nameservers(DomainName=name, Nameservers=wanted)["OperationId"]

    has = {server["Name"].lower() for server in client.get_domain_detail(DomainName=name)["Nameservers"]}
    if not hosts or has == set(hosts):
        return None
    return operate(task, "registrar.nameservers", {"name": name, "hosts": hosts}, change)


def people_of(task: Task, name: str) -> Outcome | None:
    """Gives a domain the contacts of the types that are named."""
    client, people = task.site.account.route53domains, contacts(task, "contacts_of_update")
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


def operate(task: Task, step: str, parameters: Json, begin: Callable[[], str]) -> Outcome | None:
    """Begins an operation once and looks how far it is; None when it has succeeded."""

    def make(token: UUID) -> Thing:
        operation = begin()
        return Thing(operation, {"operation": operation})

    def look_for(token: UUID) -> Thing | None:
        operation = find(task.site, {"step": step} | dict(parameters), token)
        return Thing(operation, {"operation": operation}) if operation else None

    made = task.effects.once(step, {"step": step} | dict(parameters), make=make, find=look_for)
    detail = task.site.account.route53domains.get_operation_detail(OperationId=made["operation"])
    match detail["Status"]:
        case "SUCCESSFUL":
            return None
        case "ERROR" | "FAILED":
            task.effects.gone(step)
            return failed(f"{detail['Type']} of {parameters['name']}: {detail.get('Message') or 'AWS gives no reason'}")
    looks = int(task.state.get("looks", 0)) + 1
    seconds = random.uniform(0.5, 1) * min(LOOK_LIMIT_SECONDS, LOOK_SECONDS * (1 << min(looks, 20)))
    return pending(seconds, {"looks": looks}, f"AWS works on it: {detail['Type']} is {detail['Status']}")


def find(site: Site, parameters: dict[str, Any], token: UUID) -> str | None:
    """Id of the operation that an effect was to begin, if AWS has it and it has not failed."""
    client = site.account.route53domains
    since = datetime.now(UTC) - timedelta(hours=LOST_HOURS)
    for page in client.get_paginator("list_operations").paginate(SubmittedSince=since):
        for operation in page["Operations"]:
            if operation["Type"] != OPERATIONS[parameters["step"]] or operation["Status"] in ("ERROR", "FAILED"):
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
    }


def statuses(found: "GetDomainDetailResponseTypeDef") -> list[str]:
    """Its statuses, in the words of EPP."""
    return sorted({status.split(" ")[0] for status in found.get("StatusList") or ()})


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
