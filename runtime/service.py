"""The life of a service: start in order, ready, until SIGTERM; then not ready, drain and stop in reverse."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

log = structlog.get_logger()


class Component(Protocol):
    """A part of a service that is started and stopped with it."""

    async def start(self) -> None:
        """Come up; an exception keeps the service from starting."""
        ...

    async def stop(self) -> None:
        """Finish what is held within the drain time, then go down."""
        ...


class Health:
    """What a service says of itself: alive since its start, ready between start and SIGTERM unless a check fails."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._now = monotonic
        self._started = monotonic()
        self._checks: list[Callable[[], str | None]] = []
        self._warnings: list[Callable[[], str | None]] = []
        self.serving = False

    def add(self, check: Callable[[], str | None]) -> None:
        """`check` gives what is wrong, or None."""
        self._checks.append(check)

    def warn(self, check: Callable[[], str | None]) -> None:
        """`check` gives what an operator should look at although traffic may come, or None."""
        self._warnings.append(check)

    def warnings(self) -> list[str]:
        """What an operator should look at."""
        return [warning for check in self._warnings if (warning := check()) is not None]

    def problems(self) -> list[str]:
        """Why the service is not ready; empty when it is."""
        if not self.serving:
            return ["starting or stopping"]
        return [problem for check in self._checks if (problem := check()) is not None]

    @property
    def uptime(self) -> float:
        """Seconds since the start."""
        return self._now() - self._started


async def serve(name: str, components: Sequence[Component], health: Health) -> None:
    """Run a service until SIGTERM or SIGINT. All that has started is stopped, whatever happens."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    started: list[Component] = []
    try:
        for component in components:
            started.append(component)
            await component.start()
        health.serving = True
        log.info("service.ready", name=name)
        await stop.wait()
        log.info("service.stopping", name=name)
    finally:
        health.serving = False
        for component in reversed(started):
            try:
                await component.stop()
            except Exception:  # What was started before it has things to finish too.
                log.exception("service.stop_failed", component=type(component).__name__)
        log.info("service.stopped", name=name)
