"""One look at a site: what is there, what is to be done, doing it."""

from collections.abc import Callable
from datetime import datetime

import structlog
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from provision_worker.providers import aws
from provision_worker.providers.aws import Account

from .act import Actor
from .model import Memory, Plan, Site, Step
from .observe import observe
from .plan import plan
from .userdata import UserDataError

# The last is what comes of an answer that is none, such as the page of a proxy on the way; it is no BotoCoreError.
SILENCE = (ClientError, BotoCoreError, ResponseParserError)
PROBLEMS = (*SILENCE, UserDataError)

log = structlog.get_logger(__name__)


def look(
    account: Account, site: Site, memory: Memory, now: datetime, fence: Callable[[], object]
) -> tuple[Plan | None, Exception | None]:
    """The plan that was made and carried out, and the first thing that went wrong; no plan if AWS did not tell.

    `fence` is called before each change and raises if somebody else has the site by now: a worker that was taken for
    dead while it looked must not act on what it saw then.
    """
    try:
        seen = observe(account, site, memory)
    except SILENCE as error:
        return None, error
    made = plan(site, seen, memory, now)
    actor, problem = Actor(account, site, seen), None
    for step in made.steps:
        fence()
        failure = _do(actor, step, site)
        problem = problem or failure
        if failure and not _is_refusal(failure):
            break
    return made, problem


def _do(actor: Actor, step: Step, site: Site) -> Exception | None:
    try:
        actor.do(step)
    except PROBLEMS as error:
        log.warning("hosting.step_failed", site=site.hostname, step=str(step), reason=str(error))
        return error
    log.info("hosting.step", site=site.hostname, step=str(step))
    return None


def _is_refusal(error: Exception) -> bool:
    """Whether AWS decided against just this step; the others may be tried."""
    return not isinstance(error, ClientError) or aws.meaning(error) is aws.Meaning.REFUSED
