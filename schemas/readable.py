"""Payloads of entries as JSON, for people and programs: msgpack carries what JSON cannot."""

from __future__ import annotations

import base64

import orjson


def to_json(value: object) -> bytes:
    """`value` as a line of JSON; raw bytes become `{"base64": …}`, what has no JSON form becomes its text."""
    try:
        return orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # Deeper than orjson goes, or with keys it cannot write.
        return orjson.dumps({"unreadable": repr(value)[:1000]})


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    return str(value)
