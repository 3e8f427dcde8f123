"""The surface of hosting, as its clients call it. No worker runs: orders are taken, that is all."""

import hmac
import json
from typing import Any
from uuid import UUID

import pytest
from httpx2 import Response
from psycopg.types.json import Jsonb

from . import api_fixtures, test_session_identity
from .api_fixtures import Api, MakeApi, value
from .hosting_fixtures import HOSTING
from .identity_fixtures import Issuer
from .session_fixtures import House
from .test_session_identity import begin, finish

api = api_fixtures.api
make_api = api_fixtures.make_api
issuer = test_session_identity.issuer
house = test_session_identity.house

PASSWORD = "correct horse battery"
SITE: dict[str, Any] = {"name": "shop"}


class Client:
    """Somebody who has a key or a token."""

    def __init__(self, api: Api, authorization: str = "") -> None:
        self.api = api
        self.headers = {"Authorization": authorization} if authorization else {}

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Response:
        options = {} if body is None else {"json": body}
        names = {name.replace("_", "-"): text for name, text in headers.items()}
        return self.api.client.request(method, path, headers=self.headers | names, **options)

    def ok(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """What is answered to a request that succeeds."""
        answer = self(method, path, body, **headers)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None


@pytest.fixture
def nobody(api: Api) -> Client:
    """An installation that hosts sites of customers who sign up, seen by nobody in particular."""
    owner = api.owner
    owner.execute("INSERT INTO tenant (name) VALUES ('host')")
    owner.execute("DELETE FROM accreditation")
    owner.execute("UPDATE tenant_customer SET tenant_id = (SELECT id FROM tenant WHERE name = 'host')")
    owner.execute("DELETE FROM tenant WHERE name <> 'host'")
    owner.execute(
        "INSERT INTO accreditation (tenant_id, provider, name, settings) SELECT id, 'aws', 'cloud', %s FROM tenant",
        [Jsonb({"hosting": HOSTING})],
    )
    return Client(api)


@pytest.fixture
def customer(nobody: Client) -> Client:
    """The log-in of a customer `bel` itself."""
    new = {"name": "Bell Shops", "email": "bell@example.net", "username": "bell", "password": PASSWORD}
    assert nobody.ok("POST", "/customers", new)["cid"] == "bel"
    tokens = nobody.ok("POST", "/v1/sessions", {"username": "bell", "password": PASSWORD})
    return Client(nobody.api, f"Bearer {tokens['access_token']}")


@pytest.fixture
def user(customer: Client) -> Client:
    """A user of it who acts in the default space."""
    made = customer.ok("POST", "/users", {"name": "jane", "cid": "bel", "email": "jane@example.net"})
    return Client(customer.api, f"Token {made['api_key']}")


# Customers, orgs, spaces, users ---------------------------------------------------------------------------------------


def test_a_customer_signs_up_is_changed_removed_and_restored_by_the_operators(customer: Client, nobody: Client) -> None:
    assert customer.ok("GET", "/customers/bel")["name"] == "Bell Shops"
    assert [one["cid"] for one in customer.ok("GET", "/customers/")] == ["bel"]
    assert customer.ok("PUT", "/customers/bel", {"name": "Bell & Sons"})["name"] == "Bell & Sons"
    assert customer("GET", "/customers/acm").status_code == 404
    assert customer("DELETE", "/customers/bel").status_code == 204
    assert customer("GET", "/customers/bel").status_code == 401, "who is to be removed is logged out"
    assert nobody("POST", "/v1/sessions", {"username": "bell", "password": PASSWORD}).status_code == 401


BELL: dict[str, Any] = {"name": "Bell", "email": "bell@example.net", "username": "bell", "password": PASSWORD}


def test_who_cannot_sign_up_so_is_told(nobody: Client) -> None:
    changes: list[tuple[dict[str, Any], int]] = [
        ({"password": "short"}, 422),
        ({"username": None}, 422),
        ({"email": "nowhere"}, 400),
        ({"name": ""}, 400),
        ({"colour": "red"}, 400),
        ({"tenant": "nobody"}, 404),
    ]
    for change, status in changes:
        given = {name: text for name, text in (BELL | change).items() if text is not None}
        assert nobody("POST", "/customers", given).status_code == status, change
    assert value(nobody.api.owner, "SELECT count(*) FROM customer WHERE name LIKE 'Bell%%'") == 0


def test_who_signs_up_comes_to_the_one_that_hosts_or_is_asked_and_it_can_be_switched_off(nobody: Client) -> None:
    owner = nobody.api.owner
    owner.execute("INSERT INTO tenant (name) VALUES ('registrar')")
    assert nobody("POST", "/customers", BELL).status_code == 201
    taken = nobody("POST", "/customers", BELL | {"username": "bell2"})
    assert (taken.status_code, taken.json()["detail"]) == (409, "email of customer")
    owner.execute(
        "INSERT INTO accreditation (tenant_id, provider, name, settings)"
        " SELECT t.id, 'aws', 'second', a.settings FROM tenant AS t, accreditation AS a WHERE t.name = 'registrar'"
    )
    other = {"name": "Other", "email": "other@example.net", "username": "other", "password": PASSWORD}
    assert nobody("POST", "/customers", other).json()["hint"] == "name the tenant"
    assert nobody("POST", "/customers", other | {"tenant": "registrar"}).status_code == 201
    homes = (
        "SELECT string_agg(t.name, ' ' ORDER BY a.id) FROM tenant_customer AS a JOIN tenant AS t ON t.id = a.tenant_id"
    )
    assert value(owner, homes + " JOIN customer AS c ON c.id = a.customer_id AND c.name IN ('Bell', 'Other')") == (
        "host registrar"
    )
    owner.execute("UPDATE setting SET value = 'false' WHERE name = 'hosting_sign_up'")
    assert nobody("POST", "/customers", BELL | {"email": "b@example.net", "username": "b"}).status_code == 403


def test_default_org_and_space_are_made_when_they_are_first_asked_for(customer: Client) -> None:
    org = customer.ok("GET", "/orgs/bel/default")
    assert (org["name"], org["slug"]) == ("default", "bel")
    assert customer.ok("GET", "/orgs/bel") == org
    assert customer.ok("GET", "/orgs?cid=bel&name=default") == [org]
    space = customer.ok("GET", f"/spaces/{org['id']}/default")
    assert customer.ok("GET", "/spaces/bel") == space
    assert customer("GET", "/orgs/nobody/default").status_code == 404


def test_orgs_and_spaces_are_made_changed_and_removed(customer: Client) -> None:
    new = {"name": "Side", "cid": "bel", "spaces": ["blue", "red"], "quota": "small", "description": "what is beside"}
    org = customer.ok("POST", "/orgs", new)
    assert (org["slug"], org["quota"], org["spaces"]) == ("side-bel", "small", ["blue", "red"])
    assert org["description"] == "what is beside"
    assert customer.ok("PUT", "/orgs/bel/side", {"description": "beside"})["description"] == "beside"
    taken = customer("POST", "/orgs", new)
    assert (taken.status_code, taken.json()["detail"]) == (409, "name of org")
    assert customer("GET", "/orgs?cid=bel&colour=red").status_code == 400
    assert customer.ok("PUT", "/orgs/bel/side", {"name": "Inside"})["name"] == "Inside"
    space = customer.ok("POST", "/spaces", {"name": "green", "orgID": org["id"], "description": "meadow"})
    assert customer.ok("PUT", f"/spaces/{org['id']}/green", {"name": "grey"})["id"] == space["id"]
    assert [one["name"] for one in customer.ok("GET", "/spaces?cid=bel&name=grey")] == ["grey"]
    assert customer("DELETE", f"/spaces/{org['id']}/grey").status_code == 204
    assert customer("DELETE", "/org/bel/inside").status_code == 204
    assert customer("GET", "/orgs/bel/inside").status_code == 404


def test_users_are_made_changed_and_removed_and_their_keys_rotated(customer: Client) -> None:
    made = customer.ok("POST", "/users", {"name": "jo", "cid": "bel", "email": "jo@example.net", "password": PASSWORD})
    assert (made["username"], made["spaces"], len(made["api_key"])) == ("jo@example.net", ["default/default"], 40)
    assert customer("POST", "/users", {"name": "JO", "cid": "bel", "email": "x@example.net"}).status_code == 409
    again = customer.ok("POST", "/users/bel/jo/api-key")["api_key"]
    for key in (made["api_key"], again):
        assert Client(customer.api, f"Token {key}")("GET", "/wpaas/bel/default/").status_code == 200
    customer.ok("POST", "/users/bel/jo/api-key")
    assert Client(customer.api, f"Token {made['api_key']}")("GET", "/wpaas/bel/default/").status_code == 401
    assert customer.ok("PUT", "/users/bel", {"name": "jo", "enabled": False})["enabled"] is False
    assert Client(customer.api, f"Token {again}")("GET", "/wpaas/bel/default/").status_code == 401
    assert customer.ok("GET", "/users/bel?name=jo") == [customer.ok("GET", "/users/bel/jo")]
    assert customer("DELETE", "/users/bel/jo").status_code == 204
    assert customer.ok("GET", "/users/bel?name=jo") == []
    assert customer("GET", "/users/bel/jo").status_code == 404


def test_users_of_another_customer_are_not_there(customer: Client, user: Client) -> None:
    assert customer("PUT", "/users/acm/x", {"name": "y"}).status_code == 404
    assert user("POST", "/users", {"name": "x", "cid": "bel", "email": "x@example.net"}).status_code in (403, 404)
    assert user("PUT", "/users/bel/jane", {"spaces": []}).status_code in (403, 404)


# Sites ----------------------------------------------------------------------------------------------------------------


def test_a_site_is_ordered_seen_changed_and_deleted(user: Client) -> None:
    answer = user("POST", "/wpaas/bel/default/", {"name": "Shop", "num_instances": 2, "admin_password": PASSWORD})
    assert answer.status_code == 202
    site = answer.json()
    assert (site["name"], site["phase"], site["hostname"]) == ("shop", "pending", "shop.bel.www.example.net")
    assert answer.headers["Location"] == f"/v1/orders/{site['order']}"
    order = user.ok("GET", f"/v1/orders/{site['order']}", Provision_Org="bel")
    assert PASSWORD not in answer.text + str(order)
    shown = user("GET", "/wpaas/bel/default/shop")
    assert (shown.headers["ETag"], shown.json()) == ('"1"', {k: v for k, v in site.items() if k != "order"})
    routes = [{"route": "v2", "basic_auth": True}]
    assert user("PUT", "/wpaas/bel/default/shop", {"routes": routes}, If_Match='"1"').status_code == 422
    change = {"num_instances": 5, "routes": routes, "basic_auth_password": PASSWORD}
    changed = user("PUT", "/wpaas/bel/default/shop", change, If_Match='"1"')
    assert PASSWORD not in changed.text
    assert (changed.status_code, changed.json()["num_instances"], changed.headers["ETag"]) == (202, 5, '"2"')
    assert user("PUT", "/wpaas/bel/default/shop", {"num_instances": 6}, If_Match='"1"').status_code == 412
    assert user("PUT", "/wpaas/bel/default/shop", {"num_instances": 6}).status_code == 428
    gone = user("DELETE", "/wpaas/bel/default/shop")
    assert (gone.status_code, gone.json()["phase"]) == (202, "deleting")


def test_without_org_and_space_a_site_lands_in_default(user: Client) -> None:
    site = user.ok("POST", "/wpaas/", SITE)
    assert (site["cid"], site["org"], site["space"]) == ("bel", "default", "default")
    assert user("POST", "/wpaas/bel/default/", SITE).status_code == 409


def test_what_cannot_be_is_refused_with_the_reason(user: Client) -> None:
    changes: list[tuple[dict[str, Any], int]] = [
        ({"name": "x" * 64}, 400),
        ({"name": "a.b"}, 400),
        ({"name": "x", "num_instances": 0}, 400),
        ({"name": "x", "features": ["teleport"]}, 422),
        ({"name": "x", "profile": "gigantic"}, 422),
        ({"name": "x", "routes": [{"route": "y" * 64}]}, 400),
        ({"name": "x", "admin_password": "short"}, 400),
        ({"name": "x", "code": "http://169.254.169.254/"}, 422),
        ({"name": "x", "code": "file:///etc/passwd"}, 422),
        ({"name": "x", "code": "s3://somebody-elses/site.zip"}, 422),
        ({"name": "x", "colour": "red"}, 400),
    ]
    for change, status in changes:
        answer = user("POST", "/wpaas/bel/default/", change)
        assert (answer.status_code, bool(answer.json()["title"])) == (status, True), answer.text
    assert value(user.api.owner, "SELECT count(*) FROM wpaas_instance") == 0


def test_the_customers_own_log_in_has_nothing_to_do_with_sites(customer: Client, user: Client) -> None:
    user.ok("POST", "/wpaas/", SITE)
    for method, path in [("GET", "/wpaas/bel/default/"), ("GET", "/wpaas/bel/default/shop"), ("POST", "/wpaas/")]:
        body = {"name": "other"} if method == "POST" else None
        assert customer(method, path, body).status_code == 403, path


def test_a_user_acts_in_its_spaces_only(customer: Client, user: Client) -> None:
    customer.ok("POST", "/orgs", {"name": "side", "cid": "bel", "spaces": ["blue", "red"]})
    user.ok("POST", "/wpaas/", SITE)
    blue = customer.ok("POST", "/users", {"name": "b", "cid": "bel", "email": "b@example.net", "spaces": ["side/blue"]})
    other = Client(customer.api, f"Token {blue['api_key']}")
    assert other("GET", "/wpaas/bel/default/shop").status_code == 404
    assert other("POST", "/wpaas/bel/red/?org=side", SITE).status_code == 404
    site = other.ok("POST", "/wpaas/bel/blue/?org=side", SITE)
    assert site["hostname"] == "shop.side-bel.www.example.net"
    assert user("GET", "/wpaas/bel/blue/shop?org=side").status_code == 404
    assert [one["org"] for one in other.ok("GET", "/v1/wpaas")["wpaas"]] == ["side"]
    assert other("GET", f"/v1/wpaas/{user.ok('GET', '/v1/wpaas')['wpaas'][0]['id']}").status_code == 404


def test_lists_are_filtered_and_come_in_pages(user: Client) -> None:
    sites: dict[str, dict[str, Any]] = {"a": {"profile": "busy"}, "b": {"features": ["large_nodes"]}, "c": {}}
    for name, more in sites.items():
        user.ok("POST", "/wpaas/", {"name": name} | more)
    path = "/wpaas/bel/default/"

    def names(query: str) -> list[str]:
        return [site["name"] for site in user.ok("GET", path + query)["wpaas"]]

    assert names("") == ["c", "b", "a"]
    assert names("?feature=large_nodes") == ["b", "a"]
    assert names("?profile=busy") == ["a"]
    assert names("?name=c&phase=pending") == ["c"]
    assert names("?phase=ready") == []
    first = user("GET", path + "?limit=2")
    following = first.headers["Link"].split("<")[2].split(">")[0]
    assert [site["name"] for site in user.ok("GET", following)["wpaas"]] == ["a"]
    assert user("DELETE", path).status_code == 405
    assert user("GET", path + "?colour=red").status_code == 400


def test_backups_versions_and_profiles_are_seen_and_used(user: Client) -> None:
    site = user.ok("POST", "/wpaas/", SITE)
    path, owner = "/wpaas/bel/default/shop", user.api.owner
    assert user("POST", f"{path}/backups").status_code == 409
    serve(user, site["id"])
    order = user.ok("POST", f"{path}/backups")["order"]
    assert value(owner, "SELECT count(*) FROM provision_wpaas_backup") == 1
    assert order == str(value(owner, 'SELECT max(id::text) FROM "order"'))
    keep_backup(user)
    (backup,) = user.ok("GET", f"{path}/backups")
    assert user.ok("GET", f"{path}/backups/{backup['id']}") == backup
    assert user("GET", f"{path}/backups/{site['id']}").status_code == 404
    assert user("POST", f"{path}/backups/{backup['id']}/restore").status_code == 202
    assert user("POST", f"{path}/backups/{site['id']}/restore").status_code == 404
    assert [one["number"] for one in user.ok("GET", f"{path}/versions")] == [0]
    user.ok("PUT", path, {"code": "https://git.example.org/site.git"}, If_Match="*")
    assert user("POST", f"{path}/versions/0/rollback").status_code == 202
    assert user("POST", f"{path}/versions/0/rollback", {"data": True}).status_code == 409
    assert user("POST", f"{path}/versions/9/rollback").status_code == 404
    assert {"small", "standard", "busy"} <= {one["name"] for one in user.ok("GET", "/profiles/bel")}


def keep_backup(client: Client) -> str:
    """The site has a backup; its id."""
    return str(
        value(
            client.api.owner,
            "INSERT INTO wpaas_backup (id, instance_id, tenant_customer_id, org_id, accreditation_id, reason, snapshot)"
            " SELECT new_id(), id, tenant_customer_id, org_id, accreditation_id, 'asked', 'kept' FROM wpaas_instance"
            " RETURNING id",
        )
    )


def test_a_backup_is_downloaded_by_a_link_that_an_order_has_made(customer: Client, user: Client) -> None:
    site = user.ok("POST", "/wpaas/", SITE)
    backup, owner = keep_backup(user), user.api.owner
    path = f"/wpaas/bel/default/shop/backups/{backup}/download"
    none = user("GET", path)
    assert (none.status_code, none.json()["title"]) == (404, "the backup has no link to download it by")
    ordered = user("POST", path)
    assert (ordered.status_code, set(ordered.json())) == (202, {"order"})
    assert user("POST", path).status_code == 409, "one at a time"
    owner.execute(
        "UPDATE wpaas_backup SET dump_bytes = 7, dump_date = now(), link_date = engine_now() + interval '1 hour'"
    )
    owner.execute("INSERT INTO secret VALUES (%s, 'https://bucket.test/dump')", [backup])
    one = path.removesuffix("/download")
    assert user("DELETE", one).json()["title"] == "the backup is just being used"
    link = user("GET", path)
    assert (link.json()["url"], link.json()["size_bytes"]) == ("https://bucket.test/dump", 7)
    assert link.headers["Cache-Control"] == "no-store"
    stranger = Client(user.api, f"Token {user.api.customer.key}")
    for caller, status in ((customer, 403), (stranger, 404)):
        assert caller("DELETE", one).status_code == status
    for method in ("GET", "POST"):
        assert customer(method, path).status_code == 403
        assert stranger(method, path).status_code == 404
        assert user(method, path.replace(backup, site["id"])).status_code == 404
        assert user(method, path.replace(backup, "x")).status_code == 404
    owner.execute("SELECT clock_advance('61 minutes')")
    assert user("GET", path).status_code == 404
    owner.execute("SELECT engine_sweep(NULL)")
    assert value(owner, "SELECT count(*) FROM secret") == 0
    owner.execute("SELECT job_hold(job_id), job_cancel(job_id, 'no') FROM provision_wpaas_download")
    assert user("DELETE", one).status_code == 204
    assert user("GET", one).status_code == user("POST", path).status_code == user("DELETE", one).status_code == 404
    assert user.ok("GET", "/wpaas/bel/default/shop/backups") == []


def serve(client: Client, site: str) -> None:
    """The site has come up."""
    client.api.owner.execute(
        "UPDATE wpaas_instance SET phase = 'ready', observed_generation = generation WHERE id = %s", [UUID(site)]
    )


def test_a_log_in_link_is_good_once_for_its_own_site_and_for_five_minutes(user: Client, nobody: Client) -> None:
    user.ok("POST", "/wpaas/", SITE)
    path, host = "/wpaas/bel/default/shop/login-link", "shop.bel.www.example.net"

    def token() -> str:
        url: str = user.ok("POST", path)["url"]
        assert url.startswith(f"https://{host}/?provision-login=")
        return url.rpartition("=")[2]

    def use(given: str, at: str = host) -> int:
        return nobody("POST", "/wpaas-login", {"token": given, "host": at}).status_code

    first = token()
    assert [use(first, "other.example.net"), use(first), use(first)] == [404, 204, 404]
    late = token()
    user.api.owner.execute("SELECT clock_advance('6 minutes')")
    assert use(late) == 404
    assert first not in str(user.api.owner.execute("SELECT * FROM wpaas_link").fetchall())


def test_the_same_request_again_is_the_same_order(user: Client) -> None:
    first, again = (user.ok("POST", "/wpaas/", SITE, Idempotency_Key="k")["order"] for _ in range(2))
    assert first == again


def test_other_customers_sites_are_not_there(user: Client, make_api: MakeApi) -> None:
    user.ok("POST", "/wpaas/", SITE)
    stranger = Client(user.api, f"Token {user.api.customer.key}")
    for path in ("/wpaas/bel/default/", "/wpaas/bel/default/shop", "/customers/bel", "/orgs/bel/default", "/users/bel"):
        assert stranger("GET", path).status_code == 404, path
    assert stranger("DELETE", "/wpaas/bel/default/shop").status_code == 404


# What it costs --------------------------------------------------------------------------------------------------------


def test_an_org_sees_what_it_has_spent_in_a_month(customer: Client, user: Client) -> None:
    user.ok("POST", "/wpaas/", SITE)
    owner = user.api.owner
    (tag,) = owner.execute("SELECT tag FROM cost_tag WHERE module = 'hosting'").fetchone() or ()
    told = [("2026-10-31", "9"), ("2026-11-01", "1.25"), ("2026-11-30", "0.5"), ("2026-12-01", "7")]
    costs = [{"tag": tag, "day": day, "amount": amount} for day, amount in told]
    owner.execute("SELECT account_import(accreditation_id, %s) FROM cost_tag WHERE tag = %s", [Jsonb(costs), tag])
    statement = customer.ok("GET", "/orgs/bel/default/costs?month=2026-11")
    assert (statement["total"], statement["currency"], statement["org"]) == ("1.75", "USD", "default")
    assert [(one["day"], one["amount"]) for one in statement["days"]] == [("2026-11-01", "1.25"), ("2026-11-30", "0.5")]
    assert statement["modules"] == [{"module": "hosting", "amount": "1.75"}]
    assert customer.ok("GET", "/orgs/bel/default/costs")["total"] is not None
    assert customer("GET", "/orgs/bel/default/costs?month=2026-13").status_code == 400
    assert customer("GET", "/orgs/bel/nothing/costs").status_code == 404
    assert user("GET", "/orgs/bel/default/costs").status_code == 403, "that is its customer's to see"
    assert user.ok("GET", "/orgs/bel/default")["spaces"] == ["default"], "the org is not"
    stranger = Client(user.api, f"Token {user.api.customer.key}")
    assert stranger("GET", "/orgs/bel/default/costs").status_code == 404


# Pushes ---------------------------------------------------------------------------------------------------------------

CODE = {"name": "shop", "code": "https://git.example.org/site.git", "code_ref": "main"}
HOOK = "/wpaas/bel/default/shop/push-hook"


def pushed(nobody: Client, hook: dict[str, str], ref: str = "refs/heads/main", **changes: Any) -> Response:
    """What a git server is answered that signs as GitHub does, unless `changes` say another header."""
    body = json.dumps({"ref": ref, "after": "a" * 40, "repository": {"default_branch": "main"}}).encode()
    signature = "sha256=" + hmac.new(hook["secret"].encode(), body, "sha256").hexdigest()
    headers = {"X-Hub-Signature-256": signature} | changes
    return nobody.api.client.post(hook["path"], content=body, headers={k: v for k, v in headers.items() if v})


def test_a_push_starts_an_update_of_that_branch_only(user: Client, nobody: Client) -> None:
    user.ok("POST", "/wpaas/", CODE)
    hook = user.ok("POST", HOOK)
    resolve = "UPDATE wpaas_version SET resolved_ref = %s WHERE resolved_ref IS NULL"
    for other in ("refs/heads/side", "refs/tags/v1"):
        answer = pushed(nobody, hook, other)
        assert (answer.status_code, answer.json()) == (200, {"update": False})
    gitlab = {"X-Hub-Signature-256": "", "X-Gitlab-Token": hook["secret"]}
    for headers in ({}, gitlab):
        answer = pushed(nobody, hook, **headers)
        assert (answer.status_code, answer.json()) == (202, {"update": True})
    user.api.owner.execute("SELECT sweep_wpaas_pushes()")
    assert user.ok("GET", "/wpaas/bel/default/shop")["generation"] == 1, "it is being fetched"
    user.api.owner.execute(resolve, ["b" * 40])
    user.api.owner.execute("SELECT sweep_wpaas_pushes()")
    assert user.ok("GET", "/wpaas/bel/default/shop")["generation"] == 2, "both are one update"
    user.api.owner.execute(resolve, ["a" * 40])
    assert pushed(nobody, hook).status_code == 200, "the site has that commit"


def test_who_does_not_know_the_secret_of_a_hook_starts_nothing(user: Client, nobody: Client) -> None:
    user.ok("POST", "/wpaas/", CODE)
    first = user.ok("POST", HOOK)
    hook = user.ok("POST", HOOK)
    assert hook["secret"] != first["secret"]
    wrong = hook | {"secret": "x" * 64}
    unsigned = {"X-Hub-Signature-256": ""}
    answers = [pushed(nobody, first), pushed(nobody, wrong), pushed(nobody, hook, **unsigned)]
    answers += [pushed(nobody, hook, **unsigned, **{"X-Gitlab-Token": text}) for text in ("x", first["secret"])]
    assert [answer.status_code for answer in answers] == [404] * 5
    assert user("DELETE", HOOK).status_code == 204
    assert pushed(nobody, hook).status_code == 404
    stranger = Client(user.api, f"Token {user.api.customer.key}")
    assert stranger("POST", HOOK).status_code == 404
    assert user.ok("GET", "/wpaas/bel/default/shop")["generation"] == 1
    log = user.api.owner.execute("SELECT string_agg(l::text, ' ') FROM audit_trail_log AS l").fetchone() or ("",)
    assert hook["secret"] not in log[0]


def test_a_stock_wordpress_has_nothing_that_could_be_pushed(user: Client) -> None:
    user.ok("POST", "/wpaas/", SITE)
    assert user("POST", HOOK).status_code == 409


# Signing up with an account elsewhere ---------------------------------------------------------------------------------


def test_a_customer_signs_up_with_an_account_elsewhere(house: House, issuer: Issuer) -> None:
    new = {"name": "Bell Shops", "email": "bell@example.net", "username": "bell"}

    def shown() -> dict[str, str]:
        begun = begin(house)
        return {"flow": begun["flow"]} | issuer.authorize(begun["authorization_url"])

    assert house.post("/customers", new | {"identity": {"flow": "x", "state": "y", "code": "z"}}).status_code == 401
    assert house.post("/customers", new | {"identity": shown(), "password": PASSWORD}).status_code == 422
    made = house.post("/customers", new | {"identity": shown()})
    assert (made.status_code, made.json()["cid"]) == (201, "bel"), made.text
    token = finish(house, issuer, begin(house)).json()["access_token"]
    assert house.call("GET", "/customers/bel", token).json()["name"] == "Bell Shops"
    again = new | {"name": "Other", "email": "other@example.net", "username": "other", "identity": shown()}
    assert house.post("/customers", again).status_code == 409
    assert house.value("SELECT count(*) FROM customer WHERE name = 'Other'") == 0
