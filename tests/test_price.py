"""What names cost: told to who asks, and held against the most that an order may cost."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, LiteralString

import httpx2
import pytest
from provision_worker.actions import default_actions
from provision_worker.providers import epp
from provision_worker.providers.epp import xml
from provision_worker.simulator import Policy, RegistrySimulator

from . import api_fixtures, sql_fixtures, worker_fixtures
from .sql_fixtures import domain_item, refused
from .test_lifecycle_registry import THEIRS, reason, send, sent
from .worker_fixtures import REGISTRY_PASSWORD, Shop

engine = worker_fixtures.engine
shop = worker_fixtures.shop
sql_shop = sql_fixtures.shop

QUICK: dict[str, Any] = {"worker_poll_seconds": 0.05}
DEAR = "premium-name.example"
PLAIN = "plain-name.example"
WITHOUT = tuple(xml.NS[prefix] for prefix in ("rgp", "secDNS"))


@pytest.fixture
def policy(request: pytest.FixtureRequest) -> Policy:
    return Policy(zones=("example",), transfer_at_once=True, **getattr(request, "param", {}))


@pytest.fixture
def registry(policy: Policy) -> Iterator[RegistrySimulator]:
    with RegistrySimulator({"us": REGISTRY_PASSWORD, "them": THEIRS}, policy) as registry:
        yield registry


@pytest.fixture
def busy(shop: Shop) -> Iterator[Shop]:
    with shop.engine.worker(default_actions(), **QUICK):
        yield shop


no_prices = pytest.mark.parametrize("policy", [{"extensions": WITHOUT}], indirect=True)

# The client -----------------------------------------------------------------------------------------------------------


def test_a_registry_quotes_every_command(registry: RegistrySimulator) -> None:
    quote = send(registry, epp.fee.check(DEAR, ("create", "restore", "split"), 2))
    assert (quote.available, quote.is_premium, quote.currency) == (True, True, "USD")
    assert quote.prices == {"create": Decimal("200.00"), "restore": Decimal("400.00")}
    assert not send(registry, epp.fee.check("refused-name.example", ("create",))).available


@no_prices
def test_prices_are_not_asked_of_a_registry_that_has_none(registry: RegistrySimulator) -> None:
    with pytest.raises(epp.EppNotOffered):
        send(registry, epp.fee.check(DEAR, ("create",)))


# Orders ---------------------------------------------------------------------------------------------------------------


def test_what_is_dearer_is_refused_without_a_command(busy: Shop) -> None:
    order = busy.order_domain(DEAR, max_price=99.99)
    assert busy.ended(order) == "failed"
    assert f"{DEAR} costs 100.00 USD, more than max_price 99.99" in reason(busy, order)
    assert sent(busy, "create") == []
    assert busy.engine.rows("SELECT FROM v_attention WHERE what IN ('orphan', 'uncertain effect')") == []


def test_what_costs_no_more_is_done_at_that_price(busy: Shop) -> None:
    assert busy.ended(busy.order_domain(DEAR, max_price=100, currency="USD")) == "completed"
    assert busy.ended(busy.order(("domain.renew", {"name": DEAR, "max_price": 99}))) == "failed"
    assert sent(busy, "renew") == []
    assert busy.ended(busy.order(("domain.renew", {"name": DEAR, "max_price": 100.0}))) == "completed"
    assert sent(busy, "renew") == [(DEAR, True)]


def test_without_a_limit_a_dear_name_is_not_sold_by_mistake(busy: Shop) -> None:
    order = busy.order_domain(DEAR)
    assert busy.ended(order) == "failed"
    assert "premium" in reason(busy, order)
    assert busy.ended(busy.order_domain(PLAIN)) == "completed"


def test_a_price_in_another_currency_is_refused(busy: Shop) -> None:
    order = busy.order_domain(PLAIN, max_price=1000, currency="EUR")
    assert busy.ended(order) == "failed"
    assert "costs 10.00 USD, and max_price is in EUR" in reason(busy, order)


@no_prices
def test_where_no_prices_are_told_a_limit_is_not_kept_by_luck(busy: Shop) -> None:
    order = busy.order_domain(PLAIN, max_price=1000)
    assert busy.ended(order) == "failed"
    assert "nobody can say whether" in reason(busy, order)
    assert busy.ended(busy.order_domain(PLAIN, hosts=["ns3.b.net", "ns4.b.net"])) == "completed"


def test_a_restore_and_a_transfer_have_their_price_too(busy: Shop) -> None:
    assert busy.ended(busy.order_domain(PLAIN)) == "completed"
    busy.registry.registry.store.domains[PLAIN].grace.clear()
    assert busy.ended(busy.order(("domain.delete", {"name": PLAIN}))) == "completed"
    order = busy.order(("domain.restore", {"name": PLAIN, "max_price": 39}))
    assert busy.ended(order) == "failed"
    assert "costs 40.00 USD" in reason(busy, order)
    assert busy.ended(busy.order(("domain.restore", {"name": PLAIN, "max_price": 40}))) == "completed"
    details = epp.contact.PostalInfo(name="R. Val", streets=("1 Road",), city="Elsewhere", country="IS")
    person = epp.contact.ContactDetails("RIVAL-1", "r@rival.example", details, auth_info="no-1-else")
    send(busy.registry, epp.contact.create(person), "them")
    send(busy.registry, epp.domain.create(epp.domain.Registration("their.example", "RIVAL-1", "no-1-else")), "them")
    transfer = {"name": "their.example", "pw": "no-1-else"}
    order = busy.order(("domain.transfer", transfer | {"max_price": 9.99}))
    assert busy.ended(order) == "failed"
    assert "costs 10.00 USD" in reason(busy, order)
    assert sent(busy, "transfer") == []
    assert busy.ended(busy.order(("domain.transfer", transfer | {"max_price": 10}))) == "completed"


def test_a_price_goes_with_whatever_else_a_command_carries(busy: Shop) -> None:
    """DNSSEC records in a registration, and the restoration itself, are extensions too (RFC 5910, RFC 3915)."""
    record = {"key_tag": 1, "algorithm": 13, "digest_type": 2, "digest": "AB" * 32}
    assert busy.ended(busy.order_domain(DEAR, max_price=100, ds_records=[record])) == "completed"
    found = send(busy.registry, epp.domain.info(DEAR))
    assert found.ds_records == (epp.domain.DsRecord(1, 13, 2, "AB" * 32),)
    assert busy.engine.value("SELECT ds_records FROM v_domain") == [record]
    busy.registry.registry.store.domains[DEAR].grace.clear()
    assert busy.ended(busy.order(("domain.delete", {"name": DEAR}))) == "completed"
    assert busy.ended(busy.order(("domain.restore", {"name": DEAR, "max_price": 400}))) == "completed"


@pytest.mark.parametrize(
    "limit", [{"max_price": -1}, {"max_price": 10**12}, {"currency": "EUR"}, {"max_price": 1, "currency": "euro"}]
)
def test_a_limit_that_cannot_be_is_refused(sql_shop: sql_fixtures.Shop, limit: dict[str, Any]) -> None:
    with refused(sql_shop.connection, "PV422", "cannot be that"):
        sql_shop.order(domain_item(**limit))


def test_where_nobody_tells_prices_a_limit_is_refused_at_once(sql_shop: sql_fixtures.Shop) -> None:
    sql_shop.connection.execute("UPDATE accreditation SET provider = 'manual' WHERE id = %s", [sql_shop.registry])
    with refused(sql_shop.connection, "PV422", "max_price cannot be kept there"):
        sql_shop.order(domain_item(max_price=10))
    sql_shop.order(domain_item())


# The API --------------------------------------------------------------------------------------------------------------


def test_who_asks_is_told_whether_a_name_is_free_and_what_it_costs(busy: Shop) -> None:
    key = busy.engine.value("SELECT api_key_create(%s, 'shop')", busy.customer.account)
    with api_fixtures.serving(api_fixtures.settings_for(busy.engine.database.url)) as served:
        headers = {"Authorization": f"Token {key}"}

        def ask(path: str, **more: Any) -> Any:
            url = f"{served.url}/v1/domains/{path}"
            return httpx2.request(more.pop("method", "GET"), url, headers=headers, timeout=30, **more)

        assert ask(f"check?name={DEAR}").json() == {
            "name": DEAR,
            "available": True,
            "reason": None,
            "premium": True,
            "fee": {
                "currency": "USD",
                "create": "100.00",
                "renew": "100.00",
                "transfer": "100.00",
                "restore": "400.00",
            },
        }
        assert busy.ended(busy.order_domain(PLAIN, auto_renew=True)) == "completed"
        taken = ask(f"check?name={PLAIN}").json()
        assert (taken["available"], taken["reason"]) == (False, "In use")
        assert ask("check?name=bücher.example").json()["name"] == "xn--bcher-kva.example"
        assert ask("check?name=x.elsewhere").status_code == 422
        assert ask("check?name=").status_code == 400
        query: LiteralString = "SELECT auto_renew FROM v_domain"
        assert busy.engine.value(query) is True
        off = {"auto_renew": False}
        assert ask(f"{PLAIN}/auto-renew", method="PUT", json=off).json() == off
        assert busy.engine.value(query) is False
        assert ask("nobodys.example/auto-renew", method="PUT", json=off).status_code == 404


@no_prices
def test_of_a_registry_without_prices_the_rest_is_told(busy: Shop) -> None:
    job = busy.engine.value(
        "INSERT INTO job (type, accreditation_id, data) VALUES ('domain_check', %s, %s) RETURNING id",
        busy.accreditation,
        '{"name": "plain-name.example"}',
    )
    result = busy.engine.ended(job)["result"]
    assert result == {"available": True, "reason": None, "premium": None, "fee": None}
