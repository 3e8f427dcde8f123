"""Renewing and revoking certificates, by order, by the clock, and at ACM."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import boto3
import pytest
from botocore.stub import Stubber
from moto.acm.models import CertBundle
from moto.backends import get_backend
from provision_worker.actions import default_actions
from provision_worker.providers.aws import Account
from psycopg.types.json import Jsonb

from . import sql_fixtures, worker_fixtures
from .sql_fixtures import Json, Shop, certificate_item, outcome, refused
from .test_actions import QUICK, Cloud
from .worker_fixtures import Customer, Engine, eventually, issue_certificates, make_accreditation, make_customer

shop = sql_fixtures.shop
engine = worker_fixtures.engine
aws = worker_fixtures.aws


def item(operation: str, **data: Any) -> Json:
    return {"operation": operation, "data": data}


def certificate(shop: Shop) -> Json:
    return shop.row("SELECT * FROM v_certificate WHERE tenant_customer_id = %s", shop.account)


RENEWED = {"arn": "arn:aws:acm:x:1:certificate/new", "not_before": "2027-02-01Z", "not_after": "2028-02-01Z"}


def test_a_renewed_certificate_stays_the_same_and_ends_later(shop: Shop) -> None:
    shop.done(certificate_item())
    before = certificate(shop)
    order = shop.order(item("ssl.renew", domain_name="www.example.test"))
    (job,) = shop.claim()
    assert {key: job["data"][key] for key in ("arn", "domain_name")} == {
        "arn": before["arn"],
        "domain_name": "www.example.test",
    }
    shop.record(outcome(job, "completed", result=RENEWED))
    after = certificate(shop)
    assert (after["id"], after["arn"], shop.status(order)) == (before["id"], RENEWED["arn"], "completed")
    assert f"{after['not_after']:%Y-%m-%d} {after['renewal_date']:%Y-%m-%d}" == "2028-02-01 2028-01-02"


def test_a_revoked_certificate_is_history(shop: Shop) -> None:
    shop.done(certificate_item())
    shop.order(item("ssl.revoke", arn=certificate(shop)["arn"], reason="KEY_COMPROMISE"))
    (job,) = shop.claim()
    assert job["data"] == {"arn": certificate(shop)["arn"], "reason": "KEY_COMPROMISE"}
    shop.complete([job])
    assert certificate(shop)["revoked_date"]
    with refused(shop.connection, "PV404", "certificate not found"):
        shop.order(item("ssl.renew", domain_name="www.example.test"))


def test_what_is_not_right_is_refused(shop: Shop) -> None:
    shop.done(certificate_item())
    with refused(shop.connection, "PV422", "not a reason for a revocation"):
        shop.order(item("ssl.revoke", domain_name="www.example.test", reason="boredom"))
    shop.order(item("ssl.renew", domain_name="www.example.test"))
    with refused(shop.connection, "PV409", "another operation on this certificate is active"):
        shop.order(item("ssl.revoke", domain_name="www.example.test"))


def test_nobody_renews_or_revokes_what_is_another_customers(shop: Shop) -> None:
    other = shop.customer("Other Ltd")
    shop.done(certificate_item(), account=other)
    row = shop.row("SELECT id, arn FROM certificate")
    for key in ({"id": str(row["id"])}, {"arn": row["arn"]}, {"domain_name": "www.example.test"}):
        for operation in ("ssl.renew", "ssl.revoke"):
            with refused(shop.connection, "PV404", "certificate not found"):
                shop.order(item(operation, **key))
    for kind in ("renew", "revoke"):
        with refused(shop.connection, "PV404", "certificate not found"):
            shop.insert(f"provision_ssl_{kind}", tenant_customer_id=shop.account, certificate_id=row["id"])
    sibling, mine = str(shop.org()), str(shop.org())
    shop.done(certificate_item("sib.example.test"), org_id=sibling)
    with refused(shop.connection, "PV404", "certificate not found"):
        shop.order(item("ssl.renew", domain_name="sib.example.test"), org_id=mine)


# By themselves --------------------------------------------------------------------------------------------------------


def orders(shop: Shop) -> int:
    count: int = shop.value("SELECT count(*) FROM v_order WHERE metadata = '{\"auto_renew\": true}'")
    return count


@pytest.fixture
def issued(shop: Shop) -> Shop:
    """With a certificate that ends in a year."""
    shop.order(certificate_item())
    (job,) = shop.claim()
    ends = shop.value("SELECT engine_now() + interval '365 days'").isoformat()
    shop.record(outcome(job, "completed", result=RENEWED | {"not_after": ends}))
    return shop


def test_a_certificate_is_renewed_thirty_days_before_it_ends(issued: Shop) -> None:
    issued.pass_time("334 days")
    issued.sweep()
    assert orders(issued) == 0
    issued.pass_time("1 day 1 minute")
    issued.sweep()
    issued.sweep()
    assert orders(issued) == 1
    (job,) = issued.claim()
    ends = issued.value("SELECT engine_now() + interval '395 days'").isoformat()
    issued.record(outcome(job, "completed", result=RENEWED | {"not_after": ends}))
    issued.pass_time("300 days")
    issued.sweep()
    assert orders(issued) == 1


def test_a_renewal_that_failed_is_tried_again_the_next_day(issued: Shop) -> None:
    issued.pass_time("336 days")
    issued.sweep()
    (job,) = issued.claim()
    issued.record(outcome(job, "failed", message="no zone"))
    issued.sweep()
    assert orders(issued) == 1
    issued.pass_time("1 day 1 minute")
    issued.sweep()
    assert orders(issued) == 2


def test_what_hinders_a_renewal_is_an_event(issued: Shop) -> None:
    issued.connection.execute("UPDATE accreditation SET is_active = false")
    issued.pass_time("336 days")
    issued.sweep()
    assert orders(issued) == 0
    reason = issued.value("SELECT reason FROM v_event WHERE type = 'certificate.auto_renew_refused'")
    assert reason.startswith("accreditation not found")


def test_zero_days_means_never_and_revoked_ones_rest(shop: Shop, issued: Shop) -> None:
    issued.done(item("ssl.revoke", domain_name="www.example.test"))
    issued.set("certificate_renewal_days", 0)
    issued.done(certificate_item("b.example.test"))
    issued.pass_time("360 days")
    issued.sweep()
    assert orders(issued) == 0


# At ACM ---------------------------------------------------------------------------------------------------------------


class Place:
    """A customer with an issued certificate for example.org."""

    def __init__(self, engine: Engine, url: str) -> None:
        self.engine, self.url = engine, url
        self.cloud = Cloud(url)
        self.zone = self.cloud.add_zone("example.org")
        issue_certificates()
        self.customer: Customer = make_customer(engine)
        make_accreditation(engine, self.customer.tenant)
        assert self.run("ssl.create", domain_name="example.org") == "completed"

    def order(self, operation: str, **data: Any) -> UUID:
        items = Jsonb([item(operation, **data)])
        order: UUID = self.engine.value("SELECT order_submit(%s, %s)", self.customer.account, items)
        return order

    def run(self, operation: str, **data: Any) -> str:
        order = self.order(operation, **data)
        with self.engine.worker(default_actions(), aws_endpoint_url=self.url, **QUICK):
            eventually(lambda: self.engine.value("SELECT finished_date FROM v_order WHERE id = %s", order))
        status: str = self.engine.value("SELECT status FROM v_order WHERE id = %s", order)
        return status

    def row(self) -> Json:
        return self.engine.row("SELECT arn, not_after, revoked_date FROM v_certificate")

    @property
    def kept(self) -> Any:
        """The first certificate as the endpoint has it."""
        return next(iter(get_backend("acm")["123456789012"]["us-east-1"]._certificates.values()))


@pytest.fixture
def place(engine: Engine, aws: str) -> Place:
    return Place(engine, aws)


def test_one_that_nothing_uses_is_replaced_by_a_new_one_once(place: Place) -> None:
    old = place.row()["arn"]
    assert place.run("ssl.renew", domain_name="example.org") == "completed"
    assert place.row()["arn"] != old
    assert sorted(place.cloud.certificates()) == sorted([old, place.row()["arn"]])


def describing(monkeypatch: pytest.MonkeyPatch, **more: Any) -> None:
    """The endpoint says more of certificates than moto does."""
    whole = CertBundle.describe
    monkeypatch.setattr(CertBundle, "describe", lambda self: {"Certificate": whole(self)["Certificate"] | more})


def test_one_that_acm_has_renewed_is_noted_and_nothing_is_requested(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = datetime.now(UTC).replace(microsecond=0) + timedelta(days=700)
    describing(monkeypatch, NotAfter=later.timestamp())
    old = place.row()["arn"]
    assert place.run("ssl.renew", domain_name="example.org") == "completed"
    assert (place.row()["arn"], place.row()["not_after"]) == (old, later)
    assert place.cloud.certificates() == [old]


def test_one_that_acm_is_about_to_renew_gets_its_validation_records_back_and_is_waited_for(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    describing(monkeypatch, RenewalSummary={"RenewalStatus": "PENDING_VALIDATION", "DomainValidationOptions": []})
    order = place.order("ssl.renew", domain_name="example.org")
    with place.engine.worker(default_actions(), aws_endpoint_url=place.url, **QUICK):
        waits = "SELECT count(*) FROM v_job WHERE result_message = 'ACM is renewing it' AND worker IS NULL"
        eventually(lambda: place.engine.value(waits))
        assert len(place.cloud.records(place.zone)) == 1
        later = datetime.now(UTC).replace(microsecond=0) + timedelta(days=700)
        describing(monkeypatch, NotAfter=later.timestamp())
        place.engine.owner.execute("SELECT clock_advance('1 day')")
        eventually(lambda: place.engine.value("SELECT finished_date FROM v_order WHERE id = %s", order))
    assert place.row()["not_after"] == later
    assert len(place.cloud.certificates()) == 1


def test_one_whose_key_acm_alone_has_is_deleted_with_it(place: Place) -> None:
    assert place.run("ssl.revoke", domain_name="example.org") == "completed"
    assert place.cloud.certificates() == []
    assert place.row()["revoked_date"]


def test_one_that_is_gone_already_is_revoked(place: Place) -> None:
    place.cloud.acm.delete_certificate(CertificateArn=place.row()["arn"])
    assert place.run("ssl.revoke", domain_name="example.org") == "completed"


def stubbed(monkeypatch: pytest.MonkeyPatch) -> Stubber:
    """What ACM answers where moto has no such operation."""
    client = boto3.client("acm", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    stubber = Stubber(client)
    stubber.activate()
    monkeypatch.setattr(Account, "acm", property(lambda account: client))
    return stubber


def test_one_whose_key_was_exported_is_revoked_with_the_reason(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    arn = place.row()["arn"]
    detail = {"Certificate": {"CertificateArn": arn, "Status": "ISSUED", "Options": {"Export": "ENABLED"}}}
    with stubbed(monkeypatch) as stubber:
        stubber.add_response("describe_certificate", detail, {"CertificateArn": arn})
        asked = {"CertificateArn": arn, "RevocationReason": "KEY_COMPROMISE"}
        stubber.add_response("revoke_certificate", {"CertificateArn": arn}, asked)
        assert place.run("ssl.revoke", domain_name="example.org", reason="KEY_COMPROMISE") == "completed"
        stubber.assert_no_pending_responses()
    assert place.row()["revoked_date"]


def test_one_in_use_is_not_revoked_and_the_order_tells_why(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    arn = place.row()["arn"]
    with stubbed(monkeypatch) as stubber:
        detail = {"Certificate": {"CertificateArn": arn, "Status": "ISSUED", "InUseBy": ["arn:x"]}}
        stubber.add_response("describe_certificate", detail)
        stubber.add_client_error("delete_certificate", "ResourceInUseException", "in use by a load balancer", 400)
        assert place.run("ssl.revoke", domain_name="example.org") == "failed"
    assert "in use by a load balancer" in place.engine.value("SELECT reason FROM v_order ORDER BY id DESC LIMIT 1")
    assert place.row()["revoked_date"] is None
