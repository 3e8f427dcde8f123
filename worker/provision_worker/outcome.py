"""What an error that an action did not foresee means for its job. Modules of actions register what they know better."""

from functools import singledispatch

import psycopg
import structlog

from .job import Outcome, again, retry
from .task import MisconfiguredError

log = structlog.get_logger(__name__)

DATABASE_AWAY_SECONDS = 2.0


@singledispatch
def outcome_of(error: Exception) -> Outcome:
    """A failed attempt. Nobody expected this error, so its traceback goes to the log."""
    log.error("action.unexpected_error", exc_info=error)
    return retry(f"unexpected {type(error).__name__}: {error}")


@outcome_of.register
def _(error: psycopg.OperationalError) -> Outcome:
    # Whatever was happening outside is looked for by the effect's next try, so this costs no attempt.
    return again(DATABASE_AWAY_SECONDS, message=f"the database was away: {error}")


@outcome_of.register(MisconfiguredError)
def _(error: Exception) -> Outcome:
    return retry(str(error))
