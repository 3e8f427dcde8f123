"""Log-ins: passwords, attempts, sessions and their tokens, second factors, sign-ups."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, LiteralString
from unittest.mock import patch

import argon2
import jwt
import pytest
from httpx2 import Response
from moto.sesv2.models import sesv2_backends
from provision_api import password, totp
from provision_api.app import make_app
from provision_api.problem import Problem
from provision_worker.actions import default_actions
from provision_worker.providers.aws import Account
from starlette.testclient import TestClient

from . import session_fixtures, worker_fixtures
from .api_fixtures import host, settings_for
from .conftest import ConnectAs, Database
from .session_fixtures import PASSWORD, House
from .worker_fixtures import Engine, eventually

house = session_fixtures.house
engine = worker_fixtures.engine
aws = worker_fixtures.aws


def told(answer: Response) -> dict[str, Any]:
    """All that an answer says, but for the number of the request."""
    return {
        "status": answer.status_code,
        **answer.json(),
        "request_id": None,
        "challenge": answer.headers.get("www-authenticate"),
    }


# Logging in


def test_a_password_gives_tokens_that_say_who_it_is(house: House) -> None:
    tokens = house.log_in(org="north")
    claims = jwt.decode(tokens["access_token"], options={"verify_signature": False})
    assert claims | {"exp": 0, "iat": 0, "jti": ""} == {
        "token_type": "access",
        "exp": 0,
        "iat": 0,
        "jti": "",
        "sub": str(house.jane.id),
        "user_id": str(house.jane.id),
        "user_name": "jane",
        "org_name": "north",
    }
    assert claims["exp"] - claims["iat"] == tokens["expires_in"] == 86400
    assert tokens["refresh_expires_in"] == 30 * 86400
    assert (tokens["token_type"], tokens["org"]) == ("Bearer", "north")
    me = house.call("GET", "/v1/me", tokens["access_token"]).json()
    assert (me["username"], me["tenant_customer_id"], me["org_id"]) == ("jane", str(house.account), str(house.org))
    assert house.audit(house.jane) == ["logged in by password"]


def test_a_username_is_case_folded(house: House) -> None:
    assert house.log_in("JANE")["org"] is None


@pytest.mark.parametrize("scheme", ["Token", "Bearer", "bearer"])
def test_a_token_is_accepted_under_both_names(house: House, scheme: str) -> None:
    token = house.log_in()["access_token"]
    answer = house.call("GET", "/v1/me", headers={"Authorization": f"{scheme} {token}"})
    assert answer.status_code == 200


def test_a_refresh_token_lives_no_shorter_than_its_access_token(house: House) -> None:
    house.set("token_refresh_seconds", 60)
    tokens = house.log_in()
    assert tokens["refresh_expires_in"] == tokens["expires_in"] == 86400


def test_an_unknown_user_and_a_wrong_password_are_answered_alike(house: House) -> None:
    answers = []
    for username in ("jane", "nobody"):
        with patch.object(
            argon2.PasswordHasher, "verify", autospec=True, side_effect=argon2.PasswordHasher.verify
        ) as verify:
            answers.append(told(house.try_log_in(username, "wrong password")))
        ((_, compared, given), _) = verify.call_args
        # As much work for the one as for the other: one comparison, with a hash of the same cost.
        assert verify.call_count == 1
        assert given == b"wrong password"
        assert argon2.extract_parameters(compared) == argon2.extract_parameters(session_fixtures.HASH)
    assert answers[0] == answers[1]
    assert answers[0]["status"] == 401


def test_a_user_without_a_password_cannot_log_in_with_one(house: House) -> None:
    house.owner.execute("DELETE FROM credential")
    assert house.try_log_in().status_code == 401


def test_an_old_hash_is_made_anew_with_the_parameters_of_now(house: House) -> None:
    weak = argon2.PasswordHasher(memory_cost=512, time_cost=1).hash(PASSWORD)
    house.owner.execute("UPDATE credential SET secret = %s", [weak])
    house.log_in()
    stored = house.value("SELECT secret FROM credential")
    assert argon2.extract_parameters(stored).memory_cost == 1024
    house.log_in()


ENDS: dict[str, LiteralString] = {
    "disabled": "UPDATE app_user SET status = 'disabled' WHERE username = 'jane'",
    "suspended": "UPDATE customer SET status = 'suspended'",
    "to be removed": "UPDATE customer SET status = 'to_be_removed', removal_date = engine_now() + interval '1 day'",
    "inactive account": "UPDATE tenant_customer SET is_active = false",
    "inactive member": "UPDATE membership SET state = 'inactive'",
    "removed member": "UPDATE membership SET state = 'removed'",
    "lapsed member": "UPDATE membership SET expires_date = engine_now()",
    "removed org": "UPDATE org SET status = 'removed' WHERE slug = 'north'",
    "revoked key": "SELECT signing_key_revoke(id) FROM signing_key",
    "expired": "SELECT clock_advance('1 day')",
    "blocked": "DELETE FROM access_token",
}


@pytest.mark.parametrize("how", ENDS)
def test_what_ends_a_session_ends_it_at_the_next_request(house: House, how: str) -> None:
    token = house.log_in(org="north")["access_token"]
    assert house.me(token) == 200
    house.owner.execute(ENDS[how])
    answer = house.call("GET", "/v1/me", token)
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize(
    "back",
    [
        "UPDATE app_user SET status = %s WHERE username = 'jane'",
        "UPDATE membership SET state = %s WHERE role = 'developer'",
    ],
)
def test_what_was_ended_stays_ended(house: House, back: LiteralString) -> None:
    """Whoever is let in again logs in again."""
    tokens, other = house.log_in(org="north"), house.log_in()
    house.owner.execute(back, ["disabled" if "app_user" in back else "inactive"])
    house.owner.execute(back, ["active"])
    assert house.me(tokens["access_token"]) == house.refresh(tokens["refresh_token"]).status_code == 401
    assert house.me(other["access_token"]) == (401 if "app_user" in back else 200)
    house.log_in(org="north")


def test_nothing_secret_is_kept_of_a_user_who_is_removed(house: House) -> None:
    token = house.log_in()["access_token"]
    house.enrol(house.jane)
    house.owner.execute("INSERT INTO identity (issuer, subject, user_id) VALUES ('x', 'x', %s)", [house.jane.id])
    removal: LiteralString = "status = 'disabled', email = NULL, name = NULL, removed_date = engine_now()"
    house.owner.execute("UPDATE app_user SET " + removal + " WHERE id = %s", [house.jane.id])
    assert house.me(token) == 401
    for table in ("credential", "identity", "verification"):
        assert house.value(f"SELECT count(*) FROM {table}".encode()) == 0  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["disabled", "suspended", "inactive member"])
def test_what_ends_a_session_ends_its_refresh_token_too(house: House, how: str) -> None:
    token = house.log_in(org="north")["refresh_token"]
    house.owner.execute(ENDS[how])
    assert house.refresh(token).status_code == 401


def test_a_user_of_a_suspended_customer_cannot_log_in(house: House) -> None:
    house.owner.execute("UPDATE app_user SET customer_id = (SELECT customer_id FROM tenant_customer)")
    token = house.log_in()["access_token"]
    house.owner.execute(ENDS["suspended"])
    assert house.me(token) == 401
    assert house.try_log_in().status_code == 401


@pytest.mark.parametrize(("org", "status"), [("south", 404), ("nowhere", 404), ("north", 403)])
def test_nobody_logs_in_to_an_org_they_are_no_active_member_of(house: House, org: str, status: int) -> None:
    house.owner.execute("UPDATE membership SET state = 'inactive'")
    assert house.try_log_in(org=org).status_code == status


def test_a_member_of_the_whole_customer_logs_in_to_any_of_its_orgs(house: House) -> None:
    joe = house.make_user("joe")
    house.join(joe, None)
    token = house.log_in("joe", org=str(house.other_org))["access_token"]
    assert house.call("GET", "/v1/me", token).json()["org_id"] == str(house.other_org)


# For which account


def scope(house: House, token: str, **headers: str) -> tuple[int, Any, Any]:
    """Status, account and org of a request."""
    answer = house.call("GET", "/v1/me", token, headers=headers)
    return answer.status_code, answer.json().get("tenant_customer_id"), answer.json().get("org_id")


def test_a_request_acts_for_the_account_and_org_that_headers_name(house: House) -> None:
    token, account = house.log_in()["access_token"], str(house.account)
    # The only ones there are need not be named.
    assert scope(house, token) == (200, account, str(house.org))
    house.join(house.jane, house.other_org)
    assert scope(house, token) == (200, None, None)
    assert scope(house, token, **{"Provision-Org": "south"}) == (200, account, str(house.other_org))
    assert scope(house, token, **{"Provision-Org": str(house.org)}) == (200, account, str(house.org))
    assert scope(house, token, **{"Provision-Org": "south", "Provision-Account": account})[0] == 200
    for foreign in ({"Provision-Org": "nowhere"}, {"Provision-Account": "nobody"}):
        assert scope(house, token, **foreign)[0] == 404


def test_no_header_leads_out_of_what_a_token_or_key_is_for(house: House) -> None:
    house.join(house.jane, house.other_org)
    token = house.log_in(org="north")["access_token"]
    assert scope(house, token) == (200, str(house.account), str(house.org))
    assert scope(house, token, **{"Provision-Org": "south"})[0] == 404
    key = house.customer.key
    assert scope(house, key) == (200, str(house.account), None)
    assert scope(house, key, **{"Provision-Org": "south"}) == (200, str(house.account), str(house.other_org))
    assert scope(house, key, **{"Provision-Account": "nobody"})[0] == 404


def test_what_the_role_does_not_allow_is_forbidden(house: House) -> None:
    house.join(house.make_user("vera"), house.org, "viewer")
    order = {"items": [host()]}
    statuses = {
        name: house.post("/v1/orders", order, house.log_in(name, org="north")["access_token"]).status_code
        for name in ("jane", "vera")
    }
    assert statuses == {"jane": 202, "vera": 403}


# Attempts


def test_attempts_are_limited_per_user_known_or_not(house: House) -> None:
    house.set("attempt_user_limit", 3)
    for username in ("jane", "nobody"):
        answers = [house.try_log_in(username, "wrong password") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
        assert 895 <= int(answers[3].headers["retry-after"]) <= 900
    with patch.object(argon2.PasswordHasher, "verify") as verify:
        assert house.try_log_in().status_code == 429
    verify.assert_not_called()
    house.pass_time("15 minutes")
    house.log_in()


def test_attempts_are_limited_per_address_and_do_not_lock_users_out(house: House) -> None:
    house.set("attempt_address_limit", 3)
    statuses = [house.try_log_in(f"user{n}", "wrong password").status_code for n in range(4)]
    assert statuses == [401, 401, 401, 429]
    assert house.value("SELECT count(*) FROM login_attempt WHERE kind = 'user' AND key = 'user3'") == 0


def test_a_right_password_has_attempts_counted_anew(house: House) -> None:
    house.set("attempt_user_limit", 2)
    for _ in range(3):
        assert house.try_log_in(password="wrong password").status_code == 401
        house.log_in()


def test_attempts_at_the_same_moment_are_no_more_than_the_limit(house: House) -> None:
    house.set("attempt_user_limit", 5)
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: house.try_log_in(password="wrong password").status_code, range(20)))
    assert sorted(answers) == [401] * 5 + [429] * 15


# Rotation


def test_a_refresh_token_gives_the_next_pair_and_the_old_access_token_stays(house: House) -> None:
    first = house.log_in(org="north")
    second = house.refresh(first["refresh_token"])
    assert second.status_code == 201
    assert second.json()["org"] == "north"
    assert house.me(first["access_token"]) == house.me(second.json()["access_token"]) == 200
    assert house.refresh(second.json()["refresh_token"]).status_code == 201


def test_a_spent_refresh_token_ends_the_whole_family(house: House) -> None:
    other = house.log_in()
    first = house.log_in()
    second = house.refresh(first["refresh_token"]).json()
    assert house.refresh(first["refresh_token"]).status_code == 401
    assert house.me(first["access_token"]) == house.me(second["access_token"]) == 401
    assert house.refresh(second["refresh_token"]).status_code == 401
    assert house.me(other["access_token"]) == 200
    assert house.audit(house.jane)[-1] == "session ended: a spent refresh token was used again"


def test_of_two_at_the_same_moment_one_wins_and_the_other_ends_the_family(house: House, connect_as: ConnectAs) -> None:
    """Run for real: the second waits until the first has committed its next pair, and must end that too."""
    token = house.log_in()["refresh_token"]
    head, claims = jwt.get_unverified_header(token), jwt.decode(token, options={"verify_signature": False})
    call: LiteralString = "SELECT access_jti, refresh_jti FROM session_refresh(%s, %s, %s)"
    parameters = [head["kid"], claims["jti"], claims["user_id"]]
    one, two = connect_as("provision_api"), connect_as("provision_api")
    waiting: LiteralString = (
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%%session_refresh%%'"
    )
    with ThreadPoolExecutor(1) as thread:
        with one.transaction():
            won = one.execute(call, parameters).fetchall()
            later = thread.submit(lambda: two.execute(call, parameters).fetchall())
            eventually(lambda: house.value(waiting), "the second's wait")
        assert (len(won), later.result(10)) == (1, [])
    assert house.value("SELECT ended_reason FROM session") == "a spent refresh token was used again"
    found = house.rows("SELECT * FROM session_caller(%s, %s, %s)", head["kid"], won[0][0], claims["user_id"])
    assert found == []


def test_an_expired_refresh_token_is_refused(house: House) -> None:
    token = house.log_in()["refresh_token"]
    house.pass_time("30 days")
    assert house.refresh(token).status_code == 401


def test_tokens_are_good_for_their_own_purpose_only(house: House) -> None:
    tokens = house.log_in()
    assert house.me(tokens["refresh_token"]) == 401
    assert house.refresh(tokens["access_token"]).status_code == 401
    assert house.refresh("x").status_code == 401


# Logging out


def test_logging_out_ends_the_tokens_of_the_session(house: House) -> None:
    first, other = house.log_in(), house.log_in()
    second = house.refresh(first["refresh_token"]).json()
    assert house.call("DELETE", "/v1/sessions", second["access_token"]).status_code == 204
    assert house.me(first["access_token"]) == house.me(second["access_token"]) == 401
    assert house.refresh(second["refresh_token"]).status_code == 401
    assert house.me(other["access_token"]) == 200


def test_logging_out_everywhere_ends_all_sessions_of_the_user(house: House) -> None:
    joe = house.make_user("joe")
    tokens, other, joes = house.log_in(), house.log_in(), house.log_in(joe.username)
    assert house.call("DELETE", "/v1/sessions?all=true", tokens["access_token"]).status_code == 204
    assert house.me(tokens["access_token"]) == house.me(other["access_token"]) == 401
    assert house.me(joes["access_token"]) == 200


def test_an_api_key_has_no_session_to_end(house: House) -> None:
    assert house.call("DELETE", "/v1/sessions", house.customer.key).status_code == 403


# Passwords


@pytest.mark.parametrize("given", ["short77", "ä" * 513, "jane.doe@example.net", "JANE.DOE@example.net"])
def test_passwords_that_do_not_do(given: str) -> None:
    with pytest.raises(Problem) as caught:
        password.check(given, "jane.doe@example.net")
    assert caught.value.status == 422


@pytest.mark.parametrize("given", ["eight888", "ä" * 512])
def test_passwords_that_do(given: str) -> None:
    password.check(given, "jane")


def test_a_password_that_is_too_long_is_refused_before_anything_is_compared(house: House) -> None:
    with patch.object(argon2.PasswordHasher, "verify") as verify:
        assert house.try_log_in(password="x" * 1025).status_code == 400
    verify.assert_not_called()


def test_a_password_is_the_same_however_it_is_composed(house: House) -> None:
    token = house.log_in()["access_token"]
    change = {"current": PASSWORD, "new": "caf\u00e9 au lait"}
    assert house.post("/v1/me/password", change, token).status_code == 204
    assert house.try_log_in(password="cafe\u0301 au lait").status_code == 201


def test_changing_the_password_takes_the_old_one_and_ends_other_sessions(house: House) -> None:
    mine, other = house.log_in(), house.log_in()
    token = mine["access_token"]
    wrong = house.post("/v1/me/password", {"current": "wrong password", "new": "another horse"}, token)
    assert wrong.status_code == 403
    assert house.post("/v1/me/password", {"new": "another horse"}, token).status_code == 403
    assert house.post("/v1/me/password", {"current": PASSWORD, "new": "short"}, token).status_code == 422
    assert house.post("/v1/me/password", {"current": PASSWORD, "new": "another horse"}, token).status_code == 204
    assert (house.me(token), house.me(other["access_token"])) == (200, 401)
    assert house.try_log_in().status_code == 401
    house.log_in(password="another horse")


def test_guessing_the_password_with_a_session_is_limited_too(house: House) -> None:
    house.set("attempt_user_limit", 2)
    token = house.log_in()["access_token"]
    guess = {"current": "wrong password", "new": "another horse"}
    assert [house.post("/v1/me/password", guess, token).status_code for _ in range(3)] == [403, 403, 429]


def test_log_ins_beyond_what_can_wait_are_put_off(house: House) -> None:
    with patch.object(password, "QUEUE_LIMIT", 0):
        answer = house.try_log_in()
    assert answer.status_code == 503
    assert "retry-after" in answer.headers


# Second factors


@pytest.mark.parametrize(
    ("seconds", "code"),
    [
        (59, "94287082"),
        (1111111109, "07081804"),
        (1111111111, "14050471"),
        (1234567890, "89005924"),
        (2000000000, "69279037"),
        (20000000000, "65353130"),
    ],
)
def test_codes_are_those_of_rfc_6238(seconds: int, code: str) -> None:
    secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
    assert totp.code_at(secret, seconds // 30, digits=8) == code
    assert totp.matching_step(secret, code[2:], seconds) == seconds // 30
    assert totp.matching_step(secret, code[2:], seconds + 30) == seconds // 30
    assert totp.matching_step(secret, code[2:], seconds + 60) is None


def test_a_second_factor_is_enrolled_confirmed_and_then_asked_for(house: House) -> None:
    token = house.log_in()["access_token"]
    assert house.post("/v1/me/totp", {"password": "wrong password"}, token).status_code == 403
    made = house.post("/v1/me/totp", {"password": PASSWORD}, token)
    assert made.status_code == 201
    secret = made.json()["secret"]
    assert made.json()["uri"].startswith(f"otpauth://totp/Provision%3Ajane?secret={secret}")
    house.log_in()  # It does not count before it is confirmed.
    assert house.post("/v1/me/totp/confirm", {"totp": "000000"}, token).status_code == 422
    assert house.post("/v1/me/totp/confirm", {"totp": house.code(secret)}, token).status_code == 204
    assert house.call("GET", "/v1/me", token).json()["has_totp"] is True
    missing = house.try_log_in()
    assert (missing.status_code, missing.json()["title"]) == (401, "a second factor is required")
    assert house.try_log_in(totp="000000").status_code == 401
    assert house.try_log_in(password="wrong password", totp=house.code(secret, 1)).status_code == 401
    house.log_in(totp=house.code(secret, 1))
    assert house.post("/v1/me/totp", {"password": PASSWORD}, token).status_code == 409


@pytest.mark.parametrize("flags", [{"is_platform_admin": True}, {}])
def test_a_code_is_accepted_once(house: House, flags: dict[str, Any]) -> None:
    admin = house.make_user("root", **flags)
    secret = house.enrol(admin)
    code = house.code(secret)
    assert house.try_log_in("root").status_code == 401
    house.log_in("root", totp=code)
    replayed = house.try_log_in("root", totp=code)
    assert (replayed.status_code, replayed.json()["detail"]) == (401, "the code was used already")
    assert house.try_log_in("root", totp=house.code(secret, -1)).status_code == 401
    house.pass_time("30 seconds")
    house.log_in("root", totp=house.code(secret))


def test_the_code_that_confirmed_is_not_good_for_a_log_in(house: House) -> None:
    token = house.log_in()["access_token"]
    secret = house.post("/v1/me/totp", {"password": PASSWORD}, token).json()["secret"]
    code = house.code(secret)
    assert house.post("/v1/me/totp/confirm", {"totp": code}, token).status_code == 204
    assert house.try_log_in(totp=code).status_code == 401


def test_codes_are_guessed_no_more_often_than_passwords(house: House) -> None:
    house.enrol(house.jane)
    house.set("attempt_user_limit", 3)
    assert [house.try_log_in(totp="000000").status_code for _ in range(4)] == [401, 401, 401, 429]


def test_removing_a_second_factor_takes_a_code_of_it(house: House) -> None:
    token = house.log_in()["access_token"]
    secret = house.enrol(house.jane)
    assert house.post("/v1/me/totp/remove", {"totp": "000000"}, token).status_code == 422
    assert house.post("/v1/me/totp/remove", {"totp": house.code(secret)}, token).status_code == 204
    house.log_in()
    assert house.post("/v1/me/totp/remove", {"totp": house.code(secret)}, token).status_code == 409


def test_an_operator_helps_a_user_who_lost_the_authenticator(house: House, connect_as: ConnectAs) -> None:
    token = house.log_in()["access_token"]
    house.enrol(house.jane)
    connect_as("provision_operator").execute("SELECT credential_reset('jane')")
    assert house.me(token) == 401
    house.log_in()


# Signing up

SIGN_UP = {"username": "anna", "email": "anna@example.net", "password": PASSWORD}


def code_of(house: House, username: str = "anna") -> str:
    """The code that an operator reads."""
    code: str = house.value("SELECT code FROM v_verification WHERE username = %s", username)
    return code


def verify(house: House, code: str, username: str = "anna") -> int:
    return house.post("/v1/register/verify", {"username": username, "code": code}).status_code


def test_somebody_signs_up_is_verified_and_logs_in(house: House) -> None:
    made = house.post("/v1/register", SIGN_UP)
    assert made.status_code == 201
    early = house.try_log_in("anna")
    assert (early.status_code, early.json()["title"]) == (403, "the e-mail address is not verified")
    attention = house.rows("SELECT reason, call FROM v_attention WHERE what = 'verification'")
    assert attention[0]["reason"].startswith("anna waits for the code")
    assert house.value(attention[0]["call"].encode()) == code_of(house)
    assert verify(house, code_of(house).lower()) == 204
    token = house.log_in("anna")["access_token"]
    me = house.call("GET", "/v1/me", token).json()
    assert (me["id"], me["is_platform_admin"], me["tenant_customer_id"]) == (made.json()["id"], False, None)
    assert house.rows("SELECT * FROM v_verification") == []
    assert verify(house, "ABCDEFGH") == 422


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"username": "JANE"}, 409),
        ({"username": "-"}, 400),
        ({"email": "nowhere"}, 400),
        ({"password": "short"}, 422),
        ({"password": "x" * 1025}, 400),
        ({"is_platform_admin": True}, 400),
    ],
)
def test_sign_ups_that_are_refused(house: House, change: dict[str, Any], status: int) -> None:
    assert house.post("/v1/register", SIGN_UP | change).status_code == status
    assert house.value("SELECT count(*) FROM app_user WHERE NOT is_technical") == 1


def test_a_code_can_be_tried_so_often(house: House) -> None:
    house.post("/v1/register", SIGN_UP)
    code = code_of(house)
    wrong = "A" * 8 if code != "A" * 8 else "B" * 8
    assert [verify(house, wrong) for _ in range(5)] == [422] * 5
    assert verify(house, code) == 422
    assert house.post("/v1/register/code", {"username": "anna"}).status_code == 202
    assert verify(house, code) == 422
    assert verify(house, code_of(house)) == 204


def test_a_code_expires(house: House) -> None:
    house.post("/v1/register", SIGN_UP)
    code = code_of(house)
    house.pass_time("1 day")
    assert verify(house, code) == 422


def test_another_code_is_asked_for_without_learning_who_there_is(house: House) -> None:
    answers = [house.post("/v1/register/code", {"username": name}) for name in ("jane", "nobody")]
    assert [(answer.status_code, answer.content) for answer in answers] == [(202, b"")] * 2
    assert house.rows("SELECT * FROM v_verification") == []


def test_sign_ups_are_limited_per_address(house: House) -> None:
    house.set("attempt_register_limit", 2)
    names = ["anna", "anna", "berta"]
    assert [house.post("/v1/register", SIGN_UP | {"username": name}).status_code for name in names] == [201, 409, 429]


def test_every_code_is_another(house: House) -> None:
    house.post("/v1/register", SIGN_UP)
    codes = {code_of(house)}
    for _ in range(100):
        house.owner.execute("SELECT verification_make((SELECT id FROM app_user WHERE username = 'anna'), 'email')")
        codes.add(code_of(house))
    assert len(codes) == 101
    assert {len(code) for code in codes} == {8}
    assert set("".join(codes)) == set("ABCDEFGHJKLMNPQRSTUVWXYZ23456789")


@pytest.mark.parametrize(("allowed", "admins"), [(0, 0), (1, 1)])
def test_the_first_becomes_platform_admin_where_that_is_allowed(house: House, allowed: int, admins: int) -> None:
    house.set("allow_first_admin", allowed)
    for username in ("anna", "berta"):
        house.post("/v1/register", SIGN_UP | {"username": username})
        assert verify(house, code_of(house, username), username) == 204
    found = house.rows("SELECT username FROM app_user WHERE is_platform_admin")
    assert [row["username"] for row in found] == ["anna"][:admins]


def test_of_two_who_are_first_at_the_same_moment_one_becomes_platform_admin(
    house: House, connect_as: ConnectAs
) -> None:
    house.set("allow_first_admin", 1)
    for username in ("anna", "berta"):
        house.post("/v1/register", SIGN_UP | {"username": username})
    one, two = connect_as("provision_api"), connect_as("provision_api")
    call: LiteralString = "SELECT user_verify(%s, %s)"
    waiting: LiteralString = (
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%%user_verify%%'"
    )
    codes = {name: code_of(house, name) for name in ("anna", "berta")}
    with ThreadPoolExecutor(1) as thread:
        with one.transaction():
            one.execute(call, ["anna", codes["anna"]])
            later = thread.submit(lambda: two.execute(call, ["berta", codes["berta"]]).fetchone())
            eventually(lambda: house.value(waiting), "the second's wait")
        assert later.result(10) == (True,)
    assert house.rows("SELECT username FROM app_user WHERE is_platform_admin") == [{"username": "anna"}]


def test_codes_are_mailed_where_mails_can_be_sent(house: House, engine: Engine, aws: str) -> None:
    Account(endpoint_url=aws).ses.create_email_identity(EmailIdentity="desk@example.net")
    house.set("mail_from", "desk@example.net")
    house.post("/v1/register", SIGN_UP)
    code, (job,) = code_of(house), house.rows("SELECT id, data FROM job")
    assert code not in json.dumps(job["data"], default=str)
    assert house.rows("SELECT * FROM v_attention WHERE what = 'verification'") == []
    with engine.worker(default_actions(), aws_endpoint_url=aws):
        ended = engine.ended(job["id"])
    assert (ended["status"], ended["result"]["mailed"]) == ("completed", True), ended
    assert code not in json.dumps(ended, default=str)
    (sent,) = sesv2_backends["123456789012"]["us-east-1"].core_backend.sent_messages
    assert (sent.source, sent.destinations["ToAddresses"]) == ("desk@example.net", ["anna@example.net"])
    assert code in sent.body
    assert code_of(house) is None
    assert verify(house, code) == 204


def test_a_mail_that_is_not_wanted_any_more_is_not_sent(house: House, engine: Engine, aws: str) -> None:
    house.set("mail_from", "desk@example.net")
    house.post("/v1/register", SIGN_UP)
    assert verify(house, code_of(house)) == 204
    with engine.worker(default_actions(), aws_endpoint_url=aws):
        assert engine.ended(house.value("SELECT id FROM job"))["result"] == {"mailed": False}


# House-keeping and rights


def test_what_has_expired_is_forgotten(house: House) -> None:
    first = house.log_in(org="north")
    house.refresh(first["refresh_token"])
    house.try_log_in(password="wrong password")
    house.post("/v1/register", SIGN_UP)
    house.owner.execute("SELECT signing_key_rotate(%s)", [house.org])
    tables = ("session", "refresh_token", "access_token", "login_attempt", "verification", "signing_key")

    def counts() -> list[int]:
        return [house.value(f"SELECT count(*) FROM {table}".encode()) for table in tables]  # type: ignore[arg-type]

    assert counts() == [1, 2, 2, 3, 1, 2]
    house.owner.execute("SELECT engine_sweep(NULL)")
    assert counts() == [1, 2, 2, 3, 1, 2]
    house.pass_time("1 day")
    house.owner.execute("SELECT engine_sweep(NULL)")
    assert counts() == [1, 2, 0, 0, 0, 2]
    house.pass_time("30 days")
    house.owner.execute("SELECT engine_sweep(NULL)")
    assert counts() == [0, 0, 0, 0, 0, 1]


def test_no_secret_is_in_the_audit_trail(house: House) -> None:
    house.post("/v1/register", SIGN_UP)
    code = code_of(house)
    verify(house, code)
    house.enrol(house.jane)
    house.post("/v1/me/password", {"current": PASSWORD, "new": "another horse"}, house.log_in("anna")["access_token"])
    trail = json.dumps(house.rows("SELECT * FROM audit_trail_log"), default=str)
    for secret in ("argon2", code, PASSWORD, "another horse"):
        assert secret not in trail


def test_threads_of_the_hasher_end_with_the_application(database: Database) -> None:
    def threads() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("argon2")]

    with TestClient(make_app(settings_for(database.url))) as client:
        client.post("/v1/sessions", json={"username": "nobody", "password": PASSWORD})
        assert threads()
    assert threads() == []
