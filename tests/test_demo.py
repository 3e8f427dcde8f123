"""The demo tells the truth about itself, works again after anything, and leaves nothing running."""

import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from provision import ProvisionError
from provision.demo import stage
from provision.demo.expectation import Expectation
from provision.demo.place import LOCK, PROCESSES, note_process, place
from provision.demo.screen import Screen

from .worker_fixtures import eventually

COMMAND = [sys.executable, "-m", "provision", "demo"]
# It must neither use nor hurt what it finds here; and what it runs must not be sent to a proxy.
STRANGE = {
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/elsewhere",
    "AWS_PROFILE": "elsewhere",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    "HTTP_PROXY": "http://127.0.0.1:1",
    "PGOPTIONS": "-c search_path=elsewhere",
}


def environment(**more: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "COLUMNS"} | more


def running_below(directory: Path) -> list[str]:
    """What runs in the directory."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if Path(process.cwd()).is_relative_to(directory):
                found.append(f"{process.pid} {process.name()}")
    return found


def test_all_is_as_expected_without_a_terminal(reachable_path: Path) -> None:
    result = subprocess.run(
        COMMAND,
        cwd=reachable_path,
        capture_output=True,
        text=True,
        env=environment(**STRANGE),
        # What takes too long ends by itself, and says what it waited for; a busy machine takes minutes.
        timeout=400,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, ""), result.stdout
    _, _, expected = result.stdout.partition("\nExpected\n")
    assert expected.count("✓") >= 20
    assert "✗" not in expected
    assert "refused: the period is not allowed; 7 years; allowed are [1, 2, 3, 5, 10]" in result.stdout
    assert "2302 Object exists" in result.stdout
    assert running_below(reachable_path) == []


@contextmanager
def kept_on_a_terminal(directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`demo --keep` on a terminal of 40 columns, once it has said how to look further."""
    master, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 40))
    with subprocess.Popen(
        [*COMMAND, "--keep"], cwd=directory, stdin=terminal, stdout=terminal, stderr=terminal, env=environment()
    ) as process:
        os.close(terminal)
        shown = b""
        with suppress(OSError):  # what a terminal answers at its end
            while b"have logged:" not in shown and (piece := os.read(master, 65536)):
                shown += piece
        try:
            assert b"have logged:" in shown, shown.decode()
            yield process
        finally:
            os.close(master)
            process.kill()


def workers_of(demo: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The worker processes of a demo."""
    children = psutil.Process(demo.pid).children()
    return [
        child for child in children if child.status() != psutil.STATUS_ZOMBIE and child.cmdline()[-1:] == ["worker"]
    ]


@pytest.mark.slow
def test_it_stays_is_alone_and_survives_its_own_death(reachable_path: Path) -> None:
    with kept_on_a_terminal(reachable_path) as demo:
        second = subprocess.run(
            COMMAND, cwd=reachable_path, capture_output=True, text=True, env=environment(), check=False
        )
        assert second.returncode == 1
        assert second.stderr.startswith(f"provision: a demo is running already in {reachable_path}")
        assert len(running_below(reachable_path)) >= 3
        demo.kill()
    eventually(lambda: not running_below(reachable_path), "the guard's work")
    with kept_on_a_terminal(reachable_path) as demo:
        (worker,) = workers_of(demo)
        worker.kill()
        eventually(lambda: [process for process in workers_of(demo) if process != worker], "a new worker")
        demo.send_signal(signal.SIGINT)
        demo.send_signal(signal.SIGINT)
        assert demo.wait(60) == 0
    assert running_below(reachable_path) == []


@pytest.mark.slow
def test_interrupted_before_the_end_it_stops_everything_and_says_so(reachable_path: Path) -> None:
    with subprocess.Popen(COMMAND, cwd=reachable_path, stdout=subprocess.PIPE, text=True, env=environment()) as demo:
        assert demo.stdout
        assert any("PostgreSQL" in line for line in demo.stdout)
        demo.send_signal(signal.SIGTERM)
        assert demo.wait(60) == 130
    assert running_below(reachable_path) == []


@pytest.mark.slow
def test_a_worker_that_ends_is_not_waited_for(reachable_path: Path) -> None:
    with subprocess.Popen(
        COMMAND, cwd=reachable_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as demo:
        assert demo.stdout
        (line,) = [line for line in iter(demo.stdout.readline, "Ordering\n") if "a worker, process" in line]
        psutil.Process(int(line.split()[-1])).kill()
        _, errors = demo.communicate(timeout=60)
    assert demo.returncode == 1
    assert errors.startswith("provision: provision worker ended with code -9")
    assert running_below(reachable_path) == []


def test_missing_packages_are_named_with_the_way_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "EXTRA", ("moto", "no_such_package"))
    with pytest.raises(ProvisionError, match=r"not installed \(no_such_package\): pip install 'provision\[demo\]'"):
        stage.require_extra()


def test_an_unmet_expectation_is_shown_with_what_is_there_instead(capsys: pytest.CaptureFixture[str]) -> None:
    Screen().expectations([Expectation("one domain", True), Expectation("no host", False, "two hosts")])
    assert capsys.readouterr().out == "✓ one domain\n✗ no host – two hosts\n"


# Its directory


def test_its_directory_is_made_anew(reachable_path: Path) -> None:
    for _ in range(2):
        with place(reachable_path) as directory:
            assert [path.name for path in directory.iterdir()] == [LOCK]
            (directory / "postgres" / "data").mkdir(parents=True)
            (directory / "api.log").touch()


def test_where_it_may_not_write_it_takes_a_temporary_directory(
    reachable_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(reachable_path))
    blocked = reachable_path / "file"
    blocked.touch()
    with place(blocked) as directory:
        assert directory == reachable_path / f"provision-demo-{os.getuid()}"


def test_a_directory_of_somebody_else_is_not_used(reachable_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(reachable_path))
    (reachable_path / "elsewhere").mkdir()
    (reachable_path / f"provision-demo-{os.getuid()}").symlink_to(reachable_path / "elsewhere")
    (reachable_path / "file").touch()
    with pytest.raises(ProvisionError, match="set PROVISION_DATA_DIRECTORY"), place(reachable_path / "file"):
        pass


@pytest.fixture
def sleepers() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two processes that do nothing."""
    command = [sys.executable, "-c", "import signal; signal.pause()"]
    with subprocess.Popen(command) as one, subprocess.Popen(command) as two:
        try:
            yield [one, two]
        finally:
            one.kill()
            two.kill()


def test_only_processes_of_its_own_are_ended(reachable_path: Path, sleepers: list[subprocess.Popen[bytes]]) -> None:
    left, stranger = sleepers
    with place(reachable_path) as directory:
        note_process(directory, left.pid)
        # Another process that has got the number of one that ended.
        with (directory / PROCESSES).open("a") as file:
            file.write(f"{stranger.pid} {psutil.Process(stranger.pid).create_time() - 3600}\n")
    assert (left.poll(), stranger.poll()) == (-signal.SIGKILL, None)


def test_what_a_killed_run_and_its_guard_left_is_ended_by_the_next(
    reachable_path: Path, sleepers: list[subprocess.Popen[bytes]]
) -> None:
    (reachable_path / "demo").mkdir()
    note_process(reachable_path / "demo", sleepers[0].pid)
    with place(reachable_path):
        assert [process.poll() for process in sleepers] == [-signal.SIGKILL, None]
