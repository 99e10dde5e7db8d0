"""The API's routes about channels."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from egress.api.documentation import SIGNED
from egress.api.listing import position
from egress.api.requests import MAX_NAME, Channel
from egress.channels import Channels, Occupancy, Publication
from schemas.topics import MAX_CHANNEL_LENGTH


class ListedChannel(BaseModel):
    """A channel with subscribers; `users` is null unless it is a presence channel."""

    name: str
    sessions: int
    users: int | None


class ChannelPage(BaseModel):
    """A page of channels; `next` is the cursor of the next one, null on the last."""

    channels: list[ListedChannel]
    next: str | None


class ListedPublication(BaseModel):
    """A frame as clients received it, and the session that did not. `publishedAt` is ISO 8601 in UTC."""

    offset: int
    published_at: str = Field(serialization_alias="publishedAt")
    frame: dict[str, Any]
    except_: str | None = Field(serialization_alias="except")


class ChannelState(BaseModel):
    """A channel, occupied or not. `epoch` is null and `offset` 0 when nothing is kept of it."""

    name: str
    sessions: int
    users: int | None
    members: list[Any] | None
    """What members see of each other, by user; null unless it is a presence channel."""
    epoch: str | None
    offset: int
    """Of the latest publication."""
    publications: list[ListedPublication]
    """Oldest first."""
    next: int | None
    """Give it as `after` for those that follow; null: there are none."""


def channel_routes(channels: Channels) -> APIRouter:
    """`GET /channels` and `GET /channels/{name}`. Raises CursorError and RedisError."""
    router = APIRouter(tags=["channels"], responses=SIGNED)

    @router.get("/channels", summary="List channels")
    async def listed(
        limit: Annotated[int, Query(ge=1, le=1000, description="Most channels on the page.")] = 1000,
        cursor: Annotated[
            str | None, Query(max_length=2 * MAX_NAME, description="The `next` of the page before.")
        ] = None,
        prefix: Annotated[
            str, Query(max_length=MAX_CHANNEL_LENGTH, description="Only channels whose names begin with it.")
        ] = "",
    ) -> ChannelPage:
        """A page of the channels that have subscribers."""
        found, rest = await channels.page(limit, *position(cursor, channels.partitions), prefix)
        return ChannelPage(
            channels=[_listed(one) for one in found],
            next=None if rest is None else f"{rest[0]}:{rest[1]}",
        )

    @router.get("/channels/{name}", summary="Show a channel")
    async def shown(
        name: Annotated[Channel, Path(description="Name of the channel.")],
        after: Annotated[int, Query(ge=0, lt=1 << 53, description="Only publications after this offset.")] = 0,
        limit: Annotated[int, Query(ge=1, le=1000, description="Most publications.")] = 100,
    ) -> ChannelState:
        """Who is in a channel, and what is kept of its publications, oldest first."""
        (count,) = await channels.count([name])
        history = await channels.history(name, after, limit)
        members = None if count.users is None else list((await channels.members(name)).values())
        publications = [_publication(one) for one in history.publications]
        return ChannelState(
            **_listed(count).model_dump(),
            members=members,
            epoch=history.epoch,
            offset=history.offset,
            publications=publications,
            next=history.next,
        )

    return router


def _listed(one: Occupancy) -> ListedChannel:
    return ListedChannel(name=one.name, sessions=one.sessions, users=one.users)


def _publication(one: Publication) -> ListedPublication:
    at = datetime.fromtimestamp(one.at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return ListedPublication(offset=one.offset, published_at=at, frame=one.frame, except_=one.exclude)
