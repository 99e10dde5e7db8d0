"""A signed request, before what is in its body: who makes it, under which names, and how its body is read."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from fastapi import Depends, Header, Request, Response
from fastapi.routing import APIRoute

from egress.api.requests import MAX_NAME
from schemas.ids import derived


@dataclass(frozen=True, slots=True)
class Call:
    """What the headers of a request say."""

    key_id: str
    """Of the key that signed it."""
    route: str
    repeat: str
    """Its Idempotency-Key, empty without one."""
    traceparent: str
    """As it came, valid or not."""

    def ids(self) -> list[str] | None:
        """The id of the one entry that this leads to, the same each time; None without an Idempotency-Key."""
        return [derived(self.key_id, f"api/{self.repeat}")] if self.repeat else None

    def batch_ids(self, items: int) -> list[str] | None:
        """The same for each item of a batch, by its place."""
        if not self.repeat:
            return None
        return [derived(self.key_id, f"batch/{place}/{self.repeat}") for place in range(items)]


def _call(
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            max_length=MAX_NAME,
            description="Your name for this request. When it is repeated with the same name and body, what it leads to "
            "has the same ids, which topics take once within HEADGATE_DEDUP_SECONDS.",
        ),
    ] = None,
    traceparent: Annotated[
        str | None,
        Header(description="W3C trace context, carried on to clients' gateways; one that is not valid is left out."),
    ] = None,
) -> Call:
    return Call(request.state.key_id, request.scope["route"].path, idempotency_key or "", traceparent or "")


#: The parameter of a route that publishes.
CallOf = Annotated[Call, Depends(_call)]


class _JsonRequest(Request):
    async def json(self) -> Any:
        """The body as every other reader of JSON here takes it: no NaN, no lone surrogates, 1,024 levels at most."""
        return orjson.loads(await self.body())


class JsonRoute(APIRoute):
    """A route whose body is read by orjson."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What FastAPI calls."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await handler(_JsonRequest(request.scope, request.receive))

        return handle
