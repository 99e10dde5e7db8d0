"""Topics, the addresses of everything outbound, and the channel names that clients may use."""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

from schemas.errors import ErrorCode, InvalidTopic

#: Longest channel name in characters, and its alphabet: those of the Pusher protocol, so that applications can move.
MAX_CHANNEL_LENGTH: Final = 164
_NAME: Final = rf"[A-Za-z0-9_\-=@,.;]{{1,{MAX_CHANNEL_LENGTH}}}"
_CHANNEL: Final = re.compile(rf"{_NAME}\Z")
#: Prefixes that mean something elsewhere and nothing here: refused, never taken for public names.
RESERVED_PREFIXES: Final = (
    "private-encrypted-",
    "private-cache-",
    "presence-cache-",
    "cache-",
    "client-",
    "server-",
    "headgate-",
)
#: Every channel name, as a regular expression of JSON Schema (ECMA-262).
CHANNEL_PATTERN: Final = f"^(?!{'|'.join(RESERVED_PREFIXES)}){_NAME}$"


class ChannelKind(Enum):
    """What a channel's prefix asks for."""

    PUBLIC = "public"
    """Anyone who is authenticated may read; clients may not publish."""
    PRIVATE = "private"
    """The application decides who may join."""
    PRESENCE = "presence"
    """As private; the members are known to each other."""


class TopicKind(Enum):
    """The three kinds of topic."""

    SESSION = "session"
    USER = "user"
    CHANNEL = "channel"


def channel_kind(name: str) -> ChannelKind:
    """The kind of the channel `name`; raises InvalidTopic for a name that is not one."""
    if ":" in name or name.startswith(RESERVED_PREFIXES):
        raise InvalidTopic(
            "unknown channel prefix: use a bare name, private-… or presence-…",
            ErrorCode.UNKNOWN_CHANNEL_PREFIX,
        )
    if not _CHANNEL.match(name):
        raise InvalidTopic(f"a channel name has 1 to {MAX_CHANNEL_LENGTH} characters out of A-Z a-z 0-9 _ - = @ , . ;")
    if name.startswith("private-"):
        return ChannelKind.PRIVATE
    if name.startswith("presence-"):
        return ChannelKind.PRESENCE
    return ChannelKind.PUBLIC


def session_topic(session: str) -> str:
    """The topic of one session."""
    return f"session:{session}"


def user_topic(user: str) -> str:
    """The topic of all sessions of one user."""
    return f"user:{user}"


def channel_topic(channel: str) -> str:
    """The topic of a channel."""
    return f"channel:{channel}"


def split_topic(topic: str) -> tuple[TopicKind, str]:
    """The kind and the name of `topic`; raises InvalidTopic."""
    kind, _, name = topic.partition(":")
    try:
        return TopicKind(kind), name
    except ValueError:
        raise InvalidTopic(f"a topic is session:…, user:… or channel:…, not {topic[:80]!r}") from None
