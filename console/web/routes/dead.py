"""Dead letters: a list, one of them, and deciding about them."""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import FastAPI, Query, Request
from starlette.responses import Response

from console.dead import passes
from console.web.room import Room, address_of, form_of, local, operator_of
from console.web.shown import payload
from console.web.timeline import Located, Place
from runtime.bus.dead import DeadLetter, NoSuchLetter

#: Rows of one page, and letters that are looked at for it.
PAGE: Final = 50
MOST_READ: Final = 5_000
Text = Annotated[str, Query(max_length=100)]


async def _found(room: Room, group: str, type_: str, after: str) -> tuple[list[DeadLetter], str]:
    """A page of letters, and where to go on; empty on the last page."""
    chosen: list[DeadLetter] = []
    read, last = 0, ""
    async for letter in room.letters.all(after):
        if len(chosen) == PAGE or read == MOST_READ:
            return chosen, last
        read, last = read + 1, letter.name
        if passes(letter, group, type_):
            chosen.append(letter)
    return chosen, ""


def add_dead(app: FastAPI, room: Room) -> None:
    """`/dead`, `/dead/{name}`, and `/dead` by POST."""

    @app.get("/dead")
    async def letters(
        request: Request,
        group: Text = "",
        type: Text = "",
        after: Text = "",
    ) -> Response:
        filters = {"group": group.strip(), "type": type.strip()}
        chosen, following = await _found(room, filters["group"], filters["type"], after)
        here = f"/dead?{urlencode(filters | {'after': after})}"
        more = urlencode(filters | {"after": following}) if following else ""
        return room.pages.render(
            request, "dead.html", letters=chosen, filters=filters, more=more, after=after, here=here
        )

    @app.get("/dead/{name:path}")
    async def letter(request: Request, name: str) -> Response:
        one = await room.letters.get(name)
        data = payload(Located(Place(name.partition("/")[0], one.of), one.fields))
        entry = data if one.entry is None else one.entry.readable() | {"data": data}
        return room.pages.render(request, "letter.html", letter=one, entry=one.entry, shown=entry)

    @app.post("/dead")
    async def decide(request: Request) -> Response:
        what = form_of(request, "decision")
        names = [value for field, value in request.state.form if field == "letter"]
        act = {"retry": room.operations.retry, "drop": room.operations.drop}.get(what)
        place = local(form_of(request, "back"), "/dead")
        if act is None or not names:
            return room.pages.done(request, place, "Choose letters first.", failed=True)
        operator, address = operator_of(request), address_of(request, room.access)
        gone = 0
        for name in names:
            try:
                await act(operator, address, name)
            except NoSuchLetter:  # Another operator was quicker.
                gone += 1
        verb = "put back" if what == "retry" else "dropped"
        words = f"{len(names) - gone} {verb}" + (f", {gone} gone already" if gone else "")
        return room.pages.done(request, place, f"{words}.", failed=gone == len(names))
