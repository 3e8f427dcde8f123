"""JSON Web Tokens (RFC 7519): how ours are signed, and how one that somebody sends is read.

The head's `kid` names the key, and the key says which algorithm its tokens have; the head's own word for it is only
compared. So neither `none` nor a public key taken for an HMAC secret is a way in. A token that is read here was signed
by us; whether it is still good for something the database says (`session_caller()`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm

Kind = Literal["access", "refresh"]
LENGTH_LIMIT = 4096
SHAPE = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
_CLAIMS = ["token_type", "exp", "iat", "jti", "sub", "user_id", "user_name", "org_name"]


class TokenError(Exception):
    """A token that is not ours, or not what it should be; the text is for the log."""


@dataclass(frozen=True)
class Key:
    """A key of `signing_key`; `org` is the slug of the org it is for."""

    kid: UUID
    algorithm: str
    secret: bytes
    org: str | None

    @property
    def private(self) -> Any:
        """What signs."""
        return Ed25519PrivateKey.from_private_bytes(self.secret) if self.algorithm == "EdDSA" else self.secret

    @property
    def public(self) -> Any:
        """What verifies."""
        return self.private.public_key() if self.algorithm == "EdDSA" else self.secret


@dataclass(frozen=True)
class Claims:
    """What a token of ours says."""

    jti: UUID
    user: UUID
    expires: datetime


@dataclass(frozen=True)
class Holder:
    """Who a token is for."""

    user: UUID
    username: str
    org: str | None


def sign(key: Key, kind: Kind, holder: Holder, jti: UUID, issued: datetime, expires: datetime) -> str:
    """A token; a holder that is limited to no org has an empty org_name."""
    claims = {
        "token_type": kind,
        "iat": int(issued.timestamp()),
        "exp": int(expires.timestamp()),
        "jti": str(jti),
        "sub": str(holder.user),
        "user_id": str(holder.user),
        "user_name": holder.username,
        "org_name": holder.org or "",
    }
    return jwt.encode(claims, key.private, key.algorithm, {"kid": str(key.kid)})


def key_id(token: str) -> UUID:
    """The `kid` of a token that nobody has verified yet.

    Raises:
        TokenError: it has none, or is no token.
    """
    if len(token) > LENGTH_LIMIT:
        raise TokenError("too long")
    try:
        return UUID(jwt.get_unverified_header(token)["kid"])
    except (jwt.InvalidTokenError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise TokenError(f"no key: {error!r}") from None


def read(token: str, kind: Kind, key: Key) -> Claims:
    """What a token says, once its signature, its time and its claims were found right.

    The time it was issued is not compared with the clock of this machine: the database has the clock that counts.

    Raises:
        TokenError: it is forged, over, of another kind, for another org than the key, or lacks a claim.
    """
    options: Any = {"require": _CLAIMS, "verify_iat": False, "verify_aud": False, "strict_aud": False}
    try:
        claims: Mapping[str, Any] = jwt.decode(token, key.public, algorithms=[key.algorithm], options=options)
    except (jwt.InvalidTokenError, jwt.InvalidKeyError, ValueError, TypeError) as error:
        raise TokenError(repr(error)) from None
    wanted = {"token_type": kind, "org_name": key.org or "", "sub": claims["user_id"]}
    for name, value in wanted.items():
        if claims[name] != value:
            raise TokenError(f"{name} is {claims[name]!r}")
    try:
        expires = datetime.fromtimestamp(claims["exp"], UTC)
        return Claims(UUID(claims["jti"]), UUID(claims["user_id"]), expires)
    except (ValueError, TypeError, AttributeError, OverflowError):
        raise TokenError("a claim is malformed") from None


def public_key(kid: UUID, secret: bytes) -> dict[str, Any]:
    """The public half of an Ed25519 key as a JSON Web Key (RFC 8037)."""
    key = Key(kid, "EdDSA", secret, None)
    found: dict[str, Any] = OKPAlgorithm.to_jwk(key.public, as_dict=True)
    return found | {"kid": str(kid), "alg": "EdDSA", "use": "sig"}
