"""What operators may do, each written down in the operators' log before it is done."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import partial
from typing import Final, TypeVar

import structlog
from prometheus_client import Counter
from redis.exceptions import RedisError

from console.operators import OperatorsLog, Who
from console.web.access import Operator
from console.web.replays.jobs import Job, Jobs
from console.web.replays.wanted import Wanted
from runtime.bus.appender import Appender
from runtime.bus.dead import DeadLetters
from schemas.close_codes import MAX_WEBSOCKET_REASON_BYTES, CloseCode, clip_reason
from schemas.entry import Entry
from schemas.errors import HeadgateError
from schemas.events import DisconnectRequested
from schemas.ids import uuid7
from schemas.keys import Keys
from schemas.topics import session_topic, user_topic

T = TypeVar("T")

log = structlog.get_logger()

OPERATIONS: Final = Counter(
    "headgate_console_operations", "What operators did in the console.", ["operation", "result"]
)
#: What a client is told when no reason was given.
REASON: Final = "disconnected by an operator"


class Operations:
    """The operations. Each raises RedisError or LogUnavailable when the log is away."""

    def __init__(self, appender: Appender, keys: Keys, letters: DeadLetters, jobs: Jobs, record: OperatorsLog) -> None:
        self._appender = appender
        self._keys = keys
        self._letters = letters
        self._jobs = jobs
        self._record = record

    async def disconnect_session(self, operator: Operator, address: str, session: str, reason: str) -> None:
        """Have one session closed."""
        topic = session_topic(session)
        doing = partial(self._disconnect, topic, reason, session=session)
        await self._do(operator, address, "disconnect session", session, doing)

    async def disconnect_user(self, operator: Operator, address: str, user: str, reason: str) -> None:
        """Have all sessions of a user closed."""
        doing = partial(self._disconnect, user_topic(user), reason, user=user)
        await self._do(operator, address, "disconnect user", user, doing)

    async def retry(self, operator: Operator, address: str, letter: str) -> None:
        """Put a dead letter back on its log; raises NoSuchLetter."""
        await self._do(operator, address, "retry letter", letter, partial(self._retry, letter))

    async def drop(self, operator: Operator, address: str, letter: str) -> None:
        """Forget a dead letter; raises NoSuchLetter."""
        await self._do(operator, address, "drop letter", letter, partial(self._drop, letter))

    async def start_replay(self, operator: Operator, address: str, wanted: Wanted) -> Job:
        """Replay what is wanted into a sandbox; raises NotStarted."""
        doing = partial(self._jobs.begin, wanted, operator.name)
        return await self._do(operator, address, "start replay", str(wanted), doing)

    async def cancel_replay(self, operator: Operator, address: str, number: int) -> None:
        """End a replay; raises NoSuchJob, Over."""
        await self._do(operator, address, "cancel replay", str(number), partial(self._jobs.cancel, number))

    async def _do(
        self, operator: Operator, address: str, operation: str, target: str, doing: Callable[[], Awaitable[T]]
    ) -> T:
        who = Who(operator.name, str(operator.role), address)
        said = {**asdict(who), "operation": operation, "target": target}
        log.info("console.operation", **said, failure="")
        try:
            async with self._record.doing(who, operation, target):
                made = await doing()
        except (HeadgateError, RedisError) as error:
            log.info("console.operation", **said, failure=str(error))
            OPERATIONS.labels(operation, "failed").inc()
            raise
        OPERATIONS.labels(operation, "done").inc()
        return made

    async def _disconnect(self, topic: str, reason: str, **context: str) -> None:
        """As POST /disconnect of the HTTP API does it."""
        now = time.time_ns() // 1_000_000
        words = clip_reason(reason or REASON, MAX_WEBSOCKET_REASON_BYTES)
        event = DisconnectRequested(code=int(CloseCode.FORCED), reason=words)
        entry = Entry.of(event, id=uuid7(now, os.urandom(10)), ts=now, topic=topic, **context)
        await self._appender.append(self._keys.outbound_of(topic), entry)

    async def _retry(self, name: str) -> None:
        await self._letters.retry(await self._letters.get(name))

    async def _drop(self, name: str) -> None:
        await self._letters.drop(await self._letters.get(name))
