"""Connections between simulated processes and the twin: packets take time, get lost, and arrive late."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from math import inf, log
from typing import Any, Final, Protocol

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
    """How likely each fault of the network is, per packet, and one of the server, per command."""

    lost_command: float = 0.0
    lost_reply: float = 0.0
    hang: float = 0.0
    no_memory: float = 0.0
    """A topic's script is refused. The command after it may find that there is memory again."""


class Link:
    """One connection. Each way is in order; what was written before a close arrives before it."""

    def __init__(self, network: Network, process: Process) -> None:
        self._network = network
        self._world = network.world
        self.process = process
        self.peer: Peer = network.accept(self)
        self.answers: deque[Any] = deque()
        """What arrived and was not read yet."""
        self.over = False
        """Nothing more arrives, and that is known here."""
        self._broken: OSError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        """The client closed it."""
        self._cut = False
        """Nothing gets to the server any more."""
        self._ended = False
        """The server closed it."""
        self._out: deque[list[Any]] = deque()
        self._arrives = 0.0
        self._answered = 0.0

    # The server's side.

    def send(self, answers: list[Any]) -> None:
        """Answers, on their way to the client."""
        if self._cut or self._ended:
            return
        if self._world.random.random() < self._network.weather.lost_reply:
            self._network.faults["reply lost"] += 1
            self._world.say(f"{self.process.name}: a reply is lost")
            self.cut()
            return
        self._back(lambda: self._feed(answers))

    def end(self) -> None:
        """The server closes the connection; what it has not read yet is gone."""
        if not self._ended:
            self._ended = True
            self._back(self._eof)

    def _back(self, arrive: Callable[[], None]) -> None:
        self._answered = max(self._answered, self._world.now + self._network.latency())
        self._world.at(self._answered, lambda: self.process.receive(arrive))

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
            self._network.late = max(self._network.late, until)
            for packet in self._out:
                packet[0] = max(packet[0], until)

    # The client's side.

    async def read(self, timeout: float) -> Any:  # noqa: ASYNC109  # a third of the price
        """The next answer; raises OSError or TimeoutError (after `timeout` seconds)."""
        if self._broken is not None:
            raise self._broken
        if not self.answers:
            if self.over:
                raise ConnectionResetError("Connection closed by server.")
            self._waiter = self.process.create_future()
            limit = self.process.call_later(timeout, self._expire, self._waiter) if timeout < inf else None
            try:
                await self._waiter
            finally:
                self._waiter = None
                if limit is not None:
                    limit.cancel()
        return self.answers.popleft()

    def write(self, data: bytes) -> None:
        """Write, as asyncio does: what is lost on the way is not noticed here; raises what broke the connection."""
        if not (self._closed or self._cut):
            commands = None
            world, network = self._world, self._network
            if world.random.random() < network.weather.lost_command:
                network.faults["command lost"] += 1
                commands = world.random.choice((0, 0, 1, 2, 3))
                world.say(f"{self.process.name}: all but {commands} commands are lost")
            self._arrives = max(self._arrives, world.now + network.latency())
            if world.random.random() < network.weather.hang:
                network.faults["hang"] += 1
                self._arrives += world.random.uniform(0, _HANG_S)
                network.late = max(network.late, self._arrives)
                world.say(f"{self.process.name}: a connection hangs until {self._arrives:.4f}")
            self._out.append([self._arrives, data, commands])
            world.at(self._arrives, self._pump)
            network.wrote(self, data)
        if self._broken is not None:
            raise self._broken

    def close(self) -> None:
        """What was written still arrives."""
        if not self._closed:
            self._closed = True
            self._network.links.discard(self)
            self._eof()
            self._arrives = max(self._arrives, self._world.now + self._network.latency())
            self._out.append([self._arrives, None, None])
            self._world.at(self._arrives, self._pump)

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

    def _feed(self, answers: list[Any]) -> None:
        if not (self._closed or self._cut):
            self.answers += answers
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)

    def _eof(self) -> None:
        self.over = True
        self._fail(ConnectionResetError("Connection closed by server."))

    def _reset(self) -> None:
        if not self.over:
            self._broken = ConnectionResetError("Connection lost")
            self._fail(self._broken)

    def _fail(self, error: OSError) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    @staticmethod
    def _expire(waiter: asyncio.Future[None]) -> None:
        if not waiter.done():
            waiter.set_exception(TimeoutError())


class Network:
    """All connections."""

    def __init__(self, world: World, accept: Callable[[Link], Peer]) -> None:
        self.world = world
        self.accept = accept
        self.weather = Weather()
        self.in_tasks = world.random.random() < 0.5
        """Whether clients write in tasks of their own, so that others of their process come first: redis-py does
        before Python 3.12."""
        self.faults: Counter[str] = Counter()
        self.late = 0.0
        """When the last of what hangs arrives."""
        self.links = _Ordered()
        self.catch: dict[Process, tuple[bytes, Callable[[Link], None]]] = {}
        """What is to happen when a process writes a certain command."""

    def latency(self) -> float:
        """How long a packet takes."""
        return 0.00005 - log(1.0 - self.world.random.random()) * _LATENCY_S

    def wrote(self, link: Link, data: bytes) -> None:
        """A process wrote something."""
        if not self.catch:
            return
        command, then = self.catch.get(link.process, (b"", None))
        if then is not None and command in data:
            del self.catch[link.process]
            then(link)

    def of(self, process: Process) -> list[Link]:
        """Open connections of `process`."""
        return [link for link in self.links if link.process is process]

    def connect(self, process: Process) -> Link:
        """A new connection of `process`."""
        link = Link(self, process)
        self.links[link] = None
        return link


class _Ordered(dict[Link, None]):
    """A set that is gone through in the order of its making."""

    def discard(self, link: Link) -> None:
        self.pop(link, None)
