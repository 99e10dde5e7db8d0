"""The door of the API: bounded bodies and signed requests, before anything is parsed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import redis.asyncio as aioredis
from prometheus_client import Counter
from redis.exceptions import RedisError
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from schemas.errors import InvalidSignature
from schemas.keys import Keys
from schemas.signing import NONCE_TTL_S, Verifier

REFUSED: Final = Counter("headgate_api_refused", "API requests refused before they were parsed.", ["status"])

#: The longest body that is read, in bytes.
MAX_BODY: Final = 262_144
#: What monitoring calls, unsigned; nothing of it is about one session or user.
OPEN_PATHS: Final = frozenset({"/health", "/health/live", "/health/ready", "/metrics"})


class _RefusedError(Exception):
    """A request that goes no further."""

    def __init__(self, status: int, error: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(error)
        self.response = JSONResponse({"error": error}, status, headers)


class SignedRequests:
    """ASGI middleware: only requests that carry a fresh signature over their body come through."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        client: aioredis.Redis,
        keys: Keys,
        verifier: Verifier,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._app = app
        self._client = client
        self._keys = keys
        self._verifier = verifier
        self._now = now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; `scope["state"]["key_id"]` says who signed it."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        try:
            body = await _read(Headers(scope=scope), receive)
            key_id = await self._check(scope, body)
        except _RefusedError as refused:
            REFUSED.labels(str(refused.response.status_code)).inc()
            await refused.response(scope, receive, send)
            return
        if body is None:
            return
        scope.setdefault("state", {})["key_id"] = key_id
        waiting: Message | None = {"type": "http.request", "body": body, "more_body": False}

        async def again() -> Message:
            nonlocal waiting
            message, waiting = waiting, None
            return message if message is not None else await receive()

        await self._app(scope, again, send)

    async def _check(self, scope: Scope, body: bytes | None) -> str:
        """Verify the signature and burn its nonce; gives the key id."""
        if body is None:
            return ""
        target = scope["raw_path"].decode("latin-1")
        if scope["query_string"]:
            target += "?" + scope["query_string"].decode("latin-1")
        headers = Headers(scope=scope)
        try:
            key_id, nonce = self._verifier.verify(scope["method"], target, body, headers.get, now=int(self._now()))
        except InvalidSignature as error:
            raise _RefusedError(401, str(error)) from error
        try:
            fresh = await self._client.set(self._keys.nonce(key_id, nonce), b"", nx=True, ex=NONCE_TTL_S)
        except RedisError as error:
            raise _RefusedError(503, "the log is away: try again", {"Retry-After": "1"}) from error
        if not fresh:
            raise _RefusedError(401, "the nonce was used before: every request needs its own")
        return key_id


async def _read(headers: Headers, receive: Receive) -> bytes | None:
    """The body, or None when the client went away; never more than MAX_BODY of it is held."""
    declared = headers.get("content-length", "")
    if declared.isdigit() and int(declared) > MAX_BODY:
        raise _too_large()
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            raise _too_large()
        if not message.get("more_body", False):
            return bytes(body)


def _too_large() -> _RefusedError:
    # The rest of the body is not read, so the connection cannot be used again.
    return _RefusedError(413, f"the body is longer than {MAX_BODY} bytes", {"Connection": "close"})
