"""Settings come from the environment and a file, and a mistake in them is explained in a line."""

import hashlib
import hmac
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from provision import ProvisionError
from provision.database import role_url, url_as, url_for, url_shown
from provision.settings import Settings, SettingsError, describe, load

OWNER = "postgresql://me:s%20ecret@db1:5432,db2:5433/shop?sslmode=require"


def test_defaults_need_nothing(tmp_path: Path) -> None:
    settings = load({}, tmp_path)
    assert settings.database_url is None
    assert settings.data_directory == tmp_path / ".provision"
    assert (settings.api_host, settings.api_port, settings.body_limit_bytes) == ("127.0.0.1", 8080, 1024 * 1024)


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "provision.toml").write_text('api_port = 9000\napi_host = "::1"\n')
    settings = load({"PROVISION_API_PORT": "9001"}, tmp_path)
    assert (settings.api_host, settings.api_port) == ("::1", 9001)


def test_another_file_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("worker_listen = false\n")
    assert load({"PROVISION_CONFIG": str(tmp_path / "other.toml")}, tmp_path).worker_listen is False


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="which does not exist"):
        load({"PROVISION_CONFIG": "nowhere.toml"}, tmp_path)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "provision.toml").write_text("api_port = = 1")
    with pytest.raises(SettingsError, match=r"provision\.toml: Invalid value"):
        load({}, tmp_path)


def test_an_empty_variable_is_not_set(tmp_path: Path) -> None:
    assert load({"PROVISION_API_PORT": "", "DATABASE_URL": ""}, tmp_path) == load({}, tmp_path)


@pytest.mark.parametrize(
    ("environ", "answer"),
    [
        ({"PROVISION_API_PROT": "1"}, "unknown setting PROVISION_API_PROT, did you mean PROVISION_API_PORT?"),
        (
            {"PROVISION_ZZZ": "1"},
            "unknown setting PROVISION_ZZZ; `provision doctor --settings` lists all",
        ),
        (
            {"PROVISION_API_PORT": "http"},
            "PROVISION_API_PORT: 'http' does not do: expected a valid integer, unable to parse string as an integer",
        ),
        ({"PROVISION_LOG_FORMAT": "xml"}, "PROVISION_LOG_FORMAT: 'xml' does not do: expected 'console' or 'json'"),
        (
            {"PROVISION_API_PROXIES": "10.0.0.0/8, lb1"},
            "PROVISION_API_PROXIES: '10.0.0.0/8, lb1' does not do: 'lb1' does not appear to be an IPv4 or IPv6 network",
        ),
        ({"PROVISION_API_CERTIFICATE": "a.pem"}, "api_certificate and api_key_file go together: set both or neither"),
    ],
)
def test_mistakes_are_explained(environ: dict[str, str], answer: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(environ, tmp_path)
    assert str(caught.value) == answer


def test_a_mistake_in_the_file_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "provision.toml").write_text("api_prot = 1\n")
    with pytest.raises(SettingsError, match=r"^unknown setting api_prot in provision\.toml, did you mean api_port\?$"):
        load({}, tmp_path)


def test_no_secret_is_shown(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load({"DATABASE_URL": "mysql://me:hunter2@db/shop"}, tmp_path)
    assert str(caught.value).startswith("DATABASE_URL: the value does not do: expected postgresql://")
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(load({"DATABASE_URL": "postgresql://me:hunter2@db/shop"}, tmp_path))


def test_settings_do_not_change(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load({}, tmp_path).api_port = 1  # type: ignore[misc]


def test_every_setting_is_described() -> None:
    table = {line.name: line for line in describe()}
    assert list(table) == list(Settings.model_fields)
    assert all(line.meaning for line in table.values())
    assert table["api_port"][1:4] == ("PROVISION_API_PORT", "integer 1–65535", "8080")
    assert table["log_format"].type == "console | json"
    assert table["database_url"].type == "URL"
    assert table["request_timeout_seconds"].type == "number > 0"
    assert table["worker_batch"].type == "integer ≥ 1"


def test_a_part_logs_in_with_a_password_derived_from_the_owners(tmp_path: Path) -> None:
    settings = load({"DATABASE_URL": OWNER}, tmp_path)
    worker = conninfo_to_dict(role_url(settings, "worker"))
    password = hmac.new(b"s ecret", b"provision_worker", hashlib.sha256).hexdigest()
    assert worker == conninfo_to_dict(OWNER) | {"user": "provision_worker", "password": password}
    assert role_url(settings, "owner") == OWNER


def test_without_a_password_none_is_derived(tmp_path: Path) -> None:
    settings = load({"DATABASE_URL": "postgresql://me@db/shop"}, tmp_path)
    assert role_url(settings, "api") == "postgresql://provision_api@db/shop"


def test_an_explicit_url_wins(tmp_path: Path) -> None:
    other = "postgresql://api@elsewhere/shop"
    settings = load({"DATABASE_URL": OWNER, "PROVISION_API_DATABASE_URL": other}, tmp_path)
    assert role_url(settings, "api") == other


def test_no_database_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ProvisionError, match="set DATABASE_URL="):
        role_url(load({}, tmp_path), "worker")


def test_urls_keep_what_is_not_the_user() -> None:
    assert url_as(OWNER, "a@b", "p/w") == "postgresql://a%40b:p%2Fw@db1:5432,db2:5433/shop?sslmode=require"
    assert url_for(OWNER, "other db") == OWNER.replace("/shop", "/other%20db")
    assert url_shown(OWNER) == "postgresql://me@db1:5432,db2:5433/shop"
    assert url_as("postgresql:///shop?host=/run/pg&user=x", "me") == "postgresql://me@/shop?host=%2Frun%2Fpg"
