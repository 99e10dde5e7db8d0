"""An entry as a row of the archive, and back."""

from __future__ import annotations

from typing import Final, NamedTuple

from schemas.entry import Entry
from schemas.errors import InvalidEntry, InvalidTopic
from schemas.events import EVENTS
from schemas.topics import channel_kind, channel_topic

#: What a database holds in a BIGINT.
_MOST: Final = (1 << 63) - 1
#: Events whose payload names a channel. On the log they have no topic: in the archive they are found by the channel's.
_ABOUT_CHANNELS: Final = frozenset(name for name, event in EVENTS.items() if "channel" in event.model_fields)


class Row(NamedTuple):
    """A row, its fields in the order of the columns."""

    stream: str
    """Key of the log that held the entry."""
    stream_id: str
    """Its id there, such as `1700000000000-0`."""
    at: int
    """When it was appended (Unix ms, the clock of Redis): the first number of that id."""
    seq: int
    """The second number."""
    id: str
    type: str
    v: int
    topic: str
    """That of the entry; of the events that name a channel in their payload, the channel's."""
    session: str
    user: str
    gateway: str
    ts: int
    ct: str
    data: bytes
    traceparent: str
    cause: str
    erased: int | None = None
    """When the payload was taken away (Unix ms): `data` is empty then."""

    @property
    def place(self) -> Place:
        """Where it stands in the order of the log."""
        return Place(self.at, self.seq, self.stream, self.id)

    @property
    def entry(self) -> Entry:
        """The entry as its log held it."""
        return Entry(
            id=self.id,
            type=self.type,
            v=self.v,
            ts=self.ts,
            data=self.data,
            topic="" if self.type in _ABOUT_CHANNELS else self.topic,
            session=self.session,
            user=self.user,
            gateway=self.gateway,
            ct=self.ct,
            traceparent=self.traceparent,
            cause=self.cause,
        )


class Place(NamedTuple):
    """A place in the order of the log: by the time of the append, within a stream by its ids."""

    at: int
    seq: int
    stream: str
    id: str


def row(stream: str, stream_id: str, entry: Entry) -> Row:
    """The row of `entry`, which the log `stream` holds under `stream_id`. `data` stays the bytes it was."""
    at, _, seq = stream_id.partition("-")
    return Row(
        stream,
        stream_id,
        min(int(at), _MOST),
        min(int(seq), _MOST),
        entry.id,
        entry.type,
        entry.v,
        entry.topic or _channel(entry),
        entry.session,
        entry.user,
        entry.gateway,
        entry.ts,
        entry.ct,
        entry.data,
        entry.traceparent,
        entry.cause,
    )


def _channel(entry: Entry) -> str:
    """The topic of the channel that `entry` is about; empty where there is none, or a name that no channel has."""
    if entry.type not in _ABOUT_CHANNELS or b"channel" not in entry.data:
        return ""
    try:
        payload = entry.payload()
        channel = payload.get("channel") if isinstance(payload, dict) else None
        if not isinstance(channel, str):
            return ""
        channel_kind(channel)  # What clients make up has any length, and an index has not.
    except (InvalidEntry, InvalidTopic):
        return ""
    return channel_topic(channel)
