"""The `traceparent` of an entry (W3C Trace Context, https://www.w3.org/TR/trace-context/#traceparent-header)."""

from __future__ import annotations

import re
from typing import NamedTuple

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})\Z")


class TraceParent(NamedTuple):
    """A parsed traceparent: lower-case hex ids and whether the trace is sampled."""

    trace_id: str
    span_id: str
    sampled: bool

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


def parse(value: str) -> TraceParent | None:
    """The parts of `value`, or None when it is empty or not a valid version 00 traceparent."""
    match = _TRACEPARENT.match(value)
    if match is None or match[1] == "0" * 32 or match[2] == "0" * 16:
        return None
    return TraceParent(match[1], match[2], bool(int(match[3], 16) & 1))


def is_sampled(value: str) -> bool:
    """Whether `value` asks for spans: the cheap test that every entry gets."""
    return value[-1:] == "1"
