"""Turning what is asked for into confirmed entries of the outbound log."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence

from opentelemetry.trace import SpanKind

from egress.api.publications import Publication
from egress.directory import Directory
from runtime.bus.appender import Appender
from runtime.telemetry import Attributes, Telemetry
from schemas.entry import Entry
from schemas.errors import HeadgateError, LogUnavailable
from schemas.ids import uuid7
from schemas.keys import Keys
from schemas.traceparent import parse


class SessionUnknown(HeadgateError):
    """The caller's: no such session is live."""


Outcome = str | SessionUnknown | LogUnavailable
"""The id of the entry that is in the log, or why there is none."""


class Publisher:
    """Appends publications, once it is known that there is somebody to have them."""

    def __init__(
        self,
        appender: Appender,
        directory: Directory,
        keys: Keys,
        telemetry: Telemetry,
        clock: Callable[[], int],
    ) -> None:
        """`clock` gives Unix ms."""
        self._appender = appender
        self._directory = directory
        self._keys = keys
        self._telemetry = telemetry
        self._clock = clock

    async def publish(
        self,
        publications: Sequence[Publication],
        *,
        name: str,
        ids: Sequence[str] | None = None,
        traceparent: str = "",
        attributes: Attributes | None = None,
    ) -> list[Outcome]:
        """Append `publications`, in one round trip to each server, and give the outcome of each.

        Entries of one of the `ids`, where they are given, are one publication to their topic within
        HEADGATE_DEDUP_SECONDS. `name` and `attributes` are those of the span. Raises RedisError when it cannot be known
        which sessions are live.
        """
        if ids is None:
            ids = [uuid7(self._clock(), os.urandom(10)) for _ in publications]
        parent = traceparent if parse(traceparent) else ""
        with self._telemetry.span(name, parent, attributes, kind=SpanKind.SERVER) as span:
            live = await self._directory.live({one.session for one in publications if one.session})
            entries = [
                self._entry(id, one, span) if not one.session or one.session in live else None
                for id, one in zip(ids, publications, strict=True)
            ]
            # All are queued in one turn of the loop, and so leave in one write.
            queued = [self._appender.append(self._keys.outbound_of(one.topic), one) for one in entries if one]
            answers = iter(await asyncio.gather(*queued, return_exceptions=True))
            return [_unknown() if entry is None else _outcome(entry, next(answers)) for entry in entries]

    def _entry(self, id: str, one: Publication, traceparent: str) -> Entry:
        return Entry.of(
            one.event,
            id=id,
            ts=self._clock(),
            topic=one.topic,
            traceparent=traceparent,
            session=one.session,
            user=one.user,
        )


def _unknown() -> SessionUnknown:
    return SessionUnknown("Session not found")


def _outcome(entry: Entry, answer: str | BaseException) -> Outcome:
    if isinstance(answer, LogUnavailable):
        return answer
    if isinstance(answer, BaseException):
        raise answer
    return entry.id
