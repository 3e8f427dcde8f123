"""Commands of the API: serve it, and the operators' own in `admin`."""

from pathlib import Path
from typing import Any

import click

from provision import log
from provision.settings import Settings, load
from provision_api.admin import admin_command
from provision_api.allocation.example import allocator_command
from provision_api.example import example_command, mfa_command
from provision_api.server import serve

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("api")
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen on.")
@click.option("--certificate", type=_FILE, help="PEM certificate chain: speak TLS. Needs --key.")
@click.option("--key", type=_FILE, help="PEM private key of the certificate.")
def api_command(host: str | None, port: int | None, certificate: Path | None, key: Path | None) -> None:
    """Serve the REST API until it is told to stop.

    /docs shows what it can do and lets you try it. SIGTERM or Ctrl-C: finish what runs, then exit. Start as many as you
    like, behind a load balancer that asks /readyz. Options win over the settings PROVISION_API_HOST, _PORT, …

    \b
    Examples:
      provision api --port 8081
      provision api --host 0.0.0.0 --certificate chain.pem --key key.pem
    """
    given = {"api_host": host, "api_port": port, "api_certificate": certificate, "api_key_file": key}
    settings = _changed(load(), {name: value for name, value in given.items() if value is not None})
    log.configure(settings)
    serve(settings)


def _changed(settings: Settings, given: dict[str, Any]) -> Settings:
    if ("api_certificate" in given) != ("api_key_file" in given):
        raise click.UsageError("--certificate and --key go together")
    return settings.model_copy(update=given)


admin_command.add_command(mfa_command)
example_command.add_command(allocator_command)
admin_command.add_command(example_command)

commands: list[click.Command] = [api_command, admin_command]
