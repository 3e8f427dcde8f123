"""Container images at registries that customers name: what a tag means now (OCI Distribution Specification 1.1).

Registries ask for a token and say where to get one (`WWW-Authenticate: Bearer realm=…`); public images need no secret.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from urllib.parse import urlencode

from . import address

_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
ACCEPT = ", ".join(_TYPES)
HUB = "registry-1.docker.io"
TOKEN_LIMIT = 64 * 1024
ECR = re.compile(r"[0-9]{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(\.cn)?")

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


class NoImageError(Exception):
    """The registry says that there is no such image, or that it is not public."""


class RegistryError(Exception):
    """The registry cannot be asked now."""


@dataclass(frozen=True, slots=True)
class Reference:
    """An image reference, taken apart."""

    registry: str
    repository: str
    tag: str
    digest: str | None
    name: str
    """All but tag and digest, as it was written."""

    @property
    def host(self) -> str:
        """Where its registry answers."""
        return HUB if self.registry == "docker.io" else self.registry

    def at(self, digest: str) -> str:
        """The image pinned to a digest."""
        return f"{self.name}@{digest}"


def parse(text: str) -> Reference:
    """As github.com/distribution/reference has it: what has no host is Docker Hub's."""
    name, _, digest = text.partition("@")
    head, slash, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    name = head + slash + last
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return Reference(first, rest, tag or "latest", digest or None, name)
    repository = name if slash else f"library/{name}"
    return Reference("docker.io", repository, tag or "latest", digest or None, name)


def digest(reference: Reference, *, may_be_private: bool = False) -> str:
    """The digest that the tag means now.

    Raises:
        NoImageError: there is none for everybody.
        RegistryError: the registry cannot be asked.
    """
    url = f"https://{reference.host}/v2/{reference.repository}/manifests/{reference.tag}"
    headers = {"Accept": ACCEPT}
    answer = _ask("HEAD", url, headers, may_be_private=may_be_private)
    if answer.status == 401:
        token = _token(answer, reference, may_be_private=may_be_private)
        answer = _ask("HEAD", url, headers | {"Authorization": f"Bearer {token}"}, may_be_private=may_be_private)
    if answer.status in (401, 403, 404):
        raise NoImageError(f"{reference.host} has no image {reference.repository}:{reference.tag} for everybody")
    found = answer.headers.get("docker-content-digest", "")
    if answer.status != 200 or not _DIGEST.fullmatch(found):
        raise RegistryError(f"{reference.host} answered {answer.status} and digest {found[:80]!r}")
    return found


def _token(answer: address.Answer, reference: Reference, *, may_be_private: bool) -> str:
    challenge = dict(_CHALLENGE.findall(answer.headers.get("www-authenticate", "")))
    realm = challenge.get("realm", "")
    if not realm.startswith("https://"):
        raise RegistryError(f"{reference.host} does not say where to get a token")
    scope = f"repository:{reference.repository}:pull"
    query = urlencode({"service": challenge.get("service", ""), "scope": challenge.get("scope", scope)})
    given = _ask("GET", f"{realm}?{query}", {}, limit=TOKEN_LIMIT, may_be_private=may_be_private)
    try:
        document = json.loads(given.body)
        return str(document.get("token") or document["access_token"])
    except (ValueError, KeyError, AttributeError) as error:
        raise RegistryError(f"{reference.host} gives no token: it answered {given.status}") from error


def _ask(method: str, url: str, headers: Mapping[str, str], *, limit: int = 0, may_be_private: bool) -> address.Answer:
    try:
        return address.exchange(method, url, headers, limit=limit, may_be_private=may_be_private)
    except (OSError, HTTPException, ValueError) as error:
        raise RegistryError(f"{url}: {address.words(error)}") from error


def fetch(url: str, limit: int, *, may_be_private: bool = False) -> bytes:
    """A file of a customer's.

    Raises:
        NoImageError: there is none there, or it is too long.
        RegistryError: its server cannot be asked.
    """
    try:
        answer = address.exchange("GET", url, {}, limit=limit, may_be_private=may_be_private)
    except (address.TooLargeError, address.RefusedAddressError) as error:
        raise NoImageError(f"{url}: {error}") from error
    except (OSError, HTTPException, ValueError) as error:
        raise RegistryError(f"{url}: {address.words(error)}") from error
    if answer.status >= 500 or answer.status == 429:
        raise RegistryError(f"{url}: it answered {answer.status}")
    if answer.status != 200 or not answer.body:
        raise NoImageError(f"{url}: it answered {answer.status}{'' if answer.body else ' and nothing'}")
    return answer.body
