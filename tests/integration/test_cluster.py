"""The log on a Redis Cluster of three masters and three replicas, real ones."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from itertools import count
from typing import Any, Final

import pytest
import pytest_asyncio
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from console.records import order
from egress.channels import Channels
from egress.directory import Directory
from egress.operations import Grant, Publish, Published
from egress.routing.notes import ChannelJoined
from egress.topics.store import TopicStore
from runtime.bus.cluster import masters, node_of
from runtime.bus.connection import LogConnection, check_server
from runtime.bus.cursor import follow
from runtime.bus.outcomes import Outcome, Received
from runtime.bus.servers import connect
from runtime.gateways import Gateways
from runtime.settings import Settings
from schemas.entry import Entry
from schemas.errors import ConfigurationError
from schemas.events import MessageReceived
from schemas.keys import Keys, partition_of
from schemas.topics import channel_topic
from tests.support.bus import Bus, bus_settings, running_bus
from tests.support.cluster import RedisCluster, redis_cluster
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

_prefixes = count()
BURST: Final = 20
#: One for each partition.
SESSIONS: Final = sorted({partition_of(f"s{i}", 4): f"s{i}" for i in range(50)}.values())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster() -> AsyncIterator[RedisCluster]:
    async with redis_cluster() as running:
        yield running
        assert (await running.errors())["CROSSSLOT"] == 0


@pytest.fixture
def settings(cluster: RedisCluster) -> Settings:
    return bus_settings(cluster.url, "replicated:1", f"t{next(_prefixes)}:")


@pytest_asyncio.fixture(loop_scope="module")
async def bus(settings: Settings) -> AsyncIterator[Bus]:
    # Small, so that something is always queued behind what is written.
    async with running_bus(settings, max_batch=7) as made:
        yield made


def entry(session: str, n: int) -> Entry:
    """The `n`-th entry of a session."""
    return Entry.of(MessageReceived(frame={"n": n}), id=f"{session}-{n}", ts=n, session=session)


class Seen:
    """Writes down what it handled, by session."""

    def __init__(self) -> None:
        self.numbers: dict[str, list[int]] = defaultdict(list)

    async def __call__(self, received: Received) -> Outcome:
        self.numbers[received.entry.session].append(received.entry.payload()["frame"]["n"])
        return Outcome.done()

    def firsts(self, session: str) -> list[int]:
        """Of each number the first time it was handled."""
        return list(dict.fromkeys(self.numbers[session]))


class Load:
    """Clients that write many frames at once, and those that are not confirmed again, from the first of them on."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._over = False
        self.confirmed: Counter[str] = Counter()
        self._marked: Counter[str] = Counter()

    async def __aenter__(self) -> Load:
        self._tasks = [asyncio.create_task(self._write(session)) for session in SESSIONS]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Write no more; what was confirmed is final."""
        self._over = True
        await asyncio.gather(*self._tasks)

    def mark(self) -> None:
        """Count from here."""
        self._marked = self.confirmed.copy()

    def more(self, number: int, sessions: Sequence[str] = SESSIONS) -> bool:
        """Whether each of `sessions` had so many confirmed since."""
        return all(self.confirmed[session] >= self._marked[session] + number for session in sessions)

    async def _write(self, session: str) -> None:
        key = self._bus.keys.inbound_of(session)
        while not self._over:
            numbers = range(self.confirmed[session], self.confirmed[session] + BURST)
            appends = [self._bus.appender.append(key, entry(session, n)) for n in numbers]
            results = await asyncio.gather(*appends, return_exceptions=True)
            confirmed = [isinstance(result, str) for result in results]
            good = confirmed.index(False) if False in confirmed else BURST
            assert not any(confirmed[good:]), "a later entry overtook one that was not confirmed"
            self.confirmed[session] += good
            await asyncio.sleep(0.002)


def epochs_of(keys: Keys) -> set[str]:
    """Where the epochs of the log are."""
    return {keys.meta(), *(keys.epoch(log(p)) for p in range(4) for log in (keys.inbound, keys.outbound))}


async def numbers_on_log(bus: Bus, session: str) -> list[int]:
    """What the log has of a session, in order."""
    found = [Entry.from_fields(fields) for _, fields in await bus.stored(bus.keys.inbound_of(session))]
    return [int(one.payload()["frame"]["n"]) for one in found if one.session == session]


async def drained(bus: Bus, seen: Seen, load: Load) -> bool:
    for session in SESSIONS:
        # Behind what was confirmed there may be what was appended all the same.
        firsts = seen.firsts(session)
        if len(firsts) < load.confirmed[session] or firsts != list(range(len(firsts))):
            return False
    return await bus.backlog() == 0


async def test_every_kind_of_command_finds_its_master(bus: Bus, settings: Settings) -> None:
    """Commands, scripts, pipelines, transactions, topics and reads of many streams work on keys of all masters."""
    client = bus.client
    servers = await masters(client)
    assert len(servers) == 3
    assert {node_of(client, f"k{i}") for i in range(50)} == set(servers)
    assert set(await check_server(client, settings)) == epochs_of(bus.keys)
    pipeline = client.pipeline(transaction=False)
    for i in range(50):
        pipeline.set(f"{settings.prefix}{i}", i)
    for i in range(50):
        pipeline.get(f"{settings.prefix}{i}")
    assert await pipeline.execute() == [True] * 50 + [b"%d" % i for i in range(50)]
    gateways = Gateways(client, bus.keys)
    assert await gateways.register("g")
    assert await gateways.beat("g")
    store = TopicStore(client, settings, lambda: 1)
    for _ in range(2):
        replies = await store.run([Publish(f"channel:c{i}", f"id-{i}", b"{}") for i in range(50)])
        assert [reply.offset for reply in replies if isinstance(reply, Published)] == [1] * 50
    for n, session in enumerate(SESSIONS):
        await bus.write(session, n)
    found: set[str] = set()
    async for batch in follow(client, dict.fromkeys(bus.logs, "0")):
        found |= {entry.session for _, _, entry in batch}
        if len(found) == 4:
            break


async def test_a_defect_at_one_slot_reaches_who_follows(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the entries of that slot would never come, and nobody would know."""
    well, broken = bus.client.xread, bus.logs[0]

    async def xread(streams: dict[str, str], **options: Any) -> Any:
        if broken in streams:
            raise AttributeError("a defect")
        return await well(streams, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(bus.client, "xread", xread)

    async def read() -> None:
        async for _ in follow(bus.client, dict.fromkeys(bus.logs, "0")):
            pass

    with pytest.raises(AttributeError, match="a defect"):
        await asyncio.wait_for(read(), 10)


async def test_a_stale_owner_reads_nothing(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new owner ends the connections that the last one reads with on each master."""
    first, second = Seen(), Seen()
    one = await bus.group(first)
    for session in SESSIONS:
        await bus.write(session, 0)
    await eventually(lambda: all(first.numbers[session] == [0] for session in SESSIONS), 10)
    monkeypatch.setattr(one._leases, "holds", lambda partition: True)
    monkeypatch.setattr(one, "_tend", asyncio.Event().wait)
    two = await bus.group(second)
    await eventually(lambda: len(two.owned()) == 4, 10)
    for n in range(1, 20):
        for session in SESSIONS:
            await bus.write(session, n)
    await eventually(lambda: all(second.firsts(session) == list(range(1, 20)) for session in SESSIONS), 10)
    assert all(first.firsts(session) == [0] for session in SESSIONS)
    monkeypatch.undo()


async def test_a_slot_that_moves_is_followed(bus: Bus, cluster: RedisCluster) -> None:
    """While a partition's slot moves to another master under load everything is confirmed once and handled in order."""
    seen = Seen()
    await bus.group(seen)
    async with Load(bus) as load:
        await eventually(lambda: load.more(5 * BURST), 10)
        before = await cluster.errors()
        await cluster.move(bus.keys.inbound_of(SESSIONS[0]), pause=0.2)
        load.mark()
        await eventually(lambda: load.more(5 * BURST), 10)
    await eventually(lambda: drained(bus, seen, load), 20)
    for session in SESSIONS:
        assert await numbers_on_log(bus, session) == list(range(load.confirmed[session]))
    since = (await cluster.errors()) - before
    assert since["MOVED"] > 0
    assert since["ASK"] > 0


async def test_appends_keep_their_order_while_their_stream_moves(bus: Bus, cluster: RedisCluster) -> None:
    """What is appended all the while that a stream leaves for another master is confirmed in the order of the calls."""
    key = bus.keys.outbound(0)
    appends = [bus.appender.append(key, entry("s", 0))]
    await appends[0]
    before = await cluster.errors()
    moving = asyncio.create_task(cluster.move(key, pause=0.1))
    after = 0
    while after < 500:
        after += BURST * moving.done()
        appends += [bus.appender.append(key, entry("s", len(appends) + n)) for n in range(BURST)]
        await asyncio.sleep(0.002)
        # On a slow machine a slot takes its time: what is not confirmed yet stays bounded.
        await asyncio.wait([asyncio.ensure_future(appends[max(0, len(appends) - 1000)])])
    await moving
    ids = [order(stream_id) for stream_id in await asyncio.gather(*appends)]
    since = (await cluster.errors()) - before
    assert since["ASK"]
    assert since["MOVED"]
    assert ids == sorted(set(ids))
    assert [fields[b"id"] for _, fields in await bus.stored(key)] == [b"s-%d" % n for n in range(len(ids))]


async def test_a_log_that_one_master_lost_is_told(bus: Bus, cluster: RedisCluster) -> None:
    """Of a master that lost its data the partitions are named, their groups begin anew, all others stay as they are."""
    told: list[str] = []
    connection = LogConnection(connect(bus.settings), bus.settings, told.extend)
    await connection.start()
    seen = Seen()
    await bus.group(seen)
    for session in SESSIONS:
        await bus.write(session, 0)
    await eventually(lambda: all(seen.numbers[session] == [0] for session in SESSIONS), 10)
    lost = node_of(bus.client, bus.keys.inbound_of(SESSIONS[0]))
    before = REGISTRY.get_sample_value("headgate_log_lost_total") or 0
    with capture_logs() as logs:
        await lost.flushall()
        await eventually(lambda: REGISTRY.get_sample_value("headgate_log_lost_total") == before + 1, 10)
    (line,) = [line for line in logs if line["event"] == "log.lost"]
    assert told == line["told_by"]
    assert set(told) == {place for place in epochs_of(bus.keys) if node_of(bus.client, place) is lost}
    for session in SESSIONS:

        async def written(session: str = session) -> bool:
            return await bus.writes(session, 1)

        await eventually(written, 10)
    await eventually(lambda: all(seen.numbers[session] == [0, 1] for session in SESSIONS), 20)
    await connection.stop()


async def test_masters_that_answer_are_told_from_one_that_is_away(bus: Bus, cluster: RedisCluster) -> None:
    """The log is not whole then, and gateways whose stream is elsewhere go on with what is on the others."""
    connection = LogConnection(connect(bus.settings), bus.settings)
    await connection.start()
    there, gone = [bus.keys.delivery(name) for name in await gateways_apart(bus, cluster)]
    assert (connection.problem(), connection.problem_at(there), connection.problem_at(gone)) == (None, None, None)
    pair = await cluster.pair_of(gone)
    for server in pair:
        await server.kill()
    await eventually(lambda: connection.problem() is not None, 20)
    assert connection.problem_at(gone) is not None
    assert connection.problem_at(there) is None
    for server in pair:
        await server.start()
    await eventually(lambda: connection.problem() is None, 20)
    assert connection.problem_at(gone) is None
    await eventually(cluster.healthy, 30)
    await connection.stop()


async def gateways_apart(bus: Bus, cluster: RedisCluster) -> tuple[str, str]:
    """Two gateways whose streams are on different masters."""
    names = [f"g{n}" for n in range(20)]
    masters = [await cluster.master_of(bus.keys.delivery(name)) for name in names]
    return names[0], next(name for name, its in zip(names, masters, strict=True) if its is not masters[0])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_failover_under_load_loses_nothing(bus: Bus, cluster: RedisCluster, number: signal.Signals) -> None:
    """When a master dies or hangs its replica is followed: what was confirmed is handled, in order and to its end, and
    the streams of other masters are appended to all the while."""
    seen = Seen()
    await bus.group(seen)
    log = bus.keys.inbound_of(SESSIONS[0])
    server = await cluster.master_of(log)
    others = [one for one in SESSIONS if await cluster.master_of(bus.keys.inbound_of(one)) is not server]
    assert others
    async with Load(bus) as load:
        await eventually(lambda: load.more(5 * BURST), 10)
        load.mark()
        former = await cluster.fail_over(log, number)
        await eventually(lambda: load.more(5 * BURST, others), 10)
        # Without a replica the new master has nobody to confirm what it is sent.
        await cluster.come_back(former, number)
        load.mark()
        await eventually(lambda: load.more(5 * BURST), 30)
    await eventually(lambda: drained(bus, seen, load), 30)


async def test_a_cluster_that_evicts_is_refused(cluster: RedisCluster, settings: Settings) -> None:
    """One master that would drop parts of the log is enough."""
    client = connect(settings)
    server = (await masters(client))[-1]
    await server.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(ConfigurationError, match="noeviction"):
        await check_server(client, settings)
    await server.config_set("maxmemory-policy", "noeviction")
    await client.aclose()


async def test_channels_are_listed_from_every_master(settings: Settings) -> None:
    """Notes, pages and histories of channels whose keys are all over the cluster; the empty ones are forgotten."""
    client = connect(settings)
    store, directory = TopicStore(client, settings), Directory(client, settings.keys)
    channels = Channels(client, directory, settings)
    names = [f"presence-{n}" for n in range(20)]
    await store.run([Grant(channel_topic(one), "grant", "s1", "g1", "7", b"{}") for one in names])
    await store.run([Publish(channel_topic(one), "m", b'{"frame":{},"exclude":null}') for one in names])
    await directory.take([ChannelJoined("s1", one, "1-0") for one in [*names, "empty"]])
    found, position = await channels.page(15)
    assert position is not None
    found += (await channels.page(15, *position))[0]
    assert sorted(one.name for one in found) == sorted(names)
    assert {(one.sessions, one.users) for one in found} == {(1, 1)}
    assert all([(await channels.history(one, 0, 10)).offset == 1 for one in names])
    listed = [await directory.channels(partition) for partition in range(settings.partitions)]
    assert not any("empty" in some for some in listed)
    await client.aclose()
