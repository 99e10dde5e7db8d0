"""The whole way on a Redis Cluster of three masters, of which one dies, and whose slots move."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.client import Client
from tests.support.cluster import RedisCluster, redis_cluster
from tests.support.command import outcome
from tests.support.system import PARTITIONS, System, environment, system
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHANNEL = "presence-hall"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster() -> AsyncIterator[RedisCluster]:
    async with redis_cluster() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(cluster: RedisCluster) -> AsyncIterator[System]:
    """Two gateways and everything behind them; what is acknowledged is on a replica too."""
    async with system(gateways=2, cluster=cluster, ack="replicated:1", resume_seconds="2") as made:
        yield made


async def enter(running: System, client: Client, name: str) -> str:
    """Authenticate and join the channel; gives the user id."""
    login = await running.laravel.token(name)
    await client.authenticate(login.token)
    assert (await client.subscribe(CHANNEL))["type"] == "subscribed"
    return str(login.user_id)


class Talker:
    """Sends numbered messages, each until it is acknowledged."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._over = False
        self.acknowledged = 0

    async def __aenter__(self) -> Talker:
        self._task = asyncio.create_task(self._talk())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._over = True
        await self._task

    async def more(self, number: int) -> None:
        """Wait until so many more are acknowledged."""
        wanted = self.acknowledged + number
        await eventually(lambda: self.acknowledged >= wanted, 40)

    async def _talk(self) -> None:
        while not self._over:
            self.acknowledged += await self._say(self.acknowledged)

    async def _say(self, n: int) -> bool:
        frame_id = f"talk-{n}"
        await self._client.send({"type": "message", "channel": CHANNEL, "data": {"content": str(n)}, "id": frame_id})
        answer = await self._client.wait(
            lambda frame: frame.get("id") == frame_id and frame.get("type") in ("ack", "error")
        )
        return bool(answer["type"] == "ack")


async def heard(client: Client, number: int) -> list[int]:
    """What the next broadcasts say."""
    return [int((await client.wait_type("channel_broadcast"))["data"]["content"]) for _ in range(number)]


async def test_every_part_works_over_three_masters(running: System, cluster: RedisCluster) -> None:
    """Channels, presence, whispers, datagrams, the HTTP API, the directory and the archive."""
    async with running.client(0) as ada, running.client(1) as bob:
        user = await enter(running, ada, "ada")
        await enter(running, bob, "bob")
        ack = await ada.message(CHANNEL, "1")
        assert await heard(bob, 1) == [1]
        await ada.send({"type": "client-wave", "channel": CHANNEL, "data": {}})
        assert (await bob.wait_type("client-wave"))["from"]["id"] == user
        assert (await ada.datagram_to(bob, {"type": "position", "channel": CHANNEL, "x": 1}))["x"] == 1
        await running.post("/broadcast-to-channel", {"channel": CHANNEL, "message": {"content": "2"}})
        assert await heard(bob, 1) == [2]
        await running.post("/send-to-user", {"userId": user, "message": {"type": "for-you"}})
        await ada.wait_type("for-you")
        listed = (await running.get("/sessions")).json()["sessions"]
        assert {ada.session, bob.session} <= {row["id"] for row in listed}
    await running.log.xadd(running.keys.control(), {"command": "resume", "group": "laravel"})
    await eventually(lambda: "group.control" in running.services["processors"].log(), 10)
    await running.settled()
    await eventually(lambda: ack["event"] in running.archived(), 20)
    await eventually(lambda: _nobody_is_listed(running), 20)
    assert (await cluster.errors())["CROSSSLOT"] == 0


async def _nobody_is_listed(running: System) -> bool:
    return not (await running.get("/sessions")).json()["sessions"]


async def test_slots_move_while_clients_talk(running: System, cluster: RedisCluster) -> None:
    """The session's log, the channel's topic and the gateway's stream move to other masters: everything is heard once
    and in order."""
    async with running.client(0) as ada, running.client(1) as bob:
        await enter(running, ada, "mover")
        await enter(running, bob, "listener")
        async with Talker(ada) as talker:
            await talker.more(5)
            for key in (
                running.keys.inbound_of(ada.session),
                running.keys.outbound_of(f"channel:{CHANNEL}"),
                running.keys.topic(f"channel:{CHANNEL}", "state"),
                running.keys.delivery("gateway-1"),
            ):
                await cluster.move(key, pause=0.02)
                await talker.more(5)
        assert await heard(bob, talker.acknowledged) == list(range(talker.acknowledged))
    await running.settled()
    errors = await cluster.errors()
    assert errors["MOVED"] > 0
    assert errors["CROSSSLOT"] == 0


async def test_a_master_dies_while_clients_talk(running: System, cluster: RedisCluster) -> None:
    """The master of the session's log is killed: sessions stay, and everything that is acknowledged is heard, once and
    in order, when its replica has taken over."""
    async with running.client(0) as ada, running.client(1) as bob:
        await enter(running, ada, "survivor")
        await enter(running, bob, "witness")
        async with Talker(ada) as talker:
            await talker.more(5)
            former = await cluster.fail_over(running.keys.inbound_of(ada.session))
            await cluster.come_back(former, signal.SIGKILL)
            await talker.more(20)
        assert await heard(bob, talker.acknowledged) == list(range(talker.acknowledged))
    await running.settled(30)
    assert (await cluster.errors())["CROSSSLOT"] == 0
    logs = [make(p) for p in range(PARTITIONS) for make in (running.keys.inbound, running.keys.outbound)]
    assert sum([await running.log.xlen(running.keys.dead(log)) for log in logs]) == 0


async def test_what_happened_over_three_masters_is_inspected_and_replays(
    running: System, cluster: RedisCluster
) -> None:
    """Trails lie beside the logs of every master: all of it is decided again identically, in a sandbox of its own."""
    await running.settled(30)
    env = environment(running.folder, cluster.url, "http://127.0.0.1:9")
    for source in ("all", "log"):
        arguments = ("replay", "--target", "sandbox", "--source", source, "--json")
        status, output, errors = await outcome(*arguments, env=env, cwd=running.folder)
        assert status == 0, output + errors
        assert json.loads(output)["identical"] > 100
    talker = next(entry.session for entry in await running.entries() if entry.type == "message.received")
    status, output, errors = await outcome("inspect", "session", talker, "--json", env=env, cwd=running.folder)
    assert status == 0, errors
    processors = {one["processor"] for line in output.splitlines() for one in json.loads(line).get("handled", [])}
    assert {"auth", "channels", "laravel", "router"} <= processors, output[:2000]
    assert (await cluster.errors())["CROSSSLOT"] == 0
