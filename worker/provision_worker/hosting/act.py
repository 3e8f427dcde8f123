"""Making what a plan says. Each step is one change, or a few that may be made twice.

What there is already was seen before a step was planned; if it came into being since, or a dead worker had made it, AWS
says so, and the next look finds it. Everything of a site carries its id as a tag, everything its org's slug and the
tag by which Cost Explorer tells what the org costs.
"""

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from provision_worker.providers.aws import Account
from provision_worker.providers.cloud import COST

from .model import Seen, Site, Step
from .observe import DIGEST_TAG, INSTANCE_TAG, LEFT_ALONE, code_of, is_missing, plain
from .userdata import script

ORG_TAG = "provision:org"
RECORD_SECONDS = 300
DATABASE_GIB = 20
TOKEN_SECONDS = 600
WORDPRESS_SALTS = tuple(
    f"{kind}_{what}" for what in ("KEY", "SALT") for kind in ("AUTH", "SECURE_AUTH", "LOGGED_IN", "NONCE")
)
_THERE = frozenset(
    {
        "AlreadyExists",
        "DBInstanceAlreadyExists",
        "DBSnapshotAlreadyExists",
        "DBSubnetGroupAlreadyExists",
        "DuplicateListener",
        "DuplicateLoadBalancerName",
        "DuplicateTargetGroupName",
        "FileSystemAlreadyExists",
        "InvalidLaunchTemplateName.AlreadyExistsException",
        "InvalidPermission.Duplicate",
        "PriorityInUse",
        "ResourceExistsException",
    }
)


def tags(site: Site, *, is_shared: bool = False) -> dict[str, str]:
    """What everything is marked with; what an org's sites share carries no site's id."""
    own = {} if is_shared else {INSTANCE_TAG: site.id}
    return own | {ORG_TAG: site.org, "provision:customer": site.cid} | ({COST: site.cost_tag} if site.cost_tag else {})


def tag_list(site: Site, *, is_shared: bool = False) -> list[Any]:
    """The same as most services take it."""
    return [{"Key": key, "Value": value} for key, value in tags(site, is_shared=is_shared).items()]


def specifications(site: Site, kind: str, *, is_shared: bool = False) -> list[Any]:
    """The same as EC2 takes it, for one kind of thing."""
    return [{"ResourceType": kind, "Tags": tag_list(site, is_shared=is_shared)}]


def new_secret(given: Mapping[str, str]) -> dict[str, Any]:
    """The secrets of a site, with passwords that were given: nobody but its nodes reads them."""
    return {
        "admin_user": "admin",
        "admin_password": secrets.token_urlsafe(24),
        "db_user": "wordpress",
        "db_password": secrets.token_urlsafe(24),
        "basic_auth_password": secrets.token_urlsafe(24),
        "salts": {name: secrets.token_urlsafe(48) for name in WORDPRESS_SALTS},
        **given,
    }


def store_secret(account: Account, site: Site, given: Mapping[str, str] = {}) -> None:
    """Puts the secrets of a site into Secrets Manager, unless they are there; what is being removed is kept."""
    content = json.dumps(new_secret(given))
    try:
        account.secrets.create_secret(Name=site.secret_name, SecretString=content, Tags=tag_list(site))
    except ClientError as error:
        if code_of(error) not in ("InvalidRequestException", "ResourceExistsException"):
            raise
        if "DeletedDate" in account.secrets.describe_secret(SecretId=site.secret_name):
            account.secrets.restore_secret(SecretId=site.secret_name)


def change_secret(account: Account, site: Site, given: Mapping[str, str]) -> None:
    """Changes passwords among the secrets of a site."""
    store_secret(account, site, given)
    known = json.loads(account.secrets.get_secret_value(SecretId=site.secret_name)["SecretString"])
    if not given.items() <= known.items():
        account.secrets.put_secret_value(SecretId=site.secret_name, SecretString=json.dumps(known | given))


def group_named(account: Account, site: Site, name: str) -> str:
    """The id of a security group in the site's network, which is there."""
    filters = [{"Name": "vpc-id", "Values": [site.network.vpc_id]}, {"Name": "group-name", "Values": [name]}]
    (group,) = account.ec2.describe_security_groups(Filters=filters)["SecurityGroups"]  # type: ignore[arg-type]
    return group["GroupId"]


def database_settings(site: Site, security_group: str) -> dict[str, Any]:
    """What holds for new databases and for restored ones."""
    return {
        "DBSubnetGroupName": site.org_key,
        "VpcSecurityGroupIds": [security_group],
        "DeletionProtection": True,
        "MultiAZ": "database_standby" in site.features,
        "PubliclyAccessible": False,
        "CopyTagsToSnapshot": True,
        "Tags": tag_list(site),
    }


@dataclass(frozen=True, slots=True)
class Restored:
    """A database that was restored, and can be read."""

    host: str
    secret: str
    """ARN of the secret with its master's password."""
    gibibytes: int


def restored(account: Account, name: str) -> Restored | str | None:
    """A database that was restored, when whoever reads its secret can read it; what it waits for, while not; None when
    it is not there.
    """
    try:
        (found,) = account.rds.describe_db_instances(DBInstanceIdentifier=name)["DBInstances"]
    except ClientError as error:
        if is_missing(error):
            return None
        raise
    if found["DBInstanceStatus"] != "available" or "Endpoint" not in found:
        return f"the database is {found['DBInstanceStatus']}"
    secret = found.get("MasterUserSecret")
    if secret is None:
        # It has the password of then, which nobody knows.
        account.rds.modify_db_instance(DBInstanceIdentifier=name, ManageMasterUserPassword=True, ApplyImmediately=True)
        return "the database gets a password"
    if secret["SecretStatus"] != "active":
        return f"the password of the database is {secret['SecretStatus']}"
    return Restored(found["Endpoint"]["Address"], secret["SecretArn"], found["AllocatedStorage"])


class Actor:
    """Makes the steps of one look at a site."""

    def __init__(self, account: Account, site: Site, seen: Seen) -> None:
        self.account, self.site, self.seen = account, site, seen

    def do(self, step: Step) -> None:
        """Makes one step.

        Raises:
            ClientError, BotoCoreError: AWS refused or could not be asked.
        """
        make: Callable[..., None] = getattr(self, step.action.replace(".", "_"))
        try:
            make(**step.given)
        except ClientError as error:
            if code_of(error) not in _THERE and not is_missing(error):
                raise

    # What others stand on

    def secret_create(self) -> None:
        store_secret(self.account, self.site)

    def secret_remove(self) -> None:
        self.account.secrets.delete_secret(SecretId=self.site.secret_name, ForceDeleteWithoutRecovery=True)

    def security_create(self, role: str) -> None:
        ec2, name = self.account.ec2, f"{self.site.org_key}-{role}"
        try:
            group = ec2.create_security_group(
                GroupName=name,
                Description=f"{role} of the web sites of {self.site.org}",
                VpcId=self.site.network.vpc_id,
                TagSpecifications=specifications(self.site, "security-group", is_shared=True),
            )["GroupId"]
        except ClientError as error:
            if code_of(error) != "InvalidGroup.Duplicate":
                raise
            group = group_named(self.account, self.site, name)
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=self._permissions(role))

    def _permissions(self, role: str) -> list[Any]:
        """The world reaches the load balancer, that the nodes, those the database and the files."""
        if role == "web":
            everybody = {"IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
            return [{"IpProtocol": "tcp", "FromPort": port, "ToPort": port} | everybody for port in (80, 443)]
        source, ports = ("web", (80,)) if role == "node" else ("node", (3306, 2049))
        group = self.seen.security.get(source) or group_named(self.account, self.site, f"{self.site.org_key}-{source}")
        pairs = {"UserIdGroupPairs": [{"GroupId": group}]}
        return [{"IpProtocol": "tcp", "FromPort": port, "ToPort": port} | pairs for port in ports]

    def security_remove(self, id: str) -> None:
        self.account.ec2.delete_security_group(GroupId=id)

    def subnets_create(self) -> None:
        self.account.rds.create_db_subnet_group(
            DBSubnetGroupName=self.site.org_key,
            DBSubnetGroupDescription=f"web sites of {self.site.org}",
            SubnetIds=list(self.site.network.subnet_ids),
            Tags=tag_list(self.site, is_shared=True),
        )

    def subnets_remove(self) -> None:
        self.account.rds.delete_db_subnet_group(DBSubnetGroupName=self.site.org_key)

    # Data

    def database_create(self, name: str) -> None:
        self.account.rds.create_db_instance(
            DBInstanceIdentifier=name,
            Engine="mysql",
            DBInstanceClass="db.t4g.small",
            AllocatedStorage=DATABASE_GIB,
            StorageEncrypted=True,
            MasterUsername="master",
            ManageMasterUserPassword=True,
            DBName="wordpress",
            **database_settings(self.site, self.seen.security["data"]),
        )

    def database_standby(self, name: str, is_wanted: bool) -> None:
        self.account.rds.modify_db_instance(DBInstanceIdentifier=name, MultiAZ=is_wanted, ApplyImmediately=True)

    def snapshot_remove(self, name: str) -> None:
        self.account.rds.delete_db_snapshot(DBSnapshotIdentifier=name)

    def artifact_remove(self, key: str) -> None:
        self.account.s3.delete_object(Bucket=self.site.network.bucket, Key=key)

    def database_remove(self, name: str, snapshot: str | None) -> None:
        rds = self.account.rds
        last: dict[str, Any] = {"FinalDBSnapshotIdentifier": snapshot} if snapshot else {"SkipFinalSnapshot": True}
        if self.seen.databases[name].is_protected:
            rds.modify_db_instance(DBInstanceIdentifier=name, DeletionProtection=False, ApplyImmediately=True)
        rds.delete_db_instance(DBInstanceIdentifier=name, **last)

    def files_create(self) -> None:
        self.account.efs.create_file_system(CreationToken=self.site.key, Encrypted=True, Tags=tag_list(self.site))

    def files_mount(self, id: str, subnet: str) -> None:
        groups = [self.seen.security["data"]]
        self.account.efs.create_mount_target(FileSystemId=id, SubnetId=subnet, SecurityGroups=groups)

    def files_unmount(self, mount: str) -> None:
        self.account.efs.delete_mount_target(MountTargetId=mount)

    def files_remove(self, id: str) -> None:
        self.account.efs.delete_file_system(FileSystemId=id)

    # Nodes

    def template_create(self, digest: str, host: str, files: str) -> None:
        self.account.ec2.create_launch_template(
            LaunchTemplateName=self.site.key,
            VersionDescription=digest,
            LaunchTemplateData=self._template(host, files),
            TagSpecifications=specifications(self.site, "launch-template"),
        )

    def template_version(self, id: str, digest: str, host: str, files: str) -> None:
        self.account.ec2.create_launch_template_version(
            LaunchTemplateId=id, VersionDescription=digest, LaunchTemplateData=self._template(host, files)
        )

    def _template(self, host: str, files: str) -> Any:
        known = json.loads(self.account.secrets.get_secret_value(SecretId=self.site.secret_name)["SecretString"])
        text = script(self.site, self.account.region, host, files, _values(known))
        profile = self.site.network.instance_profile
        return {
            "ImageId": self.site.network.image_id,
            "InstanceType": "t4g.medium" if "large_nodes" in self.site.features else "t4g.small",
            "SecurityGroupIds": [self.seen.security["node"]],
            "UserData": base64.b64encode(text.encode()).decode(),
            # The metadata service answers only those on the node who ask as version 2 wants it, and no container.
            "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
            "TagSpecifications": specifications(self.site, "instance") + specifications(self.site, "volume"),
        } | ({"IamInstanceProfile": {"Name": profile}} if profile else {})

    def template_remove(self, id: str) -> None:
        self.account.ec2.delete_launch_template(LaunchTemplateId=id)

    def group_create(self, template: str, digest: str, least: int, most: int, desired: int) -> None:
        assert self.seen.target, "planned only when it is there"
        self.account.autoscaling.create_auto_scaling_group(
            AutoScalingGroupName=self.site.key,
            LaunchTemplate={"LaunchTemplateName": self.site.key, "Version": template},
            MinSize=least,
            MaxSize=most,
            DesiredCapacity=desired,
            VPCZoneIdentifier=",".join(self.site.network.subnet_ids),
            TargetGroupARNs=[self.seen.target],
            HealthCheckType="EC2",
            Tags=[*self._propagated(tags(self.site) | {DIGEST_TAG: digest})],
        )
        self.group_leave_alone()

    def _propagated(self, values: Mapping[str, str]) -> Iterator[Any]:
        """Tags of the group that its nodes get when they start."""
        for key, value in values.items():
            group = {"ResourceId": self.site.key, "ResourceType": "auto-scaling-group"}
            yield group | {"Key": key, "Value": value, "PropagateAtLaunch": True}

    def group_leave_alone(self) -> None:
        self.account.autoscaling.suspend_processes(
            AutoScalingGroupName=self.site.key, ScalingProcesses=list(LEFT_ALONE)
        )

    def group_update(self, template: str, digest: str, least: int, most: int) -> None:
        scaling = self.account.autoscaling
        scaling.update_auto_scaling_group(
            AutoScalingGroupName=self.site.key,
            LaunchTemplate={"LaunchTemplateName": self.site.key, "Version": template},
            MinSize=least,
            MaxSize=most,
        )
        scaling.create_or_update_tags(Tags=[*self._propagated({DIGEST_TAG: digest})])

    def group_resize(self, desired: int) -> None:
        self.account.autoscaling.set_desired_capacity(AutoScalingGroupName=self.site.key, DesiredCapacity=desired)

    def group_policy(self) -> None:
        self.account.autoscaling.put_scaling_policy(
            AutoScalingGroupName=self.site.key,
            PolicyName=self.site.key,
            PolicyType="TargetTrackingScaling",
            TargetTrackingConfiguration={
                "PredefinedMetricSpecification": {"PredefinedMetricType": "ASGAverageCPUUtilization"},
                "TargetValue": 60.0,
            },
        )

    def group_no_policy(self) -> None:
        self.account.autoscaling.delete_policy(AutoScalingGroupName=self.site.key, PolicyName=self.site.key)

    def group_remove(self) -> None:
        self.account.autoscaling.delete_auto_scaling_group(AutoScalingGroupName=self.site.key, ForceDelete=True)

    def node_replace(self, id: str) -> None:
        """The group ends it, after the load balancer has let its requests run out, and starts another."""
        self._terminate(id, is_replaced=True)

    def node_register(self, id: str, target: str) -> None:
        """The group does so by itself; this is for what somebody has taken out by hand."""
        self.account.elb.register_targets(TargetGroupArn=target, Targets=[{"Id": id}])

    def node_remove(self, id: str, is_ours: bool) -> None:
        if is_ours:
            self._terminate(id, is_replaced=False)
        else:
            self.account.ec2.terminate_instances(InstanceIds=[id])

    def _terminate(self, id: str, *, is_replaced: bool) -> None:
        self.account.autoscaling.terminate_instance_in_auto_scaling_group(
            InstanceId=id, ShouldDecrementDesiredCapacity=not is_replaced
        )

    # The way to the site

    def target_create(self) -> None:
        protocol: dict[str, Any] = {"Protocol": "TCP" if self.site.is_dedicated else "HTTP", "Port": 80}
        self.account.elb.create_target_group(
            Name=self.site.key,
            VpcId=self.site.network.vpc_id,
            TargetType="instance",
            HealthCheckProtocol="HTTP",
            HealthCheckPath="/healthz",
            Tags=tag_list(self.site),
            **protocol,
        )

    def target_remove(self, arn: str) -> None:
        self.account.elb.delete_target_group(TargetGroupArn=arn)

    def address_allocate(self) -> None:
        self.account.ec2.allocate_address(Domain="vpc", TagSpecifications=specifications(self.site, "elastic-ip"))

    def address_release(self, id: str) -> None:
        self.account.ec2.release_address(AllocationId=id)

    def balancer_create(self, address: str | None) -> None:
        subnets = self.site.network.subnet_ids
        place: dict[str, Any] = {"Subnets": list(subnets), "Type": "application"}
        if address:
            place = {"SubnetMappings": [{"SubnetId": subnets[0], "AllocationId": address}], "Type": "network"}
        self.account.elb.create_load_balancer(
            Name=self.site.balancer_name,
            SecurityGroups=[self.seen.security["web"]],
            Scheme="internet-facing",
            Tags=tag_list(self.site, is_shared=not self.site.is_dedicated),
            **place,
        )

    def balancer_redirect(self, arn: str) -> None:
        secure: Any = {"Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301"}
        actions: list[Any] = [{"Type": "redirect", "RedirectConfig": secure}]
        self.account.elb.create_listener(LoadBalancerArn=arn, Protocol="HTTP", Port=80, DefaultActions=actions)

    def balancer_remove(self, arn: str) -> None:
        self.account.elb.delete_load_balancer(LoadBalancerArn=arn)

    def listener_create(self, balancer: str, certificate: str, target: str) -> None:
        """An org's load balancer knows nobody that no rule knows; a site's own leads to it whatever is asked for."""
        nobody = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404", "ContentType": "text/plain"}}
        action = {"Type": "forward", "TargetGroupArn": target} if self.site.is_dedicated else nobody
        self.account.elb.create_listener(
            LoadBalancerArn=balancer,
            Protocol="TLS" if self.site.is_dedicated else "HTTPS",
            Port=443,
            SslPolicy="ELBSecurityPolicy-TLS13-1-2-2021-06",
            Certificates=[{"CertificateArn": certificate}],
            DefaultActions=[action],  # type: ignore[list-item]
        )

    def listener_certificate(self, listener: str, certificate: str) -> None:
        self.account.elb.add_listener_certificates(ListenerArn=listener, Certificates=[{"CertificateArn": certificate}])

    def listener_no_certificate(self, listener: str, certificate: str) -> None:
        self.account.elb.remove_listener_certificates(
            ListenerArn=listener, Certificates=[{"CertificateArn": certificate}]
        )

    def listener_default(self, listener: str, certificate: str) -> None:
        self.account.elb.modify_listener(ListenerArn=listener, Certificates=[{"CertificateArn": certificate}])

    def rule_create(self, listener: str, target: str, priority: int, hosts: Sequence[str]) -> None:
        self.account.elb.create_rule(
            ListenerArn=listener,
            Priority=priority,
            Conditions=[{"Field": "host-header", "HostHeaderConfig": {"Values": list(hosts)}}],
            Actions=[{"Type": "forward", "TargetGroupArn": target}],
            Tags=tag_list(self.site),
        )

    def rule_remove(self, arn: str) -> None:
        self.account.elb.delete_rule(RuleArn=arn)

    # Names

    def certificate_request(self, names: Sequence[str]) -> None:
        """ACM knows the token of a request that is repeated soon; one that was made before is known from looking."""
        token = hashlib.sha256(f"{self.site.id} {names[0]} {time.time() // TOKEN_SECONDS}".encode()).hexdigest()[:32]
        self.account.acm.request_certificate(
            DomainName=names[0],
            SubjectAlternativeNames=list(names),
            ValidationMethod="DNS",
            IdempotencyToken=token,
            Tags=tag_list(self.site),
        )

    def certificate_remove(self, arn: str) -> None:
        self.account.acm.delete_certificate(CertificateArn=arn)

    def record_write(self, name: str, value: str) -> None:
        record = {"Name": name, "Type": "CNAME", "TTL": RECORD_SECONDS, "ResourceRecords": [{"Value": value}]}
        self._change("UPSERT", record)

    def record_alias(self, name: str, dns: str, zone: str) -> None:
        self._change("UPSERT", self._alias(name, dns, zone))

    def record_remove(self, name: str, value: str) -> None:
        """Route 53 wants to be told the whole record that is to go."""
        for record in self._records(name):
            self._change("DELETE", record)

    def _records(self, name: str) -> list[Any]:
        answer = self.account.route53.list_resource_record_sets(
            HostedZoneId=self.site.network.zone_id, StartRecordName=name, MaxItems="5"
        )
        return [record for record in answer["ResourceRecordSets"] if plain(record["Name"]) == name]

    def _alias(self, name: str, dns: str, zone: str) -> dict[str, Any]:
        target = {"DNSName": dns, "HostedZoneId": zone, "EvaluateTargetHealth": False}
        return {"Name": name, "Type": "A", "AliasTarget": target}

    def _change(self, action: str, record: Mapping[str, Any]) -> None:
        self.account.route53.change_resource_record_sets(
            HostedZoneId=self.site.network.zone_id,
            ChangeBatch={"Comment": self.site.key, "Changes": [{"Action": action, "ResourceRecordSet": record}]},  # type: ignore[typeddict-item]
        )


def _values(content: Mapping[str, Any]) -> list[str]:
    """All texts of a secret that are secret."""
    inner = [value for value in content.values() if isinstance(value, dict)]
    own = [value for key, value in content.items() if isinstance(value, str) and not key.endswith("_user")]
    return own + [text for one in inner for text in _values(one)]
