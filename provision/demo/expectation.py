"""What must have come of the demo: each expectation is looked up in the database, at the registry and at AWS."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from .data import HOSTED, MOVED, RIVAL_SECRET, TAKEN, aws_client
from .scene import DEAR_NAME, HOSTS, Play
from .stage import REGISTRAR, RIVAL

Progress = dict[Any, dict[str, Any]]


class Expectation(NamedTuple):
    """Something expected, and whether it is so; `found` says what is there instead."""

    what: str
    is_met: bool
    found: str = ""


def examine(play: Play, progress: Progress) -> Iterator[Expectation]:
    """All expectations. `progress` are rows of the statement `progress`, by id."""
    for scene in play.scenes.values():
        found = progress[scene.id]["status"] if scene.id else "refused"
        yield Expectation(f"{scene.what}: {scene.ends}", found == scene.ends, found)
    for what, check in CHECKS.items():
        found = check(play)
        yield Expectation(what, found == "", found)


def _two_rounds(play: Play) -> str:
    steps = play.database.rows("plan", order=play.scenes["new"].id)
    last = [step for step in steps if step["name"].startswith("domain")]
    first = [step for step in steps if step not in last]
    if (len(first), len(last)) != (4, 1) or any(step["job_status"] != "completed" for step in steps):
        return f"{[(step['name'], step['job_status']) for step in steps]}"
    ended = max(step["finished_date"] for step in first)
    return "" if last[0]["processing_date"] >= ended else "the domain did not wait for its contacts and hosts"


def _reused(play: Play) -> str:
    steps = [step["name"] for step in play.database.rows("plan", order=play.scenes["reuse"].id)]
    return "" if steps == ["domain shop.co.test"] else f"its steps are {steps}"


def _once_outside(play: Play) -> str:
    handles = [row["handle"] for row in play.database.rows("contacts")]
    names = {"domain": ["example.test", "shop.co.test", "lost.test"], "host": HOSTS, "contact": handles}
    counts = {name: play.stage.registry.ledger.executed("create", kind, name) for kind in names for name in names[kind]}
    return "" if set(counts.values()) == {1} else f"created so often: {counts}"


def _inventory(play: Play) -> str:
    ours = [row["name"] for row in play.database.rows("domains")]
    theirs = sorted(
        name for name, found in play.stage.registry.objects("domain").items() if found["sponsor"] == REGISTRAR
    )
    return (
        ""
        if ours == theirs == ["example.test", "lost.test", MOVED, "shop.co.test"]
        else f"we have {ours}, it has {theirs}"
    )


def _moved(play: Play) -> str:
    found = play.stage.registry.objects("domain")[MOVED]
    secret = play.stage.registry.registry.store.domains[MOVED].auth_info
    return "" if found["sponsor"] == REGISTRAR and secret != RIVAL_SECRET else f"its sponsor is {found['sponsor']}"


def _dear(play: Play) -> str:
    reason = play.client.get(_id(play, "dear")).document["reason"] or ""
    sent = play.stage.registry.ledger.entries("create", "domain", DEAR_NAME)
    return "" if "max_price" in reason and not sent else f"reason {reason!r}, sent {sent}"


def _recognised(play: Play) -> str:
    effects = play.database.rows("effects", order=play.scenes["lost"].id)
    (step,) = play.database.rows("plan", order=play.scenes["lost"].id)
    is_recognised = all(effect["status"] == "done" and effect["attempt"] > 1 for effect in effects)
    return "" if effects and is_recognised and step["attempts"] else f"{effects}, {step['attempts']} failed attempts"


def _explained(play: Play) -> str:
    refusal = play.scenes["invalid"].refusal or {}
    missing = [name for name in ("title", "detail", "hint") if not refusal.get(name)]
    return f"no {' and no '.join(missing)} in {refusal}" if missing else ""


def _nothing_stored(play: Play) -> str:
    wanted = sum(scene.id is not None and scene.by != "INSERT" for scene in play.scenes.values())
    found = play.database.value("orders")
    return "" if found == wanted else f"{found} orders"


def _refused(play: Play) -> str:
    reason = play.agency.get(_id(play, "taken")).document["reason"] or ""
    sponsor = play.stage.registry.objects("domain")[TAKEN]["sponsor"]
    return "" if "2302" in reason and sponsor == RIVAL else f"reason {reason!r}, sponsor {sponsor}"


def _issued(play: Play) -> str:
    (row,) = play.database.rows("certificates") or [{"arn": None}]
    if row["arn"] is None:
        return "there is no certificate"
    status = aws_client(play.stage, "acm").describe_certificate(CertificateArn=row["arn"])["Certificate"]["Status"]
    records = [record["Name"] for record in _records(play) if record["Type"] == "CNAME"]
    return "" if status == "ISSUED" and len(records) == 2 else f"{status}, validation records {records}"


def _records(play: Play) -> list[dict[str, Any]]:
    route53 = aws_client(play.stage, "route53")
    (zone,) = route53.list_hosted_zones_by_name(DNSName=HOSTED)["HostedZones"]
    records: list[dict[str, Any]] = route53.list_resource_record_sets(HostedZoneId=zone["Id"])["ResourceRecordSets"]
    return records


def _same_order(play: Play) -> str:
    order = _id(play, "new")
    answer = play.client.get(order).document
    stored = play.database.value("document", order=order)
    return "" if answer == stored else f"HTTP says {answer}, SQL says {stored}"


def _foreign_order(play: Play) -> str:
    status = play.agency.get(_id(play, "new")).status
    return "" if status == 404 else f"it is answered {status}"


def _attention(play: Play) -> str:
    rows = play.database.rows("attention")
    is_expected = len(rows) == 1 and rows[0]["what"] == "held job" and "job_complete" in rows[0]["call"]
    return "" if is_expected else f"v_attention has {[(row['what'], row['reason']) for row in rows]}"


def _id(play: Play, name: str) -> Any:
    return play.scenes[name].id


# Each says what is there instead, or nothing.
CHECKS: dict[str, Callable[[Play], str]] = {
    "the first order took 5 steps and 5 jobs in two rounds: contacts and hosts, then the domain": _two_rounds,
    "the second made no contact and no host of its own": _reused,
    "each domain, host and contact was created once at the registry": _once_outside,
    "the registry and our inventory have the same domains": _inventory,
    "the transferred name is ours at the registry, under a secret that its former registrar does not know": _moved,
    "what is dearer than its order allows was refused, and nothing sent for it": _dear,
    "the lost answer cost an attempt; the next one found the domain and took it for ours": _recognised,
    "what failed validation is told what is wrong, with which value, and the way out": _explained,
    "and nothing of it was stored": _nothing_stored,
    "what the registry refused has the registry's reason, and the name is still the other's": _refused,
    "ACM has issued the certificate, and its validation records are in the zone": _issued,
    "in the full cluster, who fits beside the head's promise overtakes it, and who does not waits with a reason": (
        lambda play: play.lab.check_full()
    ),
    "the head of the queue started when it was promised": lambda play: play.lab.check_kept(),
    "HTTP and SQL tell the same about an order": _same_order,
    "another customer is told that there is no such order": _foreign_order,
    "the one thing that needs a person is in v_attention, with the call": _attention,
}
