"""Images built from Dockerfiles: CodeBuild builds, ECR keeps them, under a tag that is the hash of the Dockerfile."""

import base64
import hashlib
from uuid import UUID

from .aws import Account

PROJECT = "provision-build"
TOKEN = "PROVISION_TOKEN"
DOCKERFILE_LIMIT = 16 * 1024
"""As much as the variables of a build can hold."""
IMAGE = "aws/codebuild/standard:7.0"
BUILDSPEC = """\
version: 0.2
phases:
  pre_build:
    commands:
      - aws ecr get-login-password | docker login --username AWS --password-stdin "${IMAGE%%/*}"
      - echo "$DOCKERFILE" | base64 -d > Dockerfile
  build:
    commands:
      - docker build -t "$IMAGE" .
      - docker push "$IMAGE"
"""


def tag_of(dockerfile: bytes) -> str:
    """The tag of the image that a Dockerfile becomes."""
    return hashlib.sha256(dockerfile).hexdigest()[:40]


def find_repository(account: Account, name: str) -> str | None:
    """The URI of an ECR repository."""
    try:
        return account.ecr.describe_repositories(repositoryNames=[name])["repositories"][0]["repositoryUri"]
    except account.ecr.exceptions.RepositoryNotFoundException:
        return None


def find_digest(account: Account, repository: str, tag: str, registry: str | None = None) -> str | None:
    """The digest of an image in ECR; `registry` is the account it is in, if that is another's."""
    options = {"registryId": registry} if registry else {}
    answer = account.ecr.batch_get_image(repositoryName=repository, imageIds=[{"imageTag": tag}], **options)
    return next((image["imageId"]["imageDigest"] for image in answer["images"]), None)


def find_project(account: Account) -> str | None:
    """The ARN of the project that builds."""
    found = account.codebuild.batch_get_projects(names=[PROJECT])["projects"]
    return found[0]["arn"] if found else None


def create_project(account: Account, role: str) -> str:
    """Makes the project that builds, acting as a role that may push to ECR and write logs."""
    answer = account.codebuild.create_project(
        name=PROJECT,
        source={"type": "NO_SOURCE", "buildspec": BUILDSPEC},
        artifacts={"type": "NO_ARTIFACTS"},
        environment={
            "type": "LINUX_CONTAINER",
            "image": IMAGE,
            "computeType": "BUILD_GENERAL1_SMALL",
            "privilegedMode": True,
        },
        serviceRole=role,
    )
    return answer["project"]["arn"]


def start(account: Account, token: UUID, dockerfile: bytes, image: str) -> str:
    """Starts a build and returns its id."""
    values = {TOKEN: str(token), "IMAGE": image, "DOCKERFILE": base64.b64encode(dockerfile).decode()}
    answer = account.codebuild.start_build(
        projectName=PROJECT,
        idempotencyToken=str(token),
        environmentVariablesOverride=[{"name": name, "value": value} for name, value in values.items()],
    )
    return answer["build"]["id"]


def find(account: Account, token: UUID) -> str | None:
    """The build that a token started, among the last hundred."""
    ids = account.codebuild.list_builds_for_project(projectName=PROJECT, sortOrder="DESCENDING")["ids"]
    builds = account.codebuild.batch_get_builds(ids=ids[:100])["builds"] if ids else []
    for build in builds:
        variables = build.get("environment", {}).get("environmentVariables", [])
        if any((each["name"], each["value"]) == (TOKEN, str(token)) for each in variables):
            return build["id"]
    return None


def status(account: Account, build: str) -> str:
    """IN_PROGRESS, SUCCEEDED, FAILED, FAULT, TIMED_OUT or STOPPED."""
    found = account.codebuild.batch_get_builds(ids=[build])["builds"]
    return found[0].get("buildStatus", "IN_PROGRESS") if found else "STOPPED"
