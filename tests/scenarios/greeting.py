"""How sessions begin: who is let in, who is not, and how each is told."""

from __future__ import annotations

import json

from schemas.codec import encode_frame
from tests.scenarios.world import HASTY, World, scenario, streams_of


@scenario
async def a_token_opens_the_session(world: World) -> None:
    """auth_success names the user and the session, comes with the frame's id, and the log has both facts."""
    async with world.guest() as guest:
        login = await world.login("greeted")
        await guest.send({"type": "auth", "protocol": 1, "token": login.token, "id": "hello"})
        frame = await guest.wait_type("auth_success", id="hello")
        guest.session = frame.pop("sessionId")
        assert frame.pop("resumeSecret")
        assert frame.pop("offsets").keys() == {f"session:{guest.session}", f"user:{login.user}"}
        assert frame == {
            "type": "auth_success",
            "id": "hello",
            "userId": login.user,
            "generation": 1,
            "pingInterval": 25_000,
            "recovered": False,
        }
        asked, opened = await world.log_of(guest)
        assert (opened.type, opened.payload()["transport"]) == ("session.opened", world.transport)
        assert (opened.user, asked.user) == (login.user, "")
        assert (asked.type, asked.payload()["protocol"]) == ("session.auth_requested", 1)
        assert login.token not in json.dumps(asked.payload())


@scenario
async def a_refused_token_closes_with_4401(world: World) -> None:
    """auth_failed, a disconnect frame that asks not to come back, and the close with the same words."""
    async with world.guest() as guest:
        await guest.send({"type": "auth", "protocol": 1, "token": "guessed", "id": "a"})
        assert await guest.wait_type("auth_failed", id="a") == {
            "type": "auth_failed",
            "error": "the application refused the token",
            "id": "a",
        }
        closed = await guest.closed()
        assert (closed.code, closed.reason, closed.abrupt) == (4401, "the application refused the token", False)


@scenario
async def the_first_frame_is_auth(world: World) -> None:
    """Anything else first is 4401, said in a disconnect frame too."""
    async with world.guest() as guest:
        await guest.send({"type": "message", "channel": "lobby", "data": 1})
        told = await guest.wait_type("disconnect")
        closed = await guest.closed()
        assert (closed.code, closed.reason) == (told["code"], told["reason"])
        assert (told["code"], told["reconnect"]) == (4401, False)


@scenario
async def auth_lacks_something(world: World) -> None:
    """An auth frame without a token, or of another protocol, is 4400."""
    for frame in ({"type": "auth"}, {"type": "auth", "token": "x", "protocol": 2}):
        async with world.guest() as guest:
            await guest.send(frame)
            assert (await guest.closed()).code == 4400


@scenario
async def silence_is_closed_with_4408(world: World) -> None:
    """Without an auth frame in time the session ends, asked to come back by its code."""
    async with world.guest("hasty") as guest:
        await world.pass_time(HASTY["auth_timeout"] + 0.1)
        closed = await guest.closed()
        assert (closed.code, closed.abrupt) == (4408, False)
        assert closed.reason.startswith("no auth frame in time")


@scenario
async def frames_wait_for_the_verdict(world: World) -> None:
    """What is sent right behind auth is answered after it, in order; too much of it is 4413."""
    async with world.guest() as guest:
        login = await world.login("eager")
        await guest.send({"type": "auth", "protocol": 1, "token": login.token})
        for number in range(3):
            await guest.send({"type": "ping", "id": str(number)})
        await guest.wait_type("auth_success")
        assert [(await guest.wait_type("pong"))["id"] for _ in range(3)] == ["0", "1", "2"]
    async with world.guest("hasty") as guest:
        auth = encode_frame({"type": "auth", "protocol": 1, "token": login.token}, "json")
        data = encode_frame({"type": "echo", "pad": "x" * int(HASTY["auth_pending_bytes"])}, "json")
        # In pieces, none of them too much by itself, where a frame may come so; on their way before the verdict is.
        for piece in (auth + data[:1000], data[1000:]) if world.has_streams else (auth, data):
            await guest.send_raw(piece)
        assert (await guest.closed()).code == 4413


@scenario
async def a_second_auth_is_an_error(world: World) -> None:
    """Error 100 with the frame's id; the session stays."""
    async with world.guest() as guest:
        await world.member(guest, "twice", "news")
        answer = await guest.ask({"type": "auth", "token": "again"})
        assert (answer["type"], answer["code"]) == ("error", 100)
        assert (await guest.ask({"type": "ping"}))["type"] == "pong"


@scenario
async def a_stranger_is_told_4403(world: World) -> None:
    """A page of an origin that may not connect can read why; nothing of it is in the log."""
    before = len(await world.entries())
    async with world.guest(stranger=True) as guest:
        closed = await guest.closed()
        assert (closed.code, closed.abrupt) == (4403, False)
        assert closed.reason == "this origin may not connect: see HEADGATE_ALLOWED_ORIGINS"
    assert [entry.type for entry in (await world.entries())[before:] if "evil" in str(entry.payload())] == []


@scenario
async def an_older_client_gets_pushes_of_their_own(world: World) -> None:
    """Without `protocol`: answers where it asked, each push on a stream that the gateway opens, writes one frame on
    and ends; over WebSocket each in a message. It gets no pings."""
    async with world.guest() as older:
        login = await world.login("older")
        for frame in ({"type": "auth", "token": login.token}, {"type": "subscribe", "channel": "old-news"}):
            # As it was written: JSON with nothing after it.
            await older.send_raw(json.dumps(frame).encode())
        await older.wait_type("auth_success")
        await older.wait_type("subscribed")
        for number in range(3):
            await world.publish("old-news", {"number": number})
        if world.has_streams:
            carrier = streams_of(older)
            pushes = [json.loads(await (await carrier.accept_stream()).read_all()) for _ in range(3)]
            assert older.received == []
        else:
            pushes = [await older.wait_type("channel_broadcast") for _ in range(3)]
        assert sorted(push["data"]["number"] for push in pushes) == [0, 1, 2]


@scenario
async def a_token_ends_with_3005(world: World) -> None:
    """When the application said when the token ends, the session ends then, asked to come back."""
    async with world.guest() as guest:
        login = await world.login("brief", ttl=10)
        await guest.authenticate(login.token)
        await world.pass_time(10.1)
        told = await guest.wait_type("disconnect")
        assert (told["code"], told["reconnect"]) == (3005, True)
        closed = await guest.closed()
        assert (closed.code, closed.reason) == (3005, "the token has ended: connect again with a new one")
    end = await world.end_of(guest)
    assert (end["code"], end["by"]) == (3005, "gateway")
