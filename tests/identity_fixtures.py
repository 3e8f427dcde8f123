"""A local OpenID Connect issuer that is also a GitHub, for the tests of identities; it can be told to misbehave."""

import base64
import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from jwt.algorithms import RSAAlgorithm

CLIENT_ID, CLIENT_SECRET = "provision", "open sesame"
REDIRECT_URI = "https://console.example.net/back"
SUBJECT = "248289761001"


class Issuer:
    """What the issuer knows, and what the tests change of it."""

    def __init__(self) -> None:
        self.url = ""
        self.keys = {"first": generate_private_key(65537, 2048)}
        self.hidden: dict[str, RSAPrivateKey] = {}
        self.claims: dict[str, Any] = {}
        self.signing: dict[str, Any] = {"algorithm": "RS256", "kid": "first"}
        self.description: dict[str, Any] = {}
        self.status = 200
        self.asked: Counter[str] = Counter()
        self._codes: dict[str, dict[str, str]] = {}

    def authorize(self, url: str) -> dict[str, str]:
        """What a browser comes back with from the authorization URL, after somebody logged in there."""
        asked = dict(parse_qsl(urlsplit(url).query))
        assert (asked["response_type"], asked["client_id"]) == ("code", CLIENT_ID)
        assert asked["code_challenge_method"] == "S256"
        code = uuid4().hex
        self._codes[code] = asked
        return {"code": code, "state": asked["state"]}

    def answer(self, path: str, body: dict[str, str], authorization: str | None) -> tuple[int, Any]:
        """Status and JSON document."""
        self.asked[path] += 1
        if self.status != 200:
            return self.status, {"error": "told to"}
        match path:
            case "/.well-known/openid-configuration":
                return 200, self._description()
            case "/keys":
                return 200, {"keys": [self._public(kid) for kid in self.keys]}
            case "/token" | "/login/oauth/access_token":
                return self._redeem(path, body)
            case "/user":
                return (200, {"id": int(SUBJECT)}) if authorization == "Bearer gho_good" else (401, {})
        return 404, {}

    def _description(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
        } | self.description

    def _public(self, kid: str) -> dict[str, Any]:
        return RSAAlgorithm.to_jwk(self.keys[kid].public_key(), as_dict=True) | {"kid": kid, "use": "sig"}

    def _redeem(self, path: str, body: dict[str, str]) -> tuple[int, Any]:
        asked = self._codes.pop(body["code"], None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(body["code_verifier"].encode()).digest()).rstrip(b"=")
        right = asked and (asked["redirect_uri"], asked["code_challenge"]) == (body["redirect_uri"], challenge.decode())
        if not right or (body["client_id"], body["client_secret"]) != (CLIENT_ID, CLIENT_SECRET):
            return (400 if path == "/token" else 200), {"error": "invalid_grant"}
        if path != "/token":
            return 200, {"access_token": "gho_good", "token_type": "bearer"}
        assert asked
        return 200, {"access_token": "opaque", "token_type": "Bearer", "id_token": self.id_token(asked["nonce"])}

    def id_token(self, nonce: str) -> str:
        """An id token, with what the test changes."""
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT_ID, "sub": SUBJECT, "iat": now, "exp": now + 60, "nonce": nonce}
        claims = {name: value for name, value in (claims | self.claims).items() if value is not None}
        kid, algorithm = self.signing["kid"], self.signing["algorithm"]
        key: Any = self.signing.get("key", (self.keys | self.hidden).get(kid))
        return jwt.encode(claims, key, algorithm, {"kid": kid})


@contextmanager
def serve(issuer: Issuer) -> Iterator[Issuer]:
    """The issuer on a port of the loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._reply({})

        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers["content-length"])).decode()
            self._reply({name: values[0] for name, values in parse_qs(text).items()})

        def _reply(self, body: dict[str, str]) -> None:
            status, document = issuer.answer(urlsplit(self.path).path, body, self.headers["authorization"])
            content = json.dumps(document).encode()
            self.send_response(status)
            if status in (301, 302):
                self.send_header("Location", f"{issuer.url}/elsewhere")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        issuer.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield issuer
        finally:
            server.shutdown()
            thread.join()
