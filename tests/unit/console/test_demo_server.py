"""The demo page's server."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Response

from console.demo.feed import Feed
from console.demo.server import demo_app
from ingress.server.certificates import certificate_hash
from runtime.http import HttpServer
from runtime.settings import Settings


@asynccontextmanager
async def page(settings: Settings, *, stand_in: bool = True) -> AsyncIterator[httpx.AsyncClient]:
    """The demo server, asked as a browser on this machine asks it."""
    app = demo_app(settings, Feed(settings), stand_in=stand_in)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost:8080") as client:
        yield client


@asynccontextmanager
async def application(answer: Response) -> AsyncIterator[str]:
    """The URL of an application that gives one answer to every login."""
    app = FastAPI()

    @app.post("/api/demo/token")
    async def token() -> Response:
        return answer

    server = HttpServer(app, "127.0.0.1", 0)
    await server.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        await server.stop()


async def test_every_answer_has_a_strict_policy() -> None:
    """The page and its data come with a policy that allows no inline script and no other site."""
    async with page(Settings()) as client:
        for path in ("/", "/app.js", "/config.json", "/nothing"):
            headers = (await client.get(path)).headers
            policy = headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'self'; connect-src 'self' https://localhost:*")
            assert "unsafe" not in policy
            assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:8080", 200),
        ("127.0.0.1:8080", 200),
        ("[::1]:8080", 200),
        ("[::1]", 200),
        ("attacker.test", 421),
        ("localhost.attacker.test:8080", 421),
        ("", 421),
    ],
)
async def test_only_this_machine_is_answered(host: str, status: int) -> None:
    """A request under a foreign name, as after DNS rebinding, gets nothing."""
    async with page(Settings()) as client:
        assert (await client.get("/config.json", headers={"Host": host})).status_code == status


async def test_the_page_learns_where_the_gateway_is(tmp_path: Path) -> None:
    """config.json gives the URL, the hash of the certificate as it is on disk now, and which application answers."""
    settings = Settings(data_dir=tmp_path, ingress_port=4444, ingress_path="/wt")
    async with page(settings) as client:
        first = (await client.get("/config.json")).json()
        assert first["url"] == "https://localhost:4444/wt"
        assert first["application"] == "stand-in"
        assert "not Laravel" in first["applicationNote"]
        certificate = tmp_path / "development.pem"
        assert base64.b64decode(first["certificateHash"]) == certificate_hash(certificate)
        certificate.unlink()
        second = (await client.get("/config.json")).json()
        assert second["certificateHash"] != first["certificateHash"]


async def test_a_configured_certificate_has_no_hash(tmp_path: Path) -> None:
    """With TLS files the browser checks the certificate as any other; a real application is named."""
    settings = Settings(
        tls_cert=tmp_path / "c.pem", tls_key=tmp_path / "k.pem", laravel_url="http://u:pw@127.0.0.1:8000"
    )
    async with page(settings, stand_in=False) as client:
        config = (await client.get("/config.json")).json()
        assert config["certificateHash"] is None
        assert config["application"] == "laravel"
        assert "127.0.0.1:8000" in config["applicationNote"]
        assert "pw" not in config["applicationNote"]


async def test_a_token_comes_from_the_application() -> None:
    """The page gets the application's token and user, and nothing else of its answer."""
    answer = Response(
        '{"token": "t", "user": {"id": 7, "name": "Ada", "email": "x"}, "more": 1}',
        media_type="application/json",
    )
    async with application(answer) as url, page(Settings(laravel_url=url)) as client:
        got = await client.post("/token", json={"name": "Ada"})
        assert got.status_code == 200
        assert got.json() == {"token": "t", "user": {"id": 7, "name": "Ada"}}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Response("secret trace", 500), "answered 500"),
        (Response("{}", 404), "answered 404"),
        (Response("{}"), "something else"),
        (Response("no json"), "something else"),
        (Response('["t"]'), "something else"),
        (Response('{"token": "t", "user": "Ada"}'), "something else"),
    ],
)
async def test_an_application_without_tokens_is_named(answer: Response, words: str) -> None:
    """An application that gives no token is a 502 that says what it answered, never its body."""
    async with application(answer) as url, page(Settings(laravel_url=url)) as client:
        got = await client.post("/token", json={"name": "Ada"})
        assert got.status_code == 502
        assert words in got.json()["error"]
        assert "secret" not in got.text


async def test_an_application_that_is_away_is_named(unused_tcp_port: int) -> None:
    """An application that does not answer is a 502 that says where it was looked for."""
    url = f"http://127.0.0.1:{unused_tcp_port}"
    async with page(Settings(laravel_url=url)) as client:
        got = await client.post("/token", json={"name": "Ada"})
        assert got.status_code == 502
        assert f"127.0.0.1:{unused_tcp_port} does not answer" in got.json()["error"]


@pytest.mark.parametrize("body", [{}, {"name": " "}, {"name": "x" * 65}, {"name": 7}, []])
async def test_a_name_is_needed(body: Any) -> None:
    """A login without a fitting name is refused before the application is asked."""
    async with page(Settings()) as client:
        assert (await client.post("/token", json=body)).status_code == 422
