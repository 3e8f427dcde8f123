"""The surface under /api/, request by request, and the same things as resources under /v1."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from httpx2 import Response
from provision_api import totp
from provision_api.example import example_command, mfa_command

from . import session_fixtures
from .cluster_fixtures import add_version
from .conftest import Database
from .session_fixtures import PASSWORD, House

house = session_fixtures.house


class Town:
    """A house whose org `north` has a cluster; jane is a member, olga its owner."""

    def __init__(self, house: House, **cluster: Any) -> None:
        self.house = house
        self.olga = house.make_user("olga")
        house.join(self.olga, house.org, "owner")
        add_version(house.owner, "v1")
        tenant = house.value("SELECT tenant_id FROM tenant_customer WHERE id = %s", house.account)
        house.owner.execute(
            "INSERT INTO accreditation (tenant_id, name, provider) VALUES (%s, 'cloud', 'aws')", [tenant]
        )
        given = {
            "org": "north",
            "accreditation": "cloud",
            "domain": "sr.test",
            "ceiling": 10,
            "max_nodes": 10,
            "version": "v1",
        }
        self.cluster = house.value("SELECT cluster_create(%s)", json.dumps(given | cluster))

    def log_in(self, username: str = "jane", **changes: Any) -> Response:
        """POST org_token."""
        return self.house.post(
            "/api/org_token/", {"username": username, "password": PASSWORD, "org_name": "north"} | changes
        )

    def token(self, username: str = "jane") -> str:
        """An access token."""
        access: str = self.log_in(username).json()["access"]
        return access

    def call(self, method: str, path: str, token: str | None, **options: Any) -> Response:
        """One request under /api/."""
        return self.house.call(method, f"/api/{path}/", token, **options)

    def deactivate(self, username: str) -> None:
        """The membership of a user is deactivated."""
        self.house.owner.execute(
            "UPDATE membership SET state = 'inactive' WHERE user_id = (SELECT id FROM app_user WHERE username = %s)",
            [username],
        )

    def deploy(self) -> None:
        """What a worker would do, by hand."""
        worker = self.house.value("SELECT worker_register('hand', 'here', 1, '0', '{}')")
        types = [f"provision_cluster_{name}" for name in ("deploy", "scale", "shutdown")]
        while jobs := self.house.rows("SELECT * FROM job_claim(%s, %s, 9)", worker, types):
            done = [
                {
                    "job_id": str(job["job_id"]),
                    "claim_no": job["claim_no"],
                    "outcome": "completed",
                    "result": {"address": "192.0.2.7"},
                }
                for job in jobs
            ]
            self.house.owner.execute("SELECT job_record(%s, %s)", [worker, json.dumps(done)])
        self.house.owner.execute(
            "SELECT cluster_observed(id, generation, COALESCE((applied ->> 'nodes')::int, 0), NULL) FROM cluster"
        )


@pytest.fixture
def town(house: House) -> Town:
    return Town(house)


def failed(answer: Response, status: int, text: str = "") -> dict[str, Any]:
    """The body of a refusal, which every client can read."""
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    assert body["status"] == "FAILED"
    assert body["error_msg"]
    assert body["detail"]
    assert text in body["error_msg"], body
    return body


# Tokens ---------------------------------------------------------------------------------------------------------------


def test_tokens_have_the_fields_and_types_that_clients_read(town: Town) -> None:
    answer = town.log_in()
    assert answer.status_code == 200
    body = answer.json()
    assert sorted(body) == ["access", "access_lifetime", "exp", "refresh", "refresh_lifetime"]
    assert (body["access_lifetime"], body["refresh_lifetime"]) == ("86400.0", "2592000.0")
    ends = town.house.value(
        "SELECT to_char(max(expires_date) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"UTC\"') FROM access_token"
    )
    assert body["exp"] == ends


def test_who_may_not_log_in_is_told_so(town: Town) -> None:
    failed(town.log_in(password="wrong"), 401)
    failed(town.log_in("nobody"), 401)
    failed(town.log_in(org_name="south"), 403)
    failed(town.log_in(org_name="nowhere"), 403)
    failed(town.house.post("/api/org_token/", {"username": "jane"}), 400)
    town.deactivate("jane")
    failed(town.log_in(), 403, "active member")


def test_a_refresh_token_is_spent_whatever_access_token_comes_with_it(town: Town) -> None:
    first = town.log_in().json()
    again = town.house.post("/api/org_token/refresh/", {"refresh": first["refresh"]}, token="not.a.token")
    assert again.status_code == 200
    assert again.json()["refresh"] != first["refresh"]
    failed(town.house.post("/api/org_token/refresh/", {"refresh": first["refresh"]}), 401)
    failed(town.house.post("/api/org_token/refresh/", {"refresh": again.json()["refresh"]}), 401)
    failed(town.house.post("/api/org_token/refresh/", {"refresh": "a.b.c"}), 401)


def test_who_is_no_active_member_any_more_is_shut_out_at_once(town: Town) -> None:
    tokens = town.log_in().json()
    assert town.call("GET", "membership_status/north", tokens["access"]).json() == {"active": True}
    town.deactivate("jane")
    failed(town.call("GET", "membership_status/north", tokens["access"]), 403)
    failed(town.house.post("/api/org_token/refresh/", {"refresh": tokens["refresh"]}), 403)
    failed(town.call("PUT", "desired_org_num_nodes/north/3", tokens["access"]), 403)
    failed(town.call("GET", "membership_status/north", "a.b.c"), 401)
    failed(town.call("GET", "membership_status/north", None), 401)


def test_a_blacklisted_token_is_worth_nothing(town: Town) -> None:
    tokens = town.log_in().json()
    answer = town.house.post("/api/token/blacklist/", {"refresh": tokens["refresh"]})
    assert (answer.status_code, answer.json()) == (200, {})
    failed(town.house.post("/api/org_token/refresh/", {"refresh": tokens["refresh"]}), 401)
    failed(town.call("GET", "org_num_nodes/north", tokens["access"]), 401)
    failed(town.house.post("/api/token/blacklist/", {"refresh": "a.b.c"}), 401)


def test_nobody_logs_in_with_github_where_it_is_not_configured(town: Town) -> None:
    failed(town.house.post("/api/org_token_github/", {"org_name": "north", "access_token": "gho_x"}), 403)


# Nodes ----------------------------------------------------------------------------------------------------------------


def test_limits_and_counts_are_numbers(town: Town) -> None:
    body = town.call("GET", "org_num_nodes/north", town.token()).json()
    assert {
        name: body[name] for name in ("status", "min_nodes", "current_nodes", "max_nodes", "version", "is_public")
    } == {
        "status": "SUCCESS",
        "min_nodes": 0,
        "current_nodes": 0,
        "max_nodes": 10,
        "version": "v1",
        "is_public": False,
    }
    assert all(type(body[name]) is int for name in ("min_nodes", "current_nodes", "max_nodes"))


def test_a_request_is_queued_and_the_same_again_redundant(town: Town) -> None:
    token = town.token()
    answer = town.call("PUT", "desired_org_num_nodes/north/3", token)
    assert (answer.status_code, answer.json()["status"], answer.json()["error_msg"]) == (200, "QUEUED", "")
    again = town.call("PUT", "desired_org_num_nodes/north/3", token).json()
    assert (again["status"], again["id"]) == ("REDUNDANT", answer.json()["id"])
    timed = town.call("POST", "desired_org_num_nodes_ttl/north/4/15", token)
    assert (timed.status_code, timed.json()["status"]) == (200, "QUEUED")
    assert town.house.value("SELECT target_nodes FROM v_cluster") == 4


def test_without_a_time_to_live_a_request_ends_with_the_token(town: Town) -> None:
    town.call("PUT", "desired_org_num_nodes/north/3", town.token())
    assert town.house.value("SELECT expires_date = (SELECT expires_date FROM access_token) FROM capacity_request")


def test_a_queued_request_can_be_followed_to_its_end(town: Town) -> None:
    token = town.token()
    queued = town.call("POST", "desired_org_num_nodes_ttl/north/3/15", token).json()
    assert queued["expires_at"] in queued["msg"]

    def read() -> dict[str, Any]:
        document: dict[str, Any] = town.house.call("GET", queued["url"], token).json()
        return document

    assert (read()["state"], read()["cluster"], read()["shutdown_at"]) == (
        "accepted",
        "deploying",
        queued["expires_at"],
    )
    assert read()["ready_at"] > read()["created_at"]
    town.deploy()
    assert (read()["state"], read()["cluster"]) == ("in_effect", "up")
    town.house.pass_time("15 minutes")
    assert (read()["state"], read()["finished_at"]) == ("expired", queued["expires_at"])


@pytest.mark.parametrize(
    "path",
    [
        "desired_org_num_nodes_ttl/north/3/14",
        "desired_org_num_nodes_ttl/north/3/721",
        "desired_org_num_nodes_ttl/north/3/x",
    ],
)
def test_a_time_to_live_that_cannot_be(town: Town, path: str) -> None:
    failed(town.call("POST", path, town.token()), 400)


@pytest.mark.parametrize("nodes", ["-1", "x", "1.5", "99999999999"])
def test_a_number_of_nodes_that_cannot_be(town: Town, nodes: str) -> None:
    failed(town.call("PUT", f"desired_org_num_nodes/north/{nodes}", town.token()), 400)


def test_a_cluster_that_may_not_be_deployed_by_a_request_is_not_there(town: Town) -> None:
    town.house.owner.execute("UPDATE cluster SET allow_deploy_by_token = false")
    failed(town.call("PUT", "desired_org_num_nodes/north/3", town.token()), 503, "not deployed")


def test_a_suspended_cluster_takes_no_requests(town: Town) -> None:
    town.house.owner.execute("UPDATE cluster SET is_suspended = true")
    body = failed(town.call("PUT", "desired_org_num_nodes/north/3", town.token()), 409, "suspended")
    assert body["msg"] == body["error_msg"]
    assert town.house.value("SELECT count(*) FROM capacity_request") == 0


def test_members_take_back_their_own_and_owners_all(town: Town) -> None:
    jane, olga = town.token(), town.token("olga")
    for token, nodes in ((jane, 3), (jane, 2), (olga, 1)):
        town.call("POST", f"desired_org_num_nodes_ttl/north/{nodes}/60", token)
    failed(town.call("PUT", "remove_all_org_num_nodes_reqs/north", jane), 403)
    answer = town.call("PUT", "remove_user_org_num_nodes_reqs/north", jane).json()
    assert (answer["status"], answer["msg"]) == ("SUCCESS", "2 requests were taken back")
    assert town.call("PUT", "remove_all_org_num_nodes_reqs/north", olga).json()["msg"] == "1 requests were taken back"


def test_the_address_is_told_while_the_cluster_is_up(town: Town) -> None:
    token = town.token()
    failed(town.call("GET", "org_ip_adr/north", token), 503, "not deployed")
    town.call("PUT", "desired_org_num_nodes/north/3", token)
    town.deploy()
    assert town.call("GET", "org_ip_adr/north", token).json() == {"status": "SUCCESS", "ip_address": "192.0.2.7"}
    assert town.call("GET", "org_num_nodes/north", token).json()["current_nodes"] == 3


def test_owners_set_limits(town: Town) -> None:
    jane, olga = town.token(), town.token("olga")
    assert town.call("PUT", "org_config/north/1/5", olga).json()["status"] == "SUCCESS"
    assert town.house.value("SELECT (min_nodes, max_nodes) = (1, 5) FROM cluster")
    failed(town.call("PUT", "org_config/north/1/5", jane), 403)
    for limits in ("5/4", "0/0", "0/11", "x/4"):
        failed(town.call("PUT", f"org_config/north/{limits}", olga), 400)


def test_what_is_anothers_answers_as_what_is_not_there(town: Town) -> None:
    token = town.token()
    unknown = failed(town.call("GET", "org_num_nodes/nowhere", token), 404)
    foreign = failed(town.call("GET", "org_num_nodes/south", token), 404)
    known = {"request_id", "error_msg", "msg", "detail"}
    assert {k: v for k, v in unknown.items() if k not in known} == {k: v for k, v in foreign.items() if k not in known}
    town.house.join(town.olga, town.house.other_org, "owner")
    failed(town.call("GET", "nothing/north", token), 404)
    queued = town.call("PUT", "desired_org_num_nodes/north/3", token).json()
    elsewhere = town.house.make_user("eve")
    town.house.join(elsewhere, town.house.other_org)
    eve = town.log_in("eve", org_name="south").json()["access"]
    failed(town.house.call("GET", queued["url"], eve), 404)


def test_other_methods_are_refused_as_clients_can_read(town: Town) -> None:
    failed(town.call("DELETE", "org_num_nodes/north", town.token()), 405)


# The switch -----------------------------------------------------------------------------------------------------------


def test_platform_admins_with_a_second_factor_switch_provisioning(town: Town) -> None:
    house = town.house
    root = house.make_user("root", is_platform_admin=True)
    body = {"username": "root", "password": PASSWORD, "mfa_code": "123456"}
    failed(town.call("PUT", "disable_provisioning", None, json=body), 401)
    secret = house.enrol(root)
    failed(town.call("PUT", "disable_provisioning", None, json=body | {"mfa_code": "000000"}), 401)
    code = house.code(secret)
    answer = town.call("PUT", "disable_provisioning", None, json=body | {"mfa_code": code})
    assert (answer.status_code, answer.json()["status"]) == (200, "SUCCESS")
    failed(town.call("PUT", "enable_provisioning", None, json=body | {"mfa_code": code}), 401)
    failed(town.call("PUT", "desired_org_num_nodes/north/3", town.token()), 409, "switched off")
    house.pass_time("30 seconds")
    assert (
        town.call("PUT", "enable_provisioning", None, json=body | {"mfa_code": house.code(secret)}).status_code == 200
    )
    assert town.call("PUT", "desired_org_num_nodes/north/3", town.token()).status_code == 200
    olga = house.enrol(town.olga)
    body |= {"username": "olga", "mfa_code": house.code(olga)}
    failed(town.call("PUT", "disable_provisioning", None, json=body), 403)


# Under /v1 ------------------------------------------------------------------------------------------------------------


class Street:
    """The resources of the org `north`, as one of its people asks for them."""

    def __init__(self, town: Town, username: str) -> None:
        self.town = town
        self.token = town.house.log_in(username, org="north")["access_token"]

    def call(self, method: str, path: str, **options: Any) -> Response:
        """One request."""
        return self.town.house.call(method, f"/v1/orgs/north/{path}", self.token, **options)


def test_an_owner_sees_and_configures_the_cluster(town: Town) -> None:
    olga, jane = Street(town, "olga"), Street(town, "jane")
    seen = olga.call("GET", "cluster")
    assert (seen.status_code, seen.json()["state"], seen.json()["max_nodes"]) == (200, "down", 10)
    known = {"If-Match": seen.headers["ETag"]}
    assert olga.call("PUT", "cluster", json={"max_nodes": 4}).status_code == 428
    changed = olga.call("PUT", "cluster", json={"max_nodes": 4, "spot_max_price": "0.25"}, headers=known)
    assert (changed.status_code, changed.json()["max_nodes"], changed.json()["spot_max_price"]) == (200, 4, "0.25")
    assert olga.call("PUT", "cluster", json={"max_nodes": 5}, headers=known).status_code == 412
    assert olga.call("PUT", "cluster", json={"max_nodes": 11}, headers={"If-Match": "*"}).status_code == 400
    assert jane.call("PUT", "cluster", json={"max_nodes": 5}, headers={"If-Match": "*"}).status_code == 403
    assert jane.call("GET", "cluster").json()["min_nodes"] == 0
    versions = town.house.call("GET", "/v1/cluster-versions", olga.token).json()["cluster_versions"]
    assert [version["name"] for version in versions] == ["v1"]


def test_an_owner_deploys_and_shuts_down(town: Town) -> None:
    olga, jane = Street(town, "olga"), Street(town, "jane")
    assert olga.call("POST", "cluster/deploy").status_code == 409
    olga.call("PUT", "cluster", json={"min_nodes": 1}, headers={"If-Match": "*"})
    answers = [olga.call("POST", "cluster/deploy") for _ in range(2)]
    assert [(each.status_code, each.json()["status"]) for each in answers] == [(202, "queued"), (202, "redundant")]
    assert jane.call("POST", "cluster/deploy").status_code == 403
    town.deploy()
    assert olga.call("GET", "cluster").json()["state"] == "up"
    assert olga.call("POST", "cluster/refresh").json() == {"status": "queued"}
    jane.call("POST", "capacity-requests", json={"nodes": 2, "minutes": 60})
    assert olga.call("POST", "cluster/shutdown").status_code == 409
    assert olga.call("POST", "cluster/shutdown", json={"end_requests": True}).json() == {"status": "queued"}
    done = jane.call("GET", "cluster/operations").json()["operations"]
    assert [(each["operation"], each["status"], each["nodes"]) for each in done] == [
        ("scale", "processing", 2),
        ("deploy", "completed", 1),
    ]


def test_an_owner_orders_it_and_a_member_does_not(town: Town) -> None:
    olga, jane = Street(town, "olga"), Street(town, "jane")
    olga.call("PUT", "cluster", json={"min_nodes": 1}, headers={"If-Match": "*"})
    order = {"items": [{"operation": "cluster.deploy", "data": {}}]}
    assert town.house.post("/v1/orders", order, jane.token).status_code == 403
    made = town.house.post("/v1/orders", order, olga.token)
    assert made.status_code in (201, 202)
    town.deploy()
    assert town.house.call("GET", made.headers["Location"], olga.token).json()["status"] == "completed"
    assert olga.call("GET", "cluster").json()["state"] == "up"
    answer = town.house.post("/v1/orders", order, olga.token)
    assert (answer.status_code, answer.json()["title"]) == (409, "the cluster is up")


def test_requests_are_made_seen_and_taken_back(town: Town) -> None:
    jane = Street(town, "jane")
    made = jane.call("POST", "capacity-requests", json={"nodes": 3, "minutes": 60})
    assert (made.status_code, made.json()["state"]) == (201, "accepted")
    seen = town.house.call("GET", made.headers["Location"], jane.token)
    assert seen.json() == made.json()
    (listed,) = jane.call("GET", "capacity-requests?state=accepted").json()["capacity_requests"]
    assert (listed["id"], listed["username"], listed["nodes"]) == (made.json()["id"], "jane", 3)
    assert town.house.call("DELETE", made.headers["Location"], jane.token).status_code == 204
    assert town.house.call("DELETE", made.headers["Location"], jane.token).status_code == 404
    assert jane.call("POST", "capacity-requests", json={"nodes": 3, "minutes": 5}).status_code == 400
    foreign = made.headers["Location"].replace("north", "south")
    assert town.house.call("GET", foreign, jane.token).status_code == 404


def test_owners_accept_and_deactivate_members(town: Town) -> None:
    olga = Street(town, "olga")
    town.house.owner.execute("UPDATE org SET is_joinable = true WHERE slug = 'north'")
    town.house.make_user("paul")
    paul = town.house.log_in("paul")["access_token"]
    assert town.house.post("/v1/orgs/join", {"slug": "north"}, paul).status_code == 201
    (asked,) = olga.call("GET", "memberships?state=requested").json()["memberships"]
    assert asked["username"] == "paul"
    path = f"/v1/memberships/{asked['id']}"
    assert town.house.post(f"{path}/accept", None, olga.token).json()["state"] == "active"
    token = town.token("paul")
    assert town.call("PUT", "desired_org_num_nodes/north/2", token).status_code == 200
    assert town.house.post(f"{path}/deactivate", None, olga.token).json()["state"] == "inactive"
    assert town.house.value("SELECT target_nodes FROM cluster") == 0
    failed(town.call("GET", "membership_status/north", token), 403)


def test_an_owner_reads_the_account_and_its_forecast(town: Town) -> None:
    olga, jane = Street(town, "olga"), Street(town, "jane")
    assert olga.call("GET", "account").status_code == 404
    body = json.dumps({"deposit": "2000", "monthly_allowance": "10"})
    town.house.owner.execute("SELECT account_configure(%s, %s)", [town.house.org, body])
    seen = olga.call("GET", "account").json()
    assert (seen["balance"], seen["burn_rates"]["max"]) == ("2000.0000", "2.413")
    assert sorted(jane.call("GET", "account").json()) == ["balance", "currency", "org_id", "state"]
    for step, count in (("hour", 336), ("day", 90), ("month", 12)):
        points = olga.call("GET", f"forecast?step={step}").json()["points"]
        assert len(points) == count
        assert points[0]["max"] <= points[0]["min"] or float(points[0]["max"]) <= float(points[0]["min"])
    assert jane.call("GET", "forecast").status_code == 403
    drawn = olga.call("GET", "forecast.svg?step=month")
    assert (drawn.status_code, drawn.headers["Content-Type"]) == (200, "image/svg+xml")
    assert "Balance of north" in drawn.text
    assert drawn.text.count("<svg") == 1


# The example ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    """`provision admin …` as the database's owner."""
    monkeypatch.setenv("DATABASE_URL", database.url)
    monkeypatch.setenv("PROVISION_PASSWORD_MEMORY_KIB", "1024")
    monkeypatch.chdir(tmp_path)

    def invoke(command: Any, *arguments: str) -> Any:
        result = CliRunner().invoke(command, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return json.loads(result.output)

    return invoke


def test_the_example_can_be_used_as_it_says(house: House, run: Callable[..., Any]) -> None:
    first, second = (run(example_command, "organization", "--json") for _ in range(2))
    assert first["org"] != second["org"]
    names = ["admin", "admin_password", "admin_totp", "base_url", "inactive", "inactive_password", "members"]
    assert sorted(first) == [*names, "org", "owner", "owner_password"]
    people = [*first["members"], {"username": first["owner"], "password": first["owner_password"]}]
    assert len(people) == 3
    for person in people:
        answer = house.post("/api/org_token/", person | {"org_name": first["org"]})
        assert answer.status_code == 200
        limits = house.call("GET", f"/api/org_num_nodes/{first['org']}/", answer.json()["access"]).json()
        assert (limits["min_nodes"], limits["max_nodes"]) == (0, 10)
    assert house.value("SELECT balance FROM v_account WHERE org = %s", first["org"]) == 2000
    inactive = {"username": first["inactive"], "password": first["inactive_password"], "org_name": first["org"]}
    failed(house.post("/api/org_token/", inactive), 403)
    admin = {"username": first["admin"], "password": first["admin_password"]}
    code = {"mfa_code": house.code(first["admin_totp"])}
    assert house.call("PUT", "/api/disable_provisioning/", json=admin | code).status_code == 200


def test_an_admin_gets_a_second_factor(house: House, run: Callable[..., Any], owner: psycopg.Connection) -> None:
    house.make_user("root", is_platform_admin=True)
    given = run(mfa_command, "--username", "root", "--json")
    assert given["uri"] == totp.uri(given["secret"], "root")
    assert house.try_log_in("root").status_code == 401
    assert house.try_log_in("root", totp=house.code(given["secret"])).status_code == 201
