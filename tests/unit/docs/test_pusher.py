"""What docs/pusher.md shows is so."""

from __future__ import annotations

import json
import os

from egress.pusher.events import one_event
from schemas.events import MessagePublished
from schemas.ids import uuid7
from schemas.socket_ids import session_of, socket_id
from tests.support.browser import chromium
from tests.unit.docs.reading import blocks, section, text

PAGE = text("pusher.md")


def test_the_documented_event_becomes_the_documented_frame() -> None:
    """Clients receive what the page says, and the session that it names does not."""
    event, frame, for_a_user = (json.loads(one) for one in blocks(section(PAGE, "## What works"), "json"))
    published = [one.event for one in one_event(json.dumps(event).encode()).publications]
    place = {"epoch": frame.pop("epoch"), "offset": frame.pop("offset")}
    assert place
    made = published[event["channels"].index(frame["channel"])]
    assert isinstance(made, MessagePublished)
    assert (made.frame, made.exclude) == (frame, session_of(event["socket_id"]))
    (made_for_a_user,) = one_event(json.dumps(event | {"channels": ["#server-to-user-7"]}).encode()).publications
    assert isinstance(made_for_a_user.event, MessagePublished)
    assert made_for_a_user.event.frame == for_a_user


async def test_pages_make_the_same_socket_ids() -> None:
    """The function of the page, in a browser."""
    (function,) = blocks(PAGE, "js")
    sessions = ["01a20902-3088-7a0e-82d8-5b33616093c8", uuid7(0, bytes(10)), uuid7((1 << 48) - 1, os.urandom(10))]
    async with chromium() as browser:
        page = await browser.new_page()
        made = await page.evaluate(f"(sessions) => {{ {function} return sessions.map(socketId); }}", sessions)
    assert made == [socket_id(one) for one in sessions]
