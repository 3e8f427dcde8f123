"""The parts of a cluster in AWS, found by their tags: each has one way to be found, to be made, and to be taken away.

All carry the tags below, IAM's (which cannot be found by a tag) a path with the cluster's id. So a worker that knows
the cluster finds whatever any other worker has made of it, however that one ended.
"""

import base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from .aws import Account

if TYPE_CHECKING:
    from types_boto3_autoscaling.type_defs import AutoScalingGroupTypeDef, MixedInstancesPolicyTypeDef
    from types_boto3_ec2.type_defs import InstanceTypeDef

CLUSTER, GENERATION, PART, ORG = (f"provision:{name}" for name in ("cluster", "generation", "part", "org"))
COST, TOKEN = "provision:cost", "provision:token"
BALANCER, MONITOR, NODE = "ilb", "monitor", "node"
OVERHEAD = (BALANCER, MONITOR)
LIVE = ["pending", "running", "stopping", "stopped"]
# What EC2 lists of a network and of templates: by which call, under which key, with which id.
PARTS = {
    "network": ("describe_vpcs", "Vpcs", "VpcId"),
    "gateway": ("describe_internet_gateways", "InternetGateways", "InternetGatewayId"),
    "subnet": ("describe_subnets", "Subnets", "SubnetId"),
    "routes": ("describe_route_tables", "RouteTables", "RouteTableId"),
    "security group": ("describe_security_groups", "SecurityGroups", "GroupId"),
    "template": ("describe_launch_templates", "LaunchTemplates", "LaunchTemplateId"),
}
IDENTITIES = "/provision/"
# What EC2 answers where something is gone already, or was never there.
_GONE = (".NotFound", "NotFoundException", "NoSuchEntity", "Gateway.NotAttached")


@dataclass(frozen=True)
class Plan:
    """What a cluster is to be like, from the data of its job."""

    cluster: str
    org: str
    domain: str
    generation: int
    cost_tag: str
    zone: str | None
    subnet_id: str | None
    node_image: str
    overhead_image: str
    overhead_instance_type: str
    user_data: str
    nodes: int = 0
    min_nodes: int = 0
    is_public: bool = False
    spot_max_price: str | None = None
    allocation_strategy: str = ""
    instance_types: tuple[str, ...] = ()

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> "Plan":
        """The plan in a job's data, or in what cluster_look() tells."""
        wanted = data.get("plan") or {}
        names = ("nodes", "min_nodes", "is_public", "spot_max_price", "allocation_strategy")
        sizes = {name: wanted[name] for name in names if name in wanted}
        known = {name: data[name] for name in cls.__dataclass_fields__ if name in data and name not in sizes}
        return cls(**known, **sizes, instance_types=tuple(wanted.get("instance_types", ())))

    @property
    def name(self) -> str:
        """What the things of this deployment are called."""
        return f"provision-{self.org}-{self.generation}"

    @property
    def identity(self) -> str:
        """What its role and instance profile are called."""
        return f"provision-{self.cluster}-{self.generation}"

    @property
    def host(self) -> str:
        """The name the cluster is reached by."""
        return f"{self.org}.{self.domain}"

    @property
    def path(self) -> str:
        """Where the cluster's things are in IAM."""
        return f"{IDENTITIES}{self.cluster}/"

    def tags(self, part: str, token: object = "") -> list[Any]:
        """The tags of a part."""
        known = {
            "Name": f"{self.org}-{part}",
            ORG: self.org,
            CLUSTER: self.cluster,
            GENERATION: str(self.generation),
            COST: self.cost_tag,
            PART: part,
        }
        return [{"Key": key, "Value": value} for key, value in (known | ({TOKEN: str(token)} if token else {})).items()]

    def user_data_for(self, part: str) -> str:
        """What an instance runs when it starts, in base64."""
        text = self.user_data
        known = {"org": self.org, "role": part, "domain": self.domain, "is_public": str(self.is_public).lower()}
        for name, value in known.items():
            text = text.replace(f"{{{name}}}", value)
        return base64.b64encode(text.encode()).decode()


def is_gone(error: ClientError) -> bool:
    """Whether an error says that what was to go is not there."""
    return error.response.get("Error", {}).get("Code", "").endswith(_GONE)


def tags_of(thing: Any) -> dict[str, str]:
    """The tags of something that AWS lists."""
    return {tag["Key"]: tag["Value"] for tag in thing["Tags"]}


class Cloud:
    """An AWS account, as far as one cluster is concerned; with `is_sparing` without what this deployment made."""

    def __init__(self, account: Account, plan: Plan, *, is_sparing: bool = False) -> None:
        self.account, self.plan, self.is_sparing = account, plan, is_sparing
        self.ec2, self.autoscaling, self.iam = account.ec2, account.autoscaling, account.iam

    def filters(self, part: str | None = None) -> list[Any]:
        """Finds a part of this deployment; without one, all of the cluster, whichever deployment it is of."""
        tags = {CLUSTER: self.plan.cluster}
        if part is not None:
            tags |= {GENERATION: str(self.plan.generation), PART: part}
        return [{"Name": f"tag:{key}", "Values": [value]} for key, value in tags.items()]

    def specification(self, kind: str, part: str, token: object) -> list[Any]:
        """What EC2 takes as tags of something new."""
        return [{"ResourceType": kind, "Tags": self.plan.tags(part, token)}]

    def all_of(self, kind: str) -> list[Any]:
        """What there is of a kind (`PARTS`) of the cluster, of whichever deployment."""
        operation, key, _id = PARTS[kind]
        pages = self.ec2.get_paginator(operation).paginate(Filters=self.filters())  # type: ignore[call-overload]
        return [each for page in pages for each in page[key] if not self._is_spared(each)]

    def _is_spared(self, thing: Any) -> bool:
        return self.is_sparing and tags_of(thing)[GENERATION] == str(self.plan.generation)

    # Network

    def find(
        self, kind: str, part: str, vpc: str | None = None, is_used: Callable[[Any], bool] = lambda _: False
    ) -> str | None:
        """Id of a part (of a VPC). Of several, which calls that were carried out late or twice have made, one that is
        used, else the first in the order of ids: it is the same one each time.
        """
        operation, key, id = PARTS[kind]
        wanted = self.filters(part)
        if vpc is not None:
            wanted.append({"Name": "vpc-id", "Values": [vpc]})
        found = getattr(self.ec2, operation)(Filters=wanted)[key]
        return min(((not is_used(each), each[id]) for each in found), default=(True, None))[1]

    def vpc(self) -> str | None:
        """The deployment's own VPC; of several the one with instances in it."""
        used = {each.get("VpcId") for each in self.instances()}
        return self.find("network", "network", is_used=lambda each: each["VpcId"] in used)

    def network_of(self, subnet: str) -> str:
        """The VPC that a subnet is in."""
        vpc: str = self.ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["VpcId"]
        return vpc

    def open_network(self, vpc: str, gateway: str, subnet: str, routes: str) -> None:
        """Lets the subnet out into the world. Each step is done only where it is not; done twice it does no harm."""
        attached = self.ec2.describe_internet_gateways(InternetGatewayIds=[gateway])["InternetGateways"][0]
        if not attached.get("Attachments"):
            self.ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
        table = self.ec2.describe_route_tables(RouteTableIds=[routes])["RouteTables"][0]
        if not any(route.get("GatewayId") == gateway for route in table["Routes"]):
            self.ec2.create_route(RouteTableId=routes, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
        if not any(each.get("SubnetId") == subnet for each in table["Associations"]):
            self.ec2.associate_route_table(RouteTableId=routes, SubnetId=subnet)
        self.ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})

    def open_groups(self, groups: Mapping[str, str]) -> None:
        """The world reaches the load balancer by HTTPS, and the parts of the cluster each other."""
        for part, group in groups.items():
            known = self.ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
            if known:
                continue
            inside = [{"GroupId": each} for each in groups.values()]
            rules: list[Any] = [{"IpProtocol": "-1", "UserIdGroupPairs": inside}]
            if part == BALANCER:
                world = [{"CidrIp": "0.0.0.0/0"}]
                rules.append({"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": world})
            self.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=rules)

    # Instances

    def instances(self, part: str | None = None, states: list[str] = LIVE) -> "list[InstanceTypeDef]":
        """Instances of the cluster, or of a part of this deployment, the oldest first."""
        wanted = [*self.filters(part), {"Name": "instance-state-name", "Values": states}]
        pages = self.ec2.get_paginator("describe_instances").paginate(Filters=wanted)
        listed = [each for page in pages for group in page["Reservations"] for each in group["Instances"]]
        found = [each for each in listed if not self._is_spared(each)]
        return sorted(found, key=lambda each: (each["LaunchTime"], each["InstanceId"]))

    def drop_others(self, part: str, kept: str) -> None:
        """Ends instances beside the one: a call that was carried out twice has made two."""
        others = [each["InstanceId"] for each in self.instances(part) if each["InstanceId"] != kept]
        if others:
            self.ec2.terminate_instances(InstanceIds=others)

    # The group of nodes

    def groups(self) -> "list[AutoScalingGroupTypeDef]":
        """Auto Scaling groups of the cluster, of any deployment."""
        wanted: list[Any] = [{"Name": f"tag:{CLUSTER}", "Values": [self.plan.cluster]}]
        pages = self.autoscaling.get_paginator("describe_auto_scaling_groups").paginate(Filters=wanted)
        return [group for page in pages for group in page["AutoScalingGroups"] if not self._is_spared(group)]

    def has_group(self) -> bool:
        """Whether the group of this deployment is there."""
        return any(group["AutoScalingGroupName"] == self.plan.name for group in self.groups())

    def policy(self) -> "MixedInstancesPolicyTypeDef":
        """On-demand nodes up to the minimum, spot nodes above."""
        plan = self.plan
        distribution: Any = {
            "OnDemandBaseCapacity": plan.min_nodes,
            "OnDemandPercentageAboveBaseCapacity": 0,
            "SpotAllocationStrategy": plan.allocation_strategy,
        }
        if plan.spot_max_price is not None:
            distribution["SpotMaxPrice"] = plan.spot_max_price
        return {
            "LaunchTemplate": {
                "LaunchTemplateSpecification": {"LaunchTemplateName": plan.name, "Version": "$Latest"},
                "Overrides": [{"InstanceType": each} for each in plan.instance_types],
            },
            "InstancesDistribution": distribution,
        }

    def sizes(self) -> dict[str, Any]:
        """How many nodes the group is to have: just as many as are asked for."""
        return {"MinSize": self.plan.nodes, "MaxSize": self.plan.nodes, "DesiredCapacity": self.plan.nodes}

    # The end

    def identities(self) -> Iterator[tuple[str, str]]:
        """What the cluster has in IAM: ("profile" or "role", name), profiles first."""
        spared = self.plan.identity if self.is_sparing else None
        for kind, name, _path in identities_of(self.account, self.plan.path):
            if name != spared:
                yield kind, name

    def drop_identity(self, kind: str, name: str) -> None:
        """Takes a profile or a role away, with what it holds."""
        if kind == "role":
            for policy in self.iam.list_role_policies(RoleName=name)["PolicyNames"]:
                self.iam.delete_role_policy(RoleName=name, PolicyName=policy)
            self.iam.delete_role(RoleName=name)
            return
        for role in self.iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]["Roles"]:
            self.iam.remove_role_from_instance_profile(InstanceProfileName=name, RoleName=role["RoleName"])
        self.iam.delete_instance_profile(InstanceProfileName=name)

    def drop_security_groups(self) -> None:
        """Takes the security groups away, which name each other."""
        groups = self.all_of("security group")
        for group in groups:
            if group["IpPermissions"]:
                self.ec2.revoke_security_group_ingress(GroupId=group["GroupId"], IpPermissions=group["IpPermissions"])
        for group in groups:
            self.ec2.delete_security_group(GroupId=group["GroupId"])

    def drop_network(self) -> None:
        """Takes the network away, if the cluster has one of its own."""
        ec2, tables = self.ec2, self.all_of("routes")
        for subnet in self.all_of("subnet"):
            for each in (each for table in tables for each in table["Associations"]):
                if each.get("SubnetId") == subnet["SubnetId"]:
                    ec2.disassociate_route_table(AssociationId=each["RouteTableAssociationId"])
            ec2.delete_subnet(SubnetId=subnet["SubnetId"])
        for table in tables:
            ec2.delete_route_table(RouteTableId=table["RouteTableId"])
        for gateway in self.all_of("gateway"):
            for attachment in gateway.get("Attachments", []):
                ec2.detach_internet_gateway(
                    InternetGatewayId=gateway["InternetGatewayId"], VpcId=attachment.get("VpcId", "")
                )
            ec2.delete_internet_gateway(InternetGatewayId=gateway["InternetGatewayId"])
        for vpc in self.all_of("network"):
            ec2.delete_vpc(VpcId=vpc["VpcId"])


def identities_of(account: Account, path: str) -> Iterator[tuple[str, str, str]]:
    """What there is in IAM below a path: ("profile" or "role", name, path), profiles first."""
    for page in account.iam.get_paginator("list_instance_profiles").paginate(PathPrefix=path):
        yield from (("profile", each["InstanceProfileName"], each["Path"]) for each in page["InstanceProfiles"])
    for roles in account.iam.get_paginator("list_roles").paginate(PathPrefix=path):
        yield from (("role", each["RoleName"], each["Path"]) for each in roles["Roles"])
