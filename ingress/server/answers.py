"""Packets to those who have no connection here: made from the packet that they answer, and forgotten."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Sequence
from typing import Final

from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import (
    QuicErrorCode,
    QuicFrameType,
    QuicHeader,
    QuicPacketType,
    encode_quic_retry,
    encode_quic_version_negotiation,
)
from aioquic.quic.packet_builder import QuicPacketBuilder

from ingress.server.driver import NetworkAddress
from ingress.server.options import ListenerCounters
from ingress.server.workers import Place
from ingress.session.rate import TokenBucket
from ingress.webtransport.private import RetryTokens

#: Answers a second, and twice that at once. One costs 40 or 3 microseconds, whoever asks for it.
_REFUSALS: Final = 100
_RESETS: Final = 1000
_RESET_TOKEN_BYTES: Final = 16
#: A stateless reset looks like a short packet with at least so many bytes before the token (RFC 9000, section 10.3).
_RESET_HEAD_BYTES: Final = 5
#: Enough that a reset cannot be told from another packet by its length.
_RESET_BYTES: Final = 42
_SHORT_HEADER: Final = 0x40
_SHORT_HEADER_RANDOM: Final = 0x3F
_REFUSAL_REASON: Final = b"too many connections from this address"


class Answers:
    """Makes and sends them. None is longer than what it answers, or than its address may be sent unproven."""

    def __init__(
        self,
        send: Callable[[bytes, NetworkAddress], None],
        *,
        place: Place,
        reset_key: bytes,
        counters: ListenerCounters,
        now: float,
    ) -> None:
        self._send = send
        self._place = place
        self._reset_key = reset_key
        self._counters = counters
        self._retry = RetryTokens(place.retry_key)
        self._refusals = TokenBucket(_REFUSALS, now)
        self._resets = TokenBucket(_RESETS, now)

    def negotiate_version(self, header: QuicHeader, address: NetworkAddress, versions: Sequence[int]) -> None:
        """Tell a client which versions of QUIC there are."""
        packet = encode_quic_version_negotiation(
            source_cid=header.destination_cid, destination_cid=header.source_cid, supported_versions=list(versions)
        )
        self._send(packet, address)

    def ask_for_proof(self, header: QuicHeader, address: NetworkAddress, now: float) -> None:
        """Send a Retry (RFC 9000, section 8.1.2)."""
        self._counters.retries += 1
        source_id = self._place.new_id()
        token = self._retry.create_token(
            address=address,
            original_destination_connection_id=header.destination_cid,
            retry_source_connection_id=source_id,
            now=now,
        )
        assert header.version is not None
        packet = encode_quic_retry(
            version=header.version,
            source_cid=source_id,
            destination_cid=header.source_cid,
            original_destination_cid=header.destination_cid,
            retry_token=token,
        )
        self._send(packet, address)

    def proven(self, header: QuicHeader, address: NetworkAddress, now: float) -> bytes:
        """The connection id that the client first chose. Raises ValueError when its token is not for this address."""
        return self._retry.validate_token(
            address=address, destination_cid=header.destination_cid, token=header.token, now=now
        )

    def refuse(self, header: QuicHeader, address: NetworkAddress, now: float) -> None:
        """Close a connection before it is one, with CONNECTION_REFUSED (RFC 9000, section 20.1).

        The keys of a first packet follow from its connection id, so no handshake is needed.
        """
        if not self._refusals.take(1, now):
            return
        assert header.version is not None
        crypto = CryptoPair()
        crypto.setup_initial(header.destination_cid, is_client=False, version=header.version)
        builder = QuicPacketBuilder(
            host_cid=self._place.new_id(),
            peer_cid=header.source_cid,
            version=header.version,
            is_client=False,
            max_datagram_size=SMALLEST_MAX_DATAGRAM_SIZE,
        )
        builder.start_packet(QuicPacketType.INITIAL, crypto)
        frame = builder.start_frame(QuicFrameType.TRANSPORT_CLOSE)
        frame.push_uint_var(QuicErrorCode.CONNECTION_REFUSED)
        frame.push_uint_var(QuicFrameType.PADDING)
        frame.push_uint_var(len(_REFUSAL_REASON))
        frame.push_bytes(_REFUSAL_REASON)
        for packet in builder.flush()[0]:
            self._send(packet, address)

    def reset_token(self, connection_id: bytes) -> bytes:
        """By which a client recognises the end of its connection from one who knows nothing of it any more."""
        return hmac.digest(self._reset_key, connection_id, "sha256")[:_RESET_TOKEN_BYTES]

    def reset(self, connection_id: bytes, size: int, address: NetworkAddress, now: float) -> None:
        """Tell a client, whose packet had `size` bytes, that its connection is lost (RFC 9000, section 10.3).

        A connection that another worker may have is left alone. What is sent is shorter than what came, so that two
        who answer each other come to an end.
        """
        length = min(size - 1, _RESET_BYTES)
        if length < _RESET_HEAD_BYTES + _RESET_TOKEN_BYTES or not self._place.leads_here(connection_id):
            return
        if self._resets.take(1, now):
            self._counters.resets_sent += 1
            head = bytearray(secrets.token_bytes(length - _RESET_TOKEN_BYTES))
            head[0] = _SHORT_HEADER | head[0] & _SHORT_HEADER_RANDOM
            self._send(bytes(head) + self.reset_token(connection_id), address)
