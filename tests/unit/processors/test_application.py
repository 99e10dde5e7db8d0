from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import format_datetime

import httpx
import orjson
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from pydantic import SecretStr

from processors.answer import Answer, BadAnswer, Failed, Unavailable
from processors.application import Application
from processors.breaker import FIRST_PROBE_S, THRESHOLD
from runtime.settings import Settings
from runtime.telemetry import Telemetry
from schemas.entry import Entry
from schemas.errors import ConfigurationError
from schemas.events import MessageReceived
from tests.unit.processors.making import SESSION, entry_of

SECRET = "a-secret-of-the-tests-and-of-nothing-else"
SAMPLED = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
NOW = 1_700_000_000

Reply = Callable[[httpx.Request], httpx.Response]


def settings(**changes: object) -> Settings:
    base = {"secret": SecretStr(SECRET), "laravel_url": "http://app.test", "laravel_timeout": 1.0}
    return Settings.model_validate(base | {"laravel_answer_bytes": 1024} | changes)


class Clock:
    """A monotonic clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def unread(reply: Reply) -> Reply:
    """`reply` with bodies that are still to be read, as they come from a connection."""

    def handler(request: httpx.Request) -> httpx.Response:
        whole = reply(request)
        return httpx.Response(whole.status_code, headers=whole.headers, stream=whole.stream)

    return handler


@asynccontextmanager
async def application(
    reply: Reply, *, clock: Clock | None = None, telemetry: Telemetry | None = None, **changes: object
) -> AsyncIterator[Application]:
    made = Application(
        settings(**changes),
        telemetry or Telemetry(None, "test"),
        "test",
        transport=httpx.MockTransport(unread(reply)),
        wall=lambda: NOW,
        monotonic=clock or Clock(),
    )
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


def entry(user: str = "7") -> Entry:
    return entry_of(MessageReceived(frame={}), user=user)


def answering(status: int, content: bytes = b"", **headers: str) -> Reply:
    return lambda _: httpx.Response(status, content=content, headers=headers)


class Endless(httpx.AsyncByteStream):
    """A body without an end; `given` counts its bytes. With `stalls` it stops in the middle."""

    def __init__(self, *, stalls: bool) -> None:
        self.given = 0
        self._stalls = stalls

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            self.given += 512
            yield b" " * 512
            if self._stalls:
                await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("base", "path", "target"),
    [
        ("http://app.test", "/api/handle", "/api/handle"),
        ("http://app.test/", "/api/handle?a=b&c=%20", "/api/handle?a=b&c=%20"),
        ("https://app.test:8443/sub/", "/api/handle", "/sub/api/handle"),
    ],
)
async def test_what_is_sent_is_what_is_signed(base: str, path: str, target: str) -> None:
    """The signature verifies over the very target, headers and bytes that the application receives."""
    seen: list[httpx.Request] = []

    def reply(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"ok": True})

    async with application(reply, laravel_url=base) as app:
        answer = await app.post(path, {"text": "é", "n": 1}, entry=entry("Zoë"))
    assert answer == Answer(200, {"ok": True})
    (request,) = seen
    assert request.url.raw_path.decode() == target
    assert request.content == orjson.dumps({"text": "é", "n": 1})
    header = {name.decode().lower(): value.decode() for name, value in request.headers.raw}
    settings().verifier().verify("POST", target, request.content, lambda name: header.get(name.lower()), now=NOW)
    assert header["x-webtransport-session"] == SESSION
    assert header["x-user-id"] == "Zoë"
    assert header["x-headgate-event-id"] == entry().id
    assert header["accept"] == "application/json"
    assert header["content-type"] == "application/json"
    assert header["accept-encoding"] == "identity"


async def test_every_request_has_a_nonce_of_its_own() -> None:
    """No two requests can be taken for one another."""
    nonces: list[str] = []

    def reply(request: httpx.Request) -> httpx.Response:
        nonces.append(request.headers["X-Headgate-Nonce"])
        return httpx.Response(204)

    async with application(reply) as app:
        for _ in range(20):
            await app.post("/x", entry=entry())
    assert len(set(nonces)) == 20


async def test_a_request_without_payload_has_no_body() -> None:
    """Without a payload neither a body nor a content type is sent, and nobody is named who is not known."""
    seen: list[httpx.Request] = []

    def reply(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200)

    async with application(reply) as app:
        assert await app.post("/v", entry=entry(""), headers={"Authorization": "Bearer t"}) == Answer(200)
    (request,) = seen
    assert request.content == b""
    assert request.headers["Authorization"] == "Bearer t"
    assert not {"content-type", "x-user-id"} & set(request.headers)


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        (answering(200, b'{"a": 1}'), Answer(200, {"a": 1})),
        (answering(201, b"null"), Answer(201)),
        (answering(204), Answer(204)),
        (answering(200, b" \n"), Answer(200)),
        (answering(404, b"<html>secret</html>"), Answer(404)),
        (answering(422, b'{"message": "secret"}'), Answer(422)),
        (answering(400, b"x" * 5000), Answer(400)),
    ],
)
async def test_an_answer_that_counts(reply: Reply, answer: Answer) -> None:
    """A 2xx is decoded; of a 4xx only the status is kept."""
    async with application(reply) as app:
        assert await app.post("/x", {}, entry=entry()) == answer


def failing(error: Exception) -> Reply:
    def reply(_: httpx.Request) -> httpx.Response:
        raise error

    return reply


@pytest.mark.parametrize(
    "reply",
    [
        *(answering(status) for status in (301, 302, 307, 308, 408, 429, 502, 503, 504)),
        answering(302, b"", Location="http://127.0.0.1:1/internal"),
        failing(httpx.ConnectError("refused")),
        failing(httpx.RemoteProtocolError("cut")),
    ],
)
async def test_what_can_succeed_later(reply: Reply) -> None:
    """Redirects, overload and lost connections are not about the request: it can end well the next time."""
    asked = 0

    def counted(request: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        return reply(request)

    async with application(counted, laravel_timeout=0.05) as app:
        with pytest.raises(Unavailable):
            await app.post("/x", {}, entry=entry())
    assert asked == 1


def dated(status: int, seconds: float) -> Reply:
    """An application whose clock is so far ahead."""
    return answering(status, Date=format_datetime(datetime.fromtimestamp(NOW + seconds, UTC), usegmt=True))


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("seconds", [-7200, -301, 301, 7200])
async def test_clocks_that_are_apart_are_nobodys_refusal(status: int, seconds: float) -> None:
    """An application whose clock makes every signature stale has refused no message: the same can succeed later."""
    async with application(dated(status, seconds)) as app:
        with pytest.raises(Unavailable, match="both clocks"):
            await app.post("/x", {}, entry=entry())


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        *((dated(status, seconds), status) for status in (401, 403) for seconds in (-300, 0, 300)),
        (answering(401), 401),
        (answering(403, Date="some day"), 403),
        (dated(422, 7200), 422),
    ],
)
async def test_a_refusal_counts_where_clocks_agree(reply: Reply, status: int) -> None:
    """Within the tolerance of signatures, without a date, and where it is not about who asks, no is no."""
    async with application(reply) as app:
        assert await app.post("/x", {}, entry=entry()) == Answer(status)


@pytest.mark.parametrize(
    "reply",
    [
        answering(500),
        failing(httpx.ReadTimeout("slow")),
        lambda _: httpx.Response(200, stream=Endless(stalls=True)),
    ],
)
async def test_what_may_be_this_requests_own_fault(reply: Reply) -> None:
    """An application that fails on a request, or hangs, is blamed for that request alone as long as it answers others;
    once it answers nobody it is away, and no request is to blame."""
    async with application(reply, laravel_timeout=0.05) as app:
        for _ in range(THRESHOLD - 1):
            with pytest.raises(Failed):
                await app.post("/x", {}, entry=entry())
        with pytest.raises(Unavailable):
            await app.post("/x", {}, entry=entry())


@pytest.mark.parametrize("reply", [answering(200, b"<html>"), answering(200, b'{"a":'), answering(200, b"\xff")])
async def test_a_yes_that_cannot_be_read(reply: Reply) -> None:
    """A 2xx that is not JSON is a bad answer, unless nobody wanted to read it."""
    async with application(reply) as app:
        with pytest.raises(BadAnswer):
            await app.post("/x", {}, entry=entry())
        assert await app.post("/x", {}, entry=entry(), wants_json=False) == Answer(200)


async def test_an_answer_is_read_up_to_the_cap() -> None:
    """A body without end is given up soon after the cap."""
    body = Endless(stalls=False)
    async with application(lambda _: httpx.Response(200, stream=body)) as app:
        with pytest.raises(BadAnswer):
            await app.post("/x", {}, entry=entry())
    assert body.given <= 2048


async def test_a_compressed_answer_is_not_inflated() -> None:
    """Nothing is inflated: what was sent compressed against our word is a bad answer of its small size."""
    bomb = gzip.compress(b" " * 10_000_000)
    async with application(answering(200, bomb, **{"Content-Encoding": "gzip"}), laravel_answer_bytes=65536) as app:
        with pytest.raises(BadAnswer, match="not JSON"):
            await app.post("/x", {}, entry=entry())


async def test_while_it_is_down_it_is_left_alone() -> None:
    """After failures in a row no request is sent until the probe's time; the first answer lets all pass."""
    clock, asked, status = Clock(), 0, 503

    def reply(_: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        return httpx.Response(status)

    async with application(reply, clock=clock) as app:
        for _ in range(THRESHOLD + 10):
            with pytest.raises(Unavailable):
                await app.post("/x", {}, entry=entry())
        assert asked == THRESHOLD
        clock.now += FIRST_PROBE_S
        status = 204
        for _ in range(3):
            assert (await app.post("/x", {}, entry=entry())).ok
        assert asked == THRESHOLD + 3


async def test_bad_answers_and_refusals_do_not_hold_it_back() -> None:
    """An application that answers is not down, whatever it says."""
    statuses: Iterator[int] = iter([200, 404] * THRESHOLD * 2)
    async with application(lambda _: httpx.Response(next(statuses), content=b"<html>")) as app:
        for _ in range(THRESHOLD * 2):
            with pytest.raises(BadAnswer):
                await app.post("/x", {}, entry=entry())
            assert (await app.post("/x", {}, entry=entry())).status == 404


async def test_waiting_for_a_connection_is_not_a_timeout() -> None:
    """A burst waits its turn: no more requests at once than allowed, and none fails for having waited."""
    running = most = 0

    async def reply(_: httpx.Request) -> httpx.Response:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.06)
        running -= 1
        return httpx.Response(204, stream=httpx.ByteStream(b""))

    made = Application(
        settings(laravel_connections=2, laravel_timeout=1.0),
        Telemetry(None, "test"),
        "test",
        transport=httpx.MockTransport(reply),
    )
    try:
        answers = await asyncio.gather(*(made.post("/x", {}, entry=entry()) for _ in range(40)))
    finally:
        await made.stop()
    assert len(answers) == 40
    assert most == 2


async def test_the_trace_goes_on_without_its_secrets() -> None:
    """The request is a client span under the entry's, told to the application, without token or body."""
    exporter, sent = InMemorySpanExporter(), []

    def reply(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers["traceparent"])
        return httpx.Response(403, content=b"s3cret answer")

    telemetry = Telemetry(exporter, "test")
    async with application(reply, telemetry=telemetry) as app:
        await app.post("/x", {"s3cret": 1}, entry=entry().traced(SAMPLED), headers={"Authorization": "Bearer s3cret"})
    await telemetry.stop()
    (span,) = exporter.get_finished_spans()
    assert span.kind is SpanKind.CLIENT
    assert dict(span.attributes or {}) == {
        "http.request.method": "POST", "http.route": "/x", "http.response.status_code": 403,
    }  # fmt: skip
    assert span.context is not None
    assert span.parent is not None
    assert sent == [f"00-4bf92f3577b34da6a3ce929d0e0e4736-{span.context.span_id:016x}-01"]
    assert f"{span.parent.span_id:016x}" == SAMPLED[36:52]
    assert "s3cret" not in str(span.to_json())


@pytest.mark.parametrize(
    "changes",
    [
        {"secret": SecretStr("short")},
        {"laravel_url": "app.test"},
        {"laravel_url": "ftp://app.test"},
        {"laravel_url": "http://"},
        {"laravel_url": "http://app.test/?a=b"},
    ],
)
def test_a_wrong_configuration_is_refused_at_once(changes: dict[str, object]) -> None:
    """Without a secret to sign with or a URL to ask, nothing starts."""
    with pytest.raises(ConfigurationError):
        Application(settings(**changes), Telemetry(None, "test"), "test")
