from __future__ import annotations

from typing import Any

import pytest

from processors.answer import Answer
from processors.auth import rules
from processors.auth.rules import Identity, Refusal
from schemas.events import (
    AuthFailed,
    AuthRequested,
    Position,
    ResumeRequested,
    SessionAuthenticated,
    SessionClosed,
    SessionResumed,
    SubscriptionEnded,
    SubscriptionGranted,
)
from tests.unit.processors.making import SESSION, TS, entry_of

ASKED = AuthRequested(token="sealed", protocol=1, stream=4, frame_id="a1")


@pytest.mark.parametrize(
    ("answer", "identity"),
    [
        (Answer(200, {"user": {"id": 7, "info": {"name": "Ada"}}}), Identity("7", {"name": "Ada"})),
        (Answer(200, {"user": {"id": "ada@example.org"}}), Identity("ada@example.org")),
        (Answer(200, {"user": {"id": "Zoë"}}), Identity("Zoë")),
        (
            Answer(200, {"user": {"id": 7}, "expires_at": 1_700_000_000}),
            Identity("7", None, 1_700_000_000_000),
        ),
        (Answer(200, {"user": {"id": 7}, "expires_at": None}), Identity("7")),
        (Answer(200), Identity(None)),
        (Answer(204), Identity(None)),
        (Answer(200, {"ok": True}), Identity(None)),
    ],
)
def test_a_yes_names_the_user_or_nobody(answer: Answer, identity: Identity) -> None:
    """A 2xx authenticates: as the user in it, its id made text, or as nobody where there is none at all."""
    assert rules.verdict(answer) == identity


@pytest.mark.parametrize(("status", "error"), [(401, rules.REFUSED), (403, rules.REFUSED)])
def test_a_no_is_the_applications(status: int, error: str) -> None:
    """401 and 403 refuse the token, which is no problem of the operator's."""
    assert rules.verdict(Answer(status)) == Refusal(error)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(404),
        Answer(419),
        Answer(422),
        Answer(200, "fine"),
        Answer(200, []),
        Answer(200, {"user": None}),
        Answer(200, {"user": "ada"}),
        Answer(200, {"user": {}}),
        Answer(200, {"user": {"id": True}}),
        Answer(200, {"user": {"id": 1.5}}),
        Answer(200, {"user": {"id": ""}}),
        Answer(200, {"user": {"id": " ada"}}),
        Answer(200, {"user": {"id": "a\r\nX-User-Id: 1"}}),
        Answer(200, {"user": {"id": "a" * 256}}),
        Answer(200, {"user": {"id": 7}, "expires_at": "tomorrow"}),
        Answer(200, {"user": {"id": 7}, "expires_at": True}),
    ],
)
def test_what_is_not_clearly_a_yes_is_a_no(answer: Answer) -> None:
    """A broken verify route lets nobody in, and says so to the operator and not to the client."""
    verdict = rules.verdict(answer)
    assert isinstance(verdict, Refusal)
    assert verdict.error == rules.UNVERIFIED
    assert verdict.problem


@pytest.mark.parametrize(
    ("token", "fit"),
    [
        ("1|aBc-._~+/==", True),
        ("", False),
        ("a b", False),
        ("a\r\nX-Evil: 1", False),
        ("é", False),
        ("\x00", False),
    ],
)
def test_only_visible_ascii_is_a_bearer_token(token: str, fit: bool) -> None:
    """A token that could not stand in one header value is never sent."""
    assert rules.is_bearer(token) is fit


def test_authenticated_joins_the_user_first() -> None:
    """The session is on its user's topic before it learns that it is authenticated."""
    entry = entry_of(ASKED, user="")
    granted, told = rules.authenticated(entry, ASKED, Identity("7", {"name": "Ada"}, 5)).emits
    assert (granted.topic, granted.user, granted.session) == ("user:7", "7", SESSION)
    assert granted.event() == SubscriptionGranted()
    assert (told.topic, told.user, told.ts, told.cause) == (f"session:{SESSION}", "7", TS, entry.id)
    assert told.event() == SessionAuthenticated(
        user="7",
        info={"name": "Ada"},
        expires_at=5,
        protocol=1,
        stream=4,
        frame_id="a1",
        connection=SESSION,
        since=TS,
    )


def test_authenticated_as_nobody_joins_nothing() -> None:
    """Without a user id there is no user topic to join."""
    (told,) = rules.authenticated(entry_of(ASKED, user=""), ASKED, Identity(None)).emits
    event = told.event()
    assert isinstance(event, SessionAuthenticated)
    assert (event.user, told.user) == (None, "")


def test_failed_answers_the_frame_that_asked() -> None:
    """The refusal goes to the session's topic with the stream and id of the auth frame."""
    (told,) = rules.failed(entry_of(ASKED), ASKED, "no").emits
    assert told.topic == f"session:{SESSION}"
    assert told.event() == AuthFailed(error="no", stream=4, frame_id="a1")


def test_the_end_leaves_every_topic() -> None:
    """A session that ended leaves the topic of its user, then its own."""
    entry = entry_of(SessionClosed(code=0, reason="", by="client"), user="7")
    left, ended = rules.ended(entry).emits
    assert (left.topic, left.user, left.event()) == ("user:7", "7", SubscriptionEnded(reason="closed"))
    assert (ended.topic, ended.type) == (f"session:{SESSION}", "session.ended")


def test_repeats_have_the_same_ids() -> None:
    """Handling an entry again gives the same entries, each with an id of its own."""
    entry = entry_of(ASKED)
    first: Any = rules.authenticated(entry, ASKED, Identity("7")).emits
    again: Any = rules.authenticated(entry, ASKED, Identity("7")).emits
    assert first == again
    assert len({one.id for one in first}) == 2


def test_a_session_that_was_resumed_is_told_on_its_own_topic() -> None:
    """The verdict names the connection that asked, the session's generation, when it began, and where its client is."""
    place = Position(epoch="e", offset=3)
    asked = ASKED.model_copy(update={"resume": ResumeRequested(session="former", generation=2, position=place)})
    (told,) = rules.reconnected(entry_of(asked, user=""), asked, Identity("7"), generation=3, since=11).emits
    assert (told.topic, told.session, told.user) == ("session:former", "former", "7")
    event = told.event()
    assert isinstance(event, SessionAuthenticated)
    assert (event.connection, event.generation, event.since, event.recover) == (SESSION, 3, 11, place)


def test_a_resumed_session_joins_its_user_from_where_its_client_is() -> None:
    """The user's topic is recovered from the position that the client named, for this generation; nobody joins none."""
    place = Position(epoch="u", offset=5)
    event = SessionResumed(generation=2, positions={"user:7": place})
    (granted,) = rules.resumed(entry_of(event, user="7"), event).emits
    assert (granted.topic, granted.event()) == ("user:7", SubscriptionGranted(generation=2, recover=place))
    assert rules.resumed(entry_of(event, user=""), event).emits == ()
