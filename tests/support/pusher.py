"""Requests signed as the libraries of Pusher sign them, independently of Headgate."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from typing import Any
from urllib.parse import urlencode

import httpx


def signed(
    method: str, path: str, body: bytes, *, key: str, secret: str, at: int | None = None, **parameters: str
) -> str:
    """The target of a signed request; `at` (s) is now by default, `parameters` are more of the query."""
    query = {
        "auth_key": key,
        "auth_timestamp": str(int(time.time()) if at is None else at),
        "auth_version": "1.0",
        **parameters,
    }
    if body:
        query["body_md5"] = hashlib.md5(body).hexdigest()
    text = "\n".join((method, path, "&".join(f"{name}={query[name]}" for name in sorted(query))))
    signature = hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()
    return f"{path}?{urlencode(query | {'auth_signature': signature})}"


class Pusher:
    """An application that believes it talks to Pusher."""

    def __init__(self, http: httpx.AsyncClient, secret: str, *, key: str = "default", app: str = "headgate") -> None:
        self._http, self._secret, self._key, self._app = http, secret, key, app

    def sign(self, method: str, path: str, body: bytes = b"", at: int | None = None, **parameters: str) -> str:
        """The target of a request for `path` of the application."""
        path = f"/apps/{self._app}/{path}"
        return signed(method, path, body, key=self._key, secret=self._secret, at=at, **parameters)

    async def post(self, path: str, body: Any, *, at: int | None = None) -> httpx.Response:
        """A signed POST of JSON."""
        content = json.dumps(body).encode()
        target = self.sign("POST", path, content, at)
        return await self._http.post(target, content=content, headers={"Content-Type": "application/json"})

    async def get(self, path: str, **parameters: str) -> httpx.Response:
        """A signed GET."""
        return await self._http.get(self.sign("GET", path, b"", None, **parameters))

    async def trigger(self, channels: list[str] | str, name: str, data: Any, **more: Any) -> httpx.Response:
        """As `trigger` of the libraries does."""
        target = {"channels": channels} if isinstance(channels, list) else {"channel": channels}
        return await self.post("events", {"name": name, "data": json.dumps(data), **target, **more})
