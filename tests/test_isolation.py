"""Tenants apart: every caller over every table, view and function, generated from the catalogue, and what the table of
rights says against what the documentation says.

A customer with two orgs and another customer have everything there is. Each row is one's own, the other org's
(`sibling`) or the other customer's (`foreign`), which is told by the ids in it. Whoever adds a table, view or function,
or changes a policy, reviews the difference in golden/isolation.txt.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, LiteralString
from uuid import UUID

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from . import sql_fixtures
from .cluster_fixtures import add_version
from .hosting_fixtures import keep_backup, new_site, set_up
from .sql_fixtures import (
    Shop,
    acting_as,
    certificate_item,
    contact_item,
    domain_item,
    host_item,
    integration_login,
    person,
)
from .tenancy_fixtures import asking, do, join, member, membership_of, new_user

shop = sql_fixtures.shop

WHOSE = ("own", "sibling", "foreign")
GOLDEN = Path(__file__).parent / "golden" / "isolation.txt"
TABLE = Path(__file__).parent.parent / "docs" / "tenancy.md"
BARRED = psycopg.errors.InsufficientPrivilege


# The world ------------------------------------------------------------------------------------------------------------


@dataclass
class Org:
    """An org with everything, and the ids of what is in it."""

    customer: UUID
    account: UUID
    id: UUID
    slug: str
    owner: UUID
    space: UUID
    user: UUID
    things: dict[str, UUID] = field(default_factory=dict)
    domain: str = ""


@dataclass
class World:
    """Two orgs of a customer and one of another; `markers` tell whose a row is."""

    shop: Shop
    mine: Org
    sibling: Org
    foreign: Org
    markers: dict[str, set[str]]

    @property
    def orgs(self) -> tuple[Org, Org, Org]:
        """One's own, the other one of the customer, the other customer's."""
        return self.mine, self.sibling, self.foreign

    def whose(self, row: str) -> str:
        """Whose a row is, by the ids in it."""
        for name in ("foreign", "sibling", "own"):
            if any(marker in row for marker in self.markers[name]):
                return name
        return "shared"


def furnish(shop: Shop, account: UUID, name: str) -> Org:
    """An org with members, a space, a code, keys and orders of every kind, some done and some open."""
    org = shop.insert("org", tenant_customer_id=account, name=name, contact_email=f"{name}@secret.test")
    owner, user = member(shop, "owner", org), member(shop, "viewer", org)
    slug = shop.value("SELECT slug FROM org WHERE id = %s", org)
    customer = shop.value("SELECT customer_id FROM tenant_customer WHERE id = %s", account)
    made = Org(customer, account, org, slug, owner, do(shop, "space_default", org), user)
    made.things["invite_code"] = do(shop, "invite_code_create", {"org": str(org)})
    with asking(shop, owner, account, org):
        made.things["api_key"] = shop.value("SELECT id FROM api_key_issue(%s)", Jsonb({"name": name}))
        hook = {"url": f"https://{name}.example.net/events"}
        made.things["webhook"] = shop.value("SELECT id FROM webhook_create(%s)", Jsonb(hook))
        parts = {"registrant": person(f"j-{name}"), "admin": person(f"t-{name}")}
        hosts = [f"ns1.{name}.example.net", f"ns2.{name}.example.net"]
        options: dict[str, Any] = {"account": account, "org_id": str(org)}
        items = (domain_item(f"{name}.test", **parts, hosts=hosts), certificate_item(f"www.{name}.test"))
        made.things["done"] = shop.order(*items, **options)
    shop.work()
    change(shop, made, name, options)
    with asking(shop, owner, account, org):
        shop.order({"operation": "domain.renew", "data": {"name": f"{name}.test"}}, **options)
    shop.work()
    with asking(shop, owner, account, org):
        options["key"] = f"key-{name}"
        made.things["order"] = shop.order(contact_item(f"new-{name}"), **options)
    made.things["gate"] = shop.insert(
        "provision_domain",
        accreditation_id=shop.registry,
        tenant_customer_id=account,
        org_id=org,
        name=f"o-{name}.test",
    )
    made.things["cluster"] = shop.insert(
        "cluster",
        tenant_customer_id=account,
        org_id=org,
        accreditation_id=shop.cloud,
        domain="sr.test",
        cost_tag=f"cluster-{org}",
        ceiling=10,
        max_nodes=10,
        cluster_version=version_of(shop, org, slug),
    )
    do(shop, "account_configure", org, {"deposit": "1000"})
    with asking(shop, owner, account, org):
        made.things["capacity_request"] = shop.value("SELECT id FROM capacity_request_create(%s, 3, 60)", org)
    deploy(shop, made)
    shop.connection.execute(
        "UPDATE domain SET transfer_registrar = 'them', transfer_due = now() WHERE name = %s", [f"{name}.test"]
    )
    made.domain = f"{name}.test"
    made.things["domain"] = shop.value("SELECT id FROM domain WHERE name = %s", f"{name}.test")
    made.things |= {"cloud": shop.cloud, "site": new_site(shop, f"site-{name}", org)}
    made.things["backup"] = keep_backup(shop, made.things["site"], link="https://secret.test")
    made.things["membership"] = membership_of(shop, user, org)
    made.things |= allocate(shop, account, name, user)
    return made


def deploy(shop: Shop, org: Org) -> None:
    """A cluster that deployments share, and one that waits for it."""
    cluster = {"name": org.slug, "total_cpu": 1, "total_ram": 1, "total_gpu": 0, "launch_type": "simulated"}
    one = {"name": org.slug, "cpu": 1, "ram": 1, "gpu": 0, "priority": 0, "docker_path": "nginx", "cluster": org.slug}
    with asking(shop, org.owner, org.account, org.id):
        org.things["compute_cluster"] = do(shop, "compute_cluster_create", cluster)
        org.things["deployment"] = do(shop, "deployment_create", one)
    shop.connection.execute(
        "UPDATE compute_cluster SET state = 'active' WHERE id = %s", [org.things["compute_cluster"]]
    )


def version_of(shop: Shop, org: UUID, slug: str) -> str:
    """A software version that only this org may run."""
    version = f"v-{slug}"
    add_version(shop.connection, version)
    shop.connection.execute("UPDATE cluster_version SET is_limited = true WHERE name = %s", [version])
    shop.connection.execute("INSERT INTO cluster_version_org VALUES (%s, %s)", [version, org])
    return version


def change(shop: Shop, org: Org, name: str, options: dict[str, Any]) -> None:
    """Things that no domain uses, a change and a deletion of each kind, and a contact and a host that are left."""
    glue = [f"{host}.{name}.test" for host in ("kept", "gone")]
    with asking(shop, org.owner, org.account, org.id):
        contacts = [contact_item(f"{reference}-{name}") for reference in ("kept", "gone")]
        hosts = (host_item(host, addresses=["192.0.2.1"]) for host in glue)
        shop.order(*contacts, *hosts, certificate_item(f"old.{name}.test"), **options)
    shop.work()
    changes = [
        ("contact.update", {"reference": f"kept-{name}", "city": "Ulm"}),
        ("contact.delete", {"reference": f"gone-{name}"}),
        ("host.update", {"name": glue[0], "addresses": ["192.0.2.2"]}),
        ("host.delete", {"name": glue[1]}),
        ("domain.update", {"name": f"{name}.test", "statuses": ["clientHold"]}),
        ("ssl.renew", {"domain_name": f"www.{name}.test"}),
        ("ssl.revoke", {"domain_name": f"old.{name}.test"}),
    ]
    with asking(shop, org.owner, org.account, org.id):
        shop.order(*({"operation": operation, "data": data} for operation, data in changes), **options)
    shop.work()
    kept = ("contact", "reference", f"kept-{name}"), ("host", "name", glue[0])
    for table, column, value in (*kept, ("certificate", "domain_name", f"www.{name}.test")):
        find = sql.SQL("SELECT id FROM {} WHERE {} = %s").format(sql.Identifier(table), sql.Identifier(column))
        (org.things[table],) = shop.connection.execute(find, [value]).fetchone() or ()


def allocate(shop: Shop, account: UUID, name: str, user: UUID) -> dict[str, UUID]:
    """A project with an allocation that is used, one that waits, and the offering of both, which is not shared."""
    project = do(shop, "project_create", {"name": f"p-{name}", "customer": str(account)})
    join(shop, user, "viewer", project)
    category = shop.insert("offering_category", title=name)
    offer = {"name": f"o-{name}", "category": str(category), "customer": str(account), "state": "active"}
    offering = do(shop, "offering_create", offer | {"is_shared": False})
    do(shop, "offering_component_set", offering, {"type": "cpu", "billing_type": "usage", "max_available_limit": 10})
    plan = do(shop, "offering_plan_set", offering, {"name": "Plan", "prices": {"cpu": 1}})
    data = {"project": str(project), "offering": str(offering), "plan": str(plan), "limits": {"cpu": 1}}
    orders = [shop.value("SELECT allocation_request('allocation.create', %s)", Jsonb(data)) for _ in range(2)]
    shop.value("SELECT allocation_order_act(%s, 'approve_by_provider')", orders[0]["order"])
    allocation = orders[0]["allocation"]
    do(shop, "usage_report", {"resource": allocation, "usages": [{"type": "cpu", "amount": 1}]})
    usage = shop.value("SELECT id FROM allocation_usage WHERE allocation_id = %s", allocation)
    do(shop, "user_usage_report", usage, {"username": name, "usage": 1})
    order, allocation = UUID(orders[1]["order"]), UUID(allocation)
    made = {"project": project, "offering": offering, "usage": usage}
    return made | {"allocation": allocation, "allocation_order": order}


def ids_in(shop: Shop, column: LiteralString, id: UUID) -> set[str]:
    """The id of everything in an org or an account."""
    tables = shop.values(
        "SELECT c.oid::regclass::text FROM pg_class AS c"
        " JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = %s"
        " JOIN pg_attribute AS i ON i.attrelid = c.oid AND i.attname = 'id' AND i.atttypid = 'uuid'::regtype"
        " WHERE c.relkind = 'r' AND NOT c.relispartition AND c.relnamespace = 'public'::regnamespace",
        column,
    )
    found = {str(id)}
    for table in tables:
        query = sql.SQL("SELECT id FROM {} WHERE {} = %s").format(sql.SQL(table), sql.Identifier(column))
        found |= {str(row[0]) for row in shop.connection.execute(query, [id])}
    return found


@pytest.fixture
def world(shop: Shop) -> World:
    set_up(shop)
    other = shop.customer("Neighbour Ltd")
    shop.accreditation("desk", "manual")
    orgs = [
        furnish(shop, account, name)
        for account, name in ((shop.account, "mine"), (shop.account, "side"), (other, "theirs"))
    ]
    mine, sibling, foreign = orgs
    foreign_ids = ids_in(shop, "tenant_customer_id", other) | ids_in(shop, "org_id", foreign.id)
    foreign_ids |= {str(foreign.owner), str(foreign.user), "Neighbour"}
    foreign_ids.add(str(foreign.customer))
    markers = {
        "foreign": foreign_ids,
        "sibling": ids_in(shop, "org_id", sibling.id)
        | ids_in(shop, "org_id", sibling.things["project"])
        | {str(sibling.owner), str(sibling.user)},
        "own": ids_in(shop, "tenant_customer_id", shop.account) | {str(mine.owner), str(mine.user), "Jane Ltd"},
    }
    return World(shop, mine, sibling, foreign, markers)


# Callers --------------------------------------------------------------------------------------------------------------

TENANTS: tuple[str, ...] = (
    "owner of the customer",
    "owner of the org",
    "viewer of the org",
    "viewer of no org in particular",
)
TENANTS += ("limited key", "system", "system of the org", "stranger", "nobody")
OTHERS = ("support", "staff", "worker", "operator", "reader")
# Tables of the engine that have no column to tell whose a row is: tenants have no right on them, and their views join
# them to rows that are theirs.
INNER = ("order_item_plan_dependency", "job_queue", "job_lane")


@contextmanager
def caller(world: World, name: str) -> Iterator[str]:
    """Acts as one of the callers; gives the role of its log-in."""
    shop, mine = world.shop, world.mine
    api: dict[str, tuple[Any, ...]] = {
        "owner of the customer": (member, "owner", mine.account),
        "owner of the org": (None, mine.owner, mine.account, mine.id),
        "viewer of the org": (None, mine.user, mine.account, mine.id),
        "viewer of no org in particular": (None, mine.user),
        "limited key": (member, "owner", mine.account, mine.id),
        "nobody": (None, None),
        "stranger": (new_user, "stranger"),
    }
    if name in ("support", "staff"):
        flags: dict[str, Any] = {f"is_{name}": True}
        user = new_user(shop, name, **flags)
        with asking(shop, user):
            yield "provision_api"
    elif name in api:
        make, who, *scope = api[name]
        user = make(shop, who) if make else who
        with asking(shop, user, *scope):
            yield "provision_api"
    elif name.startswith("system"):
        login = integration_login(shop, org=mine.id if "org" in name else None)
        with acting_as(shop.connection, login):
            yield "provision_integration"
    else:
        with acting_as(shop.connection, f"provision_{name}"):
            yield f"provision_{name}"


# Reading and writing --------------------------------------------------------------------------------------------------

RELATIONS: LiteralString = """
    SELECT c.oid::regclass::text AS name, ARRAY(
        SELECT a.attname FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
            AND has_column_privilege(%s, c.oid, a.attnum, %s) ORDER BY a.attnum) AS columns
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname IN ('public', 'class') AND c.relkind IN ('r', 'p', 'v')
        AND NOT c.relispartition AND c.relname <> 'clock'
    ORDER BY 1
"""


def reach(world: World, role: str, verb: LiteralString) -> list[tuple[str, list[sql.Identifier]]]:
    """What the role may read or update, with the columns of it."""
    rows = world.shop.rows(RELATIONS, role, verb)
    return [(row["name"], [sql.Identifier(name) for name in row["columns"]]) for row in rows if row["columns"]]


def seen(world: World, table: str, columns: list[sql.Identifier]) -> str:
    """Whose rows of a table the caller sees."""
    query = sql.SQL("SELECT to_jsonb(x)::text FROM (SELECT {} FROM {}) AS x").format(
        sql.SQL(", ").join(columns),
        sql.SQL(table),
    )
    rows = [row for (row,) in world.shop.connection.execute(query)]
    whose = {world.whose(row) for row in rows}
    return " ".join(name for name in ("own", "sibling", "foreign", "shared") if name in whose) or "nothing"


def updated(world: World, table: str, columns: list[sql.Identifier]) -> str:
    """Whose rows of a table the caller can change."""
    values = sql.SQL(", ").join(sql.SQL("{} = DEFAULT").format(column) for column in columns)
    query = sql.SQL("UPDATE {} SET {} WHERE id = %s").format(sql.SQL(table), values)
    found = []
    for name, org in zip(WHOSE, world.orgs, strict=True):
        if world.shop.connection.execute(query, [org.things["gate"]]).rowcount:
            found.append(name)
    return " ".join(found) or "nothing"


def allocated(table: str, org: Org) -> dict[str, Any]:
    """The columns of a table that is about allocations."""
    own = {"org_id": org.things["project"]}
    if table == "provision_allocation":
        return own | {"offering_id": org.things["offering"], "name": "name"}
    if not table.startswith("provision_allocation_"):
        return {}
    limits = {"limits": Jsonb({"cpu": 2})} if table.endswith("_update") else {}
    return own | {"allocation_id": org.things["allocation"]} | limits


def columns_of(world: World, table: str, org: Org) -> dict[str, Any]:
    """A row of a table for an org, about what the org has."""
    shop = world.shop
    values: dict[str, dict[str, Any]] = {
        "provision_contact": {"accreditation_id": shop.registry, **person("x")},
        "provision_host": {"accreditation_id": shop.registry, "name": "ns9.example.net"},
        "provision_contact_update": {"city": "Ulm"},
        "provision_contact_delete": {},
        "provision_host_update": {"addresses": ["192.0.2.3"]},
        "provision_host_delete": {},
        "provision_domain_update": {"statuses": ["clientHold"]},
        "provision_domain": {"accreditation_id": shop.registry, "name": "other.test"},
        "provision_ssl": {"accreditation_id": shop.cloud, "domain_name": "x.example.net"},
        "provision_domain_transfer": {"accreditation_id": shop.registry, "name": "else.test", "pw": "told"},
        "provision_domain_transfer_answer": {"action": "approve"},
    }
    row: dict[str, Any] = {"tenant_customer_id": org.account, "org_id": org.id} | values.get(table, {})
    if table.startswith("provision_cluster"):
        row |= {"accreditation_id": shop.cloud, "cluster_id": org.things["cluster"]}
    return row | (allocated(table, org) or reference(table, org))


def inserted(world: World, table: str) -> str:
    """For whom the caller can insert rows into a table."""
    shop = world.shop
    found = []
    for name, org in zip(WHOSE, world.orgs, strict=True):
        row = columns_of(world, table, org)
        try:
            with shop.connection.transaction(force_rollback=True):
                shop.connection.execute(
                    sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                        sql.Identifier(table),
                        sql.SQL(", ").join(map(sql.Identifier, row)),
                        sql.SQL(", ").join(sql.Placeholder() * len(row)),
                    ),
                    [Jsonb(one) if isinstance(one, dict) else one for one in row.values()],
                )
        except BARRED:
            continue
        except psycopg.errors.IntegrityError:
            pass  # It was let through to the table.
        except psycopg.Error as error:
            if error.sqlstate == "PV404":
                continue
            if error.sqlstate != "PV409":
                raise
        found.append(name)
    return " ".join(found) or "nothing"


def reference(table: str, org: Org) -> dict[str, Any]:
    """What a row refers to."""
    if table in ("provision_domain_contact", "provision_domain_host"):
        return {"provision_domain_id": org.things["gate"]}
    if "wpaas" in table:
        return of_a_site(table.removeprefix("provision_wpaas"), org)
    if "compute_cluster" in table or "deployment" in table:
        return of_a_deployment(table, org)
    if table.startswith("provision_ssl_"):
        return {"certificate_id": org.things["certificate"]}
    if table.startswith("provision_domain_transfer"):
        return {"name": org.domain} if table.endswith("_answer") else {}
    if table.startswith("provision_domain_") or table.endswith(("_update", "_delete")):
        about = table.split("_")[1]
        return {f"{about}_id": org.things[about]}
    return {}


def of_a_site(change: str, org: Org) -> dict[str, Any]:
    """What a row about a web site says: a new one, or a change of the one the org has."""
    cloud, site = org.things["cloud"], org.things["site"]
    if not change:
        return {"accreditation_id": cloud, "space_id": org.space, "name": "other"}
    more: dict[str, dict[str, Any]] = {
        "_restore": {"snapshot": f"kept-{site}"},
        "_update": {"changes": {}},
        "_download": {"backup_id": org.things["backup"]},
    }
    return {"accreditation_id": cloud, "instance_id": site} | more.get(change, {})


def of_a_deployment(table: str, org: Org) -> dict[str, Any]:
    """What a row about a cluster that deployments share says besides whose it is."""
    if table == "provision_deployment_stop":
        return {"deployment_id": org.things["deployment"]}
    if table == "provision_compute_cluster":
        return {"name": "x", "total_cpu": 1, "total_ram": 1, "launch_type": "simulated"}
    row = {"compute_cluster_id": org.things["compute_cluster"]}
    if table == "provision_deployment":
        return row | {"name": "x", "cpu": 1, "ram": 1, "docker_path": "nginx"}
    return row


def barred(world: World, role: str, verb: str) -> list[str]:
    """Tables on which the role may do something that is not tried here."""
    return world.shop.values(
        "SELECT c.oid::regclass::text FROM pg_class AS c"
        " WHERE c.relnamespace IN ('public'::regnamespace, 'class'::regnamespace)"
        " AND c.relkind IN ('r', 'p', 'v') AND has_table_privilege(%s, c.oid, %s)",
        role,
        verb,
    )


def lines_of(world: World, name: str) -> Iterator[str]:
    """What a caller reads and writes, and whose."""
    with caller(world, name) as role:
        if role == "provision_reader":
            # It owns the views and logs in nowhere; what they read, they read as this role.
            tables = [(table, columns) for table, columns in reach(world, role, "SELECT") if table[:2] != "v_"]
            yield from (f"{name}: read {table}: {seen(world, table, columns)}" for table, columns in tables)
            return
        for table, columns in reach(world, role, "SELECT"):
            yield f"{name}: read {table}: {seen(world, table, columns)}"
        for table, columns in reach(world, role, "UPDATE"):
            yield f"{name}: update {table}: {updated(world, table, columns)}"
        for table, _ in reach(world, role, "INSERT"):
            yield f"{name}: insert {table}: {inserted(world, table)}"
        for verb in ("DELETE", "TRUNCATE"):
            assert barred(world, role, verb) == []


def test_each_caller_reaches_whose_rows_were_reviewed(world: World) -> None:
    """Every caller over every table and view; tables that are not named cannot be touched."""
    lines = [line for name in (*TENANTS, *OTHERS) for line in lines_of(world, name)]
    lines += [line for name in (*TENANTS, "support") for line in outcomes(world, name)]
    known = GOLDEN.read_text().splitlines()
    assert [line for line in lines if line not in known] == []
    assert [line for line in known if line not in lines] == []
    apart = [line for line in lines if line.startswith((*TENANTS, "reader")) and not re.search("|".join(INNER), line)]
    assert [line for line in apart if "foreign" in line] == []
    # Not found, as what does not exist; or refused whatever it is.
    alike = ("customer's PV404", "nothing", ": PV403, another org's PV403, another customer's PV403")
    assert [line for line in apart if ": call " in line and not line.endswith(alike)] == []
    narrow = [line for line in apart if not line.startswith(("owner of the customer", "system:"))]
    assert [line for line in narrow if "sibling" in line] == []


# Functions ------------------------------------------------------------------------------------------------------------

# How each function that clients may call is called with what is another customer's; those that name nothing are below.
CALLS: dict[str, tuple[str, ...]] = {
    "allocation_change": ("allocation", "{}"),
    "allocation_order_act": ("allocation_order", "text:cancel"),
    "allocation_period_documents": ("allocation",),
    "allocation_provide": ("allocation", "text:refresh_last_sync"),
    "allocation_request": ("text:allocation.terminate", '{"allocation": "$allocation"}'),
    "account_configure": ("org", "{}"),
    "account_document": ("org",),
    "account_forecast": ("org", "text:day"),
    "allocation_team": ("allocation",),
    "api_key_change": ("api_key", "{}"),
    "api_key_issue": ('{"name": "x", "org": "$slug"}',),
    "api_key_remove": ("api_key",),
    "api_key_rotate": ("api_key",),
    "caller_may": ("text:read", "account", "org"),
    "customer_user_change": ("text:$account", "text:x", "{}", "text:x"),
    "customer_user_create": ("text:$account", '{"name": "x", "email": "x@example.net"}', "text:x"),
    "customer_user_key": ("text:$account", "text:x"),
    "customer_user_places": ("user",),
    "customer_user_remove": ("text:$account", "text:x"),
    "capacity_request_create": ("org", "text:3", "text:60"),
    "capacity_request_remove": ("org",),
    "cluster_configure": ("org", '{"max_nodes": 2}'),
    "cluster_create": (
        '{"org": "$slug", "domain": "sr.test", "ceiling": 2, "max_nodes": 2, "version": "v1", "accreditation": "x"}',
    ),
    "cluster_deploy": ("org",),
    "cluster_refresh": ("org",),
    "cluster_shutdown": ("org", "text:true"),
    "compute_cluster_change": ("compute_cluster", "{}"),
    "compute_cluster_create": ('{"org": "$slug", "name": "x", "total_cpu": 1, "total_ram": 1, "total_gpu": 0}',),
    "compute_cluster_remove": ("compute_cluster",),
    "compute_cluster_trigger": ("compute_cluster",),
    "domain_auth_info": ("domain",),
    "customer_change": ("customer", '{"name": "x"}'),
    "customer_profile_set": ("customer", "{}"),
    "customer_remove": ("customer",),
    "customer_restore": ("customer",),
    "deployment_cancel": ("deployment",),
    "deployment_create": (
        '{"org": "$slug", "name": "x", "cpu": 1, "ram": 1, "gpu": 0, "priority": 1,'
        ' "docker_path": "nginx", "cluster": "$slug"}',
    ),
    "domain_check_answer": ("order",),
    "domain_set_auto_renew": ("text:$domain", "text:true"),
    "invite_code_change": ("invite_code", "{}"),
    "invite_code_create": ('{"org": "$slug"}',),
    "invite_code_remove": ("invite_code",),
    "invite_code_rotate": ("invite_code",),
    "member_add": ("project", '{"user": "$user", "role": "admin"}'),
    "member_change": ("project", '{"user": "$user", "role": "viewer"}'),
    "member_remove": ("project", '{"user": "$user", "role": "viewer"}'),
    "membership_accept": ("membership",),
    "membership_activate": ("membership",),
    "membership_change": ("membership", '{"role": "owner"}'),
    "membership_create": ('{"user": "$user", "role": "owner", "org": "$slug"}',),
    "membership_deactivate": ("membership",),
    "membership_decline": ("membership",),
    "membership_remove": ("membership",),
    "offering_change": ("offering", "{}"),
    "offering_component_set": ("offering", '{"type": "x"}'),
    "offering_manager_add": ("offering", '{"user": "$user", "role": "offering_manager"}'),
    "offering_manager_change": ("offering", '{"user": "$user", "role": "offering_manager"}'),
    "offering_manager_remove": ("offering", '{"user": "$user", "role": "offering_manager"}'),
    "offering_may": ("offering",),
    "offering_create": ('{"name": "x", "category": "$slug", "customer": "$account"}',),
    "offering_plan_set": ("offering", '{"name": "x"}'),
    "order_cancel": ("order",),
    "order_document": ("order",),
    "order_explain": ("order",),
    "order_submit": ("account", '[{"operation": "contact.create", "data": {}}]'),
    "order_submit_many": (
        '[{"tenant_customer_id": "$account", "items": [{"operation": "contact.create", "data": {}}]}]',
    ),
    "org_change": ("org", '{"name": "x"}'),
    "org_create": ('{"name": "x", "customer": "$account"}',),
    "org_costs": ("org", "text:2026-11"),
    "org_default": ("account",),
    "org_join": ("text:$slug",),
    "org_remove": ("org",),
    "project_change": ("project", "{}"),
    "project_create": ('{"name": "x", "customer": "$account"}',),
    "project_remove": ("project",),
    "quota_change": ("text:org", "org", "text:small"),
    "space_change": ("space", '{"name": "x"}'),
    "space_create": ('{"org": "$slug", "name": "x"}',),
    "space_default": ("org",),
    "space_remove": ("space",),
    "user_change": ("user", '{"name": "x"}'),
    "user_create": ('{"username": "x", "customer": "$account"}',),
    "usage_report": ('{"resource": "$allocation", "usages": []}',),
    "user_remove": ("user",),
    "user_usage_report": ("usage", '{"username": "x", "usage": 0}'),
    "webhook_change": ("webhook", "{}"),
    "wpaas_backup_remove": ("backup",),
    "wpaas_download_link": ("backup",),
    "wpaas_hook_make": ("site",),
    "wpaas_hook_remove": ("site",),
    "wpaas_login_link": ("site",),
    "wpaas_require": ("account", "org"),
    "webhook_redeliver": ("webhook",),
    "webhook_remove": ("webhook",),
    "webhook_secret_rotate": ("webhook",),
}
READING = ("order_document", "order_explain", "caller_may", "offering_may", "customer_user_places")

# They take nothing that belongs to somebody, or (api_key_caller, caller_scope) say for whom a request acts before there
# is a caller: test_tenancy.py has theirs, test_session.py those of log-ins, test_event.py those of events, and
# test_inventory.py those of lists.
NAMELESS = {
    "domain_check_begin",
    *("new_id", "engine_now", "caller_name", "caller_setting", "caller_user", "caller_platform", "caller_customer"),
    *("caller_org", "caller_customers", "caller_accounts", "caller_orgs", "caller_spaces", "caller_sees_all"),
    *("tc_id_from_name", "tc_gen_password", "refuse", "api_key_caller", "caller_scope"),
    *("customer_create", "org_joinable", "invite_code_use", "webhook_create", "cluster_switch"),
    *("event_page", "event_type", "event_changed", "event_is_one", "event_begets"),
    *("domain_page", "contact_page", "host_page", "certificate_page"),
    *("attempt_take", "login_begin", "credential_mine", "verification_again", "user_register", "user_verify"),
    *("session_open", "session_refresh", "session_caller", "session_close", "session_me"),
    *("session_is_shut_out", "session_blacklist"),
    *("signing_key_find", "signing_key_public", "password_change", "password_rehash"),
    *("customer_sign_up", "wpaas_link_use", "wpaas_push"),
    *("totp_enrol", "totp_confirm", "totp_remove"),
    *("customer_documents", "project_documents", "user_documents", "member_documents", "offering_documents"),
    *("offering_manager_documents", "invoice_item_documents", "customer_accounts"),
    *("offering_category_documents", "allocation_documents", "allocation_order_documents", "usage_documents"),
    *("user_usage_documents", "invoice_documents", "role_documents", "offering_type", "plan_offering"),
    "user_identify_local",
    *("caller_direct_orgs", "caller_offerings", "login_token_caller", "login_token_issue", "offering_category_create"),
    *("user_identify", "user_identify_check"),
    *("identity_begin", "identity_take", "identity_link", "identity_login", "identity_unlink"),
    *("deployment_register", "deployment_home", "deployment_role_change", "deployment_org_create"),
    "deployment_org_join",
}


def argument(org: Org, given: str) -> Any:
    """An argument of CALLS for an org."""
    ids = {name: getattr(org, name) for name in ("account", "customer", "space", "user")} | {"org": org.id} | org.things
    if given in ids:
        return ids[given]
    text = given.replace("$slug", org.slug).replace("$account", str(org.account)).replace("$user", str(org.user))
    text = text.replace("$allocation", str(org.things["allocation"]))
    text = text.replace("$domain", org.domain)
    return text.removeprefix("text:")


def outcome_of(world: World, function: str, org: Org) -> str:
    """What comes of a call with an org's things: an SQLSTATE, nothing, or done."""
    given = [argument(org, name) for name in CALLS[function]]
    call = sql.SQL("SELECT * FROM {}({})").format(
        sql.Identifier(function), sql.SQL(", ").join(sql.Placeholder() * len(given))
    )
    try:
        with world.shop.connection.transaction(force_rollback=True):
            rows = world.shop.connection.execute(call, given).fetchall()
    except psycopg.Error as error:
        told = f"{error.diag.message_primary} {error.diag.message_detail} {error.diag.message_hint}"
        named = (org.slug, *map(str, (org.account, org.user, org.things["allocation"])), *map(str, given))
        for known in sorted(named, key=len, reverse=True):
            told = told.replace(known, "")
        assert not any(marker in told for marker in (*world.markers["foreign"], "secret.test")), told
        return str(error.sqlstate)
    return "nothing" if function in READING and not any(value for row in rows for value in row) else "done"


def callable_by(shop: Shop, role: str) -> set[str]:
    """Names of the functions a role may call."""
    names = shop.values(
        "SELECT proname FROM pg_proc WHERE pronamespace IN ('public'::regnamespace, 'class'::regnamespace)"
        " AND has_function_privilege(%s, oid, 'EXECUTE')",
        role,
    )
    return set(names)


def outcomes(world: World, name: str) -> Iterator[str]:
    """What comes of the functions a caller may call, with what is its own, another org's and another customer's."""
    with caller(world, name) as role:
        for function in sorted(CALLS.keys() & callable_by(world.shop, role)):
            own, sibling, foreign = (outcome_of(world, function, org) for org in world.orgs)
            yield f"{name}: call {function}: {own}, another org's {sibling}, another customer's {foreign}"


@pytest.mark.parametrize("role", ["provision_api", "provision_integration"])
def test_every_function_that_clients_may_call_is_tried(shop: Shop, role: str) -> None:
    assert callable_by(shop, role) - CALLS.keys() - NAMELESS == set()


# What keeps them apart ------------------------------------------------------------------------------------------------


def test_every_table_that_belongs_to_tenants_has_policies(shop: Shop) -> None:
    open_tables = shop.values(
        "SELECT DISTINCT c.oid::regclass::text FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid"
        " WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND NOT c.relrowsecurity"
        " AND c.relnamespace IN ('public'::regnamespace, 'class'::regnamespace)"
        " AND a.attname IN ('tenant_customer_id', 'org_id', 'customer_id', 'user_id', 'tenant_id')"
    )
    assert open_tables == []
    parents = "SELECT relname FROM pg_class WHERE relname IN ('audit', 'audit_trail', 'provision') AND relrowsecurity"
    assert sorted(shop.values(parents)) == ["audit", "audit_trail", "provision"]


def test_views_of_tenants_let_no_condition_look_before_they_have(shop: Shop) -> None:
    leaky = shop.values(
        "SELECT relname FROM pg_class WHERE relkind = 'v' AND relnamespace = 'public'::regnamespace"
        " AND (has_table_privilege('provision_api', oid, 'SELECT')"
        " OR has_table_privilege('provision_integration', oid, 'SELECT'))"
        " AND NOT COALESCE(reloptions @> '{security_barrier=true}' OR reloptions @> '{security_barrier}', false)"
    )
    assert leaky == []


def rights(shop: Shop) -> str:
    """The table of rights, for people."""
    order = ["owner", "manager", "admin", "developer", "viewer", "allocator", "account", "offering_manager"]
    order += ["platform_admin", "staff", "support", "identity_manager"]
    held = shop.pairs("SELECT role, permissions FROM v_role")
    assert set(order) == set(held)
    lines = [f"| right | {' | '.join(order)} |", f"| --- |{' --- |' * len(order)}"]
    for name, description in shop.pairs("SELECT name, description FROM permission ORDER BY name").items():
        marks = ("yes" if name in held[role] else "" for role in order)
        lines.append(f"| `{name}`: {description} | {' | '.join(marks)} |")
    return "\n".join(lines)


def test_the_documentation_shows_the_rights_that_roles_have(shop: Shop) -> None:
    """If not: put what rights() gives there, once it was reviewed."""
    assert rights(shop) in TABLE.read_text()
