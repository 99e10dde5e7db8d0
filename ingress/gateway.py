"""The gateway: session cores on one side, the log on the other."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable

import structlog
from opentelemetry.trace import SpanKind

from ingress import metrics
from ingress.hub import Hub
from ingress.server.transport import Admission, SessionHandler, SessionRequest, Transport
from ingress.session import (
    Append,
    Close,
    Now,
    OpenAndSend,
    Outgoing,
    Send,
    SendDatagram,
    Session,
    SessionLimits,
)
from runtime.backoff import backoff
from runtime.bus.appender import Appender
from runtime.settings import Settings
from runtime.tasks import cancel
from runtime.telemetry import OpenSpan, Telemetry
from schemas.close_codes import CloseCode
from schemas.entry import Entry
from schemas.errors import LogUnavailable
from schemas.events import (
    AuthenticatedDelivery,
    AuthFailedDelivery,
    Event,
    SessionClosed,
    SessionOpened,
    SubscribedDelivery,
    UnsubscribedDelivery,
)
from schemas.ids import uuid7
from schemas.sealing import Sealer

log = structlog.get_logger()


def now() -> Now:
    """The time on both clocks."""
    return Now(time.monotonic(), time.time_ns() // 1_000_000)


def origin_allowed(origin: str | None, allowed: tuple[str, ...]) -> bool:
    """Whether pages of `origin` may connect: exact match. A client without Origin is no browser; its token decides."""
    return origin is None or "*" in allowed or origin in allowed


class Gateway:
    """Opens, tends and closes the sessions of this process."""

    def __init__(self, settings: Settings, appender: Appender, telemetry: Telemetry) -> None:
        self.settings = settings
        self.keys = settings.keys
        self.id = settings.gateway_id
        self.appender = appender
        self.telemetry = telemetry
        self.hub = Hub()
        self.sealer = Sealer(settings.secret_bytes())
        self.limits = SessionLimits(
            frame=settings.frame_limits,
            auth_timeout=settings.auth_timeout,
            verdict_timeout=settings.auth_timeout + settings.laravel_timeout,
            auth_pending_bytes=settings.auth_pending_bytes,
            max_channels=settings.max_channels,
            ping_interval=settings.ping_interval,
            pong_timeout=settings.pong_timeout,
        )
        self._draining = False
        self._lasting: set[asyncio.Task[None]] = set()
        self._ticker: asyncio.Task[None] | None = None

    def admit(self, request: SessionRequest) -> Admission:
        """Whether a session request is for us at all; what a browser must know is said by a close code later."""
        if request.path.partition("?")[0] != self.settings.ingress_path:
            metrics.REFUSED.labels("path").inc()
            return Admission(status=404)
        if self._draining or len(self.hub) >= self.settings.max_sessions:
            metrics.REFUSED.labels("draining" if self._draining else "full").inc()
            return Admission(status=503)
        return Admission()

    def open(self, transport: Transport) -> SessionHandler:
        """The handler of a new session."""
        return GatewaySession(self, transport, uuid7(now().wall_ms, os.urandom(10)))

    async def start(self) -> None:
        """Begin to watch deadlines."""
        self._ticker = asyncio.create_task(self._tick(), name="session-ticker")

    async def drain(self) -> None:
        """Close every session with 3001 and wait until their ends are in the log, at most the drain time."""
        self._draining = True
        for member in self.hub.members():
            member.disconnect(CloseCode.SHUTDOWN, "the gateway is shutting down: connect again")
        try:
            async with asyncio.timeout(self.settings.drain_seconds):
                while self.hub or self._lasting:
                    await asyncio.wait(self._lasting or {asyncio.create_task(asyncio.sleep(0.02))})
        except TimeoutError:
            log.warning("gateway.drain_incomplete", sessions=len(self.hub), appends=len(self._lasting))

    async def stop(self) -> None:
        """Stop watching."""
        await cancel(self._ticker, *self._lasting)

    def append_lasting(self, session: GatewaySession, event: Event) -> None:
        """Append what has no client that could send it again: retried until it is confirmed."""
        entry = session.entry(event, uuid7(now().wall_ms, os.urandom(10)), self.telemetry.begin(f"append {event.TYPE}"))
        task = asyncio.create_task(self._append_until_confirmed(self.keys.inbound_of(session.id), entry))
        self._lasting.add(task)
        task.add_done_callback(self._lasting.discard)

    async def _append_until_confirmed(self, key: str, entry: Entry) -> None:
        failures = 0
        while True:
            try:
                await self.appender.append(key, entry)
                return
            except LogUnavailable:
                failures += 1
                await asyncio.sleep(backoff(failures))

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(0.25)
            for member in self.hub.members():
                assert isinstance(member, GatewaySession)
                member.tick()


class GatewaySession:
    """One session: its core, its transport, and what the core asks for done."""

    def __init__(self, gateway: Gateway, transport: Transport, session_id: str) -> None:
        self.id = session_id
        self._gateway = gateway
        self._transport = transport
        self._core = Session(session_id, gateway.limits, self._seal, now())
        self._by = "client"
        self._logged = False

    # What the transport tells.

    def connected(self, request: SessionRequest) -> None:
        """The session is open."""
        metrics.OPENED.labels(request.transport).inc()
        metrics.SESSIONS.labels(request.transport).inc()
        self._gateway.hub.add(self)
        if not origin_allowed(request.origin, self._gateway.settings.allowed_origins):
            self._close(CloseCode.FORBIDDEN, "this origin may not connect: see HEADGATE_ALLOWED_ORIGINS")
            return
        self._logged = True
        event = SessionOpened(
            transport=request.transport,
            origin=request.origin or "",
            path=request.path.partition("?")[0],
            address=request.remote_address,
        )
        self._gateway.append_lasting(self, event)

    def stream_data(self, stream_id: int, data: bytes, ended: bool, bidirectional: bool) -> None:
        """Bytes of a client's stream."""
        self._core.stream_data(stream_id, data, ended, bidirectional, now())
        self._act()

    def datagram(self, data: bytes) -> None:
        """A datagram from the client."""
        dropped = self._core.datagram(data)
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

    def closed(self, code: int, reason: str, abrupt: bool) -> None:
        """The session is over."""
        metrics.SESSIONS.labels(self._transport.kind).dec()
        known = str(code) if code == 0 or code in CloseCode.__members__.values() else "other"
        metrics.CLOSED.labels(known, self._by).inc()
        self._core.closed()
        self._gateway.hub.remove(self.id)
        if self._logged:
            text = reason or ("the connection was lost" if abrupt else "")
            self._gateway.append_lasting(
                self, SessionClosed.model_validate({"code": code, "reason": text, "by": self._by})
            )

    # What the router delivers.

    def authenticated(self, event: AuthenticatedDelivery) -> None:
        """The application knows who this is."""
        self._core.authenticated(event, now())
        self._act()

    def auth_failed(self, event: AuthFailedDelivery) -> None:
        """The application does not."""
        self._core.auth_failed(event)
        self._act()

    def subscribed(self, channel: str, event: SubscribedDelivery) -> None:
        """A channel was granted."""
        self._core.subscribed(channel, event)
        self._act()

    def unsubscribed(self, channel: str, event: UnsubscribedDelivery) -> None:
        """A channel was left or taken away."""
        self._core.unsubscribed(channel, event.stream, event.frame_id)
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
        """The application, or a shutdown, ends the session."""
        self._close(code, reason, by="gateway" if code == CloseCode.SHUTDOWN else "application")

    def tick(self) -> None:
        """Time passed."""
        self._core.tick(now())
        self._act()

    # What the core asks for.

    def entry(self, event: Event, entry_id: str, span: OpenSpan) -> Entry:
        """`event` as an entry of this session."""
        return Entry.of(
            event,
            id=entry_id,
            ts=now().wall_ms,
            session=self.id,
            user=self._core.user,
            gateway=self._gateway.id,
            traceparent=span.traceparent,
        )

    def _act(self) -> None:
        transport = self._transport
        wrote = False
        for effect in self._core.effects():
            match effect:
                case Send():
                    transport.send(effect.stream, effect.data, effect.end)
                    self._count(effect.frame)
                    wrote = True
                case OpenAndSend():
                    transport.send(transport.open_bidirectional(), effect.data, True)
                    self._count(effect.frame)
                    wrote = True
                case Append():
                    self._append(effect)
                case SendDatagram():
                    sent = transport.send_datagram(effect.data)
                    (metrics.DATAGRAMS_OUT if sent else metrics.DATAGRAMS_DROPPED.labels("too_large")).inc()
                case Close():
                    self._by = self._by if self._by == "application" else "gateway"
                    transport.close(effect.code, effect.reason)
        if wrote and transport.unsent_bytes() > self._gateway.settings.max_unsent_bytes:
            self._core.close(CloseCode.SLOW_CONSUMER, "too much is unread: read faster or subscribe to less")
            self._act()

    @staticmethod
    def _count(frame: dict[str, object] | None) -> None:
        metrics.FRAMES_OUT.inc()
        if frame is not None and frame.get("type") == "error" and isinstance(frame.get("code"), int):
            metrics.ERRORS.labels(str(frame["code"]) if 100 <= int(str(frame["code"])) < 200 else "other").inc()

    def _append(self, append: Append) -> None:
        gateway, event = self._gateway, append.event
        metrics.FRAMES_IN.labels(event.TYPE).inc()
        arrived = time.monotonic()
        span = gateway.telemetry.begin(f"receive {event.TYPE}", attributes={"headgate.session": self.id}, kind=SpanKind.SERVER)
        entry = self.entry(event, append.event_id or uuid7(now().wall_ms, os.urandom(10)), span)
        key = gateway.keys.inbound_of(self.id)
        if append.datagram:
            future = gateway.appender.append(
                gateway.keys.datagrams(key), entry, maxlen=gateway.settings.datagram_log_size
            )
        else:
            future = gateway.appender.append(key, entry)
        future.add_done_callback(self._appended(append, entry.id, span, arrived))

    def _appended(
        self, append: Append, entry_id: str, span: OpenSpan, arrived: float
    ) -> Callable[[asyncio.Future[str]], None]:
        def done(future: asyncio.Future[str]) -> None:
            if future.cancelled():
                return
            error = future.exception()
            span.end(type(error).__name__ if error else "")
            if error is None:
                metrics.ACK_SECONDS.observe(time.monotonic() - arrived)
                self._core.confirmed(append, entry_id)
            else:
                self._core.refused(append)
            self._act()

        return done

    def _close(self, code: int, reason: str, by: str = "gateway") -> None:
        self._by = by
        self._core.close(code, reason)
        self._act()

    def _seal(self, token: str) -> str:
        return self._gateway.sealer.seal(token, self.id, os.urandom(12))
