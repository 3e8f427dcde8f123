"""What operators see: `provision status`, `provision order`, and the shortcuts of psqlrc."""

import json
import os
import pkgutil
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from click.testing import CliRunner, Result
from psycopg import sql
from psycopg.types.json import Jsonb

from provision.cli import cli
from provision.database import sql_directory
from provision.server import find_binaries

from . import worker_fixtures
from .conftest import PG_BIN, Database
from .worker_fixtures import Engine, insert, make_accreditation, make_customer

engine = worker_fixtures.engine

Provision = Callable[..., Result]


@pytest.fixture
def provision(database: Database) -> Provision:
    """Runs the command on the test's database."""

    def run(*arguments: str) -> Result:
        return CliRunner(env={"DATABASE_URL": database.url, "COLUMNS": "60"}).invoke(cli, arguments)

    return run


@pytest.fixture
def order(engine: Engine) -> UUID:
    """An order of one contact, to be made by hand."""
    customer = make_customer(engine)
    make_accreditation(engine, customer.tenant, name="desk", provider="manual")
    contact = {"name": "J", "street": ["1"], "city": "X", "country_code": "DE", "email": "j@x.test"}
    items = [{"operation": "contact.create", "data": {"reference": "jane"} | contact}]
    order: UUID = engine.value("SELECT order_submit(%s, %s)", customer.account, Jsonb(items))
    return order


def test_an_empty_engine_says_what_is_missing(provision: Provision) -> None:
    shown = provision("status")
    assert shown.exit_code == 0
    assert "workers: none; start one with `provision worker`" in shown.output
    assert "needs a person: nothing" in shown.output


def test_people_see_queues_workers_and_the_call_that_helps(provision: Provision, engine: Engine, order: UUID) -> None:
    accreditation = make_accreditation(engine, name="registry of many words")
    engine.submit(accreditation=accreditation)
    engine.value("SELECT worker_register('w1', 'here', 4711, '1.0', '{test}')")
    shown = provision("status").output
    assert "orders of the last 24 h: 1 processing" in shown
    assert re.search(r"^w1 +here +4711 +1\.0 ", shown, re.MULTILINE)
    job = engine.value("SELECT id FROM v_job WHERE held_at IS NOT NULL")
    # Whole on one line however narrow the terminal is, since it is there to be copied.
    assert f"""    SELECT job_complete('{job}', '{{"roid": "…"}}')\n""" in shown


def test_machines_get_the_same_as_one_line_of_json(provision: Provision, order: UUID) -> None:
    shown = json.loads(provision("status", "--json").output)
    assert shown["orders"] == [{"status": "processing", "count": 1}]
    assert [row["what"] for row in shown["attention"]] == ["held job"]
    assert shown["workers"] == []


def test_what_is_missing_outside_is_shown_since_when(provision: Provision, engine: Engine) -> None:
    customer = make_customer(engine)
    registry = make_accreditation(engine, customer.tenant)
    host = insert(
        engine,
        "host",
        id=uuid4(),
        tenant_customer_id=customer.account,
        accreditation_id=registry,
        name="ns1.example.net",
    )
    engine.value("SELECT inventory_missing('host', %s, 'the registry does not have it')", host)
    assert re.search(r"missing host, \d+ s: ns1.example.net: the registry does not have it", provision("status").output)


def test_orders_older_than_asked_for_are_not_counted(provision: Provision, engine: Engine, order: UUID) -> None:
    engine.owner.execute("SET session_replication_role = replica")
    old = "00000000" + str(order)[8:]
    engine.owner.execute('UPDATE "order" SET id = %s', (old,))
    assert json.loads(provision("status", "--json").output)["orders"] == []


def test_an_operator_needs_no_more_than_the_group(engine: Engine, order: UUID, database: Database) -> None:
    role = f"operator_{database.name}"
    engine.owner.execute(sql.SQL("CREATE ROLE {} LOGIN IN ROLE provision_operator").format(sql.Identifier(role)))
    try:
        url = database.url_as(role)
        shown = CliRunner(env={"DATABASE_URL": url}).invoke(cli, ["status", "--json"])
        assert json.loads(shown.output)["orders"] == [{"status": "processing", "count": 1}]
    finally:
        engine.owner.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def test_watching_shows_it_again_until_interrupted(database: Database) -> None:
    command = [sys.executable, "-m", "provision", "status", "--json", "--watch", "0.1"]
    environment = os.environ | {"DATABASE_URL": database.url, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as watch:
        assert watch.stdout
        first, second = (json.loads(watch.stdout.readline()) for _ in range(2))
        assert first["at"] < second["at"]
        watch.send_signal(signal.SIGINT)
        _, errors = watch.communicate(timeout=30)
    assert (watch.returncode, errors) == (0, "")


def test_an_order_is_explained_as_a_tree_or_as_the_document_of_the_api(provision: Provision, order: UUID) -> None:
    tree = provision("order", str(order)).output
    assert tree.startswith(f"order {order}  processing")
    assert "contact jane  processing" in tree
    document = json.loads(provision("order", str(order), "--json").output)
    assert document["items"][0]["plan"][0]["name"] == "contact jane"


def test_an_unknown_order_is_named_not_traced(database: Database) -> None:
    unknown = "00000000-0000-7000-8000-000000000000"
    for more in ([], ["--json"]):
        command = [sys.executable, "-m", "provision", "order", unknown, *more]
        environment = os.environ | {"DATABASE_URL": database.url}
        answer = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert answer.returncode == 1
        assert answer.stderr.startswith("provision: order not found")
        assert unknown in answer.stderr
        assert answer.stderr.count("\n") == 1


def test_every_shortcut_of_psqlrc_works(engine: Engine, order: UUID, database: Database) -> None:
    psqlrc = sql_directory() / "psqlrc"
    shortcuts = re.findall(r"^\\set ([a-z]+) '", psqlrc.read_text(), re.MULTILINE)
    assert {"orders", "jobs", "attention", "explain", "last"} < set(shortcuts)
    asked = "\n".join(f"\\echo [{name}]\n:{name}" for name in ["last", *shortcuts])
    answer = subprocess.run(
        [find_binaries(PG_BIN) / "psql", database.url],
        input=asked,
        capture_output=True,
        text=True,
        env=os.environ | {"PSQLRC": str(psqlrc), "PGCLIENTENCODING": "UTF8", "LC_ALL": "C.UTF-8"},
        check=True,
    )
    assert answer.stderr == ""
    by_name = dict(re.findall(r"^\[(\w+)\]\n(.*?)(?=^\[|\Z)", answer.stdout, re.MULTILINE | re.DOTALL))
    assert str(order) in by_name["orders"]
    assert "contact jane  processing" in by_name["explain"]
    assert "job_complete(" in by_name["attention"]
    assert "job_retry(p_job uuid)" in by_name["functions"]


@pytest.mark.parametrize("document", ["story.md", "operators.md"])
def test_documents_name_only_what_exists(engine: Engine, document: str) -> None:
    text = (Path(__file__).parent.parent / "docs" / document).read_text()
    functions = set(re.findall(r"\b([a-z]+(?:_[a-z]+)+)\(", text))
    known = {name for (name,) in engine.owner.execute("SELECT proname FROM pg_proc")}
    assert len(functions) >= 6
    assert functions <= known
    shown = set(re.findall(r"\bv_[a-z_]+\b", text)) | set(re.findall(r"`(provision_\w+|domain\w*|job_\w+)`", text))
    relations = {name for (name,) in engine.owner.execute("SELECT relname FROM pg_class")}
    roles = {name for (name,) in engine.owner.execute("SELECT rolname FROM pg_roles")}
    assert shown <= relations | roles | known
    for name in re.findall(r"`(provision_worker\.[\w.]+)`", text):
        assert pkgutil.resolve_name(name)
