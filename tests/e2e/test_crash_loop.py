"""A service that fails at every start, and is started again and again, disturbs nobody."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from schemas.keys import Keys
from tests.support.client import Client
from tests.support.system import PARTITIONS, Service, System, system

STARTS = 5


async def test_a_service_that_fails_at_each_start_says_why_and_disturbs_nobody() -> None:
    """Processors whose port somebody else has: they have joined their groups by the time that they find out. Each time
    they leave with the operator's status; sessions meanwhile are served, and in order."""
    async with system() as running, running.client() as client:
        await client.authenticate((await running.laravel.token("calm")).token)
        enough = asyncio.Event()
        asking = asyncio.create_task(ask_until(enough, client))
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
            broken = like_the_processors(running, port)
            for _ in range(STARTS):
                with pytest.raises(RuntimeError, match="ended with 2"):
                    await broken.start()
        enough.set()
        answers = await asking
        places = [answer["headgate"]["offset"] for answer in answers]
        assert places == list(range(places[0], places[0] + len(places)))
        assert broken.log(1_000_000).count(f"cannot listen on 127.0.0.1:{port}: Address already in use") == STARTS
        await running.settled()
        for partition in range(PARTITIONS):
            for log in (running.keys.inbound(partition), running.keys.outbound(partition)):
                assert not await running.log.exists(Keys.dead(log))


async def ask_until(enough: asyncio.Event, client: Client) -> list[dict[str, Any]]:
    """What the application answered to one message after the other."""
    answers = [await client.ask({"type": "echo", "n": 0})]
    while not enough.is_set():
        answers.append(await client.ask({"type": "echo", "n": len(answers)}))
    return answers


def like_the_processors(running: System, port: int) -> Service:
    """Another process of them, on `port`."""
    env = running.services["processors"].env | {"HEADGATE_PROCESSORS_HTTP_PORT": str(port)}
    return Service("broken", ["processors"], env, f"http://127.0.0.1:{port}", running.folder)
