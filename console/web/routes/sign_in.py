"""Signing in and out."""

from __future__ import annotations

from typing import Final

import structlog
from fastapi import FastAPI, Request
from prometheus_client import Counter
from starlette.responses import RedirectResponse, Response

from console.web.access import COOKIE, SIGNED_IN_S, Refused, TooManyTries
from console.web.door import peer_of
from console.web.room import Room, address_of, form_of, local

log = structlog.get_logger()

SIGN_INS: Final = Counter("headgate_console_sign_ins", "Attempts to sign in to the console.", ["result"])


def _page(room: Room, request: Request, status: int = 200, words: str = "", place: str = "/") -> Response:
    return room.pages.render(
        request,
        "sign_in.html",
        status=status,
        words=words,
        refused=status != 200,
        next=local(place),
        tokens=bool(room.access.tokens),
        proxy=bool(room.access.proxy),
        links=room.access.links,
    )


def _refused(room: Room, request: Request, error: Refused, place: str) -> Response:
    many = isinstance(error, TooManyTries)
    SIGN_INS.labels("limited" if many else "refused").inc()
    log.warning("console.sign_in_refused", address=address_of(request, room.access), limited=many)
    return _page(room, request, 429 if many else 403, str(error), place)


def _entered(room: Room, request: Request, cookie: str, place: str) -> Response:
    SIGN_INS.labels("entered").inc()
    visitor = room.access.visitor("", lambda _: [], {COOKIE: cookie})
    name = visitor.operator.name if visitor else ""
    log.info("console.signed_in", operator=name, address=address_of(request, room.access))
    answer = RedirectResponse(local(place), 303)
    secure = request.headers.get("X-Forwarded-Proto") == "https" and room.access.proxy.trusts(peer_of(request))
    answer.set_cookie(COOKIE, cookie, max_age=int(SIGNED_IN_S), httponly=True, samesite="strict", secure=secure)
    return answer


def add_sign_in(app: FastAPI, room: Room) -> None:
    """`/sign-in`, `/enter/{secret}`, `/link` and `/sign-out`."""

    @app.get("/sign-in")
    async def sign_in_page(request: Request, next: str = "/") -> Response:
        return RedirectResponse(local(next), 303) if request.state.visitor else _page(room, request, place=next)

    @app.post("/sign-in")
    async def sign_in(request: Request) -> Response:
        place = form_of(request, "next") or "/"
        try:
            cookie = room.access.sign_in(form_of(request, "token"), address_of(request, room.access))
        except Refused as error:
            return _refused(room, request, error, place)
        return _entered(room, request, cookie, place)

    @app.get("/enter/{secret}")
    async def enter(request: Request, secret: str) -> Response:
        if request.state.visitor:
            return RedirectResponse("/", 303)
        try:
            cookie = room.access.enter(secret, address_of(request, room.access))
        except Refused as error:
            return _refused(room, request, error, "/")
        return _entered(room, request, cookie, "/")

    @app.post("/link")
    async def link(request: Request) -> Response:
        if not room.access.links:
            return room.pages.explain(request, 404, "There are no one-time links here.")
        room.access.print_link()
        return _page(room, request, words="A new link is in the terminal of headgate dev.")

    @app.post("/sign-out")
    async def sign_out(request: Request) -> Response:
        room.access.sign_out(request.state.visitor)
        answer = RedirectResponse("/sign-in", 303)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer
