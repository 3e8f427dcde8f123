"""Functions in processes of their own, as workers are, so that they and this process do not wait for each other."""

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, TypeVar

T = TypeVar("T")
CONTEXT = multiprocessing.get_context("spawn")
"""Not fork: this process has threads and connections."""


class FailedError(Exception):
    """What was run apart ended with an error; the text is its own."""


def run(function: Callable[..., T], *arguments: object) -> T:
    """What `function` returns, run in a fresh process."""
    mine, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=_call, args=(theirs, function, arguments))
    process.start()
    theirs.close()
    try:
        error, result = mine.recv()
    except EOFError:
        error, result = f"{function.__qualname__} died", None
    process.join()
    if error:
        raise FailedError(error)
    return result  # type: ignore[no-any-return]


def _call(connection: Connection, function: Callable[..., Any], arguments: tuple[object, ...]) -> None:
    try:
        connection.send(("", function(*arguments)))
    except Exception as error:
        connection.send((f"{function.__qualname__}: {type(error).__name__}: {error}", None))


@contextmanager
def running(function: Callable[..., None], *arguments: object) -> Iterator[Connection]:
    """Runs `function` with the end of a pipe, and further arguments, in a fresh process; hands out the other end.

    It ends when it reads from its end that ours is closed (EOFError).
    """
    mine, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=function, args=(theirs, *arguments))
    process.start()
    theirs.close()
    try:
        yield mine
    finally:
        mine.close()
        process.join(60)
        if process.is_alive():
            process.kill()
    if process.exitcode:
        raise FailedError(f"{function.__qualname__} ended with exit code {process.exitcode}")
