"""Sessions as operators look for them, and what is known of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
import redis.asyncio as aioredis

from console.web.timeline import Located
from egress.directory import Directory, Session
from schemas.events import SessionClosed
from schemas.keys import Keys


@dataclass(frozen=True, slots=True)
class Details:
    """What the directory and the record of sessions know of one. Times are Unix ms."""

    id: str
    state: str
    """`connected`, `waiting` to be resumed, `ended` or `unknown`."""
    user: str = ""
    gateway: str = ""
    since_ms: int = 0
    """When it began; 0: that is not known."""
    generation: int = 0
    """Which of its connections this is."""
    until_ms: int = 0
    """When it ends unless it is resumed."""
    left: str = ""
    """Why its last connection ended."""
    channels: tuple[str, ...] = ()


class Sessions:
    """Looks sessions up. Every method raises RedisError."""

    def __init__(self, client: aioredis.Redis, keys: Keys, directory: Directory) -> None:
        self._client = client
        self._keys = keys
        self._directory = directory

    async def details(self, session: str) -> Details:
        """What is known of `session`, which may be over or never have been."""
        log = self._keys.inbound_of(session)
        async with self._client.pipeline(transaction=False) as pipeline:
            record = self._keys.session_state(log, "auth", session)
            pipeline.hmget(record, ["generation", "gateway", "user", "since", "ended", "left"])
            pipeline.zscore(self._keys.disconnected(log), session)
            fields, due = await pipeline.execute()
        listed = next(iter(await self._directory.get([session])), None)
        return _details(session, [(value or b"").decode() for value in fields], due, listed)

    async def of_gateway(self, gateway: str, after: str, size: int) -> tuple[list[Session], str]:
        """At most `size` live sessions that are connected to `gateway`, in the order of their ids, behind `after`; and
        the id to go on behind, empty on the last page."""
        async with self._client.pipeline(transaction=False) as pipeline:
            for partition in range(self._keys.partitions):
                pipeline.hkeys(self._keys.connected(self._keys.inbound(partition), gateway))
            answers = await pipeline.execute()
        behind = sorted(name for names in answers for raw in names if (name := raw.decode()) > after)
        shown = behind[:size]
        return await self._directory.get(shown), shown[-1] if len(behind) > size else ""


def remembered(details: Details, entries: Sequence[Located]) -> Details:
    """`details` of a session that Redis has forgotten, or nearly, with what its first and last entries tell."""

    def newest(name: str) -> str:
        return next((text for one in reversed(entries) if (text := one.text(name))), "")

    if not entries:
        return details
    known = replace(details, user=newest("user"), gateway=newest("gateway"), since_ms=entries[0].place.ms)
    closed = next((one for one in reversed(entries) if one.text("type") == SessionClosed.TYPE), None)
    if closed is None:
        return known
    payload = closed.entry.readable()["data"] if closed.entry else None
    return replace(known, state="ended", left=_words(payload) if isinstance(payload, dict) else "")


def _details(session: str, fields: list[str], due: float | None, listed: Session | None) -> Details:
    generation, gateway, user, since, ended, left = fields
    if ended:
        return Details(session, "ended")
    if not generation and listed is None:
        return Details(session, "unknown")
    return Details(
        id=session,
        state="connected" if due is None else "waiting",
        user=user or (listed.user if listed else "") or "",
        gateway=gateway or (listed.gateway if listed else ""),
        since_ms=int(since) if since.isdigit() else listed.connected_at if listed else 0,
        generation=int(generation) if generation.isdigit() else 0,
        until_ms=int(due or 0),
        left=_words(orjson.loads(left)) if left else "",
        channels=listed.channels if listed else (),
    )


def _words(end: dict[str, Any]) -> str:
    """`3001: the gateway is stopping`, out of what the end of a connection or of a session says."""
    return f"{end.get('code')}: {end['reason']}" if end.get("reason") else str(end.get("code", ""))
