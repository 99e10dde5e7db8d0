"""Capsules on the CONNECT stream."""

from __future__ import annotations

import contextlib

import pytest
from aioquic.buffer import encode_uint_var
from hypothesis import given
from hypothesis import strategies as st

from ingress.webtransport.capsules import FORBIDDEN, Capsule, CapsuleReader, Close, Drain, encode
from ingress.webtransport.errors import CapsuleError

codes = st.integers(0, 2**32 - 1)
reasons = st.text(st.characters(codec="utf-8"), max_size=256)
unknown = st.builds(
    lambda kind, value: encode_uint_var(kind) + encode_uint_var(len(value)) + value,
    st.integers(0, 2**62 - 1).filter(lambda kind: kind not in (0x2843, 0x78AE, *FORBIDDEN)),
    st.binary(max_size=300),
)


def raw(kind: int, value: bytes) -> bytes:
    return encode_uint_var(kind) + encode_uint_var(len(value)) + value


def read(*pieces: bytes) -> list[Capsule]:
    reader = CapsuleReader()
    capsules = [capsule for piece in pieces for capsule in reader.feed(piece)]
    reader.end()
    return capsules


def test_close_has_the_form_of_the_draft() -> None:
    """A CLOSE capsule is type 0x2843, the length, 32 bits of code, and the reason in UTF-8."""
    assert encode(Close(4400, "no")) == bytes.fromhex("68430600001130") + b"no"


def test_drain_has_the_form_of_the_draft() -> None:
    """A DRAIN capsule is type 0x78ae and an empty value."""
    assert encode(Drain()) == bytes.fromhex("800078ae00")


@given(codes, reasons)
def test_close_survives_the_way(code: int, reason: str) -> None:
    """Code and reason are read as they were written."""
    assert read(encode(Close(code, reason))) == [Close(code, reason)]


@given(st.lists(unknown, max_size=3), codes, reasons, st.data())
def test_any_cut_reads_the_same(before: list[bytes], code: int, reason: str, data: st.DataObject) -> None:
    """Wherever the bytes are cut, the same capsules come out, and unknown ones are skipped."""
    stream = b"".join(before) + encode(Drain()) + encode(Close(code, reason))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert read(*pieces) == [Drain(), Close(code, reason)]


def test_byte_by_byte_reads_the_same() -> None:
    """A capsule that arrives one byte at a time is read like one that arrives at once."""
    stream = raw(0x21, b"grease") + encode(Drain()) + encode(Close(2**32 - 1, "ü" * 512))
    assert read(*(stream[i : i + 1] for i in range(len(stream)))) == [Drain(), Close(2**32 - 1, "ü" * 512)]


def test_unknown_capsules_are_not_held() -> None:
    """The value of an unknown capsule is dropped as it arrives, however long it says it is."""
    reader = CapsuleReader()
    assert list(reader.feed(encode_uint_var(0x1F) + encode_uint_var(2**40))) == []
    for _ in range(100):
        assert list(reader.feed(bytes(10_000))) == []
    assert len(reader._buffer) == 0


def test_a_long_reason_is_cut_between_characters() -> None:
    """A reason over 1,024 bytes is cut, never inside a character."""
    [capsule] = read(encode(Close(1, "€" * 400)))
    assert capsule == Close(1, "€" * 341)


@pytest.mark.parametrize(
    "stream",
    [
        raw(0x2843, b"abc"),
        raw(0x2843, bytes(4) + b"r" * 1025),
        raw(0x2843, bytes(4) + b"\xff"),
        raw(0x78AE, b"x"),
        raw(0x190B4D3E, b""),
        raw(0x190B4D42, b""),
    ],
    ids=["short code", "long reason", "reason not UTF-8", "drain with a value", "max data", "data blocked"],
)
def test_malformed_capsules_are_errors(stream: bytes) -> None:
    """A capsule that breaks the draft's rules raises CapsuleError."""
    with pytest.raises(CapsuleError):
        list(CapsuleReader().feed(stream))


def test_a_close_that_is_too_long_is_an_error_before_it_arrives() -> None:
    """The length alone is enough to refuse a CLOSE capsule, so that none of it has to be held."""
    with pytest.raises(CapsuleError):
        list(CapsuleReader().feed(encode_uint_var(0x2843) + encode_uint_var(2**30)))


@pytest.mark.parametrize("split", [True, False])
def test_nothing_may_follow_close(split: bool) -> None:
    """Any byte after CLOSE is an error, in the same piece or the next."""
    close, rest = encode(Close(0, "")), encode(Drain())
    pieces = [close, rest] if split else [close + rest]
    with pytest.raises(CapsuleError):
        read(*pieces)


@pytest.mark.parametrize("cut", range(1, 8))
def test_the_end_inside_a_capsule_is_an_error(cut: int) -> None:
    """A stream must not end between the first and the last byte of a capsule."""
    with pytest.raises(CapsuleError):
        read(encode(Close(1, "x"))[:cut])


def test_a_code_over_32_bits_cannot_be_sent() -> None:
    """Encoding a code that does not fit raises, rather than sending another one."""
    with pytest.raises(OverflowError):
        encode(Close(2**32, ""))


@given(st.binary(max_size=64))
def test_any_bytes_are_capsules_or_an_error(data: bytes) -> None:
    """No input makes the reader fail in another way than CapsuleError."""
    with contextlib.suppress(CapsuleError):
        list(CapsuleReader().feed(data))
