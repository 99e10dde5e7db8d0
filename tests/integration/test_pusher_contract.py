"""Pusher's API under whatever is sent to it: it answers or refuses, never fails, and does nothing unsigned."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from tests.support.api import Api, running_api
from tests.support.pusher import signed

BASE: Final = "/apps/headgate"
ROUTES: Final = (
    ("POST", "events"),
    ("POST", "batch_events"),
    ("GET", "channels"),
    ("GET", "channels/presence-room"),
    ("GET", "channels/presence-room/users"),
    ("POST", "users/7/terminate_connections"),
)
#: What requests are put together from, besides anything at all.
CHANNELS: Final = st.sampled_from(
    ["room", "presence-room", "private-room", "private-encrypted-room", "#server-to-user-7"]
)
VALUES: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20) | CHANNELS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)
EVENT: Final = st.fixed_dictionaries(
    {},
    optional={
        "name": st.text(max_size=300) | VALUES,
        "data": st.text(max_size=50) | VALUES,
        "channel": CHANNELS | VALUES,
        "channels": st.lists(CHANNELS, max_size=101) | VALUES,
        "socket_id": st.sampled_from(["1.2", "a.b", "1." + "9" * 40]) | VALUES,
        "info": st.sampled_from(["user_count", "subscription_count,user_count"]) | VALUES,
    },
)
BODIES: Final = (
    (EVENT | st.fixed_dictionaries({"batch": st.lists(EVENT, max_size=11)}) | VALUES).map(
        lambda one: json.dumps(one).encode()
    )
    | st.binary(max_size=50)
    | st.sampled_from([b"", b"[" * 5000, b'{"name":"\\ud800","data":"","channel":"a"}', b'{"a":' * 60])
)
QUERIES: Final = st.dictionaries(
    st.sampled_from(["info", "filter_by_prefix", "x"]),
    st.sampled_from(["user_count", "subscription_count", "presence-", "*", "a,b"]) | st.text(max_size=20),
    max_size=3,
)
#: What Pusher's libraries make an error of the caller's, of which a stranger learns only the first.
REFUSALS: Final = {400, 401, 404, 405, 413}


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    """A service in a thread of its own, so that what calls it may block."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(running_api(api_requests_per_minute=0)) as made,
    ):
        yield made


@pytest.fixture(scope="module")
def http(api: Api) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=api.url, trust_env=False, timeout=30) as made:
        yield made


def logged(api: Api) -> int:
    with Redis.from_url(api.settings.redis_url) as redis:
        return sum(redis.xlen(api.keys.outbound(n)) for n in range(api.keys.partitions))


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(route=st.sampled_from(ROUTES), body=BODIES, query=QUERIES)
def test_every_signed_request_is_answered(
    http: httpx.Client, route: tuple[str, str], body: bytes, query: dict[str, Any]
) -> None:
    """With what was asked for, or with why it was refused."""
    method, path = route
    content = body if method == "POST" else b""
    target = signed(method, f"{BASE}/{path}", content, key="default", secret="s" * 32, **query)
    answer = http.request(method, target, content=content)
    assert answer.status_code == 200 or answer.status_code in REFUSALS, (answer.status_code, answer.text)
    if answer.status_code == 200:
        answer.json()


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    route=st.sampled_from(ROUTES), body=EVENT, query=QUERIES, spoilt=st.sampled_from(["key", "signature", "body", ""])
)
def test_nothing_is_done_without_a_signature(
    api: Api, http: httpx.Client, route: tuple[str, str], body: dict[str, Any], query: dict[str, Any], spoilt: str
) -> None:
    """A stranger gets 401 whatever is asked for, and no entry comes of it."""
    method, path = route
    content = json.dumps(body).encode() if method == "POST" else b""
    key, secret = ("stranger" if spoilt == "key" else "default"), ("o" * 32 if spoilt == "signature" else "s" * 32)
    target = signed(method, f"{BASE}/{path}", content, key=key, secret=secret, **query)
    if spoilt == "body":
        method, content = "POST", content + b" "
    if not spoilt:
        target = f"{BASE}/{path}"
    before = logged(api)
    assert http.request(method, target, content=content).status_code == 401
    assert logged(api) == before
