"""The rules of the archive: what is redacted, and how long entries are kept."""

from __future__ import annotations

import json

import pytest

from processors.persistence.redaction import HASHED, Redaction
from processors.persistence.retention import RetentionRules
from schemas.entry import MSGPACK, Entry
from schemas.errors import ConfigurationError
from schemas.events import EntryHandled, MessagePublished, MessageReceived
from schemas.handled import Asked, Routed
from tests.unit.processors.making import entry_of


def secret() -> bytes:
    return b"a secret of more than thirty-two bytes"


def redacted(frame: dict[str, object], *rules: str) -> dict[str, object]:
    """The frame of a message after `rules`."""
    payload = Redaction(rules, secret).of(entry_of(MessageReceived(frame=frame))).payload()
    assert isinstance(payload, dict)
    kept = payload["frame"]
    assert isinstance(kept, dict)
    return kept


def test_a_field_is_dropped() -> None:
    """Only that field, only where it is."""
    frame: dict[str, object] = {"type": "pay", "data": {"card": "4111", "sum": 5}, "card": "kept"}
    assert redacted(frame, "message.received:frame.data.card=drop") == {
        "type": "pay",
        "data": {"sum": 5},
        "card": "kept",
    }


def test_equal_values_have_equal_hashes() -> None:
    """A hash tells equal from different, whatever the order of keys, and not what the value was."""
    rule = "message.*:frame.token=hash"
    one = redacted({"token": {"a": 1, "b": [2, None]}}, rule)["token"]
    assert one == redacted({"token": {"b": [2, None], "a": 1}, "n": 1}, rule)["token"]
    assert one != redacted({"token": {"a": 1, "b": [3, None]}}, rule)["token"]
    assert str(one).startswith(HASHED)
    other = Redaction([rule], lambda: b"another secret of more than 32 bytes")
    assert json.loads(other.of(entry_of(MessageReceived(frame={"token": {"a": 1, "b": [2, None]}}))).data)["frame"] != {
        "token": one
    }


def test_a_list_stands_for_its_elements_and_a_star_for_any_name() -> None:
    """Fields are found wherever the path leads."""
    frame: dict[str, object] = {
        "items": [{"card": 1, "n": 1}, {"card": 2}, 3],
        "by": {"x": {"card": 4}, "y": {"card": 5, "n": 6}},
    }
    assert redacted(frame, "*:frame.items.card=drop", "*:frame.by.*.card=drop") == {
        "items": [{"n": 1}, {}, 3],
        "by": {"x": {}, "y": {"n": 6}},
    }


def test_what_has_no_such_field_stays_byte_for_byte() -> None:
    """An entry that no rule finds anything in is the same entry."""
    entry = Entry(id="a", type="message.received", v=1, ts=1, data=b'{ "frame" : {"n": 1.0 } }')
    rules = Redaction(["message.received:frame.card=drop", "whisper.received:frame.n=drop"], secret)
    assert rules.of(entry) is entry


def test_raw_bytes_are_redacted_too() -> None:
    """A payload in msgpack is no way around."""
    entry = entry_of(MessageReceived(frame={"card": b"\xff", "raw": b"\x00"}))
    assert entry.ct == MSGPACK
    after = Redaction(["message.received:frame.card=hash"], secret).of(entry).payload()
    assert after["frame"]["raw"] == b"\x00"
    assert after["frame"]["card"].startswith(HASHED)


def test_what_cannot_be_read_is_not_kept() -> None:
    """Where a rule is about the type, a payload that is none could hold anything."""
    entry = Entry(id="a", type="message.received", v=1, ts=1, data=b"card 4111")
    assert Redaction(["message.received:frame.card=drop"], secret).of(entry).data == b"null"
    assert Redaction(["whisper.received:frame.card=drop"], secret).of(entry) is entry


def trail(answer: object, *rules: str) -> dict[str, object]:
    """The payload of a trail after `rules`: the application answered so, and it was delivered."""
    asked = Asked(route="/handle", sent="0011", status=200, answer=answer)
    routed = Routed(deliveries={"publication": ["gw"]}, content="2233")
    said = EntryHandled(processor="laravel", outcome="done", attempts=1, ms=1.0, asked=asked, routed=routed)
    payload = Redaction(rules, secret).of(entry_of(said)).payload()
    assert isinstance(payload, dict)
    return payload


@pytest.mark.parametrize(
    ("rule", "answer", "left"),
    [
        ("*:frame.card=drop", {"card": "4111", "n": 1}, {"n": 1}),
        ("*:frame.data.card=drop", {"broadcast": True, "data": [{"card": 1}]}, {"broadcast": True, "data": [{}]}),
        ("message.published:frame.data.card=drop", {"data": {"card": "4111"}}, {"data": {}}),
        ("message.published:*.card=drop", {"card": "4111"}, {}),
        ("*:frame.data.card=drop", [{"card": "4111"}, 5], [{}, 5]),
        ("message.published:frame.data=drop", "4111", None),
        ("*:frame.n=drop", 4111, 4111),
        ("message.received:frame.card=drop", {"card": "4111"}, {"card": "4111"}),
        ("session.authenticated:info.mail=drop", {"user": {"info": {"mail": "a@b"}}}, {"user": {"info": {}}}),
        ("*:member.mail=drop", {"member": {"mail": "a@b", "name": "Ada"}}, {"member": {"name": "Ada"}}),
        ("entry.handled:asked.answer=drop", {"card": "4111"}, None),
    ],
)  # fmt: skip
def test_a_rule_reaches_the_answer_that_a_field_was_made_of(rule: str, answer: object, left: object) -> None:
    """The trail has the application's answer: what a rule takes of the event it becomes goes from there too."""
    asked = trail(answer, rule)["asked"]
    assert isinstance(asked, dict)
    assert asked.get("answer") == left


def test_hashes_are_equal_in_the_event_and_in_the_trail() -> None:
    """What was answered can be found by what was published."""
    rule = "message.published:frame.data=hash"
    published = Redaction([rule], secret).of(entry_of(MessagePublished(frame={"data": "4111"}))).payload()
    for answer in ({"data": "4111"}, "4111"):
        asked = trail(answer, rule)["asked"]
        assert isinstance(asked, dict)
        assert (asked["answer"]["data"] if isinstance(answer, dict) else asked["answer"]) == published["frame"]["data"]
    whole = trail("4111", "message.published:frame=hash")["asked"]
    assert isinstance(whole, dict)
    assert whole["answer"].startswith(HASHED)


def test_no_digest_tells_what_was_taken_away() -> None:
    """Digests of whole contents have no key, and short values could be tried out: with any rule there are none."""
    payload = trail({"n": 1}, "message.received:frame.pin=hash")
    assert (payload["asked"], payload["routed"]) == (
        {"route": "/handle", "status": 200, "answer": {"n": 1}, "left_out": False, "error": "", "kind": ""},
        {"epoch": "", "offset": -1, "began": False, "deliveries": {"publication": ["gw"]}},
    )
    entry = entry_of(EntryHandled.model_validate(payload | {"asked": {"route": "/", "sent": "0011"}}))
    assert Redaction([], secret).of(entry) is entry


NO_RULES = ("frame.card=drop", "message.received:=drop", "message.received:a..b=drop", "message.received:a=hide", "")


@pytest.mark.parametrize("rule", [*NO_RULES, "nothing.received:a=drop"])
def test_a_redaction_that_is_no_rule_is_refused(rule: str) -> None:
    """With words, at the start; a type that does not exist is a slip of the pen."""
    with pytest.raises(ConfigurationError, match="HEADGATE_ARCHIVE_REDACT"):
        Redaction([rule], secret)


def test_a_secret_is_needed_for_hashes_alone() -> None:
    """Who only drops fields needs none."""

    def none() -> bytes:
        raise ConfigurationError("HEADGATE_SECRET is missing")

    Redaction(["message.received:frame.a=drop"], none)
    with pytest.raises(ConfigurationError, match="HEADGATE_SECRET"):
        Redaction(["message.received:frame.a=hash"], none)


def test_the_most_exact_retention_counts() -> None:
    """A name before a pattern, a longer pattern before a shorter one, in whatever order they stand."""
    rules = RetentionRules(["*=30d", "whisper.*=1d", "message.*=2h", "message.received=90s", "message.p*=5m"])
    kept = {"whisper.received": 86_400, "message.received": 90, "message.published": 300, "session.opened": 2_592_000}
    assert {type_: rules.seconds(type_) for type_ in kept} == kept
    assert RetentionRules(["message.*=2h"]).seconds("session.opened") is None
    assert not RetentionRules([])


@pytest.mark.parametrize("rule", ["*", "*=", "*=0d", "*=5", "*=5y", "*=-5d", "nothing=5d", "*=1000000d", ""])
def test_a_retention_that_is_no_rule_is_refused(rule: str) -> None:
    """With words, at the start."""
    with pytest.raises(ConfigurationError, match="HEADGATE_ARCHIVE_RETENTION"):
        RetentionRules([rule])
