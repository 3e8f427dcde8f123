"""How the demo looks: progress while it runs, tables of what happened, and how to look further."""

import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from provision.database import sql_directory
from provision.status import attention_blocks

from .client import Document
from .expectation import Expectation, Progress
from .scene import Play, Scene

MARKS = {
    "completed": ("✓", "green"),
    "failed": ("✗", "red"),
    "cancelled": ("–", "dim"),
    "waiting": ("○", "dim"),
}
IN_WORK = ("●", "yellow")
STATUS_STYLES = {"completed": "green", "failed": "red", "refused": "red"}


class Screen:
    """Writes to standard output: a table that follows what happens on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        # A terminal that cannot show ✓ must not end the demo.
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="replace")
        self.console = Console(highlight=False)
        self._is_live = self.console.is_terminal and not self.console.is_dumb_terminal
        self._live: Live | None = None
        self._began = time.monotonic()
        self._said: dict[Any, object] = {}

    def say(self, text: str) -> None:
        """One line, with the seconds since the beginning."""
        self.console.print(f"[dim]{time.monotonic() - self._began:5.1f} s[/dim]  {text}", soft_wrap=True)

    def title(self, text: str) -> None:
        """Begins a part."""
        self.console.print(f"\n[bold]{text}[/bold]")

    @contextmanager
    def following(self) -> Iterator[None]:
        """While `follow` is called."""
        if not self._is_live:
            yield
            return
        with Live(console=self.console, auto_refresh=False) as self._live:
            yield

    def follow(self, play: Play, progress: Progress) -> None:
        """Shows how everything stands now."""
        if self._live:
            self._live.update(_progress_table(play, progress), refresh=True)
            return
        for scene in play.scenes.values():
            state = _state(scene, progress)
            if self._said.get(scene.what) != state:
                self._said[scene.what] = state
                self.say(f"{scene.what}: {state}")

    # What happened

    def orders(self, play: Play, progress: Progress) -> None:
        """The outcomes, with reasons."""
        table = _table("asked for", "by", "outcome", "took", "reason")
        for scene in play.scenes.values():
            row = progress.get(scene.id, {})
            status = str(row.get("status", "refused"))
            took = f"{row['seconds']:.1f} s" if row else ""
            reason = row.get("reason") or (_said_to_user(scene) if scene.refusal else "")
            table.add_row(scene.what, scene.by, Text(status, STATUS_STYLES.get(status, "")), took, reason)
        self.console.print(table)

    def refusal(self, scene: Scene) -> None:
        """What a caller is answered whose order breaks a rule."""
        for name, value in (scene.refusal or {}).items():
            self.console.print(f"  {name:10}  {value}", markup=False)

    def registry(self, play: Play) -> None:
        """What the registry was asked to create and has."""
        table = _table("at the registry", "create commands", "carried out", "answers lost", "sponsor")
        ledger = play.stage.registry.ledger.entries(verb="create")
        references = {row["handle"]: f" ({row['reference']})" for row in play.database.rows("contacts")}
        for kind in ("domain", "host", "contact"):
            objects = play.stage.registry.objects(kind)
            for name in dict.fromkeys(entry.name for entry in ledger if entry.object == kind):
                entries = [entry for entry in ledger if (entry.object, entry.name) == (kind, name)]
                lost = sum(entry.fault == "lose_answer" for entry in entries)
                numbers = (len(entries), sum(entry.executed for entry in entries), lost or "")
                sponsor = str(objects[name]["sponsor"]) if name in objects else "–"
                table.add_row(f"{kind} {name}{references.get(name, '')}", *map(str, numbers), sponsor)
        self.console.print(table)

    def certificates(self, play: Play) -> None:
        """The certificates in the inventory."""
        table = _table("certificate", "also for", "valid until", "ARN")
        for row in play.database.rows("certificates"):
            table.add_row(row["domain_name"], ", ".join(row["alternative_names"]), str(row["until"]), row["arn"])
        self.console.print(table)

    def deployments(self, rows: list[Document]) -> None:
        """Who runs, who waits, and why."""
        table = _table("deployment", "class", "demand", "for", "status", "why")
        for row in rows:
            demand = f"{row['cpu']} vCPU, {row['ram']} GiB"
            table.add_row(row["name"], row["priority"], demand, f"{row['ttl_seconds']} s", row["status"], row["reason"])
        self.console.print(table)

    def explanation(self, play: Play) -> None:
        """The first order as psql shows it."""
        for row in play.database.rows("explain", order=play.scenes["new"].id):
            self.console.print(row["line"], markup=False, soft_wrap=True)

    def attention(self, play: Play) -> None:
        """What an operator would have to do."""
        for block in attention_blocks(play.database.rows("attention")):
            self.console.print(block, soft_wrap=True)

    def expectations(self, found: list[Expectation]) -> None:
        """What was expected, and whether it is so."""
        for one in found:
            mark, style = MARKS["completed" if one.is_met else "failed"]
            instead = "" if one.is_met else f" – {one.found}"
            self.console.print(Text.assemble((mark, style), f" {one.what}", (instead, "red")))

    def further(self, play: Play) -> None:
        """Lines to be copied; never wrapped."""
        for what, line in _lines(play).items():
            self.console.print(f"[dim]# {what}[/dim]", soft_wrap=True)
            if line:
                self.console.print(line, markup=False, soft_wrap=True)


def _lines(play: Play) -> dict[str, str]:
    """Commands for a shell, by what they are for."""
    cast, stage, order = play.cast, play.stage, play.scenes["new"].id
    psqlrc, psql, python = (shlex.quote(path) for path in (str(sql_directory() / "psqlrc"), stage.psql, sys.executable))
    curl = f"curl -H 'Authorization: Token {cast.shop.api_key}'"
    item = '{"items": [{"operation": "host.create", "data": {"name": "ns3.example.net"}}]}'
    post = f"-H 'Content-Type: application/json' -H 'Prefer: wait=10' -d '{item}'"
    names = "SELECT name, ry_expiry_date, hosts FROM v_domain"
    return {
        "psql as an operator (:attention, :orders, :last, :explain …)": f"PSQLRC={psqlrc} {psql} '{cast.operator_url}'",
        "psql as the shop's own software, which sees what is its own": f"{psql} '{cast.shop_url}' -c '{names}'",
        "the first order over HTTP": f"{curl} {stage.api_url}/v1/orders/{order}",
        "a new order over HTTP": f"{curl} {post} {stage.api_url}/v1/orders",
        "how the engine is doing": f"DATABASE_URL='{cast.operator_url}' {python} -m provision status",
        f"all that can be done over HTTP: {stage.api_url}/docs": "",
        f"what API, worker and PostgreSQL have logged: {stage.directory}": "",
    }


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _progress_table(play: Play, progress: Progress) -> Table:
    table = _table("asked for", "by", "steps", "")
    for scene in play.scenes.values():
        row = progress.get(scene.id, {"steps": [], "status": "refused", "note": None})
        marks = Text.assemble(*(MARKS.get(step, IN_WORK) for step in row["steps"]))
        status = Text(row["status"], STATUS_STYLES.get(row["status"], "yellow"))
        if row["note"] and row["status"] == "processing":
            status.append(f": {row['note']}", "dim")
        table.add_row(scene.what, scene.by, marks, status)
    return table


def _state(scene: Scene, progress: Progress) -> str:
    row = progress.get(scene.id)
    if row is None:
        return f"refused: {_said_to_user(scene)}"
    done = sum(step == "completed" for step in row["steps"])
    reason = row["reason"] or (row["note"] if row["status"] == "processing" else "")
    return f"{row['status']}, {done} of {len(row['steps'])} steps done" + (f": {reason}" if reason else "")


def _said_to_user(scene: Scene) -> str:
    refusal = scene.refusal or {}
    return "; ".join(str(refusal[name]) for name in ("title", "detail", "hint") if refusal.get(name))
