"""Templates, and what every page has: who looks, where they are, what was just done."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from console.version import headgate_version
from console.web import shown
from console.web.access import Access, Visitor
from console.web.live import Live

FOLDER: Final = Path(__file__).parent
#: The pages of the navigation: (path, name).
NAVIGATION: Final = (
    ("/", "Overview"),
    ("/sessions", "Sessions"),
    ("/channels", "Channels"),
    ("/groups", "Groups"),
    ("/dead", "Dead letters"),
    ("/replays", "Replays"),
    ("/activity", "Activity"),
)
#: Sign-ins of which a notice is kept until they see it.
_NOTICES: Final = 256


class Pages:
    """Renders templates."""

    def __init__(self, access: Access, live: Live) -> None:
        self._access = access
        self._live = live
        self._notices: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self._templates = Environment(
            loader=FileSystemLoader(FOLDER / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {filter.__name__: filter for filter in shown.FILTERS}
        self._templates.globals |= {"version": headgate_version(), "navigation": NAVIGATION}

    def render(self, request: Request, name: str, *, status: int = 200, **values: Any) -> HTMLResponse:
        """The page `name`."""
        visitor: Visitor | None = request.state.visitor
        # A part of a page is asked for in the background: what was done is told on the page itself.
        told = (
            None if request.headers.get("HX-Request") or visitor is None else self._notices.pop(visitor.identity, None)
        )
        common = {
            "visitor": visitor,
            "form_key": self._access.form_key(visitor) if visitor else "",
            "path": request.scope["path"],
            "notice": told,
            "snapshot": self._live.snapshot,
            "away": self._live.away,
        }
        return HTMLResponse(self._templates.get_template(name).render(common | values), status)

    def explain(self, request: Request, status: int, words: str) -> Response:
        """A page that says why there is no other."""
        return self.render(request, "error.html", status=status, code=status, words=words)

    def done(self, request: Request, place: str, words: str, *, failed: bool = False) -> Response:
        """Go to the page at `place`, which says what was done, or was not."""
        visitor: Visitor = request.state.visitor
        self._notices[visitor.identity] = ("failed" if failed else "done", words)
        while len(self._notices) > _NOTICES:
            self._notices.popitem(last=False)
        return RedirectResponse(place, 303)
