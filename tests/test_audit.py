"""The audit trail: what happened to a row, who did it, and the monthly partitions it lies in."""

from uuid import UUID

import pytest

from provision.database import connect

from . import sql_fixtures
from .conftest import ConnectAs, Database
from .sql_fixtures import Row, Shop, contact_item, domain_item, outcome

shop = sql_fixtures.shop
open_shop = sql_fixtures.open_shop


def history(shop: Shop, row: UUID) -> list[Row]:
    query = "SELECT operation, from_state, to_state, reason, claim_no FROM v_audit WHERE row_id = %s ORDER BY id"
    return shop.rows(query, row)


def entry(operation: str, from_state: str | None, to_state: str | None, reason: str | None, claim: int | None) -> Row:
    return {"operation": operation, "from_state": from_state, "to_state": to_state, "reason": reason, "claim_no": claim}


# What is written ------------------------------------------------------------------------------------------------------


def test_a_row_is_logged_from_its_insert_to_its_end_with_the_claim(shop: Shop) -> None:
    order = shop.order(contact_item())
    (job,) = shop.claim()
    shop.record(outcome(job, "pending", message="1001 pending"))
    (again,) = shop.claim()
    shop.record(outcome(again, "failed", message="2306 no"))
    assert history(shop, job["reference_id"]) == [
        entry("insert", None, "processing", None, None),
        entry("transition", "processing", "pending_action", "1001 pending", job["claim_no"]),
        entry("transition", "pending_action", "failed", "2306 no", again["claim_no"]),
    ]
    assert history(shop, order) == [
        entry("insert", None, "processing", None, None),
        entry("transition", "processing", "failed", "contact jane: 2306 no", None),
    ]


def test_a_change_outside_the_path_is_logged_with_old_and_new(shop: Shop) -> None:
    shop.connection.execute("UPDATE accreditation SET max_concurrency = 3 WHERE id = %s", [shop.registry])
    row = shop.row("SELECT changed, logged_by FROM v_audit WHERE row_id = %s AND operation = 'change'", shop.registry)
    assert row == {"changed": {"max_concurrency": [None, 3]}, "logged_by": shop.connection.info.user}


def test_an_update_that_changes_nothing_is_not_logged(shop: Shop) -> None:
    shop.connection.execute("UPDATE accreditation SET name = name WHERE id = %s", [shop.registry])
    assert [row["operation"] for row in history(shop, shop.registry)] == ["insert"]


def test_a_deleted_row_is_kept_whole_but_for_its_secrets(shop: Shop) -> None:
    row = shop.insert(
        "provision_domain", tenant_customer_id=shop.account, accreditation_id=shop.registry, name="a1b.test"
    )
    shop.connection.execute("DELETE FROM provision_domain WHERE id = %s", [row])
    deleted = shop.value("SELECT changed FROM v_audit WHERE row_id = %s AND operation = 'delete'", row)
    assert deleted["name"] == "a1b.test"
    assert "pw" not in deleted


def test_every_table_with_an_audit_trail_logs_its_inserts(shop: Shop) -> None:
    shop.done(domain_item())
    tables = shop.values("SELECT DISTINCT table_name FROM v_audit WHERE operation = 'insert'")
    expected = {"accreditation", "order", "contact", "host", "domain"}
    assert set(tables) >= expected | {f"provision_{name}" for name in ("contact", "host", "domain")}


# Partitions -----------------------------------------------------------------------------------------------------------

PARTITIONS = (
    "SELECT c.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid"
    " WHERE i.inhparent = 'audit_trail_log'::regclass AND c.relname ~ '\\d$' ORDER BY 1"
)


def test_partitions_are_there_for_this_month_and_three_more(shop: Shop) -> None:
    expected = shop.values(
        "SELECT 'audit_trail_log_' || to_char(engine_now() AT TIME ZONE 'UTC' + make_interval(months => n), 'YYYY_MM')"
        " FROM generate_series(0, 3) AS n"
    )
    assert shop.values(PARTITIONS) == expected
    assert shop.count("audit_trail_log_default") == 0


def test_the_sweeper_makes_them_ahead_of_time(shop: Shop) -> None:
    shop.pass_time("1 month")
    assert shop.sweep()["partitions"] == 1
    assert shop.sweep()["partitions"] == 0
    assert len(shop.values(PARTITIONS)) == 5


def test_entries_that_found_no_partition_need_attention_until_the_sweeper_has_moved_them(shop: Shop) -> None:
    shop.pass_time("6 months")
    early = shop.insert("accreditation", tenant_id=shop.tenant, name="desk", provider="manual")
    assert shop.value("SELECT count(*) FROM audit_trail_log_default WHERE row_id = %s", early) == 1
    shop.pass_time("2 months")
    shop.insert("accreditation", tenant_id=shop.tenant, name="second desk", provider="manual")
    about = "SELECT reason FROM v_attention WHERE what = 'audit'"
    assert shop.values(about) == ["2 entries lie outside every monthly partition"]
    shop.sweep()
    assert shop.values(about) == []
    assert [row["operation"] for row in history(shop, early)] == ["insert"]


def test_partitions_beyond_retention_are_dropped(shop: Shop) -> None:
    shop.set("audit_retention_months", 2)
    oldest = shop.values(PARTITIONS)[0]
    shop.pass_time("59 days")
    shop.sweep()
    assert oldest in shop.values(PARTITIONS)
    shop.pass_time("31 days")
    shop.sweep()
    assert oldest not in shop.values(PARTITIONS)


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_months_meet_whatever_the_time_zone_of_those_who_make_them(
    database: Database, open_shop: Shop, connect_as: ConnectAs, zone: str
) -> None:
    open_shop.pass_time("2 months")
    with connect(database.url, "tests", autocommit=True, options=f"-c timezone={zone}") as elsewhere:
        elsewhere.execute("SELECT engine_sweep(NULL)")
    open_shop.pass_time("2 months")
    connect_as("provision_worker").execute("SELECT engine_sweep(NULL)")
    bounds = open_shop.values(
        "SELECT pg_get_expr(c.relpartbound, c.oid) FROM pg_class AS c WHERE c.relispartition AND c.relkind = 'r'"
        " AND c.relname ~ '^audit_trail_log_\\d' ORDER BY c.relname"
    )
    ends = [bound.split("'") for bound in bounds]
    assert [end[3] for end in ends[:-1]] == [begin[1] for begin in ends[1:]]
