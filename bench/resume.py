"""How long until the sessions of a gateway that was killed are open again on another one, with all that they missed.

    .venv/bin/python bench/resume.py [--quick] [--json]

docs/performance.md says what is measured and how. Exit status 0 says that it ran, not that it was fast.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from bench.support.command import Command, command, end_on_sigterm
from bench.support.figures import Figure, percentile
from bench.support.session import LoadSession, exact_loop
from bench.support.system import System, open_in_turn, system
from schemas.topics import channel_topic

CHANNEL: Final = "news"
#: Everybody comes back within this time after the kill, as clients do that back off by chance, in seconds.
JITTER_S: Final = 1.0
#: So many handshakes at once: a client that gets no answer would try again later and later.
AT_ONCE: Final = 50
WITHIN_S: Final = 60.0
GOAL_S: Final = "<= 10"
#: The sessions of the bench come from one address, faster than a gateway takes clients by default.
SETTINGS: Final = {
    "HEADGATE_MAX_HANDSHAKES": "0",
    "HEADGATE_MAX_CONNECTIONS_PER_ADDRESS": "0",
    "HEADGATE_AUTH_TIMEOUT": "30",
}


@dataclass(slots=True)
class Returned:
    """What became of one client that came back."""

    seconds: float
    """Since its gateway was killed, or since it began to open a new session."""
    same: bool
    """It has its old session."""
    missed: int
    """Publications of its channel that it got although they were made in between."""


@dataclass(slots=True)
class Client:
    """A client and what it needs to come back."""

    name: str
    session: LoadSession
    welcome: dict[str, Any] = field(default_factory=dict)
    place: dict[str, Any] = field(default_factory=dict)

    async def enter(self) -> None:
        """Authenticate and join the channel."""
        self.welcome = await self.session.ask({"type": "auth", "token": self.name, "protocol": 1}, "auth_success")
        answer = await self.session.ask({"type": "subscribe", "channel": CHANNEL}, "subscribed")
        self.place = {"epoch": answer["epoch"], "offset": answer["offset"]}

    async def come_back(self, port: int, since: float) -> Returned:
        """Resume the session at another port, until its channel is there again; raises TimeoutError."""
        self.session = LoadSession(port)
        await self.session.open()
        offsets = self.welcome["offsets"] | {channel_topic(CHANNEL): self.place}
        wish = {"session": self.welcome["sessionId"], "secret": self.welcome["resumeSecret"], "offsets": offsets}
        frames: dict[str, dict[str, Any]] = {}
        complete: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def line_arrived(_: LoadSession, line: bytes) -> None:
            frame = orjson.loads(line)
            frames[frame["type"]] = frame
            if not complete.done() and (
                "subscribed" in frames or frames.get("auth_success", {}).get("generation") == 1
            ):
                complete.set_result(None)

        self.session.on_line = line_arrived
        self.session.send(orjson.dumps({"type": "auth", "token": self.name, "protocol": 1, "resume": wish}) + b"\n")
        await asyncio.wait_for(complete, WITHIN_S)
        welcome, subscribed = frames["auth_success"], frames.get("subscribed", {})
        whole = welcome["recovered"] and subscribed.get("recovered", False)
        same = whole and welcome["sessionId"] == self.welcome["sessionId"]
        return Returned(time.monotonic() - since, same, len(subscribed.get("publications", ())))


async def enter_all(port: int, count: int, prefix: str) -> tuple[list[Client], list[float]]:
    """So many new sessions, and how long each took from when all began."""
    clients = [Client(f"{prefix}-{number}", LoadSession(port)) for number in range(count)]
    room, began, took = asyncio.Semaphore(AT_ONCE), time.monotonic(), list[float]()

    async def one(client: Client) -> None:
        async with room:
            await open_in_turn([client.session], authenticate=False)
            await client.enter()
            took.append(time.monotonic() - began)

    await asyncio.gather(*(one(client) for client in clients))
    return clients, took


async def come_back_all(clients: Sequence[Client], port: int, since: float) -> list[Returned]:
    """All clients return, each in its own time."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(client: Client) -> Returned:
        await asyncio.sleep(random.uniform(0, JITTER_S))
        async with room:
            return await client.come_back(port, since)

    return list(await asyncio.gather(*(one(client) for client in clients)))


async def figures(running: System, count: int) -> AsyncIterator[Iterable[Figure]]:
    """The figures of `count` sessions."""
    clients, opened = await enter_all(running.gateway_port, count, "user")
    await running.processes["ingress"].stop(signal.SIGKILL)
    killed = time.monotonic()
    for client in clients:
        client.session.abandon()
    await running.publish(CHANNEL, {"n": 1})
    returned = await come_back_all(clients, running.second_port, killed)
    times = sorted(one.seconds for one in returned)
    whole = sum(one.same and one.missed == 1 for one in returned)
    doubt = "" if whole == count else f"{count - whole} came back without all that they missed"
    floor = sorted(opened)
    what = f"{count} sessions after their gateway's SIGKILL, back within {JITTER_S:g} s by chance, each in one channel"
    for name, value, fresh in (
        ("p50", percentile(times, 0.5), percentile(floor, 0.5)),
        ("p99", percentile(times, 0.99), percentile(floor, 0.99)),
        ("max", times[-1], floor[-1]),
    ):
        goal = GOAL_S if name == "max" else ""
        told = f"{what}; the floor is as many new sessions, {AT_ONCE} at a time"
        yield (Figure.of(f"resume_{count}_{name}_s", value, "s", told, goal=goal, floor=fresh, doubt=doubt),)
    yield (
        Figure.of(
            f"resume_{count}_whole", whole, "sessions", "resumed with what was published meanwhile", goal=f">= {count}"
        ),
    )
    for client in clients:
        client.session.close()


async def measure(count: int, options: Command) -> None:
    """Run the bench and print its figures."""
    end_on_sigterm()
    async with system(second_gateway=True, settings=SETTINGS) as running:
        async for group in figures(running, count):
            options.show(group)


def main() -> None:
    """The command line."""
    options = command(
        "Sessions that resume after their gateway was killed.",
        quick="200 sessions in the place of 1,000",
        cores="one for the services, one for the clients",
    )
    with asyncio.Runner(loop_factory=exact_loop) as runner:
        runner.run(measure(200 if options.quick else 1000, options))


if __name__ == "__main__":
    main()
