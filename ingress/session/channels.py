"""The channels of one session: asked for, granted, and until when."""

from __future__ import annotations

from math import inf

from ingress.session.limits import Now
from ingress.session.requests import BadRequest
from schemas.errors import ErrorCode


class Channels:
    """What a session is in, as far as its gateway has heard."""

    def __init__(self, most: int) -> None:
        """`most`: how many there may be."""
        self.granted: set[str] = set()
        """Channels whose grant has arrived."""
        self.due = inf
        """When the first grant expires (monotonic seconds)."""
        self._most = most
        self._asked: set[str] = set()
        """Channels that were asked for and not yet answered."""
        self._expiries: dict[str, tuple[float, int]] = {}
        """When grants expire: monotonic seconds, and Unix ms as it was granted."""

    def ask(self, channel: str) -> None:
        """The client asks for one more; raises BadRequest."""
        if channel in self.granted or channel in self._asked:
            raise BadRequest("subscribed already", ErrorCode.ALREADY_SUBSCRIBED)
        if len(self.granted) + len(self._asked) >= self._most:
            raise BadRequest(f"a session has at most {self._most} channels", ErrorCode.TOO_MANY_CHANNELS)
        self._asked.add(channel)

    def refused(self, channel: str) -> None:
        """It does not get it."""
        self._asked.discard(channel)

    def join(self, channel: str, expires_at: int | None, now: Now) -> None:
        """It is in, until `expires_at` (Unix ms)."""
        self._asked.discard(channel)
        self.granted.add(channel)
        self._expiries.pop(channel, None)
        if expires_at is not None:
            self._expiries[channel] = (now.monotonic + (expires_at - now.wall_ms) / 1000, expires_at)
        self._look_again()

    def leave(self, channel: str) -> None:
        """It is in no more."""
        self._asked.discard(channel)
        self.granted.discard(channel)
        if self._expiries.pop(channel, None) is not None:
            self._look_again()

    def expired(self, now: Now) -> list[tuple[str, int]]:
        """The channels whose grant is over, and which grant that was; it is in these no more."""
        over = [(channel, at) for channel, (due, at) in self._expiries.items() if due <= now.monotonic]
        for channel, _ in over:
            self.leave(channel)
        return over

    def _look_again(self) -> None:
        self.due = min((due for due, _ in self._expiries.values()), default=inf)
