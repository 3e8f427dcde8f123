"""What there is of a site at AWS: about fifteen calls that change nothing. Everything is found by its name or tag, so
that what a dead worker has made is found like any other; only certificates, whose names are no keys, are remembered.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from botocore.exceptions import ClientError

from provision_worker.providers.aws import Account

from .model import (
    Balancer,
    Certificate,
    Database,
    Files,
    Group,
    Memory,
    Node,
    NodeState,
    Seen,
    Site,
    Template,
)

T = TypeVar("T")

INSTANCE_TAG = "provision:instance"
DUMP_TAG = "provision:dump"
"""Of machines that are there for a dump of a backup: which download they are for. They are no nodes."""
DIGEST_TAG = "provision:digest"
"""What a node was started from: a tag of the group that its nodes get when they start."""
LEFT_ALONE = ("ReplaceUnhealthy", "AZRebalance")
"""What the group is kept from doing by itself: it would replace all ill nodes at once."""
LOAD_SECONDS = 300.0
"""How often CloudWatch is asked: it knows no more."""
_METRICS = {"processor": ("AWS/EC2", "CPUUtilization"), "memory": ("CWAgent", "mem_used_percent")}
_ROLES = ("web", "node", "data")
_MISSING = frozenset(
    {
        "DBInstanceNotFound",
        "DBInstanceNotFoundFault",
        "DBSnapshotNotFound",
        "DBSnapshotNotFoundFault",
        "DBSubnetGroupNotFoundFault",
        "FileSystemNotFound",
        "InvalidAllocationID.NotFound",
        "InvalidGroup.NotFound",
        "InvalidLaunchTemplateId.NotFound",
        "InvalidLaunchTemplateName.NotFoundException",
        "ListenerNotFound",
        "LoadBalancerNotFound",
        "MountTargetNotFound",
        "ResourceNotFoundException",
        "RuleNotFound",
        "TargetGroupNotFound",
    }
)


def code_of(error: ClientError) -> str:
    """The code of an error answer."""
    return error.response.get("Error", {}).get("Code", "")


def is_missing(error: ClientError) -> bool:
    """Whether AWS says that the thing is not there."""
    return code_of(error) in _MISSING


def _found(call: Callable[[], T]) -> T | None:
    """What a call answers; None if what it asks for is not there."""
    try:
        return call()
    except ClientError as error:
        if is_missing(error):
            return None
        raise


def observe(account: Account, site: Site, memory: Memory) -> Seen:
    """All there is of a site. Notes in `memory` which certificates are its own."""
    return _Look(account, site, memory).seen()


class _Look:
    def __init__(self, account: Account, site: Site, memory: Memory) -> None:
        self.account, self.site, self.memory = account, site, memory

    def seen(self) -> Seen:
        template, target = self.template(), self.target()
        group, members = self.group()
        health = self.health(target)
        self.load(group)
        return Seen(
            secret=self.secret(),
            security=self.security(),
            has_subnets=self.has_subnets(),
            databases={database.name: database for database in self.databases()},
            files=self.files(),
            template=template,
            target=target,
            balancer=self.balancer(target),
            group=group,
            nodes=tuple(self.nodes(members, health)),
            certificates=self.certificates(),
            records=self.records(),
            address=self.address(),
            snapshots=dict(self.snapshots()) if self.site.is_deletion_wanted else {},
            artifacts=tuple(self.artifacts()) if self.site.is_deletion_wanted else (),
        )

    def secret(self) -> str | None:
        answer = _found(lambda: self.account.secrets.describe_secret(SecretId=self.site.secret_name))
        return answer["ARN"] if answer and "DeletedDate" not in answer else None

    def security(self) -> dict[str, str]:
        """A group without its rules is not finished, and does not count."""
        names = {f"{self.site.org_key}-{role}": role for role in _ROLES}
        filters = [
            {"Name": "vpc-id", "Values": [self.site.network.vpc_id]},
            {"Name": "group-name", "Values": list(names)},
        ]
        groups = self.account.ec2.describe_security_groups(Filters=filters)["SecurityGroups"]  # type: ignore[arg-type]
        return {names[group["GroupName"]]: group["GroupId"] for group in groups if group["IpPermissions"]}

    def has_subnets(self) -> bool:
        name = self.site.org_key
        return _found(lambda: self.account.rds.describe_db_subnet_groups(DBSubnetGroupName=name)) is not None

    def databases(self) -> Iterator[Database]:
        """The one in use, those before it, and one that a restore may be making; if it is to be deleted, all that begin
        with its key.
        """
        filters: Any = [{"Name": "db-instance-id", "Values": self.database_names()}]
        given = {} if self.site.is_deletion_wanted else {"Filters": filters}
        pages = self.account.rds.get_paginator("describe_db_instances")
        all_found = _found(lambda: [one for page in pages.paginate(**given) for one in page["DBInstances"]])
        for found in all_found or ():
            if not found["DBInstanceIdentifier"].startswith(f"{self.site.key}-"):
                continue
            host = found.get("Endpoint", {}).get("Address")
            has_standby = found.get("PendingModifiedValues", {}).get("MultiAZ", found["MultiAZ"])
            name, status = found["DBInstanceIdentifier"], found["DBInstanceStatus"]
            yield Database(name, status, host, found["DeletionProtection"], has_standby)

    def database_names(self) -> list[str]:
        return [f"{self.site.key}-{number}" for number in range(1, self.site.database_revision + 2)]

    def snapshots(self) -> Iterator[tuple[str, str]]:
        """Those that RDS does not remove by itself, of all databases that the site has had."""
        pages = self.account.rds.get_paginator("describe_db_snapshots")
        for name in self.database_names():
            for page in pages.paginate(DBInstanceIdentifier=name, SnapshotType="manual"):
                yield from ((one["DBSnapshotIdentifier"], one["Status"]) for one in page["DBSnapshots"])

    def artifacts(self) -> Iterator[str]:
        """Copies of its code, and dumps of its backups."""
        pages = self.account.s3.get_paginator("list_objects_v2")
        for kind in ("artifacts", "dumps"):
            for page in pages.paginate(Bucket=self.site.network.bucket, Prefix=f"{kind}/{self.site.key}/"):
                yield from (one["Key"] for one in page.get("Contents", ()))

    def files(self) -> Files | None:
        answer = _found(lambda: self.account.efs.describe_file_systems(CreationToken=self.site.key))
        if not answer or not answer["FileSystems"]:
            return None
        (found,) = answer["FileSystems"]
        targets = self.account.efs.describe_mount_targets(FileSystemId=found["FileSystemId"])["MountTargets"]
        mounts = {target["SubnetId"]: target["MountTargetId"] for target in targets}
        is_mounted = set(self.site.network.subnet_ids) <= mounts.keys() and all(
            target["LifeCycleState"] == "available" for target in targets
        )
        return Files(found["FileSystemId"], found["LifeCycleState"] == "available", mounts, is_mounted)

    # Nodes

    def template(self) -> Template | None:
        pages = self.account.ec2.get_paginator("describe_launch_template_versions")
        found = _found(lambda: list(pages.paginate(LaunchTemplateName=self.site.key)))
        versions = [version for page in found or () for version in page["LaunchTemplateVersions"]]
        if not versions:
            return None
        digests = {str(one["VersionNumber"]): one.get("VersionDescription", "") for one in versions}
        return Template(versions[0]["LaunchTemplateId"], digests, max(digests, key=int))

    def group(self) -> tuple[Group | None, Mapping[str, Any]]:
        """The group, and its members by id."""
        name, scaling = self.site.key, self.account.autoscaling
        groups = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
        if not groups:
            return None, {}
        (found,) = groups
        suspended = {process.get("ProcessName") for process in found.get("SuspendedProcesses", ())}
        group = Group(
            found["MinSize"],
            found["MaxSize"],
            found["DesiredCapacity"],
            found.get("LaunchTemplate", {}).get("Version", ""),
            next((tag.get("Value", "") for tag in found.get("Tags", ()) if tag.get("Key") == DIGEST_TAG), ""),
            bool(scaling.describe_policies(AutoScalingGroupName=name)["ScalingPolicies"]),
            suspended.issuperset(LEFT_ALONE),
            "Status" in found,
        )
        return group, {one["InstanceId"]: one for one in found.get("Instances", ())}

    def health(self, target: str | None) -> dict[str, str]:
        """What the load balancer says of each node."""
        if target is None:
            return {}
        answer = self.account.elb.describe_target_health(TargetGroupArn=target)
        found = answer["TargetHealthDescriptions"]
        return {one["Target"]["Id"]: one["TargetHealth"]["State"] for one in found}

    def nodes(self, members: Mapping[str, Any], health: Mapping[str, str]) -> Iterator[Node]:
        """All machines with the site's tag, and members of the group that are no machines any more."""
        pages = self.account.ec2.get_paginator("describe_instances")
        filters = [{"Name": f"tag:{INSTANCE_TAG}", "Values": [self.site.id]}]
        machines = {
            machine["InstanceId"]: machine
            for page in pages.paginate(Filters=filters)  # type: ignore[arg-type]
            for reservation in page["Reservations"]
            for machine in reservation["Instances"]
        }
        for id, machine in machines.items():
            member = members.get(id)
            state = _state(machine["State"]["Name"], member, health.get(id))
            tags = {tag["Key"]: tag["Value"] for tag in machine.get("Tags", ())}
            if member is None and (state == "gone" or (DUMP_TAG in tags and not self.site.is_deletion_wanted)):
                continue
            digest = tags.get(DIGEST_TAG, "")
            is_routed = id in health or state != "starting" or not member or member["LifecycleState"] != "InService"
            yield Node(id, state, machine["LaunchTime"], digest, member is not None, is_routed)

    def load(self, group: Group | None) -> None:
        """Notes how much the nodes have to do: the least of the last ten minutes. Where the load decides about their
        number, it is no news; where CloudWatch does not tell, nothing is known.
        """
        if group is None or self.site.range or self.site.is_suspended or self.site.is_deletion_wanted:
            self.memory.load = {}
        elif time.time() - self.memory.load.get("at", 0) >= LOAD_SECONDS:
            self.memory.load = {"at": time.time()}
            with suppress(ClientError):
                self.memory.load |= self.measured()

    def measured(self) -> dict[str, float]:
        group = [{"Name": "AutoScalingGroupName", "Value": self.site.key}]
        queries: Any = [
            {
                "Id": id,
                "MetricStat": {
                    "Metric": {"Namespace": space, "MetricName": metric, "Dimensions": group},
                    "Period": 300,
                    "Stat": "Average",
                },
            }
            for id, (space, metric) in _METRICS.items()
        ]
        now = datetime.now(UTC)
        answer = self.account.cloudwatch.get_metric_data(
            MetricDataQueries=queries, StartTime=now - timedelta(minutes=15), EndTime=now, ScanBy="TimestampDescending"
        )
        return {one["Id"]: min(one["Values"][:2]) for one in answer["MetricDataResults"] if one["Values"]}

    # The way to the site

    def target(self) -> str | None:
        answer = _found(lambda: self.account.elb.describe_target_groups(Names=[self.site.key]))
        return answer["TargetGroups"][0]["TargetGroupArn"] if answer and answer["TargetGroups"] else None

    def balancer(self, target: str | None) -> Balancer | None:
        elb = self.account.elb
        answer = _found(lambda: elb.describe_load_balancers(Names=[self.site.balancer_name]))
        if not answer or not answer["LoadBalancers"]:
            return None
        (found,) = answer["LoadBalancers"]
        listeners = {
            one["Port"]: one for one in elb.describe_listeners(LoadBalancerArn=found["LoadBalancerArn"])["Listeners"]
        }
        main = listeners.get(443)
        arn = main["ListenerArn"] if main else None
        rules = self.rules(arn) if arn and not self.site.is_dedicated else []
        shown = elb.describe_listener_certificates(ListenerArn=arn)["Certificates"] if arn else []
        return Balancer(
            found["LoadBalancerArn"],
            found["DNSName"],
            found.get("CanonicalHostedZoneId", ""),
            found["State"]["Code"] in ("active", "active_impaired"),
            arn,
            listeners[80]["ListenerArn"] if 80 in listeners else None,
            {rule["RuleArn"]: _hosts(rule) for rule in rules if _leads_to(rule, target)},
            frozenset(int(rule["Priority"]) for rule in rules if rule["Priority"].isdecimal()),
            frozenset(one["CertificateArn"] for one in shown),
            next((one["CertificateArn"] for one in shown if one.get("IsDefault")), None),
        )

    def rules(self, listener: str) -> list[Any]:
        pages = self.account.elb.get_paginator("describe_rules").paginate(ListenerArn=listener)
        return [rule for page in pages for rule in page["Rules"]]

    def address(self) -> tuple[str, str] | None:
        if not (self.site.is_dedicated or self.site.is_deletion_wanted):
            return None
        filters = [{"Name": f"tag:{INSTANCE_TAG}", "Values": [self.site.id]}]
        found = self.account.ec2.describe_addresses(Filters=filters)["Addresses"]  # type: ignore[arg-type]
        return (found[0]["AllocationId"], found[0]["PublicIp"]) if found else None

    def records(self) -> dict[str, str]:
        """What the names at and below the site's own lead to, and the one in its certificate."""
        roots = dict.fromkeys((self.site.hostname, self.site.subject))
        return {name: value for root in roots for name, value in self.records_of(root).items()}

    def records_of(self, root: str) -> dict[str, str]:
        """A zone lists a name's children right after it."""
        found: dict[str, str] = {}
        answer = self.account.route53.list_resource_record_sets(
            HostedZoneId=self.site.network.zone_id, StartRecordName=root, StartRecordType="A", MaxItems="100"
        )
        for record in answer["ResourceRecordSets"]:
            name = plain(record["Name"])
            if name != root and not name.endswith("." + root):
                break
            if "AliasTarget" in record:
                found[name] = f"alias {plain(record['AliasTarget']['DNSName']).removeprefix('dualstack.')}"
            elif record.get("ResourceRecords"):
                found[name] = plain(record["ResourceRecords"][0]["Value"])
        return found

    # Certificates

    def certificates(self) -> dict[str, Certificate]:
        names = (self.site.subject, *self.site.domains)
        found = {
            name: self.certificate(self.memory.certificates[name]) for name in names if name in self.memory.certificates
        }
        unknown = [name for name in names if found.get(name) is None]
        found |= {name: self.certificate(arn) for name, arn in self.look_up(unknown)} if unknown else {}
        known = {name: one for name, one in found.items() if one is not None}
        self.memory.certificates = {name: one.arn for name, one in known.items()}
        return known

    def certificate(self, arn: str) -> Certificate | None:
        answer = _found(lambda: self.account.acm.describe_certificate(CertificateArn=arn))
        if answer is None:
            return None
        detail = answer["Certificate"]
        records = [
            one["ResourceRecord"] for one in detail.get("DomainValidationOptions", ()) if "ResourceRecord" in one
        ]
        return Certificate(arn, detail["Status"], {plain(one["Name"]): plain(one["Value"]) for one in records})

    def look_up(self, names: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Certificates of ours by the first name in them; that name may be in certificates of others as well."""
        pages = self.account.acm.get_paginator("list_certificates").paginate()
        for summary in (one for page in pages for one in page["CertificateSummaryList"]):
            if summary["DomainName"] in names and self.is_own(summary["CertificateArn"]):
                yield summary["DomainName"], summary["CertificateArn"]

    def is_own(self, arn: str) -> bool:
        with suppress(ClientError):
            tags = self.account.acm.list_tags_for_certificate(CertificateArn=arn)["Tags"]
            return {"Key": INSTANCE_TAG, "Value": self.site.id} in tags
        return False


def plain(name: str) -> str:
    """A host name as people write it: in lower case, without the dot at its end, and with a * that is one."""
    return name.lower().rstrip(".").replace("\\052", "*")


def _state(machine: str, member: Mapping[str, Any] | None, health: str | None) -> NodeState:
    """How a machine is, from what EC2, the group and the load balancer say."""
    lifecycle = member["LifecycleState"] if member else ""
    if lifecycle.startswith("Terminating") or health == "draining":
        return "leaving"
    if machine not in ("pending", "running"):
        return "gone" if member or machine == "terminated" else "leaving"
    if member is None or member["HealthStatus"].lower() != "healthy":
        return "ill"
    if machine == "pending" or lifecycle != "InService" or health in (None, "initial"):
        return "starting"
    return "ready" if health == "healthy" else "ill"


def _hosts(rule: Mapping[str, Any]) -> frozenset[str]:
    conditions = [one for one in rule["Conditions"] if one.get("Field") == "host-header"]
    values = [one.get("HostHeaderConfig", {}).get("Values") or one.get("Values", ()) for one in conditions]
    return frozenset(host for hosts in values for host in hosts)


def _leads_to(rule: Mapping[str, Any], target: str | None) -> bool:
    return target is not None and any(action.get("TargetGroupArn") == target for action in rule["Actions"])
