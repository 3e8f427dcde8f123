"""The life of registered names: what may be done with them, what becomes of them, and what time does."""

from datetime import timedelta
from typing import Any

import pytest

from . import sql_fixtures
from .sql_fixtures import (
    Json,
    Shop,
    acting_as,
    domain_item,
    host_item,
    integration_login,
    known,
    outcome,
    person,
    refused,
)

shop = sql_fixtures.shop


def renew_item(name: str = "example.test", **changes: Any) -> Json:
    return {"operation": "domain.renew", "data": {"name": name} | changes}


def delete_item(name: str = "example.test") -> Json:
    return {"operation": "domain.delete", "data": {"name": name}}


def domain(shop: Shop, name: str = "example.test") -> dict[str, Any]:
    """The live name as operators see it."""
    return shop.row("SELECT * FROM v_domain WHERE name = %s AND deleted_date IS NULL", name)


def events(shop: Shop, name: str = "example.test") -> list[str]:
    """What was told of a name, in order, apart from changed columns."""
    return shop.values(
        "SELECT a.to_state FROM v_audit AS a JOIN domain AS d ON d.id = a.row_id"
        " WHERE d.name = %s AND a.table_name = 'domain' AND a.operation = 'transition' ORDER BY a.id",
        name,
    )


def expire_in(shop: Shop, interval: str, name: str = "example.test") -> None:
    """Has a live name expire that much from now."""
    shop.connection.execute(
        "UPDATE domain SET ry_expiry_date = engine_now() + %s::interval WHERE name = %s AND deleted_date IS NULL",
        [interval, name],
    )


@pytest.fixture
def named(shop: Shop) -> Shop:
    """A shop that has example.test."""
    shop.done(domain_item())
    return shop


# Renewal --------------------------------------------------------------------------------------------------------------


def test_a_renewed_name_expires_later_and_is_in_its_grace_period(named: Shop) -> None:
    named.pass_time("10 days")
    named.done(renew_item(period=2, current_expiry="2027-03-01"))
    row = domain(named)
    assert (f"{row['ry_expiry_date']:%Y-%m-%d}", row["rgp_state"]) == ("2029-03-01", "renewPeriod")
    assert events(named) == ["renewed"]


def test_a_name_renewed_in_its_add_grace_period_stays_in_that(named: Shop) -> None:
    named.connection.execute("UPDATE domain SET rgp_until = engine_now() + interval '1 day'")
    named.done(renew_item())
    assert domain(named)["rgp_state"] == "addPeriod"


@pytest.mark.parametrize(
    ("given", "code", "text"),
    [
        ({"period": 7}, "PV422", "7 years"),
        ({"period": 1.5}, "PV422", "1.5 years"),
        ({"period": 10**30}, "PV422", "the period is not allowed"),
        ({"current_expiry": "2027-03-02"}, "PV409", "example.test expires on 2027-03-01"),
        ({"current_expiry": "2027-02-30"}, "PV422", "2027-02-30"),
        ({"current_expiry": "tomorrow"}, "PV422", "tomorrow"),
        ({"years": 1}, "PV400", "no field years"),
    ],
)
def test_a_renewal_that_cannot_be_is_refused(named: Shop, given: Json, code: str, text: str) -> None:
    before = named.count("order")
    with refused(named.connection, code, text):
        named.order(renew_item(**given))
    assert named.count("order") == before


def test_a_period_may_be_written_with_a_point(named: Shop) -> None:
    named.done(renew_item(period=2.0))
    assert f"{domain(named)['ry_expiry_date']:%Y}" == "2029"


def test_a_lifetime_beyond_the_zones_is_refused(named: Shop) -> None:
    expire_in(named, "9 years 1 day")
    with refused(named.connection, "PV422", "live too long"):
        named.order(renew_item())


def test_what_a_zone_does_not_take_is_refused(named: Shop) -> None:
    named.set_zone("order_types", ["create"])
    for item in (renew_item(), delete_item()):
        with refused(named.connection, "PV422", "is not taken in this zone"):
            named.order(item)


@pytest.mark.parametrize(
    ("status", "item"),
    [
        ("clientRenewProhibited", renew_item()),
        ("serverRenewProhibited", renew_item()),
        ("clientDeleteProhibited", delete_item()),
    ],
)
def test_a_lock_refuses_what_it_forbids(named: Shop, status: str, item: Json) -> None:
    named.connection.execute("UPDATE domain SET statuses = ARRAY[%s, 'clientTransferProhibited']", [status])
    with refused(named.connection, "PV409", status):
        named.order(item)


def test_a_setting_that_changes_or_goes_breaks_no_renewal_in_flight(named: Shop) -> None:
    order = named.order(renew_item(period=2))
    named.set_zone("renewal_periods", [1])
    named.connection.execute("DELETE FROM tld_setting WHERE name = 'grace_hours_renew'")
    named.work()
    assert named.status(order) == "completed"
    assert domain(named)["rgp_until"] is not None


def test_a_setting_that_changes_loosens_no_renewal_in_flight(named: Shop) -> None:
    named.connection.execute("UPDATE order_operation SET needs_approval = true WHERE name = 'domain.renew'")
    with refused(named.connection, "PV422", "5 years"):
        named.order(renew_item(period=5))
    order = named.order(renew_item(period=2))
    named.set_zone("maximum_lifetime", 30)
    expire_in(named, "9 years")
    named.connection.execute("SELECT order_item_approve(id) FROM order_item WHERE order_id = %s", [order])
    assert named.status(order) == "failed"
    assert "live too long" in named.document(order)["reason"]


def test_a_leap_day_is_followed_by_the_last_of_february(named: Shop) -> None:
    named.connection.execute("UPDATE domain SET ry_expiry_date = '2028-02-29T23:59:59Z'")
    named.order(renew_item(current_expiry="2028-02-29"))
    (job,) = named.claim()
    assert job["data"]["target_expiry"] == "2029-02-28"


# Whose it is ----------------------------------------------------------------------------------------------------------


def test_of_another_customers_name_nothing_can_be_ordered_and_nothing_is_told(named: Shop) -> None:
    other = named.customer("Other Ltd")
    named.order(renew_item())  # something is being done with it
    id = domain(named)["id"]
    counted = {table: named.count(table) for table in ("order", "object_operation", "job", "provision_domain_renew")}
    for item in (renew_item(), delete_item()):
        with refused(named.connection, "PV404", "domain not found"):
            named.order(item, account=other)
    for given in ({"name": "example.test"}, {"domain_id": id}, {"domain_id": id, "name": "example.test"}):
        for table in ("provision_domain_renew", "provision_domain_delete"):
            with refused(named.connection, "PV404", "domain not found"):
                named.insert(table, tenant_customer_id=other, **given)
    assert counted == {table: named.count(table) for table in counted}


def test_an_org_acts_on_its_own_names_and_the_customers(shop: Shop) -> None:
    org, sibling = shop.org(), shop.org()
    shop.done(domain_item("customers.test"))
    shop.done(domain_item("orgs.test"), org_id=str(org))
    for owner, name in ((org, "orgs.test"), (org, "customers.test"), (None, "orgs.test")):
        shop.done(renew_item(name), **({"org_id": str(owner)} if owner else {}))
    with refused(shop.connection, "PV404", "orgs.test"):
        shop.order(renew_item("orgs.test"), org_id=str(sibling))


def test_other_systems_insert_renewals_by_name_or_id(named: Shop) -> None:
    login, id = integration_login(named), domain(named)["id"]
    with acting_as(named.connection, login):
        named.connection.execute(
            "INSERT INTO provision_domain_renew (tenant_customer_id, name, period) VALUES (%s, 'example.test', 2)",
            [named.account],
        )
    assert named.work() == ["provision_domain_renew"]
    with acting_as(named.connection, login):
        named.connection.execute(
            "INSERT INTO provision_domain_delete (tenant_customer_id, domain_id) VALUES (%s, %s)", [named.account, id]
        )
    assert named.work() == ["provision_domain_delete"]
    row = named.row("SELECT name, accreditation_id FROM provision_domain_delete")
    assert row == {"name": "example.test", "accreditation_id": named.registry}


def test_a_name_has_one_active_operation_whatever_it_is(named: Shop) -> None:
    named.order(renew_item())
    for item in (renew_item(), delete_item()):
        with refused(named.connection, "PV409", "another operation on this domain is active"):
            named.order(item)
    with refused(named.connection, "PV409", "example.test"):
        named.order(renew_item(), renew_item())
    named.work()
    named.done(delete_item())


# Deletion -------------------------------------------------------------------------------------------------------------


def test_a_name_that_is_gone_at_once_can_be_ordered_at_once(named: Shop) -> None:
    order = named.order(delete_item())
    (job,) = named.claim()
    named.record(outcome(job, "completed", result={"ry_state": "gone"}))
    assert named.status(order) == "completed"
    assert named.row("SELECT name, deleted_date IS NULL AS is_live, auth_info_ref FROM domain") == {
        "name": "example.test",
        "is_live": False,
        "auth_info_ref": None,
    }
    assert named.count("secret") == 0
    assert events(named) == ["deleted"]
    named.done(domain_item(registrant=known("jane"), admin=known("tech")), account=named.account)


def test_a_deleted_name_is_in_redemption_and_takes_no_more_operations(named: Shop) -> None:
    named.done(delete_item())
    row = domain(named)
    assert row["rgp_state"] == "redemptionPeriod"
    assert row["purge_date"] - row["rgp_until"] == timedelta(hours=120)
    assert events(named) == ["in_redemption"]
    for item in (renew_item(), delete_item()):
        with refused(named.connection, "PV409", "example.test is in redemptionPeriod until"):
            named.order(item)
    with refused(named.connection, "PV409", "the domain is registered"):
        named.order(domain_item(), account=named.customer("Other Ltd"))


def test_a_name_whose_redemption_has_run_out_is_purged_and_free(named: Shop) -> None:
    named.done(delete_item())
    named.pass_time("30 days 1 hour")
    named.sweep()
    assert domain(named)["rgp_state"] == "pendingDelete"
    named.pass_time("5 days")
    named.sweep()
    assert named.rows("SELECT FROM v_domain WHERE deleted_date IS NULL") == []
    assert events(named) == ["in_redemption", "pending_delete", "purged"]
    assert named.count("domain_due") == 0
    other = named.customer("Other Ltd")
    named.done(domain_item(), account=other)


def test_name_servers_go_with_the_name_above_them(named: Shop) -> None:
    named.done(
        host_item("ns1.example.test", addresses=["192.0.2.1"]), host_item("a.b.example.test", addresses=["192.0.2.2"])
    )
    named.done(delete_item())
    live = named.values("SELECT name FROM v_host WHERE deleted_date IS NULL ORDER BY name")
    assert live == ["ns1.example.net", "ns2.example.net"]


def test_a_name_whose_name_servers_serve_others_is_not_deleted(named: Shop) -> None:
    glue = [host_item(f"ns{n}.example.test", addresses=["192.0.2.1"]) for n in (1, 2)]
    named.done(*glue)
    named.done(domain_item("user.test", known("jane"), known("tech"), ["ns1.example.test", "ns2.example.test"]))
    with refused(named.connection, "PV409", "ns1.example.test, ns2.example.test"):
        named.order(delete_item())
    named.done(delete_item("user.test"))
    with refused(named.connection, "PV409", "ns1.example.test"):
        named.order(delete_item())  # in redemption it still has them
    named.pass_time("36 days")
    named.sweep()
    named.sweep()
    named.done(delete_item())


def test_the_search_below_a_name_stops_at_a_dot(named: Shop) -> None:
    named.done(domain_item("myexample.test", known("jane"), known("tech")))
    named.done(host_item("ns1.myexample.test", addresses=["192.0.2.1"]))
    named.done(delete_item())
    assert "ns1.myexample.test" in named.values("SELECT name FROM v_host WHERE deleted_date IS NULL")


# Restoration ----------------------------------------------------------------------------------------------------------


def restore_item(name: str = "example.test", **changes: Any) -> Json:
    return {"operation": "domain.restore", "data": {"name": name} | changes}


def test_a_name_in_redemption_is_restored_and_lives_on(named: Shop) -> None:
    named.done(delete_item())
    named.done(restore_item(reason="the wrong button"))
    row = domain(named)
    assert (row["rgp_state"], row["purge_date"]) == (None, None)
    assert f"{row['ry_expiry_date']:%Y-%m-%d}" == "2028-03-01"
    assert events(named) == ["in_redemption", "restored"]
    named.pass_time("40 days")
    named.sweep()
    named.done(renew_item())


def test_what_is_not_in_redemption_is_not_restored(named: Shop) -> None:
    with refused(named.connection, "PV409", "not in its redemption period"):
        named.order(restore_item())
    named.done(delete_item())
    with refused(named.connection, "PV422", "the reason is empty or too long"):
        named.order(restore_item(reason=""))
    with refused(named.connection, "PV404", "domain not found"):
        named.order(restore_item(), account=named.customer("Other Ltd"))
    named.pass_time("31 days")
    named.sweep()
    with refused(named.connection, "PV409", "example.test is in pendingDelete"):
        named.order(restore_item())
    named.pass_time("5 days")
    named.sweep()
    with refused(named.connection, "PV404", "domain not found"):
        named.order(restore_item())


def test_where_names_are_not_restored_that_is_said_at_once(named: Shop) -> None:
    named.done(delete_item())
    named.set_zone("order_types", ["create", "delete"])
    with refused(named.connection, "PV422", "restore is not taken in this zone"):
        named.order(restore_item())
    named.connection.execute("UPDATE accreditation SET provider = 'aws' WHERE id = %s", [named.registry])
    with refused(named.connection, "PV422", "names are not restored there"):
        named.order(restore_item())


def test_a_name_is_not_purged_while_it_is_being_restored(named: Shop) -> None:
    named.done(delete_item())
    order = named.order(restore_item())
    named.pass_time("36 days")
    named.sweep()
    named.sweep()
    named.work()
    assert named.status(order) == "completed"
    named.sweep()
    assert domain(named)["purge_date"] is None


# Kinds of zones -------------------------------------------------------------------------------------------------------

PROFILES = ("generic", "report", "second_level", "thick", "thin")


@pytest.mark.parametrize("profile", PROFILES)
def test_a_zone_of_every_profile_takes_orders(shop: Shop, profile: str) -> None:
    zone = shop.value("SELECT tld_create(%s, 'co.zone', %s)", shop.registry, profile)
    assert shop.value("SELECT tld_settings(%s)", zone) == shop.value(
        "SELECT settings FROM tld_profile WHERE name = %s", profile
    )
    contacts = {type: person("jane") for type in ("registrant", "admin", "tech", "billing")}
    data = {"name": "our.co.zone", "hosts": ["ns1.example.net", "ns2.example.net"]}
    if profile == "thin":
        with refused(shop.connection, "PV422", "the zone keeps no contacts"):
            shop.order({"operation": "domain.create", "data": data | {"contacts": contacts}})
        contacts = {}
    shop.done({"operation": "domain.create", "data": data | {"contacts": contacts}})
    assert domain(shop, "our.co.zone")["hosts"] == ["ns1.example.net", "ns2.example.net"]


def test_all_profiles_are_those_that_are_tried(shop: Shop) -> None:
    assert shop.values("SELECT name FROM tld_profile ORDER BY name") == sorted(PROFILES)


def test_a_zone_is_made_once_with_what_is_asked_for(shop: Shop) -> None:
    shop.connection.execute(
        """SELECT tld_create(%s, 'zone', 'generic', '{"registration_periods": [3]}')""", [shop.registry]
    )
    with refused(shop.connection, "PV409", "has the zone already"):
        shop.value("SELECT tld_create(%s, 'zone', 'generic')", shop.registry)
    with refused(shop.connection, "PV404", "profile not found special"):
        shop.value("SELECT tld_create(%s, 'other', 'special')", shop.registry)
    with refused(shop.connection, "PV400", "unknown setting colour"):
        shop.value("""SELECT tld_create(%s, 'other', 'thin', '{"colour": 1}')""", shop.registry)
    with refused(shop.connection, "PV422", "the zone is malformed"):
        shop.value("SELECT tld_create(%s, '.zone', 'thin')", shop.registry)
    with refused(shop.connection, "PV422", "1 years"):
        shop.order(domain_item("our.zone"))


# Time -----------------------------------------------------------------------------------------------------------------


def test_that_a_name_expires_is_told_thirty_seven_and_one_day_before(named: Shop) -> None:
    expire_in(named, "31 days")
    told: list[str] = []
    for days in range(33):
        named.sweep()
        named.sweep()
        if len(events(named)) > len(told):
            told = events(named)
            told[-1] = f"{told[-1]} after {days}"
        named.pass_time("1 day")
    assert len(events(named)) == 3
    assert told[-1] == "expiring after 30"
    reasons = named.values("SELECT reason FROM v_audit WHERE to_state = 'expiring'")
    assert all("example.test expires on 20" in reason for reason in reasons)


def test_a_renewal_puts_the_notices_off(named: Shop) -> None:
    expire_in(named, "31 days")
    named.order(renew_item())
    named.work()
    named.pass_time("2 days")
    named.sweep()
    assert events(named) == ["renewed"]


def test_a_name_is_renewed_by_itself_before_it_expires(named: Shop) -> None:
    named.connection.execute("UPDATE domain SET auto_renew = true")
    expire_in(named, "20 days")
    named.sweep()
    assert named.claim() == []
    named.pass_time("6 days")
    named.sweep()
    named.sweep()
    assert named.work() == ["provision_domain_renew"]
    assert events(named) == ["renewed"]
    order = named.row("SELECT status, metadata FROM v_order ORDER BY created_date DESC, id DESC LIMIT 1")
    assert order == {"status": "completed", "metadata": {"auto_renew": True}}
    named.pass_time("14 days")
    named.sweep()
    assert named.claim() == []


def test_a_renewal_by_itself_that_fails_is_tried_again_the_next_day(named: Shop) -> None:
    named.connection.execute("UPDATE domain SET auto_renew = true")
    expire_in(named, "10 days")
    named.sweep()
    named.fail("domain renew example.test", "2104 billing failure")
    named.sweep()
    assert named.claim() == []
    named.pass_time("1 day")
    named.sweep()
    assert named.work() == ["provision_domain_renew"]


def test_why_a_name_is_not_renewed_by_itself_is_told(named: Shop) -> None:
    named.connection.execute("UPDATE domain SET auto_renew = true, statuses = '{clientRenewProhibited}'")
    expire_in(named, "10 days")
    named.sweep()
    assert events(named) == ["auto_renew_refused"]
    reason = named.value("SELECT reason FROM v_audit WHERE to_state = 'auto_renew_refused'")
    assert "clientRenewProhibited" in reason
    named.connection.execute("UPDATE customer SET status = 'suspended'")
    named.connection.execute("UPDATE tenant_customer SET is_active = false")
    named.connection.execute("UPDATE domain SET statuses = '{}'")
    named.pass_time("1 day")
    named.sweep()
    assert named.claim() == []


def test_a_name_that_is_not_to_be_renewed_by_itself_is_not(named: Shop) -> None:
    expire_in(named, "1 hour")
    named.sweep()
    assert named.claim() == []
