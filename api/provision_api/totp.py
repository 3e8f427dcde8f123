"""Time-based one-time passwords (RFC 6238): SHA-1, 30 seconds, 6 digits, as every authenticator knows them."""

import base64
import hashlib
import hmac
import secrets
import struct
from urllib.parse import quote, urlencode

STEP_SECONDS = 30
DIGITS = 6
# A code of the step before or after is accepted: clocks differ, and people type.
DRIFT_STEPS = 1
_ISSUER = "Provision"


def new_secret() -> str:
    """A key of 160 bits (RFC 4226 section 4) in base32."""
    return base64.b32encode(secrets.token_bytes(20)).decode()


def code_at(secret: str, step: int, digits: int = DIGITS) -> str:
    """The code of a time step (RFC 4226 section 5.3)."""
    digest = hmac.digest(base64.b32decode(secret), struct.pack(">Q", step), hashlib.sha1)
    offset = digest[-1] & 15
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFFFFFF
    return str(number % 10**digits).zfill(digits)


def matching_step(secret: str, code: str, now_seconds: float) -> int | None:
    """The time step whose code this is, if it is the present one or a neighbour; None: a wrong code."""
    present = int(now_seconds) // STEP_SECONDS
    steps = range(present - DRIFT_STEPS, present + DRIFT_STEPS + 1)
    found = [step for step in steps if hmac.compare_digest(code_at(secret, step).encode(), code.encode())]
    return found[-1] if found else None


def uri(secret: str, username: str) -> str:
    """What authenticators read from a QR code."""
    return f"otpauth://totp/{quote(f'{_ISSUER}:{username}')}?{urlencode({'secret': secret, 'issuer': _ISSUER})}"
