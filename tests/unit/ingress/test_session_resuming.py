"""A session that goes on over another connection: what is asked, what is waited for, and what the client is told."""

from __future__ import annotations

from typing import Any

import pytest

from ingress.session import Outgoing, requests
from schemas.events import (
    AuthenticatedDelivery,
    AuthRequested,
    MessageReceived,
    Position,
    ResumeRequested,
    SessionResumed,
    SubscribedDelivery,
)
from tests.unit.ingress.told import CONTROL, Client, at

PLACE = {"epoch": "e", "offset": 3}
RESUME = {"session": "old", "secret": "old/4", "offsets": {"session:old": PLACE, "user:7": PLACE, "channel:a": PLACE}}


def asking(resume: Any = RESUME, *, protocol: int | None = 1) -> Client:
    """A client that wants to resume a session."""
    auth: dict[str, Any] = {"type": "auth", "token": "t", "resume": resume}
    return Client().frame(auth | ({"protocol": protocol} if protocol else {}))


def resumed(**how: Any) -> Client:
    """Its session, as soon as the application and the record of sessions have said yes."""
    client = asking()
    verdict = {"user": "7", "stream": CONTROL, "generation": 5, "epoch": "e", "offset": 9, "recovered": True, **how}
    client.session.authenticated("old", AuthenticatedDelivery(**verdict), at(1))
    return client.collect()


def test_a_proven_wish_is_asked_with_the_token() -> None:
    """The secret itself stays here: the request names the session, the generation it is of, and the position."""
    event = asking().event
    assert isinstance(event, AuthRequested)
    place = Position(epoch="e", offset=3)
    assert event.resume == ResumeRequested(session="old", generation=4, position=place)
    assert "old/4" not in event.model_dump_json()


@pytest.mark.parametrize("secret", ["", "other/4", "x" * 256])
def test_a_wish_without_the_secret_is_none(secret: str) -> None:
    """Whoever cannot prove to have had the session gets a new one."""
    client = asking({**RESUME, "secret": secret or "no"})
    assert client.event.resume is None
    assert client.welcome().last["type"] == "auth_success"


def test_a_client_without_protocol_resumes_nothing() -> None:
    """Older clients never learned a secret."""
    assert asking(protocol=None).event.resume is None


@pytest.mark.parametrize(
    "resume",
    [
        "old",
        [],
        {},
        {"session": "old"},
        {**RESUME, "session": "x" * 65},
        {**RESUME, "secret": "x" * 257},
        {**RESUME, "offsets": []},
        {**RESUME, "offsets": {"channel:a": 3}},
        {**RESUME, "offsets": {"channel:a": {"epoch": "e", "offset": "3"}}},
        {**RESUME, "offsets": {f"channel:{n}": PLACE for n in range(5)}},
        {**RESUME, "offsets": {"x" * 1101: PLACE}},
    ],
)
def test_a_malformed_wish_is_refused(resume: Any) -> None:
    """What is no wish at all, or one without bounds, is the client's fault."""
    with pytest.raises(requests.BadRequest):
        requests.resume({"protocol": 1, "resume": resume}, 4)


def test_a_malformed_wish_closes_with_4400() -> None:
    """A client that does not know how to ask is told so, and does not try again."""
    assert [close.code for close in asking("old").closes] == [4400]


def test_the_session_is_told_of_in_its_own_log_first() -> None:
    """Once the verdict is there the gateway says in the log that it has the session, and where its client is."""
    event = resumed().event
    assert event == SessionResumed(
        generation=5, positions={"user:7": Position(epoch="e", offset=3), "channel:a": Position(epoch="e", offset=3)}
    )


def test_nothing_is_said_before_everything_is_back() -> None:
    """auth_success waits for the user's topic and every channel; then come what was missed, and what came meanwhile."""
    missed = [{"offset": 8, "frame": {"type": "missed"}}]
    client = resumed(publications=missed)
    client.session.publication(Outgoing({"type": "live"}))
    client.frame({"type": "message", "channel": "a", "data": 1, "id": "m"})
    client.session.restored(["a", "b"], at(1))
    client.session.subscribed("a", SubscribedDelivery(epoch="c", offset=1, recovered=True, generation=5), at(1))
    client.session.joined("user:7", SubscribedDelivery(epoch="u", offset=2, recovered=True), at(1))
    assert client.collect().sent == []
    client.session.subscribed("b", SubscribedDelivery(epoch="c", offset=0, generation=5), at(1))
    client.collect()
    assert [frame["type"] for _, frame in client.sent] == [
        "auth_success", "missed", "live", "subscribed", "subscribed",
    ]  # fmt: skip
    success = client.sent[0][1]
    assert (success["sessionId"], success["generation"], success["recovered"]) == ("old", 5, True)
    assert success["resumeSecret"] == "old/5"
    assert success["offsets"] == {
        "session:old": {"epoch": "e", "offset": 9},
        "user:7": {"epoch": "u", "offset": 2},
    }
    assert client.sent[1][1]["headgate"] == {"topic": "session:old", "epoch": "e", "offset": 8}
    message = client.event
    assert isinstance(message, MessageReceived)
    assert (message.member, message.generation) == (True, 5)


@pytest.mark.parametrize(("session", "user"), [(False, True), (True, False)])
def test_recovered_is_true_only_if_it_is_true_of_both_topics(session: bool, user: bool) -> None:
    """What is missing on the session's or on its user's topic makes it false."""
    client = resumed(recovered=session)
    client.session.restored([], at(1))
    client.session.joined("user:7", SubscribedDelivery(epoch="u", offset=2, recovered=user), at(1))
    assert client.collect().last["recovered"] is False


def test_a_session_of_nobody_waits_for_no_user() -> None:
    """Where the application names nobody, the session's own topic and its channels are all there is."""
    client = resumed(user=None)
    client.session.restored([], at(1))
    assert client.collect().last["type"] == "auth_success"


def test_a_frame_is_the_same_event_over_every_connection() -> None:
    """A message that is sent again after the session was resumed has the id that it had before."""
    client = resumed(user=None)
    client.session.restored([], at(1))
    client.frame({"type": "note", "id": "n1"})
    again = client.appends[-1].event_id
    before = Client()
    before.frame({"type": "auth", "token": "t", "protocol": 1})
    before.session.authenticated("old", AuthenticatedDelivery(user=None, stream=CONTROL), at(1))
    before.frame({"type": "note", "id": "n1"})
    assert before.appends[-1].event_id == again


def test_what_never_comes_back_lets_the_client_try_again() -> None:
    """When the rest stays away the session closes with a code that asks for a reconnect."""
    client = resumed()
    client.session.tick(at(12))
    assert [close.code for close in client.collect().closes] == [3000]


def test_what_comes_meanwhile_is_bounded() -> None:
    """A flood on the user's topic before the session is open closes it as a reader that is too slow."""
    client = resumed()
    for n in range(1001):
        client.session.publication(Outgoing({"n": n}))
    assert [close.code for close in client.collect().closes] == [3008]


def test_a_verdict_on_a_session_that_was_closed_meanwhile_is_known() -> None:
    """Its transport is still closing: whoever hears of that has to tell that the session lost its connection."""
    client = asking()
    client.session.close(3000, "too late")
    assert not client.session.known
    client.session.authenticated("old", AuthenticatedDelivery(user="7", generation=5), at(1))
    assert (client.session.known, client.session.id, client.session.generation) == (True, "old", 5)
    assert [type(append.event) for append in client.collect().appends] == [AuthRequested]
