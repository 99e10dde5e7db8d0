"""What the gateway reads in a client's bytes is what everybody behind it reads: one parser decides."""

from __future__ import annotations

import json
from typing import Any, Final

import msgpack
import pytest

from runtime.settings import Settings
from schemas.codec import FrameLimits, decode_frame
from schemas.entry import JSON, Entry
from schemas.events import MessageReceived
from tests.support.php import run_php

#: As deep as an operator may allow.
DEEPEST: Final = max(getattr(bound, "le", 0) for bound in Settings.model_fields["frame_depth"].metadata)
LIMITS: Final = FrameLimits(max_depth=DEEPEST)
_LISTS: Final = DEEPEST - 1

#: Frames that parsers are known to disagree about, where the gateway lets them in.
FRAMES: Final[dict[str, bytes]] = {
    "the same key twice": b'{"type":"a","a":1,"a":2}',
    "the same key, escaped": b'{"type":"a","a":1,"\\u0061":2}',
    "an empty key": b'{"type":"a","":1}',
    "a key that looks like a number": b'{"type":"a","0":1,"1":2,"-1":3}',
    "a key that begins with NUL": b'{"type":"a","\\u0000x":1}',
    "a key of a prototype": b'{"type":"a","__proto__":{"x":1},"constructor":1}',
    "the smallest integer": b'{"type":"a","a":-9223372036854775808}',
    "an integer that needs 53 bits": b'{"type":"a","a":9007199254740993}',
    "the largest signed integer": b'{"type":"a","a":9223372036854775807}',
    "an integer beyond 64 bits": b'{"type":"a","a":18446744073709551616}',
    "many digits": b'{"type":"a","a":0.1000000000000000055511151231257827}',
    "a number that is next to nothing": b'{"type":"a","a":5e-324,"b":1e-400}',
    "minus zero": b'{"type":"a","a":-0.0}',
    "one as a float": b'{"type":"a","a":1.0,"b":1e0}',
    "text beyond the first plane": '{"type":"a","a":"\U0001f600\\ud83d\\ude00"}'.encode(),
    "text with line separators": '{"type":"a","a":"\u2028\\u2029\\u0000\\u007f"}'.encode(),
    "a noncharacter": b'{"type":"a","a":"\\uffff\\ufdd0"}',
    "as deep as may be": b'{"type":"a","a":' + b"[" * _LISTS + b"]" * _LISTS + b"}",
    "msgpack: the same key twice": b"\x83\xa4type\xa1a\xa1a\x01\xa1a\x02",
    "msgpack: a float of 32 bits": b"\x82\xa4type\xa1a\xa1a\xca\x3d\xcc\xcc\xcd",
    "msgpack: text with NUL": msgpack.packb({"type": "a", "a": "\x00", "\x00": 1}),
}
#: PHP has no unsigned integers (https://www.php.net/manual/en/language.types.integer.php).
NOT_FOR_PHP: Final = {"the largest unsigned integer": b'{"type":"a","a":18446744073709551615}'}


def entry_of(data: bytes) -> tuple[dict[str, Any], Entry]:
    """The frame, and the entry that the gateway appends for it."""
    frame = decode_frame(data, LIMITS)
    return frame, Entry.of(MessageReceived(frame=frame, stream=0), id="id", ts=0, session="s", gateway="g")


def text(value: object) -> str:
    """In which 1, 1.0 and true are not the same."""
    return repr(value)


@pytest.mark.parametrize("what", [*FRAMES, *NOT_FOR_PHP])
def test_the_processors_read_the_same(what: str) -> None:
    """What is taken off the log is, to the type of each number, what the gateway saw in the client's bytes."""
    frame, entry = entry_of((FRAMES | NOT_FOR_PHP)[what])
    fields = entry.fields()
    taken = Entry.from_fields(dict(zip(fields[::2], fields[1::2], strict=True))).event()
    assert isinstance(taken, MessageReceived)
    assert text(taken.frame) == text(frame)
    assert text(taken.frame) == text(entry.payload()["frame"])


async def test_php_reads_the_same() -> None:
    """So does the application, in PHP, to the type of each number."""
    given: dict[str, str] = {}
    for what, data in FRAMES.items():
        _, entry = entry_of(data)
        assert entry.ct == JSON, what
        given[what] = entry.data.decode()
    script = """
    $read = fn ($text) => json_decode($text, true, 512, JSON_THROW_ON_ERROR);
    echo json_encode(array_map($read, $read($argv[1])), JSON_THROW_ON_ERROR | JSON_PRESERVE_ZERO_FRACTION);
    """
    told = json.loads(await run_php("-d", "serialize_precision=-1", "-r", script, "--", json.dumps(given)))
    for what, data in FRAMES.items():
        assert text(told[what]["frame"]) == text(entry_of(data)[0]), what
