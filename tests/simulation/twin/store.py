"""Keys, their values, and when they end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tests.simulation.twin.resp import Failure
from tests.simulation.twin.streams import Stream


class Hash(dict[bytes, bytes]):
    """A hash."""


class Members(dict[bytes, None]):
    """A set, in the order of its making."""


class Scores(dict[bytes, float]):
    """A sorted set."""


class Items(list[bytes]):
    """A list."""


Value = bytes | Hash | Members | Scores | Items | Stream
V = TypeVar("V", Hash, Members, Scores, Items, Stream)


class Store:
    """What the server keeps. `clock` gives Unix ms."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self.now = clock
        self.values: dict[bytes, Value] = {}
        self.ends: dict[bytes, int] = {}
        self.appended: dict[bytes, None] = {}
        """Streams that were appended to since readers were served."""

    def find(self, key: bytes) -> Value | None:
        """The value, unless its time is over."""
        if (end := self.ends.get(key)) is not None and end <= self.now():
            self.drop(key)
        return self.values.get(key)

    def of(self, key: bytes, kind: type[V]) -> V | None:
        """The value if there is one; WRONGTYPE if it is of another kind."""
        value = self.find(key)
        if value is None:
            return None
        if not isinstance(value, kind):
            raise Failure("WRONGTYPE Operation against a key holding the wrong kind of value")
        return value

    def make(self, key: bytes, kind: type[V]) -> V:
        """The same, made if there is none."""
        value = self.of(key, kind)
        if value is None:
            value = self.values[key] = kind()
        return value

    def put(self, key: bytes, value: Value) -> None:
        """A new value without an end."""
        self.drop(key)
        self.values[key] = value

    def drop(self, key: bytes) -> bool:
        """Whether there was such a key."""
        self.ends.pop(key, None)
        return self.values.pop(key, None) is not None

    def tidy(self, key: bytes) -> None:
        """What is empty is gone, but for streams."""
        if not self.values[key] and not isinstance(self.values[key], Stream):
            self.drop(key)

    def there(self) -> list[bytes]:
        """Every key that there is."""
        return [key for key in list(self.values) if self.find(key) is not None]
