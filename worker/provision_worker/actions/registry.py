"""What the actions at EPP registries have in common: create or change an object exactly once, and what answers mean.

======================================= ============================================================================
the registry                            the job
======================================= ============================================================================
1000, and `info` shows the object       completed
1001, or the object is `pendingCreate`  pending, and looks again in growing intervals until the object is settled
2302, and `info` shows that it is ours  as if just created: an earlier try got through, or another order was first
any other 2xxx                          failed, with the registry's text
24xx, 25xx, no connection               retry; the next try asks `info` first
no answer                               retry; the next try asks `info` first
no session free, limit reached, 2502    again; no attempt is counted
login refused                           retry, not soon, with the password looked up anew
======================================= ============================================================================
"""

import random
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar
from uuid import UUID, uuid4

from provision_worker.effects import Thing
from provision_worker.job import Json, Outcome, again, completed, failed, pending, retry
from provision_worker.outcome import outcome_of
from provision_worker.providers import epp
from provision_worker.task import Site, Task

BUSY_SECONDS = 5.0
LOGIN_REFUSED_SECONDS = 60.0
LOOK_SECONDS = 2.0
LOOK_LIMIT_SECONDS = 3600.0
LOOKS_FOR_CREATED = 8
"""How often an object is looked for that the registry says it has created; a few minutes in all."""


class Info(Protocol):
    """What `info` tells of an object of any kind."""

    @property
    def roid(self) -> str | None: ...
    @property
    def statuses(self) -> tuple[str, ...]: ...
    @property
    def trail(self) -> epp.Trail: ...


I = TypeVar("I", bound=Info)  # noqa: E741


class Refused(Exception):  # noqa: N818 - as EppRefused
    """What a look at the registry says against asking it for anything."""


@outcome_of.register
def _(error: Refused) -> Outcome:
    return failed(str(error))


@outcome_of.register(epp.EppRefused)
@outcome_of.register(epp.EppNotOffered)
def _(error: epp.EppError) -> Outcome:
    return failed(str(error))


@outcome_of.register(epp.EppUnavailable)
@outcome_of.register(epp.EppUncertain)
def _(error: epp.EppError) -> Outcome:
    return retry(str(error))


@outcome_of.register
def _(error: epp.EppBusy) -> Outcome:
    return again(random.uniform(0.2, 1) * BUSY_SECONDS, message=str(error))


@outcome_of.register
def _(error: epp.EppLoginRefused) -> Outcome:
    return retry(str(error), LOGIN_REFUSED_SECONDS)


def create(
    task: Task,
    command: epp.Command[epp.Created],
    info: epp.Command[I],
    is_ours: Callable[[I], bool],
    result: Callable[[I], Json],
    priced: Callable[[epp.Command[epp.Created]], epp.Command[epp.Created]] = lambda command: command,
) -> Outcome:
    """Creates the object of `command` exactly once; completed with what `result` takes from the registry's `info`.

    `is_ours` tells the object this job has made in an earlier try from one that was there before; `priced` makes the
    command as it is sent, right before that.
    """

    def find(token: UUID) -> Thing | None:
        found = look(task.site, info)
        return Thing(command.name) if found and is_sponsored(task.site, found) and is_ours(found) else None

    def make(token: UUID) -> Thing:
        try:
            answer = send(task.site, priced(command), token)
        except epp.EppObjectExists:
            if thing := find(token):
                return thing
            raise
        return Thing(command.name, {"is_pending": answer.outcome is epp.Outcome.PENDING})

    step = f"{command.object}.create"
    made = task.effects.once(step, {"name": command.name}, make=make, find=find)
    outcome = _settle(task, look(task.site, info), result, bool(made.get("is_pending")))
    if outcome.kind == "failed":
        task.effects.gone(step)
    return outcome


def _settle(task: Task, found: I | None, result: Callable[[I], Json], is_pending: bool) -> Outcome:
    """What the registry has made of a create that it took."""
    if found and "pendingCreate" not in found.statuses:
        return completed(result(found))
    looks = int(task.state.get("looks", 0)) + 1
    if not found and (task.state.get("was_seen") or is_refused(task)):
        return failed(_refusal(task))
    if not found and not is_pending and looks > LOOKS_FOR_CREATED:
        return failed("the registry answered that the object was created, but does not have it")
    put_off = pending if found or is_pending else again
    return put_off(patience(looks), {"looks": looks, "was_seen": bool(found)}, "the registry has not decided yet")


def alter(
    task: Task,
    step: str,
    info: epp.Command[I],
    come_of: Callable[[I | None], Json | None],
    ask: Callable[[I, UUID], Json],
    decided: Callable[[I | None], Json | None] | None = None,
) -> Outcome:
    """Changes the object of `info` exactly once; completed with what has come of it.

    Every try looks first. `come_of` says what of the change is there: None if nothing, with `is_pending` if the
    registry has yet to decide; it raises Refused where the registry need not be asked. `ask` asks for it, under a
    token, and says the same of the answer. `decided` stands in for `come_of` once all was asked for.
    """
    seen: list[I] = []

    def find(token: UUID) -> Thing | None:
        found = look(task.site, info)
        result = come_of(found)
        if result is None and found is not None:
            seen.append(found)
        return None if result is None else Thing(f"{step} {info.name}", result)

    def make(token: UUID) -> Thing:
        return Thing(f"{step} {info.name}", ask(seen[-1], token))

    made = task.effects.once(step, task.job.data, make=make, find=find, look_first=True)
    return _decided(task, step, info, decided or come_of) if made.get("is_pending") else completed(made)


def amend(
    task: Task,
    step: str,
    info: epp.Command[I],
    lacking: Callable[[I], Sequence[epp.Command[None]]],
    result: Callable[[I], Json] = lambda found: {},
) -> Outcome:
    """Brings an object of ours to how it is to be.

    `lacking` are the commands by which what the registry shows differs from that; none: it is so. A try after a lost
    answer asks for no more than the first has left undone.
    """

    def come_of(found: I | None) -> Json | None:
        ours = require_ours(task.site, found, info.name)
        if "pendingUpdate" in ours.statuses:
            return {"is_pending": True}
        return None if lacking(ours) else result(ours)

    def ask(found: I, token: UUID) -> Json:
        answers = [send(task.site, command, token) for command in lacking(found)]
        if answers[-1].outcome is epp.Outcome.PENDING:
            return {"is_pending": True}
        return result(require_ours(task.site, look(task.site, info), info.name))

    return alter(task, step, info, come_of, ask)


def remove(task: Task, step: str, info: epp.Command[I], command: epp.Command[None]) -> Outcome:
    """Deletes an object of ours; done as well if it is not there."""

    def come_of(found: I | None) -> Json | None:
        if found is None:
            return {}
        ours = require_ours(task.site, found, info.name)
        return {"is_pending": True} if "pendingDelete" in ours.statuses else None

    def ask(found: I, token: UUID) -> Json:
        answer = send(task.site, command, token)
        return {"is_pending": True} if answer.outcome is epp.Outcome.PENDING else {}

    return alter(task, step, info, come_of, ask)


def find_removal(site: Site, step: str, info: epp.Command[I]) -> str | None:
    """The deletion that an effect was to bring about, if the object is gone."""
    return None if look(site, info) else f"{step} {info.name}"


def _decided(task: Task, step: str, info: epp.Command[I], come_of: Callable[[I | None], Json | None]) -> Outcome:
    """What the registry has decided about a change that it took."""
    try:
        result = come_of(look(task.site, info))
    except Refused:
        task.effects.gone(step)
        raise
    if result is not None and not result.get("is_pending"):
        return completed(result)
    if result is None and (task.state.get("was_seen") or is_refused(task)):
        task.effects.gone(step)
        return failed(_refusal(task))
    looks = int(task.state.get("looks", 0)) + 1
    state = {"looks": looks, "was_seen": result is not None or bool(task.state.get("was_seen"))}
    return pending(patience(looks), state, "the registry has not decided yet")


def is_refused(task: Task) -> bool:
    """Whether the registry has told that it decided against what the job asked for."""
    verdict = task.resources.row("registry", "verdict", job=task.job.job_id)
    return verdict is not None and not verdict["is_done"]


def _refusal(task: Task) -> str:
    """Why the registry decided against what it had taken, in its words if it has told."""
    verdict = task.resources.row("registry", "verdict", job=task.job.job_id)
    told = f": {verdict['text']}" if verdict and verdict["text"] else ""
    return f"the registry took the request, looked into it, and decided against it{told}"


COMPUTED = frozenset({"ok", "inactive", "linked"})
"""Statuses that a registry does not keep but works out (RFC 5731 section 2.3)."""


def kept_statuses(found: Info) -> list[str]:
    """The statuses that the inventory keeps: without those that are worked out or tell that something is under way."""
    return sorted(s for s in found.statuses if s not in COMPUTED and not s.startswith("pending"))


def require_ours(site: Site, found: I | None, name: str) -> I:
    """The object, if the registry has it and it is ours; Refused otherwise."""
    if found is None:
        raise Refused(f"the registry does not have {name}")
    if not is_sponsored(site, found):
        raise Refused(f"the sponsor of {name} at the registry is {found.trail.sponsor}, not us")
    return found


def require_open(found: Info, name: str, verb: str) -> None:
    """Refused if a status of the object forbids the command: `Renew`, `Delete`, `Update` or `Transfer`."""
    prohibitions = {f"client{verb}Prohibited", f"server{verb}Prohibited"}
    blocking = sorted(s for s in found.statuses if s in prohibitions or s.startswith("pending"))
    if blocking:
        raise Refused(f"{name} has status {', '.join(blocking)} at the registry")


def new_token() -> UUID:
    """A token for a command that has no effect, or one that its object tells of."""
    return uuid4()


def patience(looks: int) -> float:
    """Seconds until the next look at what the registry decides about."""
    return random.uniform(0.5, 1) * min(LOOK_LIMIT_SECONDS, LOOK_SECONDS * (1 << min(looks, 20)))


def look(site: Site, info: epp.Command[I]) -> I | None:
    """The object as the registry has it, or None."""
    try:
        return send(site, info, uuid4()).data
    except epp.EppObjectNotFound:
        return None


def is_sponsored(site: Site, found: Info) -> bool:
    """Whether the object is sponsored by us."""
    return found.trail.sponsor == site.accreditation.registrar_id


def why_missing(site: Site, info: epp.Command[I]) -> str | None:
    """Why an object that we have in the inventory is not ours any more; None if it is."""
    found = look(site, info)
    if found is None:
        return "the registry does not have it"
    return None if is_sponsored(site, found) else f"its sponsor at the registry is {found.trail.sponsor}"


def find(site: Site, info: epp.Command[I]) -> bool:
    """Whether the registry has the object, with us as its sponsor."""
    found = look(site, info)
    return found is not None and is_sponsored(site, found)


T = TypeVar("T")


def send(site: Site, command: epp.Command[T], token: UUID) -> epp.Result[T]:
    """Sends a command; `token` makes its client transaction id, so that both sides' logs can be matched."""
    try:
        return site.registry.send(command, f"pv-{token.hex}")
    except epp.EppLoginRefused:
        site.resources.registries.drop(site.accreditation)
        raise
