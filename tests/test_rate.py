"""How often requests may come: per caller, per address, in bounded memory; supervisors are never turned away."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from provision_api import rate
from provision_api.problem import Problem
from provision_api.rate import Buckets
from starlette.testclient import TestClient

from . import api_fixtures
from .api_fixtures import Api, MakeApi, make_customer, serving, settings_for
from .conftest import Database
from .test_api_order import refused

make_api = api_fixtures.make_api

# Three at once, and then one every 100 seconds: no test lives to see the fourth.
FEW = {"rate_burst_seconds": 300}


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def is_taken(buckets: Buckets, key: str = "me") -> bool:
    try:
        buckets.take(key)
    except Problem:
        return False
    return True


# Buckets


@given(
    st.floats(0.1, 100),
    st.floats(0.01, 100),
    st.lists(st.floats(0, 50), min_size=1, max_size=60),
)
def test_never_more_than_the_burst_and_what_fell_in_since(per_second: float, burst: float, pauses: list[float]) -> None:
    clock = Clock()
    buckets = Buckets("caller", per_second, burst, clock)
    taken: list[float] = []
    for pause in pauses:
        clock.now += pause
        if is_taken(buckets):
            taken.append(clock.now)
    room = max(burst * per_second, 1)
    for first, since in enumerate(taken):
        assert all(
            number + 1 <= room + (until - since) * per_second + 1e-6 for number, until in enumerate(taken[first:])
        )


def test_who_is_refused_is_served_when_it_was_told() -> None:
    clock = Clock()
    buckets = Buckets("caller", 0.5, 4, clock)
    assert [is_taken(buckets) for _ in range(3)] == [True, True, False]
    with pytest.raises(Problem) as refusal:
        buckets.take("me")
    assert refusal.value.headers == {"Retry-After": "2"}
    clock.now = 1.9
    assert not is_taken(buckets)
    clock.now = 2.0
    assert [is_taken(buckets), is_taken(buckets)] == [True, False]


@given(st.floats(0.01, 10), st.floats(1, 1e6))
def test_a_full_bucket_serves_whatever_the_time(per_second: float, now: float) -> None:
    clock = Clock()
    clock.now = now
    buckets = Buckets("caller", per_second, 1 / per_second, clock)
    assert [is_taken(buckets), is_taken(buckets)] == [True, False]


def test_the_quietest_are_forgotten_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate, "KEY_LIMIT", 3)
    buckets = Buckets("caller", 1, 1, Clock())
    assert [is_taken(buckets, key) for key in "abcd"] == [True] * 4
    assert len(buckets._full) == 3
    assert [is_taken(buckets, key) for key in "bcda"] == [False, False, False, True]


# Requests


def test_a_caller_who_asks_too_often_is_told_when_to_come_again(make_api: MakeApi) -> None:
    api = make_api(rate_per_caller=0.01, **FEW)
    other = Api(api.app, api.client, api.owner, make_customer(api.owner, "other"))
    assert [api.call("GET", "/v1/orders").status_code for _ in range(3)] == [200] * 3
    response = api.call("GET", "/v1/orders")
    problem = refused(response, 429)
    assert (problem["title"], problem["detail"]) == ("too many requests", "more than 0.01 per second from one caller")
    assert 90 < int(response.headers["retry-after"]) <= 100
    assert other.call("GET", "/v1/orders").status_code == 200


def test_an_address_that_asks_too_often_is_refused_unread_and_supervisors_are_not(make_api: MakeApi) -> None:
    api = make_api(rate_per_address=0.01, **FEW)
    for path in ("/nowhere", "/v1/orders", "/openapi.json"):
        assert api.client.get(path).status_code != 429
    response = api.client.post("/v1/orders", content=b"{")
    refused(response, 429)
    assert response.headers["x-content-type-options"] == "nosniff"
    for path in ("/healthz", "/readyz", "/metrics"):
        assert [api.client.get(path).status_code for _ in range(5)] == [200] * 5


@pytest.mark.parametrize(
    ("addresses", "is_one"),
    [
        (("192.0.2.1", "192.0.2.2"), False),
        (("192.0.2.1", "::ffff:192.0.2.1"), True),
        (("2001:db8::1", "2001:db8::ffff:0:0:1"), True),
        (("2001:db8:0:1::1", "2001:db8:0:2::1"), False),
    ],
)
def test_who_counts_as_one_address(make_api: MakeApi, addresses: tuple[str, str], is_one: bool) -> None:
    api = make_api(rate_per_address=0.01, **FEW)
    first, second = (TestClient(api.app, client=(address, 50000)) for address in addresses)
    while first.get("/nowhere").status_code == 404:
        pass
    assert second.get("/nowhere").status_code == (429 if is_one else 404)


def test_no_limit_is_no_limit(make_api: MakeApi) -> None:
    api = make_api(rate_per_address=0, rate_per_caller=0, **FEW)
    assert {api.call("GET", "/v1/orders").status_code for _ in range(20)} == {200}


@contextmanager
def client_of(database: Database, **settings: object) -> Iterator[httpx2.Client]:
    with ExitStack() as opened:
        served = opened.enter_context(serving(settings_for(database.url, rate_per_address=0.01, **FEW, **settings)))
        yield opened.enter_context(httpx2.Client(base_url=served.url))


@pytest.mark.parametrize(("proxies", "status"), [("127.0.0.0/8", 404), ("192.0.2.7", 429)])
def test_only_a_load_balancer_that_is_named_says_where_a_request_comes_from(
    database: Database, proxies: str, status: int
) -> None:
    with client_of(database, api_proxies=proxies) as client:
        answers = [client.get("/nowhere", headers={"X-Forwarded-For": f"192.0.2.{number}"}) for number in range(4)]
    assert answers[-1].status_code == status
