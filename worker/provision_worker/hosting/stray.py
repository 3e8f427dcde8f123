"""Things at AWS that carry the tag of a site, and taking away those whose site is not there."""

from collections.abc import Callable, Iterator

import structlog
from botocore.exceptions import ClientError

from provision_worker.providers.aws import Account

from .observe import INSTANCE_TAG, code_of

log = structlog.get_logger(__name__)


def tagged(account: Account) -> Iterator[tuple[str, str]]:
    """ARN and id of the site of everything that has the tag; Auto Scaling groups are listed by their own service."""
    pages = account.tagging.get_paginator("get_resources").paginate(TagFilters=[{"Key": INSTANCE_TAG}])
    for found in (one for page in pages for one in page["ResourceTagMappingList"]):
        for tag in found.get("Tags", ()):
            if tag["Key"] == INSTANCE_TAG:
                yield found["ResourceARN"], tag["Value"]
    filters = [{"Name": "tag-key", "Values": [INSTANCE_TAG]}]
    groups = account.autoscaling.get_paginator("describe_auto_scaling_groups").paginate(Filters=filters)  # type: ignore[arg-type]
    for group in (one for page in groups for one in page["AutoScalingGroups"]):
        for label in group.get("Tags", ()):
            if label.get("Key") == INSTANCE_TAG:
                yield group["AutoScalingGroupARN"], label.get("Value", "")


_KINDS: dict[str, Callable[[Account, str, str], object]] = {
    # What others hang on goes last; a group would start its machines again.
    ":autoScalingGroupName/": lambda account, arn, name: account.autoscaling.delete_auto_scaling_group(
        AutoScalingGroupName=name, ForceDelete=True
    ),
    ":instance/": lambda account, arn, name: account.ec2.terminate_instances(InstanceIds=[name]),
    ":listener-rule/": lambda account, arn, name: account.elb.delete_rule(RuleArn=arn),
    ":loadbalancer/": lambda account, arn, name: account.elb.delete_load_balancer(LoadBalancerArn=arn),
    ":targetgroup/": lambda account, arn, name: account.elb.delete_target_group(TargetGroupArn=arn),
    ":launch-template/": lambda account, arn, name: account.ec2.delete_launch_template(LaunchTemplateId=name),
    ":elastic-ip/": lambda account, arn, name: account.ec2.release_address(AllocationId=name),
    ":certificate/": lambda account, arn, name: account.acm.delete_certificate(CertificateArn=arn),
}


def order(arn: str) -> int:
    """When a thing goes, among others; what is not known how to remove comes last."""
    return next((number for number, kind in enumerate(_KINDS) if kind in arn), len(_KINDS))


def remove(account: Account, arn: str) -> bool:
    """Removes a thing; False: it is not of a kind that is removed, or AWS says no, and the next pass sees it again."""
    for kind, call in _KINDS.items():
        if kind in arn:
            try:
                call(account, arn, arn.rpartition("/")[2])
            except ClientError as error:
                log.warning("hosting.stray_stays", arn=arn, code=code_of(error))
                return False
            log.info("hosting.stray_removed", arn=arn)
            return True
    return False
