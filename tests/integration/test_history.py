"""What a topic keeps of what was published, over a real Redis: by age, and by channel."""

from __future__ import annotations

from schemas.events import Position
from tests.integration.router_world import PRESENCE, ROOM, grant, message, world


async def test_what_is_too_old_is_not_recovered() -> None:
    """Publications are kept for their time also where the topic is in use; who comes later hears so."""
    async with world(history_seconds=10) as w:
        await w.route(grant(ROOM, "a", "g1"), message(ROOM, 1))
        epoch = (await w.take("g1"))[0][1]["epoch"]
        w.now += 6_000
        await w.route(message(ROOM, 2))
        for wait, recovered, missed in ((3_999, True, [1, 2]), (1, False, []), (0, True, [2]), (6_000, False, [])):
            w.now += wait
            since = Position(epoch=epoch, offset=1 if missed == [2] else 0)
            await w.route(grant(ROOM, f"b{w.now}{missed}", "g2", recover=since))
            ((_, subscribed),) = await w.take("g2")
            assert subscribed["recovered"] is recovered, (wait, missed)
            assert [one["offset"] for one in subscribed["publications"]] == missed
        assert await w.client.llen(w.keys.topic(ROOM, "history")) == 0


async def test_a_channel_keeps_what_its_rule_says() -> None:
    """By name, however much the others keep."""
    async with world(channel_history=("room=2/60", "pres*=0/1"), history_size=5) as w:
        for topic in (ROOM, PRESENCE, "user:7"):
            await w.route(*(message(topic, n) for n in range(9)))
        sizes = [await w.client.llen(w.keys.topic(topic, "history")) for topic in (ROOM, PRESENCE, "user:7")]
        assert sizes == [2, 0, 5]
        assert 0 < await w.client.pttl(w.keys.topic(ROOM, "history")) <= 60_000
