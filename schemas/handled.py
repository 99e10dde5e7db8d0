"""What a trail says of a settled entry, beside who settled it and how: parts of schemas.events.EntryHandled."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class Asked(BaseModel):
    """What the application was asked about an entry, and what it answered."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    route: str
    sent: str = ""
    """Digest of the body (schemas.ids.digest): what is asked again can be compared with it. Empty where an archive that
    leaves out some fields had to leave it out."""
    status: int | None = None
    answer: Any = None
    """The JSON of the answer, as far as the rules look at it."""
    left_out: bool = False
    """The answer was longer than a trail keeps."""
    error: str = ""
    """Why there was no answer that counts."""
    kind: Literal["", "bad_answer", "failed"] = ""
    """Whether it said yes with something that cannot be read, or answers others and fails on this."""


class Routed(BaseModel):
    """What the router made of an entry."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    epoch: str = ""
    offset: int = -1
    """The place in the topic's history; -1 for what has none."""
    began: bool = False
    """The topic had no epoch before."""
    deliveries: dict[str, list[str]] = {}
    """The gateways that got a delivery, by its type without `delivery.`."""
    content: str = ""
    """Digest of what was delivered; empty also where an archive left it out."""
