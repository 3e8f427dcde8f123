"""AWS accounts: clients with the right credentials, region and limits, and what their errors mean for a job.

Credentials come from the normal chain of the AWS SDK (environment, files, instance or container role). An accreditation
with a `role_arn` is entered by STS AssumeRole, with its external id, and the credentials are renewed by themselves.
"""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    CredentialProvider,
    CredentialResolver,
    DeferredRefreshableCredentials,
)
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from types_boto3_acm import ACMClient
    from types_boto3_autoscaling import AutoScalingClient
    from types_boto3_ce import CostExplorerClient
    from types_boto3_cloudwatch import CloudWatchClient
    from types_boto3_codebuild import CodeBuildClient
    from types_boto3_ec2 import EC2Client
    from types_boto3_ecr import ECRClient
    from types_boto3_ecs import ECSClient
    from types_boto3_efs import EFSClient
    from types_boto3_elbv2 import ElasticLoadBalancingv2Client
    from types_boto3_iam import IAMClient
    from types_boto3_rds import RDSClient
    from types_boto3_resourcegroupstaggingapi import ResourceGroupsTaggingAPIClient
    from types_boto3_route53 import Route53Client
    from types_boto3_route53domains import Route53DomainsClient
    from types_boto3_s3 import S3Client
    from types_boto3_secretsmanager import SecretsManagerClient
    from types_boto3_sesv2 import SESV2Client

T = TypeVar("T")

# Every wait ends: three tries of at most 5 s to connect and 20 s to be answered.
CONFIG = Config(
    connect_timeout=5,
    read_timeout=20,
    retries={"mode": "standard", "total_max_attempts": 3},
    user_agent_extra="provision",
)
# For calls that make another thing each time: whether to try again is decided by who can look for the first.
ONCE = CONFIG.merge(Config(retries={"mode": "standard", "total_max_attempts": 1}))
# For services whose calls have no token: what is sent twice is done twice, so the SDK must not send again by itself.
_ONCE = {"config": CONFIG.merge(Config(retries={"mode": "standard", "total_max_attempts": 1}))}
DEFAULT_REGION = "us-east-1"

# Error codes by which AWS asks for patience. LimitExceededException is not among them: it is a quota, and final.
_THROTTLED = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "PriorRequestNotComplete",
        "RequestInProgressException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)


class Meaning(Enum):
    """What an error answer of AWS means for the job that called."""

    THROTTLED = "AWS asks for patience"
    UNCERTAIN = "AWS failed; whether the call had an effect is unknown"
    REFUSED = "AWS decided against the call"


def meaning(error: ClientError) -> Meaning:
    """Sorts an error answer by its code and HTTP status."""
    if error.response.get("Error", {}).get("Code") in _THROTTLED:
        return Meaning.THROTTLED
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
    if status == 429:
        return Meaning.THROTTLED
    return Meaning.UNCERTAIN if status >= 500 else Meaning.REFUSED


class Account:
    """One AWS account in one region, to be used from any thread."""

    def __init__(
        self,
        region: str | None = None,
        role_arn: str | None = None,
        external_id: str | None = None,
        endpoint_url: str | None = None,
    ) -> None:
        self.region = region or DEFAULT_REGION
        self._endpoint_url = endpoint_url
        # Clients are safe to share between threads; making them is not.
        self._lock = threading.Lock()
        core = botocore.session.Session()
        if role_arn:
            core = self._assume(core, role_arn, external_id)
        self._session = boto3.Session(botocore_session=core, region_name=self.region)

    @cached_property
    def acm(self) -> "ACMClient":
        """AWS Certificate Manager."""
        return self._client(lambda options: self._session.client("acm", **options))

    @cached_property
    def codebuild(self) -> "CodeBuildClient":
        """CodeBuild."""
        return self._client(lambda options: self._session.client("codebuild", **options))

    @cached_property
    def ecr(self) -> "ECRClient":
        """Elastic Container Registry."""
        return self._client(lambda options: self._session.client("ecr", **options))

    @cached_property
    def ecs(self) -> "ECSClient":
        """Elastic Container Service."""
        return self._client(lambda options: self._session.client("ecs", **options))

    @cached_property
    def elb(self) -> "ElasticLoadBalancingv2Client":
        """Elastic Load Balancing: application and network load balancers."""
        return self._client(lambda options: self._session.client("elbv2", **options))

    # The stubs of these are not among what the tests install.

    @cached_property
    def cloudwatch(self) -> "CloudWatchClient":
        """CloudWatch."""
        return self._client(lambda options: self._session.client("cloudwatch", **options))

    @cached_property
    def efs(self) -> "EFSClient":
        """Elastic File System."""
        return self._client(lambda options: self._session.client("efs", **options))

    @cached_property
    def rds(self) -> "RDSClient":
        """Relational Database Service."""
        return self._client(lambda options: self._session.client("rds", **options))

    @cached_property
    def s3(self) -> "S3Client":
        """Simple Storage Service."""
        return self._client(lambda options: self._session.client("s3", **options))

    @cached_property
    def secrets(self) -> "SecretsManagerClient":
        """Secrets Manager."""
        return self._client(lambda options: self._session.client("secretsmanager", **options))

    @cached_property
    def tagging(self) -> "ResourceGroupsTaggingAPIClient":
        """What there is with which tags, of all services."""
        return self._client(lambda options: self._session.client("resourcegroupstaggingapi", **options))

    @cached_property
    def organizations(self) -> Any:
        """Organizations, of whose management account this must be."""
        return self._client(lambda options: self._session.client("organizations", **options | _ONCE))

    @cached_property
    def budgets(self) -> Any:
        """Budgets."""
        return self._client(lambda options: self._session.client("budgets", **options | _ONCE))

    @cached_property
    def costs(self) -> Any:
        """Cost Explorer."""
        return self._client(lambda options: self._session.client("ce", **options))

    @cached_property
    def number(self) -> str:
        """The account's number."""
        caller = self._client(lambda options: self._session.client("sts", **options))
        number: str = caller.get_caller_identity()["Account"]
        return number

    @cached_property
    def ses(self) -> "SESV2Client":
        """Simple Email Service."""
        return self._client(lambda options: self._session.client("sesv2", **options))

    @cached_property
    def route53(self) -> "Route53Client":
        """Route 53."""
        return self._client(lambda options: self._session.client("route53", **options))

    @cached_property
    def route53domains(self) -> "Route53DomainsClient":
        """Route 53 Domains, which there is in one region only, whatever the account's."""
        return self._client(lambda options: self._session.client("route53domains", region_name="us-east-1", **options))

    @cached_property
    def cost_explorer(self) -> "CostExplorerClient":
        """Cost Explorer, which is in one region only."""
        return self._client(lambda options: self._session.client("ce", region_name=DEFAULT_REGION, **options))

    @cached_property
    def ec2(self) -> "EC2Client":
        """EC2; nothing is tried twice."""
        return self._client(lambda options: self._session.client("ec2", **options), ONCE)

    @cached_property
    def autoscaling(self) -> "AutoScalingClient":
        """EC2 Auto Scaling; nothing is tried twice."""
        return self._client(lambda options: self._session.client("autoscaling", **options), ONCE)

    @cached_property
    def iam(self) -> "IAMClient":
        """IAM; nothing is tried twice."""
        return self._client(lambda options: self._session.client("iam", **options), ONCE)

    def link(self, bucket: str, key: str, seconds: int, **more: str) -> tuple[str, datetime]:
        """A link by which everybody who has it reads an object, and until when: it ends with the credentials that it is
        made by, whatever it says itself.
        """
        signed = self._client(
            lambda options: self._session.client("s3", **options), CONFIG.merge(Config(signature_version="s3v4"))
        )
        given = {"Bucket": bucket, "Key": key} | more
        url: str = signed.generate_presigned_url("get_object", Params=given, ExpiresIn=seconds)
        until = datetime.now(UTC) + timedelta(seconds=seconds)
        end = getattr(self._session.get_credentials(), "_expiry_time", None)
        return url, min(until, end) if end else until

    def _client(self, make: Callable[[dict[str, Any]], T], config: Config = CONFIG) -> T:
        with self._lock:
            return make({"endpoint_url": self._endpoint_url, "config": config})

    def _assume(
        self, base: botocore.session.Session, role_arn: str, external_id: str | None
    ) -> botocore.session.Session:
        """A session whose credentials are those of the role, fetched when first needed and again before they end."""

        def client(service: str, **credentials: Any) -> Any:
            return base.create_client(
                service, region_name=self.region, endpoint_url=self._endpoint_url, config=CONFIG, **credentials
            )

        names = {"RoleSessionName": "provision"} | ({"ExternalId": external_id} if external_id else {})
        fetcher = AssumeRoleCredentialFetcher(client, base.get_credentials(), role_arn, extra_args=names)
        session = botocore.session.Session()
        session.register_component("credential_provider", CredentialResolver([_Role(fetcher)]))
        return session


class _Role(CredentialProvider):
    METHOD = "assume-role"

    def __init__(self, fetcher: AssumeRoleCredentialFetcher) -> None:
        super().__init__()
        self._fetcher = fetcher

    def load(self) -> DeferredRefreshableCredentials:
        return DeferredRefreshableCredentials(self._fetcher.fetch_credentials, self.METHOD)
