"""A cluster in the demo: three people ask for nodes, their requests expire on a clock that runs faster, the cluster
goes, and the next request brings it back.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

from provision import ProvisionError

from .expectation import Expectation
from .scene import Play

ASKED = (("olga", 2, 15), ("dora", 3, 20), ("rune", 1, 30))
PATIENCE_SECONDS = 60.0
LOOK_SECONDS = 0.1
Say = Callable[[str], None]


def perform(play: Play, say: Say) -> Iterator[Expectation]:
    """The scene, and what must have come of it."""
    database = play.database
    database.execute("clock")
    cluster: UUID = database.value("cluster", customer=play.cast.shop.account)
    for name, nodes, minutes in ASKED:
        database.execute("capacity", cluster=cluster, username=name, nodes=nodes, minutes=minutes)
        say(f"{name} asks for {nodes} nodes for {minutes} minutes")
    up = _await(play, cluster, "up", 6)
    say(f"the cluster is up at {up['address']} with 6 nodes, the sum of the three requests")
    yield Expectation("three requests for 2, 3 and 1 nodes make a cluster of 6", up["current_nodes"] == 6)
    targets: list[int] = []
    for minutes in (15, 5, 10):
        database.execute("advance", by=f"{minutes} minutes")
        targets.append(_await_target(play, cluster, targets[-1] if targets else 6))
        say(f"{minutes} minutes later it is to have {targets[-1]} nodes")
    yield Expectation("they expire one after the other: 4, 1 and 0 nodes", targets == [4, 1, 0], str(targets))
    down = _await(play, cluster, "down", 0)
    say("the last request has expired, and the whole cluster is gone")
    yield Expectation("nothing of the cluster is left", down["address"] is None)
    database.execute("capacity", cluster=cluster, username="dora", nodes=2, minutes=60)
    again = _await(play, cluster, "up", 2)
    say("dora asks for 2 nodes: deployed again")
    yield Expectation("the first request deploys it again", again["generation"] == 2, str(again["generation"]))


def _await(play: Play, cluster: UUID, state: str, nodes: int) -> dict[str, Any]:
    """The cluster, once it is so."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        play.stage.check()
        (row,) = play.database.rows("cluster_now", cluster=cluster)
        if (row["state"], row["current_nodes"]) == (state, nodes):
            return row
        if time.monotonic() > deadline:
            raise ProvisionError(f"the cluster is not {state} with {nodes} nodes: {row}")
        time.sleep(LOOK_SECONDS)


def _await_target(play: Play, cluster: UUID, before: int) -> int:
    """How many nodes it is to have, once that is another number."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        (row,) = play.database.rows("cluster_now", cluster=cluster)
        if row["target_nodes"] != before or time.monotonic() > deadline:
            return int(row["target_nodes"])
        time.sleep(LOOK_SECONDS)
