"""What a session may be told in which state: the protocol as a table."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final


class State(Enum):
    """Where a session is."""

    GREETED = auto()
    """Open, nothing heard; an `auth` frame is due."""
    AUTHENTICATING = auto()
    """The application is being asked; other frames wait."""
    OPEN = auto()
    CLOSED = auto()


class Step(Enum):
    """What to do with a frame."""

    AUTHENTICATE = auto()
    HOLD = auto()
    HANDLE = auto()
    REFUSE_EARLY = auto()
    REFUSE_AGAIN = auto()
    IGNORE = auto()


#: (state, the frame is an `auth`) -> step.
STEPS: Final[dict[tuple[State, bool], Step]] = {
    (State.GREETED, True): Step.AUTHENTICATE,
    (State.GREETED, False): Step.REFUSE_EARLY,
    (State.AUTHENTICATING, True): Step.REFUSE_AGAIN,
    (State.AUTHENTICATING, False): Step.HOLD,
    (State.OPEN, True): Step.REFUSE_AGAIN,
    (State.OPEN, False): Step.HANDLE,
    (State.CLOSED, True): Step.IGNORE,
    (State.CLOSED, False): Step.IGNORE,
}
