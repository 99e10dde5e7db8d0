"""Ports of this machine that servers of tests listen on."""

from __future__ import annotations

import os
import random
import socket
from typing import Final

_SHARE: Final = 12_000 // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_FIRST: Final = 20_000 + _SHARE * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
#: Below what Linux gives to outgoing connections, so that none of those takes a port between its choice and its use;
#: each of the processes that run tests (gw0, gw1, …) has its own. The one behind each is for a gateway's second worker.
PORTS: Final = range(_FIRST, _FIRST + _SHARE, 2)
_given: set[int] = set()


def free_port() -> int:
    """A port that nobody listens on now, TCP or UDP, and that this process was not given before."""
    while True:
        port = random.choice(PORTS)
        if port in _given:
            continue
        with (
            socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as tcp,
            socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as udp,
        ):
            try:
                for one in (tcp, udp):
                    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                    one.bind(("::", port))
            except OSError:
                continue
        _given.add(port)
        return port
