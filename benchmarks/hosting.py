"""Measures a full look at many web sites that are in sync: `python3 run.py bench hosting`."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click
import psutil
import psycopg
from psycopg.types.json import Jsonb

from benchmarks.harness import report
from benchmarks.harness.cluster import Cluster, cluster
from provision.database import connect, url_as
from provision.migrate import migrate
from provision.settings import load as load_settings

PATIENCE_SECONDS = 3600.0
SITES_PER_ORG = 25
"""Sites of an org share a load balancer, which shows so many certificates."""
REGIONS = ("us-east-1", "us-east-2", "us-west-1", "us-west-2", "eu-central-1", "eu-west-1", "eu-north-1", "ap-south-1")
"""Each org has its sites in the next one: the stand-in for AWS is slow where there is much."""
LOOKED = "SELECT count(*) FROM wpaas_watch WHERE wake_date IS NULL"
QUIET = """
SELECT NOT EXISTS (SELECT FROM job_lease)
    AND NOT EXISTS (SELECT FROM job_queue WHERE start_date < now() + interval '1 h')
"""
ORDER = "SELECT order_submit(%s, %s, NULL, %s)"
ACCREDITATION = """
INSERT INTO accreditation (tenant_id, provider, name, region, settings) SELECT id, 'aws', %s, %s, %s FROM tenant
"""


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--sites", type=click.IntRange(min=1), default=200, help="Web sites, of one node each.")
@click.option("--workers", type=click.IntRange(min=1), default=4, help="Worker processes.")
@click.option("--passes", type=click.IntRange(min=1), default=1, help="Looks at each site.")
def main(sites: int, workers: int, passes: int) -> None:
    """Bring sites up at a local AWS endpoint, have each looked at, count the calls."""
    with cluster(None, load_settings().pg_bin) as server, ExitStack() as stack:
        tell = stack.enter_context(report.progress("starting"))
        proxy = stack.enter_context(_endpoint())
        url = _installation(server)
        owner = stack.enter_context(connect(url, "benchmark", autocommit=True))
        _set_up(owner, proxy.url)
        processes = [stack.enter_context(_worker(url, proxy.url, number)) for number in range(workers)]
        began = time.monotonic()
        _order(owner, sites)
        _until(lambda: _are_up(owner, sites, tell), "the sites")
        click.echo(f"{sites} sites up after {time.monotonic() - began:.0f} s")
        for number in range(1, passes + 1):
            tell(f"pass {number} of {passes}")
            _measure(owner, proxy, sites, processes)
    for name, value in (report.machine() | {"postgresql": server.version}).items():
        click.echo(f"{name}: {value}")


def _are_up(owner: psycopg.Connection, sites: int, tell: Callable[[str], None]) -> bool:
    ready = _count(owner, "phase = 'ready'")
    tell(f"{ready} of {sites} sites up")
    return ready == sites


def _measure(owner: psycopg.Connection, proxy: Any, sites: int, workers: list[psutil.Process]) -> None:
    """One look at each site."""
    _until(lambda: _value(owner, QUIET), "quiet")
    before, used = _passes(owner), _processor_seconds(workers)
    proxy.reset()
    began = time.monotonic()
    owner.execute("SELECT wpaas_wake(ARRAY(SELECT id FROM wpaas_instance))")
    _until(lambda: _value(owner, LOOKED) == sites, "the looks")
    seconds, used = time.monotonic() - began, _processor_seconds(workers) - used
    after = _passes(owner)
    times = {after[id] - before[id] for id in after}
    click.echo(f"{sites} sites in sync, {len(workers)} workers, one full pass:")
    click.echo(f"  each was looked at {sorted(times)} times")
    click.echo(f"  calls that change something: {len(proxy.mutating)}")
    click.echo(f"  calls per site: {len(proxy.calls) / sites:.1f}")
    click.echo(f"  time: {seconds:.1f} s, {1000 * seconds / sites:.0f} ms per site")
    click.echo(f"  processor time of the workers: {1000 * used / sites:.0f} ms per site")
    click.echo(f"  the stand-in for AWS answered {len(proxy.calls) / seconds:.0f} calls per second")
    if times != {1} or proxy.mutating:
        raise click.ClickException("a pass over sites in sync is one look at each, and changes nothing")


def _processor_seconds(processes: list[psutil.Process]) -> float:
    return sum(times.user + times.system for times in (process.cpu_times() for process in processes))


def _passes(owner: psycopg.Connection) -> dict[Any, int]:
    """How often each site was looked at."""
    found: dict[Any, int] = dict(owner.execute("SELECT instance_id, passes FROM wpaas_watch").fetchall())
    return found


@contextmanager
def _endpoint() -> Iterator[Any]:
    """An AWS endpoint in this process, behind the proxy that counts."""
    os.environ |= {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ["MOTO_ACM_VALIDATION_WAIT"] = "0"
    from moto.server import ThreadedMotoServer

    from provision.demo.endpoint import mend_launch_templates
    from tests.aws_proxy import AwsProxy

    mend_launch_templates()
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        with AwsProxy("http://{}:{}".format(*server.get_host_and_port())).running() as proxy:
            yield proxy
    finally:
        server.stop()


def _installation(server: Cluster) -> str:
    url = server.url("hosting")
    migrate(url)
    return url


def _set_up(owner: psycopg.Connection, endpoint: str) -> None:
    """A tenant, a customer, a zone, a bucket, and in each region an account with network and image."""
    from provision_worker.providers.aws import Account

    account = Account(REGIONS[0], endpoint_url=endpoint)
    zone = account.route53.create_hosted_zone(Name="example.net", CallerReference="1")["HostedZone"]["Id"]
    account.s3.create_bucket(Bucket="artifacts")
    owner.execute("INSERT INTO tenant (name) VALUES ('benchmark')")
    owner.execute("INSERT INTO customer (name, email) VALUES ('bench', 'bench@example.net')")
    owner.execute("INSERT INTO tenant_customer (tenant_id, customer_id) SELECT t.id, c.id FROM tenant t, customer c")
    for region in REGIONS:
        ec2 = Account(region, endpoint_url=endpoint).ec2
        hosting = {
            "domain": "example.net",
            "zone_id": zone.rpartition("/")[2],
            "vpc_id": ec2.describe_vpcs()["Vpcs"][0]["VpcId"],
            "subnet_ids": [subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"][:2]],
            "image_id": ec2.describe_images()["Images"][0]["ImageId"],
            "bucket": "artifacts",
        }
        owner.execute(ACCREDITATION, [region, region, Jsonb({"hosting": hosting})])
    owner.execute("UPDATE setting SET value = '86400' WHERE name = 'hosting_converge_seconds'")


def _order(owner: psycopg.Connection, sites: int) -> None:
    """As many sites as their orgs' load balancers take."""
    account = _value(owner, "SELECT id FROM tenant_customer")
    for number, first in enumerate(range(0, sites, SITES_PER_ORG)):
        statement = "INSERT INTO org (tenant_customer_id, kind, name) VALUES (%s, 'hosting', %s) RETURNING id"
        (org,) = owner.execute(statement, [account, f"org-{number}"]).fetchone() or ()
        region = REGIONS[number % len(REGIONS)]
        items = [
            {"operation": "wpaas.create", "data": {"name": f"site-{site}", "accreditation": region}}
            for site in range(first, min(first + SITES_PER_ORG, sites))
        ]
        owner.execute(ORDER, [account, Jsonb(items), Jsonb({"org_id": str(org)})])


@contextmanager
def _worker(url: str, endpoint: str, number: int) -> Iterator[psutil.Process]:
    environment = os.environ | {
        "PROVISION_WORKER_DATABASE_URL": url_as(url, "provision_worker"),
        "PROVISION_WORKER_NAME": f"bench-{number}",
        "PROVISION_AWS_ENDPOINT_URL": endpoint,
        "PROVISION_LOG_LEVEL": "error",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "provision", "worker"], env=environment, cwd=Path(__file__).parents[1]
    )
    try:
        yield psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _count(owner: psycopg.Connection, condition: str) -> int:
    count: int = _value(owner, f"SELECT count(*) FROM wpaas_instance WHERE {condition}")
    return count


def _value(owner: psycopg.Connection, query: str) -> Any:
    row = owner.execute(query.encode()).fetchone()
    return row[0] if row else None


def _until(ask: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not ask():
        if time.monotonic() > deadline:
            raise click.ClickException(f"{what} did not come within {PATIENCE_SECONDS:g} s")
        time.sleep(0.05)


if __name__ == "__main__":
    main()
