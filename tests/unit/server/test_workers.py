"""How processes share a UDP port."""

from __future__ import annotations

import select
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from console import workers
from ingress.server.workers import Place, bind, bind_all, steer
from ingress.webtransport.private import RetryTokens
from runtime.settings import Settings
from schemas.errors import ConfigurationError

ADDRESS = ("192.0.2.1", 1234)
COUNT = 3


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    """A group of sockets on one loopback port, steered."""
    with ExitStack() as stack:
        made = [stack.enter_context(sock) for sock in bind_all("127.0.0.1", 0, COUNT)]
        steer(made)
        yield made


def taken_by(sockets: list[socket.socket], packet: bytes, source: socket.socket) -> int:
    """The index of the socket that receives `packet`."""
    source.sendto(packet, sockets[0].getsockname())
    select.select(sockets, [], [], 20)
    received = []
    for index, sock in enumerate(sockets):
        try:
            received.append((index, sock.recv(2048)))
        except BlockingIOError:
            continue
    ((index, data),) = received
    assert data == packet
    return index


@pytest.mark.parametrize(("index", "count"), [(0, 1), (0, 2), (1, 2), (2, 3), (63, 64)])
def test_an_id_names_its_worker(index: int, count: int) -> None:
    """The first byte of every id has the worker's remainder, all such bytes occur, and no id comes twice."""
    place = Place(index, count)
    ids = [place.new_id() for _ in range(4000)]
    assert {first[0] for first in ids} == set(range(index, 256, count))
    assert len(set(ids)) == len(ids)
    assert {len(each) for each in ids} == {8}


def test_the_kernel_hands_each_packet_to_the_worker_it_names(sockets: list[socket.socket]) -> None:
    """Short and long headers reach the worker of their destination id, whatever port they come from."""
    for first in range(256):
        with bind("127.0.0.1", 0) as source:
            short = bytes([0x40, first]) + b"\x07" * 30
            assert taken_by(sockets, short, source) == first % COUNT
            long = bytes([0xC0, 0, 0, 0, 1, 8, first]) + b"\x07" * 30
            assert taken_by(sockets, long, source) == first % COUNT


@pytest.mark.parametrize("packet", [b"", b"\x40", b"\xc0\0\0\0\1\x08"])
def test_packets_without_an_id_do_no_harm(sockets: list[socket.socket], packet: bytes) -> None:
    """What is too short to name anybody goes to the first worker, which drops it."""
    with bind("127.0.0.1", 0) as source:
        assert taken_by(sockets, packet, source) == 0


def test_a_port_that_others_share_is_not_joined(sockets: list[socket.socket]) -> None:
    """Workers of another installation on the port keep it to themselves."""
    with pytest.raises(OSError, match="in use"):
        bind_all("127.0.0.1", sockets[0].getsockname()[1], 2)


def test_a_place_is_inherited_once(sockets: list[socket.socket]) -> None:
    """A worker finds its place in its environment, which no longer holds it then; others find none."""
    place = Place(1, COUNT, sockets[1].fileno())
    environment = {"OTHER": "1", **place.environment()}
    assert Place.inherited(environment) == place
    assert environment == {"OTHER": "1"}
    assert Place.inherited(environment) is None
    assert place.retry_key.hex() not in repr(place)


def test_a_retry_token_is_good_for_every_worker() -> None:
    """Who has the key takes a token that another gave; who has not does not."""
    mine = Place(0, 2)
    theirs = Place(1, 2, retry_key=mine.retry_key)
    retry_id = theirs.new_id()
    token = RetryTokens(mine.retry_key).create_token(
        address=ADDRESS, original_destination_connection_id=b"original", retry_source_connection_id=retry_id, now=1.0
    )
    for key, works in ((theirs.retry_key, True), (Place(1, 2).retry_key, False)):
        try:
            original = RetryTokens(key).validate_token(address=ADDRESS, destination_cid=retry_id, token=token, now=2.0)
        except ValueError:
            original = b""
        assert (original == b"original") is works


async def test_where_the_kernel_cannot_steer_workers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """On another system than Linux more than one worker is refused in words, before anything is bound."""
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ConfigurationError, match="HEADGATE_INGRESS_WORKERS to 1"):
        await workers.Workers(Settings(ingress_workers=2)).run()


def test_each_worker_has_an_operator_port_of_its_own() -> None:
    """The port counts up from the configured one; 0 stays any; one beyond the last port is refused."""
    place = Place(2, 3, 5)
    given = workers.worker_environment(Settings(ingress_http_port=9101), place, 4433)
    assert given["HEADGATE_INGRESS_HTTP_PORT"] == "9103"
    assert given["HEADGATE_INGRESS_PORT"] == "4433"
    assert "HEADGATE_INGRESS_HTTP_PORT" not in workers.worker_environment(Settings(ingress_http_port=0), place, 4433)
    with pytest.raises(ConfigurationError, match="HEADGATE_INGRESS_HTTP_PORT"):
        workers.worker_environment(Settings(ingress_http_port=65_534), place, 4433)
