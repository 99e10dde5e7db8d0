"""The HTTP server of a service: what it says when it cannot serve."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from structlog.testing import capture_logs

from runtime import http
from runtime.http import HttpServer, operator_app
from runtime.service import Health
from schemas.errors import ConfigurationError
from tests.support.waiting import eventually


async def test_an_address_that_another_listens_on_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the other, bound to it as well, is the first to listen."""
    bind = socket.socket.bind
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", 0))

        def bound_too(late: socket.socket, address: Any) -> None:
            bind(late, address)
            other.listen()

        monkeypatch.setattr(socket.socket, "bind", bound_too)
        server = HttpServer(operator_app(Health()), "127.0.0.1", other.getsockname()[1])
        with pytest.raises(ConfigurationError, match="cannot listen on"):
            await server.start()
        await server.stop()


async def test_a_server_that_ends_by_itself_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log says so, for the service goes on. Its end with the service is nothing to tell."""

    async def broken(*_: Any) -> bool:
        raise RuntimeError("a defect")

    with capture_logs() as logs:
        for defect in (False, True):
            if defect:
                monkeypatch.setattr(http._Server, "on_tick", broken)
            server = HttpServer(operator_app(Health()), "127.0.0.1", 0)
            await server.start()
            if defect:
                await eventually(lambda: logs)
            await server.stop()
    assert [(one["event"], one["log_level"]) for one in logs] == [("http.ended", "error")]
