"""Streams and their consumer groups (https://redis.io/docs/latest/develop/data-types/streams/)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from typing import Any, Final

from tests.simulation.twin.resp import Failure

Id = tuple[int, int]
LAST: Final[Id] = (1 << 64, 0)


def read_id(raw: bytes, sequence: int = 0) -> Id:
    """`ms-seq`, `ms`, `-` or `+`."""
    if raw == b"-":
        return (0, 0)
    if raw == b"+":
        return LAST
    ms, _, seq = raw.partition(b"-")
    return int(ms), int(seq) if seq else sequence


def write_id(one: Id) -> bytes:
    """As clients see it."""
    return b"%d-%d" % one


@dataclass(slots=True)
class Pending:
    """An entry that was delivered and not acknowledged; `delivered` in ms."""

    consumer: bytes
    delivered: int
    times: int = 1


@dataclass(slots=True)
class Group:
    """A consumer group of a stream."""

    last: Id
    pending: dict[Id, Pending] = field(default_factory=dict)
    consumers: dict[bytes, None] = field(default_factory=dict)


class Stream:
    """Entries in order, and groups over them."""

    def __init__(self) -> None:
        self.ids: list[Id] = []
        self.entries: dict[Id, list[bytes]] = {}
        self.last: Id = (0, 0)
        self.groups: dict[bytes, Group] = {}

    def add(self, now: int, fields: list[bytes]) -> Id:
        """Append under the next id."""
        ms, seq = self.last
        self.last = (now, 0) if now > ms else (ms, seq + 1)
        self.ids.append(self.last)
        self.entries[self.last] = fields
        return self.last

    def delete(self, ids: list[Id]) -> int:
        """Take entries out; gives how many there were."""
        gone = [one for one in ids if self.entries.pop(one, None) is not None]
        for one in gone:
            del self.ids[bisect_left(self.ids, one)]
        return len(gone)

    def between(self, first: Id, last: Id, count: int | None = None) -> list[Id]:
        """Ids from `first` to `last`, both included."""
        found = self.ids[bisect_left(self.ids, first) : bisect_right(self.ids, last)]
        return found if count is None else found[:count]

    def after(self, one: Id, count: int | None = None) -> list[Id]:
        """Ids behind `one`."""
        start = bisect_right(self.ids, one)
        return self.ids[start : None if count is None else start + count]

    def show(self, ids: list[Id]) -> list[Any]:
        """As XRANGE answers."""
        return [[write_id(one), self.entries[one]] for one in ids]

    def group(self, key: bytes, name: bytes) -> Group:
        """The group, or NOGROUP."""
        try:
            return self.groups[name]
        except KeyError:
            raise Failure(f"NOGROUP No such key '{key.decode()}' or consumer group '{name.decode()}'") from None

    def read_group(self, group: Group, consumer: bytes, after: bytes, count: int | None, now: int) -> list[Any] | None:
        """New entries (`>`, None if there are none), or those of `consumer` that are pending behind an id."""
        group.consumers[consumer] = None
        if after == b">":
            ids = self.after(group.last, count)
            if not ids:
                return None
            group.last = ids[-1]
            for one in ids:
                group.pending[one] = Pending(consumer, now)
            return self.show(ids)
        start = read_id(after)
        own = sorted(one for one, by in group.pending.items() if by.consumer == consumer and one > start)
        answer: list[Any] = []
        for one in own if count is None else own[:count]:
            if one in self.entries:
                group.pending[one].delivered = now
                group.pending[one].times += 1
                answer.append([write_id(one), self.entries[one]])
            else:
                answer.append([write_id(one), None])
        return answer
