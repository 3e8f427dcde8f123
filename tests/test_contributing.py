"""The worked example of CONTRIBUTING.md is applied to a copy of the sources, and its own test is run there.

A block is a file when the line before it names one, and a change to the file named last when it is a diff.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from provision.migrate import migrate, rollback, status

from .conftest import Database

ROOT = Path(__file__).parent.parent
SOURCES = ("api", "provision", "sql", "tests", "worker")
EXAMPLE = (ROOT / "CONTRIBUTING.md").read_text().partition("## A new kind of provisioning")[2]
BLOCK = re.compile(r"(?ms)^`(?P<path>[\w/-]+\.[\w.]+)`$|^```(?P<language>\w+)\n(?P<text>.*?)^```$")


class Block(NamedTuple):
    """One code block: what it is, which file it belongs to, and its text."""

    language: str
    path: str
    text: str


def blocks() -> Iterator[Block]:
    """The code blocks in order; migrations get the next free number."""
    number = max(int(file.name[:4]) for file in (ROOT / "sql/schema").glob("[0-9]*.sql")) + 1
    path = ""
    for found in BLOCK.finditer(EXAMPLE):
        if found["path"]:
            path = found["path"].replace("NNNN", f"{number:04}")
        else:
            yield Block(found["language"], path, found["text"])


def change(text: str, diff: str) -> str:
    """Applies a diff of one place, which must be there exactly once."""
    lines = [line or " " for line in diff.splitlines()]
    old, new = ("".join(f"{line[1:]}\n" for line in lines if line[0] in signs) for signs in (" -", " +"))
    assert text.count(old) == 1, f"not there once:\n{old}"
    return text.replace(old, new)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources with the example applied."""
    root = tmp_path_factory.mktemp("probe")
    shutil.copy(ROOT / "pyproject.toml", root)
    for source in SOURCES:
        shutil.copytree(ROOT / source, root / source, ignore=shutil.ignore_patterns("__pycache__"))
    for block in blocks():
        file = root / block.path
        if block.language == "diff":
            file.write_text(change(file.read_text(), block.text))
        else:
            assert not file.exists(), f"{block.path} is there already"
            file.write_text(block.text)
    return root


def run(copy: Path, *command: str) -> str:
    """Runs a Python module on the copy; its output."""
    paths = os.pathsep.join(str(copy / path) for path in (".", "api", "worker"))
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run(
        [sys.executable, "-m", *command], cwd=copy, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


# By name, the tests of test_class.py that hold for whatever there is; the others compare with lists of what there is.
RULES = "has_a_comment or functions_are_short or looked_up or says_why or names_of_their_own or belongs_to"


def test_the_example_does_what_its_test_says_and_keeps_the_rules(copy: Path) -> None:
    files = ("tests/test_probe.py", "tests/test_class.py")
    said = run(copy, "pytest", *files, "-k", f"test_probe or {RULES}", "-v", "-p", "no:cacheprovider", "-p", "no:xdist")
    assert all(said.count(f"{file}::") for file in files)


def test_the_code_of_the_example_is_clean(copy: Path) -> None:
    files = [block.path for block in blocks() if block.path.endswith(".py")]
    run(copy, "ruff", "check", "--no-cache", *files)
    run(copy, "ruff", "format", "--no-cache", "--check", *files)


def test_the_example_can_be_taken_back(copy: Path, empty_database: Database) -> None:
    source = copy / "sql"
    for _ in range(2):
        migrate(empty_database.url, source=source)
        assert status(empty_database.url, source=source).current
        rollback(empty_database.url, 1, source=source)
    migrate(empty_database.url)
    assert status(empty_database.url).current
