"""Changes and deletions of contacts and name servers, from the order to the registry and back."""

from typing import Any
from uuid import UUID

import pytest

from . import sql_fixtures
from .sql_fixtures import (
    Json,
    Shop,
    acting_as,
    contact_item,
    domain_item,
    host_item,
    integration_login,
    outcome,
    refused,
)

shop = sql_fixtures.shop


def item(operation: str, **data: Any) -> Json:
    return {"operation": operation, "data": data}


GLUE = host_item("ns9.example.test", addresses=["192.0.2.1"])


def contact(shop: Shop, reference: str = "jane") -> Json:
    """A contact as operators see it."""
    return shop.row("SELECT * FROM v_contact WHERE reference = %s AND tenant_customer_id = %s", reference, shop.account)


# Contacts -------------------------------------------------------------------------------------------------------------


def test_a_changed_contact_is_told_to_the_registry_as_a_whole_and_kept(shop: Shop) -> None:
    shop.done(contact_item(organization="Doe Ltd", phone="+49.30123"))
    order = shop.order(item("contact.update", reference="jane", city="Köln", phone=None, fax="+49.30124"))
    (job,) = shop.claim()
    handle = contact(shop)["handle"]
    assert job["data"] == {
        "handle": handle,
        "phone": "",
        "fax": "+49.30124",
        "email": "j@example.net",
        "name": "Jane Doe",
        "organization": "Doe Ltd",
        "street": ["1 Road"],
        "city": "Köln",
        "country_code": "DE",
    }
    assert job["accreditation_id"] == shop.registry
    assert contact(shop)["city"] == "Bonn", "nothing has changed before the registry has said so"
    shop.complete([job])
    row = shop.row("SELECT city, phone, fax, organization FROM contact WHERE handle = %s", handle)
    assert row == {"city": "Köln", "phone": None, "fax": "+49.30124", "organization": "Doe Ltd"}
    assert shop.status(order) == "completed"
    assert shop.plan(order) == {"update contact jane": "completed"}


def test_a_refused_change_leaves_the_contact_as_it_was(shop: Shop) -> None:
    shop.done(contact_item())
    order = shop.order(item("contact.update", reference="jane", city="Köln"))
    shop.fail("update contact jane", "2306 policy")
    assert shop.document(order)["reason"] == "update contact jane: 2306 policy"
    assert contact(shop)["city"] == "Bonn"
    shop.done(item("contact.update", reference="jane", city="Ulm"))


BAD_CHANGES: dict[str, tuple[Json, str, str]] = {
    "nothing": ({}, "PV422", "nothing is to be changed"),
    "no name": ({"name": None}, "PV400", "name must be string"),
    "an empty name": ({"name": ""}, "PV422", "the name is malformed"),
    "no street": ({"street": []}, "PV422", "the street is malformed"),
    "a country in words": ({"country_code": "Germany"}, "PV422", "the country code is malformed"),
    "an e-mail address without a host": ({"email": "jane"}, "PV422", "the e-mail address is malformed"),
    "a street in one text": ({"street": "1 Road"}, "PV400", "street must be array"),
    "a number for a city": ({"city": 7}, "PV400", "city must be string"),
    "an unknown field": ({"colour": "red"}, "PV400", "has no field colour"),
    "two names for the contact": ({"handle": "X", "city": "Ulm"}, "PV400", "name the contact by one of"),
}


@pytest.mark.parametrize("what", BAD_CHANGES)
def test_a_change_that_breaks_a_rule_of_contacts_is_refused_at_once(shop: Shop, what: str) -> None:
    shop.done(contact_item())
    data, code, text = BAD_CHANGES[what]
    with refused(shop.connection, code, text):
        shop.order(item("contact.update", reference="jane", **data))


def test_a_deleted_contact_is_history_and_its_reference_free(shop: Shop) -> None:
    shop.done(contact_item())
    shop.done(item("contact.delete", handle=contact(shop)["handle"]))
    assert contact(shop)["deleted_date"] is not None
    with refused(shop.connection, "PV404", "reference jane"):
        shop.order(item("contact.delete", reference="jane"))
    shop.done(contact_item())


def test_a_contact_in_use_by_a_domain_is_not_deleted(shop: Shop) -> None:
    shop.done(domain_item())
    for reference in ("jane", "tech"):
        with refused(shop.connection, "PV409", f"the contact is in use by domains {reference}: example.test"):
            shop.order(item("contact.delete", reference=reference))


@pytest.mark.parametrize("how", ["its plan waits for a host", "its job is under way", "a row without an order"])
def test_a_contact_that_a_registration_is_about_to_use_is_not_deleted(shop: Shop, how: str) -> None:
    shop.done(contact_item("jane"), contact_item("tech"))
    if how == "a row without an order":
        gate = shop.insert(
            "provision_domain", accreditation_id=shop.registry, tenant_customer_id=shop.account, name="example.test"
        )
        shop.connection.execute(
            "INSERT INTO provision_domain_contact SELECT %s, id, 'registrant', tenant_customer_id FROM contact"
            " WHERE reference = 'jane' AND tenant_customer_id = %s",
            [gate, shop.account],
        )
    else:
        shop.order(domain_item(registrant={"reference": "jane"}, admin={"reference": "tech"}))
        if how == "its job is under way":
            shop.complete(shop.claim(types=["provision_host_create"]))
            assert shop.claim()
    with refused(shop.connection, "PV409", "the contact is about to be used by a domain jane: example.test"):
        shop.order(item("contact.delete", reference="jane"))


def test_only_one_change_of_a_contact_is_active(shop: Shop) -> None:
    shop.done(contact_item())
    shop.order(item("contact.update", reference="jane", city="Ulm"))
    for operation, data in (("update", {"city": "Köln"}), ("delete", {})):
        with refused(shop.connection, "PV409", "another operation on this contact is active"):
            shop.order(item(f"contact.{operation}", reference="jane", **data))
        with refused(shop.connection, "PV409", "another operation on this contact is active"):
            insert_change(shop, f"provision_contact_{operation}", **data)
    shop.work()
    shop.done(item("contact.delete", reference="jane"))


def test_a_contact_that_is_being_changed_can_be_used_meanwhile(shop: Shop) -> None:
    """The registration does not wait for the change as if that made the contact."""
    shop.done(contact_item("jane"))
    shop.order(item("contact.update", reference="jane", city="Ulm"))
    order = shop.order(domain_item(registrant={"reference": "jane"}))
    shop.work()
    assert shop.status(order) == "completed", shop.document(order)


def insert_change(shop: Shop, kind: str, **columns: Any) -> UUID:
    """A row for the contact jane, without an order."""
    jane = contact(shop)["id"]
    return shop.insert(kind, tenant_customer_id=shop.account, contact_id=jane, **columns)


def test_a_row_without_an_order_changes_a_contact_too(shop: Shop) -> None:
    shop.done(contact_item(organization="Doe Ltd"))
    insert_change(shop, "provision_contact_update", city="Ulm", organization="")
    shop.work()
    assert (contact(shop)["city"], contact(shop)["organization"]) == ("Ulm", None)


# Hosts ----------------------------------------------------------------------------------------------------------------


def addresses(shop: Shop, name: str = "ns9.example.test") -> list[str]:
    return [str(found) for found in shop.value("SELECT addresses FROM v_host WHERE name = %s", name)]


def test_a_changed_host_has_its_new_addresses_only(shop: Shop) -> None:
    shop.done(domain_item())
    shop.done(GLUE)
    shop.order(item("host.update", name="ns9.example.test", addresses=["192.0.2.7", "2001:db8::7"]))
    (job,) = shop.claim()
    assert job["data"] == {"name": "ns9.example.test", "addresses": ["192.0.2.7", "2001:db8::7"], "is_object": True}
    shop.complete([job])
    assert addresses(shop) == ["192.0.2.7", "2001:db8::7"]


@pytest.mark.parametrize(
    ("name", "given", "text"),
    [
        ("ns9.example.test", [], "needs its addresses"),
        ("ns9.example.test", ["192.0.2.0/24"], "not an IP address"),
        ("ns1.example.net", ["192.0.2.1"], "has no addresses there"),
        ("ns1.example.net", [], "nothing is to be changed"),
    ],
)
def test_a_change_that_breaks_a_rule_of_glue_is_refused(shop: Shop, name: str, given: list[str], text: str) -> None:
    shop.done(domain_item())
    shop.done(GLUE)
    with refused(shop.connection, "PV422", text):
        shop.order(item("host.update", name=name, addresses=given))


def test_ipv6_glue_is_taken_only_where_the_zone_takes_it(shop: Shop) -> None:
    shop.done(domain_item())
    shop.done(GLUE)
    shop.set_zone("host_ipv6_allowed", False)
    with refused(shop.connection, "PV422", "IPv6"):
        shop.order(item("host.update", name="ns9.example.test", addresses=["2001:db8::7"]))


def test_a_host_in_use_is_not_deleted_and_one_that_is_not_in_use_is(shop: Shop) -> None:
    shop.done(domain_item())
    shop.done(GLUE)
    with refused(shop.connection, "PV409", "the host is in use by domains ns1.example.net: example.test"):
        shop.order(item("host.delete", name="ns1.example.net"))
    shop.done(item("host.delete", name="ns9.example.test"))
    with refused(shop.connection, "PV404", "name ns9.example.test"):
        shop.order(item("host.delete", name="ns9.example.test"))
    shop.done(GLUE)


def test_a_host_that_a_registration_is_about_to_use_is_not_deleted(shop: Shop) -> None:
    shop.done(host_item("ns1.example.net"))
    shop.order(domain_item())
    with refused(shop.connection, "PV409", "the host is about to be used by a domain ns1.example.net: example.test"):
        shop.order(item("host.delete", name="ns1.example.net"))


def test_a_host_that_others_have_made_known_too_stays_at_the_registry(shop: Shop) -> None:
    other = shop.customer("Other Ltd")
    shop.done(host_item())
    shop.done(host_item(), account=other)
    shared = []
    for account in (shop.account, other):
        shop.order(item("host.delete", name="ns1.example.net"), account=account)
        (job,) = shop.claim()
        shared.append(job["data"]["is_shared"])
        shop.complete([job])
    assert shared == [True, False]


# Whose ----------------------------------------------------------------------------------------------------------------


def things(shop: Shop, account: UUID) -> list[Json]:
    """Every way to order a change of jane or ns9, the things of an account."""
    jane = shop.row("SELECT id, handle FROM contact WHERE tenant_customer_id = %s AND reference = 'zoe'", account)
    host = shop.value("SELECT id FROM host WHERE tenant_customer_id = %s AND name = 'ns7.example.net'", account)
    keys = [{"reference": "zoe"}, {"handle": jane["handle"]}, {"id": str(jane["id"])}]
    contacts = [
        item(f"contact.{verb}", **key, **more)
        for key in keys
        for verb, more in (("update", {"city": "Ulm"}), ("delete", {}))
    ]
    hosts = [item("host.delete", **key) for key in ({"name": "ns7.example.net"}, {"id": str(host)})]
    hosts += [
        item("host.update", addresses=["192.0.2.1"], **key) for key in ({"name": "ns7.example.net"}, {"id": str(host)})
    ]
    return contacts + hosts


def test_nobody_changes_what_is_another_customers(shop: Shop) -> None:
    """By reference, handle, name or id: not found, and nothing stored."""
    other = shop.customer("Other Ltd")
    shop.done(contact_item("zoe"), host_item("ns7.example.net"), account=other)
    orders = shop.count("order")
    for one in things(shop, other):
        with refused(shop.connection, "PV404", "not found"):
            shop.order(one)
    zoe = shop.value("SELECT id FROM contact WHERE tenant_customer_id = %s", other)
    host = shop.value("SELECT id FROM host WHERE tenant_customer_id = %s", other)
    for kind, column, id in (("contact", "contact_id", zoe), ("host", "host_id", host)):
        with refused(shop.connection, "PV404", f"{kind} not found"):
            shop.insert(f"provision_{kind}_delete", tenant_customer_id=shop.account, **{column: id})
    assert shop.count("order") == orders
    assert shop.count("object_operation") == 0


def test_an_org_changes_its_own_and_the_customers_things_only(shop: Shop) -> None:
    mine, sibling = str(shop.org()), str(shop.org())
    shop.done(contact_item("ours"), org_id=None)
    shop.done(contact_item("theirs"), org_id=sibling)
    shop.done(item("contact.update", reference="ours", city="Ulm"), org_id=mine)
    with refused(shop.connection, "PV404", "reference theirs"):
        shop.order(item("contact.update", reference="theirs", city="Ulm"), org_id=mine)
    shop.done(item("contact.update", reference="theirs", city="Ulm"))
    theirs = contact(shop, "theirs")
    assert theirs["city"] == "Ulm"
    with refused(shop.connection, "PV404", "contact not found"):
        shop.insert("provision_contact_delete", tenant_customer_id=shop.account, org_id=mine, contact_id=theirs["id"])


def test_an_org_is_not_told_which_domain_of_another_org_uses_a_contact(shop: Shop) -> None:
    mine, sibling = str(shop.org()), str(shop.org())
    shop.done(contact_item("jane"))
    shop.done(domain_item(registrant={"reference": "jane"}), org_id=sibling)
    with refused(shop.connection, "PV409", "jane: domains of another org"):
        shop.order(item("contact.delete", reference="jane"), org_id=mine)


def test_what_several_things_could_mean_is_asked_back(shop: Shop) -> None:
    orgs = [str(shop.org()), str(shop.org())]
    for org in orgs:
        shop.done(contact_item("jane"), org_id=org)
    with refused(shop.connection, "PV422", "several are meant by this contact reference jane"):
        shop.order(item("contact.update", reference="jane", city="Ulm"))
    shop.done(item("contact.update", reference="jane", city="Ulm"), org_id=orgs[0])
    cities = shop.pairs("SELECT org_id::text, city FROM contact WHERE reference = 'jane'")
    assert cities == {orgs[0]: "Ulm", orgs[1]: "Bonn"}


def test_another_system_changes_its_own_contacts_by_inserting_rows(shop: Shop) -> None:
    shop.done(contact_item())
    jane, other = contact(shop)["id"], shop.customer("Other Ltd")
    insert = "INSERT INTO provision_contact_update (tenant_customer_id, contact_id, city) VALUES (%s, %s, 'Ulm')"
    with acting_as(shop.connection, integration_login(shop, other)), refused(shop.connection, "PV404"):
        shop.connection.execute(insert, [other, jane])
    with acting_as(shop.connection, integration_login(shop)):
        shop.connection.execute(insert, [shop.account, jane])
    shop.work()
    assert contact(shop)["city"] == "Ulm"


def test_a_person_can_do_it(shop: Shop) -> None:
    shop.accreditation("desk", "manual")
    shop.done(contact_item(accreditation="registry"))
    shop.order(contact_item("by hand", accreditation="desk"))
    complete = 'SELECT job_complete(id, \'{"roid": "made by hand"}\') FROM v_attention'
    shop.value(complete)
    shop.order(item("contact.delete", reference="by hand"))
    shop.value(complete)
    assert contact(shop, "by hand")["deleted_date"]


def test_the_end_of_a_change_is_an_event(shop: Shop) -> None:
    shop.done(contact_item())
    shop.order(item("contact.update", reference="jane", city="Ulm"))
    (job,) = shop.claim()
    shop.record(outcome(job, "failed", message="2306 policy"))
    types = shop.values("SELECT type FROM v_event WHERE type LIKE 'contact_update.%%' ORDER BY id")
    assert types == ["contact_update.processing", "contact_update.failed"]
