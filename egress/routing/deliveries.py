"""From a topic's answer to the entries that gateways read.

Ids are derived from the cause and a position that names the kind and the gateway: a redelivered cause gives
the same entries again, and a gateway can tell them as repeats.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final, Literal

from egress.operations import Ended, Full, Granted, Interest, Published, Reply
from egress.routing.plan import Plan
from schemas.close_codes import CloseCode
from schemas.entry import JSON, MSGPACK, Entry, decode_data
from schemas.events import (
    AuthenticatedDelivery,
    AuthFailed,
    AuthFailedDelivery,
    DatagramDelivery,
    DatagramPublished,
    DisconnectDelivery,
    DisconnectRequested,
    Event,
    MessagePublished,
    PresenceDelivery,
    PublicationDelivery,
    SessionAuthenticated,
    SessionRestored,
    SessionRestoredDelivery,
    SubscribedDelivery,
    SubscriptionEnded,
    SubscriptionGranted,
    SupersededDelivery,
    UnsubscribedDelivery,
)
from schemas.ids import derived
from schemas.topics import session_topic

Delivery = tuple[str, Entry]
"""A gateway, and what goes on its delivery stream."""

#: First bytes of a msgpack map (https://github.com/msgpack/msgpack/blob/master/spec.md#map-format-family).
_MSGPACK_MAPS: Final = frozenset({*range(0x80, 0x90), 0xDE, 0xDF})


def deliveries(plan: Plan, reply: Reply | None) -> list[Delivery]:
    """What follows from `plan` now that its topic answered `reply` (None when it was not asked), in order."""
    entry = plan.entry
    match plan.event, reply:
        case MessagePublished() as event, Published():
            published = PublicationDelivery.model_construct(
                epoch=reply.epoch,
                offset=reply.offset,
                frame=event.frame,
                stream=event.stream,
                generation=event.generation,
                exclude=event.exclude,
            )
            return _fan_out(entry, "publication", published, reply.gateways)
        case SubscriptionGranted() as event, Granted():
            return _granted(entry, event, reply)
        case SubscriptionGranted(), Full(limit=limit):
            return [_over_the_limit(entry, limit)]
        case SubscriptionEnded() as event, Ended():
            return _ended(entry, event, reply)
        case SessionAuthenticated() as event, Granted():
            return _authenticated(entry, event, reply)
        case SessionRestored() as event, None:
            restored = SessionRestoredDelivery.model_construct(**event.__dict__)
            return _fan_out(entry, "restored", restored, (entry.gateway,))
        case AuthFailed() as event, None:
            refused = AuthFailedDelivery.model_construct(**event.__dict__)
            return _fan_out(entry, "auth_failed", refused, (entry.gateway,))
        case DisconnectRequested() as event, Interest():
            order = DisconnectDelivery.model_construct(**event.__dict__)
            return _fan_out(entry, "disconnect", order, reply.gateways)
        case DatagramPublished() as event, Interest():
            datagram = DatagramDelivery.model_construct(**event.__dict__)
            return _fan_out(entry, "datagram", datagram, reply.gateways)
    return []  # Ends and suspensions, and grants that were over before they came: nobody is to be told.


def _authenticated(entry: Entry, event: SessionAuthenticated, reply: Granted) -> list[Delivery]:
    """The session's gateway is told, and the one that it was on before, if it was on another."""
    accepted = AuthenticatedDelivery.model_construct(
        **event.__dict__,
        epoch=reply.epoch,
        offset=reply.offset,
        recovered=reply.recovered,
        publications=_publications(reply.missed, entry.session),
    )
    superseded = SupersededDelivery.model_construct(generation=event.generation)
    return [
        *_fan_out(entry, "authenticated", accepted, (entry.gateway,)),
        *_fan_out(entry, "superseded", superseded, (reply.former,) if reply.former else ()),
    ]


def _granted(entry: Entry, event: SubscriptionGranted, reply: Granted) -> list[Delivery]:
    """The others hear of a new member before the member hears of them."""
    out: list[Delivery] = []
    if reply.joined:
        member = event.member or {"id": entry.user or entry.session}
        out += _fan_out(entry, "joined", _presence("joined", member, entry.session), reply.gateways)
    subscribed = SubscribedDelivery.model_construct(
        stream=event.stream,
        frame_id=event.frame_id,
        generation=event.generation,
        epoch=reply.epoch,
        offset=reply.offset,
        recovered=reply.recovered,
        publications=_publications(reply.missed, entry.session),
        members=None if reply.members is None else [stored(raw) for raw in reply.members],
        expires_at=event.expires_at,
    )
    return out + _fan_out(entry, "subscribed", subscribed, (entry.gateway,))


def _over_the_limit(entry: Entry, limit: int) -> Delivery:
    """The session is to be closed: its own topic, since the user's other sessions stay."""
    sessions = "1 session" if limit == 1 else f"{limit} sessions"
    reason = f"connection limit: this user has {sessions} open already, so close one before connecting again"
    order = DisconnectDelivery.model_construct(code=int(CloseCode.CONNECTION_LIMIT), reason=reason)
    return entry.gateway, entry.follow(f"limit/{entry.gateway}", order, topic=session_topic(entry.session))


def _ended(entry: Entry, event: SubscriptionEnded, reply: Ended) -> list[Delivery]:
    """The session is told even when there was no subscription: its client waits for an answer."""
    ended = UnsubscribedDelivery.model_construct(**event.__dict__)
    gateways = {reply.gateway or entry.gateway} - {""}
    if event.reason == "expired":
        # If it did before the session was resumed elsewhere, the grant is still that of the former gateway.
        gateways |= {entry.gateway}
    out = _fan_out(entry, "unsubscribed", ended, sorted(gateways))
    if reply.left is not None:
        left = _presence("left", stored(reply.left), entry.session)
        out += _fan_out(entry, "left", left, reply.gateways)
    return out


def _presence(change: Literal["joined", "left"], member: dict[str, Any], session: str) -> PresenceDelivery:
    return PresenceDelivery.model_construct(change=change, member=member, exclude=session)


def _fan_out(entry: Entry, kind: str, event: Event, gateways: Iterable[str]) -> list[Delivery]:
    """`event` for each gateway, encoded once."""
    out: list[Delivery] = []
    for gateway in gateways:
        position = f"{kind}/{gateway}"
        if out:
            one = replace(out[0][1], id=derived(entry.id, position), gateway=gateway)
        else:
            one = entry.follow(position, event, topic=entry.topic, gateway=gateway)
        out.append((gateway, one))
    return out


def _publications(missed: Iterable[tuple[int, bytes]], session: str) -> list[dict[str, Any]]:
    """`{offset, frame}` of what a session missed, without what it sent itself."""
    return [
        {"offset": offset, "frame": one["frame"]}
        for offset, one in ((offset, stored(raw)) for offset, raw in missed)
        if one["exclude"] != session
    ]


def stored(raw: bytes) -> Any:
    """What was stored with schemas.entry.encode_data; the first byte tells JSON from msgpack."""
    return decode_data(MSGPACK if raw[0] in _MSGPACK_MAPS else JSON, raw)
