"""How many new connections a second a listener takes."""

from __future__ import annotations

from typing import Final

from ingress.session.rate import TokenBucket

#: Networks whose share is remembered; the one that was not heard of for longest is forgotten for a new one.
_NETWORKS: Final = 4096
#: What one network may have of all: whoever makes connections as fast as they can leaves room for others.
_SHARE: Final = 0.5


class _Bucket(TokenBucket):
    def left(self, now: float) -> float:
        self.take(0, now)
        return self._tokens


class HandshakeRate:
    """A token bucket: so many a second, twice that at once, and half of it for one network. Times are monotonic."""

    def __init__(self, per_second: int, now: float) -> None:
        """`per_second` 0 stands for no limit."""
        self._rate = per_second
        self._all = _Bucket(per_second, now)
        self._networks: dict[bytes, _Bucket] = {}

    def calm(self, network: bytes, now: float) -> bool:
        """Whether more than half of what may come at once is left, for all and for this network.

        The rest is for those who have proven their address: nobody can use up what belongs to another.
        """
        if not self._rate:
            return True
        return self._all.left(now) > self._rate and self._share(network, now).left(now) > self._rate * _SHARE

    def delay(self, now: float) -> float:
        """Seconds until the next one may come; 0 when it may now."""
        return max(0.0, 1 - self._all.left(now)) / self._rate if self._rate else 0.0

    def take(self, network: bytes | None, now: float) -> bool:
        """Whether one may come now, which then counts; without a network it has a share in all of it."""
        if not self._rate:
            return True
        if self._all.left(now) < 1 or (network is not None and not self._share(network, now).take(1, now)):
            return False
        return self._all.take(1, now)

    def _share(self, network: bytes, now: float) -> _Bucket:
        share = self._networks.pop(network, None) or _Bucket(self._rate * _SHARE, now)
        self._networks[network] = share
        if len(self._networks) > _NETWORKS:
            del self._networks[next(iter(self._networks))]
        return share
