"""One QUIC connection: packets in, packets out, its timer, and the session on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import structlog
from aioquic.quic import events as quic_events

from ingress.server.deadlines import Deadlines
from ingress.server.options import ListenerCounters, ListenerOptions
from ingress.server.session import QuicSession
from ingress.server.transport import Admit, SessionFactory
from ingress.webtransport import WebTransportConnection
from ingress.webtransport.codes import H3Error
from ingress.webtransport.private import LastingQuicConnection

_log = structlog.get_logger(__name__)

NetworkAddress = tuple[Any, ...]
"""As the socket module gives it: host, port, and for IPv6 two more."""


class Wire(Protocol):
    """What a connection needs of the socket it shares with the others."""

    @property
    def deadlines(self) -> Deadlines:
        """Who calls `timer_fired`."""
        ...

    def send(self, data: bytes, address: NetworkAddress) -> None:
        """Send one packet, or lose it."""
        ...

    def transmit_soon(self, driver: ConnectionDriver) -> None:
        """Have `driver.transmit` called once, at the end of the loop turn."""
        ...

    def id_issued(self, connection_id: bytes, driver: ConnectionDriver) -> None:
        """Packets to this connection id are the driver's from now on."""
        ...

    def id_retired(self, connection_id: bytes) -> None:
        """They no longer are."""
        ...

    def set_up(self, driver: ConnectionDriver) -> None:
        """The client has asked for a session."""
        ...

    def gone(self, driver: ConnectionDriver) -> None:
        """The connection needs no packet any more."""
        ...


class ConnectionDriver:
    """Tells aioquic the time and carries its packets. A fault in here ends this connection alone."""

    def __init__(
        self,
        quic: LastingQuicConnection,
        wire: Wire,
        *,
        factory: SessionFactory,
        admit: Admit,
        options: ListenerOptions,
        counters: ListenerCounters,
    ) -> None:
        self._quic = quic
        self._wire = wire
        self._counters = counters
        self._loop = asyncio.get_running_loop()
        self.timer_at: float | None = None
        """When `timer_fired` is due; kept by the wire's deadlines."""
        self._now = self._loop.time()
        self._written = True
        """Whether there is more to send than what answers the client's packets."""
        self._terminated = False
        self._set_up = False
        self._setup = self._loop.call_later(options.setup_timeout, self._setup_expired)
        self.session = QuicSession(
            WebTransportConnection(
                quic, early=options.early, max_pending_datagrams=options.max_pending_datagrams, counters=counters
            ),
            wake=self._wake,
            address=self._remote_address,
            factory=factory,
            admit=admit,
            options=options,
            counters=counters,
        )

    def packet_received(self, data: bytes, address: NetworkAddress) -> None:
        """Read one packet. What it means comes out of `process`, once per batch of packets."""
        try:
            self._quic.receive_datagram(data, address, now=self._tick())
        except Exception:  # As in `_guard`, without a closure for each packet.
            self._failed()

    def process(self) -> None:
        """Handle everything that the packets or the timer brought about, and answer."""
        self._guard(self._handle_events)
        self._wire.transmit_soon(self)

    def transmit(self) -> None:
        """Send what is due and set the timer."""
        self._guard(self._transmit)

    def _handle_events(self) -> None:
        while (event := self._quic.next_event()) is not None:
            match event:
                case quic_events.ConnectionIdIssued(connection_id=connection_id):
                    self._wire.id_issued(connection_id, self)
                case quic_events.ConnectionIdRetired(connection_id=connection_id):
                    self._wire.id_retired(connection_id)
                case quic_events.ConnectionTerminated():
                    self._counters.violations += self._quic.violated
                    self.session.receive(event)
                    self._terminate()
                    return
                case _:
                    self.session.receive(event)
        self.session.progress()
        self._counters.datagrams_overrun += self._quic.overrun
        self._quic.overrun = 0
        if not self._set_up and not self.session.awaits_request:
            self._set_up = True
            self._quic.keep_alive()
            self._quic.forget_handshake()
            self._wire.set_up(self)

    def _transmit(self) -> None:
        if self._terminated:
            return
        now = self._tick()
        if self._written or self._quic.has_to_send(now):
            self._written = False
            self._quic.answers_now(now)
            for data, address in self._quic.datagrams_to_send(now=now):
                self._wire.send(data, address)
        timer_at = self._quic.get_timer()
        # A deadline that moved back is looked at when the old one has come: most of them move with every packet.
        if timer_at is not None and (self.timer_at is None or timer_at < self.timer_at):
            self._wire.deadlines.set(self, timer_at)

    def timer_fired(self, at: float) -> None:
        """The deadline `at` has come, or nearly."""
        # A coarse clock (uvloop's has 1 ms) fires early; unless the deadline itself counts as now, what is
        # due is not, and the timer is set again and again.
        self._now = max(self._now, at)
        self._guard(self._on_time)

    def _on_time(self) -> None:
        timer_at = self._quic.get_timer()
        if timer_at is not None and timer_at > self._tick():
            self._wire.deadlines.set(self, timer_at)
            return
        self._quic.handle_timer(now=self._now)
        self._written = True
        self.process()

    def _tick(self) -> float:
        self._now = max(self._now, self._loop.time())
        return self._now

    def _setup_expired(self) -> None:
        if self.session.awaits_request:
            self.session.disconnect()

    def _guard(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception:  # aioquic or this package failed on what this client sent: the others go on.
            self._failed()

    def _failed(self) -> None:
        self._counters.connection_errors += 1
        _log.exception("connection_failed", remote_address=self._remote_address())
        self._abandon()

    def _abandon(self) -> None:
        """Leave a connection whose state cannot be trusted; the client learns of it if that still works."""
        if self._terminated:
            return
        self._terminate()
        try:
            self._quic.close(error_code=H3Error.INTERNAL_ERROR)
            for data, address in self._quic.datagrams_to_send(now=self._tick()):
                self._wire.send(data, address)
            self.session.receive(quic_events.ConnectionTerminated(H3Error.INTERNAL_ERROR, None, ""))
        except Exception:
            # Whatever failed first may fail here again, and is logged already.
            _log.debug("connection_abandoned", exc_info=True)

    def _terminate(self) -> None:
        self._terminated = True
        self._setup.cancel()
        self._wire.deadlines.forget(self)
        self.session.release()
        self._wire.gone(self)

    def _wake(self) -> None:
        if not self._terminated:
            self._written = True
            self._wire.transmit_soon(self)

    def _remote_address(self) -> str:
        address = self._quic.get_peer_address()
        return "" if address is None else str(address[0]).removeprefix("::ffff:")
