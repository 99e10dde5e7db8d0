"""How much a client may leave unread, and how much more while it is sent what it missed."""

from __future__ import annotations

from ingress.session import CatchUp, Outgoing
from ingress.unread import CATCH_UP_S, CATCH_UP_TIMES, Unread
from schemas.events import SubscribedDelivery
from tests.unit.ingress.told import CONTROL, Client, at

MISSED = [{"offset": 1, "frame": {"type": "channel_broadcast"}}]


def test_more_than_the_limit_is_too_much() -> None:
    """The limit itself is not."""
    unread = Unread(1000)
    assert not unread.is_too_much(1000, 0)
    assert unread.is_too_much(1001, 0)


def test_who_catches_up_has_more_room_for_a_while() -> None:
    """What was missed may come at once: so much more, and so long, but neither without end."""
    unread = Unread(1000)
    unread.catch_up(0, 100)
    assert not unread.is_too_much(CATCH_UP_TIMES * 1000, 100)
    assert unread.is_too_much(CATCH_UP_TIMES * 1000 + 1, 100)
    assert not unread.is_too_much(1001, 99 + CATCH_UP_S)
    assert unread.is_too_much(1001, 100 + CATCH_UP_S)


def test_who_does_not_read_gets_no_more_time() -> None:
    """Asking for what was missed, again and again, puts off the end of a client that reads none of it by nothing."""
    unread = Unread(1000)
    unread.catch_up(1000, 100)
    for later in range(1, 30):
        unread.catch_up(1001, 100 + later)
    assert unread.is_too_much(1001, 100 + CATCH_UP_S)


def kinds(client: Client) -> list[type]:
    """The effects that wait, by their kind."""
    return [type(effect) for effect in client.session.effects()]


def test_what_was_missed_is_announced_before_it_is_written() -> None:
    """In a channel that is joined with `recover`, and only if something was missed; never to clients without pings."""
    for protocol, publications, announced in ((1, MISSED, True), (1, [], False), (None, MISSED, False)):
        client = Client().open(protocol=protocol)
        given = SubscribedDelivery(epoch="e", offset=1, stream=CONTROL, publications=publications)
        client.session.subscribed("a", given, at(1))
        found = kinds(client)
        assert (CatchUp in found[:1], CatchUp in found) == (announced, announced)
        client.session.publication(Outgoing({"type": "channel_broadcast"}))
        assert CatchUp not in kinds(client)
