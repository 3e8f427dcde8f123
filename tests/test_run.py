"""run.py explains itself, makes .venv once, and makes it again when it was interrupted.

The installer is stood in for by a program named uv that writes its arguments down; real installations are what CI does.
"""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parent.parent / "run.py"
LOCKS = ("requirements.lock", "requirements-test.lock", "requirements-all.lock")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with one benchmark that says where it runs."""
    root = tmp_path / "a checkout"
    (root / "benchmarks").mkdir(parents=True)
    shutil.copy(RUN, root)
    for name in (*LOCKS, "pyproject.toml"):
        (root / name).touch()
    (root / "benchmarks" / "place.py").write_text("import os, sys; print(os.getcwd(), sys.prefix, *sys.argv[1:])")
    return root


@pytest.fixture
def installer(tmp_path: Path) -> Path:
    """The directory of a uv that notes its arguments and succeeds; a file `broken` beside it lets it fail."""
    directory = tmp_path / "bin"
    directory.mkdir()
    uv = directory / "uv"
    uv.write_text(f'#!/bin/sh\necho "$@" >> {directory}/calls\ntest ! -e {directory}/broken\n')
    uv.chmod(0o755)
    return directory


def call(
    checkout: Path, *arguments: str, path: Path | None = None, home: str | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{path}:{os.defpath}" if path else os.defpath} | ({"HOME": home} if home else {})
    command = [sys.executable, str(checkout / "run.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd="/", env=environment, check=False)


def test_old_pythons_can_read_it_and_are_told() -> None:
    source = RUN.read_text()
    ast.parse(source, feature_version=(3, 6))
    program = f"import sys; sys.version_info = (3, 9, 2); exec(compile({source!r}, 'run.py', 'exec'))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (1, "run.py: Python 3.11 to 3.14 is needed, and this is 3.9\n")


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_without_a_command_it_explains_itself(checkout: Path, arguments: list[str]) -> None:
    result = call(checkout, *arguments)
    assert result.returncode == 0
    assert result.stdout.startswith("usage: python3 run.py COMMAND\n")
    assert "run a benchmark: place" in result.stdout
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["tset"], "unknown command 'tset'; did you mean test?"),
        (["xyzzy"], "unknown command 'xyzzy'; there is demo, test, bench"),
        (["bench"], "which benchmark? there is place"),
        (["bench", "palce"], "unknown benchmark 'palce'; did you mean place?"),
    ],
)
def test_a_wrong_command_is_answered_with_the_right_one(checkout: Path, arguments: list[str], answer: str) -> None:
    result = call(checkout, *arguments)
    assert (result.returncode, result.stdout, result.stderr) == (2, "", f"run.py: {answer}\n")


def test_it_installs_once_and_becomes_the_program(checkout: Path, installer: Path) -> None:
    first = call(checkout, "bench", "place", "--json", path=installer)
    assert first.returncode == 0, first.stderr
    assert first.stdout.splitlines()[-1] == f"{checkout} {checkout}/.venv --json"
    assert (installer / "calls").read_text().splitlines() == [
        f"pip install --python {checkout}/.venv/bin/python --require-hashes -r requirements-test.lock",
        f"pip install --python {checkout}/.venv/bin/python --no-deps --no-build-isolation -e {checkout}",
    ]
    second = call(checkout, "bench", "place", path=installer)
    assert second.stdout == f"{checkout} {checkout}/.venv\n"
    assert len((installer / "calls").read_text().splitlines()) == 2


def test_a_changed_lock_is_installed(checkout: Path, installer: Path) -> None:
    call(checkout, "bench", "place", path=installer)
    (checkout / "requirements-test.lock").write_text("# more\n")
    assert "installing the packages" in call(checkout, "bench", "place", path=installer).stdout


def test_an_interrupted_installation_is_made_anew(checkout: Path, installer: Path) -> None:
    (checkout / ".venv" / "lib").mkdir(parents=True)
    (checkout / ".venv" / "lib" / "half").touch()
    assert "making .venv" in call(checkout, "bench", "place", path=installer).stdout
    assert not (checkout / ".venv" / "lib" / "half").exists()


def test_a_moved_checkout_is_made_anew(checkout: Path, installer: Path) -> None:
    call(checkout, "bench", "place", path=installer)
    moved = checkout.rename(checkout.parent / "moved")
    result = call(moved, "bench", "place", path=installer)
    assert result.stdout.splitlines()[-1] == f"{moved} {moved}/.venv"


def test_all_tests_need_more_packages(checkout: Path, installer: Path) -> None:
    call(checkout, "test", path=installer)
    call(checkout, "test", "--all", path=installer)
    call(checkout, "test", path=installer)
    locks = [line.split()[-1] for line in (installer / "calls").read_text().splitlines() if "-r" in line.split()]
    assert locks == ["requirements-test.lock", "requirements-all.lock"]


def test_a_failed_installation_shows_why_and_is_tried_again(checkout: Path, installer: Path) -> None:
    """uv cannot, so pip is asked; neither finds a build backend in an empty project."""
    (installer / "broken").touch()
    failed = call(checkout, "bench", "place", path=installer)
    assert failed.returncode == 2
    assert "run.py: the installation failed; the end of" in failed.stderr
    assert len(failed.stderr.splitlines()) > 2
    (installer / "broken").unlink()
    assert call(checkout, "bench", "place", path=installer).returncode == 0
