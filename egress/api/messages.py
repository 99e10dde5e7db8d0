"""The routes that publish: one at a time, and in batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fastapi import APIRouter
from prometheus_client import Counter

from egress.api.calls import Call, CallOf, JsonRoute
from egress.api.documentation import NOT_FOUND, SIGNED
from egress.api.publications import publication_of
from egress.api.publisher import Outcome, Publisher, SessionUnknown
from egress.api.requests import (
    AWAY,
    Accepted,
    Batch,
    Broadcast,
    Disconnect,
    NotAccepted,
    Results,
    SendToSession,
    SendToUser,
)
from schemas.errors import LogUnavailable

PUBLISHED: Final = Counter("headgate_api_published", "Entries the API appended to the outbound log.", ["route"])

_Body = SendToSession | SendToUser | Broadcast | Disconnect


def message_routes(publisher: Publisher) -> APIRouter:
    """The four routes that publish. Each raises SessionUnknown, LogUnavailable and RedisError."""
    router = APIRouter(tags=["messages"], route_class=JsonRoute, responses=SIGNED)

    @router.post("/send-to-session", summary="Send to a session", responses=NOT_FOUND)
    async def send_to_session(body: SendToSession, call: CallOf) -> Accepted:
        """Send a message to one session, as it is; one that is no object as `{"type": "message", "data": …}`."""
        return await _one(publisher, call, body)

    @router.post("/send-to-user", summary="Send to a user")
    async def send_to_user(body: SendToUser, call: CallOf) -> Accepted:
        """Send a message to every session of a user. That there is none is no error."""
        return await _one(publisher, call, body)

    @router.post("/broadcast-to-channel", summary="Broadcast to a channel")
    async def broadcast_to_channel(body: Broadcast, call: CallOf) -> Accepted:
        """Send a message to every session in a channel, as the `data` of a `channel_broadcast`."""
        return await _one(publisher, call, body)

    @router.post("/disconnect", summary="Disconnect", responses=NOT_FOUND)
    async def disconnect(body: Disconnect, call: CallOf) -> Accepted:
        """Close one session, or all sessions of a user."""
        return await _one(publisher, call, body)

    return router


def batch_routes(publisher: Publisher) -> APIRouter:
    """Their batch forms. Each raises LogUnavailable when it took nothing for that reason, and RedisError."""
    router = APIRouter(tags=["batches"], route_class=JsonRoute, responses=SIGNED)

    @router.post("/send-to-session/batch", summary="Send to sessions")
    async def send_to_sessions(body: Batch[SendToSession], call: CallOf) -> Results:
        """`POST /send-to-session` for each item; items for sessions that are not live are refused with 404."""
        return await _each(publisher, call, body.batch)

    @router.post("/send-to-user/batch", summary="Send to users")
    async def send_to_users(body: Batch[SendToUser], call: CallOf) -> Results:
        """`POST /send-to-user` for each item."""
        return await _each(publisher, call, body.batch)

    @router.post("/broadcast-to-channel/batch", summary="Broadcast to channels")
    async def broadcast_to_channels(body: Batch[Broadcast], call: CallOf) -> Results:
        """`POST /broadcast-to-channel` for each item."""
        return await _each(publisher, call, body.batch)

    @router.post("/disconnect/batch", summary="Disconnect many")
    async def disconnect_many(body: Batch[Disconnect], call: CallOf) -> Results:
        """`POST /disconnect` for each item; items for sessions that are not live are refused with 404."""
        return await _each(publisher, call, body.batch)

    return router


async def _one(publisher: Publisher, call: Call, body: _Body) -> Accepted:
    (outcome,) = await _published(publisher, call, [body], call.ids())
    if not isinstance(outcome, str):
        raise outcome
    return Accepted(id=outcome)


async def _each(publisher: Publisher, call: Call, bodies: Sequence[_Body]) -> Results:
    outcomes = await _published(publisher, call, bodies, call.batch_ids(len(bodies)))
    away = [outcome for outcome in outcomes if isinstance(outcome, LogUnavailable)]
    if len(away) == len(outcomes):
        raise away[0]
    return Results(results=[_result(outcome) for outcome in outcomes])


async def _published(
    publisher: Publisher, call: Call, bodies: Sequence[_Body], ids: Sequence[str] | None
) -> list[Outcome]:
    outcomes = await publisher.publish(
        [publication_of(body) for body in bodies],
        name=f"api {call.route}",
        ids=ids,
        traceparent=call.traceparent,
        attributes={"http.route": call.route},
    )
    PUBLISHED.labels(call.route).inc(sum(isinstance(outcome, str) for outcome in outcomes))
    return outcomes


def _result(outcome: Outcome) -> Accepted | NotAccepted:
    match outcome:
        case str():
            return Accepted(id=outcome)
        case SessionUnknown():
            return NotAccepted(status=404, error=str(outcome))
        case LogUnavailable():
            return NotAccepted(status=503, error=AWAY)
