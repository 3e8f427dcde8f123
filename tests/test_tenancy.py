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
    row = {"tenant_customer_id": shop.account, "accreditation_id": shop.registry} | values
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


def test_an_insert_learns_nothing_of_other_customers(shop: Shop, login: str, neighbour: UUID) -> None:
    """Of no kind, and not even whether they exist: what they have would be refused in other words."""
    taken: dict[str, dict[str, Any]] = {
        "provision_contact": person("jane"),
        "provision_host": {"name": "ns1.example.net"},
        "provision_domain": {"name": "theirs.test"},
    }
    for kind in shop.values("SELECT table_name FROM class.provision_kind"):
        for account in (neighbour, uuid.uuid4()):
            with acting_as(shop.connection, login), refused(shop.connection, "PV404", f"tenant_customer_id {account}"):
                insert(shop, kind, **taken.get(kind, {}), tenant_customer_id=account)


def test_an_org_of_another_customer_cannot_be_put_on_a_row(shop: Shop, login: str, neighbour: UUID) -> None:
    org = shop.org(neighbour)
    with (
        pytest.raises(psycopg.errors.ForeignKeyViolation),
        shop.connection.transaction(),
        acting_as(shop.connection, login),
    ):
        insert(shop, "provision_contact", **person("new"), org_id=org)


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
    for account, error in ((shop.account, psycopg.errors.ForeignKeyViolation), (neighbour, BARRED)):
        with pytest.raises(error), shop.connection.transaction(), acting_as(shop.connection, login):
            add_parts(shop, row, theirs, account)


def test_a_registration_of_another_customer_cannot_be_given_parts_or_completed(
    shop: Shop, login: str, parts: dict[str, UUID]
) -> None:
    other = shop.customer("Other Ltd")
    row = insert(shop, "provision_domain", name="example.test", tenant_customer_id=other)
    with (
        pytest.raises(psycopg.errors.ForeignKeyViolation),
        shop.connection.transaction(),
        acting_as(shop.connection, login),
    ):
        add_parts(shop, row, parts)
    with acting_as(shop.connection, login):
        open_gate(shop, row)
    assert shop.value("SELECT is_complete FROM provision_domain WHERE id = %s", row) is False


def test_a_handle_somebody_has_is_refused(shop: Shop, login: str, neighbour: UUID) -> None:
    handle = shop.value("SELECT handle FROM v_contact WHERE tenant_customer_id = %s LIMIT 1", neighbour)
    with acting_as(shop.connection, login):
        with refused(shop.connection, "PV409", handle):
            insert(shop, "provision_contact", **person("new"), handle=handle)
        insert(shop, "provision_contact", **person("new"), handle="OURS-1")
    on_its_way = integration_login(shop, neighbour)
    with acting_as(shop.connection, on_its_way), refused(shop.connection, "PV409", "OURS-1"):
        insert(shop, "provision_contact", **person("new"), handle="OURS-1", tenant_customer_id=neighbour)


def test_rows_that_are_inserted_are_validated_as_orders_are(shop: Shop, login: str) -> None:
    with acting_as(shop.connection, login):
        for table, values, code in (
            ("provision_contact", person(country_code="de"), "PV422"),
            ("provision_contact", person(street=["1 Example Road", None]), "PV422"),
            ("provision_contact", person(street=[["1 Example Road"], ["Second floor"]]), "PV422"),
            ("provision_domain", {"name": "example.test", "pw": None}, "PV422"),
            ("provision_ssl", {"domain_name": "example.test", "alternative_names": [["a.test"]]}, "PV422"),
            ("provision_ssl", {"domain_name": "example.test", "alternative_names": [None]}, "PV422"),
            ("provision_host", {"name": "ns1.other.test"}, "PV422"),
            ("provision_domain", {"name": "example.nowhere"}, "PV422"),
            ("provision_domain", {"name": "example.test", "registration_period": 3}, "PV422"),
            ("provision_ssl", {"domain_name": "localhost", "accreditation_id": shop.cloud}, "PV422"),
        ):
            with refused(shop.connection, code):
                insert(shop, table, **values)


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
