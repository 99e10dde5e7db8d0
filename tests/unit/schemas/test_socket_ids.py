"""Session ids as Pusher's libraries see them."""

from __future__ import annotations

import re
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.socket_ids import session_of, socket_id


@given(st.uuids())
def test_a_session_is_found_again(session: UUID) -> None:
    """There and back, in the form that the libraries check."""
    socket = socket_id(str(session))
    assert re.fullmatch(r"\d+\.\d+", socket)
    assert session_of(socket) == str(session)


@pytest.mark.parametrize(
    "socket",
    ["", ".", "1", "1.", ".1", "1.2.3", "-1.2", "1.2\n", "a.b", f"{1 << 64}.0", f"0.{1 << 64}", "\u0661.\u0662"],
)
def test_what_stands_for_no_session(socket: str) -> None:
    """Anything but two numbers of 64 bits is none, and no error."""
    assert session_of(socket) is None
