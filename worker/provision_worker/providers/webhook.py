"""Posts events to customers' servers: signed, over TLS, to public addresses only, within a bounded time.

`address` says whom it speaks to. Redirects are not followed, and no more of an answer is read than its head.
"""

import hashlib
import hmac
import http.client
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from . import address

USER_AGENT = "provision-webhook/1"


class RefusedError(Exception):
    """The event was not taken; the text says why, in words for the customer."""

    def __init__(self, reason: str, after_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.after_seconds = after_seconds


def signature(secrets: Sequence[str], body: bytes, timestamp: int) -> str:
    """The header `Provision-Signature`: time in seconds, and HMAC-SHA256 over `<time>.<body>` by each secret."""
    message = str(timestamp).encode() + b"." + body
    sums = (hmac.new(secret.encode(), message, hashlib.sha256).hexdigest() for secret in secrets)
    return ",".join([f"t={timestamp}", *(f"v1={each}" for each in sums)])


def post(url: str, secrets: Sequence[str], event: Mapping[str, Any], *, may_be_private: bool = False) -> None:
    """Sends an event and waits for a status of 2xx.

    Raises:
        RefusedError: it was not taken, or could not be sent.
    """
    body = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": USER_AGENT,
        "Provision-Event": str(event["type"]),
        "Provision-Event-Id": str(event["id"]),
        "Provision-Signature": signature(secrets, body, int(time.time())),
    }
    try:
        answer = address.exchange("POST", url, headers, body, may_be_private=may_be_private)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise RefusedError(address.words(error)) from error
    if not 200 <= answer.status < 300:
        redirected = "; redirects are not followed" if 300 <= answer.status < 400 else ""
        raise RefusedError(f"it answered {answer.status}{redirected}", _seconds(answer.headers.get("retry-after")))


def _seconds(retry_after: str | None) -> float:
    """The header Retry-After in seconds, at most an hour; a date in it is not heeded."""
    return min(float(retry_after), 3600.0) if retry_after is not None and retry_after.isdecimal() else 0.0
