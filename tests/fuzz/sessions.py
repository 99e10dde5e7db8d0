"""A session core under random frames, verdicts and time: effects that make sense, and an end that is the last."""

from __future__ import annotations

from typing import Any

import msgpack
import orjson

from ingress.session import Append, Close, Now, Outgoing, Send, Session, SessionLimits
from schemas.codec import FrameLimits
from schemas.events import AuthenticatedDelivery, AuthFailedDelivery, SubscribedDelivery, UnsubscribedDelivery
from tests.fuzz.reading import Reader

LIMITS = SessionLimits(
    frame=FrameLimits(max_bytes=4096, max_depth=8, max_keys=64),
    auth_timeout=5,
    verdict_timeout=10,
    auth_pending_bytes=4096,
    max_channels=3,
    frames_per_second=50,
    bytes_per_second=20_000,
    datagrams_per_second=20,
    ping_interval=25,
    pong_timeout=8,
)
CHANNELS = ("news", "private-a", "presence-a", "not a name", "")
#: Frames that get far; the fuzzer's own bytes are sent too.
FRAMES: tuple[dict[str, Any], ...] = (
    {"type": "auth", "token": "t", "protocol": 1},
    {"type": "auth", "token": "t"},
    {"type": "auth", "token": "t", "protocol": 1, "resume": {"session": "s", "secret": "secret", "offsets": {}}},
    {"type": "ping", "id": "p"},
    {"type": "pong"},
    {"type": "subscribe", "channel": "news", "id": "s"},
    {"type": "subscribe", "channel": "private-a", "recover": {"epoch": "e", "offset": 1}},
    {"type": "unsubscribe", "channel": "news"},
    {"type": "message", "channel": "news", "data": {"x": 1}, "id": "m"},
    {"type": "client-typing", "channel": "private-a", "data": None},
    {"type": "anything", "id": 7},
)


class Secrets:
    """Secrets that are none."""

    def seal(self, token: str, session: str) -> str:
        return token

    def resume_secret(self, session: str, generation: int) -> str | None:
        return "secret"

    def resumed_generation(self, session: str, secret: str) -> int | None:
        return 1 if secret == "secret" else None


class Shell:
    """Does what a gateway does around a session, at the fuzzer's choice."""

    def __init__(self) -> None:
        self.now = 0.0
        self.session = Session("session", LIMITS, Secrets(), self.time())
        self.appends: list[Append] = []
        self.closes = 0

    def time(self) -> Now:
        return Now(self.now, int(self.now * 1000))

    def step(self, reader: Reader) -> None:
        """One thing happens."""
        what, which = reader.byte(), reader.byte()
        session, stream, channel = self.session, which & 0x1C, CHANNELS[which % len(CHANNELS)]
        match what % 16:
            case 0 | 1 | 2 | 3:
                frame = FRAMES[reader.byte() % len(FRAMES)]
                data = msgpack.packb(frame) if what & 0x10 else orjson.dumps(frame)
                session.stream_data(stream, data, bool(what & 0x20), not which & 2, self.time())
            case 4 | 5:
                data = reader.take(reader.byte())
                session.stream_data(stream, data, bool(what & 0x20), not which & 2, self.time())
            case 6:
                session.datagram(reader.take(reader.byte()), self.time())
            case 7:
                session.stream_reset(stream, self.time())
            case 8:
                session.stream_stopped(stream)
            case 9:
                verdict = AuthenticatedDelivery(user="u", stream=stream, protocol=1, generation=1 + (what >> 7))
                session.authenticated("session", verdict, self.time())
                session.joined("user:u", SubscribedDelivery(epoch="e", offset=which), self.time())
            case 10 if what & 0x80:
                session.auth_failed(AuthFailedDelivery(error="no", stream=stream))
            case 11:
                session.restored([channel] if what & 0x80 else [], self.time())
                until = self.time().wall_ms + 500 if what & 0x40 else None
                granted = SubscribedDelivery(epoch="e", offset=which, stream=stream, expires_at=until)
                session.subscribed(channel, granted, self.time())
            case 12:
                session.unsubscribed(channel, UnsubscribedDelivery(reason="revoked", stream=stream, frame_id="u"))
            case 13:
                session.publication(Outgoing({"type": "news", "data": which}), stream if what & 0x10 else -1)
                session.unreliable(Outgoing({"type": "news"}))
            case 14:
                self.now += which / 4
                session.tick(self.time())
                session.flush()
            case 15 if self.appends:
                append = self.appends.pop(which % len(self.appends))
                session.refused(append) if what & 0x10 else session.confirmed(append, "event")
        self.take()

    def take(self) -> None:
        """What the session wants done; after its close nothing but writes, which every transport ignores by then."""
        for effect in self.session.effects():
            assert not self.closes or isinstance(effect, Send), effect
            match effect:
                case Append():
                    self.appends.append(effect)
                case Send(stream=stream):
                    assert stream >= 0
                case Close():
                    self.closes += 1


def fuzz(data: bytes) -> None:
    """Each step is a byte for what happens, one for where, and what it needs beyond."""
    reader = Reader(data)
    shell = Shell()
    while reader:
        shell.step(reader)
    shell.session.close(3001, "over")
    shell.take()
    assert shell.closes == 1
