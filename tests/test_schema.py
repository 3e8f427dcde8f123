"""The description that the API serves is true: schemathesis sends what it allows and what it forbids, and compares.

All its checks are on. What a description in OpenAPI cannot say is said in schemathesis.toml, operation by operation.
"""

import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from provision_api.app import make_app
from pydantic import SecretStr

from provision.settings import Settings

from .api_fixtures import make_customer, serving, settings_for
from .conftest import Database

# Surfaces are looked at in so many parts, which may run side by side; each takes less than a minute.
GROUPS = 3

# Who asks about everything would remove himself before long.
STAY = """
    CREATE FUNCTION stay() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$
    BEGIN
        PERFORM refuse('PV409', 'who asks stays', OLD.id::text, 'remove another');
    END $$;
    CREATE TRIGGER a_stay BEFORE UPDATE ON customer FOR EACH ROW EXECUTE FUNCTION stay();
    CREATE TRIGGER a_stay BEFORE UPDATE ON app_user FOR EACH ROW WHEN (OLD.is_technical) EXECUTE FUNCTION stay();
    CREATE TRIGGER a_stay BEFORE UPDATE ON membership FOR EACH ROW WHEN (OLD.number = 1) EXECUTE FUNCTION stay();
    CREATE TRIGGER a_stay BEFORE UPDATE ON api_key FOR EACH ROW WHEN (OLD.name = 'shop') EXECUTE FUNCTION stay();
"""


def tags(group: int) -> list[str]:
    """Every third surface."""
    document = make_app(Settings(database_url=SecretStr("postgresql://nobody@127.0.0.1/none"))).state.openapi
    found = {
        tag for path in document["paths"].values() for one in path.values() if "tags" in one for tag in one["tags"]
    }
    return sorted(found)[group::GROUPS]


@pytest.mark.parametrize("group", range(GROUPS))
def test_the_description_is_true(database: Database, owner: psycopg.Connection, tmp_path: Path, group: int) -> None:
    customer = make_customer(owner, "acme")
    owner.execute(STAY)
    with serving(settings_for(database.url, rate_per_caller=0, rate_per_address=0)) as served:
        command = [
            str(Path(sys.executable).with_name("schemathesis")),
            f"--config-file={Path(__file__).with_name('schemathesis.toml')}",
            "run",
            f"{served.url}/openapi.json",
            f"--header=Authorization: Token {customer.key}",
            *(f"--include-tag={tag}" for tag in tags(group)),
            "--no-color",
        ]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
