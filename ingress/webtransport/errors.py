"""Errors of the WebTransport layer; each says whose fault it is."""

from __future__ import annotations

from schemas.errors import HeadgateError


class CapsuleError(HeadgateError):
    """The client's: bytes on the CONNECT stream that are no capsules, or that follow the session's end."""


class WrongStateError(HeadgateError):
    """The caller's: a command that the state does not allow, such as accepting what nobody asked for."""
