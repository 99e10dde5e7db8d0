"""Limits and times of a QUIC listener, and what it counts."""

from __future__ import annotations

import secrets
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
    max_handshakes: int = 200
    """New connections a second, twice that at once, and half of it from one address; 0 for any number.

    Further clients get no answer. From half of what may come at once a client must prove its address first.
    """
    retry_above: int = 50
    """Unfinished handshakes above which a client must prove its address first (RFC 9000, section 8.1.2).

    It costs honest clients a round trip, and a forged packet then costs 43 us in place of 509 us and 72 kB.
    """
    max_half_open: int = 256
    """Connections without a session yet. Further clients get no answer."""
    max_half_open_per_address: int = 64
    """The same for one IPv4 address or IPv6 network of 64 bits.

    More than `retry_above`, or whoever forges addresses could use up what a client has.
    """
    setup_timeout: float = 10.0
    """From a client's first packet to its session."""
    idle_timeout: float = 30.0
    """Without any packet from the client. After half of it a client with a session is asked for one."""
    flush_timeout: float = 0.5
    """At the end of a session, for what was sent last to be acknowledged before the close overtakes it."""
    close_timeout: float = 1.0
    """For the client to acknowledge the end of its session, before the connection goes."""
    linger: float = 0.25
    """From that acknowledgement to the connection's end.

    Chromium reports "Connection lost" in place of code and reason for one close in seven without it, none in
    forty with 20 ms.
    """
    reset_key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    """Makes stateless reset tokens; one that lasts lets clients of an earlier process learn that it is gone."""


@dataclass(slots=True)
class ListenerCounters(Counters):
    """Since the listener was made; those of its connections too."""

    connections: int = 0
    connections_refused: int = 0
    """Over `max_connections`."""
    address_refused: int = 0
    """From an address that has as many as it may."""
    handshakes_limited: int = 0
    """Over `max_handshakes`."""
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
    resets_sent: int = 0
    """Stateless resets, for some of those."""
    packets_unsent: int = 0
    """The socket took no more; QUIC sends what they carried again."""
