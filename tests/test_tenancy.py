"""Who sees and may do what: customers and orgs apart, whatever a log-in sets, names or inserts."""

import uuid
from typing import Any, LiteralString
from uuid import UUID

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from . import sql_fixtures
from .conftest import ConnectAs
from .sql_fixtures import (
    Shop,
    acting_as,
    certificate_item,
    contact_item,
    domain_item,
    host_item,
    integration_login,
    known,
    person,
    refused,
)
from .tenancy_fixtures import ROLES, asking, at_once, do, join, member, membership_of, new_user

shop = sql_fixtures.shop
open_shop = sql_fixtures.open_shop

TENANT_VIEWS: tuple[LiteralString, ...] = (
    "v_order",
    "v_order_item",
    "v_order_item_plan",
    "v_provision",
    "v_audit",
    "v_contact",
    "v_host",
    "v_domain",
    "v_certificate",
)
BARRED = (psycopg.errors.InsufficientPrivilege,)


@pytest.fixture
def neighbour(shop: Shop) -> UUID:
    """Another customer of the same tenant; both have ordered everything there is."""
    neighbour = shop.customer("Neighbour Ltd")
    for account, name in ((shop.account, "ours.test"), (neighbour, "theirs.test")):
        shop.done(domain_item(name), certificate_item(), account=account)
    return neighbour


def customers_seen(shop: Shop, view: LiteralString) -> set[UUID]:
    return set(shop.values("SELECT DISTINCT tenant_customer_id FROM " + view))


# Seeing ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", TENANT_VIEWS)
def test_a_customer_sees_its_own_rows_and_no_others(shop: Shop, neighbour: UUID, view: LiteralString) -> None:
    for account in (shop.account, neighbour):
        with acting_as(shop.connection, "provision_api", caller_customer=account):
            assert customers_seen(shop, view) == {account}
        with acting_as(shop.connection, integration_login(shop, account)):
            assert customers_seen(shop, view) == {account}


@pytest.mark.parametrize("view", TENANT_VIEWS)
def test_an_org_sees_its_own_rows_and_no_others(shop: Shop, view: LiteralString) -> None:
    orgs = {shop.org(): "one.test", shop.org(): "two.test"}
    for org, name in orgs.items():
        parts = {"registrant": person(f"j-{name}"), "admin": person(f"t-{name}")}
        hosts = [f"ns1.{name}.example.net", f"ns2.{name}.example.net"]
        shop.done(domain_item(name, **parts, hosts=hosts), certificate_item(name), org_id=str(org))
    for org in orgs:
        with acting_as(shop.connection, "provision_api", caller_customer=shop.account, caller_org=org):
            assert set(shop.values("SELECT DISTINCT org_id FROM " + view)) == {org}
        with acting_as(shop.connection, integration_login(shop, org=org)):
            assert set(shop.values("SELECT DISTINCT org_id FROM " + view)) == {org}
    with acting_as(shop.connection, "provision_api", caller_customer=shop.account):
        assert set(shop.values("SELECT DISTINCT org_id FROM " + view)) - {None} == set(orgs)


@pytest.mark.parametrize("view", TENANT_VIEWS)
def test_without_a_caller_nobody_sees_anything(shop: Shop, neighbour: UUID, view: LiteralString) -> None:
    with acting_as(shop.connection, "provision_api"):
        assert customers_seen(shop, view) == set()
    with acting_as(shop.connection, "provision_integration"):
        assert customers_seen(shop, view) == set()


def test_an_operator_sees_everybody(shop: Shop, neighbour: UUID) -> None:
    with acting_as(shop.connection, "provision_operator"):
        for view in (*TENANT_VIEWS, "v_job"):
            assert customers_seen(shop, view) >= {shop.account, neighbour}


def test_what_a_login_sets_does_not_change_who_it_is(shop: Shop, neighbour: UUID) -> None:
    login = integration_login(shop)
    with acting_as(shop.connection, login, caller_customer=neighbour, caller="root"):
        assert customers_seen(shop, "v_order") == {shop.account}
        assert shop.value("SELECT caller_name()") == login
    with acting_as(shop.connection, login, caller_customer=neighbour), refused(shop.connection, "PV404"):
        shop.order(contact_item("new"), account=neighbour)


def test_a_rolled_back_caller_is_none(open_shop: Shop, connect_as: ConnectAs) -> None:
    open_shop.done(contact_item())
    user = sql_fixtures.program(open_shop.connection, open_shop.account)
    api = connect_as("provision_api")
    with api.transaction(force_rollback=True):
        for name, id in (("caller_customer", open_shop.account), ("caller_user", user)):
            api.execute("SELECT set_config(%s, %s, true)", [f"provision.{name}", str(id)])
        assert api.execute("SELECT count(*) FROM v_order").fetchone() == (1,)
    assert api.execute("SELECT count(*) FROM v_order").fetchone() == (0,)


def test_a_failing_condition_tells_nothing_of_others(shop: Shop, neighbour: UUID) -> None:
    """Run before the join, a condition on a joined name would tell by its error whom else there is."""
    with acting_as(shop.connection, integration_login(shop)):
        for method in ("nestloop", "indexscan", "bitmapscan"):
            shop.connection.execute(f"SET LOCAL enable_{method} = off".encode())
        shop.rows("SELECT id FROM v_order WHERE 1 / (length(customer) - length('Neighbour Ltd')) = 1")


def test_the_parents_are_closed_to_tenants(shop: Shop) -> None:
    for login in ("provision_api", integration_login(shop)):
        for query in ("SELECT FROM class.provision", "SELECT FROM class.audit_trail", "DELETE FROM class.provision"):
            with pytest.raises(BARRED), shop.connection.transaction(), acting_as(shop.connection, login):
                shop.connection.execute(query.encode())


# Naming what is another's ---------------------------------------------------------------------------------------------


def test_an_order_of_another_customer_does_not_exist(shop: Shop, neighbour: UUID) -> None:
    theirs = shop.order(contact_item("new"), account=neighbour)
    for login, settings in (("provision_api", {"caller_customer": shop.account}), (integration_login(shop), {})):
        with acting_as(shop.connection, login, **settings):
            assert shop.value("SELECT order_document(%s)", theirs) is None
            for call in ("SELECT order_cancel(%s)", "SELECT order_explain(%s)"):
                with refused(shop.connection, "PV404", "order not found"):
                    shop.connection.execute(call.encode(), [theirs])
    assert shop.status(theirs) == "processing"


def test_an_order_of_another_org_does_not_exist(shop: Shop) -> None:
    mine, other = shop.org(), shop.org()
    theirs = shop.order(contact_item(), org_id=str(other))
    with acting_as(shop.connection, "provision_api", caller_customer=shop.account, caller_org=mine):
        assert shop.value("SELECT order_document(%s)", theirs) is None
        with refused(shop.connection, "PV404"):
            shop.value("SELECT order_cancel(%s)", theirs)
        for org in (None, str(other)):
            with refused(shop.connection, "PV404", "org not found"):
                shop.order(contact_item("new"), org_id=org)
        shop.order(contact_item("new"), org_id=str(mine))


def test_an_org_uses_what_is_its_own_or_the_customers(shop: Shop) -> None:
    mine, other = shop.org(), shop.org()
    hosts = ["ns1.example.net", "ns2.example.net"]
    shop.done(contact_item("theirs"), contact_item("same"), org_id=str(other))
    shop.done(contact_item("ours"), contact_item("same", name="The customer's"))
    for name in ("theirs", "nobodys"):
        with refused(shop.connection, "PV404", f"contact not found {name}"):
            shop.order(domain_item("name-a.test", known(name), known("ours"), hosts=hosts), org_id=str(mine))
    with refused(shop.connection, "PV404", "contact not found theirs"):
        shop.order(domain_item("name-a.test", known("theirs"), known("ours"), hosts=hosts))
    shop.done(domain_item("name-b.test", known("same"), known("ours"), hosts=hosts), org_id=str(mine))
    shop.done(domain_item("name-c.test", known("same"), known("theirs"), hosts=hosts), org_id=str(other))
    names = (
        "SELECT d.name, c.name FROM domain AS d JOIN domain_contact AS x ON x.domain_id = d.id"
        " JOIN contact AS c ON c.id = x.contact_id WHERE x.type = 'registrant' AND d.tenant_customer_id = %s"
    )
    assert shop.pairs(names, shop.account) == {"name-b.test": "The customer's", "name-c.test": "Jane Doe"}


def test_an_org_waits_for_what_is_being_created_for_the_customer(shop: Shop) -> None:
    org = shop.org()
    shop.order(contact_item("ours"), contact_item("tech"))
    order = shop.order(domain_item("name-a.test", known("ours"), known("tech")), org_id=str(org))
    shop.work()
    assert shop.status(order) == "completed"


def test_an_org_can_have_what_another_has_and_not_twice(shop: Shop) -> None:
    orgs = [shop.org(), shop.org(), None]
    for org in orgs:
        shop.done(contact_item("jane"), host_item("ns1.example.net"), org_id=org and str(org))
    for item in (contact_item("jane"), host_item("ns1.example.net")):
        for org in orgs:
            with refused(shop.connection, "PV409", "exists"):
                shop.order(item, org_id=org and str(org))


def test_glue_lies_under_a_name_of_the_same_org(shop: Shop) -> None:
    mine, other = shop.org(), shop.org()
    shop.done(domain_item("theirs.test"), org_id=str(other))
    glue = host_item("ns1.theirs.test", addresses=["192.0.2.1"])
    for org in (str(mine), None):
        with refused(shop.connection, "PV404", "domain is not yours"):
            shop.order(glue, org_id=org)
    shop.done(glue, org_id=str(other))


def test_nobody_orders_for_another_customer(shop: Shop, neighbour: UUID) -> None:
    for login, settings in (("provision_api", {"caller_customer": shop.account}), (integration_login(shop), {})):
        with acting_as(shop.connection, login, **settings):
            with refused(shop.connection, "PV404", "customer not found"):
                shop.order(contact_item("new"), account=neighbour)
            many = [{"tenant_customer_id": str(id), "items": [contact_item("new")]} for id in (shop.account, neighbour)]
            with refused(shop.connection, "PV404", "customer not found"):
                shop.value("SELECT order_submit_many(%s)", Jsonb(many))


def test_who_ordered_is_in_the_audit_trail(shop: Shop) -> None:
    with acting_as(shop.connection, "provision_api", caller_customer=shop.account, caller="web shop"):
        order = shop.order(contact_item())
    assert shop.value("SELECT logged_by FROM v_audit WHERE row_id = %s", order) == "web shop"
    assert shop.value("SELECT created_by FROM v_order WHERE id = %s", order) == "web shop"


# API keys -------------------------------------------------------------------------------------------------------------

CALLER = "SELECT tenant_customer_id, org_id, name FROM api_key_caller(sha256(convert_to(%s, 'UTF8')))"


def test_an_api_key_is_shown_once_and_says_whose_it_is(shop: Shop) -> None:
    org = shop.org()
    key = shop.value("SELECT api_key_create(%s, 'web shop', %s)", shop.account, org)
    assert len(key) == 40
    assert int(key, 16)
    with acting_as(shop.connection, "provision_api"):
        assert shop.row(CALLER, key) == {"tenant_customer_id": shop.account, "org_id": org, "name": "web shop"}
    stored = shop.row("SELECT prefix, to_jsonb(k) AS row FROM api_key AS k WHERE name = 'web shop'")
    assert stored["prefix"] == key[:8]
    assert key not in str(stored["row"])


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE api_key SET revoked_date = engine_now()",
        "UPDATE tenant_customer SET is_active = false",
        "SELECT clock_advance('90 days')",
    ],
)
def test_a_key_that_is_revoked_expired_or_of_an_inactive_customer_says_nothing(shop: Shop, change: str) -> None:
    key = shop.value("SELECT api_key_create(%s, 'web shop')", shop.account)
    shop.connection.execute(change.encode())
    assert shop.rows(CALLER, key) == []


# Inserting directly ---------------------------------------------------------------------------------------------------


def insert(shop: Shop, table: str, **values: Any) -> UUID:
    """As other systems do it; the id is the engine's."""
    return insert_into(shop, table, {"tenant_customer_id": shop.account, "accreditation_id": shop.registry} | values)


def insert_into(shop: Shop, table: str, row: dict[str, Any]) -> UUID:
    """These columns and no others."""
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING id").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join(sql.Placeholder() * len(row)),
    )
    made = shop.connection.execute(statement, list(row.values())).fetchone()
    assert made
    id: UUID = made[0]
    return id


@pytest.fixture
def login(shop: Shop) -> str:
    """A log-in of another system that acts for the customer."""
    return integration_login(shop)


def test_an_inserted_contact_is_created_and_seen(shop: Shop, login: str) -> None:
    with acting_as(shop.connection, login):
        row = insert(shop, "provision_contact", **person())
    assert shop.work() == ["provision_contact_create"]
    with acting_as(shop.connection, login):
        assert shop.value("SELECT status FROM v_provision WHERE id = %s", row) == "completed"
        assert shop.value("SELECT reference FROM v_contact WHERE id = %s", row) == "jane"
        logged = shop.rows("SELECT operation, logged_by FROM v_audit WHERE row_id = %s ORDER BY id LIMIT 1", row)
    assert logged == [{"operation": "insert", "logged_by": login}]


@pytest.fixture
def parts(shop: Shop) -> dict[str, UUID]:
    """Ids of a live contact and two live hosts."""
    shop.done(
        contact_item("jane"), *({"operation": "host.create", "data": {"name": f"ns{n}.example.net"}} for n in (1, 2))
    )
    contacts = shop.pairs("SELECT reference, id FROM v_contact WHERE tenant_customer_id = %s", shop.account)
    return contacts | shop.pairs("SELECT name, id FROM v_host WHERE tenant_customer_id = %s", shop.account)


def add_parts(shop: Shop, domain: UUID, parts: dict[str, UUID], account: UUID | None = None) -> None:
    account = account or shop.account
    for kind in ("registrant", "admin"):
        values = [domain, parts["jane"], kind, account]
        shop.connection.execute("INSERT INTO provision_domain_contact VALUES (%s, %s, %s, %s)", values)
    for name in ("ns1.example.net", "ns2.example.net"):
        shop.connection.execute("INSERT INTO provision_domain_host VALUES (%s, %s, %s)", [domain, parts[name], account])


def open_gate(shop: Shop, domain: UUID) -> None:
    shop.connection.execute("UPDATE provision_domain SET is_complete = true WHERE id = %s", [domain])


def test_a_registration_waits_for_its_parts_and_its_gate(shop: Shop, login: str, parts: dict[str, UUID]) -> None:
    with acting_as(shop.connection, login):
        row = insert(shop, "provision_domain", name="example.test")
        add_parts(shop, row, parts)
    assert shop.value("SELECT status FROM v_provision WHERE id = %s", row) == "pending"
    assert shop.claim() == []
    with acting_as(shop.connection, login):
        open_gate(shop, row)
    assert shop.work() == ["provision_domain_create"]
    with acting_as(shop.connection, login):
        assert shop.row("SELECT name, hosts FROM v_domain") == {
            "name": "example.test",
            "hosts": ["ns1.example.net", "ns2.example.net"],
        }


def test_a_gate_is_not_opened_before_the_parts_are_there(shop: Shop, login: str) -> None:
    with acting_as(shop.connection, login):
        row = insert(shop, "provision_domain", name="example.test")
        with refused(shop.connection, "PV422", "admin"):
            open_gate(shop, row)
        with refused(shop.connection, "PV422", "contacts are missing"):
            insert(shop, "provision_domain", name="second.test", is_complete=True)


@pytest.mark.parametrize("table", ["accreditation", "tenant_customer"])
def test_a_gate_is_not_opened_once_orders_are_no_longer_taken(
    shop: Shop, login: str, parts: dict[str, UUID], table: str
) -> None:
    with acting_as(shop.connection, login):
        row = insert(shop, "provision_domain", name="example.test")
        add_parts(shop, row, parts)
    shop.connection.execute(f"UPDATE {table} SET is_active = false".encode())
    with acting_as(shop.connection, login), refused(shop.connection, "PV404", "accreditation not found"):
        open_gate(shop, row)


def test_an_open_gate_stays_open_and_takes_no_more_parts(shop: Shop, login: str, parts: dict[str, UUID]) -> None:
    with acting_as(shop.connection, login):
        row = insert(shop, "provision_domain", name="example.test")
        add_parts(shop, row, parts)
        open_gate(shop, row)
        with refused(shop.connection, "PV422", "stays open"):
            shop.connection.execute("UPDATE provision_domain SET is_complete = false WHERE id = %s", [row])
        with refused(shop.connection, "PV422", "takes no more contacts and hosts"):
            values = [row, parts["jane"], shop.account]
            shop.connection.execute("INSERT INTO provision_domain_contact VALUES (%s, %s, 'billing', %s)", values)
    assert len(shop.claim()) == 1


def test_a_gate_nobody_opens_needs_attention_and_can_be_cancelled(shop: Shop, login: str) -> None:
    with acting_as(shop.connection, login):
        row = insert(shop, "provision_domain", name="example.test")
    shop.pass_time("61 minutes")
    attention = shop.row("SELECT what, call FROM v_attention WHERE id = %s", row)
    assert attention == {"what": "open gate", "call": f"SELECT provision_cancel('{row}')"}
    with acting_as(shop.connection, "provision_operator"):
        assert shop.value("SELECT provision_cancel(%s)", row) == "cancelled"
        with refused(shop.connection, "PV409"):
            shop.value("SELECT provision_cancel(%s)", row)
    shop.order(domain_item("example.test"))


ENGINES: dict[str, Any] = {
    "id": uuid.uuid4(),
    "status_id": uuid.uuid4(),
    "previous_status_id": uuid.uuid4(),
    "job_id": uuid.uuid4(),
    "order_item_plan_ids": [uuid.uuid4()],
    "provisioned_date": "now",
    "processing_date": "now",
    "finished_date": "now",
    "roid": "R1",
    "result_message": "x",
    "result_data": Jsonb({}),
    "job_attempts": 7,
    "next_attempt_date": "now",
    "created_by": "root",
    "created_date": "now",
    "settings": Jsonb({}),
    "accreditation_tld_id": uuid.uuid4(),
    "ry_expiry_date": "now",
}


@pytest.mark.parametrize("column", ENGINES)
def test_the_engines_columns_cannot_be_written(shop: Shop, login: str, column: str) -> None:
    with pytest.raises(BARRED), shop.connection.transaction(), acting_as(shop.connection, login):
        insert(shop, "provision_domain", name="example.test", **{column: ENGINES[column]})
    with acting_as(shop.connection, login):
        row = insert(shop, "provision_domain", name="example.test")
    update = sql.SQL("UPDATE provision_domain SET {} = %s WHERE id = %s").format(sql.Identifier(column))
    with pytest.raises(BARRED), shop.connection.transaction(), acting_as(shop.connection, login):
        shop.connection.execute(update, [ENGINES[column], row])


def test_nobody_inserts_for_another_customer_or_org(shop: Shop, login: str, neighbour: UUID) -> None:
    for values in ({"tenant_customer_id": neighbour}, {"tenant_customer_id": neighbour, "org_id": shop.org(neighbour)}):
        with acting_as(shop.connection, login), refused(shop.connection, "PV404", "customer not found"):
            insert(shop, "provision_contact", **person("new"), **values)
    org = shop.org()
    limited = integration_login(shop, org=org)
    for value in (None, shop.org()):
        with acting_as(shop.connection, limited), refused(shop.connection, "PV404", "org not found"):
            insert(shop, "provision_contact", **person("new"), org_id=value)
    with acting_as(shop.connection, limited):
        insert(shop, "provision_contact", **person("new"), org_id=org)


INSERTABLE: LiteralString = """
    SELECT table_name, has_column_privilege('provision_integration', table_name, 'accreditation_id', 'INSERT')
    FROM class.provision_kind
    WHERE has_column_privilege('provision_integration', table_name, 'tenant_customer_id', 'INSERT')
"""


def test_an_insert_learns_nothing_of_other_customers(shop: Shop, login: str, neighbour: UUID) -> None:
    """Of no kind, and not even whether they exist: what they have would be refused in other words."""
    taken: dict[str, dict[str, Any]] = {
        "provision_contact": person("jane"),
        "provision_host": {"name": "ns1.example.net"},
        "provision_domain": {"name": "theirs.test"},
    }
    kinds = shop.pairs(INSERTABLE)
    assert kinds.keys() >= taken.keys()
    for kind, names_accreditation in kinds.items():
        known = {"accreditation_id": shop.registry} if names_accreditation else {}
        for account in (neighbour, uuid.uuid4()):
            with acting_as(shop.connection, login), refused(shop.connection, "PV404", f"tenant_customer_id {account}"):
                insert_into(shop, kind, known | taken.get(kind, {}) | {"tenant_customer_id": account})


def test_an_org_of_another_customer_cannot_be_put_on_a_row(shop: Shop, login: str, neighbour: UUID) -> None:
    org = shop.org(neighbour)
    with acting_as(shop.connection, login), refused(shop.connection, "PV404", f"org_id {org}"):
        insert(shop, "provision_contact", **person("new"), org_id=org)


def test_nothing_is_inserted_for_an_org_that_was_removed(shop: Shop, login: str) -> None:
    org = shop.org()
    with acting_as(shop.connection, login):
        insert(shop, "provision_contact", **person("new"), org_id=org)
    shop.connection.execute("UPDATE org SET status = 'removed' WHERE id = %s", [org])
    with acting_as(shop.connection, login), refused(shop.connection, "PV404", f"org_id {org}"):
        insert(shop, "provision_contact", **person("other"), org_id=org)


def test_an_accreditation_of_another_tenant_cannot_be_used(shop: Shop, login: str) -> None:
    other = Shop(shop.connection)
    with acting_as(shop.connection, login), refused(shop.connection, "PV404", str(other.registry)):
        insert(shop, "provision_contact", **person(), accreditation_id=other.registry)
    shop.connection.execute("UPDATE accreditation SET is_active = false WHERE id = %s", [shop.registry])
    with acting_as(shop.connection, login), refused(shop.connection, "PV404", str(shop.registry)):
        insert(shop, "provision_contact", **person())


def test_contacts_and_hosts_of_another_customer_cannot_be_used(shop: Shop, login: str, neighbour: UUID) -> None:
    theirs = shop.pairs("SELECT reference, id FROM v_contact WHERE tenant_customer_id = %s", neighbour)
    theirs |= shop.pairs("SELECT name, id FROM v_host WHERE tenant_customer_id = %s", neighbour)
    with acting_as(shop.connection, login):
        row = insert(shop, "provision_domain", name="example.test")
    violated = psycopg.errors.ForeignKeyViolation
    with pytest.raises(violated), shop.connection.transaction(), acting_as(shop.connection, login):
        add_parts(shop, row, theirs)
    with acting_as(shop.connection, login), refused(shop.connection, "PV404", "registration not found"):
        add_parts(shop, row, theirs, neighbour)


def test_a_registration_of_another_customer_cannot_be_given_parts_or_completed(
    shop: Shop, login: str, parts: dict[str, UUID]
) -> None:
    other = shop.customer("Other Ltd")
    row = insert(shop, "provision_domain", name="example.test", tenant_customer_id=other)
    with acting_as(shop.connection, login):
        for id in (row, uuid.uuid4()):
            with refused(shop.connection, "PV404", f"registration not found provision_domain_id {id}"):
                add_parts(shop, id, parts)
        open_gate(shop, row)
    assert shop.value("SELECT is_complete FROM provision_domain WHERE id = %s", row) is False


def test_a_registration_of_another_org_cannot_be_given_parts(shop: Shop, parts: dict[str, UUID]) -> None:
    """The foreign keys would let them pass: they know customers and no orgs."""
    mine, other = shop.org(), shop.org()
    theirs = insert(shop, "provision_domain", name="example.test", org_id=other)
    contact = "INSERT INTO provision_domain_contact VALUES (%s, %s, 'tech', %s, %s)"
    host = "INSERT INTO provision_domain_host VALUES (%s, %s, %s, %s)"
    for statement, part in ((contact, parts["jane"]), (host, parts["ns1.example.net"])):
        for login in (integration_login(shop), integration_login(shop, org=mine)):
            with acting_as(shop.connection, login), refused(shop.connection, "PV404", "registration not found"):
                shop.connection.execute(statement.encode(), [theirs, part, shop.account, mine])
        with acting_as(shop.connection, integration_login(shop, org=other)):
            shop.connection.execute(statement.encode(), [theirs, part, shop.account, other])


def test_a_handle_somebody_has_is_refused(shop: Shop, login: str, neighbour: UUID) -> None:
    handle = shop.value("SELECT handle FROM v_contact WHERE tenant_customer_id = %s LIMIT 1", neighbour)
    with acting_as(shop.connection, login):
        with refused(shop.connection, "PV409", handle):
            insert(shop, "provision_contact", **person("new"), handle=handle)
        insert(shop, "provision_contact", **person("new"), handle="OURS-1")
    on_its_way = integration_login(shop, neighbour)
    with acting_as(shop.connection, on_its_way), refused(shop.connection, "PV409", "OURS-1"):
        insert(shop, "provision_contact", **person("new"), handle="OURS-1", tenant_customer_id=neighbour)


def test_a_handle_made_of_an_id_is_refused_where_somebody_has_it(shop: Shop) -> None:
    """Who may name the id of a row names the handle by it."""
    first, second = (uuid.UUID(int=(n << 64) + 4711) for n in (1, 2))
    insert(shop, "provision_contact", **person("one"), id=first)
    for _ in ("on its way", "live"):
        with refused(shop.connection, "PV409", f"{4711:016X}"):
            insert(shop, "provision_contact", **person("two"), id=second)
        shop.work()


def test_rows_that_are_inserted_are_validated_as_orders_are(shop: Shop, login: str) -> None:
    with acting_as(shop.connection, login):
        for table, values, code in (
            ("provision_contact", person(country_code="de"), "PV422"),
            ("provision_contact", person(street=["1 Example Road", None]), "PV422"),
            ("provision_contact", person(street=[["1 Example Road"], ["Second floor"]]), "PV422"),
            ("provision_domain", {"name": "example.test", "pw": None}, "PV422"),
            ("provision_ssl", {"domain_name": "example.test", "alternative_names": [["a.test"]]}, "PV422"),
            ("provision_ssl", {"domain_name": "example.test", "alternative_names": [None]}, "PV422"),
            ("provision_ssl", {"domain_name": "example.test", "alternative_names": None}, "PV422"),
            ("provision_host", {"name": "ns1.example.net", "addresses": None}, "PV422"),
            ("provision_host", {"name": "ns1.other.test"}, "PV422"),
            ("provision_domain", {"name": "example.nowhere"}, "PV422"),
            ("provision_domain", {"name": "example.test", "registration_period": 3}, "PV422"),
            ("provision_ssl", {"domain_name": "localhost", "accreditation_id": shop.cloud}, "PV422"),
        ):
            with refused(shop.connection, code):
                insert(shop, table, **values)


@pytest.mark.parametrize("addresses", ["{NULL}", "{{192.0.2.1},{192.0.2.2}}", "{192.0.2.0/24}", "{2001:db8::/32}"])
def test_addresses_are_a_plain_list(shop: Shop, login: str, addresses: str) -> None:
    """Else a name server would be told to the registry with none, or with the first of a network."""
    shop.done(domain_item("ours.test"))
    glue = {"name": "ns1.ours.test", "addresses": addresses}
    with acting_as(shop.connection, login), refused(shop.connection, "PV422", "the addresses are malformed"):
        insert(shop, "provision_host", **glue)


def test_what_an_order_operates_on_is_refused_to_inserts(shop: Shop, login: str) -> None:
    shop.order(domain_item())
    with acting_as(shop.connection, login):
        for table, values in (
            ("provision_contact", person("jane")),
            ("provision_host", {"name": "ns1.example.net"}),
            ("provision_domain", {"name": "example.test"}),
        ):
            with refused(shop.connection, "PV409", "is active"):
                insert(shop, table, **values)


def test_plan_steps_cannot_be_claimed_by_other_rows(shop: Shop) -> None:
    """Not even by the owner: steps belong to the customer, to the row they planned, and are open."""
    shop.order(contact_item())
    plan = shop.value("SELECT id FROM v_order_item_plan WHERE name = 'contact jane'")
    for ids in ([plan], [uuid.uuid4()]):
        with refused(shop.connection, "PV422", "no such open plan step"):
            insert(shop, "provision_contact", **person("new"), order_item_plan_ids=ids)


def test_the_views_show_orders_of_both_ways(shop: Shop, login: str) -> None:
    with acting_as(shop.connection, login):
        order = shop.order(domain_item())
        assert shop.document(order)["status"] == "processing"
        assert len(shop.values("SELECT order_explain(%s)", order)) == 7
        insert(shop, "provision_contact", **person("third"))
        assert len(shop.rows("SELECT id FROM v_provision")) == 5
        with refused(shop.connection, "PV409", "just being created"):
            shop.order(domain_item("second.test", known("third"), known("jane")))


def test_a_login_has_time_outs_unless_it_has_its_own(shop: Shop) -> None:
    own = f"other_system_{uuid.uuid4().hex[:8]}"
    shop.connection.execute(f"CREATE ROLE {own}; ALTER ROLE {own} SET lock_timeout = '5s'".encode())
    shop.connection.execute("INSERT INTO integration_login VALUES (%s, %s)", [own, shop.account])
    settings = "SELECT unnest(setconfig) FROM pg_db_role_setting WHERE setrole = %s::regrole"
    rest = {"statement_timeout=30s", "idle_in_transaction_session_timeout=30s"}
    assert set(shop.values(settings, own)) == rest | {"lock_timeout=5s"}
    assert set(shop.values(settings, integration_login(shop))) == rest | {"lock_timeout=2s"}


# Names ----------------------------------------------------------------------------------------------------------------


def made(shop: Shop, name: str) -> str:
    """The cid of a new customer."""
    account = shop.customer(name)
    cid: str = shop.value("SELECT cid FROM v_customer WHERE tenant_customer_id = %s", account)
    return cid


def test_a_cid_is_made_from_the_name(shop: Shop) -> None:
    names = ["Acme Corp", "Acme Labs", "Acmebiz", "Acme Corp", "Ácme", "X", "X", "東京", "42"]
    expected = ["acm", "acme", "acmeb", "acmec", "acme1", "x", "x1", "cus", "cust"]
    assert [made(shop, name) for name in names] == expected
    with refused(shop.connection, "PV422", "never changes"):
        shop.connection.execute("UPDATE customer SET cid = 'other' WHERE cid = 'acm'")


def test_twenty_customers_of_like_names_at_once_get_twenty_cids(open_shop: Shop, connect_as: ConnectAs) -> None:
    def sign_up(session: psycopg.Connection, number: int) -> Any:
        return do(open_shop.on(session), "customer_create", {"name": f"Acme {number}", "email": f"a{number}@acme.test"})

    ids = at_once(connect_as, 20, sign_up)
    cids = open_shop.values("SELECT cid FROM customer WHERE id = ANY (%s) ORDER BY length(cid), cid", ids)
    assert len(set(cids)) == 20
    assert cids[:2] == ["acm", "acme"]


def test_an_org_is_not_named_like_another_customer(shop: Shop) -> None:
    cid = made(shop, "Zebra Ltd")
    with refused(shop.connection, "PV409", cid):
        shop.insert("org", tenant_customer_id=shop.account, slug=cid)
    shop.insert("org", tenant_customer_id=shop.account, slug="quagga")
    assert made(shop, "Quagga Ltd") == "qua"
    shop.insert("org", tenant_customer_id=shop.account, slug="yak")
    assert made(shop, "Yaks") == "yaks"


def test_slugs_follow_the_kind_of_org(shop: Shop) -> None:
    cid = shop.value("SELECT cid FROM v_customer WHERE tenant_customer_id = %s", shop.account)
    user = member(shop)
    with asking(shop, user, shop.account):
        slugs = {
            kind: shop.value(
                "SELECT slug FROM v_org WHERE id = %s", do(shop, "org_create", {"name": "My Team", "kind": kind})
            )
            for kind in ("organization", "project", "hosting")
        }
        assert slugs == {"organization": "my-team", "project": f"my-team-{cid}", "hosting": f"my-team2-{cid}"}
        do(shop, "org_create", {"name": "My Team", "kind": "project"})
        for taken in ({"name": "My Team"}, {"name": "my team", "kind": "hosting"}):
            with pytest.raises(psycopg.errors.UniqueViolation), shop.connection.transaction():
                do(shop, "org_create", taken)


# Default org and space ------------------------------------------------------------------------------------------------


def test_fifty_first_reads_of_a_default_org_make_one(open_shop: Shop, connect_as: ConnectAs) -> None:
    found = at_once(connect_as, 50, lambda session, _: do(open_shop.on(session), "org_default", open_shop.account))
    assert len(set(found)) == 1
    org = open_shop.row("SELECT slug, name, kind FROM v_org WHERE id = %s", found[0])
    cid = open_shop.value("SELECT cid FROM v_customer WHERE tenant_customer_id = %s", open_shop.account)
    assert org == {"slug": cid, "name": "default", "kind": "hosting"}
    spaces = at_once(connect_as, 20, lambda session, _: do(open_shop.on(session), "space_default", found[0]))
    assert len(set(spaces)) == 1
    assert open_shop.count("org") == open_shop.count("space") == 1


def test_an_unknown_customer_is_not_found_and_gets_no_default_org(shop: Shop) -> None:
    stranger = new_user(shop)
    for user, account in ((stranger, shop.account), (member(shop), uuid.uuid4())):
        with asking(shop, user), refused(shop.connection, "PV404", "account not found"):
            do(shop, "org_default", account)
    assert shop.value("SELECT count(*) FROM org WHERE tenant_customer_id = %s", shop.account) == 0


# Roles ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_what_the_table_says_in_its_org_and_nothing_elsewhere(shop: Shop, role: str) -> None:
    mine, other = shop.org(), shop.org()
    user = member(shop, role, mine)
    for permission, has in shop.pairs(
        "SELECT name, EXISTS (SELECT FROM role_permission WHERE role = %s AND permission = name) FROM permission", role
    ).items():
        with asking(shop, user):
            assert do(shop, "caller_may", permission, shop.account, mine) is has, permission
            assert do(shop, "caller_may", permission, shop.account, other) is False
            assert do(shop, "caller_may", permission, shop.account) is False


def test_a_role_in_the_customer_reaches_all_its_orgs_and_a_limit_narrows_it(shop: Shop) -> None:
    orgs = [shop.org(), shop.org()]
    user = member(shop, "manager")
    with asking(shop, user):
        assert all(do(shop, "caller_may", "order.create", shop.account, org) for org in (*orgs, None))
        assert set(shop.values("SELECT id FROM v_org")) == set(orgs)
    with asking(shop, user, shop.account, orgs[0]):
        assert [do(shop, "caller_may", "read", shop.account, org) for org in (*orgs, None)] == [True, False, False]
        assert shop.values("SELECT id FROM v_org") == [orgs[0]]


@pytest.mark.parametrize(("flag", "may"), [("is_staff", True), ("is_platform_admin", True), ("is_support", False)])
def test_the_platforms_people_see_all_and_support_changes_nothing(shop: Shop, flag: str, may: bool) -> None:
    org = shop.org()
    flags: dict[str, Any] = {flag: True}
    user = new_user(shop, **flags)
    with asking(shop, user):
        assert org in shop.values("SELECT id FROM v_org")
        assert do(shop, "caller_may", "read", shop.account, org) is True
        assert do(shop, "caller_may", "org.change", shop.account, org) is may
    shop.connection.execute("UPDATE app_user SET status = 'disabled' WHERE id = %s", [user])
    with asking(shop, user):
        assert shop.values("SELECT id FROM v_org") == []


def test_orders_take_the_right_to_order(shop: Shop) -> None:
    org = shop.org()
    with asking(shop, member(shop, "viewer", org), shop.account, org), refused(shop.connection, "PV403"):
        shop.order(contact_item(), org_id=str(org))
    with asking(shop, member(shop, "developer", org), shop.account, org):
        order = shop.order(contact_item(), org_id=str(org))
    with asking(shop, member(shop, "viewer", org), shop.account, org):
        assert shop.document(order)["status"] == "processing"
        with refused(shop.connection, "PV403", "order.cancel"):
            do(shop, "order_cancel", order)
    shop.connection.execute(
        "UPDATE customer SET status = 'suspended' FROM tenant_customer AS a WHERE a.id = %s", [shop.account]
    )
    with asking(shop, member(shop), shop.account):
        with refused(shop.connection, "PV403", "order.create"):
            shop.order(contact_item("new"))
        assert shop.document(order)["status"] == "processing"


def test_nobody_gives_takes_or_changes_more_than_he_has(shop: Shop) -> None:
    org = shop.org()
    owner, other = member(shop, "owner", org), member(shop, "owner", org)
    first, second = (membership_of(shop, user, org) for user in (owner, other))
    viewer = membership_of(shop, member(shop, "viewer", org), org)
    with asking(shop, member(shop, "manager", org)):
        do(shop, "membership_change", viewer, {"role": "manager"})
        for act, arguments in (
            ("membership_change", (viewer, {"role": "owner"})),
            ("membership_remove", (first,)),
            ("membership_deactivate", (second,)),
            ("invite_code_create", ({"org": str(org), "role": "owner"},)),
        ):
            with refused(shop.connection, "PV403", "owner"):
                do(shop, act, *arguments)


def test_what_is_anothers_is_not_found_and_what_is_not_there_reads_the_same(shop: Shop) -> None:
    theirs = shop.org(shop.customer("Neighbour Ltd"))
    user = member(shop)
    told = []
    for org in (theirs, uuid.uuid4()):
        with asking(shop, user), pytest.raises(psycopg.Error) as caught, shop.connection.transaction():
            do(shop, "org_change", org, {"name": "ours"})
        shop.connection.execute("RESET SESSION AUTHORIZATION")
        diagnosis = caught.value.diag
        told.append((caught.value.sqlstate, str(diagnosis.message_primary), diagnosis.message_hint))
        assert diagnosis.message_detail == str(org)
    assert told[0] == told[1]
    assert told[0][0] == "PV404"


def test_a_change_of_an_old_version_is_refused(shop: Shop) -> None:
    org = shop.org()
    with asking(shop, member(shop)):
        do(shop, "org_change", org, {"name": "new"}, 1)
        with refused(shop.connection, "PV412", "version 1 was given, it is 2"):
            do(shop, "org_change", org, {"name": "newer"}, 1)
        assert shop.row("SELECT name, version FROM v_org WHERE id = %s", org) == {"name": "new", "version": 2}
        with refused(shop.connection, "PV400", "no field status"):
            do(shop, "org_change", org, {"status": "removed"})


# For which account ----------------------------------------------------------------------------------------------------


def scope(shop: Shop, user: UUID, *names: Any) -> tuple[UUID | None, UUID | None]:
    row = shop.row("SELECT * FROM caller_scope(%s, %s, %s, %s, %s)", user, *names, *[None] * (4 - len(names)))
    return row["tenant_customer_id"], row["org_id"]


def test_a_request_acts_for_the_only_account_or_org_there_is_or_for_the_one_it_names(shop: Shop) -> None:
    mine, other = shop.org(), shop.org()
    neighbour = shop.customer("Neighbour Ltd")
    slug = shop.value("SELECT slug FROM org WHERE id = %s", mine)
    cid = shop.value("SELECT cid FROM v_customer WHERE tenant_customer_id = %s", shop.account)
    whole, part = member(shop), member(shop, "viewer", mine)
    assert scope(shop, new_user(shop)) == (None, None)
    assert (
        scope(shop, whole) == scope(shop, whole, cid) == scope(shop, whole, str(shop.account)) == (shop.account, None)
    )
    assert scope(shop, part) == scope(shop, part, cid) == scope(shop, whole, None, slug) == (shop.account, mine)
    assert scope(shop, whole, None, None, shop.account, mine) == (shop.account, mine)
    join(shop, part, "viewer", other)
    assert scope(shop, part) == scope(shop, part, cid) == (None, None)
    join(shop, whole, "viewer", account=neighbour)
    assert scope(shop, whole) == (None, None)
    staff = new_user(shop, is_staff=True)
    assert scope(shop, staff) == (None, None)
    assert scope(shop, staff, cid, slug) == (shop.account, mine)
    for user, names in ((part, (str(neighbour),)), (whole, (cid, "nowhere")), (whole, (None, slug, neighbour))):
        with refused(shop.connection, "PV404", "not found"):
            scope(shop, user, *names)


# Members --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "end",
    [
        "UPDATE membership SET state = 'inactive' WHERE user_id = %s",
        "UPDATE membership SET state = 'removed' WHERE user_id = %s",
        "UPDATE membership SET expires_date = engine_now() WHERE user_id = %s",
        "UPDATE app_user SET status = 'disabled' WHERE id = %s",
        "UPDATE tenant_customer AS a SET is_active = false FROM membership AS m"
        " WHERE a.id = m.tenant_customer_id AND m.user_id = %s",
        "SELECT customer_remove(a.customer_id) FROM membership AS m JOIN tenant_customer AS a"
        " ON a.id = m.tenant_customer_id WHERE m.user_id = %s",
        "UPDATE org SET status = 'removed' WHERE id = (SELECT org_id FROM membership WHERE user_id = %s)",
    ],
)
def test_who_is_a_member_no_more_has_lost_everything_at_the_next_request(shop: Shop, end: LiteralString) -> None:
    org = shop.org()
    user = member(shop, "developer", org)
    order = shop.order(contact_item(), org_id=str(org))
    with asking(shop, user, shop.account, org):
        assert shop.values("SELECT id FROM v_order") == [order]
    shop.connection.execute(end, [user])
    for account in (shop.account, None):
        with asking(shop, user, account, org if account else None):
            for view in TENANT_VIEWS:
                assert shop.values("SELECT id FROM " + view) == [], view
            assert shop.values("SELECT id FROM v_org") == shop.values("SELECT id FROM v_customer") == []
            assert shop.value("SELECT order_document(%s)", order) is None
            with refused(shop.connection, "PV404"):
                do(shop, "order_cancel", order)
            with refused(shop.connection, "PV404"):
                shop.order(contact_item("new"), org_id=str(org))


def test_a_stranger_requests_a_membership_and_an_owner_decides(shop: Shop) -> None:
    org = shop.org()
    slug = shop.value("SELECT slug FROM org WHERE id = %s", org)
    owner, user = member(shop, "owner", org), new_user(shop)
    with asking(shop, user), refused(shop.connection, "PV404", slug):
        do(shop, "org_join", slug)
    with asking(shop, owner):
        do(shop, "org_change", org, {"is_joinable": True})
    with asking(shop, user):
        assert shop.values("SELECT slug FROM v_joinable_org WHERE id = %s", org) == [slug]
        request = do(shop, "org_join", slug)
        assert shop.row("SELECT role, state FROM v_membership") == {"role": "developer", "state": "requested"}
        assert shop.values("SELECT id FROM v_org") == []
        with refused(shop.connection, "PV403"):
            do(shop, "membership_accept", request)
        with refused(shop.connection, "PV409", "already"):
            do(shop, "org_join", slug)
    with asking(shop, owner):
        do(shop, "membership_accept", request)
        with refused(shop.connection, "PV409", "not requested"):
            do(shop, "membership_decline", request)
    with asking(shop, user):
        assert shop.values("SELECT id FROM v_org") == [org]
        do(shop, "membership_remove", request)
        assert shop.values("SELECT id FROM v_org") == []
    assert shop.value("SELECT state FROM membership WHERE id = %s", request) == "removed"


def test_only_who_has_verified_his_address_joins(shop: Shop) -> None:
    org = shop.org()
    shop.connection.execute("UPDATE org SET is_joinable = true WHERE id = %s", [org])
    with asking(shop, new_user(shop, verified_date=None)), refused(shop.connection, "PV403", "not verified"):
        do(shop, "org_join", shop.value("SELECT slug FROM v_joinable_org"))


def test_only_users_who_are_seen_are_made_members(shop: Shop) -> None:
    org = shop.org()
    customer = shop.value("SELECT customer_id FROM tenant_customer WHERE id = %s", shop.account)
    stranger, colleague = new_user(shop), new_user(shop, customer=customer)
    with asking(shop, member(shop)):
        for user in (stranger, uuid.uuid4()):
            with refused(shop.connection, "PV404", str(user)):
                do(shop, "membership_create", {"user": str(user), "role": "viewer", "org": str(org)})
        do(shop, "membership_create", {"user": str(colleague), "role": "viewer", "org": str(org)})
    with asking(shop, colleague):
        assert shop.values("SELECT id FROM v_org") == [org]


def test_the_last_owner_neither_leaves_nor_is_demoted(shop: Shop) -> None:
    org = shop.org()
    owner = member(shop, "owner", org)
    own = membership_of(shop, owner, org)
    member(shop, "owner", org, is_technical=True)
    with asking(shop, owner):
        for act, arguments in (
            ("membership_remove", (own,)),
            ("membership_deactivate", (own,)),
            ("membership_change", (own, {"role": "viewer"})),
            ("user_remove", (owner,)),
        ):
            with refused(shop.connection, "PV409", "the last owner stays"):
                do(shop, act, *arguments)
    member(shop, "owner", org)
    with asking(shop, owner):
        do(shop, "membership_remove", own)


def test_of_two_owners_who_leave_at_once_one_stays(open_shop: Shop, connect_as: ConnectAs) -> None:
    org = open_shop.org()
    owners = [membership_of(open_shop, member(open_shop, "owner", org), org) for _ in range(2)]

    def leave(session: psycopg.Connection, number: int) -> Any:
        return do(open_shop.on(session), "membership_remove", owners[number])

    assert sorted(map(str, at_once(connect_as, 2, leave))) == ["", "PV409"]
    assert open_shop.value("SELECT count(*) FROM membership WHERE org_id = %s AND state = 'active'", org) == 1


def test_a_project_needs_no_owner_and_knows_several_roles_of_a_user(shop: Shop) -> None:
    project = shop.insert("org", tenant_customer_id=shop.account, name="study", kind="project")
    user = member(shop, "owner", project)
    join(shop, user, "viewer", project)
    with asking(shop, user):
        do(shop, "membership_remove", shop.value("SELECT id FROM v_membership WHERE role = 'owner'"))
    org = shop.org()
    join(shop, user, "viewer", org)
    with pytest.raises(psycopg.errors.UniqueViolation), shop.connection.transaction():
        join(shop, user, "owner", org)


def test_a_membership_lapses_at_its_instant_and_the_sweeper_says_so(shop: Shop) -> None:
    org = shop.org()
    user = member(shop, "developer", org)
    shop.connection.execute(
        "UPDATE membership SET expires_date = engine_now() + interval '1 hour' WHERE user_id = %s", [user]
    )
    shop.pass_time("59 minutes")
    with asking(shop, user):
        assert shop.values("SELECT id FROM v_org") == [org]
    shop.pass_time("1 minute")
    with asking(shop, user):
        assert shop.values("SELECT id FROM v_org") == []
        assert shop.row("SELECT state, is_live FROM v_membership") == {"state": "active", "is_live": False}
    assert shop.sweep()["memberships_lapsed"] == 1
    entry = "SELECT changed -> 'state' FROM v_audit WHERE row_id = %s AND operation = 'change' ORDER BY id DESC LIMIT 1"
    assert shop.value(entry, membership_of(shop, user, org)) == ["active", "removed"]
    join(shop, user, "viewer", org)


def test_a_membership_that_names_spaces_reaches_these(shop: Shop) -> None:
    org = shop.org()
    spaces = [shop.insert("space", tenant_customer_id=shop.account, org_id=org, name=name) for name in ("blue", "red")]
    user = member(shop, "manager", org)
    owner, limited = member(shop), membership_of(shop, user, org)
    with asking(shop, user):
        assert set(shop.values("SELECT id FROM v_space")) == set(spaces)
    with asking(shop, owner):
        do(shop, "membership_change", limited, {"spaces": ["blue"]})
    with asking(shop, user):
        assert shop.values("SELECT id FROM v_space") == [spaces[0]]
        do(shop, "space_change", spaces[0], {"description": "ours"})
        with refused(shop.connection, "PV404", "space not found"):
            do(shop, "space_change", spaces[1], {"description": "ours"})
        with refused(shop.connection, "PV403", "some spaces only"):
            do(shop, "space_create", {"org": str(org), "name": "green"})


# Invite codes ---------------------------------------------------------------------------------------------------------


def code_of(shop: Shop, org: UUID, **values: Any) -> str:
    id = do(shop, "invite_code_create", {"org": str(org)} | values)
    code: str = shop.value("SELECT code FROM v_invite_code WHERE id = %s", id)
    return code


def test_who_has_an_invite_code_becomes_a_member(shop: Shop) -> None:
    org = shop.org()
    owner, user = member(shop, "owner", org), new_user(shop)
    with asking(shop, owner):
        code = code_of(shop, org, role="developer", uses_left=1)
    assert len(code) == 10
    with asking(shop, user):
        assert shop.values("SELECT code FROM v_invite_code") == []
        do(shop, "invite_code_use", code.lower())
        own = shop.row("SELECT role, state FROM v_membership WHERE user_id = %s", user)
        assert own == {"role": "developer", "state": "active"}
        assert shop.values("SELECT code FROM v_invite_code") == []
    with asking(shop, new_user(shop)), refused(shop.connection, "PV404", "not valid"):
        do(shop, "invite_code_use", code)


@pytest.mark.parametrize("end", ["invite_code_rotate", "invite_code_remove", "clock_advance", "customer_remove"])
def test_a_code_that_is_over_is_worth_nothing(shop: Shop, end: str) -> None:
    org = shop.org()
    with asking(shop, member(shop)):
        code = code_of(shop, org, expires_date=str(shop.value("SELECT engine_now() + interval '1 hour'")))
    if end == "clock_advance":
        shop.pass_time("1 hour")
    elif end == "customer_remove":
        do(shop, end, shop.value("SELECT customer_id FROM tenant_customer WHERE id = %s", shop.account))
    else:
        do(shop, end, shop.value("SELECT id FROM invite_code WHERE code = %s", code))
    for given in (code, "AAAAAAAAAA"):
        with asking(shop, new_user(shop)), refused(shop.connection, "PV404", "the invite code is not valid"):
            do(shop, "invite_code_use", given)


def test_two_who_use_the_last_of_a_code_at_once_are_one_member(open_shop: Shop, connect_as: ConnectAs) -> None:
    org = open_shop.org()
    code = open_shop.value("SELECT invite_code_new()")
    open_shop.insert("invite_code", tenant_customer_id=open_shop.account, org_id=org, code=code, uses_left=1)
    users = [new_user(open_shop) for _ in range(2)]

    def use(session: psycopg.Connection, number: int) -> Any:
        with session.transaction(), asking(open_shop.on(session), users[number]):
            return do(open_shop.on(session), "invite_code_use", code)

    outcomes = at_once(connect_as, 2, use)
    assert outcomes.count("PV404") == 1
    assert open_shop.values("SELECT id FROM membership WHERE org_id = %s", org) == [
        outcome for outcome in outcomes if outcome != "PV404"
    ]


def test_codes_use_all_letters_and_digits_alike(shop: Shop) -> None:
    text = "".join(shop.values("SELECT invite_code_new() FROM generate_series(1, 1000)"))
    assert len(text) == 10_000
    counts = [text.count(letter) for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"]
    assert sum(counts) == 10_000
    assert min(counts) > 180
    assert max(counts) < 380


# Quota ----------------------------------------------------------------------------------------------------------------


def test_of_two_who_want_the_last_slot_one_gets_it(open_shop: Shop, connect_as: ConnectAs) -> None:
    open_shop.connection.execute("INSERT INTO quota_plan VALUES ('three', 'three orgs')")
    open_shop.connection.execute("INSERT INTO quota_plan_limit VALUES ('three', 'org', 3)")
    do(open_shop, "quota_change", "customer", open_shop.account, "three")
    open_shop.org()
    outcomes = at_once(connect_as, 6, lambda session, _: open_shop.on(session).org())
    assert outcomes.count("PV409") == 4
    used = open_shop.row("SELECT used, maximum FROM v_quota WHERE scope_id = %s", open_shop.account)
    assert used == {"used": 3, "maximum": 3}
    do(open_shop, "org_remove", next(id for id in outcomes if id != "PV409"))
    open_shop.org()


def test_a_quota_is_changed_by_those_above(shop: Shop) -> None:
    org = shop.org()
    space = shop.insert("space", tenant_customer_id=shop.account, org_id=org, name="blue")
    levels = (("customer", shop.account), ("org", org), ("space", space))
    for user, may in ((new_user(shop, is_staff=True), 3), (member(shop), 2), (member(shop, "owner", org), 1)):
        for level, (scope, id) in enumerate(levels):
            with asking(shop, user):
                if level >= 3 - may:
                    do(shop, "quota_change", scope, id, "small")
                else:
                    with refused(shop.connection, "PV403"):
                        do(shop, "quota_change", scope, id, "small")


# Users and keys -------------------------------------------------------------------------------------------------------


def test_a_user_without_a_customer_makes_one_with_its_first_org(shop: Shop) -> None:
    user = new_user(shop)
    with asking(shop, user):
        org = do(shop, "org_create", {"name": "Fresh Ideas"})
        row = shop.row("SELECT tenant_customer_id, slug FROM v_org WHERE id = %s", org)
        assert row["slug"] == "fresh-ideas"
        assert shop.value("SELECT cid FROM v_customer") == "fre"
        assert shop.value("SELECT array_agg(role) FROM v_membership WHERE user_id = %s", user) == ["owner", "owner"]
        do(shop, "org_create", {"name": "Second Idea"})
        assert shop.value("SELECT count(*) FROM v_customer") == 1


def test_a_user_is_managed_by_his_customer_but_not_by_those_who_may_less(shop: Shop) -> None:
    customer = shop.value("SELECT customer_id FROM tenant_customer WHERE id = %s", shop.account)
    owner = member(shop, customer=customer)
    with asking(shop, owner, shop.account):
        user = do(shop, "user_create", {"email": "new@example.net", "name": "New"})
        assert shop.value("SELECT username FROM v_user WHERE id = %s", user) == "new@example.net"
        do(shop, "user_change", user, {"email": "newer@example.net", "status": "disabled"}, 1)
        for flag in ("is_staff", "is_platform_admin", "is_support", "is_identity_manager"):
            with refused(shop.connection, "PV403"):
                do(shop, "user_change", user, {flag: True})
            with refused(shop.connection, "PV403"):
                do(shop, "user_create", {"username": "root", flag: True})
    with asking(shop, member(shop, "manager", customer=customer), shop.account), refused(shop.connection, "PV403"):
        do(shop, "user_change", owner, {"email": "mine@example.net"})
    with asking(shop, member(shop, account=shop.customer("Neighbour Ltd"))), refused(shop.connection, "PV404"):
        do(shop, "user_change", user, {"name": "Ours"})
    with asking(shop, owner, shop.account):
        do(shop, "user_remove", user)
        assert shop.values("SELECT id FROM v_user WHERE id = %s", user) == []
    left = shop.row("SELECT email, name, status, username LIKE 'removed-%%' AS gone FROM app_user WHERE id = %s", user)
    assert left == {"email": None, "name": None, "status": "disabled", "gone": True}
    assert "newer@example.net" not in str(shop.values("SELECT changed FROM v_audit WHERE row_id = %s", user))


def test_two_keys_of_a_name_are_valid_so_that_one_can_be_rotated(shop: Shop) -> None:
    user = member(shop)
    with asking(shop, user, shop.account):
        first = shop.row("SELECT * FROM api_key_issue(%s)", Jsonb({"name": "web"}))
        assert shop.value("SELECT tenant_customer_id FROM v_api_key") == shop.account
        second = shop.row("SELECT * FROM api_key_rotate(%s)", first["id"])
        with refused(shop.connection, "PV409", "two keys"):
            shop.value("SELECT api_key_rotate(%s)", second["id"])
    valid = [first["key"], second["key"]]
    assert [bool(shop.rows(CALLER, key)) for key in valid] == [True, True]
    shop.pass_time("24 hours")
    assert [bool(shop.rows(CALLER, key)) for key in valid] == [False, True]
    with asking(shop, user, shop.account):
        do(shop, "api_key_remove", second["id"])
    assert shop.rows(CALLER, second["key"]) == []


def test_a_key_that_is_limited_makes_none_that_is_not(shop: Shop) -> None:
    org, other, neighbour = shop.org(), shop.org(), shop.customer("Neighbour Ltd")
    user = member(shop)
    join(shop, user, account=neighbour)
    issue = "SELECT * FROM api_key_issue(%s)"
    with asking(shop, user, shop.account, org):
        for options in ({"account": str(neighbour)}, {"org": str(other)}):
            with refused(shop.connection, "PV404"):
                shop.row(issue, Jsonb({"name": "more"} | options))
        key = shop.row(issue, Jsonb({"name": "less"}))["key"]
    assert shop.row(CALLER, key) == {"tenant_customer_id": shop.account, "org_id": org, "name": "less"}
    with asking(shop, user):
        key = shop.row(issue, Jsonb({"name": "all"}))["key"]
    assert shop.row(CALLER, key)["tenant_customer_id"] is None


def test_a_key_rotates_into_none_that_opens_more_than_the_caller_may(shop: Shop) -> None:
    org, other = shop.org(), shop.org()
    user = member(shop)
    issue, rotate = "SELECT * FROM api_key_issue(%s)", "SELECT * FROM api_key_rotate(%s)"
    with asking(shop, user):
        all_of_it = shop.row(issue, Jsonb({"name": "all"}))["id"]
    with asking(shop, user, shop.account, other):
        of_another = shop.row(issue, Jsonb({"name": "other"}))["id"]
    with asking(shop, user, shop.account, org):
        key = shop.row(rotate, all_of_it)["key"]
        with refused(shop.connection, "PV404", "API key not found"):
            shop.row(rotate, of_another)
    assert shop.row(CALLER, key) == {"tenant_customer_id": shop.account, "org_id": org, "name": "all"}


def test_a_removed_org_takes_no_orders(shop: Shop) -> None:
    org = shop.org()
    login = integration_login(shop)
    do(shop, "org_remove", org)
    with refused(shop.connection, "PV404", "org not found"):
        shop.order(contact_item(), org_id=str(org))
    with acting_as(shop.connection, login), refused(shop.connection, "PV404", "org not found"):
        shop.order(contact_item(), org_id=str(org))


def test_keys_of_others_are_seen_and_revoked_by_owners_only(shop: Shop) -> None:
    org = shop.org()
    developer = member(shop, "developer", org)
    with asking(shop, developer, shop.account, org):
        id = shop.row("SELECT * FROM api_key_issue(%s)", Jsonb({"name": "ci"}))["id"]
    with asking(shop, member(shop, "viewer", org)):
        assert shop.values("SELECT id FROM v_api_key") == []
        with refused(shop.connection, "PV403"):
            do(shop, "api_key_remove", id)
    with asking(shop, member(shop, "owner", shop.org())), refused(shop.connection, "PV404"):
        do(shop, "api_key_remove", id)
    with asking(shop, member(shop, "owner", org)):
        assert shop.values("SELECT id FROM v_api_key") == [id]
        with refused(shop.connection, "PV403"):
            shop.value("SELECT api_key_rotate(%s)", id)
        do(shop, "api_key_remove", id)


# Removing -------------------------------------------------------------------------------------------------------------


def test_an_org_that_has_things_is_not_removed(shop: Shop) -> None:
    org = shop.org()
    shop.order(contact_item(), org_id=str(org))
    user = member(shop)
    with asking(shop, user), refused(shop.connection, "PV409", "1 order, 1 provision_contact"):
        do(shop, "org_remove", org)
    shop.work()
    with asking(shop, user):
        with refused(shop.connection, "PV409", "1 contact"):
            do(shop, "org_remove", org)
        empty = do(shop, "org_create", {"name": "Empty"})
        do(shop, "space_default", empty)
        do(shop, "org_remove", empty)
        assert empty not in shop.values("SELECT id FROM v_org")
        assert shop.values("SELECT id FROM v_space") == []
        do(shop, "org_create", {"name": "Empty"})


def test_a_customer_is_removed_after_thirty_days_in_which_it_can_be_restored(shop: Shop) -> None:
    customer = shop.value("SELECT customer_id FROM tenant_customer WHERE id = %s", shop.account)
    owner = member(shop, customer=customer)
    do(shop, "space_default", do(shop, "org_default", shop.account))
    with asking(shop, owner, shop.account):
        key = shop.row("SELECT * FROM api_key_issue(%s)", Jsonb({"name": "web"}))["key"]
        do(shop, "customer_change", customer, {"name": "Jane & Sons"}, 1)
        do(shop, "customer_remove", customer, 2)
        with refused(shop.connection, "PV404"):
            do(shop, "customer_change", customer, {"name": "Jane Ltd"})
    assert shop.rows(CALLER, key) == []
    seen = shop.row("SELECT id, call, reason FROM v_attention WHERE what = 'customer to be removed'")
    assert seen["id"] == customer
    assert "Jane & Sons" in seen["reason"]
    shop.pass_time("29 days")
    shop.sweep()
    shop.connection.execute(seen["call"].encode())
    assert shop.rows(CALLER, key) != []
    do(shop, "customer_remove", customer)
    shop.pass_time("30 days")
    with refused(shop.connection, "PV409", "over"):
        do(shop, "customer_restore", customer)
    shop.sweep()
    assert shop.values("SELECT id FROM v_attention WHERE what = 'customer to be removed'") == []
    assert shop.values("SELECT id FROM v_customer WHERE id = %s", customer) == []
    left = shop.row("SELECT name, email, removed_date IS NOT NULL AS is_gone FROM customer WHERE id = %s", customer)
    assert left["name"] == "removed"
    assert left["is_gone"]
    assert shop.value("SELECT removed_date IS NOT NULL FROM app_user WHERE id = %s", owner)
    assert shop.value("SELECT count(*) FROM org WHERE tenant_customer_id = %s AND status = 'active'", shop.account) == 0
    assert (
        shop.value("SELECT count(*) FROM space WHERE tenant_customer_id = %s AND status = 'active'", shop.account) == 0
    )


def test_a_customer_that_still_has_things_waits_for_a_person(shop: Shop) -> None:
    customer = shop.value("SELECT customer_id FROM tenant_customer WHERE id = %s", shop.account)
    shop.done(contact_item())
    do(shop, "customer_remove", customer)
    shop.pass_time("31 days")
    shop.sweep()
    assert shop.value("SELECT removed_date FROM customer WHERE id = %s", customer) is None
    reason = shop.value("SELECT reason FROM v_attention WHERE id = %s", customer)
    assert reason.endswith("it still has 1 contact")


def test_status_and_payment_are_for_operators(shop: Shop) -> None:
    customer = shop.value("SELECT customer_id FROM tenant_customer WHERE id = %s", shop.account)
    org = shop.org()
    for values in ({"status": "paid"}, {"payment_reference": "P-1"}, {"payment_status": "ok"}):
        with asking(shop, member(shop), shop.account), refused(shop.connection, "PV403"):
            do(shop, "customer_change", customer, values)
    with asking(shop, new_user(shop, is_staff=True)):
        do(shop, "customer_change", customer, {"status": "paid", "payment_reference": "P-1"})
        with refused(shop.connection, "PV409"):
            do(shop, "customer_change", customer, {"status": "to_be_removed"})
    with asking(shop, member(shop, "owner", org)):
        assert shop.row("SELECT name, payment_reference FROM v_customer") == {
            "name": "Jane Ltd",
            "payment_reference": None,
        }
        with refused(shop.connection, "PV403"):
            do(shop, "customer_change", customer, {"name": "Ours"})
