"""docs/states.md is what the database says."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from provision.cli import cli
from provision.states import MACHINES, Transition, document, in_order, read

from .conftest import Database

PAGE = Path(__file__).parent.parent / "docs/states.md"


def test_the_page_is_current(shared_database: Database) -> None:
    """If not: `provision states > docs/states.md`."""
    assert PAGE.read_text() == document(read(shared_database.url))


def test_every_machine_of_the_database_is_on_it(shared_database: Database) -> None:
    assert {transition.machine for transition in read(shared_database.url)} == set(MACHINES)


def test_the_command_prints_it(shared_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", shared_database.url)
    result = CliRunner().invoke(cli, ["states"])
    assert (result.exit_code, result.output) == (0, PAGE.read_text())


def test_transitions_are_told_in_the_order_a_row_meets_them() -> None:
    steps = [("b", "c"), ("a", "b"), (None, "a"), ("b", "a")]
    told = in_order([Transition("m", from_state, to_state, "") for from_state, to_state in steps])
    assert [(t.from_state, t.to_state) for t in told] == [(None, "a"), ("a", "b"), ("b", "c"), ("b", "a")]
