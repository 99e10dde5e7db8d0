"""An entry as a row of the archive."""

from __future__ import annotations

from typing import Any

from schemas.entry import Entry


def row(stream: str, stream_id: str, entry: Entry) -> dict[str, Any]:
    """The row of `entry`, which the log `stream` holds under `stream_id`. `data` stays the bytes it was."""
    return {
        "stream": stream,
        "id": entry.id,
        "stream_id": stream_id,
        "type": entry.type,
        "v": entry.v,
        "topic": entry.topic,
        "session": entry.session,
        "user": entry.user,
        "gateway": entry.gateway,
        "ts": entry.ts,
        "ct": entry.ct,
        "data": entry.data,
        "traceparent": entry.traceparent,
        "cause": entry.cause,
    }
