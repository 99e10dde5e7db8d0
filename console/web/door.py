"""The console's door: who is not known gets no further than the sign-in, and what changes something proves its origin.

Everything that is not GET or HEAD is for operators and carries the key of its sign-in's forms, whatever the route; the
few exceptions are named here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import parse_qsl, quote

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console.web.access import Access, Visitor

#: Read without a sign-in.
PUBLIC: Final = ("/static/", "/health/", "/metrics", "/sign-in", "/enter/")
#: Asked for without a sign-in, and so without a form's key: a browser must still come from our own page.
PUBLIC_FORMS: Final = ("/sign-in", "/link")
#: What whoever only looks may ask for.
VIEWERS_FORMS: Final = ("/sign-out",)
#: Name of the field, and of the header, with the key of the sign-in's forms.
FORM_KEY: Final = "form_key"
#: Longest form, in bytes, and most fields in it.
MAX_FORM: Final = 32_768
MAX_FIELDS: Final = 128
SECURITY_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: forms would then come with the origin `null`.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

Explain = Callable[[Request, int, str], Response]
"""Makes the answer to a request that is refused with a status and words."""


class Door:
    """Stands before the application; what it lets through has its Visitor, if any, in `state`."""

    def __init__(self, app: ASGIApp, access: Access, explain: Explain) -> None:
        self._app = app
        self._access = access
        self._explain = explain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request = Request(scope, receive)
        request.state.visitor = self._visitor(request)
        request.state.form = []
        answer = await self._refusal(request)
        await (answer or self._app)(scope, receive, _with_headers(send, path_of(request)))

    def _visitor(self, request: Request) -> Visitor | None:
        return self._access.visitor(peer_of(request), request.headers.getlist, request.cookies)

    async def _refusal(self, request: Request) -> Response | None:
        """Why the request goes no further, or None."""
        path, visitor = path_of(request), request.state.visitor
        if request.method in ("GET", "HEAD"):
            return None if visitor or path.startswith(PUBLIC) else _to_sign_in(request)
        if not _from_here(request):
            return self._explain(request, 403, "This form was sent from another site.")
        form = await _form(request)
        if form is None:
            return self._explain(request, 413, "This form is too long, or is none.")
        request.state.form = form
        if path in PUBLIC_FORMS:
            return None
        if visitor is None:
            return self._explain(request, 401, "You are not signed in, or your sign-in has ended.")
        if not self._access.is_form_key(visitor, dict(form).get(FORM_KEY, "")):
            return self._explain(request, 403, "This form is not of your sign-in: load its page again.")
        if path not in VIEWERS_FORMS and not visitor.operator.may_operate:
            return self._explain(request, 403, "You may look, not operate: that takes the role operator.")
        return None


def peer_of(request: Request) -> str:
    """The address that the request came from, whatever its headers say."""
    return request.client.host if request.client else ""


def path_of(request: Request) -> str:
    """The path as routes are looked for by it. That of `request.url` is made anew from a text, `Host` being a part."""
    path: str = request.scope["path"]
    return path


def _to_sign_in(request: Request) -> Response:
    if request.headers.get("HX-Request"):
        # An htmx request would put the sign-in into the page.
        return Response(status_code=401, headers={"HX-Refresh": "true"})
    query = request.scope["query_string"].decode("latin-1")
    place = quote(path_of(request)) + (f"?{query}" if query else "")
    return RedirectResponse("/sign-in" if place == "/" else f"/sign-in?next={quote(place)}", 303)


def _from_here(request: Request) -> bool:
    """Whether no other site sent it: browsers say so, in one of two headers. Without both it is no browser."""
    if (site := request.headers.get("Sec-Fetch-Site")) is not None:
        return site == "same-origin"
    origin = request.headers.get("Origin")
    return origin is None or origin.partition("://")[2] == request.headers.get("Host")


async def _form(request: Request) -> list[tuple[str, str]] | None:
    """The fields of the form; None when it is too long or none."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM:
            return None
    try:
        return parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:  # Not ASCII, or too many fields.
        return None


def _with_headers(send: Send, path: str) -> Callable[[Message], Awaitable[None]]:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.update(SECURITY_HEADERS)
            # Files change with the version, so the browser asks each time (mostly: "not modified").
            headers.setdefault("Cache-Control", "no-cache" if path.startswith("/static/") else "no-store")
        await send(message)

    return send_with_headers
