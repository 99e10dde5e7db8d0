"""A bare aioquic server in aioquic's own asyncio shell: the floor.

It echoes what WebTransport streams bring; in a session at the path "/ack" it answers each line with one as long as an
ack. Datagrams are counted, and COUNT as all that a stream brings is answered with their number.

`python -m bench.support.echo PORT FOLDER` listens on 127.0.0.1, with a certificate that it keeps in FOLDER.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DatagramReceived, HeadersReceived, WebTransportStreamDataReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ProtocolNegotiated, QuicEvent

from ingress.server.certificates import development_certificate

LISTENING: Final = "echo: listening"
#: Asks how many datagrams the connection has brought.
COUNT: Final = b"count\n"
_ACK: Final = b'{"type":"ack","id":"12345678","event":"01890a5d-ac96-774b-bcce-b302099a8057"}\n'
#: Longer than any bench leaves a session alone (seconds).
_IDLE_TIMEOUT_S: Final = 3600.0


class Echo(QuicConnectionProtocol):
    """Accepts every session and answers on its streams."""

    _h3: H3Connection | None = None
    _acknowledges = False
    _datagrams = 0

    def quic_event_received(self, event: QuicEvent) -> None:
        """Answer; the shell transmits after each packet."""
        if isinstance(event, ProtocolNegotiated):
            self._h3 = H3Connection(self._quic, enable_webtransport=True)
        if self._h3 is None:
            return
        for h3_event in self._h3.handle_event(event):
            if isinstance(h3_event, WebTransportStreamDataReceived):
                self._quic.send_stream_data(h3_event.stream_id, self._answer(h3_event.data), h3_event.stream_ended)
            elif isinstance(h3_event, DatagramReceived):
                self._datagrams += 1
            elif isinstance(h3_event, HeadersReceived):
                self._acknowledges = dict(h3_event.headers)[b":path"] == b"/ack"
                self._h3.send_headers(h3_event.stream_id, [(b":status", b"200")])

    def _answer(self, data: bytes) -> bytes:
        if data == COUNT:
            return b"%d\n" % self._datagrams
        return _ACK * data.count(b"\n") if self._acknowledges else data


async def main(port: int, folder: Path) -> None:
    """Serve until the process is ended."""
    files = development_certificate(folder, datetime.now(UTC)).load()
    configuration = QuicConfiguration(
        is_client=False,
        alpn_protocols=H3_ALPN,
        certificate=files.certificate,
        certificate_chain=list(files.chain),
        private_key=files.private_key,
        idle_timeout=_IDLE_TIMEOUT_S,
        max_datagram_frame_size=65_536,
    )
    await serve("127.0.0.1", port, configuration=configuration, create_protocol=Echo)
    print(LISTENING, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2])))
