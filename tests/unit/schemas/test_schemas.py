"""What travels: entries, ids, keys, topics, signatures, seals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import ids, traceparent
from schemas.close_codes import CloseCode, clip_reason, reconnects
from schemas.entry import JSON, MSGPACK, Entry
from schemas.errors import ConfigurationError, ErrorCode, InvalidEntry, InvalidSignature, InvalidTopic
from schemas.events import EVENTS, MessageReceived, SessionOpened, SubscribeRequested
from schemas.keys import Keys, partition_of
from schemas.sealing import SealBroken, Sealer
from schemas.signing import Signer, Verifier, canonical, check_secret, signature
from schemas.topics import ChannelKind, TopicKind, channel_kind, split_topic

VECTORS = Path(__file__).parents[2] / "vectors"
SECRET = b"s" * 32


def vectors(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((VECTORS / name).read_text())["vectors"]
    return found


def redis_fields(entry: Entry) -> dict[bytes, bytes]:
    flat = entry.fields()
    return dict(zip(flat[::2], flat[1::2], strict=True))


text = st.text(alphabet=st.characters(codec="utf-8"), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | text | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(text, values, max_size=4), text, text)
def test_an_entry_survives_its_flat_fields(frame: dict[str, Any], session: str, user: str) -> None:
    """Whatever a frame holds, raw bytes included, comes back from the fields as the same event."""
    event = MessageReceived(frame=frame, stream=4)
    entry = Entry.of(event, id="i", ts=1, session=session, user=user)
    again = Entry.from_fields(redis_fields(entry))
    assert again == entry
    assert again.event() == event


def test_raw_bytes_make_an_entry_msgpack_and_nothing_else_does() -> None:
    """JSON is the default on the log; only what JSON cannot carry is msgpack."""
    assert Entry.of(MessageReceived(frame={"a": 1}), id="i", ts=1).ct == JSON
    assert Entry.of(MessageReceived(frame={"a": b"1"}), id="i", ts=1).ct == MSGPACK


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({b"id": None}, "field id is missing"),
        ({b"data": None}, "field data is missing"),
        ({b"ts": b"soon"}, "not a number"),
        ({b"session": b"\xff"}, "not UTF-8"),
        ({b"type": b"never.heard"}, "unknown event type"),
        ({b"v": b"99"}, "newer than"),
        ({b"v": b"0"}, "no upcast from version 0"),
        ({b"data": b"{"}, "Invalid JSON"),
        ({b"data": b"{}"}, "transport: Field required"),
        ({b"ct": b"text/plain"}, "unknown content type"),
        ({b"ct": MSGPACK.encode(), b"data": b"\xc1"}, "data is not application/msgpack"),
        ({b"ct": MSGPACK.encode(), b"data": b"\x90"}, "not a map"),
    ],
)
def test_a_bad_entry_says_what_is_wrong(change: dict[bytes, bytes | None], words: str) -> None:
    """A stream may hold anything: each defect is an InvalidEntry with words, never another exception."""
    fields: dict[bytes, Any] = redis_fields(
        Entry.of(SessionOpened(transport="t", origin="", path="/", address=""), id="i", ts=1)
    )
    fields |= change
    with pytest.raises(InvalidEntry, match=words):
        Entry.from_fields({name: value for name, value in fields.items() if value is not None}).event()


def test_what_follows_from_an_entry_has_its_context_and_a_derived_id() -> None:
    """The same cause and position give the same id; other positions others."""
    cause = Entry.of(MessageReceived(frame={}), id="c", ts=5, session="s", user="u", gateway="g", traceparent="tp")
    first, second = (cause.follow(position, MessageReceived(frame={})) for position in (0, 1))
    assert (first.session, first.user, first.gateway, first.traceparent, first.ts) == ("s", "u", "g", "tp", 5)
    assert first.cause == "c"
    assert first.id != second.id
    assert first.id == cause.follow(0, MessageReceived(frame={})).id


def test_every_event_type_has_one_name_and_its_fields_are_documented_by_a_model() -> None:
    """No two events share a type, and each can be found by it."""
    assert all(name == model.TYPE for name, model in EVENTS.items())
    assert {"message.received", "message.published", "delivery.publication"} <= EVENTS.keys()
    assert SubscribeRequested.model_fields.keys() >= {"channel", "stream", "frame_id", "recover"}


def test_uuid7_carries_the_time_in_order() -> None:
    """Later milliseconds sort later, version and variant bits are set."""
    early, late = ids.uuid7(1_700_000_000_000, b"\xff" * 10), ids.uuid7(1_700_000_000_001, b"\0" * 10)
    assert early < late
    assert early[14] == "7"
    assert early[19] in "89ab"
    assert int(early.replace("-", "")[:12], 16) == 1_700_000_000_000


@pytest.mark.parametrize("vector", vectors("keys.json"), ids=lambda vector: str(vector["key"]))
def test_partitions_agree_with_the_vectors(vector: dict[str, Any]) -> None:
    """Every implementation, in any language, finds the same partition."""
    assert partition_of(vector["key"], vector["partitions"]) == vector["partition"]


def test_what_changes_together_shares_a_hash_slot() -> None:
    """The keys of one partition, of one topic and of one gateway each have one hash tag."""
    keys = Keys("hg:", 16)
    log = keys.inbound(3)
    for key in (
        log,
        keys.dead(log),
        keys.lease(log, "g"),
        keys.session_state(log, "g", "s"),
        keys.datagrams(log),
    ):
        assert "{in:3}" in key
    assert keys.inbound_of("s") == keys.inbound(partition_of("s", 16))
    assert {keys.topic("user:1", part)[3:11] for part in ("state", "history")} == {"{user:1}"}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("lobby", ChannelKind.PUBLIC),
        ("orders.7", ChannelKind.PUBLIC),
        ("private-x", ChannelKind.PRIVATE),
        ("presence-x", ChannelKind.PRESENCE),
        ("privateer", ChannelKind.PUBLIC),
    ],
)
def test_channel_kinds(name: str, kind: ChannelKind) -> None:
    """The prefix decides what a channel asks for."""
    assert channel_kind(name) is kind


@pytest.mark.parametrize("name", ["admin:x", "private-encrypted-x", "cache-x", "client-x", "session:1", "user:2"])
def test_unknown_prefixes_are_refused(name: str) -> None:
    """A prefix that means something elsewhere is never taken for a public name."""
    with pytest.raises(InvalidTopic) as caught:
        channel_kind(name)
    assert caught.value.code is ErrorCode.UNKNOWN_CHANNEL_PREFIX


@pytest.mark.parametrize("name", ["", "a b", "a\n", "ä", "x" * 165, "a/b", "a*"])
def test_bad_channel_names_are_refused(name: str) -> None:
    """Only the documented alphabet and length."""
    with pytest.raises(InvalidTopic) as caught:
        channel_kind(name)
    assert caught.value.code is ErrorCode.INVALID_CHANNEL


def test_topics_split() -> None:
    """A topic is its kind and its name; anything else is refused."""
    assert split_topic("user:a:b") == (TopicKind.USER, "a:b")
    with pytest.raises(InvalidTopic):
        split_topic("nonsense")


@pytest.mark.parametrize("vector", vectors("signing.json"), ids=lambda vector: str(vector["name"]))
def test_signatures_agree_with_the_vectors(vector: dict[str, Any]) -> None:
    """Signed string, signature and verification are those of the shared vectors."""
    body, secret = vector["body"].encode(), vector["secret"].encode()
    headers = Signer(vector["key_id"], secret).headers(
        vector["method"],
        vector["target"],
        body,
        timestamp=vector["timestamp"],
        nonce=vector["nonce"],
        session=vector["session"],
        user=vector["user"],
    )
    message = canonical(
        vector["method"],
        vector["target"],
        str(vector["timestamp"]),
        vector["nonce"],
        vector["session"],
        vector["user"],
        body,
    )
    assert message == vector["canonical"].encode()
    assert signature(secret, message) == headers["X-Headgate-Signature"] == vector["signature"]
    verifier = Verifier({vector["key_id"]: secret})
    now = vector["timestamp"] + 300
    assert verifier.verify(vector["method"], vector["target"], body, headers.get, now=now) == (
        vector["key_id"],
        vector["nonce"],
    )


@pytest.mark.parametrize(
    ("change", "now", "words"),
    [
        ({"X-Headgate-Signature": ""}, 1000, "not signed"),
        ({"X-Headgate-Timestamp": "1e3"}, 1000, "not a number"),
        ({}, 1301, "300 s away"),
        ({}, 699, "300 s away"),
        ({"X-Headgate-Key": "other"}, 1000, "does not match"),
        ({"X-Headgate-Nonce": "n2"}, 1000, "does not match"),
        ({"X-User-Id": "8"}, 1000, "does not match"),
        ({"X-WebTransport-Session": ""}, 1000, "does not match"),
        ({"X-Headgate-Signature": "v1=" + "0" * 64}, 1000, "does not match"),
        ({"X-Headgate-Signature": "v1=ü"}, 1000, "does not match"),
        ({"X-Headgate-Nonce": "n" * 129}, 1000, "too long"),
    ],
)
def test_a_wrong_signature_is_refused_with_words(change: dict[str, str], now: int, words: str) -> None:
    """Each part that is signed, the clock and the key are checked."""
    headers = Signer("k", SECRET).headers("POST", "/x", b"{}", timestamp=1000, nonce="n", session="s", user="7")
    with pytest.raises(InvalidSignature, match=words):
        Verifier({"k": SECRET}).verify("POST", "/x", b"{}", (headers | change).get, now=now)


def test_a_changed_body_or_target_is_refused() -> None:
    """Body, method and target are part of what is signed."""
    headers = Signer("k", SECRET).headers("POST", "/x", b"{}", timestamp=1000, nonce="n")
    verifier = Verifier({"k": SECRET})
    for method, target, body in (("POST", "/x", b"{ }"), ("POST", "/x?a", b"{}"), ("PUT", "/x", b"{}")):
        with pytest.raises(InvalidSignature):
            verifier.verify(method, target, body, headers.get, now=1000)


def test_a_short_secret_is_refused() -> None:
    """Under 32 bytes nothing starts, and the words say how to make one."""
    with pytest.raises(ConfigurationError, match="openssl rand"):
        check_secret("x" * 31)


def test_a_seal_opens_only_for_its_session_and_secret() -> None:
    """A token in the log can be read by who has the secret, for the session it came from."""
    sealed = Sealer(SECRET).seal("token", "s1", b"n" * 12)
    assert "token" not in sealed
    assert Sealer(SECRET).unseal(sealed, "s1") == "token"
    for sealer, value, session in (
        (Sealer(SECRET), sealed, "s2"),
        (Sealer(b"t" * 32), sealed, "s1"),
        (Sealer(SECRET), sealed[:-4] + "AAAA", "s1"),
        (Sealer(SECRET), "", "s1"),
        (Sealer(SECRET), "ü", "s1"),
    ):
        with pytest.raises(SealBroken):
            sealer.unseal(value, session)


def test_traceparents() -> None:
    """A valid one is parsed and printed the same; anything else is none."""
    good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    parsed = traceparent.parse(good)
    assert parsed is not None
    assert parsed.sampled
    assert str(parsed) == good
    for bad in (
        "",
        "x",
        good.upper(),
        good.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32),
        good + "-1",
    ):
        assert traceparent.parse(bad) is None


def test_close_codes_tell_whether_to_come_back() -> None:
    """The ranges of the protocol decide; reasons are cut inside the limit and never inside a character."""
    assert reconnects(CloseCode.SHUTDOWN)
    assert not reconnects(CloseCode.FORCED)
    assert not reconnects(CloseCode.AUTH_FAILED)
    assert len(clip_reason("ä" * 1000).encode()) == 1024
