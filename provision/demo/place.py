"""Where the demo lives: a directory made anew for every run; and the end of what a killed run leaves behind.

A killed demo can stop nothing, so a guard, a process of its own, waits for its end and then ends what it had started.
The next run does the same before it begins, in case that the guard was killed too.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import psutil

from provision import ProvisionError
from provision.server import closed_directory, run_account

LOCK, PROCESSES = "lock", "processes"
END_SECONDS = 10.0
# How long a lock is waited for: the guard of a killed run may be at work.
LOCK_SECONDS = 3.0


@contextmanager
def place(data_directory: Path) -> Iterator[Path]:
    """An empty directory below `data_directory`, or below the system's temporary one if PostgreSQL cannot use that.

    Raises:
        ProvisionError: another demo is running there.
    """
    directory = _usable(data_directory / "demo") or _usable(_temporary())
    if directory is None:
        raise ProvisionError(
            f"neither {data_directory} nor {tempfile.gettempdir()} can be used:"
            " set PROVISION_DATA_DIRECTORY to a directory that you and the user postgres can enter"
        )
    with _lock(directory) as is_alone:
        if not is_alone:
            raise ProvisionError(f"a demo is running already in {directory}: end it with Ctrl-C first")
        _end_leftovers(directory)
        _clear(directory)
        with _guarded(directory):
            yield directory


@contextmanager
def _lock(directory: Path) -> Iterator[bool]:
    """Whether nobody else uses the directory, which stays so until the block or this process ends, however it ends."""
    deadline = time.monotonic() + LOCK_SECONDS
    # Children do not inherit the open file, and so not the lock.
    with (directory / LOCK).open("w") as file:
        while not (is_alone := _take(file)) and time.monotonic() < deadline:
            time.sleep(0.05)
        yield is_alone


def _take(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _guarded(directory: Path) -> Iterator[None]:
    """Nothing that was noted in the directory outlives the block, nor this process if it is killed."""
    command = [sys.executable, "-m", __name__, str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, cwd=directory, start_new_session=True) as guard:
        try:
            yield
        finally:
            _end_leftovers(directory)
            guard.kill()


def _stand_guard(directory: Path) -> None:
    sys.stdin.buffer.read()  # nothing comes; it ends with the process at the other end of the pipe
    with _lock(directory) as is_alone:
        if is_alone:
            _end_leftovers(directory)
            time.sleep(1.0)  # a server that was just being started shows itself a moment later
            _end_leftovers(directory)


def _temporary() -> Path:
    """The same for every run of this user, so that what a killed run left is found."""
    account = run_account()
    parents = [Path(tempfile.gettempdir()), Path("/tmp")]
    parent = next((parent for parent in parents if not closed_directory(parent, account)), parents[-1])
    return parent / f"provision-demo-{os.getuid()}"


def _usable(directory: Path) -> Path | None:
    """The directory if it is ours and PostgreSQL's user can enter it; made if need be."""
    account = run_account()
    if closed_directory(directory, account):
        return None
    with suppress(OSError):
        directory.mkdir(parents=True, exist_ok=True)
        if directory.is_symlink() or directory.stat().st_uid != os.geteuid():
            return None
        directory.chmod(0o755)
        return None if closed_directory(directory, account) else directory
    return None


def _clear(directory: Path) -> None:
    for path in directory.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def note_process(directory: Path, pid: int) -> None:
    """Remember a process, to be ended if this one cannot do it any more."""
    # The time it was made tells it from another one that has the same number later.
    with suppress(psutil.NoSuchProcess), (directory / PROCESSES).open("a") as file:
        file.write(f"{pid} {psutil.Process(pid).create_time()}\n")


def _end_leftovers(directory: Path) -> None:
    """End what is still there: workers and API at once, PostgreSQL with all its own processes."""
    processes = [*_noted(directory), *_servers(directory / "postgres" / "data")]
    for process in list(processes):
        with suppress(psutil.Error):
            processes += process.children(recursive=True)
    for process in processes:
        with suppress(psutil.Error):
            process.kill()
    deadline = time.monotonic() + END_SECONDS
    while any(map(_is_alive, processes)) and time.monotonic() < deadline:
        time.sleep(0.05)


def _is_alive(process: psutil.Process) -> bool:
    """Not so a zombie: in a container whose first process buries nobody it stays for ever."""
    with suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _noted(directory: Path) -> Iterator[psutil.Process]:
    with suppress(FileNotFoundError):
        for line in (directory / PROCESSES).read_text().splitlines():
            pid, made = line.split()
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(int(pid))
                if abs(process.create_time() - float(made)) < 1.0:
                    yield process


def _servers(data: Path) -> Iterator[psutil.Process]:
    """PostgreSQL on that data directory, which is its working directory; for one that nobody had time to note."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.name().startswith("postgres") and process.cwd() == str(data):
                yield process


if __name__ == "__main__":
    _stand_guard(Path(sys.argv[1]))
