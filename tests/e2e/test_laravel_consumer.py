"""An application that reads the log itself: the Composer package's worker in place of the `laravel` processor."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.packaged import ROUTES, heard, packaged, replayed, worker
from tests.support.system import System, system
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[System]:
    """A gateway and everything behind it but the processor that hands messages over by HTTP."""
    async with system(application=packaged, laravel_via="log", **ROUTES) as made:
        yield made


async def test_a_worker_hands_messages_over_and_answers(running: System) -> None:
    """A message is stored once by its handler, broadcast and answered; opening and end of its session are events."""
    async with worker(running):
        async with running.client() as ada, running.client() as bob:
            for client, name in ((ada, "ada"), (bob, "bob")):
                await client.authenticate((await running.laravel.token(name)).token)
                assert (await client.subscribe("presence-room.1"))["type"] == "subscribed"
            ack = await ada.message("presence-room.1", "through the log")
            told = await bob.wait_type("channel_broadcast")
            assert (told["event"], told["data"]["content"]) == ("message.kept", "through the log")
            reply = await ada.wait(lambda frame: frame.get("id") == ack["id"])
            assert reply["data"] == told["data"]
            (kept,) = await running.laravel.messages()
            assert (kept["event_id"], kept["session"]) == (ack["event"], ada.session)
            assert (await ada.ask({"type": "echo", "n": 1}))["n"] == 1
            assert (await ada.ask({"type": "mystery"}))["code"] == 121
            ada.transport.close()

        async def closed() -> bool:
            return "ConnectionClosed" in dict(await heard(running, ada.session))

        await eventually(closed, 20)
        assert [name for name, _ in await heard(running, ada.session)] == ["ConnectionOpened", "ConnectionClosed"]


async def test_what_is_sent_while_no_worker_runs_is_handed_over_later(running: System) -> None:
    """After a worker was killed messages are acknowledged as before, and the next worker has them, in order."""
    async with running.client() as ada:
        await ada.authenticate((await running.laravel.token("waiting")).token)
        async with worker(running) as killed:
            assert (await ada.ask({"type": "echo", "n": 0}))["n"] == 0
            killed.kill()
            await killed.wait()
        for n in range(1, 6):
            await ada.send({"type": "echo", "n": n, "id": f"e{n}"})
            assert (await ada.wait_type("ack", id=f"e{n}"))["type"] == "ack"
        async with worker(running):
            assert [(await ada.wait_type("echo"))["n"] for _ in range(5)] == [1, 2, 3, 4, 5]


async def test_what_the_worker_answered_is_no_output_that_is_missing(running: System) -> None:
    """A replay decides all of it as it was, but for the application's answers, which are its own."""
    async with worker(running):
        status, differences, figures = await replayed(running, laravel_via="log")
    assert (status, differences) == (0, []), figures
    assert figures["not_judged"]["published by the application"] > 5
    assert not any(why.startswith("not settled") for why in figures["not_judged"]), figures
