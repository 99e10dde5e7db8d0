"""Bad networks: relays for UDP and TCP that lose, delay, repeat, reorder, cut."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast

#: A relay forgets a client that it has had no packet of for so long, in seconds.
FORGET_S: Final = 60.0


@dataclass(slots=True)
class Weather:
    """What a relay does to what passes. Shares are of packets, 0 to 1; times in seconds."""

    cut: bool = False
    """Nothing passes."""
    loss: float = 0.0
    repeat: float = 0.0
    corrupt: float = 0.0
    delay: float = 0.0
    jitter: float = 0.0
    """Up to so much more, drawn for each packet: so packets overtake each other."""


class _Upstream(asyncio.DatagramProtocol):
    """The socket over which one client's packets go to the server."""

    def __init__(self, answer: Callable[[bytes], None]) -> None:
        self._answer = answer
        self._waiting: list[bytes] = []
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)
        for packet in self._waiting:
            self.transport.sendto(packet)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._answer(data)

    def send(self, packet: bytes) -> None:
        """Send it, once the socket is open."""
        if self.transport is None:
            self._waiting.append(packet)
        else:
            self.transport.sendto(packet)

    def error_received(self, exc: Exception) -> None:
        """The server is away: to a client this is a lost packet."""


class UdpRelay(asyncio.DatagramProtocol):
    """Packets between clients and one server, through a weather."""

    def __init__(self, server_port: int, dice: random.Random) -> None:
        self.weather = Weather()
        self._server = ("127.0.0.1", server_port)
        self._dice = dice
        self._transport: asyncio.DatagramTransport | None = None
        self._upstreams: dict[Any, _Upstream] = {}
        self._timers: dict[Any, asyncio.TimerHandle] = {}
        self._opening: set[asyncio.Task[None]] = set()

    async def start(self, port: int) -> None:
        """Listen on a port of 127.0.0.1."""
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", port))

    def stop(self) -> None:
        """Close every socket."""
        for timer in self._timers.values():
            timer.cancel()
        for upstream in self._upstreams.values():
            if upstream.transport is not None:
                upstream.transport.abort()
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def error_received(self, exc: Exception) -> None:
        """A client is away: to the server this is a lost packet."""

    def datagram_received(self, data: bytes, addr: Any) -> None:
        upstream = self._upstreams.get(addr)
        if upstream is None:
            upstream = self._upstreams[addr] = _Upstream(lambda answer: self._pass(answer, self._to_client(addr)))
            task = asyncio.create_task(self._open(upstream))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
        self._keep(addr)
        self._pass(data, upstream.send)

    async def _open(self, upstream: _Upstream) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: upstream, remote_addr=self._server)

    def _keep(self, addr: Any) -> None:
        if addr in self._timers:
            self._timers[addr].cancel()
        self._timers[addr] = asyncio.get_running_loop().call_later(FORGET_S, self._forget, addr)

    def _forget(self, addr: Any) -> None:
        self._timers.pop(addr, None)
        upstream = self._upstreams.pop(addr, None)
        if upstream is not None and upstream.transport is not None:
            upstream.transport.abort()

    def _to_client(self, addr: Any) -> Callable[[bytes], object]:
        def send(packet: bytes) -> None:
            if self._transport is not None and not self._transport.is_closing():
                self._transport.sendto(packet, addr)

        return send

    def _pass(self, data: bytes, send: Callable[[bytes], object]) -> None:
        weather, dice = self.weather, self._dice
        if weather.cut or dice.random() < weather.loss:
            return
        if weather.corrupt and dice.random() < weather.corrupt:
            at = dice.randrange(len(data))
            data = data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]
        for _ in range(2 if dice.random() < weather.repeat else 1):
            wait = weather.delay + dice.random() * weather.jitter
            if wait:
                asyncio.get_running_loop().call_later(wait, send, data)
            else:
                send(data)


class TcpRelay:
    """Connections to one server, through a weather: cuts and delays. What is lost is an answer, and its connection."""

    def __init__(self, server_port: int, dice: random.Random) -> None:
        self.weather = Weather()
        self._dice = dice
        self._server_port = server_port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._passes = asyncio.Event()
        self._passes.set()

    async def start(self, port: int) -> None:
        """Listen on a port of 127.0.0.1."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)

    def stop(self) -> None:
        """Close every socket."""
        if self._server is not None:
            self._server.close()
        self.reset()

    def reset(self) -> None:
        """Cut every connection; new ones are taken."""
        for writer in list(self._writers):
            writer.transport.abort()

    def hold(self) -> None:
        """Let nothing pass, while connections stay."""
        self._passes.clear()

    def release(self) -> None:
        """Let what was held pass, and all that follows."""
        self._passes.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if self.weather.cut:
                return
            upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self._server_port)
            self._writers.add(upstream)
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._pump(reader, upstream, is_answer=False))
                    both.create_task(self._pump(upstream_reader, writer, is_answer=True))
            finally:
                self._writers.discard(upstream)
                upstream.transport.abort()
        except OSError:
            pass
        finally:
            self._writers.discard(writer)
            with contextlib.suppress(OSError):
                writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                await self._passes.wait()
                if is_answer and self._dice.random() < self.weather.loss:
                    break
                if self.weather.delay:
                    await asyncio.sleep(self.weather.delay)
                writer.write(data)
                await writer.drain()
        # One side's end is the other's: no protocol here goes on with half a connection.
        writer.close()
