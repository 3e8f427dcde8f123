"""Certificates at AWS Certificate Manager, validated through DNS records in Route 53.

One run goes as far as it can and looks again later; steps that are done answer from the database, so the next run
goes through the same function from the top. RequestCertificate takes our token and tags the certificate with it;
DescribeCertificate tells the validation records some seconds later; when they are in the zone ACM issues by itself,
usually within minutes, and gives up after 72 hours.
"""

import random
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from botocore.exceptions import BotoCoreError, ClientError

from provision_worker.effects import Thing
from provision_worker.job import Json, Outcome, again, completed, failed, retry
from provision_worker.outcome import outcome_of
from provision_worker.providers import aws
from provision_worker.providers.aws import Account
from provision_worker.providers.secret import SecretError
from provision_worker.task import Site, Task

if TYPE_CHECKING:
    from types_boto3_acm.type_defs import CertificateDetailTypeDef, ResourceRecordTypeDef
    from types_boto3_route53.type_defs import ResourceRecordSetTypeDef

TAG = "provision:token"
REVOKE, DELETE = "certificate.revoke", "certificate.delete"
RECORD_SECONDS = 300
THROTTLED_SECONDS = 10.0
RECORDS_SECONDS = 3.0
ISSUE_SECONDS = 5.0
ISSUE_LIMIT_SECONDS = 300.0
RENEW_LIMIT_SECONDS = 86_400.0


@outcome_of.register
def _(error: ClientError) -> Outcome:
    match aws.meaning(error):
        case aws.Meaning.THROTTLED:
            return again(random.uniform(0.5, 1) * THROTTLED_SECONDS, message=str(error))
        case aws.Meaning.UNCERTAIN:
            return retry(str(error))
        case aws.Meaning.REFUSED:
            return failed(str(error))


@outcome_of.register(BotoCoreError)
@outcome_of.register(SecretError)
def _(error: Exception) -> Outcome:
    return retry(str(error))


def create(task: Task) -> Outcome:
    """Requests a certificate, puts its validation records into the zone, and waits until it is issued."""
    return _obtain(task)


def renew(task: Task) -> Outcome:
    """Renews a certificate. One in use ACM renews by itself while its validation records are in the zone.

    What ACM has renewed is noted, for what it is about to renew the records are written anew, and what it does not
    renew, because nothing of AWS uses it, is replaced by a new one for the same names.
    """
    if "looks" not in task.state:
        old = _describe(task.site.account, task.job.data["arn"])
        outcome = _managed(task, old) if old else None
        if outcome:
            return outcome
    return _obtain(task)


def _managed(task: Task, old: "CertificateDetailTypeDef") -> Outcome | None:
    """What comes of ACM's own renewal (RenewalSummary of DescribeCertificate); None if it does none."""
    ends = task.job.data["not_after"]
    if ends and old.get("NotAfter") and old["NotAfter"] > datetime.fromisoformat(ends):
        return completed(_result(old))
    if old.get("RenewalSummary", {}).get("RenewalStatus") not in ("PENDING_AUTO_RENEWAL", "PENDING_VALIDATION"):
        return None
    zones = Zones(task.site.account)
    for record in _records(old) or ():
        if zone := zones.zone_of(record["Name"]):
            _write_record(task, zone, record)
    waits = int(task.state.get("waits", 0)) + 1
    seconds = random.uniform(0.5, 1) * min(RENEW_LIMIT_SECONDS, ISSUE_LIMIT_SECONDS * (1 << min(waits, 10)))
    return again(seconds, {"waits": waits}, "ACM is renewing it")


def revoke(task: Task) -> Outcome:
    """Revokes a certificate whose key was exported. The key of any other is with ACM alone, and deleted with it."""
    arn = task.job.data["arn"]
    account = task.site.account
    found = _describe(account, arn)
    if found is None or found["Status"] == "REVOKED":
        return completed()
    if found.get("Options", {}).get("Export") == "ENABLED":
        parameters = {"arn": arn, "reason": task.job.data["reason"]}
        _end(
            task,
            REVOKE,
            parameters,
            lambda: account.acm.revoke_certificate(CertificateArn=arn, RevocationReason=task.job.data["reason"]),
        )
    else:
        _end(task, DELETE, {"arn": arn}, lambda: account.acm.delete_certificate(CertificateArn=arn))
    return completed()


def _end(task: Task, step: str, parameters: Json, end: Callable[[], object]) -> None:
    name = f"{step} {parameters['arn']}"

    def make(token: UUID) -> Thing:
        end()
        return Thing(name)

    def find(token: UUID) -> Thing | None:
        return Thing(name) if _has_ended(task.site, parameters["arn"]) else None

    task.effects.once(step, parameters, make=make, find=find)


def _has_ended(site: Site, arn: str) -> bool:
    found = _describe(site.account, arn)
    return found is None or found["Status"] == "REVOKED"


def find_end(site: Site, parameters: dict[str, Any], token: UUID) -> str | None:
    """The revocation or deletion that an effect was to bring about, if it has come."""
    return f"{REVOKE} {parameters['arn']}" if _has_ended(site, parameters["arn"]) else None


def _describe(account: Account, arn: str) -> "CertificateDetailTypeDef | None":
    try:
        return account.acm.describe_certificate(CertificateArn=arn)["Certificate"]
    except account.acm.exceptions.ResourceNotFoundException:
        return None


def _obtain(task: Task) -> Outcome:
    names = [task.job.data["domain_name"], *(task.job.data.get("alternative_names") or ())]
    zones = Zones(task.site.account)
    if homeless := [name for name in names if zones.zone_of(name) is None]:
        return failed(f"no public hosted zone of this account holds {homeless[0]}; its validation needs a record there")
    arn = _request(task, names)
    certificate = task.site.account.acm.describe_certificate(CertificateArn=arn)["Certificate"]
    match certificate["Status"]:
        case "ISSUED":
            return completed(_result(certificate))
        case "PENDING_VALIDATION":
            return _validate(task, certificate, zones)
        case status:
            return failed(f"the certificate is {status}: {certificate.get('FailureReason', 'AWS gives no reason')}")


def find(site: Site, parameters: dict[str, Any], token: UUID) -> str | None:
    """The ARN of the certificate that an effect was to request."""
    names: list[str] = parameters["names"]
    return _find_certificate(site.account, names[0], token)


def find_record(site: Site, parameters: dict[str, Any], token: UUID) -> str | None:
    """The validation record that an effect was to write, as zone and name."""
    zone, record = parameters["zone"], parameters["record"]
    return _record_name(zone, record) if _has_record(site.account, zone, record) else None


def why_missing(site: Site, arn: str) -> str | None:
    """Why a certificate of the inventory is gone outside; None if it is not."""
    found = _describe(site.account, arn)
    if found is None:
        return "ACM does not have it"
    return f"at ACM it is {found['Status']}" if found["Status"] in ("REVOKED", "EXPIRED") else None


def _request(task: Task, names: list[str]) -> str:
    account = task.site.account

    def find(token: UUID) -> Thing | None:
        arn = _find_certificate(account, names[0], token)
        return Thing(arn, {"arn": arn}) if arn else None

    def make(token: UUID) -> Thing:
        answer = account.acm.request_certificate(
            DomainName=names[0],
            SubjectAlternativeNames=names,
            ValidationMethod="DNS",
            IdempotencyToken=token.hex,
            Tags=[{"Key": TAG, "Value": str(token)}],
        )
        return Thing(answer["CertificateArn"], {"arn": answer["CertificateArn"]})

    arn: str = task.effects.once("certificate.request", {"names": names}, make=make, find=find, look_first=True)["arn"]
    return arn


def _find_certificate(account: Account, domain_name: str, token: UUID) -> str | None:
    """The certificate that carries the token as its tag. Lists those of the name only, as tags cost a call each."""
    for page in account.acm.get_paginator("list_certificates").paginate():
        for summary in page["CertificateSummaryList"]:
            if summary["DomainName"] == domain_name and _tag(account, summary["CertificateArn"]) == str(token):
                return summary["CertificateArn"]
    return None


def _tag(account: Account, arn: str) -> str | None:
    tags = account.acm.list_tags_for_certificate(CertificateArn=arn)["Tags"]
    return next((tag.get("Value") for tag in tags if tag["Key"] == TAG), None)


def _validate(task: Task, certificate: "CertificateDetailTypeDef", zones: "Zones") -> Outcome:
    records = _records(certificate)
    if records is None:
        return again(RECORDS_SECONDS, message="ACM has not told the validation records yet")
    for record in records:
        # The zone of a wildcard's record is that of the name below it, and so is the record's own.
        zone = zones.zone_of(record["Name"])
        if zone is None:
            return failed(f"no public hosted zone of this account holds the validation record {record['Name']}")
        _write_record(task, zone, record)
    looks = int(task.state.get("looks", 0)) + 1
    seconds = random.uniform(0.5, 1) * min(ISSUE_LIMIT_SECONDS, ISSUE_SECONDS * (1 << min(looks, 10)))
    return again(seconds, {"looks": looks}, "the validation records are in the zone; waiting for ACM to issue")


def _records(certificate: "CertificateDetailTypeDef") -> "list[ResourceRecordTypeDef] | None":
    """The validation records, each once (a name and its wildcard share one); None until ACM has told all."""
    options = certificate.get("DomainValidationOptions") or []
    if not options or any("ResourceRecord" not in option for option in options):
        return None
    return list({option["ResourceRecord"]["Name"]: option["ResourceRecord"] for option in options}.values())


def _write_record(task: Task, zone: str, record: "ResourceRecordTypeDef") -> None:
    """Puts one record into its zone. Writing it twice leaves one, so neither a try nor its repetition does harm."""
    account = task.site.account
    parameters: dict[str, Any] = {"zone": zone, "record": dict(record)}
    thing = Thing(_record_name(zone, parameters["record"]))

    def make(token: UUID) -> Thing:
        change = {"Action": "UPSERT", "ResourceRecordSet": _record_set(record)}
        account.route53.change_resource_record_sets(
            HostedZoneId=zone,
            ChangeBatch={"Comment": f"provision {token}", "Changes": [change]},  # type: ignore[list-item]
        )
        return thing

    def find(token: UUID) -> Thing | None:
        return thing if _has_record(account, zone, parameters["record"]) else None

    task.effects.once(f"record.write {record['Name']}", parameters, make=make, find=find, look_first=True)


def _record_name(zone: str, record: dict[str, Any]) -> str:
    return f"{zone}/{record['Name']}"


def _record_set(record: "ResourceRecordTypeDef") -> "ResourceRecordSetTypeDef":
    return {
        "Name": record["Name"],
        "Type": record["Type"],
        "TTL": RECORD_SECONDS,
        "ResourceRecords": [{"Value": record["Value"]}],
    }


def _has_record(account: Account, zone: str, record: dict[str, Any]) -> bool:
    answer = account.route53.list_resource_record_sets(
        HostedZoneId=zone, StartRecordName=record["Name"], StartRecordType=record["Type"], MaxItems="1"
    )
    return any(
        (found["Name"], found["Type"]) == (record["Name"], record["Type"])
        and {value["Value"] for value in found.get("ResourceRecords", ())} == {record["Value"]}
        for found in answer["ResourceRecordSets"]
    )


def _result(certificate: "CertificateDetailTypeDef") -> dict[str, str]:
    return {
        "arn": certificate["CertificateArn"],
        "not_before": certificate["NotBefore"].isoformat(),
        "not_after": certificate["NotAfter"].isoformat(),
    }


class Zones:
    """The public hosted zones of an account, listed once and only if asked."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._zones: dict[str, str] | None = None

    def zone_of(self, name: str) -> str | None:
        """Id of the zone with the longest name that `name` lies in, on label borders; None if there is none."""
        if self._zones is None:
            self._zones = dict(self._list())
        return next((self._zones[suffix] for suffix in suffixes(name) if suffix in self._zones), None)

    def _list(self) -> Iterator[tuple[str, str]]:
        for page in self._account.route53.get_paginator("list_hosted_zones").paginate():
            for zone in page["HostedZones"]:
                if not zone.get("Config", {}).get("PrivateZone"):
                    yield zone["Name"].rstrip("."), zone["Id"].removeprefix("/hostedzone/")


def suffixes(name: str) -> Iterator[str]:
    """`a.example.org`, `example.org`, `org`: a name and what it lies in, without wildcard and final dot."""
    labels = name.rstrip(".").removeprefix("*.").split(".")
    return (".".join(labels[index:]) for index in range(len(labels)))
