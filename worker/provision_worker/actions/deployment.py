"""Deployments: has the scheduler decide for a cluster, and runs what it has started until that was seen to have ended.

The scheduler is pure functions; here it is told what the database says of one moment, and its decision is committed by
one SQL function that takes it only if nothing has changed since. What a deployment is to do next is asked of its row at
every look, so that nothing depends on a message that may be lost: a start, a cancellation and the end of its time only
make the look come sooner.
"""

import math
import random
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from provision_worker.effects import Thing, fenced
from provision_worker.job import Outcome, again, cancelled, completed, failed, retry
from provision_worker.outcome import outcome_of
from provision_worker.providers import build, ecs, image
from provision_worker.scheduler import Decision, Policy, Running, State, Waiting, decide
from provision_worker.task import MisconfiguredError, Site, Task

# So often a decision may come too late before others have their turn.
TRIES = 20
# What waits again after it was preempted is woken when it starts; if that is missed, it looks by itself.
WAITING_SECONDS = 10.0
STOPPING_SECONDS = 2.0
PLACING_SECONDS = 10.0
STARTING_SECONDS = 5.0
RUNNING_SECONDS = 15.0
BUILDING_SECONDS = 10.0
# Told to ECS, which tells it as the reason why a task has stopped.
OVER = "provision: its time is over"


# Deciding -------------------------------------------------------------------------------------------------------------


def schedule(task: Task) -> Outcome:
    """Decides for the cluster of the job, and again when somebody's time to wait is over."""
    cluster = task.job.data["cluster"]
    for _ in range(TRIES):
        snapshot = _row(task, "snapshot", cluster=cluster)["snapshot"]
        if snapshot is None:
            return completed()
        decision = decide(state_of(snapshot), Policy(**snapshot["policy"]))
        # What starts is taken to have started when it was decided, so that what was promised on its end can be kept.
        if _commit(task, cluster, snapshot["generation"], document_of(decision) | {"now": snapshot["now"]}):
            seconds = _row(task, "next", job=task.job.job_id, cluster=cluster)["seconds"]
            return completed() if seconds is None else again(seconds)
    return again(0)


def _commit(task: Task, cluster: str, generation: int, decision: dict[str, Any]) -> bool:
    claim = {"job": task.job.job_id, "claim_no": task.job.claim_no}
    with fenced():
        applied = _row(task, "commit", **claim, cluster=cluster, generation=generation, decision=Jsonb(decision))
    return bool(applied["is_applied"])


def state_of(snapshot: Mapping[str, Any]) -> State:
    """What `deployment_snapshot()` says, as the scheduler takes it."""
    running = (Running(**entry | {"demand": tuple(entry["demand"])}) for entry in snapshot["running"])
    queue = (
        Waiting(**entry | {"demand": tuple(entry["demand"]), "promised": _seconds(entry["promised"])})
        for entry in snapshot["queue"]
    )
    return State(tuple(snapshot["capacity"]), tuple(running), tuple(queue), snapshot["now"])


def _seconds(value: float | str | None) -> float | None:
    return None if value is None else float(value)


def document_of(decision: Decision) -> dict[str, Any]:
    """A decision as `deployment_commit()` takes it."""
    return {
        "start": list(decision.start),
        "evict": list(decision.evict),
        "displaces": {str(name): list(victims) for name, victims in decision.displaces.items()},
        "expire": list(decision.expire),
        "reject": {str(name): why.text for name, why in decision.reject.items()},
        "reservations": {str(name): _text(at) for name, at in decision.reservations.items()},
        "waiting": {str(name): {"code": why.code, "text": why.text} for name, why in decision.waiting.items()},
    }


def _text(at: float) -> str:
    """JSON has no infinity."""
    return "inf" if math.isinf(at) else repr(float(at))


def sweep(task: Task) -> Outcome:
    """Has clusters decided about that nobody decides about."""
    return completed(_row(task, "sweep"))


# Clusters -------------------------------------------------------------------------------------------------------------


def create_cluster(task: Task) -> Outcome:
    """Makes an ECS cluster, and at Fargate the security group that its tasks are in."""
    data = task.job.data
    if data["launch_type"] == "simulated":
        return completed()
    group = _create_group(task, data) if data["launch_type"] == "fargate" else None
    name = f"provision-{data['cluster']}"
    account = task.site.account

    def make(token: UUID) -> Thing:
        providers = {"capacityProviders": ["FARGATE"]} if data["launch_type"] == "fargate" else {}
        tags = ecs.tags(token=str(token), org=data["org"], **_capacity(data))
        answer = account.ecs.create_cluster(clusterName=name, tags=tags, **providers)  # type: ignore[arg-type]
        return _cluster(answer["cluster"]["clusterArn"])

    def find(token: UUID) -> Thing | None:
        arn = ecs.find_cluster(account, name)
        return _cluster(arn) if arn else None

    made = task.effects.once("compute.create", {"name": name}, make=make, find=find, look_first=True)
    return completed(made | {"security_group": group})


def _cluster(arn: str) -> Thing:
    return Thing(arn, {"arn": arn, "roid": arn})


def find_cluster(site: Site, parameters: dict[str, Any], token: UUID) -> str | None:
    """The cluster that an effect was to make."""
    return ecs.find_cluster(site.account, parameters["name"])


def why_cluster_missing(site: Site, arn: str) -> str | None:
    """Why a cluster of the inventory is gone outside; None if it is not."""
    return None if ecs.find_cluster(site.account, arn) else "ECS does not have it"


def _create_group(task: Task, data: dict[str, Any]) -> str:
    """The security group of a cluster: no way in, every way out."""
    account, name = task.site.account, f"provision-{data['cluster']}"
    subnets = _network(task.site)["subnets"]
    vpc = account.ec2.describe_subnets(SubnetIds=subnets)["Subnets"][0]["VpcId"]

    def make(token: UUID) -> Thing:
        group = account.ec2.create_security_group(
            GroupName=name,
            Description="tasks of a cluster",
            VpcId=vpc,
            TagSpecifications=[{"ResourceType": "security-group", "Tags": [{"Key": ecs.TAG, "Value": str(token)}]}],
        )["GroupId"]
        return Thing(group, {"group": group})

    def find(token: UUID) -> Thing | None:
        group = find_group(task.site, {}, token)
        return Thing(group, {"group": group}) if group else None

    group: str = task.effects.once("group.create", {"name": name, "vpc": vpc}, make=make, find=find)["group"]
    return group


def find_group(site: Site, parameters: dict[str, Any], token: UUID) -> str | None:
    """The security group that an effect was to make."""
    tagged = [{"Name": f"tag:{ecs.TAG}", "Values": [str(token)]}]
    found = site.account.ec2.describe_security_groups(Filters=tagged)["SecurityGroups"]  # type: ignore[arg-type]
    return found[0]["GroupId"] if found else None


def _network(site: Site) -> dict[str, Any]:
    """Where tasks at Fargate are, as the accreditation's settings say."""
    settings = site.accreditation.settings
    if not settings.get("subnets"):
        name = site.accreditation.name
        raise MisconfiguredError(f"accreditation {name}: Fargate needs the setting subnets, a list of ids of one VPC")
    return {
        "subnets": settings["subnets"],
        "assignPublicIp": "ENABLED" if settings.get("assign_public_ip") else "DISABLED",
    }


def _capacity(data: dict[str, Any]) -> dict[str, str]:
    return {axis: str(data[axis]) for axis in ("cpu", "ram", "gpu")}


def update_cluster(task: Task) -> Outcome:
    """Notes a cluster's capacity in its tags; what ECS has is what its tasks ask for."""
    data = task.job.data
    if data["launch_type"] != "simulated":
        capacity = ecs.tags(**_capacity(data))
        task.site.account.ecs.tag_resource(resourceArn=data["arn"], tags=capacity)  # type: ignore[arg-type]
    return completed()


def delete_cluster(task: Task) -> Outcome:
    """Deletes a cluster and its security group."""
    data = task.job.data
    if data["launch_type"] == "simulated":
        return completed()
    account = task.site.account
    if ecs.find_cluster(account, data["arn"]):
        account.ecs.delete_cluster(cluster=data["arn"])
    if data["security_group"]:
        groups = [{"Name": "group-id", "Values": [data["security_group"]]}]
        if account.ec2.describe_security_groups(Filters=groups)["SecurityGroups"]:  # type: ignore[arg-type]
            account.ec2.delete_security_group(GroupId=data["security_group"])
    return completed()


# Running --------------------------------------------------------------------------------------------------------------


@outcome_of.register
def _(error: ecs.PlacementError) -> Outcome:
    return again(PLACING_SECONDS, message=str(error))


@outcome_of.register
def _(error: image.RegistryError) -> Outcome:
    return retry(str(error))


@outcome_of.register
def _(error: image.NoImageError) -> Outcome:
    return failed(str(error))


def run(task: Task) -> Outcome:
    """Looks at a deployment that was started: whether it has ended, and if not, when to look again."""
    look = _row(task, "look", id=task.job.data["deployment"])
    if look["is_over"]:
        return failed(look["reason"] or "it has ended")
    if look["state"] == "queued":
        is_given_up = look["stop_kind"] == "cancel"
        return _end(task, cancelled(look["reason"])) if is_given_up else again(WAITING_SECONDS, task.state)
    if look["launch_type"] == "simulated":
        return _simulate(look)
    try:
        return _run(task, look)
    except Exception as error:
        outcome = outcome_of(error)
        if outcome.kind != "failed":
            raise
        return _end(task, outcome)


def _simulate(look: dict[str, Any]) -> Outcome:
    if look["stop_kind"] == "cancel":
        return cancelled(look["reason"])
    return again(look["seconds_left"]) if look["seconds_left"] > 0 else completed({"exit_code": 0})


def _run(task: Task, look: dict[str, Any]) -> Outcome:
    """Has the task started, or looks at it; stops it if it is to end."""
    arn = look["task_arn"]
    if arn is None and look["stop_kind"]:
        arn = _begun(task, look)
        if arn is None:
            return _ended(task, look, None)
    if arn is None:
        pinned = look["image"] or _pin(task)
        if isinstance(pinned, Outcome):
            return pinned
        arn = _start(task, look, pinned)
        _tell(task, arn, pinned, is_running=False)
    found = ecs.look(task.site.account, look["cluster_arn"], arn)
    if found is None or found.has_stopped:
        if found is not None and look["state"] == "starting":
            _tell(task, arn, look["image"], is_running=True)
        return _ended(task, look, found)
    if found.has_run and look["state"] == "starting":
        _tell(task, arn, look["image"], is_running=True)
        look = _row(task, "look", id=task.job.data["deployment"])
    return _go_on(task, look, arn)


def _go_on(task: Task, look: dict[str, Any], arn: str) -> Outcome:
    """When to look again at a task that runs; it is stopped first if its time is over, or somebody wants it to end."""
    left = math.inf if look["seconds_left"] is None else look["seconds_left"]
    if look["stop_kind"] or left <= 0:
        reason = look["reason"] if look["stop_kind"] else OVER
        task.site.account.ecs.stop_task(cluster=look["cluster_arn"], task=arn, reason=reason[:255])
        return again(STOPPING_SECONDS, task.state, "is being stopped")
    seconds = STARTING_SECONDS if look["state"] == "starting" else RUNNING_SECONDS
    return again(min(random.uniform(0.5, 1) * seconds, left), task.state)


def _ended(task: Task, look: dict[str, Any], found: ecs.Task | None) -> Outcome:
    """What has come of a task that has stopped, or that ECS does not know any more."""
    if look["stop_kind"] == "preempt":
        claim = {"job": task.job.job_id, "claim_no": task.job.claim_no}
        with fenced():
            task.resources.execute("deployment", "vacated", **claim, id=task.job.data["deployment"])
        return again(0, task.state, "made room")
    if look["stop_kind"] == "cancel":
        return _end(task, cancelled(look["reason"]))
    if found is None:
        return _end(task, failed("ECS does not know its task any more"))
    if found.exit_code == 0 or found.stopped_reason == OVER:
        return _end(task, completed({"exit_code": found.exit_code, "reason": found.stopped_reason}))
    code = "no exit code" if found.exit_code is None else f"exit code {found.exit_code}"
    return _end(task, failed(f"its container ended with {code}: {found.stopped_reason or 'ECS gives no reason'}"))


def _end(task: Task, outcome: Outcome) -> Outcome:
    """Takes the task definition out of use; of what is not completed nothing is left that anybody had to look for."""
    steps = task.resources.rows("deployment", "begun", job=task.job.job_id)
    for step in steps:
        if step["step"] == "definition.register" and step["external_name"]:
            task.site.account.ecs.deregister_task_definition(taskDefinition=step["external_name"])
        if outcome.kind != "completed":
            task.effects.gone(step["step"])
    return outcome


def _begun(task: Task, look: dict[str, Any]) -> str | None:
    """The task of this start, if one was begun without its being noted."""
    step = f"task.run {look['starts']}"
    tokens = [
        row["token"] for row in task.resources.rows("deployment", "begun", job=task.job.job_id) if row["step"] == step
    ]
    return ecs.find_task(task.site.account, look["cluster_arn"], tokens[0]) if tokens else None


def _start(task: Task, look: dict[str, Any], pinned: str) -> str:
    """Registers the task definition and runs a task of it; its ARN."""
    account, data, settings = task.site.account, task.job.data, task.site.accreditation.settings
    family = f"provision-{data['deployment']}"

    def register(token: UUID) -> Thing:
        role = settings.get("execution_role_arn")
        spec = ecs.definition(data, pinned, family, look["launch_type"], role)
        tags = ecs.tags(token=str(token), org=data["org"])
        made = account.ecs.register_task_definition(**spec, tags=tags)  # type: ignore[arg-type]
        arn = made["taskDefinition"]["taskDefinitionArn"]
        return Thing(arn, {"arn": arn})

    def registered(token: UUID) -> Thing | None:
        arn = ecs.find_definition(account, family)
        return Thing(arn, {"arn": arn}) if arn else None

    known = {"family": family, "image": pinned}
    definition = task.effects.once("definition.register", known, make=register, find=registered)["arn"]
    network = _network(task.site) | {"securityGroups": [look["security_group"]]} if look["security_group"] else {}

    def start(token: UUID) -> Thing:
        cluster, kind = look["cluster_arn"], look["launch_type"]
        arn = ecs.run_task(account, cluster, definition, kind, token, data["org"], network)
        return Thing(arn, {"arn": arn})

    def started(token: UUID) -> Thing | None:
        arn = ecs.find_task(account, look["cluster_arn"], token)
        return Thing(arn, {"arn": arn}) if arn else None

    step, known = f"task.run {look['starts']}", {"cluster": look["cluster_arn"], "family": family}
    arn: str = task.effects.once(step, known, make=start, find=started)["arn"]
    return arn


def find_definition(site: Site, parameters: dict[str, Any], token: UUID) -> str | None:
    """The task definition that an effect was to register."""
    return ecs.find_definition(site.account, parameters["family"])


def find_task(site: Site, parameters: dict[str, Any], token: UUID) -> str | None:
    """The task that an effect was to start, if it still runs."""
    arn = ecs.find_task(site.account, parameters["cluster"], token)
    found = ecs.look(site.account, parameters["cluster"], arn) if arn else None
    return None if found is None or found.has_stopped else found.arn


def _tell(task: Task, arn: str, pinned: str | None, *, is_running: bool) -> None:
    claim = {"job": task.job.job_id, "claim_no": task.job.claim_no, "id": task.job.data["deployment"]}
    with fenced():
        task.resources.execute("deployment", "runs", **claim, task_arn=arn, image=pinned, is_running=is_running)


# Images ---------------------------------------------------------------------------------------------------------------


def _pin(task: Task) -> str | Outcome:
    """The image of a deployment, pinned to a digest; an outcome if it is being built, or cannot be had."""
    path = task.job.data["docker_path"]
    if path.startswith("https://"):
        return _build(task, path)
    reference = image.parse(path)
    if reference.digest:
        return reference.at(reference.digest)
    if image.ECR.fullmatch(reference.registry):
        owner = reference.registry.partition(".")[0]
        digest = build.find_digest(task.site.account, reference.repository, reference.tag, owner)
        if digest is None:
            raise image.NoImageError(f"ECR has no image {path}")
        return reference.at(digest)
    return reference.at(image.digest(reference, may_be_private=_may_be_private(task)))


def _may_be_private(task: Task) -> bool:
    return bool(task.site.accreditation.settings.get("private_addresses"))


def _build(task: Task, url: str) -> str | Outcome:
    """The image that a Dockerfile becomes: built once per content, whoever asks for it."""
    account, name = task.site.account, f"provision/{task.job.data['org']}"
    repository = _repository(task, name)
    if "build" not in task.state:
        dockerfile = image.fetch(url, build.DOCKERFILE_LIMIT, may_be_private=_may_be_private(task))
        tag = build.tag_of(dockerfile)
        digest = build.find_digest(account, name, tag)
        if digest:
            return f"{repository}@{digest}"
        started = _start_build(task, dockerfile, f"{repository}:{tag}")
        return again(BUILDING_SECONDS, {"build": started, "tag": tag}, "its image is being built")
    how = build.status(account, task.state["build"])
    if how == "IN_PROGRESS":
        return again(BUILDING_SECONDS, task.state, "its image is being built")
    digest = build.find_digest(account, name, task.state["tag"])
    if how != "SUCCEEDED" or digest is None:
        raise image.NoImageError(f"the build of {url} ended as {how}; its log is in CodeBuild, {task.state['build']}")
    return f"{repository}@{digest}"


def _repository(task: Task, name: str) -> str:
    """The URI of the org's repository, which is made when it is first needed."""
    account = task.site.account

    def make(token: UUID) -> Thing:
        uri = account.ecr.create_repository(repositoryName=name)["repository"]["repositoryUri"]
        return Thing(uri, {"uri": uri})

    def find(token: UUID) -> Thing | None:
        uri = build.find_repository(account, name)
        return Thing(uri, {"uri": uri}) if uri else None

    uri: str = task.effects.once("repository.create", {"name": name}, make=make, find=find, look_first=True)["uri"]
    return uri


def find_repository(site: Site, parameters: dict[str, Any], token: UUID) -> str | None:
    """Repositories and the project that builds stay for the next one: nobody need look for them."""
    return None


def _start_build(task: Task, dockerfile: bytes, target: str) -> str:
    """Starts a build of the accreditation's project; its id."""
    account, accreditation = task.site.account, task.site.accreditation
    role = accreditation.settings.get("build_role_arn")
    if not role:
        raise MisconfiguredError(
            f"accreditation {accreditation.name}: to build images needs the setting build_role_arn"
        )

    def project(token: UUID) -> Thing | None:
        arn = build.find_project(account)
        return Thing(arn) if arn else None

    def make_project(token: UUID) -> Thing:
        return Thing(build.create_project(account, role))

    task.effects.once("project.create", {"role": role}, make=make_project, find=project, look_first=True)

    def begin(token: UUID) -> Thing:
        id = build.start(account, token, dockerfile, target)
        return Thing(id, {"id": id})

    def begun(token: UUID) -> Thing | None:
        id = build.find(account, token)
        return Thing(id, {"id": id}) if id else None

    id: str = task.effects.once("image.build", {"image": target}, make=begin, find=begun)["id"]
    return id


def stop(task: Task) -> Outcome:
    """Waits until a cancelled deployment has ended; its own job sees to that."""
    look = _row(task, "look", id=task.job.data["deployment"])
    return completed() if look["is_over"] else again(STOPPING_SECONDS, message="waits until it was seen to have ended")


def _row(task: Task, query: str, **parameters: Any) -> dict[str, Any]:
    row = task.resources.row("deployment", query, **parameters)
    assert row is not None
    return row
