"""The benchmark is the real thing, made small: that it runs, counts right, and notices what is not finished."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from benchmarks.comparison.lines import FIGURES, RATIOS, ratios
from benchmarks.harness.report import Samples, number
from benchmarks.orders.installation import Installation, UnfinishedError
from benchmarks.peers import pgbench
from provision.database import connect
from provision.server import find_binaries
from tests.conftest import PG_BIN, Database

ROOT = Path(__file__).parent.parent
SMALL = [
    *("--orders=40", "--batch=20", "--submitters=2", "--jobs=100", "--rounds=1", "--pickups=3", "--seconds=0.3"),
    *("--history=100", "--json"),
]


def test_a_small_run_measures_everything_and_ends_with_one_line_of_json() -> None:
    command = [sys.executable, "-m", "benchmarks.engine", *SMALL]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    document: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    assert document["ratios"].keys() == {line.key for line in RATIOS}
    assert document["figures"].keys() == {line.key for line in FIGURES} | {"snapshot"}
    assert all(value > 0 for value in (*document["ratios"].values(), *document["figures"].values()))
    assert document["machine"]["settings"]["synchronous_commit"] == "on"
    assert all(line.name in result.stdout for line in (*FIGURES, *RATIOS))


@pytest.mark.slow
def test_a_small_list_is_read_to_its_end() -> None:
    command = [sys.executable, "-m", "benchmarks.domain", "--domains=300", "--others=10", "--rounds=1", "--json"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    document: dict[str, Any] = json.loads(next(line for line in result.stdout.splitlines() if line.startswith("{")))
    assert document["figures"].keys() == {"page", "slowest", "cpu", "first", "last"}
    assert document["figures"]["cpu"] > 0


def test_what_cannot_be_is_said_without_a_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.engine", "--orders=0", f"--directory={tmp_path / 'missing'}"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "--orders" in result.stderr


def installation(database: Database, ordered: int) -> Installation:
    return Installation(cluster=None, url=database.url, ordered=ordered)  # type: ignore[arg-type]


def test_the_check_passes_where_nothing_was_ordered(database: Database) -> None:
    installation(database, 0).check()


def test_the_check_names_what_is_missing(database: Database) -> None:
    with pytest.raises(UnfinishedError, match="0 completed orders instead of 1, 0 completed items instead of 1"):
        installation(database, 1).check()


def test_the_check_names_what_is_left_over(database: Database, owner: psycopg.Connection) -> None:
    owner.execute("INSERT INTO job (type) VALUES ('reconcile')")
    with pytest.raises(UnfinishedError, match=r"1 jobs that are not completed instead of 0, 1 jobs in the queue"):
        installation(database, 0).check()


def test_the_bare_queue_is_drained_with_and_without_pgbench(empty_database: Database) -> None:
    program = pgbench.find(find_binaries(PG_BIN))
    assert program
    for found in (None, program):
        pgbench.fill(empty_database.url, 300)
        assert pgbench.drain(empty_database.url, 300, found) > 0
        with connect(empty_database.url, "tests") as connection:
            assert connection.execute("SELECT DISTINCT status FROM queue").fetchall() == [(2,)]


def test_a_queue_that_is_not_drained_is_an_error(empty_database: Database) -> None:
    pgbench.fill(empty_database.url, 250)
    with pytest.raises(pgbench.PgbenchError, match="of 250 jobs 200 are complete"):
        pgbench.drain(empty_database.url, 250, None)


def test_ratios_are_quotients_of_medians_of_what_was_measured() -> None:
    samples = Samples()
    for engine, pgqueuer in ((100.0, 50.0), (300.0, 60.0), (110.0, 10.0)):
        samples.add("engine", engine)
        samples.add("pgqueuer", pgqueuer)
    assert ratios(samples) == {"pgqueuer": 110 / 50}


@pytest.mark.parametrize(("value", "text"), [(12345.6, "12,350"), (12.345, "12.3"), (0.12345, "0.123"), (0.0, "0")])
def test_numbers_say_no_more_than_is_known(value: float, text: str) -> None:
    assert number(value) == text
