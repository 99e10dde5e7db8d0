"""A session as its client keeps it over connections."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from tests.chaos.world import RESUME_S

#: What a client does after a connection: it goes on at once, lets the session end first, or starts anew.
Choice = Literal["resume", "resume too late", "start anew"]
_WEIGHTS: Final[dict[Choice, int]] = {"resume": 17, "start anew": 2, "resume too late": 1}
#: Longer than the window, in seconds: a gateway notices later than the client that a connection is lost.
TOO_LATE_S: Final = RESUME_S * 2


@dataclass(slots=True)
class Identity:
    """What it takes to resume, and what a session knows."""

    id: str
    user: str
    secret: str
    generation: int
    has_joined: bool = False
    """Whether every channel was joined: one that was cut off before is not resumed."""
    heard: float = field(default_factory=time.monotonic)
    """When its gateway last said something, on the monotonic clock."""
    offsets: dict[str, tuple[str, int]] = field(default_factory=dict)
    """The highest offset that was seen of each topic, with its epoch."""
    unanswered: dict[int, float] = field(default_factory=dict)
    """Messages that the application has not answered, with the time when they were invoked."""
    members: dict[str, set[str]] = field(default_factory=dict)
    """Who is present, by channel, as it was told."""

    def resume(self) -> dict[str, Any]:
        """For the `auth` frame."""
        offsets = {topic: {"epoch": epoch, "offset": offset} for topic, (epoch, offset) in self.offsets.items()}
        return {"session": self.id, "secret": self.secret, "offsets": offsets}

    def saw(self, topic: str, epoch: str | None, offset: int | None) -> None:
        """Remember how far a topic was followed."""
        if epoch is None or offset is None:
            return
        known = self.offsets.get(topic)
        if known is None or known[0] != epoch or known[1] < offset:
            self.offsets[topic] = (epoch, offset)


def choose(dice: random.Random) -> Choice:
    """What a client does next; mostly it resumes."""
    return dice.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
