"""The demo page's server: files, where the gateway is, tokens from the application, the log as it grows."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import httpx
from fastapi import FastAPI
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, StringConstraints
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console import theme
from console.certs import certificate_files
from console.demo.feed import Feed
from console.version import headgate_version
from ingress.server.certificates import certificate_hash
from runtime.settings import Settings, mask_url

STATIC: Final = Path(__file__).parent / "static"
TOKEN_PATH: Final = "/api/demo/token"
#: Names under which a browser on this machine may know the server. Any other in `Host` is a page that had its
#: own name point here to read the log (DNS rebinding).
HOSTS: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
SECURITY_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'self'; connect-src 'self' https://localhost:* https://127.0.0.1:* wss://localhost:*; "
        "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_APPLICATION_TIMEOUT_S: Final = 5.0


class Login(BaseModel):
    """Who the page says its reader is."""

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64)]


class Guard:
    """Answers only requests to this machine's own names, and adds the security headers to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        host = Headers(scope=scope).get("host", "")
        if host.rpartition(":")[0] not in HOSTS and host not in HOSTS:
            await PlainTextResponse("This server answers on localhost only.", 421)(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(SECURITY_HEADERS)
                # Files change with the version, so the browser asks each time (mostly: "not modified").
                headers.setdefault("Cache-Control", "no-cache")
            await send(message)

        await self._app(scope, receive, with_headers)


def demo_app(settings: Settings, feed: Feed, *, stand_in: bool) -> ASGIApp:
    """The page and its three requests; `stand_in` says which application answers at `laravel_url`."""
    app = FastAPI(title="Headgate demo", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/config.json")
    async def config() -> dict[str, Any]:
        """Where to connect and what the certificate's hash is now."""
        return {
            "url": f"https://localhost:{settings.ingress_port}{settings.ingress_path}",
            "certificateHash": _certificate_hash(settings),
            "application": "stand-in" if stand_in else "laravel",
            "applicationNote": _note(settings, stand_in),
            "version": headgate_version(),
        }

    @app.post("/token")
    async def token(login: Login) -> JSONResponse:
        """A token of the application for whoever says this name."""
        return await _ask_for_token(settings, login.name)

    @app.get("/log")
    async def follow_log() -> StreamingResponse:
        """New entries as server-sent events."""
        return StreamingResponse(_events(feed), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    app.mount("/theme", StaticFiles(directory=theme.FILES))
    app.mount("/", StaticFiles(directory=STATIC, html=True))
    return Guard(app)


async def _events(feed: Feed) -> AsyncIterator[bytes]:
    with feed.watch() as viewer:
        async for events in viewer.events():
            yield events


def _certificate_hash(settings: Settings) -> str | None:
    """Base64 of the development certificate's SHA-256; None for a configured one, which browsers check."""
    if settings.tls_files():
        return None
    files = certificate_files(settings, datetime.now(UTC))
    return base64.b64encode(certificate_hash(files.certificate)).decode()


def _note(settings: Settings, stand_in: bool) -> str:
    if stand_in:
        return (
            "It is not Laravel: it answers Headgate's requests from memory, for development. "
            "Set HEADGATE_LARAVEL_URL and HEADGATE_SECRET to run your own."
        )
    return f"at {mask_url(settings.laravel_url)}"


async def _ask_for_token(settings: Settings, name: str) -> JSONResponse:
    place = f"the application at {mask_url(settings.laravel_url)}"
    try:
        async with httpx.AsyncClient(timeout=_APPLICATION_TIMEOUT_S, trust_env=False) as client:
            answer = await client.post(settings.laravel_url.rstrip("/") + TOKEN_PATH, json={"name": name})
        if answer.status_code >= 400:
            return _bad_gateway(f"{place} answered {answer.status_code} to POST {TOKEN_PATH}")
        body = answer.json()
        user = body["user"]
        return JSONResponse({"token": body["token"], "user": {"id": user["id"], "name": user["name"]}})
    except httpx.HTTPError as error:
        return _bad_gateway(f"{place} does not answer ({type(error).__name__}): is it running?")
    except (ValueError, KeyError, TypeError):
        return _bad_gateway(
            f"{place} answered POST {TOKEN_PATH} with something else than {{token, user: {{id, name}}}}"
        )


def _bad_gateway(error: str) -> JSONResponse:
    return JSONResponse({"error": error}, 502)
