"""Bodies of the API's requests and answers. Field names are those of the contract, so camelCase."""

from __future__ import annotations

from typing import Annotated, Final, Generic, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from schemas.close_codes import CloseCode
from schemas.errors import InvalidTopic
from schemas.topics import CHANNEL_PATTERN, channel_kind

MAX_NAME: Final = 255
#: Most maps and arrays inside one another in a message: what every reader of the log and every client can take.
MAX_DEPTH: Final = 128
#: Most items of one batch.
MAX_BATCH: Final = 100
AWAY: Final = "the log is away: try again"

T = TypeVar("T", bound=BaseModel)


def _as_text(value: object) -> object:
    """User ids are numbers in many applications and text everywhere here."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)  # 7.0 is an integer of JSON Schema; beyond 2^53 nobody knows which one was meant.
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if not -(2**63) <= value < 2**63:
        raise ValueError("is more than an integer of 64 bits: send it as text")
    return str(value)


def _channel(value: str) -> str:
    try:
        channel_kind(value)
    except InvalidTopic as error:
        raise ValueError(str(error)) from error
    return value


def _not_too_deep(value: object) -> object:
    if not fits(value, MAX_DEPTH):
        raise ValueError(f"has more than {MAX_DEPTH} levels of maps and arrays")
    return value


def fits(value: object, levels: int) -> bool:
    """Whether no more than `levels` maps and arrays are inside one another in `value`."""
    if isinstance(value, dict):
        return levels > 0 and all(fits(one, levels - 1) for one in value.values())
    if isinstance(value, list):
        return levels > 0 and all(fits(one, levels - 1) for one in value)
    return True


SessionId = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME)]
UserId = Annotated[
    str,
    BeforeValidator(_as_text),
    StringConstraints(min_length=1, max_length=MAX_NAME),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1, "maxLength": MAX_NAME},
                {"type": "integer", "format": "int64"},
            ]
        }
    ),
]
Channel = Annotated[str, AfterValidator(_channel), WithJsonSchema({"type": "string", "pattern": CHANNEL_PATTERN})]
Message = Annotated[JsonValue, BeforeValidator(_not_too_deep)]


class _Body(BaseModel):
    model_config = ConfigDict(populate_by_name=True, frozen=True, use_attribute_docstrings=True)


class SendToSession(_Body):
    """A message for one session."""

    session_id: SessionId = Field(alias="sessionId")
    message: Message


class SendToUser(_Body):
    """A message for every session of a user."""

    user_id: UserId = Field(alias="userId")
    message: Message


class Broadcast(_Body):
    """A message for every session in a channel but the one named `except`."""

    channel: Channel
    message: Message
    event: str | None = Field(None, min_length=1, max_length=MAX_NAME)
    """The `event` of the frame."""
    except_: SessionId | None = Field(None, alias="except")
    """The session that does not get it: the one that caused it."""


class _OfOne(_Body):
    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": [one], "properties": {one: {"not": {"type": "null"}}, other: {"type": "null"}}}
                for one, other in (("sessionId", "userId"), ("userId", "sessionId"))
            ]
        }
    )

    session_id: SessionId | None = Field(None, alias="sessionId")
    user_id: UserId | None = Field(None, alias="userId")

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if (self.session_id is None) == (self.user_id is None):
            raise ValueError("name either sessionId or userId")
        return self


class Disconnect(_OfOne):
    """An order to close one session, or all sessions of a user."""

    # The range that applications may use over WebSocket (RFC 6455, section 7.4.2).
    code: int = Field(int(CloseCode.FORCED), ge=3000, le=4999)
    """What the session is closed with; its range says whether the client comes back."""
    reason: str = Field("disconnected by the application", max_length=4096)
    """What the client is told besides; cut to 1,024 bytes of UTF-8."""


class Unsubscribe(_OfOne):
    """An order to take a channel away from one session, or from all sessions of a user."""

    channel: Channel
    reason: str = Field("", max_length=1024)
    """What the client is told, as `message`."""


class Batch(_Body, Generic[T]):
    """Up to 100 of them, carried out in order."""

    batch: list[T] = Field(min_length=1, max_length=MAX_BATCH)


class Accepted(BaseModel):
    """The entry `id` is in the log and will be delivered."""

    success: Literal[True] = True
    id: str


class NotAccepted(BaseModel):
    """Nothing of this item is in the log; `status` is what a request of its own would have been answered with."""

    success: Literal[False] = False
    status: Literal[404, 503]
    error: str


class Results(BaseModel):
    """What became of each item of a batch, in the order of the batch."""

    results: list[Accepted | NotAccepted]


class ListedSession(BaseModel):
    """A live session. `connectedAt` is ISO 8601 in UTC."""

    id: str
    user_id: str | None = Field(serialization_alias="userId")
    channels: list[str]
    connected_at: str = Field(serialization_alias="connectedAt")


class SessionPage(BaseModel):
    """A page of sessions; `next` is the cursor of the next one, None on the last."""

    sessions: list[ListedSession]
    next: str | None


class ServiceHealth(BaseModel):
    """`uptime` is seconds."""

    status: str
    sessions: int
    uptime: float


class Failure(BaseModel):
    """What every refusal looks like."""

    error: str
