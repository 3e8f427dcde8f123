"""`provision admin`: the first steps of an installation, asked for at a terminal and never without one."""

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest

from provision.database import url_as

from . import api_fixtures
from .api_fixtures import serving, settings_for, value
from .conftest import Database

ROOT = Path(__file__).parent.parent
Admin = Callable[..., subprocess.CompletedProcess[str]]

make_api = api_fixtures.make_api


@pytest.fixture
def admin(database: Database, tmp_path: Path) -> Admin:
    """Runs the command as the database's owner, without a terminal."""

    def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.defpath, "DATABASE_URL": options.pop("url", database.url)}
        command = [sys.executable, "-m", "provision", "admin", *arguments]
        options = {"stdin": subprocess.DEVNULL} | options
        return subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False, timeout=60, **options
        )

    return run


def made(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert result.returncode == 0, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def test_the_first_steps_of_the_guide_lead_to_an_order(database: Database, tmp_path: Path) -> None:
    page = (ROOT / "docs/operators.md").read_text()
    (steps,) = re.findall(
        r"^## The first steps of an installation$.*?^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL
    )
    binaries = f"{Path(sys.executable).parent}:{os.defpath}"
    with serving(settings_for(database.url)) as served:
        environment = {"PATH": binaries, "DATABASE_URL": database.url, "API": served.url}
        command = ["bash", "-eu", "-c", f"{steps}\necho $KEY $ROOT"]
        result = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
        )
        assert result.returncode == 0, result.stderr
        shop, root = result.stdout.split()[-2:]
        headers = {"Authorization": f"Token {shop}"}
        item = {"operation": "host.create", "data": {"name": "ns1.example.net"}}
        order = httpx2.post(f"{served.url}/v1/orders", json={"items": [item]}, headers=headers)
        assert order.status_code == 202
        customers = httpx2.get(f"{served.url}/v1/customers", headers={"Authorization": f"Token {root}"}).json()
        users = httpx2.get(f"{served.url}/v1/users?username=jane", headers=headers).json()
    assert [customer["name"] for customer in customers["customers"]] == ["Blue Shop"]
    assert [user["email"] for user in users["users"]] == ["jane@example.net"]


def test_json_tells_what_was_made(admin: Admin, owner: psycopg.Connection) -> None:
    tenant = made(admin("tenant", "--name", "Blue", "--json"))
    assert tenant == {"id": str(value(owner, "SELECT id FROM tenant")), "name": "Blue"}
    customer = made(admin("customer", "--name", "Shop", "--email", "shop@example.net", "--json"))
    assert value(owner, "SELECT cid FROM customer WHERE id = %s", customer["id"]) == "sho"
    user = made(admin("user", "--username", "root", "--email", "root@example.net", "--platform-admin", "--json"))
    assert value(owner, "SELECT is_platform_admin FROM app_user WHERE id = %s", user["id"]) is True
    org = made(admin("org", "--customer", "sho", "--name", "Team", "--kind", "project", "--json"))
    assert value(owner, "SELECT slug FROM org WHERE id = %s", org["id"]) == "team-sho"
    key = made(admin("api-key", "--customer", "sho", "--org", "team-sho", "--json"))
    assert re.fullmatch("[0-9a-f]{40}", key["key"])


def test_a_program_is_one_user_however_many_keys_it_has(admin: Admin, owner: psycopg.Connection) -> None:
    api_fixtures.make_customer(owner, "acme")
    for _ in range(2):
        assert admin("api-key", "--customer", "acm", "--name", "till").returncode == 0
    assert value(owner, "SELECT count(*) FROM app_user WHERE username = 'till-acm' AND is_technical") == 1
    refused = admin("api-key", "--customer", "acm", "--name", "till")
    assert (refused.returncode, "two keys of that name are valid" in refused.stderr) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["tenant"], "--name"),
        (["customer", "--name", "Shop"], "--email"),
        (["accreditation", "--name", "desk"], "--provider"),
        (["accreditation", "--name", "registry", "--provider", "epp", "--endpoint", "x:1"], "--registrar-id"),
        (["org", "--name", "team"], "--customer"),
        (["user", "--username", "jane"], "--email"),
        (["api-key"], "--customer"),
    ],
)
def test_without_a_terminal_nothing_is_asked(admin: Admin, arguments: list[str], option: str) -> None:
    result = admin(*arguments, stdin=None, input="an answer\n" * 9)
    assert (result.returncode, result.stdout) == (2, "")
    assert f"Missing option '{option}'" in result.stderr


def test_at_a_terminal_what_is_missing_is_asked(admin: Admin, owner: psycopg.Connection) -> None:
    admin("tenant", "--name", "Blue")
    terminal, other_end = pty.openpty()
    try:
        os.write(terminal, b"registry\nepp\nus\nepp.example.net:700\nenv:SECRET\n")
        result = admin("accreditation", stdin=other_end)
    finally:
        os.close(terminal)
        os.close(other_end)
    assert result.returncode == 0, result.stderr
    found = owner.execute("SELECT name, provider, registrar_id, endpoint, secret_ref FROM accreditation").fetchone()
    assert found == ("registry", "epp", "us", "epp.example.net:700", "env:SECRET")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["accreditation", "--name", "desk", "--provider", "manual"], 1, "there is no tenant yet"),
        (["customer", "--name", "Shop", "--email", "shop@example.net"], 1, "there is no tenant yet"),
        (["org", "--customer", "nobody", "--name", "team"], 1, "no customer is named 'nobody'"),
        (["user", "--username", "x", "--email", "x@y", "--role", "owner"], 2, "--role goes with --customer or --org"),
        (["api-key", "--user", "x", "--customer", "y"], 2, "--user excludes --customer"),
        (["api-key", "--user", "nobody"], 1, "user not found"),
    ],
)
def test_mistakes_are_explained(admin: Admin, arguments: list[str], code: int, words: str) -> None:
    result = admin(*arguments)
    assert (result.returncode, result.stdout) == (code, "")
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_of_several_tenants_one_is_named(admin: Admin) -> None:
    for name in ("Blue", "Red"):
        admin("tenant", "--name", name)
    customer = ("customer", "--name", "Shop", "--email", "shop@example.net")
    assert "Missing option '--tenant'" in admin(*customer).stderr
    assert "no tenant is named 'Green'; there are Blue, Red" in admin(*customer, "--tenant", "Green").stderr
    assert admin(*customer, "--tenant", "Red").returncode == 0


def test_the_role_of_a_user_is_given_with_him_or_neither_is_made(admin: Admin, owner: psycopg.Connection) -> None:
    api_fixtures.make_customer(owner, "acme")
    user = ("user", "--username", "jane", "--email", "jane@example.net", "--customer", "acm")
    assert admin(*user, "--role", "king").returncode == 1
    assert value(owner, "SELECT count(*) FROM app_user WHERE username = 'jane'") == 0
    assert admin(*user, "--role", "owner").returncode == 0
    assert value(owner, "SELECT role FROM v_membership WHERE username = 'jane' AND org_id IS NULL") == "owner"


def test_an_owner_who_is_no_superuser_can_do_it_too(
    admin: Admin, owner: psycopg.Connection, database: Database
) -> None:
    owner.execute("CREATE ROLE shopkeeper LOGIN IN ROLE provision_owner")
    try:
        url = url_as(database.url, "shopkeeper")
        for step in (
            ("tenant", "--name", "Blue"),
            ("customer", "--name", "Shop", "--email", "shop@example.net"),
            ("org", "--customer", "sho", "--name", "team"),
            ("user", "--username", "root", "--email", "root@example.net", "--platform-admin"),
            ("api-key", "--customer", "sho"),
        ):
            result = admin(*step, url=url)
            assert result.returncode == 0, result.stderr
    finally:
        owner.execute("DROP ROLE shopkeeper")
