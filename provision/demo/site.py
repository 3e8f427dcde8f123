"""The life of a web site, at the demo's AWS endpoint: it comes up, loses a node, grows, gets other code, and goes."""

import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from .data import HOSTED, aws_client
from .expectation import Expectation
from .scene import Play

NAME = "tea"
TAG = "tag:provision:instance"
PATIENCE_SECONDS = 45.0
LOOK_SECONDS = 0.1


class Site:
    """The web site of the shop."""

    def __init__(self, play: Play) -> None:
        self._play = play
        self._database = play.database
        self._account = play.cast.shop.account
        self._ec2 = aws_client(play.stage, "ec2")
        self._org: UUID = self._database.value("default_org", customer=self._account)

    def perform(self) -> Iterator[Expectation]:
        """Its whole life; each part is waited for, as the next needs it."""
        self._set_up()
        yield self._expect("a web site with 2 nodes comes up", 2, "create", num_instances=2)
        yield self._lose_a_node()
        yield self._expect("it is scaled to 5 nodes", 5, "update", changes={"num_instances": 5})
        yield self._replace_all()
        yield self._expect("it is deleted, and nothing runs any more", 0, "delete")
        yield self._left()

    def _set_up(self) -> None:
        """The account's network and zone, as an operator enters them once."""
        zone = aws_client(self._play.stage, "route53").list_hosted_zones_by_name(DNSName=HOSTED)["HostedZones"][0]
        s3 = aws_client(self._play.stage, "s3")
        for bucket in ("artifacts", "code"):
            s3.create_bucket(Bucket=bucket)
        s3.put_object(Bucket="code", Key="tea.zip", Body=b"the shop's own WordPress")
        # Other scenes have networks as well, perhaps still.
        (vpc,) = self._ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
        subnets = self._ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc["VpcId"]]}])["Subnets"]
        hosting: dict[str, Any] = {
            "domain": HOSTED,
            "zone_id": zone["Id"].rpartition("/")[2],
            "vpc_id": vpc["VpcId"],
            "subnet_ids": [subnet["SubnetId"] for subnet in subnets[:2]],
            "image_id": self._ec2.describe_images()["Images"][0]["ImageId"],
            "bucket": "artifacts",
            "code_buckets": {"code": self._database.value("cid", customer=self._account)},
        }
        self._database.execute("hosting", settings=Jsonb({"hosting": hosting}))

    def _expect(self, what: str, nodes: int, operation: str, **data: Any) -> Expectation:
        order = self._order(operation, **data)
        status = self._until(lambda: self._database.value("order_status", order=order), "processing")
        found = self.nodes()
        return Expectation(what, status == "completed" and len(found) == nodes, f"order {status}, {len(found)} nodes")

    def _order(self, operation: str, **data: Any) -> UUID:
        items = Jsonb([{"operation": f"wpaas.{operation}", "data": {"name": NAME} | data}])
        order: UUID = self._database.value("org_order", customer=self._account, items=items, org=str(self._org))
        return order

    def _lose_a_node(self) -> Expectation:
        what = "a node is terminated behind its back, and exactly one other takes its place"
        before = self.nodes()
        if not before:
            return Expectation(what, False, "no node runs")
        self._ec2.terminate_instances(InstanceIds=[min(before)])
        self._database.value("look", name=NAME)
        self._until(lambda: "processing" if len(self.nodes()) < len(before) else "back", "processing")
        new = self.nodes() - before
        return Expectation(what, (len(self.nodes()), len(new)) == (2, 1), f"{len(new)} new of {len(self.nodes())}")

    def _replace_all(self) -> Expectation:
        before = self.nodes()
        other = self._expect("", 5, "update", changes={"code_url": "s3://code/tea.zip"})
        kept = len(self.nodes() & before)
        what = "it gets other code, one node after the other until all are new"
        return Expectation(what, other.is_met and not kept, f"{other.found}, {kept} of them old")

    def _left(self) -> Expectation:
        rds = aws_client(self._play.stage, "rds")
        snapshots = [one["DBSnapshotIdentifier"] for one in rds.describe_db_snapshots()["DBSnapshots"]]
        databases = rds.describe_db_instances()["DBInstances"]
        is_met = not databases and any(name.endswith("-final") for name in snapshots)
        return Expectation("its database is gone, but for a last snapshot", is_met, f"{databases}, {snapshots}")

    def nodes(self) -> set[str]:
        """The machines that run for it."""
        id = self._database.value("site", name=NAME)
        running = {"Name": "instance-state-name", "Values": ["pending", "running"]}
        answer = self._ec2.describe_instances(Filters=[{"Name": TAG, "Values": [str(id)]}, running])
        return {machine["InstanceId"] for one in answer["Reservations"] for machine in one["Instances"]}

    def _until(self, ask: Callable[[], str], unfinished: str) -> str:
        """What `ask` says when it says something else, or when time is up."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (said := ask()) == unfinished and time.monotonic() < deadline:
            self._play.stage.check()
            time.sleep(LOOK_SECONDS)
        return said
