"""Limits and times of a WebSocket listener."""

from __future__ import annotations

from dataclasses import dataclass, field

from ingress.websocket.proxies import TrustedProxies
from schemas.codec import DEFAULT_LIMITS, FrameLimits


@dataclass(frozen=True, slots=True)
class WebSocketOptions:
    """Times are in seconds."""

    frame: FrameLimits = field(default=DEFAULT_LIMITS)
    """Bounds of a message's frame; its `max_bytes` bounds the message."""
    max_unsent_bytes: int = 1_048_576
    """Beyond it a client that makes the gateway answer (pings) and does not read is closed with 3008."""
    max_unreliable: int = 256
    """Unreliable frames of one session that wait to be sent; newer ones push out the oldest."""
    max_connections: int = 10_000
    """Finished or not; further ones are closed at once."""
    max_handshakes: int = 200
    """TLS handshakes a second, twice that at once, and half of it from one address; 0 for any number.

    Further clients wait to be accepted; those of an address over its half are closed at once.
    """
    trusted_proxies: TrustedProxies = field(default_factory=TrustedProxies)
    """Who may say in `X-Forwarded-For` whom they speak for."""
    setup_timeout: float = 10.0
    """For the TLS handshake, and again from its end to the request for a session."""
    idle_timeout: float = 30.0
    """Without any byte from the client; half of it after which the gateway sends a WebSocket ping."""
    flush_timeout: float = 0.5
    """At the end of a session, for what was sent last to leave; then it is dropped for the close frame's sake."""
    close_timeout: float = 2.0
    """For the client to answer the close frame, before the connection goes."""
    linger: float = 0.5
    """From an end that the client did not expect to the connection's: what it still sends would otherwise bring it
    a reset that overtakes the close frame."""
