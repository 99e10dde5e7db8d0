"""The world of real processes: gateways, processors, router, Redis and Laravel, and guests over real transports."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from playwright.async_api import Browser

from schemas.entry import Entry
from tests.scenarios.chromium import Harness, PageWebSocket, PageWebTransport, certificate_of, site
from tests.scenarios.world import HASTY, GatewayName, Guest, Login, World
from tests.support import ws_client, wt_client
from tests.support.browser import chromium
from tests.support.client import Carrier, Party
from tests.support.ports import free_port
from tests.support.system import Service, System, environment, system
from tests.support.ws_client import WebSocketClient
from tests.support.wt_client import WebTransportClient

TransportName = Literal["webtransport", "websocket", "chromium", "chromium-websocket"]
TRANSPORTS: Final[tuple[TransportName, ...]] = ("webtransport", "websocket", "chromium", "chromium-websocket")
GATEWAYS: Final[tuple[GatewayName, ...]] = ("usual", "other", "hasty")
#: Bytes that a client takes of a stream that nobody reads.
WINDOW: Final = 65_536


@dataclass
class Surroundings:
    """Everything that runs."""

    system: System
    browser: Browser
    allowed: Harness
    stranger: Harness
    origin: str
    certificate_hash: str


@asynccontextmanager
async def surroundings() -> AsyncIterator[Surroundings]:
    """Two gateways and a hasty one with everything behind them, and a browser with a page of either origin."""
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(site())
        origin = f"http://localhost:{port}"
        # For wss; WebTransport is given the certificate's hash, and checks it all the same.
        browser = await stack.enter_async_context(chromium("--ignore-certificate-errors"))
        allowed = await Harness.open(browser, f"{origin}/")
        stranger = await Harness.open(browser, f"http://127.0.0.1:{port}/")
        running = await stack.enter_async_context(system(gateways=2, allowed_origins=origin))
        await _add_hasty(running, stack, origin)
        certificate = await certificate_of(running.gateway_urls[0])
        yield Surroundings(running, browser, allowed, stranger, origin, certificate)


async def _add_hasty(running: System, stack: AsyncExitStack, origin: str) -> None:
    port, operator = free_port(), free_port()
    settings = HASTY | {
        "ingress_port": port,
        "ingress_http_port": operator,
        "gateway_id": "hasty",
        "allowed_origins": origin,
    }
    env = environment(running.folder, running.redis.url, running.laravel.url)
    env |= {f"HEADGATE_{name.upper()}": str(value) for name, value in settings.items()}
    hasty = Service("hasty", ["ingress"], env, f"http://127.0.0.1:{operator}", running.folder)
    running.services["hasty"] = hasty
    stack.push_async_callback(hasty.stop)
    await hasty.start()
    running.gateway_urls.append(f"https://127.0.0.1:{port}/")


class RealWorld(World):
    """See the module."""

    def __init__(self, around: Surroundings, name: TransportName) -> None:
        self._around = around
        self.name = self._name = name
        self.transport = "websocket" if name.endswith("websocket") else "webtransport"
        self.longest_reason = 1024 if self.has_streams else 123

    @property
    def can_leave_unread(self) -> bool:
        return self._name != "chromium-websocket"

    @asynccontextmanager
    async def guest(
        self, gateway: GatewayName = "usual", *, stranger: bool = False, idle: bool = False
    ) -> AsyncIterator[Guest]:
        url = self._around.system.gateway_urls[GATEWAYS.index(gateway)]
        async with Party(await self.connect(url, stranger=stranger, idle=idle)) as party:
            yield party

    async def connect(self, url: str, *, stranger: bool = False, idle: bool = False) -> Carrier:
        """A session at a URL; raises what the client does."""
        harness = self._around.stranger if stranger else self._around.allowed
        origin = "https://evil.example" if stranger else self._around.origin
        match self._name:
            case "webtransport":
                return await wt_client.connect(url, origin=origin, window=WINDOW if idle else None)
            case "websocket":
                return await ws_client.connect(url, origin=origin)
            case "chromium":
                return await harness.webtransport(url, self._around.certificate_hash)
            case "chromium-websocket":
                local = url.replace("https://127.0.0.1", "wss://localhost")
                return await PageWebSocket(harness).connect("websocket", local)

    async def login(self, name: str, *, ttl: int | None = None) -> Login:
        # One user for each transport: what one is told is not the other's.
        login = await self._around.system.laravel.token(f"{name}-{self._name}", ttl=ttl)
        return Login(login.token, str(login.user_id))

    async def publish(self, channel: str, data: object) -> None:
        body = {"channel": channel, "message": data}
        answer = await self._around.system.post("/broadcast-to-channel", body)
        assert answer.status_code == 200, answer.text

    async def disconnect(self, user: str, code: int, reason: str) -> None:
        answer = await self._around.system.post("/disconnect", {"userId": user, "code": code, "reason": reason})
        assert answer.status_code == 200, answer.text

    async def entries(self) -> list[Entry]:
        return await self._around.system.entries()

    async def leave_unread(self, guest: Guest) -> None:
        await self._holding(guest)[0]()

    async def read_again(self, guest: Guest) -> None:
        await self._holding(guest)[1]()

    def _holding(self, guest: Guest) -> tuple[Callable[[], Awaitable[None]], Callable[[], Awaitable[None]]]:
        """How to stop reading, and how to go on."""
        carrier = guest.transport

        async def hold() -> None:
            if isinstance(carrier, WebTransportClient):
                # No more credit for streams; the connection's grows with what the others bring.
                cast(Any, carrier._quic)._write_stream_limits = lambda *_, **__: None
            elif isinstance(carrier, WebSocketClient):
                carrier.connection.transport.pause_reading()
            elif isinstance(carrier, PageWebTransport):
                carrier.do("hold")

        async def release() -> None:
            if isinstance(carrier, WebTransportClient):
                del cast(Any, carrier._quic)._write_stream_limits
            elif isinstance(carrier, WebSocketClient):
                carrier.connection.transport.resume_reading()
            elif isinstance(carrier, PageWebTransport):
                carrier.do("release")

        return hold, release

    async def pass_time(self, seconds: float) -> None:
        pass

    async def stop_other(self) -> None:
        gateway = self._around.system.gateways[GATEWAYS.index("other")]
        assert await gateway.stop() == 0
        await gateway.start()
