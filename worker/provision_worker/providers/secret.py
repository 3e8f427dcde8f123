"""Secrets by reference. The database holds where a secret is, never the secret; only the worker looks it up.

============== ===================================================================
reference      the secret is
============== ===================================================================
`env:NAME`     the environment variable NAME of the worker
`file:/path`   the content of that file, without a line end
`aws-sm:id`    the string of that secret (name or ARN) in AWS Secrets Manager, with
               the worker's own credentials; its region is that of the ARN, if any
============== ===================================================================
"""

import os
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from provision import ProvisionError

from .aws import CONFIG


class SecretError(ProvisionError):
    """The reference leads to no secret; the text names the reference, never a value."""


def resolve(reference: str, endpoint_url: str | None = None) -> str:
    """The secret that `reference` names. `endpoint_url` is another AWS endpoint, for tests and the demo.

    Raises:
        SecretError: there is none, or it cannot be read.
    """
    kind, _, place = reference.partition(":")
    match kind:
        case "env":
            return _from_environment(place)
        case "file":
            return _from_file(Path(place))
        case "aws-sm":
            return _from_secrets_manager(place, endpoint_url)
    raise SecretError(f"the secret reference {reference!r} begins with none of env:, file:, aws-sm:")


def _from_environment(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise SecretError(f"the secret env:{name} is not set; set the variable {name} in the worker's environment")
    return value


def _from_file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SecretError(f"the secret file:{path} cannot be read: {error}") from error


def _from_secrets_manager(name: str, endpoint_url: str | None) -> str:
    # An ARN is arn:partition:secretsmanager:region:account:secret:name.
    region = name.split(":")[3] if name.startswith("arn:") and name.count(":") >= 6 else None
    try:
        client = boto3.Session(region_name=region).client("secretsmanager", endpoint_url=endpoint_url, config=CONFIG)
        value: str = client.get_secret_value(SecretId=name)["SecretString"]
    except (BotoCoreError, ClientError, KeyError) as error:
        raise SecretError(f"the secret aws-sm:{name} cannot be read: {error}") from error
    return value
