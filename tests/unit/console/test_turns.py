"""In which order what met in a session's record is handled again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from console.replay.turns import WAITING, Held, Settled, Turns
from runtime.recording import Record
from schemas.entry import Entry
from schemas.events import (
    AuthRequested,
    EntryHandled,
    Event,
    MessageReceived,
    ResumeRequested,
    SessionAuthenticated,
    SessionClosed,
    SessionDisconnected,
    SubscribeRequested,
    SubscriptionSuspended,
)
from schemas.ids import derived, of_session_end


def held(name: str, event: Event, processor: str, session: str = "a") -> Held:
    entry = Entry.of(event, id=name, ts=1, session=session)
    return Held(Record("in", "1-0", entry), {processor})


def claim(name: str, generation: int | None) -> Held:
    """Another connection asks for session a; `generation`: that it got, if it did."""
    event = AuthRequested(token="t", resume=ResumeRequested(session="a", generation=1))
    one = held(name, event, "auth", session=name)
    if generation is not None:
        told = SessionAuthenticated(user="7", generation=generation)
        one.take(Entry.of(told, id=derived(name, "resumed"), ts=1, session="a", cause=name))
    return one


def disconnection(name: str, generation: int, led_to: str = "") -> Held:
    """The end of a connection of session a; `led_to`: "" nothing, else "suspended" or "closed"."""
    event = SessionDisconnected(generation=generation, code=0, reason="", by="client", final=led_to == "closed")
    one = held(name, event, "auth")
    if led_to == "suspended":
        one.take(Entry.of(SubscriptionSuspended(generation=generation), id=derived(name, led_to), ts=1, cause=name))
    if led_to == "closed":
        end = SessionClosed(code=0, reason="", by="client")
        one.take(Entry.of(end, id=of_session_end("a"), ts=1, session="a", cause=name))
    return one


def end(name: str) -> Held:
    """Session a is over: nobody came back in time."""
    return held(name, SessionClosed(code=0, reason="", by="gateway"), "channels")


def joined(name: str, *, told: bool) -> Held:
    """A request to join a channel; `told`: the log says that the session was let in by it."""
    one = held(name, SubscribeRequested(channel="news"), "channels")
    if told:
        one.known.add(derived(name, "subscribed"))
    return one


def order(read: list[Held], settled: list[Held], *, at_last: bool = True) -> list[str]:
    """In which order entries are handled again that were settled in the order of `settled`."""
    turns, out = Turns(), []
    for one in read:
        turns.came(one)

    def take(*, at_last: bool = False) -> None:
        while (turn := turns.next(at_last=at_last)) is not None:
            turn.held.waits_for.discard(turn.handled.processor)
            turns.gone(turn.held)
            out.append(turn.held.record.entry.id)

    for one in settled:
        (processor,) = one.waits_for
        one.settled.add(processor)
        handled = EntryHandled(processor=processor, outcome="done", attempts=1, ms=1)
        turns.settled(Settled(one, Entry.of(handled, id=f"t-{one.record.entry.id}", ts=1), handled))
        take()
    if at_last:
        take(at_last=True)
    return out


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: [disconnection("d", 1, "suspended"), claim("b", 2)], ["d", "b"]),
        (lambda: [disconnection("d", 1), claim("b", 2)], ["b", "d"]),
        (lambda: [claim("b", 2), claim("c", 3)], ["b", "c"]),
        (lambda: [claim("b", None), claim("c", 2)], ["c", "b"]),
        (lambda: [disconnection("d", 1, "closed"), claim("b", None)], ["d", "b"]),
        (lambda: [disconnection("d", 1, "suspended"), end("e")], ["d", "e"]),
        (lambda: [joined("s", told=True), disconnection("d", 1, "closed")], ["s", "d"]),
        (lambda: [joined("s", told=False), disconnection("d", 1, "closed")], ["d", "s"]),
        (lambda: [joined("s", told=True), disconnection("d", 1, "closed"), claim("b", None)], ["s", "d", "b"]),
    ],
)
def test_what_was_recorded_says_who_was_first(make, expected, backwards) -> None:  # type: ignore[no-untyped-def]
    """Whoever told first."""
    read = make()
    assert order(read, list(reversed(read)) if backwards else read, at_last=False) == expected


@pytest.mark.parametrize("settled", ["dbe", "deb", "bde"])
def test_a_session_that_was_resumed_and_disconnected_again(settled: str) -> None:
    """The end of the first connection led to nothing, for the session had been resumed by then."""
    read = [disconnection("d", 1), claim("b", 2), disconnection("e", 2, "suspended")]
    named = dict(zip("dbe", read, strict=True))
    assert order(read, [named[name] for name in settled], at_last=False) == ["b", "d", "e"]


def test_what_meets_nobody_does_not_wait() -> None:
    """A message, and a session that nobody else speaks of."""
    read = [held("m", MessageReceived(frame={"type": "message"}), "laravel"), disconnection("d", 1, "closed")]
    assert order(read, read[::-1], at_last=False) == ["d", "m"]


def test_what_cannot_be_read_is_in_nobodys_way() -> None:
    """An entry that its processor could not read either."""
    broken = disconnection("d", 1)
    broken.record = broken.record._replace(entry=replace(broken.record.entry, data=b"{"))
    assert order([broken], [broken], at_last=False) == ["d"]


def test_a_session_stays_in_order_behind_one_that_waits() -> None:
    """What a processor did later for the same session comes later again."""
    first, second, end = joined("s1", told=False), joined("s2", told=False), disconnection("d", 1, "closed")
    assert order([end, first, second], [first, second, end], at_last=False) == ["d", "s1", "s2"]
    first, second, end = joined("s1", told=False), joined("s2", told=True), disconnection("d", 1, "closed")
    assert order([first, second, end], [first, second], at_last=False) == ["s1", "s2"]


def test_what_was_never_settled_is_not_waited_for_without_end() -> None:
    """At the end, and when too many wait, the first one goes on."""
    read = [claim(f"c{n}", n + 2) for n in range(WAITING + 2)]
    assert order(read, read[:-1], at_last=False) == ["c0"]
    read = [claim(f"c{n}", n + 2) for n in range(3)]
    assert order(read, read[:2], at_last=False) == []
    read = [claim(f"c{n}", n + 2) for n in range(3)]
    assert order(read, read[:2]) == ["c0", "c1"]
