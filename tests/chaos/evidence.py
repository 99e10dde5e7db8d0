"""What is left after a run: logs, dead letters, archive, ledger, groups, keys. Plain data, so that it can be kept."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import redis.asyncio as aioredis

from schemas.entry import Entry
from schemas.errors import HeadgateError
from schemas.keys import Keys
from tests.chaos.world import World


@dataclass(slots=True)
class Logged:
    """One entry of a log."""

    log: str
    stream_id: str
    id: str
    type: str
    topic: str
    session: str
    payload: dict[str, Any]
    error: str = ""
    """Why it is a dead letter."""


@dataclass(slots=True)
class Evidence:
    """Everything that the checkers look at beside the history."""

    inbound: list[Logged] = field(default_factory=list)
    outbound: list[Logged] = field(default_factory=list)
    trails: list[Logged] = field(default_factory=list)
    dead: list[Logged] = field(default_factory=list)
    archive: list[tuple[str, str, str]] = field(default_factory=list)
    """Rows: log, stream id, entry id; by log and stream id."""
    ledger: list[dict[str, Any]] = field(default_factory=list)
    """What took effect in the application, in order."""
    groups: list[dict[str, Any]] = field(default_factory=list)
    """log, group, pending, lag (entries not read): each consumer group of each log."""
    keys: list[dict[str, Any]] = field(default_factory=list)
    """name, ttl (seconds, -1: none), fields (of hashes and sets)."""
    gateways: list[str] = field(default_factory=list)
    """Gateways on the list that are not lost."""

    def save(self, path: Path) -> None:
        """Write it to a file."""
        path.write_text(json.dumps(asdict(self)))


def load(path: Path) -> Evidence:
    """From such a file."""
    stored = json.loads(path.read_text())
    for name in ("inbound", "outbound", "trails", "dead"):
        stored[name] = [Logged(**one) for one in stored[name]]
    stored["archive"] = [tuple(row) for row in stored["archive"]]
    return Evidence(**stored)


async def collect(world: World) -> Evidence:
    """All of it, as it is now."""
    evidence = Evidence()
    for partition in range(world.keys.partitions):
        inbound, outbound = world.keys.inbound(partition), world.keys.outbound(partition)
        evidence.inbound += await _entries(world.log, inbound)
        evidence.outbound += await _entries(world.log, outbound)
        for log in (inbound, outbound):
            evidence.dead += await _entries(world.log, Keys.dead(log))
            evidence.trails += await _entries(world.log, Keys.trail(log))
            evidence.groups += await groups(world.log, log) + await groups(world.log, Keys.trail(log))
    evidence.archive = _archived(world.archive)
    ledger = (world.folder / "ledger.jsonl").read_text("utf-8").splitlines()
    evidence.ledger = [json.loads(line) for line in ledger]
    evidence.keys = await _keys(world.log, world.keys.prefix)
    alive: Any = await world.log.zrangebyscore(world.keys.gateways(), 1, "inf")
    evidence.gateways = [name.decode() for name in alive]
    return evidence


async def groups(log: aioredis.Redis, key: str) -> list[dict[str, Any]]:
    """Each group of a log, with what it has in hand and what it has not read."""
    if not await log.exists(key):
        return []
    last = (await log.xinfo_stream(key))["last-generated-id"]
    found: list[dict[str, Any]] = []
    for group in await log.xinfo_groups(key):
        # Redis does not always know the number; whether there are any it does.
        lag = 0 if group["last-delivered-id"] == last else max(1, group["lag"] or 0)
        name = group["name"].decode() if isinstance(group["name"], bytes) else group["name"]
        found.append({"log": key, "group": name, "pending": group["pending"], "lag": lag})
    return found


async def _entries(log: aioredis.Redis, key: str) -> list[Logged]:
    found = []
    stored: Any = await log.xrange(key)
    for stream_id, fields in stored:
        entry = Entry.from_fields(fields)
        try:
            payload = entry.payload()
        except HeadgateError:
            payload = {}
        error = fields.get(b"dead_error", b"").decode()
        found.append(Logged(key, stream_id.decode(), entry.id, entry.type, entry.topic, entry.session, payload, error))
    return found


def _archived(path: Path) -> list[tuple[str, str, str]]:
    connection = sqlite3.connect(path)
    try:
        rows = connection.execute("SELECT stream, stream_id, id FROM entries").fetchall()
    finally:
        connection.close()
    return sorted(rows, key=lambda row: (row[0], place(row[1])))


def place(stream_id: str) -> tuple[int, int]:
    """Where an entry stands in its stream."""
    milliseconds, _, sequence = stream_id.partition("-")
    return int(milliseconds), int(sequence)


async def _keys(log: aioredis.Redis, prefix: str) -> list[dict[str, Any]]:
    found = []
    name: Any
    async for name in log.scan_iter(match=f"{prefix}*", count=1000):
        text = name.decode()
        kind: Any = await log.type(text)
        fields: Any = []
        if kind == b"hash" and not text.endswith((":seen", ":seen_before")):
            fields = await log.hkeys(text)
        elif kind == b"set":
            fields = await log.smembers(text)
        # What ended meanwhile is no key.
        if kind != b"none":
            found.append({"name": text, "ttl": await log.ttl(text), "fields": sorted(one.decode() for one in fields)})
    return found
