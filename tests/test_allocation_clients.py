"""The published clients of Waldur, unmodified, each in an environment of its own, against our server over HTTP.

They conflict with each other and with us. `clients/<name>.txt` are their locked requirements; the environments are made
when first needed, in a cache beside our own, and made anew when the requirements change.
"""

import fcntl
import hashlib
import json
import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from . import test_allocation_api
from .api_fixtures import serving, settings_for
from .conftest import Database

pytestmark = pytest.mark.clients

HERE = Path(__file__).parent / "clients"
CACHE = Path(sys.prefix) / "clients"
Json = dict[str, Any]


def environment(name: str) -> Path:
    """The Python of a client's environment."""
    requirements = HERE / f"{name}.txt"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    place = CACHE / f"{name}-{digest}"
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "complete").exists():
            venv.create(place, with_pip=True, clear=True)
            pip: list[str | Path] = [place / "bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
            subprocess.run([*pip, "--require-hashes", "-r", requirements], check=True)
            (place / "complete").touch()
    return place / "bin/python"


def run(name: str, script: str | Path, *arguments: str, given: Json) -> Json:
    """What a script prints that runs in a client's environment."""
    kept = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "LANG")}
    command = [environment(name), script, *arguments]
    done = subprocess.run(
        command, input=json.dumps(given), env=kept, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-1000:]
    answer: Json = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.fixture
def example(database: Database) -> Iterator[Json]:
    """A server on the loopback, and what its example says."""
    made = test_allocation_api.make_example(database)
    with serving(settings_for(database.url)) as served:
        yield made | {"base_url": served.url}


GENERATIONS = [(4, "waldur-client-4"), (3, "waldur-client-3"), (2, "waldur-module-2")]


@pytest.mark.parametrize(("generation", "name"), GENERATIONS)
def test_waldur_client_does_all_that_a_portal_does(example: Json, generation: int, name: str) -> None:
    seen = run(name, HERE / "waldur_client_story.py", str(generation), given=example)
    assert seen.pop("unknown cuid", "") != ""
    assert seen.pop("orders", 4) >= 3
    assert seen == {
        "customer": "Puhuri",
        "members": ["PROJECT.MEMBER" if generation == 4 else "member"],
        "offering": "LUMI Acceptance",
        "usage": "7.00",
        "end": "Terminated",
        "records": 205,
    }


def test_the_generated_client_does_it_too(example: Json) -> None:
    assert run("waldur-api-5", HERE / "waldur_api_story.py", given=example) == {
        "token": 40,
        "me": True,
        "customer": "Puhuri",
        "member": "PROJECT.MEMBER",
        "plan": "Standard",
        "order": "done",
        "resource": "OK",
        "usage": "3.50",
        "period": "Standard",
        "invoices": 1,
        "end": "Terminated",
        "orders": 3,
        "records": 205,
    }


def test_the_ansible_module_orders_as_a_process(example: Json) -> None:
    api, headers = f"{example['base_url']}/api/", {"Authorization": f"Token {example['token']}"}
    project = {"customer": f"{api}customers/{example['customer']}/", "name": "Ansible"}
    made = httpx2.post(f"{api}projects/", headers=headers, json=project).json()
    offering = httpx2.get(f"{api}marketplace-public-offerings/{example['offering']}/", headers=headers).json()
    parameters = {
        "access_token": example["token"],
        "api_url": api,
        "project": "Ansible",
        "offering": "LUMI Acceptance",
        "plan": offering["plans"][0]["uuid"],
        "attributes": '{"name": "run"}',
        "limits": '{"cpu_hours": 3}',
    }
    library = environment("waldur-ansible").parent.parent / "lib"
    (module,) = library.glob("python*/site-packages/ansible_waldur_module/waldur_marketplace.py")
    answer = run("waldur-ansible", module, given={"ANSIBLE_MODULE_ARGS": parameters})
    assert answer["changed"] is True
    assert (answer["order"]["project_uuid"], answer["order"]["limits"]) == (made["uuid"], {"cpu_hours": 3})
