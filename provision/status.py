"""How the engine is doing, for operators: `provision status`, and one order in full: `provision order`."""

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import click
import psycopg
from psycopg.rows import dict_row
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from provision import ProvisionError
from provision import settings as settings_module
from provision.database import connect, load_queries, role_url, url_shown

Row = dict[str, Any]

WATCH_SECONDS = 2.0
ATTENTION_LIMIT = 100
SECTIONS = ("orders", "jobs", "lanes", "workers", "attention")


@dataclass(frozen=True)
class Status:
    """What `provision status` shows; lists are rows of the statements in `sql/queries/status.sql`."""

    at: datetime
    database: str
    hours: int
    orders: list[Row]
    jobs: list[Row]
    lanes: list[Row]
    workers: list[Row]
    attention: list[Row]


def read(url: str, hours: int) -> Status:
    """The status of the engine in a database; orders and jobs are those made in the last `hours`."""
    parameters = {"hours": hours, "limit": ATTENTION_LIMIT}
    queries = load_queries("status")
    with connect(url, "provision status", autocommit=True) as connection:
        cursor = connection.cursor(row_factory=dict_row)
        rows = {name: cursor.execute(queries[name], parameters).fetchall() for name in SECTIONS}
    return Status(at=datetime.now(UTC), database=url_shown(url), hours=hours, **rows)


# Shown to machines


def to_json(status: Status) -> str:
    """One line of JSON; times are ISO 8601."""
    return json.dumps(asdict(status), default=_json_value)


def _json_value(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


# Shown to people


def render(status: Status) -> Iterator[RenderableType]:
    """The status as blocks for a terminal of any width."""
    yield Text(f"{status.database}  {status.at:%H:%M:%S} UTC", style="bold")
    yield Text(f"orders of the last {status.hours} h: {_counts(status.orders)}")
    yield Text(f"jobs of the last {status.hours} h:   {_counts(status.jobs)}")
    yield _lanes(status.lanes)
    yield _workers(status)
    yield from attention_blocks(status.attention)


def _counts(rows: Iterable[Row]) -> str:
    return ", ".join(f"{row['count']} {row['status']}" for row in rows) or "none"


def _lanes(rows: list[Row]) -> RenderableType:
    if not rows:
        return Text("queues: none yet")
    table = _table("queue", "priority", "due", "later", "running", "at most")
    for row in rows:
        numbers = (row["priority"], row["due"], row["later"], row["running"], row["max_concurrency"] or "–")
        table.add_row(row["accreditation"], *map(str, numbers))
    return table


def _workers(status: Status) -> RenderableType:
    if not status.workers:
        return Text("workers: none; start one with `provision worker`", style="yellow")
    table = _table("worker", "host", "process", "release", "up", "silent", "jobs")
    for row in status.workers:
        up, silent = status.at - row["started_date"], timedelta(seconds=row["silent_seconds"])
        cells = (row["pid"], row["version"], span(up), span(silent), row["jobs"])
        table.add_row(row["name"], row["host"], *map(str, cells))
    return table


def attention_blocks(rows: list[Row]) -> Iterator[RenderableType]:
    """Rows of v_attention: what it is, and on a line of its own, to be copied, the call that deals with it."""
    if not rows:
        yield Text("needs a person: nothing", style="green")
        return
    yield Text(f"needs a person: {len(rows)}{' or more' if len(rows) == ATTENTION_LIMIT else ''}", style="yellow")
    for row in rows:
        age = f", {span(datetime.now(UTC) - row['since'])}" if row["since"] else ""
        yield Text(f"  {row['what']}{age}: {row['reason']}")
        yield Text(f"    {row['call']}", style="cyan")


def span(length: timedelta) -> str:
    """A length of time in its largest unit: `12 s`, `5 min`, `3 h`, `2 d`."""
    seconds = max(0.0, length.total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
    return table


# The commands


@click.command("status")
@click.option(
    "--watch",
    type=click.FloatRange(min=0.1),
    is_flag=False,
    flag_value=WATCH_SECONDS,
    metavar="[SECONDS]",
    help="Show it again every 2 (or so many) seconds until Ctrl-C.",
)
@click.option("--json", "as_json", is_flag=True, help="One line of JSON, with --watch one line each time.")
@click.option("--hours", type=click.IntRange(min=1), default=24, show_default=True, help="Count what was made since.")
def status_command(watch: float | None, as_json: bool, hours: int) -> None:
    """Show queues, workers, orders and jobs by state, and what needs a person.

    DATABASE_URL may be that of any log-in that is a member of provision_operator.

    \b
    Examples:
      provision status
      provision status --watch 5
      provision status --json | jq '.attention[].call'
    """
    url = role_url(settings_module.load(), "owner")
    if watch is None:
        _show(read(url, hours), as_json)
    else:
        _watch(url, hours, watch, as_json)


def _show(status: Status, as_json: bool) -> None:
    if as_json:
        click.echo(to_json(status))
        return
    console = Console(highlight=False)
    for block in render(status):
        console.print(block, soft_wrap=isinstance(block, Text))


def _watch(url: str, hours: int, seconds: float, as_json: bool) -> None:
    """Show it until Ctrl-C. On a terminal a database that is away is said so and asked again."""
    console = Console(highlight=False)
    try:
        if as_json or not console.is_terminal:
            while True:
                _show(read(url, hours), as_json)
                time.sleep(seconds)
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(_block(url, hours), refresh=True)
                time.sleep(seconds)
    except KeyboardInterrupt:
        return


def _block(url: str, hours: int) -> RenderableType:
    try:
        return Group(*render(read(url, hours)))
    except psycopg.OperationalError as error:
        return Text(f"{url_shown(url)} is away: {str(error).strip()}", style="red")


@click.command("order")
@click.argument("order", type=click.UUID)
@click.option("--json", "as_json", is_flag=True, help="The document that GET /v1/orders/{id} answers with.")
def order_command(order: UUID, as_json: bool) -> None:
    """Show an order as a tree: its items and steps, what they wait for, and why they ended as they did."""
    with connect(role_url(settings_module.load(), "owner"), "provision order", autocommit=True) as connection:
        query = load_queries("status")["document" if as_json else "explain"]
        lines = [row[0] for row in connection.execute(query, {"order": order})]
    if lines == [None]:
        raise ProvisionError(f"order not found: {order}; the newest are in v_order")
    for line in lines:
        click.echo(json.dumps(line, indent=2) if as_json else line)


commands: list[click.Command] = [status_command, order_command]
