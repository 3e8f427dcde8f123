"""Allocations whose backend is AWS, against an AWS endpoint over HTTP, and those that are node-hours of a cluster."""

from datetime import date
from typing import Any
from uuid import UUID

import boto3
import httpx2
import pytest
from provision_worker.actions import default_actions
from provision_worker.actions.allocation import months
from psycopg.types.json import Jsonb

from . import sql_fixtures, worker_fixtures
from .allocation_fixtures import Market
from .cluster_fixtures import add_version
from .sql_fixtures import Shop, refused
from .tenancy_fixtures import do, member
from .worker_fixtures import Engine, Relay, eventually

engine = worker_fixtures.engine
shop = sql_fixtures.shop
aws = worker_fixtures.aws

QUICK: dict[str, Any] = {"worker_poll_seconds": 0.05}
SETTINGS = {"email": "aws@example.net", "alerts": ["owner@example.net"]}


class Cloud:
    """What is at the endpoint, seen by somebody else's client."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.organizations = boto3.client("organizations", region_name="us-east-1", endpoint_url=url)
        self.budgets = boto3.client("budgets", region_name="us-east-1", endpoint_url=url)
        self.organizations.create_organization(FeatureSet="ALL")

    def accounts(self) -> dict[str, str]:
        """Status of each account that was made, by its address."""
        found = self.organizations.list_accounts()["Accounts"]
        return {one["Email"]: one["Status"] for one in found if "+" in one["Email"]}

    def limits(self) -> list[tuple[str, str]]:
        """Amount and period of each budget."""
        found = self.budgets.describe_budgets(AccountId="123456789012")["Budgets"]
        return sorted((one["BudgetLimit"]["Amount"], one["TimeUnit"]) for one in found)


class Rented(Market):
    """A market whose offering is an AWS account with a budget."""

    def new_offering(self, pool: int | None = None, **values: Any) -> UUID:
        self.shop.accreditation("organization", "aws")
        given = {"backend": "aws", "accreditation": "organization", "backend_settings": SETTINGS}
        id = super().new_offering(pool, **given | values)
        self.shop.connection.execute("DELETE FROM offering_plan_component")
        part = Jsonb(
            {"type": "gpu", "max_value": 1000, "limit_period": "annual", "backend_settings": {"services": ["EC2"]}}
        )
        self.shop.value("SELECT offering_component_set(%s, %s)", id, part)
        return id


@pytest.fixture
def cloud(aws: str) -> Cloud:
    return Cloud(aws)


@pytest.fixture
def market(engine: Engine) -> Rented:
    return Rented(Shop(engine.owner))


def ends(market: Market, order: Any, state: str = "done") -> None:
    eventually(lambda: market.order_state(order) == state, f"an order that is {state}", 20)


def test_an_account_is_made_with_a_budget_changed_and_closed(
    engine: Engine, aws: str, cloud: Cloud, market: Rented
) -> None:
    with engine.worker(default_actions(), aws_endpoint_url=aws, **QUICK):
        order = market.order(limits={"cpu": 50, "gpu": 100})
        ends(market, order)
        row = market.allocation(order["allocation"])
        assert (row["state"], len(row["backend_id"])) == ("ok", 12)
        assert cloud.accounts() == {f"aws+{order['allocation'].replace('-', '')[-12:]}@example.net": "ACTIVE"}
        assert cloud.limits() == [("100", "ANNUALLY"), ("50", "MONTHLY")]
        ends(market, market.request("update", allocation=order["allocation"], limits={"gpu": 300}))
        assert cloud.limits() == [("300", "ANNUALLY"), ("50", "MONTHLY")]
        ends(market, market.request("terminate", allocation=order["allocation"]))
    assert cloud.limits() == []
    assert list(cloud.accounts().values()) == ["SUSPENDED"]
    assert market.state(order["allocation"]) == "terminated"


def test_an_answer_that_is_lost_makes_no_second_account(engine: Engine, aws: str, cloud: Cloud, market: Rented) -> None:
    host, port = aws.removeprefix("http://").split(":")
    with Relay(host, int(port)) as relay, engine.worker(default_actions(), **QUICK):
        endpoint = f"http://127.0.0.1:{relay.port}"
        engine.owner.execute("UPDATE accreditation SET endpoint = %s WHERE provider = 'aws'", [endpoint])
        relay.lose_answers(b"CreateAccount")
        order = market.order(limits={"gpu": 100})
        attempts = "SELECT max(attempts) FROM job WHERE finished_date IS NULL"
        eventually(lambda: engine.value(attempts) == 1, "a failed attempt", 60)
        relay.lose_answers(b"CreateBudget")
        engine.owner.execute("SELECT clock_advance('1 hour')")
        eventually(lambda: engine.value(attempts) == 2, "another", 60)
        relay.pass_everything()
        engine.owner.execute("SELECT clock_advance('1 hour')")
        ends(market, order)
    made = [one for one in cloud.organizations.list_accounts()["Accounts"] if "+" in one["Email"]]
    assert (len(made), len(cloud.limits())) == (1, 1)


def test_an_existing_account_is_given_budgets_and_left_open(
    engine: Engine, aws: str, cloud: Cloud, market: Rented
) -> None:
    settings = Jsonb({"backend_settings": {"account_id": "222222222222"}})
    engine.owner.execute("SELECT offering_change(%s, %s)", [market.offering, settings])
    with engine.worker(default_actions(), aws_endpoint_url=aws, **QUICK):
        order = market.order(limits={"gpu": 100})
        ends(market, order)
        assert market.allocation(order["allocation"])["backend_id"] == "222222222222"
        ends(market, market.request("terminate", allocation=order["allocation"]))
    assert cloud.accounts() == {}


def test_an_offering_that_does_not_say_where_fails_the_order_and_gives_back(
    engine: Engine, aws: str, cloud: Cloud, market: Rented
) -> None:
    engine.owner.execute("SELECT offering_change(%s, '{\"backend_settings\": {}}')", [market.offering])
    with engine.worker(default_actions(), aws_endpoint_url=aws, **QUICK):
        order = market.order(limits={"gpu": 100})
        ends(market, order, "erred")
    assert market.state(order["allocation"]) == "terminated"
    assert market.allocation(order["allocation"])["reserved"] == {}


def test_cost_explorer_tells_once_a_day_what_was_used(engine: Engine, aws: str, cloud: Cloud, market: Rented) -> None:
    answer = {"ResultsByTime": [{"Total": {"UnblendedCost": {"Amount": "80.456", "Unit": "USD"}}, "Groups": []}]}
    httpx2.post(f"{aws}/moto-api/static/ce/cost-and-usage-results", json={"results": [answer] * 4})
    with engine.worker(default_actions(), aws_endpoint_url=aws, **QUICK):
        order = market.order(limits={"gpu": 100})
        ends(market, order)
        engine.owner.execute("UPDATE schedule SET next_date = engine_now() WHERE job_type = 'allocation_usage'")
        used = "SELECT amount FROM v_allocation_usage WHERE allocation_id = %s AND type = 'gpu'"
        eventually(lambda: engine.value(used, order["allocation"]), "usage", 20)
    assert str(engine.value(used, order["allocation"])) == "80.46"
    told = "SELECT to_state FROM audit_trail_log WHERE row_id = %s AND to_state LIKE 'limit%%'"
    assert engine.value("SELECT count(*) FROM schedule WHERE job_type = 'allocation_usage'") == 1
    assert engine.value(told, UUID(order["allocation"])) in ("limit_near", None)


def test_in_the_first_days_of_a_month_the_one_before_is_asked_for_too() -> None:
    assert list(months(date(2026, 3, 4))) == [date(2026, 2, 1), date(2026, 3, 1)]
    assert list(months(date(2026, 3, 9))) == [date(2026, 3, 1)]


# Clusters -------------------------------------------------------------------------------------------------------------


def test_node_hours_bound_what_a_project_asks_of_its_cluster_and_are_metered(shop: Shop) -> None:
    market = Market(shop)
    given = {"name": "Nodes", "category": str(market.category), "customer": str(market.provider), "state": "active"}
    offering = do(shop, "offering_create", given | {"backend": "cluster"})
    cluster = shop.insert(
        "cluster",
        tenant_customer_id=market.allocator,
        org_id=market.project,
        accreditation_id=shop.cloud,
        domain="sr.test",
        cost_tag="cluster-project",
        ceiling=10,
        max_nodes=10,
        cluster_version=version(shop),
    )
    order = market.order(offering=offering, plan=None, limits={"node_hours": 10})
    assert order["state"] == "done"

    colleague = member(shop, "developer", market.project)

    def ask(nodes: int, hours: int, user: UUID = market.owner) -> None:
        shop.connection.execute(
            "INSERT INTO capacity_request (tenant_customer_id, org_id, cluster_id, user_id, nodes, expires_date)"
            " VALUES (%s, %s, %s, %s, %s, engine_now() + make_interval(hours => %s))",
            [market.allocator, market.project, cluster, user, nodes, hours],
        )

    def used() -> Any:
        return market.allocation(order["allocation"])["current_usages"]["node_hours"]

    shop.connection.execute("SELECT clock_advance(date_trunc('month', engine_now()) + '1 month 1 hour' - engine_now())")
    ask(3, 2)
    with refused(shop.connection, "PV409", "5.00 node-hours more are asked for, 4.00 are left"):
        ask(5, 1, colleague)
    # The largest request of a user counts, as it does for the cluster: two nodes more for an hour.
    ask(5, 1)
    with refused(shop.connection, "PV409", "4.00 node-hours more are asked for, 2.00 are left"):
        ask(4, 1, colleague)
    # As long as no nodes run none are used; what is asked for and did not come is given back.
    shop.pass_time("90 minutes")
    shop.sweep()
    assert used() == 0
    ask(8, 1, colleague)
    run = "UPDATE cluster SET state = 'deploying', deleted_date = NULL, current_nodes = %s WHERE id = %s"
    shop.connection.execute(run, [8, cluster])
    shop.pass_time("15 minutes")
    shop.sweep()
    assert used() == 2
    with refused(shop.connection, "PV409", "2.25 node-hours more are asked for, 1.25 are left"):
        ask(3, 1)
    shop.pass_time("7 minutes 30 seconds")
    shop.connection.execute(run, [0, cluster])
    shop.pass_time("1 hour")
    shop.sweep()
    assert used() == 3
    change = market.request("update", allocation=order["allocation"], limits={"node_hours": 20})
    assert change["state"] == "done"
    ask(15, 1)
    with refused(shop.connection, "PV409", "has an allocation of node-hours already"):
        market.order(offering=offering, plan=None, limits={"node_hours": 10})
    market.request("terminate", allocation=order["allocation"])
    ask(5, 20)


def version(shop: Shop) -> str:
    """A software version that clusters may run."""
    add_version(shop.connection, "v-allocation")
    return "v-allocation"
