"""Channels that have subscribers, and one of them."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import FastAPI, Query, Request
from starlette.responses import Response

from console.web.room import Room
from schemas.topics import MAX_CHANNEL_LENGTH, channel_kind

Name = Annotated[str, Query(max_length=MAX_CHANNEL_LENGTH)]


def add_channels(app: FastAPI, room: Room) -> None:
    """`/channels` and `/channels/{name}`."""

    @app.get("/channels")
    async def channels(request: Request, q: Name = "", after: Name = "") -> Response:
        names = await room.channels.names(q.strip(), after)
        more = urlencode({"q": q.strip(), "after": names.next}) if names.next else ""
        return room.pages.render(request, "channels.html", names=names, q=q.strip(), more=more, after=after)

    @app.get("/channels/{name}")
    async def channel(request: Request, name: str) -> Response:
        kind = channel_kind(name).value
        return room.pages.render(request, "channel.html", channel=await room.channels.channel(name), kind=kind)
