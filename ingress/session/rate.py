"""How much a client may send: a token bucket, told the time."""

from __future__ import annotations

#: What may come at once, as a multiple of a second's worth.
BURST = 2.0


class TokenBucket:
    """Allows `rate` units a second on average, and twice that at once."""

    __slots__ = ("_at", "_rate", "_tokens")

    def __init__(self, rate: float, now: float) -> None:
        """`now` in monotonic seconds."""
        self._rate = rate
        self._tokens = rate * BURST
        self._at = now

    def take(self, amount: float, now: float) -> bool:
        """Take `amount` if it is there; False, and nothing taken, when it is not."""
        self._tokens = min(self._rate * BURST, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < amount:
            return False
        self._tokens -= amount
        return True
