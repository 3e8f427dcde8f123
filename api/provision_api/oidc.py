"""Log-ins elsewhere: OpenID Connect (authorization code with PKCE, RFC 7636; state; nonce) and GitHub, which is OAuth 2
with a user resource of its own.

An issuer's description and keys are read when first needed and kept for an hour; its id tokens are verified with those
keys and the one algorithm that was configured. Nothing is asked of any other host than those that the configuration and
the issuer's description name, no redirection is followed, and what they answer is bounded.
"""

import base64
import hashlib
import json
import secrets
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlencode, urlsplit

import httpx2
import jwt
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError

from provision.settings import SettingsError

KEEP_SECONDS = 3600.0
# Unknown key ids make us read the issuer's keys anew, but not as often as somebody likes.
REREAD_SECONDS = 30.0
TIMEOUT_SECONDS = 10.0
ANSWER_LIMIT = 1 << 18
LEEWAY_SECONDS = 60


class IdentityError(Exception):
    """It was not shown who somebody is; the text says why."""


class IssuerError(Exception):
    """The issuer cannot be asked, or answers what it should not."""


def _check_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")):
        raise ValueError("expected https://…")
    return url.rstrip("/")


Url = Annotated[str, AfterValidator(_check_url)]


class Provider(BaseModel):
    """Where users may log in, as a table of `identity_file` says it; its name is what clients call it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["oidc", "github"] = "oidc"
    issuer: Url
    client_id: str
    client_secret: SecretStr
    redirect_uris: list[str] = Field(min_length=1)
    scope: str = "openid"
    algorithm: Literal["RS256", "PS256", "ES256", "EdDSA"] = "RS256"
    api_url: Url = "https://api.github.com"


class Identity(NamedTuple):
    """An account elsewhere."""

    issuer: str
    subject: str


class Flow(NamedTuple):
    """What a log-in elsewhere must come back with; `flow` only the client that began it has."""

    flow: str
    state: str
    nonce: str
    verifier: str


def new_flow() -> Flow:
    """Secrets for one log-in."""
    return Flow(*(secrets.token_urlsafe(32) for _ in range(4)))


def load_providers(path: Path | None) -> "Providers":
    """The providers of a TOML file with a table for each.

    Raises:
        SettingsError: the file cannot be read, or something in it cannot be.
    """
    if path is None:
        return Providers({})
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        return Providers({name: Provider.model_validate(table) for name, table in content.items()})
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(step) for step in wrong["loc"])
        raise SettingsError(f"PROVISION_IDENTITY_FILE {path}: {place}: {wrong['msg']}") from None
    except (OSError, ValueError) as error:
        raise SettingsError(f"cannot read PROVISION_IDENTITY_FILE {path}: {error}") from None


class Providers:
    """The places where users may log in, by name."""

    def __init__(self, providers: Mapping[str, Provider]) -> None:
        self._clients = {name: _KINDS[each.kind](each) for name, each in providers.items()}

    def names(self) -> list[str]:
        """What there is."""
        return sorted(self._clients)

    def get(self, name: str) -> "Client | None":
        """The client of a provider."""
        return self._clients.get(name)


class Client:
    """What is common to both kinds of providers."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider

    async def authorization_url(self, flow: Flow, redirect_uri: str) -> str:
        """Where the browser goes.

        Raises:
            IssuerError: the issuer's description cannot be had.
        """
        challenge = base64.urlsafe_b64encode(hashlib.sha256(flow.verifier.encode()).digest()).rstrip(b"=").decode()
        parameters = {
            "response_type": "code",
            "client_id": self.provider.client_id,
            "redirect_uri": redirect_uri,
            "scope": self.provider.scope,
            "state": flow.state,
            "nonce": flow.nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return f"{await self._authorization_endpoint()}?{urlencode(parameters)}"

    async def identify(self, code: str, verifier: str, nonce: str, redirect_uri: str) -> Identity:
        """Whose code it is.

        Raises:
            IdentityError: nobody's, or what came for it does not show it.
            IssuerError: the issuer cannot be asked.
        """
        raise NotImplementedError

    async def _authorization_endpoint(self) -> str:
        raise NotImplementedError

    async def _redeem(self, endpoint: str, code: str, verifier: str, redirect_uri: str) -> dict[str, Any]:
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "client_id": self.provider.client_id,
            "client_secret": self.provider.client_secret.get_secret_value(),
            "code_verifier": verifier,
        }
        return await _ask("POST", endpoint, data=fields)


class OpenIdClient(Client):
    """An OpenID Connect issuer."""

    def __init__(self, provider: Provider) -> None:
        super().__init__(provider)
        self._described: dict[str, Any] = {}
        self._described_at = 0.0
        self._keys: list[dict[str, Any]] = []
        self._keys_at = 0.0

    async def identify(self, code: str, verifier: str, nonce: str, redirect_uri: str) -> Identity:
        """See `Client`."""
        described = await self._description()
        answer = await self._redeem(described["token_endpoint"], code, verifier, redirect_uri)
        text = answer.get("id_token")
        if not isinstance(text, str):
            raise IdentityError("the issuer gave no id token")
        claims = await self._verify(text, described)
        if not secrets.compare_digest(str(claims["nonce"]).encode(), nonce.encode()):
            raise IdentityError("the id token is for another log-in")
        return Identity(self.provider.issuer, claims["sub"])

    async def _verify(self, text: str, described: Mapping[str, Any]) -> dict[str, Any]:
        key = await self._key(text)
        try:
            claims: dict[str, Any] = jwt.decode(
                text,
                key,
                algorithms=[self.provider.algorithm],
                audience=self.provider.client_id,
                issuer=described["issuer"],
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iat", "iss", "aud", "sub", "nonce"]},
            )
        except jwt.InvalidTokenError as error:
            raise IdentityError(f"the id token is not valid: {error}") from None
        # OpenID Connect Core 3.1.3.7: with several audiences it must say for whom it was made.
        authorized = claims.get("azp", None if isinstance(claims["aud"], list) and len(claims["aud"]) > 1 else "")
        if authorized not in ("", self.provider.client_id):
            raise IdentityError("the id token was made for another client")
        return claims

    async def _authorization_endpoint(self) -> str:
        endpoint: str = (await self._description())["authorization_endpoint"]
        return endpoint

    async def _description(self) -> dict[str, Any]:
        if not self._described or time.monotonic() - self._described_at > KEEP_SECONDS:
            found = await _ask("GET", f"{self.provider.issuer}/.well-known/openid-configuration")
            self._check_description(found)
            self._described, self._described_at = found, time.monotonic()
        return self._described

    def _check_description(self, found: Mapping[str, Any]) -> None:
        if str(found.get("issuer")).rstrip("/") != self.provider.issuer:
            raise IssuerError(f"{self.provider.issuer} describes another issuer")
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            try:
                _check_url(str(found.get(name)))
            except ValueError as error:
                raise IssuerError(f"{name} of {self.provider.issuer}: {error}") from None

    async def _key(self, text: str) -> jwt.PyJWK:
        try:
            kid = jwt.get_unverified_header(text).get("kid")
        except jwt.InvalidTokenError as error:
            raise IdentityError(f"the id token is not valid: {error}") from None
        age = time.monotonic() - self._keys_at
        if not self._keys or age > KEEP_SECONDS or (self._find(kid) is None and age > REREAD_SECONDS):
            found = await _ask("GET", (await self._description())["jwks_uri"])
            self._keys = [key for key in found.get("keys", ()) if isinstance(key, dict) and key.get("use") != "enc"]
            self._keys_at = time.monotonic()
        key = self._find(kid)
        if key is None:
            raise IdentityError("the id token is signed with an unknown key")
        try:
            return jwt.PyJWK(key, self.provider.algorithm)
        except (jwt.PyJWKError, jwt.InvalidKeyError) as error:
            raise IdentityError(f"the id token's key does not fit {self.provider.algorithm}: {error}") from None

    def _find(self, kid: str | None) -> dict[str, Any] | None:
        if kid is None and len(self._keys) == 1:
            return self._keys[0]
        return next((key for key in self._keys if kid is not None and key.get("kid") == kid), None)


class GitHubClient(Client):
    """GitHub, or an installation of its Enterprise Server at `issuer` and `api_url`."""

    async def identify(self, code: str, verifier: str, nonce: str, redirect_uri: str) -> Identity:
        """See `Client`; GitHub repeats no nonce, PKCE ties the code to this log-in."""
        endpoint = f"{self.provider.issuer}/login/oauth/access_token"
        answer = await self._redeem(endpoint, code, verifier, redirect_uri)
        # GitHub answers 200 to a wrong code, with an error in it.
        if not isinstance(answer.get("access_token"), str):
            raise IdentityError(f"GitHub refused the code: {str(answer.get('error'))[:100]}")
        return await self.user(answer["access_token"])

    async def user(self, access_token: str) -> Identity:
        """Whose access token it is."""
        headers = {"Authorization": f"Bearer {access_token}"}
        found = await _ask("GET", f"{self.provider.api_url}/user", headers=headers)
        if not isinstance(found.get("id"), int):
            raise IdentityError("GitHub does not say who it is")
        return Identity(self.provider.issuer, str(found["id"]))

    async def _authorization_endpoint(self) -> str:
        return f"{self.provider.issuer}/login/oauth/authorize"


_KINDS = {"oidc": OpenIdClient, "github": GitHubClient}


async def _ask(
    method: str, url: str, *, data: dict[str, str] | None = None, headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The JSON object that an issuer answers; 4xx to what somebody brought is their fault, all else the issuer's."""
    try:
        async with (
            httpx2.AsyncClient(timeout=TIMEOUT_SECONDS, follow_redirects=False) as client,
            client.stream(method, url, data=data, headers={"Accept": "application/json", **(headers or {})}) as answer,
        ):
            body = await _read(answer)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise IssuerError(f"{url} cannot be asked: {error!r}") from None
    if (data or headers) and answer.status_code in (400, 401, 403, 422):
        raise IdentityError(f"the issuer refused it: {answer.status_code}")
    if answer.status_code != 200:
        raise IssuerError(f"{url} answers {answer.status_code}")
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise IssuerError(f"{url} does not answer a JSON object")
    return found


async def _read(answer: httpx2.Response) -> bytes:
    body = bytearray()
    async for chunk in answer.aiter_bytes():
        body += chunk
        if len(body) > ANSWER_LIMIT:
            raise IssuerError(f"{answer.url} answers more than {ANSWER_LIMIT} bytes")
    return bytes(body)
