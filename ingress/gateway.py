"""The gateway: admits sessions, and sees their ends into the log."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial

import structlog

from ingress import metrics
from ingress.clock import new_id, now
from ingress.hub import Hub, Member
from ingress.open_session import OpenSession, Surroundings
from ingress.outage import Outage, Step
from ingress.secrets import GatewaySecrets
from ingress.server.transport import Admission, SessionHandler, SessionRequest, Transport
from ingress.session import SessionLimits
from runtime.backoff import backoff
from runtime.bus.appender import Appender
from runtime.settings import Settings
from runtime.tasks import cancel
from runtime.telemetry import Telemetry
from schemas.close_codes import CloseCode
from schemas.entry import Entry
from schemas.errors import LogUnavailable
from schemas.events import FIRST_GENERATION, AuthenticatedDelivery, SessionDisconnected, UnsubscribeRequested
from schemas.ids import of_disconnection
from schemas.keys import Keys

log = structlog.get_logger()

#: How often it is asked whether the log is away, in seconds.
WATCH_S = 0.25
#: A draining gateway lets go of one session in this time on average, in seconds, within half its drain time.
DRAIN_PACE_S = 0.01


def session_limits(settings: Settings) -> SessionLimits:
    """The bounds of one session."""
    return SessionLimits(
        frame=settings.frame_limits,
        auth_timeout=settings.auth_timeout,
        verdict_timeout=settings.auth_timeout + settings.laravel_timeout,
        auth_pending_bytes=settings.auth_pending_bytes,
        max_channels=settings.max_channels,
        frames_per_second=settings.frames_per_second,
        bytes_per_second=settings.bytes_per_second,
        datagrams_per_second=settings.datagrams_per_second,
        ping_interval=settings.ping_interval,
        pong_timeout=settings.pong_timeout,
    )


class Gateway:
    """The sessions of this process; a Component."""

    def __init__(
        self,
        settings: Settings,
        appender: Appender,
        telemetry: Telemetry,
        log_problem: Callable[[str], str | None] = lambda key: None,
    ) -> None:
        """`log_problem`: why the server that has a key cannot be used now, or None.

        Sessions are held while that is so of the gateway's own delivery stream, without which they hear of nothing.
        Where another server of a cluster is away, what its sessions send is not acknowledged.
        """
        self.hub = Hub(self._unclaimed)
        self._settings = settings
        self._appender = appender
        self._surroundings = Surroundings(
            settings=settings,
            keys=settings.keys,
            limits=session_limits(settings),
            hub=self.hub,
            appender=appender,
            telemetry=telemetry,
            secrets=GatewaySecrets(settings),
            append_lasting=self._append_lasting,
        )
        self._log_problem = log_problem
        self._outage = Outage(settings.outage_seconds)
        self._watch: asyncio.Task[None] | None = None
        self._draining = False
        self._lasting: set[asyncio.Task[None]] = set()
        self._last: dict[str, asyncio.Task[None]] = {}
        """By session, its append that is repeated until it is confirmed."""

    def admit(self, request: SessionRequest) -> Admission:
        """Whether a session request is for us at all; what a browser must know is said by a close code later."""
        if request.path.partition("?")[0] != self._settings.ingress_path:
            metrics.REFUSED.labels("path").inc()
            return Admission(status=404)
        if self._draining or len(self.hub) >= self._settings.max_sessions:
            metrics.REFUSED.labels("draining" if self._draining else "full").inc()
            return Admission(status=503)
        return Admission()

    def open(self, transport: Transport) -> SessionHandler:
        """The handler of a new session."""
        session = OpenSession(self._surroundings, transport, new_id())
        session.hold(self._outage.is_on)
        return session

    def renamed(self, gateway_id: str) -> None:
        """Everybody else holds this gateway's sessions for over: close them. New ones are those of `gateway_id`."""
        settings = self._settings.model_copy(update={"gateway_id": gateway_id})
        self._surroundings = replace(self._surroundings, settings=settings)
        self.hub.tell(lambda member: member.lost())

    def log_lost(self, places: Collection[str]) -> None:
        """What lay beside the epochs at `places` is gone: sessions come back, so that what they need is there again.

        Where the record of a session is gone, only its gateway can still say which channels it was in.
        """
        self.hub.tell(lambda member: self._missed(member, places))

    def problem(self) -> str | None:
        """Why sessions are not held while the log is away, or None."""
        return f"{self._watch.get_name()} ended" if self._watch is not None and self._watch.done() else None

    async def start(self) -> None:
        """Begin to watch the log."""
        self._watch = asyncio.create_task(self._watch_log(), name="outage-watch")

    async def drain(self) -> None:
        """Close every session with 3001 and wait until their ends are in the log, at most the drain time."""
        self._draining = True
        self._close_all(CloseCode.SHUTDOWN, "the gateway is shutting down: connect again")
        try:
            async with asyncio.timeout(self._settings.drain_seconds):
                await self.hub.empty.wait()
                while self._lasting:
                    await asyncio.wait(self._lasting)
        except TimeoutError:
            log.warning("gateway.drain_incomplete", sessions=len(self.hub), appends=len(self._lasting))

    async def stop(self) -> None:
        """Give up what is not confirmed."""
        await cancel(self._watch, *self._lasting)

    def _missed(self, member: Member, places: Collection[str]) -> None:
        session, channels = member.id, self.hub.channels(member)
        log = self._settings.keys.inbound_of(session)
        member.missed()
        if Keys.epoch(log) not in places:
            return
        for channel in channels:
            left = UnsubscribeRequested(channel=channel, generation=member.generation)
            moment, gateway = now().wall_ms, self._settings.gateway_id
            entry = Entry.of(left, id=new_id(), ts=moment, session=session, gateway=gateway)
            self._append_lasting(log, entry)

    def _close_all(self, code: CloseCode, reason: str) -> None:
        """Not all at once: their clients connect again, each within moments."""
        spread = min(self._settings.drain_seconds / 2, len(self.hub) * DRAIN_PACE_S)
        loop = asyncio.get_running_loop()
        for member in self.hub.members():
            loop.call_later(random.uniform(0, spread), member.disconnect, code, reason)

    async def _watch_log(self) -> None:
        while True:
            try:
                self._look()
            except Exception:  # Without the watch sessions would never be held again, or never be read on.
                log.exception("gateway.watch_broken")
            await asyncio.sleep(WATCH_S)

    def _look(self) -> None:
        """See whether the log is away, and do what follows from it."""
        stream = self._settings.keys.delivery(self._surroundings.settings.gateway_id)
        match self._outage.look(self._log_problem(stream) is not None, now().monotonic):
            case Step.HOLD | Step.RELEASE:
                metrics.LOG_AWAY.set(self._outage.is_on)
                self.hub.tell(lambda member: member.hold(self._outage.is_on))
            case Step.GIVE_UP:
                log.error("gateway.gave_up", sessions=len(self.hub), outage=self._settings.outage_seconds)
                self._close_all(CloseCode.INTERNAL_ERROR, "the log has been away for too long: connect again later")

    def _unclaimed(self, entry: Entry, event: AuthenticatedDelivery) -> None:
        """The session has a connection that is gone already. Only one that was resumed is known to its client."""
        end = SessionDisconnected(
            generation=event.generation,
            code=0,
            reason="the connection was lost before the session was open",
            by="client",
            final=event.generation == FIRST_GENERATION,
        )
        ended = Entry.of(
            end,
            id=of_disconnection(entry.session, event.generation),
            ts=now().wall_ms,
            session=entry.session,
            user=event.user or "",
            gateway=entry.gateway,
            traceparent=entry.traceparent,
            cause=entry.id,
        )
        self._append_lasting(self._settings.keys.inbound_of(entry.session), ended)

    def _append_lasting(self, key: str, entry: Entry) -> None:
        before = self._last.get(entry.session)
        # Queued now, not when the task first runs: what the session sends next must come after it. But a session's end
        # waits for its beginning, which may have to be repeated.
        first = self._appender.append(key, entry) if before is None else None
        task = asyncio.create_task(self._append_until_confirmed(before, first, key, entry))
        self._lasting.add(task)
        self._last[entry.session] = task
        task.add_done_callback(partial(self._lasting_done, entry.session))

    def _lasting_done(self, session: str, task: asyncio.Task[None]) -> None:
        self._lasting.discard(task)
        if self._last.get(session) is task:
            del self._last[session]

    async def _append_until_confirmed(
        self, before: asyncio.Task[None] | None, append: asyncio.Future[str] | None, key: str, entry: Entry
    ) -> None:
        if before is not None:
            await asyncio.wait([before])
        append = append or self._appender.append(key, entry)
        failures = 0
        while True:
            try:
                await append
                return
            except LogUnavailable:
                failures += 1
                await asyncio.sleep(backoff(failures))
                append = self._appender.append(key, entry)
