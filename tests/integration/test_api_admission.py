"""How many requests a signing key may make, counted in a real Redis."""

from __future__ import annotations

import asyncio
import time

import pytest
from prometheus_client import REGISTRY

from egress.api.admission import Admission, NonceUsed, TooManyRequests
from runtime.bus.servers import connect
from runtime.settings import Settings
from tests.support.api import running_api
from tests.support.waiting import eventually


def refused(status: int) -> float:
    return REGISTRY.get_sample_value("headgate_api_refused_total", {"status": str(status)}) or 0.0


async def test_a_key_has_so_many_requests_a_minute() -> None:
    """The next one is refused with the time until its minute is over, and counted; monitoring goes on."""
    before = refused(429)
    async with running_api(api_requests_per_minute=3) as api:
        statuses = [(await api.call("GET", "/sessions")).status_code for _ in range(4)]
        assert statuses == [200, 200, 200, 429]
        answer = await api.post("/send-to-user", {"userId": 7, "message": {}})
        assert answer.status_code == 429
        assert 0 < int(answer.headers["retry-after"]) <= 60
        assert await api.logged("user:7") == []
        assert (await api.http.get("/health")).status_code == 200
    assert refused(429) - before == 2


async def test_a_stranger_uses_up_nothing_of_a_key() -> None:
    """Neither requests with a wrong signature nor recorded ones that are sent again count."""
    async with running_api(api_requests_per_minute=2) as api:
        signed = api.settings.signer().headers("GET", "/sessions", b"", timestamp=int(time.time()), nonce="once")
        wrong = signed | {"X-Headgate-Signature": "v1=" + "0" * 64}
        assert (await api.http.get("/sessions", headers=signed)).status_code == 200
        for _ in range(5):
            assert (await api.http.get("/sessions", headers=wrong)).status_code == 401
            assert (await api.http.get("/sessions", headers=signed)).status_code == 401
        assert (await api.call("GET", "/sessions")).status_code == 200
        assert (await api.call("GET", "/sessions")).status_code == 429


async def test_a_batch_is_one_request() -> None:
    """However many items it has."""
    async with running_api(api_requests_per_minute=1) as api:
        answer = await api.post("/send-to-user/batch", {"batch": [{"userId": 7, "message": n} for n in range(50)]})
        assert answer.status_code == 200
        assert (await api.call("GET", "/sessions")).status_code == 429


async def test_processes_share_the_count_and_keys_do_not(settings: Settings) -> None:
    """Two doors on one Redis give a key its requests once, and another key its own."""
    client = connect(settings)
    doors = [Admission(client, settings.keys, 10) for _ in range(2)]
    nonces = iter(range(1000))

    async def admitted(key: str) -> bool:
        try:
            await doors[next(nonces) % 2].admit(key, str(next(nonces)))
        except TooManyRequests:
            return False
        return True

    results = await asyncio.gather(*(admitted("a") for _ in range(30)))
    assert sum(results) == 10
    assert await admitted("b")
    assert 0 < await client.pttl(settings.keys.requests("a")) <= 60_000
    await client.aclose()


async def test_the_count_begins_anew(settings: Settings) -> None:
    """When the minute of a key is over it may come again, and what was counted is gone by itself."""
    client = connect(settings)
    door = Admission(client, settings.keys, 1)
    await door.admit("a", "1")
    with pytest.raises(TooManyRequests):
        await door.admit("a", "2")
    await client.pexpire(settings.keys.requests("a"), 1)

    async def over() -> bool:
        return not await client.exists(settings.keys.requests("a"))

    await eventually(over)
    await door.admit("a", "3")
    with pytest.raises(NonceUsed):
        await door.admit("a", "1")
    await client.aclose()


async def test_no_limit_counts_nothing(settings: Settings) -> None:
    """0 is any number."""
    client = connect(settings)
    door = Admission(client, settings.keys, 0)
    for n in range(50):
        await door.admit("a", str(n))
    assert not await client.exists(settings.keys.requests("a"))
    await client.aclose()
