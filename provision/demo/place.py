"""Where the demo lives: a directory made anew for every run, and the processes of a run that was killed are ended."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from provision import ProvisionError
from provision.server import closed_directory, run_account

LOCK, PROCESSES = "lock", "processes"
END_SECONDS = 10.0


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
    # The lock ends with this process, also if it is killed; the children do not inherit it.
    with (directory / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ProvisionError(f"a demo is running already in {directory}: end it with Ctrl-C first") from None
        _end_leftovers(directory)
        _clear(directory)
        yield directory


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
    """Remember a process, to be ended by the next run if this one cannot."""
    # The time it was made tells it from another one that has the same number later.
    with suppress(psutil.NoSuchProcess), (directory / PROCESSES).open("a") as file:
        file.write(f"{pid} {psutil.Process(pid).create_time()}\n")


def _end_leftovers(directory: Path) -> None:
    """End what a killed run left: workers and API at once, PostgreSQL with all its own processes."""
    processes = list(_leftovers(directory))
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            family = [process, *process.children(recursive=True)]
            for member in family:
                with suppress(psutil.NoSuchProcess):
                    member.kill()
            psutil.wait_procs(family, timeout=END_SECONDS)


def _leftovers(directory: Path) -> Iterator[psutil.Process]:
    with suppress(FileNotFoundError):
        for line in (directory / PROCESSES).read_text().splitlines():
            pid, made = line.split()
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(int(pid))
                if abs(process.create_time() - float(made)) < 1.0:
                    yield process
