"""HTTP listeners: the operator's routes that every service has, and a server that lives with its service."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator

import structlog
import uvicorn
from fastapi import APIRouter, FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from starlette.types import ASGIApp

from runtime.service import Health
from schemas.errors import ConfigurationError

log = structlog.get_logger()


class Alive(BaseModel):
    """`status` is always the same: that there is an answer says it."""

    status: str = "alive"


class Readiness(BaseModel):
    """Whether traffic may come. `problems` say why not; `warnings` are what an operator should look at."""

    status: str
    problems: list[str]
    warnings: list[str]


def operator_routes(health: Health, asyncapi: Callable[[], str] | None = None) -> APIRouter:
    """`/health/live`, `/health/ready`, `/metrics`, and `/asyncapi.json` where there are streams to tell of."""
    router = APIRouter(tags=["operator"])

    @router.get("/health/live", summary="Liveness")
    async def live() -> Alive:
        """The process answers."""
        return Alive()

    not_ready = {"model": Readiness, "description": "It starts, stops, or something is wrong."}

    @router.get("/health/ready", summary="Readiness", responses={503: not_ready})
    async def ready(response: Response) -> Readiness:
        """200 when traffic may come, 503 with the reasons when not; warnings change neither."""
        problems = health.problems()
        if problems:
            response.status_code = 503
        status = "unready" if problems else "ready"
        return Readiness(status=status, problems=problems, warnings=health.warnings())

    text = {"description": "Prometheus text.", "content": {"text/plain": {"schema": {"type": "string"}}}}

    @router.get("/metrics", summary="Metrics", response_class=Response, responses={200: text})
    async def metrics() -> Response:
        """Prometheus text."""
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    if asyncapi is None:
        return router
    json = {"description": "AsyncAPI 3.", "content": {"application/json": {"schema": {"type": "object"}}}}

    @router.get("/asyncapi.json", summary="Streams", response_class=Response, responses={200: json})
    async def streams() -> Response:
        """The streams that the service reads and writes, and the events on them, as AsyncAPI 3."""
        return Response(asyncapi(), media_type="application/json")

    return router


def operator_app(health: Health, asyncapi: Callable[[], str] | None = None) -> FastAPI:
    """An application with the operator's routes and nothing else."""
    app = FastAPI(title="Headgate operator", docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(operator_routes(health, asyncapi))
    return app


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the service has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """Serves an ASGI application; a Component."""

    def __init__(self, app: ASGIApp, host: str, port: int, *, drain: float = 5.0) -> None:
        self._host, self._port = host, port
        self._server = _Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                server_header=False,
                # Whose X-Forwarded-For counts is for the application to say: uvicorn believes every local process.
                proxy_headers=False,
                timeout_graceful_shutdown=max(1, int(drain)),
            )
        )
        self._task: asyncio.Task[None] | None = None
        self._socket: socket.socket | None = None

    @property
    def port(self) -> int:
        """The port that is bound (the given one may be 0)."""
        assert self._socket is not None
        return int(self._socket.getsockname()[1])

    async def start(self) -> None:
        """Bind and serve; raises ConfigurationError when the address is taken."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        bound = socket.socket(family, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((self._host, self._port))
            # Another may be bound to the address too as long as neither listens.
            bound.listen(self._server.config.backlog)
        except OSError as error:
            bound.close()
            raise ConfigurationError(f"cannot listen on {self._host}:{self._port}: {error.strerror}") from error
        self._socket = bound
        self._task = asyncio.create_task(self._server.serve(sockets=[bound]))
        self._task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Finish open requests, then close."""
        self._server.should_exit = True
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        if self._socket is not None:
            self._socket.close()

    def _ended(self, serving: asyncio.Task[None]) -> None:
        # Told in the log: who asks whether the service is ready asks this very server.
        if not self._server.should_exit and not serving.cancelled():
            log.error("http.ended", host=self._host, port=self.port, exc_info=serving.exception())
