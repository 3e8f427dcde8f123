"""What the AWS endpoint of the demo and the tests (moto) does not do as AWS does."""


def mend_launch_templates() -> None:
    """moto keeps user data of later versions of a launch template as text, and then starts no machine from them."""
    from moto.core.types import Base64EncodedString
    from moto.ec2.models.launch_templates import LaunchTemplateVersion

    def user_data(version: LaunchTemplateVersion) -> Base64EncodedString | None:
        data = version.data.get("UserData")
        return Base64EncodedString(data) if isinstance(data, str) else data

    setattr(LaunchTemplateVersion, "user_data", property(user_data))  # noqa: B010 - it is a property there as well
