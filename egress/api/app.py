"""The API as an ASGI application."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException as StarletteHTTPException

from egress.api.listing import CursorError, Listing
from egress.api.publisher import IDEMPOTENCY_HEADER, Publisher
from egress.api.requests import (
    MAX_NAME,
    Accepted,
    Broadcast,
    Channel,
    Disconnect,
    Failure,
    SendToSession,
    SendToUser,
    ServiceHealth,
    SessionPage,
    as_frame,
)
from egress.directory import Directory
from runtime.http import operator_routes
from runtime.service import Health
from schemas.close_codes import clip_reason
from schemas.errors import LogUnavailable
from schemas.events import DisconnectRequested, MessagePublished
from schemas.topics import channel_topic, session_topic, user_topic


@dataclass(frozen=True, slots=True)
class Services:
    """What the routes stand on."""

    publisher: Publisher
    directory: Directory
    listing: Listing
    health: Health


def create(services: Services) -> FastAPI:
    """The application, without its door (egress.api.signed)."""
    app = FastAPI(
        title="Headgate API",
        version="1",
        docs_url=None,
        redoc_url=None,
        responses={status: {"model": Failure} for status in (401, 413, 422, 503)},
    )
    _messages(app, services)
    _sessions(app, services)
    _failures(app)
    app.include_router(operator_routes(services.health))
    return app


def _messages(app: FastAPI, services: Services) -> None:
    publish = services.publisher.publish

    @app.post("/send-to-session", responses={404: {"model": Failure}})
    async def send_to_session(body: SendToSession, request: Request) -> Accepted:
        """Send a message to one session."""
        _check_idempotency(request)
        if not await services.directory.has(body.session_id):
            raise HTTPException(404, "Session not found")
        event = MessagePublished(frame=as_frame(body.message))
        topic = session_topic(body.session_id)
        return Accepted(id=await publish(request, topic, event, session=body.session_id))

    @app.post("/send-to-user")
    async def send_to_user(body: SendToUser, request: Request) -> Accepted:
        """Send a message to every session of a user."""
        _check_idempotency(request)
        event = MessagePublished(frame=as_frame(body.message))
        return Accepted(id=await publish(request, user_topic(body.user_id), event, user=body.user_id))

    @app.post("/broadcast-to-channel")
    async def broadcast_to_channel(body: Broadcast, request: Request) -> Accepted:
        """Send a message to every session in a channel."""
        _check_idempotency(request)
        frame: dict[str, Any] = {"type": "channel_broadcast", "channel": body.channel, "data": body.message}
        if body.event is not None:
            frame["event"] = body.event
        event = MessagePublished(frame=frame, exclude=body.except_)
        return Accepted(id=await publish(request, channel_topic(body.channel), event))

    @app.post("/disconnect", responses={404: {"model": Failure}})
    async def disconnect(body: Disconnect, request: Request) -> Accepted:
        """Close one session, or all sessions of a user."""
        _check_idempotency(request)
        event = DisconnectRequested(code=body.code, reason=clip_reason(body.reason))
        if body.user_id is not None:
            return Accepted(id=await publish(request, user_topic(body.user_id), event, user=body.user_id))
        session = body.session_id or ""
        if not await services.directory.has(session):
            raise HTTPException(404, "Session not found")
        return Accepted(id=await publish(request, session_topic(session), event, session=session))


def _sessions(app: FastAPI, services: Services) -> None:
    @app.get("/sessions")
    async def sessions(
        limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
        cursor: Annotated[str | None, Query(max_length=2 * MAX_NAME)] = None,
        user: Annotated[str | None, Query(min_length=1, max_length=MAX_NAME)] = None,
        channel: Channel | None = None,
    ) -> SessionPage:
        """A page of live sessions, of one user or in one channel where asked."""
        return await services.listing.page(limit, cursor, user, channel)

    @app.get("/health", tags=["operator"])
    async def health() -> ServiceHealth:
        """Whether the service works, in a few numbers; 503 when it does not."""
        count = await services.directory.count()
        return ServiceHealth(status="healthy", sessions=count, uptime=round(services.health.uptime, 3))


def _check_idempotency(request: Request) -> None:
    if len(request.headers.get(IDEMPOTENCY_HEADER, "")) > MAX_NAME:
        raise HTTPException(422, f"{IDEMPOTENCY_HEADER} is longer than {MAX_NAME} characters")


def _failures(app: FastAPI) -> None:
    """Every refusal has one shape."""

    @app.exception_handler(StarletteHTTPException)
    async def refused(_: Request, error: StarletteHTTPException) -> JSONResponse:
        return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"][1:]))
        return JSONResponse({"error": f"{where}: {first['msg']}" if where else first["msg"]}, 422)

    @app.exception_handler(CursorError)
    async def no_such_page(_: Request, error: CursorError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 422)

    async def unavailable(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": "the log is away: try again"}, 503, {"Retry-After": "1"})

    app.add_exception_handler(LogUnavailable, unavailable)
    app.add_exception_handler(RedisError, unavailable)
