"""Bodies of the API's requests and answers. Field names are those of the contract, so camelCase."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    model_validator,
)

from schemas.close_codes import CloseCode
from schemas.errors import InvalidTopic
from schemas.topics import channel_kind

MAX_NAME: Final = 255


def _as_text(value: object) -> object:
    """User ids are numbers in many applications and text everywhere here."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _channel(value: str) -> str:
    try:
        channel_kind(value)
    except InvalidTopic as error:
        raise ValueError(str(error)) from error
    return value


SessionId = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME)]
UserId = Annotated[str, BeforeValidator(_as_text), StringConstraints(min_length=1, max_length=MAX_NAME)]
Channel = Annotated[str, AfterValidator(_channel)]


class _Body(BaseModel):
    model_config = ConfigDict(populate_by_name=True, frozen=True)


class SendToSession(_Body):
    """A message for one session."""

    session_id: SessionId = Field(alias="sessionId")
    message: JsonValue


class SendToUser(_Body):
    """A message for every session of a user."""

    user_id: UserId = Field(alias="userId")
    message: JsonValue


class Broadcast(_Body):
    """A message for every session in a channel but the one named `except`."""

    channel: Channel
    message: JsonValue
    event: str | None = Field(None, min_length=1, max_length=MAX_NAME)
    except_: SessionId | None = Field(None, alias="except")


class Disconnect(_Body):
    """An order to close one session, or all sessions of a user."""

    session_id: SessionId | None = Field(None, alias="sessionId")
    user_id: UserId | None = Field(None, alias="userId")
    # The range that applications may use over WebSocket (RFC 6455, section 7.4.2).
    code: int = Field(int(CloseCode.FORCED), ge=3000, le=4999)
    reason: str = Field("disconnected by the application", max_length=4096)

    @model_validator(mode="after")
    def _one_target(self) -> Disconnect:
        if (self.session_id is None) == (self.user_id is None):
            raise ValueError("name either sessionId or userId")
        return self


class Accepted(BaseModel):
    """The entry `id` is in the log and will be delivered."""

    success: bool = True
    id: str


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


def as_frame(message: Any) -> dict[str, Any]:
    """`message` as a frame, which is always a map."""
    return message if isinstance(message, dict) else {"type": "message", "data": message}
