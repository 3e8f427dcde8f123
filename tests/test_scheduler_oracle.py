"""The solver against those of other makers: what it calls proven is what they find, or better where they gave up."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ortools")
pytest.importorskip("scipy")

import json

from provision_worker.scheduler import solver

from benchmarks.packing import instances, rivals

pytestmark = pytest.mark.solvers

ROOT = Path(__file__).parent.parent
QUEUES = instances.made_queues((9, 14, 20, 25, 32, 48), 4)


@pytest.mark.parametrize("instance", QUEUES, ids=lambda instance: instance.name)
def test_queues_are_solved_as_by_cp_sat_and_highs(instance: instances.Instance) -> None:
    packing = solver.pack(instance.profit, instance.weight, instance.capacity)
    for solve in (rivals.cp_sat, rivals.highs):
        answer = solve(instance, 10.0)
        if answer.is_proven:
            assert answer.value <= packing.bound
        if packing.proven:
            assert answer.value <= packing.value
        if answer.is_proven and packing.proven:
            assert answer.value == packing.value


@pytest.mark.parametrize("instance", instances.made_chu_beasley(8), ids=lambda instance: instance.name)
def test_no_bound_is_contradicted_however_short_the_search(instance: instances.Instance) -> None:
    best = max(solve(instance, 1.0).value for solve in (rivals.cp_sat, rivals.highs))
    for limit in (0, 10_000, 300_000):
        packing = solver.pack(instance.profit, instance.weight, instance.capacity, work_limit=limit)
        assert best <= packing.bound
        assert not packing.proven or best <= packing.value


@pytest.mark.slow
def test_a_small_run_of_the_benchmark_measures_everything(tmp_path: Path) -> None:
    plots = tmp_path / "plots.svg"
    options = [
        "--every=20",
        "--seeds=1",
        "--deployments=40",
        f"--data={tmp_path / 'none'}",
        f"--plots={plots}",
        "--json",
    ]
    command = [sys.executable, "-m", "benchmarks.scheduler", *options]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout.splitlines()[-1])
    assert document["made_small_best"]["ours"] >= 1
    assert document["replay_late"] == {"ours": 0}
    assert document["made_gap"].keys() == {"ours", "CP-SAT", "HiGHS"}
    assert "left out, as there is no" in result.stdout
    assert plots.stat().st_size > 10_000
