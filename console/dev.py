"""`headgate dev`: everything on this machine, in one process tree."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from typing import Final

import httpx
from rich.console import Console
from rich.text import Text

from console.demo.feed import Feed
from console.demo.server import demo_app
from console.embedded import EmbeddedRedis
from console.plan import SERVICES, Plan
from console.standin.app import SELF_DESCRIPTION, stand_in_app
from console.supervisor import Child, Program
from console.web.app import build as build_console
from runtime.http import HttpServer
from runtime.service import Component
from runtime.settings import mask_url
from runtime.tasks import cancel
from schemas.errors import ConfigurationError

#: Seconds beyond the drain time that a stopping service may take.
_STOP_MARGIN_S: Final = 3.0
#: Seconds until it is said which service everybody waits for.
_PATIENCE_S: Final = 20.0
_POLL_S: Final = 0.1
_EXIT_CONFIGURATION: Final = 2
_READY: Final = "/health/ready"
_COLOURS: Final = {
    "redis": "red",
    "ingress": "cyan",
    "processors": "green",
    "egress": "magenta",
    "dev": "yellow",
}
_NAME_WIDTH: Final = max(map(len, _COLOURS))


class Terminal:
    """What is said to whoever started it: the children's lines and our own on standard error."""

    def __init__(self) -> None:
        self._errors = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._output = Console(highlight=False, markup=False, emoji=False)

    def say(self, name: str, text: str) -> None:
        """One line under the name of a child."""
        line = Text.assemble((f"{name:{_NAME_WIDTH}} │ ", _COLOURS.get(name, "white")), text)
        self._errors.print(line, soft_wrap=True)

    def banner(self, plan: Plan, console_link: str) -> None:
        """Where everything is, on standard output; `console_link` lets one browser in."""
        settings = plan.settings
        if plan.stand_in:
            application = "stand-in application, not Laravel (set HEADGATE_LARAVEL_URL to use yours)"
        else:
            application = mask_url(settings.laravel_url)
        rows = [
            ("Demo page", f"http://localhost:{plan.port}"),
            ("Web console", f"{console_link} (once)"),
            ("WebTransport", f"https://localhost:{settings.ingress_port}{settings.ingress_path}"),
            ("HTTP API", f"http://{_reachable(settings.api_host)}:{settings.api_port}"),
            ("Application", application),
            ("Log", f"{mask_url(settings.redis_url)} (follow it: headgate tail)"),
            ("Data", str(settings.data_dir)),
        ]
        if plan.made_secret:
            rows.append(("Secret", f"made for development only, in {plan.made_secret}"))
        lines = Text("\nHeadgate is ready.\n", "bold green")
        for name, value in rows:
            lines.append(f"  {name:13}", "dim")
            lines.append(f"{value}\n", "bold" if name in ("Demo page", "Web console") else "")
        lines.append("  Ctrl-C ends it; the data stays.\n", "dim")
        self._output.print(lines, soft_wrap=True)
        self._output.file.flush()


class Development:
    """The whole tree: what is started is ended in the reverse order, whatever happens."""

    def __init__(self, plan: Plan, terminal: Terminal) -> None:
        self._plan = plan
        self._terminal = terminal
        self._started: list[Component] = []
        self._children: dict[str, Child] = {}
        self._ready = False

    async def start(self) -> None:
        """Start everything, in the order in which messages need it, and wait until all are ready.

        Raises ConfigurationError when a service says that it cannot start like this.
        """
        plan = self._plan
        if plan.embedded_redis:
            server = EmbeddedRedis(plan.settings.data_dir / "redis", self._terminal.say)
            await self._start(server)
            self._terminal.say("dev", f"{server.server} keeps the log, on {server.url}")
            self._children["redis"] = server.child
            plan = plan.with_(redis_url=server.url)
        if plan.stand_in:
            application = HttpServer(stand_in_app(plan.settings), "127.0.0.1", 0)
            await self._start(application)
            plan = plan.with_(laravel_url=f"http://127.0.0.1:{application.port}")
            self._terminal.say("dev", SELF_DESCRIPTION)
        for service in reversed(SERVICES):
            child = self._child(plan, service)
            self._children[service] = child
            await self._start(child)
        await self._start_demo(plan)
        await self._wait_until_ready(plan)
        self._terminal.banner(plan, await self._start_console(plan))

    async def stop(self) -> None:
        """End everything: the gateway first, so that nothing new comes, the log's server last."""
        while self._started:
            await self._started.pop().stop()

    def kill(self) -> None:
        """End the children at once."""
        for child in self._children.values():
            child.signal(signal.SIGKILL)

    async def _start(self, component: Component) -> None:
        self._started.append(component)
        await component.start()

    def _child(self, plan: Plan, service: str) -> Child:
        program = Program(
            name=service,
            command=plan.command(service),
            environment=plan.environment(),
            stop_seconds=plan.settings.drain_seconds + _STOP_MARGIN_S,
        )
        return Child(
            program,
            self._terminal.say,
            # Before all were ready it is a wrong setting; later the same status means that the log is away.
            gives_up=lambda status: status == _EXIT_CONFIGURATION and not self._ready,
        )

    async def _start_demo(self, plan: Plan) -> None:
        feed = Feed(plan.settings)
        app = demo_app(plan.settings, feed, stand_in=plan.stand_in)
        await self._start(HttpServer(app, "127.0.0.1", plan.port, drain=1))
        try:
            await self._start(HttpServer(app, "::1", plan.port, drain=1))
        except (ConfigurationError, OSError):
            self._started.pop()
            self._terminal.say("dev", "no demo page on [::1]: IPv6 is off, or the port is taken there")
        await self._start(feed)  # Last, so that it sends its viewers away before the servers wait for them.

    async def _start_console(self, plan: Plan) -> str:
        """Start the web console; gives the link that signs one browser in."""
        host = f"http://{_reachable(plan.settings.console_host)}:{plan.settings.console_port}"
        first: list[str] = []

        def links(path: str) -> None:
            if first:
                self._terminal.say("dev", f"web console: {host}{path} (once)")
            first.append(host + path)

        services = tuple(url.removesuffix(_READY) for _, url in _health_urls(plan))
        components, health = build_console(plan.with_(console_services=services).settings, links=links)
        for component in components:
            await self._start(component)
        health.serving = True
        return first[0]

    async def _wait_until_ready(self, plan: Plan) -> None:
        waiting = dict(_health_urls(plan))
        loop = asyncio.get_running_loop()
        patience = loop.time() + _PATIENCE_S
        async with httpx.AsyncClient(timeout=2.0, trust_env=False) as client:
            while waiting:
                for service, url in list(waiting.items()):
                    child = self._children[service]
                    if child.gave_up.is_set():
                        raise ConfigurationError(f"{service} cannot start: {child.last_line}")
                    if child.pid is not None and await _is_ready(client, url):
                        del waiting[service]
                if waiting and loop.time() > patience:
                    patience += _PATIENCE_S
                    self._terminal.say("dev", f"still waits for {', '.join(waiting)}")
                await asyncio.sleep(_POLL_S)
        self._ready = True


async def run(plan: Plan) -> None:
    """Run it until SIGINT, SIGTERM or SIGHUP; a second signal ends it at once. Raises HeadgateError."""
    terminal = Terminal()
    tree = Development(plan, terminal)
    asked = asyncio.Event()

    def ask() -> None:
        if asked.is_set():
            tree.kill()
        asked.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, ask)
    starting = asyncio.create_task(tree.start())
    waiting = asyncio.create_task(asked.wait())
    try:
        await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            await starting
            await waiting
    finally:
        await cancel(starting, waiting)
        terminal.say("dev", "ends")
        await tree.stop()


def _health_urls(plan: Plan) -> Sequence[tuple[str, str]]:
    settings = plan.settings
    listeners = (
        ("ingress", settings.ingress_http_host, settings.ingress_http_port),
        ("processors", settings.processors_http_host, settings.processors_http_port),
        ("egress", settings.api_host, settings.api_port),
    )
    return [(name, f"http://{_reachable(host)}:{port}{_READY}") for name, host, port in listeners]


def _reachable(host: str) -> str:
    """An address at which a listener on `host` is reached from this machine, as URLs write it."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]" if ":" in host else host


async def _is_ready(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(url)).status_code == 200
    except httpx.HTTPError:
        return False
