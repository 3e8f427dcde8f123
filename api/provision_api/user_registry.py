"""The registry of a federation, which knows users by a name of theirs (CUID): asked over HTTP who somebody is.

`GET <user_registry_url>/<cuid>` answers 200 and a JSON object with `name`, or `given_name` and `family_name`, and
`email` or `mail`; 404 if it knows nobody of that name.
"""

import json
from typing import Any
from urllib.parse import quote

import httpx2

from provision.settings import Settings

TIMEOUT_SECONDS = 10.0
ANSWER_LIMIT = 1 << 16


class RegistryError(Exception):
    """The registry cannot be asked, or does not answer as it should; the text says why."""


async def find(settings: Settings, cuid: str) -> dict[str, Any] | None:
    """What the registry tells of a name; None: it knows nobody of that name.

    Raises:
        RegistryError: it cannot be reached, it refuses us, or it talks nonsense.
    """
    assert settings.user_registry_url is not None
    headers = {"Accept": "application/json"}
    if settings.user_registry_token is not None:
        headers["Authorization"] = f"Bearer {settings.user_registry_token.get_secret_value()}"
    url = f"{settings.user_registry_url.rstrip('/')}/{quote(cuid, safe='')}"
    try:
        async with (
            httpx2.AsyncClient(timeout=TIMEOUT_SECONDS, follow_redirects=False) as client,
            client.stream("GET", url, headers=headers) as answer,
        ):
            status, body = answer.status_code, await _read(answer)
    except (httpx2.HTTPError, httpx2.InvalidURL):
        raise RegistryError("the user registry cannot be reached") from None
    if status == 404:
        return None
    if status in (401, 403):
        raise RegistryError("the user registry refuses us")
    if status != 200:
        raise RegistryError(f"the user registry answers {status}")
    return _parse(body)


async def _read(answer: httpx2.Response) -> bytes:
    body = bytearray()
    async for chunk in answer.aiter_bytes():
        body += chunk
        if len(body) > ANSWER_LIMIT:
            raise RegistryError("the user registry answers too much")
    return bytes(body)


def _parse(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise RegistryError("the user registry does not answer a JSON object")
    return found
