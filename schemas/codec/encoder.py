"""Frames of our own to bytes."""

import re
from math import isfinite
from typing import Any, assert_never

import msgpack
import orjson

from schemas.codec.decoder import Encoding
from schemas.codec.errors import EncodingError

# Without these orjson would write dates, dataclasses and subclasses in forms that msgpack does not have.
_ONLY_PLAIN = (
    orjson.OPT_APPEND_NEWLINE
    | orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_SUBCLASS
)
_MAYBE_NOT_FINITE = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]")


def encode_frame(frame: dict[str, Any], encoding: Encoding) -> bytes:
    """The frame's bytes: JSON (UTF-8) with a newline after it, or msgpack with bytes as bin.

    Raises `EncodingError` for what the encoding cannot carry: bytes in JSON; in both NaN, Infinity, integers
    beyond 64 bits, lone surrogates and other types. Sizes are not checked: limits are for what others send.
    """
    if encoding == "json":
        return _to_json(frame)
    if encoding == "msgpack":
        return _to_msgpack(frame)
    assert_never(encoding)


def _to_json(frame: dict[str, Any]) -> bytes:
    try:
        data = orjson.dumps(frame, option=_ONLY_PLAIN)
    except orjson.JSONEncodeError as error:
        raise EncodingError(f"frame cannot be JSON: {error}; use msgpack or write it as text") from error
    # orjson writes NaN and Infinity as null without a word.
    if b"null" in data and not _all_finite(frame):
        raise EncodingError("frame holds NaN or Infinity, which JSON cannot carry: use None")
    return data


def _to_msgpack(frame: dict[str, Any]) -> bytes:
    try:
        data: bytes = msgpack.packb(frame)
    except (TypeError, ValueError, OverflowError) as error:
        raise EncodingError(f"frame cannot be msgpack: {error}") from error
    if _MAYBE_NOT_FINITE.search(data) and not _all_finite(frame):
        raise EncodingError("frame holds NaN or Infinity, which the peer must refuse: use None")
    return data


def _all_finite(value: Any) -> bool:
    """Whether no float in `value` is NaN or infinite. Not deeper than the libraries have just gone."""
    if isinstance(value, float):
        return isfinite(value)
    if isinstance(value, dict):
        return all(map(_all_finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_all_finite, value))
    return True
