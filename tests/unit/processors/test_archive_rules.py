"""The rules of the archive: what is redacted, and how long entries are kept."""

from __future__ import annotations

import json

import pytest

from processors.persistence.redaction import HASHED, Redaction
from processors.persistence.retention import RetentionRules
from schemas.entry import MSGPACK, Entry
from schemas.errors import ConfigurationError
from schemas.events import MessageReceived
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
