"""What the pages stand on."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from console.operators import OperatorsLog
from console.web.access import Access, Operator, Visitor
from console.web.channels import Channels
from console.web.door import peer_of
from console.web.joined import Joined
from console.web.live import Live
from console.web.operations import Operations
from console.web.pages import Pages
from console.web.replays.jobs import Jobs
from console.web.services import Services
from console.web.sessions import Sessions
from egress.api.listing import Listing
from runtime.bus.dead import DeadLetters


@dataclass(frozen=True, slots=True)
class Room:
    """Everything that a page may need."""

    access: Access
    pages: Pages
    live: Live
    services: Services
    listing: Listing
    sessions: Sessions
    channels: Channels
    letters: DeadLetters
    jobs: Jobs
    timelines: Joined
    operations: Operations
    record: OperatorsLog
    never: frozenset[str]
    """Groups that settle nothing here: the application reads the log itself."""


def operator_of(request: Request) -> Operator:
    """Who asks; the door lets nobody else through."""
    visitor: Visitor = request.state.visitor
    return visitor.operator


def address_of(request: Request, access: Access) -> str:
    """Where they are."""
    return access.proxy.address(peer_of(request), request.headers.getlist("X-Forwarded-For"))


def form_of(request: Request, name: str) -> str:
    """One field of the form, without spaces around it; empty if it is missing."""
    return next((value.strip() for field, value in request.state.form if field == name), "")


def local(place: str, otherwise: str = "/") -> str:
    """`place` if it is one of ours: nobody is sent to another site from here."""
    ours = place.startswith("/") and not place.startswith(("//", "/\\"))
    return place if ours and place.isprintable() else otherwise
