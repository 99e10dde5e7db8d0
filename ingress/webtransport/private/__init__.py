"""Leans, as nothing else does, on what aioquic keeps to itself: each attribute is in the `LEANED_ON` of a module here.

aioquic 1.7 has no public way to learn how much of a stream waits, to bound what a client may make it hold, to
receive on a stream that it opened for WebTransport itself, or to choose connection ids.
"""

from ingress.webtransport.private.flow import (
    MAX_CRYPTO_BYTES,
    MAX_PIECES,
    MAX_RECEIVED_DATAGRAMS,
    BoundedQuicConnection,
    FlowLimits,
)
from ingress.webtransport.private.http3 import (
    MAX_FIELD_SECTION_SIZE,
    SETTINGS_WEBTRANSPORT,
    FieldSectionTooLargeError,
    MisplacedStreamFrameError,
    WebTransportH3Connection,
)
from ingress.webtransport.private.lifetime import LastingQuicConnection
from ingress.webtransport.private.sizes import (
    STREAM_BYTES,
    datagram_capacity,
    held_bytes,
    is_delivered,
    send_datagram,
    unacknowledged_bytes,
)
from ingress.webtransport.private.tokens import RetryTokens

__all__ = [
    "MAX_CRYPTO_BYTES", "MAX_FIELD_SECTION_SIZE", "MAX_PIECES", "MAX_RECEIVED_DATAGRAMS", "SETTINGS_WEBTRANSPORT",
    "STREAM_BYTES", "BoundedQuicConnection", "FieldSectionTooLargeError", "FlowLimits", "LastingQuicConnection",
    "MisplacedStreamFrameError", "RetryTokens", "WebTransportH3Connection", "datagram_capacity", "held_bytes",
    "is_delivered", "send_datagram", "unacknowledged_bytes",
]  # fmt: skip
