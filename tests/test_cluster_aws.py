"""Clusters at an AWS endpoint over HTTP: made, changed, mended and taken away by a worker, whatever the line does."""

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

import boto3
import httpx2
import pytest
from provision_worker.actions import default_actions

from . import worker_fixtures
from .aws_fixtures import FaultProxy
from .cluster_fixtures import Fleet
from .conftest import Database
from .sql_fixtures import Shop
from .tenancy_fixtures import do
from .worker_fixtures import Engine, Process, eventually, hurry

engine = worker_fixtures.engine
aws = worker_fixtures.aws

QUICK: dict[str, Any] = {"worker_poll_seconds": 0.05}


class Sky:
    """What is at the endpoint, seen by somebody else's clients."""

    def __init__(self, url: str) -> None:
        for name in ("ec2", "autoscaling", "iam", "route53"):
            setattr(self, name, boto3.client(name, region_name="us-east-1", endpoint_url=url))
        self.ec2: Any
        self.autoscaling: Any
        self.iam: Any
        self.route53: Any
        self.zone = self.route53.create_hosted_zone(Name="sr.test", CallerReference="x")["HostedZone"]["Id"]

    def instances(self) -> Counter[str]:
        """Names of the instances that run."""
        states = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
        found = self.ec2.describe_instances(Filters=states)["Reservations"]
        tags = [tag for some in found for each in some["Instances"] for tag in each["Tags"]]
        return Counter(tag["Value"].partition("-")[2].rpartition("-")[2] for tag in tags if tag["Key"] == "Name")

    def groups(self) -> list[Any]:
        """The Auto Scaling groups."""
        groups: list[Any] = self.autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"]
        return groups

    def records(self) -> dict[str, str]:
        """A records by name."""
        found = self.route53.list_resource_record_sets(HostedZoneId=self.zone)["ResourceRecordSets"]
        return {each["Name"]: each["ResourceRecords"][0]["Value"] for each in found if each["Type"] == "A"}

    def parts(self) -> Counter[str]:
        """Everything that carries our tag or path, by kind."""
        ours = [{"Name": "tag-key", "Values": ["provision:cluster"]}]
        ec2 = self.ec2
        return Counter(
            {
                "vpc": len(ec2.describe_vpcs(Filters=ours)["Vpcs"]),
                "subnet": len(ec2.describe_subnets(Filters=ours)["Subnets"]),
                "gateway": len(ec2.describe_internet_gateways(Filters=ours)["InternetGateways"]),
                "routes": len(ec2.describe_route_tables(Filters=ours)["RouteTables"]),
                "security group": len(ec2.describe_security_groups(Filters=ours)["SecurityGroups"]),
                "template": len(ec2.describe_launch_templates(Filters=ours)["LaunchTemplates"]),
                "profile": len(self.iam.list_instance_profiles()["InstanceProfiles"]),
                "role": len(
                    [each for each in self.iam.list_roles()["Roles"] if each["Path"].startswith("/provision/")]
                ),
                "group": len(self.groups()),
            }
        )


WHOLE = Counter(
    {
        "vpc": 1,
        "subnet": 1,
        "gateway": 1,
        "routes": 1,
        "security group": 3,
        "template": 1,
        "profile": 1,
        "role": 1,
        "group": 1,
    }
)


@pytest.fixture
def sky(aws: str) -> Sky:
    return Sky(aws)


@pytest.fixture
def fleet(engine: Engine, database: Database) -> Fleet:
    """A fleet that commits."""
    return Fleet(Shop(engine.owner))


def ask(fleet: Fleet, name: str, nodes: int, minutes: int = 60) -> UUID:
    """As `Fleet.ask`, in a transaction of its own."""
    with fleet.shop.connection.transaction():
        return fleet.ask(name, nodes, minutes)


def shut_down(fleet: Fleet) -> None:
    """The owner shuts the cluster down."""
    with fleet.shop.connection.transaction(), fleet.by("O"):
        do(fleet.shop, "cluster_shutdown", fleet.org, True)


def look_again(fleet: Fleet) -> None:
    """The owner has it looked at what runs."""
    with fleet.shop.connection.transaction(), fleet.by("O"):
        do(fleet.shop, "cluster_refresh", fleet.org)


def settled(fleet: Fleet, state: str, nodes: int) -> dict[str, Any]:
    """The cluster, once it is so and nothing is being done."""

    def look() -> dict[str, Any] | None:
        row = fleet.row
        is_so = (row["state"], row["current_nodes"], row["operation_id"], row["drift"]) == (state, nodes, None, None)
        return row if is_so else None

    row = eventually(look, f"{state} with {nodes} nodes", 60)
    assert row
    return row


@pytest.fixture
def work(engine: Engine, aws: str, sky: Sky) -> Iterator[None]:
    """A worker at the endpoint."""
    engine.owner.execute("UPDATE setting SET value = '0' WHERE name IN ('retry_base_seconds', 'cluster_retry_seconds')")
    with engine.worker(default_actions(), aws_endpoint_url=aws, **QUICK):
        yield


def test_a_cluster_is_made_changed_and_taken_away(fleet: Fleet, sky: Sky, work: None) -> None:
    fleet.shop.connection.execute("UPDATE cluster SET min_nodes = 0, spot_max_price = 0.1")
    id = ask(fleet, "D", 3)
    row = settled(fleet, "up", 3)
    assert fleet.request(id)["state"] == "in_effect"
    assert sky.instances() == {"ilb": 1, "monitor": 1, "node": 3}
    assert sky.parts() == WHOLE
    assert sky.records() == {f"{row['org']}.sr.test.": row["address"]}
    (group,) = sky.groups()
    distribution = group["MixedInstancesPolicy"]["InstancesDistribution"]
    assert (distribution["OnDemandBaseCapacity"], distribution["SpotMaxPrice"]) == (0, "0.1")
    tags = {tag["Key"]: tag["Value"] for tag in group["Tags"]}
    assert (tags["provision:org"], tags["provision:cost"], tags["provision:generation"]) == (
        row["org"],
        row["cost_tag"],
        "1",
    )

    ask(fleet, "R", 4)
    settled(fleet, "up", 7)
    assert sky.instances()["node"] == 7
    shut_down(fleet)
    settled(fleet, "down", 0)
    assert sky.instances() == {}
    assert not +sky.parts()
    assert sky.records() == {}
    assert fleet.shop.rows("SELECT * FROM v_attention WHERE what IN ('orphan', 'uncertain effect', 'cluster')") == []


def test_a_subnet_that_is_there_is_used_and_stays(fleet: Fleet, sky: Sky, work: None) -> None:
    (subnet, *_) = sky.ec2.describe_subnets()["Subnets"]
    fleet.shop.connection.execute("UPDATE cluster SET subnet_id = %s", [subnet["SubnetId"]])
    ask(fleet, "D", 1)
    settled(fleet, "up", 1)
    assert sky.parts() == WHOLE - Counter({"vpc": 1, "subnet": 1, "gateway": 1, "routes": 1})
    shut_down(fleet)
    settled(fleet, "down", 0)
    assert not +sky.parts()
    assert sky.ec2.describe_subnets(SubnetIds=[subnet["SubnetId"]])["Subnets"]


def test_what_is_changed_outside_is_noticed_and_put_right(fleet: Fleet, sky: Sky, work: None) -> None:
    ask(fleet, "D", 2)
    settled(fleet, "up", 2)
    (group,) = sky.groups()
    name = group["AutoScalingGroupName"]
    monitors = [
        {"Name": "tag:provision:part", "Values": ["monitor"]},
        {"Name": "instance-state-name", "Values": ["running"]},
    ]
    (found,) = sky.ec2.describe_instances(Filters=monitors)["Reservations"]
    sky.ec2.terminate_instances(InstanceIds=[found["Instances"][0]["InstanceId"]])
    look_again(fleet)
    eventually(lambda: sky.instances()["monitor"] == 1, "a monitor", 60)
    settled(fleet, "up", 2)
    sky.autoscaling.update_auto_scaling_group(AutoScalingGroupName=name, MinSize=0, MaxSize=9, DesiredCapacity=5)
    look_again(fleet)
    eventually(lambda: sky.groups()[0]["DesiredCapacity"] == 2, "two nodes", 60)
    settled(fleet, "up", 2)
    sky.autoscaling.delete_auto_scaling_group(AutoScalingGroupName=name, ForceDelete=True)
    look_again(fleet)
    eventually(lambda: sky.groups(), "a group", 60)
    settled(fleet, "up", 2)
    drifts = fleet.shop.values(
        "SELECT changed -> 'drift' ->> 1 FROM v_audit"
        " WHERE row_id = %s AND changed -> 'drift' ->> 1 IS NOT NULL ORDER BY v_audit.id",
        fleet.cluster,
    )
    assert drifts == ["the monitor is gone", "the group is to have 5 nodes and not 2", "the group of nodes is gone"]
    assert sky.parts() == WHOLE


def test_what_is_there_of_a_cluster_that_is_down_is_taken_away(fleet: Fleet, sky: Sky, work: None) -> None:
    tags = [{"Key": "provision:cluster", "Value": str(fleet.cluster)}, {"Key": "provision:generation", "Value": "0"}]
    specification = [{"ResourceType": "instance", "Tags": [*tags, {"Key": "Name", "Value": "left-behind-node"}]}]
    sky.ec2.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1, TagSpecifications=specification)
    assert sky.instances() == {"node": 1}
    look_again(fleet)
    eventually(lambda: not sky.instances(), "nothing", 60)
    settled(fleet, "down", 0)


# What it costs --------------------------------------------------------------------------------------------------------


def told(tag: str, amount: str) -> dict[str, Any]:
    """What Cost Explorer says of a tag on a day."""
    return {"Keys": [f"provision:cost${tag}"], "Metrics": {"UnblendedCost": {"Amount": amount, "Unit": "USD"}}}


def test_what_aws_says_that_it_costs_is_imported_daily(engine: Engine, fleet: Fleet, aws: str) -> None:
    do(fleet.shop, "account_configure", fleet.org, {"deposit": "100"})
    day = engine.value("SELECT account_day(engine_now())")
    groups = [told(fleet.row["cost_tag"], "1.2500000001"), told("", "9"), told("of-somebody-else", "9")]
    period = {"Start": str(day), "End": str(day)}
    results = {"ResultsByTime": [{"TimePeriod": period, "Total": {}, "Groups": groups, "Estimated": False}]}
    queue = {"results": [results | {"DimensionValueAttributes": []}]}
    httpx2.post(f"{aws}/moto-api/static/ce/cost-and-usage-results", json=queue)
    engine.owner.execute("SELECT clock_advance('1 day')")
    with engine.worker(default_actions(), aws_endpoint_url=aws, **QUICK):
        eventually(lambda: engine.value("SELECT count(*) FROM account_cost"), "an import", 30)
    assert fleet.shop.rows("SELECT day, actual FROM v_account_cost") == [
        {"day": day, "actual": Decimal("1.2500000001")}
    ]
    assert engine.value("SELECT balance FROM v_account") == Decimal("98.7499999999")


# The line, and AWS ----------------------------------------------------------------------------------------------------


@pytest.fixture
def proxy(aws: str) -> Iterator[FaultProxy]:
    with FaultProxy(aws) as proxy:
        yield proxy


@pytest.fixture
def impatient(engine: Engine) -> Engine:
    """Nothing is waited for long, and attempts are never used up."""
    engine.owner.execute("UPDATE setting SET value = '0' WHERE name IN ('retry_base_seconds', 'cluster_retry_seconds')")
    engine.owner.execute("UPDATE job_type SET max_attempts = 1000")
    return engine


@pytest.mark.parametrize(
    "fault",
    ["lost", *(pytest.param(name, marks=pytest.mark.slow) for name in ("throttled", "failed", "twice"))],
)
def test_whatever_the_line_does_there_is_one_of_everything_and_at_last_nothing(
    impatient: Engine, fleet: Fleet, sky: Sky, proxy: FaultProxy, fault: str
) -> None:
    """Each call that changes something fails once in that way."""
    proxy.fault = fault
    with impatient.worker(default_actions(), aws_endpoint_url=proxy.url, **QUICK):
        ask(fleet, "D", 2, 720)
        hurry(impatient, lambda: fleet.row["state"] == "up" and fleet.row["current_nodes"] == 2)
        assert sky.instances() == {"ilb": 1, "monitor": 1, "node": 2}
        assert len(sky.groups()) == 1
        shut_down(fleet)
        hurry(impatient, lambda: fleet.row["state"] == "down")
    assert sky.instances() == {}
    assert not +sky.parts()
    assert sky.records() == {}
    assert proxy.faulted >= {"RunInstances", "CreateVpc", "CreateAutoScalingGroup", "TerminateInstances"}
    assert fleet.shop.rows("SELECT * FROM v_attention WHERE what IN ('orphan', 'uncertain effect', 'cluster')") == []


@pytest.mark.parametrize("when", ["up", pytest.param("down", marks=pytest.mark.slow)])
def test_what_is_carried_out_long_after_leaves_one_of_everything_and_at_last_nothing(
    impatient: Engine, fleet: Fleet, sky: Sky, proxy: FaultProxy, when: str
) -> None:
    """Each call that makes something is given up and made again, and the first is carried out when all is done."""
    proxy.fault, ours = "late", {"ilb": 1, "monitor": 1, "node": 2}
    with impatient.worker(default_actions(), aws_endpoint_url=proxy.url, **QUICK):
        ask(fleet, "D", 2, 720)
        hurry(impatient, lambda: fleet.row["state"] == "up" and fleet.row["current_nodes"] == 2)
        proxy.fault = None
        if when == "up":
            proxy.deliver()
            assert sky.instances() == ours | {"ilb": 2}
            look_again(fleet)
            hurry(impatient, lambda: sky.instances() == ours and fleet.row["drift"] is None)
            assert len(sky.groups()) == 1
        shut_down(fleet)
        hurry(impatient, lambda: fleet.row["state"] == "down")
        if when == "down":
            proxy.deliver()
            assert +sky.parts()
            look_again(fleet)
        hurry(impatient, lambda: not +sky.parts() and not sky.instances() and fleet.row["drift"] is None)
    assert proxy.faulted >= {"RunInstances", "CreateVpc", "CreateSecurityGroup", "CreateLaunchTemplate"}
    assert fleet.shop.rows("SELECT * FROM v_attention WHERE what IN ('orphan', 'uncertain effect', 'cluster')") == []


def test_what_is_left_of_an_earlier_deployment_is_taken_away_and_the_present_one_stays(
    fleet: Fleet, sky: Sky, work: None
) -> None:
    ask(fleet, "D", 1)
    settled(fleet, "up", 1)
    before = sky.instances()
    tags = {
        "provision:cluster": str(fleet.cluster),
        "provision:generation": "0",
        "provision:part": "ilb",
        "Name": "a-ilb",
    }
    listed = [{"Key": key, "Value": value} for key, value in tags.items()]
    sky.ec2.create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=[{"ResourceType": "vpc", "Tags": listed}])
    specification = [{"ResourceType": "instance", "Tags": listed}]
    sky.ec2.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1, TagSpecifications=specification)
    look_again(fleet)
    eventually(lambda: sky.instances() == before and sky.parts() == WHOLE, "what there was", 60)
    assert settled(fleet, "up", 1)["generation"] == 1


@pytest.mark.parametrize(
    "calls",
    [["job_cancel(%s)"], ["job_hold(%s)", 'job_complete(%s, \'{"address": "192.0.2.1"}\')']],
    ids=["cancelled", "completed"],
)
def test_what_a_person_ends_leaves_nothing_uncertain(
    impatient: Engine, fleet: Fleet, sky: Sky, proxy: FaultProxy, calls: list[str]
) -> None:
    """A worker dies between a call and its result, and nobody lets its job go on."""
    proxy.fault, proxy.only, proxy.once = "late", "RunInstances", False
    with impatient.worker(default_actions(), aws_endpoint_url=proxy.url, **QUICK):
        ask(fleet, "D", 2, 720)
        eventually(lambda: proxy.faulted, "a call", 60)
    proxy.deliver()
    assert sky.instances()
    uncertain = "SELECT status FROM effect WHERE step = 'cluster.instance ilb'"
    assert fleet.shop.value(uncertain) == "intended"
    job = fleet.shop.value("SELECT job_id FROM provision_cluster")
    for call in calls:
        fleet.shop.connection.execute(f"SELECT {call}".encode(), [job])
    assert fleet.shop.value(uncertain) == "adopted"
    assert fleet.shop.rows("SELECT what FROM v_attention WHERE what IN ('orphan', 'uncertain effect')") == []
    proxy.fault = None
    with impatient.worker(default_actions(), aws_endpoint_url=proxy.url, **QUICK):
        if len(calls) > 1:
            hurry(impatient, lambda: sky.parts() == WHOLE and sky.instances() == {"ilb": 1, "monitor": 1, "node": 2})
            shut_down(fleet)
        hurry(impatient, lambda: fleet.row["state"] == "down" and not sky.instances())
    assert not +sky.parts()


def test_who_asked_sees_that_aws_asks_for_patience(
    impatient: Engine, fleet: Fleet, sky: Sky, proxy: FaultProxy
) -> None:
    proxy.fault, proxy.once = "throttled", False
    with impatient.worker(default_actions(), aws_endpoint_url=proxy.url, **QUICK):
        id = ask(fleet, "D", 2, 720)
        eventually(lambda: "RequestLimitExceeded" in (fleet.row["progress"] or ""), "the reason", 30)
        assert fleet.request(id)["state"] == "accepted"
        shut_down(fleet)
        proxy.fault = None
        hurry(impatient, lambda: fleet.row["state"] == "down")
    assert not +sky.parts()


def test_what_aws_refuses_for_good_is_told_and_nothing_stays(
    impatient: Engine, fleet: Fleet, sky: Sky, proxy: FaultProxy
) -> None:
    proxy.fault, proxy.only, proxy.once = "refused", "RunInstances", False
    with impatient.worker(default_actions(), aws_endpoint_url=proxy.url, **QUICK):
        id = ask(fleet, "D", 2, 720)
        hurry(impatient, lambda: fleet.row["state"] == "down" and fleet.request(id)["state"] == "refused")
    assert "VcpuLimitExceeded" in fleet.request(id)["reason"]
    assert not +sky.parts()
    assert fleet.row["failure"]


@pytest.mark.slow
def test_workers_that_are_killed_leave_one_of_everything(
    impatient: Engine, fleet: Fleet, sky: Sky, proxy: FaultProxy
) -> None:
    impatient.owner.execute("UPDATE setting SET value = '1' WHERE name = 'lease_seconds'")
    ask(fleet, "D", 2, 720)

    def passed(calls: int) -> bool:
        return proxy.changes >= calls or fleet.state == "up"

    for calls in (4, 9, 13, 16):
        with Process(impatient, aws_endpoint_url=proxy.url) as worker:
            eventually(partial(passed, calls), "calls", 60)
            worker.kill()
    with impatient.worker(default_actions(), aws_endpoint_url=proxy.url, **QUICK):
        hurry(impatient, lambda: fleet.row["state"] == "up" and fleet.row["current_nodes"] == 2)
        assert sky.instances() == {"ilb": 1, "monitor": 1, "node": 2}
        assert sky.parts() == WHOLE
