"""Our own UDP input and output and WebTransport layer, without sessions, hub and log: the floor of a fan-out.

`python -m bench.support.floor PORT FOLDER` listens on 127.0.0.1. What one session writes on a stream goes to every
other session, on the stream that it wrote on last.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from bench.support.echo import LISTENING
from ingress.server.certificates import development_certificate
from ingress.server.options import ListenerOptions
from ingress.server.quic import QuicListener
from ingress.server.transport import Admission, SessionRequest, Transport

_streams: dict[Transport, int] = {}


class Fanned:
    """One session; a SessionHandler."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def connected(self, request: SessionRequest) -> None: ...

    def stream_data(self, stream_id: int, data: bytes, ended: bool, bidirectional: bool) -> None:
        """The first bytes say where this session reads, later ones are for the others."""
        if self._transport not in _streams:
            _streams[self._transport] = stream_id
            return
        for transport, stream in _streams.items():
            if transport is not self._transport:
                transport.send(stream, data)

    def datagram(self, data: bytes) -> None: ...

    def stream_reset(self, stream_id: int, code: int) -> None: ...

    def stream_stopped(self, stream_id: int, code: int) -> None: ...

    def failed(self, code: int, reason: str) -> None: ...

    def closed(self, code: int, reason: str, abrupt: bool) -> None:
        """Nothing goes to it any more."""
        _streams.pop(self._transport, None)


async def main(port: int, folder: Path) -> None:
    """Serve until the process is ended."""
    files = development_certificate(folder, datetime.now(UTC))
    options = ListenerOptions(max_handshakes=0)
    listener = QuicListener("127.0.0.1", port, files, Fanned, admit=lambda _: Admission(), options=options)
    await listener.start()
    print(LISTENING, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), Path(sys.argv[2])))
