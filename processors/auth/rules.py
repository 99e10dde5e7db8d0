"""What the application's verdict on a token means. Fail closed: whatever is not clearly a yes is a no."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from processors.answer import Answer
from runtime.bus.outcomes import Outcome
from schemas.entry import Entry
from schemas.events import (
    AuthFailed,
    AuthRequested,
    SessionAuthenticated,
    SessionDisconnected,
    SessionEnded,
    SessionOpened,
    SessionResumed,
    SubscriptionEnded,
    SubscriptionGranted,
    SubscriptionSuspended,
)
from schemas.topics import session_topic, user_topic

MAX_USER_LENGTH: Final = 255

REFUSED: Final = "the application refused the token"
UNVERIFIED: Final = "the application could not verify the token"
NO_BEARER: Final = "the token has characters that a bearer token cannot have"
UNREADABLE: Final = "the token could not be read"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the token belongs to; `user` is None where the application names nobody."""

    user: str | None
    info: Any = None
    expires_at: int | None = None
    """Unix ms."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The token is not accepted: `error` is for the client, `problem` (if any) for the operator."""

    error: str
    problem: str = ""


def is_bearer(token: str) -> bool:
    """Whether `token` can stand in a header as it is: visible ASCII (RFC 9110, section 5.5)."""
    return bool(token) and all("!" <= character <= "~" for character in token)


def verdict(answer: Answer) -> Identity | Refusal:
    """What `answer` says. A 2xx without any `user` names nobody; a `user` that is not one is no yes."""
    if answer.denied:
        return Refusal(REFUSED)
    if not answer.ok:
        return Refusal(UNVERIFIED, f"the verify route answered {answer.status}")
    body = {} if answer.json is None else answer.json
    if not isinstance(body, dict):
        return Refusal(UNVERIFIED, "the verify route's answer is not a JSON object")
    expires_at = body.get("expires_at")
    if expires_at is not None and (isinstance(expires_at, bool) or not isinstance(expires_at, int | float)):
        return Refusal(UNVERIFIED, "expires_at is not a number of seconds")
    expires_ms = None if expires_at is None else int(expires_at * 1000)
    if "user" not in body:
        return Identity(None, expires_at=expires_ms)
    user = body["user"]
    name = _user_id(user.get("id")) if isinstance(user, dict) else None
    if name is None:
        return Refusal(UNVERIFIED, f"user.id is not a number or a printable text of 1 to {MAX_USER_LENGTH}")
    return Identity(name, user.get("info"), expires_ms)


def seen(body: Any) -> Any:
    """What `verdict` looks at in the JSON of an answer. An application may put anything beside it, secrets too."""
    if not isinstance(body, dict):
        return body
    kept = {name: body[name] for name in ("user", "expires_at") if name in body}
    if isinstance(user := kept.get("user"), dict):
        kept["user"] = {name: user[name] for name in ("id", "info") if name in user}
    return kept


def _user_id(value: Any) -> str | None:
    """A user id as text: it stands in headers and topics, so it has no control characters or outer spaces."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_USER_LENGTH:
        return None
    return value if value.isprintable() and value == value.strip() else None


def opened(entry: Entry, event: AuthRequested, identity: Identity) -> Entry:
    """The beginning of a session, for the inbound log."""
    return entry.follow("opened", SessionOpened(**event.connected.model_dump()), user=identity.user or "")


def authenticated(entry: Entry, event: AuthRequested, identity: Identity) -> Outcome:
    """The new session joins its user's topic, and learns that it is authenticated."""
    told = _told(entry, event, identity, since=entry.ts)
    emitted = entry.follow("authenticated", told, topic=session_topic(entry.session), user=identity.user or "")
    granted = _joins_user(entry, SubscriptionGranted(), identity.user or "")
    return Outcome.done(*granted, emitted)


def reconnected(entry: Entry, event: AuthRequested, identity: Identity, generation: int, since: int) -> Outcome:
    """The connection goes on with a former session, as its `generation`; that began `since` (Unix ms).

    What else this takes follows when the gateway has said that it has the session.
    """
    assert event.resume is not None
    session = event.resume.session
    told = _told(entry, event, identity, since=since).model_copy(
        update={"generation": generation, "recover": event.resume.position}
    )
    emitted = entry.follow("resumed", told, topic=session_topic(session), session=session, user=identity.user or "")
    return Outcome.done(emitted)


def resumed(entry: Entry, event: SessionResumed) -> Outcome:
    """The session's connection joins its user's topic, from where its client is."""
    recover = event.positions.get(user_topic(entry.user))
    granted = SubscriptionGranted(generation=event.generation, recover=recover)
    return Outcome.done(*_joins_user(entry, granted, entry.user))


def suspended(entry: Entry, event: SessionDisconnected, user: str) -> Outcome:
    """The session waits to be resumed: it is none of its user's connected ones."""
    told = SubscriptionSuspended(generation=event.generation)
    return Outcome.done(entry.follow("suspended", told, topic=user_topic(user), user=user))


def failed(entry: Entry, event: AuthRequested, error: str) -> Outcome:
    """The session is told that it is not authenticated."""
    answer = AuthFailed(error=error, stream=event.stream, frame_id=event.frame_id)
    return Outcome.done(entry.follow("failed", answer, topic=session_topic(entry.session)))


def ended(entry: Entry) -> Outcome:
    """The session leaves its user's topic and its own."""
    over = entry.follow("ended", SessionEnded(), topic=session_topic(entry.session))
    if not entry.user:
        return Outcome.done(over)
    left = entry.follow("left", SubscriptionEnded(reason="closed"), topic=user_topic(entry.user))
    return Outcome.done(left, over)


def _told(entry: Entry, event: AuthRequested, identity: Identity, *, since: int) -> SessionAuthenticated:
    return SessionAuthenticated(
        user=identity.user,
        info=identity.info,
        expires_at=identity.expires_at,
        protocol=event.protocol,
        stream=event.stream,
        frame_id=event.frame_id,
        connection=entry.session,
        since=since,
    )


def _joins_user(entry: Entry, granted: SubscriptionGranted, user: str) -> list[Entry]:
    return [entry.follow("granted", granted, topic=user_topic(user), user=user)] if user else []
