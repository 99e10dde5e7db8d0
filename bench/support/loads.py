"""Load on a gateway beyond single messages: packed writes, datagrams, publications to many, new connections."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from bench.support.load import Accepted, frame, quiet_collector
from bench.support.meter import Meter, Used
from bench.support.session import LoadSession

#: Bytes of one packed write; as many as a gateway grants a stream.
WRITE_BYTES: Final = 65_536
#: Writes that a session has on their way, so that it does not wait for the log after each.
_WRITE_WINDOW: Final = 3
#: Different writes, sent in turn, so that an id comes again only long after its ack.
_WRITES: Final = 8
#: Datagrams of one session on their way. With all sessions together they must fit a socket's buffer.
_DATAGRAM_WINDOW: Final = 32
#: Datagrams that one session sends before the next one has its turn.
_BURST: Final = 8
#: When nothing was acknowledged for so long, what was on its way is lost (seconds).
_LOST_AFTER_S: Final = 0.05
_CONNECTING: Final = 8


@dataclass(frozen=True, slots=True)
class Offered:
    """Of one run with datagrams: what was sent. What arrived, the server knows."""

    sent: int
    unsent: int
    """That the generator's own socket did not take."""
    used: Used


class PackedLoop:
    """Each session has some writes on their way: many frames, prepared before; one more for each that has its acks."""

    def __init__(self, sessions: Sequence[LoadSession], frame_bytes: int) -> None:
        self._sessions = sessions
        self._writes: dict[LoadSession, Iterator[tuple[bytes, int]]] = {}
        self._missing = dict.fromkeys(sessions, 0)
        self._answers = 0
        self._unexpected = b""
        self._sending = True
        self._none_missing = asyncio.Event()
        numbers = itertools.count(10_000_000)
        count = self._count = WRITE_BYTES // frame_bytes
        for session in sessions:
            writes = [
                b"".join(frame("message", session.channel, next(numbers), frame_bytes) for _ in range(count))
                for _ in range(_WRITES)
            ]
            self._writes[session] = itertools.cycle([(write, count) for write in writes])

    async def run(self, seconds: float, warm_up: float, patience: float, meter: Meter) -> Accepted:
        """As that of ClosedLoop; may be called again."""
        self._sending = True
        self._none_missing.clear()
        with quiet_collector():
            for session in self._sessions:
                session.on_data = self._data
                for _ in range(_WRITE_WINDOW):
                    self._next(session)
            await asyncio.sleep(warm_up)
            answers = self._answers
            meter.begin()
            await asyncio.sleep(seconds)
            used, messages = meter.end(), self._answers - answers
            self._sending = False
            if any(self._missing.values()):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._none_missing.wait(), patience)
        for session in self._sessions:
            session.on_data = None
        missing = sum(self._missing.values())
        doubt = used.disturbance
        if missing or self._unexpected:
            doubt = f"{missing} messages were not answered {self._unexpected[:100].decode(errors='replace')}"
        return Accepted(messages, messages / used.seconds, missing, used, doubt)

    def _next(self, session: LoadSession) -> None:
        write, count = next(self._writes[session])
        self._missing[session] += count
        session.send(write)

    def _data(self, session: LoadSession, data: bytes) -> None:
        lines = data.count(b"\n")
        self._answers += lines
        self._missing[session] -= lines
        if b'"error"' in data or b'"disconnect"' in data:
            self._unexpected = data
        if not self._sending and not any(self._missing.values()):
            self._none_missing.set()
        while self._sending and self._missing[session] <= (_WRITE_WINDOW - 1) * self._count:
            self._next(session)


class DatagramLoad:
    """As many datagrams as the server acknowledges, one a packet."""

    def __init__(self, sessions: Sequence[LoadSession]) -> None:
        self._sessions = sessions
        self._loop = asyncio.get_running_loop()
        self._sent = self._unsent = 0
        self._floor = {session: session.sent_packets for session in sessions}
        """Packets below are not waited for any more."""
        self._progress = dict.fromkeys(sessions, (0, 0.0))
        self._datagrams = {
            session: orjson.dumps({"type": "cursor", "channel": session.channel, "x": 0.512345, "y": 0.112233})
            for session in sessions
        }

    async def run(self, seconds: float, warm_up: float, meter: Meter, marks: Callable[[], Awaitable[None]]) -> Offered:
        """Send for `warm_up`, call `marks` while nothing is on its way, then send for `seconds`."""
        with quiet_collector():
            await self._send(warm_up)
            await marks()
            self._sent = self._unsent = 0
            meter.begin()
            await self._send(seconds)
            return Offered(self._sent, self._unsent, meter.end())

    async def _send(self, seconds: float) -> None:
        end = self._loop.time() + seconds
        while (now := self._loop.time()) < end:
            sent = sum(self._burst(session, now) for session in self._sessions)
            # A real wait where nothing could be sent, so that the generator is not busy with asking.
            await asyncio.sleep(0 if sent else 0.0002)
        await asyncio.sleep(_LOST_AFTER_S)

    def _burst(self, session: LoadSession, now: float) -> int:
        acknowledged = session.acknowledged_packets
        if acknowledged != self._progress[session][0]:
            self._progress[session] = (acknowledged, now)
        elif now - self._progress[session][1] > _LOST_AFTER_S:
            self._floor[session] = session.sent_packets
            self._progress[session] = (acknowledged, now)
        room = _DATAGRAM_WINDOW - (session.sent_packets - max(acknowledged, self._floor[session]))
        count = max(0, min(room, _BURST))
        for _ in range(count):
            if session.send_datagram(self._datagrams[session]):
                self._sent += 1
            else:
                self._unsent += 1
        return count


class FanOut:
    """One publication after the other, each when all sessions have the one before."""

    def __init__(self, sessions: Sequence[LoadSession], publish: Callable[[], Awaitable[None]]) -> None:
        self._sessions = sessions
        self._publish = publish
        self._arrived = 0
        self._all = asyncio.Event()
        self.line = b""
        """What the sessions received last."""

    async def run(self, seconds: float, warm_up: float, patience: float, meter: Meter) -> Accepted:
        """Publish for `seconds` after `warm_up`; `messages` are the deliveries."""
        for session in self._sessions:
            session.on_line = self._line
        loop = asyncio.get_running_loop()
        with quiet_collector():
            await self._until(loop.time() + warm_up, patience)
            meter.begin()
            deliveries = await self._until(loop.time() + seconds, patience)
            used = meter.end()
        missing = len(self._sessions) - self._arrived
        doubt = f"{missing} sessions did not receive a publication" if missing else used.disturbance
        return Accepted(deliveries, deliveries / used.seconds, missing, used, doubt)

    async def _until(self, end: float, patience: float) -> int:
        deliveries = 0
        while asyncio.get_running_loop().time() < end:
            self._arrived = 0
            self._all.clear()
            await self._publish()
            try:
                await asyncio.wait_for(self._all.wait(), patience)
            except TimeoutError:
                break
            deliveries += len(self._sessions)
        return deliveries

    def _line(self, _: LoadSession, line: bytes) -> None:
        self.line = line
        self._arrived += 1
        if self._arrived == len(self._sessions):
            self._all.set()


class Handshakes:
    """New connections, each closed as soon as its session was accepted; a few at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._count = 0
        self._ended = False
        self._failed = ""

    async def run(self, seconds: float, warm_up: float, patience: float, meter: Meter) -> Accepted:
        """`messages` are the sessions that were accepted; may be called again."""
        self._ended = False
        with quiet_collector():
            tasks = [asyncio.create_task(self._connect()) for _ in range(_CONNECTING)]
            await asyncio.sleep(warm_up)
            count = self._count
            meter.begin()
            await asyncio.sleep(seconds)
            used, accepted = meter.end(), self._count - count
            self._ended = True
            await asyncio.wait(tasks, timeout=patience)
        doubt = f"a connection failed: {self._failed}" if self._failed else used.disturbance
        return Accepted(accepted, accepted / used.seconds, 0, used, doubt)

    async def _connect(self) -> None:
        while not self._ended:
            session = LoadSession(self._port)
            try:
                await session.open()
                self._count += 1
            except (ConnectionError, TimeoutError) as error:
                self._failed = str(error) or "no answer"
                return
            finally:
                session.close()
