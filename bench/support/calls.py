"""Signed requests to an application, as many as it answers: by Headgate's client, and by next to nothing."""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

import orjson

from bench.support.meter import Meter, Used
from processors.answer import Answer
from processors.application import EVENT_HEADER
from schemas.entry import Entry
from schemas.events import MessageReceived
from schemas.signing import Signer

#: Requests on their way at once: what keeps four workers busy.
AT_ONCE: Final = 8

Call = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Answered:
    """What was answered between two moments."""

    count: int
    used: Used

    @property
    def per_second(self) -> float:
        """Answers in a second."""
        return self.count / self.used.seconds


async def closed_loop(call: Call, seconds: float, meter: Meter) -> Answered:
    """Make calls for so long, each when one before it was answered; whatever a call raises ends the bench."""
    count, until = 0, time.perf_counter() + seconds

    async def one() -> None:
        nonlocal count
        while time.perf_counter() < until:
            await call()
            count += 1

    meter.begin()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(one())
    return Answered(count, meter.end())


def entry() -> Entry:
    """An entry of a session of its own, as a request is about one."""
    event = MessageReceived(frame={"type": "echo", "n": 1}, stream=4)
    return Entry.of(event, id=str(uuid.uuid4()), ts=1, session=str(uuid.uuid4()), user="1")


def accepted(answer: Answer) -> None:
    """Raises RuntimeError for an answer that was no yes."""
    if not answer.ok:
        raise RuntimeError(f"the application answered {answer.status}")


class Bare:
    """The floor: the same signed requests, made beforehand, each over a socket of its own, its status looked at."""

    def __init__(self, port: int, signer: Signer, path: str, payload: object, headers: Mapping[str, str]) -> None:
        self._port = port
        self._signer = signer
        self._path = path
        self._body = b"" if payload is None else orjson.dumps(payload)
        self._headers = dict(headers)
        self._made: list[bytes] = []

    def make(self, count: int) -> None:
        """Have so many requests ready."""
        self._made = [self._request() for _ in range(count)]

    async def call(self) -> None:
        """Send one; raises RuntimeError for an answer that was no yes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(self._made.pop() if self._made else self._request())
        answer = await reader.read()
        writer.close()
        if not answer.startswith(b"HTTP/1.1 2"):
            raise RuntimeError(f"the application answered {answer[:200]!r}")

    def _request(self) -> bytes:
        about = entry()
        signed = self._signer.headers(
            "POST",
            self._path,
            self._body,
            timestamp=int(time.time()),
            nonce=secrets.token_hex(16),
            session=about.session,
            user=about.user,
        )
        headers = {
            "Host": f"127.0.0.1:{self._port}",
            "Accept": "application/json",
            "Connection": "close",
            "Content-Type": "application/json",
            "Content-Length": str(len(self._body)),
            EVENT_HEADER: about.id,
            **signed,
            **self._headers,
        }
        lines = [f"POST {self._path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        return "\r\n".join(lines).encode() + self._body
