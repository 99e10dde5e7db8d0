"""What applications publish through Pusher's API, and what becomes of it here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from egress.api.publications import Publication
from egress.api.requests import MAX_DEPTH, MAX_NAME, fits
from schemas.errors import HeadgateError, InvalidTopic
from schemas.events import MessagePublished
from schemas.socket_ids import session_of
from schemas.topics import channel_kind, channel_topic, user_topic

MAX_CHANNELS: Final = 100
MAX_BATCH: Final = 10
MAX_EVENT_NAME: Final = 200
#: What a library's `sendToUser` publishes to, in front of the user's id.
TO_USER: Final = "#server-to-user-"

_Body = TypeVar("_Body", bound=BaseModel)


class BadRequest(HeadgateError):
    """The caller's: a body or parameter that Pusher's API does not have, or Headgate does not."""


@dataclass(frozen=True, slots=True)
class Question:
    """Attributes of a channel that the answer is to have, if any."""

    channel: str
    attributes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Published:
    """A body, understood; in a batch `questions` has one for each event."""

    publications: tuple[Publication, ...]
    questions: tuple[Question, ...]


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)

    name: Annotated[str, StringConstraints(min_length=1, max_length=MAX_EVENT_NAME)]
    data: str
    channel: str | None = None
    channels: Annotated[list[str], Field(min_length=1, max_length=MAX_CHANNELS)] | None = None
    socket_id: str | None = None
    info: str = ""

    def targets(self) -> list[str]:
        if (self.channel is None) == (self.channels is None):
            raise BadRequest("name either channel or channels")
        return [self.channel] if self.channel is not None else list(dict.fromkeys(self.channels or ()))


class _Batch(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)

    batch: Annotated[list[_Event], Field(min_length=1, max_length=MAX_BATCH)]


def one_event(body: bytes) -> Published:
    """The body of `POST /events`; raises BadRequest."""
    event = _parsed(_Event, body)
    targets = event.targets()
    questions = [_question(event, target) for target in targets]
    return Published(_publications(event, targets), tuple(one for one in questions if one.attributes))


def batch_of_events(body: bytes) -> Published:
    """The body of `POST /batch_events`; raises BadRequest."""
    publications: list[Publication] = []
    questions = []
    for event in _parsed(_Batch, body).batch:
        if event.channel is None or event.channels is not None:
            raise BadRequest("an event of a batch has one channel, named as channel")
        publications += _publications(event, [event.channel])
        questions.append(_question(event, event.channel))
    return Published(tuple(publications), tuple(questions))


def attributes_of(info: str) -> tuple[str, ...]:
    """The attributes that a comma-separated `info` names."""
    return tuple(filter(None, (one.strip() for one in info.split(","))))


def checked_channel(name: str) -> str:
    """`name`, if there can be such a channel; raises BadRequest."""
    if name.startswith("private-encrypted-"):
        raise BadRequest(f"{name[:80]}: Headgate has no encrypted channels, use a private one")
    try:
        channel_kind(name)
    except InvalidTopic as error:
        raise BadRequest(f"{name[:80]}: {error}") from error
    return name


def checked_user(user: str) -> str:
    """`user`, if there can be such a user; raises BadRequest."""
    if not 0 < len(user) <= MAX_NAME:
        raise BadRequest(f"a user id has 1 to {MAX_NAME} characters")
    return user


def _question(event: _Event, target: str) -> Question:
    """What `event` asks about a channel; nothing about a user."""
    return Question(target, () if target.startswith(TO_USER) else attributes_of(event.info))


def _publications(event: _Event, targets: Sequence[str]) -> tuple[Publication, ...]:
    data = _value(event.data)
    exclude = None if event.socket_id is None else _session(event.socket_id)
    out = []
    for target in targets:
        if target.startswith(TO_USER):
            user = checked_user(target.removeprefix(TO_USER))
            frame: dict[str, Any] = {"type": "user_event", "event": event.name, "data": data}
            out.append(Publication(user_topic(user), MessagePublished(frame=frame, exclude=exclude), user=user))
        else:
            topic = channel_topic(checked_channel(target))
            frame = {"type": "channel_broadcast", "channel": target, "event": event.name, "data": data}
            out.append(Publication(topic, MessagePublished(frame=frame, exclude=exclude)))
    return tuple(out)


def _value(data: str) -> Any:
    """What `data` is as JSON, or `data` itself: Pusher's libraries hand on text, Headgate's clients expect values."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return data
    if not fits(value, MAX_DEPTH):
        raise BadRequest(f"data has more than {MAX_DEPTH} levels of maps and arrays")
    return value


def _session(socket: str) -> str:
    """The session to leave out, of a socket id or a session id."""
    if (session := session_of(socket)) is not None:
        return session
    try:
        return str(UUID(socket))
    except ValueError:
        raise BadRequest("socket_id is neither two numbers with a dot between them nor a session id") from None


def _parsed(model: type[_Body], body: bytes) -> _Body:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise BadRequest(f"{where}: {first['msg']}" if where else first["msg"]) from error
