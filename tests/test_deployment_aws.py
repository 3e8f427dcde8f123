"""Deployments at AWS: clusters and tasks at ECS, images pinned to digests, Dockerfiles built once."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, LiteralString

import pytest
import trustme
from botocore.stub import Stubber
from moto.moto_api import state_manager
from provision_worker.actions import default_actions
from provision_worker.actions import deployment as actions
from provision_worker.providers import build, ecs, image
from provision_worker.providers.aws import Account
from psycopg.types.json import Jsonb

from . import deployment_fixtures, worker_fixtures
from .deployment_fixtures import Site
from .worker_fixtures import eventually

site = deployment_fixtures.site
aws = worker_fixtures.aws

DIGEST = "sha256:" + "a" * 64
PINNED = f"nginx@{DIGEST}"


@dataclass
class Cloud:
    """An AWS account that the organization's tenant is accredited at."""

    site: Site
    url: str
    account: Account = field(init=False)
    subnet: str = field(init=False)

    def __post_init__(self) -> None:
        self.account = Account(endpoint_url=self.url)
        self.subnet = self.account.ec2.describe_subnets()["Subnets"][0]["SubnetId"]
        settings = {
            "subnets": [self.subnet],
            "build_role_arn": "arn:aws:iam::123456789012:role/b",
            "private_addresses": True,
        }
        self.site.engine.owner.execute(
            "INSERT INTO accreditation (tenant_id, provider, name, region, settings)"
            " SELECT id, 'aws', 'cloud', 'us-east-1', %s FROM tenant",
            [Jsonb(settings)],
        )

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


@pytest.fixture
def cloud(site: Site, aws: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """Tasks there run until they are stopped, and are looked at often."""
    for name in ("STARTING_SECONDS", "RUNNING_SECONDS", "STOPPING_SECONDS", "PLACING_SECONDS", "BUILDING_SECONDS"):
        monkeypatch.setattr(actions, name, 0.1)
    state_manager.set_transition("ecs::task", {"progression": "manual", "times": 10**6})
    yield Cloud(site, aws)
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
        assert {"key": "provision:org", "value": "acme"} in cluster["tags"]
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
    assert cloud.site.engine.value("SELECT count(*) FROM v_attention WHERE what <> 'no worker'") == 0


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
    assert cloud.site.engine.value("SELECT count(*) FROM v_attention WHERE what <> 'no worker'") == 0


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
    assert cloud.site.engine.value("SELECT count(*) FROM v_attention WHERE what <> 'no worker'") == 0


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
    cluster = engine.value("SELECT arn FROM compute_cluster")
    family = f"provision-{job['data']['deployment']}"
    known = {"cluster": cluster, "family": family}
    token = engine.value(begin, job["job_id"], job["claim_no"], "task.run 1", Jsonb(known))
    spec = ecs.definition(job["data"], PINNED, family, "fargate", None)
    definition = cloud.account.ecs.register_task_definition(**spec)["taskDefinition"]["taskDefinitionArn"]
    network = {"subnets": [cloud.subnet], "securityGroups": ["sg-1"]}
    arn = ecs.run_task(cloud.account, cluster, definition, "fargate", token, "acme", network)
    engine.value("SELECT worker_deregister(%s)", worker)
    with cloud.working():
        cloud.site.until(admin, "a", "running")
        assert cloud.tasks() == [arn]
        admin.done("/cancel_deployment", deployment_id=made["id"])
        cloud.site.until(admin, "a", "cancelled")
    assert cloud.tasks() == []


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
    assert [step["to_status"] for step in admin.seen(1)["history"]][2:] == [
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
        accreditation = engine.value("SELECT id FROM accreditation WHERE provider = 'aws'")
        engine.ended(engine.submit(type="reconcile", accreditation=accreditation))
    assert engine.value("SELECT reason FROM v_attention") == "kept: ECS does not have it"


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
    account.ecr.create_repository(repositoryName="provision/acme")
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
    account.ecr.put_image(repositoryName="provision/acme", imageManifest=manifest, imageTag="other")
    with cloud.working():
        cloud.cluster(size=(10, 10, 0))
        admin.deploy("a", (1, 2, 0), docker_path=url)
        # The endpoint's builds end at once, without an image.
        assert "ended as SUCCEEDED" in cloud.site.until(admin, "a", "failed")["reason"]
        (started,) = account.codebuild.list_builds_for_project(projectName=build.PROJECT)["ids"]
        account.ecr.put_image(repositoryName="provision/acme", imageManifest=manifest, imageTag=tag)
        admin.deploy("b", (1, 2, 0), docker_path=url)
        ran = cloud.site.until(admin, "b", "running")
        assert ran["image"].partition("@")[0].endswith("/provision/acme")
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
    cloud.site.engine.owner.execute("UPDATE accreditation SET settings = settings - 'private_addresses'")
    with cloud.working():
        cloud.cluster(size=(10, 10, 0))
        admin.deploy("a", (1, 2, 0), docker_path=f"https://{registry.host}/Dockerfile")
        assert "which is no public address" in cloud.site.until(admin, "a", "failed")["reason"]
