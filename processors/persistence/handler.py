"""The persistence processor: batches of every log into the archive."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from prometheus_client import Counter

from processors.persistence import rules
from processors.persistence.database import ArchiveTooNew, ArchiveUnavailable
from processors.persistence.redaction import Redaction
from processors.persistence.store import Archive
from runtime.bus.outcomes import Outcome, Received

log = structlog.get_logger()

ARCHIVED = Counter("headgate_archived", "Entries written to the archive, repeats included.")
REDACTED = Counter("headgate_archive_redacted", "Entries that HEADGATE_ARCHIVE_REDACT took something of.")


class PersistenceHandler:
    """Handles batches of all archived logs."""

    def __init__(self, archive: Archive, logs: Sequence[str], redaction: Redaction) -> None:
        """`logs` are the streams in the order in which the group numbers them."""
        self._redaction = redaction
        self._archive = archive
        self._logs = logs

    async def handle(self, batch: Sequence[Received]) -> Sequence[Outcome]:
        """All of the batch is kept, or none and all of it comes again."""
        entries = [self._redaction.of(one.entry) for one in batch]
        REDACTED.inc(sum(entry is not one.entry for entry, one in zip(entries, batch, strict=True)))
        rows = [
            rules.row(self._logs[one.partition], one.stream_id, entry)
            for entry, one in zip(entries, batch, strict=True)
        ]
        try:
            await self._archive.insert(rows)
        except (ArchiveUnavailable, ArchiveTooNew) as error:
            log.warning("archive.unavailable", error=str(error))
            return [Outcome.later(str(error))] * len(batch)
        ARCHIVED.inc(len(batch))
        return [Outcome.done()] * len(batch)
