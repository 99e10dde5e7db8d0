"""A client that never gives up: sends, waits for acknowledgements, connects again, resumes, and records all of it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Sequence
from typing import Any, Final

from websockets.exceptions import WebSocketException

from runtime.tasks import cancel
from tests.chaos.history import History
from tests.chaos.identity import TOO_LATE_S, Identity, choose
from tests.chaos.ops import Op, new_op
from tests.chaos.session import Session, SessionOver
from tests.support.client import TransportName
from tests.support.wt_client import SessionRefusedError

#: Operations under way at most.
WINDOW: Final = 8
#: Messages of a session that wait for the application's answer at most: few enough for a slow machine.
UNANSWERED: Final = 40
_BACKOFF_S: Final = (0.05, 0.2, 0.5, 1.0)
_CANNOT_CONNECT: Final = (SessionRefusedError, SessionOver, WebSocketException, OSError, EOFError, TimeoutError)


class ChaosClient:
    """One user with one session at a time, on either gateway."""

    def __init__(
        self,
        name: str,
        ports: Sequence[int],
        transport: TransportName,
        channels: list[str],
        rate: float,
        history: History,
        dice: random.Random,
    ) -> None:
        """`ports` are those of the gateways, `rate` is in operations a second."""
        self.name = name
        self.transport: TransportName = transport
        self.channels = channels
        self.history = history
        self.positions: dict[str, tuple[str, int]] = {}
        """The highest offset that was seen of each channel, with its epoch."""
        self.ops: dict[int, Op] = {}
        """Operations that nobody has acknowledged yet, in order."""
        self.answered = 0.0
        """When the newest operation that the application has answered was invoked, on the monotonic clock."""
        self.session: Session | None = None
        self.is_away = False
        """Whether it stays away for longer than a session lives on."""
        self.is_sending = True
        self._ports = ports
        self._rate = rate
        self._dice = dice
        self._count = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Connect and begin to send."""
        self._task = asyncio.create_task(self._run(), name=self.name)

    async def stop(self) -> None:
        """Leave; what is not acknowledged stays so."""
        if self._task is not None and self._task.done():
            self._task.result()
        await cancel(self._task)

    def problem(self) -> str | None:
        """Why it is not connected, or still waits for acknowledgements; None when it is at rest."""
        if self._task is not None and self._task.done():
            return f"{self.name} ended: {self._task.exception()!r}"
        if self.session is None or not self.session.is_up:
            return f"{self.name} has no session"
        return f"{self.name} waits for {len(self.ops)} acknowledgements" if self.ops else None

    async def _run(self) -> None:
        failures = 0
        port = self._dice.choice(self._ports)
        before: Identity | None = None
        while True:
            session = Session(self, port, self.transport, before)
            try:
                await session.open()
                self.session = session
                failures = 0
                await self._use(session)
            except _CANNOT_CONNECT:
                failures += 1
            finally:
                self.session = None
                await session.leave()
            before = await self._next(session.identity or before)
            port = self._ports[(self._ports.index(port) + 1) % len(self._ports)]
            await asyncio.sleep(_BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)] * (0.5 + self._dice.random()))

    async def _next(self, before: Identity | None) -> Identity | None:
        """The session to resume; None: a new one is to be opened."""
        if before is None or not before.has_joined:
            return None
        choice = choose(self._dice)
        if choice == "resume too late":
            self.is_away = True
            await asyncio.sleep(max(0.0, before.heard + TOO_LATE_S - time.monotonic()))
            self.is_away = False
        return None if choice == "start anew" else before

    async def _use(self, session: Session) -> None:
        """Send until the session is over."""
        await session.join(self.channels)
        while session.check():
            waiting = next((op for op in self.ops.values() if op.n not in session.unacked), None)
            if waiting is not None:
                session.send(waiting)
                continue
            if self.is_sending and len(self.ops) < WINDOW and session.waiting() < UNANSWERED:
                self._invoke(session)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(session.over.wait(), self._dice.expovariate(self._rate))

    def _invoke(self, session: Session) -> None:
        self._count += 1
        op = self.ops[self._count] = new_op(self._count, self.channels, self._dice, time.monotonic())
        self.history.record("invoke", client=self.name, op=op.n, kind=op.kind, channel=op.channel)
        session.send(op)

    def settled(self, op: int) -> None:
        """An operation was acknowledged, or refused for good."""
        self.ops.pop(op, None)

    def saw(self, channel: str, epoch: str, offset: int) -> None:
        """Remember how far a channel was followed."""
        known = self.positions.get(channel)
        if known is None or known[0] != epoch or known[1] < offset:
            self.positions[channel] = (epoch, offset)

    def record(self, kind: str, /, **fields: Any) -> None:
        """Add a record of this client."""
        self.history.record(kind, client=self.name, **fields)
