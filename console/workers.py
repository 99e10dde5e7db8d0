"""`headgate ingress --workers N`: gateways that share a UDP port, and the process that keeps them running."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Final

import structlog

from console.supervisor import SETTLED_S, Child, Program, environment, headgate
from ingress.app import certificate_files
from ingress.server.workers import Place, bind_all, check_platform, steer
from runtime.settings import Settings
from schemas.errors import ConfigurationError

log = structlog.get_logger()

#: Seconds beyond the drain time that a stopping worker may take: its clients' last acknowledgements, its log.
_STOP_MARGIN_S: Final = 10.0
_EXIT_CONFIGURATION: Final = 2
_LAST_PORT: Final = 65_535


def worker_environment(settings: Settings, place: Place, port: int) -> dict[str, str]:
    """The environment of a worker on `port`: ours, with what is its own. Raises ConfigurationError."""
    own = {**place.environment(), "HEADGATE_INGRESS_PORT": str(port)}
    if settings.ingress_http_port:
        operator = settings.ingress_http_port + place.index
        if operator > _LAST_PORT:
            raise ConfigurationError(
                f"worker {place.index} would listen for operators on port {operator}: lower HEADGATE_INGRESS_HTTP_PORT"
            )
        own["HEADGATE_INGRESS_HTTP_PORT"] = str(operator)
    return environment(**own)


class Workers:
    """The worker processes. Their sockets stay open here: a worker that is restarted gets its own back."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._children: list[Child] = []
        self._started = 0.0

    async def run(self) -> None:
        """Keep the workers running until SIGTERM or SIGINT, then end all of them. SIGHUP is passed on.

        Raises ConfigurationError when the port cannot be bound or shared, or a worker finds something that has to
        be put right first.
        """
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        self._started = loop.time()
        self._children = self._make_children()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._pass_signal_on, signal.SIGHUP)
        try:
            for child in self._children:
                await child.start()
            failed = await self._wait(stop)
        finally:
            await asyncio.gather(*(child.stop() for child in self._children))
            log.info("workers.stopped")
        if failed is not None:
            raise ConfigurationError(f"{failed.program.name} did not start, so the others were stopped too")

    def _make_children(self) -> list[Child]:
        settings = self._settings
        count = settings.ingress_workers
        check_platform()
        settings.secret_bytes()
        # Made here, or each worker would make one, and show another than the last to write the file.
        certificate_files(settings)
        try:
            sockets = bind_all(settings.ingress_host, settings.ingress_port, count)
        except OSError as error:
            raise ConfigurationError(
                f"cannot listen on {settings.ingress_host} UDP port {settings.ingress_port}: "
                f"{error.strerror}; choose another with HEADGATE_INGRESS_PORT"
            ) from error
        steer(sockets)
        port = sockets[0].getsockname()[1]
        log.info("workers.bound", workers=count, port=port)
        retry_key = Place().retry_key
        # Detached: open until this process ends.
        places = [Place(index, count, sock.detach(), retry_key) for index, sock in enumerate(sockets)]
        return [self._child(place, port) for place in places]

    def _child(self, place: Place, port: int) -> Child:
        assert place.descriptor is not None
        program = Program(
            f"worker {place.index}",
            headgate("ingress"),
            worker_environment(self._settings, place, port),
            stop_seconds=self._settings.drain_seconds + _STOP_MARGIN_S,
            inherits=[place.descriptor],
        )
        return Child(program, _pass_line_on, report=_report, gives_up=self._gives_up)

    def _gives_up(self, status: int) -> bool:
        # Later on the same status says that, for example, Redis is away: that passes, and other workers have sessions.
        return status == _EXIT_CONFIGURATION and asyncio.get_running_loop().time() - self._started < SETTLED_S

    def _pass_signal_on(self, number: signal.Signals) -> None:
        for child in self._children:
            child.signal(number)

    async def _wait(self, stop: asyncio.Event) -> Child | None:
        """Until it is time to stop; the child that cannot be started, if that is why."""
        told = asyncio.create_task(stop.wait())
        failures = {asyncio.create_task(child.gave_up.wait()): child for child in self._children}
        try:
            done, _ = await asyncio.wait({told, *failures}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (told, *failures):
                task.cancel()
        return next((child for task, child in failures.items() if task in done and told not in done), None)


def _pass_line_on(_: str, line: str) -> None:
    # It is a line of a log already, and says which worker's.
    print(line, file=sys.stderr, flush=True)


def _report(name: str, text: str) -> None:
    log.warning("worker.report", worker=name, report=text)
