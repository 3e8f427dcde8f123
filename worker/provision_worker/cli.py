"""Commands of the worker: run one, compare the database with the outside."""

import os
import signal
import sys
from importlib.util import find_spec
from types import FrameType

import click
from prometheus_client import start_http_server
from rich.console import Console
from rich.table import Table

from provision import log
from provision import settings as settings_module
from provision.database import pool, role_url
from provision.settings import Settings

from .actions import reconcile
from .loop import Worker
from .outcome import outcome_of
from .task import Resources, Site


@click.command("worker")
@click.option("--paused", is_flag=True, help="Register, but claim nothing until SIGUSR1.")
@click.option(
    "--metrics-port",
    type=click.IntRange(1, 65535),
    help="Serve /metrics on this port of PROVISION_WORKER_METRICS_HOST.",
)
def worker_command(paused: bool, metrics_port: int | None) -> None:
    """Run a worker until it is told to stop.

    It claims jobs, does what they ask for at registries and clouds, and records what came of it. Start as many as you
    like, on as many machines. SIGTERM or Ctrl-C: finish what runs, hand back the rest, exit; again: exit at once.
    Secrets are looked up here and nowhere else: set what the accreditations' secret_ref name (env:NAME, file:/path,
    aws-sm:id) where the worker runs.

    \b
    Examples:
      provision worker
      provision worker --metrics-port 9102     then curl localhost:9102/metrics
      provision worker --paused                then kill -USR1 PID, when all is well after a restore
    """
    settings = settings_module.load()
    log.configure(settings)
    if port := metrics_port or settings.worker_metrics_port:
        start_http_server(port, addr=settings.worker_metrics_host)
    worker = Worker(settings, paused=paused)
    _obey_signals(worker)
    is_complete = worker.run()
    if not is_complete:
        # The threads left would keep the process; what they were at, the next claim of their jobs finds out.
        sys.stderr.flush()
        os._exit(0)


def _obey_signals(worker: Worker) -> None:
    def stop(number: int, frame: FrameType | None) -> None:
        if worker.is_stopping:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        worker.stop()

    def resume(number: int, frame: FrameType | None) -> None:
        worker.resume()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGUSR1, resume)


@click.command("reconcile")
@click.argument("names", nargs=-1)
def reconcile_command(names: tuple[str, ...]) -> None:
    """Compare the database with the outside, for all active accreditations or those NAMED.

    Looks for things without rows (effects of unknown fate) and rows without things (the inventory). Changes nothing
    outside; what needs a decision is then in v_attention. Run it after a restore, before the workers are let loose.

    \b
    Examples:
      provision reconcile
      provision reconcile registry-a aws-main
    """
    settings = settings_module.load()
    log.configure(settings)
    with _resources(settings) as resources:
        sites = {row["name"]: Site(resources, row["id"]) for row in resources.rows("reconcile", "accreditations")}
        if unknown := [name for name in names if name not in sites]:
            raise click.UsageError(
                f"no active accreditation is named {unknown[0]}; there are {', '.join(sites) or 'none'}"
            )
        found = {name: _reconciled(site) for name, site in sites.items() if name in names or not names}
    _show(found)
    if any(isinstance(result, str) for result in found.values()):
        raise SystemExit(1)


def _resources(settings: Settings) -> Resources:
    return Resources(
        pool(role_url(settings, "worker"), "reconcile", size=1, autocommit=True), settings.aws_endpoint_url
    )


def _reconciled(site: Site) -> reconcile.Counts | str:
    """What a pass found, or why it could not be made; one that cannot be reached must not keep the others from it."""
    try:
        return reconcile.run_all(site)
    except Exception as error:
        return outcome_of(error).message or str(error)


def _show(found: dict[str, reconcile.Counts | str]) -> None:
    table = Table("accreditation", "present", "missing", "orphaned", "absent")
    for name, result in found.items():
        if isinstance(result, str):
            table.add_row(name, result)
        else:
            table.add_row(name, *map(str, (result.present, result.missing, result.orphaned, result.absent)))
    Console().print(table)


def _simulators() -> list[click.Command]:
    """Stand-ins for the outside, where the extra `demo` has brought what they need."""
    if find_spec("trustme") is None:
        return []
    from .simulator.cli import simulator

    return [simulator]


commands: list[click.Command] = [worker_command, reconcile_command, *_simulators()]
