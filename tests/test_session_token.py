"""Tokens that are not what they should be, keys that change, and what others can verify."""

import base64
import json
import time
from collections.abc import Callable
from typing import Any, LiteralString
from uuid import UUID, uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from provision_api.token import Key, TokenError, key_id, read

from . import session_fixtures
from .conftest import ConnectAs
from .session_fixtures import House

house = session_fixtures.house

SECRET = bytes(range(32))
KEY = Key(UUID(int=1), "HS256", SECRET, "north")
ED_KEY = Key(UUID(int=2), "EdDSA", SECRET, None)
# Tokens are issued by the engine's clock, which a run of the tests may turn forward.
OUR_TIME: Any = {"verify_iat": False}


def claims(**changes: Any) -> dict[str, Any]:
    """The claims of a token that is good; those that are None are left out."""
    user, now = str(UUID(int=7)), int(time.time())
    all = {
        "token_type": "access",
        "exp": now + 60,
        "iat": now,
        "jti": str(UUID(int=9)),
        "sub": user,
        "user_id": user,
        "user_name": "jane",
        "org_name": "north",
    } | changes
    return {name: value for name, value in all.items() if value is not None}


def signed(given: dict[str, Any], key: Any = SECRET, algorithm: str = "HS256", kid: Any = KEY.kid) -> str:
    return jwt.encode(given, key, algorithm, {"kid": str(kid)})


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_a_good_token_is_read() -> None:
    token = signed(claims())
    assert key_id(token) == KEY.kid
    assert read(token, "access", KEY) == (found := read(token, "access", KEY))
    assert (found.jti, found.user) == (UUID(int=9), UUID(int=7))
    everywhere = signed(claims(org_name=""), ED_KEY.private, "EdDSA", ED_KEY.kid)
    assert read(everywhere, "access", ED_KEY).user == UUID(int=7)


def unsigned(head: dict[str, Any]) -> str:
    return f"{part(head)}.{part(claims())}."


def confused() -> str:
    """The public key of an EdDSA key, which everybody has, taken as an HMAC secret."""
    public = ED_KEY.private.public_key()
    return jwt.encode(claims(org_name=""), public.public_bytes(Encoding.Raw, PublicFormat.Raw), "HS256")


@pytest.mark.parametrize(
    ("token", "key"),
    [
        (signed(claims(), bytes(32)), KEY),
        (unsigned({"alg": "none"}), KEY),
        (unsigned({"alg": "None", "typ": "JWT"}), KEY),
        (signed(claims(), SECRET, "HS512"), KEY),
        (signed(claims(), ED_KEY.private, "EdDSA"), KEY),
        (confused(), ED_KEY),
        (signed(claims(org_name=""), SECRET, "HS256"), ED_KEY),
        (signed(claims(exp=int(time.time()) - 1)), KEY),
        (signed(claims(exp="tomorrow")), KEY),
        (signed(claims(token_type="refresh")), KEY),
        (signed(claims(org_name="south")), KEY),
        (signed(claims(org_name="")), KEY),
        (signed(claims(sub=str(UUID(int=8)))), KEY),
        (signed(claims(jti="9")), KEY),
        (signed(claims(user_id=7, sub="7")), KEY),
        *((signed(claims(**{name: None})), KEY) for name in claims()),
        ("..", KEY),
        (f"{part([])}.{part(claims())}.", KEY),
        (signed(claims()) + "x", KEY),
    ],
)
def test_a_token_that_is_not_what_it_should_be_is_not_read(token: str, key: Key) -> None:
    with pytest.raises(TokenError):
        read(token, "access", key)


@pytest.mark.parametrize("head", [{}, {"kid": 7}, {"kid": None}, {"kid": "x"}, {"kid": ["x"]}, [], "x"])
def test_a_token_that_names_no_key_has_none(head: Any) -> None:
    for token in (f"{part(head)}.{part(claims())}.", f"{part(head)}.x.x", "x" * 5000):
        with pytest.raises(TokenError):
            key_id(token)


@given(st.text(max_size=200))
def test_no_text_is_read_as_a_token(text: str) -> None:
    for ask in (lambda: key_id(text), lambda: read(text, "access", KEY)):
        with pytest.raises(TokenError):
            ask()


# Over HTTP, with the keys of the database


def key_of(house: House, org: UUID | None) -> tuple[UUID, bytes]:
    row = house.rows(
        "SELECT id, secret FROM signing_key WHERE org_id IS NOT DISTINCT FROM %s AND retired_date IS NULL", org
    )[0]
    return row["id"], row["secret"]


def forged(house: House, token: str, secret: bytes | None = None, kid: UUID | None = None, **changes: Any) -> str:
    """The token with other claims, signed anew, with the org's key unless told otherwise."""
    given = jwt.decode(token, options={"verify_signature": False}) | changes
    own, own_secret = key_of(house, house.org)
    return signed(given, secret or own_secret, kid=kid or own)


FORGERIES: dict[str, Callable[[House, str], str]] = {
    "another secret": lambda house, token: forged(house, token, bytes(32)),
    "an unknown key": lambda house, token: forged(house, token, kid=uuid4()),
    "a number nobody was given": lambda house, token: forged(house, token, jti=str(uuid4())),
    "another user": lambda house, token: of_another_user(house, token),
    "another org": lambda house, token: forged(house, token, org_name="south"),
    "no org": lambda house, token: forged(house, token, org_name=""),
    "another org's key": lambda house, token: other_key(house, token),
    "no signature": lambda house, token: (
        f"{part({'alg': 'none', 'kid': str(key_of(house, house.org)[0])})}.{token.split('.')[1]}."
    ),
}


def of_another_user(house: House, token: str) -> str:
    joe = str(house.make_user("joe").id)
    return forged(house, token, sub=joe, user_id=joe)


def other_key(house: House, token: str) -> str:
    house.join(house.jane, house.other_org)
    house.log_in(org="south")
    kid, secret = key_of(house, house.other_org)
    return forged(house, token, secret, kid, org_name="south")


@pytest.mark.parametrize("what", FORGERIES)
def test_a_forged_token_is_refused(house: House, what: str) -> None:
    token = house.log_in(org="north")["access_token"]
    assert house.me(token) == 200
    answer = house.call("GET", "/v1/me", FORGERIES[what](house, token))
    assert answer.status_code == 401
    assert answer.json()["title"] == "the access token is not valid"
    assert house.me(token) == 200


def test_the_time_in_a_forged_token_does_not_count(house: House) -> None:
    """Somebody who knows the org's key and a token cannot make it last longer."""
    token = house.log_in(org="north")["access_token"]
    longer = forged(house, token, exp=int(time.time()) + 10**7)
    assert house.me(longer) == 200
    house.pass_time("1 day")
    assert house.me(longer) == 401


@pytest.mark.parametrize("given", ["x.y.z", "a.b", "Token", "x" * 41, "0" * 39])
def test_malformed_credentials_are_refused(house: House, given: str) -> None:
    assert house.me(given) == 401


# Rotation of keys


def test_tokens_of_a_retired_key_are_good_until_they_end(house: House, connect_as: ConnectAs) -> None:
    old = house.log_in(org="north")
    kid = connect_as("provision_operator").execute("SELECT signing_key_rotate(%s)", [house.org]).fetchone()
    new = house.log_in(org="north")
    assert kid
    assert str(kid[0]) == jwt.get_unverified_header(new["access_token"])["kid"]
    assert jwt.get_unverified_header(old["access_token"])["kid"] != str(kid[0])
    assert house.me(old["access_token"]) == house.me(new["access_token"]) == 200
    house.pass_time("29 days")
    next = house.refresh(old["refresh_token"])
    assert next.status_code == 201
    assert jwt.get_unverified_header(next.json()["access_token"])["kid"] == str(kid[0])
    house.pass_time("1 day")
    house.owner.execute("SELECT engine_sweep(NULL)")
    assert house.value("SELECT count(*) FROM v_signing_key WHERE org = 'north'") == 1


def test_a_revoked_key_ends_its_tokens_at_once_and_no_others(house: House, connect_as: ConnectAs) -> None:
    leaked, other = house.log_in(org="north"), house.log_in()
    assert house.me(leaked["access_token"]) == 200
    operator = connect_as("provision_operator")
    operator.execute("SELECT signing_key_revoke(kid) FROM v_signing_key WHERE org = 'north'")
    assert (house.me(leaked["access_token"]), house.refresh(leaked["refresh_token"]).status_code) == (401, 401)
    assert house.me(other["access_token"]) == 200
    house.log_in(org="north")


def test_one_org_has_one_key_however_many_log_in_at_once(house: House, connect_as: ConnectAs) -> None:
    one, two = connect_as("provision_api"), connect_as("provision_api")
    call: LiteralString = "SELECT key_id FROM session_open(%s, 'north', NULL, 'password')"
    first = one.execute(call, [house.jane.id]).fetchone()
    assert first == two.execute(call, [house.jane.id]).fetchone()


# What others can verify


def test_a_cluster_verifies_tokens_with_the_key_of_its_org(house: House, connect_as: ConnectAs) -> None:
    house.join(house.jane, house.other_org)
    rows = connect_as("provision_operator").execute("SELECT * FROM signing_key_share(%s)", [house.org]).fetchall()
    ((kid, algorithm, secret),) = rows
    token = house.log_in(org="north")["access_token"]
    assert jwt.get_unverified_header(token) == {"alg": algorithm, "kid": str(kid), "typ": "JWT"}
    assert jwt.decode(token, bytes.fromhex(secret), [algorithm], OUR_TIME)["org_name"] == "north"
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(house.log_in(org="south")["access_token"], bytes.fromhex(secret), [algorithm])


def test_anybody_verifies_tokens_for_no_org_with_the_public_key(house: House) -> None:
    before = house.log_in()["access_token"]
    assert house.call("GET", "/.well-known/jwks.json").json() == {"keys": []}
    house.set("token_eddsa", 1)
    token = house.log_in()["access_token"]
    (key,) = house.call("GET", "/.well-known/jwks.json").json()["keys"]
    assert key.keys() == {"kty", "crv", "x", "kid", "alg", "use"}
    found = jwt.PyJWKSet.from_dict({"keys": [key]})[jwt.get_unverified_header(token)["kid"]]
    assert jwt.decode(token, found, ["EdDSA"], OUR_TIME)["user_name"] == "jane"
    assert house.me(token) == house.me(before) == 200
    # An org's cluster has a secret of its own either way.
    assert jwt.get_unverified_header(house.log_in(org="north")["access_token"])["alg"] == "HS256"


def test_nobody_is_given_the_key_for_no_org_in_particular(house: House, connect_as: ConnectAs) -> None:
    with pytest.raises(Exception, match="which org"):
        connect_as("provision_operator").execute("SELECT * FROM signing_key_share(NULL)")


def test_an_ed25519_key_is_any_32_bytes() -> None:
    assert isinstance(ED_KEY.private, Ed25519PrivateKey)
