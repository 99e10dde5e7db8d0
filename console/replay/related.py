"""Which sessions belong together: those that something chosen is of, and the connections that resumed these."""

from __future__ import annotations

from dataclasses import replace

from runtime.recording import Recording, Selection
from schemas.events import AuthRequested
from schemas.keys import Keys


async def related(source: Recording, keys: Keys, wanted: Selection) -> frozenset[str]:
    """The sessions that `wanted` is about, and whatever else their entries were written under."""
    logs = [keys.inbound(p) for p in range(keys.partitions)]
    both = logs + [keys.outbound(p) for p in range(keys.partitions)] if wanted.channel or wanted.types else logs
    found = {record.entry.session async for batch in source.read(both, wanted) for record in batch} - {""}
    asked = replace(wanted, user="", channel="", sessions=frozenset(), types=frozenset({AuthRequested.TYPE}))
    async for batch in source.read(logs, asked):
        for record in batch:
            event = record.event
            if isinstance(event, AuthRequested) and event.resume is not None and event.resume.session in found:
                found.add(record.entry.session)
    return frozenset(found)
