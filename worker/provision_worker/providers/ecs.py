"""Containers at Amazon ECS: clusters, task definitions and tasks, each found again by its name or our tag.

One task definition per deployment, one task per start. RunTask takes our token; `startedBy` carries it as well, by
which ListTasks finds running and, for about an hour, stopped tasks.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from .aws import Account

if TYPE_CHECKING:
    from types_boto3_ecs.type_defs import TaskTypeDef

TAG = "provision:token"
CONTAINER = "main"
NO_INSTANCE = "No Container Instances were found in your cluster"
# vCPU and the GiB from least to most that Fargate gives with them (Amazon ECS Developer Guide, "Task size").
FARGATE = ((0.25, 0.5, 2), (1, 2, 8), (2, 4, 16), (4, 8, 30), (8, 16, 60), (16, 32, 120))
STEPS = {0.25: 0.5, 8: 4, 16: 8}
"""GiB between two sizes of memory, where it is more than one."""


class PlacementError(Exception):
    """ECS has no room for the task now."""


@dataclass(frozen=True, slots=True)
class Task:
    """A task as ECS tells of it."""

    arn: str
    status: str
    exit_code: int | None
    stopped_reason: str

    @property
    def has_stopped(self) -> bool:
        return self.status == "STOPPED"

    @property
    def has_run(self) -> bool:
        """Whether its container was started, be it stopped by now."""
        return self.status not in ("PROVISIONING", "PENDING", "ACTIVATING")


def fargate_size(cpu: int, ram: int) -> tuple[int, int]:
    """CPU units and MiB of the smallest Fargate task that has so many vCPU and GiB.

    Raises:
        ValueError: there is none.
    """
    for vcpu, least, most in FARGATE:
        if cpu <= vcpu and ram <= most:
            step = STEPS.get(vcpu, 1)
            memory = least if ram <= least else least + -((least - ram) // step) * step
            return int(vcpu * 1024), int(memory * 1024)
    raise ValueError(f"Fargate has no task of {cpu} vCPU and {ram} GiB")


def tags(**values: str) -> list[dict[str, str]]:
    """Tags as ECS takes them, each under our prefix."""
    return [{"key": f"provision:{name}", "value": value} for name, value in values.items()]


def find_cluster(account: Account, name: str) -> str | None:
    """The ARN of an active cluster, by name or ARN."""
    found = account.ecs.describe_clusters(clusters=[name])["clusters"]
    return next((cluster["clusterArn"] for cluster in found if cluster["status"] == "ACTIVE"), None)


def find_definition(account: Account, family: str) -> str | None:
    """The newest task definition of a family that is active."""
    found = account.ecs.list_task_definitions(familyPrefix=family, sort="DESC", maxResults=1)["taskDefinitionArns"]
    return next((arn for arn in found if arn.rpartition("/")[2].partition(":")[0] == family), None)


def definition(data: Mapping[str, Any], image: str, family: str, launch_type: str, role: str | None) -> dict[str, Any]:
    """A task definition for RegisterTaskDefinition: `data` has the deployment's cpu, ram and gpu."""
    cpu, memory = data["cpu"] * 1024, max(data["ram"] * 1024, 128)
    whole: dict[str, Any] = {"requiresCompatibilities": ["EC2"]}
    if launch_type == "fargate":
        cpu, memory = fargate_size(data["cpu"], data["ram"])
        whole = {
            "requiresCompatibilities": ["FARGATE"],
            "networkMode": "awsvpc",
            "cpu": f"{cpu}",
            "memory": f"{memory}",
        }
    container: dict[str, Any] = {"name": CONTAINER, "image": image, "essential": True, "cpu": cpu, "memory": memory}
    if data["gpu"]:
        container["resourceRequirements"] = [{"type": "GPU", "value": str(data["gpu"])}]
    if role:
        whole["executionRoleArn"] = role
    return {"family": family, "containerDefinitions": [container], **whole}


def run_task(
    account: Account, cluster: str, definition: str, launch_type: str, token: UUID, org: str, network: dict[str, Any]
) -> str:
    """Starts a task and returns its ARN.

    Raises:
        PlacementError: there is no room for it now.
    """
    options: dict[str, Any] = {"networkConfiguration": {"awsvpcConfiguration": network}} if network else {}
    try:
        answer = account.ecs.run_task(
            cluster=cluster,
            taskDefinition=definition,
            launchType="FARGATE" if launch_type == "fargate" else "EC2",
            count=1,
            clientToken=str(token),
            startedBy=str(token),
            tags=tags(token=str(token), org=org),  # type: ignore[arg-type]
            **options,
        )
    except account.ecs.exceptions.InvalidParameterException as error:
        # A cluster without any instance has no room as one has whose instances are full, but ECS says it otherwise.
        if NO_INSTANCE in str(error):
            raise PlacementError(f"ECS cannot place the task: {NO_INSTANCE}") from None
        raise
    if not answer["tasks"]:
        reasons = ", ".join(failure.get("reason", "no reason given") for failure in answer["failures"])
        raise PlacementError(f"ECS cannot place the task: {reasons}")
    return answer["tasks"][0]["taskArn"]


def find_task(account: Account, cluster: str, token: UUID) -> str | None:
    """The task that a token started, by its tag; None: there is none, or it ended an hour ago."""
    return next((task["taskArn"] for task in _started_by(account, cluster, token)), None)


def _started_by(account: Account, cluster: str, token: UUID) -> "Iterator[TaskTypeDef]":
    tag = {"key": TAG, "value": str(token)}
    statuses: tuple[Literal["RUNNING"], Literal["STOPPED"]] = ("RUNNING", "STOPPED")
    for status in statuses:
        arns = account.ecs.list_tasks(cluster=cluster, startedBy=str(token), desiredStatus=status)["taskArns"]
        if arns:
            tasks = account.ecs.describe_tasks(cluster=cluster, tasks=arns, include=["TAGS"])["tasks"]
            yield from (task for task in tasks if tag in task.get("tags", []))


def look(account: Account, cluster: str, arn: str) -> Task | None:
    """A task as it is now; None: ECS does not know it any more."""
    found = account.ecs.describe_tasks(cluster=cluster, tasks=[arn])["tasks"]
    if not found:
        return None
    task = found[0]
    containers = task.get("containers") or [{}]
    return Task(arn, task["lastStatus"], containers[0].get("exitCode"), task.get("stoppedReason", ""))
