"""Clusters: how many nodes there are to be, until when, and what is done about it. docs/cluster.md has the examples."""

from collections import defaultdict
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from provision.database import connect

from . import cluster_fixtures, sql_fixtures
from .cluster_fixtures import Fleet, add_version
from .conftest import Database
from .sql_fixtures import Shop, outcome, refused
from .tenancy_fixtures import do, membership_of

shop = sql_fixtures.shop
fleet = cluster_fixtures.fleet


# How many nodes -------------------------------------------------------------------------------------------------------


def test_each_users_largest_request_counts_and_they_are_added_up(fleet: Fleet) -> None:
    targets = []
    for who, nodes in (("O", 2), ("D", 3), ("R", 1), ("D", 2)):
        fleet.ask(who, nodes)
        targets.append(fleet.target)
    assert targets == [2, 5, 6, 6]


def test_the_sum_is_held_within_the_limits_and_what_was_asked_is_kept(fleet: Fleet) -> None:
    fleet.configure(min_nodes=2)
    few = fleet.ask("D", 1)
    assert fleet.target == 2
    many = fleet.ask("R", 300)
    assert fleet.target == 10
    assert [fleet.request(id)["nodes"] for id in (few, many)] == [1, 300]


def test_a_users_smaller_requests_take_over_as_the_larger_ones_expire(fleet: Fleet) -> None:
    for nodes, minutes in ((1, 30), (2, 20), (3, 15)):
        fleet.ask("D", nodes, minutes)
    assert fleet.target == 3
    targets = []
    for wait in ("15 minutes", "5 minutes", "10 minutes"):
        fleet.shop.pass_time(wait)
        targets.append(fleet.target)
    assert targets == [2, 1, 0]


def test_what_has_expired_has_ended_at_its_time_however_late_it_is_looked_at(fleet: Fleet) -> None:
    id = fleet.ask("D", 3, 15)
    fleet.settle()
    assert fleet.row["target_nodes"] == 3
    fleet.pass_time("1 hour")
    request = fleet.request(id)
    assert (request["state"], request["finished_date"]) == ("expired", request["expires_date"])
    assert fleet.row["target_nodes"] == 0


def test_nothing_is_due_before_the_first_request_expires(fleet: Fleet) -> None:
    fleet.shop.turn_clock("2027-03-05 10:00+00")  # with the hour the cost is counted
    fleet.ask("D", 3, 15)
    fleet.shop.pass_time("14 minutes")
    assert fleet.tick() == 0
    fleet.shop.pass_time("1 minute")
    assert fleet.tick() == 1
    assert fleet.tick() == 0


Step = tuple[str, Any, Any]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.sampled_from("ODR"), st.tuples(st.integers(0, 14), st.integers(15, 90))),
        st.tuples(st.just("wait"), st.integers(1, 3000), st.none()),
        st.tuples(st.just("limits"), st.integers(0, 4), st.integers(4, 10)),
        st.tuples(st.just("withdraw"), st.sampled_from("ODR"), st.none()),
        st.tuples(st.just("work"), st.none(), st.none()),
    ),
    max_size=14,
)


class Definition:
    """What the target is by definition: all that was ever asked, looked at anew each time."""

    def __init__(self) -> None:
        self.now, self.limits = 0.0, (0, 10)
        self.asked: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)

    @property
    def target(self) -> int:
        live = {user: [nodes for nodes, until in asked if until > self.now] for user, asked in self.asked.items()}
        return max(min(sum(max(nodes) for nodes in live.values() if nodes), self.limits[1]), self.limits[0])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_the_target_is_what_the_definition_says_whatever_happens(shop: Shop, steps: list[Step]) -> None:
    assert shop.worker
    with shop.connection.transaction(force_rollback=True):
        fleet, definition = Fleet(shop), Definition()
        for what, first, second in steps:
            if what == "ask":
                nodes, minutes = second
                fleet.ask(first, nodes, minutes)
                definition.asked[first].append((nodes, definition.now + minutes * 60))
            elif what == "wait":
                fleet.shop.pass_time(f"{first} seconds")
                definition.now += first
                assert fleet.target == definition.target
                fleet.tick()
            elif what == "limits":
                fleet.configure(min_nodes=first, max_nodes=second)
                definition.limits = (first, second)
            elif what == "withdraw":
                with fleet.by(first):
                    do(shop, "capacity_request_remove", fleet.org)
                definition.asked[first].clear()
            else:
                fleet.settle()
            assert fleet.target == fleet.row["target_nodes"] == definition.target, (what, first, second)
        fleet.settle()
        if fleet.state == "up":
            assert fleet.row["current_nodes"] == definition.target


# What is asked --------------------------------------------------------------------------------------------------------


def test_the_same_again_is_redundant(fleet: Fleet) -> None:
    first = fleet.ask("D", 3, 60)
    with fleet.by("D"):
        again = fleet.shop.row("SELECT * FROM capacity_request_create(%s, 3, 60)", fleet.org)
        other = fleet.shop.row("SELECT * FROM capacity_request_create(%s, 4, 60)", fleet.org)
    assert again == {"id": first, "is_redundant": True}
    assert not other["is_redundant"]
    with fleet.by("R"):
        assert not fleet.shop.value("SELECT is_redundant FROM capacity_request_create(%s, 3, 60)", fleet.org)
    fleet.shop.pass_time("1 second")
    with fleet.by("D"):
        later = fleet.shop.value("SELECT is_redundant FROM capacity_request_create(%s, 3, 60)", fleet.org)
    assert not later, "it ends a second later"


def test_until_the_token_ends_the_same_request_is_one(fleet: Fleet) -> None:
    until = fleet.shop.value("SELECT date_trunc('second', engine_now()) + interval '1 day'")
    ask = "SELECT is_redundant FROM capacity_request_create(%s, 3, NULL, %s)"
    with fleet.by("D"):
        assert not fleet.shop.value(ask, fleet.org, until)
    fleet.shop.pass_time("1 hour")
    with fleet.by("D"):
        assert fleet.shop.value(ask, fleet.org, until + timedelta(milliseconds=999))
        assert not fleet.shop.value(ask, fleet.org, until + timedelta(seconds=1))


@pytest.mark.parametrize("minutes", [14, 721, 0, -1])
def test_the_time_to_live_has_limits(fleet: Fleet, minutes: int) -> None:
    with refused(fleet.shop.connection, "PV400", f"{minutes} minutes"):
        fleet.ask("D", 1, minutes)
    for good in (15, 720):
        fleet.ask("D", 1, good)


def test_a_negative_number_of_nodes_is_refused(fleet: Fleet) -> None:
    with refused(fleet.shop.connection, "PV400", "-1"):
        fleet.ask("D", -1)


def test_while_provisioning_is_off_or_the_cluster_suspended_nothing_is_taken(fleet: Fleet) -> None:
    shop = fleet.shop
    running = fleet.ask("D", 2)
    shop.value("SELECT cluster_switch(false)")
    with refused(shop.connection, "PV409", "provisioning is switched off"):
        fleet.ask("D", 1)
    shop.value("SELECT cluster_switch(true)")
    assert fleet.request(running)["state"] == "accepted"
    fleet.configure(is_suspended=True)
    with refused(shop.connection, "PV409", "suspended"):
        fleet.ask("D", 1)
    assert (fleet.request(running)["state"], fleet.request(running)["reason"]) == (
        "refused",
        "the cluster is suspended",
    )
    assert shop.count("capacity_request") == 1


def test_only_platform_admins_switch_provisioning(fleet: Fleet) -> None:
    with refused(fleet.shop.connection, "PV403"), fleet.by("O"):
        fleet.shop.value("SELECT cluster_switch(false)")


def test_a_member_takes_back_his_own_and_an_owner_all(fleet: Fleet) -> None:
    fleet.ask("D", 3)
    fleet.ask("D", 2)
    fleet.ask("R", 4)
    with fleet.by("D"):
        assert do(fleet.shop, "capacity_request_remove", fleet.org) == 2
    assert fleet.target == 4
    with refused(fleet.shop.connection, "PV403"), fleet.by("D"):
        do(fleet.shop, "capacity_request_remove", fleet.org, True)
    with fleet.by("O"):
        assert do(fleet.shop, "capacity_request_remove", fleet.org, True) == 1
    assert fleet.target == 0


def test_one_request_is_taken_back_by_its_maker_or_the_owner(fleet: Fleet) -> None:
    mine, more = fleet.ask("D", 3), fleet.ask("D", 2)
    with refused(fleet.shop.connection, "PV404"), fleet.by("R"):
        do(fleet.shop, "capacity_request_remove", fleet.org, False, mine)
    with fleet.by("D"):
        do(fleet.shop, "capacity_request_remove", fleet.org, False, mine)
    assert fleet.target == 2
    with fleet.by("O"):
        do(fleet.shop, "capacity_request_remove", fleet.org, False, more)
    assert fleet.request(more)["reason"].startswith("withdrawn by")


def test_when_a_membership_ends_so_do_its_requests(fleet: Fleet) -> None:
    id = fleet.ask("D", 3)
    fleet.ask("R", 1)
    membership = membership_of(fleet.shop, fleet.people["D"], fleet.org)
    with fleet.by("O"):
        do(fleet.shop, "membership_deactivate", membership)
    assert fleet.target == fleet.row["target_nodes"] == 1
    assert (fleet.request(id)["state"], fleet.request(id)["reason"]) == ("withdrawn", "the membership ended")
    fleet.shop.connection.execute("UPDATE app_user SET status = 'disabled' WHERE id = %s", [fleet.people["R"]])
    assert fleet.target == 0


def test_viewers_ask_for_nothing(fleet: Fleet) -> None:
    fleet.shop.connection.execute("UPDATE membership SET role = 'viewer' WHERE user_id = %s", [fleet.people["R"]])
    with refused(fleet.shop.connection, "PV403", "capacity.request"):
        fleet.ask("R", 1)


# Up and down ----------------------------------------------------------------------------------------------------------


def test_the_first_request_deploys_and_the_last_one_that_expires_destroys(fleet: Fleet) -> None:
    id = fleet.ask("D", 3, 15)
    assert (fleet.state, fleet.row["is_wanted"], fleet.row["generation"]) == ("deploying", True, 1)
    assert fleet.settle() == ["deploy"]
    assert (fleet.state, fleet.row["current_nodes"], fleet.row["address"]) == ("up", 3, "192.0.2.1")
    assert fleet.request(id)["state"] == "in_effect"
    fleet.pass_time("15 minutes")
    assert fleet.state == "shutting_down"
    assert fleet.settle() == ["shutdown"]
    assert (fleet.state, fleet.row["current_nodes"], fleet.row["address"]) == ("down", 0, None)
    fleet.ask("R", 1)
    assert (fleet.state, fleet.row["generation"]) == ("deploying", 2)


def test_with_destroying_off_the_overhead_stays(fleet: Fleet) -> None:
    fleet.configure(destroy_when_no_nodes=False)
    fleet.ask("D", 3, 15)
    fleet.settle()
    fleet.pass_time("15 minutes")
    assert fleet.settle() == ["scale"]
    assert (fleet.state, fleet.row["current_nodes"]) == ("up", 0)


def test_with_a_minimum_it_stays_up(fleet: Fleet) -> None:
    fleet.configure(min_nodes=2)
    fleet.ask("D", 3, 15)
    fleet.settle()
    fleet.pass_time("15 minutes")
    assert fleet.settle() == ["scale"]
    assert (fleet.state, fleet.row["current_nodes"]) == ("up", 2)


def test_without_leave_a_request_deploys_nothing(fleet: Fleet) -> None:
    fleet.configure(allow_deploy_by_token=False, min_nodes=1)
    with refused(fleet.shop.connection, "PV503", "not deployed"):
        fleet.ask("D", 1)
    with fleet.by("O"):
        assert do(fleet.shop, "cluster_deploy", fleet.org) == "queued"
    fleet.ask("D", 4)
    assert fleet.settle() == ["deploy", "scale"]


def test_requests_while_something_is_done_are_met_by_the_one_operation_that_follows(fleet: Fleet) -> None:
    fleet.ask("D", 1)
    for nodes in (2, 3, 4):
        fleet.ask("R", nodes)
    assert fleet.settle() == ["deploy", "scale"]
    assert fleet.row["current_nodes"] == 5


def test_owner_commands_pressed_four_times_are_one(fleet: Fleet) -> None:
    fleet.configure(min_nodes=1)
    with fleet.by("O"):
        answers = [do(fleet.shop, "cluster_deploy", fleet.org) for _ in range(4)]
        assert answers == ["queued", "redundant", "redundant", "redundant"]
    assert fleet.settle() == ["deploy"]
    with fleet.by("O"):
        answers = [do(fleet.shop, "cluster_shutdown", fleet.org) for _ in range(4)]
        assert answers == ["queued", "redundant", "redundant", "redundant"]
        assert [do(fleet.shop, "cluster_refresh", fleet.org) for _ in range(4)] == ["queued"] * 4
    assert fleet.settle() == ["shutdown"]
    assert fleet.operations() == ["provision_cluster", "provision_cluster_shutdown"]


def test_what_would_go_at_once_is_not_deployed(fleet: Fleet) -> None:
    with refused(fleet.shop.connection, "PV409", "would go at once"), fleet.by("O"):
        do(fleet.shop, "cluster_deploy", fleet.org)


def test_shutting_down_ends_requests_or_refuses_as_the_owner_says(fleet: Fleet) -> None:
    id = fleet.ask("D", 3)
    fleet.settle()
    with refused(fleet.shop.connection, "PV409", "3 nodes"), fleet.by("O"):
        do(fleet.shop, "cluster_shutdown", fleet.org)
    with fleet.by("O"):
        do(fleet.shop, "cluster_shutdown", fleet.org, True)
    assert fleet.request(id)["state"] == "withdrawn"
    assert fleet.settle() == ["shutdown"]


def test_a_shut_down_is_not_undone_by_what_was_seen_or_done_before(fleet: Fleet) -> None:
    fleet.ask("D", 3)
    fleet.settle()
    fleet.ask("D", 5)
    (scale,) = fleet.take()
    with fleet.by("O"):
        do(fleet.shop, "cluster_shutdown", fleet.org, True)
    fleet.observe(5)
    fleet.shop.record(outcome(scale, "completed", result={}))
    assert fleet.state == "shutting_down"
    fleet.observe(5, "the group is there")
    assert fleet.settle() == ["shutdown"]
    fleet.shop.value("SELECT cluster_observed(%s, 0, 5, 'late')", fleet.cluster)
    fleet.pass_time("1 day")
    assert (fleet.state, fleet.settle()) == ("down", [])


def test_a_deployment_that_nobody_wants_any_more_is_cleared_away(fleet: Fleet) -> None:
    fleet.ask("D", 3)
    fleet.shop.pass_time("1 second")
    (job,) = fleet.take()
    fleet.shop.record(outcome(job, "again", after_seconds=600, message="waiting for the load balancer"))
    assert fleet.row["progress"] == "waiting for the load balancer"
    with fleet.by("O"):
        do(fleet.shop, "cluster_shutdown", fleet.org, True)
    assert fleet.finish("failed", message="it is not wanted any more") == "provision_cluster_deploy"
    assert (fleet.state, fleet.settle(), fleet.state) == ("shutting_down", ["shutdown"], "down")


@pytest.mark.parametrize("change", ["version", "is_public"])
def test_another_version_or_openness_deploys_anew_and_the_same_does_nothing(fleet: Fleet, change: str) -> None:
    add_version(fleet.shop.connection, f"{fleet.version}-next")
    value: Any = True if change == "is_public" else f"{fleet.version}-next"
    id = fleet.ask("D", 3)
    fleet.settle()
    fleet.configure(**{change: value})
    assert fleet.settle() == ["shutdown", "deploy"]
    assert (fleet.row["generation"], fleet.row["current_nodes"], fleet.request(id)["state"]) == (2, 3, "in_effect")
    fleet.configure(**{change: value})
    fleet.configure(max_nodes=9)
    assert fleet.settle() == []


def test_what_else_is_configured_changes_the_running_cluster(fleet: Fleet) -> None:
    fleet.ask("D", 3)
    fleet.settle()
    fleet.configure(spot_max_price="0.1")
    (job,) = fleet.take()
    assert (job["type"], job["data"]["plan"]["spot_max_price"]) == ("provision_cluster_scale", "0.1")


def test_drift_is_shown_and_mended(fleet: Fleet) -> None:
    fleet.ask("D", 3)
    fleet.settle()
    assert not fleet.observe(3, "the monitor is gone")
    assert fleet.row["drift"] == "the monitor is gone"
    (job,) = fleet.take()
    assert (job["type"], job["data"]["is_repair"]) == ("provision_cluster_scale", True)
    fleet.shop.record(outcome(job, "completed", result={}))
    assert fleet.row["drift"] is None


def test_what_is_found_of_a_cluster_that_is_down_is_taken_away(fleet: Fleet) -> None:
    fleet.observe(0, "an instance is still there")
    assert fleet.settle() == ["shutdown"]
    assert (fleet.state, fleet.row["drift"]) == ("down", None)


# When it fails --------------------------------------------------------------------------------------------------------


def test_who_asked_is_told_when_the_cluster_cannot_be_deployed_and_nothing_of_it_stays(fleet: Fleet) -> None:
    id = fleet.ask("D", 3)
    before = fleet.shop.row("SELECT min_nodes, max_nodes, cluster_version FROM cluster WHERE id = %s", fleet.cluster)
    fleet.finish("failed", message="VcpuLimitExceeded")
    assert fleet.request(id)["state"] == "refused"
    assert "VcpuLimitExceeded" in fleet.request(id)["reason"]
    assert (fleet.state, fleet.settle()) == ("shutting_down", ["shutdown"])
    assert (fleet.state, fleet.row["failure"]) == ("down", "VcpuLimitExceeded")
    after = fleet.shop.row("SELECT min_nodes, max_nodes, cluster_version FROM cluster WHERE id = %s", fleet.cluster)
    assert after == before


def test_growing_that_fails_is_tried_again_later_and_the_request_keeps_its_time(fleet: Fleet) -> None:
    fleet.ask("D", 1)
    fleet.settle()
    id = fleet.ask("D", 5)
    expires = fleet.request(id)["expires_date"]
    fleet.finish("failed", message="InsufficientInstanceCapacity")
    assert fleet.take() == []
    assert (fleet.row["failure"], fleet.row["failures"]) == ("InsufficientInstanceCapacity", 1)
    assert fleet.request(id)["reason"] == "InsufficientInstanceCapacity"
    attention = "SELECT reason FROM v_attention WHERE what = 'cluster' AND id = %s"
    assert "InsufficientInstanceCapacity" in fleet.shop.value(attention, fleet.cluster)
    fleet.pass_time("1 minute")
    assert fleet.finish("failed", message="InsufficientInstanceCapacity") == "provision_cluster_scale"
    fleet.pass_time("1 minute")
    assert fleet.take() == [], "each time it takes twice as long"
    fleet.pass_time("1 minute")
    assert fleet.settle() == ["scale"]
    assert (fleet.row["failure"], fleet.row["failures"], fleet.row["current_nodes"]) == (None, 0, 5)
    assert (fleet.request(id)["state"], fleet.request(id)["expires_date"]) == ("in_effect", expires)


def test_a_cluster_that_cannot_be_taken_away_is_tried_until_it_is(fleet: Fleet) -> None:
    fleet.ask("D", 1, 15)
    fleet.settle()
    fleet.pass_time("15 minutes")
    for _ in range(3):
        assert fleet.finish("failed", message="DependencyViolation") == "provision_cluster_shutdown"
        fleet.pass_time("1 hour")
    assert fleet.settle() == ["shutdown"]
    assert fleet.state == "down"


def test_refresh_tries_at_once_what_waits(fleet: Fleet) -> None:
    fleet.ask("D", 1)
    fleet.settle()
    fleet.ask("D", 5)
    fleet.finish("failed", message="InsufficientInstanceCapacity")
    with fleet.by("O"):
        do(fleet.shop, "cluster_refresh", fleet.org)
    assert fleet.settle() == ["scale"]


# Other systems --------------------------------------------------------------------------------------------------------


def test_rows_can_be_inserted_by_other_systems(fleet: Fleet) -> None:
    shop = fleet.shop
    fleet.configure(min_nodes=1)
    mine: dict[str, Any] = {
        "tenant_customer_id": shop.account,
        "org_id": fleet.org,
        "accreditation_id": shop.cloud,
        "cluster_id": fleet.cluster,
    }
    deploy = shop.insert("provision_cluster", **mine)
    with refused(shop.connection, "PV409", str(deploy)):
        shop.insert("provision_cluster_shutdown", **mine)
    fleet.settle()
    with refused(shop.connection, "PV409", "the cluster is up"):
        shop.insert("provision_cluster", **mine)
    id = fleet.ask("D", 3)
    fleet.settle()
    shop.insert("provision_cluster_shutdown", **mine)
    assert fleet.request(id)["reason"] == "the cluster was shut down"
    assert fleet.settle() == ["shutdown"]
    with refused(shop.connection, "PV404"):
        shop.insert("provision_cluster", **mine | {"org_id": shop.org()})


def order(fleet: Fleet, name: str, operation: str, **data: Any) -> UUID:
    """That person orders it for the org."""
    items = Jsonb([{"operation": operation, "data": data}])
    with fleet.by(name):
        id: UUID = do(fleet.shop, "order_submit", fleet.shop.account, items, None, {"org_id": str(fleet.org)})
    return id


def ordered(fleet: Fleet, id: UUID) -> str:
    """What became of it."""
    status: str = fleet.shop.value("SELECT status FROM v_order WHERE id = %s", id)
    return status


def test_each_operation_can_be_ordered(fleet: Fleet) -> None:
    fleet.configure(destroy_when_no_nodes=False)
    deployed = order(fleet, "O", "cluster.deploy")
    assert (fleet.settle(), ordered(fleet, deployed), fleet.state) == (["deploy"], "completed", "up")
    scaled = order(fleet, "O", "cluster.scale", min_nodes=2, max_nodes=4)
    assert fleet.row["target_nodes"] == 2
    assert (fleet.settle(), ordered(fleet, scaled)) == (["scale"], "completed")
    row = fleet.row
    assert (row["current_nodes"], row["min_nodes"], row["max_nodes"], row["version"]) == (2, 2, 4, 3)
    id = fleet.ask("D", 3)
    fleet.settle()
    with refused(fleet.shop.connection, "PV409", "3 nodes"):
        order(fleet, "O", "cluster.shutdown")
    shut = order(fleet, "O", "cluster.shutdown", end_requests=True)
    assert fleet.request(id)["state"] == "withdrawn"
    assert (fleet.settle(), ordered(fleet, shut), fleet.state) == (["shutdown"], "completed", "down")


def test_an_order_that_cannot_be_is_refused_at_once(fleet: Fleet) -> None:
    connection = fleet.shop.connection
    with refused(connection, "PV409", "the cluster would go at once"):
        order(fleet, "O", "cluster.deploy")
    with refused(connection, "PV409", "the cluster is down"):
        order(fleet, "O", "cluster.scale", min_nodes=1)
    with refused(connection, "PV403", "cluster.change"):
        order(fleet, "D", "cluster.deploy")
    with refused(connection, "PV400", "no org_id"):
        do(fleet.shop, "order_submit", fleet.shop.account, Jsonb([{"operation": "cluster.deploy", "data": {}}]))
    with refused(connection, "PV400", "nodes"):
        order(fleet, "O", "cluster.scale", nodes=1)
    fleet.configure(destroy_when_no_nodes=False)
    order(fleet, "O", "cluster.deploy")
    with refused(connection, "PV409", "something is being done"):
        order(fleet, "O", "cluster.deploy")
    fleet.settle()
    with refused(connection, "PV400", "the ceiling is 10"):
        order(fleet, "O", "cluster.scale", max_nodes=11)


def test_an_order_for_a_cluster_that_cannot_be_deployed_fails_with_the_reason(fleet: Fleet) -> None:
    fleet.configure(min_nodes=1)
    id = order(fleet, "O", "cluster.deploy")
    fleet.finish("failed", message="VcpuLimitExceeded")
    reason = fleet.shop.value("SELECT reason FROM v_order WHERE id = %s", id)
    assert (ordered(fleet, id), reason) == ("failed", "deploy the cluster: VcpuLimitExceeded")
    assert (fleet.settle(), fleet.state) == (["shutdown"], "down")


# Configuration --------------------------------------------------------------------------------------------------------

CONFIGURATIONS: dict[str, tuple[str, dict[str, Any], str]] = {
    "a minimum above the maximum": ("PV400", {"min_nodes": 5, "max_nodes": 4}, "min_nodes 5"),
    "no maximum": ("PV400", {"max_nodes": 0}, "max_nodes 0"),
    "a maximum above the ceiling": ("PV400", {"max_nodes": 11}, "the ceiling is 10"),
    "an unknown version": ("PV422", {"version": "v0"}, "v0"),
    "an unknown strategy": ("PV422", {"allocation_strategy": "cheap"}, "cheap"),
    "a price of nothing": ("PV422", {"spot_max_price": 0}, "price"),
    "a malformed type": ("PV422", {"instance_types": ["big"]}, "big"),
    "a malformed zone": ("PV422", {"zone": "here"}, "here"),
    "a malformed subnet": ("PV422", {"subnet_id": "net"}, "net"),
    "an unknown field": ("PV400", {"nodes": 3}, "nodes"),
    "the ceiling": ("PV403", {"ceiling": 20}, "ceiling"),
}


@pytest.mark.parametrize("what", CONFIGURATIONS)
def test_what_cannot_be_configured(fleet: Fleet, what: str) -> None:
    code, changes, text = CONFIGURATIONS[what]
    with refused(fleet.shop.connection, code, text):
        fleet.configure(**changes)


def test_a_limited_version_is_for_its_orgs(fleet: Fleet) -> None:
    add_version(fleet.shop.connection, "v-limited")
    fleet.shop.connection.execute("UPDATE cluster_version SET is_limited = true WHERE name = 'v-limited'")
    with refused(fleet.shop.connection, "PV422", "v-limited"):
        fleet.configure(version="v-limited")
    fleet.shop.connection.execute("INSERT INTO cluster_version_org VALUES ('v-limited', %s)", [fleet.org])
    fleet.configure(version="v-limited")
    assert fleet.row["cluster_version"] == "v-limited"


def test_members_configure_nothing(fleet: Fleet) -> None:
    with refused(fleet.shop.connection, "PV403", "cluster.change"), fleet.by("D"):
        do(fleet.shop, "cluster_configure", fleet.org, {"max_nodes": 3})


def test_a_configuration_that_was_changed_meanwhile_is_not_overwritten(fleet: Fleet) -> None:
    fleet.configure(max_nodes=5)
    with refused(fleet.shop.connection, "PV412"), fleet.by("O"):
        do(fleet.shop, "cluster_configure", fleet.org, {"max_nodes": 3}, 1)


def test_operators_make_clusters(shop: Shop) -> None:
    org = shop.org()
    add_version(shop.connection, "v1")
    given = {"org": str(org), "domain": "sr.test", "ceiling": 10, "max_nodes": 4, "version": "v1"}
    cluster = do(shop, "cluster_create", given)
    row = shop.row("SELECT state, max_nodes, overhead_cost, node_cost FROM v_cluster WHERE id = %s", cluster)
    assert (row["state"], row["max_nodes"], str(row["overhead_cost"]), str(row["node_cost"])) == (
        "down",
        4,
        "0.153",
        "0.226",
    )
    with refused(shop.connection, "PV404"):
        do(shop, "cluster_create", given | {"org": "nowhere"})


# Several at once ------------------------------------------------------------------------------------------------------


def test_requests_expire_in_the_right_order_whoever_dies_in_between(
    database: Database, owner: psycopg.Connection
) -> None:
    """Sessions that ask and tick are cut off before they commit; what is left is what the definition says."""
    fleet = Fleet(Shop(owner))
    insert = "INSERT INTO capacity_request (tenant_customer_id, org_id, cluster_id, user_id, nodes, expires_date)"
    insert += " VALUES (%s, %s, %s, %s, %s, engine_now() + make_interval(mins => %s))"

    def cut_off(*statements: tuple[str, list[Any]]) -> None:
        dying = connect(database.url, "dies")
        for statement, values in statements:
            dying.execute(statement.encode(), values)
        owner.execute("SELECT pg_terminate_backend(%s)", [dying.info.backend_pid])
        with pytest.raises(psycopg.OperationalError):
            dying.commit()

    tick: tuple[str, list[Any]] = ("SELECT cluster_tick(100)", [])
    for number, (name, nodes, minutes) in enumerate((("D", 3, 15), ("R", 4, 20), ("O", 2, 30), ("D", 5, 40))):
        row = [fleet.shop.account, fleet.org, fleet.cluster, fleet.people[name], nodes, minutes]
        cut_off((insert, row), tick)
        assert fleet.shop.count("capacity_request") == number
        owner.execute(insert.encode(), row)
    targets = [fleet.target]
    for wait in ("15 minutes", "5 minutes", "10 minutes", "10 minutes"):
        fleet.shop.pass_time(wait)
        cut_off(tick)
        fleet.tick()
        targets.append(fleet.row["target_nodes"])
    assert targets == [10, 10, 7, 5, 0]
