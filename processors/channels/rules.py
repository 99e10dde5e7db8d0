"""Who may join and publish where. Denied unless something says yes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from processors.answer import Answer
from runtime.bus.outcomes import Outcome
from schemas.channel_auth import ChannelVerifier, member_of
from schemas.entry import Entry
from schemas.errors import ErrorCode, InvalidSignature, InvalidTopic, error_frame
from schemas.events import (
    DatagramPublished,
    DatagramReceived,
    MessagePublished,
    SessionRestored,
    SessionResumed,
    SubscribeRequested,
    SubscriptionEnded,
    SubscriptionGranted,
    UnsubscribeRequested,
    WhisperReceived,
)
from schemas.topics import ChannelKind, channel_kind, channel_topic, session_topic

#: A datagram older than this, in ms, is of no use to anyone.
MAX_DATAGRAM_AGE_MS: Final = 2000

UNDECIDED: Final = "the application could not say whether you may join"


@dataclass(frozen=True, slots=True)
class Grant:
    """The session may join; `member` is what the others see of it, in a presence channel only."""

    member: dict[str, Any] | None = None
    expires_at: int | None = None
    """When it may no longer be there, in Unix ms."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The session may not; `message` is for the client, `problem` (if any) for the operator."""

    code: ErrorCode
    message: str
    problem: str = ""


def without_asking(event: SubscribeRequested) -> Grant | Refusal | None:
    """The decision that the channel's name alone makes; None when the application must be asked."""
    try:
        kind = channel_kind(event.channel)
    except InvalidTopic as error:
        return Refusal(error.code, str(error))
    return Grant() if kind is ChannelKind.PUBLIC else None


def signed(entry: Entry, event: SubscribeRequested, verifier: ChannelVerifier) -> Grant | Refusal | None:
    """The decision that the application signed beforehand; None when the client brings none.

    One that does not hold is a no: the application is not asked instead, or a forger would have two attempts.
    """
    if event.auth is None:
        return None
    try:
        verifier.verify(event.auth, entry.session, event.channel, event.channel_data)
        if channel_kind(event.channel) is not ChannelKind.PRESENCE:
            return Grant()
        return Grant({**member_of(event.channel_data, entry.user), "id": entry.user or entry.session})
    except InvalidSignature as error:
        return Refusal(ErrorCode.FORBIDDEN, str(error))


def judged(entry: Entry, event: SubscribeRequested, answer: Answer) -> Grant | Refusal:
    """The decision that the application made: yes is a 2xx with an object, `true` or nothing in it."""
    if answer.denied:
        return Refusal(ErrorCode.FORBIDDEN, "the application does not let you join this channel")
    if not answer.ok or not (answer.json is None or answer.json is True or isinstance(answer.json, dict)):
        problem = f"the authorize route answered {answer.status} with something else than an object"
        if not answer.ok:
            problem = f"the authorize route answered {answer.status}"
        return Refusal(ErrorCode.FORBIDDEN, UNDECIDED, problem)
    body = answer.json if isinstance(answer.json, dict) else {}
    expires_at = body.get("expires_at")
    if expires_at is not None and (isinstance(expires_at, bool) or not isinstance(expires_at, int | float)):
        problem = "expires_at of the authorize route is not a number of seconds"
        return Refusal(ErrorCode.FORBIDDEN, UNDECIDED, problem)
    expires_ms = None if expires_at is None else int(expires_at * 1000)
    if channel_kind(event.channel) is not ChannelKind.PRESENCE:
        return Grant(expires_at=expires_ms)
    given = body.get("member")
    member = dict(given) if isinstance(given, dict) else {}
    # Members are told apart by this id, as they are in `from`: the verified one, in one type.
    return Grant({**member, "id": entry.user or entry.session}, expires_ms)


def seen(body: Any) -> Any:
    """What `judged` looks at in the JSON of an answer, beside which there may be signatures."""
    return {name: body[name] for name in ("member", "expires_at") if name in body} if isinstance(body, dict) else body


def granted(entry: Entry, event: SubscribeRequested, grant: Grant) -> Outcome:
    """The session joins the channel."""
    told = SubscriptionGranted(
        member=grant.member,
        recover=event.recover,
        expires_at=grant.expires_at,
        stream=event.stream,
        frame_id=event.frame_id,
        generation=event.generation,
    )
    return Outcome.done(entry.follow("granted", told, topic=channel_topic(event.channel)))


def still_granted(
    entry: Entry, channels: Mapping[str, int | None]
) -> tuple[dict[str, int | None], dict[str, int | None]]:
    """Of `channels`, each with when its grant expires (Unix ms): what was granted when `entry` was written, and what
    no longer was."""
    kept = {name: at for name, at in channels.items() if at is None or at > entry.ts}
    return kept, {name: at for name, at in channels.items() if name not in kept}


def resumed(entry: Entry, event: SessionResumed, channels: Mapping[str, int | None]) -> Outcome:
    """The session's connection joins its `channels`, each from where its client is, and is told which to wait for."""
    restored = SessionRestored(generation=event.generation, channels=list(channels))
    granted = [
        entry.follow(
            f"resumed/{name}",
            SubscriptionGranted(
                generation=event.generation, recover=event.positions.get(channel_topic(name)), expires_at=expires_at
            ),
            topic=channel_topic(name),
        )
        for name, expires_at in channels.items()
    ]
    return Outcome.done(*granted, entry.follow("restored", restored, topic=session_topic(entry.session)))


def refused(entry: Entry, event: SubscribeRequested | WhisperReceived, refusal: Refusal) -> Outcome:
    """The sender is told why not, and about which channel."""
    frame = error_frame(refusal.code, refusal.message, event.frame_id) | {"channel": event.channel}
    told = MessagePublished(frame=frame, stream=event.stream, generation=event.generation)
    return Outcome.done(entry.follow("refused", told, topic=session_topic(entry.session)))


def left(entry: Entry, event: UnsubscribeRequested) -> Outcome:
    """The session leaves the channel."""
    told = SubscriptionEnded(
        reason=event.reason,
        message=event.message,
        stream=event.stream,
        frame_id=event.frame_id,
        generation=event.generation,
    )
    return Outcome.done(entry.follow("left", told, topic=channel_topic(event.channel)))


def ended(entry: Entry, channels: Sequence[str]) -> Outcome:
    """The session is over and leaves `channels`."""
    return Outcome.done(
        *(
            entry.follow(f"left/{name}", SubscriptionEnded(reason="closed"), topic=channel_topic(name))
            for name in channels
        )
    )


def whispered(entry: Entry, event: WhisperReceived) -> Outcome:
    """A member's event goes to the other members of a private or presence channel."""
    try:
        kind = channel_kind(event.channel)
    except InvalidTopic as error:
        return refused(entry, event, Refusal(error.code, str(error)))
    if kind is ChannelKind.PUBLIC:
        message = "clients publish only to private- and presence- channels"
        return refused(entry, event, Refusal(ErrorCode.FORBIDDEN, message))
    if not event.member:
        return refused(entry, event, Refusal(ErrorCode.NOT_SUBSCRIBED, "not subscribed to this channel"))
    frame = {"type": event.event, "channel": event.channel, "data": event.data, "from": sender(entry)}
    told = MessagePublished(frame=frame, exclude=entry.session)
    return Outcome.done(entry.follow("whisper", told, topic=channel_topic(event.channel)))


def datagram(entry: Entry, event: DatagramReceived, now_ms: int) -> Entry | str:
    """The entry for the channel's other members, or why the datagram is dropped."""
    if now_ms - entry.ts > MAX_DATAGRAM_AGE_MS:
        return "stale"
    if not event.member:
        return "not_member"
    try:
        channel_kind(event.channel)
    except InvalidTopic:
        return "invalid_channel"
    told = DatagramPublished(frame={**event.frame, "from": sender(entry)}, exclude=entry.session)
    return entry.follow("datagram", told, topic=channel_topic(event.channel))


def sender(entry: Entry) -> dict[str, str]:
    """`from`: the verified user, or the session of someone without a user id. Never what the client says."""
    return {"id": entry.user} if entry.user else {"session": entry.session}
