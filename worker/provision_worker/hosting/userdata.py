"""What a node does when it starts, as a shell script: the user data of the launch template.

The image is made by `image/build.sh`. The script fetches code
and secrets, mounts the shared files, makes WordPress's own database user with the rotating master's help, installs
WordPress once (under a lock in the shared files) and answers on /healthz from then on. WordPress's own cron is off;
each minute one node of the site, whoever gets the lock, runs what is due.
"""

import shlex
import subprocess
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from .model import Site

LIMIT_BYTES = 16_384
"""EC2 takes no more, before it is encoded."""
SHELL_SECONDS = 10.0


class UserDataError(Exception):
    """A script that no node must be started with."""


def script(site: Site, region: str, database_host: str, file_system: str, secrets: Iterable[str]) -> str:
    """The checked script of a site's nodes.

    Raises:
        UserDataError: it is too long, no shell would run it, or one of `secrets` is in it.
    """
    values = {
        "SITE": site.key,
        "REGION": region,
        "HOST": site.hostname,
        "SECRET": site.secret_name,
        "DB_HOST": database_host,
        "DB_NAME": site.database_name,
        "FILES": file_system,
        "API": site.network.api_url or "",
    }
    text = _template().replace("@VALUES@", assignments(values)).replace("@SITES@", "\n".join(_sites(site)))
    check(text, secrets)
    return text


def assignments(values: Mapping[str, str]) -> str:
    """Variables of a shell script."""
    return "\n".join(f"{name}={shlex.quote(value)}" for name, value in values.items())


def check(text: str, secrets: Iterable[str] = ()) -> None:
    """Refuses what EC2 or a shell would refuse, or what everybody may not read who may read user data."""
    size = len(text.encode())
    if size > LIMIT_BYTES:
        raise UserDataError(f"the user data has {size} bytes, {LIMIT_BYTES} are allowed; use fewer routes")
    if any(secret in text for secret in secrets if secret):
        raise UserDataError("a secret is in the user data")
    shell = subprocess.run(["sh", "-n"], input=text, capture_output=True, text=True, timeout=SHELL_SECONDS, check=False)
    if shell.returncode:
        raise UserDataError(f"the user data is no shell script: {shell.stderr.strip()[:300]}")


@cache
def _template() -> str:
    return files(__package__).joinpath("node.sh").read_text(encoding="utf-8")


def _sites(site: Site) -> Iterable[str]:
    """One line for the site itself, one for each route: host name, code, whether it asks for a password."""
    yield _line(site.hostname, site.artifact, False)
    for route in site.routes:
        yield _route(site, route)


def _route(site: Site, route: Mapping[str, Any]) -> str:
    version = route.get("version")
    artifact = site.artifact if version is None else site.artifacts.get(str(version))
    return _line(f"{route['route']}.{site.hostname}", artifact, bool(route.get("basic_auth")))


def _line(host: str, artifact: str | None, has_password: bool) -> str:
    return f"site {shlex.quote(host)} {shlex.quote(artifact or 'stock')} {'auth' if has_password else 'open'}"
