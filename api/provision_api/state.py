"""What the requests of one application share."""

import asyncio
from dataclasses import dataclass, field

from starlette.requests import HTTPConnection

from provision.settings import Settings
from provision_api.database import Database
from provision_api.key import Keys
from provision_api.limit import Seats
from provision_api.metrics import Metrics
from provision_api.oidc import Providers
from provision_api.password import Hasher
from provision_api.rate import Buckets

# Callers who may wait for an order at the same time: each costs a short look at the database now and then.
WAITING_LIMIT = 200


@dataclass(frozen=True)
class State:
    """Made once per application.

    `callers` says how often each may ask; `stopping` is set when the server shuts down, so that nobody goes on waiting;
    `seats` are for those who wait, `streams` for those who follow events.
    """

    settings: Settings
    database: Database
    metrics: Metrics
    callers: Buckets
    streams: Seats
    keys: Keys
    hasher: Hasher
    providers: Providers
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    seats: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(WAITING_LIMIT))

    async def pause(self, seconds: float) -> None:
        """Wait that long, or until the server stops."""
        try:
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
        except TimeoutError:
            return


def state_of(request: HTTPConnection) -> State:
    state: State = request.app.state.shared
    return state
