"""Web sites in the database: what is taken and refused, what is counted, what waits and what is woken."""

import hmac
from typing import Any, LiteralString
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from . import sql_fixtures
from .conftest import ConnectAs
from .hosting_fixtures import HOSTING, default_org, new_site, set_up, site_item, update_item
from .sql_fixtures import Shop, outcome, refused
from .tenancy_fixtures import asking, at_once, do, member, membership_of

open_shop = sql_fixtures.open_shop

TYPES = [
    f"provision_wpaas_{what}" for what in ("create", "update", "converge", "backup", "restore", "download", "delete")
]


@pytest.fixture
def shop(transaction: psycopg.Connection) -> Shop:
    shop = Shop(transaction)
    set_up(shop)
    return shop


def order(shop: Shop, *items: dict[str, Any]) -> UUID:
    return shop.order(*items, org_id=str(default_org(shop)))


def site(shop: Shop) -> dict[str, Any]:
    return shop.row("SELECT * FROM v_wpaas")


def claim(shop: Shop, type: str) -> dict[str, Any]:
    (job,) = shop.claim(types=[f"provision_wpaas_{type}"])
    return job


def observe(shop: Shop, job: dict[str, Any], **status: Any) -> bool:
    """What a look that is going on comes to."""
    found = {"status": status, "failures": 0, "read_date": "now"} | status.pop("more", {})
    woken: bool = shop.value(
        "SELECT wpaas_observed(%s, %s, %s, %s)", job["job_id"], job["claim_no"], job["data"]["instance"], Jsonb(found)
    )
    return woken


def begin(shop: Shop, **status: Any) -> dict[str, Any]:
    """A site with a caretaker that has looked once; the caretaker's claimed job."""
    instance = new_site(shop)
    shop.value("SELECT wpaas_begin(%s)", instance)
    job = claim(shop, "converge")
    observe(shop, job, **({"phase": "ready", "observed_generation": 1, "ready_instances": 1} | status))
    return job


# Making ---------------------------------------------------------------------------------------------------------------


def test_an_order_makes_a_site_with_its_names_and_a_job(shop: Shop) -> None:
    order(shop, site_item("Shop", num_instances=2))
    row = site(shop)
    assert (row["name"], row["hostname"], row["phase"], row["generation"]) == (
        "shop",
        f"shop.{row['cid']}.www.example.net",
        "pending",
        1,
    )
    assert (row["space"], row["org_name"], row["num_instances"]) == ("default", "default", 2)
    job = claim(shop, "create")
    assert job["data"] == {"instance": str(row["id"]), "generation": 1}


def test_a_direct_insert_makes_one_too(shop: Shop) -> None:
    org = default_org(shop)
    shop.insert(
        "provision_wpaas",
        tenant_customer_id=shop.account,
        org_id=org,
        accreditation_id=shop.cloud,
        space_id=do(shop, "space_default", org),
        name="direct",
    )
    assert site(shop)["name"] == "direct"


@pytest.mark.parametrize(
    ("code", "text", "changes"),
    [
        ("PV400", "the name is no DNS label", {"name": "x" * 64}),
        ("PV400", "the name is no DNS label", {"name": "-x"}),
        ("PV400", "the name is no DNS label", {"name": "a.b"}),
        ("PV400", "has no field", {"colour": "red"}),
        ("PV404", "space not found", {"space": "attic"}),
        ("PV422", "there is no such feature", {"features": ["teleport"]}),
        ("PV422", "there is no such profile", {"profile": "gigantic"}),
        ("PV422", "there cannot be so many nodes", {"num_instances": 0}),
        ("PV422", "there cannot be so many nodes", {"num_instances": 101}),
        ("PV422", "there cannot be so many nodes", {"min_instances": 3, "max_instances": 2}),
        ("PV422", "autoscale needs a range", {"features": ["autoscale"]}),
        ("PV422", "not a name of the customer's own", {"domains": ["shop.www.example.net"]}),
        ("PV422", "not a name of the customer's own", {"domains": ["Shop.test"]}),
        ("PV422", "not a name of the customer's own", {"domains": [f"{'x' * 60}.test"]}),
        ("PV400", "the route is no DNS label", {"routes": [{"route": "a.b"}]}),
        ("PV422", "a route is there twice", {"routes": [{"route": "a"}, {"route": "a"}]}),
        ("PV404", "the site has no such version", {"routes": [{"route": "a", "version": 3}]}),
        ("PV422", "the password does not do", {"admin_password": "short"}),
        ("PV422", "no password that a route could ask for", {"routes": [{"route": "a", "basic_auth": True}]}),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_is_refused(shop: Shop, code: str, text: str, changes: dict[str, Any]) -> None:
    with refused(shop.connection, code, text):
        order(shop, site_item(**changes))
    assert shop.count("wpaas_instance") == shop.count("secret") == 0


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "http://example.org/site.git",
        "https://169.254.169.254/latest/meta-data",
        "http://169.254.169.254/",
        "https://10.0.0.1/site.git",
        "https://[fd00::1]/site.git",
        "https://2130706433/site.git",
        "https://0x7f.1/site.git",
        "https://localhost/site.git",
        "https://metadata.google.internal/x",
        "https://jane:secret@git.example.org/site.git",
        "ssh://git.example.org/site.git",
        "s3://another-customers-code/site.zip",
        "s3://artifacts/site.zip",
        "https://git.example.org/site.git\nx",
        "nonsense",
    ],
)
def test_code_comes_from_public_hosts_and_from_buckets_of_the_customer_only(shop: Shop, url: str) -> None:
    with refused(shop.connection, "PV422"):
        order(shop, site_item(code_url=url))


@pytest.mark.parametrize("url", ["https://git.example.org/site.git", "s3://jane-code/a/site.zip"])
def test_code_that_may_be_fetched_is_version_1_until_it_was(shop: Shop, url: str) -> None:
    hosting = HOSTING | {"code_buckets": {"jane-code": site_cid(shop)}}
    shop.connection.execute("UPDATE accreditation SET settings = %s", [Jsonb({"hosting": hosting})])
    order(shop, site_item(code_url=url, code_ref="main"))
    versions = shop.rows("SELECT number, is_wanted, code_ref, resolved_ref FROM v_wpaas_version ORDER BY number")
    assert versions == [
        {"number": 0, "is_wanted": False, "code_ref": None, "resolved_ref": "stock"},
        {"number": 1, "is_wanted": True, "code_ref": "main", "resolved_ref": None},
    ]


def site_cid(shop: Shop) -> str:
    cid: str = shop.value(
        "SELECT c.cid FROM customer AS c JOIN tenant_customer AS a ON a.customer_id = c.id WHERE a.id = %s",
        shop.account,
    )
    return cid


def test_names_are_unique_in_the_org_and_free_again_after_the_end(shop: Shop) -> None:
    job = begin(shop)
    with refused(shop.connection, "PV409", "the org has a site of that name"):
        new_site(shop)
    other = shop.insert("org", tenant_customer_id=shop.account, kind="hosting", name="other")
    new_site(shop, org=other)
    order(shop, {"operation": "wpaas.delete", "data": {"name": "shop"}})
    observe(shop, job, phase="deleted", more={"final_snapshot": "wp-final"})
    new_site(shop)


def test_two_orgs_of_a_customer_have_names_of_their_own(shop: Shop) -> None:
    org = shop.insert("org", tenant_customer_id=shop.account, kind="hosting", name="Side Line")
    new_site(shop, org=org)
    assert site(shop)["hostname"] == f"shop.side-line-{site_cid(shop)}.www.example.net"


def test_an_account_that_is_not_set_up_hosts_nothing(shop: Shop) -> None:
    shop.connection.execute("UPDATE accreditation SET settings = '{}'")
    with refused(shop.connection, "PV409", "the AWS account is not set up for hosting"):
        new_site(shop)


def test_a_profile_gives_what_the_request_does_not_say(shop: Shop) -> None:
    order(shop, site_item(profile="busy", max_instances=4))
    row = site(shop)
    assert (row["min_instances"], row["max_instances"]) == (2, 4)
    assert row["features"] == ["autoscale", "database_standby", "large_nodes"]


def test_a_profile_of_ones_own_comes_before_everybodys(shop: Shop) -> None:
    shop.insert("wpaas_profile", tenant_customer_id=shop.account, name="small", description="x", num_instances=7)
    shop.insert("wpaas_profile", tenant_customer_id=shop.customer("Other"), name="theirs", description="x")
    order(shop, site_item(profile="small"))
    assert site(shop)["num_instances"] == 7
    with refused(shop.connection, "PV422", "there is no such profile"):
        order(shop, site_item("b", profile="theirs"))


def test_the_password_stands_in_no_order_plan_job_or_log(shop: Shop) -> None:
    order(shop, site_item(admin_password="correct horse battery", basic_auth_password="another battery"))
    tables: list[LiteralString] = [
        "order_item",
        "order_item_plan",
        "job",
        "audit_trail_log",
        "provision_wpaas",
        "provision_wpaas_update",
        "wpaas_instance",
    ]
    for table in tables:
        assert "battery" not in str(shop.rows(f"SELECT * FROM {table}")), table
    passwords = shop.value("SELECT value::jsonb FROM secret WHERE id = %s", site(shop)["id"])
    assert passwords == {"admin_password": "correct horse battery", "basic_auth_password": "another battery"}
    job = claim(shop, "create")
    shop.value("SELECT wpaas_secret_kept(%s, %s, %s)", job["job_id"], job["claim_no"], site(shop)["id"])
    assert shop.count("secret") == 0
    assert claim(shop, "converge")["data"] == {"instance": str(site(shop)["id"])}
    update = update_item(routes=[{"route": "v2", "basic_auth": True}])
    update["data"]["basic_auth_password"] = "a third battery"
    order(shop, update)
    change = claim(shop, "update")
    assert change["data"]["has_password"] is True
    kept = "SELECT wpaas_password_kept(%s, %s, %s, %s)"
    for _ in range(2):
        shop.value(kept, change["job_id"], change["claim_no"], site(shop)["id"], change["reference_id"])
    row = shop.row("SELECT basic_auth_revision, generation FROM wpaas_instance")
    assert row == {"basic_auth_revision": 2, "generation": 3}
    for table in tables:
        assert "battery" not in str(shop.rows(f"SELECT * FROM {table}")), table
    assert shop.count("secret") == 0


def test_a_site_that_nobody_has_begun_to_build_is_gone_with_its_order(shop: Shop) -> None:
    id = order(shop, site_item(admin_password="correct horse battery"))
    shop.value("SELECT order_cancel(%s)", id)
    assert (site(shop)["phase"], shop.count("secret")) == ("deleted", 0)
    assert shop.value("SELECT sum(used) FROM quota_use WHERE resource LIKE 'wpaas%%'") == 0
    new_site(shop)


# Quotas ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["customer", "org", "space"])
@pytest.mark.parametrize(("resource", "changes"), [("wpaas", {}), ("wpaas_node", {"num_instances": 2})])
def test_quotas_hold_at_every_level(shop: Shop, scope: str, resource: str, changes: dict[str, Any]) -> None:
    org = default_org(shop)
    ids = {"customer": shop.account, "org": org, "space": do(shop, "space_default", org)}
    shop.connection.execute("INSERT INTO quota_plan VALUES ('tight', 'x')")
    shop.connection.execute("INSERT INTO quota_plan_limit VALUES ('tight', %s, 2)", [resource])
    do(shop, "quota_change", scope, ids[scope], "tight")
    new_site(shop, "a")
    new_site(shop, "b")
    with refused(shop.connection, "PV409", f"the quota of the {scope} is used up"):
        new_site(shop, "c") if resource == "wpaas" else order(shop, update_item("a", **changes))
    with refused(shop.connection, "PV409", f"the quota of the {scope} is used up"):
        new_site(shop, "c")


def test_of_four_who_want_the_last_slot_one_gets_it(open_shop: Shop, connect_as: ConnectAs) -> None:
    shop = open_shop
    set_up(shop)
    org = default_org(shop)
    do(shop, "space_default", org)
    shop.connection.execute("INSERT INTO quota_plan VALUES ('one', 'x')")
    shop.connection.execute("INSERT INTO quota_plan_limit VALUES ('one', 'wpaas', 1)")
    do(shop, "quota_change", "org", org, "one")
    results = at_once(connect_as, 4, lambda session, number: str(new_site(shop.on(session), f"s{number}", org)))
    assert results.count("PV409") == 3


# Changing -------------------------------------------------------------------------------------------------------------


def test_a_change_raises_the_generation_and_wakes_the_caretaker(shop: Shop) -> None:
    job = begin(shop)
    shop.record(outcome(job, "again", after_seconds=600))
    assert shop.claim(types=TYPES[2:3]) == []
    order(shop, update_item(num_instances=5))
    assert (site(shop)["num_instances"], site(shop)["generation"], site(shop)["observed_generation"]) == (5, 2, 1)
    assert claim(shop, "converge")["job_id"] == job["job_id"]
    assert claim(shop, "update")["data"]["generation"] == 2


def test_a_change_of_what_was_changed_meanwhile_is_refused(shop: Shop) -> None:
    begin(shop)
    order(shop, update_item(num_instances=5, generation=1))
    with refused(shop.connection, "PV412", "the web site was changed meanwhile"):
        order(shop, update_item(num_instances=6, generation=1))


def test_other_code_is_another_version_and_an_old_one_can_be_wanted_again(shop: Shop) -> None:
    begin(shop)
    order(shop, update_item(code_url="https://git.example.org/site.git", code_ref="v2"))
    assert site(shop)["version_wanted"] == 1
    with refused(shop.connection, "PV404", "there is no such version to go back to"):
        order(shop, update_item(version=7))
    order(shop, update_item(version=0))
    assert (site(shop)["version_wanted"], site(shop)["code_url"]) == (0, None)


def test_what_is_being_deleted_is_not_changed_any_more(shop: Shop) -> None:
    begin(shop)
    order(shop, {"operation": "wpaas.delete", "data": {"name": "shop"}})
    assert site(shop)["phase"] == "deleting"
    for item in (update_item(num_instances=2), {"operation": "wpaas.delete", "data": {"name": "shop"}}):
        with refused(shop.connection, "PV409", "the web site is being deleted"):
            order(shop, item)


# The caretaker --------------------------------------------------------------------------------------------------------


def test_a_wish_that_comes_during_a_look_is_looked_at_after_it(shop: Shop) -> None:
    job = begin(shop)
    read = shop.value("SELECT clock_timestamp()::text")
    order(shop, update_item(num_instances=2))
    assert observe(shop, job, phase="ready", more={"read_date": read}) is True
    shop.record(outcome(job, "again", after_seconds=600))
    shop.sweep()
    assert claim(shop, "converge")["job_id"] == job["job_id"]


def test_many_wishes_are_one_look(shop: Shop) -> None:
    job = begin(shop)
    shop.record(outcome(job, "again", after_seconds=600))
    for count in range(2, 8):
        order(shop, update_item(num_instances=count))
    assert len(shop.claim(types=TYPES[2:3])) == 1


def test_a_look_of_a_claim_that_is_over_is_not_taken(shop: Shop) -> None:
    job = begin(shop)
    shop.record(outcome(job, "again", after_seconds=0))
    claim(shop, "converge")
    with refused(shop.connection, "PVF01", "the lease is lost"):
        observe(shop, job, phase="degraded")


def test_a_caretaker_that_ended_is_followed_by_another(shop: Shop) -> None:
    job = begin(shop)
    shop.record(outcome(job, "failed", message="its worker died too often"))
    after = claim(shop, "converge")
    assert after["job_id"] != job["job_id"]
    assert after["data"] == job["data"]


def test_looks_at_which_nothing_was_found_write_no_history(shop: Shop) -> None:
    job = begin(shop)
    shop.record(outcome(job, "again", after_seconds=1))
    before = shop.count("audit_trail_log")
    for _ in range(3):
        shop.pass_time("1 minute")
        job = claim(shop, "converge")
        observe(shop, job, phase="ready", observed_generation=1, ready_instances=1)
        shop.record(outcome(job, "again", after_seconds=1))
    assert shop.count("audit_trail_log") == before
    assert shop.value("SELECT passes FROM v_wpaas_watch") == 4


def test_an_alarm_calls_a_person_until_it_is_over(shop: Shop) -> None:
    job = begin(shop, alarm="the database wp-1 is missing")
    row = shop.row("SELECT reason, call FROM v_attention WHERE what = 'web site'")
    assert row["reason"].endswith("the database wp-1 is missing")
    shop.connection.execute(row["call"].encode())
    observe(shop, job, alarm=None, phase="ready")
    assert shop.values("SELECT 1 FROM v_attention WHERE what = 'web site'") == []


def test_too_much_to_do_is_told_once_and_so_is_its_end(shop: Shop) -> None:
    high = {"LoadHigh": {"status": True, "reason": "processor 97 %"}}
    job = begin(shop, conditions={})
    for conditions in (high, {"LoadHigh": {"status": True, "reason": "processor 98 %"}}, {}, {}):
        observe(shop, job, conditions=conditions)
    told = shop.rows("SELECT type, reason FROM v_event WHERE type ~ '(overloaded|relieved)$' ORDER BY id")
    assert [(one["type"], one["reason"]) for one in told] == [
        ("wpaas_instance.overloaded", "processor 97 %"),
        ("wpaas_instance.relieved", None),
    ]


def test_what_a_restore_replaces_is_a_backup(shop: Shop) -> None:
    job = begin(shop)
    for _ in range(2):
        observe(shop, job, phase="ready", more={"replaced": ["wp-1-1-left"]})
    assert shop.row("SELECT reason, snapshot FROM v_wpaas_backup") == {"reason": "replaced", "snapshot": "wp-1-1-left"}


def test_who_waits_for_a_site_is_told_when_it_changes(shop: Shop) -> None:
    instance = new_site(shop)
    waiting = claim(shop, "create")
    shop.record(outcome(waiting, "again", after_seconds=300))
    shop.value("SELECT wpaas_begin(%s)", instance)
    observe(shop, claim(shop, "converge"), phase="creating")
    assert claim(shop, "create")["job_id"] == waiting["job_id"]


# Backups --------------------------------------------------------------------------------------------------------------


def test_backups_are_made_on_schedule_one_at_a_time(shop: Shop) -> None:
    begin(shop)
    shop.sweep()
    assert shop.count("provision_wpaas_backup") == 0
    shop.pass_time("25 hours")
    shop.sweep()
    shop.pass_time("25 hours")
    shop.sweep()
    assert shop.values("SELECT reason FROM provision_wpaas_backup") == ["scheduled"]
    job = claim(shop, "backup")
    shop.record(outcome(job, "completed", result={"snapshot": job["data"]["snapshot"], "size_gib": 20}))
    assert shop.values("SELECT snapshot FROM v_wpaas_backup") == [job["data"]["snapshot"]]
    shop.pass_time("25 hours")
    shop.sweep()
    assert shop.count("provision_wpaas_backup") == 2


def test_only_snapshots_of_the_site_are_brought_back(shop: Shop) -> None:
    begin(shop)
    with refused(shop.connection, "PV404", "backup not found"):
        order(shop, {"operation": "wpaas.restore", "data": {"name": "shop", "snapshot": "of-somebody-else"}})
    order(shop, {"operation": "wpaas.backup", "data": {"name": "shop"}})
    job = claim(shop, "backup")
    with refused(shop.connection, "PV409", "another operation on this backup is active"):
        order(shop, {"operation": "wpaas.backup", "data": {"name": "shop"}})
    shop.record(outcome(job, "completed", result={"snapshot": job["data"]["snapshot"]}))
    order(shop, {"operation": "wpaas.restore", "data": {"name": "shop", "snapshot": job["data"]["snapshot"]}})
    restore = claim(shop, "restore")
    assert restore["data"]["database_revision"] == 2
    generation = shop.value(
        "SELECT wpaas_switch(%s, %s, id) FROM provision_wpaas_restore", restore["job_id"], restore["claim_no"]
    )
    again = shop.value(
        "SELECT wpaas_switch(%s, %s, id) FROM provision_wpaas_restore", restore["job_id"], restore["claim_no"]
    )
    assert (generation, again) == (2, 2)
    assert shop.value("SELECT database_revision FROM wpaas_instance") == 2


# The end --------------------------------------------------------------------------------------------------------------


def test_the_end_gives_the_quota_back_and_keeps_the_last_snapshot(shop: Shop) -> None:
    job = begin(shop)
    order(shop, {"operation": "wpaas.delete", "data": {"name": "shop"}})
    observe(shop, job, phase="deleted", more={"final_snapshot": "wp-final"})
    assert (site(shop)["phase"], site(shop)["deleted_date"] is not None) == ("deleted", True)
    assert shop.value("SELECT sum(used) FROM quota_use WHERE resource LIKE 'wpaas%%'") == 0
    assert shop.rows("SELECT reason, snapshot FROM v_wpaas_backup") == [{"reason": "final", "snapshot": "wp-final"}]


def finish(shop: Shop) -> None:
    """All that wait for sites see that they are there, or gone."""
    shop.sweep()
    for waiting in shop.claim(types=TYPES):
        shop.record(outcome(waiting, "completed"))


def test_an_org_with_sites_stays_and_one_without_goes(shop: Shop) -> None:
    job = begin(shop)
    with refused(shop.connection, "PV409", "the org still has things"):
        do(shop, "org_remove", default_org(shop))
    order(shop, {"operation": "wpaas.delete", "data": {"name": "shop"}})
    observe(shop, job, phase="deleted", more={"final_snapshot": "wp-final"})
    shop.record(outcome(job, "completed"))
    finish(shop)
    do(shop, "org_remove", default_org(shop))


def test_a_customer_that_goes_takes_its_sites_with_it(shop: Shop) -> None:
    job = begin(shop)
    customer = shop.value("SELECT customer_id FROM tenant_customer WHERE id = %s", shop.account)
    do(shop, "customer_remove", customer)
    shop.pass_time("31 days")
    shop.sweep()
    assert site(shop)["phase"] == "deleting"
    assert shop.value("SELECT removed_date FROM customer WHERE id = %s", customer) is None
    observe(shop, job, phase="deleted", more={"final_snapshot": "wp-final"})
    shop.record(outcome(job, "completed"))
    finish(shop)
    shop.sweep()
    assert shop.value("SELECT removed_date IS NOT NULL FROM customer WHERE id = %s", customer)


# Whose they are -------------------------------------------------------------------------------------------------------


def test_a_member_of_one_space_neither_sees_nor_changes_the_sites_of_another(shop: Shop) -> None:
    org = default_org(shop)
    do(shop, "space_default", org)
    space = shop.insert("space", tenant_customer_id=shop.account, org_id=org, name="side")
    new_site(shop)
    user = member(shop, "developer", org)
    do(shop, "membership_change", membership_of(shop, user, org), {"spaces": [str(space)]})
    with asking(shop, user, shop.account, org):
        assert shop.rows("SELECT * FROM v_wpaas") == shop.rows("SELECT * FROM v_wpaas_version") == []
        with refused(shop.connection, "PV404", "web site not found"):
            order_as(shop, org, update_item(num_instances=2))
        with refused(shop.connection, "PV404", "space not found"):
            order_as(shop, org, site_item("mine", space="default"))
        order_as(shop, org, site_item("mine", space="side"))
        assert [row["name"] for row in shop.rows("SELECT * FROM v_wpaas")] == ["mine"]


def order_as(shop: Shop, org: UUID, item: dict[str, Any]) -> UUID:
    return shop.order(item, org_id=str(org))


# Things without a site ------------------------------------------------------------------------------------------------

MACHINE = "arn:aws:ec2:us-east-1:123456789012:instance/i-1"
DATABASE = "arn:aws:rds:us-east-1:123456789012:db:wp-1-1"


def look_for_strays(shop: Shop, *found: tuple[str, object]) -> list[str]:
    """What a pass that finds these things is told to remove."""
    shop.connection.execute("UPDATE schedule SET next_date = engine_now() WHERE job_type = 'wpaas_stray'")
    shop.sweep()
    (job,) = shop.claim(types=["wpaas_stray"])
    things = [{"arn": arn, "instance": str(instance)} for arn, instance in found]
    values = (job["job_id"], job["claim_no"], shop.cloud, Jsonb(things))
    goes: list[str] = shop.values("SELECT arn FROM wpaas_strays(%s, %s, %s, %s)", *values)
    shop.record(outcome(job, "completed"))
    return goes


def strays(shop: Shop) -> list[str]:
    return shop.values("SELECT reason FROM v_attention WHERE what = 'stray' ORDER BY reason")


def test_strays_are_told_at_once_and_go_when_they_were_seen_for_an_hour(shop: Shop) -> None:
    mine = new_site(shop)
    nobodys = uuid4()
    things = [(MACHINE, nobodys), (MACHINE + "2", mine), (DATABASE, nobodys), (MACHINE + "3", "no id at all")]
    assert look_for_strays(shop, *things) == []
    assert [reason.split()[0] for reason in strays(shop)] == [MACHINE, MACHINE + "3", DATABASE]
    shop.pass_time("59 minutes")
    assert look_for_strays(shop, *things) == []
    shop.pass_time("2 minutes")
    assert sorted(look_for_strays(shop, *things)) == [MACHINE, MACHINE + "3"], "no data, and nothing of a site"
    assert look_for_strays(shop, (DATABASE, nobodys)) == []
    assert len(strays(shop)) == 1
    assert look_for_strays(shop) == []
    assert strays(shop) == []


def test_a_stray_that_was_gone_meanwhile_begins_anew(shop: Shop) -> None:
    new_site(shop)
    assert look_for_strays(shop, (MACHINE, "x")) == []
    shop.pass_time("1 hour")
    look_for_strays(shop)
    assert look_for_strays(shop, (MACHINE, "x")) == []


def test_removing_strays_can_be_switched_off(shop: Shop) -> None:
    new_site(shop)
    shop.connection.execute("UPDATE setting SET value = 'false' WHERE name = 'hosting_stray_removal'")
    look_for_strays(shop, (MACHINE, "x"))
    shop.pass_time("2 hours")
    assert look_for_strays(shop, (MACHINE, "x")) == []
    assert len(strays(shop)) == 1


def test_the_last_snapshot_of_a_site_that_is_gone_is_no_stray(shop: Shop) -> None:
    job = begin(shop)
    order(shop, {"operation": "wpaas.delete", "data": {"name": "shop"}})
    observe(shop, job, phase="deleted", more={"final_snapshot": "wp-final"})
    site = job["data"]["instance"]
    snapshots = (
        DATABASE.replace(":db:wp-1-1", ":snapshot:wp-final"),
        DATABASE.replace(":db:wp-1-1", ":snapshot:wp-other"),
    )
    look_for_strays(shop, *((arn, site) for arn in snapshots))
    assert [reason.split()[0] for reason in strays(shop)] == [snapshots[1]]


# Pushes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [b"Jefe", b"k" * 64, b"k" * 131])
def test_hmac_is_that_of_everybody_else(shop: Shop, key: bytes) -> None:
    message = b"what do ya want for nothing?"
    assert shop.value("SELECT hmac_sha256(%s, %s)", key, message) == hmac.digest(key, message, "sha256")


def test_an_org_has_as_many_sites_as_its_load_balancer_has_certificates(shop: Shop) -> None:
    shop.connection.execute("UPDATE setting SET value = '3' WHERE name = 'hosting_certificates'")
    new_site(shop, "first", domains=["www.first.test"])
    with refused(shop.connection, "PV409", "no room for another certificate"):
        order(shop, site_item("second", domains=["www.second.test"]))
    new_site(shop, "second")
    with refused(shop.connection, "PV409", "no room for another certificate"):
        order(shop, update_item("first", domains=["www.first.test", "first.test"]))
    order(shop, site_item("third", features=["dedicated_ip"]), update_item("first", num_instances=2))


def test_a_site_keeps_the_kind_of_its_address(shop: Shop) -> None:
    new_site(shop)
    with refused(shop.connection, "PV409", "keeps the kind of address"):
        order(shop, update_item(features=["dedicated_ip"]))
