"""Money: what comes in once, what goes out and is corrected, how long it lasts, and what happens when it does not."""

from calendar import monthrange
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Any, LiteralString

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from provision.database import connect

from . import cluster_fixtures, sql_fixtures
from .cluster_fixtures import Fleet
from .conftest import ConnectAs, Database
from .sql_fixtures import Shop, refused
from .tenancy_fixtures import at_once, do

shop = sql_fixtures.shop
fleet = cluster_fixtures.fleet


def fund(fleet: Fleet, amount: str = "2000", **more: Any) -> None:
    """The org gets an account with so much."""
    do(fleet.shop, "account_configure", fleet.org, {"deposit": amount} | more)


def balance(fleet: Fleet) -> Decimal:
    """The balance, as it was last counted."""
    found: Decimal = fleet.shop.value("SELECT balance FROM v_account WHERE org_id = %s", fleet.org)
    return found


def document(fleet: Fleet, who: str = "O") -> dict[str, Any]:
    """The account as somebody sees it."""
    with fleet.by(who):
        found: dict[str, Any] = fleet.shop.value("SELECT account_document(%s)", fleet.org)
    return found


def add_up(shop: Shop) -> None:
    """Every balance is the sum of what came in less what went out."""
    wrong = shop.values(
        "SELECT v.org FROM v_account AS v WHERE v.balance <>"
        " COALESCE((SELECT sum(amount) FROM account_entry AS e WHERE e.account_id = v.id), 0)"
        " - COALESCE((SELECT sum(charged) FROM account_cost AS c WHERE c.org_id = v.org_id), 0)"
    )
    assert wrong == []


# Metering -------------------------------------------------------------------------------------------------------------


def test_overhead_and_nodes_are_counted_to_the_second_and_exactly(fleet: Fleet) -> None:
    fleet.shop.turn_clock("2027-03-05 10:00+00")
    fund(fleet)
    fleet.ask("D", 2, 720)
    fleet.settle()
    fleet.observe(2)
    for _ in range(3):
        fleet.pass_time("20 minutes")
        fleet.configure(max_nodes=9)
    assert balance(fleet) == Decimal(2000) - Decimal("0.153") - 2 * Decimal("0.226")
    assert document(fleet)["balance"] == "1999.3950"
    fleet.shop.pass_time("30 minutes")
    assert document(fleet)["balance"] == "1999.0925", "what is not yet booked counts too"
    add_up(fleet.shop)


def test_what_runs_over_midnight_is_two_days(fleet: Fleet) -> None:
    fleet.shop.turn_clock("2027-03-05 23:00+00")
    fund(fleet)
    fleet.ask("D", 1, 720)
    fleet.settle()
    fleet.pass_time("3 hours")
    days = fleet.shop.pairs("SELECT day::text, charged FROM v_account_cost WHERE org_id = %s ORDER BY day", fleet.org)
    assert days == {"2027-03-05": Decimal("0.3790000000"), "2027-03-06": Decimal("0.7580000000")}


def test_what_is_down_costs_nothing_and_a_new_price_counts_from_then_on(fleet: Fleet) -> None:
    fleet.shop.turn_clock("2027-03-05 10:00+00")
    fund(fleet)
    fleet.pass_time("5 hours")
    fleet.ask("D", 1, 60)
    fleet.settle()
    fleet.shop.pass_time("30 minutes")
    do(fleet.shop, "cluster_configure", fleet.org, {"node_cost": "1", "overhead_cost": "0"})
    fleet.pass_time("30 minutes")
    fleet.settle()
    fleet.pass_time("5 hours")
    assert balance(fleet) == Decimal(2000) - (Decimal("0.379") + 1) / 2


# What AWS says --------------------------------------------------------------------------------------------------------


def tell(fleet: Fleet, day: str, amount: str) -> int:
    """AWS says what the cluster cost on a day."""
    tag = fleet.row["cost_tag"]
    costs = Jsonb([{"tag": tag, "day": day, "amount": amount}, {"tag": "unknown", "day": day, "amount": "9"}])
    changed: int = fleet.shop.value("SELECT account_import(%s, %s)", fleet.shop.cloud, costs)
    return changed


def test_the_real_cost_takes_the_place_of_what_was_metered_and_a_revised_day_is_corrected(fleet: Fleet) -> None:
    fleet.shop.turn_clock("2027-03-05 10:00+00")
    fund(fleet)
    fleet.ask("D", 1, 60)
    fleet.settle()
    fleet.pass_time("1 hour")
    assert balance(fleet) == Decimal("1999.621")
    fleet.settle()
    fleet.shop.turn_clock("2027-03-06 10:00+00")
    assert [tell(fleet, "2027-03-05", "0.4012345678"), tell(fleet, "2027-03-05", "0.4012345678")] == [1, 0]
    assert balance(fleet) == Decimal("1999.5987654322")
    tell(fleet, "2027-03-05", "0.5")
    assert balance(fleet) == Decimal("1999.5")
    add_up(fleet.shop)


def test_metering_goes_on_beside_what_was_told(fleet: Fleet) -> None:
    fleet.shop.turn_clock("2027-03-05 23:00+00")
    fund(fleet)
    fleet.ask("D", 1, 720)
    fleet.settle()
    fleet.pass_time("2 hours")
    tell(fleet, "2027-03-05", "1")
    fleet.pass_time("1 hour")
    assert balance(fleet) == Decimal(2000) - 1 - 2 * Decimal("0.379")


# Allowances -----------------------------------------------------------------------------------------------------------


def test_an_allowance_is_credited_once_a_month_up_to_the_cap(fleet: Fleet) -> None:
    fleet.shop.turn_clock("2027-01-15 10:00+00")
    fund(fleet, "90", monthly_allowance="50", max_allowance="120")
    fleet.shop.sweep()
    assert balance(fleet) == 90
    fleet.shop.turn_clock("2027-01-31 23:59:59+00")
    fleet.shop.sweep()
    assert balance(fleet) == 90
    fleet.shop.turn_clock("2027-02-01 00:00+00")
    fleet.shop.sweep()
    fleet.shop.sweep()
    assert balance(fleet) == 120
    fleet.shop.turn_clock("2027-05-03 00:00+00")
    fleet.shop.sweep()
    months = fleet.shop.pairs(
        "SELECT month::text, amount FROM v_account_entry WHERE kind = 'allowance' AND org_id = %s", fleet.org
    )
    assert months == {"2027-02-01": 30, "2027-03-01": 0, "2027-04-01": 0, "2027-05-01": 0}
    add_up(fleet.shop)


def test_a_month_is_credited_once_also_by_many_at_once(owner: psycopg.Connection, connect_as: ConnectAs) -> None:
    fleet = Fleet(Shop(owner))
    fund(fleet, "10", monthly_allowance="50")
    fleet.shop.pass_time("32 days")
    account = fleet.shop.value("SELECT id FROM account")
    at_once(connect_as, 6, lambda session, number: session.execute("SELECT account_allow(%s)", [account]))
    at_once(connect_as, 3, lambda session, number: session.execute("SELECT engine_sweep(NULL)"))
    months = fleet.shop.values("SELECT month FROM account_entry WHERE kind = 'allowance'")
    # 32 days on, one month has begun since, or two.
    assert len(months) == len(set(months)) in (1, 2)
    assert balance(fleet) == 10 + 50 * len(months)
    add_up(fleet.shop)


# When it does not last ------------------------------------------------------------------------------------------------


def test_a_request_that_would_empty_the_balance_within_a_day_is_refused_and_told_why(fleet: Fleet) -> None:
    fund(fleet, "20")
    with refused(fleet.shop.connection, "PV409", "20.00 dollars, and 10 nodes cost 2.413 per hour"):
        fleet.ask("D", 300)
    assert fleet.shop.value("SELECT count(*) FROM capacity_request WHERE org_id = %s", fleet.org) == 0
    fleet.ask("D", 3)
    with refused(fleet.shop.connection, "PV409", "within 24 hours"):
        fleet.ask("D", 4)


def test_below_half_a_dollar_the_cluster_is_shut_down_after_warnings(fleet: Fleet) -> None:
    fleet.shop.turn_clock("2027-03-05 10:00+00")
    fleet.configure(min_nodes=1)
    fund(fleet, "10")
    id = fleet.ask("D", 1, 720)
    fleet.settle()
    do(fleet.shop, "account_configure", fleet.org, {"adjustment": "-4.8"})
    fleet.tick()
    hours = (Decimal("5.2") - Decimal("0.5")) / Decimal("0.379")
    seconds = int(hours * 3600)
    for _ in range(seconds // 1800):
        fleet.pass_time("30 minutes")
    assert (fleet.state, fleet.request(id)["state"]) == ("up", "expired")
    fleet.pass_time(f"{seconds % 1800 - 1} seconds")
    assert fleet.state == "up"
    fleet.pass_time("2 seconds")
    assert fleet.state == "shutting_down"
    told = fleet.shop.values(
        "SELECT to_state || ': ' || reason FROM v_audit"
        " WHERE table_name = 'account' AND operation = 'transition' AND org_id = %s ORDER BY v_audit.id",
        fleet.org,
    )
    assert [line.rpartition("below ")[2] for line in told] == ["20", "5", "0.50"]
    assert told[-1].startswith("empty: ")
    with refused(fleet.shop.connection, "PV409", "the account is empty"), fleet.by("O"):
        do(fleet.shop, "cluster_deploy", fleet.org)


def test_live_requests_are_told_that_the_money_is_gone(fleet: Fleet) -> None:
    fund(fleet, "50")
    id = fleet.ask("D", 1, 720)
    fleet.settle()
    do(fleet.shop, "account_configure", fleet.org, {"adjustment": "-49.9"})
    fleet.tick()
    assert (fleet.request(id)["state"], fleet.request(id)["reason"]) == ("refused", "the account is empty")
    assert fleet.settle() == ["shutdown"]
    do(fleet.shop, "account_configure", fleet.org, {"deposit": "100"})
    fleet.tick()
    assert fleet.state == "down", "money alone brings nothing up"


# How long it lasts ----------------------------------------------------------------------------------------------------


def simulate(
    balance: Fraction,
    rate: Fraction,
    allowance: Fraction,
    cap: Fraction | None,
    start: datetime,
    points: list[datetime],
) -> list[Decimal]:
    """Minute by minute, as anybody would do it."""
    found, now = [], start
    for point in points:
        while now < point:
            month = later(now, 1).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
            until = min(point, month)
            balance = max(
                Fraction(0), balance - rate * Fraction((until - now) // timedelta(microseconds=1), 3_600_000_000)
            )
            now = until
            if now == month:
                credit = allowance if cap is None else min(allowance, cap - balance)
                balance += max(Fraction(0), credit)
        found.append(
            (Decimal(balance.numerator) / Decimal(balance.denominator)).quantize(Decimal("0.0001"), ROUND_HALF_UP)
        )
    return found


def later(moment: datetime, months: int) -> datetime:
    """So many months on, on the same day, or the last of a month that has no such day."""
    year, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
    day = min(moment.day, monthrange(year, month + 1)[1])
    return moment.replace(year=year, month=month + 1, day=day)


STEPS: dict[str, tuple[int, Callable[[datetime, int], datetime]]] = {
    "1 hour": (336, lambda moment, number: moment + timedelta(hours=number)),
    "1 day": (90, lambda moment, number: moment + timedelta(days=number)),
    "1 month": (12, later),
}
CENTS = st.integers(0, 500_000).map(lambda cents: Fraction(cents, 100))
PROJECT: LiteralString = "SELECT balance FROM account_project(%s, %s, %s, %s, %s, %s::interval, %s) ORDER BY at"


@settings(max_examples=15, deadline=None)
@given(
    data=st.tuples(CENTS, st.integers(0, 20_000).map(lambda mills: Fraction(mills, 1000)), CENTS, st.none() | CENTS),
    start=st.integers(0, 60 * 24 * 700),
)
@pytest.mark.parametrize("step", STEPS)
def test_forecasts_are_what_a_plain_simulation_says(
    server_connection: psycopg.Connection,
    step: str,
    data: tuple[Fraction, Fraction, Fraction, Fraction | None],
    start: int,
) -> None:
    begin = datetime(2027, 1, 1, tzinfo=UTC) + timedelta(minutes=start)
    count, step_on = STEPS[step]
    points = [step_on(begin, number) for number in range(1, count + 1)]
    given = [None if value is None else Decimal(value.numerator) / Decimal(value.denominator) for value in data]
    rows = server_connection.execute(PROJECT, [*given, begin, step, count]).fetchall()
    expected = simulate(*data, begin, points)
    assert [row[0] for row in rows] == pytest.approx(expected, abs=Decimal("0.0001"))


@pytest.fixture(scope="module")
def server_connection(shared_database: Database) -> Iterator[psycopg.Connection]:
    """One connection for all the arithmetic, which reads no table."""
    with connect(shared_database.url, "tests", autocommit=True) as connection:
        yield connection


def test_what_an_owner_sees_and_what_a_member(fleet: Fleet) -> None:
    fleet.shop.turn_clock("2027-03-05 10:30+00")
    fund(fleet, "24.13", monthly_allowance="10", max_allowance="100")
    seen = document(fleet)
    assert seen["fiscal_year_start"] == "2026-10-01"
    assert (seen["balance"], seen["state"]) == ("24.1300", "low")
    assert seen["burn_rates"] == {"min": "0.153", "current": "0", "max": "2.413"}
    runs_out = {name: when and datetime.fromisoformat(when).astimezone(UTC) for name, when in seen["runs_out"].items()}
    assert runs_out["max"] == datetime(2027, 3, 5, 20, tzinfo=UTC)
    assert runs_out["current"] is None
    assert runs_out["min"] == datetime(2027, 3, 12, 0, tzinfo=UTC)
    assert sorted(document(fleet, "D")) == ["balance", "currency", "org_id", "state"]
    with refused(fleet.shop.connection, "PV403", "account.read"), fleet.by("D"):
        fleet.shop.value("SELECT account_forecast(%s, 'hour')", fleet.org)


@pytest.mark.parametrize(("step", "points"), [("hour", 336), ("day", 90), ("month", 12)])
def test_a_forecast_has_its_points(fleet: Fleet, step: str, points: int) -> None:
    fund(fleet, "24.13", monthly_allowance="10")
    with fleet.by("O"):
        rows = fleet.shop.rows("SELECT * FROM account_forecast(%s, %s)", fleet.org, step)
    assert len(rows) == points
    assert all(row["min"] >= row["max"] >= 0 for row in rows)


def test_only_operators_move_money(fleet: Fleet) -> None:
    with refused(fleet.shop.connection, "PV403"), fleet.by("O"):
        fund(fleet)
