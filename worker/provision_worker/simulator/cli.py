"""`provision simulator registry`, also `python -m provision_worker.simulator`."""

from __future__ import annotations

import json
import signal
import tempfile
import threading
from pathlib import Path
from typing import Literal

import click

from . import certificates
from .control import ControlServer
from .records import Policy
from .simulator import RegistrySimulator


@click.group()
def simulator() -> None:
    """Stand-ins for the outside world, for trying things out and for tests."""


@simulator.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address the EPP server listens on.")
@click.option("--port", default=7700, show_default=True, help="Port of the EPP server; 0 takes a free one.")
@click.option("--control-port", default=7701, show_default=True, help="Port of the control line on 127.0.0.1.")
@click.option(
    "--zone", "zones", multiple=True, help=f"A zone to serve, repeatable  [default: {', '.join(Policy.zones)}]"
)
@click.option(
    "--registrar",
    "registrars",
    multiple=True,
    metavar="ID:PASSWORD",
    default=["registrar:registrar-secret"],
    show_default=True,
    help="A registrar that may log in, repeatable.",
)
@click.option(
    "--host-model",
    type=click.Choice(["objects", "attributes"]),
    default="objects",
    show_default=True,
    help="Name servers as host objects or as attributes of the domain.",
)
@click.option("--restore-report", is_flag=True, help="Restored domains wait for a report.")
@click.option("--restore-report-zone", "report_zones", multiple=True, help="A zone in which they do, repeatable.")
@click.option("--thin-zone", "thin_zones", multiple=True, help="A zone whose domains have no contacts, repeatable.")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to write ca.pem and the other certificates  [default: a temporary directory]",
)
def registry(
    host: str,
    port: int,
    control_port: int,
    zones: tuple[str, ...],
    registrars: tuple[str, ...],
    host_model: Literal["objects", "attributes"],
    restore_report: bool,
    report_zones: tuple[str, ...],
    thin_zones: tuple[str, ...],
    directory: Path | None,
) -> None:
    """Runs an EPP registry that keeps everything in memory, until it is interrupted.

    Prints one line of JSON when it listens: host, port, control (URL of the control line; GET / explains it), ca_file.
    """
    policy = Policy(
        zones=zones or Policy.zones,
        host_model=host_model,
        restore_report=restore_report,
        restore_report_zones=report_zones,
        thin_zones=thin_zones,
    )
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with tempfile.TemporaryDirectory(prefix="registry-simulator-") as scratch:
        where = directory or Path(scratch)
        where.mkdir(parents=True, exist_ok=True)
        run = RegistrySimulator(
            _passwords(registrars),
            policy,
            host=host,
            port=port,
            certificates=certificates.generate(where, "localhost", "127.0.0.1", host),
        )
        _serve(run, control_port, stop)


def _passwords(registrars: tuple[str, ...]) -> dict[str, str]:
    pairs = [registrar.partition(":") for registrar in registrars]
    for name, _, password in pairs:
        if not name or not password:
            raise click.BadParameter(f"{name!r} is not ID:PASSWORD", param_hint="--registrar")
    return {name: password for name, _, password in pairs}


def _serve(run: RegistrySimulator, control_port: int, stop: threading.Event) -> None:
    try:
        with run:
            control = ControlServer(run, control_port)
            control.start()
            about = {"host": run.host, "port": run.port, "control": control.url, "ca_file": str(run.ca_file)}
            click.echo(json.dumps(about))
            stop.wait()
            control.stop()
    except OSError as error:
        raise click.ClickException(
            f"cannot listen: {error}. Choose other ports with --port and --control-port."
        ) from None
