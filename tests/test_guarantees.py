"""Every test that the documentation names as a proof exists."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
DOCS = TESTS.parent / "docs"


@cache
def named_in(file: str) -> set[str]:
    """Names of the tests in a file."""
    tree = ast.parse((TESTS / file).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("page", ["guarantees.md", "faults.md"])
def test_every_proof_exists(page: str) -> None:
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", (DOCS / page).read_text())
    assert len(named) > 20
    assert [f"{file}::{name}" for file, name in named if name not in named_in(file)] == []


@pytest.mark.parametrize("page", ["guarantees.md", "faults.md"])
def test_every_promise_has_a_proof(page: str) -> None:
    rows = [line for line in (DOCS / page).read_text().splitlines() if line.startswith("| ") and "---" not in line]
    promises = [row for row in rows if not row.startswith(("| promise", "| fault"))]
    assert promises
    assert [row for row in promises if "::test_" not in row] == []
