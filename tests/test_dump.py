"""The database is the same after a dump and a restore, and after its migrations were taken back and applied again."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import LiteralString

import pytest

from provision.database import connect, sql_directory
from provision.migrate import migrate, rollback, status
from provision.server import find_binaries

from . import sql_fixtures
from .conftest import PG_BIN, Database, _clone
from .sql_fixtures import Shop, domain_item

open_shop = sql_fixtures.open_shop

OURS: LiteralString = "IN ('public'::regnamespace, 'class'::regnamespace, 'migration'::regnamespace)"

# Each lists everything of a kind as text that says all there is to say about it.
CATALOGUE: dict[str, LiteralString] = {
    "schemas": """
        SELECT concat_ws(' ', nspname, nspowner::regrole, sorted(COALESCE(nspacl, acldefault('n', nspowner))))
        FROM pg_namespace WHERE oid """
    + OURS,
    "tables": """
        SELECT concat_ws(' ', oid::regclass, relkind, relowner::regrole, relpersistence, reloptions, relrowsecurity,
            relforcerowsecurity, pg_get_expr(relpartbound, oid),
            sorted(COALESCE(relacl, acldefault((CASE relkind WHEN 'S' THEN 's' ELSE 'r' END)::"char", relowner))))
        FROM pg_class WHERE relkind <> 't' AND relnamespace """
    + OURS,
    # Places and not numbers: what a rollback drops leaves a hole in those.
    "columns": """
        SELECT concat_ws(' ', c.oid::regclass, row_number() OVER (PARTITION BY c.oid ORDER BY a.attnum), a.attname,
            format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
            a.attinhcount, a.attislocal, sorted(a.attacl), pg_get_expr(d.adbin, d.adrelid))
        FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0
        LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE NOT a.attisdropped AND c.relkind <> 't' AND c.relnamespace """
    + OURS,
    "parents": """
        SELECT concat_ws(' ', i.inhrelid::regclass, i.inhseqno, i.inhparent::regclass)
        FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid WHERE c.relnamespace """
    + OURS,
    # Since PostgreSQL 18 NOT NULL is a constraint too, with a name that a dump does not keep; the columns say it.
    "constraints": """
        SELECT concat_ws(' ', conrelid::regclass, contypid::regtype, conname, convalidated, connoinherit,
            pg_get_constraintdef(oid))
        FROM pg_constraint WHERE contype <> 'n' AND connamespace """
    + OURS,
    "indexes": "SELECT pg_get_indexdef(oid) FROM pg_class WHERE relkind IN ('i', 'I') AND relnamespace " + OURS,
    "triggers": "SELECT concat_ws(' ', pg_get_triggerdef(oid), tgenabled) FROM pg_trigger WHERE NOT tgisinternal",
    "policies": """
        SELECT concat_ws(' ', polrelid::regclass, polname, polcmd, polpermissive, sorted(polroles::regrole[]),
            pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))
        FROM pg_policy""",
    "functions": """
        SELECT concat_ws(' ', pg_get_functiondef(oid), proowner::regrole,
            sorted(COALESCE(proacl, acldefault('f', proowner))))
        FROM pg_proc WHERE pronamespace """
    + OURS,
    # Columns without a name of their own are shown with one before a dump and without after it.
    "views": "SELECT replace(pg_get_viewdef(oid), ' AS text', '') FROM pg_class WHERE relkind = 'v' AND relnamespace "
    + OURS,
    "types": """
        SELECT concat_ws(' ', oid::regtype, typtype, typowner::regrole, format_type(typbasetype, typtypmod), typnotnull)
        FROM pg_type WHERE typcategory <> 'A' AND typnamespace """
    + OURS,
    "sequences": """
        SELECT concat_ws(' ', seqrelid::regclass, seqtypid::regtype, seqstart, seqincrement, seqmax, seqcycle)
        FROM pg_sequence""",
    "comments": """
        SELECT concat_ws(' ', i.type, i.identity, d.description)
        FROM pg_description AS d CROSS JOIN LATERAL pg_identify_object(d.classoid, d.objoid, d.objsubid) AS i
        WHERE i.schema IN ('public', 'class', 'migration')""",
}


def catalogue(url: str) -> dict[str, list[str]]:
    """Everything that was made in a database, by kind. The order in which rights were granted says nothing."""
    with connect(url, "tests") as connection:
        connection.execute(
            "CREATE FUNCTION pg_temp.sorted(p anyarray) RETURNS text[] LANGUAGE sql"
            " AS 'SELECT array_agg(x::text ORDER BY x::text) FROM unnest(p) AS x'"
        )
        connection.execute("SET search_path = pg_catalog")
        queries = {kind: query.replace("sorted(", "pg_temp.sorted(") for kind, query in CATALOGUE.items()}
        found = {kind: connection.execute(query.encode()).fetchall() for kind, query in queries.items()}
    assert all(found.values())
    return {kind: sorted(str(row[0]) for row in rows) for kind, rows in found.items()}


def differences(one: dict[str, list[str]], other: dict[str, list[str]]) -> dict[str, set[str]]:
    """What only one of them has, by kind."""
    return {kind: only for kind in one if (only := set(one[kind]) ^ set(other[kind]))}


def pg(program: str, *arguments: str) -> None:
    subprocess.run([find_binaries(PG_BIN) / program, *arguments], check=True, capture_output=True, text=True)


@pytest.fixture
def restored(database: Database, open_shop: Shop, empty_database: Database, tmp_path: Path) -> Shop:
    """The shop, with an order half done and one waiting, in a database that was restored from a dump."""
    open_shop.done(domain_item("done.test"))
    open_shop.order(domain_item("open.test", hosts=["ns1.example.net", "ns9.example.net"]))
    file = str(tmp_path / "dump")
    pg("pg_dump", "--format=custom", f"--file={file}", f"--dbname={database.url}")
    pg("pg_restore", "--exit-on-error", f"--dbname={empty_database.url}", file)
    return open_shop.on(connect(empty_database.url, "tests", autocommit=True))


def test_a_restored_database_is_the_same_in_everything(
    database: Database, empty_database: Database, restored: Shop
) -> None:
    restored.connection.close()
    assert differences(catalogue(database.url), catalogue(empty_database.url)) == {}
    assert status(empty_database.url).current


def test_a_restored_database_goes_on_where_it_was(restored: Shop) -> None:
    with restored.connection:
        order = restored.value("SELECT id FROM v_order WHERE status = 'processing'")
        assert restored.work() == ["provision_host_create", "provision_domain_create"]
        assert restored.status(order) == "completed"
        assert set(restored.values("SELECT name FROM v_domain")) == {"done.test", "open.test"}


def test_migrations_leave_nothing_when_they_are_taken_back(empty_database: Database) -> None:
    migrate(empty_database.url)
    rollback(empty_database.url, 1000)
    for query in (
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace",
        "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
        "SELECT typname FROM pg_type WHERE typnamespace = 'public'::regnamespace",
        "SELECT nspname FROM pg_namespace WHERE nspname = 'class'",
    ):
        with connect(empty_database.url, "tests") as connection:
            assert connection.execute(query.encode()).fetchall() == []


@pytest.fixture(scope="module")
def migrated(server_url: str) -> Iterator[tuple[str, dict[str, list[str]]]]:
    """The name of a database that is migrated and nothing else, and what is in it."""
    with _clone(server_url, "template0") as database:
        migrate(database.url)
        yield database.name, catalogue(database.url)


@pytest.mark.parametrize("count", range(1, len(list(sql_directory().glob("schema/*.rollback.sql"))) + 1))
def test_from_each_earlier_state_migrations_lead_to_the_same_catalogue(
    server_url: str, migrated: tuple[str, dict[str, list[str]]], count: int
) -> None:
    name, fresh = migrated
    with _clone(server_url, name) as database:
        migrate(database.url)  # the rights in a database itself are not cloned
        rollback(database.url, count)
        migrate(database.url)
        assert differences(fresh, catalogue(database.url)) == {}
