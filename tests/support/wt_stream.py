"""One stream of the WebTransport client in `wt_client`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final, Protocol

from tests.support.waiting import PATIENCE

#: Of each wait (seconds).
TIMEOUT: Final = 5.0 * PATIENCE


class StreamCarrier(Protocol):
    """What a stream needs of its client."""

    def write_stream(self, stream_id: int, data: bytes, end: bool) -> None: ...

    def reset_stream(self, stream_id: int, code: int) -> None: ...

    def stop_stream(self, stream_id: int, code: int) -> None: ...


class StreamResetError(Exception):
    """The server reset the stream that is being read."""

    def __init__(self, code: int | None) -> None:
        super().__init__(f"the stream was reset with code {code}")
        self.code = code
        """Application code, or None when the server's was not in the application's range."""


class ClientStream:
    """One stream of a session; which of its methods make sense depends on its kind and who opened it."""

    def __init__(self, client: StreamCarrier, stream_id: int) -> None:
        self.id = stream_id
        self.stopped: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        """Done when the server asks to stop sending: the application code, None if it had none."""
        self._client = client
        self._buffer = bytearray()
        self._ended = False
        self._reset: StreamResetError | None = None
        self._arrived = asyncio.Event()

    @property
    def is_bidirectional(self) -> bool:
        return not self.id & 2

    def write(self, data: bytes, end: bool = False) -> None:
        """Send bytes; `end` closes this side's half."""
        self._client.write_stream(self.id, data, end)

    def write_json(self, frame: object, end: bool = False) -> None:
        """Send one frame as JSON, followed by a newline."""
        self.write(json.dumps(frame).encode() + b"\n", end)

    def reset(self, code: int) -> None:
        """Abandon this side's half with an application code."""
        self._client.reset_stream(self.id, code)

    def stop(self, code: int) -> None:
        """Ask the server to stop sending, with an application code."""
        self._client.stop_stream(self.id, code)

    async def read(self, within: float = TIMEOUT) -> bytes:
        """Whatever has arrived, at least one byte; empty at the end. Raises StreamResetError."""
        await self._wait(lambda: bool(self._buffer), within)
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    async def read_all(self, within: float = TIMEOUT) -> bytes:
        """Everything until the server ends the stream. Raises StreamResetError."""
        await self._wait(lambda: False, within)
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    async def read_line(self, within: float = TIMEOUT) -> bytes:
        """The next bytes up to and without a newline; what is left when the stream ends first."""
        await self._wait(lambda: b"\n" in self._buffer, within)
        line, _, rest = bytes(self._buffer).partition(b"\n")
        self._buffer[:] = rest
        return line

    async def read_json(self, within: float = TIMEOUT) -> Any:
        """The next JSON frame. Raises EOFError when the stream has ended, and StreamResetError."""
        line = await self.read_line(within)
        if not line:
            raise EOFError("the server ended the stream")
        return json.loads(line)

    async def _wait(self, ready: Callable[[], bool], within: float) -> None:
        async with asyncio.timeout(within):
            while not ready() and not self._ended:
                if self._reset is not None:
                    raise self._reset
                self._arrived.clear()
                await self._arrived.wait()

    def feed(self, data: bytes, ended: bool) -> None:
        """Take in what arrived. Called by the client."""
        self._buffer += data
        self._ended = self._ended or ended
        self._arrived.set()

    def fail(self, error: StreamResetError) -> None:
        """Take in a reset. Called by the client."""
        self._reset = error
        self._arrived.set()
