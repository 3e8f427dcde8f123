"""Things a worker does at an interval beside its loop: the heartbeat, and the sweep."""

import threading
from collections.abc import Callable

import psycopg
import structlog

from . import metrics
from .backoff import Backoff
from .store import Store

log = structlog.get_logger(__name__)


class Ticker(threading.Thread):
    """Calls `tick` every `seconds` on a connection of its own, so that nothing the loop does can hold it up.

    When the database goes away it keeps trying to come back.
    """

    def __init__(
        self, name: str, connect: Callable[[], psycopg.Connection], seconds: float, tick: Callable[[Store], None]
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._connect = connect
        self._seconds = seconds
        self._tick = tick
        self._stopped = threading.Event()
        self._backoff = Backoff()

    def stop(self) -> None:
        """Ends the thread after the call that is under way."""
        self._stopped.set()
        self.join()

    def run(self) -> None:
        """Ticks until stopped."""
        while not self._stopped.is_set():
            try:
                with self._connect() as connection:
                    self._tick_on(Store(connection))
            except psycopg.Error as error:
                metrics.ERRORS.labels(self.name).inc()
                seconds = self._backoff.next_seconds()
                log.warning(
                    "worker.database_away", part=self.name, reason=str(error).strip(), retry_in=round(seconds, 2)
                )
                self._stopped.wait(seconds)

    def _tick_on(self, store: Store) -> None:
        while not self._stopped.is_set():
            self._tick(store)
            self._backoff.succeeded()
            self._stopped.wait(self._seconds)
