"""Errors that cross a boundary: what a client is told in an `error` frame, and what an operator reads."""

from __future__ import annotations

from enum import IntEnum


class ErrorCode(IntEnum):
    """The `code` of an `error` frame. The session stays open; `temporary` says whether a retry can succeed."""

    BAD_REQUEST = 100
    UNKNOWN_CHANNEL_PREFIX = 101
    INVALID_CHANNEL = 102
    FORBIDDEN = 103
    NOT_SUBSCRIBED = 104
    ALREADY_SUBSCRIBED = 105
    TOO_MANY_CHANNELS = 106
    LOG_UNAVAILABLE = 110
    APPLICATION_UNAVAILABLE = 120
    APPLICATION_REJECTED = 121


#: Errors after which the same request can succeed later.
TEMPORARY = frozenset({ErrorCode.LOG_UNAVAILABLE, ErrorCode.APPLICATION_UNAVAILABLE})


class HeadgateError(Exception):
    """Base of every error that Headgate raises on purpose; the text says whose fault it is and what to do."""


class ConfigurationError(HeadgateError):
    """The operator's: a setting is missing, contradictory or unsafe."""


class InvalidEntry(HeadgateError):
    """The writer's: a stream entry does not have the form of schemas.entry, or its event does not validate."""


class InvalidTopic(HeadgateError):
    """The caller's: a topic or channel name that does not exist in the grammar of schemas.topics."""

    def __init__(self, message: str, code: ErrorCode = ErrorCode.INVALID_CHANNEL) -> None:
        super().__init__(message)
        self.code = code


class InvalidSignature(HeadgateError):
    """The sender's: a signed request whose headers are missing, stale, replayed or wrong."""


class LogUnavailable(HeadgateError):
    """The server's: Redis did not confirm an append; nothing may be acknowledged."""


def error_frame(
    code: ErrorCode, message: str, frame_id: str | None = None, channel: str | None = None
) -> dict[str, object]:
    """The `error` frame a client receives; `frame_id` and `channel` are those of the frame it answers."""
    frame: dict[str, object] = {
        "type": "error",
        "code": int(code),
        "message": message,
        "temporary": code in TEMPORARY,
    }
    if frame_id is not None:
        frame["id"] = frame_id
    if channel is not None:
        frame["channel"] = channel
    return frame
