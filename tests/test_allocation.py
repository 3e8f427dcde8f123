"""Allocations in SQL: orders and approvals, pools, limits, periods, usage and invoices, alone and all at once."""

from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

from . import sql_fixtures
from .allocation_fixtures import Market
from .conftest import ConnectAs
from .sql_fixtures import Json, Shop, integration_login, refused
from .tenancy_fixtures import at_once, do, member, new_user

shop = sql_fixtures.shop
open_shop = sql_fixtures.open_shop


@pytest.fixture
def market(shop: Shop) -> Market:
    return Market(shop)


# An allocation's life -------------------------------------------------------------------------------------------------


def test_an_owners_order_waits_for_the_provider_and_is_done_when_he_approves(market: Market) -> None:
    order = market.order()
    assert order["state"] == "pending_provider"
    assert market.state(order["allocation"]) == "creating"
    assert market.shop.status(order["order"]) == "created"
    assert market.act(order, "approve_by_provider") == "done"
    assert market.state(order["allocation"]) == "ok"
    assert market.shop.status(order["order"]) == "completed"
    assert market.shop.values(
        "SELECT end_date FROM allocation_period WHERE allocation_id = %s", order["allocation"]
    ) == [None]


def test_its_cost_is_limits_fixed_parts_and_activation(market: Market) -> None:
    assert Decimal(market.order()["cost"]) == Decimal("0.1") * 10 + Decimal("0.5") * 10 + 10 * 2 + 7


def test_with_auto_approval_nobody_has_to_do_anything(shop: Shop) -> None:
    market = Market(shop, auto_approve=True)
    order = market.order()
    assert order["state"] == "done"
    assert market.state(order["allocation"]) == "ok"


def test_naming_one_component_keeps_the_others(market: Market) -> None:
    allocation = market.given()
    order = market.request("update", allocation=allocation, limits={"gpu": 30})
    assert market.allocation(allocation)["limits"] == {"cpu": 10, "gpu": 10}
    market.act(order, "approve_by_provider")
    assert market.allocation(allocation)["limits"] == {"cpu": 10, "gpu": 30}
    assert market.state(allocation) == "ok"


def test_a_terminated_allocation_gives_its_part_of_the_pool_back(market: Market) -> None:
    allocation = market.given()
    assert market.pool() == 10
    order = market.request("terminate", allocation=allocation)
    assert market.state(allocation) == "ok"
    market.act(order, "approve_by_provider")
    assert market.state(allocation) == "terminated"
    assert market.pool() == 0
    assert market.shop.value("SELECT count(*) FROM allocation_period WHERE end_date IS NULL") == 0


@pytest.mark.parametrize("how", ["cancel", "reject_by_provider", "order_cancel"])
def test_a_create_that_comes_to_nothing_leaves_nothing_behind(market: Market, how: str) -> None:
    order = market.order()
    assert market.pool() == 10
    if how == "order_cancel":
        market.shop.value("SELECT order_cancel(%s)", order["order"])
    else:
        market.act(order, how, market.owner if how == "cancel" else None, comment="no room")
    assert market.order_state(order) == ("rejected" if how == "reject_by_provider" else "canceled")
    assert market.state(order["allocation"]) == "terminated"
    assert market.pool() == 0
    assert market.shop.status(order["order"]) == "cancelled"
    assert market.shop.value("SELECT count(*) FROM object_operation WHERE object_type = 'allocation'") == 0
    with market.as_(market.owner):
        market.shop.connection.execute("SELECT project_remove(%s)", [market.project])


def test_the_comment_of_a_rejection_is_shown(market: Market) -> None:
    order = market.order()
    market.act(order, "reject_by_provider", comment="no room")
    row = market.shop.row("SELECT comment, state FROM v_allocation_order WHERE id = %s", order["order"])
    assert row == {"comment": "no room", "state": "rejected"}


def test_an_update_that_is_rejected_leaves_limits_and_pool_as_they_were(market: Market) -> None:
    allocation = market.given()
    order = market.request("update", allocation=allocation, limits={"gpu": 60})
    assert market.pool() == 60
    market.act(order, "reject_by_provider")
    assert market.pool() == 10
    assert market.allocation(allocation)["limits"] == {"cpu": 10, "gpu": 10}
    assert market.state(allocation) == "ok"


def test_lower_limits_are_given_back_when_they_are_in_force(market: Market) -> None:
    allocation = market.given(limits={"gpu": 50})
    order = market.request("update", allocation=allocation, limits={"gpu": 20})
    assert market.pool() == 50
    market.act(order, "approve_by_provider")
    assert market.pool() == 20


def test_another_plan_ends_the_plan_period_and_begins_another(market: Market) -> None:
    allocation = market.given()
    market.shop.pass_time("1 day")
    plan = {"name": "Large", "prices": {"cpu": 1}}
    large = market.shop.value("SELECT offering_plan_set(%s, %s)", market.offering, Jsonb(plan))
    order = market.request("update", allocation=allocation, plan=large)
    market.act(order, "approve_by_provider")
    assert market.allocation(allocation)["plan_id"] == large
    periods = market.shop.rows(
        "SELECT plan_id, end_date IS NULL AS is_open FROM allocation_period WHERE allocation_id = %s"
        " ORDER BY start_date",
        allocation,
    )
    assert periods == [{"plan_id": market.plan, "is_open": False}, {"plan_id": large, "is_open": True}]


def test_plan_periods_never_overlap(market: Market) -> None:
    allocation = market.given()
    row = market.allocation(allocation)
    with refused(market.shop.connection, "PV409", "do not overlap"):
        market.shop.insert(
            "allocation_period",
            **{name: row[name] for name in ("tenant_customer_id", "org_id", "provider_account_id")},
            allocation_id=allocation,
            start_date="2020-01-01",
            end_date="2100-01-01",
        )


# Doing it later -------------------------------------------------------------------------------------------------------


@pytest.fixture
def slow_market(shop: Shop) -> Market:
    """One whose provider says when something is done."""
    return Market(shop, is_immediate=False)


def test_a_provider_says_when_it_is_done_and_what_he_calls_it(slow_market: Market) -> None:
    market = slow_market
    order = market.order()
    assert market.act(order, "approve_by_provider") == "executing"
    assert market.state(order["allocation"]) == "creating"
    assert market.act(order, "set_state_done", backend_id="slurm-7") == "done"
    assert market.allocation(order["allocation"])["backend_id"] == "slurm-7"
    change = market.request("update", allocation=order["allocation"], limits={"cpu": 20})
    market.act(change, "approve_by_provider")
    assert market.state(order["allocation"]) == "updating"
    market.act(change, "set_state_done")
    assert market.state(order["allocation"]) == "ok"
    assert market.allocation(order["allocation"])["limits"]["cpu"] == 20


def test_a_create_that_errs_is_terminated_unless_something_is_there(slow_market: Market) -> None:
    market = slow_market
    for backend_id, state in (("", "terminated"), ("slurm-8", "erred")):
        order = market.order()
        market.act(order, "set_state_executing")
        if backend_id:
            market.provide(order["allocation"], "set_backend_id", backend_id=backend_id)
        assert market.act(order, "set_state_erred", error_message="quota", error_traceback="line 1") == "erred"
        row = market.shop.row(
            "SELECT error_message, error_traceback FROM allocation_order WHERE id = %s", order["order"]
        )
        assert (row["error_message"].split(": ")[-1], row["error_traceback"]) == ("quota", "line 1")
        assert market.state(order["allocation"]) == state
    assert market.pool() == 10


def test_an_update_that_errs_keeps_the_old_limits_and_a_terminate_that_errs_the_allocation(slow_market: Market) -> None:
    market = slow_market
    order = market.order()
    market.act(order, "approve_by_provider")
    market.act(order, "set_state_done")
    changes: list[tuple[str, dict[str, Any], str]] = [
        ("terminate", {}, "ok"),
        ("update", {"limits": {"gpu": 90}}, "erred"),
    ]
    for operation, data, state in changes:
        change = market.request(operation, allocation=order["allocation"], **data)
        market.act(change, "approve_by_provider")
        market.act(change, "set_state_erred", error_message="no")
        assert market.state(order["allocation"]) == state
        assert market.pool() == 10
    market.provide(order["allocation"], "set_as_ok")
    assert market.state(order["allocation"]) == "ok"


def test_an_executing_order_of_which_nothing_was_done_is_cancelled(slow_market: Market) -> None:
    market = slow_market
    order = market.order()
    market.act(order, "approve_by_provider")
    assert market.act(order, "cancel", market.owner) == "canceled"
    assert (market.state(order["allocation"]), market.pool()) == ("terminated", 0)


def test_what_erred_can_be_ordered_anew(slow_market: Market) -> None:
    market = slow_market
    order = market.order()
    market.act(order, "approve_by_provider")
    market.act(order, "set_state_erred", error_message="no")
    assert market.act(order, "retry", market.owner) == "pending_provider"
    assert market.order_state(order) == "erred"
    assert market.pool() == 10


def test_final_orders_take_no_further_word(market: Market) -> None:
    order = market.order()
    market.act(order, "approve_by_provider")
    for action in ("approve_by_provider", "reject_by_provider", "set_state_erred", "set_state_executing"):
        with refused(market.shop.connection, "PV409", "Valid states for operation"):
            market.act(order, action)
    with refused(market.shop.connection, "PV422", "cannot go from done"):
        market.shop.connection.execute("UPDATE allocation_order SET comment = 'x' WHERE id = %s", [order["order"]])


# Who may what ---------------------------------------------------------------------------------------------------------

ORDERING = [
    ("owner", True, "pending_provider"),
    ("owner", False, "pending_provider"),
    ("manager", True, "pending_consumer"),
    ("manager", False, "pending_provider"),
    ("admin", True, "pending_consumer"),
    ("admin", False, "pending_provider"),
    ("developer", True, "pending_consumer"),
    ("developer", False, "pending_consumer"),
]


@pytest.mark.parametrize(("role", "is_shared", "state"), ORDERING)
def test_who_orders_decides_whether_the_consumer_is_asked(shop: Shop, role: str, is_shared: bool, state: str) -> None:
    market = Market(shop, is_shared=is_shared)
    shop.connection.execute(
        "SELECT offering_change(%s, %s)", [market.offering, Jsonb({"granted": [str(market.allocator)]})]
    )
    user = market.owner if role == "owner" else member(shop, role, market.project)
    assert market.order(user)["state"] == state


def test_a_members_order_goes_on_when_the_owner_approves(market: Market) -> None:
    user = member(market.shop, "developer", market.project)
    order = market.order(user)
    for other in (user, member(market.shop, "manager", market.project), market.providers_owner):
        with refused(market.shop.connection, "PV403", "right"):
            market.act(order, "approve_by_consumer", other)
    assert market.act(order, "approve_by_consumer", market.owner) == "pending_provider"
    row = market.shop.row(
        "SELECT created_by_id, consumer_reviewed_by_id FROM allocation_order WHERE id = %s", order["order"]
    )
    assert row == {"created_by_id": user, "consumer_reviewed_by_id": market.owner}


def test_a_member_may_take_back_his_own_order(market: Market) -> None:
    user = member(market.shop, "developer", market.project)
    assert market.act(market.order(user), "reject_by_consumer", user) == "rejected"


@pytest.mark.parametrize("role", ["owner", "manager", "admin", "developer"])
def test_who_may_change_and_end(market: Market, role: str) -> None:
    allocation = market.given()
    user = member(market.shop, role, market.project)
    if role == "developer":
        for operation, data in (("update", {"limits": {"cpu": 3}}), ("terminate", {})):
            with refused(market.shop.connection, "PV403", "allocation.change"):
                market.request(operation, user, allocation=allocation, **data)
    else:
        order = market.request("update", user, allocation=allocation, limits={"cpu": 3})
        market.act(order, "cancel", user)
        market.request("terminate", user, allocation=allocation)


def test_the_consumer_says_nothing_for_the_provider(market: Market) -> None:
    order = market.order()
    for action in ("approve_by_provider", "reject_by_provider", "set_state_done", "set_state_erred"):
        with refused(market.shop.connection, "PV403"):
            market.act(order, action, market.owner)
    market.act(order, "approve_by_provider")
    for action in ("set_backend_id", "set_as_erred", "set_limits", "submit_report"):
        with refused(market.shop.connection, "PV403"):
            market.provide(order["allocation"], action, market.owner)
    with refused(market.shop.connection, "PV403"):
        market.report(order["allocation"], market.owner, cpu=1)


def test_a_provider_ends_an_allocation_at_once(market: Market) -> None:
    allocation = market.given()
    with refused(market.shop.connection, "PV403"):
        market.request("update", market.providers_owner, allocation=allocation, limits={"cpu": 3})
    assert market.request("terminate", market.providers_owner, allocation=allocation)["state"] == "done"
    assert market.state(allocation) == "terminated"


def test_support_sees_and_does_nothing(market: Market) -> None:
    order = market.order()
    support = new_user(market.shop, "support", is_support=True)
    with market.as_(support):
        assert market.shop.value("SELECT count(*) FROM v_allocation") == 1
    for action in ("approve_by_provider", "cancel"):
        with refused(market.shop.connection, "PV403"):
            market.act(order, action, support)
    with refused(market.shop.connection, "PV403"):
        market.order(support)


def test_staff_do_all_but_the_provider_is_asked_all_the_same(market: Market) -> None:
    staff = new_user(market.shop, "staff", is_staff=True)
    order = market.order(staff)
    assert order["state"] == "pending_provider"
    assert market.act(order, "approve_by_provider", staff) == "done"


# Apart ----------------------------------------------------------------------------------------------------------------


def test_another_allocators_things_are_not_there(market: Market) -> None:
    allocation = market.given()
    order = market.shop.value("SELECT id FROM allocation_order")
    market.report(allocation, cpu=1)
    stranger = market.neighbours_owner
    with market.as_(stranger):
        for view in (
            "v_project",
            "v_allocation",
            "v_allocation_order",
            "v_allocation_usage",
            "v_invoice",
            "v_invoice_item",
        ):
            assert market.shop.count(view) == 0, view
    for code, call in (
        ("PV404", lambda: market.act(order, "cancel", stranger)),
        ("PV404", lambda: market.request("update", stranger, allocation=allocation, limits={"cpu": 1})),
        ("PV404", lambda: market.request("terminate", stranger, allocation=allocation)),
        ("PV404", lambda: market.order(stranger)),
        ("PV404", lambda: market.report(allocation, stranger, cpu=1)),
        ("PV404", lambda: market.provide(allocation, "set_backend_id", stranger, backend_id="x")),
    ):
        with refused(market.shop.connection, code, "not found"):
            call()


def test_the_provider_sees_what_is_his_and_not_the_project(market: Market) -> None:
    market.given()
    with market.as_(market.providers_owner):
        assert [market.shop.count(view) for view in ("v_allocation", "v_allocation_order", "v_project")] == [1, 1, 0]


def test_a_member_of_a_project_sees_it_and_no_other(market: Market) -> None:
    other = market.new_project()
    market.given()
    market.given(project=other, limits={"cpu": 1})
    user = member(market.shop, "developer", other)
    with market.as_(user):
        assert market.shop.values("SELECT org_id FROM v_allocation") == [other]
        assert market.shop.values("SELECT id FROM v_project") == [other]


def test_an_offering_that_is_not_shared_is_for_its_own_and_those_it_is_granted(shop: Shop) -> None:
    market = Market(shop, is_shared=False)
    with market.as_(market.owner):
        assert shop.count("v_offering") == 0
    with refused(shop.connection, "PV404", "offering not found"):
        market.order()
    shop.connection.execute(
        "SELECT offering_change(%s, %s)", [market.offering, Jsonb({"granted": [str(market.allocator)]})]
    )
    with market.as_(market.owner):
        assert shop.count("v_offering") == 1
    assert market.order()["state"] == "pending_provider"


@pytest.mark.parametrize("state", ["draft", "paused", "archived"])
def test_only_an_active_offering_is_ordered(market: Market, state: str) -> None:
    market.shop.connection.execute("UPDATE offering SET state = 'archived' WHERE id = %s", [market.offering])
    if state == "paused":
        market.shop.connection.execute("UPDATE offering SET state = 'active' WHERE id = %s", [market.offering])
        market.shop.connection.execute("UPDATE offering SET state = 'paused' WHERE id = %s", [market.offering])
    offering = market.new_offering(state="draft") if state == "draft" else market.offering
    code = "PV422" if state == "paused" else "PV404"
    with refused(market.shop.connection, code):
        market.order(offering=offering, plan=None)


# Bounds ---------------------------------------------------------------------------------------------------------------

BAD_LIMITS = [
    ({"zzz": 1}, "Invalid types: zzz"),
    ({"seat": 1}, "Invalid types: seat"),
    ({"cpu": 0}, "cannot be less than 1"),
    ({"gpu": -1}, "cannot be less than 0"),
    ({"gpu": 101}, "cannot be greater than 100"),
    ({"cpu": "many"}, "A valid integer is required."),
    ({"cpu": 1.5}, "A valid integer is required."),
]


@pytest.mark.parametrize(("limits", "text"), BAD_LIMITS)
def test_limits_out_of_bounds_are_refused_and_nothing_is_made(
    market: Market, limits: dict[str, Any], text: str
) -> None:
    with refused(market.shop.connection, "PV422", text):
        market.order(limits=limits)
    assert (market.shop.count("allocation"), market.shop.count("allocation_order"), market.pool()) == (0, 0, 0)


def test_a_boolean_component_is_0_or_1(market: Market) -> None:
    part = {"type": "ssd", "is_boolean": True}
    market.shop.value("SELECT offering_component_set(%s, %s)", market.offering, Jsonb(part))
    market.order(limits={"ssd": 1})
    with refused(market.shop.connection, "PV422", "cannot be greater than 1"):
        market.order(limits={"ssd": 2})


def test_the_pool_is_given_out_to_the_last(market: Market) -> None:
    market.given(limits={"gpu": 100})
    assert market.pool() == 100
    with refused(market.shop.connection, "PV422", "would exceed what is available"):
        market.order(limits={"gpu": 1})
    market.order(limits={"cpu": 1})


def test_what_waits_for_approval_is_reserved(market: Market) -> None:
    first, second = market.given(limits={"gpu": 40}), market.given(limits={"gpu": 40})
    market.request("update", allocation=first, limits={"gpu": 55})
    with refused(market.shop.connection, "PV422", "5 of 100 are left"):
        market.request("update", allocation=second, limits={"gpu": 55})


def test_a_pool_begins_with_what_is_allocated_and_never_below(shop: Shop) -> None:
    market = Market(shop)
    offering = market.new_offering(pool=None)
    market.order(offering=offering, plan=None, limits={"gpu": 70})
    limit = "SELECT offering_component_set(%s, %s)"
    with refused(shop.connection, "PV422", "more than that is allocated"):
        shop.value(limit, offering, Jsonb({"type": "gpu", "max_available_limit": 69}))
    shop.value(limit, offering, Jsonb({"type": "gpu", "max_available_limit": 70}))
    assert market.pool(offering) == 70
    with refused(shop.connection, "PV422", "would exceed"):
        market.order(offering=offering, plan=None, limits={"gpu": 1})


def test_the_same_limits_again_are_no_change(market: Market) -> None:
    allocation = market.given()
    with refused(market.shop.connection, "PV422", "exactly the same"):
        market.request("update", allocation=allocation, limits={"gpu": 10})


def test_while_an_order_is_open_no_other_is_taken(market: Market) -> None:
    allocation = market.given()
    market.request("update", allocation=allocation, limits={"gpu": 11})
    with refused(market.shop.connection, "PV409", "Pending order for resource already exists."):
        market.request("terminate", allocation=allocation)
    order = market.order()
    with refused(market.shop.connection, "PV409", "Pending order"):
        market.request("update", allocation=order["allocation"], limits={"gpu": 11})


def test_a_plan_of_another_offering_or_an_archived_one_is_refused(market: Market) -> None:
    other = market.new_offering(name="Other")
    plan = market.shop.value("SELECT id FROM offering_plan WHERE offering_id = %s", other)
    with refused(market.shop.connection, "PV422", "not available for selected offering"):
        market.order(plan=plan)
    archived = {"name": "Standard", "is_archived": True}
    market.shop.value("SELECT offering_plan_set(%s, %s)", market.offering, Jsonb(archived))
    with refused(market.shop.connection, "PV422", "archived"):
        market.order()


def test_a_plan_is_held_by_as_many_as_may(market: Market) -> None:
    market.shop.value("SELECT offering_plan_set(%s, %s)", market.offering, Jsonb({"name": "Standard", "max_amount": 1}))
    market.order()
    with refused(market.shop.connection, "PV422", "limit has been reached"):
        market.order()


def test_a_dry_run_says_cost_and_state_and_leaves_nothing(market: Market) -> None:
    data = {name: str(getattr(market, name)) for name in ("project", "offering", "plan")} | {"limits": {"gpu": 20}}
    call = "SELECT allocation_request('allocation.create', %s, NULL, true)"
    with market.as_(market.owner):
        said = market.shop.value(call, Jsonb(data))
    assert (said["state"], Decimal(said["cost"])) == ("pending_provider", Decimal(37))
    assert (market.shop.count("allocation"), market.pool()) == (0, 0)
    with refused(market.shop.connection, "PV422", "Invalid types"):
        market.shop.value(call, Jsonb(data | {"limits": {"zzz": 1}}))


def test_the_same_key_again_is_the_same_order(market: Market) -> None:
    data = {name: str(getattr(market, name)) for name in ("project", "offering", "plan")}
    call = "SELECT allocation_request('allocation.create', %s, 'key-1')"
    assert market.shop.value(call, Jsonb(data)) == market.shop.value(call, Jsonb(data))
    assert market.shop.count("allocation") == 1
    with refused(market.shop.connection, "PV409", "another request"):
        market.shop.value(call, Jsonb(data | {"name": "other"}))


# Other ways in --------------------------------------------------------------------------------------------------------


def test_an_order_of_the_engine_does_the_same(market: Market) -> None:
    item = {"operation": "allocation.create", "data": {"offering": str(market.offering), "limits": {"gpu": 5}}}
    with refused(market.shop.connection, "PV404", "project not found"):
        market.shop.order(item)
    order = market.shop.order(item, org_id=str(market.project))
    market.shop.connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    assert market.order_state(order) == "pending_provider"
    assert market.act(order, "approve_by_provider") == "done"
    assert market.shop.status(order) == "completed"
    assert market.shop.plan(order) == {"allocation LUMI": "completed"}


def test_an_operator_approves_items_as_those_of_any_order(market: Market) -> None:
    user = member(market.shop, "developer", market.project)
    order = market.order(user)
    item = market.shop.value("SELECT id FROM v_order_item WHERE order_id = %s", order["order"])
    market.shop.value("SELECT order_item_approve(%s)", item)
    assert market.order_state(order) == "executing"


def test_another_system_inserts_a_row(market: Market) -> None:
    login = integration_login(market.shop, market.allocator)
    connection = market.shop.connection
    with sql_fixtures.acting_as(connection, login):
        allocation = market.shop.value(
            "INSERT INTO provision_allocation (tenant_customer_id, org_id, offering_id, name, limits)"
            " VALUES (%s, %s, %s, 'by hand', '{\"gpu\": 30}') RETURNING id",
            market.allocator,
            market.project,
            market.offering,
        )
    assert (market.state(allocation), market.pool()) == ("creating", 30)
    market.shop.value("SELECT job_complete(job_id) FROM v_provision WHERE id = %s", allocation)
    assert market.state(allocation) == "ok"
    change = (
        "INSERT INTO provision_allocation_update (tenant_customer_id, org_id, allocation_id, limits)"
        " VALUES (%s, %s, %s, '{\"gpu\": 50}') RETURNING id"
    )
    update = market.shop.value(change, market.allocator, market.project, allocation)
    with refused(connection, "PV409"):
        market.shop.value(change, market.allocator, market.project, allocation)
    assert market.pool() == 50
    market.shop.value("SELECT job_cancel(job_id) FROM v_provision WHERE id = %s", update)
    assert (market.state(allocation), market.pool()) == ("ok", 30)
    ending = market.shop.value(
        "INSERT INTO provision_allocation_terminate (tenant_customer_id, org_id, allocation_id)"
        " VALUES (%s, %s, %s) RETURNING id",
        market.allocator,
        market.project,
        allocation,
    )
    market.shop.value("SELECT job_complete(job_id) FROM v_provision WHERE id = %s", ending)
    assert (market.state(allocation), market.pool()) == ("terminated", 0)


# Time -----------------------------------------------------------------------------------------------------------------


def test_an_order_waits_for_the_beginning_of_its_project(shop: Shop) -> None:
    market = Market(shop, auto_approve=True)
    soon = shop.value("SELECT (engine_now() + interval '3 days')::date::text")
    project = market.new_project(start_date=soon)
    order = market.order(project=project)
    assert order["state"] == "pending_project"
    shop.sweep()
    assert market.order_state(order) == "pending_project"
    shop.pass_time("3 days")
    shop.sweep()
    assert market.order_state(order) == "done"


def test_an_order_waits_for_its_own_day(shop: Shop) -> None:
    market = Market(shop, auto_approve=True)
    order = market.order(start_date=shop.value("SELECT (engine_now() + interval '3 days')::date::text"))
    assert order["state"] == "pending_start_date"
    shop.pass_time("3 days")
    shop.sweep()
    assert market.order_state(order) == "done"


@pytest.mark.parametrize("whose", ["project", "allocation"])
def test_an_allocation_ends_with_its_project_or_its_own_time_and_is_told_of_before(market: Market, whose: str) -> None:
    shop, allocation = market.shop, market.given()
    end = {"end_date": shop.value("SELECT (engine_now() + interval '40 days')::date::text")}
    if whose == "project":
        do(shop, "project_change", market.project, end)
    else:
        do(shop, "allocation_change", allocation, end)
    told = "SELECT to_state FROM audit_trail_log WHERE row_id = %s AND to_state LIKE 'ending%%' ORDER BY id"
    for days, expected in ((0, []), (10, ["ending"]), (1, ["ending"]), (22, ["ending", "ending_soon"])):
        shop.pass_time(f"{days} days")
        shop.sweep()
        assert shop.values(told, allocation) == expected
    assert market.state(allocation) == "ok"
    shop.pass_time("8 days")
    with sql_fixtures.acting_as(shop.connection, "provision_worker"):
        shop.sweep()
    assert (market.state(allocation), market.pool()) == ("terminated", 0)


# Usage and invoices ---------------------------------------------------------------------------------------------------


def test_a_second_report_of_the_month_replaces_the_first(market: Market) -> None:
    allocation = market.given()
    market.report(allocation, cpu=5)
    market.report(allocation, cpu=7.5)
    assert market.shop.values("SELECT amount FROM v_allocation_usage") == [Decimal("7.50")]
    assert market.allocation(allocation)["current_usages"] == {"cpu": 7.5}
    market.shop.pass_time("32 days")
    market.report(allocation, cpu=1)
    assert market.shop.values("SELECT amount FROM v_allocation_usage ORDER BY billing_period") == [7.5, 1]


def test_usage_of_what_is_not_there_is_refused(market: Market) -> None:
    order = market.order()
    with refused(market.shop.connection, "PV409", "Resource is not in valid state."):
        market.report(order["allocation"], cpu=1)
    market.act(order, "approve_by_provider")
    with refused(market.shop.connection, "PV422", "These components are invalid: zz."):
        market.report(order["allocation"], zz=1)
    with refused(market.shop.connection, "PV422", "Either plan_period or resource"):
        market.shop.value("SELECT usage_report('{\"usages\": []}')")
    with pytest.raises(psycopg.errors.CheckViolation), market.shop.connection.transaction():
        market.report(order["allocation"], cpu=-1)


def test_three_quarters_and_all_of_a_limit_are_told_once(market: Market) -> None:
    allocation = market.given()
    told = "SELECT to_state FROM audit_trail_log WHERE row_id = %s AND to_state LIKE 'limit%%' ORDER BY id"
    for used, expected in ((7, []), (7.5, ["limit_near"]), (9, ["limit_near"]), (11, ["limit_near", "limit_reached"])):
        market.report(allocation, cpu=used)
        assert market.shop.values(told, allocation) == expected


def turn_of_the_month(shop: Shop, later: str = "0") -> None:
    """The clock goes on to the next month, and so much further."""
    shop.connection.execute(
        "SELECT clock_advance(date_trunc('month', engine_now()) + '1 month' + %s::interval - engine_now())", [later]
    )


def invoiced(market: Market) -> dict[str, Any]:
    """What is on the present month's invoice, by component."""
    rows = market.shop.rows(
        "SELECT split_part(i.name, ' / ', 2) AS name, sum(i.quantity) AS quantity FROM v_invoice_item AS i"
        " JOIN invoice AS v ON v.id = i.invoice_id AND v.state = 'pending' GROUP BY 1"
    )
    return {row["name"]: round(row["quantity"], 1) for row in rows}


def test_a_month_is_invoiced_closed_when_it_is_over_and_the_next_begun(market: Market) -> None:
    shop = market.shop
    turn_of_the_month(shop)
    allocation = market.given()
    market.report(allocation, cpu=20)
    assert shop.values("SELECT price FROM v_invoice") == [20 * Decimal("0.1") + 10 * Decimal("0.5") + 20 + 7]
    shop.value(
        "SELECT usage_report(%s)",
        Jsonb({"resource": str(allocation), "usages": [{"type": "cpu", "amount": "30", "recurring": True}]}),
    )
    turn_of_the_month(shop, "1 hour")
    shop.sweep()
    invoices = shop.rows("SELECT state, price, due_date IS NOT NULL AS is_due FROM v_invoice ORDER BY year, month")
    assert invoices == [
        {"state": "created", "price": Decimal(35), "is_due": True},
        # No activation any more; the usage recurs.
        {"state": "pending", "price": Decimal(28), "is_due": False},
    ]


def test_what_there_was_for_a_part_of_the_month_is_paid_for_that_part(market: Market) -> None:
    shop = market.shop
    turn_of_the_month(shop)
    (days,) = shop.values(
        "SELECT extract(DAY FROM date_trunc('month', engine_now()) + interval '1 month - 1 day')::int"
    )
    shop.pass_time(f"{days / 2} days")
    allocation = market.given()
    assert invoiced(market) == {"GPU": 5, "Seat": 1, "Setup": 1, "CPU": 0}
    shop.pass_time(f"{days / 4} days")
    market.act(market.request("update", allocation=allocation, limits={"gpu": 30}), "approve_by_provider")
    # A quarter of the month with 10, another with 30.
    assert invoiced(market)["GPU"] == 10
    shop.pass_time(f"{days / 8} days")
    market.act(market.request("terminate", allocation=allocation), "approve_by_provider")
    assert invoiced(market) == {"GPU": Decimal("6.2"), "Seat": Decimal("0.8"), "Setup": 1, "CPU": 0}


def test_a_plan_that_is_switched_to_is_paid_from_then_and_the_switch_once(market: Market) -> None:
    shop = market.shop
    turn_of_the_month(shop)
    for part in ({"type": "move", "billing_type": "few"}, {"type": "once", "limit_period": "total"}):
        shop.value("SELECT offering_component_set(%s, %s)", market.offering, Jsonb(part))
    for name in ("Standard", "Daily"):
        plan: Json = {"name": name, "unit": "day" if name == "Daily" else "month"}
        plan |= {"prices": {"seat": 1, "move": 3, "once": 2}, "quotas": {"seat": 2}}
        other = shop.value("SELECT offering_plan_set(%s, %s)", market.offering, Jsonb(plan))
    allocation = market.given(limits={"once": 8})
    assert (invoiced(market)["seat".title()], invoiced(market)["move"], invoiced(market)["once"]) == (2, 0, 8)
    (days,) = shop.values(
        "SELECT extract(DAY FROM date_trunc('month', engine_now()) + interval '1 month - 1 day')::int"
    )
    shop.pass_time(f"{days / 2} days")
    switch = market.request("update", allocation=allocation, plan=other)
    assert Decimal(switch["cost"]) == 2 * 8 + 2 * 1 + 3
    market.act(switch, "approve_by_provider")
    # Half a month at the month's price, and half as many days; what was paid once is not paid again.
    assert (invoiced(market)["Seat"], invoiced(market)["move"], invoiced(market)["once"]) == (1 + days, 1, 8)
    change = market.request("update", allocation=allocation, limits={"once": 9})
    assert Decimal(change["cost"]) == 2 * 9 + 2 * 1
    market.act(change, "approve_by_provider")
    assert (invoiced(market)["move"], invoiced(market)["once"]) == (1, 9)


def test_what_users_used_is_no_more_than_what_was_used(market: Market) -> None:
    allocation = market.given()
    market.report(allocation, cpu=10)
    usage = market.shop.value("SELECT id FROM v_allocation_usage")
    for name, amount in (("jane", "4"), ("joe", "6"), ("jane", "3")):
        market.shop.value("SELECT user_usage_report(%s, %s)", usage, Jsonb({"username": name, "usage": amount}))
    assert market.shop.pairs("SELECT username, amount FROM v_allocation_user_usage") == {"jane": 3, "joe": 6}
    with refused(market.shop.connection, "PV422", "cannot have used more"):
        market.shop.value("SELECT user_usage_report(%s, %s)", usage, Jsonb({"username": "eve", "usage": "2"}))


# Members and users ----------------------------------------------------------------------------------------------------


def test_a_user_holds_several_roles_in_a_project_each_once(market: Market) -> None:
    user = do(market.shop, "user_identify", "abc@eduteams.org", {"name": "Jane", "email": "j@example.net"})
    with market.as_(market.owner):
        for role in ("developer", "manager"):
            do(market.shop, "member_add", market.project, {"user": str(user), "role": role})
        with refused(market.shop.connection, "PV409", "already the same role"):
            do(market.shop, "member_add", market.project, {"user": str(user), "role": "manager"})
        with refused(market.shop.connection, "PV409", "unique set"):
            do(market.shop, "member_add", market.project, {"user": str(user), "role": "admin", "is_only": True})
        assert do(market.shop, "member_remove", market.project, {"user": str(user), "role": "manager"})
        assert not do(market.shop, "member_remove", market.project, {"user": str(user), "role": "manager"})
    live = "SELECT role FROM v_membership WHERE user_id = %s AND is_live"
    assert market.shop.values(live, user) == ["developer"]


def test_the_same_cuid_is_the_same_user_with_what_the_registry_tells_now(market: Market) -> None:
    known = [
        do(market.shop, "user_identify", "abc@eduteams.org", {"given_name": "Jane", "family_name": name})
        for name in ("Doe", "Roe")
    ]
    assert known[0] == known[1]
    assert market.shop.value("SELECT name FROM app_user WHERE id = %s", known[0]) == "Jane Roe"
    taken = new_user(market.shop, "taken")
    name = market.shop.value("SELECT username FROM app_user WHERE id = %s", taken)
    with refused(market.shop.connection, "PV409", "another user"):
        do(market.shop, "user_identify", name, {})
    with refused(market.shop.connection, "PV403", "user.identify"), market.as_(market.owner):
        do(market.shop, "user_identify", "abc@eduteams.org", {})


# All at once ----------------------------------------------------------------------------------------------------------


def test_six_identical_grants_at_once_are_one(open_shop: Shop, connect_as: ConnectAs) -> None:
    market = Market(open_shop)
    user = new_user(open_shop)

    def grant(connection: psycopg.Connection, _: int) -> Any:
        return do(open_shop.on(connection), "member_add", market.project, {"user": str(user), "role": "manager"})

    results = at_once(connect_as, 6, grant)
    assert sorted(isinstance(result, UUID) for result in results) == [False] * 5 + [True]
    assert [result for result in results if not isinstance(result, UUID)] == ["PV409"] * 5
    live = "SELECT count(*) FROM v_membership WHERE user_id = %s AND is_live"
    assert open_shop.value(live, user) == 1


def test_two_roles_in_the_old_way_at_once_are_one(open_shop: Shop, connect_as: ConnectAs) -> None:
    market = Market(open_shop)
    user = new_user(open_shop)
    roles = ("manager", "admin", "developer")

    def grant(connection: psycopg.Connection, number: int) -> Any:
        given = {"user": str(user), "role": roles[number % 3], "is_only": True}
        return do(open_shop.on(connection), "member_add", market.project, given)

    results = at_once(connect_as, 6, grant)
    assert [isinstance(result, UUID) for result in results].count(True) == 1


@pytest.mark.parametrize("auto_approve", [False, True])
def test_six_changes_of_limits_at_once_are_one_order(
    open_shop: Shop, connect_as: ConnectAs, auto_approve: bool
) -> None:
    market = Market(open_shop, auto_approve=True)
    allocation = market.given()
    open_shop.connection.execute("UPDATE offering SET auto_approve = %s", [auto_approve])
    data = Jsonb({"allocation": str(allocation), "limits": {"gpu": 20}})

    def change(connection: psycopg.Connection, _: int) -> Any:
        return open_shop.on(connection).value("SELECT allocation_request('allocation.update', %s)", data)

    results = at_once(connect_as, 6, change)
    assert [isinstance(result, dict) for result in results].count(True) == 1, results
    assert open_shop.value("SELECT count(*) FROM allocation_order WHERE type = 'update'") == 1
    assert market.pool() == 20


def test_six_reports_at_once_are_one_row(open_shop: Shop, connect_as: ConnectAs) -> None:
    market = Market(open_shop, auto_approve=True)
    allocation = market.given()
    data = Jsonb({"resource": str(allocation), "usages": [{"type": "cpu", "amount": 4}]})

    def report(connection: psycopg.Connection, _: int) -> Any:
        return open_shop.on(connection).value("SELECT usage_report(%s)", data)

    assert at_once(connect_as, 6, report) == [allocation] * 6
    assert open_shop.values("SELECT amount FROM v_allocation_usage") == [4]


@pytest.mark.parametrize("part", [60, 15])
def test_limits_never_pass_the_pool_however_many_order_at_once(
    open_shop: Shop, connect_as: ConnectAs, part: int
) -> None:
    market = Market(open_shop, auto_approve=True)
    projects = [market.project, market.new_project(market.neighbour)]
    given = {"offering": str(market.offering), "limits": {"gpu": part}}

    def order(connection: psycopg.Connection, number: int) -> Any:
        data = Jsonb(given | {"project": str(projects[number % 2])})
        return open_shop.on(connection).value("SELECT allocation_request('allocation.create', %s)", data)

    results = at_once(connect_as, 12, order)
    assert [isinstance(result, dict) for result in results].count(True) == 100 // part, results
    assert market.pool() == 100 // part * part


def test_a_pool_that_is_set_while_orders_come_counts_them_all(open_shop: Shop, connect_as: ConnectAs) -> None:
    market = Market(open_shop, auto_approve=True)
    offering = market.new_offering(pool=None)
    given = {"offering": str(offering), "project": str(market.project), "limits": {"gpu": 20}}

    def act(connection: psycopg.Connection, number: int) -> Any:
        shop = open_shop.on(connection)
        if number == 0:
            return shop.value(
                "SELECT offering_component_set(%s, %s)", offering, Jsonb({"type": "gpu", "max_available_limit": 500})
            )
        return shop.value("SELECT allocation_request('allocation.create', %s)", Jsonb(given))

    results = at_once(connect_as, 8, act)
    assert all(isinstance(result, dict | UUID) for result in results), results
    assert market.pool(offering) == 140


def test_six_who_map_the_same_cuid_at_once_get_the_same_user(open_shop: Shop, connect_as: ConnectAs) -> None:
    def identify(connection: psycopg.Connection, _: int) -> Any:
        return do(open_shop.on(connection), "user_identify", "abc@eduteams.org", {"name": "Jane"})

    assert len(set(at_once(connect_as, 6, identify))) == 1


def test_the_last_of_a_plan_is_given_to_one_of_six(open_shop: Shop, connect_as: ConnectAs) -> None:
    market = Market(open_shop)
    open_shop.value("SELECT offering_plan_set(%s, %s)", market.offering, Jsonb({"name": "Standard", "max_amount": 2}))
    data = {name: str(getattr(market, name)) for name in ("project", "offering", "plan")}

    def order(connection: psycopg.Connection, _: int) -> Any:
        return open_shop.on(connection).value("SELECT allocation_request('allocation.create', %s)", Jsonb(data))

    results = at_once(connect_as, 6, order)
    assert [isinstance(result, dict) for result in results].count(True) == 2, results


def test_a_backend_id_may_be_made_unique_in_a_customer(open_shop: Shop, connect_as: ConnectAs) -> None:
    market = Market(open_shop)
    for _ in range(2):
        market.new_project(backend_id="p_1")
    open_shop.connection.execute("UPDATE setting SET value = '1' WHERE name = 'project_backend_id_unique'")
    with refused(open_shop.connection, "PV409", "with this backend_id already exists"):
        market.new_project(backend_id="p_1")
    market.new_project(market.neighbour, backend_id="p_1")
    body = Jsonb({"name": "Climate", "customer": str(market.allocator), "backend_id": "p_2"})

    def create(connection: psycopg.Connection, _: int) -> Any:
        return open_shop.on(connection).value("SELECT project_create(%s)", body)

    results = at_once(connect_as, 6, create)
    assert [isinstance(result, UUID) for result in results].count(True) == 1, results


def test_six_approvals_at_once_are_one(open_shop: Shop, connect_as: ConnectAs) -> None:
    market = Market(open_shop)
    data = {"project": str(market.project), "offering": str(market.offering), "limits": {"gpu": 20}}
    order = open_shop.value("SELECT allocation_request('allocation.create', %s)", Jsonb(data))["order"]

    def approve(connection: psycopg.Connection, _: int) -> Any:
        return open_shop.on(connection).value("SELECT allocation_order_act(%s, 'approve_by_provider')", order)

    results = at_once(connect_as, 6, approve)
    assert [isinstance(result, dict) for result in results].count(True) == 1, results
    assert market.pool() == 20
