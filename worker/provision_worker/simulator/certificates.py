"""Certificates for a simulator that nobody has given any: an authority of its own, made anew at every start."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Certificates:
    """Files in PEM. `ca_file` verifies the server; `client_file` (certificate and key) is what a client may show."""

    ca_file: Path
    server_file: Path
    client_file: Path

    def server_context(self, require_client: bool) -> ssl.SSLContext:
        """The server's side of TLS 1.2 or later; with `require_client` only clients of the same authority get in."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.server_file)
        if require_client:
            context.load_verify_locations(self.ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def generate(directory: Path, *names: str) -> Certificates:
    """Writes `ca.pem`, `server.pem` (for `names`, host names or addresses) and `client.pem` into `directory`."""
    authority = trustme.CA()
    made = Certificates(directory / "ca.pem", directory / "server.pem", directory / "client.pem")
    authority.cert_pem.write_to_path(made.ca_file)
    authority.issue_cert(*names).private_key_and_cert_chain_pem.write_to_path(made.server_file)
    authority.issue_cert(common_name="registrar").private_key_and_cert_chain_pem.write_to_path(made.client_file)
    for secret in (made.server_file, made.client_file):
        secret.chmod(0o600)
    return made
