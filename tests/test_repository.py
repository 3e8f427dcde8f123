"""The repository keeps its own rules: lint, types, locked requirements, short functions, nothing that is not ours."""

import ast
import re
import statistics
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PACKAGES = ("provision", "api", "worker")
LOCKS = ("requirements.lock", "requirements-test.lock", "requirements-all.lock")

# In pieces, so that this file does not contain them.
FORBIDDEN = {
    "a path of somebody's machine": r"/(?:wo" + r"rk|ro" + r"ot|home/(?!provision))/\w",
    "a package registry": r"pypi\.o" + r"rg|pythonho" + r"sted|registry\.npm" + r"js",
    "work that is not done": r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b",
}


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def tracked() -> list[Path]:
    command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"]  # also where somebody else owns the checkout
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in names.split("\0") if name and (ROOT / name).is_file()]


def run(*command: str) -> None:
    result = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("command", [("ruff", "check"), ("ruff", "format", "--check"), ("mypy",)], ids=" ".join)
def test_code_is_clean(command: tuple[str, ...]) -> None:
    run(*command)


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_contains(what: str) -> None:
    pattern = re.compile(FORBIDDEN[what])
    texts = ((path, path.read_text(encoding="utf-8", errors="ignore")) for path in tracked())
    found = [f"{path.relative_to(ROOT)}: {match[0]}" for path, text in texts if (match := pattern.search(text))]
    assert found == []


# Locked requirements --------------------------------------------------------------------------------------------------


def locked(name: str) -> dict[str, str]:
    """The requirements of a lock with their versions; every one has a hash."""
    entries = (ROOT / name).read_text().replace("\\\n", " ").splitlines()
    assert all("--hash=sha256:" in entry for entry in entries)
    return dict(re.match(r"([\w.-]+)==(\S+)", entry).groups() for entry in entries)  # type: ignore[union-attr, misc]


def wanted(requirements: list[str]) -> set[str]:
    names = {re.split(r"[\[<>=!~ ]", requirement, maxsplit=1)[0] for requirement in requirements}
    return {name.lower().replace("_", "-") for name in names} - {"provision"}


def test_locks_hold_what_the_project_asks_for() -> None:
    extras = project()["project"]["optional-dependencies"]
    base = project()["project"]["dependencies"] + project()["dependency-groups"]["build"] + extras["demo"]
    assert wanted(base) <= locked("requirements.lock").keys()
    assert wanted(base + extras["test"] + extras["bench"]) <= locked("requirements-test.lock").keys()
    assert wanted([line for extra in extras.values() for line in extra]) <= locked("requirements-all.lock").keys()


def test_locks_agree() -> None:
    least, more, most = (locked(name) for name in LOCKS)
    assert least.items() <= more.items() <= most.items()


def test_only_all_brings_what_is_not_permissive() -> None:
    clients = wanted(project()["project"]["optional-dependencies"]["clients"])
    assert clients <= locked("requirements-all.lock").keys()
    assert not clients & locked("requirements-test.lock").keys()


# Code -----------------------------------------------------------------------------------------------------------------


def modules() -> Iterator[tuple[Path, ast.Module]]:
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            yield path.relative_to(ROOT), ast.parse(path.read_text())


def functions() -> dict[str, int]:
    """Lines of every function, by file and name."""
    return {
        f"{path}:{node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_functions_are_short() -> None:
    lines = functions()
    assert {name: count for name, count in lines.items() if count > 80} == {}
    assert statistics.median(lines.values()) < 10


def test_every_module_says_what_it_is_for() -> None:
    assert [path for path, tree in modules() if not ast.get_docstring(tree)] == []


def imported(package: str) -> set[str]:
    """Top-level names that a package imports when it is imported."""
    names = set()
    for path, tree in modules():
        if path.parts[0] != package:
            continue
        for node in tree.body:
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.split(".")[0])
    return names


def test_imports_point_one_way() -> None:
    assert not imported("provision") & {"provision_api", "provision_worker"}
    assert "provision_worker" not in imported("api")
    assert "provision_api" not in imported("worker")


# What is shipped ------------------------------------------------------------------------------------------------------


def test_the_wheel_carries_the_sql(tmp_path: Path) -> None:
    run("hatchling", "build", "-t", "wheel", "-d", str(tmp_path))
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {f"provision/_sql/{path.relative_to(ROOT / 'sql')}" for path in (ROOT / "sql").rglob("*.sql")}
    assert expected <= names
    assert {"provision/cli.py", "provision_api/__init__.py", "provision_worker/__init__.py"} <= names


def test_services_wait_for_the_migration_and_are_watched() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    assert set(services) == {"postgres", "migrate", "api", "worker"}
    for name in ("api", "worker"):
        assert services[name]["command"] == [name]
        assert services[name]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
    assert [name for name, service in services.items() if "healthcheck" not in service] == ["migrate"]


def test_the_image_does_not_run_as_root() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert [line for line in lines if line.startswith("USER")] == ["USER provision"]
    assert any("--require-hashes -r requirements.lock" in line for line in lines)
