"""Replays as jobs: one process at a time. The last ones are remembered for as long as the console runs."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import redis.asyncio as aioredis
import structlog

from console.config import variable_of
from console.erasures import erasures_of
from console.printable import printable
from console.supervisor import environment, headgate, how_it_ended, tied
from console.web.replays.output import Differences, Figures, Reading, figures_of, lines, reading_of
from console.web.replays.wanted import Wanted
from runtime.settings import Settings
from runtime.tasks import cancel
from schemas.errors import HeadgateError

log = structlog.get_logger()

#: Jobs that are remembered, the one that runs among them.
MOST_JOBS: Final = 10
#: Seconds that a job may take to end after SIGTERM before it gets SIGKILL.
STOP_S: Final = 10.0
#: Lines of standard error that are kept of a job, and their length.
_MOST_WORDS: Final = 20
_MOST_LENGTH: Final = 1000
#: Settings that may be another process's here than those of the environment: `headgate dev` makes some of them.
_TOLD: Final = ("redis_url", "prefix", "partitions", "archive_url", "data_dir")
_EXIT_IDENTICAL: Final = 0
_EXIT_DIFFERENCES: Final = 1


class NotStarted(HeadgateError):
    """The operator's: another replay runs. Or the machine's: it has no room for one."""


class NoSuchJob(HeadgateError):
    """The operator's: there is no such replay, or it is forgotten."""


class Over(HeadgateError):
    """The operator's: the replay is over already."""


class State(StrEnum):
    """What became of a job."""

    RUNNING = "running"
    IDENTICAL = "identical"
    """All outputs are what they were."""
    DIFFERENT = "different"
    """Some are not, or the recording had no answer for them."""
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(slots=True)
class Job:
    """One replay. Times are Unix ms."""

    number: int
    wanted: Wanted
    operator: str
    """Who started it."""
    began_ms: int
    differences: Differences
    state: State = State.RUNNING
    ended_ms: int = 0
    reading: Reading = field(default_factory=Reading)
    figures: Figures | None = None
    words: deque[str] = field(default_factory=lambda: deque(maxlen=_MOST_WORDS))
    """What it said besides, for whoever explains its end."""
    cancelled: bool = False
    """Whether somebody asked for its end."""
    erasures: bytes | None = None
    """Which erasures of users were before its beginning (console.erasures)."""

    async def hear(self, process: Process) -> None:
        """Take what `process` writes, until it closes both of its outputs."""
        assert process.stdout is not None
        assert process.stderr is not None
        streams = (self._output(process.stdout), self._errors(process.stderr))
        reading = [asyncio.create_task(stream) for stream in streams]
        try:
            await asyncio.gather(*reading)
        finally:
            await cancel(*reading)

    def end(self, status: int) -> None:
        """It ended with `status`."""
        self.ended_ms = _now_ms()
        if self.figures is not None and status in (_EXIT_IDENTICAL, _EXIT_DIFFERENCES):
            self.state = State.IDENTICAL if status == _EXIT_IDENTICAL else State.DIFFERENT
        elif self.cancelled:
            self.state = State.CANCELLED
        else:
            self.state = State.FAILED
            if not self.words:
                self.words.append(f"headgate replay {how_it_ended(status)}")

    async def _output(self, stream: asyncio.StreamReader) -> None:
        async for line in lines(stream):
            if (figures := figures_of(line)) is not None:
                self.figures = figures
            else:
                self.differences.take(line)

    async def _errors(self, stream: asyncio.StreamReader) -> None:
        async for line in lines(stream):
            if (reading := reading_of(line)) is not None:
                self.reading = reading
            elif text := printable(line.decode("utf-8", "replace").rstrip(), _MOST_LENGTH):
                self.words.append(text)


class Jobs:
    """Starts replays and remembers the last ones; a Component. Its end is theirs."""

    def __init__(self, settings: Settings, client: aioredis.Redis) -> None:
        """`client`: of the log, which tells of erasures."""
        self._settings = settings
        self._client = client
        self._jobs: OrderedDict[int, Job] = OrderedDict()
        self._made = 0
        self._running: asyncio.Task[None] | None = None
        self._process: Process | None = None

    async def start(self) -> None:
        """Nothing runs by itself."""

    async def stop(self) -> None:
        """End the one that runs, and forget all."""
        for job in self._jobs.values():
            if job.state is State.RUNNING:
                await self._end(job)
            job.differences.close()
        self._jobs.clear()

    async def forget_erased(self) -> None:
        """Forget those that began before somebody was erased, whose words they may show. Raises RedisError."""
        erasures = await erasures_of(self._client, self._settings.keys)
        for number, job in list(self._jobs.items()):
            if job.erasures != erasures:
                if job.state is State.RUNNING:
                    await self._end(job)
                job.differences.close()
                self._jobs.pop(number, None)

    @property
    def newest_first(self) -> list[Job]:
        """Those that are remembered."""
        return list(reversed(self._jobs.values()))

    def get(self, number: int) -> Job:
        """One of them; raises NoSuchJob."""
        if (job := self._jobs.get(number)) is None:
            raise NoSuchJob(f"there is no replay {number}, or it is forgotten: the last {MOST_JOBS} are remembered")
        return job

    async def begin(self, wanted: Wanted, operator: str) -> Job:
        """Start one; raises NotStarted, while another runs above all, and RedisError."""
        erasures = await erasures_of(self._client, self._settings.keys)
        for job in self._jobs.values():
            if job.state is State.RUNNING:
                raise NotStarted(f"replay {job.number} runs, and there is one at a time: wait for it, or cancel it")
        try:
            differences = Differences()
        except OSError as error:
            raise NotStarted(f"there is no temporary file for what it finds: {error.strerror}") from error
        self._made += 1
        job = Job(self._made, wanted, operator, _now_ms(), differences, erasures=erasures)
        self._jobs[job.number] = job
        if len(self._jobs) > MOST_JOBS:
            self._jobs.popitem(last=False)[1].differences.close()
        self._running = asyncio.create_task(self._run(job), name=f"replay-{job.number}")
        return job

    async def cancel(self, number: int) -> None:
        """End one, and wait until it has ended; raises NoSuchJob, Over."""
        job = self.get(number)
        if job.state is not State.RUNNING:
            raise Over(f"replay {number} is over already")
        await self._end(job)

    async def _run(self, job: Job) -> None:
        status = -signal.SIGKILL
        try:
            # What one that was killed leaves behind is in there.
            with tempfile.TemporaryDirectory(prefix="headgate-replay-", ignore_cleanup_errors=True) as folder:
                self._process = process = await self._spawn(job, folder)
                if job.cancelled:  # Asked while it was being made.
                    process.terminate()
                try:
                    await job.hear(process)
                    status = await process.wait()
                # Nobody waits for this task, and a replay that is not heard must not go on: others wait for its end.
                except Exception as error:
                    log.exception("replay.not_heard", replay=job.number)
                    job.words.append(f"what headgate replay wrote cannot be taken, so it was ended: {error}")
                    await _ended(process)
        except OSError as error:
            job.words.append(f"headgate replay cannot be started: {error.strerror}")
        finally:
            self._process = None
            job.end(status)

    async def _spawn(self, job: Job, temporary: str) -> Process:
        chosen = {variable_of(name): str(getattr(self._settings, name)) for name in _TOLD}
        secret = {variable_of("secret"): self._settings.secret.get_secret_value()}
        # A session of its own: Ctrl-C in a terminal is for the console, which ends it in order.
        return await asyncio.create_subprocess_exec(
            *tied(headgate(*job.wanted.arguments())),
            env=environment(**chosen, **secret, TMPDIR=temporary),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            start_new_session=True,
        )

    async def _end(self, job: Job) -> None:
        job.cancelled, running = True, self._running
        assert running is not None
        if self._process is not None:
            self._process.terminate()
        await asyncio.wait({running}, timeout=STOP_S)
        if self._process is not None and not running.done():
            self._process.kill()
        await asyncio.wait({running})


async def _ended(process: Process) -> None:
    """Ask `process` to end, and wait for that; what it still writes is dropped."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    await process.communicate()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
