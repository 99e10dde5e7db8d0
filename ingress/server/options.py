"""Limits and times of a QUIC listener, and what it counts."""

from __future__ import annotations

from dataclasses import dataclass, field

from ingress.webtransport import Counters, EarlyLimits
from ingress.webtransport.private import FlowLimits


@dataclass(frozen=True, slots=True)
class ListenerOptions:
    """Times are in seconds."""

    flow: FlowLimits = field(default_factory=FlowLimits)
    early: EarlyLimits = field(default_factory=EarlyLimits)
    max_pending_datagrams: int = 256
    """Datagrams of one session that wait to be sent; newer ones push out the oldest."""
    max_connections: int = 10_000
    """Further clients get no answer, which reads like a lost packet: they try again."""
    retry_above: int = 100
    """Unfinished handshakes above which a client must prove its address first (RFC 9000, section 8.1.2).

    It costs honest clients a round trip, and a forged packet then costs 43 us in place of 509 us and 72 kB.
    """
    max_half_open: int = 1024
    """Connections without a session yet. Further clients get no answer."""
    max_half_open_per_address: int = 128
    """The same for one IPv4 address or IPv6 network of 64 bits."""
    setup_timeout: float = 10.0
    """From a client's first packet to its session."""
    idle_timeout: float = 30.0
    """Without any packet from the client."""
    flush_timeout: float = 0.5
    """At the end of a session, for what was sent last to be acknowledged before the close overtakes it."""
    close_timeout: float = 2.0
    """For the client to acknowledge the end of its session, before the connection goes."""
    linger: float = 0.25
    """From that acknowledgement to the connection's end.

    Chromium reports "Connection lost" in place of code and reason for one close in seven without it, none in
    forty with 20 ms.
    """


@dataclass(slots=True)
class ListenerCounters(Counters):
    """Since the listener was made; those of its connections too."""

    connections: int = 0
    connections_refused: int = 0
    """Over `max_connections`."""
    half_open_refused: int = 0
    """Over `max_half_open` or `max_half_open_per_address`."""
    violations: int = 0
    """Connections that were closed because their client broke a rule of QUIC, HTTP/3 or WebTransport."""
    datagrams_overrun: int = 0
    """Dropped unread, since too many came at once."""
    connection_errors: int = 0
    """Faults of this side, each logged, each the end of one connection."""
    retries: int = 0
    sessions: int = 0
    sessions_refused: int = 0
    handler_errors: int = 0
    """Exceptions that session handlers raised, each logged, each the end of one session."""
    packets_unknown: int = 0
    """For a connection that is not here: late ones of ended connections, forged ones, those led astray."""
    packets_unsent: int = 0
    """The socket took no more; QUIC sends what they carried again."""
