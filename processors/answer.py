"""What the application answered, without how it was asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from schemas.errors import HeadgateError


class Unavailable(HeadgateError):
    """The application's: it is down, overloaded or misdirected. The same request can succeed later."""


class NoAnswerToThis(Unavailable):
    """The same, unless the application answers others: then it is this request that it fails on."""


class Failed(HeadgateError):
    """The application's: it answers others, and fails on this request: a defect that the request meets."""


class BadAnswer(HeadgateError):
    """The application's: it said yes, and with it something that cannot be read."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that counts: 2xx, or a 4xx that is about the request."""

    status: int
    json: Any = None
    """The decoded body of a 2xx, None when it was empty. Always None for a 4xx: error bodies go nowhere."""

    @property
    def ok(self) -> bool:
        """Whether the application carried the request out."""
        return 200 <= self.status < 300

    @property
    def denied(self) -> bool:
        """Whether it said no to whoever asks (401, 403), rather than to how they ask."""
        return self.status in (401, 403)
