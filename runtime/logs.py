"""Structured logs: one event per line on standard error, for people or as JSON."""

from __future__ import annotations

import logging
import sys
from typing import Final, TextIO, cast

import structlog
from prometheus_client import Counter

from runtime.settings import Settings

LINES_LOST: Final = Counter("headgate_log_lines_lost", "Lines of the service's own log that could not be written.")


class Lines:
    """A file of lines, each written at once; one that cannot be is lost and counted, and ends nothing.

    Otherwise loops that survive an error would be ended by reporting it, on a full disk or when nobody reads any more.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, line: str) -> int:
        """Write a line."""
        try:
            self._file.write(line)
            self._file.flush()
        except (OSError, ValueError):  # ValueError: the file is closed.
            LINES_LOST.inc()
        return len(line)

    def flush(self) -> None:
        """Nothing is left to be written."""


def configure_logs(settings: Settings, service: str) -> None:
    """Set structlog up for this process; libraries that use `logging` come out in the same form."""
    lines = cast("TextIO", Lines(sys.stderr))
    level = getattr(logging, settings.log_level.upper())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    errors: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info] if settings.log_format == "json" else []
    )
    structlog.configure(
        processors=[*shared, *errors, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(lines),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    handler = logging.StreamHandler(lines)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *errors, renderer],
            foreign_pre_chain=shared,
        )
    )
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)
