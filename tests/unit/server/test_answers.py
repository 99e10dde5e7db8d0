"""Packets to those who have no connection here."""

from __future__ import annotations

import os

import pytest
from aioquic.quic.packet import pull_quic_header

# Re-exported by aioquic.buffer, which type checkers do not take for an export.
from aioquic._buffer import Buffer  # isort: skip

from ingress.server.answers import Answers
from ingress.server.options import ListenerCounters
from ingress.server.workers import ID_BYTES, Place

HERE = ("192.0.2.1", 1234)
KEY = b"k" * 32


class Sent:
    """Answers of one process, and what it has sent with them."""

    def __init__(self, place: Place | None = None, key: bytes = KEY) -> None:
        self.packets: list[bytes] = []
        self.counters = ListenerCounters()
        self.place = place or Place()
        self.answers = Answers(
            lambda data, _: self.packets.append(data),
            place=self.place,
            reset_key=key,
            counters=self.counters,
            now=0.0,
        )

    def reset(self, connection_id: bytes, size: int, now: float = 0.0) -> bytes | None:
        """The answer to a packet of `size` bytes."""
        before = len(self.packets)
        self.answers.reset(connection_id, size, HERE, now)
        return self.packets[-1] if len(self.packets) > before else None


def test_a_reset_is_known_by_its_token_alone() -> None:
    """It ends with the token of its id, which another process makes as well and none with another key; the rest is
    a short packet of random bytes."""
    sent = Sent()
    connection_id = sent.place.new_id()
    packets = [sent.reset(connection_id, 1000) for _ in range(50)]
    token = Sent().answers.reset_token(connection_id)
    assert Sent(key=b"x" * 32).answers.reset_token(connection_id) != token
    for packet in packets:
        assert packet is not None
        assert packet[-16:] == token
        assert packet[0] & 0xC0 == 0x40
    assert len({packet[:-16] for packet in packets if packet}) == 50
    assert sent.counters.resets_sent == 50


@pytest.mark.parametrize("size", range(1, 61))
def test_a_reset_is_shorter_than_what_it_answers(size: int) -> None:
    """Whatever came; what is too short for that gets none. So two who answer each other come to an end."""
    sent = Sent()
    packet = sent.reset(sent.place.new_id(), size)
    assert (packet is None) == (size < 22)
    if packet is not None:
        assert 21 <= len(packet) < size
        assert len(packet) <= 42


def test_connections_of_other_workers_are_left_alone() -> None:
    """An id that names another worker is not answered, however it came here."""
    sent = Sent(Place(0, 2))
    assert sent.reset(Place(1, 2).new_id(), 1000) is None
    assert sent.reset(Place(0, 2).new_id(), 1000) is not None


def test_resets_have_a_rate() -> None:
    """Two thousand at once, then a thousand a second, within five percent."""
    sent = Sent()
    for _ in range(5000):
        sent.reset(sent.place.new_id(), 100)
    assert len(sent.packets) == 2000
    for step in range(10_000):
        sent.reset(sent.place.new_id(), 100, step / 2000)
    assert len(sent.packets) - 2000 == pytest.approx(5000, rel=0.05)
    assert sent.counters.resets_sent == len(sent.packets)


def test_refusals_have_a_rate() -> None:
    """Two hundred at once, each far shorter than a first packet has to be."""
    sent = Sent()
    packet = b"\xc3\0\0\0\1\x08" + os.urandom(8) + b"\x08" + os.urandom(8) + b"\0\x44\xd0" + os.urandom(1232)
    header = pull_quic_header(Buffer(data=packet), host_cid_length=ID_BYTES)
    for _ in range(1000):
        sent.answers.refuse(header, HERE, 0.0)
    assert len(sent.packets) == 200
    assert max(map(len, sent.packets)) < 150
