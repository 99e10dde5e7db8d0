"""How many entries a second a replay goes through in a sandbox.

    .venv/bin/python bench/replay.py [--quick] [--json]

It makes a recording of sessions that whisper and send messages, by letting processors and router handle it, and
replays that. Exit status 0 says that it ran, not that it was fast.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

import redis.asyncio as aioredis
from pydantic import SecretStr

from bench.support.command import Command, command
from bench.support.figures import Figure, spread
from bench.support.recording import Recorder
from console.replay.running import sandboxed
from runtime.recording import LogRecording, Selection, recorded
from runtime.settings import Settings
from tests.support.redis_server import redis_server

GOAL: Final = ">= 20000"


async def measure(messages: int, runs: int, options: Command) -> None:
    """Run the bench and print its figures."""
    async with redis_server(appendonly="no", appendfsync="no") as server:
        settings = Settings(redis_url=server.url, partitions=4, secret=SecretStr("b" * 32), _env_file=None)
        client = aioredis.Redis.from_url(server.url)
        await Recorder(settings, client).record(messages)
        total = sum([await client.xlen(stream) for stream in recorded(settings.keys)])
        done = [await replay(settings, client, total) for _ in range(runs)]
        await client.aclose()
    rates, cpu = [total / one.seconds for one in done], [one.cpu / total * 1e6 for one in done]
    what = f"{total} entries of logs and trails, {messages} messages and whispers"
    growth = [one.memory[-1] - one.memory[0] for one in done]
    grown = f"from the first tenth to the end: {', '.join(f'{each:.0f}' for each in done[0].memory)} MB; {what}"
    figures = (
        Figure.of("replay_per_s", median(rates), "entries/s", f"{what}; {spread(rates)}", goal=GOAL),
        Figure.of("replay_cpu_us", median(cpu), "us/entry", f"CPU time of the replay; {spread(cpu)}"),
        Figure.of("replay_growth_mb", median(growth), "MB", f"of the replay and the sandbox's Redis, {grown}"),
    )
    options.show(figures)


class Run(NamedTuple):
    """How a replay went."""

    seconds: float
    cpu: float
    """Seconds."""
    memory: list[float]
    """MB of the process and the sandbox's Redis, at each tenth of the way."""


async def replay(settings: Settings, client: aioredis.Redis, total: int) -> Run:
    """Once; ends the bench if anything differs."""
    gc.collect()
    memory: list[float] = []
    async with sandboxed(settings, settings.keys, lambda difference: None) as (decided, _):
        began, used = time.perf_counter(), time.process_time()
        batches: AsyncIterator[Sequence[Any]] = LogRecording(client).read(recorded(settings.keys), Selection())
        async for batch in batches:
            await decided.take(batch)
            if decided.tally.read * 10 // total > len(memory):
                memory.append(resident())
        await decided.finish()
        run = Run(time.perf_counter() - began, time.process_time() - used, memory)
    tally = decided.tally
    if tally.differences or not tally.outputs["identical"]:
        sys.exit(f"the replay differs: {dict(tally.outputs)}, {dict(tally.notes)}")
    return run


def resident() -> float:
    """MB of memory that this process and those that it started have."""
    pids = [os.getpid()]
    for task in Path("/proc/self/task").iterdir():
        pids += map(int, (task / "children").read_text().split())
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """The command line."""
    options = command(
        "How fast a replay goes in a sandbox.",
        quick="one short run",
        size=("--messages", "one run over a recording of so many, each four entries or so: does memory grow?"),
    )
    messages, runs = (5_000, 1) if options.quick else (50_000, 5)
    asyncio.run(measure(options.size or messages, 1 if options.size else runs, options))


if __name__ == "__main__":
    main()
