"""`provision migrate`: forward, back, again, at the same time, and refusals that name the file and the line."""

import shutil
import threading
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from provision.database import connect, role_password, sql_directory, url_as
from provision.migrate import LOCK_KEY, OWNER, MigrationError, migrate, rollback, status
from provision.server import Server

from .conftest import PG_BIN, Database

ROLES = ("api", "integration", "operator", "owner", "reader", "worker")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A small release: two tables, a function, a view over the other view, and grants."""
    for name in ("roles.sql", "bookkeeping.sql"):
        shutil.copy(sql_directory() / name, tmp_path)
    files = {
        "schema/0001.tree.sql": "-- Trees.\n\nCREATE TABLE tree (id int PRIMARY KEY);\nSELECT 'printed' AS by_yoyo;",
        "schema/0001.tree.rollback.sql": "DROP TABLE tree;",
        "schema/0002.leaf.sql": "-- depends: 0001.tree\n\nCREATE TABLE leaf (id int PRIMARY KEY, tree int NOT NULL);",
        "schema/0002.leaf.rollback.sql": "DROP TABLE leaf;",
        "stored-procedures/tree.sql": "CREATE OR REPLACE FUNCTION grow() RETURNS int LANGUAGE sql RETURN 1;",
        "stored-procedures/post/tree.sql": "CREATE OR REPLACE FUNCTION grown() RETURNS int LANGUAGE sql RETURN grow();",
        "views/a_tree.sql": "CREATE VIEW v_tree AS SELECT id, grow() AS size FROM tree;",
        "views/b_forest.sql": "CREATE VIEW v_forest AS SELECT count(*) AS trees FROM v_tree;",
        "grants.sql": "GRANT SELECT ON v_forest TO provision_operator;",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    return tmp_path


@pytest.fixture
def empty(empty_database: Database) -> str:
    """URL of a database in which nothing has been done."""
    return empty_database.url


def fetch(url: str, query: str) -> list[tuple[object, ...]]:
    with connect(url, "tests") as connection:
        return connection.execute(query.encode()).fetchall()


def test_the_release_goes_into_an_empty_database_once(empty: str) -> None:
    said: list[str] = []
    assert not status(empty).current
    migrate(empty, said.append)
    assert status(empty).current
    assert said[0].startswith("applying 0001.")
    said.clear()
    migrate(empty, said.append)
    assert said == []


def test_nothing_is_printed(empty: str, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    migrate(empty, source=source)
    rollback(empty, 2, source=source)
    assert capsys.readouterr() == ("", "")


def test_roles_exist_and_own_what_is_made(empty: str, source: Path) -> None:
    migrate(empty, source=source)
    roles = fetch(empty, "SELECT rolname FROM pg_roles WHERE rolname LIKE 'provision%' ORDER BY 1")
    assert roles == [(f"provision_{role}",) for role in ROLES]
    owners = fetch(empty, "SELECT relname, relowner::regrole::text FROM pg_class WHERE relname IN ('tree', 'v_tree')")
    assert sorted(owners) == [("tree", OWNER), ("v_tree", OWNER)]


@pytest.mark.parametrize("role", ["provision_api", "provision_worker"])
def test_log_ins_have_time_outs(empty: str, source: Path, role: str) -> None:
    migrate(empty, source=source)
    with connect(url_as(empty, role), "tests") as connection:
        for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            assert connection.execute(sql.SQL("SHOW {}").format(sql.Identifier(name))).fetchone() != ("0",)


def test_a_changed_file_reloads_everything_and_may_change_a_views_columns(empty: str, source: Path) -> None:
    migrate(empty, source=source)
    (source / "views/a_tree.sql").write_text("CREATE VIEW v_tree AS SELECT 'oak' AS kind FROM tree;\n")
    assert status(empty, source=source).changed == ["views/a_tree.sql"]
    said: list[str] = []
    migrate(empty, said.append, source=source)
    assert said == ["loading 5 files of procedures, views and grants"]
    assert fetch(empty, "SELECT kind FROM v_tree") == []
    assert fetch(empty, "SELECT has_table_privilege('provision_operator', 'v_forest', 'SELECT')") == [(True,)]


def test_a_view_whose_file_is_gone_goes(empty: str, source: Path) -> None:
    migrate(empty, source=source)
    (source / "views/b_forest.sql").unlink()
    (source / "grants.sql").unlink()
    migrate(empty, source=source)
    assert fetch(empty, "SELECT to_regclass('v_forest') IS NULL, to_regclass('v_tree') IS NOT NULL") == [(True, True)]


def test_a_broken_procedure_changes_nothing_and_is_named_with_its_line(empty: str, source: Path) -> None:
    migrate(empty, source=source)
    broken = source / "stored-procedures/tree.sql"
    broken.write_text("CREATE OR REPLACE FUNCTION grow() RETURNS int LANGUAGE sql RETURN 2;\n\nSELECT nothing;\n")
    with pytest.raises(MigrationError, match=r'^tree\.sql:3: column "nothing" does not exist'):
        migrate(empty, source=source)
    assert fetch(empty, "SELECT grow()") == [(1,)]


def test_a_broken_migration_changes_nothing_and_is_named_with_its_line(empty: str, source: Path) -> None:
    text = "-- depends: 0002.leaf\n--\n-- Roots.\n\nCREATE TABLE root (id int);\n\nCREATE TABLE seed (id integre);\n"
    (source / "schema/0003.root.sql").write_text(text)
    with pytest.raises(MigrationError, match=r'^0003\.root\.sql:7: type "integre" does not exist'):
        migrate(empty, source=source)
    assert fetch(empty, "SELECT to_regclass('root')") == [(None,)]
    assert status(empty, source=source).pending == ["0003.root"]


def test_an_unknown_dependency_is_refused(empty: str, source: Path) -> None:
    (source / "schema/0003.root.sql").write_text("-- depends: 0002.laef\nSELECT 1;\n")
    with pytest.raises(MigrationError, match=r"Could not resolve dependencies in .*0003\.root\.sql"):
        migrate(empty, source=source)


def test_an_edited_migration_is_refused(empty: str, source: Path) -> None:
    migrate(empty, source=source)
    with (source / "schema/0001.tree.sql").open("a") as file:
        file.write("-- one more thought\n")
    assert status(empty, source=source).edited == ["0001.tree"]
    with pytest.raises(MigrationError, match=r"edited since: 0001\.tree; restore their text"):
        migrate(empty, source=source)


def test_an_older_release_is_refused(empty: str, source: Path) -> None:
    migrate(empty, source=source)
    (source / "schema/0002.leaf.sql").unlink()
    with pytest.raises(MigrationError, match=r"does not know: 0002\.leaf"):
        migrate(empty, source=source)


def test_another_line_ending_is_no_edit(empty: str, source: Path) -> None:
    migrate(empty, source=source)
    for path in source.rglob("*.sql"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert status(empty, source=source).current


def test_an_index_can_be_made_without_a_transaction(empty: str, source: Path) -> None:
    text = "-- depends: 0002.leaf\n-- transactional: false\nCREATE INDEX CONCURRENTLY leaf_tree ON leaf (tree);\n"
    (source / "schema/0003.index.sql").write_text(text)
    migrate(empty, source=source)
    assert fetch(empty, "SELECT to_regclass('leaf_tree') IS NOT NULL") == [(True,)]
    assert status(empty, source=source).current


def test_the_last_migration_is_rolled_back_and_applied_again(empty: str, source: Path) -> None:
    migrate(empty, source=source)
    said: list[str] = []
    rollback(empty, 1, said.append, source=source)
    assert said == ["rolling back 0002.leaf"]
    assert status(empty, source=source).applied == ["0001.tree"]
    assert fetch(empty, "SELECT to_regclass('leaf'), to_regclass('v_tree'), to_regproc('grow')") == [(None,) * 3]
    migrate(empty, source=source)
    assert status(empty, source=source).current
    assert fetch(empty, "SELECT trees, grown() FROM v_forest") == [(0, 1)]


def test_a_rollback_that_fails_names_the_line(empty: str, source: Path) -> None:
    migrate(empty, source=source)
    (source / "schema/0002.leaf.rollback.sql").write_text("DROP TABLE leaf;\nDROP TABLE blossom;\n")
    with pytest.raises(MigrationError, match=r'^0002\.leaf\.rollback\.sql:?.*: table "blossom" does not exist'):
        rollback(empty, 1, source=source)
    assert fetch(empty, "SELECT to_regclass('leaf') IS NOT NULL") == [(True,)]


def test_two_at_once_wait_for_each_other(empty: str, source: Path) -> None:
    said: list[str] = []
    waits = threading.Event()

    def note(line: str) -> None:
        said.append(line)
        waits.set()

    with connect(empty, "tests", autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (LOCK_KEY,))
        thread = threading.Thread(target=migrate, args=(empty, note), kwargs={"source": source})
        thread.start()
        assert waits.wait(10)
        assert fetch(empty, "SELECT to_regclass('tree')") == [(None,)]
    thread.join()
    assert said[:2] == ["waiting for another migration to end", "applying 0001.tree"]
    assert status(empty, source=source).current


def test_a_lock_that_passes_is_waited_for_with_patience(
    empty: str, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("provision.migrate.LOCK_TIMEOUT", "20ms")
    migrate(empty, source=source)
    (source / "schema/0003.age.sql").write_text("-- depends: 0002.leaf\nALTER TABLE tree ADD COLUMN age int;\n")
    with connect(empty, "tests") as reader:
        reader.execute("SELECT FROM tree")
        thread = threading.Thread(target=migrate, args=(empty,), kwargs={"source": source})
        thread.start()
        with connect(empty, "tests", autocommit=True) as watcher:
            wait = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'tree'::regclass"
            while not watcher.execute(wait.encode()).fetchone():
                assert thread.is_alive()
    thread.join()
    assert status(empty, source=source).current


def test_databases_of_one_cluster_can_be_migrated_at_the_same_moment(source: Path) -> None:
    """On a cluster without the roles yet: that is where they collide."""
    with Server(throwaway=True, pg_bin=PG_BIN) as server:
        urls = [server.ensure_database(f"shop{number}") for number in range(4)]
        threads = [threading.Thread(target=migrate, args=(url,), kwargs={"source": source}) for url in urls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(status(url, source=source).current for url in urls)


def test_log_ins_get_passwords_derived_from_the_owners(source: Path, reachable_path: Path) -> None:
    with Server(reachable_path / "postgres", pg_bin=PG_BIN) as server:
        url = server.ensure_database("shop")
        migrate(url, source=source, logins=["provision_worker"])
        worker = url_as(url, "provision_worker", role_password(url, "provision_worker"))
        assert fetch(worker, "SELECT session_user::text") == [("provision_worker",)]
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            connect(url_as(url, "provision_worker", "guessed"), "tests")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            connect(url_as(url, "provision_api", role_password(url, "provision_api")), "tests")
        migrate(url, source=source)
        assert fetch(url_as(url, "provision_api", role_password(url, "provision_api")), "SELECT 1") == [(1,)]


def test_an_owner_without_superuser_can_migrate(source: Path) -> None:
    with Server(throwaway=True, pg_bin=PG_BIN) as server:
        with connect(server.url(), "tests", autocommit=True) as admin:
            admin.execute("CREATE ROLE shopkeeper LOGIN CREATEROLE")
            admin.execute("CREATE DATABASE shop OWNER shopkeeper")
        url = server.url("shop", "shopkeeper")
        migrate(url, source=source)
        assert status(url, source=source).current
