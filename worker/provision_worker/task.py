"""What an action is given: its job, and the way to the outside and to the rows it may read."""

import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar
from uuid import UUID

from psycopg.rows import class_row, dict_row
from psycopg_pool import ConnectionPool

from provision.database import load_queries

from .effects import Effects
from .job import Job, Outcome, retry
from .outcome import outcome_of
from .providers import epp, secret
from .providers.aws import Account

if TYPE_CHECKING:
    from types_boto3_sesv2 import SESV2Client

T = TypeVar("T")


class MisconfiguredError(Exception):
    """An accreditation that cannot be used as it stands; an operator can mend it, so the job tries again."""


@outcome_of.register
def _(error: MisconfiguredError) -> Outcome:
    return retry(str(error))


@dataclass(frozen=True, slots=True)
class Accreditation:
    """A right to use a provider, as its row says."""

    id: UUID
    name: str
    provider: str
    registrar_id: str | None
    endpoint: str | None
    region: str | None
    role_arn: str | None
    external_id: str | None
    secret_ref: str | None
    settings: dict[str, Any]


class Shelf(Generic[T]):
    """One thing per accreditation, made when first asked for, and anew when the accreditation's row has changed."""

    def __init__(self, make: Callable[[Accreditation], T], discard: Callable[[T], None]) -> None:
        self._make = make
        self._discard = discard
        self._things: dict[UUID, tuple[Accreditation, T]] = {}
        # One lock each: making a thing may ask the network, and a slow provider holds up nobody else.
        self._locks: defaultdict[UUID, threading.Lock] = defaultdict(threading.Lock)

    def get(self, accreditation: Accreditation) -> T:
        """The thing of this accreditation."""
        with self._locks[accreditation.id]:
            known = self._things.get(accreditation.id)
            if known and known[0] == accreditation:
                return known[1]
            thing = self._make(accreditation)
            self._things[accreditation.id] = (accreditation, thing)
        if known:
            self._discard(known[1])
        return thing

    def drop(self, accreditation: Accreditation) -> None:
        """Discards the thing; the next `get` makes it anew, with secrets looked up again."""
        with self._locks[accreditation.id]:
            known = self._things.pop(accreditation.id, None)
        if known:
            self._discard(known[1])

    def clear(self) -> None:
        """Discards all."""
        for accreditation, _ in list(self._things.values()):
            self.drop(accreditation)


class Resources:
    """What the actions of one worker share: database connections, registry clients, AWS accounts."""

    def __init__(self, pool: ConnectionPool, aws_endpoint_url: str | None = None) -> None:
        self.pool = pool
        self._aws_endpoint_url = aws_endpoint_url
        self._lock = threading.Lock()
        self._own: dict[str, Account] = {}
        self.registries: Shelf[epp.Client] = Shelf(self._registry, epp.Client.close)
        self.accounts: Shelf[Account] = Shelf(self._account, lambda account: None)

    def __enter__(self) -> Self:
        self.pool.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.registries.clear()
        self.accounts.clear()
        self.pool.close()

    def mail(self, region: str) -> "SESV2Client":
        """SES, as the worker itself."""
        with self._lock:
            account = self._own.setdefault(region, Account(region, endpoint_url=self._aws_endpoint_url))
        return account.ses

    def row(self, module: str, query: str, **parameters: Any) -> dict[str, Any] | None:
        """The first row of a named statement, or None."""
        with self.pool.connection() as connection:
            cursor = connection.cursor(row_factory=dict_row)
            return cursor.execute(load_queries(module)[query], parameters).fetchone()

    def rows(self, module: str, query: str, **parameters: Any) -> list[dict[str, Any]]:
        """All rows of a named statement."""
        with self.pool.connection() as connection:
            cursor = connection.cursor(row_factory=dict_row)
            return cursor.execute(load_queries(module)[query], parameters).fetchall()

    def execute(self, module: str, query: str, **parameters: Any) -> None:
        """Runs a named statement."""
        with self.pool.connection() as connection:
            connection.execute(load_queries(module)[query], parameters)

    def accreditation(self, id: UUID) -> Accreditation:
        """The accreditation of that id; it exists, as jobs refer to it by foreign key."""
        with self.pool.connection() as connection:
            cursor = connection.cursor(row_factory=class_row(Accreditation))
            (found,) = cursor.execute(load_queries("accreditation")["get"], {"id": id})
            return found

    def _registry(self, accreditation: Accreditation) -> epp.Client:
        password = secret.resolve(accreditation.secret_ref or "", self._aws_endpoint_url)
        return epp.Client(registry_settings(accreditation, password))

    def _account(self, accreditation: Accreditation) -> Account:
        return Account(
            accreditation.region,
            accreditation.role_arn,
            accreditation.external_id,
            accreditation.endpoint or self._aws_endpoint_url,
        )


_LIMITS = {
    "max_sessions", "commands_per_second", "burst", "connect_timeout", "command_timeout", "wait_timeout", "idle_limit",
    "age_limit",
}  # fmt: skip
_FILES = {"ca_file", "client_certificate", "client_key"}


def registry_settings(accreditation: Accreditation, password: str) -> epp.Settings:
    """How to reach the registry of an accreditation: `endpoint` is `host:port`, `settings` has limits and TLS files.

    Raises:
        MisconfiguredError: a setting is unknown, or something in them cannot be.
    """
    given = accreditation.settings
    if unknown := sorted(given.keys() - _LIMITS - _FILES):
        known = ", ".join(sorted(_LIMITS | _FILES))
        raise MisconfiguredError(
            f"accreditation {accreditation.name}: unknown setting {unknown[0]!r}; there are {known}"
        )
    host, _, port = (accreditation.endpoint or "").rpartition(":")
    try:
        return epp.Settings(
            host=host.strip("[]"),
            port=int(port),
            registrar=accreditation.registrar_id or "",
            password=password,
            tls=epp.tls_context(given.get("ca_file"), given.get("client_certificate"), given.get("client_key")),
            **{key: value for key, value in given.items() if key in _LIMITS},
        )
    except (ValueError, TypeError, OSError) as error:
        raise MisconfiguredError(f"accreditation {accreditation.name}: {error}") from error


class Site:
    """An accreditation to work at."""

    def __init__(self, resources: Resources, accreditation_id: UUID) -> None:
        self.resources = resources
        self._accreditation_id = accreditation_id

    @cached_property
    def accreditation(self) -> Accreditation:
        """Its row, as it was when first asked for."""
        return self.resources.accreditation(self._accreditation_id)

    @property
    def registry(self) -> epp.Client:
        """Its registry."""
        return self.resources.registries.get(self.accreditation)

    @property
    def account(self) -> Account:
        """Its AWS account."""
        return self.resources.accounts.get(self.accreditation)


class Task:
    """One job in work."""

    def __init__(self, job: Job, resources: Resources) -> None:
        self.job = job
        self.resources = resources

    @cached_property
    def effects(self) -> Effects:
        """What the job does outside, each step once."""
        return Effects(self.resources.pool, self.job)

    @cached_property
    def site(self) -> Site:
        """Where the job is to be done."""
        if self.job.accreditation_id is None:
            raise MisconfiguredError(f"a job of type {self.job.type} needs an accreditation, and this one has none")
        return Site(self.resources, self.job.accreditation_id)

    @property
    def state(self) -> dict[str, Any]:
        """What the last look at this job remembered."""
        return self.job.state or {}
