"""Logging in with an account elsewhere: OpenID Connect and GitHub, against a local issuer."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qsl, urlsplit

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from httpx2 import Response
from provision_api import oidc
from provision_api.app import make_app
from provision_api.oidc import load_providers
from starlette.testclient import TestClient

from provision.settings import SettingsError

from .api_fixtures import settings_for
from .conftest import Database
from .identity_fixtures import CLIENT_ID, CLIENT_SECRET, REDIRECT_URI, SUBJECT, Issuer, serve
from .session_fixtures import House

FILE = f"""
[corp]
issuer = "{{url}}"
client_id = "{CLIENT_ID}"
client_secret = "{CLIENT_SECRET}"
redirect_uris = ["{REDIRECT_URI}", "http://127.0.0.1:8000/back"]

[github]
kind = "github"
issuer = "{{url}}"
api_url = "{{url}}"
client_id = "{CLIENT_ID}"
client_secret = "{CLIENT_SECRET}"
redirect_uris = ["{REDIRECT_URI}"]
"""


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with serve(Issuer()) as served:
        yield served


@pytest.fixture
def house(issuer: Issuer, database: Database, owner: psycopg.Connection, tmp_path: Path) -> Iterator[House]:
    """An application that knows the issuer, twice: as an OpenID Connect issuer and as a GitHub."""
    (tmp_path / "identity.toml").write_text(FILE.format(url=issuer.url))
    app = make_app(settings_for(database.url, identity_file=tmp_path / "identity.toml"))
    with TestClient(app) as client:
        yield House(app, client, owner)


def begin(house: House, provider: str = "corp", token: str | None = None, **more: Any) -> dict[str, str]:
    """Secrets of a flow that has begun."""
    answer = house.post("/v1/identities", {"provider": provider, "link": token is not None} | more, token)
    assert answer.status_code == 201, answer.text
    begun: dict[str, str] = answer.json()
    return begun


def finish(
    house: House, issuer: Issuer, begun: dict[str, str], path: str = "login", token: str | None = None, **more: Any
) -> Response:
    """Log in at the issuer, come back and finish."""
    body = {"flow": begun["flow"]} | issuer.authorize(begun["authorization_url"]) | more
    return house.post(f"/v1/identities/{path}", body, token)


def link(house: House, issuer: Issuer, provider: str = "corp") -> Response:
    token = house.log_in()["access_token"]
    return finish(house, issuer, begin(house, provider, token), "link", token)


@pytest.mark.parametrize("provider", ["corp", "github"])
def test_an_account_elsewhere_is_linked_and_then_logs_in(house: House, issuer: Issuer, provider: str) -> None:
    assert house.call("GET", "/v1/identities").json() == {"providers": ["corp", "github"]}
    assert finish(house, issuer, begin(house, provider)).json()["title"] == "this account is not linked to a user"
    linked = link(house, issuer, provider)
    assert linked.status_code == 201
    assert (linked.json()["issuer"], linked.json()["subject"]) == (issuer.url, SUBJECT)
    tokens = finish(house, issuer, begin(house, provider), org="north")
    assert tokens.status_code == 201
    assert tokens.json()["org"] == "north"
    me = house.call("GET", "/v1/me", tokens.json()["access_token"]).json()
    assert me["username"] == "jane"
    assert me["identities"] == [linked.json()]
    assert house.audit(house.jane)[-1] == f"logged in by {issuer.url}"
    unlinked = house.call("DELETE", linked.headers["location"], tokens.json()["access_token"])
    assert unlinked.status_code == 204
    assert finish(house, issuer, begin(house, provider)).status_code == 401


def test_the_browser_is_sent_with_all_that_protects_the_flow(house: House) -> None:
    first, second = begin(house), begin(house)
    asked = [dict(parse_qsl(urlsplit(begun["authorization_url"]).query)) for begun in (first, second)]
    for name in ("state", "nonce", "code_challenge"):
        assert len(asked[0][name]) >= 43
        assert asked[0][name] != asked[1][name]
    assert (asked[0]["redirect_uri"], asked[0]["scope"]) == (REDIRECT_URI, "openid")
    assert first["flow"] not in first["authorization_url"]


@pytest.mark.parametrize(
    ("change", "status"),
    [({"provider": "other"}, 404), ({"redirect_uri": "https://evil.example/back"}, 422), ({"link": True}, 401)],
)
def test_flows_that_do_not_begin(house: House, change: dict[str, Any], status: int) -> None:
    assert house.post("/v1/identities", {"provider": "corp"} | change).status_code == status
    assert house.value("SELECT count(*) FROM identity_flow") == 0


BAD_CLAIMS: list[dict[str, Any]] = [
    {"iss": "https://other.example"},
    {"aud": "another client"},
    {"aud": [CLIENT_ID, "another client"]},
    {"aud": [CLIENT_ID, "another client"], "azp": "another client"},
    {"azp": "another client"},
    {"exp": 1},
    {"iat": int(time.time()) + 3600},
    {"nonce": "of another log-in"},
    *({name: None} for name in ("iss", "aud", "exp", "iat", "sub", "nonce")),
]


@pytest.mark.parametrize("claims", BAD_CLAIMS)
def test_an_id_token_that_says_something_else_is_refused(house: House, issuer: Issuer, claims: dict[str, Any]) -> None:
    link(house, issuer)
    issuer.claims = claims
    assert finish(house, issuer, begin(house)).status_code == 401


def test_an_id_token_for_several_is_ours_if_it_was_made_for_us(house: House, issuer: Issuer) -> None:
    link(house, issuer)
    issuer.claims = {"aud": [CLIENT_ID, "another client"], "azp": CLIENT_ID}
    assert finish(house, issuer, begin(house)).status_code == 201


@pytest.mark.parametrize(
    "signing",
    [
        {"algorithm": "none", "kid": "first", "key": None},
        {"algorithm": "HS256", "kid": "first", "key": CLIENT_SECRET.ljust(32)},
        {"algorithm": "RS384", "kid": "first"},
        {"algorithm": "RS256", "kid": "strange"},
        {"algorithm": "RS256", "kid": "first", "key": generate_private_key(65537, 2048)},
    ],
)
def test_an_id_token_that_is_signed_otherwise_is_refused(house: House, issuer: Issuer, signing: dict[str, Any]) -> None:
    link(house, issuer)
    issuer.hidden["strange"] = generate_private_key(65537, 2048)
    issuer.signing = signing
    assert finish(house, issuer, begin(house)).status_code == 401


def test_description_and_keys_are_kept_and_new_keys_are_found(house: House, issuer: Issuer) -> None:
    link(house, issuer)
    assert finish(house, issuer, begin(house)).status_code == 201
    assert (issuer.asked["/.well-known/openid-configuration"], issuer.asked["/keys"]) == (1, 1)
    issuer.keys["second"] = generate_private_key(65537, 2048)
    issuer.signing = {"algorithm": "RS256", "kid": "second"}
    # Not at once, or anybody could have us ask again and again.
    assert finish(house, issuer, begin(house)).status_code == 401
    assert issuer.asked["/keys"] == 1
    with patch.object(oidc, "REREAD_SECONDS", 0):
        assert finish(house, issuer, begin(house)).status_code == 201
    assert (issuer.asked["/.well-known/openid-configuration"], issuer.asked["/keys"]) == (1, 2)


# Who finishes must be who began


def test_a_flow_is_finished_once(house: House, issuer: Issuer) -> None:
    link(house, issuer)
    begun = begin(house)
    assert finish(house, issuer, begun).status_code == 201
    assert finish(house, issuer, begun).status_code == 401


def test_a_flow_takes_its_own_state_and_secret(house: House, issuer: Issuer) -> None:
    link(house, issuer)
    for wrong in ({"state": "x"}, {"flow": "x"}, {"flow": begin(house)["flow"]}):
        assert finish(house, issuer, begin(house), **wrong).status_code == 401
    begun = begin(house)
    assert finish(house, issuer, begun, state="x").status_code == 401
    # There is no second guess.
    assert finish(house, issuer, begun).status_code == 401


def test_a_code_of_another_flow_is_refused_by_pkce(house: House, issuer: Issuer) -> None:
    link(house, issuer)
    stolen = issuer.authorize(begin(house)["authorization_url"])["code"]
    assert finish(house, issuer, begin(house), code=stolen).status_code == 401


def test_a_flow_expires(house: House, issuer: Issuer) -> None:
    link(house, issuer)
    begun = begin(house)
    house.pass_time("10 minutes")
    assert finish(house, issuer, begun).status_code == 401


def test_a_flow_to_link_neither_logs_in_nor_links_to_another_user(house: House, issuer: Issuer) -> None:
    token = house.log_in()["access_token"]
    joe = house.log_in(house.make_user("joe").username)["access_token"]
    assert finish(house, issuer, begin(house, token=token)).status_code == 401
    assert finish(house, issuer, begin(house, token=token), "link", joe).status_code == 401
    assert finish(house, issuer, begin(house), "link", joe).status_code == 401
    assert house.value("SELECT count(*) FROM identity") == 0


def test_an_account_elsewhere_is_one_users_only(house: House, issuer: Issuer) -> None:
    assert link(house, issuer).status_code == 201
    assert link(house, issuer).status_code == 201
    joe = house.log_in(house.make_user("joe").username)["access_token"]
    assert finish(house, issuer, begin(house, token=joe), "link", joe).status_code == 409
    mine = house.value("SELECT id FROM identity")
    assert house.call("DELETE", f"/v1/identities/{mine}", joe).status_code == 404


def test_the_second_factor_is_asked_for_here_too(house: House, issuer: Issuer) -> None:
    link(house, issuer)
    secret = house.enrol(house.jane)
    assert finish(house, issuer, begin(house)).status_code == 401
    assert finish(house, issuer, begin(house), totp="000000").status_code == 401
    assert finish(house, issuer, begin(house), totp=house.code(secret)).status_code == 201


def test_a_disabled_user_does_not_come_in_from_elsewhere(house: House, issuer: Issuer) -> None:
    link(house, issuer)
    house.owner.execute("UPDATE app_user SET status = 'disabled'")
    assert finish(house, issuer, begin(house)).status_code == 401


# Issuers that fail


@pytest.mark.parametrize("status", [302, 429, 500])
def test_an_issuer_that_fails_is_not_the_callers_fault(house: House, issuer: Issuer, status: int) -> None:
    begun = begin(house)
    issuer.status = status
    assert finish(house, issuer, begun).status_code == 503
    assert issuer.asked["/elsewhere"] == 0


@pytest.mark.parametrize(
    "description",
    [
        {"issuer": "https://other.example"},
        {"token_endpoint": "http://10.0.0.1/token"},
        {"jwks_uri": None},
        {"jwks_uri": "file:///etc/passwd"},
        {"padding": "x" * oidc.ANSWER_LIMIT},
    ],
)
def test_an_issuer_that_describes_what_it_should_not_is_not_asked(
    house: House, issuer: Issuer, description: dict[str, Any]
) -> None:
    issuer.description = description
    assert house.post("/v1/identities", {"provider": "corp"}).status_code == 503


def test_github_that_refuses_the_code_or_the_token_shows_nobody(house: House, issuer: Issuer) -> None:
    link(house, issuer, "github")
    assert finish(house, issuer, begin(house, "github"), code="x").status_code == 401
    with patch.object(Issuer, "_redeem", lambda *_: (200, {"access_token": "gho_bad"})):
        assert finish(house, issuer, begin(house, "github")).status_code == 401


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[corp", "cannot read"),
        ("[corp]\nissuer = 'https://a.example'", "client_id"),
        (FILE.format(url="http://issuer.example"), "expected https"),
        (FILE.format(url="https://issuer.example") + "colour = 'red'", "colour"),
    ],
)
def test_a_file_that_does_not_do_is_explained(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "identity.toml").write_text(text)
    with pytest.raises(SettingsError, match=said) as caught:
        load_providers(tmp_path / "identity.toml")
    assert CLIENT_SECRET not in str(caught.value)


def test_a_token_of_a_linked_github_account_logs_in_to_an_org(house: House, issuer: Issuer) -> None:
    """As the program `sliderule` does it."""

    def log_in(org: str = "north", token: str = "gho_good") -> Response:
        return house.post("/api/org_token_github/", {"org_name": org, "access_token": token})

    def is_refused(answer: Response, status: int = 403) -> None:
        body = answer.json()
        assert (answer.status_code, body["status"]) == (status, "FAILED")
        assert body["error_msg"]
        assert body["detail"]

    is_refused(log_in())
    link(house, issuer, "github")
    answer = log_in()
    assert answer.status_code == 200
    assert answer.json().keys() == {"exp", "access_lifetime", "refresh_lifetime", "refresh", "access"}
    status = house.call("GET", "/api/membership_status/north/", answer.json()["access"])
    assert status.json() == {"active": True}
    is_refused(log_in(token="gho_other"))
    is_refused(log_in("nowhere"))
    house.owner.execute("UPDATE membership SET state = 'inactive' WHERE user_id = %s", [house.jane.id])
    is_refused(log_in())
    issuer.status = 500
    is_refused(log_in(), 503)
