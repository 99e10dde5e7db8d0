"""A session from its first frame to its close, whatever carries it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ingress.session import requests
from ingress.session.compression import expanded
from ingress.session.effects import Append, Close, Effect
from ingress.session.limits import Now, SessionLimits
from ingress.session.outgoing import Outgoing
from ingress.session.rate import TokenBucket
from ingress.session.requests import BadRequest
from ingress.session.states import STEPS, State, Step
from ingress.session.streams import ClientStream, ClientStreams
from ingress.session.writer import Manner, Writer
from schemas.close_codes import CloseCode, clip_reason, reconnects
from schemas.codec import FrameError, decode_frame
from schemas.errors import ErrorCode, error_frame
from schemas.events import NO_STREAM, AuthenticatedDelivery, AuthFailedDelivery, SubscribedDelivery


class Session:
    """The rules of one session. Every call may leave effects, which `effects()` hands out in order."""

    def __init__(self, session_id: str, limits: SessionLimits, seal: Callable[[str], str], now: Now) -> None:
        """`seal` makes a token unreadable before it is appended."""
        self.id = session_id
        self.state: State = State.GREETED
        self.user = ""
        self.channels: set[str] = set()
        """Channels whose grant has arrived."""
        self._limits = limits
        self._seal = seal
        self._effects: list[Effect] = []
        self._streams = ClientStreams(limits.frame, limits.reply_timeout)
        self._writer = Writer(self._streams, self._effects)
        self._frames = TokenBucket(limits.frames_per_second, now.monotonic)
        self._bytes = TokenBucket(limits.bytes_per_second, now.monotonic)
        self._datagrams = TokenBucket(limits.datagrams_per_second, now.monotonic)
        self._held: list[tuple[ClientStream, dict[str, Any]]] = []
        self._held_bytes = 0
        self._asked: set[str] = set()
        """Channels that were asked for and not yet answered."""
        self._deadline: float | None = now.monotonic + limits.auth_timeout
        self._ping_at: float | None = None
        self._expires_at: float | None = None
        self._pong_due: float | None = None

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
        self._pong_due = None
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
            self._streams.end(stream, now.monotonic)
            self._writer.finish(stream)

    def datagram(self, data: bytes, now: Now) -> str | None:
        """A datagram; gives why it was dropped, or None when it is appended."""
        self._pong_due = None
        if self.state is not State.OPEN:
            return "unauthenticated"
        if not self._datagrams.take(1, now.monotonic):
            return "rate"
        try:
            frame = decode_frame(data, self._limits.frame)
            event = requests.datagram(frame, self.channels)
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
        self._streams.end(stream, now.monotonic)
        self._writer.finish(stream)

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
            self._error(append.stream, ErrorCode.LOG_UNAVAILABLE, "not stored: send again later", append.frame_id)

    # What the router delivers.

    def authenticated(self, event: AuthenticatedDelivery, now: Now) -> None:
        """The application knows who this is; what waited is handled now."""
        if self.state is not State.AUTHENTICATING:
            return
        self.state = State.OPEN
        self._deadline = None
        self.user = event.user or ""
        if event.expires_at is not None:
            self._expires_at = now.monotonic + (event.expires_at - now.wall_ms) / 1000
        if self._writer.manner.protocol is not None:
            self._ping_at = now.monotonic + self._limits.ping_interval
        frame = {
            "type": "auth_success",
            "sessionId": self.id,
            "userId": event.user,
            "generation": 1,
            "pingInterval": int(self._limits.ping_interval * 1000),
            "recovered": False,
        }
        self._answer(event.stream, requests.with_id(frame, event.frame_id))
        held, self._held, self._held_bytes = self._held, [], 0
        for stream, waiting in held:
            self._frame(stream, waiting, now)
            self._writer.finish(stream)

    def auth_failed(self, event: AuthFailedDelivery) -> None:
        """The application does not know the token."""
        if self.state is not State.AUTHENTICATING:
            return
        frame = {"type": "auth_failed", "error": event.error}
        self._answer(event.stream, requests.with_id(frame, event.frame_id))
        self.close(CloseCode.AUTH_FAILED, event.error)

    def subscribed(self, channel: str, event: SubscribedDelivery) -> None:
        """A channel was granted."""
        self._asked.discard(channel)
        self.channels.add(channel)
        frame: dict[str, Any] = {
            "type": "subscribed",
            "channel": channel,
            "epoch": event.epoch,
            "offset": event.offset,
            "recovered": event.recovered,
            "publications": event.publications,
        }
        if event.members is not None:
            frame["members"] = event.members
        self._answer(event.stream, requests.with_id(frame, event.frame_id))

    def unsubscribed(self, channel: str, stream: int, frame_id: str | None) -> None:
        """A channel was left, or taken away."""
        self._asked.discard(channel)
        self.channels.discard(channel)
        self._answer(stream, requests.with_id({"type": "unsubscribed", "channel": channel}, frame_id))

    def publication(self, outgoing: Outgoing, stream: int = NO_STREAM) -> None:
        """A frame for this session, on the stream that asked for it if there is one."""
        if outgoing.frame.get("type") == "error":
            self._asked.discard(str(outgoing.frame.get("channel")))
        self._answer(stream, outgoing)

    def unreliable(self, outgoing: Outgoing) -> None:
        """A frame that goes as a datagram."""
        if self.state is State.OPEN:
            self._writer.datagram(outgoing)

    # Time, and the end.

    def tick(self, now: Now) -> None:
        """Time passed: deadlines, pings, streams whose answers stay away."""
        if self.state is State.CLOSED:
            return
        if self._deadline is not None and now.monotonic >= self._deadline:
            if self.state is State.GREETED:
                self.close(CloseCode.AUTH_TIMEOUT, "no auth frame in time: send it first")
            else:
                self.close(CloseCode.INTERNAL_ERROR, "the application did not answer the authentication in time")
            return
        if self._expires_at is not None and now.monotonic >= self._expires_at:
            self.close(CloseCode.TOKEN_EXPIRED, "the token has ended: connect again with a new one")
            return
        if self._pong_due is not None and now.monotonic >= self._pong_due:
            self.close(CloseCode.NO_PONG, "no answer to a ping")
            return
        if self._ping_at is not None and now.monotonic >= self._ping_at:
            self._ping_at = now.monotonic + self._limits.ping_interval
            self._pong_due = now.monotonic + self._limits.pong_timeout
            self._writer.push(Outgoing({"type": "ping"}))
        for stream in self._streams.overdue(now.monotonic):
            self._writer.end(stream)

    def close(self, code: int, reason: str) -> None:
        """Close the session from this side: a `disconnect` frame where one can be sent, then the close."""
        if self.state is State.CLOSED:
            return
        reason = clip_reason(reason)
        notice = {"type": "disconnect", "code": int(code), "reason": reason, "reconnect": reconnects(code)}
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
        self._held.clear()

    # Inside.

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
            event = requests.auth(frame, stream.id, self._seal)
            manner = Manner(event.protocol, requests.batch_seconds(frame), requests.compresses(frame))
        except BadRequest as error:
            self.close(CloseCode.MALFORMED, error.message)
            return
        self.state = State.AUTHENTICATING
        self._writer.manner = manner
        self._writer.control = stream.id
        self._deadline = now.monotonic + self._limits.verdict_timeout
        stream.awaited += 1
        self._effects.append(Append(event, stream=stream.id))

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
            self._answer(stream.id, requests.with_id(pong, requests.frame_id(frame)))
            return
        try:
            append = requests.append_for(self.id, frame, stream.id, self.channels)
            if kind == "subscribe":
                self._ask(frame["channel"])
        except BadRequest as error:
            self._error(stream.id, error.code, error.message, requests.frame_id(frame))
            return
        self._effects.append(append)

    def _ask(self, channel: str) -> None:
        if channel in self.channels or channel in self._asked:
            raise BadRequest("subscribed already", ErrorCode.ALREADY_SUBSCRIBED)
        if len(self.channels) + len(self._asked) >= self._limits.max_channels:
            raise BadRequest(f"a session has at most {self._limits.max_channels} channels", ErrorCode.TOO_MANY_CHANNELS)
        self._asked.add(channel)

    def _error(self, stream: int, code: ErrorCode, message: str, frame_id: str | None) -> None:
        self._answer(stream, error_frame(code, message, frame_id))

    def _answer(self, stream_id: int, frame: dict[str, Any] | Outgoing, *, final: bool = True) -> None:
        if not self._is_closed():
            self._writer.answer(stream_id, frame, final=final)
