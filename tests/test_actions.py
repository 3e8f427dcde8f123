"""The actions of the product against an AWS endpoint over HTTP and a registry over TLS."""

from pathlib import Path
from typing import Any
from uuid import UUID

import boto3
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from click.testing import CliRunner
from moto.backends import get_backend
from provision_worker.actions import certificate, default_actions
from provision_worker.cli import reconcile_command
from provision_worker.outcome import outcome_of
from provision_worker.providers import secret
from provision_worker.providers.aws import Account

from . import worker_fixtures
from .worker_fixtures import (
    Customer,
    Engine,
    Relay,
    eventually,
    insert,
    issue_certificates,
    make_accreditation,
    make_customer,
)

engine = worker_fixtures.engine
aws = worker_fixtures.aws

QUICK: dict[str, Any] = {"worker_poll_seconds": 0.05}


@pytest.fixture
def customer(engine: Engine) -> Customer:
    return make_customer(engine)


# Certificates


class Cloud:
    """What is at the endpoint, seen by somebody else's client."""

    def __init__(self, url: str, region: str = "us-east-1") -> None:
        self.acm = boto3.client("acm", region_name=region, endpoint_url=url)
        self.route53 = boto3.client("route53", region_name=region, endpoint_url=url)

    def add_zone(self, name: str, *, private: bool = False) -> str:
        network: dict[str, Any] = {"VPC": {"VPCRegion": "us-east-1", "VPCId": "vpc-1"}} if private else {}
        network["HostedZoneConfig"] = {"PrivateZone": private}
        answer = self.route53.create_hosted_zone(Name=name, CallerReference=name, **network)
        return answer["HostedZone"]["Id"]

    def certificates(self) -> list[str]:
        return [found["CertificateArn"] for found in self.acm.list_certificates()["CertificateSummaryList"]]

    def records(self, zone: str) -> list[tuple[str, str]]:
        sets = self.route53.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
        return [(found["Name"], found["ResourceRecords"][0]["Value"]) for found in sets if found["Type"] == "CNAME"]


@pytest.fixture
def cloud(aws: str) -> Cloud:
    return Cloud(aws)


def ask_for_certificate(engine: Engine, customer: Customer, accreditation: UUID, name: str, *others: str) -> UUID:
    """The job of a new provision_ssl row."""
    row = insert(
        engine,
        "provision_ssl",
        tenant_customer_id=customer.account,
        accreditation_id=accreditation,
        domain_name=name,
        alternative_names=list(others),
    )
    job: UUID = engine.value("SELECT job_id FROM provision_ssl WHERE id = %s", row)
    return job


def test_a_certificate_is_requested_validated_and_issued(
    engine: Engine, customer: Customer, aws: str, cloud: Cloud
) -> None:
    cloud.add_zone("example.org")
    nearest = cloud.add_zone("dev.example.org")
    cloud.add_zone("a.dev.example.org", private=True)
    accreditation = make_accreditation(engine, customer.tenant)
    with engine.worker(default_actions(), aws_endpoint_url=aws, **QUICK):
        job = ask_for_certificate(engine, customer, accreditation, "a.dev.example.org", "*.a.dev.example.org")
        eventually(
            lambda: engine.value("SELECT state ->> 'looks' = '1' AND worker IS NULL FROM v_job WHERE id = %s", job)
        )
        assert len(cloud.records(nearest)) == 1, "a name and its wildcard are validated by one record"
        issue_certificates()
        engine.owner.execute("SELECT clock_advance('1 hour')")
        done = engine.ended(job)
    (arn,) = cloud.certificates()
    assert (done["status"], done["attempts"], done["result"]["arn"]) == ("completed", 0, arn)
    issued = engine.row("SELECT * FROM v_certificate")
    assert (issued["arn"], issued["domain_name"]) == (arn, "a.dev.example.org")
    assert issued["not_after"] > issued["not_before"]


def test_a_certificate_whose_answer_was_lost_is_found_by_its_tag(
    engine: Engine, customer: Customer, aws: str, cloud: Cloud
) -> None:
    cloud.add_zone("example.org")
    issue_certificates()
    host, port = aws.removeprefix("http://").split(":")
    with Relay(host, int(port)) as relay, engine.worker(default_actions(), **QUICK):
        accreditation = make_accreditation(engine, customer.tenant, endpoint=f"http://127.0.0.1:{relay.port}")
        relay.lose_answers(b"CertificateManager.RequestCertificate")
        job = ask_for_certificate(engine, customer, accreditation, "example.org")
        eventually(lambda: engine.job(job)["attempts"] == 1, patience=60)
        relay.pass_everything()
        engine.owner.execute("SELECT clock_advance('1 hour')")
        done = engine.ended(job)
    assert done["status"] == "completed"
    assert cloud.certificates() == [done["result"]["arn"]]
    assert engine.value("SELECT attempt FROM v_effect WHERE step = 'certificate.request'") == 2


def test_without_a_zone_for_the_validation_nothing_is_requested(
    engine: Engine, customer: Customer, aws: str, cloud: Cloud
) -> None:
    cloud.add_zone("ample.org")
    with engine.worker(default_actions(), aws_endpoint_url=aws):
        accreditation = make_accreditation(engine, customer.tenant)
        done = engine.ended(ask_for_certificate(engine, customer, accreditation, "www.example.org"))
    assert done["status"] == "failed"
    assert done["result_message"].startswith("no public hosted zone of this account holds www.example.org")
    assert cloud.certificates() == []


def test_a_certificate_that_acm_gives_up_fails_with_the_reason(
    engine: Engine, customer: Customer, aws: str, cloud: Cloud
) -> None:
    cloud.add_zone("example.org")
    with engine.worker(default_actions(), aws_endpoint_url=aws, **QUICK):
        job = ask_for_certificate(engine, customer, make_accreditation(engine, customer.tenant), "example.org")
        eventually(
            lambda: engine.value("SELECT state ->> 'looks' = '1' AND worker IS NULL FROM v_job WHERE id = %s", job)
        )
        (kept,) = get_backend("acm")["123456789012"]["us-east-1"]._certificates.values()
        kept.status = "VALIDATION_TIMED_OUT"
        engine.owner.execute("SELECT clock_advance('1 hour')")
        done = engine.ended(job)
    assert (done["status"], done["result_message"]) == (
        "failed",
        "the certificate is VALIDATION_TIMED_OUT: AWS gives no reason",
    )


def test_a_role_is_assumed_with_its_external_id(engine: Engine, customer: Customer, aws: str) -> None:
    Account(role_arn="arn:aws:iam::222222222222:role/provision", endpoint_url=aws).route53.create_hosted_zone(
        Name="example.org", CallerReference="x"
    )
    issue_certificates()
    with engine.worker(default_actions(), aws_endpoint_url=aws):
        role = {
            "role_arn": "arn:aws:iam::222222222222:role/provision",
            "external_id": "shop-7",
            "region": "eu-central-1",
        }
        accreditation = make_accreditation(engine, customer.tenant, **role)
        done = engine.ended(ask_for_certificate(engine, customer, accreditation, "example.org"))
    assert done["result"]["arn"].startswith("arn:aws:acm:eu-central-1:222222222222:certificate/")


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("ThrottlingException", 400, "again"),
        ("Whatever", 429, "again"),
        ("InternalFailure", 500, "retry"),
        ("AccessDeniedException", 403, "failed"),
        ("LimitExceededException", 400, "failed"),
    ],
)
def test_what_an_error_of_aws_means(code: str, status: int, kind: str) -> None:
    answer: Any = {"Error": {"Code": code, "Message": "because"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    outcome = outcome_of(ClientError(answer, "RequestCertificate"))
    assert outcome.kind == kind
    assert "because" in (outcome.message or "")


def test_no_answer_of_aws_is_a_failed_attempt() -> None:
    assert outcome_of(ReadTimeoutError(endpoint_url="https://acm")).kind == "retry"


def test_a_name_lies_in_its_suffixes_on_label_borders() -> None:
    assert list(certificate.suffixes("*.a.example.org.")) == ["a.example.org", "example.org", "org"]


# Secrets


def test_secrets_are_found_by_reference(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, aws: str) -> None:
    monkeypatch.setenv("REGISTRY_PASSWORD", "from the environment")
    (tmp_path / "password").write_text("from a file\n")
    store = boto3.client("secretsmanager", region_name="eu-west-1", endpoint_url=aws)
    arn = store.create_secret(Name="registry", SecretString="from the store")["ARN"]
    assert secret.resolve("env:REGISTRY_PASSWORD") == "from the environment"
    assert secret.resolve(f"file:{tmp_path}/password") == "from a file"
    assert secret.resolve(f"aws-sm:{arn}", aws) == "from the store"


@pytest.mark.parametrize("reference", ["env:NOT_THERE", "file:/not/there", "aws-sm:not-there", "vault:x", ""])
def test_a_secret_that_is_not_there_is_named(reference: str, aws: str) -> None:
    with pytest.raises(secret.SecretError, match=reference.partition(":")[2] or "begins with none of"):
        secret.resolve(reference, aws)


# Comparing with the outside


def reconcile(engine: Engine, accreditation: UUID) -> dict[str, Any]:
    """What a reconcile job of the accreditation has found."""
    found: dict[str, Any] = engine.ended(engine.submit(type="reconcile", accreditation=accreditation))["result"]
    return found


def attention(engine: Engine, what: str) -> str | None:
    """The reason why something of that kind needs a person."""
    reason: str | None = engine.value("SELECT reason FROM v_attention WHERE what = %s", what)
    return reason


def test_a_certificate_that_vanished_outside_is_noted_until_it_is_there_again(
    engine: Engine, customer: Customer, aws: str, cloud: Cloud
) -> None:
    cloud.add_zone("example.org")
    issue_certificates()
    accreditation = make_accreditation(engine, customer.tenant)
    with engine.worker(default_actions(), aws_endpoint_url=aws, **QUICK):
        engine.ended(ask_for_certificate(engine, customer, accreditation, "example.org"))
        assert reconcile(engine, accreditation) == {"absent": 0, "orphaned": 0, "present": 1, "missing": 0}
        kept = get_backend("acm")["123456789012"]["us-east-1"]._certificates
        hidden = dict(kept)
        kept.clear()
        assert reconcile(engine, accreditation)["missing"] == 1
        assert attention(engine, "missing certificate") == "example.org: ACM does not have it"
        kept.update(hidden)
        assert reconcile(engine, accreditation)["present"] == 1
        assert attention(engine, "missing certificate") is None


@pytest.mark.parametrize(("is_there", "status"), [(True, "orphaned"), (False, "absent")])
def test_what_a_failed_job_left_outside_is_found(
    engine: Engine, customer: Customer, aws: str, cloud: Cloud, is_there: bool, status: str
) -> None:
    cloud.add_zone("example.org")
    host, port = aws.removeprefix("http://").split(":")
    with Relay(host, int(port)) as relay, engine.worker(default_actions(), **QUICK):
        accreditation = make_accreditation(engine, customer.tenant, endpoint=f"http://127.0.0.1:{relay.port}")
        relay.lose_answers(b"CertificateManager.RequestCertificate")
        engine.owner.execute("UPDATE job_type SET max_attempts = 1 WHERE name = 'provision_ssl_create'")
        assert (
            engine.ended(ask_for_certificate(engine, customer, accreditation, "example.org"), 60)["status"] == "failed"
        )
        assert attention(engine, "uncertain effect")
        relay.pass_everything()
        (arn,) = cloud.certificates()
        if not is_there:
            cloud.acm.delete_certificate(CertificateArn=arn)
        assert reconcile(engine, accreditation)[status] == 1
    effect = engine.row("SELECT status, external_name FROM v_effect WHERE step = 'certificate.request'")
    assert effect == {"status": status, "external_name": arn if is_there else None}
    assert attention(engine, "orphan") == (
        f"{arn} exists outside though its row did not complete" if is_there else None
    )


def test_the_inventory_is_compared_page_by_page(
    engine: Engine, customer: Customer, aws: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("provision_worker.actions.reconcile.PAGE", 2)
    accreditation = make_accreditation(engine, customer.tenant)
    for number in range(5):
        columns = {"tenant_customer_id": customer.account, "accreditation_id": accreditation}
        insert(
            engine,
            "certificate",
            id=UUID(int=number),
            domain_name="x",
            arn=f"arn:aws:acm:us-east-1:123456789012:certificate/{UUID(int=number)}",
            **columns,
        )
    with engine.worker(default_actions(), aws_endpoint_url=aws, **QUICK):
        assert reconcile(engine, accreditation)["missing"] == 5


def test_the_command_reconcile_compares_all_accreditations(engine: Engine, customer: Customer, aws: str) -> None:
    make_accreditation(engine, customer.tenant, name="north")
    make_accreditation(engine, customer.tenant, name="south", endpoint="http://127.0.0.1:9")
    environment = {
        "PROVISION_WORKER_DATABASE_URL": engine.database.url_as("provision_worker"),
        "PROVISION_AWS_ENDPOINT_URL": aws,
    }
    result = CliRunner(env=environment).invoke(reconcile_command, [])
    assert result.exit_code == 0
    assert {"north", "south"} <= set(result.output.split())
    assert (
        "no active accreditation is named east; there are north, south"
        in CliRunner(env=environment).invoke(reconcile_command, ["east"]).output
    )
