"""The life of a service."""

from __future__ import annotations

import asyncio
import os
import signal

from structlog.testing import capture_logs

from runtime.service import Health, serve
from tests.support.waiting import eventually


class Part:
    """A component that writes down its end, and then fails if it is to."""

    def __init__(self, name: str, ended: list[str], error: Exception | None = None) -> None:
        self._name = name
        self._ended = ended
        self._error = error

    async def start(self) -> None:
        """Nothing to do."""

    async def stop(self) -> None:
        """End."""
        self._ended.append(self._name)
        if self._error is not None:
            raise self._error


async def test_a_part_that_cannot_stop_keeps_no_other_from_it() -> None:
    """All are stopped, the last first, and what failed is in the log."""
    ended: list[str] = []
    health = Health()
    parts = [Part("log", ended), Part("group", ended, RuntimeError("a defect")), Part("http", ended)]
    with capture_logs() as logs:
        serving = asyncio.create_task(serve("test", parts, health))
        await eventually(lambda: health.serving)
        os.kill(os.getpid(), signal.SIGTERM)
        await serving
    assert ended == ["http", "group", "log"]
    assert [(one["event"], one["component"]) for one in logs if one["log_level"] == "error"] == [
        ("service.stop_failed", "Part")
    ]
    assert logs[-1]["event"] == "service.stopped"
