"""What all handlers share: what goes wrong outside becomes an outcome."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from processors.answer import BadAnswer, Failed, Unavailable
from runtime.bus.lanes import Handler, one_by_one
from runtime.bus.outcomes import Outcome, Received
from schemas.entry import Entry
from schemas.errors import InvalidEntry


def entries(decide: Callable[[Entry], Awaitable[Outcome]]) -> Handler:
    """A Handler from a function of one entry that may raise Unavailable, Failed, BadAnswer and InvalidEntry."""

    async def handle(received: Received) -> Outcome:
        try:
            return await decide(received.entry)
        except Unavailable as error:
            return Outcome.later(str(error))
        except (BadAnswer, Failed) as error:
            return Outcome.again(str(error))
        except InvalidEntry as error:
            return Outcome.dead(str(error))

    return one_by_one(handle)
