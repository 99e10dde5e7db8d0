"""The trail: one entry for each that was settled, beside the log, saying what a group did with it.

Its id is derived, so that an entry that is settled again leaves the same one: the archive keeps it once.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from runtime.bus.outcomes import Outcome, Received, Verdict
from schemas.entry import JSON, Entry
from schemas.events import EntryHandled
from schemas.ids import of_handling

#: Longest error that is kept, in characters.
_ERROR: Final = 500


def handled(group: str, received: Received, outcome: Outcome, verdict: Verdict, seconds: float) -> Entry:
    """What the trail says of `received`, whose last attempt by `group` took `seconds` and ended with `verdict`."""
    entry = received.entry
    # As EntryHandled would be written, without making one: this is done for every entry of the log.
    data: dict[str, Any] = {
        "processor": group,
        "outcome": verdict.value,
        "attempts": received.attempt,
        "ms": round(seconds * 1000, 2),
    }
    if outcome.notes:
        data |= outcome.notes
    if outcome.error:
        data["error"] = outcome.error[:_ERROR]
    if received.redelivered:
        data["redelivered"] = True
    return Entry(
        id=of_handling(entry.id, group),
        type=EntryHandled.TYPE,
        v=EntryHandled.VERSION,
        ts=entry.ts,
        data=orjson.dumps(data),
        topic=entry.topic,
        session=entry.session,
        user=entry.user,
        gateway=entry.gateway,
        ct=JSON,
        traceparent=entry.traceparent,
        cause=entry.id,
    )
