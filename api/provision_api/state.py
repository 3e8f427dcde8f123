"""What the requests of one application share."""

import asyncio
from dataclasses import dataclass, field

from starlette.requests import HTTPConnection

from provision.settings import Settings
from provision_api.database import Database
from provision_api.metrics import Metrics


@dataclass(frozen=True)
class State:
    """Made once per application; `stopping` is set when the server shuts down, so that nobody goes on waiting."""

    settings: Settings
    database: Database
    metrics: Metrics
    stopping: asyncio.Event = field(default_factory=asyncio.Event)


def state_of(request: HTTPConnection) -> State:
    state: State = request.app.state.shared
    return state
