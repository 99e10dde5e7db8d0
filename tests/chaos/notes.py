"""What the application tells users by itself: notes over the HTTP API, each repeated until it is taken."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
import uuid
from collections.abc import Sequence
from typing import Final

import httpx

from schemas.signing import Signer
from tests.chaos.history import History
from tests.chaos.world import SECRET

_PATH: Final = "/send-to-user"
#: Between two notes, and between two attempts at one, in seconds.
_PAUSE_S: Final = 0.5


class Notes:
    """Sends notes to users in turn, one after the other, over either egress process."""

    def __init__(self, apis: Sequence[str], users: Sequence[str], history: History, dice: random.Random) -> None:
        """`apis` are base URLs."""
        self._apis = apis
        self._signer = Signer("default", SECRET.encode())
        self._users = users
        self._history = history
        self._dice = dice

    async def send(self) -> None:
        """Send for ever; one that is being sent when this is cancelled may have been taken."""
        async with httpx.AsyncClient(trust_env=False, timeout=2) as http:
            for n in itertools.count(1):
                user = self._users[n % len(self._users)]
                self._history.record("tell", n=n, user=user)
                entry = None
                while entry is None:
                    entry = await self._attempt(http, n, user)
                    await asyncio.sleep(_PAUSE_S)
                self._history.record("told", n=n, user=user, event=entry)

    async def _attempt(self, http: httpx.AsyncClient, n: int, user: str) -> str | None:
        """The id of the note's entry; None when it is unknown whether there is one."""
        body = json.dumps({"userId": user, "message": {"type": "note", "n": n}}).encode()
        headers = self._signer.headers("POST", _PATH, body, timestamp=int(time.time()), nonce=uuid.uuid4().hex)
        headers |= {"Idempotency-Key": f"note-{n}", "Content-Type": "application/json"}
        try:
            answer = await http.post(self._dice.choice(self._apis) + _PATH, content=body, headers=headers)
        except httpx.HTTPError:
            return None
        return str(answer.json()["id"]) if answer.status_code == 200 else None
