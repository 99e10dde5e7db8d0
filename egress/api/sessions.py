"""The routes that tell which sessions there are."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from egress.api.documentation import SIGNED, UNAVAILABLE
from egress.api.listing import Listing
from egress.api.requests import MAX_NAME, Channel, ServiceHealth, SessionPage
from egress.directory import Directory
from runtime.service import Health


def session_routes(listing: Listing) -> APIRouter:
    """`GET /sessions`. Raises CursorError and RedisError."""
    router = APIRouter(tags=["sessions"], responses=SIGNED)

    @router.get("/sessions", summary="List sessions")
    async def sessions(
        limit: Annotated[int, Query(ge=1, le=1000, description="Most sessions on the page.")] = 1000,
        cursor: Annotated[
            str | None, Query(max_length=2 * MAX_NAME, description="The `next` of the page before.")
        ] = None,
        user: Annotated[
            str | None, Query(min_length=1, max_length=MAX_NAME, description="Only sessions of this user.")
        ] = None,
        channel: Annotated[Channel | None, Query(description="Only sessions in this channel.")] = None,
    ) -> SessionPage:
        """A page of live sessions, of one user or in one channel where asked."""
        return await listing.page(limit, cursor, user, channel)

    return router


def health_route(directory: Directory, health: Health) -> APIRouter:
    """`GET /health`, unsigned. Raises RedisError."""
    router = APIRouter(tags=["operator"], responses=UNAVAILABLE)

    @router.get("/health", summary="Health in numbers")
    async def service_health() -> ServiceHealth:
        """Whether the service works, in a few numbers; 503 when it does not."""
        count = await directory.count()
        return ServiceHealth(status="healthy", sessions=count, uptime=round(health.uptime, 3))

    return router
