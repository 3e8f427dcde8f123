"""One typed settings object, from the environment and an optional TOML file.

A setting `api_port` is `PROVISION_API_PORT` in the environment and `api_port = …` in `provision.toml` (in the working
directory, or the file that `PROVISION_CONFIG` names). The environment wins. `DATABASE_URL` and `PG_BIN` are understood
without prefix, because other tools use them too. An empty variable counts as not set.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from provision import ProvisionError

PREFIX = "PROVISION_"
UNPREFIXED = {"DATABASE_URL": "database_url", "PG_BIN": "pg_bin"}


class SettingsError(ProvisionError):
    """A setting is unknown or has a value that cannot be; one line per setting."""


def _check_database_url(url: SecretStr) -> SecretStr:
    if not url.get_secret_value().startswith(("postgresql://", "postgres://")):
        raise ValueError("expected postgresql://user:password@host:port/database")
    return url


def _check_proxies(text: str) -> str:
    for part in text.split(","):
        if part.strip() not in ("*", ""):
            ip_network(part.strip())
    return text


DatabaseUrl = Annotated[SecretStr, AfterValidator(_check_database_url)]
Port = Annotated[int, Field(ge=1, le=65535)]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]
Rate = Annotated[float, Field(ge=0)]


class Settings(BaseModel):
    """Everything that can be set; immutable. See `describe()` for the table of names, types, defaults and meanings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    database_url: DatabaseUrl | None = Field(None, description="the database, as the user who migrates it")
    api_database_url: DatabaseUrl | None = Field(
        None, description="the database as provision_api; default: database_url with that user and its derived password"
    )
    worker_database_url: DatabaseUrl | None = Field(
        None, description="the database as provision_worker; default: derived like api_database_url"
    )
    data_directory: Path = Field(Path(".provision"), description="where the embedded PostgreSQL keeps its data")
    pg_bin: Path | None = Field(None, description="directory with initdb, pg_ctl and postgres of an own PostgreSQL")

    api_host: str = Field("127.0.0.1", description="address the API listens on")
    api_port: Port = Field(8080, description="port the API listens on")
    api_certificate: Path | None = Field(None, description="PEM certificate chain; with it the API speaks TLS")
    api_key_file: Path | None = Field(None, description="PEM private key of api_certificate")
    api_pool_size: Count = Field(10, description="database connections per API process")
    api_stream_limit: Count = Field(200, description="event streams per API process; more are answered 503")
    api_stream_limit_each: Count = Field(20, description="event streams of one customer; more are answered 429")
    body_limit_bytes: Count = Field(1 << 20, description="largest request body; more is answered 413")
    request_timeout_seconds: Seconds = Field(30, description="longest time a request may take; more is answered 503")
    rate_per_caller: Rate = Field(
        100, description="requests per second from one user, per API process; more is answered 429; 0: no limit"
    )
    rate_per_address: Rate = Field(
        200, description="requests per second from one address (IPv6: /64), per API process; 0: no limit"
    )
    rate_burst_seconds: Seconds = Field(10, description="what may come in so many seconds may also come at once")
    api_proxies: Annotated[str, AfterValidator(_check_proxies)] = Field(
        "127.0.0.1,::1", description="load balancers whose X-Forwarded-For and -Proto count: addresses, networks or *"
    )

    password_memory_kib: Annotated[int, Field(ge=1024)] = Field(
        65536, description="memory that checking a password takes (argon2id); other log-ins are rehashed as they come"
    )
    user_registry_url: str | None = Field(
        None, description="where the federation's registry tells who a CUID is: GET <this>/<cuid>"
    )
    user_registry_token: SecretStr | None = Field(None, description="what we show the registry, as a bearer token")
    identity_file: Path | None = Field(
        None, description="TOML file with the OpenID Connect issuers and the GitHub application to log in with"
    )

    worker_name: str | None = Field(None, description="name in v_worker; default: host name and process id")
    worker_concurrency: Count = Field(16, description="jobs in work at the same time per worker process")
    worker_batch: Count = Field(500, description="most jobs taken with one claim")
    worker_lease_seconds: Seconds = Field(
        30, description="a worker says six times in so long that it lives; not more than setting lease_seconds"
    )
    worker_poll_seconds: Seconds = Field(2.0, description="longest sleep of a worker when nothing wakes it")
    worker_listen: bool = Field(True, description="wake by LISTEN/NOTIFY; false behind a transaction pooler")
    worker_metrics_host: str = Field("127.0.0.1", description="address the worker's /metrics listens on")
    worker_metrics_port: Port | None = Field(None, description="port for the worker's /metrics; default: none")

    aws_endpoint_url: str | None = Field(None, description="another AWS endpoint, for tests and the demo")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least important line logged")
    log_format: Literal["console", "json"] = Field("console", description="log lines for people or for machines")

    @model_validator(mode="after")
    def _certificate_needs_key(self) -> Self:
        if (self.api_certificate is None) != (self.api_key_file is None):
            raise ValueError("api_certificate and api_key_file go together: set both or neither")
        return self


class Description(NamedTuple):
    """One line of the table of settings."""

    name: str
    variable: str
    type: str
    default: str
    meaning: str


def describe() -> list[Description]:
    """All settings in order, for the documentation and `provision doctor`."""
    properties = Settings.model_json_schema()["properties"]
    return [
        Description(
            name=name,
            variable=PREFIX + name.upper(),
            type=_type_text(properties[name]),
            default="" if field.default is None else str(field.default),
            meaning=field.description or "",
        )
        for name, field in Settings.model_fields.items()
    ]


def _type_text(schema: Mapping[str, Any]) -> str:
    """Turn a JSON schema into words: `integer ≥ 1`, `console | json`, `path`."""
    schema = next((option for option in schema.get("anyOf", ()) if option.get("type") != "null"), schema)
    if "enum" in schema:
        return " | ".join(schema["enum"])
    text = {"password": "URL", "path": "path"}.get(schema.get("format", ""), schema["type"])
    if "maximum" in schema:
        return f"{text} {schema['minimum']}–{schema['maximum']}"
    if "minimum" in schema:
        return f"{text} ≥ {schema['minimum']}"
    return f"{text} > 0" if "exclusiveMinimum" in schema else text


class _Value(NamedTuple):
    value: Any
    source: str


def load(environ: Mapping[str, str] | None = None, directory: Path | None = None) -> Settings:
    """Read the settings of a process.

    Raises:
        SettingsError: a name is unknown or a value is not what the setting takes; all of them are named.
    """
    environ = os.environ if environ is None else environ
    directory = Path.cwd() if directory is None else directory
    found = _from_file(environ, directory) | _from_environment(environ)
    unknown = [_unknown(name, value.source) for name, value in found.items() if name not in Settings.model_fields]
    if unknown:
        raise SettingsError("\n".join(unknown))
    try:
        settings = Settings.model_validate({name: value.value for name, value in found.items()})
    except ValidationError as error:
        raise SettingsError(_explain(error, found)) from None
    return settings.model_copy(update={"data_directory": directory / settings.data_directory})


def _from_file(environ: Mapping[str, str], directory: Path) -> dict[str, _Value]:
    configured = environ.get(PREFIX + "CONFIG")
    path = directory / (configured or "provision.toml")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if not configured:
            return {}
        raise SettingsError(f"{PREFIX}CONFIG names {path}, which does not exist") from None
    except (OSError, ValueError) as error:
        raise SettingsError(f"cannot read the settings file {path}: {error}") from None
    return {name: _Value(value, f"{name} in {path.name}") for name, value in content.items()}


def _from_environment(environ: Mapping[str, str]) -> dict[str, _Value]:
    found = {name: _Value(environ[key], key) for key, name in UNPREFIXED.items() if environ.get(key)}
    for key, value in environ.items():
        if key.startswith(PREFIX) and key != PREFIX + "CONFIG" and value:
            found[key.removeprefix(PREFIX).lower()] = _Value(value, key)
    return found


def _unknown(name: str, source: str) -> str:
    near = difflib.get_close_matches(name, Settings.model_fields, n=1, cutoff=0.5)
    if not near:
        return f"unknown setting {source}; `provision doctor --settings` lists all"
    wanted = PREFIX + near[0].upper() if source.startswith(PREFIX) else near[0]
    return f"unknown setting {source}, did you mean {wanted}?"


def _explain(error: ValidationError, found: Mapping[str, _Value]) -> str:
    """One line per wrong setting; the value is shown unless it is secret."""
    lines = []
    for problem in error.errors(include_url=False):
        reason = problem["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
        if not problem["loc"]:
            lines.append(reason)
            continue
        name = str(problem["loc"][0])
        shown = "the value" if name.endswith("_url") else repr(found[name].value)
        lines.append(f"{found[name].source}: {shown} does not do: {reason}")
    return "\n".join(dict.fromkeys(lines))
