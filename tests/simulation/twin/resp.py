"""RESP3 as a server speaks it (https://redis.io/docs/latest/develop/reference/protocol-spec/)."""

from __future__ import annotations

from typing import Any


class Failure(Exception):
    """An error answer, such as `WRONGTYPE …`."""


class Status(bytes):
    """A simple string, such as `OK`."""


OK = Status(b"OK")


def encode(value: Any) -> bytes:
    """The bytes of an answer: None, int, bytes, Status, Failure, list, or dict."""
    parts: list[bytes] = []
    _encode(value, parts)
    return b"".join(parts)


def _encode(value: Any, parts: list[bytes]) -> None:
    if value is None:
        parts.append(b"_\r\n")
    elif isinstance(value, Status):
        parts.append(b"+%b\r\n" % value)
    elif isinstance(value, bytes):
        parts.append(b"$%d\r\n%b\r\n" % (len(value), value))
    elif isinstance(value, int):
        parts.append(b":%d\r\n" % value)
    elif isinstance(value, dict):
        parts.append(b"%%%d\r\n" % len(value))
        for name, item in value.items():
            _encode(name, parts)
            _encode(item, parts)
    elif isinstance(value, Failure):
        parts.append(b"-%b\r\n" % str(value).encode())
    else:
        parts.append(b"*%d\r\n" % len(value))
        for item in value:
            _encode(item, parts)
