"""A run: load, faults, heal, drain, check. `python -m tests.chaos.run --seed N --faults 300`."""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from redis.exceptions import RedisError

from runtime.tasks import cancel
from schemas.keys import Keys
from tests.chaos import evidence as evidences
from tests.chaos import report
from tests.chaos.checkers import check
from tests.chaos.client import ChaosClient
from tests.chaos.evidence import Evidence
from tests.chaos.history import History
from tests.chaos.nemesis import Nemesis
from tests.chaos.notes import Notes
from tests.chaos.ops import CHANNELS
from tests.chaos.replaying import what_happened_replays
from tests.chaos.schedule import FAULTS, KILLS, SENTINEL, Planned, schedule
from tests.chaos.session import all_left
from tests.chaos.violations import Violation
from tests.chaos.world import World, world
from tests.support.waiting import eventually

#: Everything is at rest so long after the last that had to be done, or it is a violation. Longer than the longest that
#: waits: a sweep of what was read and forgotten (10 s), a client's silence on a WebSocket (30 s).
DRAIN_S: Final = 75.0
#: Every fifth client uses WebSocket.
_WEBSOCKET_EVERY: Final = 5


@dataclass(slots=True)
class Result:
    """What a run gave."""

    seed: int
    history: History
    evidence: Evidence
    found: dict[str, list[Violation]]
    folder: Path
    seconds: float
    drained: float | None
    """Seconds from the last heal until all was at rest and held; None if it never did."""
    code: str
    """What ran, as `report.code_digest` tells it from other code."""
    kind: str = ""
    """What sets it apart from other runs with this seed."""

    @property
    def name(self) -> str:
        """The seed, and what else there is to say."""
        return f"{self.seed}, {self.kind}" if self.kind else str(self.seed)

    @property
    def violations(self) -> list[Violation]:
        """All of them."""
        return [one for some in self.found.values() for one in some]


async def run(
    seed: int,
    planned: list[Planned],
    folder: Path,
    *,
    clients: int = 20,
    rate: float = 2.0,
    quiet: float = 5.0,
    drain: float = DRAIN_S,
    seconds: float = math.inf,
    **options: Any,
) -> Result:
    """Play a schedule on a world whose clients send `rate` operations a second each; `options` are the world's.

    No fault begins later than `seconds` after the beginning.
    """
    dice, began, code = random.Random(seed), time.monotonic(), report.code_digest()
    history = History(folder / "history.jsonl")
    async with world(folder, dice, **options) as made:
        ports = [front.port for front in made.fronts]
        load = [_client(n, ports, rate, history, random.Random(f"{seed}/{n}")) for n in range(clients)]
        for client in load:
            client.start()
        notes = Notes(made.apis, [client.name for client in load], history, random.Random(f"{seed}/notes"))
        telling = asyncio.create_task(notes.send(), name="notes")
        try:
            await _connected(load)
            await asyncio.sleep(quiet)
            await Nemesis(made, load, history).play(planned, began + seconds)
            await asyncio.sleep(quiet)
            for client in load:
                client.is_sending = False
            await cancel(telling)
            evidence, found, drained = await _drain(made, load, history, drain)
        finally:
            await cancel(telling)
            for client in load:
                await client.stop()
            await all_left()
    history.close()
    evidence.save(folder / "evidence.json")
    if report.code_digest() != code:  # Whatever was started again ran the later code.
        code = f"{code}, changed meanwhile"
    return Result(seed, history, evidence, found, folder, time.monotonic() - began, drained, code)


def _client(n: int, ports: list[int], rate: float, history: History, dice: random.Random) -> ChaosClient:
    channels = [dice.choice(some) for some in CHANNELS]
    transport = "websocket" if n % _WEBSOCKET_EVERY == _WEBSOCKET_EVERY - 1 else "webtransport"
    return ChaosClient(f"u{n}", ports, transport, channels, rate, history, dice)  # type: ignore[arg-type]  # one of two


async def _connected(load: Sequence[ChaosClient]) -> None:
    await eventually(lambda: all(client.answered for client in load), 60)


async def _drain(
    made: World, load: Sequence[ChaosClient], history: History, within: float
) -> tuple[Evidence, dict[str, list[Violation]], float | None]:
    """Wait until all is at rest and every checker is content, for a while; then what they say counts.

    A slow machine takes its time: the while begins anew whenever less is left to do than ever before.
    """
    began = since = time.monotonic()
    least = math.inf
    while True:
        left = await _left_to_do(made, load)
        if left < least:
            least, since = left, time.monotonic()
        is_late = time.monotonic() - since > within
        if is_late or not left:
            history.record("end", open=_sessions(load))
            evidence = await evidences.collect(made)
            # In a thread: clients have to go on answering pings.
            found = await asyncio.to_thread(check, history, evidence)
            busy = [problem for client in load if (problem := client.problem())]
            found["clients_come_to_rest"] = [Violation("left over", problem) for problem in busy]
            if not any(found.values()):
                rested = time.monotonic() - began
                found[what_happened_replays.__name__] = await what_happened_replays(made)
                return evidence, found, rested
            if is_late:
                return evidence, found, None
        await asyncio.sleep(1)


async def _left_to_do(made: World, load: Sequence[ChaosClient]) -> float:
    """Clients that are not at rest, and entries that a group has not settled; more than any number if Redis is away."""
    busy = sum(client.problem() is not None for client in load)
    try:
        logs = [make(p) for p in range(made.keys.partitions) for make in (made.keys.inbound, made.keys.outbound)]
        logs += [make(log) for log in logs for make in (Keys.trail, Keys.datagrams)]
        groups = [group for log in logs for group in await evidences.groups(made.log, log)]
    except RedisError:
        return math.inf
    return busy + sum(int(group["pending"] + group["lag"]) for group in groups)


def _sessions(load: Sequence[ChaosClient]) -> dict[str, Any]:
    return {
        client.session.id: {
            "user": client.name,
            "channels": client.channels,
            "members": {channel: sorted(members) for channel, members in client.session.known.members.items()},
        }
        for client in load
        if client.session is not None and client.session.is_up
    }


async def _until_told(running: Coroutine[Any, Any, Result]) -> Result:
    """The run, which SIGTERM and SIGINT bring to an early end, and its processes with it."""
    asyncio.get_running_loop().set_exception_handler(_unheard)
    task = asyncio.ensure_future(running)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await task


def _unheard(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Pass over connections that ended before they were open, when nobody waits for them any more."""
    if not isinstance(context.get("exception"), ConnectionError):
        loop.default_exception_handler(context)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="of the schedule and of what clients send")
    parser.add_argument("--faults", type=int, default=60)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--rate", type=float, default=2.0, help="operations of a client a second")
    parser.add_argument("--kills", action="store_true", help="nothing but SIGKILL")
    parser.add_argument("--sentinel", action="store_true", help="two servers and failovers, in place of one server")
    parser.add_argument("--only", default="", help="only faults with this in their name")
    parser.add_argument("--seconds", type=float, default=math.inf, help="no fault begins later")
    parser.add_argument(
        "--out", type=Path, default=None, help="file for the figures, to be added up by tests.chaos.report"
    )
    parser.add_argument("--keep", type=Path, default=None, help="folder for history, evidence and logs")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(10**6)
    print(f"seed {seed}", flush=True)
    kinds = KILLS if arguments.kills else SENTINEL if arguments.sentinel else FAULTS
    kinds = {name: kind for name, kind in kinds.items() if arguments.only in name}
    folder = arguments.keep or Path(tempfile.mkdtemp(prefix="headgate-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    load = {"clients": arguments.clients, "rate": arguments.rate, "seconds": arguments.seconds}
    planned = schedule(seed, arguments.faults, kinds)
    result = asyncio.run(_until_told(run(seed, planned, folder, sentinel=arguments.sentinel, **load)))
    result.kind = "SIGKILL" if arguments.kills else "Sentinel" if arguments.sentinel else arguments.only
    print(report.text(result))
    if arguments.out is not None:
        report.summary(result.name, result.history, result.violations, result.code).save(arguments.out)
    if result.violations:
        print(f"history, evidence and logs are in {folder}")
        return 1
    if arguments.keep is None:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
