"""What an operator wants of a replay."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from console.replay.choices import Speed, Target
from console.sources import Source
from runtime.recording import Selection
from runtime.settings import Settings
from schemas.errors import ConfigurationError

#: Settings that say nothing of what is replayed.
_BESIDE: Final = {"gateway_id", "log_level", "log_format", "traces", "trace_sample"}
#: The last Unix ms that a stream id can have.
_LAST: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Options:
    """One replay."""

    target: Target = Target.PRINT
    source: Source = Source.LOG
    speed: Speed = Speed.MAX
    session: str = ""
    user: str = ""
    channel: str = ""
    type: str = ""
    since: str = ""
    until: str = ""
    output: Path | None = None
    """Of the target `file`; of `sandbox`, where every difference goes."""
    application: str = ""
    """Base URL of a test application that is asked in place of the recording."""
    on_log: bool = False
    """The sandbox is on the log's own server, not on one that is started for it."""
    keep: bool = False
    checkpoint: Path | None = None
    """A file that says how far it came; of a sandbox, a directory that has it."""
    json: bool = False
    live: bool = False

    @property
    def chosen(self) -> bool:
        """Whether not everything of the time is wanted."""
        return bool(self.session or self.user or self.channel or self.type)

    def what(self, settings: Settings) -> str:
        """What is replayed from where to where, and decided how: the same text for the same replay."""
        chosen = (self.session, self.user, self.channel, self.type, self.since, self.until, self.application)
        # Where the log and the archive are, and whatever decides.
        there = settings.model_dump_json(exclude=_BESIDE)
        return repr((self.target, self.source, chosen, self.output, there, settings.secret.get_secret_value()))

    @property
    def words(self) -> str:
        """Which part of what is recorded, for people."""
        names = {"session": "session", "user": "user", "channel": "channel", "type": "type"}
        names |= {"since": "from", "until": "to"}
        chosen = [f"{word} {value}" for name, word in names.items() if (value := getattr(self, name))]
        return ", ".join([self.source.value, *chosen])

    def selection(self) -> Selection:
        """Which entries are wanted; raises ConfigurationError."""
        return replace(
            between(self.since, self.until),
            sessions=frozenset({self.session} if self.session else ()),
            user=self.user,
            channel=self.channel,
            types=frozenset({self.type} if self.type else ()),
        )


def between(since: str, until: str) -> Selection:
    """What was appended from `since` on and before `until`: ISO 8601 times (UTC unless they say otherwise), stream ids,
    or Unix ms; empty where it has no end. Raises ConfigurationError."""
    (first, number), (last, before) = _moment(since), _moment(until)
    return Selection(since=first, since_seq=number, until=last, until_seq=before)


def _moment(text: str) -> tuple[int | None, int]:
    """Unix ms, and the second number of a stream id."""
    if not text:
        return None, 0
    number, _, seq = text.partition("-")
    try:
        if number.isdecimal() and len(number) > 4:
            found = int(number), int(seq or 0)
        else:
            at = datetime.fromisoformat(text)
            found = int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000), 0
    except ValueError as error:
        raise ConfigurationError(f"{text!r} is no time: write 2026-01-31T12:00:00, or a stream id") from error
    if not (0 <= found[0] <= _LAST and 0 <= found[1] <= _LAST):
        raise ConfigurationError(f"{text!r} is no time that a log can have")
    return found
