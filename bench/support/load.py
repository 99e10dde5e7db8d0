"""Load: open-loop arrivals for latencies, a closed loop for what can be taken in at most."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from bench.support.figures import percentile
from bench.support.meter import Meter, Used
from bench.support.session import LoadSession

#: Bytes of every message, frame included.
MESSAGE_BYTES: Final = 150
#: More than this on its way at the last send, in seconds of load, and the system does not keep up.
_BACKLOG_S: Final = 0.5
_SEED: Final = 2
#: Message numbers, unique in a run: the gateway derives the event's id from the frame's.
_numbers: Final = itertools.count(1)


def frame(kind: str, channel: str, number: int, size: int = MESSAGE_BYTES) -> bytes:
    """A frame of `size` bytes (more if it does not fit) that carries `number` in its id and its data."""
    body: dict[str, Any] = {"type": kind, "channel": channel, "data": {"n": number, "content": ""}, "id": str(number)}
    body["data"]["content"] = "x" * (size - len(orjson.dumps(body)) - 1)
    return orjson.dumps(body) + b"\n"


@dataclass(frozen=True, slots=True)
class Latencies:
    """Of one open-loop run, in ms from when each message was due, however late it was sent."""

    messages: int
    arrived: list[float]
    """Until the other session had it, in order."""
    acked: list[float]
    """Until the sender had its ack, in order."""
    missing: int
    """Messages that did not arrive while they were waited for; they count with the time they had."""
    late_ms: float
    """How late the generator sent, p99."""
    used: Used
    doubt: str
    """Why this cannot be trusted; empty when it can."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """Of one closed-loop run."""

    messages: int
    per_second: float
    missing: int
    """Messages that were not acknowledged while they were waited for."""
    used: Used
    doubt: str
    """Why this cannot be trusted; empty when it can."""


@contextlib.contextmanager
def quiet_collector() -> Iterator[None]:
    """No garbage collection in the generator while it measures."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class OpenLoop:
    """Messages at random times (Poisson) at a rate, whether or not earlier ones were answered."""

    def __init__(self, kind: str, pairs: Sequence[tuple[LoadSession, LoadSession]], rate: float) -> None:
        """Each message goes from the first session of a pair to the second, or back to the sender by an echo."""
        self._kind = kind
        self._pairs = pairs
        self._rate = rate
        self._due: dict[int, float] = {}
        self._acked: dict[int, float] = {}
        self._arrived: dict[int, float] = {}
        self._late: list[float] = []
        self._none_waiting = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def run(self, seconds: float, warm_up: float, patience: float, meter: Meter) -> Latencies:
        """Send for `warm_up` + `seconds`, of which the first part is not counted; then wait for at most `patience`."""
        for session in itertools.chain.from_iterable(self._pairs):
            session.on_line = self._line
        with quiet_collector():
            await self._send(self._loop.time(), warm_up)
            meter.begin()
            counted = await self._send(self._loop.time(), seconds)
            used = meter.end()
            waiting = len(self._due) - len(self._arrived)
            await self._drain(patience)
        missing = sum(number not in self._arrived for number in counted)
        doubt = used.doubt
        if missing:
            doubt = f"it fell behind: {missing} of {len(counted)} did not arrive within {patience:g} s; {doubt}"
        elif waiting > self._rate * _BACKLOG_S:
            doubt = f"it fell behind: {waiting} messages were on their way at the last send; {doubt}"
        return Latencies(
            messages=len(counted),
            arrived=self._took(self._arrived, counted),
            acked=self._took(self._acked, counted),
            missing=missing,
            late_ms=percentile(sorted(self._late[-len(counted) :]), 0.99),
            used=used,
            doubt=doubt.removesuffix("; "),
        )

    async def _send(self, start: float, seconds: float) -> list[int]:
        chance = random.Random(_SEED)
        sent = []
        due = start + chance.expovariate(self._rate)
        while due < start + seconds:
            if (ahead := due - self._loop.time()) > 0:
                await asyncio.sleep(ahead)
            number = next(_numbers)
            sender = self._pairs[number % len(self._pairs)][0]
            self._due[number] = due
            sender.send(frame(self._kind, sender.channel, number))
            self._late.append((self._loop.time() - due) * 1000)
            sent.append(number)
            due += chance.expovariate(self._rate)
        if (ahead := start + seconds - self._loop.time()) > 0:
            await asyncio.sleep(ahead)
        return sent

    async def _drain(self, patience: float) -> None:
        self._none_waiting.clear()
        if len(self._arrived) < len(self._due):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._none_waiting.wait(), patience)

    def _line(self, session: LoadSession, line: bytes) -> None:
        now = self._loop.time()
        received = orjson.loads(line)
        kind, data = received.get("type"), received.get("data")
        if kind == "ack":
            self._acked[int(received["id"])] = now
        elif "id" in received and kind != self._kind:
            return  # The application's answer to the sender.
        elif isinstance(data, dict) and data.get("n") in self._due:
            self._arrived.setdefault(data["n"], now)
            if len(self._arrived) == len(self._due):
                self._none_waiting.set()

    def _took(self, ends: dict[int, float], counted: Sequence[int]) -> list[float]:
        now = self._loop.time()
        return sorted((ends.get(number, now) - self._due[number]) * 1000 for number in counted)


class ClosedLoop:
    """Each session has `window` messages on their way, and sends the next one when one is answered."""

    def __init__(self, sessions: Sequence[LoadSession], window: int) -> None:
        self._sessions = sessions
        self._window = window
        self._answers = 0
        self._outstanding = 0
        self._sending = False
        self._unexpected = b""
        self._none_waiting = asyncio.Event()

    async def run(self, seconds: float, warm_up: float, patience: float, meter: Meter) -> Accepted:
        """Load for `warm_up` + `seconds`, of which the first part is not counted; then wait for at most `patience`."""
        for session in self._sessions:
            session.on_line = self._line
        self._none_waiting.clear()
        self._sending = True
        with quiet_collector():
            for session in self._sessions:
                for _ in range(self._window):
                    self._next(session)
            await asyncio.sleep(warm_up)
            answers = self._answers
            meter.begin()
            await asyncio.sleep(seconds)
            used, messages = meter.end(), self._answers - answers
            await self._end(patience)
        doubt = used.doubt
        if self._outstanding or self._unexpected:
            doubt = f"{self._outstanding} messages were not answered {self._unexpected[:100].decode()}"
        return Accepted(messages, messages / used.seconds, self._outstanding, used, doubt)

    async def _end(self, patience: float) -> None:
        self._sending = False
        if self._outstanding:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._none_waiting.wait(), patience)

    def _next(self, session: LoadSession) -> None:
        self._outstanding += 1
        session.send(frame("message", session.channel, next(_numbers)))

    def _line(self, session: LoadSession, line: bytes) -> None:
        if line.startswith((b'{"type":"ack"', b'{"type":"message"')):
            self._answers += 1
            self._outstanding -= 1
            if self._sending:
                self._next(session)
            elif not self._outstanding:
                self._none_waiting.set()
        else:
            self._unexpected = line


def quantiles(ordered: Sequence[float]) -> dict[str, float]:
    """p50, p99, p99.9 and the highest of `ordered` values."""
    return {
        "p50": percentile(ordered, 0.5),
        "p99": percentile(ordered, 0.99),
        "p999": percentile(ordered, 0.999),
        "max": ordered[-1] if ordered else math.nan,
    }
