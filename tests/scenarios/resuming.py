"""How sessions go on over other connections: what comes back, what is told truthfully, and who may not."""

from __future__ import annotations

from typing import Any

from tests.scenarios.world import Guest, World, scenario
from tests.support.waiting import eventually


def secret_of(success: dict[str, Any]) -> dict[str, Any]:
    """The `resume` of a client that got `success`, and nothing since."""
    offsets = {topic: dict(place) for topic, place in success["offsets"].items()}
    return {"session": success["sessionId"], "secret": success["resumeSecret"], "offsets": offsets}


async def types_of(world: World, session: str) -> list[str]:
    """What the inbound log has of a session."""
    return [entry.type for entry in await world.entries() if entry.session == session]


def place_of(frame: dict[str, Any]) -> dict[str, Any]:
    """Where a channel's frame stands in its history."""
    return {"epoch": frame["epoch"], "offset": frame["offset"]}


async def member_with_secret(guest: Guest, token: str, channel: str) -> tuple[dict[str, Any], Any]:
    """Authenticate and join; gives auth_success and `subscribed`."""
    success = await guest.authenticate(token)
    return success, await guest.subscribe(channel)


@scenario
async def a_drained_session_goes_on_elsewhere(world: World) -> None:
    """After 3001 it has its id, its channel and what it missed there, on another gateway; nobody saw it leave."""
    login, channel = await world.login("moving"), f"presence-{world.channel('moving')}"
    async with world.guest("usual") as watcher:
        await watcher.authenticate((await world.login("watching")).token)
        await watcher.subscribe(channel)
        async with world.guest("other") as guest:
            success, subscribed = await member_with_secret(guest, login.token, channel)
            await watcher.wait_type("presence")
            await world.stop_other()
            assert (await guest.closed()).code == 3001
        await world.publish(channel, "missed")
        async with world.guest("usual") as again:
            resume = secret_of(success)
            resume["offsets"] |= {f"channel:{channel}": place_of(subscribed)}
            back = await again.authenticate(login.token, resume=resume)
            assert (back["sessionId"], back["generation"], back["userId"]) == (success["sessionId"], 2, login.user)
            assert back["recovered"] is True
            assert back["resumeSecret"] != success["resumeSecret"]
            given = await again.wait_type("subscribed", channel=channel)
            assert (given["recovered"], "id" in given) == (True, False)
            assert [one["frame"]["data"] for one in given["publications"]] == ["missed"]
            assert {member["id"] for member in given["members"]} == {login.user, watcher.user}
            await world.publish(channel, "live")
            assert (await again.wait_type("channel_broadcast"))["data"] == "live"
            assert [frame["data"] for frame in watcher.received if frame.get("type") == "channel_broadcast"][:1] == [
                "missed"
            ]
            assert not [frame for frame in watcher.received if frame.get("type") == "presence"]
            types = await types_of(world, success["sessionId"])
    assert [one for one in types if one.startswith("session.")] == [
        "session.auth_requested", "session.opened", "session.disconnected", "session.resumed",
    ]  # fmt: skip


@scenario
async def a_message_is_sent_again_after_a_session_was_resumed(world: World) -> None:
    """The same id in the same session is the same event: its answer comes once, and its acknowledgement names it."""
    login, channel = await world.login("again"), f"private-{world.channel('again')}"
    message = {"type": "message", "channel": channel, "data": {"content": "once"}, "id": "m"}
    async with world.guest("usual") as listener:
        await listener.authenticate((await world.login("counting")).token)
        await listener.subscribe(channel)
        async with world.guest("other") as guest:
            success, _ = await member_with_secret(guest, login.token, channel)
            await guest.send(message)
            first = await guest.wait_type("ack", id="m")
            await guest.wait(lambda frame: frame.get("id") == "m" and frame.get("type") != "ack")
            await listener.wait_type("channel_broadcast")
            guest.transport.close(3001, "coming back")
        async with world.guest("usual") as again:
            resume = secret_of(success)
            assert (await again.authenticate(login.token, resume=resume))["generation"] == 2
            await again.wait_type("subscribed", channel=channel)
            # Its answer was sent before the connection ended, and is recovered: the client named no later offset.
            await again.wait(lambda frame: frame.get("id") == "m" and frame.get("type") != "ack")
            await again.send(message)
            assert (await again.wait_type("ack", id="m"))["event"] == first["event"]
            await again.send({**message, "id": "n", "data": {"content": "last"}})
            await listener.wait(
                lambda frame: frame.get("type") == "channel_broadcast" and frame["data"]["content"] == "last"
            )
            assert not [frame for frame in listener.received if frame.get("type") == "channel_broadcast"]


@scenario
async def a_frame_for_a_session_has_its_place(world: World) -> None:
    """What is recovered comes behind auth_success, with its place, and nothing that the client named as known."""
    login = await world.login("placed")
    async with world.guest("usual") as guest:
        success = await guest.authenticate(login.token)
        answers = [await guest.ask({"type": "echo", "n": n}) for n in range(3)]
        places = [answer["headgate"] for answer in answers]
        assert {place["topic"] for place in places} == {f"session:{success['sessionId']}"}
        assert [place["offset"] for place in places] == [1, 2, 3]
        guest.transport.close(3001, "coming back")
    async with world.guest("usual") as again:
        resume = secret_of(success)
        topic = places[0].pop("topic")
        resume["offsets"] |= {topic: places[0]}
        back = await again.authenticate(login.token, resume=resume)
        assert back["recovered"] is True
        assert (await again.wait_type("echo"))["headgate"]["offset"] == 2
        assert (await again.wait_type("echo"))["headgate"]["offset"] == 3
        assert back["offsets"][topic]["offset"] == 3


@scenario
async def what_cannot_be_recovered_is_said(world: World) -> None:
    """An epoch that is none, an offset that was never, or none at all: the session goes on, recovered is false."""
    login = await world.login("honest")
    for change in ({"epoch": "never"}, {"offset": 99}, {"offset": -1}, None):
        async with world.guest("usual") as guest:
            success = await guest.authenticate(login.token)
            guest.transport.close(3001, "coming back")
        resume, topic = secret_of(success), f"session:{success['sessionId']}"
        if change is None:
            del resume["offsets"][topic]
        else:
            resume["offsets"][topic] |= change
        async with world.guest("usual") as again:
            back = await again.authenticate(login.token, resume=resume)
            assert (back["sessionId"], back["recovered"]) == (success["sessionId"], False), change


@scenario
async def a_session_is_resumed_while_its_former_connection_is_open(world: World) -> None:
    """The later connection has it; the former one is closed with a code that asks not to come back."""
    login, channel = await world.login("twice"), world.channel("twice")
    async with world.guest("other") as former, world.guest("usual") as later, world.guest("usual") as last:
        success, _ = await member_with_secret(former, login.token, channel)
        back = await later.authenticate(login.token, resume=secret_of(success))
        assert (back["sessionId"], back["generation"]) == (success["sessionId"], 2)
        assert (await former.closed()).code == 3503
        assert (await former.wait_type("disconnect"))["reconnect"] is False
        await later.wait_type("subscribed", channel=channel)
        # And on the same gateway.
        assert (await last.authenticate(login.token, resume=secret_of(back)))["generation"] == 3
        assert (await later.closed()).code == 3503
        await last.wait_type("subscribed", channel=channel)
        await world.publish(channel, "here")
        await last.wait_type("channel_broadcast")
        assert [one for one in await types_of(world, success["sessionId"]) if "closed" in one] == []


@scenario
async def nobody_resumes_what_is_not_theirs(world: World) -> None:
    """Another user's session, a secret that is none, one that was replaced: each gets a session of its own."""
    login, thief = await world.login("owner"), await world.login("thief")
    async with world.guest("usual") as guest:
        success = await guest.authenticate(login.token)
        guest.transport.close(3001, "coming back")
    async with world.guest("usual") as guest:
        back = await guest.authenticate(login.token, resume=secret_of(success))
        guest.transport.close(3001, "coming back")
    async with world.guest("usual") as guest:
        latest = await guest.authenticate(login.token, resume=secret_of(back))
        assert latest["generation"] == 3
        guest.transport.close(3001, "coming back")
    replaced = secret_of(success)
    guessed = latest["resumeSecret"][:-4] + "AAAA"
    wrong = secret_of(latest) | {"secret": guessed}
    other = secret_of(latest) | {"session": "01a20902-3088-7a0e-82d8-5b33616093c8"}
    for token, resume in (
        (thief.token, secret_of(latest)),
        (login.token, replaced),
        (login.token, wrong),
        (login.token, other),
    ):
        async with world.guest("usual") as guest:
            fresh = await guest.authenticate(token, resume=resume)
            assert (fresh["generation"], fresh["recovered"]) == (1, False)
            assert fresh["sessionId"] != success["sessionId"]
    async with world.guest("usual") as guest:
        assert (await guest.authenticate(login.token, resume=secret_of(latest)))["generation"] == 4


@scenario
async def a_session_that_its_client_closed_is_over(world: World) -> None:
    """Closing with 0, or any code that does not ask to come back, ends it at once: nobody can resume it, and its end is
    in the log. That is so also of codes that only a gateway has a use for."""
    login = await world.login("leaving")
    for code in (0, 3503):
        async with world.guest("usual") as guest:
            success = await guest.authenticate(login.token)
            guest.transport.close(code)

        async def ended(session: str = success["sessionId"]) -> bool:
            return "session.closed" in await types_of(world, session)

        await eventually(ended)
        async with world.guest("usual") as guest:
            fresh = await guest.authenticate(login.token, resume=secret_of(success))
            assert (fresh["generation"], fresh["sessionId"] == success["sessionId"]) == (1, False)
