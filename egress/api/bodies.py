"""Bodies of requests, read before anything is known of who sent them."""

from __future__ import annotations

from typing import Final

from starlette.datastructures import Headers
from starlette.types import Message, Receive

from schemas.errors import HeadgateError

#: The longest body that is read, in bytes.
MAX_BODY: Final = 262_144


class BodyTooLong(HeadgateError):
    """The caller's: a body of more than MAX_BODY bytes. What is left of it was not read."""


async def read_body(headers: Headers, receive: Receive) -> bytes | None:
    """The body, or None when the client went away; never more than MAX_BODY of it is held. Raises BodyTooLong."""
    declared = headers.get("content-length", "")
    if declared.isdigit() and int(declared) > MAX_BODY:
        raise _too_long()
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            raise _too_long()
        if not message.get("more_body", False):
            return bytes(body)


def again(body: bytes, receive: Receive) -> Receive:
    """As `receive` was before `body` was read from it."""
    waiting: Message | None = {"type": "http.request", "body": body, "more_body": False}

    async def received() -> Message:
        nonlocal waiting
        message, waiting = waiting, None
        return message if message is not None else await receive()

    return received


def _too_long() -> BodyTooLong:
    return BodyTooLong(f"the body is longer than {MAX_BODY} bytes")
