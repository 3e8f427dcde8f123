"""What claiming and completing a job costs the server at the very least: two statements on one table, by pgbench."""

import shutil
import subprocess
import time
from pathlib import Path

from provision.database import connect

HERE = Path(__file__).parent
SCRIPT = HERE / "claim_complete.sql"
CHUNK = 100
SYSTEM_DIRECTORIES = "/usr/lib/postgresql/*/bin/pgbench"


class PgbenchError(Exception):
    """pgbench did not do its work; the text is what it said."""


def find(binaries: Path) -> Path | None:
    """The pgbench beside the server, else one of the system; a newer or older one does as well."""
    own = binaries / "pgbench"
    if own.exists():
        return own
    system = sorted(Path("/").glob(SYSTEM_DIRECTORIES.lstrip("/")))
    on_path = shutil.which("pgbench")
    return system[-1] if system else Path(on_path) if on_path else None


def fill(url: str, jobs: int) -> None:
    """Makes the table anew with so many jobs."""
    with connect(url, "benchmark", autocommit=True) as connection:
        connection.execute((HERE / "queue.sql").read_bytes())
        connection.execute("INSERT INTO queue (data) SELECT '{}' FROM generate_series(1, %s)", (jobs,))


def drain(url: str, jobs: int, pgbench: Path | None) -> float:
    """Claims and completes all of them on one connection; the seconds it took."""
    began = time.monotonic()
    if pgbench is None:
        _drain_here(url, jobs)
    else:
        _drain_by(pgbench, url, jobs)
    seconds = time.monotonic() - began
    with connect(url, "benchmark", autocommit=True) as connection:
        row = connection.execute("SELECT count(*) FROM queue WHERE status = 2").fetchone()
    if not row or row[0] != jobs:
        raise PgbenchError(f"of {jobs} jobs {row and row[0]} are complete")
    return seconds


def _drain_by(pgbench: Path, url: str, jobs: int) -> None:
    """Prepared statements, as every driver of a worker uses them."""
    command = [str(pgbench), "-n", "-M", "prepared", "-t", str(jobs // CHUNK), "-f", str(SCRIPT), url]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise PgbenchError(result.stderr.strip())


def _drain_here(url: str, jobs: int) -> None:
    """The same statements without pgbench."""
    claim, complete = SCRIPT.read_text().split(r"\gset")
    with connect(url, "benchmark", autocommit=True) as connection:
        for _ in range(jobs // CHUNK):
            row = connection.execute(claim.encode(), prepare=True).fetchone()
            assert row
            connection.execute(complete.replace(":ids", "%s").encode(), row, prepare=True)
