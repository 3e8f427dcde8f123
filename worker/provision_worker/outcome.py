"""What an error means for the job whose action raised it. Modules of actions register what they know about theirs."""

from functools import singledispatch

import psycopg

from .job import Outcome, again, retry

DATABASE_AWAY_SECONDS = 2.0


@singledispatch
def outcome_of(error: Exception) -> Outcome:
    """What to record for the job: for errors that nobody has registered, a failed attempt."""
    return retry(f"unexpected {type(error).__name__}: {error}")


@outcome_of.register
def _(error: psycopg.OperationalError) -> Outcome:
    # Whatever was happening outside is looked for by the effect's next try, so this costs no attempt.
    return again(DATABASE_AWAY_SECONDS, message=f"the database was away: {error}")


def is_expected(error: Exception) -> bool:
    """Whether somebody has registered what this error means."""
    return outcome_of.dispatch(type(error)) is not outcome_of.dispatch(object)
