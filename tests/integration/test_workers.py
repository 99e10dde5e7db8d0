"""`headgate ingress --workers`: gateways as processes on one UDP port, and the process that keeps them running."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest
import pytest_asyncio

from runtime.tasks import cancel
from tests.support.client import Client
from tests.support.laravel import REQUEST_TIMEOUT_S
from tests.support.moving import change_port, server_ids
from tests.support.ports import free_port
from tests.support.system import ROOT, System, environment, system
from tests.support.waiting import PATIENCE, eventually
from tests.support.wt_client import Closed, WebTransportClient, connect

WORKERS: Final = 2
CLIENTS: Final = 20
MOVES: Final = 3
#: Silence after which clients take their worker for dead.
IDLE_S: Final = 4.0 * PATIENCE
#: Longer than it takes to start a worker: silence ends nothing before.
PATIENT_S: Final = 60.0
#: Between two messages of a client.
PAUSE_S: Final = 0.3


def worker_of(client: WebTransportClient) -> int:
    """The index of the worker that a client's packets name."""
    return server_ids(client)[0][0] % WORKERS


class Talker:
    """A client that sends a message now and then, whatever comes back.

    A client that only waits for an answer would be deaf after its port changed: nobody can know the new one.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self.sent = 0
        self.closed: asyncio.Task[Closed] = asyncio.create_task(client.transport.wait_closed(120))
        self._talking = asyncio.create_task(self._talk())

    async def _talk(self) -> None:
        while not self.closed.done():
            message = {"type": "message", "channel": "lobby", "data": self.sent, "id": f"m{self.sent + 1}"}
            with contextlib.suppress(RuntimeError):  # The stream has ended, the session is about to.
                await self.client.send(message)
                self.sent += 1
            await asyncio.wait({self.closed}, timeout=PAUSE_S)

    @property
    def worker(self) -> int:
        """The index of its worker."""
        return worker_of(self.client.transport)

    async def goes_on(self) -> None:
        """Wait until everything that it has sent up to now and one message more are acknowledged."""
        wanted = {f"m{number}" for number in range(1, self.sent + 2)}
        await eventually(lambda: self.closed.done() or wanted <= self._acknowledged(), 20)
        assert not self.closed.done(), self.closed.result()

    def _acknowledged(self) -> set[str]:
        return {frame["id"] for frame in self.client.received if frame["type"] == "ack"}

    async def stop(self) -> None:
        """Say nothing more."""
        await cancel(self._talking, self.closed)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[System]:
    """A gateway of two workers and everything behind it."""
    async with system(ingress_workers=str(WORKERS), max_sessions_per_user="0") as made:
        yield made


@asynccontextmanager
async def talkers(running: System, count: int = CLIENTS, idle: float = IDLE_S) -> AsyncIterator[list[Talker]]:
    """So many clients, at least one on each worker, that talk until the block ends."""
    await eventually(lambda: all_ready(running), 30)
    login = await running.laravel.token("talker")
    async with AsyncExitStack() as stack:
        made: list[Talker] = []
        while len(made) < count or len({talker.worker for talker in made}) < WORKERS:
            transport = await connect(running.gateway_urls[0], idle_timeout=idle)
            client = await stack.enter_async_context(Client(transport))
            await client.authenticate(login.token)
            made.append(Talker(client))
            stack.push_async_callback(made[-1].stop)
        yield made


def operator_url(running: System, worker: int) -> str:
    """The operator listener of a worker."""
    base, _, port = running.gateways[0].health.rpartition(":")
    return f"{base}:{int(port) + worker}"


async def all_ready(running: System) -> bool:
    """Whether each worker serves."""
    async with httpx.AsyncClient(trust_env=False, timeout=REQUEST_TIMEOUT_S) as http:
        try:
            answers = [await http.get(f"{operator_url(running, index)}/health/ready") for index in range(WORKERS)]
        except httpx.TransportError:
            return False
    return all(answer.status_code == 200 for answer in answers)


async def listener_event(running: System, worker: int, event: str) -> float:
    """What a worker's listener has counted."""
    async with httpx.AsyncClient(trust_env=False, timeout=REQUEST_TIMEOUT_S) as http:
        text = (await http.get(f"{operator_url(running, worker)}/metrics")).text
    series = f'headgate_listener_events_total{{event="{event}"}} '
    return float(next(line for line in text.splitlines() if line.startswith(series)).removeprefix(series))


def pids(parent: int) -> dict[int, int]:
    """The process of each worker by its index."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) != parent:
                continue
            environment = (folder / "environ").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        place = environment.partition(b"HEADGATE_INGRESS_PLACE=")[2]
        if place:
            found[int(place.partition(b"/")[0])] = int(folder.name)
    return found


@pytest.mark.asyncio(loop_scope="module")
async def test_messages_flow_on_while_ports_change(running: System) -> None:
    """Every session lives on through three changes of its port: nothing is lost, and no packet is led astray."""
    async with talkers(running) as clients:
        before = [await listener_event(running, index, "packets_unknown") for index in range(WORKERS)]
        for move in range(MOVES):
            for talker in clients:
                await change_port(talker.client.transport, change_id=move == MOVES - 1)
            await asyncio.gather(*(talker.goes_on() for talker in clients))
        after = [await listener_event(running, index, "packets_unknown") for index in range(WORKERS)]
        assert after == before


@pytest.mark.asyncio(loop_scope="module")
async def test_a_killed_worker_takes_only_its_own_sessions_and_comes_back(running: System) -> None:
    """The worker that takes its place tells its clients that their sessions are lost, the others' go on, and new
    clients are served."""
    async with talkers(running, 6, idle=PATIENT_S) as clients:
        parent = running.gateways[0].pid
        dead = pids(parent)[1]
        os.kill(dead, signal.SIGKILL)
        for talker in clients:
            if talker.worker == 1:
                assert (await talker.closed).abrupt
                assert talker.client.transport.was_reset
        await asyncio.gather(*(talker.goes_on() for talker in clients if talker.worker == 0))
        await eventually(lambda: pids(parent).get(1) not in (None, dead), 30)
        async with talkers(running, 1) as newcomers:
            await asyncio.gather(*(talker.goes_on() for talker in newcomers))
        lines = [json.loads(line) for line in running.gateways[0].log(1_000_000).splitlines()]
        reports = [(line["worker"], line["report"]) for line in lines if line["event"] == "worker.report"]
        assert reports == [("worker 1", "was ended by SIGKILL: starting it again in 0.5 s")]


@pytest.mark.asyncio(loop_scope="module")
async def test_sigterm_ends_every_session_in_order(running: System) -> None:
    """Each client of each worker is told 3001, and the processes end with status 0; they can be started again."""
    gateway = running.gateways[0]
    async with talkers(running, 6) as clients:
        assert await gateway.stop() == 0
        codes = [(await talker.closed).code for talker in clients]
        assert codes == [3001] * len(clients)
    await gateway.start()


@pytest.mark.asyncio(loop_scope="module")
async def test_sighup_reaches_every_worker(running: System) -> None:
    """Each worker reads its certificate again; sessions go on."""
    gateway = running.gateways[0]
    async with talkers(running, 2) as clients:
        lines = gateway.log(1_000_000).count("certificate.reloaded")
        os.kill(gateway.pid, signal.SIGHUP)
        await eventually(lambda: gateway.log(1_000_000).count("certificate.reloaded") == lines + WORKERS)
        await asyncio.gather(*(talker.goes_on() for talker in clients))


@pytest.mark.asyncio(loop_scope="module")
async def test_workers_do_not_survive_their_parent(running: System) -> None:
    """When the parent is killed, its workers end and leave the port, so that a new one can start at once."""
    gateway = running.gateways[0]
    await eventually(lambda: all_ready(running), 30)
    workers = pids(gateway.pid)
    assert set(workers) == set(range(WORKERS))
    await gateway.kill()
    await eventually(lambda: not any((Path("/proc") / str(pid)).exists() for pid in workers.values()))
    await gateway.start()


async def test_what_keeps_a_worker_from_starting_is_said_once_for_all(tmp_path: Path) -> None:
    """When workers find something that has to be put right, the whole command ends with status 2 and words."""
    env = environment(tmp_path, f"redis://127.0.0.1:{free_port()}/0", "http://127.0.0.1:1")
    env |= {"HEADGATE_INGRESS_PORT": "0", "HEADGATE_INGRESS_HTTP_PORT": "0"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "console.cli", "ingress", "--workers", "2"),
        cwd=ROOT,
        env=os.environ | env,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 2
    assert "did not start, so the others were stopped too" in said.decode()
    assert pids(process.pid) == {}
