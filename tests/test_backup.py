"""docs/backup.md: a database that was put back to an earlier time goes on, and nothing is done twice."""

import shutil
from collections.abc import Iterator

import pytest
from click.testing import CliRunner
from provision_worker.actions import default_actions
from provision_worker.cli import reconcile_command

from provision.database import connect
from provision.migrate import migrate
from provision.server import Server

from . import worker_fixtures
from .conftest import PG_BIN, Database
from .worker_fixtures import Engine, Shop, eventually

registry = worker_fixtures.registry
shop = worker_fixtures.shop


class ArchivingServer(Server):
    """A server that keeps its log and can be put back to a restore point."""

    def __init__(self) -> None:
        super().__init__(throwaway=True, pg_bin=PG_BIN)
        self.archive = self.directory / "archive"
        self.archive.mkdir()
        self._give(self.archive)
        self._options |= {"archive_mode": "on", "archive_command": f"cp %p {self.archive}/%f"}

    def back_up(self) -> None:
        """Takes a base backup."""
        self._run("pg_basebackup", "-d", self.url(), "-D", str(self.directory / "base"), "-c", "fast")

    def restore(self, point: str) -> None:
        """Starts anew from the base backup and reads the archive up to the restore point."""
        self.stop()
        shutil.rmtree(self.data)
        (self.directory / "base").rename(self.data)
        (self.data / "recovery.signal").touch()
        with (self.data / "postgresql.auto.conf").open("a") as settings:
            settings.write(f"restore_command = 'cp {self.archive}/%f %p'\n")
            settings.write(f"recovery_target_name = '{point}'\nrecovery_target_action = 'promote'\n")
        self.start()


@pytest.fixture
def server() -> Iterator[ArchivingServer]:
    with ArchivingServer() as server:
        yield server


@pytest.fixture
def engine(server: ArchivingServer) -> Iterator[Engine]:
    database = Database("provision", server.ensure_database("provision"))
    migrate(database.url)
    with connect(database.url, "tests", autocommit=True) as owner:
        yield Engine(database, owner)


def restore(server: ArchivingServer, engine: Engine) -> None:
    engine.value("SELECT pg_switch_wal()")
    server.restore("before")
    engine.owner = connect(engine.database.url, "tests", autocommit=True)
    eventually(lambda: engine.value("SELECT NOT pg_is_in_recovery()"), "promotion")


def test_what_was_done_after_the_restore_point_is_not_done_again(
    server: ArchivingServer, engine: Engine, shop: Shop
) -> None:
    server.back_up()
    open_then = shop.order_domain("early.example")
    all_but_domains = {name: action for name, action in default_actions().items() if "domain" not in name}
    with engine.worker(all_but_domains):
        eventually(lambda: engine.value("SELECT count(*) = 1 FROM provision_domain"))
    engine.value("SELECT pg_create_restore_point('before')")
    with engine.worker(default_actions()):
        assert shop.ended(open_then) == "completed"
        assert shop.ended(shop.order_domain("late.example")) == "completed"

    restore(server, engine)
    assert engine.rows("SELECT id, status FROM v_order") == [{"id": open_then, "status": "processing"}]
    environment = {"PROVISION_WORKER_DATABASE_URL": engine.database.url_as("provision_worker")}
    assert CliRunner().invoke(reconcile_command, env=environment).exit_code == 0
    with engine.worker(default_actions()):
        assert shop.ended(open_then) == "completed"
        # The database has never heard of this one, and the registry has: a person decides.
        assert shop.ended(shop.order_domain("late.example")) == "failed"
    engine.value("SELECT provision_adopt(id, name) FROM provision_domain WHERE name = 'late.example'")
    assert engine.rows("SELECT name FROM v_domain") == [{"name": "early.example"}, {"name": "late.example"}]
    assert set(shop.creations().values()) == {1}
