"""The frames in docs/wire-protocol.md, given to the code that reads and writes frames."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from ingress.gateway import session_limits
from ingress.hub import placed
from ingress.session import Append, Now, OpenAndSend, Send, Session, requests
from processors.channels.rules import datagram, whispered
from runtime.settings import Settings
from schemas.codec import FrameDecoder, decode_frame
from schemas.entry import Entry
from schemas.events import (
    AuthenticatedDelivery,
    AuthFailedDelivery,
    Connected,
    DatagramPublished,
    MessagePublished,
    SubscribedDelivery,
    UnsubscribedDelivery,
    WhisperReceived,
)
from tests.unit.docs.reading import blocks, section, text
from tests.unit.ingress.told import Secrets

PAGE: Final = text("wire-protocol.md")
CLIENT: Final = section(PAGE, "## From the client")
GATEWAY: Final = section(PAGE, "## From the gateway")
LIMITS: Final = session_limits(Settings())


def frames(part: str) -> list[dict[str, Any]]:
    """The frames of the JSON examples in `part`, as a stream's decoder gives them."""
    found: list[dict[str, Any]] = []
    for block in blocks(part, "json"):
        decoder = FrameDecoder()
        found += decoder.feed(block.encode())
        decoder.finish()
    return found


def documented(kind: str) -> list[dict[str, Any]]:
    """The documented frames of the gateway of one type."""
    return [frame for frame in frames(GATEWAY) if frame["type"] == kind]


def at(seconds: float) -> Now:
    """So long after the session began."""
    return Now(seconds, 1_767_225_600_000)


def written(session: Session) -> list[dict[str, Any]]:
    """The frames that the session wants written now."""
    return [effect.frame for effect in session.effects() if isinstance(effect, Send | OpenAndSend) and effect.frame]


def send(session: Session, *sent: dict[str, Any]) -> None:
    """The client writes frames on its control stream."""
    for frame in sent:
        session.stream_data(0, json.dumps(frame).encode(), False, True, at(0))


def opened() -> Session:
    """A session that is authenticated."""
    session = Session("s", LIMITS, Secrets(), at(0))
    send(session, {"type": "auth", "protocol": 1, "token": "t"})
    session.authenticated("s", AuthenticatedDelivery(user="7", stream=0, protocol=1), at(0))
    session.joined("user:7", SubscribedDelivery(epoch="e", offset=0), at(0))
    return session


@pytest.mark.parametrize("part", [CLIENT, GATEWAY, section(PAGE, "## Datagrams")])
def test_examples_are_frames(part: str) -> None:
    """Every JSON example parses as frames, each with a type, within the limits."""
    found = frames(part)
    assert found
    assert all(isinstance(frame["type"], str) for frame in found)


@pytest.mark.parametrize("frame", [frame for frame in frames(CLIENT) if frame["type"] == "auth"], ids=sorted)
def test_the_documented_auth_frames_are_accepted(frame: dict[str, Any]) -> None:
    """The examples of `auth` make an authentication request, and their wishes are understood."""
    assert requests.auth(frame, 0, lambda token: token, Connected(), None).protocol == 1
    assert (requests.resume(frame, 8) is not None) is ("resume" in frame)
    assert requests.compresses(frame) is ("compression" in frame)
    assert requests.batch_seconds(frame) == frame.get("batch", 0) / 1000


@pytest.mark.parametrize("frame", frames(CLIENT), ids=lambda frame: str(frame["type"]))
def test_documented_requests_are_accepted(frame: dict[str, Any]) -> None:
    """No example of a client's frame is answered by an error or closes the session."""
    if frame["type"] == "auth":
        return
    session = opened()
    session.subscribed("news", SubscribedDelivery(epoch="e", offset=0), at(0))
    if frame["type"] == "subscribe":
        session.channels.leave("news")
    session.effects()
    send(session, frame)
    assert not [one for one in written(session) if one["type"] in ("error", "disconnect")]


def test_documented_answers_have_the_fields_that_are_sent() -> None:
    """What a session writes by itself has the fields of the documented example of its type."""
    session = opened()
    send(session, {"type": "ping", "id": "p1"})
    granted = SubscribedDelivery(epoch="e", offset=1, members=[{"id": "7"}], stream=0, frame_id="s1")
    session.subscribed("news", granted, at(0))
    session.unsubscribed("news", UnsubscribedDelivery(reason="unsubscribed", stream=0, frame_id="u1"))
    session.tick(at(26))
    session.close(3001, "the gateway is shutting down: connect again")
    refused = Session("s", LIMITS, Secrets(), at(0))
    send(refused, {"type": "auth", "token": "t"})
    refused.auth_failed(AuthFailedDelivery(error="no", stream=0))
    sent = {frame["type"]: frame for frame in written(session)} | {"auth_failed": written(refused)[0]}
    assert set(sent) == {"auth_success", "auth_failed", "pong", "subscribed", "unsubscribed", "ping", "disconnect"}
    for kind, frame in sent.items():
        assert documented(kind)[0].keys() == frame.keys(), kind
    until = at(60).wall_ms
    session = opened()
    session.subscribed("private-a", SubscribedDelivery(epoch="e", offset=1, stream=0, expires_at=until), at(0))
    session.unsubscribed("private-a", UnsubscribedDelivery(reason="revoked", message="no more"))
    session.unsubscribed("private-a", UnsubscribedDelivery(reason="expired"))
    lasting, revoked, expired = written(session)[1:]
    assert documented("subscribed")[2].keys() == lasting.keys() | {"id"}
    assert [documented("unsubscribed")[1].keys(), documented("unsubscribed")[2].keys()] == [
        expired.keys(), revoked.keys(),
    ]  # fmt: skip
    assert documented("auth_success")[0]["pingInterval"] == sent["auth_success"]["pingInterval"]


def test_a_documented_acknowledgement_has_the_fields_that_are_sent() -> None:
    """`ack` names the client's frame and the entry."""
    session = opened()
    session.effects()
    send(session, {"type": "message", "id": "m1", "channel": "c", "data": 1})
    (append,) = (effect for effect in session.effects() if isinstance(effect, Append))
    session.confirmed(append, "event")
    assert [frame.keys() for frame in written(session)] == [documented("ack")[0].keys()]


def test_documented_broadcasts_have_their_place() -> None:
    """The example of a broadcast has the epoch and the offset that the gateway adds."""
    (example,) = documented("channel_broadcast")
    bare = {key: value for key, value in example.items() if key not in ("epoch", "offset")}
    assert placed(bare, "channel:presence-lobby", example["epoch"], example["offset"]).frame == example


def test_what_the_application_sent_has_its_place_as_documented() -> None:
    """The example of a message to a user has the field that the gateway adds, for clients of protocol 1 alone."""
    session = opened()
    session.effects()
    example = documented("message")[0]
    place = example["headgate"]
    bare = {key: value for key, value in example.items() if key != "headgate"}
    session.publication(placed(bare, place["topic"], place["epoch"], place["offset"]))
    (sent,) = (effect for effect in session.effects() if isinstance(effect, Send))
    assert decode_frame(sent.data) == example


def test_documented_whispers_and_datagrams_are_what_members_receive() -> None:
    """The examples of whispers and datagrams become what is documented, with the sender stamped."""
    whisper = next(frame for frame in frames(CLIENT) if frame["type"] == "client-typing")
    event = requests.append_for("s", 1, whisper, 0, {"presence-lobby"}).event
    assert isinstance(event, WhisperReceived)
    published = whispered(Entry.of(event, id="e", ts=0, session="s", user="7"), event).emits[0].event()
    assert isinstance(published, MessagePublished)
    (example,) = documented("client-typing")
    told = placed(published.frame, "channel:presence-lobby", example["epoch"], example["offset"])
    assert told.frame == example

    (sent,) = blocks(section(PAGE, "## Datagrams"), "json")
    received = requests.datagram(decode_frame(sent.encode()), {"presence-lobby"})
    entry = datagram(Entry.of(received, id="d", ts=0, session="s", user="7"), received, 0)
    assert isinstance(entry, Entry)
    passed = entry.event()
    assert isinstance(passed, DatagramPublished)
    assert passed.frame == received.frame | {"from": {"id": "7"}}
