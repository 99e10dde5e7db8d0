"""The mapping between application codes and HTTP/3's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress.webtransport.codes import FIRST_APPLICATION_ERROR, LAST_APPLICATION_ERROR, from_http3, to_http3

codes = st.integers(0, 2**32 - 1)


@given(codes)
def test_every_code_survives_the_way(code: int) -> None:
    """An application code is read back as it was sent, and never lands on a reserved one."""
    error = to_http3(code)
    assert from_http3(error) == code
    assert (error - 0x21) % 0x1F != 0


@given(codes, codes)
def test_the_order_is_kept(one: int, other: int) -> None:
    """A larger code maps to a larger one, so that no two share one."""
    assert (one < other) == (to_http3(one) < to_http3(other))


def test_the_ends_are_those_of_the_draft() -> None:
    """The first and the last application code map onto the ends of the draft's range."""
    assert to_http3(0) == FIRST_APPLICATION_ERROR == 0x52E4A40FA8DB
    assert to_http3(2**32 - 1) == LAST_APPLICATION_ERROR == 0x52E5AC983162


@given(st.integers(0, 2**62 - 1) | st.integers(FIRST_APPLICATION_ERROR - 9, FIRST_APPLICATION_ERROR + 99))
def test_other_codes_stand_for_none(error: int) -> None:
    """A code of HTTP/3 either stands for exactly one application code or for none."""
    code = from_http3(error)
    assert code is None or to_http3(code) == error


@pytest.mark.parametrize("error", [0, 0x100, 0x170D7B68, 0x3994BD84, FIRST_APPLICATION_ERROR + 0x1E])
def test_reserved_and_foreign_codes_stand_for_none(error: int) -> None:
    """Codes of HTTP/3 and WebTransport themselves, and the reserved ones in the range, stand for none."""
    assert from_http3(error) is None


@pytest.mark.parametrize("code", [-1, 2**32])
def test_a_code_that_does_not_fit_is_refused(code: int) -> None:
    """A code of more than 32 bits raises, rather than becoming another one."""
    with pytest.raises(ValueError, match="32 bits"):
        to_http3(code)
