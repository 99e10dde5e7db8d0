"""What the stand-in answers. Everything is in memory, bounded, and gone with the process."""

from __future__ import annotations

from collections import OrderedDict
from datetime import UTC, datetime
from typing import Any, Final, Generic, TypeVar
from uuid import uuid4

from console.standin.tokens import User
from schemas.errors import HeadgateError
from schemas.topics import ChannelKind, channel_kind

#: The longest message, in characters; longer ones are cut.
CONTENT_LIMIT: Final = 2000
NAME_LIMIT: Final = 64
#: How many users, handled messages, events and nonces are remembered.
REMEMBERED: Final = 10_000
REMEMBERED_NONCES: Final = 200_000

K = TypeVar("K")
V = TypeVar("V")


class Bounded(OrderedDict[K, V], Generic[K, V]):
    """A map that forgets its oldest entry when it holds more than `size`."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        if len(self) > self._size:
            self.popitem(last=False)


class RefusedError(HeadgateError):
    """The application does not accept what it was sent; the text says why."""


class StandIn:
    """Knows who has logged in, and what it has handled already."""

    def __init__(self) -> None:
        self._users: Bounded[str, User] = Bounded(REMEMBERED)
        self._handled: Bounded[str, dict[str, Any]] = Bounded(REMEMBERED)
        self.events: Bounded[str, dict[str, Any]] = Bounded(REMEMBERED)
        """Connection events by the id they were told under, oldest first."""

    def login(self, name: str) -> User:
        """The user of that name; raises RefusedError for one that is empty or too long."""
        name = " ".join(name.split())
        if not 1 <= len(name) <= NAME_LIMIT or not name.isprintable():
            raise RefusedError(f"a name has 1 to {NAME_LIMIT} printable characters")
        user = User.named(name)
        self.know(user)
        return user

    def know(self, user: User) -> None:
        """Remember the name of somebody who has shown a token."""
        self._users[user.id] = user

    def authorize(self, user_id: str, channel: str) -> dict[str, Any] | None:
        """The member that `user_id` is in `channel`, None when it may not join.

        Known users may join every private and presence channel but those whose names end in `-forbidden`.
        Raises InvalidTopic for a channel that cannot exist.
        """
        user = self._users.get(user_id)
        if user is None or channel_kind(channel) is ChannelKind.PUBLIC or channel.endswith("-forbidden"):
            return None
        return {"id": user.id, "info": {"name": user.name}}

    def handle(self, event_id: str, user_id: str, message: dict[str, Any], now: float) -> dict[str, Any]:
        """The answer to a client's message, the same one for a repeated `event_id`; raises RefusedError.

        `now` is in Unix seconds.
        """
        if message.get("type") != "channel_message":
            return {"type": "echo", "application": "stand-in", "received": message}
        if event_id in self._handled:
            return self._handled[event_id]
        answer = self._chat(event_id or str(uuid4()), user_id, message, now)
        if event_id:
            self._handled[event_id] = answer
        return answer

    def _chat(self, id_: str, user_id: str, message: dict[str, Any], now: float) -> dict[str, Any]:
        data = message.get("data")
        content = data.get("content") if isinstance(data, dict) else None
        if not isinstance(content, str) or not content.strip():
            raise RefusedError("data.content is missing or empty")
        user = self._users.get(user_id)
        return {
            "broadcast": True,
            "data": {
                "id": id_,
                "user": {"id": user_id, "name": user.name if user else f"User {user_id}"},
                "content": content.strip()[:CONTENT_LIMIT],
                "created_at": datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds"),
            },
        }
