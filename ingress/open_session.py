"""One open session: its core, its transport, and what the core asks for done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import inf

from opentelemetry.trace import SpanKind

from ingress import metrics
from ingress.clock import new_id, now
from ingress.hub import Hub
from ingress.server.transport import SessionRequest, Transport
from ingress.session import (
    Append,
    CatchUp,
    Close,
    Effect,
    Leave,
    OpenAndSend,
    Outgoing,
    Secrets,
    Send,
    SendDatagram,
    Session,
    SessionLimits,
)
from ingress.unread import Unread
from runtime.bus.appender import Appender
from runtime.settings import Settings
from runtime.telemetry import OpenSpan, Telemetry
from schemas.close_codes import CloseCode, reconnects
from schemas.entry import Entry
from schemas.errors import LogUnavailable
from schemas.events import (
    AuthenticatedDelivery,
    AuthFailedDelivery,
    Connected,
    Event,
    Party,
    SessionDisconnected,
    SessionRestoredDelivery,
    SubscribedDelivery,
    UnsubscribedDelivery,
)
from schemas.ids import of_disconnection
from schemas.keys import Keys

#: Codes that no application asks for.
_OUR_OWN = frozenset({CloseCode.SHUTDOWN, CloseCode.CONNECTION_LIMIT})


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every session of a gateway works with."""

    settings: Settings
    keys: Keys
    limits: SessionLimits
    hub: Hub
    appender: Appender
    telemetry: Telemetry
    secrets: Secrets
    append_lasting: Callable[[str, Entry], None]
    """Appends to a stream what has no client that could send it again: repeated until it is confirmed."""


class OpenSession:
    """Between a transport, the session core and the log; the hub's Member and the transport's SessionHandler."""

    def __init__(self, around: Surroundings, transport: Transport, session_id: str) -> None:
        self.id = session_id
        self._around = around
        self._transport = transport
        self._core = Session(session_id, around.limits, around.secrets, now())
        self._unread = Unread(around.settings.max_unsent_bytes)
        self._by: Party = "client"
        self._unconfirmed = 0
        """Bytes of entries that are on their way to the log."""
        self._held = False
        """The log is away."""
        self._paused = False
        self._flush: asyncio.TimerHandle | None = None
        self._will_act = False
        self._tick: asyncio.TimerHandle | None = None
        self._tick_at = inf
        """When the timer fires, if there is one."""
        self._log = around.keys.inbound_of(session_id)

    # What the transport tells.

    def connected(self, request: SessionRequest) -> None:
        """The session is open."""
        metrics.OPENED.labels(request.transport).inc()
        metrics.SESSIONS.labels(request.transport).inc()
        self._around.hub.add(self)
        if not self._around.settings.allows_origin(request.origin):
            self._close(CloseCode.FORBIDDEN, "this origin may not connect: see HEADGATE_ALLOWED_ORIGINS")
            return
        self._core.connected = Connected(
            transport=request.transport,
            origin=request.origin or "",
            path=request.path.partition("?")[0],
            address=request.remote_address,
        )
        self._set_timer()

    def stream_data(self, stream_id: int, data: bytes, ended: bool, bidirectional: bool) -> None:
        """Bytes of a client's stream."""
        self._core.stream_data(stream_id, data, ended, bidirectional, now())
        self._act()

    def datagram(self, data: bytes) -> None:
        """A datagram from the client."""
        dropped = self._core.datagram(data, now())
        if dropped is not None:
            metrics.DATAGRAMS_DROPPED.labels(dropped).inc()
        self._act()

    def stream_reset(self, stream_id: int, code: int) -> None:
        """The client abandoned a stream."""
        self._core.stream_reset(stream_id, now())
        self._act()

    def stream_stopped(self, stream_id: int, code: int) -> None:
        """The client reads no more of a stream."""
        self._core.stream_stopped(stream_id)

    def failed(self, code: int, reason: str) -> None:
        """The transport cannot go on with this client."""
        self._close(code, reason)

    def closed(self, code: int, reason: str, abrupt: bool) -> None:
        """The session is over."""
        metrics.SESSIONS.labels(self._transport.kind).dec()
        known = str(code) if code == 0 or code in CloseCode.__members__.values() else "other"
        metrics.CLOSED.labels(known, self._by).inc()
        self._core.closed()
        if self._tick is not None:
            self._tick.cancel()
        self._around.hub.remove(self)
        if self._core.known:
            event = SessionDisconnected(
                generation=self.generation,
                code=code,
                reason=reason or ("the connection was lost" if abrupt else ""),
                by=self._by,
                # A client that means to come back says so: it was cut off, or closes with a code that asks for it.
                final=not abrupt and not reconnects(code),
            )
            self._append_lasting(event, of_disconnection(self.id, self.generation))

    # What the router delivers.

    @property
    def generation(self) -> int:
        """Which of the session's connections this is."""
        return self._core.generation

    def become(self, session: str) -> None:
        """This is a connection of a former session."""
        self.id = session
        self._log = self._around.keys.inbound_of(session)

    def authenticated(self, event: AuthenticatedDelivery) -> None:
        """The application knows who this is."""
        self._core.authenticated(self.id, event, now())
        self._act()

    def joined(self, topic: str, event: SubscribedDelivery) -> None:
        """The session is on its user's topic."""
        self._core.joined(topic, event, now())
        self._act()

    def restored(self, event: SessionRestoredDelivery) -> None:
        """A resumed session gets its channels back."""
        self._core.restored(event.channels, now())
        self._act()

    def superseded(self) -> None:
        """The session goes on over a later connection."""
        self._close(CloseCode.RESUMED_ELSEWHERE, "this session was resumed over another connection")

    def auth_failed(self, event: AuthFailedDelivery) -> None:
        """The application does not."""
        self._core.auth_failed(event)
        self._act()

    def subscribed(self, channel: str, event: SubscribedDelivery) -> None:
        """A channel was granted."""
        self._core.subscribed(channel, event, now())
        self._act()

    def unsubscribed(self, channel: str, event: UnsubscribedDelivery) -> None:
        """A channel was left or taken away."""
        self._core.unsubscribed(channel, event)
        self._act()

    def publication(self, outgoing: Outgoing, stream: int) -> None:
        """A frame for this session."""
        self._core.publication(outgoing, stream)
        self._act()

    def unreliable(self, outgoing: Outgoing) -> None:
        """A datagram for this session."""
        self._core.unreliable(outgoing)
        self._act()

    def disconnect(self, code: int, reason: str) -> None:
        """The application, a limit or a shutdown ends the session."""
        self._close(code, reason, by="gateway" if code in _OUR_OWN else "application")

    def lost(self) -> None:
        """This gateway was declared lost, or cannot say what it has missed: its sessions go on elsewhere."""
        self._close(CloseCode.STATE_LOST, "the gateway has lost track of its sessions: connect again")

    def missed(self) -> None:
        """Something for it was lost on the way."""
        self._close(CloseCode.STATE_LOST, "something for this session was lost on the way: connect again for it")

    def broke(self) -> None:
        """Its own code failed on what was delivered: nothing more is asked of that."""
        self._by = "gateway"
        self._core.closed()
        self._transport.close(CloseCode.INTERNAL_ERROR, "internal error")

    def hold(self, away: bool) -> None:
        """The log is away, or back."""
        self._held = away
        self._pace()

    def tick(self) -> None:
        """Time passed."""
        self._tick_at = inf
        self._core.tick(now())
        self._act()

    # What the core asks for.

    def _append_lasting(self, event: Event, entry_id: str) -> None:
        span = self._around.telemetry.begin(f"append {event.TYPE}")
        self._around.append_lasting(self._log, self._entry(event, entry_id, span))
        span.end()

    def _entry(self, event: Event, entry_id: str, span: OpenSpan) -> Entry:
        return Entry.of(
            event,
            id=entry_id,
            ts=time.time_ns() // 1_000_000,
            session=self.id,
            user=self._core.user,
            gateway=self._around.settings.gateway_id,
            traceparent=span.traceparent,
        )

    def _act(self) -> None:
        transport = self._transport
        wrote = 0
        stream, frames = -1, list[bytes]()
        for effect in self._core.effects():
            if isinstance(effect, Send) and not effect.end:
                if effect.stream != stream and frames:
                    transport.send_all(stream, frames)
                    frames = []
                stream = effect.stream
                frames.append(effect.data)
                wrote += 1
                metrics.count_error(effect.frame)
                continue
            if frames:
                transport.send_all(stream, frames)
                frames = []
            if isinstance(effect, Append):
                self._append(effect)
            else:
                wrote += self._do(effect)
        if frames:
            transport.send_all(stream, frames)
        if wrote:
            metrics.FRAMES_OUT.inc(wrote)
            if self._unread.is_too_much(transport.unsent_bytes(), now().monotonic):
                self._core.close(CloseCode.SLOW_CONSUMER, "too much is unread: read faster or subscribe to less")
                self._act()
        if self._core.due < self._tick_at:
            self._set_timer()
        if self._flush is None and (wait := self._core.flush_after) is not None:
            self._flush = asyncio.get_running_loop().call_later(wait, self._flush_now)

    def _do(self, effect: Effect) -> int:
        """What seldom is asked for; gives how many frames it wrote."""
        transport = self._transport
        match effect:
            case Send():
                transport.send(effect.stream, effect.data, effect.end)
            case OpenAndSend():
                transport.send(transport.open_bidirectional(), effect.data, True)
                metrics.count_error(effect.frame)
                return 1
            case SendDatagram():
                sent = transport.send_datagram(effect.data)
                (metrics.DATAGRAMS_OUT if sent else metrics.DATAGRAMS_DROPPED.labels("too_large")).inc()
            case CatchUp():
                self._unread.catch_up(transport.unsent_bytes(), now().monotonic)
            case Leave(channel=channel):
                self._around.hub.leave(self, channel)
            case Close():
                self._by = self._by if self._by == "application" else "gateway"
                transport.close(effect.code, effect.reason)
        return 0

    def _set_timer(self) -> None:
        if self._tick is not None:
            self._tick.cancel()
        self._tick_at = self._core.due
        wait = max(0.0, self._tick_at - now().monotonic)
        self._tick = asyncio.get_running_loop().call_later(wait, self.tick)

    def _act_soon(self) -> None:
        """Act once for all that happens to this session in this turn of the loop."""
        if not self._will_act:
            self._will_act = True
            asyncio.get_running_loop().call_soon(self._act_now)

    def _act_now(self) -> None:
        self._will_act = False
        self._act()

    def _flush_now(self) -> None:
        self._flush = None
        self._core.flush()
        self._act()

    def _weigh(self, change: int) -> None:
        self._unconfirmed += change
        self._pace()

    def _pace(self) -> None:
        """Read on only while the log keeps up: what it has not confirmed holds the client back, not our memory."""
        limit = self._around.settings.unconfirmed_bytes
        paused = self._held or self._unconfirmed > (limit // 2 if self._paused else limit)
        if paused is self._paused:
            return
        self._paused = paused
        self._core.listen(not paused, now())
        if paused:
            metrics.PAUSED.inc()
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _append(self, append: Append) -> None:
        around, event = self._around, append.event
        if append.lasting:
            self._append_lasting(event, new_id())
            return
        metrics.frames_in(event.TYPE).inc()
        span = around.telemetry.begin(
            f"receive {event.TYPE}", attributes={"headgate.session": self.id}, kind=SpanKind.SERVER
        )
        entry = self._entry(event, append.event_id or new_id(), span)
        spans = (around.telemetry.begin(f"append {event.TYPE}", span.traceparent), span) if span.recorded else ()
        self._weigh(len(entry.data))
        done = partial(self._appended, append, entry.id, len(entry.data), spans, time.monotonic())
        if append.datagram:
            key = around.keys.datagrams(self._log)
            around.appender.append_then(key, entry, done, maxlen=around.settings.datagram_log_size)
        else:
            around.appender.append_then(self._log, entry, done)

    def _appended(
        self,
        append: Append,
        entry_id: str,
        size: int,
        spans: tuple[OpenSpan, ...],
        arrived: float,
        answer: str | LogUnavailable,
    ) -> None:
        confirmed = isinstance(answer, str)
        self._weigh(-size)
        for span in spans:
            span.end("" if confirmed else type(answer).__name__)
        if not confirmed:
            self._core.refused(append)
        else:
            if not self._will_act:
                # Of those that are confirmed together, the first.
                metrics.ACK_SECONDS.observe(time.monotonic() - arrived)
            self._core.confirmed(append, entry_id)
        self._act_soon()

    def _close(self, code: int, reason: str, by: Party = "gateway") -> None:
        self._by = by
        self._core.close(code, reason)
        self._act()
