"""From the `auth` frame to `auth_success`: what is asked, and what has to be known so that the answer is the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from ingress.session import requests
from ingress.session.frames import Frame, with_id
from ingress.session.outgoing import Outgoing
from ingress.session.writer import Manner
from schemas.events import (
    FIRST_GENERATION,
    AuthenticatedDelivery,
    AuthRequested,
    Connected,
    Position,
    ResumeRequested,
    SubscribedDelivery,
)
from schemas.topics import channel_topic, session_topic, user_topic


class Secrets(Protocol):
    """What a session cannot make by itself."""

    def seal(self, token: str, session: str) -> str:
        """`token`, unreadable for all but those who check it."""

    def resume_secret(self, session: str, generation: int) -> str | None:
        """What the client of this generation can resume the session with; None when sessions cannot be resumed."""

    def resumed_generation(self, session: str, secret: str) -> int | None:
        """Which generation of `session` has that secret, or None."""


@dataclass(frozen=True, slots=True)
class Asked:
    """An `auth` frame, read."""

    event: AuthRequested
    manner: Manner
    positions: dict[str, Position]
    """Where the client is, in the topics of the session that it wants to resume, but for the session's own."""


def read_auth(
    frame: Frame, stream: int, session: str, secrets: Secrets, connected: Connected, max_channels: int
) -> Asked:
    """The `auth` frame of a connection that is to become `session`; raises BadRequest.

    Without the secret of a former session nothing is asked about that.
    """
    wish = requests.resume(frame, max_channels + 2)
    generation = wish and secrets.resumed_generation(wish.session, wish.secret)
    resume, positions = None, dict[str, Position]()
    if wish is not None and generation is not None:
        positions = wish.positions
        position = positions.pop(session_topic(wish.session), None)
        resume = ResumeRequested(session=wish.session, generation=generation, position=position)
    event = requests.auth(frame, stream, lambda token: secrets.seal(token, session), connected, resume)
    manner = Manner(event.protocol, requests.batch_seconds(frame), requests.compresses(frame))
    return Asked(event, manner, positions)


class Opening:
    """Collects the topics that a session is put on before it opens."""

    def __init__(self, session: str, event: AuthenticatedDelivery) -> None:
        self.event = event
        self.recovered = event.recovered
        """Whether `missed` is all that was missed on the topics of the session and its user."""
        self.offsets: dict[str, dict[str, Any]] = {}
        """{epoch, offset} by topic: from where on the session receives it."""
        self.missed: list[Outgoing] = []
        self._joined: set[str] = set()
        self._awaited = {user_topic(event.user)} if event.user else set()
        self._restoring = event.generation > FIRST_GENERATION
        self._place(session_topic(session), event)

    def joined(self, topic: str, event: SubscribedDelivery) -> None:
        """The session is on its user's topic."""
        self.recovered = self.recovered and event.recovered
        self._place(topic, event)
        self._joined.add(topic)

    def subscribed(self, channel: str) -> None:
        """The session is in a channel."""
        self._joined.add(channel_topic(channel))

    def restored(self, channels: list[str]) -> None:
        """These are the channels that a resumed session gets back."""
        self._awaited.update(map(channel_topic, channels))
        self._restoring = False

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return not self._restoring and self._awaited <= self._joined

    def auth_success(self, session: str, ping_interval: float, secret: str | None, *, protocol: bool) -> Frame:
        """The frame; `ping_interval` in seconds, `protocol`: whether the client said that it speaks one."""
        frame: Frame = {
            "type": "auth_success",
            "sessionId": session,
            "userId": self.event.user,
            "generation": self.event.generation,
            "pingInterval": int(ping_interval * 1000),
            "recovered": self.recovered,
        }
        if protocol:
            frame["offsets"] = self.offsets
            if secret is not None:
                frame["resumeSecret"] = secret
        return with_id(frame, self.event.frame_id)

    def _place(self, topic: str, event: AuthenticatedDelivery | SubscribedDelivery) -> None:
        self.offsets[topic] = {"epoch": event.epoch, "offset": event.offset}
        for missed in event.publications:
            place = {"topic": topic, "epoch": event.epoch, "offset": missed["offset"]}
            self.missed.append(Outgoing(missed["frame"], place))
