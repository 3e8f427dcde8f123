#!/usr/bin/env python3
"""Runs the demo, the tests or a benchmark on a machine with nothing but Python: see USAGE.

Standard library only. Old Pythons must be able to read this file: they are told what is missing.
"""

import sys

OLDEST, NEWEST = (3, 11), (3, 14)

if not OLDEST <= sys.version_info[:2] <= NEWEST:
    sys.exit(
        "run.py: Python 3.{} to 3.{} is needed, and this is {}.{}".format(OLDEST[1], NEWEST[1], *sys.version_info[:2])
    )

import contextlib
import difflib
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import time
import venv
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

USAGE = """\
usage: python3 run.py COMMAND

  demo [--keep]              start everything, send orders, show what becomes of them; --keep leaves it running
  test [PYTEST ARGUMENTS]    run the tests that need no programs of other makers and no long time
  test --all [...]           run all tests
  bench NAME [...]           run a benchmark: {benchmarks}

The first time it makes .venv beside itself, which needs the network and a minute or two.
"""

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "installed.json"
LOG = VENV / "install.log"
# What can be installed, from least to most; each contains the one before.
LOCKS = ("requirements.lock", "requirements-test.lock", "requirements-all.lock")
# Benchmarks beside programs that only the last of them has.
COMPARED = {"scheduler"}
# Tests that are run with --all only.
MARKERS = "clients or solvers or slow"


class UserError(Exception):
    """Something the user can do something about; the text says what."""


class Installed(TypedDict):
    """What a complete installation writes down: for which directory, which of LOCKS, and the digest of what."""

    venv: str
    level: int
    digest: str


def main(arguments: list[str]) -> int:
    """Do what the command says; the exit code."""
    commands = {"demo": demo, "test": test, "bench": bench}
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE.format(benchmarks=", ".join(benchmarks())), end="")
        return 0
    try:
        commands[choose(arguments[0], list(commands), "command")](arguments[1:])
    except UserError as error:
        print(f"run.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nrun.py: interrupted", file=sys.stderr)
        return 130
    return 0


def choose(word: str, words: list[str], kind: str) -> str:
    """The word itself if it is one of them."""
    if word in words:
        return word
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(words) or 'none'}"
    raise UserError(f"unknown {kind} {word!r}; {hint}")


def demo(arguments: list[str]) -> None:
    """Install what the demo needs and become it."""
    install(0)
    become("-m", "provision", "demo", *arguments)


def test(arguments: list[str]) -> None:
    """Install what the tests need and become pytest, with a process per core."""
    everything = "--all" in arguments
    arguments = [argument for argument in arguments if argument != "--all"]
    install(2 if everything else 1)
    own = ["-n", str(min(os.cpu_count() or 1, 4)), "--dist", "worksteal"]
    if any(argument.startswith(("-n", "--pdb", "--trace")) for argument in arguments):
        own = []
    if not everything and "-m" not in arguments:
        own += ["-m", f"not ({MARKERS})"]
    become("-m", "pytest", *own, *arguments)


def bench(arguments: list[str]) -> None:
    """Install what the benchmarks need and become one."""
    if not arguments:
        raise UserError(f"which benchmark? there is {', '.join(benchmarks()) or 'none'}")
    name = choose(arguments[0], benchmarks(), "benchmark")
    install(2 if name in COMPARED else 1)
    become("-m", f"benchmarks.{name}", *arguments[1:])


def benchmarks() -> list[str]:
    """Names of the programs in benchmarks/."""
    return sorted(path.stem for path in (ROOT / "benchmarks").glob("[!_]*.py"))


def become(*arguments: str) -> None:
    """Become the Python of .venv, so that signals and the exit code are the program's own."""
    os.chdir(ROOT)
    sys.stdout.flush()
    os.execv(PYTHON, [str(PYTHON), *arguments])


def install(level: int) -> None:
    """Bring .venv to a level of LOCKS; returns at once if it is there."""
    if is_ready(level):
        return
    if not os.access(ROOT, os.W_OK):
        raise UserError(f"cannot write to {ROOT}, where .venv is made: use a copy that you own")
    with (ROOT / ".venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run.py may be at it
        if not is_ready(level):
            make(level)


def is_ready(level: int) -> bool:
    """Whether .venv is complete, up to date and has at least the level."""
    found = installed()
    return found is not None and found["digest"] == digest() and found["level"] >= level


def installed() -> Installed | None:
    """What the last installation wrote down; None if it was interrupted or the directory was moved."""
    with contextlib.suppress(OSError, ValueError):
        found: Installed = json.loads(STAMP.read_text())
        if found["venv"] == str(VENV) and os.access(PYTHON, os.X_OK):
            return found
    return None


def digest() -> str:
    """Changes when what is to be installed does."""
    names = (*LOCKS, "pyproject.toml")
    return hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in names)).hexdigest()


def make(level: int) -> None:
    """Install a level, in a new .venv unless there is a complete one."""
    found = installed()
    if found is None:
        create()
    else:
        STAMP.unlink()  # from here to the end it is half-made
        level = max(level, found["level"])
    step(f"installing the packages of {LOCKS[level]}", lambda: add("--require-hashes", "-r", LOCKS[level]))
    step("installing provision itself", lambda: add("--no-deps", "--no-build-isolation", "-e", str(ROOT)))
    STAMP.write_text(json.dumps(Installed(venv=str(VENV), level=level, digest=digest())))


def create() -> None:
    """Make .venv; what an interrupted run left is removed."""
    with_pip = shutil.which("uv") is None
    if with_pip and importlib.util.find_spec("ensurepip") is None:
        raise UserError(
            "this Python cannot make a .venv with pip: install python3-venv (apt install python3-venv) or uv"
        )
    step("making .venv", lambda: venv.create(VENV, clear=True, symlinks=True, with_pip=with_pip))


def add(*arguments: str) -> None:
    """Install with uv if it is there and can, else with pip."""
    if shutil.which("uv"):
        if call("uv", "pip", "install", "--python", str(PYTHON), *arguments):
            return
        call(str(PYTHON), "-m", "ensurepip")
    if not call(str(PYTHON), "-m", "pip", "install", "--no-input", "--disable-pip-version-check", *arguments):
        lines = LOG.read_text(errors="replace").splitlines()
        raise UserError("\n".join([f"the installation failed; the end of {LOG}:", *lines[-8:]]))


def call(*command: str) -> bool:
    """Run a program, its output into LOG; whether it went well."""
    environment = {**os.environ, "PIP_USER": "0", "UV_LINK_MODE": "copy"}
    environment.pop("PYTHONPATH", None)
    if not os.access(os.environ.get("HOME", ""), os.W_OK):
        environment |= {"UV_NO_CACHE": "1", "PIP_NO_CACHE_DIR": "1"}
    with LOG.open("a") as log:
        result = subprocess.run(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False)
    return result.returncode == 0


def step(what: str, work: Callable[[], object]) -> None:
    """Say what is done, do it, and say how long it took."""
    began = time.monotonic()
    print(f"{what} ...", end="", flush=True)
    try:
        work()
    except BaseException:
        print()
        raise
    print(f" {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
