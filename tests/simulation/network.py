"""Connections between simulated processes and the twin: packets take time, get lost, and arrive late."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import redis.asyncio as aioredis

from tests.simulation.world import Process, World

#: Usual time of a packet in seconds, on average.
_LATENCY_S: Final = 0.0008
#: How long a connection hangs when it does, at most: longer than a client waits for an answer.
_HANG_S: Final = 9.0


class Peer(Protocol):
    """The server's end of a connection."""

    def received(self, data: bytes, commands: int | None) -> None:
        """Bytes arrived; no more than `commands` of what they hold may be carried out (None: all)."""

    def closed(self) -> None:
        """The client is gone."""


@dataclass(slots=True)
class Weather:
    """How likely each fault of the network is, per packet."""

    lost_command: float = 0.0
    lost_reply: float = 0.0
    hang: float = 0.0


class Link:
    """One connection. Each way is in order; what was written before a close arrives before it."""

    def __init__(self, network: Network, process: Process) -> None:
        self._network = network
        self._world = network.world
        self.process = process
        self.reader = asyncio.StreamReader(loop=process)
        self.peer: Peer = network.accept(self)
        self.closed = False
        """The client closed it, or knows that it is broken."""
        self._cut = False
        """Nothing gets to the server any more."""
        self._ended = False
        """The server closed it."""
        self._out: deque[list[Any]] = deque()
        self._arrives = 0.0
        self._answers = 0.0
        self.transport = self

    # The server's side.

    def send(self, data: bytes) -> None:
        """An answer, on its way to the client."""
        if self._cut or self._ended:
            return
        if self._world.random.random() < self._network.weather.lost_reply:
            self._network.faults["reply lost"] += 1
            self._world.say(f"{self.process.name}: a reply is lost")
            self.cut()
            return
        self._answers = max(self._answers, self._world.now + self._network.latency())
        self._world.at(self._answers, lambda: self._feed(data))

    def end(self) -> None:
        """The server closes the connection; what it has not read yet is gone."""
        if not self._ended:
            self._ended = True
            self._answers = max(self._answers, self._world.now + self._network.latency())
            self._world.at(self._answers, lambda: self.process.receive(self._eof))

    # Faults.

    def cut(self, *, silent: bool = False) -> None:
        """Both ends lose the connection, each after its own time; `silent`: the server does not notice."""
        if self._cut:
            return
        self._cut = True
        self._network.links.discard(self)
        if not silent:
            self._world.at(self._world.now + self._network.latency(), self.peer.closed)
        self._world.at(self._world.now + self._network.latency(), lambda: self.process.receive(self._reset))

    def hold(self, until: float) -> None:
        """What is on its way to the server arrives after `until` only."""
        if self._out:
            self._arrives = max(self._arrives, until)
            for packet in self._out:
                packet[0] = max(packet[0], until)

    # The client's side, as asyncio.StreamWriter has it.

    def writelines(self, pieces: Iterable[bytes]) -> None:
        """Write, as asyncio does: what is lost on the way is not noticed here."""
        data = b"".join(pieces)
        if self.closed or self._cut:
            return
        commands = None
        chance, weather = self._world.random, self._network.weather
        if chance.random() < weather.lost_command:
            self._network.faults["command lost"] += 1
            commands = chance.choice((0, 0, 1, 2, 3))
            self._world.say(f"{self.process.name}: all but {commands} commands are lost")
        self._arrives = max(self._arrives, self._world.now + self._network.latency())
        if chance.random() < weather.hang:
            self._network.faults["hang"] += 1
            self._arrives += chance.uniform(0, _HANG_S)
            self._network.late = max(self._network.late, self._arrives)
            self._world.say(f"{self.process.name}: a connection hangs until {self._arrives:.4f}")
        self._out.append([self._arrives, data, commands])
        self._world.at(self._arrives, self._pump)
        self._network.wrote(self.process, data)

    async def drain(self) -> None:
        """Raises what broke the connection."""
        if (error := self.reader.exception()) is not None:
            raise error

    def close(self) -> None:
        """What was written still arrives."""
        if not self.closed:
            self.closed = True
            self._network.links.discard(self)
            self.reader.feed_eof()
            self._arrives = max(self._arrives, self._world.now + self._network.latency())
            self._out.append([self._arrives, None, None])
            self._world.at(self._arrives, self._pump)

    async def wait_closed(self) -> None:
        """It is closed at once."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """There is no socket."""
        return default

    # On the way.

    def _pump(self) -> None:
        while self._out:
            arrives, data, commands = self._out[0]
            if arrives > self._world.now:
                self._world.at(arrives, self._pump)
                return
            self._out.popleft()
            if self._cut or self._ended:
                continue
            if data is None:
                self.peer.closed()
            else:
                self.peer.received(data, commands)
                if commands is not None:
                    self.cut()

    def _feed(self, data: bytes) -> None:
        self.process.receive(lambda: None if self.closed or self._cut else self.reader.feed_data(data))

    def _eof(self) -> None:
        if not self.closed and self.reader.exception() is None:
            self.reader.feed_eof()

    def _reset(self) -> None:
        if not self.closed and not self.reader.at_eof():
            self.reader.set_exception(ConnectionResetError("Connection lost"))


class Network:
    """All connections."""

    def __init__(self, world: World, accept: Callable[[Link], Peer]) -> None:
        self.world = world
        self.accept = accept
        self.weather = Weather()
        self.faults: Counter[str] = Counter()
        self.late = 0.0
        """When the last of what hangs arrives."""
        self.links = _Ordered()
        self.catch: dict[Process, tuple[bytes, Callable[[], None]]] = {}
        """What is to happen when a process writes a certain command."""

    def latency(self) -> float:
        """How long a packet takes."""
        return 0.00005 + self.world.random.expovariate(1 / _LATENCY_S)

    def wrote(self, process: Process, data: bytes) -> None:
        """A process wrote something."""
        command, then = self.catch.get(process, (b"", None))
        if then is not None and command in data:
            del self.catch[process]
            self.world.say(f"{process.name}: pauses while it writes {command.decode()}")
            then()

    def of(self, process: Process) -> list[Link]:
        """Open connections of `process`."""
        return [link for link in self.links if link.process is process]

    def attach(self, client: aioredis.Redis, process: Process) -> None:
        """Have `client` connect here."""

        async def connect(connection: Any) -> None:
            await asyncio.sleep(self.latency())
            link = Link(self, process)
            self.links[link] = None
            connection._reader, connection._writer = link.reader, link

        pool = client.connection_pool
        pool.connection_class = type("SimulatedConnection", (pool.connection_class,), {"_connect": connect})


class _Ordered(dict[Link, None]):
    """A set that is gone through in the order of its making."""

    def discard(self, link: Link) -> None:
        self.pop(link, None)
