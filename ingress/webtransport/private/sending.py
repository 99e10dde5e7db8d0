"""When a connection has something to send. To ask aioquic costs as much as a packet, also when there is nothing.

What came from the client can wait with what answers it: an acknowledgement for ACK_DELAY_S at most (RFC 9000, section
13.2.1), everything else that is not looked at here for just as long, since acknowledging sends it along.
"""

from __future__ import annotations

from typing import Any, Final

from aioquic.tls import Epoch

from ingress.webtransport.private.flow import BoundedQuicConnection
from ingress.webtransport.private.leaned_on import LeanedOn

#: Below the 25 ms that aioquic announces as the longest; its own 1 ms makes a packet of nearly every acknowledgement.
ACK_DELAY_S: Final = 0.02
#: Packets that are acknowledged at once (RFC 9000, section 13.2.2).
_ACK_EVERY: Final = 2

#: See the package.
LEANED_ON: Final[LeanedOn] = (
    ("QuicConnection", "_ack_delay", "acknowledgements that leave with what answers a packet"),
    ("QuicConnection", "_spaces", "acknowledgements that leave with what answers a packet"),
    ("QuicConnection", "_handshake_confirmed", "knowing when there is nothing to send"),
    ("QuicConnection", "_close_pending", "knowing when there is nothing to send"),
    ("QuicConnection", "_probe_pending", "knowing when there is nothing to send"),
    ("QuicConnection", "_ping_pending", "knowing when there is nothing to send"),
    ("QuicConnection", "_retire_connection_ids", "knowing when there is nothing to send"),
    ("QuicConnection", "_datagrams_pending", "knowing when there is nothing to send"),
    ("QuicConnection", "_network_paths", "knowing when there is nothing to send"),
    ("QuicConnection", "_host_cids", "knowing when there is nothing to send"),
    ("QuicConnection", "_streams_queue", "knowing when there is nothing to send"),
)


class SparingQuicConnection(BoundedQuicConnection):
    """A connection that says whether asking it for packets is worth it."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._ack_delay = ACK_DELAY_S
        self._unanswered = 0
        self._unanswered_bytes = 0

    def receive_datagram(self, data: bytes, addr: Any, now: float) -> None:
        self._unanswered += 1
        self._unanswered_bytes += len(data)
        super().receive_datagram(data, addr, now)

    def answers_now(self, now: float) -> None:
        """Something is being sent: what has to be acknowledged goes with it."""
        space = self._spaces[Epoch.ONE_RTT]
        if space.ack_at is not None:
            space.ack_at = min(space.ack_at, now)
        self._unanswered = self._unanswered_bytes = 0

    def has_to_send(self, now: float) -> bool:
        """Whether what has come since `answers_now` must be answered now."""
        path = self._network_paths[0]
        return (
            not self._handshake_confirmed
            or self._has_to_acknowledge(now)
            or self._close_pending
            or self._probe_pending
            or bool(self._ping_pending or self._retire_connection_ids or self._datagrams_pending)
            or not path.is_validated
            or bool(path.remote_challenges)
            or any(not connection_id.was_sent for connection_id in self._host_cids)
            or any(
                not stream.sender.buffer_is_empty
                or stream.sender.reset_pending
                or stream.receiver.stop_pending
                or stream.is_finished
                for stream in self._streams_queue
            )
        )

    def _has_to_acknowledge(self, now: float) -> bool:
        space = self._spaces[Epoch.ONE_RTT]
        ack_at = space.ack_at
        if ack_at is None:
            return False
        # A gap may be a loss that the client should learn of at once (RFC 9000, section 13.2.1); credit is granted anew
        # with half a window that was used.
        return len(space.ack_queue) > 1 or (
            ack_at <= now or self._unanswered >= _ACK_EVERY or self._unanswered_bytes >= self._limits.stream_window // 2
        )
