"""A client and a server in memory: their packets are carried by hand, and the time is what the test says."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable
from typing import TypeVar

from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import H3_ALPN, FrameType, H3Connection, Setting, encode_frame
from aioquic.h3.events import DatagramReceived, DataReceived, H3Event, HeadersReceived
from aioquic.h3.events import WebTransportStreamDataReceived as ClientStreamData
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import (
    ConnectionTerminated,
    ProtocolNegotiated,
    QuicEvent,
    StreamReset,
)

from ingress.server.certificates import TlsIdentity
from ingress.webtransport import (
    EarlyLimits,
    SessionRequested,
    WebTransportConnection,
    WebTransportEvent,
)
from ingress.webtransport.capsules import CapsuleReader, Close, encode
from ingress.webtransport.private import FlowLimits, LastingQuicConnection

CLIENT, SERVER = ("192.0.2.1", 1000), ("192.0.2.2", 4433)

Kind = TypeVar("Kind")


class LateSettings(H3Connection):
    """A client whose SETTINGS are sent when the test says so."""

    def _init_connection(self) -> None:
        self._local_encoder_stream_id = self._create_uni_stream(2)
        self._local_decoder_stream_id = self._create_uni_stream(3)

    def send_settings(self) -> None:
        control = self._create_uni_stream(0)
        settings = b"".join(map(encode_uint_var, (Setting.H3_DATAGRAM, 1, Setting.ENABLE_WEBTRANSPORT, 1)))
        self._quic.send_stream_data(control, encode_frame(FrameType.SETTINGS, settings))


class Pair:
    """`server` is what is tested, `h3` and `client` are aioquic's own."""

    def __init__(
        self,
        identity: TlsIdentity,
        *,
        limits: FlowLimits | None = None,
        early: EarlyLimits | None = None,
        max_pending_datagrams: int = 256,
        client_datagrams: bool = True,
        late_settings: bool = False,
        reset_token: Callable[[bytes], bytes] | None = None,
    ) -> None:
        flow = limits or FlowLimits()
        self.now = 0.0
        self.client = QuicConnection(
            configuration=QuicConfiguration(
                alpn_protocols=H3_ALPN,
                verify_mode=ssl.CERT_NONE,
                max_datagram_frame_size=65_536 if client_datagrams else None,
            )
        )
        self.quic = LastingQuicConnection(
            limits=flow,
            reset_token=reset_token,
            configuration=QuicConfiguration(
                is_client=False,
                alpn_protocols=H3_ALPN,
                certificate=identity.certificate,
                private_key=identity.private_key,
                max_datagram_frame_size=65_536,
                max_data=flow.connection_window,
                max_stream_data=flow.stream_window,
            ),
            original_destination_connection_id=self.client.original_destination_connection_id,
        )
        self.server = WebTransportConnection(self.quic, early=early, max_pending_datagrams=max_pending_datagrams)
        self.events: list[WebTransportEvent] = []
        self.client_events: list[QuicEvent | H3Event] = []
        self.session_id = -1
        self.capsules = CapsuleReader()
        self._h3_type = LateSettings if late_settings else H3Connection
        self._client_datagrams = client_datagrams
        self.client.connect(SERVER, now=self.now)

    # Time and packets

    def run(self) -> None:
        """Carry packets both ways until neither side has any to send."""
        quiet = 0
        while quiet < 4:
            self.now += 0.01
            carried = self._carry(self.client, self.quic, CLIENT) + self._carry(self.quic, self.client, SERVER)
            quiet = 0 if carried else quiet + 1

    def _carry(self, source: QuicConnection, target: QuicConnection, address: tuple[str, int]) -> int:
        timer = source.get_timer()
        if timer is not None and timer <= self.now:
            source.handle_timer(self.now)
        packets = source.datagrams_to_send(self.now)
        for data, _ in packets:
            target.receive_datagram(data, address, self.now)
        self.handle_events()
        return len(packets)

    def deliver(self) -> None:
        """Carry what the client has to send, and handle no event yet."""
        for data, _ in self.client.datagrams_to_send(self.now):
            self.quic.receive_datagram(data, CLIENT, self.now)

    def handle_events(self) -> None:
        """Have both sides take in what happened to them."""
        while (event := self.quic.next_event()) is not None:
            self.events += self.server.receive(event)
        self.handle_client_events()

    def handle_client_events(self) -> None:
        """Have the client take in what happened to it."""
        while (event := self.client.next_event()) is not None:
            if isinstance(event, ProtocolNegotiated):
                self.h3 = self._h3_type(self.client, enable_webtransport=self._client_datagrams)
            else:
                self.client_events.append(event)
                self.client_events += self.h3.handle_event(event)

    def lose_client(self) -> None:
        """Let the idle timeout pass with no packet from the client."""
        self.now += 120
        if self.quic.get_timer() is not None:
            self.quic.handle_timer(self.now)
        self.handle_events()

    # What the client does

    def request(self, *headers: tuple[bytes, bytes], protocol: bytes = b"webtransport", path: bytes = b"/") -> int:
        """Send CONNECT and return its stream id."""
        return self.request_on(self.client.get_next_available_stream_id(), *headers, protocol=protocol, path=path)

    def request_on(
        self,
        stream_id: int,
        *headers: tuple[bytes, bytes],
        protocol: bytes = b"webtransport",
        path: bytes = b"/",
    ) -> int:
        """Send CONNECT on this stream."""
        pseudo = [
            (b":method", b"CONNECT"),
            (b":protocol", protocol),
            (b":scheme", b"https"),
            (b":authority", b"headgate.test"),
            (b":path", path),
        ]
        self.h3.send_headers(stream_id, [*pseudo, *headers])
        return stream_id

    def open_session(self) -> None:
        """Open a session and forget the events of it."""
        self.session_id = self.request()
        self.run()
        self.take(SessionRequested)
        self.events += self.server.accept()
        self.run()
        self.take_client(HeadersReceived)

    def client_stream(self, data: bytes = b"", *, unidirectional: bool = False, end: bool = False) -> int:
        """Open a stream of the session from the client, marked as aioquic forgets to."""
        stream_id = self.h3.create_webtransport_stream(self.session_id, is_unidirectional=unidirectional)
        if not unidirectional:
            with self.h3._get_or_create_stream(stream_id) as stream:
                stream.frame_type = FrameType.WEBTRANSPORT_STREAM
                stream.session_id = self.session_id
        if data or end:
            self.client.send_stream_data(stream_id, data, end)
        return stream_id

    def client_close(self, code: int, reason: str) -> None:
        """Send the CLOSE capsule and end the CONNECT stream."""
        self.h3.send_data(self.session_id, encode(Close(code, reason)), end_stream=True)

    # What happened

    def take(self, kind: type[Kind]) -> Kind:
        """The server's next event, which has to be of this kind."""
        event = self.events.pop(0)
        assert isinstance(event, kind), f"{event} is no {kind.__name__}"
        return event

    def take_client(self, kind: type[Kind], stream_id: int | None = None) -> Kind:
        """The first of the client's events that is of this kind, about this stream if one is given."""
        for event in self.client_events:
            if isinstance(event, kind) and stream_id in (None, getattr(event, "stream_id", None)):
                self.client_events.remove(event)
                return event
        raise AssertionError(f"no {kind.__name__} among {self.client_events}")

    def client_received(self, stream_id: int) -> tuple[bytes, bool]:
        """Everything the client received on a stream, and whether that was all."""
        parts = [
            event
            for event in self.client_events
            if isinstance(event, ClientStreamData | DataReceived) and event.stream_id == stream_id
        ]
        return b"".join(part.data for part in parts), any(part.stream_ended for part in parts)

    def client_datagrams(self) -> list[bytes]:
        """The datagrams that the client received."""
        return [event.data for event in self.client_events if isinstance(event, DatagramReceived)]

    def connection_error(self) -> int:
        """The code that the server closed the connection with; the client's draining period passes."""
        timer = self.client.get_timer()
        if timer is not None:
            self.now = max(self.now, timer)
            self.client.handle_timer(self.now)
            self.handle_events()
        return self.take_client(ConnectionTerminated).error_code

    def client_reset(self, stream_id: int) -> int:
        """The code of HTTP/3 that the server reset a stream with."""
        return self.take_client(StreamReset, stream_id).error_code

    def headers(self, stream_id: int) -> dict[bytes, bytes]:
        """The headers that a request was answered with."""
        return dict(self.take_client(HeadersReceived, stream_id).headers)

    def status(self, stream_id: int) -> int:
        """The HTTP status that a request was answered with."""
        return int(self.headers(stream_id)[b":status"])


def events_of(events: Iterable[object], kind: type[Kind]) -> list[Kind]:
    """Those of one kind."""
    return [event for event in events if isinstance(event, kind)]
