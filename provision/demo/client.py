"""A client of the API."""

import json
import secrets
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any
from uuid import UUID

Document = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What the API answered."""

    status: int
    document: Document


@dataclass(frozen=True)
class Client:
    """Somebody with an API key."""

    url: str
    key: str

    def post(self, item: Document, idempotency_key: str | None = None) -> Answer:
        """Orders one item."""
        return self.call("/v1/orders", {"items": [item]}, {"Idempotency-Key": idempotency_key or secrets.token_hex(8)})

    def get(self, order: UUID) -> Answer:
        """Reads an order."""
        return self.call(f"/v1/orders/{order}")

    def call(self, path: str, body: Document | None = None, headers: dict[str, str] | None = None) -> Answer:
        """GET, or POST of a body."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Token {self.key}", "Content-Type": "application/json"} | (headers or {})
        request = urllib.request.Request(self.url + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return Answer(response.status, json.load(response))
        except urllib.error.HTTPError as error:
            return Answer(error.code, json.load(error))
