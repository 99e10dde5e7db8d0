"""Of what may have ended its process: several together, or one alone."""

from __future__ import annotations

import asyncio

import pytest

from runtime.bus.quarantine import Place, Quarantine, Turn, turn_of


def inside(*places: Place) -> list[bool]:
    """Who has had its turn come."""
    return [place.done() for place in places]


def turn(place: Place) -> Turn:
    found = place.result()
    assert found is not None
    return found


async def test_several_are_together_and_nobody_is_alone_beside_them() -> None:
    """Who wants to be alone waits until the last of them has gone, and whoever comes after that one waits for it."""
    quarantine = Quarantine()
    first, second = quarantine.ask(alone=False), quarantine.ask(alone=False)
    alone, later = quarantine.ask(alone=True), quarantine.ask(alone=False)
    assert inside(first, second, alone, later) == [True, True, False, False]
    turn(first).end()
    assert inside(alone, later) == [False, False]
    turn(second).end()
    assert inside(alone, later) == [True, False]
    turn(alone).end()
    assert inside(later) == [True]


async def test_those_that_are_alone_take_turns() -> None:
    """One after the other, in the order in which they came."""
    quarantine = Quarantine()
    places = [quarantine.ask(alone=True) for _ in range(3)]
    for one in range(3):
        assert inside(*places) == [n <= one for n in range(3)]
        turn(places[one]).end()


async def test_a_turn_ends_once() -> None:
    """Whoever ends theirs twice does not end another's."""
    quarantine = Quarantine()
    places = [quarantine.ask(alone=True) for _ in range(3)]
    for _ in range(2):
        turn(places[0]).end()
    assert inside(*places) == [True, True, False]


async def test_a_turn_ends_in_time() -> None:
    """Whoever takes too long with what comes after is not waited for."""
    quarantine = Quarantine()
    first, second = quarantine.ask(alone=True), quarantine.ask(alone=True)
    turn(first).end_within(0.01)
    assert await asyncio.wait_for(turn_of(second), 10) is not None


async def test_whoever_gives_its_place_up_holds_up_nobody() -> None:
    """It has no turn, and the next one does not wait for it."""
    quarantine = Quarantine()
    first, second, third = (quarantine.ask(alone=True) for _ in range(3))
    second.set_result(None)
    turn(first).end()
    assert inside(third) == [True]
    assert await turn_of(second) is None


@pytest.mark.parametrize("has_come", [False, True])
async def test_whoever_is_ended_holds_up_nobody(has_come: bool) -> None:
    """While it waits, and when its turn comes as it is ended."""
    quarantine = Quarantine()
    first, second, third = (quarantine.ask(alone=True) for _ in range(3))
    waiting = asyncio.create_task(turn_of(second))
    await asyncio.sleep(0)
    if has_come:
        turn(first).end()
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    turn(first).end()
    assert inside(third) == [True]
