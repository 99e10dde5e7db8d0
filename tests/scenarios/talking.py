"""What members say: to the application, to channels, to each other; in which encoding, and where the answer comes."""

from __future__ import annotations

import base64
import json
import zlib

from schemas.codec import encode_frame
from tests.scenarios.world import Guest, World, scenario, streams_of
from tests.support.client import Frames


async def _a_message_is_stored_and_answered(world: World, encoding: str) -> None:
    async with world.guest() as guest:
        await world.member(guest, f"teller-{encoding}", "room-t", encoding=encoding)
        ack = await guest.message("room-t", "kept")
        reply = await guest.wait(lambda frame: frame.get("id") == ack["id"])
        assert (ack["type"], reply["data"]["content"]) == ("ack", "kept")
        (entry,) = [entry for entry in await world.log_of(guest) if entry.type == "message.received"]
        assert (entry.id, entry.payload()["member"]) == (ack["event"], True)


@scenario
async def a_json_message_is_acknowledged_and_answered(world: World) -> None:
    """`ack` names the entry that is in the log by then; the application's answer has the frame's id."""
    await _a_message_is_stored_and_answered(world, "json")


@scenario
async def a_msgpack_message_is_acknowledged_and_answered(world: World) -> None:
    """As in JSON, and answered in msgpack."""
    await _a_message_is_stored_and_answered(world, "msgpack")


@scenario
async def an_id_makes_an_event(world: World) -> None:
    """The same frame sent again is acknowledged as the same event; a frame without an id is not acknowledged."""
    async with world.guest() as guest:
        await world.member(guest, "repeats", "room-r")
        frame = {"type": "echo", "id": "once"}
        await guest.send(frame)
        first = await guest.wait_type("ack", id="once")
        await guest.send(frame)
        assert await guest.wait_type("ack", id="once") == first
        await guest.send({"type": "echo", "quiet": True})
        echo = await guest.wait_type("echo", quiet=True)
        assert echo.pop("headgate")["topic"] == f"session:{guest.session}"
        assert echo == {"type": "echo", "quiet": True}
        assert not [one for one in guest.received if one.get("type") == "ack"]


@scenario
async def frames_are_cut_and_merged(world: World) -> None:
    """Where there are streams, frames may come byte by byte or many at once; a WebSocket message is one frame, and
    two in one, or half of one, are 4400."""
    two = b'{"type":"ping","id":"1"} {"type":"ping","id":"\xc3\xa9"}\n'
    async with world.guest() as guest:
        await world.member(guest, "cutter", "news")
        if world.has_streams:
            for position in range(len(two)):
                await guest.send_raw(two[position : position + 1])
            await guest.send_raw(two * 2)
            assert [(await guest.wait_type("pong"))["id"] for _ in range(6)] == ["1", "é"] * 3
            return
        await guest.send_raw(two)
        assert (await guest.closed()).code == 4400
    async with world.guest() as guest:
        await world.member(guest, "cutter", "news")
        await guest.send_raw(two[:10])
        assert (await guest.closed()).code == 4400


@scenario
async def each_encoding_is_answered_in_kind(world: World) -> None:
    """One session speaks both: on two streams, or in two kinds of messages."""
    ping = encode_frame({"type": "ping", "id": "b"}, "msgpack")
    async with world.guest() as guest:
        await guest.authenticate((await world.login("mixed")).token)
        if world.has_streams:
            stream = await streams_of(guest).open_bidirectional()
            stream.write(ping)
            data = await stream.read()
            assert 0x80 <= data[0] < 0x90
        else:
            await guest.send_raw(ping)
            await guest.wait_type("pong", id="b")
        assert (await guest.ask({"type": "ping"}))["type"] == "pong"


@scenario
async def a_reply_comes_where_was_asked(world: World) -> None:
    """Each stream gets the answers to its own frames, and is ended by the gateway once they were given and the client
    has ended its side. Over WebSocket the id tells them apart."""
    async with world.guest() as guest:
        await world.member(guest, "asks-twice", "news")
        frames = [{"type": "echo", "id": name, "name": name} for name in ("first", "second")]
        if not world.has_streams:
            for frame in frames:
                await guest.send(frame)
            for frame in frames:
                assert (await guest.wait_type("echo", id=frame["id"]))["name"] == frame["id"]
            return
        streams = [await streams_of(guest).open_bidirectional() for _ in frames]
        for stream, frame in zip(streams, frames, strict=True):
            stream.write_json(frame, end=True)
        for stream, frame in zip(streams, frames, strict=True):
            lines = [json.loads(line) for line in (await stream.read_all()).splitlines()]
            assert [(line["type"], line["id"]) for line in lines] == [("ack", frame["id"]), ("echo", frame["id"])]
        assert guest.received == []


@scenario
async def a_unidirectional_stream_is_answered_on_control(world: World) -> None:
    """Frames on it count like others; what answers them goes where pushes go."""
    async with world.guest() as guest:
        await world.member(guest, "one-way", "news")
        if not world.has_streams:
            assert not hasattr(guest.transport, "open_unidirectional")
            return
        stream = await streams_of(guest).open_unidirectional()
        stream.write_json({"type": "echo", "id": "uni"}, end=True)
        assert (await guest.wait_type("ack"))["id"] == "uni"
        assert (await guest.wait_type("echo"))["id"] == "uni"


async def _pair(world: World, ada: Guest, bob: Guest, channel: str) -> tuple[str, str]:
    first = await world.member(ada, f"ada-{channel}", channel)
    second = await world.member(bob, f"bob-{channel}", channel)
    return first, second


@scenario
async def members_hear_each_other(world: World) -> None:
    """Presence, broadcasts and whispers reach the other member on another gateway, and never their own sender."""
    channel = world.channel("presence-hear")
    async with world.guest("usual") as ada, world.guest("other") as bob:
        ada_id, bob_id = await _pair(world, ada, bob, channel)
        assert (await ada.wait_type("presence"))["joined"]["id"] == bob_id
        await ada.message(channel, "there")
        heard = await bob.wait_type("channel_broadcast")
        assert (heard["data"]["content"], heard["offset"]) == ("there", 1)
        ack = await bob.ask({"type": "ping"})
        assert ack["type"] == "pong"
        await bob.send({"type": "client-wave", "id": "w", "channel": channel, "data": {"hand": "left"}})
        assert (await bob.wait_type("ack"))["id"] == "w"
        wave = await ada.wait_type("client-wave")
        assert wave == {
            "type": "client-wave",
            "channel": channel,
            "data": {"hand": "left"},
            "from": {"id": bob_id},
            "epoch": heard["epoch"],
            "offset": 2,
        }
        await bob.ask({"type": "unsubscribe", "channel": channel})
        assert (await ada.wait_type("presence"))["left"]["id"] == bob_id
        await ada.message(channel, "to nobody")
        await ada.ask({"type": "ping"})
        assert not [frame for frame in (*ada.received, *bob.received) if frame.get("type") == "channel_broadcast"]
        assert ada_id != bob_id


@scenario
async def who_leaves_by_closing_is_missed(world: World) -> None:
    """The end of a member's session is `left` to the others."""
    channel = world.channel("presence-missed")
    async with world.guest() as ada:
        async with world.guest() as bob:
            _, bob_id = await _pair(world, ada, bob, channel)
            assert (await ada.wait_type("presence"))["joined"]["id"] == bob_id
            bob.transport.close(0, "")
        assert (await ada.wait_type("presence"))["left"]["id"] == bob_id


@scenario
async def subscriptions_have_rules(world: World) -> None:
    """Errors name their frame: forbidden, twice, never, not a member, no such prefix."""
    async with world.guest() as guest:
        await world.member(guest, "ruled", "news")
        for frame, code in (
            ({"type": "subscribe", "channel": "private-forbidden"}, 103),
            ({"type": "subscribe", "channel": "news"}, 105),
            ({"type": "unsubscribe", "channel": "elsewhere"}, 104),
            ({"type": "client-wave", "channel": "private-elsewhere"}, 104),
            ({"type": "client-wave", "channel": "news"}, 103),
            ({"type": "subscribe", "channel": "headgate-x"}, 101),
            ({"type": "subscribe", "channel": "a b"}, 102),
            ({"type": "subscribe"}, 100),
        ):
            answer = await guest.ask(frame)
            assert (answer["type"], answer["code"]) == ("error", code), answer
        assert (await guest.ask({"type": "unsubscribe", "channel": "news"}))["type"] == "unsubscribed"
        assert (await guest.subscribe("news"))["type"] == "subscribed"


@scenario
async def what_was_missed_is_recovered(world: World) -> None:
    """A subscription from a position on brings what was published since."""
    async with world.guest() as guest:
        await guest.authenticate((await world.login("recovers")).token)
        before = await guest.subscribe(world.channel("recovered"))
        await guest.ask({"type": "unsubscribe", "channel": world.channel("recovered")})
        for number in range(2):
            await world.publish(world.channel("recovered"), {"number": number})
        position = {"epoch": before["epoch"], "offset": before["offset"]}
        # What an application publishes is in the history once it is routed: a later subscriber sees how far it is.
        answer = await guest.ask({"type": "subscribe", "channel": world.channel("recovered"), "recover": position})
        numbers = [one["frame"]["data"]["number"] for one in answer["publications"]]
        while len(numbers) < 2:
            numbers.append((await guest.wait_type("channel_broadcast"))["data"]["number"])
        assert (answer["recovered"], numbers) == (True, [0, 1])


@scenario
async def cursors_cross_unacknowledged(world: World) -> None:
    """Datagrams between members, stamped with the sender; over WebSocket they are frames with a mark."""
    channel = world.channel("presence-cursors")
    async with world.guest("usual") as ada, world.guest("other") as bob:
        ada_id, bob_id = await _pair(world, ada, bob, channel)
        for sender, receiver, user in ((ada, bob, ada_id), (bob, ada, bob_id)):
            cursor = {"type": "cursor", "channel": channel, "x": 0.5, "id": "never"}
            got = await sender.datagram_to(receiver, cursor, "json")
            assert got.pop("unreliable", False) is not world.has_streams
            assert got == cursor | {"from": {"id": user}}
        assert not [frame for frame in (*ada.received, *bob.received) if frame.get("type") == "ack"]


@scenario
async def pushes_come_in_batches(world: World) -> None:
    """A client that lets pushes wait gets all of them, in order; an answer never overtakes a push."""
    async with world.guest() as guest:
        login = await world.login("batches")
        await guest.send({"type": "auth", "protocol": 1, "token": login.token, "batch": 50})
        await guest.wait_type("auth_success")
        await guest.subscribe(world.channel("batched"))
        for number in range(5):
            await world.publish(world.channel("batched"), {"number": number})
        numbers = [(await guest.wait_type("channel_broadcast"))["data"]["number"] for _ in range(5)]
        assert numbers == list(range(5))


@scenario
async def long_frames_are_compressed(world: World) -> None:
    """A client that inflates gets long frames deflated, and may send its own so, in JSON."""
    async with world.guest() as guest:
        login = await world.login("squeezes")
        await guest.send({"type": "auth", "protocol": 1, "token": login.token, "compression": ["deflate-raw"]})
        await guest.wait_type("auth_success")
        await guest.subscribe(world.channel("squeezed"))
        await world.publish(world.channel("squeezed"), {"pad": "x" * 5_000})
        packed = await guest.wait_type("compressed")
        inner = json.loads(zlib.decompress(base64.b64decode(packed["data"]), -15))
        assert (inner["type"], inner["data"]) == ("channel_broadcast", {"pad": "x" * 5_000})
        deflate = zlib.compressobj(wbits=-15)
        ping = base64.b64encode(deflate.compress(b'{"type":"ping","id":"z"}') + deflate.flush()).decode()
        await guest.send({"type": "compressed", "encoding": "deflate-raw", "data": ping})
        assert (await guest.wait_type("pong"))["id"] == "z"


@scenario
async def a_reset_stream_is_let_go(world: World) -> None:
    """What a client abandons half written is dropped without harm, and the gateway ends its own side."""
    async with world.guest() as guest:
        await world.member(guest, "resets", "news")
        if not world.has_streams:
            assert not hasattr(await guest.transport.open_bidirectional(), "reset")
            return
        stream = await streams_of(guest).open_bidirectional()
        stream.write(b'{"type":"ping"}{"type":"pi')
        assert (await Frames(stream).next())["type"] == "pong"
        stream.reset(4_000_000_001)
        assert await stream.read() == b""
        assert (await guest.ask({"type": "ping"}))["type"] == "pong"


@scenario
async def a_stopped_stream_is_answered_on_control(world: World) -> None:
    """A client that reads no more of a stream gets its answers where pushes go."""
    async with world.guest() as guest:
        await world.member(guest, "stops", "news")
        if not world.has_streams:
            assert not hasattr(await guest.transport.open_bidirectional(), "stop")
            return
        stream = await streams_of(guest).open_bidirectional()
        stream.write_json({"type": "ping"})
        await stream.read()
        stream.stop(7)
        stream.write_json({"type": "echo", "id": "late"})
        assert (await guest.wait_type("echo"))["id"] == "late"
