"""What a request asks for."""

from __future__ import annotations

import pytest

from ingress.webtransport import SessionRequested
from ingress.webtransport.requests import protocol_header, read

CONNECT = [
    (b":method", b"CONNECT"),
    (b":protocol", b"webtransport"),
    (b":scheme", b"https"),
    (b":authority", b"a.test:4433"),
    (b":path", b"/wt?room=1"),
]


def with_protocols(*values: bytes) -> tuple[str, ...]:
    request = read([*CONNECT, *((b"wt-available-protocols", value) for value in values)])
    assert isinstance(request, SessionRequested)
    return request.protocols


def test_a_session_is_read_whole() -> None:
    """Path, authority, origin, protocols and user agent are told as the client sent them."""
    headers = [
        *CONNECT,
        (b"origin", b"https://app.test"),
        (b"user-agent", b"Test/1"),
        (b"wt-available-protocols", b'"v2", "v1"'),
    ]
    assert read(headers) == SessionRequested(
        path="/wt?room=1",
        authority="a.test:4433",
        origin="https://app.test",
        protocols=("v2", "v1"),
        user_agent="Test/1",
    )


def test_what_is_not_sent_is_none() -> None:
    """A client without Origin and User-Agent is told apart from one that sent them empty."""
    assert read(CONNECT) == SessionRequested("/wt?room=1", "a.test:4433", None, (), None)
    bare = read([*CONNECT, (b"origin", b"")])
    assert isinstance(bare, SessionRequested)
    assert bare.origin == ""


@pytest.mark.parametrize(
    ("replaced", "status"),
    [
        ({b":method": b"GET"}, 404),
        ({b":method": b"HEAD"}, 404),
        ({b":method": b"POST"}, 405),
        ({b":protocol": b"websocket"}, 501),
        ({b":protocol": None}, 501),
        ({b":scheme": b"http"}, 400),
        ({b":scheme": None}, 400),
        ({b":path": None}, 400),
    ],
)
def test_other_requests_are_refused(replaced: dict[bytes, bytes | None], status: int) -> None:
    """What is no WebTransport request gets the status that says so."""
    fields = {**dict(CONNECT), **replaced}
    assert read([(name, value) for name, value in fields.items() if value is not None]) == status


def test_two_origins_are_refused() -> None:
    """A request with more than one Origin is refused, since only one of them could be checked."""
    assert read([*CONNECT, (b"origin", b"https://a.test"), (b"origin", b"https://b.test")]) == 400


@pytest.mark.parametrize(
    ("values", "protocols"),
    [
        ([b'"a"'], ("a",)),
        ([b'"a","b"'], ("a", "b")),
        ([b'"a" , \t"b"'], ("a", "b")),
        ([b'"a"', b'"b"'], ("a", "b")),
        ([b'"a";q=1;x, "b"; y="z,\\""'], ("a", "b")),
        ([rb'"a \" \\ b"'], ('a " \\ b',)),
        ([b""], ()),
    ],
)
def test_protocols_are_a_list_of_strings(values: list[bytes], protocols: tuple[str, ...]) -> None:
    """Members may have parameters, which are ignored, and may come in several headers."""
    assert with_protocols(*values) == protocols


@pytest.mark.parametrize("value", [b"a", b'"a", b', b'"a",', b'"a', b'"a" "b"', b'"a\x80"', b"1", b'"a";'])
def test_a_malformed_list_is_ignored_whole(value: bytes) -> None:
    """One bad member makes all of the header count as absent, as structured fields ask for."""
    assert with_protocols(value) == ()


def test_the_chosen_protocol_is_quoted() -> None:
    """The answer carries the protocol as a string of structured fields."""
    assert protocol_header('a"b\\') == (b"wt-protocol", rb'"a\"b\\"')
