"""The processors that decide about entries one by one, each with what it needs: as a service, and in a replay."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import redis.asyncio as aioredis

from processors.answer import Asks
from processors.auth.client import AuthClient
from processors.auth.handler import AuthHandler
from processors.channels.client import ChannelsClient
from processors.channels.handler import ChannelsHandler
from processors.handling import entries
from processors.laravel.client import LaravelClient
from processors.laravel.handler import LaravelHandler, at_most_once
from processors.laravel.store import Begun
from runtime.bus.lanes import Handler
from runtime.bus.outcomes import Outcome, Received
from runtime.memberships import Memberships
from runtime.sessions import SessionRecord
from runtime.settings import Settings
from schemas.channel_auth import ChannelVerifier
from schemas.groups import FORWARDER
from schemas.sealing import Unseals

#: Their names, which are those of their groups.
DECIDING: Final = ("auth", "channels", "laravel")


@dataclass(frozen=True, slots=True)
class Processor:
    """One processor, put together."""

    handler: Handler
    types: frozenset[str]
    """What it handles."""


def processor(
    name: str,
    settings: Settings,
    client: aioredis.Redis,
    asks: Asks,
    sealer: Unseals,
    verifier: ChannelVerifier,
) -> Processor:
    """The one of DECIDING that is called `name`; what it remembers is in the log's server, under the prefix."""
    decide: Callable[[Received], Awaitable[Outcome]]
    match name:
        case "auth":
            sessions = SessionRecord(
                client, settings.keys, settings.resume_seconds, channel_events=settings.channel_events
            )
            auth = AuthHandler(AuthClient(asks, settings.laravel_verify_path), sessions, sealer)
            decide, types = auth.handle, auth.TYPES
        case "channels":
            memberships = Memberships(client, settings.keys, events=settings.channel_events)
            channels = ChannelsHandler(ChannelsClient(asks, settings.laravel_authorize_path), memberships, verifier)
            decide, types = channels.handle, channels.TYPES
        case _:
            routes = {"handle_path": settings.laravel_handle_path, "event_path": settings.laravel_event_path}
            laravel = LaravelHandler(LaravelClient(asks, **routes))
            decide, types = laravel.handle, laravel.TYPES
    handler = entries(decide, asks)
    if name == FORWARDER and not settings.laravel_idempotent:
        handler = at_most_once(handler, Begun(client, settings.keys))
    return Processor(handler, types)
