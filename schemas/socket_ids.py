"""Session ids in the only form that Pusher's libraries let through: two numbers with a dot between them.

Source: https://pusher.com/docs/channels/library_auth_reference/auth-signatures/ (`socket_id`); its server libraries
check it against `\\d+\\.\\d+`.
"""

from __future__ import annotations

import re
from typing import Final
from uuid import UUID

_HALF: Final = 64
_FORM: Final = re.compile(r"(\d{1,20})\.(\d{1,20})", re.ASCII)


def socket_id(session: str) -> str:
    """The two halves of a session's UUID, in decimal; raises ValueError if it is none."""
    number = UUID(session).int
    return f"{number >> _HALF}.{number & (1 << _HALF) - 1}"


def session_of(socket: str) -> str | None:
    """The session that `socket` stands for; None if it stands for none."""
    if (match := _FORM.fullmatch(socket)) is None:
        return None
    high, low = int(match[1]), int(match[2])
    if max(high, low) >= 1 << _HALF:
        return None
    return str(UUID(int=high << _HALF | low))
