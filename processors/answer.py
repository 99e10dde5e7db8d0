"""What the application answered, without how it was asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from schemas.entry import Entry
from schemas.errors import HeadgateError


class Unavailable(HeadgateError):
    """The application's: it is down, overloaded or misdirected. The same request can succeed later."""


class NotReached(Unavailable):
    """The same, and the application did not begin with the request: it can be sent again whatever it asks for."""


class NotRepeatable(HeadgateError):
    """The application's: it may have begun with a request that must not be sent to it twice."""


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


class Asks(Protocol):
    """Whoever answers for the application: it, over HTTP, or what it answered before."""

    async def post(
        self,
        path: str,
        payload: Any = None,
        *,
        entry: Entry,
        headers: Mapping[str, str] | None = None,
        wants_json: bool = True,
        seen: Callable[[Any], Any] | None = None,
    ) -> Answer:
        """The answer to `payload` (JSON; None: no body) at `path`, asked on behalf of `entry`.

        `seen` gives what the rules look at of the answer's JSON, which is all that is kept of it; None: all of it.
        Raises Unavailable, Failed, BadAnswer, and orjson.JSONEncodeError for a payload that JSON cannot carry.
        """

    def notes(self, entry: Entry) -> Mapping[str, Any]:
        """What a trail says of what was asked on behalf of `entry`; forgotten with this call."""
