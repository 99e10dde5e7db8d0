"""Replays into a sandbox: a form and the last ones, and one with what it found."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import Depends, FastAPI, Query, Request
from starlette.responses import Response

from console.sources import Source
from console.web.replays.jobs import MOST_JOBS, NotStarted, Over, State
from console.web.replays.output import KINDS, PAGE
from console.web.replays.wanted import FIELDS, Wanted
from console.web.room import Room, address_of, form_of, operator_of
from egress.api.requests import MAX_NAME
from schemas.errors import ConfigurationError

Text = Annotated[str, Query(max_length=MAX_NAME)]


def add_replays(app: FastAPI, room: Room) -> None:
    """`/replays` and `/replays/{number}`, with their live parts."""
    _pages(app, room)
    _operations(app, room)


def _form(room: Room, request: Request, form: dict[str, str], status: int = 200, words: str = "") -> Response:
    return room.pages.render(
        request,
        "replays.html",
        status=status,
        form=form,
        words=words,
        jobs=room.jobs.newest_first,
        most=MOST_JOBS,
    )


def _pages(app: FastAPI, room: Room) -> None:
    current = [Depends(room.jobs.forget_erased)]

    @app.get("/replays", dependencies=current)
    async def replays(
        request: Request,
        source: Source = Source.LOG,
        session: Text = "",
        user: Text = "",
        channel: Text = "",
        type: Text = "",
        since: Text = "",
        until: Text = "",
    ) -> Response:
        chosen = {"session": session, "user": user, "channel": channel, "type": type}
        return _form(room, request, chosen | {"source": source.value, "since": since, "until": until})

    @app.get("/live/replays", dependencies=current)
    async def live_replays(request: Request) -> Response:
        return room.pages.render(request, "replays_live.html", jobs=room.jobs.newest_first)

    @app.get("/replays/{number}", dependencies=current)
    async def replay(
        request: Request,
        number: int,
        kind: Literal["", "changed", "missing", "new"] = "",
        start: Annotated[int, Query(ge=0)] = 0,
    ) -> Response:
        job = room.jobs.get(number)
        following = start + PAGE
        more = urlencode({"kind": kind, "start": following}) if following < job.differences.count(kind) else ""
        return room.pages.render(
            request,
            "replay.html",
            job=job,
            kinds=KINDS,
            kind=kind,
            start=start,
            shown=job.differences.page(kind, start),
            more=more,
        )

    @app.get("/live/replays/{number}", dependencies=current)
    async def live_replay(request: Request, number: int) -> Response:
        job = room.jobs.get(number)
        if job.state is not State.RUNNING:
            # Now there is a result, and nothing to cancel.
            return Response(headers={"HX-Refresh": "true"})
        return room.pages.render(request, "replay_live.html", job=job)


def _operations(app: FastAPI, room: Room) -> None:
    @app.post("/replays")
    async def begin(request: Request) -> Response:
        form = {name: form_of(request, name) for name in ("source", *FIELDS)}
        try:
            wanted = Wanted.parse(form)
        except ConfigurationError as error:
            return _form(room, request, form, 422, str(error))
        operator, address = operator_of(request), address_of(request, room.access)
        try:
            job = await room.operations.start_replay(operator, address, wanted)
        except NotStarted as error:
            return _form(room, request, form, 409, str(error))
        return room.pages.done(request, f"/replays/{job.number}", f"Replay {job.number} runs.")

    @app.post("/replays/{number}/cancel")
    async def cancel(request: Request, number: int) -> Response:
        place = f"/replays/{number}"
        try:
            await room.operations.cancel_replay(operator_of(request), address_of(request, room.access), number)
        except Over as error:
            return room.pages.done(request, place, f"{error}.", failed=True)
        return room.pages.done(request, place, f"Replay {number} is cancelled.")
