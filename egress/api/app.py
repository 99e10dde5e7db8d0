"""The API as an ASGI application."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException

from egress.api.channels import channel_routes
from egress.api.documentation import document
from egress.api.listing import CursorError, Listing
from egress.api.messages import batch_routes, message_routes
from egress.api.publisher import Publisher, SessionUnknown
from egress.api.requests import AWAY
from egress.api.revocation import Revoker, revocation_routes
from egress.api.sessions import health_route, session_routes
from egress.channels import Channels
from egress.directory import Directory
from runtime.http import operator_routes
from runtime.service import Health
from schemas.errors import LogUnavailable


@dataclass(frozen=True, slots=True)
class Services:
    """What the routes stand on."""

    publisher: Publisher
    revoker: Revoker
    directory: Directory
    listing: Listing
    channels: Channels
    health: Health
    asyncapi: Callable[[], str]
    """The AsyncAPI document of the service."""


def create(services: Services) -> FastAPI:
    """The application, without its door (egress.api.signed)."""
    app = FastAPI(
        title="Headgate API",
        version="1",
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    app.include_router(message_routes(services.publisher))
    app.include_router(batch_routes(services.publisher))
    app.include_router(session_routes(services.listing))
    app.include_router(revocation_routes(services.revoker))
    app.include_router(channel_routes(services.channels))
    app.include_router(health_route(services.directory, services.health))
    app.include_router(operator_routes(services.health, services.asyncapi))
    _failures(app)
    document(app)
    return app


def _failures(app: FastAPI) -> None:
    """Every refusal has one shape."""

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"][1:]))
        return JSONResponse({"error": f"{where}: {first['msg']}" if where else first["msg"]}, 422)

    @app.exception_handler(CursorError)
    async def no_such_page(_: Request, error: CursorError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 422)

    @app.exception_handler(SessionUnknown)
    async def no_such_session(_: Request, error: SessionUnknown) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 404)

    async def unavailable(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": AWAY}, 503, {"Retry-After": "1"})

    app.add_exception_handler(LogUnavailable, unavailable)
    app.add_exception_handler(RedisError, unavailable)
