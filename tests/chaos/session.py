"""One connection of a client under faults, and the session that it opens or resumes over it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

from schemas.codec import encode_frame
from tests.chaos.history import History
from tests.chaos.identity import Identity
from tests.chaos.ops import WHISPER, Op, is_intact
from tests.support import ws_client, wt_client
from tests.support.client import Carrier, Frames, Stream, TransportName
from tests.support.ws_client import WebSocketClient
from tests.support.wt_client import StreamResetError, WebTransportClient

#: Patience, in seconds: for a verdict on the token or a channel, and for an acknowledgement.
ANSWER_S: Final = 8.0
ACK_S: Final = 5.0
#: A connection that is silent for so long is over. The gateway keeps to it too, so nothing is held for a lost client.
IDLE_S: Final = 6.0
#: The application's answer is not waited for longer than this.
FORGOTTEN_S: Final = 60.0
_LOG_UNAVAILABLE: Final = 110
_LEAVING: Final[set[asyncio.Task[None]]] = set()


class SessionOver(Exception):
    """The session ended, or did not come about."""


class Owner(Protocol):
    """What a session needs of its client."""

    name: str
    history: History
    positions: dict[str, tuple[str, int]]
    ops: dict[int, Op]
    answered: float

    def settled(self, op: int) -> None: ...
    def saw(self, channel: str, epoch: str, offset: int) -> None: ...
    def record(self, kind: str, /, **fields: Any) -> None: ...


class Session:
    """Opens or resumes, joins, sends, and hands what arrives to its client."""

    def __init__(self, client: Owner, port: int, transport: TransportName, before: Identity | None = None) -> None:
        """`before`: the session that is to be resumed."""
        self.identity: Identity | None = None
        """The session, once the gateway has said which."""
        self.unacked: dict[int, float] = {}
        """Operations that were sent here and not acknowledged, with the time."""
        self.over = asyncio.Event()
        self.is_up = False
        self._before = before
        self._client = client
        self._port = port
        self._kind: TransportName = transport
        self._carrier: Carrier | None = None
        self._control: Stream | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._subscribed: dict[str, asyncio.Future[None]] = {}
        self._authenticated: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def known(self) -> Identity:
        """The session; raises SessionOver before there is one."""
        if self.identity is None:
            raise SessionOver("not authenticated")
        return self.identity

    @property
    def id(self) -> str:
        """Of the session."""
        return self.known.id

    async def open(self) -> None:
        """Connect and authenticate; raises SessionOver, TimeoutError and what the transports raise."""
        url = f"https://127.0.0.1:{self._port}/"
        if self._kind == "webtransport":
            self._carrier = await wt_client.connect(url, idle_timeout=IDLE_S)
        else:
            self._carrier = await ws_client.connect(url)
        self._control = await self._carrier.open_bidirectional()
        self._tasks = [
            asyncio.create_task(self._read(Frames(self._control))),
            asyncio.create_task(self._watch(self._carrier)),
        ]
        auth: dict[str, Any] = {"type": "auth", "protocol": 1, "token": self._client.name}
        if self._before is not None:
            auth["resume"] = self._before.resume()
            self._client.record("resume", session=self._before.id, offsets=dict(self._before.offsets))
        self._write(auth)
        await self._first(self._authenticated)

    async def join(self, channels: list[str]) -> None:
        """Subscribe, from where the client was, unless the session has; raises SessionOver and TimeoutError."""
        if self.known.has_joined:
            self.is_up = True
            return
        for channel in channels:
            position = self._client.positions.get(channel)
            frame: dict[str, Any] = {"type": "subscribe", "id": f"s-{channel}", "channel": channel}
            if position is not None:
                frame["recover"] = {"epoch": position[0], "offset": position[1]}
            self._subscribed[channel] = asyncio.get_running_loop().create_future()
            self._client.record("subscribe", session=self.id, channel=channel, recover=position)
            self._write(frame)
        for waiting in self._subscribed.values():
            await self._first(waiting)
        self.known.has_joined = self.is_up = True

    def send(self, op: Op) -> None:
        """Write an operation, perhaps once more."""
        self._client.record("send", session=self.id, op=op.n)
        self.unacked[op.n] = time.monotonic()
        if op.kind == "message":
            self.known.unanswered[op.n] = op.invoked
        self._write(op.frame(self.id, self._client.name))

    def waiting(self) -> int:
        """Messages that wait for the application's answer; what got none for long became a dead letter."""
        return sum(time.monotonic() - invoked < FORGOTTEN_S for invoked in self.known.unanswered.values())

    def check(self) -> bool:
        """Whether it can still be used; one whose acknowledgements do not come is given up."""
        oldest = min(self.unacked.values(), default=None)
        return not self.over.is_set() and (oldest is None or time.monotonic() - oldest < ACK_S)

    async def leave(self) -> None:
        """End the connection; what was not acknowledged is of unknown fate."""
        self.is_up = False
        carrier = self._carrier
        if carrier is None:
            return
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for op in self.unacked:
            self._client.record("info", session=self.id, op=op)
        if self.identity is not None:
            closed = None
            with contextlib.suppress(TimeoutError):
                closed = await carrier.wait_closed(0.001)
            code, reason = (closed.code, closed.reason) if closed else (None, "given up")
            self._client.record("close", session=self.id, code=code, reason=reason)
        task = asyncio.create_task(_hang_up(carrier))
        _LEAVING.add(task)
        task.add_done_callback(_LEAVING.discard)

    def _write(self, frame: dict[str, Any]) -> None:
        assert self._control is not None
        try:
            self._control.write(encode_frame(frame, "json"))
        except RuntimeError as error:  # The gateway has reset the stream: the session's end is on its way.
            raise ConnectionError(str(error)) from error

    async def _first(self, waiting: asyncio.Future[None]) -> None:
        """Wait for an answer, or the session's end."""
        over = asyncio.create_task(self.over.wait())
        try:
            both: set[asyncio.Future[Any]] = {waiting, over}
            await asyncio.wait(both, timeout=ANSWER_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            over.cancel()
        if not waiting.done():
            raise SessionOver("no answer")
        waiting.result()

    async def _watch(self, carrier: Carrier) -> None:
        await carrier.wait_closed(86_400)
        self.over.set()

    async def _read(self, frames: Frames) -> None:
        while True:
            try:
                frame = await frames.next()
            except (EOFError, StreamResetError, ConnectionError):
                return
            except TimeoutError:
                continue
            self._take(frame)

    def _take(self, frame: dict[str, Any]) -> None:
        if self.identity is not None:
            self.identity.heard = time.monotonic()
            if (at := frame.get("headgate")) is not None:
                self.identity.saw(at["topic"], at["epoch"], at["offset"])
        kind = str(frame.get("type"))
        handlers: dict[str, Callable[[dict[str, Any]], None]] = {
            "auth_success": self._auth_success,
            "ack": self._ack,
            "subscribed": self._subscribed_to,
            "unsubscribed": self._left,
            "channel_broadcast": self._published,
            WHISPER: self._published,
            "presence": self._presence,
            "note": self._note,
            "ping": lambda _: self._write({"type": "pong"}),
            "disconnect": lambda _: None,
        }
        reply = str(frame.get("id", ""))
        if kind == "error" and reply.isdigit() and frame.get("code") == _LOG_UNAVAILABLE:
            # Not stored, perhaps: it goes out again, with the same id.
            self.unacked.pop(int(reply), None)
        elif kind not in handlers and reply.isdigit() and frame.get("broadcast") is True:
            self._reply(int(reply), frame)
        elif kind in handlers:
            handlers[kind](frame)
        else:
            self._client.record("odd", session=self.id, frame={key: frame[key] for key in list(frame)[:6]})

    def _auth_success(self, frame: dict[str, Any]) -> None:
        before, session = self._before, frame["sessionId"]
        offsets = {topic: (at["epoch"], at["offset"]) for topic, at in frame["offsets"].items()}
        if before is not None and session == before.id:
            before.secret, before.generation = frame["resumeSecret"], frame["generation"]
            self.identity = before
            if not frame["recovered"]:
                before.offsets |= offsets
            told = {"generation": before.generation, "recovered": frame["recovered"], "offsets": offsets}
            self._client.record("resumed", session=session, port=self._port, **told)
        else:
            if before is not None:
                self._client.record("denied", session=before.id, heard=before.heard)
            user = frame["userId"]
            self.identity = Identity(session, user, frame["resumeSecret"], frame["generation"], offsets=dict(offsets))
            by = {"port": self._port, "transport": self._kind}
            self._client.record("open", session=session, user=user, offsets=offsets, **by)
        if not self._authenticated.done():
            self._authenticated.set_result(None)

    def _ack(self, frame: dict[str, Any]) -> None:
        op = int(frame["id"])
        self._client.record("ok", session=self.id, op=op, event=frame["event"])
        self.unacked.pop(op, None)
        self._client.settled(op)

    def _reply(self, op: int, frame: dict[str, Any]) -> None:
        at = frame["headgate"]
        self._client.record("reply", session=self.id, op=op, epoch=at["epoch"], offset=at["offset"])
        invoked = self.known.unanswered.pop(op, 0.0)
        self._client.answered = max(self._client.answered, invoked)

    def _subscribed_to(self, frame: dict[str, Any]) -> None:
        channel, epoch, offset = frame["channel"], frame["epoch"], frame["offset"]
        missed = [[one["offset"], *_sender(one["frame"])] for one in frame["publications"]]
        told = {"epoch": epoch, "offset": offset, "recovered": frame["recovered"], "missed": missed}
        self._client.record("subscribed", session=self.id, channel=channel, **told)
        self._saw(channel, epoch, offset)
        self.known.members[channel] = {member["id"] for member in frame.get("members") or ()}
        waiting = self._subscribed.get(channel)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def _saw(self, channel: str, epoch: str | None, offset: int | None) -> None:
        self.known.saw(f"channel:{channel}", epoch, offset)
        if epoch is not None and offset is not None:
            self._client.saw(channel, epoch, offset)

    def _left(self, frame: dict[str, Any]) -> None:
        self._client.record("left", session=self.id, channel=frame["channel"])
        self.over.set()

    def _published(self, frame: dict[str, Any]) -> None:
        channel, epoch, offset = frame["channel"], frame.get("epoch"), frame.get("offset")
        sender, op, intact = _sender(frame)
        place = {"channel": channel, "epoch": epoch, "offset": offset}
        self._client.record("recv", session=self.id, **place, **{"from": sender}, op=op, intact=intact)
        self._saw(channel, epoch, offset)

    def _note(self, frame: dict[str, Any]) -> None:
        user, offset = self.known.user, frame["headgate"]["offset"]
        self._client.record("note", session=self.id, user=user, n=frame["n"], offset=offset)

    def _presence(self, frame: dict[str, Any]) -> None:
        members = self.known.members.setdefault(frame["channel"], set())
        if "joined" in frame:
            members.add(frame["joined"]["id"])
        else:
            members.discard(frame["left"]["id"])


def _sender(frame: dict[str, Any]) -> tuple[str, int, bool]:
    """Session and number of a publication, and whether it is unchanged."""
    data = frame.get("data")
    if not is_intact(data):
        return "", -1, False
    return data["s"], data["n"], True  # type: ignore[index]  # is_intact looked


async def _hang_up(carrier: Carrier) -> None:
    """Close the connection without waiting for a gateway that may be asleep."""
    with contextlib.suppress(OSError, TimeoutError):
        if isinstance(carrier, WebSocketClient):
            carrier.connection.transport.abort()
            await carrier.__aexit__()
        elif isinstance(carrier, WebTransportClient):
            await carrier.disconnect()


async def all_left() -> None:
    """Wait until every connection that was left is closed."""
    await asyncio.gather(*_LEAVING)
