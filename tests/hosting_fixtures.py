"""What the tests of web sites share: accounts that are set up for hosting, and sites, in the database and at AWS."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from uuid import UUID, uuid4

import pytest
from moto import settings as moto_settings
from moto.acm.models import acm_backends
from moto.core.base_backend import BackendDict
from moto.core.model_instances import reset_model_data
from moto.server import ThreadedMotoServer
from provision_worker.hosting.model import Network, Site
from provision_worker.hosting.observe import INSTANCE_TAG
from provision_worker.providers.aws import Account
from psycopg.types.json import Jsonb

from provision.demo.endpoint import mend_launch_templates

from .aws_proxy import AwsProxy
from .sql_fixtures import Shop

DOMAIN = "example.net"
HOSTING = {
    "domain": DOMAIN,
    "zone_id": "Z1",
    "vpc_id": "vpc-1",
    "subnet_ids": ["subnet-1", "subnet-2"],
    "image_id": "ami-1",
    "bucket": "artifacts",
    "code_buckets": {"jane-code": "jan"},
}


def set_up(shop: Shop) -> None:
    """The shop's AWS account can host sites from now on."""
    shop.connection.execute(
        "UPDATE accreditation SET settings = %s WHERE id = %s", [Jsonb({"hosting": HOSTING}), shop.cloud]
    )


def default_org(shop: Shop, account: UUID | None = None) -> UUID:
    """The customer's default org."""
    org: UUID = shop.value("SELECT org_default(%s)", account or shop.account)
    return org


def site_item(name: str = "shop", **changes: Any) -> dict[str, Any]:
    """An order's item for a web site."""
    return {"operation": "wpaas.create", "data": {"name": name} | changes}


def update_item(name: str = "shop", generation: int | None = None, **changes: Any) -> dict[str, Any]:
    """An order's item for a change of one."""
    return {"operation": "wpaas.update", "data": {"name": name, "changes": changes, "generation": generation}}


def new_site(shop: Shop, name: str = "shop", org: UUID | None = None, **changes: Any) -> UUID:
    """A site that was ordered just now."""
    org = org or default_org(shop)
    account = shop.value("SELECT tenant_customer_id FROM org WHERE id = %s", org)
    shop.order(site_item(name, **changes), account=account, org_id=str(org))
    site: UUID = shop.value("SELECT id FROM wpaas_instance WHERE org_id = %s AND name = %s", org, name)
    return site


def acceptable(shop: Shop, change: str) -> dict[str, Any]:
    """The columns of a row that would be taken: for a new site, or for a change of one."""
    set_up(shop)
    org = default_org(shop)
    name = f"site-{uuid4().hex[:8]}"
    if not change:
        return {"org_id": org, "space_id": shop.value("SELECT space_default(%s)", org), "name": name}
    site = new_site(shop, name)
    more: dict[str, dict[str, Any]] = {
        "download": {"backup_id": keep_backup(shop, site)},
        "restore": {"snapshot": f"kept-{site}"},
        "update": {"changes": {}},
    }
    return {"org_id": org, "instance_id": site} | more.get(change, {})


def keep_backup(shop: Shop, site: UUID, link: str = "") -> UUID:
    """The site has served, and has a backup `kept-<id>`, that can be downloaded by a link."""
    backup = uuid4()
    shop.connection.execute("UPDATE wpaas_instance SET observed_generation = 1 WHERE id = %s", [site])
    row = shop.row("SELECT tenant_customer_id, org_id, accreditation_id FROM wpaas_instance WHERE id = %s", site)
    shop.insert("wpaas_backup", id=backup, instance_id=site, reason="asked", snapshot=f"kept-{site}", **row)
    if link:
        dumped = "dump_bytes = 1, dump_date = now(), link_date = '2999-12-31'"
        shop.connection.execute(f"UPDATE wpaas_backup SET {dumped} WHERE id = %s", [backup])
        shop.insert("secret", id=backup, value=link)
    return backup


@dataclass
class World:
    """An AWS account that is set up for hosting, behind a proxy that counts."""

    proxy: AwsProxy
    account: Account
    """As the worker uses it, through the proxy."""
    direct: Account
    """Past the proxy."""
    network: Network

    def site(self, **changes: Any) -> Site:
        """A site that is wanted."""
        values: dict[str, Any] = {
            "id": "first",
            "key": "wp-first",
            "org_key": "wp-org",
            "name": "shop",
            "org": "acm",
            "cid": "acm",
            "hostname": "shop.acm.www.example.net",
            "network": self.network,
        }
        return Site(**(values | changes))

    def running(self, site: str | None = None) -> list[str]:
        """Ids of machines that run, of a site or all."""
        filters = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
        filters += [{"Name": f"tag:{INSTANCE_TAG}", "Values": [site]}] if site else []
        pages = self.direct.ec2.describe_instances(Filters=filters)["Reservations"]  # type: ignore[arg-type]
        return [machine["InstanceId"] for one in pages for machine in one["Instances"]]

    def machine(self, tags: dict[str, str]) -> str:
        """A machine that somebody else has started."""
        specification = [{"ResourceType": "instance", "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}]
        more: Any = {"TagSpecifications": specification} if tags else {}
        made = self.direct.ec2.run_instances(ImageId=self.network.image_id, MinCount=1, MaxCount=1, **more)
        return made["Instances"][0]["InstanceId"]

    def make_ill(self, node: str) -> None:
        """The group is told that a node is not well."""
        self.direct.autoscaling.set_instance_health(InstanceId=node, HealthStatus="Unhealthy")

    def records(self) -> list[Any]:
        """All of the zone."""
        return self.direct.route53.list_resource_record_sets(HostedZoneId=self.network.zone_id)["ResourceRecordSets"]

    def change(self, action: Any, record: Any) -> None:
        """Changes a record of the zone."""
        batch: Any = {"Changes": [{"Action": action, "ResourceRecordSet": record}]}
        self.direct.route53.change_resource_record_sets(HostedZoneId=self.network.zone_id, ChangeBatch=batch)

    def forget_certificate(self, arn: str) -> None:
        """The certificate is gone, whatever uses it."""
        backend = acm_backends["123456789012"]["us-east-1"]
        backend._certificates.pop(arn)
        backend._idempotency_tokens.clear()

    def tagged(self, site: str) -> set[str]:
        """Kinds of things that EC2 has with the tag of a site."""
        filters: Any = [{"Name": f"tag:{INSTANCE_TAG}", "Values": [site]}]
        return {tag["ResourceType"] for tag in self.direct.ec2.describe_tags(Filters=filters)["Tags"]}

    def inventory(self) -> dict[str, int]:
        """How many there are of everything a site is made of."""
        account = self.direct
        listeners = [
            listener
            for balancer in account.elb.describe_load_balancers()["LoadBalancers"]
            for listener in account.elb.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]
        ]
        rules = [
            rule
            for listener in listeners
            for rule in account.elb.describe_rules(ListenerArn=listener["ListenerArn"])["Rules"]
            if not rule["IsDefault"]
        ]
        files = account.efs.describe_file_systems()["FileSystems"]
        groups = account.ec2.describe_security_groups()["SecurityGroups"]
        secrets = account.secrets.list_secrets()["SecretList"]
        return {
            "secrets": len([one for one in secrets if not one["Name"].startswith("rds!")]),
            "security groups": len([group for group in groups if group["GroupName"] != "default"]),
            "subnet groups": len(account.rds.describe_db_subnet_groups()["DBSubnetGroups"]),
            "databases": len(account.rds.describe_db_instances()["DBInstances"]),
            "file systems": len(files),
            "mount targets": sum(one["NumberOfMountTargets"] for one in files),
            "templates": len(account.ec2.describe_launch_templates()["LaunchTemplates"]),
            "target groups": len(account.elb.describe_target_groups()["TargetGroups"]),
            "load balancers": len(account.elb.describe_load_balancers()["LoadBalancers"]),
            "listeners": len(listeners),
            "rules": len(rules),
            "groups": len(account.autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"]),
            "machines": len(self.running()),
            "certificates": len(account.acm.list_certificates()["CertificateSummaryList"]),
            "records": len([one for one in self.records() if one["Type"] in ("A", "CNAME")]),
            "addresses": len(account.ec2.describe_addresses()["Addresses"]),
        }


@dataclass
class Cloud:
    """An AWS endpoint with a proxy before it, and clients of both, which take a while to make."""

    endpoint: str
    proxy: AwsProxy

    @cached_property
    def account(self) -> Account:
        return Account("us-east-1", endpoint_url=self.proxy.url)

    @cached_property
    def direct(self) -> Account:
        return Account("us-east-1", endpoint_url=self.endpoint)

    def world(self) -> World:
        """An empty account, in which an operator has set up the network, the zone, the image and the bucket."""
        BackendDict.reset()
        reset_model_data()
        self.proxy.heal()
        account = self.direct
        vpc = account.ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        subnets = [subnet["SubnetId"] for subnet in account.ec2.describe_subnets()["Subnets"]][:2]
        zone = account.route53.create_hosted_zone(Name=DOMAIN, CallerReference="1")["HostedZone"]["Id"]
        image = account.ec2.describe_images()["Images"][0]["ImageId"]
        account.s3.create_bucket(Bucket="artifacts")
        self.proxy.reset()
        network = Network(DOMAIN, zone.rpartition("/")[2], vpc, tuple(subnets), image, "artifacts")
        return World(self.proxy, self.account, account, network)


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    """An endpoint for a module's tests, which issues certificates at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(moto_settings, "ACM_VALIDATION_WAIT", -1)
        mend_launch_templates()
        server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
        server.start()
        endpoint = "http://{}:{}".format(*server.get_host_and_port())
        try:
            with AwsProxy(endpoint).running() as proxy:
                yield Cloud(endpoint, proxy)
        finally:
            BackendDict.reset()
            reset_model_data()
            server.stop()


@pytest.fixture
def world(cloud: Cloud) -> World:
    """An account of the test's own."""
    return cloud.world()
