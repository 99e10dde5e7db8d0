"""Clients whose address changes while they are connected, as a NAT or another network brings about."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.support.wt_client import WebTransportClient


class _Carrier(asyncio.DatagramProtocol):
    def __init__(self, client: WebTransportClient) -> None:
        self._link = client._link

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._link.datagram_received(data, addr)


async def change_port(client: WebTransportClient, *, change_id: bool = False, host: str | None = None) -> None:
    """Go on from another UDP port, and from another address if one is given; what is under way to the old one is lost.

    With `change_id` under another of the ids that the server gave, as a client does that moves knowingly.
    """
    link = client._link
    old = link._transport
    assert old is not None
    host = host or old.get_extra_info("sockname")[0]
    loop = asyncio.get_running_loop()
    new, _ = await loop.create_datagram_endpoint(lambda: _Carrier(client), local_addr=(host, 0))
    if change_id:
        client._quic.change_connection_id()
    link._transport = new
    old.abort()


def server_ids(client: WebTransportClient) -> list[bytes]:
    """The connection ids that lead to the server: the one in use, then those it gave for later."""
    return [client._quic._peer_cid.cid, *(known.cid for known in client._quic._peer_cid_available)]


def asked_to_retry(client: WebTransportClient) -> bool:
    """Whether the server asked for a proof of the address first."""
    return client._quic._retry_count == 1
