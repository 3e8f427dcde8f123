"""Structured logs: lines for people on a console, or one JSON object per line for machines. No secret is logged."""

import logging
import sys

import structlog

from provision.settings import Settings


def configure(settings: Settings) -> None:
    """Sets up the logs of this process, on standard error."""
    # Its reports of lost connections are on our lines already.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *_renderers(settings),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _renderers(settings: Settings) -> list[structlog.types.Processor]:
    if settings.log_format == "json":
        return [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer(default=str)]
    return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
