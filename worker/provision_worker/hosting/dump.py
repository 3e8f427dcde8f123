"""Dumps of backups, as `wp db import` takes them: SQL, gzipped.

RDS gives no data of a snapshot away but through a database. So one is made of it for the purpose, beside the site's
own, and a machine that dumps it to the operators' bucket and ends itself (`dump.sh`). The nodes of the site have no
part in it: they run the customer's code, and need not even be there. What the machine was for is a tag of it,
`DUMP_TAG`, and by the site's own tag whatever is left of both goes with the site.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Any

from botocore.exceptions import ClientError

from provision_worker.providers.aws import Account

from . import act
from .model import Site
from .observe import DUMP_TAG, code_of, is_missing
from .userdata import assignments, check

LINK_SECONDS = 3600
LIMIT = timedelta(hours=6)
"""A machine that has not ended by then never will."""
_RUNS = ("pending", "running")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a dump is in the operators' bucket."""

    bucket: str
    key: str

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    def size(self, account: Account) -> int | None:
        """Its size in bytes; None if there is none."""
        try:
            size: int = account.s3.head_object(Bucket=self.bucket, Key=self.key)["ContentLength"]
        except ClientError as error:
            if code_of(error) in ("404", "NoSuchKey", "NotFound"):
                return None
            raise
        return size

    def remove(self, account: Account) -> None:
        """There is none any more, nor part of one."""
        for key in (self.key, f"{self.key}.part"):
            account.s3.delete_object(Bucket=self.bucket, Key=key)

    def link(self, account: Account, file: str) -> tuple[str, datetime]:
        """A link by which everybody who has it gets the dump, named `file`, and until when: an hour, or until the
        worker's own credentials end.
        """
        shown = f'attachment; filename="{file}"'
        return account.link(self.bucket, self.key, LINK_SECONDS, ResponseContentDisposition=shown)


def script(region: str, source: act.Restored, place: Place) -> str:
    """The checked script of the machine. No secret is in it: the machine asks for the password itself."""
    values = {
        "REGION": region,
        "DB_HOST": source.host,
        "SECRET": source.secret,
        "PLACE": place.url,
        # S3 must know the order of it beforehand to take more than 50 GB in one go.
        "BYTES": str(source.gibibytes << 30),
    }
    text = _template().replace("@VALUES@", assignments(values))
    check(text)
    return text


@cache
def _template() -> str:
    return files(__package__).joinpath("dump.sh").read_text(encoding="utf-8")


def start(account: Account, site: Site, download: str, text: str, token: str) -> str:
    """Starts the machine; its id. EC2 knows the token of a request that is repeated."""
    network = site.network
    profile = network.dump_profile or network.instance_profile
    tags = [*act.tag_list(site), {"Key": DUMP_TAG, "Value": download}]
    more: Any = {"IamInstanceProfile": {"Name": profile}} if profile else {}
    made = account.ec2.run_instances(
        ImageId=network.image_id,
        InstanceType="t4g.small",
        MinCount=1,
        MaxCount=1,
        ClientToken=token,
        SubnetId=network.subnet_ids[0],
        SecurityGroupIds=[act.group_named(account, site, f"{site.org_key}-node")],
        UserData=text,
        InstanceInitiatedShutdownBehavior="terminate",
        MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
        TagSpecifications=[{"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume")],
        **more,
    )
    return made["Instances"][0]["InstanceId"]


def machines(account: Account, download: str) -> list[Mapping[str, Any]]:
    """The machines that were started for a download, those that EC2 still remembers included."""
    filters: Any = [{"Name": f"tag:{DUMP_TAG}", "Values": [download]}]
    pages = account.ec2.get_paginator("describe_instances").paginate(Filters=filters)
    return [machine for page in pages for one in page["Reservations"] for machine in one["Instances"]]


def is_at_work(machine: Mapping[str, Any]) -> bool:
    """Whether a dump may still come of it."""
    started: datetime = machine["LaunchTime"]
    return machine["State"]["Name"] in _RUNS and datetime.now(UTC) - started < LIMIT


def tidy(account: Account, place: Place, download: str, database: str) -> None:
    """Removes the machine, the database, and what is in the bucket of a dump that was not finished."""
    running = [machine["InstanceId"] for machine in machines(account, download) if machine["State"]["Name"] in _RUNS]
    if running:
        account.ec2.terminate_instances(InstanceIds=running)
    rds = account.rds
    try:
        (found,) = rds.describe_db_instances(DBInstanceIdentifier=database)["DBInstances"]
        if found["DeletionProtection"]:
            rds.modify_db_instance(DBInstanceIdentifier=database, DeletionProtection=False, ApplyImmediately=True)
        if found["DBInstanceStatus"] != "deleting":
            rds.delete_db_instance(DBInstanceIdentifier=database, SkipFinalSnapshot=True)
    except ClientError as error:
        if not is_missing(error):
            raise
    account.s3.delete_object(Bucket=place.bucket, Key=f"{place.key}.part")
