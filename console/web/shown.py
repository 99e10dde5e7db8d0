"""How values are written on the pages: times, numbers, payloads."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from console.printable import printable
from console.web.timeline import Located
from runtime.recording import topic_of
from schemas.readable import to_json

#: Characters of a payload in a row of a list, of a value that differs, and of a payload that is shown whole.
PREVIEW: Final = 180
BRIEF: Final = 1000
MOST_SHOWN: Final = 262_144
#: Fields that hold what lets somebody in, sealed or not: never shown.
_HIDDEN: Final = {"session.auth_requested": ("token",), "channel.subscribe_requested": ("auth",)}
#: What the payload of nearly every event has, and a preview has no room for.
_USUAL: Final = frozenset({"stream", "frame_id", "generation", "member", "exclude"})
#: Width and height of a sparkline.
_SPARK: Final = (120.0, 28.0)


def clock(ms: int) -> str:
    """A time of day, in UTC with milliseconds."""
    return at.strftime("%H:%M:%S.%f")[:-3] if (at := _time(ms)) else str(ms)


def moment(ms: int) -> str:
    """A date and time in UTC."""
    return at.strftime("%Y-%m-%d %H:%M:%S") if (at := _time(ms)) else str(ms)


def iso(ms: int) -> str:
    """The same for programs."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z") if (at := _time(ms)) else str(ms)


def _time(ms: int) -> datetime | None:
    """None for what no calendar has: a stream id that somebody chose by hand, say."""
    try:
        return datetime.fromtimestamp(ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def span(ms: float) -> str:
    """A length of time, in the largest unit that says enough."""
    if ms < 1000:
        return f"{ms:.0f} ms"
    seconds = ms / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    for size, unit, part, parts in ((60, "min", 1, "s"), (3600, "h", 60, "min"), (86_400, "d", 3600, "h")):
        if seconds < size * (60 if unit == "min" else 24) or unit == "d":
            return f"{int(seconds // size)} {unit} {int(seconds % size // part)} {parts}"
    raise AssertionError("unreachable")


def count(value: float) -> str:
    """A number with its thousands apart, or in millions."""
    if value >= 10_000_000:
        return f"{value / 1_000_000:.1f} M"
    return f"{value:,.0f}"


def rate(value: float) -> str:
    """A number a second."""
    return f"{value:.1f}" if value < 10 else count(value)


def size(value: float) -> str:
    """A number of bytes."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("unreachable")


def spark(values: Sequence[float]) -> str:
    """The points of a sparkline, for an SVG polyline of 120 by 28."""
    width, height = _SPARK
    if len(values) < 2:
        return ""
    top = max(max(values), 1.0)
    step = width / (len(values) - 1)
    return " ".join(f"{i * step:.1f},{height - 2 - value / top * (height - 4):.1f}" for i, value in enumerate(values))


def preview(located: Located) -> str:
    """The payload of an entry, in one short line: what was said first, without what every frame has."""
    value = payload(located)
    if isinstance(value, dict):
        value = {name: one for name, one in value.items() if name not in _USUAL and one is not None}
        if isinstance(value.get("frame"), dict):
            value = value["frame"]
    return line(value)


def about(located: Located) -> str:
    """The topic of an entry; of what a client sent, that of the channel it names. Empty: none."""
    entry = located.entry
    return topic_of(entry) if entry else ""


def line(value: Any) -> str:
    """A value as JSON in one short line."""
    return printable(to_json(value).decode("utf-8", "replace"), PREVIEW)


def payload(located: Located) -> Any:
    """The payload as plain values, without what must not be shown; its text if it is none."""
    if located.erased_ms:
        return "(erased)"
    entry = located.entry
    if entry is None:
        fields = {
            name.decode("utf-8", "replace"): value.decode("utf-8", "replace") for name, value in located.fields.items()
        }
        return fields | {"data": "(hidden)"} if located.text("type") in _HIDDEN else fields
    value = entry.readable()["data"]
    for name in _HIDDEN.get(entry.type, ()):
        if isinstance(value, dict) and value.get(name) is not None:
            value = value | {name: "(hidden)"}
    return value


def is_hidden(type_: str, path: str) -> bool:
    """Whether the value at `path` of an event holds what must not be shown; `data.token` is a field of its payload."""
    return any(path == "data" or path.startswith(f"data.{name}") for name in _HIDDEN.get(type_, ()))


def brief(value: Any) -> str:
    """A value as JSON in one line, cut where it is long; empty for none."""
    return "" if value is None else printable(to_json(value).decode("utf-8", "replace"), BRIEF)


def pretty(value: Any) -> str:
    """A value as JSON of several lines, cut where it is too long to be read anyway."""
    text = orjson.dumps(orjson.loads(to_json(value)), option=orjson.OPT_INDENT_2).decode()
    if len(text) > MOST_SHOWN:
        return f"{text[:MOST_SHOWN]}\n… {len(text) - MOST_SHOWN} more characters"
    return text


def family(type_: str) -> str:
    """What an event is about, for its colour: the first word of its type, if it is one of ours."""
    word = type_.partition(".")[0]
    return (
        word
        if word in ("session", "channel", "message", "whisper", "subscription", "delivery", "datagram")
        else "other"
    )


def short(session: str) -> str:
    """The end of a session id, which tells it from others of its time."""
    return session[-10:]


#: What templates may use, by the functions' names.
FILTERS: Final = (
    clock,
    moment,
    iso,
    span,
    count,
    rate,
    size,
    spark,
    preview,
    about,
    line,
    brief,
    payload,
    pretty,
    family,
    short,
)
