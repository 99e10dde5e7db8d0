"""Pusher's API as an ASGI application, without its door (egress.pusher.door). Refusals are plain text."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import redis.asyncio as aioredis
from prometheus_client import Counter
from redis.exceptions import RedisError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from egress.api.messages import PUBLISHED
from egress.api.publications import Publication
from egress.api.publisher import Publisher
from egress.api.requests import AWAY
from egress.channels import Channels, Occupancy
from egress.pusher.events import (
    BadRequest,
    Question,
    attributes_of,
    batch_of_events,
    checked_channel,
    checked_user,
    one_event,
)
from egress.pusher.signing import TOLERANCE_S, Signed
from schemas.close_codes import CloseCode
from schemas.errors import LogUnavailable
from schemas.events import DisconnectRequested
from schemas.ids import derived
from schemas.keys import Keys
from schemas.topics import ChannelKind, channel_kind, user_topic

REPEATS: Final = Counter(
    "headgate_pusher_repeats", "Requests of Pusher's API that were answered and not carried out, being repeats."
)
#: A signature is good from that long before its timestamp until that long after it.
_SIGNATURE_LIFE_S: Final = 2 * TOLERANCE_S
#: Pusher's API has no pages: more channels than this are refused.
MAX_LISTED: Final = 10_000
_PAGE: Final = 1000
_PRESENCE: Final = "presence-"


class PusherApi:
    """The routes of Pusher's API."""

    def __init__(
        self,
        client: aioredis.Redis,
        publisher: Publisher,
        channels: Channels,
        keys: Keys,
    ) -> None:
        self._client = client
        self._publisher = publisher
        self._channels = channels
        self._keys = keys

    def app(self) -> Starlette:
        """The application."""
        base = "/apps/{app_id}"
        return Starlette(
            routes=[
                Route(f"{base}/events", self.events, methods=["POST"]),
                Route(f"{base}/batch_events", self.batch_events, methods=["POST"]),
                Route(f"{base}/channels", self.list_channels),
                Route(f"{base}/channels/{{channel}}", self.show_channel),
                Route(f"{base}/channels/{{channel}}/users", self.list_users),
                Route(f"{base}/users/{{user:path}}/terminate_connections", self.terminate, methods=["POST"]),
            ],
            exception_handlers={
                HTTPException: _refused,
                BadRequest: _bad_request,
                LogUnavailable: _unavailable,
                RedisError: _unavailable,
            },
        )

    async def events(self, request: Request) -> Response:
        """One event for up to 100 channels, or for a user."""
        asked = one_event(await request.body())
        await self._once(request, lambda: self._publish(request, "events", asked.publications))
        if not asked.questions:
            return JSONResponse({})
        answers = zip(asked.questions, await self._answers(asked.questions), strict=True)
        return JSONResponse({"channels": {question.channel: answer for question, answer in answers}})

    async def batch_events(self, request: Request) -> Response:
        """Up to ten events, each for one channel."""
        asked = batch_of_events(await request.body())
        await self._once(request, lambda: self._publish(request, "batch_events", asked.publications))
        if not any(question.attributes for question in asked.questions):
            return JSONResponse({})
        return JSONResponse({"batch": await self._answers(asked.questions)})

    async def list_channels(self, request: Request) -> Response:
        """The occupied channels."""
        prefix = request.query_params.get("filter_by_prefix", "")
        attributes = attributes_of(request.query_params.get("info", ""))
        if "user_count" in attributes and not prefix.startswith(_PRESENCE):
            raise BadRequest("user_count is for presence channels: ask with filter_by_prefix=presence-")
        found: list[Occupancy] = []
        position: tuple[int, str] | None = (0, "")
        while position is not None:
            page, position = await self._channels.page(_PAGE, *position, prefix)
            found += page
            if len(found) > MAX_LISTED:
                raise BadRequest(
                    f"there are more than {MAX_LISTED} such channels: filter by a longer prefix, or use GET /channels"
                )
        return JSONResponse({"channels": {one.name: _attributes(one, attributes) for one in found}})

    async def show_channel(self, request: Request) -> Response:
        """Whether a channel is occupied, and by how many."""
        channel = checked_channel(request.path_params["channel"])
        attributes = attributes_of(request.query_params.get("info", ""))
        (count,) = await self._channels.count([channel])
        if "user_count" in attributes and count.users is None:
            raise BadRequest("user_count is for presence channels")
        return JSONResponse({"occupied": count.sessions > 0} | _attributes(count, attributes))

    async def list_users(self, request: Request) -> Response:
        """The members of a presence channel."""
        channel = checked_channel(request.path_params["channel"])
        if channel_kind(channel) is not ChannelKind.PRESENCE:
            raise BadRequest("only presence channels have users")
        return JSONResponse({"users": [{"id": user} for user in await self._channels.members(channel)]})

    async def terminate(self, request: Request) -> Response:
        """Close all sessions of a user."""
        user = checked_user(request.path_params["user"])
        order = DisconnectRequested(code=int(CloseCode.FORCED), reason="disconnected by the application")
        route = "users/{user}/terminate_connections"
        await self._once(
            request, lambda: self._publish(request, route, [Publication(user_topic(user), order, user=user)])
        )
        return JSONResponse({})

    async def _once(self, request: Request, act: Callable[[], Awaitable[None]]) -> None:
        """Carry a request out unless it was, as long as its signature is good: a repeat is answered like the first.

        It is remembered when it was carried out, so that one that failed can be sent again.
        """
        signed: Signed = request.state.signed
        key = self._keys.repeat(signed.key_id, signed.signature)
        if await self._client.exists(key):
            REPEATS.inc()
            return
        await act()
        await self._client.set(key, b"", ex=_SIGNATURE_LIFE_S)

    async def _publish(self, request: Request, route: str, publications: Sequence[Publication]) -> None:
        """Append `publications`, in one round trip to each server. Raises LogUnavailable when it took not all of them.

        The ids are derived from the signature: where part of it failed and the same request comes again, or two of
        it come at once, topics take each publication once (within HEADGATE_DEDUP_SECONDS).
        """
        signed: Signed = request.state.signed
        route = f"/apps/{{app_id}}/{route}"
        outcomes = await self._publisher.publish(
            publications,
            name=f"api {route}",
            ids=[derived(signed.key_id, f"pusher/{signed.signature}/{place}") for place in range(len(publications))],
            traceparent=request.headers.get("traceparent", ""),
            attributes={"http.route": route},
        )
        PUBLISHED.labels(route).inc(sum(isinstance(outcome, str) for outcome in outcomes))
        for outcome in outcomes:
            if not isinstance(outcome, str):
                raise outcome

    async def _answers(self, questions: Sequence[Question]) -> list[dict[str, Any]]:
        names = dict.fromkeys(question.channel for question in questions if question.attributes)
        counts = {one.name: one for one in await self._channels.count(list(names))}
        return [_attributes(counts[one.channel], one.attributes) if one.attributes else {} for one in questions]


def _attributes(one: Occupancy, asked: Sequence[str]) -> dict[str, Any]:
    """What was asked for and is known; a channel without presence has no user_count."""
    known = {"user_count": one.users, "subscription_count": one.sessions}
    return {name: known[name] for name in asked if known.get(name) is not None}


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return PlainTextResponse(error.detail, error.status_code, error.headers)


async def _bad_request(_: Request, error: Exception) -> Response:
    return PlainTextResponse(str(error), 400)


async def _unavailable(_: Request, error: Exception) -> Response:
    return PlainTextResponse(AWAY, 503, {"Retry-After": "1"})
