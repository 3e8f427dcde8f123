"""Clusters in AWS: deploying, changing, mending and taking away, and a look at what runs.

Deploying makes the parts in the order in which they need each other: network, security groups, instance profile, load
balancer and monitor, launch template, Auto Scaling group, DNS record. Each is looked for by its tags before it is made,
in one run after the other until all is there, so a run can end anywhere. Taking away goes the other way round and asks
only what there is. A look compares what runs with what was made, and the database has it mended.
"""

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import structlog
from botocore.exceptions import ClientError

from provision_worker.effects import Thing
from provision_worker.job import Outcome, again, completed, failed, retry
from provision_worker.providers import aws
from provision_worker.providers.cloud import (
    BALANCER,
    CLUSTER,
    GENERATION,
    IDENTITIES,
    LIVE,
    NODE,
    OVERHEAD,
    PART,
    PARTS,
    Cloud,
    Plan,
    identities_of,
    is_gone,
    tags_of,
)
from provision_worker.task import Task

from .certificate import Zones

log = structlog.get_logger(__name__)

WAIT_SECONDS = 3.0
LOOK_SECONDS = 3.0
RECORD_SECONDS = 60
# Something that was just made, or is just going, is not known everywhere at AWS yet.
PATIENCE = ("DependencyViolation", "InUse", "ScalingActivityInProgress")
# What we asked for was done already, by a call whose answer we did not get: it is found the next time.
ALREADY = ("AlreadyExists", "AlreadyAssociated", "Duplicate", "Conflict")
NETWORK = "10.0.0.0/16"
TRUST = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
WORDS = {"ilb": "load balancer", "monitor": "monitor"}


class SupersededError(Exception):
    """The cluster is not wanted any more."""


def deploy(task: Task) -> Outcome:
    """Makes a whole cluster."""
    return _patiently(task, _deploy)


def scale(task: Task) -> Outcome:
    """Gives the group of nodes another size and other prices; with `is_repair` all parts are looked at."""
    return _patiently(task, _repair if task.job.data["is_repair"] else _resize)


def shutdown(task: Task) -> Outcome:
    """Takes away all that carries the tag of the cluster. Nothing that AWS says ends it but that all is gone."""
    try:
        return _patiently(task, _shutdown)
    except ClientError as error:
        if aws.meaning(error) is aws.Meaning.REFUSED:
            return retry(str(error), WAIT_SECONDS)
        raise


def _patiently(task: Task, work: "Callable[[Builder], Outcome]") -> Outcome:
    try:
        return work(Builder(task))
    except SupersededError:
        return failed("the cluster is not wanted any more")
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if is_gone(error) or any(word in code for word in PATIENCE + ALREADY) or "Instance Profile" in str(error):
            return retry(str(error), WAIT_SECONDS)
        raise


class Builder:
    """The parts of one cluster, each made once."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.plan = Plan.of(task.job.data)
        self.cloud = Cloud(task.site.account, self.plan)

    def check_wanted(self) -> None:
        """Raises SupersededError if the owner has shut the cluster down meanwhile."""
        row = self.task.resources.row("cluster", "wanted", cluster=self.plan.cluster)
        if not (row and row["is_wanted"]):
            raise SupersededError

    def part(self, name: str, look: Callable[[], str | None], make: Callable[[UUID], str]) -> str:
        """A part, found or made; its id."""

        def find(_token: UUID) -> Thing | None:
            found = look()
            return Thing(found, {"id": found}) if found else None

        def made(token: UUID) -> Thing:
            id = make(token)
            log.info("cluster.part", cluster=self.plan.cluster, part=name, id=id)
            return Thing(id, {"id": id})

        parameters = {"cluster": self.plan.cluster, "generation": self.plan.generation}
        result = self.task.effects.once(f"cluster.{name}", parameters, make=made, find=find, look_first=True)
        id: str = result["id"]
        return id

    # The parts, in order

    def network(self) -> tuple[str, str]:
        """VPC and subnet: those that were given, or some of its own."""
        if self.plan.subnet_id:
            return self.cloud.network_of(self.plan.subnet_id), self.plan.subnet_id
        ec2, cloud = self.cloud.ec2, self.cloud
        tags = cloud.specification
        vpc = self.part(
            "network",
            cloud.vpc,
            lambda token: ec2.create_vpc(CidrBlock=NETWORK, TagSpecifications=tags("vpc", "network", token))["Vpc"][
                "VpcId"
            ],
        )
        zone: Any = {"AvailabilityZone": self.plan.zone} if self.plan.zone else {}
        gateway = self.part(
            "gateway",
            lambda: cloud.find("gateway", "gateway", is_used=lambda each: each.get("Attachments")),
            lambda token: ec2.create_internet_gateway(TagSpecifications=tags("internet-gateway", "gateway", token))[
                "InternetGateway"
            ]["InternetGatewayId"],
        )
        subnet = self.part(
            "subnet",
            lambda: cloud.find("subnet", "subnet", vpc),
            lambda token: ec2.create_subnet(
                VpcId=vpc, CidrBlock=NETWORK, TagSpecifications=tags("subnet", "subnet", token), **zone
            )["Subnet"]["SubnetId"],
        )
        routes = self.part(
            "routes",
            lambda: cloud.find("routes", "routes", vpc, is_used=lambda each: each["Associations"]),
            lambda token: ec2.create_route_table(VpcId=vpc, TagSpecifications=tags("route-table", "routes", token))[
                "RouteTable"
            ]["RouteTableId"],
        )
        cloud.open_network(vpc, gateway, subnet, routes)
        return vpc, subnet

    def security_groups(self, vpc: str) -> dict[str, str]:
        """One for each kind of instance."""
        groups = {part: self._security_group(vpc, part) for part in (*OVERHEAD, NODE)}
        self.cloud.open_groups(groups)
        return groups

    def _security_group(self, vpc: str, part: str) -> str:
        cloud = self.cloud
        return self.part(
            f"security_group {part}",
            lambda: cloud.find("security group", part, vpc),
            lambda token: cloud.ec2.create_security_group(
                GroupName=f"{self.plan.name}-{part}",
                Description=f"{part} of {self.plan.host}",
                VpcId=vpc,
                TagSpecifications=cloud.specification("security-group", part, token),
            )["GroupId"],
        )

    def profile(self) -> str:
        """The instance profile, whose role reads the secrets of its own org only."""
        iam, plan = self.cloud.iam, self.plan
        name = plan.identity
        there = dict.fromkeys(self.cloud.identities())
        trust = json.dumps({"Version": "2012-10-17", "Statement": [TRUST]})

        def make_role(_token: UUID) -> str:
            iam.create_role(Path=plan.path, RoleName=name, AssumeRolePolicyDocument=trust, Tags=plan.tags("role"))
            return name

        def make_profile(_token: UUID) -> str:
            iam.create_instance_profile(Path=plan.path, InstanceProfileName=name, Tags=plan.tags("profile"))
            return name

        self.part("role", lambda: name if ("role", name) in there else None, make_role)
        secrets = f"arn:aws:secretsmanager:*:*:secret:provision/{plan.org}/*"
        allowed = {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": secrets}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        iam.put_role_policy(RoleName=name, PolicyName="secrets", PolicyDocument=policy)
        self.part("profile", lambda: name if ("profile", name) in there else None, make_profile)
        if not self._has_role(name):
            try:
                iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
            except ClientError:
                # A profile has one role; it may have got it from a call whose answer did not come.
                if not self._has_role(name):
                    raise
        return name

    def _has_role(self, profile: str) -> bool:
        return bool(self.cloud.iam.get_instance_profile(InstanceProfileName=profile)["InstanceProfile"]["Roles"])

    def instance(self, part: str, subnet: str, group: str, profile: str) -> str:
        """Load balancer or monitor: one, and where a call was carried out twice the older one."""
        plan, cloud = self.plan, self.cloud

        def look() -> str | None:
            return next((each["InstanceId"] for each in cloud.instances(part)), None)

        def make(token: UUID) -> str:
            made = cloud.ec2.run_instances(
                ClientToken=str(token),
                ImageId=plan.overhead_image,
                InstanceType=plan.overhead_instance_type,  # type: ignore[arg-type]  # AWS has new ones every month
                MinCount=1,
                MaxCount=1,
                SubnetId=subnet,
                SecurityGroupIds=[group],
                IamInstanceProfile={"Name": profile},
                UserData=plan.user_data_for(part),
                TagSpecifications=[*cloud.specification("instance", part, token)],
            )
            return made["Instances"][0]["InstanceId"]

        kept = self.part(f"instance {part}", look, make)
        there = [each["InstanceId"] for each in cloud.instances(part)]
        if kept not in there:
            # It was there when this job began, and has gone since.
            raise _Missing(part)
        cloud.drop_others(part, kept)
        return kept

    def template(self, group: str, profile: str) -> str:
        """The launch template of worker nodes."""
        plan, cloud = self.plan, self.cloud

        def look() -> str | None:
            return cloud.find("template", "template")

        def make(token: UUID) -> str:
            data: Any = {
                "ImageId": plan.node_image,
                "SecurityGroupIds": [group],
                "IamInstanceProfile": {"Name": profile},
                "UserData": plan.user_data_for(NODE),
                "TagSpecifications": [{"ResourceType": "instance", "Tags": plan.tags(NODE)}],
            }
            made = cloud.ec2.create_launch_template(
                ClientToken=str(token),
                LaunchTemplateName=plan.name,
                LaunchTemplateData=data,
                TagSpecifications=cloud.specification("launch-template", "template", token),
            )
            return made["LaunchTemplate"]["LaunchTemplateId"]

        return self.part("template", look, make)

    def group(self, subnet: str) -> str:
        """The Auto Scaling group of worker nodes; one that is there gets the size it is to have."""
        plan, cloud = self.plan, self.cloud
        tags: list[Any] = [tag | {"PropagateAtLaunch": True} for tag in plan.tags(NODE)]
        if cloud.has_group():
            self.resize()

        def make(_token: UUID) -> str:
            cloud.autoscaling.create_auto_scaling_group(
                AutoScalingGroupName=plan.name,
                MixedInstancesPolicy=cloud.policy(),
                VPCZoneIdentifier=subnet,
                Tags=tags,
                **cloud.sizes(),
            )
            return plan.name

        return self.part("group", lambda: plan.name if cloud.has_group() else None, make)

    def resize(self) -> None:
        """Said twice it is the same."""
        self.cloud.autoscaling.update_auto_scaling_group(
            AutoScalingGroupName=self.plan.name, MixedInstancesPolicy=self.cloud.policy(), **self.cloud.sizes()
        )

    def record(self, address: str) -> str | None:
        """The A record, where the account has a zone for it; returns the zone."""
        zone = Zones(self.task.site.account).zone_of(self.plan.host)
        if zone is not None:
            self._change_record(zone, "UPSERT", address)
        return zone

    def _change_record(self, zone: str, action: Any, address: str) -> None:
        change: Any = {
            "Name": self.plan.host,
            "Type": "A",
            "TTL": RECORD_SECONDS,
            "ResourceRecords": [{"Value": address}],
        }
        batch: Any = {
            "Comment": f"provision {self.plan.cluster}",
            "Changes": [{"Action": action, "ResourceRecordSet": change}],
        }
        self.cloud.account.route53.change_resource_record_sets(HostedZoneId=zone, ChangeBatch=batch)

    def drop_record(self) -> None:
        """Takes the A record away if it is there."""
        zone = Zones(self.task.site.account).zone_of(self.plan.host)
        if zone is None:
            return
        found = self.cloud.account.route53.list_resource_record_sets(
            HostedZoneId=zone, StartRecordName=self.plan.host, StartRecordType="A", MaxItems="1"
        )
        for record in found["ResourceRecordSets"]:
            if (record["Name"].rstrip("."), record["Type"]) == (self.plan.host, "A"):
                self._change_record(zone, "DELETE", record["ResourceRecords"][0]["Value"])


class _Missing(Exception):  # noqa: N818 - caught where it is raised for
    """An instance that this job knew is gone."""


def _deploy(builder: Builder) -> Outcome:
    builder.check_wanted()
    vpc, subnet = builder.network()
    groups = builder.security_groups(vpc)
    profile = builder.profile()
    builder.check_wanted()
    try:
        overhead = [builder.instance(part, subnet, groups[part], profile) for part in OVERHEAD]
    except _Missing as missing:
        return failed(f"the {WORDS[str(missing)]} was there and is gone")
    builder.template(groups[NODE], profile)
    builder.check_wanted()
    group = builder.group(subnet)
    waiting = [part for part in OVERHEAD if builder.cloud.instances(part)[0]["State"]["Name"] == "pending"]
    if waiting:
        return again(
            WAIT_SECONDS, message=f"waiting for the {' and the '.join(WORDS[part] for part in waiting)} to run"
        )
    balancer = builder.cloud.instances(BALANCER)[0]
    address = balancer.get("PublicIpAddress") or balancer["PrivateIpAddress"]
    zone = builder.record(address)
    return completed({"address": address, "roid": group, "overhead": overhead, "zone": zone})


def _resize(builder: Builder) -> Outcome:
    builder.check_wanted()
    if not builder.cloud.has_group():
        return failed("the group of nodes is gone; it is looked at anew")
    builder.resize()
    return completed({"roid": builder.plan.name})


def _repair(builder: Builder) -> Outcome:
    """First what late calls have made of deployments that are over, then what is missing of this one."""
    return _clear(Cloud(builder.task.site.account, builder.plan, is_sparing=True)) or _deploy(builder)


def _shutdown(builder: Builder) -> Outcome:
    builder.drop_record()
    return _clear(builder.cloud) or completed()


def _clear(cloud: Cloud) -> Outcome | None:
    """Takes away all that `cloud` lists, in the order in which AWS lets it go; None: nothing is left."""
    if groups := cloud.groups():
        for group in groups:
            if "Delete" not in (group.get("Status") or ""):
                cloud.autoscaling.delete_auto_scaling_group(
                    AutoScalingGroupName=group["AutoScalingGroupName"], ForceDelete=True
                )
        if left := cloud.groups():
            return again(WAIT_SECONDS, message=f"waiting for {len(left)} groups of nodes to go")
    if instances := cloud.instances():
        cloud.ec2.terminate_instances(InstanceIds=[each["InstanceId"] for each in instances])
    if going := cloud.instances(states=[*LIVE, "shutting-down"]):
        return again(WAIT_SECONDS, message=f"waiting for {len(going)} instances to end")
    for template in cloud.all_of("template"):
        cloud.ec2.delete_launch_template(LaunchTemplateId=template["LaunchTemplateId"])
    for kind, name in list(cloud.identities()):
        cloud.drop_identity(kind, name)
    cloud.drop_security_groups()
    cloud.drop_network()
    return None


# A look ---------------------------------------------------------------------------------------------------------------


def observe(task: Task) -> Outcome:
    """Compares what runs of all clusters of an account with what was made of them."""
    clusters = task.resources.rows("cluster", "look", accreditation=task.site.accreditation.id)
    seen = Seen(task)
    unsettled = 0
    for cluster in clusters:
        if cluster["state"] not in ("up", "down"):
            unsettled += cluster["state"] == "busy"
            continue
        plan = Plan.of(cluster["data"])
        nodes, drift = seen.compare(plan, is_up=cluster["state"] == "up")
        known = {"cluster": cluster["cluster"], "generation": cluster["generation"], "nodes": nodes, "drift": drift}
        row = task.resources.row("cluster", "observed", **known)
        unsettled += not (row and row["is_settled"])
    if unsettled:
        return again(LOOK_SECONDS, message=f"{unsettled} clusters are not as they are to be yet")
    return completed({"clusters": len(clusters)})


class Seen:
    """All there is of clusters in an account; a handful of calls, however many clusters there are."""

    def __init__(self, task: Task) -> None:
        account = task.site.account
        keys: list[Any] = [{"Name": "tag-key", "Values": [CLUSTER]}]
        pages = account.autoscaling.get_paginator("describe_auto_scaling_groups").paginate(Filters=keys)
        self.groups = [group for page in pages for group in page["AutoScalingGroups"]]
        wanted: list[Any] = [*keys, {"Name": "instance-state-name", "Values": LIVE}]
        found = account.ec2.get_paginator("describe_instances").paginate(Filters=wanted)
        self.instances = [each for page in found for some in page["Reservations"] for each in some["Instances"]]
        # What costs little or nothing, and is there for ever if a call was carried out late: cluster and generation.
        self.parts = [(path.split("/")[2], name) for _kind, name, path in identities_of(account, IDENTITIES)]
        for operation, key, _id in PARTS.values():
            for page in account.ec2.get_paginator(operation).paginate(Filters=keys):  # type: ignore[call-overload]
                tags = [tags_of(each) for each in page[key]]
                self.parts += [(each[CLUSTER], f"provision-{each[CLUSTER]}-{each[GENERATION]}") for each in tags]

    def compare(self, plan: Plan, *, is_up: bool) -> tuple[int, str | None]:
        """How many nodes run, and what is other than it was made; None: nothing."""
        groups = [group for group in self.groups if tags_of(group)[CLUSTER] == plan.cluster]
        instances = [each for each in self.instances if tags_of(each)[CLUSTER] == plan.cluster]
        ours = next((group for group in groups if group["AutoScalingGroupName"] == plan.name), None)
        nodes = sum(each["LifecycleState"] == "InService" for each in ours["Instances"]) if ours and is_up else 0
        strays = [each for each in instances if not is_up or tags_of(each)[GENERATION] != str(plan.generation)]
        if strays or len(groups) > (ours is not None and is_up):
            return nodes, f"{len(strays)} instances are there that belong to no deployment that is up"
        left = sum(cluster == plan.cluster and not (is_up and of == plan.identity) for cluster, of in self.parts)
        if left:
            return nodes, f"{left} parts are there that belong to no deployment that is up"
        if not is_up:
            return 0, None
        if ours is None:
            return 0, "the group of nodes is gone"
        for part in OVERHEAD:
            count = sum(tags_of(each)[PART] == part and each["State"]["Name"] != "stopped" for each in instances)
            if count != 1:
                return nodes, f"the {WORDS[part]} is gone" if count == 0 else f"there are {count} {WORDS[part]}s"
        if {ours["MinSize"], ours["MaxSize"], ours["DesiredCapacity"]} != {plan.nodes}:
            return nodes, f"the group is to have {ours['DesiredCapacity']} nodes and not {plan.nodes}"
        return nodes, None
