"""A session core told by hand, for its tests."""

from __future__ import annotations

import json
from typing import Any

import msgpack

from ingress.session import Append, Close, Now, OpenAndSend, Send, SendDatagram, Session, SessionLimits
from schemas.codec import FrameLimits
from schemas.events import AuthenticatedDelivery, SubscribedDelivery

LIMITS = SessionLimits(
    frame=FrameLimits(max_bytes=1024, max_depth=8, max_keys=64),
    auth_timeout=5,
    verdict_timeout=10,
    auth_pending_bytes=512,
    max_channels=2,
    frames_per_second=50,
    bytes_per_second=10_000,
    datagrams_per_second=5,
    ping_interval=25,
    pong_timeout=8,
)
CONTROL = 4


def at(seconds: float) -> Now:
    """A time, on both clocks."""
    return Now(seconds, 1_700_000_000_000 + int(seconds * 1000))


class Secrets:
    """Secrets that can be read."""

    def seal(self, token: str, session: str) -> str:
        return f"sealed({token})"

    def resume_secret(self, session: str, generation: int) -> str | None:
        return f"{session}/{generation}"

    def resumed_generation(self, session: str, secret: str) -> int | None:
        name, _, generation = secret.partition("/")
        return int(generation) if name == session else None


class Client:
    """A session core and the effects it left, split by kind."""

    def __init__(self, limits: SessionLimits = LIMITS) -> None:
        self.session = Session("s1", limits, Secrets(), now=at(0))
        self.appends: list[Append] = []
        self.sent: list[tuple[int | None, dict[str, Any]]] = []
        self.ends: list[int] = []
        self.datagrams: list[bytes] = []
        self.closes: list[Close] = []

    def collect(self) -> Client:
        for effect in self.session.effects():
            match effect:
                case Append():
                    self.appends.append(effect)
                case Send(stream=stream, data=data, end=end):
                    if data:
                        self.sent.append((stream, decoded(data)))
                    if end:
                        self.ends.append(stream)
                case OpenAndSend(data=data):
                    self.sent.append((None, decoded(data)))
                case SendDatagram(data=data):
                    self.datagrams.append(data)
                case Close():
                    self.closes.append(effect)
        return self

    def raw(self, data: bytes, stream: int = CONTROL, *, ended: bool = False, bidi: bool = True) -> Client:
        self.session.stream_data(stream, data, ended, bidi, at(1))
        return self.collect()

    def frame(self, frame: dict[str, Any], stream: int = CONTROL, *, ended: bool = False, bidi: bool = True) -> Client:
        return self.raw(json.dumps(frame).encode() + b"\n", stream, ended=ended, bidi=bidi)

    def open(self, *, protocol: int | None = 1, **wishes: Any) -> Client:
        auth: dict[str, Any] = {"type": "auth", "token": "t", **wishes}
        self.frame(auth | ({"protocol": protocol} if protocol else {}))
        return self.welcome()

    def welcome(self, user: str = "7", frame_id: str | None = None) -> Client:
        """The application knows the client, and its user's topic has the session."""
        verdict = AuthenticatedDelivery(user=user, stream=CONTROL, frame_id=frame_id, epoch="s", offset=0)
        self.session.authenticated("s1", verdict, at(1))
        self.session.joined(f"user:{user}", SubscribedDelivery(epoch="u", offset=0), at(1))
        return self.collect()

    def joined(self, channel: str) -> Client:
        self.frame({"type": "subscribe", "channel": channel})
        self.session.subscribed(channel, SubscribedDelivery(epoch="e", offset=0, stream=CONTROL), at(1))
        return self.collect()

    @property
    def last(self) -> dict[str, Any]:
        return self.sent[-1][1]

    @property
    def event(self) -> Any:
        return self.appends[-1].event


def decoded(data: bytes) -> dict[str, Any]:
    """The frame that `data` is, in either encoding."""
    decoded = json.loads(data) if data[:1] == b"{" else msgpack.unpackb(data)
    assert isinstance(decoded, dict)
    return decoded
