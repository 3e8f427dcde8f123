"""Certificates: what is asked for, what is refused, and what was issued in the end."""

import pytest

from . import sql_fixtures
from .sql_fixtures import Json, Shop, certificate_item, outcome, refused

shop = sql_fixtures.shop


def test_an_ordered_certificate_is_asked_for_and_kept(shop: Shop) -> None:
    shop.order(certificate_item("example.test", alternative_names=["*.example.test"]))
    (job,) = shop.claim()
    assert (job["type"], job["accreditation_id"]) == ("provision_ssl_create", shop.cloud)
    assert job["data"] == {"domain_name": "example.test", "alternative_names": ["*.example.test"]}
    shop.complete([job])
    row = shop.row("SELECT * FROM v_certificate WHERE tenant_customer_id = %s", shop.account)
    assert (row["domain_name"], row["alternative_names"], row["accreditation"]) == (
        "example.test",
        ["*.example.test"],
        "cloud",
    )
    assert row["arn"].startswith("arn:aws:acm:")
    assert f"{row['not_before']:%Y-%m-%d} {row['not_after']:%Y-%m-%d}" == "2026-03-01 2027-03-01"


def test_a_refused_certificate_is_not_kept(shop: Shop) -> None:
    order = shop.order(certificate_item())
    (job,) = shop.claim()
    shop.record(outcome(job, "failed", message="LimitExceededException"))
    assert shop.document(order)["reason"] == "certificate www.example.test: LimitExceededException"
    assert shop.rows("SELECT arn FROM v_certificate WHERE tenant_customer_id = %s", shop.account) == []


def test_a_name_can_have_a_further_certificate(shop: Shop) -> None:
    shop.done(certificate_item())
    shop.done(certificate_item())
    assert shop.value("SELECT count(*) FROM v_certificate WHERE tenant_customer_id = %s", shop.account) == 2


REFUSED: dict[str, tuple[Json, str]] = {
    "a name without a dot": (certificate_item("localhost"), "localhost"),
    "a name in capitals": (certificate_item("Example.test"), "Example.test"),
    "a wildcard in the middle": (certificate_item("a.*.test"), "a.*.test"),
    "a malformed further name": (certificate_item(alternative_names=["ok.test", "-bad.test"]), "-bad.test"),
    "a further name that is nothing": (certificate_item(alternative_names=[None]), "missing"),
    "too many names": (certificate_item(alternative_names=[f"n{n}.test" for n in range(100)]), "101"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_malformed_names_are_refused(shop: Shop, what: str) -> None:
    item, text = REFUSED[what]
    with refused(shop.connection, "PV422", text):
        shop.order(item)


def test_a_registry_issues_no_certificates(shop: Shop) -> None:
    with refused(shop.connection, "PV404", "registry"):
        shop.order(certificate_item(accreditation="registry"))
    with refused(shop.connection, "PV404", "accreditation not found"):
        shop.insert(
            "provision_ssl", tenant_customer_id=shop.account, accreditation_id=shop.registry, domain_name="a.test"
        )
