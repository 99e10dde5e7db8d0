"""`headgate inspect`."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

from rich.console import Console
from rich.text import Text

from console.inspection.kinds import Kind
from console.inspection.places import MOST, Places, TooMany, opened
from console.inspection.subjects import subject
from console.inspection.timeline import Handling, Step, Timeline
from console.inspection.waiting import Waiting
from console.lines import line_of
from console.log import opened_log
from console.printable import printable
from console.sources import Source
from runtime.recording import Selection, recorded
from runtime.settings import Settings
from schemas.errors import ConfigurationError
from schemas.events import EntryHandled
from schemas.keys import Keys
from schemas.readable import to_json


async def inspect(kind: Kind, name: str, wanted: Selection, source: Source, *, json: bool) -> None:
    """Print what happened to what `name` means. Raises ConfigurationError, LogUnavailable, ArchiveUnavailable."""
    settings = Settings()
    async with opened_log(settings) as (client, keys), opened(source, settings, client) as places:
        # Before anything is read: what is settled meanwhile has left its trail by then.
        waiting = await Waiting.look(client, keys, forwarded=settings.laravel_via == "http")
        timeline = await timeline_of(kind, name, wanted, places, keys, waiting)
    if not timeline.roots:
        raise ConfigurationError(f"there is nothing of the {kind.value} {name!r} (any more)")
    if json:
        for step in timeline.roots:
            _write(step)
    else:
        console = Console(highlight=False, markup=False, emoji=False)
        for step in timeline.roots:
            _print(console, step, 0)


async def timeline_of(
    kind: Kind, name: str, wanted: Selection, places: Places, keys: Keys, waiting: Waiting
) -> Timeline:
    """What happened to what `name` means. Raises ConfigurationError."""
    about, recording = await subject(kind, name, places, keys, wanted)
    timeline = Timeline((keys.inbound(p) for p in range(keys.partitions)), waiting)
    number = 0
    async for batch in recording.read(recorded(keys), wanted):
        for record in batch:
            if record.entry.type == EntryHandled.TYPE:
                said = record.event
                if isinstance(said, EntryHandled) and timeline.has(record.entry.cause):
                    timeline.handled(record, said)
            elif about.concerns(record.entry):
                number += 1
                if number > MOST:
                    raise TooMany
                timeline.add(record)
    return timeline


def _write(step: Step) -> None:
    sys.stdout.buffer.write(to_json(step.plain()) + b"\n")
    for one in step.led_to:
        _write(one)


def _print(console: Console, step: Step, depth: int) -> None:
    margin = "  " * depth
    line = Text(margin) + line_of(step.record.stream, step.record.stream_id, step.entry)
    console.print(line, soft_wrap=not console.is_terminal)
    under = f"{margin}    "
    if depth == 0 or step.led_to:
        console.print(Text(f"{under}event {step.entry.id}" + (f"  trace {step.trace}" if step.trace else ""), "dim"))
    for handling in step.handled:
        bad = handling.said.outcome == "dead"
        console.print(Text(under + printable(handled(step, handling), 400), "red" if bad else "dim"), soft_wrap=True)
    if not step.inbound:
        console.print(Text(under + printable(step.delivered(), 400), "green"), soft_wrap=True)
    elif step.waits_for:
        console.print(Text(f"{under}not settled by {', '.join(step.waits_for)}", "yellow"))
    if step.inbound and step.unrecorded:
        console.print(Text(f"{under}nothing is recorded of {', '.join(step.unrecorded)}", "dim"))
    for one in step.led_to:
        _print(console, one, depth + 1)


def handled(step: Step, handling: Handling) -> str:
    """What one processor did, in words."""
    said = handling.said
    at = datetime.fromtimestamp(handling.at / 1000, UTC).strftime("%H:%M:%S.%f")[:-3]
    took = (
        f"{said.processor}: {said.outcome} at {at}, {handling.at - step.record.at} ms after it came, took {said.ms} ms"
    )
    parts = [took]
    if said.attempts > 1:
        parts.append(f"{said.attempts} attempts")
    if handling.besides:
        parts.append(handling.besides)
    return ", ".join(parts)
