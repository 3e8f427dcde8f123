"""Web sites from an order to nodes and back: the database, real workers, an AWS endpoint behind a proxy."""

import gzip
import http.server
import os
import signal
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest
from provision_worker.actions import default_actions
from provision_worker.hosting.observe import DUMP_TAG, INSTANCE_TAG
from provision_worker.hosting.source import SourceError, fetch
from psycopg.types.json import Jsonb

from . import hosting_fixtures, worker_fixtures
from .hosting_fixtures import World
from .worker_fixtures import Customer, Engine, Process, eventually, make_accreditation, make_customer

engine = worker_fixtures.engine
cloud = hosting_fixtures.cloud
world = hosting_fixtures.world

PATIENCE = 60.0


class Host:
    """A customer whose sites are in one AWS account."""

    def __init__(self, engine: Engine, world: World) -> None:
        self.engine, self.world = engine, world
        self.customer: Customer = make_customer(engine)
        self.cid = engine.value("SELECT cid FROM customer")
        settings = {"hosting": self.settings()}
        self.accreditation = make_accreditation(engine, self.customer.tenant, settings=settings)
        self.org = engine.value("SELECT org_default(%s)", self.customer.account)
        engine.owner.execute("UPDATE setting SET value = '1' WHERE name = 'hosting_converge_seconds'")

    def settings(self) -> dict[str, Any]:
        network = self.world.network
        return {
            "domain": network.domain,
            "zone_id": network.zone_id,
            "vpc_id": network.vpc_id,
            "subnet_ids": list(network.subnet_ids),
            "image_id": network.image_id,
            "bucket": network.bucket,
            "code_buckets": {"code": self.cid},
        }

    @contextmanager
    def workers(self, count: int = 1, **settings: Any) -> Iterator[None]:
        """Workers that speak to AWS through the proxy."""
        with ExitStack() as stack:
            for _ in range(count):
                stack.enter_context(
                    self.engine.worker(default_actions(), aws_endpoint_url=self.world.proxy.url, **settings)
                )
            yield

    def order(self, what: str, name: str = "shop", **data: Any) -> UUID:
        items = [{"operation": f"wpaas.{what}", "data": {"name": name} | data}]
        options = Jsonb({"org_id": str(self.org)})
        order: UUID = self.engine.value(
            "SELECT order_submit(%s, %s, NULL, %s)", self.customer.account, Jsonb(items), options
        )
        return order

    def ended(self, order: UUID) -> str:
        eventually(
            lambda: self.engine.value('SELECT finished_date IS NOT NULL FROM "order" WHERE id = %s', order),
            "order",
            PATIENCE,
        )
        status: str = self.engine.value('SELECT status FROM "order" WHERE id = %s', order)
        return status

    def done(self, what: str, name: str = "shop", **data: Any) -> None:
        order = self.order(what, name, **data)
        assert self.ended(order) == "completed", self.engine.value("SELECT reason FROM v_order WHERE id = %s", order)

    def site(self, name: str = "shop") -> dict[str, Any]:
        return self.engine.row("SELECT * FROM v_wpaas WHERE name = %s ORDER BY id DESC LIMIT 1", name)

    def problem(self) -> str | None:
        """What AWS says no with."""
        code: str | None = self.engine.value("SELECT conditions -> 'ProviderError' ->> 'code' FROM v_wpaas")
        return code

    def passes(self, name: str = "shop") -> int:
        count: int = self.engine.value(
            "SELECT w.passes FROM v_wpaas_watch AS w JOIN v_wpaas AS s ON s.id = w.instance_id WHERE s.name = %s", name
        )
        return count

    def looked(self, name: str = "shop", times: int = 1) -> None:
        """Waits until the site was looked at so many more times."""
        goal = self.passes(name) + times
        eventually(lambda: self.passes(name) >= goal, f"look {goal} at {name}", PATIENCE)

    def nodes(self, name: str = "shop") -> list[str]:
        return self.world.running(str(self.site(name)["id"]))


@pytest.fixture
def host(engine: Engine, world: World) -> Host:
    return Host(engine, world)


def test_a_site_comes_up_is_scaled_updated_suspended_and_deleted(host: Host) -> None:
    with host.workers():
        host.done("create", num_instances=2, admin_password="correct horse battery")
        site = host.site()
        assert (site["phase"], site["ready_instances"], site["observed_generation"]) == ("ready", 2, 1)
        secret = host.world.direct.secrets.get_secret_value(
            SecretId=f"provision/{site['org']}/wp-{str(site['id'])[-12:]}"
        )
        assert "correct horse battery" in secret["SecretString"]
        assert host.engine.value("SELECT count(*) FROM secret") == 0
        before = set(host.nodes())
        routes = [{"route": "v2", "basic_auth": True}]
        host.done("update", changes={"num_instances": 3, "routes": routes}, basic_auth_password="a preview of it")
        assert (len(host.nodes()), before & set(host.nodes())) == (3, set())
        secret = host.world.direct.secrets.get_secret_value(SecretId=secret["Name"])
        assert "correct horse battery" in secret["SecretString"]
        assert "a preview of it" in secret["SecretString"]
        assert host.engine.value("SELECT count(*) FROM secret") == 0
        host.done("update", changes={"is_suspended": True})
        assert (host.site()["phase"], host.nodes()) == ("suspended", [])
        host.done("update", changes={"is_suspended": False, "num_instances": 1})
        host.done("delete")
    assert host.site()["phase"] == "deleted"
    assert set(host.world.inventory().values()) == {0}
    assert [row["reason"] for row in host.engine.rows("SELECT reason FROM v_wpaas_backup")] == ["final"]
    assert host.engine.value("SELECT count(*) FROM job WHERE finished_date IS NULL") == 0


def test_a_terminated_node_comes_back_once_although_two_workers_look(host: Host) -> None:
    with host.workers(2):
        host.done("create", num_instances=3)
        before = set(host.nodes())
        host.world.direct.autoscaling.set_desired_capacity(
            AutoScalingGroupName=f"wp-{str(host.site()['id'])[-12:]}", DesiredCapacity=2
        )
        eventually(lambda: len(host.nodes()) == 3, "three nodes", PATIENCE)
        host.world.direct.ec2.terminate_instances(InstanceIds=[min(set(host.nodes()) & before)])
        host.engine.value("SELECT wpaas_converge(%s)", host.site()["id"])
        host.looked(times=3)
        eventually(lambda: host.site()["phase"] == "ready", "it", PATIENCE)
        assert len(host.nodes()) == 3
        assert len(set(host.nodes()) - before) == 2
        host.world.proxy.reset()
        host.looked(times=10)
        assert host.world.proxy.mutating == []
        for _ in range(20):
            host.engine.value("SELECT wpaas_converge(%s)", host.site()["id"])
        host.looked(times=2)
    assert host.engine.value("SELECT count(*) FROM job WHERE type = 'provision_wpaas_converge'") == 1


def test_a_call_that_hangs_holds_up_its_own_site_only(host: Host) -> None:
    with host.workers(worker_concurrency=2):
        host.done("create", "slow")
        host.done("create", "quick")
        key = f"wp-{str(host.site('slow')['id'])[-12:]}".encode()
        host.world.proxy.hold(lambda name, body: name == "DescribeDBInstances" and key in body)
        host.looked("quick", 3)
        held = host.passes("slow")
        host.looked("quick", 5)
        assert host.passes("slow") == held
        host.world.proxy.heal()
        host.looked("slow", 1)


def test_what_aws_says_no_to_is_a_condition_and_other_sites_go_on(host: Host) -> None:
    pause = "SELECT next_pass_date - pass_date <= interval '300 s' AND failures > 0 FROM v_wpaas_watch"
    with host.workers():
        host.done("create")
        for status, code in ((400, "Throttling"), (503, "ServiceUnavailable"), (400, "AccessDenied")):
            host.world.proxy.fail("DescribeAutoScalingGroups", status, code)
            eventually(lambda code=code: host.problem() == code, "the condition", PATIENCE)  # type: ignore[misc]
            assert host.engine.value(pause)
            assert host.site()["phase"] == "ready", "nothing new is known of it"
            host.world.proxy.heal()
            host.engine.value("SELECT wpaas_converge(%s)", host.site()["id"])
            eventually(lambda: host.problem() is None, "the end of the condition", PATIENCE)


def test_two_subnets_of_one_zone_are_told_to_operators_and_not_tried_again_and_again(host: Host) -> None:
    """EFS takes one mount target for each zone."""
    ec2, network = host.world.direct.ec2, host.world.network
    (first,) = ec2.describe_subnets(SubnetIds=[network.subnet_ids[0]])["Subnets"]
    second = ec2.create_subnet(
        VpcId=network.vpc_id, CidrBlock="172.31.240.0/24", AvailabilityZone=first["AvailabilityZone"]
    )
    subnets = [first["SubnetId"], second["Subnet"]["SubnetId"]]
    host.engine.owner.execute(
        "UPDATE accreditation SET settings = jsonb_set(settings, '{hosting,subnet_ids}', %s) WHERE id = %s",
        [Jsonb(subnets), host.accreditation],
    )
    with host.workers():
        host.order("create")
        eventually(lambda: host.problem() == "MountTargetConflict", "the condition", PATIENCE)
    assert host.engine.value("SELECT failures > 0 AND next_pass_date > pass_date FROM v_wpaas_watch")


def test_a_deleted_database_is_an_alarm_and_restored_from_a_backup_it_is_over(host: Host) -> None:
    with host.workers():
        host.done("create")
        host.done("backup")
        snapshot = host.engine.value("SELECT snapshot FROM v_wpaas_backup")
        rds = host.world.direct.rds
        (database,) = [one["DBInstanceIdentifier"] for one in rds.describe_db_instances()["DBInstances"]]
        rds.modify_db_instance(DBInstanceIdentifier=database, DeletionProtection=False)
        rds.delete_db_instance(DBInstanceIdentifier=database, SkipFinalSnapshot=True)
        host.looked(times=2)
        assert host.site()["phase"] == "degraded"
        assert "is missing" in host.engine.value("SELECT reason FROM v_attention WHERE what = 'web site'")
        assert rds.describe_db_instances()["DBInstances"] == []
        host.done("restore", snapshot=snapshot)
        assert host.site()["phase"] == "ready"
        (restored,) = [one["DBInstanceIdentifier"] for one in rds.describe_db_instances()["DBInstances"]]
        assert restored == database.removesuffix("1") + "2"
        assert host.engine.rows("SELECT * FROM v_attention WHERE what = 'web site'") == []


def has_backups(host: Host, count: int) -> bool:
    return bool(host.engine.value("SELECT count(*) = %s FROM wpaas_backup", count))


def test_scheduled_backups_are_made_and_the_oldest_go(host: Host) -> None:
    with host.workers():
        host.done("create")
        host.done("update", changes={"backup_keep": 2})
        for number in range(1, 4):
            host.engine.owner.execute("UPDATE wpaas_watch SET backup_date = now() - interval '1 s'")
            eventually(partial(has_backups, host, number), "a backup", PATIENCE)
            host.engine.value("SELECT wpaas_converge(%s)", host.site()["id"])
    kept = "SELECT count(*) FILTER (WHERE expired_date IS NULL) AS kept, count(*) FROM v_wpaas_backup"
    assert host.engine.row(kept)["count"] == 3
    found = host.world.direct.rds.describe_db_snapshots()["DBSnapshots"]
    # The others RDS makes by itself.
    snapshots = [one for one in found if not one["DBSnapshotIdentifier"].startswith("rds:")]
    assert 2 <= len(snapshots) <= 3


def test_a_snapshot_that_is_gone_is_noticed(host: Host) -> None:
    with host.workers():
        host.done("create")
        host.done("backup")
        snapshot = host.engine.value("SELECT snapshot FROM v_wpaas_backup")
        host.world.direct.rds.delete_db_snapshot(DBSnapshotIdentifier=snapshot)
        host.engine.ended(host.engine.submit(type="reconcile", accreditation=host.accreditation))
        reasons = host.engine.rows("SELECT reason FROM v_attention WHERE what = 'missing backup'")
        assert [row["reason"] for row in reasons] == [f"{snapshot}: RDS does not have the snapshot"]


# Downloads ------------------------------------------------------------------------------------------------------------


class Desk:
    """A site with a backup, and what an order to download it makes at AWS."""

    def __init__(self, host: Host) -> None:
        self.host, self.account = host, host.world.direct
        host.done("create")
        host.done("backup")
        self.backup = str(host.engine.value("SELECT id FROM v_wpaas_backup"))

    @property
    def key(self) -> str:
        return f"dumps/wp-{str(self.host.site()['id'])[-12:]}/{self.backup}.sql.gz"

    def order(self) -> UUID:
        return self.host.order("download", backup=self.backup)

    def machine(self) -> dict[str, Any]:
        """The machine that is to dump, when it runs; this endpoint starts machines that do nothing."""
        filters: Any = [
            {"Name": "tag-key", "Values": [DUMP_TAG]},
            {"Name": "instance-state-name", "Values": ["running"]},
        ]

        def running() -> list[Any]:
            hurry_jobs(self.host.engine)
            pages = self.account.ec2.describe_instances(Filters=filters)["Reservations"]
            return [machine for one in pages for machine in one["Instances"]]

        (machine,) = eventually(running, "a machine that dumps", PATIENCE)
        return dict(machine)

    def play(self) -> None:
        """Does what the machine does in its stead."""
        id = self.machine()["InstanceId"]
        self.account.s3.put_object(Bucket="artifacts", Key=self.key, Body=DUMP)
        self.account.ec2.terminate_instances(InstanceIds=[id])

    def ended(self, order: UUID) -> str:
        def is_over() -> bool:
            hurry_jobs(self.host.engine)
            return bool(self.host.engine.value('SELECT finished_date IS NOT NULL FROM "order" WHERE id = %s', order))

        eventually(is_over, "the order", PATIENCE)
        return self.host.ended(order)

    def left(self) -> tuple[int, int]:
        """How many databases beside the site's there are, and how many machines that dump."""
        filters: Any = [
            {"Name": "tag-key", "Values": [DUMP_TAG]},
            {"Name": "instance-state-name", "Values": ["running"]},
        ]
        machines = self.account.ec2.describe_instances(Filters=filters)["Reservations"]
        return len(self.account.rds.describe_db_instances()["DBInstances"]) - 1, len(machines)

    def link(self) -> str:
        """The link, as the API reads it for its callers."""
        link: str = self.host.engine.value("SELECT value FROM secret WHERE id = %s", self.backup)
        return link

    def stray_pass(self) -> None:
        engine = self.host.engine
        engine.ended(engine.submit(type="wpaas_stray", accreditation=self.host.accreditation))


DUMP = gzip.compress(b"CREATE TABLE wp_posts (ID bigint);")


def hurry_jobs(engine: Engine) -> bool:
    """Downloads that look again later look now."""
    jobs = "SELECT array_agg(job_id) FROM provision_wpaas_download WHERE finished_date IS NULL"
    engine.value(f"SELECT wpaas_hurry(COALESCE(({jobs}), '{{}}'))")
    return True


def test_a_backup_is_dumped_downloaded_by_a_link_and_forgotten_after_some_days(host: Host) -> None:
    with host.workers():
        desk = Desk(host)
        nodes = host.nodes()
        order = desk.order()
        machine = desk.machine()
        assert {tag["Key"]: tag["Value"] for tag in machine["Tags"]}[INSTANCE_TAG] == str(host.site()["id"])
        host.looked(times=2)
        assert (desk.left(), host.site()["phase"], host.site()["ready_instances"]) == ((1, 1), "ready", 1)
        desk.play()
        assert desk.ended(order) == "completed"
        assert (desk.left(), host.nodes()) == ((0, 0), nodes)
        answer = httpx2.get(desk.link())
        assert gzip.decompress(answer.content) == gzip.decompress(DUMP)
        assert 'filename="shop.' in answer.headers["Content-Disposition"]
        for table in ("job", "audit_trail_log", "order_item", "effect", "wpaas_backup"):
            assert host.engine.value(f"SELECT string_agg(t::text, ' ') NOT LIKE '%%X-Amz%%' FROM {table} AS t"), table
        host.world.proxy.reset()
        assert desk.ended(desk.order()) == "completed", "it is there still"
        assert set(host.world.proxy.mutating) <= {"DeleteObject"}
        desk.stray_pass()
        assert host.engine.value("SELECT dump_bytes FROM v_wpaas_backup") == len(DUMP)
        host.engine.value("SELECT clock_advance('4 days')")
        eventually(lambda: host.engine.value("SELECT count(*) FROM secret") == 0, "the end of the link", PATIENCE)
        desk.stray_pass()
        gone = "SELECT dump_date IS NULL AND expired_date IS NOT NULL FROM wpaas_backup WHERE id = %s"
        assert host.engine.value("SELECT dump_date FROM wpaas_backup WHERE id = %s", desk.backup) is None
        snapshot = host.engine.value("SELECT snapshot FROM wpaas_backup WHERE id = %s", desk.backup)
        host.engine.owner.execute("UPDATE wpaas_backup SET removal_date = engine_now() WHERE id = %s", [desk.backup])
        desk.stray_pass()
        assert host.engine.value(gone, desk.backup) is True
        assert snapshot not in str(desk.account.rds.describe_db_snapshots())
    assert "Contents" not in desk.account.s3.list_objects_v2(Bucket="artifacts", Prefix="dumps/")


def test_a_download_that_comes_to_nothing_leaves_nothing(host: Host) -> None:
    """Its machine ends without a dump; its job is cancelled; its site is deleted."""
    with host.workers():
        desk = Desk(host)
        order = desk.order()
        id = desk.machine()["InstanceId"]
        desk.account.ec2.terminate_instances(InstanceIds=[id])
        assert desk.ended(order) == "failed"
        assert f"has ended without: {id}" in host.engine.value("SELECT reason FROM v_order WHERE id = %s", order)
        assert (desk.left(), host.engine.value("SELECT count(*) FROM secret")) == ((0, 0), 0)
        order = desk.order()
        desk.machine()
    live = "FROM provision_wpaas_download WHERE finished_date IS NULL"
    host.engine.value(f"SELECT job_hold(job_id), job_cancel(job_id, 'no') {live}")
    with host.workers():
        assert (host.ended(order) != "completed", desk.left()) == (True, (1, 1))
        desk.stray_pass()
        assert desk.left() == (0, 0)
        order = desk.order()
        desk.machine()
        desk.account.s3.put_object(Bucket="artifacts", Key=f"{desk.key}.part", Body=b"begun")
        host.done("delete")
        assert host.ended(order) == "failed"
    assert set(host.world.inventory().values()) == {0}
    assert "Contents" not in desk.account.s3.list_objects_v2(Bucket="artifacts")
    kept = host.engine.rows("SELECT reason FROM v_wpaas_backup WHERE expired_date IS NULL")
    assert [row["reason"] for row in kept] == ["final"]


@pytest.mark.slow
@pytest.mark.parametrize("after", [1, 2, 3, 4, 5])
def test_a_worker_that_is_killed_while_it_dumps_is_followed_by_another(host: Host, after: int) -> None:
    """The calls here: the database, the machine, the database's end (two), what is left in the bucket."""
    with host.workers():
        desk = Desk(host)
    proxy = host.world.proxy
    proxy.reset()
    proxy.hold(lambda name, body: name.startswith(("DescribeAutoScaling", "DescribeLaunchTemplate")))
    proxy.refuse_after(after)
    with Process(host.engine, aws_endpoint_url=proxy.url) as process:
        order = desk.order()
        if after > 2:
            desk.play()
        eventually(lambda: hurry_jobs(host.engine) and proxy.is_dead, "the call", PATIENCE)
        process.signal(signal.SIGKILL)
        process.exit_code()
    proxy.heal()
    with host.workers():
        if after <= 2:
            desk.play()
        assert desk.ended(order) == "completed"
    assert desk.left() == (0, 0)
    assert proxy.counts()["RunInstances"] == proxy.counts()["RestoreDBInstanceFromDBSnapshot"] == 1
    assert httpx2.get(desk.link()).content == DUMP


# Code -----------------------------------------------------------------------------------------------------------------


def put_code(host: Host, content: str, key: str = "site.zip") -> None:
    s3 = host.world.direct.s3
    if "code" not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]:
        s3.create_bucket(Bucket="code")
    s3.put_object(Bucket="code", Key=key, Body=content.encode())


def test_code_from_s3_is_copied_once_per_version_rolled_out_and_rolled_back(host: Host) -> None:
    put_code(host, "one")
    with host.workers():
        host.done("create", code_url="s3://code/site.zip")
        assert host.site()["code_version"] == 1
        first = set(host.nodes())
        put_code(host, "two")
        host.looked(times=2)
        assert set(host.nodes()) == first, "a version stays what it was"
        host.done("update", changes={"code_url": "s3://code/site.zip"})
        assert host.site()["code_version"] == 2
        assert not set(host.nodes()) & first
        versions = host.engine.rows("SELECT number, resolved_ref, snapshot FROM v_wpaas_version ORDER BY number")
        assert len({version["resolved_ref"] for version in versions}) == 3
        assert versions[1]["snapshot"]
        host.done("update", changes={"version": 1})
        assert host.site()["code_version"] == 1
    key = f"wp-{str(host.site()['id'])[-12:]}"
    kept = [
        host.world.direct.s3.get_object(Bucket="artifacts", Key=f"artifacts/{key}/{number}")["Body"].read()
        for number in (1, 2)
    ]
    assert kept == [b"one", b"two"]


def test_code_that_is_not_there_fails_the_order_and_says_so(host: Host) -> None:
    with host.workers():
        order = host.order("create", code_url="s3://code/nothing.zip")
        assert host.ended(order) == "failed"
        reason = host.engine.value("SELECT reason FROM v_order WHERE id = %s", order)
        assert "s3://code/nothing.zip: there is nothing there" in reason
        assert host.site()["phase"] in ("creating", "failed")
        host.done("delete")


class GitServer(http.server.BaseHTTPRequestHandler):
    """Repositories below `root`, as git's own CGI serves them."""

    root: Path

    def _serve(self) -> None:
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        environment = os.environ | {
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        command = ["git", "-c", "safe.directory=*", "-c", "uploadpack.allowAnySHA1InWant=true", "http-backend"]
        answer = subprocess.run(command, input=body, capture_output=True, env=environment, check=True).stdout
        head, _, content = answer.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
        self.send_response(int(headers.pop("Status", "200").split()[0]))
        for name, text in headers.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Tests are quiet."""


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[str]:
    """A git repository behind a web server on this machine."""
    git = partial(subprocess.run, check=True, capture_output=True, cwd=tmp_path)
    git(["git", "init", "--quiet", "-b", "main", "work"])
    (tmp_path / "work" / "index.php").write_text("<?php")
    identity = ["-c", "user.name=Jane", "-c", "user.email=jane@example.net"]
    git(["git", "-C", "work", "add", "."])
    git(["git", *identity, "-C", "work", "commit", "--quiet", "-m", "Begin"])
    git(["git", "clone", "--quiet", "--bare", "work", "site.git"])
    handler = type("Handler", (GitServer,), {"root": tmp_path})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://localhost:{server.server_port}/site.git"
        server.shutdown()
        thread.join()


def commit_of(repository: str, name: str = "main") -> str:
    """What a branch is now."""
    return subprocess.run(
        ["git", "ls-remote", repository, name], check=True, capture_output=True, text=True
    ).stdout.split()[0]


def test_code_from_git_is_a_commit_of_which_the_bucket_has_the_files(
    host: Host, repository: str, tmp_path: Path
) -> None:
    host.engine.owner.execute("UPDATE setting SET value = 'true' WHERE name = 'hosting_code_private'")
    with host.workers():
        host.done("create", code_url=repository, code_ref="main")
    commit = host.engine.value("SELECT resolved_ref FROM v_wpaas_version WHERE number = 1")
    assert commit == commit_of(repository)
    key = f"artifacts/wp-{str(host.site()['id'])[-12:]}/1"
    archive = tmp_path / "code.tar.gz"
    archive.write_bytes(host.world.direct.s3.get_object(Bucket="artifacts", Key=key)["Body"].read())
    with tarfile.open(archive) as files:
        assert files.getnames() == ["index.php"]


def test_names_that_lead_inside_are_not_asked_for_code(world: World, repository: str) -> None:
    site = world.site()
    for url in (
        repository.replace("http:", "https:"),
        repository.replace("http:", "https:").replace("localhost", "127.0.0.1"),
    ):
        with pytest.raises(SourceError, match="which is no public address"):
            fetch(world.account, site, 1, url, None, may_be_private=False)
    with pytest.raises(SourceError, match="code is fetched by https"):
        fetch(world.account, site, 1, "file:///etc/passwd", None, may_be_private=True)
    assert world.proxy.mutating == []


def test_a_redirect_is_not_followed(world: World, tmp_path: Path) -> None:
    class Redirect(GitServer):
        def _serve(self) -> None:
            self.send_response(302)
            self.send_header("Location", "http://169.254.169.254/latest/meta-data")
            self.end_headers()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Redirect) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        url = f"http://localhost:{server.server_port}/site.git"
        with pytest.raises(SourceError, match=r"302|redirect"):
            fetch(world.account, world.site(), 1, url, None, may_be_private=True)
        server.shutdown()
        thread.join()


# A worker dies --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("after", [3, 9, 15, 21])
def test_a_worker_that_is_killed_in_the_middle_is_followed_by_another(host: Host, after: int) -> None:
    proxy = host.world.proxy
    proxy.refuse_after(after)
    with Process(host.engine, aws_endpoint_url=proxy.url) as process:
        order = host.order("create")
        eventually(lambda: proxy.is_dead, "the call", PATIENCE)
        process.signal(signal.SIGKILL)
        process.exit_code()
    proxy.heal()
    with host.workers():
        assert host.ended(order) == "completed"
    assert {**host.world.inventory(), "machines": 2, "mount targets": 2} == ONE
    assert len(host.nodes()) == 1


ONE = {
    **dict.fromkeys(["secrets", "subnet groups", "databases", "file systems", "templates", "target groups"], 1),
    **dict.fromkeys(["load balancers", "rules", "groups", "certificates"], 1),
    "security groups": 3,
    "mount targets": 2,
    "listeners": 2,
    "machines": 2,
    "records": 3,
    "addresses": 0,
}
