"""A bare aioquic server in aioquic's own asyncio shell, which echoes what WebTransport streams bring: the floor.

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
from aioquic.h3.events import HeadersReceived, WebTransportStreamDataReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ProtocolNegotiated, QuicEvent

from ingress.server.certificates import development_certificate

LISTENING: Final = "echo: listening"
#: Longer than any bench leaves a session alone (seconds).
_IDLE_TIMEOUT_S: Final = 3600.0


class Echo(QuicConnectionProtocol):
    """Accepts every session and sends stream data back on its stream."""

    _h3: H3Connection | None = None

    def quic_event_received(self, event: QuicEvent) -> None:
        """Answer; the shell transmits after each packet."""
        if isinstance(event, ProtocolNegotiated):
            self._h3 = H3Connection(self._quic, enable_webtransport=True)
        if self._h3 is None:
            return
        for h3_event in self._h3.handle_event(event):
            if isinstance(h3_event, WebTransportStreamDataReceived):
                self._quic.send_stream_data(h3_event.stream_id, h3_event.data, h3_event.stream_ended)
            elif isinstance(h3_event, HeadersReceived):
                self._h3.send_headers(h3_event.stream_id, [(b":status", b"200")])


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
