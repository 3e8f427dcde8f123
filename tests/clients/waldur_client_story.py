"""What an allocator's portal does, with WaldurClient of one of its generations: 2 (2021), 3 (2023) or 4 (today).

Runs in that client's own environment, `python waldur_client_story.py <generation>`, with what `provision admin example
allocator` prints on stdin; prints what it saw.
"""

import json
import sys

import waldur_client
from waldur_client import ComponentUsage, ObjectDoesNotExist, WaldurClient, WaldurClientException

GENERATION = int(sys.argv[1])
EXAMPLE = json.load(sys.stdin)
API = EXAMPLE["base_url"] + "/api/"
SEEN = {}


def client(who):
    return WaldurClient(API, EXAMPLE[who])


def usage(type, amount):
    if GENERATION < 4:
        return ComponentUsage(type=type, amount=amount, description="")
    return {"type": type, "amount": amount, "description": ""}


mine, provider, stranger = client("token"), client("provider_token"), client("token_b")


def customers():
    (found,) = mine.list_customers({"abbreviation": EXAMPLE["abbreviation"]})
    assert found["uuid"] == EXAMPLE["customer"], found
    if GENERATION > 2:
        assert mine.get_customer(found["uuid"])["name"] == "Puhuri"
        assert mine.get_customer("Puhuri")["uuid"] == found["uuid"]
        assert mine.count_customers() == 1
    return found["name"]


def projects():
    project = mine.create_project(EXAMPLE["customer"], "Climate", backend_id="c_p")
    (found,) = mine.list_projects({"backend_id": "c_p"})
    assert found["uuid"] == project["uuid"]
    if GENERATION > 2:
        mine.update_project(project["uuid"], name="Climate 2", backend_id="c_p")
        assert mine.list_projects({"name": "climate 2"})[0]["uuid"] == project["uuid"]
        assert mine.count_projects() >= 1
    assert stranger.list_projects({"backend_id": "c_p"}) == []
    gone = mine.create_project(EXAMPLE["customer"], "Gone")
    mine.delete_project(gone["uuid"])
    assert mine.list_projects({"name_exact": "Gone"}) == []
    return project


def users():
    first = mine.get_remote_eduteams_user(EXAMPLE["cuid"])["uuid"]
    assert mine.get_remote_eduteams_user(EXAMPLE["cuid"])["uuid"] == first
    try:
        mine.get_remote_eduteams_user("nobody@nowhere")
    except (WaldurClientException, ObjectDoesNotExist) as error:
        SEEN["unknown cuid"] = str(error)[:60]
    return first


def members(project, user):
    later = "2099-01-01T00:00:00Z"
    if GENERATION == 4:
        roles = {role["name"]: role["uuid"] for role in mine.get_roles()}
        given = mine.create_project_permission(project, user, roles["PROJECT.ADMIN"], later)
        assert given["expiration_time"].startswith("2099-01-01"), given
        (row,) = mine.get_project_permissions(project, user)
        assert row["role_name"] == "PROJECT.ADMIN", row
        mine.update_project_permission(project, user, roles["PROJECT.ADMIN"], None)
        assert mine.get_project_permissions(project)[0]["expiration_time"] is None
        mine.remove_project_permission(project, user, roles["PROJECT.ADMIN"])
        mine.create_project_permission(project, user, "PROJECT.MEMBER")
        return [row["role_name"] for row in mine.get_project_permissions(project)]
    given = mine.create_project_permission(user, project, "admin", later)
    assert (given["role"], given["user_uuid"]) == ("admin", user), given
    (row,) = mine.get_project_permissions(project, user)
    changed = mine.update_project_permission(row["pk"], None)
    assert changed["expiration_time"] is None, changed
    mine.remove_project_permission(row["pk"])
    mine.create_project_permission(user, project, "member")
    return [row["role"] for row in mine.get_project_permissions(project)]


def offerings():
    if GENERATION == 2:
        found = mine.list_marketplace_offerings({"state": "Active", "shared": True, "name_exact": "LUMI Acceptance"})
        return mine.get_marketplace_offering(found[0]["uuid"])
    found = mine.list_marketplace_public_offerings({"state": "Active", "shared": True, "name_exact": "LUMI Acceptance"})
    offering = mine.get_marketplace_public_offering(found[0]["uuid"])
    (plan,) = mine.marketplace_public_offering_get_plans(offering["uuid"])
    detail = mine.marketplace_public_offering_get_plan_details(offering["uuid"], plan["uuid"])
    assert detail["name"] == "Standard", detail
    return offering


def approve(order):
    if GENERATION == 4:
        provider.marketplace_order_approve_by_provider(order)
    elif GENERATION == 3:
        provider.marketplace_order_item_approve(order)
    else:
        # This client has no call for it.
        import requests

        headers = {"Authorization": "token " + EXAMPLE["provider_token"]}
        assert requests.post(f"{API}marketplace-order-items/{order}/approve/", headers=headers).status_code == 200


def allocations(project, offering):
    plan = offering["plans"][0]["uuid"]
    limits = {"cpu_hours": 10, "gpu_hours": 20}
    made = mine.create_resource_via_marketplace(project, offering["uuid"], plan, {"name": "run"}, limits)
    resource = made["marketplace_resource_uuid"]
    approve(made["create_order_uuid"])
    assert mine.get_order(made["create_order_uuid"])["state"] == "done"
    assert mine.get_marketplace_resource(resource)["state"] == "OK"
    approve(mine.marketplace_resource_update_limits_order(resource, {"gpu_hours": 30}))
    assert mine.get_marketplace_resource(resource)["limits"] == {"cpu_hours": 10, "gpu_hours": 30}
    bare = mine.marketplace_resource_create_order(project, offering["uuid"], plan, {"name": "bare"}, limits)
    if GENERATION == 4:
        assert bare["state"] == "pending-provider", bare
        mine.marketplace_order_cancel(bare["uuid"])
        assert mine.get_order(bare["uuid"])["state"] == "canceled"
        SEEN["orders"] = len(mine.list_orders({"project_uuid": project}))
        assert mine.count_marketplace_resources(params={"project_uuid": project, "state": "OK"}) == 1
    else:
        assert bare["items"][0]["marketplace_resource_uuid"], bare
    return resource


def usages(resource):
    if GENERATION == 4:
        provider.create_component_usages(usages=[usage("cpu_hours", 5)], resource_uuid=resource)
        provider.create_component_usages(usages=[usage("cpu_hours", 7)], resource_uuid=resource)
        provider.marketplace_provider_resource_set_backend_id(resource, "slurm-1")
        provider.marketplace_provider_resource_submit_report(resource, [{"header": "Notice", "body": "All is well"}])
        (member,) = provider.marketplace_provider_resource_get_team(resource)
        assert member["role"] == "PROJECT.MEMBER", member
        (period,) = provider.marketplace_provider_resource_get_plan_periods(resource)
    else:
        (period,) = provider.marketplace_resource_get_plan_periods(resource)
        provider.create_component_usages(period["uuid"], [usage("cpu_hours", 5)])
        provider.create_component_usages(period["uuid"], [usage("cpu_hours", 7)])
        provider.marketplace_resource_set_backend_id(resource, "slurm-1")
        record = waldur_client.ResourceReportRecord(header="Notice", body="All is well")
        provider.marketplace_resource_submit_report(resource, [record])
        assert len(provider.marketplace_resource_get_team(resource)) == 1
    (row,) = mine.list_component_usages(resource)
    month = row["billing_period"].split("-")
    invoice = mine.get_invoice_for_customer(EXAMPLE["customer"], int(month[0]), int(month[1]))
    assert any(item["resource_uuid"] == resource for item in invoice["items"])
    return row["usage"]


def end(resource):
    approve(mine.marketplace_resource_terminate_order(resource))
    return mine.get_marketplace_resource(resource)["state"]


def traverse():
    before = len(mine.list_projects({"name": "next of"}))
    for number in range(205 - before):
        mine.create_project(EXAMPLE["customer"], f"next of {number}")
    rows = mine.list_projects({"name": "next of"})
    assert len({row["uuid"] for row in rows}) == len(rows)
    return len(rows)


SEEN["customer"] = customers()
project = projects()
user = users()
SEEN["members"] = members(project["uuid"], user)
offering = offerings()
SEEN["offering"] = offering["name"]
resource = allocations(project["uuid"], offering)
SEEN["usage"] = usages(resource)
SEEN["end"] = end(resource)
SEEN["records"] = traverse()
print(json.dumps(SEEN))
