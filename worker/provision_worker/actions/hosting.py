"""Web sites: the caretaker of each, and the jobs that wait for what they want to come true."""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from botocore.exceptions import ClientError
from psycopg.types.json import Jsonb

from provision_worker.effects import Thing, fenced
from provision_worker.hosting import act, dump, source, stray
from provision_worker.hosting.look import look
from provision_worker.hosting.model import Memory, Network, Plan, Site
from provision_worker.hosting.observe import code_of, is_missing
from provision_worker.hosting.userdata import UserDataError
from provision_worker.job import Outcome, again, completed, failed
from provision_worker.outcome import outcome_of
from provision_worker.task import Site as Place
from provision_worker.task import Task

SOON_SECONDS = 0.1
WAIT_LIMIT_SECONDS = 15.0
FAILURE_LIMIT_SECONDS = 300.0
ALARMING_FAILURES = 5
PATIENCE_SECONDS = 60.0
"""Who waits for a site is woken when it changes; this is for when that was missed."""


@outcome_of.register
def _(error: source.SourceError) -> Outcome:
    return failed(str(error))


@outcome_of.register
def _(error: UserDataError) -> Outcome:
    return failed(str(error))


@dataclass(frozen=True, slots=True)
class Wanted:
    """A site as the database has it, at the moment it was read."""

    row: dict[str, Any]

    @property
    def site(self) -> Site:
        """What the plan is made from."""
        row, features = self.row, frozenset(self.row["features"])
        return Site(
            network=network(row["hosting"]),
            nodes=row["num_instances"],
            range=(row["min_instances"], row["max_instances"]) if "autoscale" in features else None,
            features=features,
            domains=tuple(row["domains"]),
            routes=tuple(row["routes"]),
            **{name: row[name] for name in _SAME},
        )

    @property
    def memory(self) -> Memory:
        """What the last look remembered."""
        return Memory(**self.row["memory"])


_SAME = (
    *("id", "key", "org_key", "name", "org", "cid", "hostname", "version", "artifact", "artifacts", "is_resolved"),
    *(
        "basic_auth_revision",
        "is_suspended",
        "is_deletion_wanted",
        "database_revision",
        "generation",
        "has_served",
        "is_changing",
    ),
    *("is_busy", "is_last_of_org", "cost_tag", "load_percent"),
)


def network(hosting: dict[str, Any]) -> Network:
    """Where sites of an account are put."""
    return Network(
        hosting["domain"],
        hosting["zone_id"],
        hosting["vpc_id"],
        tuple(hosting["subnet_ids"]),
        hosting["image_id"],
        hosting["bucket"],
        hosting.get("instance_profile"),
        hosting.get("dump_profile"),
        hosting.get("api_url"),
    )


def _read(task: Task) -> Wanted | None:
    found = task.resources.row("hosting", "site", instance=task.job.data["instance"])
    return Wanted(found["site"]) if found and found["site"] else None


def _living(task: Task) -> Wanted | Outcome:
    """A site that is not to be deleted, or the end of the job: its deletion waits for those who may make something."""
    wanted = _read(task)
    if wanted is None:
        return failed("the web site is not there any more")
    return failed("the web site is being deleted") if wanted.site.is_deletion_wanted else wanted


def _tell(task: Task, query: str, **values: Any) -> Any:
    """Calls a function that takes what this job found out, under its claim."""
    claim = {"job": task.job.job_id, "claim_no": task.job.claim_no, "instance": task.job.data.get("instance")}
    with fenced():
        found = task.resources.row("hosting", query, **claim, **values)
    return found and next(iter(found.values()))


# The caretaker --------------------------------------------------------------------------------------------------------


def converge(task: Task) -> Outcome:
    """One look at a site: what is there, what is to be done, doing it. Looks again until the site is deleted."""
    wanted = _read(task)
    if wanted is None or wanted.row["phase"] == "deleted":
        return completed()
    now = datetime.fromisoformat(wanted.row["now"])
    made, problem = look(task.site.account, wanted.site, wanted.memory, now, lambda: _tell(task, "fence"))
    is_woken = _tell(task, "observed", found=Jsonb(_findings(wanted, made, problem)))
    if made and made.phase == "deleted":
        return completed()
    waits = int(task.state.get("waits", 0)) + 1 if made and made.is_waiting and not problem else 0
    seconds = SOON_SECONDS if is_woken and not problem else _pause(wanted, made, problem, waits)
    return again(seconds, {"waits": waits}, str(problem) if problem else None)


def _findings(wanted: Wanted, made: Plan | None, problem: Exception | None) -> dict[str, Any]:
    """What `wpaas_observed()` is told. When AWS did not answer, nothing new is known of the site."""
    row = wanted.row
    failures = int(row["failures"]) + 1 if problem else 0
    conditions = dict(made.conditions if made else row["conditions"])
    conditions.pop("ProviderError", None)
    status: dict[str, Any] = {"conditions": conditions}
    if problem:
        code = code_of(problem) if isinstance(problem, ClientError) else type(problem).__name__
        conditions["ProviderError"] = {"status": True, "code": code, "reason": str(problem)[:500]}
    if made:
        status |= {
            "phase": made.phase,
            "ready_instances": made.ready,
            "code_version": made.code_version,
            "domain_states": made.domain_states,
            "address": made.address,
            "alarm": made.alarm,
        }
        status |= {"observed_generation": row["generation"]} if made.is_done else {}
    if problem and failures >= ALARMING_FAILURES:
        status["alarm"] = (made and made.alarm) or f"{failures} looks in a row failed: {problem}"[:500]
    found = {"status": status, "failures": failures, "read_date": row["read_date"]}
    found |= {"memory": made.memory.document()} if made else {}
    found |= {"replaced": made.replaced} if made and not problem else {}
    found |= {"fall_back": made.fall_back} if made and made.fall_back is not None else {}
    if made and made.phase == "deleted" and made.has_final_snapshot:
        found["final_snapshot"] = wanted.site.final_snapshot
    return found


def _pause(wanted: Wanted, made: Plan | None, problem: Exception | None, waits: int) -> float:
    if problem:
        failures = int(wanted.row["failures"]) + 1
        return random.uniform(0.5, 1) * min(FAILURE_LIMIT_SECONDS, 2.0 ** min(failures, 10))
    if waits:
        return min(WAIT_LIMIT_SECONDS, 0.5 * 2.0 ** min(waits, 10))
    return SOON_SECONDS if made and made.steps else random.uniform(0.9, 1.1) * float(wanted.row["every"])


# Those who wait -------------------------------------------------------------------------------------------------------


def create(task: Task) -> Outcome:
    """Keeps the secrets of a new site, lets the caretaker begin, fetches the code, waits until the site serves."""
    wanted = _living(task)
    if isinstance(wanted, Outcome):
        return wanted
    if not task.state.get("is_kept"):
        _keep_secret(task, wanted.site)
        _tell(task, "secret_kept")
    _fetch(task, wanted)
    return _wait(task, wanted, int(task.job.data["generation"]), {"is_kept": True})


def _keep_secret(task: Task, site: Site) -> None:
    account = task.site.account

    def make(token: UUID) -> Thing:
        row = task.resources.row("hosting", "password", id=site.id)
        act.store_secret(account, site, row["passwords"] if row else {})
        return Thing(site.secret_name)

    def look(token: UUID) -> Thing | None:
        name = find_secret(task.site, {"name": site.secret_name}, token)
        return Thing(name) if name else None

    task.effects.once("secret.create", {"name": site.secret_name}, make=make, find=look, look_first=True)


def find_secret(place: Place, parameters: dict[str, Any], token: UUID) -> str | None:
    """The secret that an effect was to create, by its name."""
    return _named(lambda: place.account.secrets.describe_secret(SecretId=parameters["name"]) and parameters["name"])


def _named(call: Callable[[], str]) -> str | None:
    try:
        return call()
    except ClientError as error:
        if is_missing(error):
            return None
        raise


def _fetch(task: Task, wanted: Wanted) -> None:
    """Resolves the code of the version that is wanted, once and for good."""
    if wanted.site.is_resolved:
        return
    site, row = wanted.site, wanted.row
    found = source.fetch(
        task.site.account, site, site.version, row["code_url"], row["code_ref"], may_be_private=row["may_be_private"]
    )
    _tell(task, "resolved", number=site.version, ref=found.ref, artifact=found.url)


def _wait(task: Task, wanted: Wanted, generation: int, state: dict[str, Any] | None = None) -> Outcome:
    """Until a generation of the site has come true."""
    row, conditions = wanted.row, wanted.row["conditions"]
    if wanted.site.is_deletion_wanted:
        return failed("the web site was deleted meanwhile")
    if row["observed_generation"] >= generation:
        gave_up = conditions.get("UpdateFailed")
        if gave_up and gave_up["status"]:
            return failed(gave_up["reason"])
        return completed({"roid": row["hostname"]})
    reasons = [one["reason"] for one in conditions.values() if one.get("reason")]
    return again(PATIENCE_SECONDS, state, "; ".join([row["phase"], *reasons]))


def update(task: Task) -> Outcome:
    """Keeps the data of a version that is left, fetches the code of the next, waits until the change has come true."""
    wanted = _living(task)
    if isinstance(wanted, Outcome):
        return wanted
    state = dict(task.state) or {"is_kept": True, "generation": _keep(task, wanted)}
    _fetch(task, wanted)
    return _wait(task, wanted, int(state["generation"]), state)


def _keep(task: Task, wanted: Wanted) -> int:
    """Keeps the data of a version that is left, and a password; the generation that is to come true then."""
    if wanted.row["code_version"] not in (None, wanted.site.version):
        _keep_version(task, wanted)
    if not task.job.data["has_password"]:
        return int(task.job.data["generation"])
    row = task.resources.row("hosting", "password", id=task.job.reference_id)
    if row:
        act.change_secret(task.site.account, wanted.site, row["passwords"])
        _tell(task, "password_kept", provision=task.job.reference_id)
    return int((_read(task) or wanted).row["generation"])


def _keep_version(task: Task, wanted: Wanted) -> None:
    number = wanted.row["code_version"]
    name = f"{wanted.site.database_name}-v{number}-{task.job.data['generation']}"
    _snapshot(task, wanted.site, name)
    _tell(task, "version_kept", number=number, snapshot=name)


# Data -----------------------------------------------------------------------------------------------------------------


def backup(task: Task) -> Outcome:
    """Makes a snapshot and, when it is complete, removes those that are too many."""
    wanted = _living(task)
    if isinstance(wanted, Outcome):
        return wanted
    name = task.job.data["snapshot"]
    _snapshot(task, wanted.site, name)
    snapshot = task.site.account.rds.describe_db_snapshots(DBSnapshotIdentifier=name)["DBSnapshots"][0]
    if snapshot["Status"] == "failed":
        return failed(f"the snapshot {name} failed at RDS")
    if snapshot["Status"] != "available":
        return again(WAIT_LIMIT_SECONDS, message=f"the snapshot is {snapshot['Status']}")
    _expire(task)
    return completed({"snapshot": name, "size_gib": snapshot.get("AllocatedStorage")})


def _snapshot(task: Task, site: Site, name: str) -> None:
    rds, parameters = task.site.account.rds, {"name": name, "database": site.database_name}

    def make(token: UUID) -> Thing:
        rds.create_db_snapshot(
            DBSnapshotIdentifier=name, DBInstanceIdentifier=site.database_name, Tags=act.tag_list(site)
        )
        return Thing(name)

    def look(token: UUID) -> Thing | None:
        found = find_snapshot(task.site, parameters, token)
        return Thing(found) if found else None

    task.effects.once(f"snapshot.create {name}", parameters, make=make, find=look, look_first=True)


def find_snapshot(place: Place, parameters: dict[str, Any], token: UUID) -> str | None:
    """The snapshot that an effect was to make, by its name."""
    name: str = parameters["name"]
    return _named(lambda: place.account.rds.describe_db_snapshots(DBSnapshotIdentifier=name) and name)


def why_missing(place: Place, name: str) -> str | None:
    """Why a backup of the inventory is gone outside; None if it is not."""
    found = find_snapshot(place, {"name": name}, UUID(int=0))
    return None if found else "RDS does not have the snapshot"


def _expire(task: Task) -> None:
    _remove_backups(task, task.resources.rows("hosting", "expiring", instance=task.job.data["instance"]))


def _remove_backups(task: Task, rows: Iterable[dict[str, Any]]) -> None:
    for row in rows:
        name = row["snapshot"]
        _named(lambda name=name: task.site.account.rds.delete_db_snapshot(DBSnapshotIdentifier=name) and name)  # type: ignore[misc]
        if row["key"]:
            dump.Place(_bucket(task), row["key"]).remove(task.site.account)
        _tell(task, "expired", backup=row["id"])


def _bucket(task: Task) -> str:
    """The operators' bucket in the account."""
    bucket: str = task.site.accreditation.settings["hosting"]["bucket"]
    return bucket


def restore(task: Task) -> Outcome:
    """Makes a database from a snapshot; when it is there the site uses it, and the one before goes."""
    wanted = _living(task)
    if isinstance(wanted, Outcome):
        return wanted
    site = wanted.site
    name = f"{site.key}-{task.job.data['database_revision']}"
    _restore_database(task, site, name)
    database = act.restored(task.site.account, name)
    if not isinstance(database, act.Restored):
        return again(WAIT_LIMIT_SECONDS, message=database) if database else failed(f"the database {name} is gone")
    generation = _tell(task, "switch", provision=task.job.reference_id)
    if generation == 0:
        return failed("the web site was deleted meanwhile")
    return _wait(task, _read(task) or wanted, generation)


def _restore_database(task: Task, site: Site, name: str, **changes: Any) -> None:
    account = task.site.account
    parameters = {"name": name, "snapshot": task.job.data["snapshot"]}

    def make(token: UUID) -> Thing:
        group = act.group_named(account, site, f"{site.org_key}-data")
        settings = act.database_settings(site, group) | changes
        account.rds.restore_db_instance_from_db_snapshot(
            DBInstanceIdentifier=name, DBSnapshotIdentifier=parameters["snapshot"], **settings
        )
        return Thing(name)

    def look(token: UUID) -> Thing | None:
        found = find_database(task.site, parameters, token)
        return Thing(found) if found else None

    task.effects.once("database.restore", parameters, make=make, find=look, look_first=True)


def find_database(place: Place, parameters: dict[str, Any], token: UUID) -> str | None:
    """The database that an effect was to make, by its name."""
    name: str = parameters["name"]
    return _named(lambda: place.account.rds.describe_db_instances(DBInstanceIdentifier=name) and name)


# Downloads ------------------------------------------------------------------------------------------------------------


def download(task: Task) -> Outcome:
    """Makes a dump of a backup, unless there is one, and a link to it; removes what that took, however it ends."""
    wanted = _read(task)
    if wanted is None:
        return failed("the web site is not there any more")
    data, place = task.job.data, dump.Place(_bucket(task), task.job.data["key"])
    outcome = _dump(task, wanted.site, place)
    if outcome.kind not in ("completed", "failed"):
        return outcome
    dump.tidy(task.site.account, place, data["download"], data["database"])
    _tell(task, "tidied", download=data["download"])
    return outcome


def _dump(task: Task, site: Site, place: dump.Place) -> Outcome:
    """How far the dump is."""
    account, data = task.site.account, task.job.data
    if site.is_deletion_wanted:
        return failed("the web site is being deleted")
    size = place.size(account)
    if size is not None:
        url, until = place.link(account, data["file"])
        _tell(task, "dumped", backup=data["backup"], bytes=size, url=url, until=until)
        return completed({"size_bytes": size})
    _restore_database(task, site, data["database"], DeletionProtection=False, MultiAZ=False)
    source = act.restored(account, data["database"])
    if not isinstance(source, act.Restored):
        return again(WAIT_LIMIT_SECONDS, message=source) if source else failed("the database to dump is gone")
    if not task.state.get("is_started"):
        _start_machine(task, site, source, place)
        # What EC2 has started it does not list at once.
        return again(WAIT_LIMIT_SECONDS, {"is_started": True}, "the database is being dumped")
    machines = dump.machines(account, data["download"])
    if any(dump.is_at_work(machine) for machine in machines):
        return again(WAIT_LIMIT_SECONDS, task.state, "the database is being dumped")
    if place.size(account) is not None:
        return again(SOON_SECONDS, task.state)
    names = ", ".join(machine["InstanceId"] for machine in machines) or "which is gone"
    return failed(f"the machine that was to dump the database has ended without: {names}; its console output says why")


def _start_machine(task: Task, site: Site, source: act.Restored, place: dump.Place) -> None:
    account, id = task.site.account, task.job.data["download"]
    text = dump.script(account.region, source, place)

    def look(token: UUID) -> Thing | None:
        return Thing(id) if find_machine(task.site, {"download": id}, token) else None

    def make(token: UUID) -> Thing:
        dump.start(account, site, id, text, str(token))
        return Thing(id)

    task.effects.once("machine.start", {"download": id}, make=make, find=look, look_first=True)


def find_machine(place: Place, parameters: dict[str, Any], token: UUID) -> str | None:
    """The download that an effect was to start a machine for, if there is one."""
    name: str = parameters["download"]
    return name if dump.machines(place.account, name) else None


def _clear_up(task: Task) -> int:
    """Removes what is left of downloads, dumps that were kept long enough, and backups whose removal was asked for;
    returns how many dumps.
    """
    account, accreditation = task.site.account, task.site.accreditation.id
    _remove_backups(task, task.resources.rows("hosting", "backups_removed", accreditation=accreditation))
    for row in task.resources.rows("hosting", "downloads_left", accreditation=accreditation):
        data = row["data"]
        dump.tidy(account, dump.Place(_bucket(task), data["key"]), data["download"], data["database"])
        _tell(task, "tidied", download=data["download"])
    old = task.resources.rows("hosting", "dumps_old", accreditation=accreditation)
    for row in old:
        dump.Place(_bucket(task), row["key"]).remove(account)
        _tell(task, "dump_gone", backup=row["id"])
    return len(old)


# The end --------------------------------------------------------------------------------------------------------------


def delete(task: Task) -> Outcome:
    """Waits until nothing is left of a site but its last snapshot."""
    wanted = _read(task)
    if wanted is None or wanted.row["phase"] == "deleted":
        return completed()
    return again(PATIENCE_SECONDS, message="; ".join(_left(wanted)))


def _left(wanted: Wanted) -> list[str]:
    problem = wanted.row["conditions"].get("ProviderError")
    return ["deleting", *([problem["reason"]] if problem else [])]


# What is left of sites that are gone ----------------------------------------------------------------------------------


def find_strays(task: Task) -> Outcome:
    """Notes what has the tag of a site that is not there, and removes what may go: seen for an hour, and no data.
    Removes also what is left of downloads, and backups that nobody wants.
    """
    account, dumps = task.site.account, _clear_up(task)
    found = [{"arn": arn, "instance": instance} for arn, instance in stray.tagged(account)]
    claim = {"job": task.job.job_id, "claim_no": task.job.claim_no, "accreditation": task.site.accreditation.id}
    with fenced():
        going = [row["arn"] for row in task.resources.rows("hosting", "strays", **claim, found=Jsonb(found))]
    removed = 0
    for arn in sorted(going, key=stray.order):
        with fenced():
            task.resources.row("hosting", "fence", job=task.job.job_id, claim_no=task.job.claim_no)
        removed += stray.remove(account, arn)
    return completed({"tagged": len(found), "removed": removed, "dumps": dumps})
