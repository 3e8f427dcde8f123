"""Code of sites: resolved once per version, copied to a bucket of ours that the nodes read.

Customers say where code comes from, so it must not lead inside: only https and S3, only public addresses, which are
looked up here, checked, and pinned, so that git connects to them and no other; no redirects; no other protocol. Buckets
were checked by the database.
"""

import os
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from provision_worker.providers.address import is_public
from provision_worker.providers.aws import Account

from .model import Site
from .observe import code_of

SECONDS = 120.0
LIMIT_BYTES = 512 << 20


class SourceError(Exception):
    """The code cannot be had from there; the text says why, in words for the customer."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """Our copy of one version, and what the reference was resolved to."""

    url: str
    ref: str


def fetch(account: Account, site: Site, number: int, url: str, ref: str | None, *, may_be_private: bool) -> Artifact:
    """Copies the code of a version to the bucket of ours, or finds the copy that was made before.

    Raises:
        SourceError: there is no such code, or it may not be fetched from there.
    """
    name = f"artifacts/{site.key}/{number}"
    kept = _kept(account, site.network.bucket, name)
    if kept:
        return kept
    if url.startswith("s3://"):
        return _from_s3(account, site.network.bucket, name, url, ref)
    return _from_git(account, site.network.bucket, name, url, ref or "HEAD", may_be_private)


def find(account: Account, bucket: str, name: str) -> Artifact | None:
    """The copy of that name, if it was made."""
    return _kept(account, bucket, name)


def _kept(account: Account, bucket: str, name: str) -> Artifact | None:
    try:
        head = account.s3.head_object(Bucket=bucket, Key=name)
    except ClientError as error:
        if code_of(error) in ("404", "NoSuchKey", "NotFound"):
            return None
        raise
    return Artifact(f"s3://{bucket}/{name}", head["Metadata"].get("ref", ""))


def _from_s3(account: Account, bucket: str, name: str, url: str, ref: str | None) -> Artifact:
    parts = urlsplit(url)
    source: Any = {"Bucket": parts.netloc, "Key": parts.path.lstrip("/")} | ({"VersionId": ref} if ref else {})
    try:
        head = account.s3.head_object(**source)
        if head["ContentLength"] > LIMIT_BYTES:
            raise SourceError(f"{url} has {head['ContentLength']} bytes; {LIMIT_BYTES} are allowed")
        found = head.get("VersionId") or head["ETag"].strip('"')
        account.s3.copy_object(
            Bucket=bucket, Key=name, CopySource=source, Metadata={"ref": found}, MetadataDirective="REPLACE"
        )
    except ClientError as error:
        if code_of(error) in (
            "403",
            "404",
            "AccessDenied",
            "NoSuchBucket",
            "NoSuchKey",
            "NoSuchVersion",
            "NotFound",
            "400",
        ):
            raise SourceError(f"{url}: there is nothing there, or we may not read it") from error
        raise
    return Artifact(f"s3://{bucket}/{name}", found)


def _from_git(account: Account, bucket: str, name: str, url: str, ref: str, may_be_private: bool) -> Artifact:
    with tempfile.TemporaryDirectory(prefix="provision-code-") as directory:
        git = _Git(url, Path(directory), may_be_private)
        commit = git.resolve(ref)
        archive = git.archive(commit)
        with archive.open("rb") as content:
            account.s3.put_object(Bucket=bucket, Key=name, Body=content, Metadata={"ref": commit})
    return Artifact(f"s3://{bucket}/{name}", commit)


class _Git:
    """git at one repository, kept from everything else."""

    def __init__(self, url: str, directory: Path, may_be_private: bool) -> None:
        self._url, self._directory = url, directory
        parts = urlsplit(url)
        schemes = ("https", "http") if may_be_private else ("https",)
        if parts.scheme not in schemes or not parts.hostname or parts.username or parts.password:
            raise SourceError(f"{url}: code is fetched by https, without credentials")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            found = _addresses(parts.hostname, port, may_be_private)
        except OSError as error:
            raise SourceError(f"{parts.hostname}: {error}") from error
        pinned = f"{parts.hostname}:{port}:{','.join(_bracketed(address) for address in found)}"
        self._options = [
            *(
                "-c",
                f"http.curloptResolve={pinned}",
                "-c",
                "http.followRedirects=false",
                "-c",
                "core.hooksPath=/dev/null",
            ),
            *("-c", "credential.helper=", "-c", "http.proxy=", "-c", "protocol.allow=never"),
            *(option for scheme in schemes for option in ("-c", f"protocol.{scheme}.allow=always")),
        ]

    def resolve(self, ref: str) -> str:
        """The commit that a branch or tag is now; a commit is itself."""
        if len(ref) == 40 and all(digit in "0123456789abcdef" for digit in ref):
            return ref
        names = ("HEAD",) if ref == "HEAD" else (f"refs/heads/{ref}", f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}")
        lines = [line.split("\t") for line in self._run("ls-remote", self._url, *names).splitlines()]
        found = {name: commit for commit, name in lines}
        commit = next((found[name] for name in names if name in found), None)
        if commit is None:
            raise SourceError(f"{self._url} has no branch or tag {ref}")
        return commit

    def archive(self, commit: str) -> Path:
        """Its files as a tar.gz, without history."""
        place, result = self._directory / "repository", self._directory / "archive.tar.gz"
        self._run("init", "--quiet", "--bare", str(place))
        self._run("--git-dir", str(place), "fetch", "--quiet", "--depth", "1", "--no-tags", self._url, commit)
        self._run("--git-dir", str(place), "archive", "--format", "tar.gz", "--output", str(result), commit)
        if result.stat().st_size > LIMIT_BYTES:
            raise SourceError(f"{self._url} is larger than {LIMIT_BYTES} bytes")
        return result

    def _run(self, *arguments: str) -> str:
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self._directory),
            "LC_ALL": "C",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_ASKPASS": "true",
        }
        command = ["git", *self._options, *arguments]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=SECONDS, env=environment, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise SourceError(f"{self._url} took longer than {SECONDS:g} s") from error
        if done.returncode:
            raise SourceError(f"{self._url}: {(done.stderr.strip().splitlines() or ['git failed'])[-1][:300]}")
        return done.stdout


def _addresses(host: str, port: int, may_be_private: bool) -> list[str]:
    """The addresses of a host, all of which must be public ones."""
    found = list(dict.fromkeys(str(one[4][0]) for one in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))
    for address in found:
        if not may_be_private and not is_public(address):
            raise SourceError(f"{host} is at {address}, which is no public address")
    return found


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
