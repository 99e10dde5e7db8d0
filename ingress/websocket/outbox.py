"""What a connection has to write, kept here while the client does not read it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

#: Bytes that TLS and the socket hold before writing stops, and bytes of one write.
HIGH_WATER: Final = 65_536
LOW_WATER: Final = 16_384
#: Of a WebSocket frame's opcode: the bit of close, ping and pong (RFC 6455, section 5.2).
_CONTROL: Final = 0x08


class Outbox:
    """Frames in order, then unreliable ones if there is room. What is put in one loop turn leaves in one write."""

    def __init__(self, transport: asyncio.Transport, *, max_unreliable: int, emptied: Callable[[], None]) -> None:
        """`emptied` is called each time that everything was handed to the socket."""
        self._transport = transport
        self._max_unreliable = max_unreliable
        self._emptied = emptied
        self._loop = asyncio.get_running_loop()
        self._frames: deque[bytes] = deque()
        self._unreliable: deque[bytes] = deque()
        self._bytes = 0
        self._control_bytes = 0
        self._paused = False
        self._scheduled = False
        transport.set_write_buffer_limits(HIGH_WATER, LOW_WATER)

    @property
    def unsent(self) -> int:
        """Bytes that wait here or in TLS. The socket's own buffer, about 64 KiB and what is on its way, is not seen."""
        return self._bytes + self._transport.get_write_buffer_size()

    @property
    def unsent_control(self) -> int:
        """Those of them that wait here and are control frames."""
        return self._control_bytes

    def put(self, data: bytes) -> None:
        """Write `data` after all that was put before."""
        self._frames.append(data)
        self._bytes += len(data)
        if data[0] & _CONTROL:
            self._control_bytes += len(data)
        self.flush_soon()

    def put_unreliable(self, data: bytes) -> bool:
        """Write `data` when nothing else waits; False when an older one was dropped for it."""
        self._unreliable.append(data)
        self._bytes += len(data)
        self.flush_soon()
        if len(self._unreliable) <= self._max_unreliable:
            return True
        self._bytes -= len(self._unreliable.popleft())
        return False

    def pause(self) -> None:
        """The socket takes no more."""
        self._paused = True

    def resume(self) -> None:
        """It does again."""
        self._paused = False
        self._flush()

    def drop_data(self) -> None:
        """Give up what waits, but for control frames: messages are whole here, so a close frame can follow any."""
        self._frames = deque(frame for frame in self._frames if frame[0] & _CONTROL)
        self._unreliable.clear()
        self._bytes = sum(map(len, self._frames))
        self.flush_soon()

    def flush_soon(self) -> None:
        """Write at the end of the loop turn."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        if self._transport.is_closing():
            return
        # A write may pause the next one.
        while (self._frames or self._unreliable) and not self._paused:
            self._transport.write(b"".join(self._batch()))
        if not self._frames and not self._unreliable:
            self._emptied()

    def _batch(self) -> list[bytes]:
        batch, size = [], 0
        for waiting in (self._frames, self._unreliable):
            while waiting and size < HIGH_WATER:
                batch.append(waiting.popleft())
                size += len(batch[-1])
                if waiting is self._frames and batch[-1][0] & _CONTROL:
                    self._control_bytes -= len(batch[-1])
        self._bytes -= size
        return batch
