"""What an allocator's portal does in the demo, over HTTP as its clients do it: a project, a member by CUID, and an
allocation that is ordered, changed, used and ended.
"""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

from provision import ProvisionError

from .expectation import Expectation
from .stage import Stage

Document = dict[str, Any]


def perform(stage: Stage, say: Callable[[str], None]) -> Iterator[Expectation]:
    """Does all of it; what is seen along the way is what is expected, or not."""
    portal = Portal(stage.api_url, make_example(stage.owner_url), say)
    project = portal.project()
    yield expect("a portal's project has a member, found by CUID", portal.member(project), ["PROJECT.MEMBER"])
    resource, order = portal.order(project)
    yield expect("its order waits for the provider, and its allocation is there already", order, "pending-provider")
    yield expect("once approved the allocation can be used", portal.state(resource), "OK")
    yield expect("naming one component keeps the other", portal.change(resource), {"cpu_hours": 10, "gpu_hours": 30})
    yield expect("what was used is what was reported last", portal.use(resource), {"cpu_hours": 7.5})
    yield expect("another allocator is told that there is no such allocation", portal.stranger(resource), 404)
    yield expect("ended, it takes nothing any more", portal.end(resource), "Terminated")


def expect(what: str, found: Any, wanted: Any) -> Expectation:
    """An expectation and what is there."""
    return Expectation(what, found == wanted, f"{found}")


def make_example(owner_url: str) -> Document:
    """What `provision admin example allocator` makes."""
    command = [sys.executable, "-m", "provision", "admin", "example", "allocator", "--json"]
    done = subprocess.run(
        command, env=os.environ | {"DATABASE_URL": owner_url}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ProvisionError(f"the example of an allocator could not be made: {done.stderr[-500:]}")
    example: Document = json.loads(done.stdout)
    return example


class Portal:
    """An allocator's portal, and the provider who answers it."""

    def __init__(self, url: str, example: Document, say: Callable[[str], None]) -> None:
        self._api, self._example, self._say = f"{url}/api/", example, say

    def project(self) -> str:
        """A new project."""
        customer = f"{self._api}customers/{self._example['customer']}/"
        made = self._post("projects/", {"customer": customer, "name": "Climate", "backend_id": "portal_1"})
        self._say(f"portal: project {made['name']} of {made['customer_name']}, {made['uuid']}")
        return str(made["uuid"])

    def member(self, project: str) -> list[str]:
        """A researcher, found by his CUID, becomes a member; the roles that the project has then."""
        cuid = self._example["cuid"]
        user = self._post("remote-eduteams/", {"cuid": cuid})["uuid"]
        self._post(f"projects/{project}/add_user/", {"user": user, "role": "PROJECT.MEMBER"})
        self._say(f"portal: {cuid} is a member")
        return [row["role_name"] for row in self._call("GET", f"projects/{project}/list_users/")[1]]

    def order(self, project: str) -> tuple[str, str]:
        """An allocation; its id and how the order stood at first. The provider approves."""
        offering = f"marketplace-public-offerings/{self._example['offering']}/"
        plan = self._call("GET", f"{offering}plans/")[1][0]["url"]
        body = {"project": f"{self._api}projects/{project}/", "offering": self._api + offering, "plan": plan}
        body |= {"attributes": {"name": "run"}, "limits": {"cpu_hours": 10, "gpu_hours": 20}}
        made = self._post("marketplace-orders/", body)
        self._say(f"portal: order {made['uuid']} of 10 CPU and 20 GPU hours costs {made['cost']}, is {made['state']}")
        self._approve(made["uuid"])
        return made["marketplace_resource_uuid"], made["state"]

    def state(self, resource: str) -> str:
        """How the allocation is."""
        return str(self._resource(resource)["state"])

    def change(self, resource: str) -> Document:
        """More GPU hours; the limits then."""
        change = self._post(f"marketplace-resources/{resource}/update_limits/", {"limits": {"gpu_hours": 30}})
        self._approve(change["order_uuid"])
        limits: Document = self._resource(resource)["limits"]
        return limits

    def use(self, resource: str) -> Document:
        """The provider reports twice; what counts as used then."""
        for amount in ("5", "7.5"):
            usages = [{"type": "cpu_hours", "amount": amount}]
            body = {"resource": resource, "usages": usages}
            self._call("POST", "marketplace-component-usages/set_usage/", body, "provider_token")
            self._say(f"provider: {amount} CPU hours used")
        usages_now: Document = self._resource(resource)["current_usages"]
        return usages_now

    def stranger(self, resource: str) -> int:
        """What another allocator is answered."""
        return self._call("GET", f"marketplace-resources/{resource}/", who="token_b")[0]

    def end(self, resource: str) -> str:
        """The end; the state then."""
        self._approve(self._post(f"marketplace-resources/{resource}/terminate/", {})["order_uuid"])
        return self.state(resource)

    def _approve(self, order: str) -> None:
        said = self._call("POST", f"marketplace-orders/{order}/approve_by_provider/", {}, "provider_token")[1]
        self._say(f"provider: approves {order}. {said['detail']}")

    def _resource(self, resource: str) -> Document:
        found: Document = self._call("GET", f"marketplace-resources/{resource}/")[1]
        return found

    def _post(self, path: str, body: Document) -> Document:
        status, answer = self._call("POST", path, body)
        if status >= 400:
            raise ProvisionError(f"POST {path} is answered {status}: {answer}")
        made: Document = answer
        return made

    def _call(self, method: str, path: str, body: Document | None = None, who: str = "token") -> tuple[int, Any]:
        headers = {"Authorization": f"Token {self._example[who]}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._api + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                text = response.read()
                return response.status, json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
