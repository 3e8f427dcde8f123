"""Customers, orgs, people and their rights over HTTP: made, seen, changed and removed alike, and never another's."""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
from httpx2 import Response

from . import api_fixtures
from .api_fixtures import Api, Customer, make_customer, value
from .test_api_order import UNKNOWN, refused

api = api_fixtures.api
make_api = api_fixtures.make_api
strict_api = api_fixtures.strict_api


class Kind(NamedTuple):
    """One kind of thing: what is sent to make one, and to change it."""

    plural: str
    made: dict[str, Any]
    changed: dict[str, Any]


KINDS = {
    kind.plural: kind
    for kind in (
        Kind("orgs", {"name": "Blue Team"}, {"contact_email": "team@example.net", "is_joinable": True}),
        Kind("spaces", {"org": "acme-org", "name": "live"}, {"description": "what customers see"}),
        Kind("users", {"username": "jane", "email": "jane@example.net"}, {"name": "Jane", "status": "disabled"}),
        Kind("memberships", {"user": "joe", "role": "viewer", "org": "acme-org"}, {"role": "developer"}),
        Kind("invite-codes", {"org": "acme-org", "uses_left": 1}, {"role": "developer", "uses_left": None}),
        Kind("api-keys", {"name": "ci", "user": "joe"}, {"expires_date": "2026-12-01T00:00:00+00:00"}),
    )
}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def member(api: Api, username: str, role: str | None = None, org: str | None = None, **flags: bool) -> Api:
    """The API as a user of the customer calls it, who may hold a role in the whole of it, or in an org."""
    account, owner = api.customer.account, api.owner
    user = value(
        owner,
        """INSERT INTO app_user (customer_id, username, verified_date, is_platform_admin)
        SELECT customer_id, %s, 'now', %s FROM tenant_customer WHERE id = %s RETURNING id""",
        username,
        flags.get("is_platform_admin", False),
        account,
    )
    if role is not None:
        owner.execute(
            """INSERT INTO membership (user_id, tenant_customer_id, org_id, role)
            VALUES (%s, %s, (SELECT id FROM org WHERE slug = %s), %s)""",
            (user, account, org, role),
        )
    key = value(owner, "SELECT key FROM api_key_add(%s, NULL, NULL, 'test')", user)
    return Api(api.app, api.client, owner, Customer(account, key))


@pytest.fixture
def acme(api: Api) -> Api:
    """A customer with an org and a user."""
    assert api.call("POST", "/v1/orgs", json={"name": "acme-org"}).status_code == 201
    assert api.call("POST", "/v1/users", json={"username": "joe"}).status_code == 201
    return api


def make(api: Api, kind: Kind, **more: Any) -> Response:
    response = api.call("POST", f"/v1/{kind.plural}", json=kind.made | more)
    assert response.status_code == 201, response.text
    return response


def ids(response: Response) -> list[str]:
    (things,) = response.json().values()
    return [thing["id"] for thing in things]


# What is common to all


@every_kind
def test_what_is_made_is_found_where_location_says_and_in_the_list(acme: Api, kind: Kind) -> None:
    made = make(acme, kind)
    location = made.headers["location"]
    seen = acme.call("GET", location)
    assert (location, seen.headers["etag"]) == (f"/v1/{kind.plural}/{made.json()['id']}", made.headers["etag"])
    secret = made.json().keys() - seen.json().keys()
    assert (seen.json() | {name: made.json()[name] for name in secret}, made.headers["cache-control"]) == (
        made.json(),
        "no-store",
    )
    assert secret == ({"key"} if kind.plural == "api-keys" else set())
    assert made.json()["id"] in ids(acme.call("GET", f"/v1/{kind.plural}"))


@every_kind
def test_a_change_names_the_version_it_is_about(acme: Api, kind: Kind) -> None:
    made = make(acme, kind)
    path, seen = made.headers["location"], made.headers["etag"]
    problem = refused(acme.call("PATCH", path, json=kind.changed), 428)
    assert problem["hint"] == "send the ETag of what you have seen, or *"
    changed = acme.call("PATCH", path, json=kind.changed, headers={"If-Match": seen})
    assert (changed.status_code, changed.headers["etag"] == seen) == (200, False), changed.text
    assert kind.changed.items() <= (changed.json() | {"expires_date": "2026-12-01T00:00:00+00:00"}).items()
    assert acme.call("GET", path).json() == changed.json()
    for stale in (seen, f"W/{changed.headers['etag']}", '"x"', f"{seen}, {changed.headers['etag']}"):
        refused(acme.call("PATCH", path, json=kind.changed, headers={"If-Match": stale}), 412)
        refused(acme.call("DELETE", path, headers={"If-Match": stale}), 412)
    assert acme.call("PATCH", path, json=kind.changed, headers={"If-Match": "*"}).status_code == 200


@every_kind
def test_what_is_removed_is_gone(acme: Api, kind: Kind) -> None:
    made = make(acme, kind)
    path = made.headers["location"]
    refused(acme.call("DELETE", path), 428)
    gone = acme.call("DELETE", path, headers={"If-Match": made.headers["etag"]})
    assert (gone.status_code, gone.content) == (204, b"")
    if kind.plural == "memberships":
        assert acme.call("GET", path).json()["state"] == "removed"
    else:
        refused(acme.call("GET", path), 404)
        refused(acme.call("DELETE", path, headers={"If-Match": "*"}), 404)


@every_kind
def test_what_is_known_is_not_sent_again(acme: Api, kind: Kind) -> None:
    made = make(acme, kind)
    again = acme.call("GET", made.headers["location"], headers={"If-None-Match": made.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", made.headers["etag"])


@every_kind
def test_what_is_anothers_is_not_found_and_not_listed(acme: Api, kind: Kind) -> None:
    path = make(acme, kind).headers["location"]
    other = Api(acme.app, acme.client, acme.owner, make_customer(acme.owner, "other"))
    unknown = f"/v1/{kind.plural}/{UNKNOWN}"
    for method, body in (("GET", None), ("PATCH", kind.changed), ("DELETE", None)):
        answers = [other.call(method, at, json=body, headers={"If-Match": "*"}) for at in (path, unknown)]
        theirs, none = (refused(answer, 404) for answer in answers)
        assert theirs["title"] == none["title"]
    assert path.rpartition("/")[2] not in ids(other.call("GET", f"/v1/{kind.plural}"))
    assert acme.call("GET", path).status_code == 200


@every_kind
def test_who_may_look_and_not_touch_is_told_so(acme: Api, kind: Kind) -> None:
    made = make(acme, kind)
    viewer = member(acme, "viewer", "viewer")
    body = kind.made | {"name": "another"} if "name" in kind.made else kind.made
    refused(viewer.call("POST", f"/v1/{kind.plural}", json=body), 403)
    hidden = kind.plural in ("invite-codes", "api-keys")
    refused(viewer.call("GET", made.headers["location"]), 404) if hidden else viewer.call(
        "GET", made.headers["location"]
    ).raise_for_status()
    refused(viewer.call("PATCH", made.headers["location"], json=kind.changed, headers={"If-Match": "*"}), 403)
    refused(viewer.call("DELETE", made.headers["location"], headers={"If-Match": "*"}), 403)


@every_kind
def test_unknown_fields_and_filters_are_refused(acme: Api, kind: Kind) -> None:
    path = f"/v1/{kind.plural}"
    problem = refused(acme.call("POST", path, json=kind.made | {"version": 7}), 400)
    assert [error["pointer"] for error in problem["errors"]] == ["/version"]
    problem = refused(acme.call("GET", path, params={"colour": "red"}), 400)
    assert [error["pointer"] for error in problem["errors"]] == ["?colour"]
    path = make(acme, kind).headers["location"]
    problem = refused(acme.call("PATCH", path, json={"id": UNKNOWN}, headers={"If-Match": "*"}), 400)
    assert [error["pointer"] for error in problem["errors"]] == ["/id"]


@pytest.mark.parametrize("kind_of_json", ["application/json", "application/merge-patch+json"])
def test_a_patch_changes_what_it_names(acme: Api, kind_of_json: str) -> None:
    path = make(acme, KINDS["orgs"], contact_email="team@example.net", is_public=True).headers["location"]
    headers = {"If-Match": '"1"', "Content-Type": kind_of_json}
    org = acme.call("PATCH", path, content=b'{"contact_email": null}', headers=headers).json()
    assert (org["contact_email"], org["is_public"], org["name"]) == (None, True, "Blue Team")
    problem = refused(acme.call("PATCH", path, json={"name": None}, headers={"If-Match": "*"}), 400)
    assert problem["errors"][0]["pointer"] == "/name"
    response = acme.call("PATCH", path, content=b"{}", headers=headers | {"Content-Type": "text/plain"})
    refused(response, 415)
    assert response.headers["accept-patch"] == "application/json, application/merge-patch+json"


# Lists


@pytest.mark.parametrize(
    ("path", "key"), [("/v1/spaces", "id"), ("/v1/roles", "role"), ("/v1/quotas", "resource"), ("/v1/customers", "id")]
)
def test_lists_are_read_page_by_page(acme: Api, path: str, key: str) -> None:
    admin = member(acme, "root", is_platform_admin=True)
    for number in range(3):
        make(acme, KINDS["spaces"], name=f"space-{number}")
        make_customer(acme.owner, f"customer{number}")
        make(acme, KINDS["orgs"], name=f"org-{number}")
    whole = admin.call("GET", path, params={"limit": 200}).json()
    (name,) = whole
    found: list[dict[str, Any]] = []
    at = f"{path}?limit=2"
    while at:
        response = admin.call("GET", at)
        found += response.json()[name]
        link = re.search('<([^>]*)>; rel="next"', response.headers["link"])
        at = link[1] if link else ""
    assert found == whole[name]
    assert len(found) > 2


@pytest.mark.parametrize(
    ("path", "count"),
    [
        ("/v1/spaces?org=acme-org&name=live", 1),
        ("/v1/spaces?name=test", 0),
        ("/v1/orgs?slug=acme-org", 1),
        ("/v1/orgs?is_public=true", 0),
        ("/v1/users?username=joe&status=active", 1),
        ("/v1/memberships?role=owner&state=active", 1),
        ("/v1/quotas?scope=space", 0),
        ("/v1/roles?scope=org", 5),
        ("/v1/customers?status=free", 1),
        (f"/v1/spaces?org_id={UNKNOWN}", 0),
    ],
)
def test_lists_are_filtered(acme: Api, path: str, count: int) -> None:
    make(acme, KINDS["spaces"])
    (found,) = acme.call("GET", path).json().values()
    assert len(found) == count


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "after=x", "is_public=1", "kind=club", "slug=", "slug=a&slug=b"]
)
def test_a_query_of_another_shape_is_refused(strict_api: Api, query: str) -> None:
    refused(strict_api.call("GET", f"/v1/orgs?{query}"), 400)


# Customers


def test_a_customer_sees_itself_and_platform_admins_see_all(acme: Api) -> None:
    other = make_customer(acme.owner, "other")
    (own,) = acme.call("GET", "/v1/customers").json()["customers"]
    assert (own["tenant_customer_id"], own["cid"], own["status"]) == (str(acme.customer.account), "acm", "free")
    admin = member(acme, "root", is_platform_admin=True)
    seen = {customer["tenant_customer_id"] for customer in admin.call("GET", "/v1/customers").json()["customers"]}
    assert seen == {str(acme.customer.account), str(other.account)}


def test_customers_are_made_changed_removed_and_restored(acme: Api) -> None:
    admin = member(acme, "root", is_platform_admin=True)
    made = admin.call("POST", "/v1/customers", json={"name": "Acme Labs", "email": "labs@example.net"})
    assert made.status_code == 201, made.text
    path = made.headers["location"]
    assert (made.status_code, made.json()["cid"], admin.call("GET", path).json()) == (201, "acme", made.json())
    changed = admin.call("PATCH", path, json={"status": "paid"}, headers={"If-Match": made.headers["etag"]})
    assert changed.json()["status"] == "paid"
    assert admin.call("DELETE", path, headers={"If-Match": changed.headers["etag"]}).status_code == 204
    assert admin.call("GET", path).json()["status"] == "to_be_removed"
    restored = admin.call("POST", f"{path}/restore")
    assert (restored.status_code, restored.json()["status"]) == (200, "paid")
    refused(admin.call("POST", f"{path}/restore"), 409)


def test_a_customer_changes_its_name_and_not_its_status(acme: Api) -> None:
    path = f"/v1/customers/{acme.call('GET', '/v1/customers').json()['customers'][0]['id']}"
    renamed = acme.call("PATCH", path, json={"name": "Acme Inc"}, headers={"If-Match": "*"}).json()
    assert (renamed["name"], renamed["cid"]) == ("Acme Inc", "acm")
    refused(acme.call("PATCH", path, json={"status": "paid"}, headers={"If-Match": "*"}), 403)
    assert acme.call("DELETE", path, headers={"If-Match": "*"}).status_code == 204
    refused(acme.call("GET", path), 401)


# Orgs and spaces


def test_fifty_first_reads_of_the_default_org_are_of_one(api: Api) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: api.call("GET", "/v1/orgs/default"), range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["slug"] for answer in answers} == {"acm"}
    assert value(api.owner, "SELECT count(*) FROM org") == 1


def test_the_default_space_is_that_of_the_org(acme: Api) -> None:
    org = acme.call("GET", "/v1/orgs?slug=acme-org").json()["orgs"][0]["id"]
    space = acme.call("GET", "/v1/spaces/default", params={"org_id": org}).json()
    assert (space["org"], space["name"]) == ("acme-org", "default")
    assert acme.call("GET", "/v1/spaces/default").json()["org"] == "acm"
    assert acme.call("GET", "/v1/spaces/default", params={"org_id": org}).json()["id"] == space["id"]
    assert value(acme.owner, "SELECT count(*) FROM space") == 2
    other = Api(acme.app, acme.client, acme.owner, make_customer(acme.owner, "other"))
    refused(other.call("GET", "/v1/spaces/default", params={"org_id": org}), 404)
    refused(other.call("GET", "/v1/spaces/default", params={"org_id": UNKNOWN}), 404)
    assert value(acme.owner, "SELECT count(*) FROM space") == 2


def test_who_acts_for_nobody_has_no_default_org(acme: Api) -> None:
    admin = member(acme, "root", is_platform_admin=True)
    problem = refused(admin.call("GET", "/v1/orgs/default"), 400)
    assert "Provision-Account" in problem["hint"]


def test_an_org_that_is_joinable_is_joined_when_its_owner_accepts(acme: Api) -> None:
    make(acme, KINDS["orgs"], is_joinable=True, contact_email="team@example.net")
    other = Api(acme.app, acme.client, acme.owner, make_customer(acme.owner, "other"))
    joe = member(other, "joe2")
    (org,) = joe.call("GET", "/v1/orgs?joinable=true").json()["orgs"]
    assert org.keys() == {"id", "slug", "name", "contact_email", "is_public"}
    assert joe.call("GET", "/v1/orgs").json() == {"orgs": []}
    refused(joe.call("GET", "/v1/orgs?joinable=true&kind=project"), 400)
    asked = joe.call("POST", "/v1/orgs/join", json={"slug": org["slug"]})
    path = asked.headers["location"]
    assert (asked.status_code, asked.json()["state"]) == (201, "requested")
    refused(joe.call("POST", f"{path}/accept"), 403)
    assert acme.call("POST", f"{path}/accept").json()["state"] == "active"
    assert [org["slug"] for org in joe.call("GET", "/v1/orgs").json()["orgs"]] == [org["slug"]]
    assert acme.call("POST", f"{path}/deactivate").json()["state"] == "inactive"
    assert joe.call("GET", "/v1/orgs").json() == {"orgs": []}
    assert acme.call("POST", f"{path}/activate").json()["state"] == "active"
    problem = refused(acme.call("POST", f"{path}/decline"), 409)
    assert problem["title"] == "the membership is active, not requested"
    refused(joe.call("POST", "/v1/orgs/join", json={"slug": "acme-org"}), 404)


def test_nobody_is_not_found_by_those_who_see_all_either(acme: Api) -> None:
    admin = member(acme, "root", is_platform_admin=True)
    refused(admin.call("POST", "/v1/api-keys", json={"name": "ci", "user": "nobody"}), 404)


# Codes, keys, quotas, roles


def test_of_two_who_use_the_last_of_a_code_one_becomes_a_member(acme: Api) -> None:
    code = make(acme, KINDS["invite-codes"]).json()
    users = [member(acme, f"user{number}") for number in range(2)]
    with ThreadPoolExecutor(2) as pool:
        answers = list(
            pool.map(lambda user: user.call("POST", "/v1/invite-codes/use", json={"code": code["code"]}), users)
        )
    assert sorted(answer.status_code for answer in answers) == [201, 404]
    (joined,) = [answer.json() for answer in answers if answer.status_code == 201]
    assert (joined["org"], joined["state"], joined["role"]) == ("acme-org", "active", "viewer")
    rotated = acme.call("POST", f"/v1/invite-codes/{code['id']}/rotate")
    assert (rotated.status_code, rotated.json()["code"] == code["code"]) == (200, False)
    refused(users[0].call("POST", "/v1/invite-codes/use", json={"code": code["code"]}), 404)


def test_a_key_is_rotated_without_a_gap_and_revoked_at_once(acme: Api) -> None:
    made = make(acme, KINDS["api-keys"]).json()
    rotated = acme.call("POST", f"/v1/api-keys/{made['id']}/rotate")
    assert (rotated.status_code, rotated.headers["location"]) == (201, f"/v1/api-keys/{rotated.json()['id']}")
    keys = [
        Api(acme.app, acme.client, acme.owner, replace(acme.customer, key=each["key"]))
        for each in (made, rotated.json())
    ]
    joe = acme.call("GET", "/v1/users?username=joe").json()["users"][0]["id"]
    acme.call("POST", "/v1/memberships", json={"user": joe, "role": "viewer", "org": "acme-org"}).raise_for_status()
    assert [key.call("GET", "/v1/orgs").status_code for key in keys] == [200, 200]
    acme.call("DELETE", f"/v1/api-keys/{made['id']}", headers={"If-Match": "*"}).raise_for_status()
    assert [key.call("GET", "/v1/orgs").status_code for key in keys] == [401, 200]
    acme.owner.execute("SELECT clock_advance('91 days')")
    refused(keys[1].call("GET", "/v1/orgs"), 401)


def test_a_quota_is_put_under_a_plan_and_holds(acme: Api) -> None:
    path = f"/v1/quotas/customer/{acme.customer.account}"
    refused(acme.call("PUT", path, json={"plan": "small"}), 403)
    admin = member(acme, "root", is_platform_admin=True)
    refused(admin.call("PUT", path, json={"plan": "huge"}), 422)
    quotas = admin.call("PUT", path, json={"plan": "small"}).json()["quotas"]
    assert {quota["resource"]: (quota["maximum"], quota["used"]) for quota in quotas}["org"] == (3, 1)
    for number in range(2):
        make(acme, KINDS["orgs"], name=f"org-{number}")
    problem = refused(acme.call("POST", "/v1/orgs", json={"name": "one more"}), 409)
    assert (problem["title"], problem["detail"]) == ("the quota of the customer is used up", "org: 3 of 3 are in use")
    other = Api(acme.app, acme.client, acme.owner, make_customer(acme.owner, "other"))
    refused(other.call("PUT", path, json={"plan": "small"}), 404)


def test_roles_say_what_they_may(acme: Api) -> None:
    roles = {role["role"]: role["permissions"] for role in acme.call("GET", "/v1/roles").json()["roles"]}
    assert (roles["viewer"], "member.change" in roles["owner"]) == (["read"], True)


def test_moments_are_instants_that_somebody_lives_to_see(acme: Api) -> None:
    kind = KINDS["memberships"]
    lapsing = make(acme, kind, expires_date="2027-01-01T00:00:00+02:00").json()
    assert lapsing["expires_date"] == "2026-12-31T22:00:00Z"
    for moment, status in (
        ("2027-01-01", 400),
        ("soon", 400),
        ("2027-01-01T00:00:00", 400),
        ("0001-01-01T00:00:00Z", 422),
    ):
        body = kind.made | {"user": "joe", "org": None, "expires_date": moment}
        refused(acme.call("POST", "/v1/memberships", json=body), status)
