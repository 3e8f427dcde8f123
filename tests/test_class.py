"""The machinery of provisioning tables: parents, adoption, states and guards; and rules that all of the SQL keeps."""

import re
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import class_row

from provision.database import sql_directory

from . import sql_fixtures
from .allocation_fixtures import Market
from .cluster_fixtures import Fleet
from .hosting_fixtures import acceptable
from .sql_fixtures import (
    Row,
    Shop,
    acting_as,
    certificate_item,
    contact_item,
    domain_item,
    host_item,
    outcome,
    person,
    refused,
)

shop = sql_fixtures.shop

KINDS: tuple[str, ...] = (
    *("provision_allocation", "provision_allocation_terminate", "provision_allocation_update"),
    *("provision_cluster", "provision_cluster_scale", "provision_cluster_shutdown"),
    *("provision_compute_cluster", "provision_compute_cluster_delete", "provision_compute_cluster_update"),
    *("provision_contact", "provision_contact_delete", "provision_contact_update"),
    *("provision_deployment", "provision_deployment_stop"),
    "provision_domain",
    *("provision_domain_delete", "provision_domain_renew", "provision_domain_restore"),
    *("provision_domain_transfer", "provision_domain_transfer_answer", "provision_domain_update"),
    *("provision_host", "provision_host_delete", "provision_host_update"),
    *("provision_ssl", "provision_ssl_renew", "provision_ssl_revoke"),
    "provision_wpaas",
    *(f"provision_wpaas_{what}" for what in ("backup", "converge", "delete", "download", "restore", "update")),
)
GOLDEN = Path(__file__).parent / "golden"

# Type codes -----------------------------------------------------------------------------------------------------------


def names_used() -> set[tuple[str, str]]:
    """Table and name of every type code that the SQL asks for."""
    texts = [path.read_text() for path in sql_directory().rglob("*.sql")]
    plain = {pair for text in texts for pair in re.findall(r"tc_id_from_name\(''?(\w+)''?, ''?(\w+)''?\)", text)}
    generated = {("provision_status", name) for text in texts for name in re.findall(r"\{is:(\w+)\}", text)}
    assert generated
    return plain | generated


def test_every_type_code_that_is_used_exists(shop: Shop) -> None:
    for table, name in names_used():
        found = sql.SQL("SELECT id = tc_id_from_name(%s, name) FROM {} WHERE name = %s").format(sql.Identifier(table))
        assert shop.connection.execute(found, [table, name]).fetchone() == (True,), f"{table} has no {name}"


def test_the_id_of_a_type_code_is_a_pure_function_of_its_name(shop: Shop) -> None:
    assert (
        str(shop.value("SELECT tc_id_from_name('provision_status', 'pending')"))
        == "80e51ad1-2863-88ca-922f-6f602e73fb12"
    )
    with pytest.raises(psycopg.errors.CheckViolation), shop.connection.transaction():
        shop.connection.execute("INSERT INTO provision_status VALUES (gen_random_uuid(), 'odd', 'an id of its own')")


# Ids ------------------------------------------------------------------------------------------------------------------


def test_ids_are_version_7_and_ordered_by_when_they_were_made(shop: Shop) -> None:
    ids = shop.values(
        "WITH made AS MATERIALIZED (SELECT new_id() AS id FROM generate_series(1, 2000)) SELECT id FROM made"
    )
    assert {(id.version, id.variant) for id in ids} == {(7, UUID("00000000-0000-7000-8000-000000000000").variant)}
    assert ids == sorted(ids)
    assert len(set(ids)) == 2000
    drift = shop.value("SELECT extract(EPOCH FROM clock_timestamp()) * 1000") - (ids[-1].int >> 80)
    assert 0 <= drift < 60_000


# Parents and children -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parent", ["type_code", "audit", "audit_trail", "provision"])
def test_parents_hold_no_rows_themselves(shop: Shop, parent: str) -> None:
    values = {"type_code": "id, name, description) VALUES (gen_random_uuid(), 'x', 'x'"}.get(
        parent, "created_by) VALUES ('x'"
    )
    if parent == "provision":
        values = "accreditation_id, tenant_customer_id) VALUES (gen_random_uuid(), gen_random_uuid()"
    with pytest.raises(psycopg.errors.CheckViolation, match=f"{parent}_abstract"), shop.connection.transaction():
        shop.connection.execute(f"INSERT INTO class.{parent} ({values})".encode())


def children(shop: Shop) -> list[str]:
    return shop.values(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'class.provision'::regclass ORDER BY 1"
    )


def test_every_provisioning_table_is_named_so_and_adopted(shop: Shop) -> None:
    assert children(shop) == shop.values("SELECT table_name FROM class.provision_kind ORDER BY 1") == list(KINDS)
    assert all(name.startswith("provision_") for name in children(shop))


def test_the_operators_view_shows_every_kind(shop: Shop) -> None:
    shop.order(contact_item(), host_item())
    kinds = shop.values("SELECT kind FROM v_provision WHERE tenant_customer_id = %s ORDER BY kind", shop.account)
    assert kinds == ["provision_contact", "provision_host"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_adopted_table_has_what_inheritance_does_not_pass_on(shop: Shop, kind: str) -> None:
    constraints = shop.pairs(
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = %s::regclass", kind
    )
    assert constraints[f"{kind}_pk"] == "PRIMARY KEY (id)"
    assert (
        constraints[f"{kind}_tenant_customer_fk"] == "FOREIGN KEY (tenant_customer_id) REFERENCES tenant_customer(id)"
    )
    assert (
        constraints[f"{kind}_org_fk"]
        == "FOREIGN KEY (tenant_customer_id, org_id) REFERENCES org(tenant_customer_id, id)"
    )
    for status in shop.values("SELECT id FROM provision_status"):
        assert str(status) in constraints[f"{kind}_status_ck"]
    row = shop.row("SELECT relrowsecurity, reloptions FROM pg_class WHERE oid = %s::regclass", kind)
    assert row == {"relrowsecurity": True, "reloptions": ["fillfactor=45"]}
    assert shop.values("SELECT polname FROM pg_policy WHERE polrelid = %s::regclass ORDER BY 1", kind) == [
        "tenant",
        "worker",
    ]


def test_an_accreditation_that_rows_name_is_not_deleted(shop: Shop) -> None:
    shop.order(contact_item())
    with refused(shop.connection, "PV409", "by rows of provision_contact"):
        shop.connection.execute("DELETE FROM accreditation WHERE id = %s", [shop.registry])


def test_a_customer_who_has_ordered_is_not_deleted(shop: Shop) -> None:
    shop.connection.execute("UPDATE order_operation SET needs_approval = true")
    shop.order(contact_item())
    with refused(shop.connection, "PV409", "the customer has orders"):
        shop.connection.execute("DELETE FROM tenant_customer WHERE id = %s", [shop.account])


def test_a_table_of_another_name_is_not_adopted(shop: Shop) -> None:
    shop.connection.execute("CREATE TABLE order_pizza () INHERITS (class.audit_trail, class.provision)")
    for table in ("order_pizza", "provision_pizza"):
        with refused(shop.connection, "PV400", f"{table} cannot be adopted"):
            shop.connection.execute("SELECT class.adopt_provision(%s, 'bake', '{manual}')", [table])


def test_an_adopted_table_without_its_functions_is_refused_naming_the_first_that_is_missing(shop: Shop) -> None:
    shop.connection.execute("CREATE TABLE provision_pizza () INHERITS (class.audit_trail, class.provision)")
    shop.connection.execute("SELECT class.adopt_provision('provision_pizza', 'bake', '{manual}')")
    with refused(shop.connection, "PV422", "provision_pizza_validate"):
        shop.connection.execute("SELECT class.attach_triggers()")


def test_an_unknown_status_is_not_stored(shop: Shop) -> None:
    shop.order(host_item())
    with refused(shop.connection, "PV422", "cannot go from processing to an unknown status"):
        shop.connection.execute("UPDATE provision_host SET status_id = gen_random_uuid()")


# States ---------------------------------------------------------------------------------------------------------------

MACHINES = ("order", "order_item", "order_item_plan", "job")
FINAL = ("completed", "partially_completed", "failed", "cancelled")


def put(shop: Shop, table: str, state: str, id: UUID | None = None) -> UUID:
    """A row in a state, or the row changed to a state, with what the table's CHECKs ask for in that state."""
    is_counting = state not in FINAL and table != "order_item_plan" and (table, state) != ("job", "submitted")
    values: dict[str, Any] = {
        "status": state,
        "finished_date": "now" if state in FINAL else None,
        "open_count": int(is_counting),
    }
    if id is None:
        return shop.insert(table, **values, **NEEDED[table](shop))
    assignments = sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in values)
    statement = sql.SQL("UPDATE {} SET {} WHERE id = %s").format(sql.Identifier(table), assignments)
    shop.connection.execute(statement, [*values.values(), id])
    return id


def item_columns(shop: Shop) -> Row:
    order = placed(shop, "order", "processing")
    return {"order_id": order, "tenant_customer_id": shop.account, "position": 1, "operation": "x", "data": {}}


def plan_columns(shop: Shop) -> Row:
    item = placed(shop, "order_item", "processing")
    row = {"order_item_id": item, "order_id": uuid4(), "tenant_customer_id": shop.account, "name": "x", "data": {}}
    return row | {"provision_table": "provision_host", "provision_id": uuid4()}


NEEDED: dict[str, Callable[[Shop], Row]] = {
    "order": lambda shop: {"tenant_customer_id": shop.account},
    "order_item": item_columns,
    "order_item_plan": plan_columns,
    "job": lambda shop: {"type": "x"},
}


@contextmanager
def unguarded(shop: Shop) -> Iterator[None]:
    """No trigger of ours runs inside."""
    before = shop.value("SELECT current_setting('session_replication_role')")
    shop.connection.execute("SET LOCAL session_replication_role = replica")
    yield
    shop.connection.execute("SELECT set_config('session_replication_role', %s, true)", [before])


def placed(shop: Shop, table: str, state: str) -> UUID:
    """A row in any state, without a guard having been asked."""
    with unguarded(shop):
        return put(shop, table, state)


def transitions(shop: Shop, machine: str) -> tuple[set[str], set[tuple[str | None, str]]]:
    """All states of a machine, and its legal transitions; from None: where a row may begin."""
    rows = shop.rows("SELECT from_state, to_state FROM state_transition WHERE machine = %s", machine)
    legal = {(row["from_state"], row["to_state"]) for row in rows}
    return {state for pair in legal for state in pair if state}, legal


@pytest.mark.parametrize("machine", MACHINES)
def test_a_row_begins_only_where_it_may(shop: Shop, machine: str) -> None:
    states, legal = transitions(shop, machine)
    shop.connection.execute("SET CONSTRAINTS ALL DEFERRED")
    for state in states - {to for from_state, to in legal if from_state is None}:
        with refused(shop.connection, "PV422", f"{machine} cannot begin as {state}"):
            put(shop, machine, state)


@pytest.mark.parametrize("machine", MACHINES)
def test_a_row_goes_only_where_it_may(shop: Shop, machine: str) -> None:
    states, legal = transitions(shop, machine)
    for state in sorted(states):
        id = placed(shop, machine, state)
        for target in sorted(states):
            if (state, target) in legal:
                with shop.connection.transaction(force_rollback=True):
                    put(shop, machine, target, id)
            elif state != target or state in FINAL:
                with refused(shop.connection, "PV422", f"{machine} cannot go from {state} to {target}"):
                    put(shop, machine, target, id)


@pytest.mark.parametrize("machine", MACHINES)
def test_a_final_row_never_changes(shop: Shop, machine: str) -> None:
    states, _ = transitions(shop, machine)
    column = {"order": "reason", "job": "result_message"}.get(machine, "reason")
    for state in states & set(FINAL):
        id = placed(shop, machine, state)
        update = sql.SQL("UPDATE {} SET {} = 'x' WHERE id = %s").format(sql.Identifier(machine), sql.Identifier(column))
        with refused(shop.connection, "PV422"):
            shop.connection.execute(update, [id])


OWN: dict[str, Row] = {
    "provision_contact": person(),
    "provision_contact_update": {"email": "jane@example.org"},
    "provision_domain": {"name": "example.test"},
    "provision_domain_update": {"statuses": ["clientHold"]},
    "provision_domain_transfer": {"name": "elsewhere.test", "pw": "told by its holder"},
    "provision_host": {"name": "ns1.example.net"},
    "provision_host_update": {"addresses": ["192.0.2.9"]},
    "provision_ssl": {"domain_name": "example.test"},
}
AT_AWS: tuple[str, ...] = (
    "provision_ssl",
    "provision_cluster",
    "provision_cluster_scale",
    "provision_cluster_shutdown",
)
AT_AWS += ("provision_compute_cluster", "provision_compute_cluster_update", "provision_compute_cluster_delete")
AT_AWS += ("provision_deployment", "provision_deployment_stop", "provision_ssl_renew", "provision_ssl_revoke")
AT_AWS += tuple(kind for kind in KINDS if kind.startswith("provision_wpaas"))


def own(shop: Shop, kind: str) -> Row:
    """The columns of a kind; clusters are those of an org, and what is changed or deleted is there and not in use."""
    about, _, change = kind.removeprefix("provision_").partition("_")
    if about == "cluster":
        return of_a_cluster(shop, change)
    if about in ("compute", "deployment"):
        return of_a_deployment(shop, kind)
    if about == "allocation":
        return of_an_allocation(shop, kind)
    if about == "wpaas":
        return acceptable(shop, change)
    columns = OWN.get(kind, {})
    if not change:
        return columns
    if about == "domain" and change != "transfer":
        return columns | of_a_domain(shop, change)
    if about == "ssl":
        shop.done(certificate_item(f"{uuid4().hex}.example.test"))
        return {"certificate_id": shop.value("SELECT id FROM certificate ORDER BY id DESC LIMIT 1")}
    if change == "transfer":
        return columns
    found = shop.value(f"SELECT id FROM {about} ORDER BY name DESC LIMIT 1")
    if found is None:
        shop.done(domain_item())
        glue = host_item("ns9.example.test", addresses=["192.0.2.1"])
        shop.done({"contact": contact_item("zoe", name="Zoe"), "host": glue}[about])
        return own(shop, kind)
    return columns | {f"{about}_id": found}


def of_a_cluster(shop: Shop, change: str) -> Row:
    """The columns of a kind that is about a cluster; only one that is up is scaled."""
    fleet = Fleet(shop, min_nodes=1)
    if change == "scale":
        with unguarded(shop):
            shop.connection.execute(
                "UPDATE cluster SET state = 'up', deleted_date = NULL, ready_date = now(), applied = '{}'"
                " WHERE id = %s",
                [fleet.cluster],
            )
    return {"org_id": fleet.org, "cluster_id": fleet.cluster}


def of_a_deployment(shop: Shop, kind: str) -> Row:
    """The columns of a kind that is about a cluster that deployments share, or about a deployment."""
    columns: Row = {"org_id": shop.org()}
    name = f"c-{columns['org_id']}"
    if kind == "provision_compute_cluster":
        return columns | {"name": name, "total_cpu": 1, "total_ram": 1}
    about = {"tenant_customer_id": shop.account} | columns
    cluster = shop.insert("provision_compute_cluster", name=name, total_cpu=1, total_ram=1, **about)
    shop.connection.execute("UPDATE compute_cluster SET state = 'active' WHERE id = %s", [cluster])
    deployment: Row = {"compute_cluster_id": cluster, "name": name, "cpu": 1, "ram": 1, "docker_path": "nginx"}
    if kind == "provision_deployment":
        return columns | deployment
    if kind == "provision_deployment_stop":
        return columns | {"deployment_id": shop.insert("provision_deployment", **about, **deployment)}
    return columns | {"compute_cluster_id": cluster}


def of_a_domain(shop: Shop, change: str) -> Row:
    """The columns of a kind that is about a registered name; only one that was deleted is restored."""
    name = "registered.test"
    id = shop.value("SELECT id FROM domain WHERE name = %s", name)
    if id is None:
        values = {"tenant_customer_id": shop.account, "accreditation_id": shop.registry, "name": name}
        zone = shop.value("SELECT id FROM accreditation_tld WHERE accreditation_id = %s", shop.registry)
        id = shop.insert("domain", id=uuid4(), accreditation_tld_id=zone, **values)
    if change == "restore":
        shop.connection.execute(
            "UPDATE domain SET rgp_state = 'redemptionPeriod', rgp_until = now(), purge_date = now() WHERE id = %s",
            [id],
        )
    if change == "transfer_answer":
        shop.connection.execute(
            "UPDATE domain SET transfer_registrar = 'them', transfer_due = now() WHERE id = %s", [id]
        )
        return {"object_id": id, "name": name, "action": "approve"}
    return {"domain_id": id, "name": name}


def provision_row(shop: Shop, kind: str, state: str) -> UUID:
    """A row of a kind in any state, without a guard having been asked."""
    status = shop.value("SELECT id FROM provision_status WHERE name = %s", state)
    columns = own(shop, kind)
    with unguarded(shop):
        return shop.insert(
            kind, accreditation_id=shop.registry, tenant_customer_id=shop.account, status_id=status, **columns
        )


def move(shop: Shop, kind: str, id: UUID, state: str) -> None:
    statement = "UPDATE {} SET status_id = tc_id_from_name('provision_status', %s), arn = 'x' WHERE id = %s"
    if kind != "provision_ssl":
        statement = statement.replace(", arn = 'x'", "")
    shop.connection.execute(statement.format(kind).encode(), [state, id])


@pytest.mark.parametrize("kind", KINDS)
def test_a_provision_row_goes_only_where_it_may(shop: Shop, kind: str) -> None:
    states, legal = transitions(shop, "provision")
    for state in sorted(states):
        id = provision_row(shop, kind, state)
        for target in sorted(states):
            if (state, target) not in legal and (state != target or state in FINAL):
                with refused(shop.connection, "PV422"):
                    move(shop, kind, id, target)


@pytest.mark.parametrize("kind", ["provision_host", "provision_ssl"])
def test_a_provision_row_goes_everywhere_it_may(shop: Shop, kind: str) -> None:
    _, legal = transitions(shop, "provision")
    for state, target in legal:
        if state:
            id = provision_row(shop, kind, state)
            with shop.connection.transaction(force_rollback=True):
                move(shop, kind, id, target)


@pytest.mark.parametrize("kind", KINDS)
def test_a_final_provision_row_never_changes(shop: Shop, kind: str) -> None:
    states, _ = transitions(shop, "provision")
    for state in states & set(FINAL):
        id = provision_row(shop, kind, state)
        for change in ("result_message = 'x'", "roid = roid", "org_id = NULL"):
            with refused(shop.connection, "PV422", f"is {state}"):
                shop.connection.execute(f"UPDATE {kind} SET {change} WHERE id = %s".encode(), [id])


@pytest.mark.parametrize("kind", KINDS)
def test_a_provision_row_begins_only_where_it_may(shop: Shop, kind: str) -> None:
    states, legal = transitions(shop, "provision")
    begins = {to for from_state, to in legal if from_state is None}
    accreditation = shop.cloud if kind in AT_AWS else shop.registry
    own(shop, kind)
    for state in states - begins:
        status = shop.value("SELECT id FROM provision_status WHERE name = %s", state)
        columns = own(shop, kind)
        with refused(shop.connection, "PV422", "begins as pending or processing"):
            shop.insert(
                kind, tenant_customer_id=shop.account, accreditation_id=accreditation, status_id=status, **columns
            )


def of_an_allocation(shop: Shop, kind: str) -> Row:
    """The columns of a kind that is about an allocation."""
    market = Market(shop)
    if kind == "provision_allocation":
        return {"org_id": market.project, "offering_id": market.offering, "name": "run"}
    limits = {"limits": {"cpu": 20}} if kind.endswith("update") else {}
    return {"org_id": market.project, "allocation_id": market.given(), **limits}


def test_the_guards_follow_the_table_of_transitions(shop: Shop) -> None:
    """A transition that is taken out of the table is refused after the next load of the procedures."""
    shop.order(contact_item())
    (job,) = shop.claim()
    shop.connection.execute(
        "DELETE FROM state_transition WHERE machine = 'job' AND from_state = 'submitted' AND to_state = 'failed'"
    )
    shop.connection.execute("SELECT class.attach_triggers()")
    with refused(shop.connection, "PV422", "job cannot go from submitted to failed"):
        shop.record(outcome(job, "failed", message="no"))


# Rules of the catalogue -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Function:
    """A function or procedure of ours."""

    name: str
    source: str
    settings: list[str] | None
    is_definer: bool
    is_inlined: bool
    is_public: bool
    comment: str | None

    @property
    def is_generated(self) -> bool:
        return bool(self.comment and self.comment.startswith("Generated"))


FUNCTIONS = """
    SELECT oid::regprocedure::text AS name, pg_get_functiondef(oid) AS source, proconfig AS settings,
        prosecdef AS is_definer, prosqlbody IS NOT NULL AS is_inlined, obj_description(oid, 'pg_proc') AS comment,
        EXISTS (SELECT FROM aclexplode(COALESCE(proacl, acldefault('f', proowner))) WHERE grantee = 0) AS is_public
    FROM pg_proc WHERE pronamespace IN ('public'::regnamespace, 'class'::regnamespace) ORDER BY 1
"""


@pytest.fixture
def functions(shop: Shop) -> list[Function]:
    return shop.connection.cursor(row_factory=class_row(Function)).execute(FUNCTIONS).fetchall()


def test_every_function_says_where_its_names_are_looked_up(functions: list[Function]) -> None:
    """Those that are inlined were resolved when they were made."""
    loose = [
        f.name
        for f in functions
        if not f.is_inlined and not any(s.startswith("search_path=") for s in f.settings or [])
    ]
    assert loose == []
    assert len([f for f in functions if f.is_inlined]) <= 5


def test_functions_are_short(functions: list[Function]) -> None:
    lines = {f.name: len(f.source.strip().splitlines()) for f in functions}
    assert {name: count for name, count in lines.items() if count > 60} == {}
    assert statistics.median(lines.values()) < 20


def test_a_function_that_runs_with_its_owners_rights_says_why(functions: list[Function]) -> None:
    silent = [
        f.name for f in functions if f.is_definer and not f.is_generated and "-- SECURITY DEFINER:" not in f.source
    ]
    assert silent == []


def test_nobody_may_call_what_was_not_granted(functions: list[Function]) -> None:
    assert [f.name for f in functions if f.is_public] == [
        "caller_accounts()",
        "caller_customer()",
        "caller_customers()",
        "caller_direct_orgs()",
        "caller_may(text,uuid,uuid)",
        "caller_name()",
        "caller_offerings()",
        "caller_org()",
        "caller_orgs()",
        "caller_platform()",
        "caller_sees_all()",
        "caller_setting(text)",
        "caller_spaces()",
        "caller_user()",
        "engine_now()",
        "new_id()",
        "refuse(text,text,text,text)",
        "tc_gen_password(integer)",
        "tc_id_from_name(text,text)",
    ]


def test_no_function_carries_on_whatever_happens(functions: list[Function]) -> None:
    """Those that catch everything raise again what they do not know."""
    catching = [f for f in functions if "WHEN OTHERS" in f.source]
    assert catching
    assert [f.name for f in catching if "RAISE;" not in f.source.partition("WHEN OTHERS")[2]] == []


WITHOUT_COMMENT: dict[str, LiteralString] = {
    "schema": """
        SELECT nspname FROM pg_namespace WHERE oid = ANY (%s::regnamespace[])
            AND obj_description(oid, 'pg_namespace') IS NULL""",
    "relation": """
        SELECT relname FROM pg_class WHERE relnamespace = ANY (%s::regnamespace[]) AND relkind IN ('r', 'p', 'v', 'S')
            AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'i')
            AND obj_description(oid, 'pg_class') IS NULL""",
    "column": """
        SELECT c.relname || '.' || a.attname FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
        WHERE c.relnamespace = ANY (%s::regnamespace[]) AND c.relkind IN ('r', 'p') AND NOT c.relispartition
            AND a.attnum > 0 AND NOT a.attisdropped AND col_description(c.oid, a.attnum) IS NULL""",
    "type": """
        SELECT t.typname FROM pg_type AS t LEFT JOIN pg_class AS c ON c.oid = t.typrelid
        WHERE t.typnamespace = ANY (%s::regnamespace[]) AND (t.typtype IN ('d', 'e') OR c.relkind = 'c')
            AND obj_description(t.oid, 'pg_type') IS NULL""",
    "function": """
        SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = ANY (%s::regnamespace[])
            AND obj_description(oid, 'pg_proc') IS NULL""",
}


@pytest.mark.parametrize("what", WITHOUT_COMMENT)
def test_everything_has_a_comment(shop: Shop, what: str) -> None:
    assert shop.values(WITHOUT_COMMENT[what], ["public", "class", "migration"]) == []


def test_constraints_and_triggers_have_names_of_their_own(shop: Shop) -> None:
    named = r"_(pk|uk|fk|ck|abstract)$"
    odd = shop.values(
        "SELECT conname FROM pg_constraint WHERE connamespace IN ('public'::regnamespace, 'class'::regnamespace)"
        " AND contype IN ('p', 'u', 'f', 'c') AND conname !~ %s",
        named,
    )
    assert odd == []
    odd = shop.values("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgname NOT LIKE '%%\\_tg'")
    assert odd == []


def test_everything_belongs_to_the_owner_and_views_to_the_reader(shop: Shop) -> None:
    owners = shop.pairs(
        "SELECT CASE relkind WHEN 'v' THEN 'view' ELSE 'other' END, array_agg(DISTINCT relowner::regrole::text)"
        " FROM pg_class WHERE relnamespace IN ('public'::regnamespace, 'class'::regnamespace) GROUP BY 1"
    )
    assert owners == {"view": ["provision_reader"], "other": ["provision_owner"]}


# Rights ---------------------------------------------------------------------------------------------------------------

ROLES = (
    "provision_api",
    "provision_integration",
    "provision_operator",
    "provision_reader",
    "provision_worker",
    "public",
)
PRIVILEGES: LiteralString = """
    WITH granted (owner, grantee, privilege, thing, attname) AS (
        SELECT c.relowner, a.grantee, lower(a.privilege_type), c.oid::regclass::text, NULL
        FROM pg_class AS c CROSS JOIN aclexplode(c.relacl) AS a
        WHERE c.relnamespace IN ('public'::regnamespace, 'class'::regnamespace) AND NOT c.relispartition
        UNION ALL
        SELECT c.relowner, a.grantee, lower(a.privilege_type), c.oid::regclass::text, t.attname
        FROM pg_class AS c JOIN pg_attribute AS t ON t.attrelid = c.oid CROSS JOIN aclexplode(t.attacl) AS a
        WHERE c.relnamespace IN ('public'::regnamespace, 'class'::regnamespace)
        UNION ALL
        SELECT p.proowner, a.grantee, 'execute', p.oid::regprocedure::text, NULL
        FROM pg_proc AS p CROSS JOIN aclexplode(p.proacl) AS a
        WHERE p.pronamespace IN ('public'::regnamespace, 'class'::regnamespace))
    SELECT concat_ws(' ', CASE g.grantee WHEN 0 THEN 'public' ELSE g.grantee::regrole::text END, g.privilege, g.thing,
        '(' || string_agg(g.attname, ', ' ORDER BY g.attname) || ')')
    FROM granted AS g WHERE g.grantee <> g.owner AND g.thing <> 'clock'
    GROUP BY g.grantee, g.privilege, g.thing, g.attname IS NULL
"""


def test_rights_are_those_that_were_reviewed(shop: Shop) -> None:
    """Everything granted to others than owners. Whoever changes grants reviews the difference and keeps the list."""
    assert sorted(shop.values(PRIVILEGES)) == (GOLDEN / "grants.txt").read_text().splitlines()


def test_no_function_relies_on_a_lock_that_any_login_can_take(shop: Shop) -> None:
    """Advisory locks have no owner. One says that a worker sleeps: who takes it makes workers poll, and no more."""
    ours = "pronamespace IN ('public'::regnamespace, 'class'::regnamespace)"
    assert shop.values(f"SELECT proname FROM pg_proc WHERE prosrc ~ 'advisory\\w*lock' AND {ours}") == ["job_wake"]


VERBS: dict[str, LiteralString] = {
    "SELECT": "SELECT FROM {} LIMIT 0",
    "INSERT": "INSERT INTO {} DEFAULT VALUES",
    "UPDATE": "UPDATE {} SET {} = {} WHERE false",
    "DELETE": "DELETE FROM {} WHERE false",
    "TRUNCATE": "TRUNCATE {}",
}


def relations(shop: Shop, kinds: list[str]) -> list[tuple[str, str, str]]:
    """Schema, name and first column of every table or view."""
    return shop.connection.execute(
        "SELECT n.nspname, c.relname, a.attname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
        " JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = 1"
        " WHERE n.nspname IN ('public', 'class', 'migration') AND c.relkind = ANY (%s) AND c.relname <> 'clock'",
        [kinds],
    ).fetchall()


def allowed(shop: Shop, role: str, verb: str) -> set[str]:
    """The relations on which the role may do it, at least with some columns, found by trying on each."""
    found = set()
    for schema, name, column in relations(shop, ["r", "p", "v"] if verb == "SELECT" else ["r", "p"]):
        table = sql.Identifier(schema, name)
        places = (table, sql.Identifier(column), sql.Identifier(column)) if verb == "UPDATE" else (table,)
        try:
            with shop.connection.transaction(force_rollback=True), acting_as(shop.connection, role):
                shop.connection.execute(sql.SQL(VERBS[verb]).format(*places))
        except psycopg.errors.InsufficientPrivilege:
            continue
        except psycopg.Error:
            pass  # It was allowed to try.
        found.add(name)
    return found


TENANT_VIEWS = {"v_order", "v_order_item", "v_order_item_plan", "v_provision", "v_audit"}
TENANT_VIEWS |= {"v_contact", "v_host", "v_domain", "v_certificate", "v_event", "v_webhook", "v_webhook_dead_letter"}
TENANT_VIEWS |= {"v_org", "v_space", "v_quota", "v_cluster", "v_capacity_request"}
TENANT_VIEWS |= {"v_cluster_operation", "v_cluster_version"}
TENANT_VIEWS |= {"v_compute_cluster", "v_deployment", "v_deployment_history"}
TENANT_VIEWS |= {"v_project", "v_offering", "v_offering_category", "v_offering_manager", "v_invoice", "v_invoice_item"}
TENANT_VIEWS |= {"v_allocation", "v_allocation_order", "v_allocation_usage", "v_allocation_user_usage"}
TENANT_VIEWS |= {"v_wpaas", "v_wpaas_version", "v_wpaas_backup", "v_wpaas_profile"}
TENANT_VIEWS |= {"v_account_entry", "v_account_cost"}
TENANT_VIEWS |= {"v_customer_profile", "v_member"}
API_VIEWS = {"v_customer", "v_user", "v_membership", "v_invite_code", "v_api_key", "v_joinable_org", "v_role"}


def test_the_apis_log_in_reaches_nothing_but_what_is_its_callers(shop: Shop) -> None:
    assert allowed(shop, "provision_api", "SELECT") == TENANT_VIEWS | API_VIEWS | {"order", "order_item", "checksum"}
    for verb in ("INSERT", "UPDATE", "DELETE", "TRUNCATE"):
        assert allowed(shop, "provision_api", verb) == set(), verb


def test_other_systems_insert_into_provisioning_tables_and_read_views(shop: Shop) -> None:
    assert allowed(shop, "provision_integration", "SELECT") == TENANT_VIEWS | set(KINDS)
    parts = {"provision_domain_contact", "provision_domain_host"}
    for verb, tables in {"INSERT": parts | set(KINDS), "UPDATE": set(), "DELETE": set(), "TRUNCATE": set()}.items():
        # A policy lets nobody insert for no customer, and that error says permission too.
        assert allowed(shop, "provision_integration", verb) <= tables, verb


@pytest.mark.parametrize("role", ["provision_worker", "provision_operator"])
def test_workers_and_operators_write_through_functions_only(shop: Shop, role: str) -> None:
    for verb in ("INSERT", "UPDATE", "DELETE", "TRUNCATE"):
        assert allowed(shop, role, verb) == set(), verb


def readers(shop: Shop, condition: LiteralString) -> list[str]:
    """The roles of ours for which it holds."""
    mine: LiteralString = "rolname LIKE 'provision\\_%%' AND rolname <> 'provision_owner'"
    return shop.values("SELECT rolname FROM pg_roles WHERE " + mine + " AND " + condition + " ORDER BY 1")


def test_nobody_but_the_worker_reads_secrets(shop: Shop) -> None:
    assert readers(shop, "has_table_privilege(oid, 'secret', 'SELECT')") == ["provision_worker"]
    # The reader owns the views, of which none shows it.
    may_read = readers(shop, "has_column_privilege(oid, 'provision_domain', 'pw', 'SELECT')")
    assert may_read == ["provision_reader", "provision_worker"]
    columns = "SELECT table_name FROM information_schema.columns WHERE table_name LIKE 'v\\_%%' AND column_name = 'pw'"
    assert shop.values(columns) == []
