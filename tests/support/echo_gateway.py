"""A WebTransport listener whose sessions echo, to test transports and clients without a gateway's rules."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from ingress.server.certificates import CertificateFiles
from ingress.server.networks import PerNetwork
from ingress.server.options import ListenerOptions
from ingress.server.quic import QuicListener
from ingress.server.transport import Admission, SessionRequest, Transport
from ingress.server.workers import Place
from tests.support.wt_stream import TIMEOUT


@dataclass
class Echo:
    """Echoes what it gets the way it came, a unidirectional stream on a new one, and obeys a few words."""

    transport: Transport
    calls: list[tuple[object, ...]] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def connected(self, request: SessionRequest) -> None:
        self.calls.append(("connected", request))
        if request.path == "/forbidden":
            self.transport.close(4403, "forbidden")

    def stream_data(self, stream_id: int, data: bytes, ended: bool, bidirectional: bool) -> None:
        self.calls.append(("stream_data", stream_id, len(data), ended))
        match data:
            case b"close":
                self.transport.send(stream_id, b"last words")
                self.transport.close(4400, "tschüß")
            case b"fail":
                raise RuntimeError("a fault in a handler")
            case b"open":
                self.transport.send(self.transport.open_bidirectional(), b"question")
            case b"reset":
                self.transport.reset_stream(stream_id, 4413)
            case b"stop":
                self.transport.stop_stream(stream_id, 17)
            case b"drain":
                self.transport.drain()
            case _ if bidirectional:
                self.transport.send(stream_id, data, ended)
            case _:
                self.transport.send(self.transport.open_unidirectional(), data, True)

    def datagram(self, data: bytes) -> None:
        self.transport.send_datagram(data)

    def stream_reset(self, stream_id: int, code: int) -> None:
        self.calls.append(("stream_reset", stream_id, code))

    def stream_stopped(self, stream_id: int, code: int) -> None:
        self.calls.append(("stream_stopped", stream_id, code))

    def failed(self, code: int, reason: str) -> None:
        self.calls.append(("failed", code, reason))
        self.transport.close(code, reason)

    def closed(self, code: int, reason: str, abrupt: bool) -> None:
        self.calls.append(("closed", code, reason, abrupt))
        self.ended.set()


class EchoGateway:
    """A listener with echoing sessions."""

    def __init__(
        self,
        files: CertificateFiles,
        host: str,
        options: ListenerOptions,
        place: Place | None = None,
        *,
        port: int = 0,
        addresses: PerNetwork[object] | None = None,
    ) -> None:
        self.certificate = files.certificate
        self.sessions: list[Echo] = []
        self.listener = QuicListener(
            host,
            port,
            files,
            self._session,
            admit=self._admit,
            options=options,
            place=place,
            addresses=addresses,
        )

    def _session(self, transport: Transport) -> Echo:
        self.sessions.append(Echo(transport))
        return self.sessions[-1]

    def _admit(self, request: SessionRequest) -> Admission:
        if request.path == "/refused":
            return Admission(403)
        if request.path == "/fault":
            raise RuntimeError("a fault in the decision")
        return Admission(protocol="echo.v1" if "echo.v1" in request.protocols else None)

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"https://{host}:{self.listener.port}{path}"

    async def ended(self, index: int = 0) -> list[tuple[object, ...]]:
        """Wait for a session's end and return everything that its handler was told."""
        await asyncio.wait_for(self.sessions[index].ended.wait(), TIMEOUT)
        return self.sessions[index].calls

    def killed(self) -> int:
        """Take the socket from it without a word, as when its process is killed; its port."""
        endpoint, self.listener._endpoint = self.listener._endpoint, None
        assert endpoint is not None
        endpoint.close()
        for driver in endpoint.drivers:
            driver._terminate()
        return self.listener.port
