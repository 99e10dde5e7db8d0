"""A session from its first frame to its close, whatever carries it."""

from __future__ import annotations

from math import inf
from typing import Any, Final

from ingress.session import frames, requests
from ingress.session.channels import Channels
from ingress.session.compression import expanded
from ingress.session.effects import Append, Close, Effect, Leave
from ingress.session.limits import Now, SessionLimits
from ingress.session.opening import Opening, Secrets, read_auth
from ingress.session.outgoing import Outgoing
from ingress.session.rate import TokenBucket
from ingress.session.requests import BadRequest
from ingress.session.states import STEPS, State, Step
from ingress.session.streams import ClientStream, ClientStreams
from ingress.session.timing import Timing
from ingress.session.writer import Writer
from schemas.close_codes import CloseCode, clip_reason
from schemas.codec import FrameError, decode_frame
from schemas.errors import ErrorCode, error_frame
from schemas.events import (
    FIRST_GENERATION,
    NO_STREAM,
    AuthenticatedDelivery,
    AuthFailedDelivery,
    Connected,
    Position,
    SessionResumed,
    SubscribedDelivery,
    SubscribeRequested,
    UnsubscribedDelivery,
    UnsubscribeRequested,
)

#: Frames that may come for a session between the verdict and `auth_success`: moments, unless the log is away.
MAX_EARLY: Final = 1000


class Session:
    """The rules of one session. Every call may leave effects, which `effects()` hands out in order."""

    def __init__(self, session_id: str, limits: SessionLimits, secrets: Secrets, now: Now) -> None:
        self.id = session_id
        self.generation = FIRST_GENERATION
        self.state: State = State.GREETED
        self.known = False
        """Whether the application said who this is: then there is a session beyond this gateway."""
        self.user = ""
        self.connected = Connected()
        """How the client came here."""
        self.channels = Channels(limits.max_channels)
        self._limits = limits
        self._secrets = secrets
        self._effects: list[Effect] = []
        self._streams = ClientStreams(limits.frame, limits.reply_timeout)
        self._writer = Writer(self._streams, self._effects)
        self._frames = TokenBucket(limits.frames_per_second, now.monotonic)
        self._bytes = TokenBucket(limits.bytes_per_second, now.monotonic)
        self._datagrams = TokenBucket(limits.datagrams_per_second, now.monotonic)
        self._held: list[tuple[ClientStream, dict[str, Any]]] = []
        self._held_bytes = 0
        self._positions: dict[str, Position] = {}
        """Where the client is, in the topics of a session that it wants to resume."""
        self._joined: tuple[str, SubscribedDelivery] | None = None
        """The topic of its user, which can come before the verdict."""
        self._opening: Opening | None = None
        """From the verdict until the session is open."""
        self._early: list[tuple[int, dict[str, Any] | Outgoing]] = []
        """What came for the client before it was."""
        self._timing = Timing(limits, now.monotonic)
        self.due = self._timing.due
        """When to `tick`, at the latest; infinite when there is nothing to wait for."""

    def effects(self) -> list[Effect]:
        """What is to be done now; asking takes it away."""
        effects = self._effects.copy()
        self._effects.clear()
        return effects

    @property
    def flush_after(self) -> float | None:
        """When pushes wait for company: in how many seconds `flush` is due."""
        return self._writer.flush_after

    def flush(self) -> None:
        """Write the pushes that wait."""
        if not self._is_closed():
            self._writer.flush()

    # What the client does.

    def stream_data(self, stream_id: int, data: bytes, ended: bool, bidirectional: bool, now: Now) -> None:
        """The next bytes of a client's stream."""
        if self._is_closed():
            return
        self._timing.heard()
        stream = self._streams.receive(stream_id, bidirectional=bidirectional)
        if self._writer.control == NO_STREAM and bidirectional:
            self._writer.control = stream_id
        if not self._bytes.take(len(data), now.monotonic):
            self._too_fast("bytes", self._limits.bytes_per_second)
            return
        held_before, waited = len(self._held), self.state is State.AUTHENTICATING
        try:
            for frame in stream.decoder.feed(data):
                if not self._frames.take(1, now.monotonic):
                    self._too_fast("frames", self._limits.frames_per_second)
                    return
                self._frame(stream, frame, now)
                if self._is_closed():
                    return
            if ended:
                stream.decoder.finish()
        except FrameError as error:
            self.close(error.code, error.message)
            return
        # A frame that comes in pieces is held no less than one that comes at once.
        begun = self.state is State.AUTHENTICATING and stream.decoder.pending > 0
        if waited or begun or len(self._held) > held_before:
            self._held_bytes += len(data)
            if self._held_bytes > self._limits.auth_pending_bytes:
                self.close(
                    CloseCode.TOO_LARGE,
                    "too much was sent before authentication finished: wait for auth_success",
                )
                return
        if ended:
            self._end(stream, now)

    def datagram(self, data: bytes, now: Now) -> str | None:
        """A datagram; gives why it was dropped, or None when it is appended."""
        self._timing.heard()
        if self.state is not State.OPEN:
            return "unauthenticated"
        if not self._datagrams.take(1, now.monotonic):
            return "rate"
        try:
            frame = decode_frame(data, self._limits.frame)
            event = requests.datagram(frame, self.channels.granted)
        except FrameError:
            return "malformed"
        except BadRequest:
            return "no_channel"
        self._writer.manner.datagrams = "json" if data[:1] == b"{" else "msgpack"
        self._effects.append(Append(event, datagram=True))
        return None

    def stream_stopped(self, stream_id: int) -> None:
        """The client reads no more of a stream."""
        self._streams.stop(stream_id)

    def stream_reset(self, stream_id: int, now: Now) -> None:
        """The client abandoned its side of a stream; what it sent in part is gone."""
        if self._is_closed():
            return
        stream = self._streams.writable(stream_id)
        if stream is None:
            self._streams.forget(stream_id)
            return
        self._end(stream, now)

    # What became of appends.

    def confirmed(self, append: Append, event_id: str) -> None:
        """The append is durable as far as the server promises."""
        if append.acknowledge:
            self._answer(append.stream, {"type": "ack", "id": append.frame_id, "event": event_id}, final=False)

    def refused(self, append: Append) -> None:
        """The append was not confirmed: nothing is acknowledged, and the client may send again."""
        if self.state is not State.OPEN:
            self.close(CloseCode.INTERNAL_ERROR, "the log is not available: connect again later")
        elif not append.datagram:
            if isinstance(append.event, SubscribeRequested):
                self.channels.refused(append.event.channel)
            self._error(append.stream, ErrorCode.LOG_UNAVAILABLE, "not stored: send again later", append.frame_id)

    # What the router delivers.

    def authenticated(self, session: str, event: AuthenticatedDelivery, now: Now) -> None:
        """The application knows who this is, and which `session` it has."""
        # Also of one that was closed while it waited: its end is to be told of all the same.
        self.known = True
        self.id, self.generation, self.user = session, event.generation, event.user or ""
        if self.state is not State.AUTHENTICATING:
            return
        if event.expires_at is not None:
            self._timing.expires(now.monotonic + (event.expires_at - now.wall_ms) / 1000)
            self._look_again()
        self._opening = Opening(session, event)
        if self._joined is not None:
            self._opening.joined(*self._joined)
        if event.generation > FIRST_GENERATION:
            self._effects.append(Append(SessionResumed(generation=event.generation, positions=self._positions)))
        self._open_when_complete(now)

    def joined(self, topic: str, event: SubscribedDelivery, now: Now) -> None:
        """The session is on the topic of its user."""
        self._joined = (topic, event)
        if self._opening is not None:
            self._opening.joined(topic, event)
            self._open_when_complete(now)

    def restored(self, channels: list[str], now: Now) -> None:
        """The channels that a resumed session gets back."""
        if self._opening is not None:
            self._opening.restored(channels)
            self._open_when_complete(now)

    def auth_failed(self, event: AuthFailedDelivery) -> None:
        """The application does not know the token."""
        if self.state is not State.AUTHENTICATING:
            return
        frame = {"type": "auth_failed", "error": event.error}
        self._answer(event.stream, frames.with_id(frame, event.frame_id))
        self.close(CloseCode.AUTH_FAILED, event.error)

    def subscribed(self, channel: str, event: SubscribedDelivery, now: Now) -> None:
        """A channel was granted, or given back."""
        self.channels.join(channel, event.expires_at, now)
        self._look_again()
        if event.publications:
            self._writer.catch_up()
        self._tell(event.stream, frames.subscribed(channel, event))
        if self._opening is not None:
            self._opening.subscribed(channel)
            self._open_when_complete(now)

    def unsubscribed(self, channel: str, event: UnsubscribedDelivery) -> None:
        """A channel was left, or taken away."""
        self.channels.leave(channel)
        self._tell(event.stream, frames.unsubscribed(channel, event))

    def publication(self, outgoing: Outgoing, stream: int = NO_STREAM) -> None:
        """A frame for this session, on the stream that asked for it if there is one."""
        if outgoing.frame.get("type") == "error":
            self.channels.refused(str(outgoing.frame.get("channel")))
        self._tell(stream, outgoing)

    def unreliable(self, outgoing: Outgoing) -> None:
        """A frame that goes as a datagram."""
        if self.state is State.OPEN:
            self._writer.datagram(outgoing)

    # Time, and the end.

    def listen(self, listening: bool, now: Now) -> None:
        """Whether the client is read: while it is not, its silence says nothing."""
        self._timing.listen(listening, now.monotonic)
        self._look_again()

    def tick(self, now: Now) -> None:
        """Time passed: deadlines, pings, streams whose answers stay away."""
        if self._is_closed():
            return
        if (overdue := self._timing.overdue(now.monotonic)) is not None:
            self.close(*overdue)
            return
        if self._timing.asks(now.monotonic):
            self._writer.push(Outgoing({"type": "ping"}))
        for stream in self._streams.overdue(now.monotonic):
            self._writer.end(stream)
        for channel, at in self.channels.expired(now):
            over = UnsubscribeRequested(channel=channel, reason="expired", expires_at=at, generation=self.generation)
            self._effects += (Leave(channel), Append(over, lasting=True))
        self._look_again()

    def close(self, code: int, reason: str) -> None:
        """Close the session from this side: a `disconnect` frame where one can be sent, then the close."""
        if self.state is State.CLOSED:
            return
        reason = clip_reason(reason)
        notice = frames.disconnect(code, reason)
        if self.state is State.OPEN:
            self._writer.push(Outgoing(notice))
            self._writer.flush()
        elif self._streams.writable(self._writer.control):
            self._writer.answer(self._writer.control, notice)
        self.closed()
        self._effects.append(Close(int(code), reason))

    def closed(self) -> None:
        """The session is over, whoever ended it."""
        self.state = State.CLOSED
        self.due = inf
        self._held.clear()
        self._early.clear()

    # Inside.

    def _end(self, stream: ClientStream, now: Now) -> None:
        self._streams.end(stream, now.monotonic)
        self._writer.finish(stream)
        self._look_again()

    def _look_again(self) -> None:
        self.due = min(self._timing.due, self._streams.due, self.channels.due)

    def _is_closed(self) -> bool:
        return self.state is State.CLOSED

    def _too_fast(self, what: str, rate: float) -> None:
        self.close(CloseCode.TOO_MANY_REQUESTS, f"more than {rate:g} {what} a second: send slower")

    def _frame(self, stream: ClientStream, frame: dict[str, Any], now: Now) -> None:
        step = STEPS[self.state, frame.get("type") == "auth"]
        if step is Step.HANDLE:
            self._handle(stream, frame, now)
        elif step is Step.HOLD:
            self._held.append((stream, frame))
        elif step is Step.AUTHENTICATE:
            self._authenticate(stream, frame, now)
        elif step is Step.REFUSE_EARLY:
            self.close(CloseCode.AUTH_FAILED, "the first frame must be auth")
        elif step is Step.REFUSE_AGAIN:
            stream.awaited += 1
            self._error(stream.id, ErrorCode.BAD_REQUEST, "auth was sent already", requests.frame_id(frame))

    def _authenticate(self, stream: ClientStream, frame: dict[str, Any], now: Now) -> None:
        try:
            asked = read_auth(frame, stream.id, self.id, self._secrets, self.connected, self._limits.max_channels)
        except BadRequest as error:
            self.close(CloseCode.MALFORMED, error.message)
            return
        self._positions = asked.positions
        self.state = State.AUTHENTICATING
        self._writer.manner = asked.manner
        self._writer.control = stream.id
        self._timing.asked(now.monotonic)
        self._look_again()
        stream.awaited += 1
        self._effects.append(Append(asked.event, stream=stream.id))

    def _open_when_complete(self, now: Now) -> None:
        opening = self._opening
        if opening is None or not opening.complete or self._is_closed():
            return
        self._opening = None
        self.state = State.OPEN
        protocol = self._writer.manner.protocol is not None
        self._timing.opened(now.monotonic, pings=protocol)
        self._look_again()
        secret = self._secrets.resume_secret(self.id, self.generation)
        success = opening.auth_success(self.id, self._limits.ping_interval, secret, protocol=protocol)
        self._answer(opening.event.stream, success)
        early, self._early = self._early, []
        if opening.missed or early:
            self._writer.catch_up()
        for to, outgoing in [*((NO_STREAM, missed) for missed in opening.missed), *early]:
            self._answer(to, outgoing)
        held, self._held = self._held, []
        for stream, waiting in held:
            self._frame(stream, waiting, now)
            self._writer.finish(stream)

    def _handle(self, stream: ClientStream, frame: dict[str, Any], now: Now) -> None:
        if frame.get("type") == "compressed":
            try:
                frame = expanded(frame, self._limits.frame)
            except FrameError as error:
                self.close(error.code, error.message)
                return
        kind = frame.get("type")
        if kind == "pong":
            return
        stream.awaited += 1
        if kind == "ping":
            pong = {"type": "pong", "timestamp": now.wall_ms}
            self._answer(stream.id, frames.with_id(pong, requests.frame_id(frame)))
            return
        try:
            append = requests.append_for(self.id, self.generation, frame, stream.id, self.channels.granted)
            if kind == "subscribe":
                self.channels.ask(frame["channel"])
        except BadRequest as error:
            self._error(stream.id, error.code, error.message, requests.frame_id(frame))
            return
        self._effects.append(append)

    def _error(self, stream: int, code: ErrorCode, message: str, frame_id: str | None) -> None:
        self._answer(stream, error_frame(code, message, frame_id))

    def _tell(self, stream_id: int, frame: dict[str, Any] | Outgoing) -> None:
        """Write what comes from behind the log; not before `auth_success`."""
        if self.state is not State.AUTHENTICATING:
            self._answer(stream_id, frame)
        elif len(self._early) < MAX_EARLY:
            self._early.append((stream_id, frame))
        else:
            self.close(CloseCode.SLOW_CONSUMER, "too much came for this session before it was open: connect again")

    def _answer(self, stream_id: int, frame: dict[str, Any] | Outgoing, *, final: bool = True) -> None:
        if not self._is_closed():
            self._writer.answer(stream_id, frame, final=final)
