"""What waits for a client that does not read."""

from __future__ import annotations

import asyncio
from typing import Any

from ingress.websocket.outbox import Outbox

CLOSE = b"\x88\x02\x0f\xa0"


class Wire(asyncio.Transport):
    """Takes writes and notes them; says that it is full when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.held = 0

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def is_closing(self) -> bool:
        return False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limits = (high, low)

    def get_write_buffer_size(self) -> int:
        return self.held


def made(max_unreliable: int = 2) -> tuple[Outbox, Wire, list[bool]]:
    wire, emptied = Wire(), list[bool]()
    return Outbox(wire, max_unreliable=max_unreliable, emptied=lambda: emptied.append(True)), wire, emptied


async def test_a_turns_frames_leave_in_one_write() -> None:
    """What is put in one loop turn is one write, unreliable frames last."""
    outbox, wire, emptied = made()
    outbox.put(b"a")
    assert outbox.put_unreliable(b"u")
    outbox.put(b"b")
    assert (outbox.unsent, wire.writes) == (3, [])
    await asyncio.sleep(0)
    assert (wire.writes, outbox.unsent, emptied) == ([b"abu"], 0, [True])


async def test_what_a_paused_socket_does_not_take_waits() -> None:
    """Nothing is written while paused; what waits and what the socket holds are unsent; order is kept."""
    outbox, wire, _ = made()
    wire.held = 1000
    outbox.pause()
    outbox.put(b"one")
    await asyncio.sleep(0)
    outbox.put(b"two")
    await asyncio.sleep(0)
    assert (wire.writes, outbox.unsent) == ([], 1006)
    outbox.resume()
    assert wire.writes == [b"onetwo"]


async def test_newer_unreliable_frames_push_out_older_ones() -> None:
    """Beyond the bound the oldest is dropped, and its dropping is told."""
    outbox, wire, _ = made(max_unreliable=2)
    outbox.pause()
    assert [outbox.put_unreliable(data) for data in (b"1", b"2", b"3")] == [True, True, False]
    assert outbox.unsent == 2
    outbox.resume()
    assert wire.writes == [b"23"]


async def test_at_the_end_only_the_close_frame_is_left() -> None:
    """A client that does not read gets the close frame in place of what waits for it."""
    outbox, wire, _ = made()
    outbox.pause()
    outbox.put(b"\x81\x01x")
    outbox.put_unreliable(b"\x81\x01u")
    outbox.put(CLOSE)
    outbox.drop_data()
    assert outbox.unsent == len(CLOSE)
    outbox.resume()
    assert wire.writes == [CLOSE]
