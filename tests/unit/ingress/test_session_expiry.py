"""Grants that end: the gateway keeps the time."""

from __future__ import annotations

import pytest

from ingress.session import Leave
from schemas.events import SubscribedDelivery, UnsubscribedDelivery, UnsubscribeRequested
from tests.unit.ingress.told import CONTROL, Client, at


def granted(client: Client, channel: str, seconds: float | None) -> Client:
    """The channel is granted until then, on the clock of `at`."""
    until = None if seconds is None else at(seconds).wall_ms
    client.session.subscribed(channel, SubscribedDelivery(epoch="e", offset=0, stream=CONTROL, expires_at=until), at(1))
    return client.collect()


def test_a_grant_ends_at_its_time() -> None:
    """Not before; then nothing more is delivered, the log is asked until it has heard, and the sender is no member."""
    client = granted(granted(Client().open(), "private-a", 9), "private-b", None)
    assert client.sent[-2][1]["expiresAt"] == at(9).wall_ms
    assert "expiresAt" not in client.last
    assert client.session.due == 9
    client.session.tick(at(8.9))
    assert client.collect().event.TYPE != UnsubscribeRequested.TYPE
    client.session.tick(at(9))
    leave, append = client.session.effects()
    assert leave == Leave("private-a")
    over = UnsubscribeRequested(channel="private-a", reason="expired", expires_at=at(9).wall_ms)
    assert (append.event, append.lasting) == (over, True)  # type: ignore[union-attr]
    for channel in ("private-a", "private-b"):
        client.frame({"type": "client-hi", "channel": channel})
    assert [append.event.member for append in client.appends[-2:]] == [False, True]  # type: ignore[attr-defined]
    client.session.tick(at(10))
    assert client.session.effects() == []


def test_the_client_is_told_and_may_ask_again() -> None:
    """It hears `unsubscribed` with the reason, and a new grant has a time of its own."""
    client = granted(Client().open(), "private-a", 9)
    client.session.tick(at(9))
    client.session.unsubscribed("private-a", UnsubscribedDelivery(reason="expired"))
    assert client.collect().last == {"type": "unsubscribed", "channel": "private-a", "reason": "expired"}
    granted(client.frame({"type": "subscribe", "channel": "private-a"}), "private-a", 20)
    assert client.last["type"] == "subscribed"
    assert client.session.due == 20


def test_a_grant_that_is_over_when_it_comes_ends_at_once() -> None:
    """It took longer through the log than it was to last."""
    client = granted(Client().open(), "private-a", 0.5)
    assert client.session.due <= 1
    client.session.tick(at(1))
    assert client.collect().event.reason == "expired"


@pytest.mark.parametrize("reason", ["unsubscribed", "revoked"])
def test_a_channel_that_was_left_does_not_expire(reason: str) -> None:
    """Whoever ended the subscription before: nothing is told of it once more."""
    client = granted(Client().open(), "private-a", 9)
    client.session.unsubscribed("private-a", UnsubscribedDelivery.model_validate({"reason": reason}))
    client.collect()
    client.session.tick(at(9))
    assert [one for one in client.session.effects() if isinstance(one, Leave)] == []


def test_a_later_grant_counts() -> None:
    """A session that was resumed is granted its channels anew."""
    client = granted(granted(Client().open(), "private-a", 9), "private-a", 12)
    client.session.tick(at(9))
    assert client.session.effects() == []
    assert client.session.due == 12
