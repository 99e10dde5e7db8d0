"""What a replay compares, keeps and takes back."""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from console.replay import routing
from console.replay.checkpoint import Checkpoint
from console.replay.differences import Tally, values
from console.replay.options import Options
from console.replay.related import related
from console.replay.routing import Moments, Routing
from console.replay.saved import Reader
from runtime.recording import Record, Selection
from runtime.settings import Settings
from schemas.entry import Entry
from schemas.errors import ConfigurationError
from schemas.events import AuthRequested, Event, MessagePublished, MessageReceived
from schemas.keys import Keys


@pytest.mark.parametrize(
    ("was", "now", "found"),
    [
        ({"a": 1}, {"a": 1}, {}),
        ({"a": None}, {}, {"x.a": (None, "(not there)")}),
        ({}, {"a": None}, {"x.a": ("(not there)", None)}),
        ({"a": 1}, {}, {"x.a": (1, None)}),
        ({"a": 1}, {"a": True}, {"x.a": (1, True)}),
        ({"a": [{"b": 1}]}, {"a": [{"b": True}]}, {"x.a.0.b": (1, True)}),
        ({"a": [1, 2]}, {"a": [1]}, {"x.a": ([1, 2], [1])}),
    ],
)
def test_what_json_tells_apart_differs(was: Any, now: Any, found: dict[str, Any]) -> None:
    """Null and nothing, one and true: also inside of lists."""
    assert values("x", was, now) == found


@pytest.mark.parametrize(
    ("identical", "notes", "good"),
    [
        (5, {}, True),
        (5, {"outputs of entries before the beginning": 90}, True),
        (5, {"not settled by laravel": 5}, True),
        (5, {"not settled by laravel": 3, "not settled by router": 3}, False),
        (5, {"not answered: x": 1}, False),
    ],
)
def test_a_replay_that_judged_next_to_nothing_is_not_good(identical: int, notes: dict[str, int], good: bool) -> None:
    """The end of a log that is in use may have no trail yet; where that is most of it, something is wrong."""
    tally = Tally(lambda difference: None)
    for _ in range(identical):
        tally.identical()
    tally.notes.update(notes)
    assert tally.good is good


def named(module: str, name: str) -> bytes:
    """A pickle that is nothing but the global `name` of `module`."""
    words = b"".join(b"\x8c" + bytes([len(word)]) + word.encode() for word in (module, name))
    return b"\x80\x04" + words + b"\x93."


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("console.replay.comparing", "os.system"),
        ("console.replay.comparing", "os"),
        ("console.replay.comparing", "compare"),
        ("console.replay.saved", "Path"),
        ("schemas.entry", "JSON"),
        ("collections", "namedtuple"),
        ("builtins", "eval"),
        ("os", "system"),
    ],
)
def test_a_forged_checkpoint_gets_nothing_but_what_a_replay_is_made_of(module: str, name: str) -> None:
    """No function, and nothing that a module of ours has from elsewhere."""
    with pytest.raises(pickle.UnpicklingError, match="a checkpoint has no"):
        Reader(io.BytesIO(named(module, name)), {}).load()


def test_a_checkpoint_has_what_a_replay_is_made_of() -> None:
    """Our own types, and the plain ones that they are made of."""
    entry = Entry.of(MessageReceived(frame={"a": 1}), id="x", ts=1)
    kept = OrderedDict({"a": (Record("in", "1-0", entry), entry.event(), {1}, frozenset({2}))})
    assert Reader(io.BytesIO(pickle.dumps(kept)), {}).load() == kept


def record(stream_id: str, event: Event | None = None) -> Record:
    return Record("hg:{in:0}", stream_id, Entry.of(event or MessageReceived(frame={}), id=stream_id, ts=1, session="s"))


def test_a_checkpoint_is_gone_on_with_by_the_same_replay_alone(tmp_path: Path) -> None:
    """Under the name that the replay had, so that what it appended twice is the same; another one is refused."""
    path = tmp_path / "mark.json"
    first = Checkpoint(path, "this")
    first.reached([record("5-0")])
    first.write()
    again = Checkpoint(path, "this")
    assert (again.positions, again.run) == ({"hg:{in:0}": "5-0"}, first.run)
    assert Checkpoint(None, "this").run != first.run
    with pytest.raises(ConfigurationError, match="something else"):
        Checkpoint(path, "that")


@pytest.mark.parametrize(
    "other",
    [
        {"redis_url": "redis://elsewhere/0"},
        {"prefix": "x:"},
        {"archive_url": "sqlite+aiosqlite:///x"},
        {"secret": "s" * 32},
    ],
)
def test_a_replay_is_of_its_log_and_its_rules(other: dict[str, str]) -> None:
    """What was begun on another log, or with other settings, is another replay; what is logged does not matter."""
    settings, again = Settings(_env_file=None), Settings(_env_file=None, log_level="debug")
    changed = Settings(_env_file=None, **other)  # type: ignore[arg-type]
    assert Options().what(settings) == Options().what(again)
    assert Options().what(settings) != Options().what(changed)


class Kept:
    """A recording of what a test has made."""

    def __init__(self, *records: Record) -> None:
        self._records = records

    async def read(self, streams: Sequence[str], wanted: Selection) -> AsyncIterator[Sequence[Record]]:
        yield [one for one in self._records if wanted.wants(one.entry)]


async def test_what_cannot_be_read_ends_nothing() -> None:
    """An entry whose payload is none belongs to its session as any other."""
    whole = record("1-0", AuthRequested(token="t", protocol=1))
    broken = whole._replace(entry=replace(whole.entry, data=b"{"))
    assert broken.event is None
    wanted = Selection(sessions=frozenset({"s"}))
    assert await related(Kept(broken), Keys("hg:", 1), wanted) == frozenset({"s"})


async def test_what_no_router_tells_of_is_not_held_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log without trails: the oldest are given up and counted, and so is what is left at the end."""
    monkeypatch.setattr(routing, "HELD", 2)
    tally = Tally(lambda difference: None)
    made = Routing(cast("Any", None), Moments(), tally)
    for n in range(5):
        told = Entry.of(MessagePublished(frame={}), id=f"{n}", ts=1, topic="channel:news")
        made.outbound(Record("hg:{out:0}", f"{n}-0", told))
        await made.route()
    assert tally.notes["not settled by router"] == 3
    made.finish()
    assert tally.notes["not settled by router"] == 5
