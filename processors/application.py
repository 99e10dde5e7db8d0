"""Signed requests to the application.

Every request is a POST to a path of the settings: nothing a client sends chooses host, path or header names,
no redirect is followed, no proxy of the environment is used, and an answer is read up to a bound.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx
import orjson
import structlog
from opentelemetry.trace import SpanKind
from prometheus_client import Counter, Gauge, Histogram

from processors.answer import Answer, BadAnswer, Failed, NoAnswerToThis, Unavailable
from processors.breaker import Breaker
from runtime.settings import Settings
from runtime.telemetry import Telemetry
from schemas.entry import Entry
from schemas.errors import ConfigurationError
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
#: Statuses below 500 that say nothing about the request itself (RFC 9110, 15.5.9; RFC 6585, 4).
_RETRY: Final = frozenset({408, 429})

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
        transport: httpx.AsyncBaseTransport | None = None,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises ConfigurationError when there is no secret to sign with, or no usable URL."""
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
                max_keepalive_connections=settings.laravel_connections,
            ),
            follow_redirects=False,
            trust_env=False,
            # Compressed, a small answer can be a large one.
            headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "headgate"},
        )
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
    ) -> Answer:
        """Ask the application on behalf of `entry`, whose session, user, id and trace go along as headers.

        `payload` becomes JSON (None: no body). With `wants_json` off the answer's body is not looked at.
        Raises Unavailable, Failed, BadAnswer, and orjson.JSONEncodeError for a payload that JSON cannot carry.
        """
        body = b"" if payload is None else orjson.dumps(payload)
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
            request = self._request(path, body, entry, headers or {}, span.traceparent)
            began, result = self._monotonic(), "no_answer"
            try:
                response, content = await self._exchange(request)
                result = f"{response.status_code // 100}xx"
                span.note("http.response.status_code", response.status_code)
                _check(response.status_code)
                _check_clocks(request, response)
            except Unavailable as error:
                self._failed(path, str(error))
                if isinstance(error, NoAnswerToThis) and not self._breaker.open:
                    raise Failed(str(error)) from error
                raise
            finally:
                span.end("" if result in ("2xx", "4xx") else result)
                REQUESTS.labels(path, result).inc()
                SECONDS.labels(path, result).observe(self._monotonic() - began)
            self._succeeded()
            return self._decoded(response.status_code, content, wants_json)

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

    async def _exchange(self, request: httpx.Request) -> tuple[httpx.Response, bytes | None]:
        """The answer and its body (None when over the cap), all within the timeout; raises Unavailable."""
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._client.send(request, stream=True)
                try:
                    return response, await self._body(response)
                finally:
                    await response.aclose()
        except (TimeoutError, httpx.TimeoutException) as error:
            raise NoAnswerToThis(f"the application did not answer within {self._timeout} s") from error
        except httpx.LocalProtocolError:
            raise  # A request that may not be sent would be refused the next time, too.
        except httpx.TransportError as error:
            raise Unavailable(f"no connection to the application ({type(error).__name__})") from error

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


def _check(status: int) -> None:
    """Raise Unavailable for a status after which the same request can succeed."""
    if 300 <= status < 400:
        raise Unavailable(f"the application redirects ({status}), which is not followed: check HEADGATE_LARAVEL_URL")
    if status == _DEFECT:
        raise NoAnswerToThis(f"the application answered {status}")
    if status in _RETRY or not (200 <= status < 300 or 400 <= status < 500):
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
        raise Unavailable(
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
