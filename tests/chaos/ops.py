"""What a client wants to send, and what its payload looks like."""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass
from typing import Any, Final, Literal

Kind = Literal["message", "whisper"]

WHISPER: Final = "client-note"
#: Bytes of text in a payload, most often the smaller ones.
_SIZES: Final = (16, 16, 64, 64, 200, 200, 1000, 7500)
#: Channels of each kind; a client joins one of each.
CHANNELS: Final = (("room-0", "room-1"), ("private-0", "private-1"), ("presence-0", "presence-1"))


@dataclass(slots=True)
class Op:
    """One message or whisper; `n` is its id in every session in which it is sent."""

    n: int
    kind: Kind
    channel: str
    text: str
    invoked: float
    """Seconds on the monotonic clock."""
    acked: bool = False

    def frame(self, session: str, client: str) -> dict[str, Any]:
        """What goes to the gateway; the payload names the session, so that any stray is recognised."""
        data = {"c": client, "s": session, "n": self.n, "text": self.text, "h": checksum(client, self.n, self.text)}
        kind = "message" if self.kind == "message" else WHISPER
        return {"type": kind, "id": str(self.n), "channel": self.channel, "data": data}


def new_op(n: int, channels: list[str], dice: random.Random, now: float) -> Op:
    """A random operation; whispers go to private and presence channels only."""
    channel = dice.choice(channels)
    kind: Kind = "whisper" if not channel.startswith("room-") and dice.random() < 0.3 else "message"
    return Op(n, kind, channel, dice.randbytes(dice.choice(_SIZES) // 2).hex(), now)


def checksum(client: str, n: int, text: str) -> int:
    """Over all of a payload but its session."""
    return zlib.crc32(f"{client}/{n}/{text}".encode())


def is_intact(data: Any) -> bool:
    """Whether a payload is one of ours, unchanged."""
    if not isinstance(data, dict) or not isinstance(data.get("s"), str):
        return False
    return data.get("h") == checksum(str(data.get("c")), int(data.get("n", -1)), str(data.get("text")))
