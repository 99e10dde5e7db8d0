"""The scenarios of tests/scenarios against real processes, over each transport, and what real processes add to them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Error

from tests.scenarios import ending, greeting, resuming, talking
from tests.scenarios.real import TRANSPORTS, RealWorld, Surroundings, TransportName, surroundings
from tests.scenarios.world import SCENARIOS, Scenario
from tests.support.client import Client, SocketClient
from tests.support.waiting import eventually
from tests.support.wt_client import SessionRefusedError

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALL = (ending, greeting, resuming, talking)
assert {scenario.__module__ for scenario in SCENARIOS} == {module.__name__ for module in ALL}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def around() -> AsyncIterator[Surroundings]:
    """One system and one browser for all."""
    async with surroundings() as made:
        yield made


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_scenario(around: Surroundings, transport: TransportName, scenario: Scenario) -> None:
    """The sentence of each scenario holds over each transport."""
    await scenario(RealWorld(around, transport))


#: Each transport meets each other one once.
MEETINGS = [(one, other) for number, one in enumerate(TRANSPORTS) for other in TRANSPORTS[number + 1 :]]


@pytest.mark.parametrize(("one", "other"), MEETINGS)
async def test_members_of_both_transports(around: Surroundings, one: TransportName, other: TransportName) -> None:
    """Broadcasts, whispers, presence and cursors cross transports and gateways; Laravel stores a message once."""
    channel = f"presence-{one}-and-{other}"
    first, second = RealWorld(around, one), RealWorld(around, other)
    async with first.guest("usual") as ada, second.guest("other") as bob:
        ids = {ada: await first.member(ada, "ada", channel), bob: await second.member(bob, "bob", channel)}
        assert (await ada.wait_type("presence"))["joined"]["id"] == ids[bob]
        for sender, receiver in ((ada, bob), (bob, ada)):
            ack = await sender.message(channel, f"{channel} heard {ids[receiver]}")
            heard = await receiver.wait_type("channel_broadcast")
            stored = [row for row in await around.system.laravel.messages() if row["event_id"] == ack["event"]]
            assert [(row["id"], row["content"]) for row in stored] == [(heard["data"]["id"], heard["data"]["content"])]
            await sender.send({"type": "client-wave", "channel": channel, "data": {}})
            assert (await receiver.wait_type("client-wave"))["from"] == {"id": ids[sender]}
            cursor = {"type": "cursor", "channel": channel, "x": 0.5}
            got = await sender.datagram_to(receiver, cursor, "json")
            got.pop("unreliable", None)
            assert got == cursor | {"from": {"id": ids[sender]}}
        sessions = {ada.session, bob.session}
    logged = [entry for entry in await around.system.entries(datagrams=True) if entry.session in sessions]
    assert {entry.session for entry in logged} == sessions
    assert all(entry.payload()["frame"] == cursor for entry in logged)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_ends_are_counted(around: Surroundings, transport: TransportName) -> None:
    """A mistake is one end of its code, by the gateway."""
    gateway, name = around.system.gateways[0], "headgate_sessions_closed_total"
    before = await gateway.metric(name, code="4400", by="gateway")
    async with RealWorld(around, transport).guest() as guest:
        await guest.send_raw(b"{]")
        await guest.closed()

    async def counted() -> bool:
        return await gateway.metric(name, code="4400", by="gateway") == before + 1

    await eventually(counted)


@pytest.mark.parametrize("client", [Client, SocketClient])
async def test_another_path_gets_a_status(around: Surroundings, client: type[Client | SocketClient]) -> None:
    """What is not ours is refused with 404, before there is a session."""
    with pytest.raises(SessionRefusedError) as refused:
        await client.connect(around.system.gateway_urls[0] + "elsewhere")
    assert refused.value.status == 404


@pytest.mark.parametrize("transport", ["chromium", "chromium-websocket"])
async def test_a_page_does_not_learn_of_statuses(around: Surroundings, transport: TransportName) -> None:
    """A browser hides the status from its page: the connection only fails."""
    world = RealWorld(around, transport)
    with pytest.raises(Error):
        await world.connect(around.system.gateway_urls[0] + "elsewhere")
