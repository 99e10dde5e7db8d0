"""The world without sockets, processes or Redis: the sessions' cores between two ends in memory, time by hand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, cast

from ingress.gateway import Gateway
from ingress.server.transport import SessionRequest
from ingress.session import Now
from runtime.settings import Settings
from runtime.telemetry import Telemetry
from schemas.entry import Entry
from schemas.events import DisconnectRequested, MessagePublished
from schemas.sealing import Sealer
from schemas.topics import channel_topic, user_topic
from tests.scenarios.memory import MemoryCarrier
from tests.scenarios.twin import Twin
from tests.scenarios.world import HASTY, GatewayName, Guest, Login, World
from tests.support.client import Party

SECRET: Final = "a secret that only scenarios know, 32 bytes"
ORIGIN: Final = "http://localhost:8080"
START_MS: Final = 1_700_000_000_000


class Clock:
    """Both clocks, moved by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> Now:
        return Now(self.seconds, self.now_ms())

    def now_ms(self) -> int:
        return START_MS + int(self.seconds * 1000)


class CoreWorld(World):
    """See the module; `clock` is the one that `ingress.open_session.now` gives."""

    name = "core"
    transport = "webtransport"
    longest_reason = 1024

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._twin = Twin(Sealer(SECRET.encode()), entry_ms)
        self._gateways = {name: self._gateway(name) for name in ("usual", "other", "hasty")}

    def _gateway(self, name: str) -> Gateway:
        own: dict[str, Any] = HASTY if name == "hasty" else {}
        settings = Settings(_env_file=None, secret=SECRET, gateway_id=name, allowed_origins=(ORIGIN,), **own)
        gateway = Gateway(settings, cast(Any, self._twin), Telemetry(None, "scenarios"))
        self._twin.hubs[name] = gateway.hub
        return gateway

    @asynccontextmanager
    async def guest(
        self, gateway: GatewayName = "usual", *, stranger: bool = False, idle: bool = False
    ) -> AsyncIterator[Guest]:
        carrier = MemoryCarrier()
        request = SessionRequest(
            transport="webtransport",
            path="/",
            authority="localhost",
            origin="https://evil.example" if stranger else ORIGIN,
            protocols=(),
            user_agent=None,
            remote_address="127.0.0.1",
        )
        assert self._gateways[gateway].admit(request).admitted
        carrier.end.handler = self._gateways[gateway].open(carrier.end)
        carrier.end.handler.connected(request)
        async with Party(carrier) as party:
            yield cast(Guest, party)

    async def login(self, name: str, *, ttl: int | None = None) -> Login:
        token = f"token-of-{name}-{len(self._twin.tokens)}"
        answer: dict[str, Any] = {"user": {"id": name, "info": {"name": name}}}
        if ttl is not None:
            answer["expires_at"] = self._clock.now_ms() / 1000 + ttl
        self._twin.tokens[token] = answer
        return Login(token, name)

    async def publish(self, channel: str, data: object) -> None:
        frame = {"type": "channel_broadcast", "channel": channel, "data": data}
        self._twin.publish(channel_topic(channel), MessagePublished(frame=frame))

    async def disconnect(self, user: str, code: int, reason: str) -> None:
        self._twin.publish(user_topic(user), DisconnectRequested(code=code, reason=reason))

    async def entries(self) -> list[Entry]:
        return self._twin.entries

    async def leave_unread(self, guest: Guest) -> None:
        cast(MemoryCarrier, guest.transport).reads = False

    async def read_again(self, guest: Guest) -> None:
        carrier = cast(MemoryCarrier, guest.transport)
        carrier.reads = True
        while carrier.end.unread:
            carrier.end.unread.popleft()[0]()

    async def stop_other(self) -> None:
        gateway = self._gateways["other"]
        for member in gateway.hub.members():
            cast(Any, member)._transport.drain()
        await gateway.drain()
        self._gateways["other"] = self._gateway("other")

    async def pass_time(self, seconds: float) -> None:
        # In small steps: a client has to have its turn between a ping and the end of patience.
        for _ in range(int(seconds * 10)):
            self._clock.seconds += 0.1
            for gateway in self._gateways.values():
                for member in gateway.hub.members():
                    cast(Any, member).tick()
            for _ in range(10):
                await asyncio.sleep(0)


def entry_ms() -> int:
    """The time that entries bear, which stands still for nobody."""
    return time.time_ns() // 1_000_000
