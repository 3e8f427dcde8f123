"""The command line answers in one line and an exit code, and the doctor knows what to do."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Database

Provision = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def provision(tmp_path: Path) -> Provision:
    """Runs the command in an empty directory with the given variables."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "provision", *arguments]
        variables = {"PATH": os.defpath, **environment}
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=variables, check=False)

    return run


def test_help_teaches_the_first_steps(provision: Provision) -> None:
    result = provision("--help")
    assert result.returncode == 0
    for step in ("provision migrate", "provision doctor", "provision worker", "provision api", "python3 run.py demo"):
        assert step in result.stdout


def test_a_wrong_command_is_answered_with_the_right_one(provision: Provision) -> None:
    result = provision("migrat")
    assert result.returncode == 2
    assert "Did you mean 'migrate'?" in result.stderr


@pytest.mark.parametrize(
    ("environment", "code", "answer"),
    [
        ({}, 1, "provision: no database: set DATABASE_URL="),
        ({"PROVISION_API_PROT": "1"}, 2, "provision: unknown setting PROVISION_API_PROT, did you mean"),
        ({"DATABASE_URL": "postgresql://me@127.0.0.1:1/shop"}, 1, "provision: connection failed: "),
    ],
)
def test_mistakes_end_in_one_line(provision: Provision, environment: dict[str, str], code: int, answer: str) -> None:
    result = provision("migrate", **environment)
    assert (result.returncode, result.stdout) == (code, "")
    assert result.stderr.startswith(answer)
    assert result.stderr.count("\n") == 1


def test_a_database_is_migrated_examined_and_rolled_back(provision: Provision, empty_database: Database) -> None:
    url = {"DATABASE_URL": empty_database.url}
    pending = provision("migrate", "--status", **url)
    assert (pending.returncode, pending.stdout.split()[:2]) == (1, ["pending", "0001.class"])
    migrated = provision("migrate", **url)
    assert migrated.stdout.endswith("the database is at this release\n"), migrated.stderr
    current = provision("migrate", "--status", **url)
    assert (current.returncode, current.stdout.split()[:2]) == (0, ["applied", "0001.class"])
    back = provision("migrate", "--rollback", "1", **url)
    assert (back.returncode, back.stdout.count("rolling back")) == (0, 1), back.stderr
    assert provision("migrate", "--status", **url).returncode == 1


def test_the_doctor_finds_a_migrated_database_well(provision: Provision, database: Database) -> None:
    result = provision("doctor", DATABASE_URL=database.url)
    assert "ok       provision_api logs in" in result.stdout
    assert "ok       provision_worker has time-outs" in result.stdout
    assert "ok       migrations: all" in result.stdout
    # The tests' own server is a throw-away, which is what the doctor is there to notice.
    assert "problem  the server may lose what it has acknowledged: fsync, full_page_writes off" in result.stdout
    assert result.returncode == 1


def test_the_doctor_says_what_to_do_about_an_empty_database(provision: Provision, empty_database: Database) -> None:
    result = provision("doctor", DATABASE_URL=empty_database.url)
    assert result.returncode == 1
    assert "pending" in result.stdout
    assert "→ run `provision migrate`" in result.stdout


@pytest.mark.parametrize(
    ("environment", "remedy"),
    [
        ({}, "→ set DATABASE_URL="),
        ({"DATABASE_URL": "postgresql://me@127.0.0.1:1/shop"}, "→ check DATABASE_URL and that the server runs"),
        (
            {"PROVISION_API_CERTIFICATE": "no.pem", "PROVISION_API_KEY_FILE": "no.key"},
            "→ correct the path or the file's mode",
        ),
    ],
)
def test_the_doctor_knows_a_remedy(provision: Provision, environment: dict[str, str], remedy: str) -> None:
    result = provision("doctor", **environment)
    assert result.returncode == 1
    assert remedy in result.stdout


def test_settings_are_listed_without_secrets(provision: Provision) -> None:
    result = provision("doctor", "--settings", DATABASE_URL="postgresql://me:hunter2@db/shop", PROVISION_API_PORT="81")
    assert "PROVISION_API_PORT = 81\n    port the API listens on (integer 1–65535, default 8080)\n" in result.stdout
    assert "PROVISION_DATABASE_URL = **********\n" in result.stdout
    assert "hunter2" not in result.stdout
