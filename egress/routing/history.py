"""How much of its history a topic keeps: by its channel, or as all others do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from schemas.errors import ConfigurationError
from schemas.topics import channel_topic

#: Topics of which it is remembered which rule they fall under.
_REMEMBERED: Final = 4096
_RULE: Final = re.compile(r"(?P<channel>[^=\s]+)=(?P<size>\d{1,6})/(?P<seconds>\d{1,8})\Z")
_CHANNELS: Final = channel_topic("")


class Kept(NamedTuple):
    """What is kept: at most `size` publications, none longer than `seconds`."""

    size: int
    seconds: int


class HistoryRules:
    """The first rule that a channel's name fits decides; all other topics keep the default."""

    def __init__(self, rules: Sequence[str], default: Kept) -> None:
        """`rules`: `NAME=SIZE/SECONDS`, where a `*` in the name stands for any text. Raises ConfigurationError."""
        self._default = default
        self._rules = [_parsed(rule) for rule in rules]
        self.of = lru_cache(_REMEMBERED)(self._of)

    def _of(self, topic: str) -> Kept:
        """What is kept of `topic`."""
        if topic.startswith(_CHANNELS):
            name = topic.removeprefix(_CHANNELS)
            for pattern, kept in self._rules:
                if pattern.fullmatch(name):
                    return kept
        return self._default


def _parsed(rule: str) -> tuple[re.Pattern[str], Kept]:
    found = _RULE.match(rule)
    if found is None:
        raise ConfigurationError(
            f"HEADGATE_CHANNEL_HISTORY: {rule[:80]!r} is no rule: write NAME=SIZE/SECONDS, as in presence-*=50/60"
        )
    pattern = ".*".join(map(re.escape, found["channel"].split("*")))
    return re.compile(pattern), Kept(int(found["size"]), int(found["seconds"]))
