"""Events: what is told of a row, and that a reader who goes on from the last id misses nothing, whatever happens."""

import random
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import LiteralString
from uuid import UUID

import psycopg
import pytest

from provision.database import connect
from provision.migrate import migrate
from provision.server import Server, find_binaries

from . import sql_fixtures, test_backup
from .conftest import PG_BIN, ConnectAs, Database
from .sql_fixtures import Json, Shop, acting_as, contact_item, host_item, integration_login, outcome, refused
from .test_backup import ArchivingServer
from .worker_fixtures import Engine, eventually

open_shop = sql_fixtures.open_shop
server = test_backup.server
engine = test_backup.engine

BEGINNING = "0"
TRACE = f"00-{'1' * 32}-{'2' * 16}-01"


def page(shop: Shop, after: str, types: list[str] | None = None, limit: int = 100) -> tuple[list[Json], str]:
    """Events after a place, and the place to go on from."""
    rows = shop.rows("SELECT * FROM event_read(%s, NULL, %s, %s, %s)", shop.account, after, types, limit)
    return [row["event"] for row in rows[:-1]], rows[-1]["id"]


def settled(shop: Shop, login: str | None = None) -> None:
    """All that is written can be read: what other tests do at the same moment holds it up for an instant."""
    last = shop.value("SELECT COALESCE(max(xid), '0')::text FROM audit_trail_log")
    with acting_as(shop.connection, login) if login else nullcontext():
        eventually(lambda: shop.value("SELECT event_horizon() > %s::xid8", last), "the horizon")


def walk(shop: Shop, after: str = BEGINNING, types: list[str] | None = None, limit: int = 100) -> list[Json]:
    """All events after a place, page by page."""
    found: list[Json] = []
    settled(shop)
    while (read := page(shop, after, types, limit))[1] != after:
        found += read[0]
        after = read[1]
    return found


def kinds(events: list[Json]) -> list[str]:
    return [event["type"] for event in events]


def subjects(events: list[Json]) -> list[str]:
    return [event["subject"]["id"] for event in events]


# What is told ---------------------------------------------------------------------------------------------------------


def test_an_order_is_told_from_its_beginning_to_its_end(open_shop: Shop) -> None:
    order = open_shop.done(contact_item("jane"), external_reference="4711", traceparent=TRACE)
    events = walk(open_shop)
    assert set(kinds(events[:2])) == {"order.created", "contact.processing"}
    assert set(kinds(events[2:])) == {"contact.completed", "contact.created", "order.completed"}
    ended = next(event for event in events if event["type"] == "order.completed")
    assert ended["subject"] == {"table": "order", "id": str(order)}
    assert (ended["from_state"], ended["to_state"], ended["reason"]) == ("processing", "completed", None)
    assert (ended["tenant_customer_id"], ended["org_id"]) == (str(open_shop.account), None)
    assert ended["time"].endswith("+00:00")
    for event in events:
        told = (event["order_id"], event["external_reference"], event["traceparent"])
        assert told == (str(order), "4711", TRACE), event


def test_why_something_failed_is_told(open_shop: Shop) -> None:
    open_shop.order(contact_item())
    (job,) = open_shop.claim()
    open_shop.record(outcome(job, "failed", message="2306 no"))
    reasons = {event["type"]: event["reason"] for event in walk(open_shop)}
    assert reasons["contact.failed"] == "2306 no"
    assert reasons["order.failed"] == "contact jane: 2306 no"


def test_of_a_change_the_columns_are_told_and_of_a_secret_nothing(open_shop: Shop) -> None:
    row = open_shop.insert(
        "provision_domain", tenant_customer_id=open_shop.account, accreditation_id=open_shop.registry, name="a1b.test"
    )
    open_shop.connection.execute(
        "UPDATE provision_domain SET pw = 'Hidden-42', registration_period = 2, roid = 'R1' WHERE id = %s", [row]
    )
    open_shop.connection.execute("UPDATE provision_domain SET pw = 'Hidden-43' WHERE id = %s", [row])
    open_shop.connection.execute("DELETE FROM provision_domain WHERE id = %s", [row])
    events = walk(open_shop)
    assert kinds(events) == ["domain.pending", "domain.changed", "domain.changed", "domain.deleted"]
    assert [event["changed"] for event in events] == [None, ["registration_period", "roid"], [], None]
    assert "Hidden" not in str(events)


def test_what_operators_do_to_jobs_is_no_event(open_shop: Shop) -> None:
    open_shop.order(host_item())
    open_shop.value("SELECT job_hold(id) FROM job")
    assert "job.changed" not in kinds(walk(open_shop))


def test_the_view_says_the_same(open_shop: Shop) -> None:
    open_shop.done(contact_item("jane"), external_reference="4711", traceparent=TRACE)
    for event in walk(open_shop):
        row = open_shop.row("SELECT to_jsonb(v) AS event FROM v_event AS v WHERE id = %s", event["id"])["event"]
        assert {"table": row.pop("subject_table"), "id": row.pop("subject_id")} == event.pop("subject")
        assert row.pop("time")[:19] == event.pop("time")[:19]
        assert row == event


# Nothing is skipped ---------------------------------------------------------------------------------------------------

BEGIN_DOMAIN: LiteralString = (
    "INSERT INTO provision_domain (tenant_customer_id, accreditation_id, name) VALUES (%s, %s, %s) RETURNING id::text"
)


def begin_domain(shop: Shop, connection: psycopg.Connection, name: str) -> str:
    """One event: a registration that waits for its parts, and for which nobody else has to wait."""
    row = connection.execute(BEGIN_DOMAIN, (shop.account, shop.registry, name)).fetchone()
    assert row
    id: str = row[0]
    return id


def test_what_was_begun_first_and_is_committed_last_is_not_skipped(open_shop: Shop, connect_as: ConnectAs) -> None:
    slow, before = connect_as(None), page(open_shop, BEGINNING)[1]
    with slow.transaction():
        first = begin_domain(open_shop, slow, "name1.test")
        second = begin_domain(open_shop, open_shop.connection, "name2.test")
        assert page(open_shop, before) == ([], before)
    assert subjects(walk(open_shop, before)) == [first, second]


def test_what_is_taken_back_holds_up_nobody(open_shop: Shop, connect_as: ConnectAs) -> None:
    slow = connect_as(None)
    with slow.transaction(force_rollback=True):
        begin_domain(open_shop, slow, "name1.test")
        second = begin_domain(open_shop, open_shop.connection, "name2.test")
    assert subjects(walk(open_shop)) == [second]


def test_readers_see_everything_once_while_many_write(open_shop: Shop, connect_as: ConnectAs) -> None:
    def write(number: int, connection: psycopg.Connection) -> set[str]:
        chance, written = random.Random(number), set()
        for turn in range(40):
            with connection.transaction():
                for part in range(chance.randint(1, 3)):
                    written.add(begin_domain(open_shop, connection, f"name{part}-{turn}-{number}.test"))
                connection.execute("SELECT pg_sleep(%s)", [chance.random() / 200])
        return written

    seen: list[str] = []
    after = BEGINNING
    with ThreadPoolExecutor(4) as threads:
        writers = [threads.submit(write, number, connect_as(None)) for number in range(4)]
        while True:
            over = all(writer.done() for writer in writers)
            events, place = page(open_shop, after, limit=7)
            seen += subjects(events)
            if over and place == after:
                break
            after = place
        written = set().union(*(writer.result() for writer in writers))
    assert len(seen) == len(written)
    assert set(seen) == written


def test_only_open_transactions_of_this_database_that_write_hold_events_back(
    open_shop: Shop, connect_as: ConnectAs, server_url: str
) -> None:
    reader, writer = connect_as(None), connect_as(None)
    with connect(server_url, "another database") as elsewhere, reader.transaction():
        elsewhere.execute("SELECT pg_current_xact_id()")
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT count(*) FROM audit_trail_log")
        domain = begin_domain(open_shop, open_shop.connection, "name1.test")
        assert subjects(walk(open_shop)) == [domain]
        place = page(open_shop, BEGINNING)[1]
        with writer.transaction():
            writer.execute("CREATE TABLE unrelated ()")
            domain = begin_domain(open_shop, open_shop.connection, "name2.test")
            assert page(open_shop, place) == ([], place)
        assert subjects(walk(open_shop, place)) == [domain]


def test_a_log_in_without_rights_on_the_server_knows_it_too(open_shop: Shop, server_url: str) -> None:
    with connect(server_url, "another database") as elsewhere:
        elsewhere.execute("SELECT pg_current_xact_id()")
        domain = begin_domain(open_shop, open_shop.connection, "name1.test")
        open_shop.connection.execute("GRANT EXECUTE ON FUNCTION event_horizon() TO provision_worker")
        settled(open_shop, "provision_worker")
        assert subjects(walk(open_shop)) == [domain]


def test_the_place_before_what_is_to_come_is_before_what_its_transaction_writes(
    open_shop: Shop, connect_as: ConnectAs
) -> None:
    with open_shop.connection.transaction():
        domain = begin_domain(open_shop, open_shop.connection, "name1.test")
        connect_as(None).execute("CREATE TABLE unrelated ()")
        place = open_shop.value("SELECT event_now()")
        assert page(open_shop, place)[0] == []
    assert domain in subjects(walk(open_shop, place))


def test_transactions_with_savepoints_are_one(open_shop: Shop, connect_as: ConnectAs) -> None:
    slow = connect_as(None)
    with slow.transaction():
        with slow.transaction():
            first = begin_domain(open_shop, slow, "name1.test")
        second = begin_domain(open_shop, open_shop.connection, "name2.test")
        assert page(open_shop, BEGINNING)[0] == []
    assert subjects(walk(open_shop)) == [first, second]


# Whose, and which -----------------------------------------------------------------------------------------------------


def seen_by(shop: Shop, login: str, **settings: object) -> list[str]:
    settled(shop)
    with shop.connection.transaction(), acting_as(shop.connection, login, **settings):
        return [
            row["event"]["org_id"]
            for row in shop.rows("SELECT * FROM event_page('0', '{order.*,host.*}')")
            if row["event"]
        ]


@pytest.mark.parametrize("way", ["api", "integration"])
def test_a_caller_gets_the_events_of_its_customer_and_its_org(open_shop: Shop, way: str) -> None:
    org, other = open_shop.org(), open_shop.customer("Neighbour")
    open_shop.order(host_item("ns1.example.net"))
    open_shop.order(host_item("ns2.example.net"), org_id=str(org))
    open_shop.order(host_item("ns3.example.net"), account=other)

    def seen(account: UUID, org: UUID | None = None) -> list[str]:
        if way == "integration":
            return seen_by(open_shop, integration_login(open_shop, account, org))
        return seen_by(open_shop, "provision_api", caller_customer=account, caller_org=org)

    assert sorted(map(str, seen(open_shop.account))) == sorted(["None", "None", str(org), str(org)])
    assert seen(open_shop.account, org) == [str(org), str(org)]
    assert seen(other) == [None, None]


def test_who_acts_for_no_account_is_told_so(open_shop: Shop) -> None:
    with refused(open_shop.connection, "PV400", "whose events"), acting_as(open_shop.connection, "provision_api"):
        open_shop.rows("SELECT * FROM event_page('0')")


def test_types_are_chosen_by_name_or_by_kind(open_shop: Shop) -> None:
    open_shop.done(host_item())
    assert kinds(walk(open_shop, types=["order.completed"])) == ["order.completed"]
    assert set(kinds(walk(open_shop, types=["host.*"]))) == {"host.processing", "host.completed", "host.created"}
    assert set(kinds(walk(open_shop, types=["host.created", "order.*"]))) == {
        "host.created",
        "order.created",
        "order.completed",
    }
    assert kinds(walk(open_shop, types=["domain.*"])) == []


def test_a_page_of_a_rare_type_ends_and_goes_on_behind_what_it_looked_at(open_shop: Shop) -> None:
    open_shop.connection.execute(
        "INSERT INTO audit_trail_log (table_name, row_id, tenant_customer_id, operation)"
        " SELECT 'host', new_id(), %s, 'insert' FROM generate_series(1, 1500)",
        [open_shop.account],
    )
    open_shop.order(host_item())
    settled(open_shop)
    events, place = page(open_shop, BEGINNING, ["order.created"])
    assert events == []
    assert kinds(page(open_shop, place, ["order.created"])[0]) == ["order.created"]


@pytest.mark.parametrize("type", ["order", "order.", "order.a.b", "Order.created", "*", "order.created; DROP"])
def test_types_that_cannot_be_are_refused(open_shop: Shop, type: str) -> None:
    with refused(open_shop.connection, "PV400", type):
        open_shop.value("SELECT event_types_check(%s)", [type])


# Places ---------------------------------------------------------------------------------------------------------------


def test_without_a_place_only_what_is_still_to_come_is_told(open_shop: Shop) -> None:
    open_shop.order(host_item("ns1.example.net"))
    settled(open_shop)
    place = open_shop.value("SELECT event_now()")
    open_shop.order(host_item("ns2.example.net"))
    assert kinds(walk(open_shop, place)).count("order.created") == 1


@pytest.mark.parametrize(
    "place",
    ["", "1", "a-b-c", "1-2", "-1-2-3", "1-2-3-4", "9" * 13 + "-1-1", "999999999999-1-1", "1-" + "9" * 20 + "-1"],
)
def test_a_place_that_is_none_is_refused(open_shop: Shop, place: str) -> None:
    with refused(open_shop.connection, "PV400", place):
        page(open_shop, place)


def test_a_place_of_transactions_that_are_still_to_come_is_refused(open_shop: Shop) -> None:
    era, xid, _ = open_shop.value("SELECT event_now()").split("-")
    with refused(open_shop.connection, "PV400", "no such place"):
        page(open_shop, f"{era}-{int(xid) + 1000}-1")


# Restores -------------------------------------------------------------------------------------------------------------


def test_a_new_era_sends_what_came_after_the_watermark_again_and_leaves_nothing_out(open_shop: Shop) -> None:
    domains = [begin_domain(open_shop, open_shop.connection, f"name{number}.test") for number in range(4)]
    open_shop.pass_time("2 minutes")
    open_shop.sweep()
    places = [event["id"] for event in walk(open_shop)]
    domains += [begin_domain(open_shop, open_shop.connection, f"name{number}.test") for number in range(4, 8)]
    places += [event["id"] for event in walk(open_shop, places[-1])]
    open_shop.value("SELECT event_era_begin()")
    domains.append(begin_domain(open_shop, open_shop.connection, "name9.test"))
    assert subjects(walk(open_shop)) == domains
    for number, place in enumerate(places):
        assert subjects(walk(open_shop, place)) == domains[min(number + 1, 4) :]
    assert subjects(walk(open_shop, walk(open_shop)[-2]["id"])) == domains[-1:]


def test_a_place_of_an_era_that_a_restore_has_undone_leads_to_the_next(open_shop: Shop) -> None:
    now = open_shop.value("SELECT event_now()").split("-")
    lost = f"{int(now[0]) + 1}-{int(now[1]) + 500}-900"
    with refused(open_shop.connection, "PV400"):
        page(open_shop, lost)
    open_shop.connection.execute("UPDATE event_era SET id = id - 10")
    domain = begin_domain(open_shop, open_shop.connection, "name1.test")
    open_shop.value("SELECT event_era_begin()")
    open_shop.connection.execute(
        "UPDATE event_era SET id = %s WHERE id = (SELECT max(id) FROM event_era)", [int(now[0]) + 2]
    )
    assert subjects(walk(open_shop, lost)) == [domain]


def test_nothing_is_skipped_after_a_dump_was_restored_into_another_server(
    database: Database, open_shop: Shop, tmp_path: Path
) -> None:
    open_shop.connection.execute(
        "DO 'BEGIN FOR _i IN 1 .. 30000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END'"
    )
    domains = [begin_domain(open_shop, open_shop.connection, f"name{number}.test") for number in range(3)]
    first, second, third = walk(open_shop)
    file = str(tmp_path / "dump")
    pg("pg_dump", "--format=custom", f"--file={file}", f"--dbname={database.url}")
    lost = begin_domain(open_shop, open_shop.connection, "lost.test")
    (last,) = walk(open_shop, third["id"])
    assert last["subject"]["id"] == lost
    with Server(throwaway=True, pg_bin=PG_BIN) as other:
        migrate(other.ensure_database("whose roles all have"))
        url = other.ensure_database("restored")
        pg("pg_restore", "--exit-on-error", f"--dbname={url}", file)
        with connect(url, "tests", autocommit=True) as connection:
            there = open_shop.on(connection)
            # In the other server transactions are counted from the beginning, far below those of the dump.
            domains.append(begin_domain(there, connection, "new.test"))
            xids = there.values(
                "SELECT xid::text::bigint FROM audit_trail_log WHERE row_id = ANY (%s) ORDER BY id", domains
            )
            assert xids[-1] < xids[0]
            there.value("SELECT event_now()")
            for place in (BEGINNING, first["id"], second["id"], third["id"], last["id"]):
                assert domains[-1] in subjects(walk(there, place)), place
            assert subjects(walk(there)) == domains
            assert set(subjects(walk(there, first["id"]))) >= set(domains[1:])


def pg(program: str, *arguments: str) -> None:
    subprocess.run([find_binaries(PG_BIN) / program, *arguments], check=True, capture_output=True, text=True)


def test_nothing_is_skipped_after_the_server_was_put_back_to_an_earlier_time(
    server: ArchivingServer, engine: Engine
) -> None:
    shop = Shop(engine.owner)
    server.back_up()
    domains = [begin_domain(shop, engine.owner, "name1.test")]
    (first,) = walk(shop)
    shop.value("SELECT pg_create_restore_point('before')")
    for number in range(20):
        begin_domain(shop, engine.owner, f"lost{number}.test")
    lost = walk(shop)[-1]
    test_backup.restore(server, engine)
    shop = shop.on(engine.owner)
    # Written before anybody has noticed, with numbers that were given out before.
    domains.append(begin_domain(shop, engine.owner, "name2.test"))
    shop.value("SELECT event_now()")
    for place in (first["id"], lost["id"], BEGINNING):
        assert domains[-1] in subjects(walk(shop, place)), place
    assert subjects(walk(shop)) == domains
    era = shop.value("SELECT max(id) FROM event_era")
    shop.sweep()
    assert shop.value("SELECT max(id) FROM event_era") == era
