"""What an operator wants replayed: a form that was filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from console.replay.choices import Target
from console.replay.options import Options
from console.sources import Source
from egress.api.requests import MAX_NAME
from schemas.errors import ConfigurationError

#: Fields of the form, and what each is called in a message.
FIELDS: Final = {
    "session": "session",
    "user": "user",
    "channel": "channel",
    "type": "type",
    "since": "from",
    "until": "to",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which part of the recording; what is empty wants all."""

    source: Source = Source.LOG
    session: str = ""
    user: str = ""
    channel: str = ""
    type: str = ""
    since: str = ""
    until: str = ""

    @classmethod
    def parse(cls, form: Mapping[str, str]) -> Self:
        """Out of the fields of a form, by the rules of the command line; raises ConfigurationError."""
        try:
            source = Source(form.get("source", Source.LOG))
        except ValueError as error:
            raise ConfigurationError("choose the log, the archive, or both") from error
        values = {name: form.get(name, "") for name in FIELDS}
        for name, value in values.items():
            if len(value) > MAX_NAME or not value.isprintable():
                raise ConfigurationError(f"{FIELDS[name]!r} is too long, or has characters that cannot be seen")
        wanted = cls(source, **values)
        selection = wanted.options().selection()
        if selection.since is not None and selection.until is not None and selection.since >= selection.until:
            raise ConfigurationError("'to' must be after 'from'")
        return wanted

    @property
    def router(self) -> bool:
        """Whether the router decides again, too: of single sessions it cannot be told who else had their topics."""
        return not self.options().chosen

    @property
    def form(self) -> dict[str, str]:
        """The fields of the form, filled in with this."""
        return {"source": self.source.value, **self._fields()}

    def options(self) -> Options:
        """As the command line has them."""
        fields: Any = self._fields()
        return Options(target=Target.SANDBOX, source=self.source, **fields)

    def arguments(self) -> list[str]:
        """For `headgate replay`, of the same options."""
        # In one word each: a value that begins with a dash is no option.
        chosen = [f"--{FIELDS[name]}={value}" for name, value in self._fields().items() if value]
        return ["replay", f"--target={Target.SANDBOX.value}", "--json", f"--source={self.source.value}", *chosen]

    def __str__(self) -> str:
        """In one line, for the record of operators."""
        said = [f"{FIELDS[name]} {value}" for name, value in self._fields().items() if value]
        return ", ".join([self.source.value, *said])

    def _fields(self) -> dict[str, str]:
        return {name: getattr(self, name) for name in FIELDS}
