"""How the ends of a connection are noticed on both sides.

aioquic 1.7 asks a silent peer for no sign of life, and makes stateless reset tokens that nobody can make again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from aioquic.quic.connection import QuicConnectionState
from aioquic.quic.events import ConnectionIdIssued

from ingress.webtransport.private.leaned_on import LeanedOn
from ingress.webtransport.private.sending import SparingQuicConnection

#: See the package.
LEANED_ON: Final[LeanedOn] = (
    ("QuicConnection", "_ack_eliciting_sent_since_receipt", "asking a dead client without letting it live longer"),
    ("QuicConnection", "_close_at", "when to ask a silent client for a sign of life"),
    ("QuicConnection", "_idle_timeout", "when to ask a silent client for a sign of life"),
    ("QuicConnection", "_state", "when to ask a silent client for a sign of life"),
    ("QuicConnection", "_crypto_buffers", "sessions that cost less memory"),
    ("QuicConnection", "_events", "connection ids that work before the client's next packet"),
    ("QuicConnection", "_host_cids", "stateless reset tokens that outlive the process"),
    ("QuicConnection", "_replenish_connection_ids", "stateless reset tokens that outlive the process"),
)


class LastingQuicConnection(SparingQuicConnection):
    """A connection whose peer learns by `reset_token`, a function of a connection id, that nobody has it any more."""

    def __init__(self, *, reset_token: Callable[[bytes], bytes] | None = None, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._reset_token = reset_token
        self._ask_before: float | None = None
        self._asked_for: float | None = None
        if reset_token is not None:
            self._host_cids[0].stateless_reset_token = reset_token(self._host_cids[0].cid)

    def keep_alive(self) -> None:
        """From now on send a PING when half of the idle timeout has passed in silence (RFC 9000, section 10.1.2).

        So routers in between remember a quiet client, and it does not take this side for dead.
        """
        self._ask_before = self._idle_timeout() / 2

    def forget_handshake(self) -> None:
        """Give back what only the handshake needed, 48 KiB; to be called after it."""
        self._crypto_buffers = {}

    def get_timer(self) -> float | None:
        timer, asks_at = super().get_timer(), self._asks_at()
        return timer if timer is None or asks_at is None else min(timer, asks_at)

    def handle_timer(self, now: float) -> None:
        asks_at = self._asks_at()
        if asks_at is not None and now >= asks_at:
            self._asked_for = self._close_at
            # What is sent first after a silence restarts the idle timer: the question must not.
            self._ack_eliciting_sent_since_receipt = True
            self.send_ping(0)
        super().handle_timer(now)

    def _asks_at(self) -> float | None:
        # The idle timeout's end moves with each packet that comes; once for each is enough, as QUIC sends it again.
        closes_at = self._close_at
        if self._ask_before is None or closes_at is None or closes_at == self._asked_for:
            return None
        return closes_at - self._ask_before if self._state is QuicConnectionState.CONNECTED else None

    def _replenish_connection_ids(self) -> None:
        known = len(self._host_cids)
        super()._replenish_connection_ids()
        for connection_id in self._host_cids[known:]:
            if self._reset_token is not None:
                connection_id.stateless_reset_token = self._reset_token(connection_id.cid)
            # aioquic says so when it sends them, which is noticed when the next packet has come: too late for one that
            # uses them at once, and would be answered with a reset.
            self._events.append(ConnectionIdIssued(connection_id=connection_id.cid))
