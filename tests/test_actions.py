"""The actions of the product against an AWS endpoint over HTTP and a registry over TLS."""

from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any, LiteralString
from uuid import UUID

import boto3
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from click.testing import CliRunner
from moto.backends import get_backend
from provision_worker.actions import certificate, default_actions
from provision_worker.cli import reconcile_command
from provision_worker.outcome import outcome_of
from provision_worker.providers import epp, secret
from provision_worker.providers.aws import Account
from provision_worker.providers.epp.xml import stamp
from provision_worker.simulator import Policy, RegistrySimulator
from psycopg.types.json import Jsonb

from . import worker_fixtures
from .worker_fixtures import (
    REGISTRY_PASSWORD,
    Customer,
    Engine,
    Relay,
    Shop,
    eventually,
    insert,
    issue_certificates,
    make_accreditation,
    make_customer,
    make_registry_accreditation,
    person,
)

engine = worker_fixtures.engine
aws = worker_fixtures.aws
registry = worker_fixtures.registry
shop = worker_fixtures.shop

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


# Contacts, hosts and domains


def test_an_order_of_contacts_hosts_and_a_domain_is_carried_out(shop: Shop) -> None:
    with shop.engine.worker(default_actions()):
        assert shop.ended(shop.order_domain("shoes.example")) == "completed"
    assert sorted(shop.creations().items()) == sorted(
        [
            *(((("contact", handle)), 1) for handle in shop.registry.objects("contact")),
            (("host", "ns1.shoes.example.net"), 1),
            (("host", "ns2.shoes.example.net"), 1),
            (("domain", "shoes.example"), 1),
        ]
    )
    theirs = shop.registry.objects("domain")["shoes.example"]
    ours = shop.engine.row("SELECT * FROM v_domain")
    assert (ours["name"], ours["roid"]) == (theirs["name"], theirs["roid"])
    assert (stamp(ours["ry_created_date"]), stamp(ours["ry_expiry_date"])) == (
        theirs["created_at"],
        theirs["expires_at"],
    )
    handles = {row["handle"]: row["roid"] for row in shop.engine.rows("SELECT * FROM v_contact")}
    assert handles == {handle: contact["roid"] for handle, contact in shop.registry.objects("contact").items()}


@pytest.mark.parametrize("kind", ["contact", "host", "domain"])
@pytest.mark.parametrize("fault", ["cut", "lose_answer", "mid_frame", "garbage", "fail", "fail_after"])
def test_whatever_becomes_of_the_answer_each_thing_is_created_once(shop: Shop, kind: str, fault: str) -> None:
    shop.engine.owner.execute("UPDATE setting SET value = '0' WHERE name = 'retry_base_seconds'")
    met = shop.registry.faults.add(fault, verb="create", object=kind)
    with shop.engine.worker(default_actions(), **QUICK):
        assert shop.ended(shop.order_domain("shoes.example")) == "completed"
    assert met.reached.is_set()
    assert len(shop.creations()) == 5
    assert set(shop.creations().values()) == {1}
    tries = shop.engine.rows("SELECT attempt, status FROM v_effect WHERE step = %s ORDER BY attempt", f"{kind}.create")
    assert (tries[-1]["attempt"], {effect["status"] for effect in tries}) == (2, {"done"})


def test_a_refused_domain_fails_with_the_registrys_words_and_leaves_its_contacts(shop: Shop) -> None:
    with shop.engine.worker(default_actions()):
        assert shop.ended(shop.order_domain("refused-shoes.example")) == "failed"
    job = shop.job("provision_domain")
    assert (job["status"], job["attempts"]) == ("failed", 0)
    assert job["result_message"].startswith("the registry refused create domain refused-shoes.example: 2306 ")
    assert shop.engine.value("SELECT status FROM v_effect WHERE step = 'domain.create'") == "absent"
    assert shop.engine.value("SELECT count(*) FROM v_contact") == 2
    assert shop.engine.value("SELECT count(*) FROM v_attention") == 0


@pytest.mark.parametrize(("is_granted", "status"), [(True, "completed"), (False, "failed")])
def test_what_the_registry_decides_later_is_waited_for(shop: Shop, is_granted: bool, status: str) -> None:
    shop.registry.faults.add("pending", verb="create", object="domain")
    with shop.engine.worker(default_actions(), **QUICK):
        order = shop.order_domain("shoes.example")
        waits = "SELECT count(*) FROM v_provision WHERE kind = 'provision_domain' AND status = 'pending_action'"
        eventually(partial(shop.engine.value, waits))
        shop.registry.settle("domain", "shoes.example", is_granted)
        shop.engine.owner.execute("SELECT clock_advance('1 hour')")
        assert shop.ended(order) == status
    job = shop.job("provision_domain")
    assert (job["attempts"], shop.creations()["domain", "shoes.example"]) == (0, 1)
    if not is_granted:
        assert job["result_message"] == "the registry took the request, looked into it, and decided against it"
        assert shop.engine.value("SELECT count(*) FROM v_attention") == 0


PASSWORDS = {"us": REGISTRY_PASSWORD, "them": "battery staple"}


def take(shop: Shop, registrar: str, *commands: epp.Command[epp.Created]) -> None:
    """Somebody has created these before."""
    tls = epp.tls_context(shop.registry.ca_file)
    settings = epp.Settings(shop.registry.host, registrar, PASSWORDS[registrar], tls, port=shop.registry.port)
    with epp.Client(settings) as client:
        for command in commands:
            client.send(command, "somebody-else")


def take_domain(shop: Shop, registrar: str) -> None:
    """Somebody has registered shoes.example before."""
    owner = epp.contact.PostalInfo("Somebody Else", "Springfield", "US", ("2 Main Street",))
    contact = epp.contact.ContactDetails("ELSE", "else@example.net", owner, auth_info="their-secret")
    roles = tuple(epp.domain.DomainContact(role, "ELSE") for role in ("admin", "tech", "billing"))
    registration = epp.domain.Registration("shoes.example", "ELSE", "their-secret", contacts=roles)
    take(shop, registrar, epp.contact.create(contact), epp.domain.create(registration))


def test_a_host_that_another_customer_has_made_known_is_shared(shop: Shop) -> None:
    other = Shop(shop.engine, shop.registry, *other_customer(shop))
    with shop.engine.worker(default_actions()):
        for orderer in (shop, other):
            assert orderer.ended(orderer.order(("host.create", {"name": "ns1.shoes.net"}))) == "completed"
    assert shop.creations()["host", "ns1.shoes.net"] == 1
    roids = {row["roid"] for row in shop.engine.rows("SELECT roid FROM v_host")}
    assert roids == {shop.registry.objects("host")["ns1.shoes.net"]["roid"]}


def other_customer(shop: Shop) -> tuple[Customer, UUID]:
    customer = make_customer(shop.engine, "other")
    return customer, make_registry_accreditation(shop.engine, customer.tenant, shop.registry)


def test_a_host_with_other_addresses_is_not_taken_for_ours(shop: Shop) -> None:
    with shop.engine.worker(default_actions()):
        assert shop.ended(shop.order_domain("shoes.example")) == "completed"
        take(shop, "us", epp.host.create(epp.host.Host("ns1.shoes.example", (ip_address("192.0.2.1"),))))
        other = {"name": "ns1.shoes.example", "addresses": ["192.0.2.99"]}
        assert shop.ended(shop.order(("host.create", other))) == "failed"
        same = {"name": "ns1.shoes.example", "addresses": ["192.0.2.1"]}
        assert shop.ended(shop.order(("host.create", same))) == "completed"


@pytest.mark.parametrize("registrar", ["them", "us"])
def test_a_name_that_was_registered_before_is_not_taken_for_ours(shop: Shop, registrar: str) -> None:
    take_domain(shop, registrar)
    with shop.engine.worker(default_actions()):
        assert shop.ended(shop.order_domain("shoes.example")) == "failed"
    assert "2302" in shop.job("provision_domain")["result_message"]
    assert shop.engine.value("SELECT count(*) FROM v_domain") == 0


@pytest.mark.parametrize("registrar", ["them", "us"])
def test_a_name_that_somebody_took_between_our_tries_is_not_taken_for_ours(shop: Shop, registrar: str) -> None:
    shop.registry.faults.add("cut", verb="create", object="domain")
    with shop.engine.worker(default_actions(), **QUICK):
        order = shop.order_domain("shoes.example")
        eventually(lambda: shop.engine.value("SELECT max(attempts) FROM v_job WHERE worker IS NULL") == 1)
        take_domain(shop, registrar)
        shop.engine.owner.execute("SELECT clock_advance('1 hour')")
        assert shop.ended(order) == "failed"
    assert shop.creations()["domain", "shoes.example"] == 1


def test_a_contact_with_letters_beyond_ascii_is_a_local_one(shop: Shop) -> None:
    contact = person("jane", "shoes.example") | {"city": "Köln"}
    with shop.engine.worker(default_actions()):
        assert shop.ended(shop.order(("contact.create", contact))) == "completed"
    (known,) = shop.registry.registry.store.objects("contact").values()
    assert "postalInfo/loc" in known.details  # type: ignore[attr-defined]


def test_a_busy_registry_costs_no_attempt(shop: Shop) -> None:
    shop.registry.faults.add("fail", code=2502, verb="create", object="contact")
    with shop.engine.worker(default_actions(), **QUICK):
        order = shop.order(("contact.create", person("jane", "shoes.example")))
        eventually(lambda: shop.engine.value("SELECT result_message LIKE '%%2502%%' AND worker IS NULL FROM v_job"))
        shop.engine.owner.execute("SELECT clock_advance('1 minute')")
        assert shop.ended(order) == "completed"
    assert shop.job("provision_contact")["attempts"] == 0


def test_a_new_password_is_looked_up_after_a_refused_login(shop: Shop, tmp_path: Path) -> None:
    secret_file = tmp_path / "password"
    secret_file.write_text("out of date")
    shop.engine.owner.execute("UPDATE accreditation SET secret_ref = 'file:' || %s", [str(secret_file)])
    with shop.engine.worker(default_actions(), **QUICK):
        order = shop.order(("contact.create", person("jane", "shoes.example")))
        eventually(lambda: shop.engine.value("SELECT attempts = 1 AND worker IS NULL FROM v_job"))
        assert shop.engine.value("SELECT start_date >= engine_now() + '30 seconds' FROM job")
        assert "refused the login of us" in shop.job("provision_contact")["result_message"]
        secret_file.write_text(REGISTRY_PASSWORD)
        shop.engine.owner.execute("SELECT clock_advance('1 hour')")
        assert shop.ended(order) == "completed"


def test_a_registry_that_hangs_holds_up_no_other(shop: Shop) -> None:
    with RegistrySimulator({"us": REGISTRY_PASSWORD}, Policy(zones=("example",))) as quick:
        other = make_registry_accreditation(shop.engine, shop.customer.tenant, quick, name="quick")
        hang = shop.registry.faults.add("hold", object="contact")
        with shop.engine.worker(default_actions()):
            slow = shop.order(("contact.create", person("jane", "shoes.example") | {"accreditation": "registry"}))
            hang.reached.wait(10)
            swift = shop.order(("contact.create", person("jane", "shoes.example") | {"accreditation": "quick"}))
            assert shop.ended(swift) == "completed"
            assert shop.engine.value("SELECT status FROM v_order WHERE id = %s", slow) == "processing"
            hang.release()
            assert shop.ended(slow) == "completed"
    assert shop.engine.value("SELECT count(*) FROM contact WHERE accreditation_id = %s", other) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("secret_ref = 'env:NOT_THERE'", "the secret env:NOT_THERE is not set"),
        ("endpoint = 'registry.example'", "accreditation registry: "),
        ("settings = '{\"max_session\": 1}'", "accreditation registry: unknown setting 'max_session'"),
        ('settings = \'{"ca_file": "/not/there"}\'', "accreditation registry: "),
        ("settings = '{\"max_sessions\": 0}'", "accreditation registry: max_sessions and burst are at least 1"),
    ],
)
def test_a_wrong_accreditation_is_said_so_and_tried_again(shop: Shop, change: LiteralString, message: str) -> None:
    shop.engine.owner.execute("UPDATE accreditation SET " + change)
    with shop.engine.worker(default_actions()):
        shop.order(("contact.create", person("jane", "shoes.example")))
        eventually(lambda: shop.engine.value("SELECT attempts >= 1 FROM v_job WHERE worker IS NULL"))
    assert shop.job("provision_contact")["result_message"].startswith(message)


def test_a_changed_accreditation_is_used_at_once(shop: Shop) -> None:
    with (
        RegistrySimulator({"us": REGISTRY_PASSWORD}, Policy(zones=("example",))) as moved,
        shop.engine.worker(default_actions()),
    ):
        assert shop.ended(shop.order(("contact.create", person("jane", "a")))) == "completed"
        settings = Jsonb({"ca_file": str(moved.ca_file)})
        shop.engine.owner.execute(
            "UPDATE accreditation SET endpoint = %s, settings = %s", [f"127.0.0.1:{moved.port}", settings]
        )
        assert shop.ended(shop.order(("contact.create", person("jane", "b")))) == "completed"
        assert (len(shop.creations()), len(moved.objects("contact"))) == (1, 1)


# Comparing with the outside


def test_what_is_gone_at_the_registry_is_noted(shop: Shop) -> None:
    with shop.engine.worker(default_actions()):
        assert shop.ended(shop.order_domain("shoes.example")) == "completed"
        assert reconcile(shop.engine, shop.accreditation) == {"absent": 0, "orphaned": 0, "present": 5, "missing": 0}
        shop.registry.registry.store.remove("domain", "shoes.example")
        assert reconcile(shop.engine, shop.accreditation)["missing"] == 1
    assert attention(shop.engine, "missing domain") == "shoes.example: the registry does not have it"


@pytest.mark.parametrize("kind", ["contact", "host", "domain"])
def test_what_a_failed_job_left_at_the_registry_is_found(shop: Shop, kind: str) -> None:
    shop.engine.owner.execute("UPDATE job_type SET max_attempts = 1")
    shop.registry.faults.add("lose_answer", verb="create", object=kind)
    with shop.engine.worker(default_actions()):
        assert shop.ended(shop.order_domain("shoes.example")) == "failed"
        found = reconcile(shop.engine, shop.accreditation)
    assert (found["orphaned"], found["absent"]) == (1, 0)
    orphan = shop.engine.value("SELECT external_name FROM v_effect WHERE status = 'orphaned'")
    assert orphan in shop.registry.objects(kind)


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
