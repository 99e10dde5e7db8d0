"""What all handlers share: what goes wrong outside becomes an outcome, and what was asked becomes a note of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from processors.answer import Asks, BadAnswer, Failed, NotRepeatable, Unavailable
from runtime.bus.lanes import Handler, one_by_one
from runtime.bus.outcomes import Outcome, Received
from schemas.entry import Entry
from schemas.errors import InvalidEntry


def entries(decide: Callable[[Received], Awaitable[Outcome]], asks: Asks) -> Handler:
    """A Handler from a function of one entry that may raise what `Application.post` raises, and InvalidEntry."""

    async def handle(received: Received) -> Outcome:
        entry = received.entry
        try:
            return noted(await decide(received), entry)
        except Unavailable as error:
            return Outcome.later(str(error))
        except (BadAnswer, Failed) as error:
            return noted(Outcome.again(str(error)), entry)
        except (InvalidEntry, NotRepeatable) as error:
            return noted(Outcome.dead(str(error)), entry)
        finally:
            asks.notes(entry)

    def noted(outcome: Outcome, entry: Entry) -> Outcome:
        notes = asks.notes(entry)
        return replace(outcome, notes=notes) if notes else outcome

    return one_by_one(handle)
