"""What a session waits for, and until when. Times are monotonic seconds; infinite where nothing is waited for."""

from __future__ import annotations

from math import inf

from ingress.session.limits import SessionLimits
from schemas.close_codes import CloseCode


class Timing:
    """The deadlines of one session."""

    def __init__(self, limits: SessionLimits, now: float) -> None:
        """An `auth` frame is due."""
        self._limits = limits
        self._auth = now + limits.auth_timeout
        self._verdict = inf
        self._token = inf
        self._ping = inf
        self._pong = inf
        self._deaf = False

    @property
    def due(self) -> float:
        """The first of them."""
        return min(self._auth, self._verdict, self._token, self._ping, self._pong)

    def asked(self, now: float) -> None:
        """The application is being asked about the token."""
        self._auth, self._verdict = inf, now + self._limits.verdict_timeout

    def expires(self, at: float) -> None:
        """The token ends then."""
        self._token = at

    def opened(self, now: float, *, pings: bool) -> None:
        """The session is open; `pings`: its client answers pings."""
        self._verdict = inf
        if pings:
            self._ping = now + self._limits.ping_interval

    def heard(self) -> None:
        """The client is there."""
        self._pong = inf

    def listen(self, listening: bool, now: float) -> None:
        """Whether the client is read: while it is not, its silence says nothing."""
        self._deaf = not listening
        self._pong = inf
        if listening and self._auth < inf:
            self._auth = now + self._limits.auth_timeout
        if self._ping < inf:
            self._ping = now + self._limits.ping_interval

    def asks(self, now: float) -> bool:
        """Whether the client is to be asked for a sign of life; from now on one is due, if it could be heard."""
        if now < self._ping:
            return False
        self._ping = now + self._limits.ping_interval
        # One that is due already stays so: pings that follow fast would put it off for ever.
        self._pong = inf if self._deaf else min(self._pong, now + self._limits.pong_timeout)
        return True

    def overdue(self, now: float) -> tuple[CloseCode, str] | None:
        """Why the session is to be closed, if something stayed away too long."""
        if now >= self._auth and self._deaf:
            return CloseCode.INTERNAL_ERROR, "the log is not available: connect again later"
        if now >= self._auth:
            return CloseCode.AUTH_TIMEOUT, "no auth frame in time: send it first"
        if now >= self._verdict:
            return CloseCode.INTERNAL_ERROR, "the application did not answer the authentication in time"
        if now >= self._token:
            return CloseCode.TOKEN_EXPIRED, "the token has ended: connect again with a new one"
        if now >= self._pong:
            return CloseCode.NO_PONG, "no answer to a ping"
        return None
