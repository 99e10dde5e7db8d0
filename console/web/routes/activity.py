"""What operators did."""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import FastAPI, Query, Request
from starlette.responses import Response

from console.web.room import Room

PAGE: Final = 100


def add_activity(app: FastAPI, room: Room) -> None:
    """`/activity`."""

    @app.get("/activity")
    async def activity(
        request: Request, before: Annotated[str, Query(pattern=r"^(\d{1,15}-\d{1,10})?$")] = ""
    ) -> Response:
        records = await room.record.newest(PAGE, before)
        more = urlencode({"before": records[-1].stream_id}) if len(records) == PAGE else ""
        return room.pages.render(request, "activity.html", records=records, more=more, before=before)
