"""The stand-in's HTTP side: the routes that Headgate calls (signed) and the demo's login."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

import orjson
from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, StrictStr

from console.standin.rules import REMEMBERED_NONCES, Bounded, RefusedError, StandIn
from console.standin.tokens import Tokens
from runtime.settings import Settings
from schemas.errors import InvalidSignature, InvalidTopic
from schemas.signing import NONCE_TTL_S, USER_HEADER, Verifier

#: What it says of itself wherever it is asked.
SELF_DESCRIPTION: Final = (
    "Headgate's stand-in application, not Laravel: answers the same requests, from memory, for development"
)
EVENT_ID_HEADER: Final = "X-Headgate-Event-Id"


async def _object(request: Request) -> dict[str, Any]:
    """The body as a JSON object, whatever its content type says; raises RefusedError."""
    try:
        body = orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise RefusedError("the body is not JSON") from error
    if not isinstance(body, dict):
        raise RefusedError("the body is not a JSON object")
    return body


Body = Annotated[dict[str, Any], Depends(_object)]


class Login(BaseModel):
    """Whoever says a name is that user."""

    name: StrictStr


class Question(BaseModel):
    """May this user join this channel?"""

    session: str
    user: str | None = None
    channel: str


class ConnectionEvent(BaseModel):
    """A session was opened or closed."""

    event: str
    data: dict[str, Any]


class Signed:
    """Lets a request pass that Headgate signed, recently and for the first time; a FastAPI dependency."""

    def __init__(self, verifier: Verifier, clock: Callable[[], float]) -> None:
        self._verifier = verifier
        self._clock = clock
        self._nonces: Bounded[tuple[str, str], float] = Bounded(REMEMBERED_NONCES)

    async def __call__(self, request: Request) -> None:
        now = self._clock()
        query = request.scope["query_string"]
        target = (request.scope["raw_path"] + (b"?" + query if query else b"")).decode("latin-1")
        used = self._verifier.verify(request.method, target, await request.body(), request.headers.get, now=int(now))
        if self._nonces.get(used, 0.0) > now:
            raise InvalidSignature("the nonce was used before")
        self._nonces[used] = now + NONCE_TTL_S


def stand_in_app(settings: Settings, clock: Callable[[], float] = time.time) -> FastAPI:
    """The application, at the paths of `settings`; `clock` gives Unix seconds."""
    tokens, rules = Tokens(settings.secret_bytes()), StandIn()
    app = FastAPI(title="Headgate stand-in application", docs_url=None, redoc_url=None, openapi_url=None)
    app.middleware("http")(_introduce)
    for error, status in ((InvalidSignature, 401), (RefusedError, 422), (InvalidTopic, 403)):
        app.add_exception_handler(error, _answer_with(status))
    _add_demo(app, tokens, rules, clock)
    signed = [Depends(Signed(settings.verifier(), clock))]

    @app.post(settings.laravel_verify_path, dependencies=signed)
    async def verify(request: Request) -> Response:
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        known = tokens.read(bearer, int(clock()))
        if known is None:
            return JSONResponse({"message": "Unauthenticated."}, 401)
        user, expires_at = known
        rules.know(user)
        return JSONResponse({"user": {"id": user.id, "info": {"name": user.name}}, "expires_at": expires_at})

    @app.post(settings.laravel_handle_path, dependencies=signed)
    async def handle(message: Body, request: Request) -> dict[str, Any]:
        header = request.headers.get
        return rules.handle(header(EVENT_ID_HEADER, ""), header(USER_HEADER, ""), message, clock())

    @app.post(settings.laravel_event_path, dependencies=signed)
    async def event(told: ConnectionEvent, request: Request) -> dict[str, str]:
        rules.events[request.headers.get(EVENT_ID_HEADER, "")] = told.model_dump()
        return {"status": "ok"}

    @app.post(settings.laravel_authorize_path, dependencies=signed)
    async def authorize(question: Question) -> Response:
        member = rules.authorize(question.user or "", question.channel)
        if member is None:
            return JSONResponse({"message": "Forbidden."}, 403)
        return JSONResponse({"member": member})

    return app


def _add_demo(app: FastAPI, tokens: Tokens, rules: StandIn, clock: Callable[[], float]) -> None:
    """What Headgate does not call: the application's word on itself, and the demo's login."""

    @app.get("/")
    @app.get("/health")
    async def introduce() -> dict[str, str]:
        return {"status": "ok", "application": SELF_DESCRIPTION}

    @app.post("/api/demo/token")
    async def token(login: Login) -> dict[str, Any]:
        user = rules.login(login.name)
        return {
            "token": tokens.issue(user, int(clock())),
            "user": {"id": user.id, "name": user.name},
            "application": "stand-in",
        }


async def _introduce(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    response.headers["X-Headgate-Application"] = "stand-in"
    return response


def _answer_with(status: int) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(request: Request, error: Exception) -> Response:
        return JSONResponse({"message": str(error)}, status)

    return answer
