"""What the converger decides: a pure function, looked at gap by gap. Nothing here asks a database or AWS."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from provision_worker.hosting.model import (
    Balancer,
    Certificate,
    Database,
    Files,
    Group,
    Memory,
    Network,
    Node,
    NodeState,
    Plan,
    Seen,
    Site,
    Template,
    digest_of,
)
from provision_worker.hosting.plan import GRACE, plan

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
NETWORK = Network("example.net", "Z1", "vpc-1", ("subnet-1", "subnet-2"), "ami-1", "artifacts")
HOST = "db.example.test"
SITE = Site(
    id="1",
    key="wp-1",
    org_key="wp-org",
    name="shop",
    org="acm",
    cid="acm",
    hostname="shop.acm.www.example.net",
    network=NETWORK,
    nodes=3,
    has_served=True,
    is_changing=False,
)
DNS = "wp-org.elb.example.test"
DIGEST = digest_of(SITE, HOST, "fs-1")
OLD = "7-aaaaaaaaaaaaaaaa"


def node(name: str, state: NodeState = "ready", minutes: float = 60, digest: str = DIGEST, ours: bool = True) -> Node:
    return Node(name, state, NOW - timedelta(minutes=minutes), digest, ours)


THREE = tuple(node(name) for name in "abc")


def group(
    least: int, most: int, desired: int, version: str = "2", *, digest: str = DIGEST, has_policy: bool = False
) -> Group:
    return Group(least, most, desired, version, digest, has_policy)


GROUP = group(0, 4, 3, "2")
BALANCER = Balancer(
    "arn:lb",
    DNS,
    "ZLB",
    listener="arn:listener",
    redirect="arn:redirect",
    rules={"arn:rule": frozenset(SITE.certificate_names)},
    priorities=frozenset({1}),
    certificates=frozenset({"arn:cert"}),
    default="arn:cert",
)
SYNC = Seen(
    secret="arn:secret",
    security={"web": "sg-1", "node": "sg-2", "data": "sg-3"},
    has_subnets=True,
    databases={"wp-1-1": Database("wp-1-1", "available", HOST)},
    files=Files("fs-1", True, {"subnet-1": "m-1", "subnet-2": "m-2"}, True),
    template=Template("lt-1", {"1": OLD, "2": DIGEST}, "2"),
    target="arn:target",
    balancer=BALANCER,
    group=GROUP,
    nodes=THREE,
    certificates={SITE.hostname: Certificate("arn:cert", "ISSUED", {"_x." + SITE.hostname: "_y.acm.test"})},
    records={"_x." + SITE.hostname: "_y.acm.test", **dict.fromkeys(SITE.certificate_names, f"alias {DNS}")},
)
GOOD = Memory(good={"digest": DIGEST, "template": "2", "version": 0}, databases=["wp-1-1"])


def decide(seen: Seen = SYNC, site: Site = SITE, memory: Memory = GOOD, now: datetime = NOW) -> Plan:
    return plan(site, seen, memory, now)


def steps(found: Plan) -> list[tuple[str, dict[str, Any]]]:
    return [(step.action, dict(step.given)) for step in found.steps]


def actions(found: Plan) -> list[str]:
    return [step.action for step in found.steps]


def looks(seen: Seen, count: int, site: Site = SITE, memory: Memory = GOOD) -> Plan:
    """The plan of the last of several looks, a minute apart, at which the same was seen."""
    for number in range(count):
        found = plan(site, seen, memory, NOW + timedelta(minutes=number))
        memory = found.memory
    return found


# Nothing to do --------------------------------------------------------------------------------------------------------


def test_in_sync_nothing_is_done_however_often() -> None:
    found = looks(SYNC, 10)
    assert (found.steps, found.phase, found.is_done, found.ready, found.alarm) == ([], "ready", True, 3, None)
    assert all(condition["status"] for condition in found.conditions.values())
    assert set(found.conditions) == {"CodeReady", "DatabaseReady", "NodesReady", "CertificateReady", "RoutesReady"}


# The number of nodes --------------------------------------------------------------------------------------------------


def test_exactly_the_difference_is_started() -> None:
    short = replace(SYNC, nodes=THREE[:2], group=replace(GROUP, desired=2))
    assert steps(decide(short)) == [("group.resize", {"desired": 3})]


@pytest.mark.parametrize("minutes", [0.5, 9.9])
def test_those_that_are_still_starting_count_for_their_grace_time(minutes: float) -> None:
    starting = replace(SYNC, nodes=(*THREE[:2], node("c", "starting", minutes)))
    found = decide(starting)
    assert (actions(found), found.is_waiting, found.phase) == ([], True, "degraded")


def test_a_node_that_does_not_start_in_its_grace_time_is_replaced() -> None:
    late = replace(SYNC, nodes=(*THREE[:2], node("c", "starting", GRACE.seconds / 60 + 1)))
    assert steps(decide(late)) == [("node.replace", {"id": "c"})]


def test_a_node_that_is_gone_is_replaced_at_once_and_only_it() -> None:
    lost = replace(SYNC, nodes=(*THREE[:2], node("c", "gone")))
    assert steps(decide(lost)) == [("node.replace", {"id": "c"})]


def test_a_node_that_the_load_balancer_does_not_know_is_told_to_it() -> None:
    unknown = replace(node("c", "starting", 1), is_routed=False)
    found = decide(replace(SYNC, nodes=(*THREE[:2], unknown)))
    assert steps(found) == [("node.register", {"id": "c", "target": "arn:target"})]


def test_one_too_many_is_removed_and_a_stray_one_first() -> None:
    found = decide(replace(SYNC, nodes=(*THREE, node("d", ours=False))))
    assert steps(found) == [("node.remove", {"id": "d", "is_ours": False})]


@pytest.mark.parametrize(
    ("nodes", "victim"),
    [
        ((node("a", minutes=9), node("b", "ill"), node("c", minutes=5), node("d", minutes=7)), "b"),
        ((node("a", minutes=9), node("b", minutes=3), node("c", minutes=5), node("d", minutes=7)), "b"),
    ],
    ids=["the ill one", "the youngest"],
)
def test_of_too_many_the_right_one_goes(nodes: tuple[Node, ...], victim: str) -> None:
    found = decide(replace(SYNC, nodes=nodes, group=replace(GROUP, desired=4)))
    assert steps(found) == [("node.remove", {"id": victim, "is_ours": True})]


def test_of_too_many_in_a_roll_the_old_one_goes_before_the_youngest() -> None:
    nodes = (node("a", minutes=1), node("b"), node("c", digest=OLD, minutes=90), node("d"), node("e", minutes=2))
    found = decide(replace(SYNC, nodes=nodes, group=group(0, 5, 5, "2")))
    assert steps(found) == [("node.remove", {"id": "c", "is_ours": True})]


def test_a_wish_of_the_group_that_cannot_be_fulfilled_is_lowered() -> None:
    found = decide(replace(SYNC, group=replace(GROUP, desired=4)))
    assert steps(found) == [("group.resize", {"desired": 3})]


# Health ---------------------------------------------------------------------------------------------------------------


def test_a_node_is_replaced_when_it_was_ill_three_times() -> None:
    seen = replace(SYNC, nodes=(*THREE[:2], node("c", "ill")))
    assert [actions(looks(seen, times)) for times in (1, 2, 3)] == [[], [], ["node.replace"]]


def test_looks_in_quick_succession_count_as_one() -> None:
    seen, memory = replace(SYNC, nodes=(*THREE[:2], node("c", "ill"))), GOOD
    for number in range(10):
        found = plan(SITE, seen, memory, NOW + timedelta(seconds=number))
        memory = found.memory
        assert found.steps == []


def test_a_node_that_has_recovered_begins_anew() -> None:
    ill = replace(SYNC, nodes=(*THREE[:2], node("c", "ill")))
    twice = looks(ill, 2).memory
    assert decide(memory=twice).memory.strikes == {}


def test_at_most_a_third_is_replaced_at_once() -> None:
    site = replace(SITE, nodes=9)
    ill = tuple(node(f"i{number}", "ill") for number in range(4))
    seen = replace(SYNC, nodes=(*ill, *(node(f"r{number}") for number in range(5))), group=group(0, 10, 9, "2"))
    assert actions(looks(seen, 3, site)) == ["node.replace"] * 3


@pytest.mark.parametrize("ill", [2, 3])
def test_with_more_than_half_ill_nothing_is_replaced_and_a_person_is_called(ill: int) -> None:
    seen = replace(
        SYNC, nodes=tuple(node(name, "ill" if number < ill else "ready") for number, name in enumerate("abc"))
    )
    found = looks(seen, 20)
    assert (found.steps, found.phase) == ([], "degraded")
    assert found.alarm == f"{ill} of 3 nodes are ill; none is replaced until a person has looked"


def test_the_only_node_of_a_site_is_replaced() -> None:
    site = replace(SITE, nodes=1)
    seen = replace(SYNC, nodes=(node("a", "ill"),), group=group(0, 2, 1, "2"))
    assert actions(looks(seen, 3, site)) == ["node.replace"]


# Another version ------------------------------------------------------------------------------------------------------

NEW_SITE = replace(SITE, version=8, artifact="s3://artifacts/8.zip", generation=2, is_changing=True)
NEW = digest_of(NEW_SITE, HOST, "fs-1")
ROLLING_GROUP = group(0, 4, 3, "3", digest=NEW)
ROLLING = replace(
    SYNC,
    template=Template("lt-1", {"2": DIGEST, "3": NEW}, "3"),
    group=group(0, 4, 3, "3", digest=NEW),
)


def roll(*nodes: Node, desired: int, memory: Memory = GOOD, site: Site = NEW_SITE) -> Plan:
    return decide(replace(ROLLING, nodes=nodes, group=replace(ROLLING_GROUP, desired=desired)), site, memory)


def test_a_new_version_is_first_a_version_of_the_template() -> None:
    (step,) = decide(site=NEW_SITE).steps
    assert (step.action, step.given["digest"]) == ("template.version", NEW)


def test_in_a_roll_one_more_comes_first_and_one_old_goes_then() -> None:
    assert steps(roll(*THREE, desired=3)) == [("group.resize", {"desired": 4})]
    assert steps(roll(*THREE, node("d", "starting", 1, NEW), desired=4)) == []
    one_out = roll(*THREE, node("d", digest=NEW), desired=4)
    assert actions(one_out) == ["node.remove"]
    assert one_out.steps[0].given["id"] in "abc"
    assert steps(roll(*THREE[1:], node("d", digest=NEW), desired=3)) == [("group.resize", {"desired": 4})]
    news = [node(name, digest=NEW) for name in "def"]
    done = roll(*news, desired=3)
    assert (done.steps, done.is_done, done.code_version, done.phase) == ([], True, 8, "ready")


def test_where_all_that_came_are_old_one_goes_and_the_next_is_new() -> None:
    found = roll(*THREE, node("d"), desired=4)
    assert actions(found) == ["node.remove"]


def test_two_failed_starts_bring_the_old_version_back() -> None:
    first = roll(*THREE, node("d", "starting", 11, NEW), desired=4)
    assert (actions(first), first.memory.failed_starts, first.memory.failed) == (["node.remove"], 1, "")
    second = roll(*THREE, node("e", "starting", 11, NEW), desired=4, memory=first.memory)
    assert (actions(second), second.memory.failed) == (["node.remove"], NEW)
    back = roll(*THREE, desired=3, memory=second.memory)
    assert steps(back) == [("group.update", {"template": "2", "digest": DIGEST, "least": 0, "most": 4})]
    assert back.fall_back == 0
    assert back.conditions["UpdateFailed"]["status"] is True
    seen = replace(ROLLING, nodes=THREE, group=group(0, 4, 3, "2"))
    fallen = decide(seen, replace(SITE, generation=2), back.memory)
    assert (fallen.steps, fallen.is_done, fallen.conditions["UpdateFailed"]["status"]) == ([], True, True)


def test_the_next_change_tries_again_what_had_failed() -> None:
    failed = Memory(good=GOOD.good, databases=GOOD.databases, failed=NEW, failed_generation=2)
    found = roll(*THREE, desired=3, memory=failed, site=replace(NEW_SITE, generation=3))
    assert (actions(found), found.memory.failed) == (["group.resize"], "")


def test_a_first_version_that_does_not_start_is_tried_twice_and_then_needs_a_person() -> None:
    site = replace(SITE, nodes=1, has_served=False)
    memory = Memory(databases=["wp-1-1"])
    for number in range(2):
        seen = replace(SYNC, nodes=(node(f"n{number}", "starting", 11),), group=group(0, 2, 1, "2"))
        found = plan(site, seen, memory, NOW + timedelta(minutes=number))
        assert actions(found) == ["node.replace"]
        memory = found.memory
    found = plan(site, seen, memory, NOW + timedelta(minutes=5))
    assert (found.steps, found.phase, found.alarm) == ([], "failed", "nodes do not start; none has ever run")


# Things that are missing or changed -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"secret": None}, ["secret.create"]),
        ({"records": {}}, ["record.write", "record.alias", "record.alias"]),
        ({"records": {**SYNC.records, SITE.hostname: "alias elsewhere.test"}}, ["record.alias"]),
        ({"certificates": {}}, ["certificate.request"]),
        ({"balancer": replace(BALANCER, rules={})}, ["rule.create"]),
        ({"balancer": replace(BALANCER, rules={"r": frozenset({"x.test"})})}, ["rule.create", "rule.remove"]),
        ({"balancer": replace(BALANCER, redirect=None)}, ["balancer.redirect"]),
        ({"balancer": replace(BALANCER, certificates=frozenset())}, ["listener.certificate"]),
        ({"group": replace(GROUP, template_version="1")}, ["group.update"]),
        ({"group": replace(GROUP, is_left_alone=False)}, ["group.leave_alone"]),
        ({"target": None}, ["target.create"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, (dict, list)) else str(value),
)
def test_what_is_missing_or_changed_is_written_again(change: dict[str, Any], expected: list[str]) -> None:
    found = decide(replace(SYNC, **change))
    assert actions(found) == expected
    assert (found.is_done, found.phase in ("degraded", "updating")) == (False, True)


def test_a_rule_takes_a_priority_that_is_free() -> None:
    taken = replace(BALANCER, rules={}, priorities=frozenset({1, 2, 4}))
    (step,) = decide(replace(SYNC, balancer=taken)).steps
    assert step.given["priority"] == 3


# Data -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("memory", "site"),
    [
        (GOOD, SITE),
        (Memory(), SITE),
        (GOOD, replace(SITE, has_served=False)),
        (Memory(), replace(SITE, has_served=False, database_revision=2)),
    ],
    ids=["known", "memory lost", "never served", "a restored one"],
)
def test_a_missing_database_is_never_made_anew(memory: Memory, site: Site) -> None:
    found = looks(replace(SYNC, databases={}), 50, site, memory)
    assert "database.create" not in actions(found)
    assert found.phase in ("degraded", "failed")
    assert found.alarm is not None
    assert "is missing" in found.alarm
    assert found.conditions["DatabaseReady"] == {"status": False, "reason": "the database is missing"}


def test_what_a_restore_has_replaced_goes_when_nothing_uses_it_any_more() -> None:
    site = replace(SITE, database_revision=2)
    databases = {"wp-1-1": SYNC.databases["wp-1-1"], "wp-1-2": Database("wp-1-2", "available", "db2.example.test")}
    before = decide(replace(SYNC, databases=databases), site)
    assert actions(before) == ["template.version"]
    digest = digest_of(site, "db2.example.test", "fs-1")
    nodes = tuple(replace(one, digest=digest) for one in THREE)
    restored: dict[str, Any] = {
        "template": Template("lt-1", {"2": digest}, "2"),
        "group": group(0, 4, 3, digest=digest),
    }
    after = replace(SYNC, databases=databases, nodes=nodes, **restored)
    assert steps(decide(after, site)) == [("database.remove", {"name": "wp-1-1", "snapshot": "wp-1-1-left"})]


def test_a_database_that_a_restore_is_making_is_left_alone() -> None:
    databases = {**SYNC.databases, "wp-1-2": Database("wp-1-2", "creating")}
    assert decide(replace(SYNC, databases=databases)).is_done


# Size -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("percent", "is_high"), [(84.9, False), (85.0, True)])
def test_too_much_to_do_is_said_and_changes_nothing(percent: float, is_high: bool) -> None:
    found = decide(memory=Memory(databases=["wp-1-1"], load={"at": 0.0, "processor": 10.0, "memory": percent}))
    assert (found.phase, found.steps, "LoadHigh" in found.conditions) == ("ready", [], is_high)


def test_a_standby_database_follows_the_spec() -> None:
    wanted = replace(SITE, features=frozenset({"database_standby"}))
    assert steps(decide(site=wanted)) == [("database.standby", {"name": "wp-1-1", "is_wanted": True})]


# The load decides -----------------------------------------------------------------------------------------------------

LOADED = replace(SITE, range=(2, 5))


@pytest.mark.parametrize("wish", [2, 3, 5])
def test_the_groups_own_wish_within_the_range_is_no_gap(wish: int) -> None:
    nodes = tuple(node(str(number)) for number in range(wish))
    found = decide(replace(SYNC, nodes=nodes, group=group(2, 5, wish, "2", has_policy=True)), LOADED)
    assert (found.steps, found.is_done, found.ready) == ([], True, wish)


def test_range_and_policy_follow_the_spec() -> None:
    assert steps(decide(site=LOADED)) == [
        ("group.update", {"template": "2", "digest": DIGEST, "least": 2, "most": 5}),
        ("group.policy", {}),
    ]
    back = decide(replace(SYNC, group=group(2, 5, 3, "2", has_policy=True)))
    assert actions(back) == ["group.update", "group.no_policy"]


def test_of_a_range_that_gets_narrower_the_group_does_not_choose_who_goes() -> None:
    nodes = tuple(node(name, minutes=minutes) for name, minutes in (("a", 60), ("b", 5), ("c", 60), ("d", 60)))
    found = decide(replace(SYNC, nodes=nodes, group=group(2, 4, 4, has_policy=True)), replace(SITE, range=(1, 3)))
    assert steps(found) == [
        ("group.update", {"template": "2", "digest": DIGEST, "least": 1, "most": 4}),
        ("node.remove", {"id": "b", "is_ours": True}),
    ]


def test_what_is_just_being_made_for_a_site_is_waited_for_before_it_is_gone() -> None:
    site = replace(SITE, is_deletion_wanted=True)
    waiting = decide(Seen(), replace(site, is_busy=True))
    assert (waiting.phase, waiting.steps, waiting.is_waiting) == ("deleting", [], True)
    assert decide(Seen(), site).phase == "deleted"


def test_a_roll_at_the_upper_end_of_the_range_has_room_for_one_more() -> None:
    site = replace(NEW_SITE, range=(2, 3))
    found = decide(replace(ROLLING, group=group(2, 3, 3, "3", digest=NEW, has_policy=True)), site)
    assert steps(found) == [
        ("group.update", {"template": "3", "digest": NEW, "least": 2, "most": 4}),
        ("group.resize", {"desired": 4}),
    ]


# Suspended ------------------------------------------------------------------------------------------------------------


def test_a_suspended_site_has_no_nodes_and_keeps_everything_else() -> None:
    site = replace(SITE, is_suspended=True)
    found = decide(site=site)
    assert actions(found) == ["group.update", *["node.remove"] * 3]
    asleep = replace(SYNC, nodes=(), group=group(0, 1, 0, "2"))
    done = decide(asleep, site)
    assert (done.steps, done.phase, done.is_done) == ([], "suspended", True)
    assert actions(decide(asleep)) == ["group.update", "group.resize"]


# Domains --------------------------------------------------------------------------------------------------------------


def test_a_domain_of_the_customers_own_never_blocks_the_site() -> None:
    site = replace(SITE, domains=("shop.test",))
    first = decide(site=site)
    assert actions(first) == ["certificate.request"]
    waiting = replace(
        SYNC,
        certificates={
            **SYNC.certificates,
            "shop.test": Certificate("arn:own", "PENDING_VALIDATION", {"_a.shop.test": "_b.test"}),
        },
    )
    found = decide(waiting, site)
    assert (found.steps, found.is_done) == ([], True)
    assert found.domain_states == [
        {
            "name": "shop.test",
            "state": "pending",
            "required_records": [
                {"type": "CNAME", "name": "shop.test", "value": SITE.hostname},
                {"type": "CNAME", "name": "_a.shop.test", "value": "_b.test"},
            ],
        }
    ]
    issued = replace(SYNC, certificates={**SYNC.certificates, "shop.test": Certificate("arn:own", "ISSUED")})
    assert actions(decide(issued, site)) == ["listener.certificate", "rule.create"]


# Creation and deletion ------------------------------------------------------------------------------------------------


def test_creation_begins_with_what_others_stand_on() -> None:
    site = replace(SITE, has_served=False)
    found = decide(Seen(), site, Memory())
    assert actions(found) == [
        "secret.create",
        "security.create",
        "subnets.create",
        "files.create",
        "target.create",
        "certificate.request",
    ]
    assert found.phase == "creating"


def test_nothing_is_started_before_its_code_was_fetched() -> None:
    site = replace(SITE, has_served=False, is_resolved=False)
    found = decide(replace(SYNC, template=None, group=None, nodes=()), site, Memory(databases=["wp-1-1"]))
    assert (actions(found), found.conditions["CodeReady"]["status"]) == ([], False)


SNAPSHOTS = {"wp-1-1-final": "available", "wp-1-backup": "available"}


def test_deletion_goes_the_other_way_round() -> None:
    site = replace(SITE, is_deletion_wanted=True, is_last_of_org=True)
    seen, order = replace(SYNC, artifacts=("artifacts/wp-1/1",)), []
    gone: dict[str, Callable[[Seen], Seen]] = {
        "record.remove": lambda seen: replace(seen, records={}),
        "group.remove": lambda seen: replace(seen, group=None, nodes=()),
        "balancer.remove": lambda seen: replace(seen, balancer=None),
        "target.remove": lambda seen: replace(seen, target=None),
        "certificate.remove": lambda seen: replace(seen, certificates={}),
        "template.remove": lambda seen: replace(seen, template=None),
        "files.unmount": lambda seen: replace(seen, files=Files("fs-1", True)),
        "database.remove": lambda seen: replace(seen, databases={}, snapshots=SNAPSHOTS),
        "files.remove": lambda seen: replace(seen, files=None),
        "snapshot.remove": lambda seen: replace(seen, snapshots={"wp-1-1-final": "available"}),
        "artifact.remove": lambda seen: replace(seen, artifacts=()),
        "subnets.remove": lambda seen: replace(seen, has_subnets=False),
        "security.remove": lambda seen: replace(seen, security={}),
        "secret.remove": lambda seen: replace(seen, secret=None),
    }
    while not (found := decide(seen, site)).is_done:
        assert found.steps
        for step in found.steps:
            order.append(step.action)
            seen = gone[step.action](seen)
        assert len(order) < 100
    assert found.phase == "deleted"
    assert list(dict.fromkeys(order)) == list(gone)
    database = next(
        given
        for action, given in steps(
            decide(
                replace(
                    SYNC,
                    records={},
                    group=None,
                    nodes=(),
                    balancer=None,
                    target=None,
                    certificates={},
                    template=None,
                    files=None,
                ),
                site,
            )
        )
        if action == "database.remove"
    )
    assert database == {"name": "wp-1-1", "snapshot": "wp-1-1-final"}


def test_what_the_org_shares_stays_while_it_has_other_sites() -> None:
    site = replace(SITE, is_deletion_wanted=True)
    shared = replace(BALANCER, certificates=frozenset({"arn:cert", "arn:other"}))
    found = decide(replace(SYNC, balancer=shared), site)
    assert [action for action in actions(found) if action != "record.remove"] == ["rule.remove", "listener.default"]
    left = replace(
        SYNC,
        records={},
        group=None,
        nodes=(),
        balancer=replace(shared, rules={}, certificates=frozenset({"arn:other"}), default="arn:other"),
    )
    bare = replace(left, target=None, certificates={}, template=None, files=None, databases={}, secret=None)
    assert decide(bare, site).is_done


# Whatever is there ----------------------------------------------------------------------------------------------------

STATES = st.sampled_from(["starting", "ready", "ill", "gone", "leaving"])
NODES = st.lists(st.tuples(STATES, st.booleans(), st.booleans(), st.floats(0, 100)), max_size=12)


@given(NODES, st.integers(1, 6), st.integers(0, 9))
def test_no_look_ends_with_fewer_ready_nodes_than_wanted_or_starts_more_than_one_too_many(
    given_nodes: list[tuple[NodeState, bool, bool, float]], wanted: int, desired: int
) -> None:
    nodes = tuple(
        node(str(number), state, minutes, DIGEST if is_new else OLD, ours)
        for number, (state, is_new, ours, minutes) in enumerate(given_nodes)
    )
    seen = replace(SYNC, nodes=nodes, group=group(0, wanted + 1, desired, "2"))
    found = decide(seen, replace(SITE, nodes=wanted))
    ready = {one.id for one in nodes if one.state == "ready" and one.is_ours}
    removed = {str(step.given["id"]) for step in found.steps if step.action in ("node.remove", "node.replace")}
    assert len(ready - removed) >= min(len(ready), wanted)
    for step in found.steps:
        if step.action == "group.resize":
            assert step.given["desired"] <= max(wanted + 1, sum(one.is_ours for one in nodes))
