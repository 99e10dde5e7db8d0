"""The door of the API: bounded bodies and signed requests, before anything is parsed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from prometheus_client import Counter
from redis.exceptions import RedisError
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from egress.api.admission import Admission, NonceUsed, TooManyRequests
from egress.api.bodies import BodyTooLong, again, read_body
from egress.api.requests import AWAY
from schemas.errors import InvalidSignature
from schemas.signing import Verifier

REFUSED: Final = Counter("headgate_api_refused", "API requests refused before they were parsed.", ["status"])

#: What monitoring calls, unsigned; nothing of it is about one session or user.
OPEN_PATHS: Final = frozenset({"/health", "/health/live", "/health/ready", "/metrics", "/asyncapi.json"})


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
        admission: Admission,
        verifier: Verifier,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._app = app
        self._admission = admission
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
        await self._app(scope, again(body, receive), send)

    async def _check(self, scope: Scope, body: bytes | None) -> str:
        """Verify the signature, then burn its nonce and count it; gives the key id."""
        if body is None:
            return ""
        target = scope["raw_path"].decode("latin-1")
        if scope["query_string"]:
            target += "?" + scope["query_string"].decode("latin-1")
        headers = Headers(scope=scope)
        try:
            key_id, nonce = self._verifier.verify(scope["method"], target, body, headers.get, now=int(self._now()))
            # Not before the signature: a stranger must not use up what belongs to a key.
            await self._admission.admit(key_id, nonce)
        except (InvalidSignature, NonceUsed) as error:
            raise _RefusedError(401, str(error)) from error
        except TooManyRequests as error:
            raise _RefusedError(429, str(error), {"Retry-After": str(error.retry_after)}) from error
        except RedisError as error:
            raise _RefusedError(503, AWAY, {"Retry-After": "1"}) from error
        return key_id


async def _read(headers: Headers, receive: Receive) -> bytes | None:
    try:
        return await read_body(headers, receive)
    except BodyTooLong as error:
        # The rest of the body is not read, so the connection cannot be used again.
        raise _RefusedError(413, str(error), {"Connection": "close"}) from error
