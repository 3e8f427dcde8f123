"""A full cluster in the demo: who waits and why, who may overtake, and who starts when somebody has ended."""

import time
from datetime import datetime
from typing import Any

from provision import ProvisionError

from .client import Client, Document

PATIENCE_SECONDS = 30.0
LOOK_SECONDS = 0.1
# How much later than promised something may start: an end has to be noticed, and decided about.
LATE_SECONDS = 5.0
UNDECIDED = ("is about to be decided", "its cluster is")
ORG, CLUSTER = "lab", "research"
SIZE = {"total_cpu": 10, "total_ram": 10, "total_gpu": 0, "launch_type": "simulated"}
# Name, class, vCPU and GiB alike, and for how many seconds.
ASKED = (("ingest", "LOW", 6, 15), ("train", "HIGH", 8, 60), ("index", "LOW", 4, 8), ("report", "LOW", 4, 60))


class Lab:
    """An org with a cluster of 10 vCPU and 10 GiB, at which nothing really runs."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.full: list[Document] = []
        self.later: list[Document] = []

    def fill(self) -> None:
        """Makes the cluster and asks for more than it has."""
        self._call("/v1/orgs", {"name": ORG})
        self._call("/create_cluster", {"name": CLUSTER} | SIZE)
        for name, priority, amount, seconds in ASKED:
            demand = {"cpu": amount, "ram": amount, "gpu": 0, "priority": priority, "ttl_seconds": seconds}
            asked = {"name": name, "docker_path": "nginx", "cluster_name": CLUSTER} | demand
            self._decided(self._call("/create_deployment", asked)["id"])
        self.full = self._look()

    def _decided(self, number: int) -> None:
        """Waits until it is decided who runs, so that one arrives after the other, however busy the worker is."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            one = self._call(f"/deployments/{number}")
            if one["status"] != "queued" or not one["reason"].startswith(UNDECIDED):
                return
            time.sleep(LOOK_SECONDS)

    def wait(self) -> None:
        """Until the head of the queue runs, or time is up."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        self.later = self._look()
        while self.named("train", self.later)["status"] != "running" and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
            self.later = self._look()

    def named(self, name: str, rows: list[Document]) -> Document:
        """The deployment of that name."""
        return next(row for row in rows if row["name"] == name)

    def check_full(self) -> str:
        """What is otherwise while the cluster is full; nothing: it is as it should be."""
        states = {row["name"]: row["status"] for row in self.full}
        wanted = {"ingest": "running", "train": "queued", "index": "running", "report": "queued"}
        silent = [row["name"] for row in self.full if row["status"] == "queued" and not row["reason"]]
        return f"{states}; without a reason: {silent}" if states != wanted or silent else ""

    def check_kept(self) -> str:
        """What is otherwise once the first has ended."""
        head, promised = self.named("train", self.later), self.named("train", self.full)["promised_at"]
        if head["status"] != "running" or promised is None:
            return f"it is {head['status']}, promised for {promised}"
        late = (datetime.fromisoformat(head["started_at"]) - datetime.fromisoformat(promised)).total_seconds()
        return "" if late <= LATE_SECONDS else f"{late:.1f} s too late"

    def _look(self) -> list[Document]:
        rows: Any = self._call("/deployments")
        return [self._call(f"/deployments/{row['id']}") for row in rows]

    def _call(self, path: str, body: Document | None = None) -> Document:
        headers = {} if path == "/v1/orgs" else {"Provision-Org": ORG}
        answer = self._client.call(path, body, headers)
        if answer.status >= 400:
            raise ProvisionError(f"{path} was answered {answer.status}: {answer.document}")
        return answer.document
