"""Signed requests to the application.

Every request is a POST to a path of the settings: nothing a client sends chooses host, path or header names,
no redirect is followed, no proxy of the environment is used, and an answer is read up to a bound.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Final

import httpx
import orjson
import structlog
from opentelemetry.trace import SpanKind
from prometheus_client import Counter, Gauge, Histogram

from processors.answer import Answer, BadAnswer, Failed, NoAnswerToThis, NotReached, NotRepeatable, Unavailable
from processors.asked import Notes
from processors.breaker import Breaker
from runtime.settings import Settings
from runtime.telemetry import Telemetry
from schemas.entry import Entry
from schemas.errors import ConfigurationError, HeadgateError, InvalidEntry
from schemas.signing import TIMESTAMP_HEADER, TOLERANCE_S
from schemas.traceparent import parse

log = structlog.get_logger()

REQUESTS = Counter("headgate_application_requests", "Requests to the application.", ["route", "result"])
SECONDS = Histogram(
    "headgate_application_seconds",
    "How long the application took.",
    ["route", "result"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
AVAILABLE = Gauge("headgate_application_available", "0 while requests are held back.", ["processor"])

#: The idempotency key of a request: the id of the entry that led to it.
EVENT_HEADER: Final = "X-Headgate-Event-Id"
#: Statuses with which a request is turned away before it is handled (RFC 9110, 15.5.9, 15.6.4; RFC 6585, 4).
_RETRY: Final = frozenset({408, 429, 503})

#: What cannot be in the value of a header.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

#: What an exception in the application leads to (RFC 9110, 15.6.1); 502 to 504 come from what stands before it.
_DEFECT: Final = 500


class Application:
    """The application as one processor sees it, with its own connections and breaker; a Component."""

    def __init__(
        self,
        settings: Settings,
        telemetry: Telemetry,
        processor: str,
        *,
        repeatable: bool = True,
        transport: httpx.AsyncBaseTransport | None = None,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises ConfigurationError when there is no secret to sign with, or no usable URL.

        `repeatable`: whether a request may be sent again when nobody knows whether the application began with it.
        """
        self._repeatable = repeatable
        self._base = _base(settings.laravel_url)
        self._timeout = settings.laravel_timeout
        self._cap = settings.laravel_answer_bytes
        self._signer = settings.signer()
        self._telemetry = telemetry
        self._processor = processor
        self._wall = wall
        self._monotonic = monotonic
        self._breaker = Breaker()
        # Whoever waits for a connection is not being answered slowly: the timeout runs from the request on.
        self._slots = asyncio.Semaphore(settings.laravel_connections)
        self._client = httpx.AsyncClient(
            transport=transport,
            timeout=self._timeout,
            limits=httpx.Limits(
                max_connections=settings.laravel_connections,
                # A connection that is used again can be closed just then: nobody knows what became of that request.
                max_keepalive_connections=settings.laravel_connections if repeatable else 0,
            ),
            follow_redirects=False,
            trust_env=False,
            # Compressed, a small answer can be a large one.
            headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "headgate"},
        )
        self._notes = Notes()
        AVAILABLE.labels(processor).set(1)

    async def start(self) -> None:
        """Nothing: connections are made when they are needed."""

    async def stop(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def post(
        self,
        path: str,
        payload: Any = None,
        *,
        entry: Entry,
        headers: Mapping[str, str] | None = None,
        wants_json: bool = True,
        seen: Callable[[Any], Any] | None = None,
    ) -> Answer:
        """Ask the application on behalf of `entry`, whose session, user, id and trace go along as headers.

        `payload` becomes JSON (None: no body). With `wants_json` off the answer's body is not looked at. `seen` gives
        what the rules look at of its JSON, for the trail.
        Raises Unavailable, Failed, BadAnswer, InvalidEntry, and orjson.JSONEncodeError for a payload that JSON cannot
        carry. Where requests are not repeatable, Unavailable stands for those that were not begun with, and
        NotRepeatable for others.
        """
        _check_headers(entry)
        body = b"" if payload is None else orjson.dumps(payload)
        with self._notes.of(entry, path, body, seen) as note:
            status, content = await self._answer(path, body, entry, headers or {})
            note.status = status
            try:
                answer = self._decoded(status, content, wants_json)
            except BadAnswer as error:
                self._give_up(error)
                raise
            note.answer = answer.json
            return answer

    def notes(self, entry: Entry) -> Mapping[str, Any]:
        """What a trail says of what was asked on behalf of `entry`; forgotten with this call."""
        return self._notes.take(entry)

    async def _answer(
        self, path: str, body: bytes, entry: Entry, headers: Mapping[str, str]
    ) -> tuple[int, bytes | None]:
        """Status and body (None when over the cap) of an answer that counts; raises Unavailable, Failed."""
        async with self._slots:
            if not self._breaker.allow(self._monotonic()):
                REQUESTS.labels(path, "held_back").inc()
                raise Unavailable("the application did not answer before: asking again soon")
            span = self._telemetry.begin(
                f"POST {path}",
                entry.traceparent,
                {"http.request.method": "POST", "http.route": path},
                kind=SpanKind.CLIENT,
            )
            request = self._request(path, body, entry, headers, span.traceparent)
            began, result = self._monotonic(), "no_answer"
            try:
                response, content = await self._exchange(request)
                result = f"{response.status_code // 100}xx"
                span.note("http.response.status_code", response.status_code)
                _check(response.status_code)
                _check_clocks(request, response)
            except Unavailable as error:
                self._failed(path, str(error))
                self._give_up(error)
                if isinstance(error, NoAnswerToThis) and not self._breaker.open:
                    raise Failed(str(error)) from error
                raise
            finally:
                span.end("" if result in ("2xx", "4xx") else result)
                REQUESTS.labels(path, result).inc()
                SECONDS.labels(path, result).observe(self._monotonic() - began)
            self._succeeded()
            return response.status_code, content

    def _request(
        self, path: str, body: bytes, entry: Entry, headers: Mapping[str, str], traceparent: str
    ) -> httpx.Request:
        url = httpx.URL(self._base + path)
        signed = self._signer.headers(
            "POST",
            url.raw_path.decode("ascii"),
            body,
            timestamp=int(self._wall()),
            nonce=secrets.token_hex(16),
            session=entry.session,
            user=entry.user,
        )
        every = {**headers, **signed, EVENT_HEADER: entry.id}
        if body:
            every["Content-Type"] = "application/json"
        if parse(traceparent):
            every["traceparent"] = traceparent
        # A user id may be any UTF-8; httpx would refuse it as text.
        encoded = [(name.encode(), value.encode()) for name, value in every.items()]
        return self._client.build_request("POST", url, content=body, headers=encoded)

    def _give_up(self, error: HeadgateError) -> None:
        """Raise NotRepeatable if that matters, and `error` leaves open whether the application began with a request."""
        if not self._repeatable and not isinstance(error, NotReached):
            raise NotRepeatable(f"{error}; it is not asked again, since HEADGATE_LARAVEL_IDEMPOTENT is off") from error

    async def _exchange(self, request: httpx.Request) -> tuple[httpx.Response, bytes | None]:
        """The answer and its body (None when over the cap), all within the timeout; raises Unavailable."""
        began: list[str] = []
        if not self._repeatable:
            request.extensions["trace"] = partial(_note_beginning, began)
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._client.send(request, stream=True)
                try:
                    return response, await self._body(response)
                finally:
                    await response.aclose()
        except (TimeoutError, httpx.TimeoutException) as error:
            if not began and not self._repeatable:
                raise NotReached(f"no connection to the application within {self._timeout} s") from error
            raise NoAnswerToThis(f"the application did not answer within {self._timeout} s") from error
        except httpx.LocalProtocolError:
            raise  # A request that may not be sent would be refused the next time, too.
        except httpx.TransportError as error:
            kind = NotReached if isinstance(error, httpx.ConnectError) else Unavailable
            raise kind(f"no connection to the application ({type(error).__name__})") from error

    async def _body(self, response: httpx.Response) -> bytes | None:
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > self._cap:
                return None
        return bytes(body)

    def _decoded(self, status: int, content: bytes | None, wants_json: bool) -> Answer:
        if status >= 400 or not wants_json:
            return Answer(status)
        if content is None:
            raise BadAnswer(f"the application's answer is longer than {self._cap} bytes")
        if not content.strip():
            return Answer(status)
        try:
            return Answer(status, orjson.loads(content))
        except orjson.JSONDecodeError:
            raise BadAnswer("the application's answer is not JSON") from None

    def _failed(self, path: str, error: str) -> None:
        log.warning("application.unavailable", processor=self._processor, route=path, error=error)
        if self._breaker.failed(self._monotonic()):
            AVAILABLE.labels(self._processor).set(0)
            log.error("application.held_back", processor=self._processor, error=error)

    def _succeeded(self) -> None:
        if self._breaker.succeeded():
            AVAILABLE.labels(self._processor).set(1)
            log.warning("application.back", processor=self._processor)


def _check_headers(entry: Entry) -> None:
    """Raise InvalidEntry for one that would write headers of its own (RFC 9110, 5.5)."""
    if any(_CONTROL.search(value) for value in (entry.id, entry.session, entry.user)):
        raise InvalidEntry("its id, session or user has control characters, which end a header")


async def _note_beginning(began: list[str], event: str, _: Mapping[str, Any]) -> None:
    """Take note in `began` when the first byte of a request is about to leave
    (https://www.python-httpx.org/advanced/extensions/#trace)."""
    if event.endswith("send_request_headers.started"):
        began.append(event)


def _check(status: int) -> None:
    """Raise Unavailable for a status after which the same request can succeed."""
    if 300 <= status < 400:
        raise Unavailable(f"the application redirects ({status}), which is not followed: check HEADGATE_LARAVEL_URL")
    if status == _DEFECT:
        raise NoAnswerToThis(f"the application answered {status}")
    if status in _RETRY:
        raise NotReached(f"the application answered {status}")
    if not (200 <= status < 300 or 400 <= status < 500):
        raise Unavailable(f"the application answered {status}")


def _check_clocks(request: httpx.Request, response: httpx.Response) -> None:
    """Raise Unavailable for a 401 or 403 of an application whose clock makes every signature of ours stale.

    It says nothing about the request: the same one can succeed when the clocks agree again. What the application's
    clock shows stands in Date (RFC 9110, 6.6.1); without it the refusal counts.
    """
    if response.status_code not in (401, 403):
        return
    try:
        shown = parsedate_to_datetime(response.headers.get("Date", "")).timestamp()
    except (ValueError, OverflowError):
        return
    apart = shown - int(request.headers[TIMESTAMP_HEADER])
    if abs(apart) > TOLERANCE_S:
        raise NotReached(
            f"the application answered {response.status_code} and its clock is {apart:+.0f} s from this one: "
            "it refuses every signature until both clocks are right"
        )


def _base(url: str) -> str:
    """`url` as the beginning of every request's; raises ConfigurationError."""
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ConfigurationError(f"HEADGATE_LARAVEL_URL is not a URL: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.host or parts.query or parts.fragment:
        raise ConfigurationError("HEADGATE_LARAVEL_URL is http(s)://HOST[:PORT][/PATH], without a query")
    return url.rstrip("/")
