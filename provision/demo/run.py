"""The course of the demo: start everything, ask for everything, wait, show, check, and stop everything again."""

import logging
import signal
import threading
import time
from contextlib import ExitStack
from types import FrameType

import structlog

from provision.database import connect
from provision.settings import Settings

from . import cluster, life, portal
from .data import Database, fill
from .expectation import Progress, examine
from .place import place
from .scene import Play
from .screen import Screen
from .site import Site
from .stage import Stage, isolate, require_extra, stage

PATIENCE_SECONDS = 45.0
LOOK_SECONDS = 0.1
INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(settings: Settings, *, keep: bool) -> int:
    """The demo; its exit code: 0 as expected, 1 not, 130 interrupted before that was known.

    Raises:
        ProvisionError: something is missing, or does not start.
    """
    require_extra()
    isolate()
    _be_quiet()
    screen = Screen()
    code = 130
    _obey_interrupts()
    with ExitStack() as stack:
        try:
            directory = stack.enter_context(place(settings.data_directory))
            screen.title("Starting, on 127.0.0.1 only")
            running = stack.enter_context(stage(directory, settings, screen.say))
            stack.callback(screen.say, "stopping everything")
            code = _play(running, screen, stack, keep)
            if keep:
                _stay(running, screen)
        except KeyboardInterrupt:
            pass
        finally:
            _ignore_interrupts()
    return code


def _be_quiet() -> None:
    """What the registry, the AWS endpoint and their clients log from within this process is of no interest."""
    # The stand-in for AWS prints a trace when asked about an instance that a group has just replaced; whoever asks is
    # answered 500 and asks again.
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))


def _obey_interrupts() -> None:
    """Whatever asks us to end does so like the first Ctrl-C; a second one must not keep us from stopping everything."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        _ignore_interrupts()
        raise KeyboardInterrupt

    for number in INTERRUPTS:
        signal.signal(number, interrupt)


def _ignore_interrupts() -> None:
    for number in INTERRUPTS:
        signal.signal(number, signal.SIG_IGN)


def _play(running: Stage, screen: Screen, stack: ExitStack, keep: bool) -> int:
    owner = Database(stack.enter_context(connect(running.owner_url, "demo", autocommit=True)))
    cast = fill(running, owner)
    shop = Database(stack.enter_context(connect(cast.shop_url, "demo shop", autocommit=True)))
    play = Play(running, cast, owner, shop)
    play.lab.fill()
    screen.title("Ordering")
    with screen.following():
        for _ in play.perform():
            screen.follow(play, _progress(play))
        progress = _wait(play, screen)
    play.lab.wait()
    _tell(play, progress, screen)
    found = list(examine(play, progress))
    screen.title("The life of a name")
    found += life.perform(play, screen.say)
    screen.title("An allocator's portal")
    found += portal.perform(running, screen.say)
    screen.title("A cluster that three people share, on a clock that runs faster")
    found += cluster.perform(play, screen.say)
    screen.title("The life of a web site")
    for one in Site(play).perform():
        screen.say(one.what)
        found.append(one)
    screen.title("Expected")
    screen.expectations(found)
    screen.title("Look further until Ctrl-C" if keep else "Look further: `demo --keep` leaves it all running, and then")
    screen.further(play)
    return 0 if all(one.is_met for one in found) else 1


def _progress(play: Play) -> Progress:
    ids = [scene.id for scene in play.scenes.values() if scene.id]
    return {row["id"]: row for row in play.database.rows("progress", ids=ids)}


def _wait(play: Play, screen: Screen) -> Progress:
    """Until everything stands as it is expected to end, or has ended, or time is up."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        play.stage.check()
        progress = _progress(play)
        screen.follow(play, progress)
        awaited = {scene.id for scene in play.scenes.values() if scene.id and scene.ends != "processing"}
        is_open = any(progress[id]["status"] in ("pending", "processing", "pending_action") for id in awaited)
        if not is_open or time.monotonic() > deadline:
            return progress
        time.sleep(LOOK_SECONDS)


def _tell(play: Play, progress: Progress, screen: Screen) -> None:
    screen.title("What came of it")
    screen.orders(play, progress)
    screen.title("What the caller was told whose order failed validation")
    screen.refusal(play.scenes["invalid"])
    screen.title("What the registry was asked, and has")
    screen.registry(play)
    screen.title("Certificates")
    screen.certificates(play)
    screen.title("A full cluster of 10 vCPU and 10 GiB")
    screen.deployments(play.lab.full)
    screen.title("The same once ingest had ended")
    screen.deployments(play.lab.later)
    screen.title("The first order: SELECT order_explain(…)")
    screen.explanation(play)
    screen.title("v_attention")
    screen.attention(play)


def _stay(running: Stage, screen: Screen) -> None:
    """Until Ctrl-C. API and worker may be killed to see what becomes of it; they are started again."""
    forever = threading.Event()
    while not forever.wait(1.0):
        for child in running.children:
            if said := child.revive():
                screen.say(said)
