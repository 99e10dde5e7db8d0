"""The door of Pusher's API: bounded bodies and signed requests for the application there is."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from redis.exceptions import RedisError
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from egress.api.admission import Admission, TooManyRequests
from egress.api.bodies import BodyTooLong, again, read_body
from egress.api.requests import AWAY
from egress.api.signed import REFUSED
from egress.pusher.signing import Signed, verify
from schemas.errors import HeadgateError, InvalidSignature

_PREFIX: Final = "/apps/"


class UnknownApplication(HeadgateError):
    """The caller's: a signed request for an application that Headgate does not serve."""


class PusherRequests:
    """ASGI middleware: what is for Pusher's API and signed as it is there goes to `app`, the rest of paths to `others`.

    A request that came through says by whom it is signed in `scope["state"]["signed"]`.
    """

    def __init__(
        self,
        app: ASGIApp,
        others: ASGIApp,
        *,
        admission: Admission,
        app_id: str,
        secrets: Mapping[str, bytes],
        now: Callable[[], float] = time.time,
    ) -> None:
        """`secrets` maps a key to its secret."""
        self._app = app
        self._others = others
        self._admission = admission
        self._app_id = app_id
        self._secrets = secrets
        self._now = now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or not scope["path"].startswith(_PREFIX):
            await self._others(scope, receive, send)
            return
        try:
            body = await read_body(Headers(scope=scope), receive)
            if body is None:
                return
            signed = await self._check(scope, body)
        except (BodyTooLong, InvalidSignature, TooManyRequests, UnknownApplication, RedisError) as error:
            refusal = _refusal(error)
            REFUSED.labels(str(refusal.status_code)).inc()
            await refusal(scope, receive, send)
            return
        scope.setdefault("state", {})["signed"] = signed
        await self._app(scope, again(body, receive), send)

    async def _check(self, scope: Scope, body: bytes) -> Signed:
        path, query = scope["raw_path"].decode("latin-1"), scope["query_string"].decode("latin-1")
        signed = verify(self._secrets, scope["method"], path, query, body, now=int(self._now()))
        # Not before the signature: a stranger must not use up what belongs to a key.
        await self._admission.admit(signed.key_id, None)
        if scope["path"].split("/")[2] != self._app_id:
            raise UnknownApplication("no application has this id: use the one in HEADGATE_APP_ID")
        return signed


def _refusal(error: Exception) -> PlainTextResponse:
    """The answer, as the libraries of Pusher's read it: a status, and plain text that says why."""
    match error:
        case BodyTooLong():
            # The rest of the body is not read, so the connection cannot be used again.
            return PlainTextResponse(str(error), 413, {"Connection": "close"})
        case TooManyRequests():
            return PlainTextResponse(str(error), 429, {"Retry-After": str(error.retry_after)})
        case UnknownApplication():
            return PlainTextResponse(str(error), 404)
        case InvalidSignature():
            return PlainTextResponse(str(error), 401)
    return PlainTextResponse(AWAY, 503, {"Retry-After": "1"})
