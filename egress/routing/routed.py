"""What the trail says of a routed entry: its place in the topic, and who got what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from egress.operations import Granted, Published, Reply
from egress.routing.deliveries import Delivery
from schemas.ids import digest


def routed(reply: Reply | None, delivered: Sequence[Delivery]) -> dict[str, Any]:
    """The notes of an outcome: `routed` as schemas.handled.Routed."""
    out: dict[str, Any] = {}
    if isinstance(reply, Published | Granted):
        out = {"epoch": reply.epoch, "offset": reply.offset}
        if reply.began:
            out["began"] = True
    if delivered:
        gateways: dict[str, list[str]] = {}
        contents: dict[bytes, None] = {}
        for gateway, entry in delivered:
            gateways.setdefault(entry.type.removeprefix("delivery."), []).append(gateway)
            contents[entry.data] = None
        out |= {"deliveries": gateways, "content": digest(*contents)}
    return {"routed": out}
