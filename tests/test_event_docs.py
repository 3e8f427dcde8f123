"""docs/event.md: its lines do what it says."""

import json
import re
import shlex
import subprocess
import time
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from provision_worker.providers.webhook import signature

from .api_fixtures import make_customer, serving, settings_for, value
from .conftest import Database
from .worker_fixtures import eventually

PAGE = (Path(__file__).parent.parent / "docs/event.md").read_text()


@pytest.fixture
def is_genuine() -> Any:
    """The function that the page gives to customers."""
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    return names["is_genuine"]


def test_the_function_of_the_page_knows_what_is_genuine(is_genuine: Any) -> None:
    body, now = b'{"id": "1-2-3"}', int(time.time())
    header = signature(["new", "old"], body, now)
    assert is_genuine("new", header, body)
    assert is_genuine("old", header, body)
    assert not is_genuine("other", header, body)
    assert not is_genuine("new", header, body + b" ")
    assert not is_genuine("new", header.replace(f"t={now}", f"t={now + 1}"), body)
    assert not is_genuine("new", header, body, now + 301)
    assert not is_genuine("new", f"t={now}", body)


def curl(line: str, *more: str) -> str:
    command = shlex.split(line.replace("\\\n", " "))
    return subprocess.run([*command, *more], capture_output=True, text=True, check=False).stdout


def test_the_lines_of_the_page_work(database: Database, owner: psycopg.Connection) -> None:
    customer = make_customer(owner, "acme")
    stream, _, hook, letters, redeliver = re.findall(r"^curl (?:.*\\\n)*.*$", PAGE, re.MULTILINE)
    with serving(settings_for(database.url)) as served:

        def filled(line: str, webhook: str = "") -> str:
            return line.replace("$API", served.url).replace("$KEY", customer.key).replace("$ID", webhook)

        webhook = json.loads(curl(filled(hook)))
        assert webhook["secret"].startswith("whsec_")
        assert json.loads(curl(filled(letters, webhook["id"]))) == {"dead_letters": []}
        assert json.loads(curl(filled(redeliver, webhook["id"]))) == {"count": 0}
        everything = filled(stream).replace("types=order.*,domain.completed", "after=0")
        assert "event: webhook.created\n" in curl(everything, "--max-time", "2")


def test_the_example_has_the_fields_of_an_event(database: Database, owner: psycopg.Connection) -> None:
    example = json.loads(re.findall(r"^```\n(\{.*?\})\n```", PAGE, re.MULTILINE | re.DOTALL)[0])
    customer = make_customer(owner, "acme")
    owner.execute(
        "INSERT INTO audit_trail_log (table_name, row_id, tenant_customer_id, operation)"
        " VALUES ('host', new_id(), %s, 'insert')",
        (customer.account,),
    )
    read: LiteralString = "SELECT event FROM event_read(%s, NULL, '0', NULL, 1) LIMIT 1"
    event = eventually(lambda: value(owner, read, customer.account), "an event")
    assert set(event) == set(example)
