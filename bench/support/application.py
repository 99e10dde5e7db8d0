"""A stand-in for the application, as fast as one gets: what it answers costs next to nothing.

Serves the routes that Headgate calls, verifies no signature and stores nothing, so that what is measured is the
way to the application and back, not the application. Run by uvicorn.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_JSON: Final = [(b"content-type", b"application/json")]


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """The ASGI application: who shows a token is the user of that name, everybody may join, messages are broadcast."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    answer = orjson.dumps(_answer(scope, body))
    headers = [*_JSON, (b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


def _answer(scope: dict[str, Any], body: bytes) -> dict[str, Any]:
    match scope["path"]:
        case "/api/auth/verify":
            bearer = dict(scope["headers"]).get(b"authorization", b"").decode()
            return {"user": {"id": bearer.removeprefix("Bearer "), "info": {}}}
        case "/api/webtransport/handle":
            return {"broadcast": True, "data": orjson.loads(body)["data"]}
        case _:
            return {}
