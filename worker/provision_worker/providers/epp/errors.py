"""What can go wrong with an EPP command, sorted by what the caller then knows about its effect.

=================== ======================================================= ==============================
error               the registry …                                          so
=================== ======================================================= ==============================
EppRefused          decided against the command (2xxx); nothing happened    give up, show its text
EppNotOffered       does not offer an extension the command needs           give up, show what is missing
EppNotExecuted      has certainly not executed the command                  try again later
  EppBusy           … because our limits or its own are reached             … when there is room
  EppUnavailable    … because it could not be reached, or said 24xx/25xx    … with back-off
  EppLoginRefused   … because it does not let us in                         … after the credentials changed
EppUncertain        got the command and we have no answer                   ask `info`, then decide
=================== ======================================================= ==============================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .protocol import Result


class EppError(Exception):
    """Everything this package raises, apart from ValueError for parameters that no registry could accept."""


class EppRefused(EppError):  # noqa: N818 - the names say what happened
    """A definitive no of the registry (2xxx); `result` has its code and texts."""

    def __init__(self, what: str, result: Result[Any]) -> None:
        super().__init__(f"the registry refused {what}: {result.text}")
        self.result = result


class EppObjectExists(EppRefused):
    """2302. After an uncertain first try the object may be ours: ask `info`."""


class EppObjectNotFound(EppRefused):
    """2303: the object, or one the command refers to, does not exist."""


class EppNotOffered(EppError):  # noqa: N818
    """The greeting of this registry lacks an extension without which the command would mean something else."""


class EppNotExecuted(EppError):  # noqa: N818
    """The command had no effect, for certain; `result` is the registry's answer where there was one."""

    def __init__(self, message: str, result: Result[Any] | None = None) -> None:
        super().__init__(message)
        self.result = result


class EppBusy(EppNotExecuted):
    """No session or no room under the rate limit within the time allowed, or the registry's own limit (2502)."""


class EppUnavailable(EppNotExecuted):
    """Connecting or logging in failed, the session was dead before use, or the registry said 24xx/25xx.

    After a 24xx/25xx ask `info` before the next try all the same: some registries answer so after the effect.
    """


class EppLoginRefused(EppNotExecuted):
    """Wrong registrar id or password, or a service list the registry does not accept. Trying again soon may lock it."""


class EppUncertain(EppError):  # noqa: N818
    """The command was sent and no usable answer came (cut, time-out, garbage): it may or may not have happened."""
