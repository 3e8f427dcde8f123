"""Deployments at AWS: clusters and tasks at ECS, images pinned to digests, Dockerfiles built once."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, LiteralString
from uuid import UUID

import psycopg
import pytest
import trustme
from botocore.stub import Stubber
from moto.moto_api import state_manager
from provision_worker.actions import default_actions
from provision_worker.actions import deployment as actions
from provision_worker.providers import build, ecs, image
from provision_worker.providers.aws import Account
from psycopg.types.json import Jsonb

from . import deployment_fixtures
from .deployment_fixtures import Site
from .test_deployment import SUM
from .worker_fixtures import Process, Relay, aws_endpoint, empty_aws, eventually, hurry

home = deployment_fixtures.home
site = deployment_fixtures.site

DIGEST = "sha256:" + "a" * 64
PINNED = f"nginx@{DIGEST}"


@dataclass
class Cloud:
    """An AWS account that the organization's tenant is accredited at."""

    site: Site
    url: str
    account: Account
    subnet: str = field(init=False)

    def __post_init__(self) -> None:
        self.subnet = self.account.ec2.describe_subnets()["Subnets"][0]["SubnetId"]
        settings = {
            "subnets": [self.subnet],
            "build_role_arn": "arn:aws:iam::123456789012:role/b",
            "private_addresses": True,
        }
        self.site.engine.owner.execute(
            "INSERT INTO accreditation (tenant_id, provider, name, region, settings)"
            " SELECT id, 'aws', %s, 'us-east-1', %s FROM tenant",
            [self.site.slug, Jsonb(settings)],
        )

    @property
    def accreditation(self) -> UUID:
        """Its id."""
        id: UUID = self.site.engine.value("SELECT id FROM accreditation WHERE name = %s", self.site.slug)
        return id

    def reached_at(self, url: str) -> None:
        """Workers reach it by way of another address from now on."""
        self.site.engine.owner.execute(
            "UPDATE accreditation SET endpoint = %s WHERE id = %s", [url, self.accreditation]
        )

    def close(self) -> None:
        """Nobody asks it any more, whatever still runs there."""
        self.site.engine.value("SELECT accreditation_hold(%s, 'the test is over')", self.accreditation)
        self.site.engine.owner.execute("UPDATE accreditation SET is_active = false WHERE id = %s", [self.accreditation])

    @contextmanager
    def working(self) -> Iterator[None]:
        """A worker is there."""
        with self.site.working(aws_endpoint_url=self.url):
            yield

    def cluster(self, name: str = "c", size: tuple[int, int, int] = (10, 10, 0), **more: Any) -> int:
        """A new cluster, once it is there."""
        number = self.site.admin.cluster(name, size, **more)
        query: LiteralString = "SELECT state = 'active' FROM v_compute_cluster WHERE number = %s"
        eventually(lambda: self.site.engine.value(query, number), "the cluster", 30)
        return number

    def clusters(self) -> list[str]:
        """ARNs of active clusters."""
        client = self.account.ecs
        found = client.describe_clusters(clusters=client.list_clusters()["clusterArns"])["clusters"]
        return [one["clusterArn"] for one in found if one["status"] == "ACTIVE"]

    def tasks(self, status: Any = "RUNNING") -> list[str]:
        """ARNs of tasks, over all clusters."""
        found = []
        for cluster in self.account.ecs.list_clusters()["clusterArns"]:
            found += self.account.ecs.list_tasks(cluster=cluster, desiredStatus=status)["taskArns"]
        return found


@pytest.fixture(scope="module")
def endpoint() -> Iterator[tuple[str, Account]]:
    """AWS for the module: what it has is gone after each test."""
    with aws_endpoint() as url:
        yield url, Account(endpoint_url=url)


@pytest.fixture
def cloud(site: Site, endpoint: tuple[str, Account], monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """Tasks there run until they are stopped, and are looked at often."""
    for name in ("STARTING_SECONDS", "RUNNING_SECONDS", "STOPPING_SECONDS", "PLACING_SECONDS", "BUILDING_SECONDS"):
        monkeypatch.setattr(actions, name, 0.1)
    state_manager.set_transition("ecs::task", {"progression": "manual", "times": 10**6})
    cloud = Cloud(site, *endpoint)
    yield cloud
    cloud.close()
    empty_aws()
    state_manager.unset_transition("ecs::task")


def ends_after(looks: int) -> None:
    """Tasks go a step further, from RUNNING to STOPPED in four, with so many looks."""
    state_manager.set_transition("ecs::task", {"progression": "manual", "times": looks})


def test_a_deployment_is_a_task_until_it_has_ended(cloud: Cloud) -> None:
    admin, ecs_client = cloud.site.admin, cloud.account.ecs
    with cloud.working():
        cloud.cluster(size=(10, 10, 0))
        (cluster,) = ecs_client.describe_clusters(clusters=ecs_client.list_clusters()["clusterArns"], include=["TAGS"])[
            "clusters"
        ]
        assert {"key": "provision:org", "value": cloud.site.slug} in cluster["tags"]
        made = admin.deploy("a", (3, 10, 0), docker_path=PINNED)
        assert made["status"] in ("starting", "running")
        cloud.site.until(admin, "a", "running")
        (arn,) = cloud.tasks()
        (task,) = ecs_client.describe_tasks(cluster=cluster["clusterArn"], tasks=[arn], include=["TAGS"])["tasks"]
        definition = ecs_client.describe_task_definition(taskDefinition=task["taskDefinitionArn"])["taskDefinition"]
        container = definition["containerDefinitions"][0]
        assert (container["image"], container["cpu"], container["memory"]) == (PINNED, 4096, 10240)
        assert {tag["key"] for tag in task["tags"]} == {"provision:token", "provision:org"}
        assert admin.seen(made["id"])["image"] == PINNED
        assert admin.allocated() == (3, 10, 0)
        ends_after(1)
        site_end = cloud.site.until(admin, "a", "done")
        assert site_end["reason"] is None
        assert admin.allocated() == (0, 0, 0)
    assert ecs_client.list_task_definitions()["taskDefinitionArns"] == []
    assert cloud.site.attention() == []


def test_an_end_is_observed_and_not_only_signalled(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancelled task holds its share until ECS says that it has stopped."""
    admin = cloud.site.admin
    real, stopping = ecs.look, threading.Event()

    def slow(account: Account, cluster: str, arn: str) -> ecs.Task | None:
        found = real(account, cluster, arn)
        if found and found.has_stopped and not stopping.is_set():
            return ecs.Task(arn, "DEACTIVATING", None, "")
        return found

    monkeypatch.setattr(ecs, "look", slow)
    with cloud.working():
        cloud.cluster(size=(10, 10, 0))
        made = admin.deploy("a", (10, 10, 0), docker_path=PINNED)
        admin.deploy("b", (10, 10, 0), docker_path=PINNED)
        cloud.site.until(admin, "a", "running")
        assert admin.done("/cancel_deployment", deployment_id=made["id"])["message"] == "Deployment is being stopped"
        eventually(lambda: cloud.tasks("STOPPED"))
        assert admin.states() == {"a": "running", "b": "queued"}
        assert admin.allocated() == (10, 10, 0)
        stopping.set()
        cloud.site.until(admin, "a", "cancelled")
        cloud.site.until(admin, "b", "running")
    assert cloud.site.attention() == []


def test_a_task_whose_time_is_over_is_stopped_and_done(cloud: Cloud) -> None:
    admin = cloud.site.admin
    with cloud.working():
        cloud.cluster(size=(10, 10, 0))
        admin.deploy("a", (1, 2, 0), docker_path=PINNED, ttl_seconds=100)
        cloud.site.until(admin, "a", "running")
        cloud.site.pass_time(101)
        cloud.site.until(admin, "a", "done")
    assert len(cloud.tasks("STOPPED")) == 1


def test_a_container_that_fails_is_told_with_its_exit_code(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    admin = cloud.site.admin
    real = ecs.look

    def failing(account: Account, cluster: str, arn: str) -> ecs.Task | None:
        found = real(account, cluster, arn)
        return found and ecs.Task(arn, "STOPPED", 3, "Essential container in task exited")

    monkeypatch.setattr(ecs, "look", failing)
    with cloud.working():
        cloud.cluster(size=(10, 10, 0))
        admin.deploy("a", docker_path=PINNED, demand=(1, 2, 0))
        ended = cloud.site.until(admin, "a", "failed")
    assert ended["reason"] == "its container ended with exit code 3: Essential container in task exited"
    assert cloud.site.attention() == []


def test_a_task_that_a_dead_worker_has_started_is_found_by_its_tag(cloud: Cloud) -> None:
    admin, engine = cloud.site.admin, cloud.site.engine
    with cloud.working():
        cloud.cluster(size=(10, 10, 0))
    made = admin.deploy("a", (1, 2, 0), docker_path=PINNED)
    only = {"deployment_schedule": default_actions()["deployment_schedule"]}
    with engine.worker(only):
        cloud.site.until(admin, "a", "starting")
    worker = engine.value("SELECT worker_register('dead', 'host', 1, '0', '{}')")
    job = engine.row("SELECT * FROM job_claim(%s, '{provision_deployment_run}', 1)", worker)
    begin = "SELECT token FROM effect_begin(%s, %s, %s, %s)"
    cluster = engine.value("SELECT arn FROM compute_cluster WHERE org_id = %s", cloud.site.org)
    family = f"provision-{job['data']['deployment']}"
    known = {"cluster": cluster, "family": family}
    token = engine.value(begin, job["job_id"], job["claim_no"], "task.run 1", Jsonb(known))
    spec = ecs.definition(job["data"], PINNED, family, "fargate", None)
    definition = cloud.account.ecs.register_task_definition(**spec)["taskDefinition"]["taskDefinitionArn"]
    network = {"subnets": [cloud.subnet], "securityGroups": ["sg-1"]}
    arn = ecs.run_task(cloud.account, cluster, definition, "fargate", token, cloud.site.slug, network)
    engine.value("SELECT worker_deregister(%s)", worker)
    with cloud.working():
        cloud.site.until(admin, "a", "running")
        assert cloud.tasks() == [arn]
        admin.done("/cancel_deployment", deployment_id=made["id"])
        cloud.site.until(admin, "a", "cancelled")
    assert cloud.tasks() == []


class Watch:
    """Looks at the sums of a database all the time, and notes where they are not right."""

    def __init__(self, url: str) -> None:
        self._url, self._over, self.wrong = url, threading.Event(), 0
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            while not self._over.wait(0.01):
                # Neither right nor wrong while there is no cluster.
                self.wrong += connection.execute(SUM).fetchone() == (False,)


@pytest.mark.slow
@pytest.mark.parametrize("when", ["it asks for a task", "tasks run"])
def test_a_worker_killed_while_tasks_run_leaks_no_share_and_starts_nothing_twice(cloud: Cloud, when: str) -> None:
    """Killed as by a power cut; another finds its tasks by their tags, sees their end, and the queue moves on."""
    admin, engine = cloud.site.admin, cloud.site.engine
    engine.owner.execute("UPDATE setting SET value = '1' WHERE name = 'lease_seconds'")
    host, port = cloud.url.removeprefix("http://").split(":")
    with Watch(engine.database.url) as watch, Relay(host, int(port)) as relay:
        cloud.reached_at(f"http://127.0.0.1:{relay.port}")
        with Process(engine) as victim:
            cloud.cluster(size=(10, 10, 0))
            if when == "it asks for a task":
                relay.hold_answers(b"AmazonEC2ContainerServiceV20141113.RunTask")
            admin.deploy("a", (5, 5, 0), docker_path=PINNED)
            admin.deploy("b", (5, 5, 0), docker_path=PINNED)
            admin.deploy("next", (10, 10, 0), docker_path=PINNED)
            eventually(lambda: len(cloud.tasks()) == 2, "two tasks", 30)
            if when == "tasks run":
                eventually(lambda: list(admin.states().values()).count("running") == 2, "both run", 30)
            victim.kill()
        relay.pass_everything()
        started = set(cloud.tasks())
        with Process(engine):
            hurry(engine, lambda: list(admin.states().values()).count("running") == 2, 0.1)
            assert set(cloud.tasks()) == started
            assert (admin.allocated(), admin.states()["next"]) == ((10, 10, 0), "queued")
            for arn in started:
                cloud.account.ecs.stop_task(cluster=cloud.clusters()[0], task=arn, reason="the machine is gone")
            hurry(engine, lambda: admin.states()["next"] == "running", 0.1)
            assert admin.allocated() == (10, 10, 0)
            assert len(cloud.tasks()) == 1
        steps = [step["to_status"] for name in "ab" for step in admin.seen(admin.deployments()[name]["id"])["history"]]
    assert (steps.count("running"), steps.count("done"), watch.wrong) == (2, 2, 0)
    engine.owner.execute("UPDATE setting SET value = '30' WHERE name = 'lease_seconds'")


def test_what_runs_on_instances_of_ones_own_waits_until_there_are_some(cloud: Cloud) -> None:
    """Launch type ec2: no room at ECS is no end; the deployment keeps its share and is tried again."""
    admin, account = cloud.site.admin, cloud.account
    with cloud.working():
        cloud.cluster(size=(8, 16, 2), launch_type="ec2")
        (cluster,) = cloud.clusters()
        full = Instance(cloud, cluster)
        full.drain()
        admin.deploy("a", (2, 4, 0), docker_path=PINNED, ttl_seconds=60)
        job = "SELECT result_message FROM provision_deployment WHERE name = 'a' AND org_id = %s"
        eventually(lambda: cloud.site.engine.value(job, cloud.site.org), "a reason")
        assert "ECS cannot place the task" in cloud.site.engine.value(job, cloud.site.org)
        assert (admin.states(), admin.allocated()) == ({"a": "starting"}, (2, 4, 0))
        other = admin.deploy("b", (2, 4, 0), docker_path=PINNED)["id"]
        admin.done("/cancel_deployment", deployment_id=other)
        cloud.site.until(admin, "b", "cancelled")
        assert admin.allocated() == (2, 4, 0)
        own = Instance(cloud, cluster)
        cloud.site.until(admin, "a", "running")
        (arn,) = cloud.tasks()
        (task,) = account.ecs.describe_tasks(cluster=cluster, tasks=[arn])["tasks"]
        assert (task["launchType"], task["containerInstanceArn"]) == ("EC2", own.arn)
        definition = account.ecs.describe_task_definition(taskDefinition=task["taskDefinitionArn"])["taskDefinition"]
        container = definition["containerDefinitions"][0]
        assert (definition["requiresCompatibilities"], container["cpu"], container["memory"]) == (["EC2"], 2048, 4096)
        cloud.site.pass_time(61)
        cloud.site.until(admin, "a", "done")
        assert admin.allocated() == (0, 0, 0)


def test_a_cluster_without_any_instance_has_no_room_yet() -> None:
    account = Account()
    where, network = "arn:aws:ecs:us-east-1:123456789012:cluster/c", dict[str, Any]()
    for said, error in (
        ("No Container Instances were found in your cluster.", ecs.PlacementError),
        ("Unsupported network mode", account.ecs.exceptions.InvalidParameterException),
    ):
        with Stubber(account.ecs) as stub:
            stub.add_client_error("run_task", "InvalidParameterException", said)
            with pytest.raises(error, match=said.rstrip(".")):
                ecs.run_task(account, where, "f:1", "ec2", UUID(int=1), "acme", network)


def test_devices_are_asked_of_ecs_as_such() -> None:
    spec = ecs.definition({"cpu": 0, "ram": 0, "gpu": 2}, PINNED, "f", "ec2", None)
    (container,) = spec["containerDefinitions"]
    assert container["resourceRequirements"] == [{"type": "GPU", "value": "2"}]
    assert (spec["requiresCompatibilities"], container["memory"]) == (["EC2"], 128)
    assert "cpu" not in spec


class Instance:
    """A machine of the account that is registered with an ECS cluster."""

    def __init__(self, cloud: Cloud, cluster: str) -> None:
        self._ecs, self._cluster = cloud.account.ecs, cluster
        made = cloud.account.ec2.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1)["Instances"][0]
        document = json.dumps({"instanceId": made["InstanceId"]})
        answer = self._ecs.register_container_instance(cluster=cluster, instanceIdentityDocument=document)
        self.arn = answer["containerInstance"]["containerInstanceArn"]

    def drain(self) -> None:
        """Take no more tasks."""
        self._ecs.update_container_instances_state(
            cluster=self._cluster, containerInstances=[self.arn], status="DRAINING"
        )


def test_who_is_displaced_at_ecs_makes_room_when_it_has_stopped(cloud: Cloud) -> None:
    admin = cloud.site.admin
    with cloud.working():
        cloud.cluster(size=(4, 8, 0), preemption=True)
        admin.deploy("low", (4, 8, 0), docker_path=PINNED)
        cloud.site.until(admin, "low", "running")
        admin.deploy("high", (4, 8, 0), docker_path=PINNED, priority="HIGH", ttl_seconds=60)
        cloud.site.until(admin, "high", "running")
        assert admin.states()["low"] == "queued"
        assert len(cloud.tasks()) == 1
        cloud.site.pass_time(61)
        cloud.site.until(admin, "high", "done")
        cloud.site.until(admin, "low", "running")
        assert len(cloud.tasks()) == 1
    assert [step["to_status"] for step in admin.seen(admin.deployments()["low"]["id"])["history"]][2:] == [
        "running",
        "preempted",
        "queued",
        "starting",
        "running",
    ]


def test_a_cluster_goes_with_its_security_group_and_its_loss_is_noticed(cloud: Cloud) -> None:
    admin, engine = cloud.site.admin, cloud.site.engine
    with cloud.working():
        cloud.cluster("kept", size=(4, 8, 0))
        gone = cloud.cluster("gone", size=(4, 8, 0))
        groups = [
            group["GroupId"]
            for group in cloud.account.ec2.describe_security_groups()["SecurityGroups"]
            if group["GroupName"].startswith("provision-")
        ]
        assert len(groups) == 2
        admin.done("/update_cluster", cluster_id=gone, total_cpu=8)
        eventually(lambda: engine.value("SELECT total_cpu = 8 FROM v_compute_cluster WHERE number = %s", gone))
        admin.done("/delete_cluster", cluster_id=gone)
        eventually(lambda: len(admin.call("GET", "/clusters").json()) == 1)
        (arn,) = cloud.clusters()
        cloud.account.ecs.delete_cluster(cluster=arn)
        engine.ended(engine.submit(type="reconcile", accreditation=cloud.accreditation))
    assert cloud.site.attention() == ["kept: ECS does not have it"]


def test_what_fargate_cannot_give_is_refused(cloud: Cloud) -> None:
    admin = cloud.site.admin
    gpu = admin.post("/create_cluster", name="g", total_cpu=1, total_ram=1, total_gpu=1, launch_type="fargate")
    assert (gpu.status_code, gpu.json()["errors"][0]["field"]) == (400, "total_gpu")
    with cloud.working():
        cloud.cluster(size=(100, 500, 0))
    assert admin.try_deploy("a", (17, 1, 0), docker_path=PINNED).json()["errors"][0]["field"] == "cpu"
    assert admin.try_deploy("a", (1, 121, 0), docker_path=PINNED).json()["errors"][0]["field"] == "ram"


@pytest.mark.parametrize(
    ("demand", "size"),
    [
        ((0, 1), (256, 1024)),
        ((1, 1), (1024, 2048)),
        ((3, 20), (4096, 20480)),
        ((0, 4), (1024, 4096)),
        ((1, 121), None),
        ((8, 17), (8192, 20480)),
        ((16, 33), (16384, 40960)),
    ],
)
def test_tasks_at_fargate_have_the_smallest_size_that_will_do(
    demand: tuple[int, int], size: tuple[int, int] | None
) -> None:
    if size is None:
        with pytest.raises(ValueError, match="has no task"):
            ecs.fargate_size(*demand)
    else:
        assert ecs.fargate_size(*demand) == size


# Images ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "host", "repository", "tag", "name"),
    [
        ("nginx", image.HUB, "library/nginx", "latest", "nginx"),
        ("acme/web:2", image.HUB, "acme/web", "2", "acme/web"),
        ("docker.io/library/nginx:1.27", image.HUB, "library/nginx", "1.27", "docker.io/library/nginx"),
        ("ghcr.io/a/b:x", "ghcr.io", "a/b", "x", "ghcr.io/a/b"),
        ("localhost:5000/a:1", "localhost:5000", "a", "1", "localhost:5000/a"),
    ],
)
def test_references_are_read_as_docker_reads_them(text: str, host: str, repository: str, tag: str, name: str) -> None:
    found = image.parse(text)
    assert (found.host, found.repository, found.tag, found.name) == (host, repository, tag, name)
    assert image.parse(f"{text}@{DIGEST}").digest == DIGEST


class Registry(ThreadingHTTPServer):
    """A container registry that gives tokens to everybody, and a file beside it."""

    daemon_threads = True

    def __init__(self, authority: trustme.CA) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.host = f"localhost:{self.server_port}"
        self.dockerfile = b"FROM scratch\n"


class Answers(BaseHTTPRequestHandler):
    server: Registry

    def do_HEAD(self) -> None:
        if self.headers.get("Authorization") != "Bearer open":
            self.answer(
                401, headers={"WWW-Authenticate": f'Bearer realm="https://{self.server.host}/token",service="r"'}
            )
        elif self.path == "/v2/team/web/manifests/1":
            self.answer(200, headers={"Docker-Content-Digest": DIGEST})
        else:
            self.answer(404)

    def do_GET(self) -> None:
        known = {"/token": b'{"token": "open"}', "/Dockerfile": self.server.dockerfile}
        body = known.get(self.path.partition("?")[0])
        self.answer(200 if body else 404, body or b"")

    def answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ((headers or {}) | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing."""


@pytest.fixture
def registry(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with Registry(authority) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_tag_is_pinned_to_the_digest_it_means_at_the_start(registry: Registry) -> None:
    reference = image.parse(f"{registry.host}/team/web:1")
    assert reference.at(image.digest(reference, may_be_private=True)) == f"{registry.host}/team/web@{DIGEST}"
    with pytest.raises(image.NoImageError, match="has no image team/web:2"):
        image.digest(image.parse(f"{registry.host}/team/web:2"), may_be_private=True)
    with pytest.raises(image.RegistryError, match="which is no public address"):
        image.digest(reference)


def test_an_image_that_there_is_not_fails_the_deployment(cloud: Cloud, registry: Registry) -> None:
    admin = cloud.site.admin
    with cloud.working():
        cloud.cluster(size=(10, 10, 0))
        admin.deploy("a", (1, 2, 0), docker_path=f"{registry.host}/team/web:2")
        ended = cloud.site.until(admin, "a", "failed")
        admin.deploy("b", (1, 2, 0), docker_path=f"{registry.host}/team/web:1")
        assert cloud.site.until(admin, "b", "running")["image"] == f"{registry.host}/team/web@{DIGEST}"
    assert ended["reason"] == f"{registry.host} has no image team/web:2 for everybody"
    assert admin.allocated() == (1, 2, 0)


def test_a_dockerfile_is_built_once_per_content(cloud: Cloud, registry: Registry) -> None:
    admin, account = cloud.site.admin, cloud.account
    url, tag = f"https://{registry.host}/Dockerfile", build.tag_of(registry.dockerfile)
    account.ecr.create_repository(repositoryName=f"provision/{cloud.site.slug}")
    # The endpoint knows no project without a source.
    account.codebuild.create_project(
        name=build.PROJECT,
        source={"type": "S3", "location": "bucket/x.zip"},
        artifacts={"type": "NO_ARTIFACTS"},
        environment={"type": "LINUX_CONTAINER", "image": build.IMAGE, "computeType": "BUILD_GENERAL1_SMALL"},
        serviceRole="arn:aws:iam::123456789012:role/b",
    )
    kind = "application/vnd.oci.image.manifest.v1+json"
    manifest = json.dumps({"schemaVersion": 2, "mediaType": kind, "layers": [], "config": {"digest": "sha256:1"}})
    account.ecr.put_image(repositoryName=f"provision/{cloud.site.slug}", imageManifest=manifest, imageTag="other")
    with cloud.working():
        cloud.cluster(size=(10, 10, 0))
        admin.deploy("a", (1, 2, 0), docker_path=url)
        # The endpoint's builds end at once, without an image.
        assert "ended as SUCCEEDED" in cloud.site.until(admin, "a", "failed")["reason"]
        (started,) = account.codebuild.list_builds_for_project(projectName=build.PROJECT)["ids"]
        account.ecr.put_image(repositoryName=f"provision/{cloud.site.slug}", imageManifest=manifest, imageTag=tag)
        admin.deploy("b", (1, 2, 0), docker_path=url)
        ran = cloud.site.until(admin, "b", "running")
        assert ran["image"].partition("@")[0].endswith(f"/provision/{cloud.site.slug}")
        assert account.codebuild.list_builds_for_project(projectName=build.PROJECT)["ids"] == [started]


def test_the_project_that_builds_needs_no_source() -> None:
    account = Account()
    role, arn = "arn:aws:iam::123456789012:role/b", "arn:aws:codebuild:us-east-1:123456789012:project/provision-build"
    with Stubber(account.codebuild) as stub:
        stub.add_response("create_project", {"project": {"arn": arn}})
        assert build.create_project(account, role) == arn
        stub.assert_no_pending_responses()


def test_a_dockerfile_inside_is_not_fetched(cloud: Cloud, registry: Registry) -> None:
    admin = cloud.site.admin
    cloud.site.engine.owner.execute(
        "UPDATE accreditation SET settings = settings - 'private_addresses' WHERE is_active"
    )
    with cloud.working():
        cloud.cluster(size=(10, 10, 0))
        admin.deploy("a", (1, 2, 0), docker_path=f"https://{registry.host}/Dockerfile")
        assert "which is no public address" in cloud.site.until(admin, "a", "failed")["reason"]
