"""A small WebTransport client for tests and benches, on aioquic.

    async with await connect(f"https://localhost:{port}/", origin="http://localhost:8080") as client:
        stream = await client.open_bidirectional()
        stream.write(b'{"type": "ping"}')
        answer = await stream.read_json()

Every wait has a deadline of `within` seconds, after which TimeoutError is raised.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3 import events as h3_events
from aioquic.h3.connection import H3_ALPN, FrameType, H3Connection
from aioquic.quic import events as quic_events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection, QuicConnectionState, stream_is_client_initiated
from cryptography.hazmat.primitives import hashes

from ingress.webtransport.capsules import CapsuleReader, Close, Drain, encode
from ingress.webtransport.codes import from_http3, to_http3
from tests.support.wt_stream import TIMEOUT, ClientStream, StreamResetError

__all__ = [
    "ClientStream",
    "Closed",
    "SessionRefusedError",
    "StreamResetError",
    "WebTransportClient",
    "connect",
]


class SessionRefusedError(Exception):
    """The server answered the request for a session with another status than 200."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the server answered {status}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Closed:
    """How a session ended."""

    code: int
    reason: str
    abrupt: bool = False
    """The QUIC connection ended before the session was closed."""


class _Link(QuicConnectionProtocol):
    """Carries the packets of one client."""

    def __init__(self, configuration: QuicConfiguration) -> None:
        super().__init__(QuicConnection(configuration=configuration))
        self.client = WebTransportClient(self)

    def datagram_received(self, data: bytes | str, addr: Any) -> None:
        self.client.packets_received += 1
        if data[-16:] == self._quic._peer_cid.stateless_reset_token:
            # aioquic takes no notice of a stateless reset (RFC 9000, section 10.3.1).
            self.client._was_reset()
            return
        super().datagram_received(data, addr)

    def quic_event_received(self, event: quic_events.QuicEvent) -> None:
        self.client._receive(event)

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def drop(self) -> None:
        """Close the socket and stop the clock, whatever the connection still wants to send."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.abort()


class WebTransportClient:
    """One session, on a QUIC connection of its own. Made by `connect`."""

    def __init__(self, link: _Link) -> None:
        loop = asyncio.get_running_loop()
        self.protocol: str | None = None
        """The application protocol that the server chose."""
        self.drained = asyncio.Event()
        """Set when the server asked to bring the session to an end."""
        self.refused_streams: list[tuple[int, int]] = []
        """Streams that the server stopped with a code of HTTP/3: (stream id, code)."""
        self.packets_received = 0
        """UDP packets from the server, of any kind."""
        self.was_reset = False
        """Whether the server said that it knows nothing of the connection."""
        self.connection_error: quic_events.ConnectionTerminated | None = None
        self._link = link
        self._quic = link._quic
        self._h3 = H3Connection(self._quic, enable_webtransport=True)
        self._session_id = -1
        self._streams: dict[int, ClientStream] = {}
        self._accepted: asyncio.Queue[ClientStream] = asyncio.Queue()
        self._datagrams: asyncio.Queue[bytes] = asyncio.Queue()
        self._capsules = CapsuleReader()
        self._answer: asyncio.Future[int] = loop.create_future()
        self._ended: asyncio.Future[Closed] = loop.create_future()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.disconnect()

    async def open_bidirectional(self) -> ClientStream:
        """Open a stream both write on."""
        stream_id = self._h3.create_webtransport_stream(self._session_id)
        # aioquic would take the server's bytes on it for HTTP/3 frames.
        with self._h3._get_or_create_stream(stream_id) as stream:
            stream.frame_type = FrameType.WEBTRANSPORT_STREAM
            stream.session_id = self._session_id
        self._link._transmit_soon()
        return self._stream(stream_id)

    async def open_unidirectional(self) -> ClientStream:
        """Open a stream that only this side writes on."""
        stream_id = self._h3.create_webtransport_stream(self._session_id, is_unidirectional=True)
        self._link._transmit_soon()
        return self._stream(stream_id)

    async def accept_stream(self, within: float = TIMEOUT) -> ClientStream:
        """The next stream that the server opened, in order of their first bytes."""
        return await asyncio.wait_for(self._accepted.get(), within)

    def send_datagram(self, data: bytes) -> None:
        """Send unreliably; at most about 1,150 bytes."""
        self._h3.send_datagram(self._session_id, data)
        self._link._transmit_soon()

    async def receive_datagram(self, within: float = TIMEOUT) -> bytes:
        """The next datagram."""
        return await asyncio.wait_for(self._datagrams.get(), within)

    def close(self, code: int = 0, reason: str = "") -> None:
        """End the session with an application code and reason; the connection stays for `disconnect`."""
        if not self._ended.done():
            self._h3.send_data(self._session_id, encode(Close(code, reason)), end_stream=True)
            self._ended.set_result(Closed(code, reason))
            self._link._transmit_soon()

    async def wait_closed(self, within: float = TIMEOUT) -> Closed:
        """How the session ended, by either side."""
        return await asyncio.wait_for(asyncio.shield(self._ended), within)

    async def wait_disconnected(self, within: float = TIMEOUT) -> None:
        """The QUIC connection is closed; `connection_error` says how."""
        await asyncio.wait_for(self._link.wait_closed(), within)

    async def disconnect(self, error_code: int = 0x100) -> None:
        """Close the QUIC connection, without a word about the session."""
        if not self._link.is_open:
            return
        self._link.close(error_code=error_code)
        with contextlib.suppress(TimeoutError):
            await self.wait_disconnected()
        self._link.drop()

    def vanish(self) -> None:
        """Close the socket and tell nobody, as a machine does that loses its power."""
        self._link.drop()

    @property
    def certificate_hash(self) -> bytes:
        """SHA-256 of the certificate that the server showed."""
        certificate = self._quic.tls._peer_certificate
        return certificate.fingerprint(hashes.SHA256()) if certificate else b""

    @property
    def is_disconnected(self) -> bool:
        """Whether the QUIC connection has ended, or is about to."""
        return self._quic._state not in (QuicConnectionState.FIRSTFLIGHT, QuicConnectionState.CONNECTED)

    # From aioquic

    def _receive(self, event: quic_events.QuicEvent) -> None:
        match event:
            case quic_events.StreamReset(error_code=error, stream_id=stream_id):
                if stream_id in self._streams:
                    self._streams[stream_id].fail(StreamResetError(from_http3(error)))
            case quic_events.StopSendingReceived(error_code=error, stream_id=stream_id):
                code = from_http3(error)
                if code is None:
                    self.refused_streams.append((stream_id, error))
                if stream_id in self._streams and not self._streams[stream_id].stopped.done():
                    self._streams[stream_id].stopped.set_result(code)
            case quic_events.ConnectionTerminated():
                self.connection_error = event
                self._session_ended(Closed(0, "", abrupt=True))
        for h3_event in self._h3.handle_event(event):
            self._http(h3_event)

    def _was_reset(self) -> None:
        self.was_reset = True
        self._session_ended(Closed(0, "", abrupt=True))
        self._link.drop()

    def _http(self, event: h3_events.H3Event) -> None:
        match event:
            case h3_events.HeadersReceived(headers=headers, stream_id=stream_id, stream_ended=ended):
                if stream_id == self._session_id:
                    self._answered(dict(headers))
                    if ended:
                        self._session_ended(Closed(0, ""))
            case h3_events.DataReceived(data=data, stream_id=stream_id, stream_ended=ended):
                if stream_id == self._session_id:
                    self._capsule_bytes(data, ended)
            case h3_events.WebTransportStreamDataReceived(data=data, stream_id=stream_id, stream_ended=ended):
                self._stream(stream_id).feed(data, ended)
            case h3_events.DatagramReceived(data=data):
                self._datagrams.put_nowait(data)

    def _answered(self, headers: dict[bytes, bytes]) -> None:
        if b"wt-protocol" in headers:
            self.protocol = json.loads(headers[b"wt-protocol"])
        if not self._answer.done():
            self._answer.set_result(int(headers[b":status"]))

    def _capsule_bytes(self, data: bytes, ended: bool) -> None:
        for capsule in self._capsules.feed(data):
            match capsule:
                case Drain():
                    self.drained.set()
                case Close(code, reason):
                    self._session_ended(Closed(code, reason))
        if ended:
            self._session_ended(Closed(0, ""))

    def _session_ended(self, closed: Closed) -> None:
        if not self._answer.done():
            self._answer.set_exception(ConnectionError("the connection ended before the answer"))
            self._answer.exception()
        if not self._ended.done():
            self._ended.set_result(closed)
            # A client answers the end of a session with its own FIN at once (draft, section 6).
            if not closed.abrupt:
                self._quic.send_stream_data(self._session_id, b"", end_stream=True)
                self._link._transmit_soon()

    def _stream(self, stream_id: int) -> ClientStream:
        stream = self._streams.get(stream_id)
        if stream is None:
            stream = self._streams[stream_id] = ClientStream(self, stream_id)
            if not stream_is_client_initiated(stream_id):
                self._accepted.put_nowait(stream)
        return stream

    # For ClientStream and connect

    def write_stream(self, stream_id: int, data: bytes, end: bool) -> None:
        self._quic.send_stream_data(stream_id, data, end)
        self._link._transmit_soon()

    def reset_stream(self, stream_id: int, code: int) -> None:
        self._quic.reset_stream(stream_id, to_http3(code))
        self._link._transmit_soon()

    def stop_stream(self, stream_id: int, code: int) -> None:
        self._quic.stop_stream(stream_id, to_http3(code))
        self._link._transmit_soon()

    def _request(self, authority: str, path: str, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self._session_id = self._quic.get_next_available_stream_id()
        self._h3.send_headers(
            self._session_id,
            [
                (b":method", b"CONNECT"),
                (b":protocol", b"webtransport"),
                (b":scheme", b"https"),
                (b":authority", authority.encode()),
                (b":path", path.encode()),
                *headers,
            ],
        )
        self._link._transmit_soon()


def request_headers(
    origin: str | None = None, protocols: Iterable[str] = (), user_agent: str | None = None
) -> list[tuple[bytes, bytes]]:
    """The headers beyond the pseudo-headers that a browser would send."""
    headers = [(b"sec-webtransport-http3-draft02", b"1")]
    if origin is not None:
        headers.append((b"origin", origin.encode()))
    if user_agent is not None:
        headers.append((b"user-agent", user_agent.encode()))
    quoted = ", ".join(f'"{protocol}"' for protocol in protocols)
    if quoted:
        headers.append((b"wt-available-protocols", quoted.encode()))
    return headers


async def connect(
    url: str,
    *,
    origin: str | None = None,
    protocols: Iterable[str] = (),
    user_agent: str | None = None,
    ca_file: str | None = None,
    idle_timeout: float = 30.0,
    request: bool = True,
    within: float = TIMEOUT,
    source: str | None = None,
    window: int | None = None,
) -> WebTransportClient:
    """Open a session at an https URL.

    Without `ca_file` the server's certificate is not verified; without `request` there is a connection but
    no session. `source` is the local address to connect from; `window` is how many bytes the server may send at
    first, in place of aioquic's 1 MiB. Raises SessionRefusedError with the server's
    status, ConnectionError when the connection ends before the answer, and TimeoutError.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "localhost", parts.port or 443
    configuration = QuicConfiguration(
        is_client=True,
        alpn_protocols=H3_ALPN,
        server_name=host,
        idle_timeout=idle_timeout,
        max_datagram_frame_size=65_536,
        verify_mode=ssl.CERT_NONE if ca_file is None else ssl.CERT_REQUIRED,
        cafile=ca_file,
    )
    if window is not None:
        configuration.max_data = configuration.max_stream_data = window
    loop = asyncio.get_running_loop()
    family, _, _, _, address = (await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM))[0]
    _, link = await loop.create_datagram_endpoint(
        lambda: _Link(configuration),
        local_addr=(source or ("::" if family == socket.AF_INET6 else "0.0.0.0"), 0),
    )
    client = link.client
    try:
        async with asyncio.timeout(within):
            link.connect(address)
            await link.wait_connected()
            if not request:
                return client
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            client._request(parts.netloc, path, request_headers(origin, protocols, user_agent))
            status = await client._answer
    except BaseException:
        await client.disconnect()
        raise
    if status != 200:
        await client.disconnect()
        raise SessionRefusedError(status)
    return client
