"""Entries of the log as lines for people: time, direction, type, session, topic, and what it says."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from rich.text import Text

from console.printable import printable
from console.records import order
from runtime.recording import topic_of
from schemas.entry import Entry
from schemas.errors import InvalidEntry
from schemas.events import EVENTS
from schemas.readable import to_json

_TYPE_WIDTH: Final = max(map(len, EVENTS))
_TOPIC_WIDTH: Final = 28
_SUMMARY_LIMIT: Final = 300
_ENDS: Final = ("failed", "ended", "closed", "disconnect", "unsubscribed")
_FAMILIES: Final = {
    "message": "green",
    "datagram": "bright_black",
    "whisper": "magenta",
    "channel": "cyan",
    "subscription": "cyan",
    "session": "blue",
}


def line_of(stream: str, stream_id: str, entry: Entry) -> Text:
    """One line; whatever a client can have written is escaped."""
    inbound = "{in:" in stream
    line = Text(no_wrap=True, overflow="ellipsis", end="")
    line.append(_clock(order(stream_id)[0]), "dim")
    line.append(" in  " if inbound else " out ", "bold yellow" if inbound else "bold bright_blue")
    line.append(printable(entry.type, 80).ljust(_TYPE_WIDTH + 1), _colour(entry.type))
    line.append(printable(short_session(entry.session)).ljust(9))
    line.append(printable(topic_of(entry) or "-").ljust(_TOPIC_WIDTH) + " ", "dim")
    line.append(printable(summary(entry), _SUMMARY_LIMIT))
    return line


def short_session(session: str) -> str:
    """The last 8 characters: the first ones of a UUIDv7 are the time, alike in all sessions of a minute."""
    return session[-8:] or "-"


def summary(entry: Entry) -> str:
    """What the entry says, in a few words (not escaped)."""
    try:
        data = entry.payload()
    except InvalidEntry as error:
        return f"unreadable: {error}"
    if not isinstance(data, dict):
        return _compact(data)
    say = _SUMMARIES.get(entry.type)
    return (say(data) if say else "") or _compact(data)


def _clock(milliseconds: int) -> str:
    try:
        return datetime.fromtimestamp(milliseconds / 1000).strftime("%H:%M:%S.%f")[:-3]
    except (ValueError, OverflowError, OSError):  # A stream id that somebody chose by hand.
        return str(milliseconds).rjust(12)


def _colour(type_: str) -> str:
    if any(word in type_ for word in _ENDS):
        return "red"
    return _FAMILIES.get(type_.partition(".")[0], "white")


def _joined(*parts: object) -> str:
    return " · ".join(str(part) for part in parts if part is not None and part is not False and part != "")


def _compact(value: object) -> str:
    return to_json(value).decode()


def _frame(data: dict[str, Any]) -> str:
    frame = data.get("frame")
    if not isinstance(frame, dict):
        return _compact(frame)
    return _joined(frame.get("type"), frame.get("event"), _compact(_content(frame)))


def _content(frame: dict[str, Any]) -> object:
    inner = frame.get("data")
    if isinstance(inner, dict) and isinstance(inner.get("content"), str):
        return inner["content"]
    named = ("type", "event", "channel", "id")
    return inner if inner is not None else {key: value for key, value in frame.items() if key not in named}


def _code(data: dict[str, Any]) -> str:
    return _joined(data.get("code"), data.get("reason"), data.get("by") and f"by the {data['by']}")


def _generation(data: dict[str, Any]) -> str:
    return f"generation {data.get('generation')}"


def _person(data: dict[str, Any]) -> str:
    info = data.get("info")
    name = info.get("name") if isinstance(info, dict) else None
    return _joined(f"user {data.get('user')}" if data.get("user") else "nobody in particular", name)


_SUMMARIES: Final[dict[str, Callable[[dict[str, Any]], str]]] = {
    "session.opened": lambda data: _joined(data.get("transport"), data.get("address"), data.get("origin")),
    "session.auth_requested": lambda data: _joined(
        "token sealed",
        data.get("protocol") and f"protocol {data['protocol']}",
        data.get("resume") and f"resumes {short_session(data['resume']['session'])}",
    ),
    "session.resumed": _generation,
    "session.restored": _generation,
    "entry.handled": lambda data: _joined(
        data.get("processor"),
        data.get("outcome"),
        data.get("ms") is not None and f"{data['ms']} ms",
        data.get("attempts") not in (None, 1) and f"{data['attempts']} attempts",
        isinstance(data.get("asked"), dict) and f"{data['asked'].get('route')} {data['asked'].get('status') or ''}",
        data.get("error"),
    ),
    "session.disconnected": lambda data: _joined(_generation(data), _code(data)),
    "session.authenticated": _person,
    "session.auth_failed": lambda data: str(data.get("error") or ""),
    "session.closed": _code,
    "session.disconnect_requested": _code,
    "channel.subscribe_requested": lambda data: "from a position on" if data.get("recover") else "from now on",
    "channel.unsubscribe_requested": lambda data: str(data.get("reason") or ""),
    "channel.subscribed": lambda data: "joined",
    "channel.unsubscribed": lambda data: f"left: {data.get('reason')}",
    "subscription.granted": lambda data: "granted",
    "subscription.ended": lambda data: str(data.get("reason") or ""),
    "session.ended": lambda data: "over",
    "whisper.received": lambda data: _joined(data.get("event"), _compact(data.get("data"))),
    "message.received": _frame,
    "message.published": _frame,
    "datagram.received": _frame,
    "datagram.published": _frame,
}
