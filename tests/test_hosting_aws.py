"""The converger at AWS: real calls over HTTP to an endpoint that keeps state, counted by a proxy. No database is asked:
what is wanted is given, what is remembered is kept here."""

import json
from base64 import b64decode
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from provision_worker.hosting import stray
from provision_worker.hosting.act import store_secret
from provision_worker.hosting.look import look
from provision_worker.hosting.model import Memory, Plan, Seen, Site
from provision_worker.hosting.observe import INSTANCE_TAG, observe
from provision_worker.hosting.userdata import LIMIT_BYTES, UserDataError, check, script

from . import hosting_fixtures
from .hosting_fixtures import World

cloud = hosting_fixtures.cloud
world = hosting_fixtures.world


@dataclass
class Caretaker:
    """Looks at a site as the worker's action does."""

    world: World
    site: Site
    memory: Memory = field(default_factory=Memory)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    plan: Plan = field(default_factory=Plan)

    def look(self) -> Plan:
        made, problem = look(self.world.account, self.site, self.memory, self.now, lambda: None)
        if problem:
            raise problem
        assert made
        self.memory, self.plan = made.memory, made
        return made

    def until_done(self, limit: int = 30) -> "Caretaker":
        """Looks until everything is as wanted."""
        for _ in range(limit):
            if self.look().is_done:
                self.site = replace(self.site, has_served=not self.site.is_deletion_wanted, is_changing=False)
                return self
            self.now += timedelta(seconds=15)
        raise AssertionError(f"{self.plan.steps} {self.plan.conditions} {self.plan.alarm}")

    def want(self, **changes: Any) -> "Caretaker":
        """Something else is wanted."""
        self.site = replace(self.site, generation=self.site.generation + 1, **changes)
        return self

    def seen(self) -> Seen:
        return observe(self.world.account, self.site, self.memory)

    def nodes(self) -> list[str]:
        return self.world.running(self.site.id)


def up(world: World, **changes: Any) -> Caretaker:
    """A site that serves."""
    return Caretaker(world, world.site(**changes)).until_done()


# Creation -------------------------------------------------------------------------------------------------------------


def test_a_site_comes_up_with_one_of_everything(world: World) -> None:
    keeper = up(world, nodes=2)
    assert keeper.plan.phase == "ready"
    counts = world.proxy.counts()
    expected = {
        "CreateSecret": 1,
        "CreateSecurityGroup": 3,
        "CreateDBSubnetGroup": 1,
        "CreateDBInstance": 1,
        "CreateFileSystem": 1,
        "CreateMountTarget": 2,
        "CreateLaunchTemplate": 1,
        "CreateTargetGroup": 1,
        "CreateLoadBalancer": 1,
        "CreateListener": 2,
        "CreateRule": 1,
        "CreateAutoScalingGroup": 1,
        "RequestCertificate": 1,
    }
    assert {name: counts[name] for name in expected} == expected
    assert sum(counts.values()) == CALLS
    names = {record["Name"] for record in world.records() if record["Type"] in ("A", "CNAME")}
    host = keeper.site.hostname
    assert {f"{host}.", f"*.{host}."} <= {name.replace("\\052", "*") for name in names}
    certificate = world.account.acm.describe_certificate(CertificateArn=keeper.memory.certificates[host])["Certificate"]
    assert set(certificate["SubjectAlternativeNames"]) == {host, f"*.{host}"}
    database = world.account.rds.describe_db_instances()["DBInstances"][0]
    assert database["DeletionProtection"] is True
    assert "MasterUserSecret" in database
    assert len(keeper.nodes()) == 2


def test_everything_of_a_site_carries_its_tag_and_its_orgs(world: World) -> None:
    keeper = up(world, cost_tag="hosting-acm")
    (database,) = world.account.rds.describe_db_instances()["DBInstances"]
    wanted = {(INSTANCE_TAG, keeper.site.id), ("provision:org", "acm"), ("provision:cost", "hosting-acm")}
    assert wanted <= {(tag["Key"], tag["Value"]) for tag in database["TagList"]}
    assert world.tagged(keeper.site.id) >= {"instance", "launch-template"}


def test_in_sync_ten_looks_change_nothing(world: World) -> None:
    keeper = up(world, nodes=3)
    world.proxy.reset()
    for _ in range(10):
        assert keeper.look().steps == []
    assert world.proxy.mutating == []
    assert len(world.proxy.calls) <= 10 * 20


def test_a_second_site_of_the_org_shares_what_is_the_orgs(world: World) -> None:
    first = up(world)
    world.proxy.reset()
    second = up(world, id="second", key="wp-second", name="blog", hostname="blog.acm.www.example.net")
    counts = world.proxy.counts()
    shared = ("CreateSecurityGroup", "CreateDBSubnetGroup", "CreateLoadBalancer", "CreateListener")
    assert {name: counts[name] for name in shared} == dict.fromkeys(shared, 0)
    assert counts["AddListenerCertificates"] == 1
    for keeper in (first, second):
        world.proxy.reset()
        assert (keeper.look().steps, world.proxy.mutating) == ([], [])


CALLS = 24
"""Calls of the whole sequence that change something."""


# Killed ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [5, 12, 19, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, CALLS + 1))])
def test_killed_after_any_call_the_next_look_adopts_and_there_is_one_of_everything(world: World, after: int) -> None:
    keeper = Caretaker(world, world.site(nodes=2))
    world.proxy.refuse_after(after)
    with suppress(ClientError, BotoCoreError):
        keeper.until_done()
    assert world.proxy.is_dead, "the sequence has fewer calls than are tried here"
    world.proxy.heal()
    fresh = Caretaker(world, world.site(nodes=2)).until_done()
    assert world.inventory() == ONE_OF_EVERYTHING
    assert len(fresh.nodes()) == 2
    world.proxy.reset()
    assert (fresh.look().steps, world.proxy.mutating) == ([], [])


ONE_OF_EVERYTHING = {
    "secrets": 1,
    "security groups": 3,
    "subnet groups": 1,
    "databases": 1,
    "file systems": 1,
    "mount targets": 2,
    "templates": 1,
    "target groups": 1,
    "load balancers": 1,
    "listeners": 2,
    "rules": 1,
    "groups": 1,
    "machines": 2,
    "certificates": 1,
    "records": 3,
    "addresses": 0,
}


# Nodes ----------------------------------------------------------------------------------------------------------------


def test_of_three_nodes_one_is_terminated_and_exactly_one_is_started(world: World) -> None:
    keeper = up(world, nodes=3)
    before = set(keeper.nodes())
    world.account.ec2.terminate_instances(InstanceIds=[min(before)])
    keeper.until_done()
    assert len(keeper.nodes()) == 3
    assert len(set(keeper.nodes()) - before) == 1


def test_a_wish_that_somebody_lowered_is_raised_by_one_call(world: World) -> None:
    keeper = up(world, nodes=3)
    world.account.autoscaling.set_desired_capacity(AutoScalingGroupName=keeper.site.key, DesiredCapacity=1)
    world.proxy.reset()
    keeper.until_done()
    assert world.proxy.mutating == ["SetDesiredCapacity"]
    assert len(keeper.nodes()) == 3


def test_a_fourth_node_with_the_tag_is_removed_and_one_without_is_not(world: World) -> None:
    keeper = up(world, nodes=3)
    mine = set(keeper.nodes())
    stray = world.machine({INSTANCE_TAG: keeper.site.id})
    other = world.machine({})
    world.proxy.reset()
    keeper.until_done()
    assert world.proxy.mutating == ["TerminateInstances"]
    assert set(keeper.nodes()) == mine
    assert stray not in world.running()
    assert other in world.running()


def test_scaling_up_and_down_changes_just_the_difference(world: World) -> None:
    keeper = up(world, nodes=1)
    first = set(keeper.nodes())
    keeper.want(nodes=5).until_done()
    five = set(keeper.nodes())
    assert len(five) == 5
    assert first <= five
    keeper.want(nodes=2).until_done()
    assert len(keeper.nodes()) == 2
    assert set(keeper.nodes()) <= five


def test_an_ill_node_is_replaced_after_three_looks_and_more_than_half_are_not(world: World) -> None:
    keeper = up(world, nodes=3)
    ill = min(keeper.nodes())
    world.make_ill(ill)
    actions = []
    for _ in range(3):
        keeper.now += timedelta(minutes=1)
        actions.append([step.action for step in keeper.look().steps])
    assert actions == [[], [], ["node.replace"]]
    keeper.until_done()
    assert ill not in keeper.nodes()
    for node in keeper.nodes()[:2]:
        world.make_ill(node)
    world.proxy.reset()
    for _ in range(5):
        keeper.now += timedelta(minutes=1)
        keeper.look()
    for _ in range(2):
        keeper.now += timedelta(minutes=1)
        assert keeper.look().alarm == "2 of 3 nodes are ill; none is replaced until a person has looked"
    assert world.proxy.mutating == []


def test_a_new_version_rolls_one_after_the_other(world: World) -> None:
    keeper = up(world, nodes=2)
    old = set(keeper.nodes())
    keeper.want(version=1, artifact="s3://artifacts/1")
    most, least = 0, 9
    while not keeper.look().is_done:
        ready = keeper.plan.ready
        most, least = max(most, len(keeper.nodes())), min(least, ready or least)
        keeper.now += timedelta(seconds=15)
    assert not set(keeper.nodes()) & old
    assert (most, least, keeper.plan.code_version) == (3, 2, 1)


def test_suspended_it_has_no_nodes_and_comes_back(world: World) -> None:
    keeper = up(world, nodes=2)
    keeper.want(is_suspended=True).until_done()
    assert (keeper.plan.phase, keeper.nodes()) == ("suspended", [])
    keeper.want(is_suspended=False).until_done()
    assert (keeper.plan.phase, len(keeper.nodes())) == ("ready", 2)


def test_where_the_load_decides_its_wish_is_no_gap(world: World) -> None:
    keeper = up(world, range=(2, 4), features=frozenset({"autoscale"}))
    assert len(keeper.nodes()) == 2
    world.account.autoscaling.set_desired_capacity(AutoScalingGroupName=keeper.site.key, DesiredCapacity=4)
    world.proxy.reset()
    assert (keeper.look().steps, world.proxy.mutating) == ([], [])
    keeper.want(range=(1, 3)).until_done()
    assert len(keeper.nodes()) <= 3


# What was taken away --------------------------------------------------------------------------------------------------


def test_a_deleted_database_is_degraded_and_never_an_empty_one(world: World) -> None:
    keeper = up(world)
    rds, name = world.account.rds, keeper.site.database_name
    rds.modify_db_instance(DBInstanceIdentifier=name, DeletionProtection=False)
    rds.delete_db_instance(DBInstanceIdentifier=name, SkipFinalSnapshot=True)
    world.proxy.reset()
    for _ in range(10):
        keeper.now += timedelta(minutes=1)
        assert keeper.look().phase == "degraded"
    keeper.memory = Memory()
    assert keeper.look().phase == "degraded"
    assert world.proxy.counts()["CreateDBInstance"] == 0
    assert rds.describe_db_instances()["DBInstances"] == []
    assert len(keeper.nodes()) == 1, "nodes that still run are left alone"


def test_records_rules_and_secrets_that_are_gone_are_written_again(world: World) -> None:
    keeper = up(world)
    account = world.account
    for record in world.records():
        if record["Type"] in ("A", "CNAME"):
            world.change("DELETE", record)
    (rule,) = keeper.seen().balancer.rules  # type: ignore[union-attr]
    account.elb.delete_rule(RuleArn=rule)
    account.secrets.delete_secret(SecretId=keeper.site.secret_name, ForceDeleteWithoutRecovery=True)
    world.proxy.reset()
    keeper.until_done()
    assert world.proxy.counts() == {"CreateSecret": 1, "CreateRule": 1, "ChangeResourceRecordSets": 3}


def test_a_certificate_that_is_gone_is_requested_again(world: World) -> None:
    keeper = up(world)
    gone = keeper.memory.certificates[keeper.site.hostname]
    world.forget_certificate(gone)
    keeper.until_done()
    assert keeper.memory.certificates[keeper.site.hostname] != gone


def test_a_secret_that_was_being_removed_is_kept_after_all(world: World) -> None:
    site = world.site()
    store_secret(world.account, site)
    before = world.account.secrets.get_secret_value(SecretId=site.secret_name)["SecretString"]
    world.account.secrets.delete_secret(SecretId=site.secret_name)
    store_secret(world.account, site)
    assert world.account.secrets.get_secret_value(SecretId=site.secret_name)["SecretString"] == before


# Names ----------------------------------------------------------------------------------------------------------------


def test_a_domain_of_the_customers_own_is_served_when_its_certificate_is_there(world: World) -> None:
    keeper = up(world, domains=("shop.test",))
    keeper.until_done()
    (state,) = keeper.plan.domain_states
    assert (state["name"], state["state"]) == ("shop.test", "active")
    required = state["required_records"]
    assert isinstance(required, list)
    assert required[0] == {"type": "CNAME", "name": "shop.test", "value": keeper.site.hostname}
    balancer = keeper.seen().balancer
    assert balancer
    assert frozenset({"shop.test"}) in balancer.rules.values()


def test_a_long_name_has_a_certificate_with_a_short_one_first(world: World) -> None:
    keeper = up(world, hostname=f"{'x' * 63}.acm.www.example.net")
    subject, host = "wp-first.example.net", keeper.site.hostname
    made = world.account.acm.describe_certificate(CertificateArn=keeper.memory.certificates[subject])["Certificate"]
    assert (made["DomainName"], set(made["SubjectAlternativeNames"])) == (subject, {subject, host, f"*.{host}"})
    world.proxy.reset()
    assert (keeper.look().steps, world.proxy.mutating) == ([], [])
    keeper.want(is_deletion_wanted=True, is_last_of_org=True).until_done()
    assert set(world.inventory().values()) == {0}


def test_an_address_of_its_own_is_allocated_once_and_released(world: World) -> None:
    keeper = up(world, features=frozenset({"dedicated_ip"}))
    assert keeper.plan.address == world.account.ec2.describe_addresses()["Addresses"][0]["PublicIp"]
    world.proxy.reset()
    assert (keeper.look().steps, world.proxy.mutating) == ([], [])
    keeper.want(is_deletion_wanted=True, is_last_of_org=True).until_done()
    assert world.account.ec2.describe_addresses()["Addresses"] == []


# The end --------------------------------------------------------------------------------------------------------------


def test_deletion_leaves_nothing_but_the_snapshot(world: World) -> None:
    keeper = up(world, nodes=2, domains=("shop.test",))
    keeper.want(is_deletion_wanted=True, is_last_of_org=True).until_done()
    assert keeper.plan.phase == "deleted"
    assert set(world.inventory().values()) == {0}
    (snapshot,) = world.account.rds.describe_db_snapshots()["DBSnapshots"]
    assert snapshot["DBSnapshotIdentifier"] == keeper.site.final_snapshot
    world.proxy.reset()
    assert keeper.look().is_done
    assert world.proxy.mutating == []


def test_backups_and_code_of_a_site_go_with_it(world: World) -> None:
    keeper = up(world)
    rds, s3 = world.direct.rds, world.direct.s3
    rds.create_db_snapshot(DBSnapshotIdentifier="wp-first-backup", DBInstanceIdentifier=keeper.site.database_name)
    for key in ("artifacts/wp-first/1", "artifacts/wp-other/1"):
        s3.put_object(Bucket="artifacts", Key=key, Body=b"code")
    keeper.want(is_deletion_wanted=True, is_last_of_org=True).until_done()
    (snapshot,) = rds.describe_db_snapshots()["DBSnapshots"]
    assert (snapshot["DBSnapshotIdentifier"], keeper.plan.has_final_snapshot) == (keeper.site.final_snapshot, True)
    assert [one["Key"] for one in s3.list_objects_v2(Bucket="artifacts")["Contents"]] == ["artifacts/wp-other/1"]


def test_deletion_leaves_other_sites_of_the_org_alone(world: World) -> None:
    first = up(world)
    second = up(world, id="second", key="wp-second", name="blog", hostname="blog.acm.www.example.net")
    first.want(is_deletion_wanted=True).until_done()
    world.proxy.reset()
    assert (second.look().steps, second.plan.phase, world.proxy.mutating) == ([], "ready", [])


@pytest.mark.slow
@pytest.mark.parametrize("after", range(1, 20))
def test_killed_after_any_call_of_the_deletion_the_next_look_goes_on(world: World, after: int) -> None:
    keeper = up(world)
    keeper.want(is_deletion_wanted=True, is_last_of_org=True)
    world.proxy.refuse_after(after)
    with suppress(ClientError, BotoCoreError):
        keeper.until_done()
    world.proxy.heal()
    keeper.until_done()
    assert set(world.inventory().values()) == {0}
    assert len(world.account.rds.describe_db_snapshots()["DBSnapshots"]) == 1


# Load -----------------------------------------------------------------------------------------------------------------


def load(world: World, metric: str, *percent: float) -> None:
    """What CloudWatch has of the site's nodes, the newest last."""
    space = "AWS/EC2" if metric == "CPUUtilization" else "CWAgent"
    group = [{"Name": "AutoScalingGroupName", "Value": "wp-first"}]
    begin = datetime.now(UTC) - timedelta(minutes=1 + 5 * (len(percent) - 1))
    data = [
        {"MetricName": metric, "Dimensions": group, "Value": value, "Timestamp": begin + timedelta(minutes=5 * number)}
        for number, value in enumerate(percent)
    ]
    world.direct.cloudwatch.put_metric_data(Namespace=space, MetricData=data)  # type: ignore[arg-type]


def test_load_that_stays_high_is_said_and_asked_for_every_five_minutes(world: World) -> None:
    keeper = up(world)
    load(world, "CPUUtilization", 96.0, 97.0)
    load(world, "mem_used_percent", 20.0, 99.0)
    keeper.memory.load.clear()
    world.proxy.reset()
    for _ in range(3):
        assert keeper.look().conditions["LoadHigh"]["reason"] == "processor 96 %"
    assert (keeper.plan.phase, world.proxy.calls.count("GetMetricData"), world.proxy.mutating) == ("ready", 1, [])


def test_where_cloudwatch_may_not_be_asked_sites_are_kept_all_the_same(world: World) -> None:
    world.proxy.fail("GetMetricData", 400, "AccessDenied")
    assert "LoadHigh" not in up(world).plan.conditions


# Strays ---------------------------------------------------------------------------------------------------------------


def test_strays_are_found_by_their_tag_and_removed_all_but_data(world: World) -> None:
    keeper = up(world, features=frozenset({"dedicated_ip"}))
    kinds = {
        kind for arn, site in stray.tagged(world.account) if site == keeper.site.id for kind in [arn.split(":")[2]]
    }
    assert kinds >= {"ec2", "rds", "elasticloadbalancing", "autoscaling"}
    for arn in sorted((arn for arn, _ in stray.tagged(world.account)), key=stray.order):
        stray.remove(world.account, arn)
    left = {name for name, count in world.inventory().items() if count}
    assert {"databases", "file systems", "secrets"} <= left
    assert not {"machines", "groups", "load balancers", "target groups", "certificates"} & left


# User data ------------------------------------------------------------------------------------------------------------


def user_data(world: World, site: Site) -> str:
    versions = world.account.ec2.describe_launch_template_versions(LaunchTemplateName=site.key)
    return b64decode(versions["LaunchTemplateVersions"][0]["LaunchTemplateData"]["UserData"]).decode()


def test_user_data_is_short_runs_in_a_shell_and_holds_no_secret(world: World) -> None:
    routes = tuple({"route": f"route-{number}", "version": 0, "basic_auth": True} for number in range(20))
    keeper = up(world, routes=routes)
    text = user_data(world, keeper.site)
    assert len(text.encode()) <= LIMIT_BYTES
    secret = json.loads(world.account.secrets.get_secret_value(SecretId=keeper.site.secret_name)["SecretString"])
    values = [secret["admin_password"], secret["db_password"], *secret["salts"].values()]
    assert len(values) == 10
    assert not [value for value in values if value in text]
    assert "DISABLE_WP_CRON" in text
    assert text.count("flock") == 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("#" * (LIMIT_BYTES + 1), "bytes"),
        ("if true; then", "no shell script"),
        ("echo 'open", "no shell script"),
        ("password=geheim", "a secret is in the user data"),
    ],
)
def test_user_data_that_must_not_be_is_refused(text: str, reason: str) -> None:
    with pytest.raises(UserDataError, match=reason):
        check(text, ["geheim"])


def test_what_customers_say_cannot_break_out_of_the_script(world: World) -> None:
    site = world.site(hostname="a'; touch /tmp/x; '.example.net", artifact="s3://b/$(reboot)")
    text = script(site, "us-east-1", "db", "fs-1", [])
    assert "'s3://b/$(reboot)'" in text


# Errors ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["DescribeDBInstances", "CreateDBInstance"])
def test_an_answer_that_is_none_is_a_problem_of_the_look(world: World, call: str) -> None:
    keeper = Caretaker(world, world.site())
    world.proxy.garble(call)
    looks = (look(world.account, keeper.site, Memory(), keeper.now, lambda: None) for _ in range(9))
    assert isinstance(next(problem for _, problem in looks if problem), ResponseParserError)
    world.proxy.heal()
    keeper.until_done()


def test_a_step_that_aws_refuses_does_not_keep_the_others_from_being_made(world: World) -> None:
    keeper = up(world)
    world.proxy.fail("AddListenerCertificates", 400, "TooManyCertificates")
    keeper.want(domains=("shop.test",), nodes=3)
    for _ in range(4):
        with suppress(ClientError):
            keeper.look()
    assert len(keeper.nodes()) == 3
