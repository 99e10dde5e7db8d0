"""A recording: what real handlers make of entries, written as the services write it, without their waiting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, Final

import orjson
import redis.asyncio as aioredis

from egress.delivery import DeliveryStreams
from egress.directory import Directory
from egress.router import Router
from egress.topics.store import TopicStore
from processors.answer import Answer
from processors.asked import Notes
from processors.handlers import DECIDING, processor
from runtime.bus.appender import Appender
from runtime.bus.outcomes import Outcome, Received, Verdict
from runtime.bus.servers import connect
from runtime.bus.trail import handled
from runtime.sessions import SessionRecord
from runtime.settings import Settings
from schemas.channel_auth import ChannelVerifier
from schemas.entry import Entry
from schemas.events import (
    AuthRequested,
    Event,
    MessageReceived,
    SessionDisconnected,
    SubscribeRequested,
    WhisperReceived,
)
from schemas.ids import derived
from schemas.keys import Keys
from schemas.sealing import Sealer

SESSIONS: Final = 50
#: Frames that all sessions together send until they end and others take their place.
TURN: Final = 10_000
CHANNEL: Final = "presence-bench"
_TEXT: Final = "x" * 100
_BATCH: Final = 500


class Knows:
    """An application that knows everybody and echoes (processors.answer.Asks)."""

    def __init__(self) -> None:
        self._notes = Notes()

    async def post(self, path: str, payload: Any = None, *, entry: Entry, **_: Any) -> Answer:
        """Yes."""
        answer = {"user": {"id": entry.session}} if payload is None else {"echo": _TEXT}
        with self._notes.of(entry, path, b"" if payload is None else orjson.dumps(payload), None) as note:
            note.status, note.answer = 200, answer
        return Answer(200, answer)

    def notes(self, entry: Entry) -> Mapping[str, Any]:
        """What was asked."""
        return self._notes.take(entry)


class Recorder:
    """Writes a recording."""

    def __init__(self, settings: Settings, client: aioredis.Redis) -> None:
        self._settings, self._keys, self._client = settings, settings.keys, client
        self._sealer = Sealer(settings.secret_bytes())
        self._ids = count()
        self._read: dict[str, str] = {}
        """The last id that was read of each inbound log."""
        asks = Knows()
        self._processors = {
            name: processor(name, settings, client, asks, self._sealer, ChannelVerifier({})) for name in DECIDING
        }

    async def record(self, messages: int) -> None:
        """Sessions that begin, subscribe, send frames, every other one a whisper, and end: `messages` frames in all."""
        client = connect(self._settings)
        appender = Appender(client)
        await appender.start()
        streams = DeliveryStreams(client, appender, self._settings)
        ends = SessionRecord(client, self._keys, self._settings.resume_seconds)
        self._router = Router(TopicStore(client, self._settings), Directory(client, self._keys), streams, ends)
        for turn in range(0, messages, TURN):
            sessions = [f"session-{turn}-{n}" for n in range(SESSIONS)]
            await self._turn(sessions, range(turn, min(turn + TURN, messages)))
        await appender.stop()
        await client.aclose()

    async def _turn(self, sessions: Sequence[str], frames: range) -> None:
        seal = self._sealer.seal
        await self._write([self._entry(s, AuthRequested(token=seal("t", s, b"n" * 12), protocol=1)) for s in sessions])
        await self._write([self._entry(s, SubscribeRequested(channel=CHANNEL)) for s in sessions])
        for start in range(frames.start, frames.stop, _BATCH):
            numbers = range(start, min(start + _BATCH, frames.stop))
            await self._write([self._message(sessions[n % SESSIONS], n) for n in numbers])
        over = SessionDisconnected(generation=1, code=0, reason="", by="client", final=True)
        await self._write([self._entry(s, over) for s in sessions])

    def _message(self, session: str, n: int) -> Entry:
        if n % 2:
            return self._entry(session, WhisperReceived(event="client-x", channel=CHANNEL, data=_TEXT, member=True))
        return self._entry(session, MessageReceived(frame={"type": "say", "n": n, "text": _TEXT}))

    def _entry(self, session: str, event: Event) -> Entry:
        n = next(self._ids)
        return Entry.of(event, id=derived("bench", n), ts=1_700_000_000_000 + n, session=session, gateway="gw", user="")

    async def _write(self, entries: Sequence[Entry]) -> None:
        pipeline = self._client.pipeline(transaction=False)
        for entry in entries:
            self._add(pipeline, self._keys.inbound_of(entry.session), entry)
        await pipeline.execute()
        while new := await self._new():
            await self._handle(new)

    async def _new(self) -> list[tuple[str, Entry]]:
        """What was written to inbound logs since the last look, by the scripts of sessions too."""
        logs = [self._keys.inbound(partition) for partition in range(self._keys.partitions)]
        pipeline = self._client.pipeline(transaction=False)
        for log in logs:
            pipeline.xrange(log, f"({self._read[log]}" if log in self._read else "-")
        found = []
        for log, page in zip(logs, await pipeline.execute(), strict=True):
            if page:
                self._read[log] = page[-1][0].decode()
            found += [(log, Entry.from_fields(fields)) for _, fields in page]
        return found

    async def _handle(self, entries: Sequence[tuple[str, Entry]]) -> None:
        outbound: list[Entry] = []
        trail: list[tuple[str, Entry]] = []
        for log, entry in entries:
            for name, one in self._processors.items():
                if entry.type in one.types:
                    (outcome,) = await one.handler([received := Received(0, "0-1", entry)])
                    outbound += outcome.emits
                    trail.append((log, _trail(name, received, outcome)))
        await self._flush([(self._keys.outbound_of(one.topic), one) for one in outbound], trail)
        routed = [Received(0, "0-1", entry) for entry in outbound]
        by_partition = sorted(routed, key=lambda one: self._keys.outbound_of(one.entry.topic))
        outcomes = await self._router.handle(by_partition)
        done = [
            (self._keys.outbound_of(one.entry.topic), _trail("router", one, outcome))
            for one, outcome in zip(by_partition, outcomes, strict=True)
        ]
        await self._flush([], done)

    async def _flush(self, entries: Sequence[tuple[str, Entry]], trail: Sequence[tuple[str, Entry]]) -> None:
        pipeline = self._client.pipeline(transaction=False)
        for log, entry in entries:
            self._add(pipeline, log, entry)
        for log, entry in trail:
            self._add(pipeline, Keys.trail(log), entry)
        await pipeline.execute()

    @staticmethod
    def _add(pipeline: Any, log: str, entry: Entry) -> None:
        pipeline.execute_command("XADD", log, "*", *entry.fields())


def _trail(name: str, received: Received, outcome: Outcome) -> Entry:
    return handled(name, received, outcome, Verdict.DONE, 0.001)
