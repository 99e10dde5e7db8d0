"""WebTransport over HTTP/3 without input or output: QUIC events go in, facts about a session come out.

Sources: draft-ietf-webtrans-http3 (02 as Chromium speaks it, 07 and 13 as far as they agree with it),
RFC 9114, RFC 9220, RFC 9297.
"""

from ingress.webtransport.connection import Counters, State, WebTransportConnection
from ingress.webtransport.early import EarlyLimits
from ingress.webtransport.errors import CapsuleError, WrongStateError
from ingress.webtransport.events import (
    DatagramReceived,
    DrainReceived,
    SessionClosed,
    SessionRequested,
    StreamDataReceived,
    StreamReset,
    StreamStopped,
    WebTransportEvent,
)

__all__ = [
    "CapsuleError",
    "Counters",
    "DatagramReceived",
    "DrainReceived",
    "EarlyLimits",
    "SessionClosed",
    "SessionRequested",
    "State",
    "StreamDataReceived",
    "StreamReset",
    "StreamStopped",
    "WebTransportConnection",
    "WebTransportEvent",
    "WrongStateError",
]
