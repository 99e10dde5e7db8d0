"""What replays are asked for by a form, and what is read of what they write."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from console.sources import Source
from console.web.replays.output import (
    PAGE,
    Differences,
    Figures,
    Reading,
    difference_of,
    figures_of,
    lines,
    reading_of,
)
from console.web.replays.wanted import Wanted
from schemas.errors import ConfigurationError


def test_a_form_becomes_arguments() -> None:
    """Empty fields are left out; a value that begins with a dash is none of the options."""
    wanted = Wanted.parse({"source": "all", "session": "--live", "since": "2026-01-01", "user": ""})
    assert wanted == Wanted(Source.ALL, session="--live", since="2026-01-01")
    assert wanted.arguments() == [
        "replay",
        "--target=sandbox",
        "--json",
        "--source=all",
        "--session=--live",
        "--from=2026-01-01",
    ]
    assert str(wanted) == "all, session --live, from 2026-01-01"
    assert (wanted.router, Wanted.parse({}).router) == (False, True)


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"source": "live"}, "choose"),
        ({"since": "now"}, "no time"),
        ({"since": "20000", "until": "20000-5"}, "after"),
        ({"session": "a\nb"}, "cannot be seen"),
        ({"user": "x" * 256}, "too long"),
    ],
)
def test_a_form_that_makes_no_sense_is_refused(form: dict[str, str], says: str) -> None:
    """In words for who filled it in."""
    with pytest.raises(ConfigurationError, match=says):
        Wanted.parse(form)


def test_progress_is_told_from_words() -> None:
    """A total that is not known is none; all else on standard error is for people."""
    assert reading_of(b'{"read":5,"total":10}') == Reading(5, 10)
    assert reading_of(b'{"read":5,"total":null}') == Reading(5, None)
    for words in (b"headgate: no answer", b"[1]", b'{"read":5}', b"", b"\xff", b"5"):
        assert reading_of(words) is None


def figures(**counts: int) -> dict[str, Any]:
    outputs = {"identical": 0, "changed": 0, "missing": 0, "new": 0} | counts
    return {"read": 3, **outputs, "not_judged": {"repeats": 1}, "seconds": 0.5, "per_second": 6}


def test_figures_are_told_from_differences() -> None:
    """And 100 % is said only where nothing differs."""
    made = figures_of(json.dumps(figures(identical=99_999, new=1)).encode())
    assert made == Figures(3, 99_999, 0, 0, 1, {"repeats": 1}, 0.5, 6)
    assert (made.compared, made.percent) == (100_000, 99.9)
    assert Figures(**figures(identical=7)).percent == 100.0
    assert Figures(**figures()).percent == 0.0
    assert figures_of(line()) is None


def line(kind: str = "changed", type_: str = "message.published", **changes: tuple[Any, Any]) -> bytes:
    both = {path.replace("__", "."): {"recorded": was, "now": now} for path, (was, now) in changes.items()}
    named = {"processor": "laravel", "id": "i", "type": type_, "session": "s", "cause": "c"}
    return json.dumps({"result": kind, **named, "changes": both}).encode()


def test_what_must_not_be_shown_is_not() -> None:
    """Tokens and signatures are hidden, also inside of a payload that differs as a whole."""
    asked = difference_of(line(type_="session.auth_requested", data__token=("a", "b"), data__resume=(1, 2), ts=(1, 2)))
    assert asked.changes == [("data.token", "(hidden)", "(hidden)"), ("data.resume", 1, 2), ("ts", 1, 2)]
    whole = difference_of(line(type_="channel.subscribe_requested", data=({"auth": "a"}, None)))
    assert whole.changes == [("data", "(hidden)", "(hidden)")]
    assert difference_of(line(data__token=("a", "b"))).changes == [("data.token", "a", "b")]


def test_differences_are_read_by_pages() -> None:
    """In their order, of all kinds or of one."""
    kept = Differences()
    for n in range(2 * PAGE + 1):
        kept.take(line("new" if n % 2 else "missing", n=(n, None)))
    assert (kept.found, kept.count(""), kept.count("new"), kept.count("changed")) == (101, 101, 50, 0)
    assert [one.changes[0][1] for one in kept.page("", PAGE)] == list(range(PAGE, 2 * PAGE))
    assert [one.changes[0][1] for one in kept.page("missing", PAGE)] == [100]
    assert kept.page("new", PAGE) == kept.page("", 1000) == kept.page("changed", 0) == []
    kept.close()


def test_differences_beyond_a_bound_are_counted_alone() -> None:
    """Those that are kept are the first, without a gap: one that would fit after one that did not is left out."""
    short, long = line(n=(1, 2)), line(n=("x" * 500, 2))
    kept = Differences(most_bytes=2 * len(short) + 10)
    for one in (short, long, short):
        kept.take(one)
    assert (kept.found, kept.kept) == (3, 1)
    kept.close()


async def test_lines_are_whole_however_they_come() -> None:
    """In parts, several at once, longer than a reader's buffer, and without an end at the end."""
    stream = asyncio.StreamReader(limit=16)
    for part in (b"a", b"b\ncd\n", b"x" * 200_000, b"\n\nlast"):
        stream.feed_data(part)
    stream.feed_eof()
    assert [one async for one in lines(stream)] == [b"ab", b"cd", b"x" * 200_000, b"", b"last"]
