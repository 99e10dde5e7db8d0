"""Sessions: looking for them, one with its timeline, one entry with what led to it and what followed."""

from __future__ import annotations

import time
from typing import Annotated, Literal
from urllib.parse import quote, urlencode

from fastapi import FastAPI, Query, Request
from starlette.responses import RedirectResponse, Response

from console.inspection.timeline import Step, expected_of
from console.web.joined import Story
from console.web.room import Room, address_of, form_of, operator_of
from console.web.sessions import remembered
from console.web.timeline import Place
from console.web.timeline import Query as TimelineQuery
from console.web.waterfall import steps
from egress.api.requests import MAX_NAME
from runtime.recording import Record
from schemas.socket_ids import session_of

#: Rows of a list of sessions.
PAGE = 50
By = Literal["session", "user", "channel", "gateway", "event"]
Text = Annotated[str, Query(max_length=MAX_NAME)]


def add_sessions(app: FastAPI, room: Room) -> None:
    """`/sessions`, `/sessions/{id}`, `/events/{id}`, `/entries/{place}`."""
    _list(app, room)
    _one(app, room)
    _operations(app, room)


def _list(app: FastAPI, room: Room) -> None:
    @app.get("/sessions")
    async def sessions(
        request: Request, by: By = "session", q: Text = "", after: Annotated[str, Query(max_length=2 * MAX_NAME)] = ""
    ) -> Response:
        wanted = q.strip()
        if wanted and by == "session":
            return RedirectResponse(f"/sessions/{quote(session_of(wanted) or wanted, safe='')}", 303)
        if wanted and by == "event":
            return RedirectResponse(f"/events/{quote(wanted, safe='')}", 303)
        following: str | None
        if wanted and by == "gateway":
            found, following = await room.sessions.of_gateway(wanted, after, PAGE)
        else:
            user, channel = (wanted if wanted and by == kind else None for kind in ("user", "channel"))
            found, following = await room.listing.sessions(PAGE, after or None, user, channel)
        more = urlencode({"by": by, "q": wanted, "after": following}) if following else ""
        return room.pages.render(request, "sessions.html", found=found, by=by, q=wanted, more=more, after=after)


def _one(app: FastAPI, room: Room) -> None:
    @app.get("/sessions/{session}")
    async def session(
        request: Request,
        session: str,
        order: Literal["oldest", "newest"] = "oldest",
        datagrams: Literal["no", "yes"] = "no",
        after: Annotated[str, Query(max_length=400)] = "",
    ) -> Response:
        began = time.monotonic()
        details = await room.sessions.details(session)
        query = TimelineQuery(session, order == "newest", datagrams == "yes", details.since_ms)
        page = await room.timelines.page(query, Place.parse(after) if after else None)
        if details.state in ("ended", "unknown"):
            details = remembered(details, await room.timelines.ends(session))
        more = urlencode({"order": order, "datagrams": datagrams, "after": str(page.next)}) if page.next else ""
        # What htmx asks for is put behind the rows that are there.
        name = "timeline_rows.html" if request.headers.get("HX-Request") else "session.html"
        return room.pages.render(
            request,
            name,
            session=details,
            timeline=page,
            order=order,
            datagrams=datagrams,
            after=after,
            more=more,
            took_ms=1000 * (time.monotonic() - began),
        )

    @app.get("/events/{id}")
    async def event(id: str) -> Response:
        return RedirectResponse(f"/entries/{quote(str(await room.timelines.event(id)))}", 303)

    @app.get("/entries/{place:path}")
    async def entry(request: Request, place: str) -> Response:
        story = await room.timelines.story(Place.parse(place))
        return room.pages.render(
            request,
            "entry.html",
            located=story.located,
            steps=steps(story.chain),
            story=story,
            step=_step(story, room.never),
        )


def _step(story: Story, never: frozenset[str]) -> Step | None:
    """What was done with an entry of a log; None for what no processor and no router handles."""
    log, entry = story.located.place.log, story.located.entry
    if entry is None or log.startswith("gw:") or log.endswith(":datagrams"):
        return None
    record = Record(log, story.located.place.stream_id, entry)
    inbound = log.startswith("in:")
    return Step(record, inbound, expected_of(entry.type, inbound=inbound, never=never), handled=list(story.trail))


def _operations(app: FastAPI, room: Room) -> None:
    @app.post("/sessions/{session}/disconnect")
    async def disconnect(request: Request, session: str) -> Response:
        place = f"/sessions/{quote(session, safe='')}"
        if (await room.sessions.details(session)).state not in ("connected", "waiting"):
            return room.pages.done(request, place, "This session is over already.", failed=True)
        operator, address = operator_of(request), address_of(request, room.access)
        await room.operations.disconnect_session(operator, address, session, form_of(request, "reason"))
        return room.pages.done(request, place, "The session is being disconnected.")

    @app.post("/users/disconnect")
    async def disconnect_user(request: Request) -> Response:
        user = form_of(request, "user")[:MAX_NAME]
        if not user:
            return room.pages.explain(request, 422, "Name a user.")
        operator, address = operator_of(request), address_of(request, room.access)
        await room.operations.disconnect_user(operator, address, user, form_of(request, "reason"))
        place = f"/sessions?{urlencode({'by': 'user', 'q': user})}"
        return room.pages.done(request, place, f"All sessions of {user} are being disconnected.")
