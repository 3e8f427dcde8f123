"""The engine's clock: the machine's in production, turned forward by tests and demos, never by tenants."""

from datetime import timedelta

import psycopg
import pytest

from provision.database import connect
from provision.migrate import migrate

from . import sql_fixtures
from .conftest import ConnectAs, Database
from .sql_fixtures import Shop, acting_as

shop = sql_fixtures.shop


def test_the_clock_is_the_transactions_time_until_one_is_injected(empty_database: Database) -> None:
    migrate(empty_database.url)
    with connect(empty_database.url, "tests") as connection:
        assert connection.execute("SELECT engine_now() = now(), to_regclass('clock')").fetchone() == (True, None)
        connection.execute("SELECT clock_inject()")
        connection.execute("SELECT clock_advance('1 day')")
        connection.execute("SELECT clock_inject()")
        assert connection.execute("SELECT engine_now() - now()").fetchone() == (timedelta(days=1),)


def test_all_sessions_see_the_clock_turn(database: Database, connect_as: ConnectAs) -> None:
    turner, onlooker = connect_as(None), connect_as("provision_worker")
    turner.execute("SELECT clock_advance('3 hours')")
    assert onlooker.execute("SELECT engine_now() - now()").fetchone() == (timedelta(hours=3),)


def test_time_stamps_follow_the_clock(shop: Shop) -> None:
    shop.pass_time("100 days")
    made = shop.value("SELECT created_date - now() FROM tenant WHERE id = %s", shop.insert("tenant", name="later"))
    assert made == timedelta(days=100)


@pytest.mark.parametrize("role", ["provision_api", "provision_worker", "provision_integration", "provision_operator"])
def test_only_the_owner_turns_it(shop: Shop, role: str) -> None:
    for call in ("SELECT clock_inject()", "SELECT clock_advance('1 day')", "UPDATE clock SET ahead = '1 day'"):
        with (
            pytest.raises(psycopg.errors.InsufficientPrivilege),
            shop.connection.transaction(),
            acting_as(shop.connection, role),
        ):
            shop.connection.execute(call.encode())
