"""What a scenario is played in: gateways, an application, and guests over one transport.

A scenario is a coroutine function of a `World`, registered by `scenario`; its docstring is the sentence that must hold.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, cast

from schemas.entry import Entry
from tests.support.client import Carrier, Party
from tests.support.waiting import eventually
from tests.support.wt_stream import ClientStream

GatewayName = Literal["usual", "other", "hasty"]
Guest = Party[Carrier]

#: Of the hasty gateway, which every guest can outstay. Seconds, frames a second, bytes.
HASTY: Final[dict[str, float]] = {
    "auth_timeout": 5.0,
    "ping_interval": 1.0,
    "pong_timeout": 5.0,
    "frames_per_second": 10.0,
    "bytes_per_second": 100_000.0,
    "auth_pending_bytes": 2_000,
    "max_unsent_bytes": 65_536,
}


@dataclass(frozen=True, slots=True)
class Login:
    """A user and a token of theirs."""

    token: str
    user: str


class StreamsCarrier(Carrier, Protocol):
    """A transport with streams of both kinds, each to be reset and stopped by itself."""

    async def open_bidirectional(self) -> ClientStream: ...

    async def open_unidirectional(self) -> ClientStream: ...

    async def accept_stream(self, within: float = ...) -> ClientStream: ...


class World(ABC):
    """See the module."""

    name: str
    """Of the way that guests come, in channels and users that others must not share."""
    transport: Literal["webtransport", "websocket"]
    """What the log calls it."""
    longest_reason: int
    """Bytes of a close's reason that reach the client."""

    @property
    def has_streams(self) -> bool:
        """Whether a session has streams; without, each frame is a message, and datagrams are marked ones."""
        return self.transport == "webtransport"

    @property
    def can_leave_unread(self) -> bool:
        """Whether a client can stop reading: a page's WebSocket takes in all that comes."""
        return True

    def channel(self, name: str) -> str:
        """A channel of this world's own."""
        return f"{name}-{self.name}"

    @abstractmethod
    def guest(
        self, gateway: GatewayName = "usual", *, stranger: bool = False, idle: bool = False
    ) -> AbstractAsyncContextManager[Guest]:
        """A guest with a session, `stranger` from an origin that may not connect, `idle` one that `leaves_unread`."""

    @abstractmethod
    async def login(self, name: str, *, ttl: int | None = None) -> Login:
        """A token, which ends after `ttl` seconds."""

    @abstractmethod
    async def publish(self, channel: str, data: object) -> None:
        """The application broadcasts to a channel."""

    @abstractmethod
    async def disconnect(self, user: str, code: int, reason: str) -> None:
        """The application ends the sessions of a user."""

    @abstractmethod
    async def entries(self) -> list[Entry]:
        """The inbound log, without datagrams."""

    @abstractmethod
    async def leave_unread(self, guest: Guest) -> None:
        """From now on the guest takes nothing more off its control stream."""

    @abstractmethod
    async def read_again(self, guest: Guest) -> None:
        """The guest reads again."""

    @abstractmethod
    async def stop_other(self) -> None:
        """The gateway `other` drains and stops; a new one takes its place."""

    @abstractmethod
    async def pass_time(self, seconds: float) -> None:
        """Let a world whose clock stands still go on by so much; in another, time passes while one waits."""

    # What scenarios do again and again

    async def member(self, guest: Guest, name: str, channel: str, **how: Any) -> str:
        """Authenticate and put the guest into a channel; gives the user id."""
        login = await self.login(name)
        await guest.authenticate(login.token, **how)
        answer = await guest.subscribe(channel)
        assert answer["type"] == "subscribed", answer
        return login.user

    async def log_of(self, guest: Guest) -> list[Entry]:
        """The guest's entries in the log, oldest first."""
        return [entry for entry in await self.entries() if entry.session == guest.session]

    async def end_of(self, guest: Guest) -> dict[str, Any]:
        """What the log says of the end of the guest's connection: code, reason, and by whom."""

        async def found() -> list[Entry]:
            return [entry for entry in await self.log_of(guest) if entry.type == "session.disconnected"]

        (end,) = await eventually(found)
        return {name: end.payload()[name] for name in ("code", "reason", "by")}


Scenario = Callable[[World], Awaitable[None]]
SCENARIOS: Final[list[Scenario]] = []


def scenario(play: Scenario) -> Scenario:
    """Register a scenario."""
    SCENARIOS.append(play)
    return play


def streams_of(guest: Guest) -> StreamsCarrier:
    """The guest's transport, where it has streams."""
    return cast(StreamsCarrier, guest.transport)
