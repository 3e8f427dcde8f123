"""Names, contacts and hosts: types, zones and their settings, what is refused, and what exists in the end."""

import re
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from . import sql_fixtures
from .sql_fixtures import Json, Shop, contact_item, domain_item, host_item, known, outcome, person, refused

shop = sql_fixtures.shop

# Type fqdn ------------------------------------------------------------------------------------------------------------

LABEL = "a" * 63
NAMES = [
    "a.b",
    "example.test",
    "xn--bcher-kva.test",
    "1.2",
    "a-b.test",
    f"{LABEL}.test",
    ".".join([LABEL] * 3 + ["a" * 61]),
]
NOT_NAMES = [
    "",
    "test",
    "example.",
    ".test",
    "a..b",
    "Example.test",
    "bücher.test",
    "-a.test",
    "a-.test",
    "a_b.test",
    "a b.test",
    "a.test\n",
    f"{LABEL}a.test",
    ".".join([LABEL] * 3 + ["a" * 62]),
]


@pytest.mark.parametrize("name", NAMES)
def test_a_qualified_name_in_lower_case_labels_is_an_fqdn(shop: Shop, name: str) -> None:
    assert shop.value("SELECT %s::fqdn", name) == name


@pytest.mark.parametrize("name", NOT_NAMES)
def test_anything_else_is_not_an_fqdn(shop: Shop, name: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation), shop.connection.transaction():
        shop.value("SELECT %s::fqdn", name)


@pytest.mark.parametrize("name", NOT_NAMES)
def test_a_malformed_name_is_refused_wherever_it_is_ordered(shop: Shop, name: str) -> None:
    for item in (domain_item(name), host_item(name), domain_item(hosts=["ns1.example.net", name])):
        with refused(shop.connection, "PV422", "the name is malformed"):
            shop.order(item)


# Transfer secrets -----------------------------------------------------------------------------------------------------


@given(length=st.integers(4, 200))
def test_a_secret_is_printable_needs_no_escaping_and_has_every_class(shared_secrets: Any, length: int) -> None:
    secret = shared_secrets(length)
    assert len(secret) == length
    assert re.fullmatch(r"[A-Za-z0-9+-]+", secret)
    for kind in ("[A-Z]", "[a-z]", "[0-9]", "[+-]"):
        assert re.search(kind, secret)


@pytest.fixture(scope="module")
def shared_secrets(shared_database: Any) -> Any:
    """tc_gen_password() over one connection."""
    with psycopg.connect(shared_database.url, autocommit=True) as connection:
        yield lambda length: connection.execute("SELECT tc_gen_password(%s)", [length]).fetchone()[0]  # type: ignore[index]


def test_no_two_secrets_are_the_same(shop: Shop) -> None:
    secrets = shop.values("SELECT tc_gen_password(16) FROM generate_series(1, 2000)")
    assert len(set(secrets)) == 2000
    assert len({secret[:4] for secret in secrets}) > 1500


# Zones ----------------------------------------------------------------------------------------------------------------


def zone_of(shop: Shop, name: str) -> str:
    """The zone an order of the name goes to."""
    shop.order(domain_item(name))
    zone: str = shop.value(
        "SELECT z.name FROM tld AS z JOIN accreditation_tld AS t ON t.tld_id = z.id JOIN order_item_plan AS p"
        " ON p.data ->> 'accreditation_tld_id' = t.id::text WHERE p.name = 'domain ' || %s",
        name,
    )
    return zone


def test_the_longest_zone_wins(shop: Shop) -> None:
    shop.zone("co.test", shop.registry)
    assert zone_of(shop, "example.co.test") == "co.test"


def test_a_zone_ends_at_a_dot(shop: Shop) -> None:
    shop.zone("help", shop.registry)
    with refused(shop.connection, "PV422", "no names can be registered in this zone"):
        shop.order(domain_item("our.selfhelp"))
    shop.zone("selfhelp", shop.registry)
    assert zone_of(shop, "our.selfhelp") == "selfhelp"


def test_only_names_directly_under_a_zone_are_registered(shop: Shop) -> None:
    with refused(shop.connection, "PV422", "directly under the zone"):
        shop.order(domain_item("www.example.test"))


def test_a_zone_that_takes_no_orders_is_refused(shop: Shop) -> None:
    shop.connection.execute(
        "UPDATE accreditation_tld SET is_active = false WHERE accreditation_id = %s", [shop.registry]
    )
    with refused(shop.connection, "PV422", "example.test"):
        shop.order(domain_item())


def test_of_several_accreditations_the_zones_default_is_taken(shop: Shop) -> None:
    second = shop.accreditation("another")
    shop.connection.execute("UPDATE accreditation_tld SET is_default = (accreditation_id = %s)", [second])
    shop.order(domain_item())
    assert {job["accreditation_id"] for job in shop.claim()} == {second}
    shop.order(domain_item("second.test", accreditation="registry"))
    assert {job["accreditation_id"] for job in shop.claim()} == {shop.registry}


# Settings of a zone ---------------------------------------------------------------------------------------------------


def test_a_missing_setting_refuses_the_order_with_its_name(shop: Shop) -> None:
    shop.connection.execute("DELETE FROM tld_setting WHERE name IN ('host_count_minimum', 'auth_info_pattern')")
    with refused(shop.connection, "PV503", "missing settings: auth_info_pattern, host_count_minimum"):
        shop.order(domain_item())


WRONG: dict[str, list[Any]] = {
    "maximum_lifetime": ["ten", 1.5, True, [1], None],
    "registration_periods": [1, ["1"], [1.5], [True], {}],
    "order_types": ["create", [1], [None]],
    "host_ipv6_allowed": ["true", 1, None],
    "auth_info_pattern": [1, ["x"]],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in WRONG.items() for value in values])
def test_a_setting_of_the_wrong_type_is_refused(shop: Shop, key: str, value: Any) -> None:
    with refused(shop.connection, "PV400", f"setting {key} must be"):
        shop.set_zone(key, value)


def test_an_unknown_setting_is_refused(shop: Shop) -> None:
    with refused(shop.connection, "PV400", "unknown setting colour"):
        shop.connection.execute("INSERT INTO tld_setting (tld_id, name, value) SELECT id, 'colour', '1' FROM tld")


def test_a_setting_for_one_accreditation_wins(shop: Shop) -> None:
    shop.connection.execute(
        "INSERT INTO tld_setting SELECT tld_id, accreditation_id, 'registration_periods', '[7]' FROM accreditation_tld"
        " WHERE accreditation_id = %s",
        [shop.registry],
    )
    with refused(shop.connection, "PV422", "1 years"):
        shop.order(domain_item())
    shop.order(domain_item(period=7))


def test_a_setting_that_changes_breaks_no_order_in_flight(shop: Shop) -> None:
    order = shop.order(domain_item())
    shop.set_zone("registration_periods", [5])
    shop.set_zone("host_count_minimum", 4)
    shop.connection.execute("DELETE FROM tld_setting WHERE name = 'auth_info_pattern'")
    shop.work()
    assert shop.status(order) == "completed"


# What is refused ------------------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[Json, str]] = {
    "a name that is too short": (domain_item("ab.test"), "ab.test has 2 characters"),
    "a period the zone does not have": (domain_item(period=3), "3 years"),
    "a period of parts of a year": (domain_item(period=1.5), "1.5 years"),
    "a period beyond reason": (domain_item(period=10**12), "years"),
    "too few hosts": (domain_item(hosts=["ns1.example.net"]), "name servers"),
    "the same host twice": (domain_item(hosts=["ns1.example.net", {"name": "ns1.example.net"}]), "name servers"),
    "too many hosts": (domain_item(hosts=[f"ns{n}.example.net" for n in range(5)]), "name servers"),
    "no admin": (domain_item(contacts={"registrant": person()}), "admin"),
    "an empty list of admins": (domain_item(contacts={"registrant": person(), "admin": []}), "admin"),
    "a name server under the name itself": (
        domain_item(hosts=["ns1.example.net", "ns1.example.test"]),
        "cannot come before",
    ),
    "glue outside the registry's zones": (host_item(addresses=["192.0.2.1"]), "has no addresses there"),
    "no glue inside them": (host_item("ns1.other.test"), "needs its addresses"),
    "a handle-less country": (contact_item(country_code="de"), "country code"),
    "an e-mail address without a host": (contact_item(email="jane"), "e-mail"),
    "a phone number as people write it": (contact_item(phone="0228 123"), "phone"),
    "a fax number as people write it": (contact_item(fax="0228 123"), "fax"),
    "four lines of street": (contact_item(street=list("abcd")), "street"),
    "no line of street": (contact_item(street=[]), "street"),
    "an empty name": (contact_item(name=""), "name"),
    "an overlong reference": (contact_item("x" * 256), "reference"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_a_rule_forbids_is_refused_at_once(shop: Shop, what: str) -> None:
    item, text = REFUSED[what]
    with refused(shop.connection, "PV422", text):
        shop.order(item)


def test_a_zone_without_registrations_is_refused(shop: Shop) -> None:
    shop.set_zone("order_types", ["renew"])
    with refused(shop.connection, "PV422", "registrations are not taken"):
        shop.order(domain_item())


def test_a_lifetime_beyond_the_zones_is_refused(shop: Shop) -> None:
    shop.set_zone("maximum_lifetime", 2)
    with refused(shop.connection, "PV422", "5 years"):
        shop.order(domain_item(period=5))


def test_glue_needs_a_domain_of_ones_own(shop: Shop) -> None:
    glue = host_item("ns1.other.test", addresses=["192.0.2.1", "2001:db8::1"])
    with refused(shop.connection, "PV404", "ns1.other.test"):
        shop.order(glue)
    shop.done(domain_item("other.test"))
    shop.done(glue)
    with refused(shop.connection, "PV404", "ns1.other.test"):
        shop.order(glue, account=shop.customer("Other Ltd"))


def test_ipv6_glue_only_where_the_zone_takes_it(shop: Shop) -> None:
    shop.done(domain_item("other.test"))
    shop.set_zone("host_ipv6_allowed", False)
    with refused(shop.connection, "PV422", "IPv6"):
        shop.order(host_item("ns1.other.test", addresses=["192.0.2.1", "2001:db8::1"]))


def test_a_registered_name_is_refused_to_everybody(shop: Shop) -> None:
    shop.done(domain_item())
    for account in (shop.account, shop.customer("Other Ltd")):
        with refused(shop.connection, "PV409", "example.test"):
            shop.order(domain_item(), account=account)


# What exists ----------------------------------------------------------------------------------------------------------


def test_a_registered_name_is_shown_with_its_contacts_hosts_and_dates(shop: Shop) -> None:
    shop.done(domain_item(admin=[person("tech"), known("jane")]))
    row = shop.row("SELECT * FROM v_domain WHERE tenant_customer_id = %s", shop.account)
    assert (row["name"], row["accreditation"]) == ("example.test", "registry")
    assert row["contacts"] == {"registrant": ["jane"], "admin": ["jane", "tech"]}
    assert row["hosts"] == ["ns1.example.net", "ns2.example.net"]
    assert f"{row['ry_created_date']:%Y-%m-%d}" == "2026-03-01"
    assert f"{row['ry_expiry_date']:%Y-%m-%d}" == "2027-03-01"
    assert row["roid"]


def test_a_name_that_left_us_can_be_registered_again(shop: Shop) -> None:
    shop.done(domain_item())
    shop.connection.execute("UPDATE domain SET deleted_date = engine_now() WHERE name = 'example.test'")
    shop.done(domain_item(registrant=known("jane"), admin=known("tech")))
    assert shop.values("SELECT count(*) FROM v_domain WHERE name = 'example.test'") == [2]


def test_an_outside_host_is_known_once_per_customer(shop: Shop) -> None:
    other = shop.customer("Other Ltd")
    shop.done(host_item())
    shop.done(host_item(), account=other)
    assert shop.value("SELECT count(*) FROM v_host WHERE name = 'ns1.example.net'") == 2


# Transfer secrets of names --------------------------------------------------------------------------------------------


def registration(shop: Shop) -> UUID:
    """A registration that is in a worker's hands."""
    shop.done(contact_item("jane"), host_item("ns1.example.net"), host_item("ns2.example.net"))
    shop.order(domain_item("example.test", known("jane"), known("jane")))
    id: UUID = shop.value("SELECT id FROM provision_domain WHERE name = 'example.test'")
    return id


def test_the_secret_is_there_for_the_worker_and_gone_when_the_row_is_final(shop: Shop) -> None:
    row = registration(shop)
    secret = shop.value("SELECT pw FROM provision_domain WHERE id = %s", row)
    assert len(secret) == 16
    shop.work()
    assert shop.value("SELECT pw FROM provision_domain WHERE id = %s", row) is None
    assert shop.value("SELECT auth_info_ref FROM domain WHERE id = %s", row) == f"db:{row}"
    assert shop.value("SELECT value FROM secret WHERE id = %s", row) == secret


@pytest.mark.parametrize("how", ["failed", "cancelled"])
def test_a_name_that_was_not_registered_leaves_no_secret(shop: Shop, how: str) -> None:
    row = registration(shop)
    if how == "failed":
        (job,) = shop.claim()
        shop.record(outcome(job, "failed", message="2302 exists"))
    else:
        shop.value("SELECT job_cancel(job_id) FROM v_provision WHERE id = %s", row)
    assert shop.value("SELECT pw FROM provision_domain WHERE id = %s", row) is None
    assert shop.rows("SELECT value FROM secret WHERE id = %s", row) == []


def test_the_secret_is_in_no_job_log_or_answer(shop: Shop) -> None:
    row = registration(shop)
    secret = shop.value("SELECT pw FROM provision_domain WHERE id = %s", row)
    (job,) = shop.claim()
    shop.record(outcome(job, "retry", message="no answer"))
    shop.connection.execute("UPDATE provision_domain SET pw = 'Another-1' WHERE id = %s", [row])
    shop.pass_time("1 hour")
    shop.work()
    shop.connection.execute("DELETE FROM provision_domain_contact; DELETE FROM provision_domain_host")
    shop.connection.execute("DELETE FROM provision_domain WHERE id = %s", [row])
    everything = "SELECT string_agg(x::text, ' ') FROM (SELECT to_jsonb(t) FROM {} AS t) AS x"
    for view in ("v_job", "v_audit", "v_provision", "v_order_item", "v_order_item_plan", "v_effect", "v_attention"):
        text = shop.connection.execute(everything.format(view).encode()).fetchone()[0] or ""  # type: ignore[index]
        assert secret not in text, view
        assert "Another-1" not in text, view
    changed = shop.value("SELECT changed -> 'pw' FROM v_audit WHERE row_id = %s AND changed ? 'pw'", row)
    assert changed == ["***", "***"]


@pytest.mark.parametrize("pattern", ["^.{20,32}$", "^.{6,8}$", "^[A-Za-z0-9+]{12}$", "^(?=.*[0-9])(?=.*[-+]).{10,}$"])
def test_a_secret_that_is_made_suits_the_zone(shop: Shop, pattern: str) -> None:
    shop.set_zone("auth_info_pattern", pattern)
    shop.done(domain_item())
    shop.done({"operation": "domain.update", "data": {"name": "example.test", "pw": None}})
    shop.order({"operation": "domain.transfer", "data": {"name": "else.test", "pw": "told by its holder"}})
    new = (
        "SELECT value FROM secret WHERE id IN (SELECT id FROM job) OR 'db:' || id IN (SELECT auth_info_ref FROM domain)"
    )
    secrets = shop.values(new)
    assert [bool(re.search(pattern, secret)) for secret in secrets] == [True, True]


def test_a_zone_that_no_secret_suits_says_so(shop: Shop) -> None:
    shop.done(domain_item())
    shop.set_zone("auth_info_pattern", "^[äöü]{8}$")
    with refused(shop.connection, "PV503", "no auth info that is made suits the zone"):
        shop.order(domain_item("other.test"))


def test_a_secret_must_suit_the_zone(shop: Shop) -> None:
    shop.set_zone("auth_info_pattern", "^[0-9]+$")
    with refused(shop.connection, "PV422", "pw is not shown"):
        shop.insert(
            "provision_domain",
            tenant_customer_id=shop.account,
            accreditation_id=shop.registry,
            name="example.test",
            pw="abc",
        )
