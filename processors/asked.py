"""What the trail says of the application: what it was asked, and what it answered or why it did not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import orjson

from processors.answer import BadAnswer, Failed
from schemas.entry import Entry
from schemas.ids import digest

#: Longest answer that a trail keeps, in bytes of JSON.
KEPT_BYTES: Final = 65_536


@dataclass(slots=True)
class Note:
    """One request; `status` and `answer` are None where there was none."""

    status: int | None = None
    answer: Any = None


class Notes:
    """The last request about each entry that is being handled."""

    def __init__(self) -> None:
        self._asked: dict[str, dict[str, Any]] = {}

    @contextmanager
    def of(self, entry: Entry, route: str, body: bytes, seen: Callable[[Any], Any] | None) -> Iterator[Note]:
        """Notes what the block is told and raises. `seen`: what the rules look at of an answer; None: all of it."""
        note = Note()
        asked: dict[str, Any] = {"route": route, "sent": digest(body)}
        self._asked[entry.id] = asked
        try:
            yield note
        except (BadAnswer, Failed) as error:
            asked |= {"error": str(error), "kind": "bad_answer" if isinstance(error, BadAnswer) else "failed"}
            raise
        finally:
            if note.status is not None:
                asked["status"] = note.status
            if note.answer is not None:
                asked |= _kept(note.answer if seen is None else seen(note.answer))

    def take(self, entry: Entry) -> Mapping[str, Any]:
        """The `asked` of schemas.events.EntryHandled, where something was; forgotten with this call."""
        asked = self._asked.pop(entry.id, None)
        return {} if asked is None else {"asked": asked}


def _kept(answer: Any) -> dict[str, Any]:
    try:
        written = orjson.dumps(answer)
    except orjson.JSONEncodeError:  # It can read deeper than it can write.
        return {"left_out": True}
    return {"answer": orjson.Fragment(written)} if len(written) <= KEPT_BYTES else {"left_out": True}
