"""The overview, and the groups one by one. Both go on by themselves: their live part is asked for again and again."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import Response

from console.web.live import RATES
from console.web.room import Room


def add_overview(app: FastAPI, room: Room) -> None:
    """`/` and `/groups`, with their live parts."""

    async def figures() -> dict[str, Any]:
        rates = {kind: room.live.rates(kind) for kind in RATES}
        # Without Redis the last snapshot is shown, and the page says that it is old.
        latencies = [] if room.live.away else await room.live.latencies()
        return {"rates": rates, "latencies": latencies, "services": room.services.all}

    @app.get("/")
    async def overview(request: Request) -> Response:
        return room.pages.render(request, "overview.html", **await figures())

    @app.get("/live/overview")
    async def live_overview(request: Request) -> Response:
        return room.pages.render(request, "overview_live.html", **await figures())

    @app.get("/groups")
    async def groups(request: Request) -> Response:
        return room.pages.render(request, "groups.html")

    @app.get("/live/groups")
    async def live_groups(request: Request) -> Response:
        return room.pages.render(request, "groups_live.html")
