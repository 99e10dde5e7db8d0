"""A stand-in for the application: keeps a ledger of what it was asked, and fails when it is told to.

`python -m tests.chaos.application PORT FOLDER` serves the routes that Headgate calls. FOLDER/mode.json says how it
behaves: `{"mode": NAME, "share": S}` with S the share of requests that it concerns. FOLDER/ledger.jsonl has a line
for each request that took effect; a process that is killed leaves what it has written. Requests have to be signed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import sys
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any, Final

from runtime.settings import Settings
from schemas.errors import InvalidSignature
from schemas.signing import Verifier

#: Longer than Headgate waits for an answer.
HANG_S: Final = 4.0
#: A slow answer, still within the time that Headgate waits.
SLOW_S: Final = 0.4
_READY: Final = "/health/ready"


class Application:
    """Answers requests over plain sockets, so that a connection can be dropped at any point of an answer."""

    def __init__(self, folder: Path, verifier: Verifier) -> None:
        self._verifier = verifier
        self._ledger = (folder / "ledger.jsonl").open("ab", buffering=0)
        self._mode = folder / "mode.json"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            while await self._request(reader, writer):
                pass
        writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; False when the connection is over."""
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        path = first.split(" ")[1]
        if path == _READY:
            return await self._answer(writer, 200, {})
        mode = self._current()
        if mode == "hang":
            await asyncio.sleep(HANG_S)
            return False
        if mode in ("500", "503"):
            return await self._answer(writer, int(mode), {"message": "told to fail"})
        if mode == "slow":
            await asyncio.sleep(SLOW_S)
        try:
            self._verifier.verify("POST", path, body, lambda name: headers.get(name.lower()), now=int(time.time()))
        except InvalidSignature as error:
            return await self._answer(writer, 401, {"message": str(error)})
        answer = self._apply(path, headers, body)
        if mode == "drop":
            writer.transport.abort()
            return False
        if mode == "hang-after":
            await asyncio.sleep(HANG_S)
        return await self._answer(writer, 200, answer)

    def _current(self) -> str:
        try:
            told: dict[str, Any] = json.loads(self._mode.read_text())
        except (OSError, ValueError):
            return "fine"
        return str(told["mode"]) if random.random() < told["share"] else "fine"

    def _apply(self, path: str, headers: dict[str, str], body: bytes) -> dict[str, Any]:
        """Write it to the ledger; the answer."""
        event = headers.get("x-headgate-event-id", "")
        if path == "/api/auth/verify":
            name = headers.get("authorization", "").removeprefix("Bearer ")
            return {"user": {"id": name, "info": {}}}
        asked: dict[str, Any] = json.loads(body or b"{}")
        if path == "/api/webtransport/handle":
            data = asked["data"]
            self._write({"event": event, "session": asked["sessionId"], "from": data["s"], "op": data["n"]})
            return {"broadcast": True, "data": data}
        if path == "/api/webtransport/event":
            self._write({"event": event, "session": asked["data"]["sessionId"], "connection": asked["event"]})
        return {}

    def _write(self, row: dict[str, Any]) -> None:
        os.write(self._ledger.fileno(), json.dumps(row).encode() + b"\n")

    @staticmethod
    async def _answer(writer: asyncio.StreamWriter, status: int, answer: dict[str, Any]) -> bool:
        body = json.dumps(answer).encode()
        fields = {"Content-Type": "application/json", "Content-Length": len(body), "Date": formatdate(usegmt=True)}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        writer.write(f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + body)
        await writer.drain()
        return True


async def main(port: int, folder: Path) -> None:
    """Serve until the end."""
    application = Application(folder, Settings(_env_file=None).verifier())
    server = await asyncio.start_server(application.serve, "127.0.0.1", port, limit=1 << 20)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2])))
