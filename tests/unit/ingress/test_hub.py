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
    SessionRestoredDelivery,
    SubscribedDelivery,
    SupersededDelivery,
    UnsubscribedDelivery,
)


class FakeMember:
    """Writes down what it is told."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.generation = 1
        self.told: list[Any] = []

    def become(self, session: str) -> None:
        self.id = session

    def authenticated(self, event: AuthenticatedDelivery) -> None:
        self.generation = event.generation
        self.told.append(("authenticated", event.user))

    def restored(self, event: SessionRestoredDelivery) -> None:
        self.told.append(("restored", event.channels))

    def superseded(self) -> None:
        self.told.append("superseded")

    def joined(self, topic: str, event: SubscribedDelivery) -> None:
        self.told.append(("joined", topic))

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

    def missed(self) -> None:
        self.told.append("missed")

    def hold(self, away: bool) -> None:
        self.told.append(("hold", away))

    def broke(self) -> None:
        self.told.append("broke")


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


def test_user_topics_are_joined_without_a_frame() -> None:
    """A user's topic makes the session a receiver, and the session learns that it is one."""
    world = World()
    world.deliver(SubscribedDelivery(epoch="e", offset=0), topic="user:7", session="out")
    world.deliver(PublicationDelivery(epoch="e", offset=1, frame={"hi": 1}), topic="user:7")
    assert world.out.told == [("joined", "user:7"), {"hi": 1}]


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
    world.hub.remove(world.b)
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


def test_a_connection_takes_the_place_of_a_former_one_of_its_session() -> None:
    """The verdict names another session: the connection is that one's now, and the one that had it here is to go."""
    world = World()
    verdict = AuthenticatedDelivery(user="7", generation=2, connection="out")
    assert world.deliver(verdict, topic="session:a", session="a") == "delivered"
    assert (world.out.id, world.out.generation) == ("a", 2)
    assert world.out.told == [("authenticated", "7")]
    assert world.a.told == ["superseded"]
    assert world.deliver(publication(1)) == "delivered"
    assert world.a.told == ["superseded"]  # Its topics went with it: those of the session are granted anew.
    assert len(world.out.told) == 1
    world.hub.remove(world.a)
    world.deliver(SubscribedDelivery(epoch="e", offset=1, generation=2), session="a")
    world.deliver(publication(2))
    assert world.out.told[-1]["offset"] == 2


def test_what_was_granted_to_an_earlier_connection_is_not_for_a_later_one() -> None:
    """A subscription that was asked for before the session was resumed comes to nothing: it is granted anew."""
    world = World()
    world.deliver(AuthenticatedDelivery(user="7", generation=2, connection="out"), topic="session:a", session="a")
    assert world.deliver(SubscribedDelivery(epoch="e", offset=3), session="a") == "gone"
    assert world.out.told == [("authenticated", "7")]


def test_a_session_that_went_on_elsewhere_is_over_here_unless_it_came_back() -> None:
    """The order names the generation that the session has now: what is older here goes, what is that or newer stays."""
    world = World()
    world.b.generation = 3
    world.deliver(SupersededDelivery(generation=2), topic="session:a", session="a")
    world.deliver(SupersededDelivery(generation=3), topic="session:b", session="b")
    assert (world.a.told, world.b.told) == (["superseded"], [])


def test_an_answer_goes_to_a_stream_of_the_connection_that_asked_only() -> None:
    """Stream ids of an earlier connection mean other streams on this one: its answers are pushed."""
    world = World()
    streams: list[int] = []
    world.out.publication = lambda outgoing, stream: streams.append(stream)  # type: ignore[method-assign]
    world.deliver(AuthenticatedDelivery(user="7", generation=2, connection="out"), topic="session:a", session="a")
    for offset, generation in ((1, 1), (2, 2)):
        answer = PublicationDelivery(epoch="e", offset=offset, frame={}, stream=8, generation=generation)
        world.deliver(answer, topic="session:a")
    assert streams == [-1, 8]


def test_a_verdict_for_a_connection_that_is_gone_is_reported() -> None:
    """Somebody has to say that the session has no connection."""
    unclaimed: list[str] = []
    hub = Hub(lambda entry, event: unclaimed.append(f"{entry.session} {event.generation}"))
    event = AuthenticatedDelivery(user="7", generation=2, connection="gone")
    assert hub.deliver(Entry.of(event, id="d", ts=1, topic="session:a", session="a")) == "gone"
    assert unclaimed == ["a 2"]


def test_a_hole_sends_the_topics_sessions_back_for_what_they_missed() -> None:
    """Where offsets are missing nobody is given what comes after as if nothing were wrong."""
    world = World()
    assert world.deliver(publication(1)) == "delivered"
    assert world.deliver(publication(3)) == "missed"
    assert world.a.told[-1] == world.b.told[-1] == "missed"
    assert world.out.told == []
    assert world.deliver(publication(4)) == "delivered"
    assert world.deliver(publication(1, epoch="f")) == "delivered"


def test_a_grant_that_is_ahead_shows_a_hole_too() -> None:
    """Who joins begins there; who was there before it has missed what lies between."""
    world = World()
    world.deliver(publication(1))
    world.deliver(SubscribedDelivery(epoch="e", offset=5), session="out")
    assert world.a.told[-1] == world.b.told[-1] == "missed"
    assert world.out.told == [("subscribed", "presence-room")]
    assert world.deliver(publication(6)) == "delivered"


def test_nothing_more_comes_of_a_channel_whose_time_is_over() -> None:
    """Before the router knows: for this session alone, and a connection that is over changes nothing."""
    world = World()
    world.hub.leave(FakeMember("b"), "presence-room")
    world.hub.leave(world.a, "presence-room")
    assert world.deliver(publication(1)) == "delivered"
    assert world.a.told == []
    assert world.b.told[-1]["data"] == 1


def test_a_session_that_fails_is_closed_alone() -> None:
    """The others get what is theirs, and so does whoever comes after it, whatever the delivery was."""
    world = World()

    def fails(*_: Any) -> None:
        raise ValueError("a fault")

    for name in ("publication", "disconnect", "superseded", "unsubscribed", "missed", "authenticated"):
        setattr(world.a, name, fails)
    assert world.deliver(publication(1)) == "delivered"
    assert world.deliver(DisconnectDelivery(code=3500, reason="")) == "delivered"
    assert world.deliver(SupersededDelivery(generation=2), session="a") == "failed"
    assert world.deliver(UnsubscribedDelivery(reason="revoked"), session="a") == "failed"
    world.deliver(SubscribedDelivery(epoch="e", offset=0), session="a")
    assert world.deliver(publication(3)) == "missed"
    assert world.deliver(AuthenticatedDelivery(user=None, stream=4), session="a") == "failed"
    assert [one for one in world.a.told if one == "broke"] == ["broke"] * 6
    assert [one for one in world.b.told if not isinstance(one, dict)] == [("disconnect", 3500), "missed"]
