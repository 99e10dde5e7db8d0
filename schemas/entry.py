"""The entry: the one record that every stream carries.

An entry is flat fields that redis-cli and PHP can read. `data` is the event's payload, JSON unless `ct` says msgpack
(a frame that held raw bytes has no JSON form).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import msgpack
import orjson
from pydantic import BaseModel, ValidationError

from schemas.errors import InvalidEntry
from schemas.events import EVENTS, Event
from schemas.ids import derived
from schemas.upcasts import upcast

JSON: Final = "application/json"
MSGPACK: Final = "application/msgpack"
_NAMES: Final = (b"id", b"type", b"v", b"session", b"user", b"gateway", b"ts", b"ct", b"data", b"traceparent", b"cause")
_NAMES_WITH_TOPIC: Final = (*_NAMES[:3], b"topic", *_NAMES[3:])


def _plain(value: Any) -> Any:
    """A nested model as the map it stands for; anything else has no form in this encoding."""
    if isinstance(value, BaseModel):
        return value.__dict__
    raise TypeError(type(value).__name__)


def encode_data(payload: Any) -> tuple[str, bytes]:
    """(content type, bytes) of a payload: JSON where that can carry it, else msgpack."""
    try:
        return JSON, orjson.dumps(payload, default=_plain)
    except TypeError:
        return MSGPACK, msgpack.packb(payload, default=_plain, use_bin_type=True)


def decode_data(ct: str, data: bytes) -> Any:
    """The payload of `data`; raises InvalidEntry."""
    try:
        if ct == JSON:
            return orjson.loads(data)
        if ct == MSGPACK:
            return msgpack.unpackb(data, raw=False, strict_map_key=True)
    except ValueError as error:
        raise InvalidEntry(f"data is not {ct}") from error
    raise InvalidEntry(f"unknown content type {ct[:80]!r}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One record of a stream. Times are Unix milliseconds; absent values are empty strings."""

    id: str
    """UUIDv7, or derived from the cause (schemas.ids)."""
    type: str
    """The event type, such as `message.received`."""
    v: int
    """The schema version of the event's payload."""
    ts: int
    """When it happened, in ms, on the clock of the process that wrote it (a derived entry has its cause's)."""
    data: bytes
    topic: str = ""
    session: str = ""
    user: str = ""
    gateway: str = ""
    ct: str = JSON
    traceparent: str = ""
    cause: str = ""
    """The id of the entry that led to this one."""

    @classmethod
    def of(cls, event: Event, *, id: str, ts: int, **context: str) -> Entry:
        """The entry of a new `event`; `context` is topic, session, user, gateway, traceparent, cause."""
        ct, data = encode_data(event)
        return cls(id=id, type=event.TYPE, v=event.VERSION, ts=ts, data=data, ct=ct, **context)

    def follow(self, position: int | str, event: Event, **context: str) -> Entry:
        """The entry of an `event` that this entry leads to, with a derived id and this entry's context and time."""
        base = {
            "session": self.session,
            "user": self.user,
            "gateway": self.gateway,
            "traceparent": self.traceparent,
        }
        return Entry.of(event, id=derived(self.id, position), ts=self.ts, cause=self.id, **(base | context))

    def traced(self, traceparent: str) -> Entry:
        """This entry with another traceparent."""
        return replace(self, traceparent=traceparent)

    def event(self) -> Event:
        """The typed event, upcast to the current version; raises InvalidEntry."""
        model = EVENTS.get(self.type)
        if model is None:
            raise InvalidEntry(f"unknown event type {self.type[:80]!r}: written by a newer Headgate?")
        if self.v > model.VERSION:
            raise InvalidEntry(f"{self.type} version {self.v} is newer than {model.VERSION}: upgrade this service")
        try:
            if self.v == model.VERSION and self.ct == JSON:
                return model.model_validate_json(self.data)
            payload = upcast(self.type, self.v, model.VERSION, decode_data(self.ct, self.data))
            return model.model_validate(payload)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            raise InvalidEntry(f"{self.type}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error

    def payload(self) -> Any:
        """The payload as plain values, whatever its version; raises InvalidEntry."""
        return decode_data(self.ct, self.data)

    def names(self) -> tuple[bytes, ...]:
        """The names of its fields, in their order: one of two constants."""
        return _NAMES_WITH_TOPIC if self.topic else _NAMES

    def values(self) -> tuple[bytes, ...]:
        """The values of its fields, as `names` names them."""
        head = (self.id.encode(), self.type.encode(), b"%d" % self.v)
        rest = (
            self.session.encode(), self.user.encode(), self.gateway.encode(), b"%d" % self.ts, self.ct.encode(),
            self.data, self.traceparent.encode(), self.cause.encode(),
        )  # fmt: skip
        return (*head, self.topic.encode(), *rest) if self.topic else head + rest

    def fields(self) -> list[bytes]:
        """The flat XADD field list: name, value, name, value, …"""
        return [part for pair in zip(self.names(), self.values(), strict=True) for part in pair]

    @classmethod
    def from_fields(cls, fields: Mapping[bytes, bytes]) -> Entry:
        """The entry that `fields` hold; raises InvalidEntry. Unknown fields are ignored."""
        try:
            return cls(
                id=fields[b"id"].decode(),
                type=fields[b"type"].decode(),
                v=int(fields[b"v"]),
                ts=int(fields[b"ts"]),
                data=fields[b"data"],
                topic=fields.get(b"topic", b"").decode(),
                session=fields.get(b"session", b"").decode(),
                user=fields.get(b"user", b"").decode(),
                gateway=fields.get(b"gateway", b"").decode(),
                ct=fields.get(b"ct", b"").decode() or JSON,
                traceparent=fields.get(b"traceparent", b"").decode(),
                cause=fields.get(b"cause", b"").decode(),
            )
        except KeyError as error:
            raise InvalidEntry(f"field {error.args[0].decode()} is missing") from None
        except ValueError as error:
            raise InvalidEntry("a field is not UTF-8, or v or ts is not a number") from error

    def readable(self) -> dict[str, Any]:
        """The entry as plain values with `data` decoded where possible: for people, JSON lines and the demo page."""
        out: dict[str, Any] = {"id": self.id, "type": self.type, "v": self.v}
        if self.topic:
            out["topic"] = self.topic
        out |= {
            "session": self.session,
            "user": self.user,
            "gateway": self.gateway,
            "ts": self.ts,
            "ct": self.ct,
        }
        try:
            out["data"] = self.payload()
        except InvalidEntry:
            out["data"] = self.data.decode("utf-8", "replace")
        return out | {"traceparent": self.traceparent, "cause": self.cause}
