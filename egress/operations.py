"""What the router asks of a topic, and what the topic answers.

Every operation names the id of the entry that caused it: a topic remembers what an id gave, so that asking
again (a redelivered entry) changes nothing and gives the same answer.
"""

from __future__ import annotations

from dataclasses import dataclass

from schemas.events import FIRST_GENERATION, Position


@dataclass(frozen=True, slots=True)
class Publish:
    """Put `payload` at the end of the topic's history."""

    topic: str
    id: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Grant:
    """Make `session` a subscriber, reached through `gateway`."""

    topic: str
    id: str
    session: str
    gateway: str
    user: str
    member: bytes | None = None
    """What other members see of the session's user; None: not a presence channel."""
    recover: Position | None = None
    generation: int = FIRST_GENERATION
    """Of the session's connection: a subscription that a later one has is left alone."""
    limited: bool = False
    """Whether the topic has at most HEADGATE_MAX_SESSIONS_PER_USER subscribers."""


@dataclass(frozen=True, slots=True)
class Suspend:
    """Do not count `session`, which lost its connection of that `generation`."""

    topic: str
    id: str
    session: str
    generation: int


@dataclass(frozen=True, slots=True)
class End:
    """Make `session` no subscriber."""

    topic: str
    id: str
    session: str


@dataclass(frozen=True, slots=True)
class Look:
    """Only tell which gateways have subscribers."""

    topic: str


Operation = Publish | Grant | Suspend | End | Look


@dataclass(frozen=True, slots=True)
class Published:
    """The publication has `offset` in the history `epoch`; `repeated`: it had it already."""

    epoch: str
    offset: int
    gateways: tuple[str, ...]
    repeated: bool = False
    began: bool = False
    """The topic had no epoch before, or got its own in the same round trip."""


@dataclass(frozen=True, slots=True)
class Granted:
    """The session is subscribed from after `offset` on."""

    epoch: str
    offset: int
    recovered: bool
    """Whether `missed` is all that was published since the position that was asked for."""
    missed: tuple[tuple[int, bytes], ...]
    """(offset, payload) of each."""
    members: tuple[bytes, ...] | None
    """Every member of a presence channel, the new one included."""
    joined: bool
    """The first session of its user in this presence channel."""
    gateways: tuple[str, ...]
    former: str = ""
    """The gateway that the session was reached through until now, if that was another."""
    began: bool = False
    """As of Published."""


@dataclass(frozen=True, slots=True)
class Full:
    """The topic had all the subscribers that it may have: the session is not one of them."""

    limit: int


@dataclass(frozen=True, slots=True)
class Gone:
    """A grant for a subscription that has ended or moved on since: nothing changed, nobody waits for it."""


@dataclass(frozen=True, slots=True)
class Suspended:
    """The session is not counted, unless it was resumed since."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The session is no subscriber (any more)."""

    gateway: str
    """The gateway it was reached through; empty when it was no subscriber."""
    left: bytes | None
    """The member that left the presence channel with the last session of its user."""
    gateways: tuple[str, ...]
    """Those that still have subscribers."""


@dataclass(frozen=True, slots=True)
class Interest:
    """The gateways with subscribers."""

    gateways: tuple[str, ...]


Reply = Published | Granted | Full | Gone | Suspended | Ended | Interest
