"""A client session that costs the load generator little.

aioquic carries the connection, but its HTTP/3 layer is passed by for the one stream that matters, and packets are
read until there are none, so that one transmission answers them all.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import selectors
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final

import orjson
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted, QuicEvent, StreamDataReceived
from aioquic.tls import Epoch

WITHIN_S: Final = 20.0
_PONG: Final = b'{"type":"pong"}\n'
_IDLE_TIMEOUT_S: Final = 3600.0
_SOCKET_BUFFER: Final = 1 << 20
#: As browsers acknowledge: every second packet, at the latest after this time, and with any data that leaves earlier.
#: aioquic by itself sends a packet for the acknowledgement alone, after 1 ms, whatever else it sends.
_ACK_DELAY_S: Final = 0.025
_ACK_EVERY: Final = 2


class ExactSelector(selectors.EpollSelector):
    """epoll with exact timeouts: Python rounds them up to whole milliseconds, which is more than is measured here."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As of the base class."""
        if timeout is not None and timeout > 0:
            select.select([self], [], [], timeout)
            timeout = 0
        return super().select(timeout)


def exact_loop() -> asyncio.AbstractEventLoop:
    """An event loop whose timers fire when they are due."""
    return asyncio.SelectorEventLoop(ExactSelector())


class LoadSession:
    """One session and its control stream: bytes out, lines in."""

    def __init__(self, port: int) -> None:
        """For a server on a UDP `port` of 127.0.0.1."""
        self.name = ""
        self.channel = ""
        self.on_line: Callable[[LoadSession, bytes], None] = LoadSession._ignore
        """Given every line that arrives, other than pings."""
        self.on_data: Callable[[LoadSession, bytes], None] | None = None
        """Given whatever arrives as it comes, in the place of `on_line`."""
        self._loop = asyncio.get_running_loop()
        self._address = ("127.0.0.1", port)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_BUFFER)
        self._socket.connect(self._address)
        configuration = QuicConfiguration(
            is_client=True,
            alpn_protocols=H3_ALPN,
            server_name="localhost",
            verify_mode=ssl.CERT_NONE,
            idle_timeout=_IDLE_TIMEOUT_S,
            max_datagram_frame_size=65_536,
        )
        self._quic = QuicConnection(configuration=configuration)
        self._quic._ack_delay = _ACK_DELAY_S
        self._unacknowledged = 0
        self._must_send = False
        self._h3 = H3Connection(self._quic, enable_webtransport=True)
        self._control = -1
        self._rest = b""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: float | None = None
        self._will_transmit = False
        self._connected: asyncio.Future[None] = self._loop.create_future()
        self._accepted: asyncio.Future[bytes] = self._loop.create_future()

    @staticmethod
    def _ignore(session: LoadSession, line: bytes) -> None:
        pass

    # For benches

    async def open(self, path: str = "/") -> None:
        """Open connection, session and control stream; raises ConnectionError and TimeoutError."""
        self._loop.add_reader(self._socket.fileno(), self._readable)
        async with asyncio.timeout(WITHIN_S):
            self._quic.connect(self._address, now=self._loop.time())
            self._wake()
            await self._connected
            session_id = self._quic.get_next_available_stream_id()
            request = {
                ":method": "CONNECT",
                ":protocol": "webtransport",
                ":scheme": "https",
                ":authority": f"localhost:{self._address[1]}",
                ":path": path,
                "sec-webtransport-http3-draft02": "1",
            }
            self._h3.send_headers(session_id, [(name.encode(), value.encode()) for name, value in request.items()])
            self._wake()
            if (status := await self._accepted) != b"200":
                raise ConnectionError(f"the session was refused with {status.decode()}")
        self._control = self._h3.create_webtransport_stream(session_id)

    def send(self, data: bytes) -> None:
        """Write to the control stream; what is written in one turn of the loop leaves together."""
        self._quic.send_stream_data(self._control, data)
        self._wake()

    def send_datagram(self, data: bytes) -> bool:
        """Send a packet with one datagram, past all of aioquic but its keys; False when the socket took none.

        Nothing holds these packets back but the caller, who can compare `sent_packets` to `acknowledged_packets`.
        """
        quic, keys = self._quic, self._quic._cryptos[Epoch.ONE_RTT]
        number = quic._packet_number
        quic._packet_number += 1
        # A short header with a packet number of two bytes (RFC 9000, section 17.3.1).
        first = 0x40 | keys.key_phase << 2 | 1
        header = bytes([first]) + quic._peer_cid.cid + (number & 0xFFFF).to_bytes(2, "big")
        # DATAGRAM up to the packet's end (RFC 9221, section 4); the session's stream is the connection's first.
        try:
            self._socket.send(keys.encrypt_packet(header, b"\x30\x00" + data, number))
        except OSError:
            return False
        return True

    @property
    def sent_packets(self) -> int:
        """The number of the next packet."""
        return self._quic._packet_number

    @property
    def acknowledged_packets(self) -> int:
        """The highest number of a packet that the server has acknowledged, and one."""
        return self._quic._spaces[Epoch.ONE_RTT].largest_acked_packet + 1

    async def ask(self, frame: dict[str, Any], kind: str) -> dict[str, Any]:
        """Send `frame` and give the next frame of type `kind`; raises ConnectionError when an error comes instead."""
        answer: asyncio.Future[dict[str, Any]] = self._loop.create_future()

        def line_arrived(_: LoadSession, line: bytes) -> None:
            received = orjson.loads(line)
            if not answer.done() and received["type"] in (kind, "error", "auth_failed", "disconnect"):
                answer.set_result(received)

        self.on_line = line_arrived
        self.send(orjson.dumps(frame) + b"\n")
        received = await asyncio.wait_for(answer, WITHIN_S)
        self.on_line = LoadSession._ignore
        if received["type"] != kind:
            raise ConnectionError(f"{frame['type']} was answered with {received}")
        return received

    async def answer_to(self, question: bytes) -> int:
        """Send `question` and give the number that comes back; raises TimeoutError."""
        answer: asyncio.Future[int] = self._loop.create_future()
        self.on_line = lambda _, line: answer.set_result(int(line))
        self.send(question)
        return await asyncio.wait_for(answer, WITHIN_S)

    def close(self) -> None:
        """Close the connection and the socket; waits for nothing."""
        self._quic.close()
        self._must_send = True
        self._transmit()
        self.abandon()

    def abandon(self) -> None:
        """Close the socket without a word."""
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    # Packets

    def _readable(self) -> None:
        now = self._loop.time()
        while True:
            try:
                data = self._socket.recv(65_536)
            except BlockingIOError:
                break
            except OSError:
                # An ICMP error about an earlier packet, which QUIC sends again.
                continue
            self._quic.receive_datagram(data, self._address, now)
            self._unacknowledged += 1
        self._handle_events()

    def _handle_events(self) -> None:
        while (event := self._quic.next_event()) is not None:
            if isinstance(event, StreamDataReceived) and event.stream_id == self._control:
                self._received(event.data)
            else:
                self._other(event)
        self._wake()

    def _received(self, data: bytes) -> None:
        if self.on_data is not None:
            self.on_data(self, data)
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b'{"type":"ping"'):
                self.send(_PONG)
            else:
                self.on_line(self, line)

    def _other(self, event: QuicEvent) -> None:
        if isinstance(event, HandshakeCompleted):
            self._connected.set_result(None)
        elif isinstance(event, ConnectionTerminated):
            error = ConnectionError(f"the connection ended: {event.error_code:#x} {event.reason_phrase}")
            for waiting in (self._connected, self._accepted):
                if not waiting.done():
                    waiting.set_exception(error)
        for h3_event in self._h3.handle_event(event):
            if isinstance(h3_event, HeadersReceived) and not self._accepted.done():
                self._accepted.set_result(dict(h3_event.headers)[b":status"])

    def _wake(self) -> None:
        if not self._will_transmit:
            self._will_transmit = True
            self._loop.call_soon(self._transmit)

    def _transmit(self) -> None:
        self._will_transmit = False
        if self._socket.fileno() < 0:
            return
        now = self._loop.time()
        if self._has_to_send(now):
            for data, _ in self._quic.datagrams_to_send(now=now):
                # What a full buffer does not take is a lost packet to QUIC.
                with contextlib.suppress(OSError):
                    self._socket.send(data)
        timer_at = self._quic.get_timer()
        if timer_at != self._timer_at or self._timer is None:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = timer_at
            self._timer = None if timer_at is None else self._loop.call_at(timer_at, self._timer_fired)

    def _has_to_send(self, now: float) -> bool:
        """Whether asking aioquic is worth it, which costs as much when there is nothing."""
        if self._control < 0:
            return True
        # Data waits when it is new, was lost, or did not fit the congestion window before.
        has_data = not self._quic._streams[self._control].sender.buffer_is_empty
        space = self._quic._spaces[Epoch.ONE_RTT]
        if space.ack_at is not None and (has_data or self._unacknowledged >= _ACK_EVERY):
            space.ack_at = now
        due = has_data or self._must_send or (space.ack_at is not None and space.ack_at <= now)
        if due:
            self._must_send = False
            self._unacknowledged = 0
        return due

    def _timer_fired(self) -> None:
        self._timer = None
        self._must_send = True
        self._quic.handle_timer(now=self._loop.time())
        self._handle_events()
