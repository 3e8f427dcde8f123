"""Names in letters beyond ASCII, from the order to the list."""

from typing import Any

import pytest
from provision_api.idn import a_labels, item_data
from provision_api.problem import Problem

from . import api_fixtures, sql_fixtures
from .api_fixtures import MakeApi
from .sql_fixtures import Shop, domain_item

make_api = api_fixtures.make_api
open_shop = sql_fixtures.open_shop


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("bücher.test", "xn--bcher-kva.test"),
        ("BÜCHER.Test", "xn--bcher-kva.test"),
        ("*.bücher.test", "*.xn--bcher-kva.test"),
        ("faß.test", "xn--fa-hia.test"),
        ("bücher。test", "xn--bcher-kva.test"),
        ("Example.test", "Example.test"),
        ("-a.test", "-a.test"),
    ],
)
def test_letters_become_a_labels_and_ascii_stays(given: str, kept: str) -> None:
    assert a_labels(given) == kept


@pytest.mark.parametrize("name", ["a\u200db.test", "ü..test", "\u0300a.test", "ü" * 64 + ".test", "xn--ü.test"])
def test_what_is_no_name_in_any_script_is_refused(name: str) -> None:
    with pytest.raises(Problem) as refusal:
        a_labels(name)
    assert refusal.value.status == 422


def test_only_names_of_the_dns_are_changed() -> None:
    data: dict[str, Any] = {"name": "bücher.test", "hosts": ["ns1.bücher.test", {"name": "ü.test", "addresses": []}, 7]}
    assert item_data("domain.create", data) == {
        "name": "xn--bcher-kva.test",
        "hosts": ["ns1.xn--bcher-kva.test", {"name": "xn--tda.test", "addresses": []}, 7],
    }
    assert item_data("contact.create", {"name": "Jürgen"}) == {"name": "Jürgen"}
    certificate = {"domain_name": "ü.test", "alternative_names": ["*.ü.test", None]}
    assert item_data("ssl.create", certificate) == {
        "domain_name": "xn--tda.test",
        "alternative_names": ["*.xn--tda.test", None],
    }


def test_a_name_is_ordered_listed_and_changed_in_its_own_letters(open_shop: Shop, make_api: MakeApi) -> None:
    key = open_shop.value("SELECT api_key_create(%s, 'shop')", open_shop.account)
    api = make_api(api_fixtures.Customer(open_shop.account, key))
    answer = api.order(domain_item("bücher.test"))
    assert (answer.status_code, answer.json()["items"][0]["data"]["name"]) == (202, "xn--bcher-kva.test")
    open_shop.work()
    (listed,) = api.call("GET", "/v1/domains", params={"name": "bücher.test"}).json()["domains"]
    assert listed["name"] == "xn--bcher-kva.test"
    change = {"operation": "domain.update", "data": {"name": "BÜCHER.test", "statuses": ["clientHold"]}}
    assert api.order(change).status_code == 202
    refused = api.order(domain_item("a\u200db.test"))
    assert (refused.status_code, refused.json()["title"]) == (422, "the name is malformed")
