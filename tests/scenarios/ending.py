"""How sessions end: by whom, with which code and reason, and what both sides know of it."""

from __future__ import annotations

import asyncio

from runtime.tasks import cancel
from schemas.close_codes import CloseCode
from tests.scenarios.world import HASTY, Guest, World, scenario
from tests.support.waiting import eventually


async def _bad_bytes(world: World, data: bytes, code: int, *, before_auth: bool) -> None:
    async with world.guest() as guest:
        if not before_auth:
            await world.member(guest, "clumsy", "news")
        await guest.send_raw(data)
        closed = await guest.closed()
        assert (closed.code, closed.abrupt) == (code, False), data[:40]
        told = await guest.wait_type("disconnect")
        assert (told["code"], told["reconnect"]) == (code, False)
        assert told["reason"].startswith(closed.reason)
        assert closed.reason


@scenario
async def what_is_no_frame_is_4400(world: World) -> None:
    """Before and after auth, in either encoding: the code, the same words in a disconnect frame."""
    for data in (b'{"type": nonsense}', b"\x81\xa4type\xc1"):
        for before_auth in (True, False):
            await _bad_bytes(world, data, CloseCode.MALFORMED, before_auth=before_auth)


@scenario
async def what_is_too_large_is_4413(world: World) -> None:
    """Too many bytes, too many levels."""
    long, deep = b'{"type":"x","pad":"' + b"x" * 70_000 + b'"}', b'{"a":' * 40 + b"1" + b"}" * 40
    for data in (long, deep):
        for before_auth in (True, False):
            await _bad_bytes(world, data, CloseCode.TOO_LARGE, before_auth=before_auth)


@scenario
async def pings_are_answered_both_ways(world: World) -> None:
    """A client that answers stays as long as it likes."""
    login = await world.login("lively")
    async with world.guest("hasty") as guest:
        await guest.authenticate(login.token)
        await world.pass_time(2 * (HASTY["ping_interval"] + HASTY["pong_timeout"]) + 0.5)
        await eventually(lambda: guest.pings >= 2)
        assert (await guest.ask({"type": "ping"}))["type"] == "pong"


@scenario
async def silence_after_a_ping_is_3012(world: World) -> None:
    """A client that answers nothing is closed, and asked to come back."""
    login = await world.login("absent")
    async with world.guest("hasty") as guest:
        guest.answers_pings = False
        await guest.authenticate(login.token)
        await world.pass_time(HASTY["ping_interval"] + HASTY["pong_timeout"] + 0.5)
        closed = await guest.closed()
        assert (closed.code, closed.reason) == (3012, "no answer to a ping")
        assert (await guest.wait_type("disconnect"))["reconnect"] is True


@scenario
async def too_many_frames_are_3013(world: World) -> None:
    """Beyond the burst that is allowed the session ends; what came before is answered."""
    login = await world.login("hurries")
    async with world.guest("hasty") as guest:
        await guest.authenticate(login.token)
        # Without waiting for each: a browser on a busy machine takes its time.
        await asyncio.gather(*(guest.send({"type": "ping", "id": str(number)}) for number in range(60)))
        told = await guest.wait_type("disconnect")
        assert (told["code"], told["reconnect"]) == (3013, True)
        closed = await guest.closed()
        assert (closed.code, closed.reason) == (3013, "more than 10 frames a second: send slower")
        pong = next(frame for frame in guest.received if frame["type"] == "pong")
        assert pong == {"type": "pong", "id": "0", "timestamp": pong["timestamp"]}


@scenario
async def too_many_bytes_are_3013(world: World) -> None:
    """Bytes have a rate of their own."""
    login = await world.login("pours")
    async with world.guest("hasty") as guest:
        await guest.authenticate(login.token)
        for _ in range(10):
            await guest.send({"type": "echo", "pad": "x" * 60_000})
        closed = await guest.closed()
        assert (closed.code, closed.reason) == (3013, "more than 100000 bytes a second: send slower")


@scenario
async def the_application_ends_a_session(world: World) -> None:
    """Its code and words reach the client exactly, a frame says so before, and the log knows whose doing it was."""
    for code, reason in ((3500, "signed out"), (4999, "bis später ☕"), (3999, "")):
        async with world.guest() as guest:
            user = await world.member(guest, "forced", "news")
            await world.disconnect(user, code, reason)
            closed = await guest.closed()
            assert (closed.code, closed.reason, closed.abrupt) == (code, reason, False)
            told = await guest.wait_type("disconnect")
            assert (told["code"], told["reason"], told["reconnect"]) == (code, reason, False)
        assert await world.end_of(guest) == {"code": code, "reason": reason, "by": "application"}


@scenario
async def long_words_are_cut_between_characters(world: World) -> None:
    """A reason that the transport cannot carry whole is cut, and never within a character; the frame has it longer."""
    reason = "ü" * 700
    async with world.guest() as guest:
        user = await world.member(guest, "cut-short", "news")
        await world.disconnect(user, 3500, reason)
        closed = await guest.closed()
        assert closed.reason == "ü" * (world.longest_reason // 2)
        assert (await guest.wait_type("disconnect"))["reason"] == "ü" * 512


@scenario
async def a_client_ends_its_session(world: World) -> None:
    """The client's own code and reason are in the log, as its doing."""
    for code, reason in ((4001, "fertig ☕"), (3000, "")):
        async with world.guest() as guest:
            await world.member(guest, "leaves", "news")
            guest.transport.close(code, reason)
            assert await world.end_of(guest) == {"code": code, "reason": reason, "by": "client"}


@scenario
async def a_client_is_done(world: World) -> None:
    """Without a code the log has 0."""
    async with world.guest() as guest:
        await world.member(guest, "done", "news")
        guest.transport.close()
        assert await world.end_of(guest) == {"code": 0, "reason": "", "by": "client"}


@scenario
async def a_code_beyond_websocket_s(world: World) -> None:
    """Codes of 32 bits are told where the transport has them; WebSocket's client library refuses to send them."""
    async with world.guest() as guest:
        await world.member(guest, "large", "news")
        if world.has_streams:
            guest.transport.close(4_000_000_001, "large")
            assert await world.end_of(guest) == {"code": 4_000_000_001, "reason": "large", "by": "client"}


async def _says_pong(guest: Guest) -> None:
    while True:
        await guest.send({"type": "pong"})
        await asyncio.sleep(HASTY["pong_timeout"] / 5)


@scenario
async def who_does_not_read_is_3008(world: World) -> None:
    """When more is unread than may be, the session ends with a code that asks to come back. A page's WebSocket takes in
    all that comes, and so gets all of it."""
    channel = world.channel("flood")

    async def pour(times: int) -> None:
        await asyncio.gather(*(world.publish(channel, {"pad": "x" * 50_000}) for _ in range(times)))

    login = await world.login("idle")
    async with world.guest("hasty", idle=True) as guest:
        await guest.authenticate(login.token)
        await guest.subscribe(channel)
        if not world.can_leave_unread:
            for _ in range(10):
                await pour(1)
                await guest.wait_type("channel_broadcast")
            return
        await world.leave_unread(guest)

        async def ended() -> bool:
            await pour(8)
            return any(entry.type == "session.disconnected" for entry in await world.log_of(guest))

        # It is not silence that ends this session.
        alive = asyncio.create_task(_says_pong(guest))
        try:
            await eventually(ended, 20)
        finally:
            await cancel(alive)
        end = await world.end_of(guest)
        assert (end["code"], end["by"]) == (3008, "gateway")
        await world.read_again(guest)
        assert (await guest.closed()).code == 3008


@scenario
async def a_stopping_gateway_loses_nothing(world: World) -> None:
    """3001 and a frame that asks to come back; every message that was acknowledged is in the log, then the end."""
    async with world.guest("other") as guest:
        await world.member(guest, "drained", "drain")
        acked = []
        for number in range(20):
            acked.append((await guest.message("drain", f"kept {number}"))["event"])
        await world.stop_other()
        closed = await guest.closed()
        assert (closed.code, closed.reason) == (3001, "the gateway is shutting down: connect again")
        assert (await guest.wait_type("disconnect"))["reconnect"] is True
        if world.has_streams and (drained := getattr(guest.transport, "drained", None)) is not None:
            assert drained.is_set()
    entries = await world.log_of(guest)
    assert [entry.id for entry in entries if entry.type == "message.received"] == acked
    assert entries[-1].type == "session.disconnected"
    assert await world.end_of(guest) == {"code": 3001, "reason": closed.reason, "by": "gateway"}
