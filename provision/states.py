"""The state machines as a document for people, from the rows that the guards are generated from: `provision states`."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import click
from psycopg.rows import class_row

from provision import settings as settings_module
from provision.database import connect, load_queries, role_url

# In the order in which a request meets them.
MACHINES = {
    "order": 'An order. It ends when all its items have; rows of `"order"`, shown by `v_order`.',
    "order_item": "One thing of an order; shown by `v_order_item`.",
    "order_item_plan": "A step of an item, which becomes one provision row; shown by `v_order_item_plan`.",
    "provision": "A row of a table `provision_…`, whoever inserted it; shown by `v_provision`.",
    "job": "A piece of work for a worker; `v_job` shows it as `processing` while a worker holds it (not stored).",
    "customer": "A customer; shown by `v_customer`.",
    "membership": "A user's role in an org or in the whole of a customer (its `state`); shown by `v_membership`.",
    "cluster": "An org's cluster (its `state`); shown by `v_cluster`.",
    "compute_cluster": "A cluster that deployments share (its `state`); shown by `v_compute_cluster`.",
    "deployment": "A container that waits, runs and ends (its `state`); shown by `v_deployment`.",
    "capacity_request": "A request for nodes of a cluster (its `state`); shown by `v_capacity_request`.",
    "offering": "What a provider offers (its `state`); shown by `v_offering`.",
    "allocation": "What a project was given of an offering (its `state`); shown by `v_allocation`.",
    "allocation_order": "How allocator and provider see an order of it (its `state`); shown by `v_allocation_order`.",
}

INTRODUCTION = """\
# States

Which state may follow which: rows of `state_transition`, from which the guards on the tables are generated, and this
page by `provision states`. What is not listed is refused with `PV422`, whoever tries it. A row in a final state never
changes again.
"""


@dataclass(frozen=True)
class Transition:
    """A row of `state_transition`; `from_state` None: a state that a new row may begin in."""

    machine: str
    from_state: str | None
    to_state: str
    meaning: str


def read(url: str) -> list[Transition]:
    """All transitions that a database allows."""
    with connect(url, "provision states") as connection:
        cursor = connection.cursor(row_factory=class_row(Transition))
        return cursor.execute(load_queries("states")["transitions"].encode()).fetchall()


def document(transitions: Iterable[Transition]) -> str:
    """The page: a diagram and a table for each machine."""
    known = list(transitions)
    sections = (section(name, [t for t in known if t.machine == name]) for name in MACHINES)
    return "\n".join([INTRODUCTION, *sections])


def section(name: str, transitions: list[Transition]) -> str:
    """One machine's part of the page."""
    ordered = list(in_order(transitions))
    final = [state for state in states(ordered) if all(t.from_state != state for t in ordered)]
    edges = [f"    {t.from_state or '[*]'} --> {t.to_state}" for t in ordered] + [
        f"    {state} --> [*]" for state in final
    ]
    rows = [f"| {t.from_state or '(new)'} | {t.to_state} | {t.meaning} |" for t in ordered]
    return "\n".join(
        [
            f"## {name}\n\n{MACHINES[name]} Final: {', '.join(f'`{state}`' for state in final) or 'none'}.\n",
            "```mermaid\nstateDiagram-v2",
            *edges,
            "```\n",
            "| from | to | what happened |\n| --- | --- | --- |",
            *rows,
            "",
        ]
    )


def states(transitions: Iterable[Transition]) -> list[str]:
    """The states, each once, in the order in which they are reached."""
    return list(dict.fromkeys(t.to_state for t in transitions))


def in_order(transitions: list[Transition]) -> Iterator[Transition]:
    """The transitions as a row meets them: those into the first states, then those out of them, and so on."""
    reached: list[str | None] = [None]
    for state in reached:  # It grows on the way.
        for transition in (t for t in transitions if t.from_state == state):
            yield transition
            if transition.to_state not in reached:
                reached.append(transition.to_state)


@click.command("states")
def states_command() -> None:
    """Print which state may follow which: docs/states.md, from the database's own rules.

    \b
    Example:
      provision states > docs/states.md
    """
    click.echo(document(read(role_url(settings_module.load(), "owner"))), nl=False)


commands = [states_command]
