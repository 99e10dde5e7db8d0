"""The one door to what Redis keeps of a topic.

What it costs in Redis 7.0 with ids of 36 characters, names of keys included: 42 bytes per remembered id up to
128 of them, then 93 (a sorted set would take 145), for one to two windows of HEADGATE_DEDUP_SECONDS.
A session with its own topic and its place in the directory 960 bytes, with its user's topic 620 more; a
subscription 275 bytes, in a presence channel 680; an idle topic 610 bytes beside its publications.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import orjson
import redis.asyncio as aioredis
from redis.exceptions import NoScriptError, ResponseError

from egress.operations import (
    End,
    Ended,
    Full,
    Gone,
    Grant,
    Granted,
    Interest,
    Look,
    Operation,
    Publish,
    Published,
    Reply,
    Suspend,
    Suspended,
)
from egress.routing.history import HistoryRules, Kept
from egress.topics.scripts import load
from egress.topics.wire import Wire
from runtime.bus.appender import pack
from runtime.bus.assurance import Assurance
from runtime.bus.cluster import all_of, node_of, only_server, settle
from runtime.settings import Settings

#: What the keys of a topic are called.
PARTS: Final = (b"state", b"history", b"seen", b"seen_before", b"gateways", b"subscribers", b"members")
#: Errors about the data of one topic; all others are about the server (OOM, READONLY, MISCONF, …).
_TOPICS_OWN: Final = ("WRONGTYPE", "user_script", "BEHIND")


class TopicStore:
    """Topics: their history, subscribers, members and interested gateways."""

    def __init__(
        self,
        client: aioredis.Redis,
        settings: Settings,
        clock: Callable[[], int] | None = None,
        *,
        moment: Callable[[Operation], tuple[int, str]] | None = None,
        assurance: Assurance | None = None,
    ) -> None:
        """`clock` gives Unix ms; without one the time is that of Redis.

        `assurance`: what must be so of the topics before anybody is told what became of them. Else a server that takes
        over could lack an offset that was delivered, and give it to another publication.

        `moment`: what the time was when an operation was first carried out, and the epoch that a topic got with it if
        it had none: so that it gives the same once more.
        """
        self._client = client
        self._keys = settings.keys
        self._clock = clock
        self._moment = moment
        limits = {"WINDOW": settings.dedup_seconds * 1000, "MOST": settings.max_sessions_per_user}
        self._rules = HistoryRules(settings.channel_history, Kept(settings.history_size, settings.history_seconds))
        self._scripts = [load(name, limits) for name in ("publish", "grant", "suspend", "end")]
        self._publish, self._grant, self._suspend, self._end = self._scripts
        # Before what needs them, not when it has failed: another router may load them in the middle of a batch, and its
        # end would be carried out before its beginning.
        loads = [pack((b"SCRIPT", b"LOAD", one.source.encode())) for one in self._scripts]
        self._wire = Wire(loads, assurance)
        self._assured = assurance is not None

    async def run(self, operations: Sequence[Operation]) -> list[Reply | ResponseError]:
        """Carry `operations` out in order, in one round trip, and give the reply of each.

        Where one topic's data is not what it should be, its place in the answer holds the error. Raises
        RedisError when Redis could not carry out the rest; any part may have happened then, and all may be
        asked again.
        """
        if not operations:
            return []
        fresh = secrets.token_hex(4)
        answers = await self._execute(operations, fresh)
        if any(isinstance(answer, NoScriptError) for answer in answers):
            # Somebody flushed them. The whole batch again: what was carried out is remembered.
            self._wire.forget()
            answers = await self._execute(operations, fresh)
        out: list[Reply | ResponseError] = []
        for operation, answer in zip(operations, answers, strict=True):
            if not isinstance(answer, Exception):
                out.append(_reply(operation, answer, fresh.encode()))
            elif isinstance(answer, ResponseError) and str(answer).startswith(_TOPICS_OWN):
                out.append(answer)
            else:
                raise answer
        return out

    async def subscribers(self, topic: str) -> list[str]:
        """The sessions that are subscribed to `topic`."""
        raw = cast("list[bytes]", await self._client.hkeys(self._keys.topic(topic, "subscribers")))
        return [session.decode() for session in raw]

    async def _execute(self, operations: Sequence[Operation], fresh: str) -> list[Any]:
        """`fresh`: the epoch of topics that have none, and what marks this round trip."""
        now = b"%d" % self._clock() if self._clock is not None else b""
        left = Counter(one.topic for one in operations if not isinstance(one, Look))
        before: dict[str, str] = {}
        commands = []
        for place, one in enumerate(operations):
            epoch = fresh
            if self._moment is not None:
                at, epoch = self._moment(one)
                now = b"%d" % at
            mark = ""
            if not isinstance(one, Look):
                left[one.topic] -= 1
                # A repeat, too, writes something then: what is asked about is what was written.
                if left[one.topic] or self._assured:
                    mark = f"{fresh}:{place}"
            commands.append(self._command(one, now, epoch.encode(), before.get(one.topic, ""), mark))
            if mark:
                before[one.topic] = mark
        if (server := only_server(self._client)) is not None:
            return await self._wire.round_trip(server, commands)
        await settle(self._client)
        parts: dict[aioredis.Redis, list[int]] = {}
        for place, operation in enumerate(operations):
            node = node_of(self._client, self._keys.topic(operation.topic, ""))
            parts.setdefault(node, []).append(place)
        found = await all_of([self._wire.round_trip(node, [commands[i] for i in part]) for node, part in parts.items()])
        answers: list[Any] = [None] * len(commands)
        for part, some in zip(parts.values(), found, strict=True):
            for place, answer in zip(part, some, strict=True):
                answers[place] = answer
        return answers

    def _command(self, operation: Operation, now: bytes, fresh: bytes, before: str, mark: str) -> bytes:
        base = self._keys.topic(operation.topic, "").encode()
        own: tuple[bytes, ...]
        match operation:
            case Look():
                return pack((b"HKEYS", base + b"gateways"))
            case Publish():
                script, own = self._publish, (operation.payload,)
            case Grant():
                script, own = self._grant, _subscriber(operation)
            case Suspend():
                script, own = self._suspend, (operation.session.encode(), b"%d" % operation.generation)
            case End():
                script, own = self._end, (operation.session.encode(),)
        keys = [base + part for part in PARTS]
        size, seconds = self._rules.of(operation.topic)
        bounds = (b"%d" % size, b"%d" % (seconds * 1000))
        common = (operation.id.encode(), now, fresh, *bounds, before.encode(), mark.encode())
        return pack((b"EVALSHA", script.sha, b"7", *keys, *common, *own))


def _subscriber(grant: Grant) -> tuple[bytes, ...]:
    """What the script is told of a new subscriber."""
    key = "" if grant.member is None else grant.user or grant.session
    record = {"gateway": grant.gateway, "user": grant.user, "presence": key, "generation": grant.generation}
    where = grant.recover
    return (
        grant.session.encode(),
        grant.gateway.encode(),
        orjson.dumps(record),
        key.encode(),
        grant.member or b"",
        where.epoch.encode() if where else b"",
        b"%d" % where.offset if where else b"",
        b"1" if grant.limited else b"0",
        b"%d" % grant.generation,
    )


def _names(raw: Sequence[bytes]) -> tuple[str, ...]:
    """Gateway names in an order that does not depend on Redis."""
    return tuple(sorted(name.decode() for name in raw))


def _reply(operation: Operation, answer: Any, fresh: bytes) -> Reply:
    match operation:
        case Publish():
            epoch, offset, repeated, gateways = answer
            return Published(epoch.decode(), offset, _names(gateways), bool(repeated), epoch == fresh)
        case Look():
            return Interest(_names(answer))
        case Suspend():
            return Suspended()
        case End():
            gateway, left, gateways = answer
            return Ended(gateway.decode(), left or None, _names(gateways))
        case Grant() if not answer:
            return Gone()
        case Grant() if len(answer) == 1:
            return Full(answer[0])
        case Grant():
            epoch, offset, recovered, missed, joined, gateways, members, former = answer
            return Granted(
                epoch=epoch.decode(),
                offset=offset,
                recovered=bool(recovered),
                missed=tuple(enumerate(map(_payload, missed), offset - len(missed) + 1)),
                members=None if operation.member is None else _descriptions(members),
                joined=bool(joined),
                gateways=_names(gateways),
                former=former.decode(),
                began=epoch == fresh,
            )


def _payload(stored: bytes) -> bytes:
    """What was published, out of `ms:payload`."""
    return stored.partition(b":")[2]


def _descriptions(stored: Sequence[bytes]) -> tuple[bytes, ...]:
    """What members look like, out of `sessions:description`."""
    return tuple(sorted(raw.partition(b":")[2] for raw in stored))
