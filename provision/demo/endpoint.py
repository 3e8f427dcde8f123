"""What the AWS endpoint of the demo and the tests (moto) does not do as AWS does."""

import gzip
import re
from typing import Any


def mend_launch_templates() -> None:
    """moto keeps user data of later versions of a launch template as text, and then starts no machine from them."""
    from moto.core.types import Base64EncodedString
    from moto.ec2.models.launch_templates import LaunchTemplateVersion

    def user_data(version: LaunchTemplateVersion) -> Base64EncodedString | None:
        data = version.data.get("UserData")
        return Base64EncodedString(data) if isinstance(data, str) else data

    setattr(LaunchTemplateVersion, "user_data", property(user_data))  # noqa: B010 - it is a property there as well


def play_dumps() -> None:
    """moto's machines do nothing: here those that are to dump a database leave something and end."""
    from moto.ec2.models.instances import InstanceBackend
    from moto.s3.models import s3_backends

    start = InstanceBackend.run_instances

    def run_instances(self: Any, image_id: str, count: int, user_data: Any, *given: Any, **named: Any) -> Any:
        made = start(self, image_id, count, user_data, *given, **named)
        place = re.search(r"^PLACE=s3://([^/]+)/(\S+)$", user_data.decode() if user_data else "", re.MULTILINE)
        if place:
            bucket, key = place.groups()
            s3_backends[self.account_id]["aws"].put_object(bucket, key, gzip.compress(b"-- a dump\n"))
            for machine in made.instances:
                machine.terminate()
        return made

    setattr(InstanceBackend, "run_instances", run_instances)  # noqa: B010 - it is another's class
