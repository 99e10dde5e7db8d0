"""Fan-out on one gateway: who receives a delivery, in which order, and never twice."""

from __future__ import annotations

from typing import Any

from ingress.hub import Hub
from ingress.session import Outgoing
from schemas.entry import Entry
from schemas.events import (
    AuthenticatedDelivery,
    AuthFailedDelivery,
    DatagramDelivery,
    DisconnectDelivery,
    Event,
    PresenceDelivery,
    PublicationDelivery,
    SubscribedDelivery,
    UnsubscribedDelivery,
)


class FakeMember:
    """Writes down what it is told."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.told: list[Any] = []

    def authenticated(self, event: AuthenticatedDelivery) -> None:
        self.told.append(("authenticated", event.user))

    def auth_failed(self, event: AuthFailedDelivery) -> None:
        self.told.append(("auth_failed", event.error))

    def subscribed(self, channel: str, event: SubscribedDelivery) -> None:
        self.told.append(("subscribed", channel))

    def unsubscribed(self, channel: str, event: UnsubscribedDelivery) -> None:
        self.told.append(("unsubscribed", channel))

    def publication(self, outgoing: Outgoing, stream: int) -> None:
        self.told.append(outgoing.frame)

    def unreliable(self, outgoing: Outgoing) -> None:
        self.told.append(("datagram", outgoing.frame))

    def disconnect(self, code: int, reason: str) -> None:
        self.told.append(("disconnect", code))

    def lost(self) -> None:
        self.told.append("lost")

    def tick(self) -> None:
        self.told.append("tick")


TOPIC = "channel:presence-room"


class World:
    """A hub with two sessions in one channel."""

    def __init__(self) -> None:
        self.hub = Hub(remember=100)
        self.a, self.b, self.out = FakeMember("a"), FakeMember("b"), FakeMember("out")
        self.count = 0
        for member in (self.a, self.b, self.out):
            self.hub.add(member)
        for member in (self.a, self.b):
            self.deliver(SubscribedDelivery(epoch="e", offset=0), topic=TOPIC, session=member.id)
            member.told.clear()

    def deliver(self, event: Event, *, id: str = "", topic: str = TOPIC, session: str = "") -> str:
        self.count += 1
        return self.hub.deliver(Entry.of(event, id=id or f"d{self.count}", ts=1, topic=topic, session=session))


def publication(offset: int, epoch: str = "e", exclude: str | None = None) -> PublicationDelivery:
    frame = {"type": "channel_broadcast", "channel": "presence-room", "data": offset}
    return PublicationDelivery(epoch=epoch, offset=offset, frame=frame, exclude=exclude)


def test_a_publication_reaches_the_topics_sessions_with_its_place() -> None:
    """Members get the frame with epoch and offset; the excluded one and strangers do not."""
    world = World()
    assert world.deliver(publication(1, exclude="a")) == "delivered"
    expected = {"type": "channel_broadcast", "channel": "presence-room", "data": 1, "epoch": "e", "offset": 1}
    assert world.b.told == [expected]
    assert world.a.told == world.out.told == []


def test_offsets_are_delivered_once_and_an_epoch_starts_anew() -> None:
    """A repeated or older offset is dropped; after the history was lost its new epoch counts from the start."""
    world = World()
    assert [world.deliver(publication(n)) for n in (1, 2, 1, 2, 3)] == [
        "delivered", "delivered", "repeated", "repeated", "delivered",
    ]  # fmt: skip
    assert world.deliver(publication(1, epoch="f")) == "delivered"
    assert [frame["data"] for frame in world.a.told] == [1, 2, 3, 1]


def test_a_repeated_grant_is_told_once() -> None:
    """A delivery without an offset is recognised by its id."""
    world = World()
    event = SubscribedDelivery(epoch="e", offset=3)
    assert world.deliver(event, id="same", session="out") == "delivered"
    assert world.deliver(event, id="same", session="out") == "repeated"
    assert world.out.told == [("subscribed", "presence-room")]


def test_user_topics_are_joined_silently() -> None:
    """A user's topic makes the session a receiver without a frame about it."""
    world = World()
    world.deliver(SubscribedDelivery(epoch="e", offset=0), topic="user:7", session="out")
    assert world.out.told == []
    world.deliver(PublicationDelivery(epoch="e", offset=1, frame={"hi": 1}), topic="user:7")
    assert world.out.told == [{"hi": 1}]


def test_what_the_application_sends_to_a_session_stays_as_it_is() -> None:
    """Only broadcasts are given their place; a session's own frames are the application's."""
    world = World()
    world.deliver(AuthenticatedDelivery(user="7"), topic="session:out", session="out")
    world.deliver(PublicationDelivery(epoch="e", offset=1, frame={"type": "x"}, stream=4), topic="session:out")
    assert world.out.told == [("authenticated", "7"), {"type": "x"}]


def test_presence_and_datagrams_leave_out_whom_they_are_about() -> None:
    """The session that joined or sent is excluded."""
    world = World()
    world.deliver(PresenceDelivery(change="joined", member={"id": "1"}, exclude="a"))
    world.deliver(DatagramDelivery(frame={"type": "cursor"}, exclude="a"))
    assert world.a.told == []
    assert world.b.told == [
        {"type": "presence", "channel": "presence-room", "joined": {"id": "1"}},
        ("datagram", {"type": "cursor"}),
    ]


def test_leaving_and_ending_stop_deliveries() -> None:
    """After unsubscribed, or after the session ended, nothing arrives, and an empty topic is forgotten."""
    world = World()
    world.deliver(UnsubscribedDelivery(reason="unsubscribed"), session="a")
    world.hub.remove("b")
    assert world.deliver(publication(1)) == "gone"
    assert world.a.told == [("unsubscribed", "presence-room")]
    assert world.b.told == []


def test_disconnect_reaches_every_session_of_the_topic() -> None:
    """A forced disconnect of a user closes all of the user's sessions here."""
    world = World()
    world.deliver(DisconnectDelivery(code=3500, reason="banned"))
    assert world.a.told == world.b.told == [("disconnect", 3500)]


def test_an_order_for_one_session_reaches_it_before_it_is_subscribed_to_anything() -> None:
    """A session over the limit is told to go though its own topic is not granted yet; no other hears of it."""
    world = World()
    order = DisconnectDelivery(code=3504, reason="connection limit")
    assert world.deliver(order, topic="session:out", session="out") == "delivered"
    assert world.deliver(order, topic="session:never", session="never") == "gone"
    assert world.out.told == [("disconnect", 3504)]
    assert world.a.told == world.b.told == []


def test_deliveries_for_sessions_that_are_gone_are_no_error() -> None:
    """A late grant for a closed session is counted as gone and leaves nothing behind."""
    world = World()
    assert world.deliver(SubscribedDelivery(epoch="e", offset=0), session="never") == "gone"
    assert len(world.hub) == 3
