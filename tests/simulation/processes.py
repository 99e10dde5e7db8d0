"""What runs in the processes: the project's own code, and a handler and clients that follow the schedule."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from math import inf
from typing import Any, Final

import redis.asyncio as aioredis
from redis.exceptions import RedisError

from egress.delivery import DeliveryStreams
from egress.directory import Directory
from egress.router import Router
from egress.topics.store import TopicStore
from ingress.hub import Hub
from ingress.session import Outgoing
from runtime.bus.appender import Appender
from runtime.bus.cursor import follow
from runtime.bus.group import ConsumerGroup, by_partition, by_session
from runtime.bus.lanes import Handler, one_by_one
from runtime.bus.outcomes import Outcome, Received
from runtime.bus.servers import connect
from runtime.sessions import SessionRecord
from runtime.settings import Settings
from runtime.telemetry import Telemetry
from schemas.entry import Entry
from schemas.events import (
    FIRST_GENERATION,
    AuthenticatedDelivery,
    AuthFailedDelivery,
    MessagePublished,
    MessageReceived,
    SessionAuthenticated,
    SessionRestoredDelivery,
    SubscribedDelivery,
    SubscriptionGranted,
    UnsubscribedDelivery,
)
from schemas.ids import derived
from schemas.topics import channel_topic, session_topic
from tests.simulation.client import attach
from tests.simulation.network import Network
from tests.simulation.plan import Plan
from tests.simulation.world import World

GATEWAY: Final = "gw"
CHANNEL: Final = "news"
GROUP: Final = "app"
ROUTER: Final = "router"
MAX_BATCH: Final = 256


class Running:
    """A process, its client, and its main task."""

    def __init__(self, world: World, network: Network, settings: Settings, name: str) -> None:
        self.world, self.network, self.settings = world, network, settings
        self.process = world.process(name)
        self.name = name
        self.client: aioredis.Redis
        self.appender: Appender

    def spawn(self, coro: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `coro` in this process."""
        task: asyncio.Task[None] = self.process.create_task(coro)
        return task

    async def open(self) -> None:
        """A client and an appender."""
        self.client = connect(self.settings)
        attach(self.client, self.network, self.process)
        self.appender = Appender(self.client)
        await self.appender.start()

    def die(self, *, silent: bool, unsent: bool = True) -> None:
        """At once: no callback runs any more. `silent`: the server does not learn of it; `unsent`: what was on its
        way is lost."""
        for link in self.network.of(self.process):
            if unsent or silent:
                link.cut(silent=silent)
            else:
                link.close()
        if self.process in self.world.processes:
            self.world.remove(self.process)


class Owner(Running):
    """A process with one consumer group."""

    def __init__(
        self,
        world: World,
        network: Network,
        settings: Settings,
        name: str,
        kind: str,
        handle: Callable[[Received], Any],
    ) -> None:
        super().__init__(world, network, settings, name)
        self.kind = kind
        self._handle = handle
        self.group: ConsumerGroup | None = None
        self.stopping = False
        self.stopped = False
        self.main = self.spawn(self._start())

    async def _start(self) -> None:
        await self.open()
        self.group = self._processor() if self.kind == GROUP else self._router()
        while True:
            try:
                await self.group.start()
                return
            except RedisError:
                await asyncio.sleep(0.5)

    def problem(self) -> str | None:
        """Why the group does not run, and what ended it."""
        if self.stopping or self.group is None or (problem := self.group.problem()) is None:
            return None
        ended = [task.exception() for task in self.group._tasks if task.done() and not task.cancelled()]
        return f"{problem}: {ended!r}"

    def stop(self) -> None:
        """As on SIGTERM."""
        if not self.stopping:
            self.stopping = True
            self.spawn(self._stop())

    async def _stop(self) -> None:
        await self.main
        assert self.group is not None
        await self.group.stop()
        await self.appender.stop()
        await self.client.aclose()
        self.stopped = True

    def _processor(self) -> ConsumerGroup:
        keys = self.settings.keys
        logs = [keys.inbound(p) for p in range(self.settings.partitions)]
        return self._group(logs, GROUP, one_by_one(self._handle), by_session)

    def _router(self) -> ConsumerGroup:
        keys = self.settings.keys
        streams = DeliveryStreams(self.client, self.appender, self.settings, self.world.monotonic)
        sessions = SessionRecord(self.client, keys, self.settings.resume_seconds)
        router = Router(TopicStore(self.client, self.settings), Directory(self.client, keys), streams, sessions)
        logs = [keys.outbound(p) for p in range(self.settings.partitions)]
        return self._group(logs, ROUTER, router.handle, by_partition, MAX_BATCH)

    def _group(
        self, logs: Sequence[str], name: str, handler: Handler, key: Callable[[Received], str], batch: int = 1
    ) -> ConsumerGroup:
        return ConsumerGroup(
            self.settings,
            self.client,
            self.appender,
            Telemetry(None, "simulation"),
            logs=logs,
            group=name,
            handler=handler,
            key=key,
            max_batch=batch,
        )


class Application:
    """The handler of inbound entries; it says of each what the plan says, and remembers what it was asked."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.asked: Counter[str] = Counter()

    def of(self, owner_name: str, world: World) -> Callable[[Received], Awaitable[Outcome]]:
        """The handler of one process."""

        async def handle(received: Received) -> Outcome:
            entry = received.entry
            number = self.asked[entry.id]
            self.asked[entry.id] += 1
            world.say(f"{owner_name}: handles {entry.session} {entry.payload()['frame']} {received.stream_id}")
            fate = self._plan.fates[entry.id]
            if fate.seconds:
                await asyncio.sleep(fate.seconds)
            if fate.dead:
                return Outcome.dead("planned")
            if fate.poison or number < fate.again:
                return Outcome.again("planned")
            if number < fate.again + fate.later:
                return Outcome.later("planned")
            return Outcome.done(*follows(entry))

        return handle


def follows(entry: Entry) -> list[Entry]:
    """What an inbound entry leads to."""
    n = entry.payload()["frame"]["n"]
    own, channel = session_topic(entry.session), channel_topic(CHANNEL)
    if n == 0:
        return [
            entry.follow(0, SessionAuthenticated(user=None), topic=own),
            entry.follow(1, SubscriptionGranted(), topic=channel),
        ]
    topics = [own, channel] if n % 2 else [own]
    return [
        entry.follow(position, MessagePublished(frame={"topic": topic, "from": entry.session, "n": n}), topic=topic)
        for position, topic in enumerate(topics)
    ]


class Session:
    """A session at the gateway; what it is sent is written down."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.events: list[str] = []
        self.frames: list[tuple[str, str, int]] = []
        """Topic, session that it came from, number; in the order in which they came."""

    @property
    def id(self) -> str:
        """Its id."""
        return self._name

    @property
    def generation(self) -> int:
        """Of its connection: it never has another."""
        return FIRST_GENERATION

    def become(self, session: str) -> None:
        """It is a former session: it never is."""

    def restored(self, event: SessionRestoredDelivery) -> None:
        """It was resumed."""

    def superseded(self) -> None:
        """It goes on elsewhere."""

    def joined(self, topic: str, event: SubscribedDelivery) -> None:
        """It is on its user's topic."""

    def authenticated(self, event: AuthenticatedDelivery) -> None:
        """The token is good."""
        self.events.append("authenticated")

    def auth_failed(self, event: AuthFailedDelivery) -> None:
        """It is not."""

    def subscribed(self, channel: str, event: SubscribedDelivery) -> None:
        """It is in the channel."""
        self.events.append(f"subscribed {channel}")

    def unsubscribed(self, channel: str, event: UnsubscribedDelivery) -> None:
        """It is not any more."""

    def publication(self, outgoing: Outgoing, stream: int) -> None:
        """A frame for it."""
        frame = outgoing.frame
        self.frames.append((frame["topic"], frame["from"], frame["n"]))

    def unreliable(self, outgoing: Outgoing) -> None:
        """A datagram for it."""

    def disconnect(self, code: int, reason: str) -> None:
        """It is to be closed."""

    def lost(self) -> None:
        """Its gateway was declared lost."""

    def missed(self) -> None:
        """Something for it did not come: that never happens here, where no stream is cut."""
        raise AssertionError("a hole in a topic")

    def broke(self) -> None:
        """What it says of a delivery is an exception: not to be swallowed."""
        raise

    def hold(self, away: bool) -> None:
        """The log is away, or back."""

    def tick(self) -> None:
        """Time went on."""


class Gateway(Running):
    """Writes what its clients send, and is the subscriber of what comes back."""

    def __init__(self, world: World, network: Network, settings: Settings, plan: Plan) -> None:
        super().__init__(world, network, settings, "gateway")
        self._plan = plan
        self.hub = Hub()
        self.sessions = {name: Session(name) for name in plan.sends}
        for session in self.sessions.values():
            self.hub.add(session)
        self.results: Counter[str] = Counter()
        self.read = "0"
        self.writing = len(plan.sends)
        self.main = self.spawn(self._start())

    async def _start(self) -> None:
        await self.open()
        writers = [self.spawn(self._write(session, times)) for session, times in self._plan.sends.items()]
        await self._follow()
        await asyncio.gather(*writers)

    async def _write(self, session: str, times: Sequence[float]) -> None:
        """Send frames when it is time, without waiting for those before; what was not acknowledged is sent again."""
        key = self.settings.keys.inbound_of(session)
        flying: deque[tuple[Entry, asyncio.Future[str]]] = deque()
        for n, at in enumerate(times):
            await self._until(at, key, flying)
            id_ = derived(session, f"frame/{n}")
            entry = Entry.of(MessageReceived(frame={"n": n}), id=id_, ts=n, session=session, gateway=GATEWAY)
            flying.append((entry, self.appender.append(key, entry)))
        await self._until(inf, key, flying)
        self.writing -= 1

    async def _until(self, at: float, key: str, flying: deque[tuple[Entry, asyncio.Future[str]]]) -> None:
        """Until `at`, or until all is acknowledged: from the first that was not on, in order, send again."""
        while True:
            while flying and flying[0][1].done() and flying[0][1].exception() is None:
                flying.popleft()
            left = at - self.world.now
            if flying and flying[0][1].done():
                await asyncio.wait([future for _, future in flying])
                again = [entry for entry, future in flying if future.exception() is not None]
                await asyncio.sleep(0.3)
                flying.clear()
                flying += [(entry, self.appender.append(key, entry)) for entry in again]
            elif left <= 0 or not (flying or left < inf):
                return
            elif flying:
                await asyncio.wait([flying[0][1]], timeout=left if left < inf else None)
            else:
                await asyncio.sleep(left)

    async def _follow(self) -> None:
        stream = self.settings.keys.delivery(GATEWAY)
        async for batch in follow(self.client, {stream: "0"}):
            for _, stream_id, entry in batch:
                result = self.hub.deliver(entry)
                self.results[result] += 1
                self.world.say(f"gateway: {entry.type} {entry.topic} {entry.payload().get('offset')} {result}")
                self.read = stream_id
