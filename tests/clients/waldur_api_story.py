"""The same with waldur-api-client, whose calls are generated and whose models are strict."""

import json
import sys

from waldur_api_client import AuthenticatedClient
from waldur_api_client.api.api_auth import api_auth_password
from waldur_api_client.api.customers import customers_list
from waldur_api_client.api.invoices import invoices_list
from waldur_api_client.api.marketplace_component_usages import (
    marketplace_component_usages_list,
    marketplace_component_usages_set_usage,
)
from waldur_api_client.api.marketplace_orders import (
    marketplace_orders_approve_by_provider,
    marketplace_orders_create,
    marketplace_orders_list,
    marketplace_orders_retrieve,
)
from waldur_api_client.api.marketplace_public_offerings import (
    marketplace_public_offerings_list,
    marketplace_public_offerings_plans_list,
    marketplace_public_offerings_retrieve,
)
from waldur_api_client.api.marketplace_resources import (
    marketplace_resources_list,
    marketplace_resources_plan_periods_list,
    marketplace_resources_retrieve,
    marketplace_resources_terminate,
    marketplace_resources_update_limits,
)
from waldur_api_client.api.projects import (
    projects_add_user,
    projects_create,
    projects_delete_user,
    projects_destroy,
    projects_list,
    projects_list_users_list,
    projects_partial_update,
    projects_retrieve,
    projects_update_user,
)
from waldur_api_client.api.remote_eduteams import remote_eduteams
from waldur_api_client.api.roles import roles_list
from waldur_api_client.api.users import users_me_retrieve

EXAMPLE = json.load(sys.stdin)
BASE = EXAMPLE["base_url"]
SEEN = {}


def client(who):
    return AuthenticatedClient(base_url=BASE, token=EXAMPLE[who], prefix="Token")


def approve(order):
    body = models("OrderApproveByProviderRequest").from_dict({})
    assert (
        marketplace_orders_approve_by_provider.sync_detailed(uuid=order, client=provider, body=body).status_code == 200
    )


def models(name):
    import waldur_api_client.models as found

    return getattr(found, name)


mine, provider = client("token"), client("provider_token")
login = (
    models("ObtainAuthTokenRequest")
    if hasattr(sys.modules["waldur_api_client.models"], "CoreAuthTokenRequest")
    else None
)
if login is None:
    (name,) = [n for n in dir(sys.modules["waldur_api_client.models"]) if "AuthToken" in n and n.endswith("Request")]
    login = models(name)
from waldur_api_client import Client  # noqa: E402

answer = api_auth_password.sync(
    client=Client(base_url=BASE), body=login(username=EXAMPLE["username"], password=EXAMPLE["password"])
)
SEEN["token"] = len(answer.token)
SEEN["me"] = users_me_retrieve.sync(client=mine).username == EXAMPLE["username"]
(customer,) = customers_list.sync(client=mine, abbreviation=EXAMPLE["abbreviation"])
SEEN["customer"] = customer.name
project = projects_create.sync(
    client=mine, body=models("ProjectRequest")(name="SDK", customer=customer.url, backend_id="sdk_1")
)
assert projects_list.sync(client=mine, backend_id="sdk_1")[0].uuid == project.uuid
projects_partial_update.sync(uuid=project.uuid, client=mine, body=models("PatchedProjectRequest")(name="SDK 2"))
assert projects_retrieve.sync(uuid=project.uuid, client=mine).name == "SDK 2"
user = remote_eduteams.sync(client=mine, body=models("RemoteEduteamsRequestRequest")(cuid=EXAMPLE["cuid2"])).uuid
roles = {role.name: role.uuid for role in roles_list.sync_all(client=mine)}
role = roles["PROJECT.MEMBER"].hex
projects_add_user.sync(uuid=project.uuid, client=mine, body=models("UserRoleCreateRequest")(user=user, role=role))
projects_update_user.sync(
    uuid=project.uuid, client=mine, body=models("UserRoleUpdateRequest")(user=user, role=role, expiration_time=None)
)
(member,) = projects_list_users_list.sync(uuid=project.uuid, client=mine)
SEEN["member"] = member.role_name
projects_delete_user.sync_detailed(
    uuid=project.uuid, client=mine, body=models("UserRoleDeleteRequest")(user=user, role=role)
)
assert projects_list_users_list.sync(uuid=project.uuid, client=mine) == []
(offering,) = marketplace_public_offerings_list.sync(client=mine, name_exact="LUMI Acceptance")
offering = marketplace_public_offerings_retrieve.sync(uuid=offering.uuid, client=mine)
(plan,) = marketplace_public_offerings_plans_list.sync(uuid=offering.uuid, client=mine)
SEEN["plan"] = plan.name
body = models("OrderCreateRequest").from_dict(
    {
        "project": project.url,
        "offering": offering.url,
        "plan": plan.url,
        "attributes": {"name": "sdk"},
        "limits": {"cpu_hours": 5, "gpu_hours": 5},
        "accepting_terms_of_service": True,
    }
)
order = marketplace_orders_create.sync(client=mine, body=body)
approve(order.uuid)
SEEN["order"] = str(marketplace_orders_retrieve.sync(uuid=order.uuid, client=mine).state.value)
resource = marketplace_resources_retrieve.sync(uuid=order.marketplace_resource_uuid, client=mine)
SEEN["resource"] = resource.state.value
change = marketplace_resources_update_limits.sync(
    uuid=resource.uuid,
    client=mine,
    body=models("ResourceUpdateLimitsRequest").from_dict({"limits": {"cpu_hours": 6}}),
)
approve(change.order_uuid)
usage = models("ComponentUsageCreateRequest").from_dict(
    {"resource": resource.uuid.hex, "usages": [{"type": "cpu_hours", "amount": "3.50"}]}
)
marketplace_component_usages_set_usage.sync_detailed(client=provider, body=usage)
(row,) = marketplace_component_usages_list.sync(client=mine, resource_uuid=resource.uuid)
SEEN["usage"] = str(row.usage)
(period,) = marketplace_resources_plan_periods_list.sync(uuid=resource.uuid, client=mine)
SEEN["period"] = period.plan_name
invoices = invoices_list.sync(client=mine, customer_uuid=customer.uuid)
SEEN["invoices"] = len(invoices)
end = marketplace_resources_terminate.sync(
    uuid=resource.uuid, client=mine, body=models("ResourceTerminateRequest").from_dict({})
)
approve(end.order_uuid)
(found,) = marketplace_resources_list.sync(client=mine, project_uuid=project.uuid)
SEEN["end"] = found.state.value
SEEN["orders"] = len(marketplace_orders_list.sync_all(client=mine, project_uuid=project.uuid))
gone = projects_create.sync(client=mine, body=models("ProjectRequest")(name="Gone", customer=customer.url))
projects_destroy.sync_detailed(uuid=gone.uuid, client=mine)
for number in range(205):
    projects_create.sync(client=mine, body=models("ProjectRequest")(name=f"prev of {number}", customer=customer.url))
rows = projects_list.sync_all(client=mine, name="prev of")
SEEN["records"] = len({row.uuid for row in rows})
print(json.dumps(SEEN))
