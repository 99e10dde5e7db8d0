"""A run in which all is right, for the tests of the checkers to spoil."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from tests.chaos.evidence import Evidence, Logged
from tests.chaos.history import History

IN: Final = "hg:{in:0}"
OUT: Final = "hg:{out:0}"
CHANNEL: Final = "presence-0"


@dataclass
class Run:
    """A history and what is left, to be spoilt."""

    history: History
    evidence: Evidence

    def records(self, kind: str) -> list[dict[str, Any]]:
        """The records of one kind."""
        return list(self.history.of(kind))


def published(n: int, sender: str, op: int, exclude: str) -> Logged:
    """What the application lets a channel know."""
    frame = {"type": "channel_broadcast", "channel": CHANNEL, "data": {"s": sender, "n": op}}
    payload = {"frame": frame, "exclude": exclude}
    return Logged(OUT, f"{n}-0", f"p{sender}{op}", "message.published", f"channel:{CHANNEL}", sender, payload)


def answered(n: int, session: str, op: int) -> Logged:
    """What the application answers the sender."""
    payload = {"frame": {"type": "reply", "id": str(op)}}
    return Logged(OUT, f"{n}-1", f"r{session}{op}", "message.published", f"session:{session}", session, payload)


def noted(n: int, user: str) -> Logged:
    """What the application tells a user by itself."""
    return Logged(OUT, f"{n}-2", f"n{n}", "message.published", f"user:{user}", "", {"frame": {"type": "note", "n": n}})


def received(n: int, sender: str, op: int) -> Logged:
    """A message in the inbound log; the fifth is a whisper."""
    data = {"s": sender, "n": op}
    payload, kind = ({"data": data}, "whisper.received") if op == 5 else ({"frame": {"data": data}}, "message.received")
    return Logged(IN, f"{n}-0", f"e{sender}{op}", kind, "", sender, payload)


def good() -> Run:
    """Session `a` sends messages 1 to 4, is resumed, and sends whisper 5. `b` hears 1 and 2 and is lost; its client is
    too late to resume it, and comes back as `c`, which recovers 3 and hears the rest."""
    made = History()
    record = made.record
    for client, session in (("A", "a"), ("B", "b")):
        opened(made, client, session)
        subscribed(made, client, session, 0, None)
    record("fault", n=0, name="gateway killed", target=0)
    for op in (1, 2, 3, 4):
        record("invoke", client="A", op=op, kind="message", channel=CHANNEL)
        record("send", client="A", op=op, session="a")
        record("ok", client="A", op=op, session="a", event=f"ea{op}")
        record("reply", client="A", op=op, session="a", offset=op)
        if op == 2:
            for heard in (1, 2):
                recv(made, "B", "b", heard)
            record("close", client="B", session="b", code=0, reason="")
        elif op == 3:
            record("resume", client="B", session="b", offsets={f"channel:{CHANNEL}": ["epoch", 2]})
            late = record("denied", client="B", session="b", heard=0.0)
            late["heard"] = late["t"] - 60.0
            opened(made, "B", "c")
            subscribed(made, "B", "c", 3, 2, [[3, "a", 3, True]])
    recv(made, "B", "c", 4)
    for n in (1, 2):
        record("tell", n=n, user="A")
        record("told", n=n, user="A", event=f"n{n}")
    record("note", client="A", session="a", user="A", n=1, offset=1)
    record("close", client="A", session="a", code=None, reason="given up")
    had = {"session:a": ["epoch", 4], "user:A": ["epoch", 1], f"channel:{CHANNEL}": ["epoch", 0]}
    record("resume", client="A", session="a", offsets=had)
    now = {"session:a": ["epoch", 4], "user:A": ["epoch", 2]}
    record("resumed", client="A", session="a", generation=2, recovered=True, offsets=now)
    record("note", client="A", session="a", user="A", n=2, offset=2)
    back = {"epoch": "epoch", "offset": 4, "recovered": True, "missed": []}
    record("subscribed", client="A", session="a", channel=CHANNEL, **back)
    record("invoke", client="A", op=5, kind="whisper", channel=CHANNEL)
    record("send", client="A", op=5, session="a")
    record("ok", client="A", op=5, session="a", event="ea5")
    recv(made, "B", "c", 5)
    there = {"channels": [CHANNEL], "members": {CHANNEL: ["A", "B"]}}
    record("end", open={"a": {"user": "A", **there}, "c": {"user": "B", **there}})
    begun = [Logged(IN, f"{n}-0", f"o{s}", "session.opened", "", s, {}) for n, s in enumerate("abc", 1)]
    resumed = Logged(IN, "7-1", "ra", "session.resumed", "", "a", {"generation": 2})
    closed = Logged(IN, "9-0", "cb", "session.closed", "", "b", {})
    inbound = [*begun, *(received(n + 3, "a", n) for n in (1, 2, 3, 4, 5)), closed, resumed]
    outbound = [published(n, "a", n, "a") for n in (1, 2, 3, 4, 5)]
    outbound += [answered(n, "a", n) for n in (1, 2, 3, 4)]
    outbound += [noted(n, "A") for n in (1, 2)]
    told = [{"event": f"o{s}", "session": s, "connection": "connection.opened"} for s in "abc"]
    told.append({"event": "ra", "session": "a", "connection": "connection.resumed"})
    told.append({"event": "cb", "session": "b", "connection": "connection.closed"})
    ledger = [{"event": f"ea{n}", "session": "a", "from": "a", "op": n} for n in (1, 2, 3, 4)]
    keys = [
        {"name": "hg:{out:1}:sessions", "ttl": -1, "fields": ["a", "c"]},
        {"name": f"hg:{{channel:{CHANNEL}}}:subscribers", "ttl": -1, "fields": ["a", "c"]},
        {"name": f"hg:{{channel:{CHANNEL}}}:members", "ttl": -1, "fields": ["A", "B"]},
        {"name": "hg:{in:0}:connected:g1", "ttl": -1, "fields": ["a", "c"]},
        {"name": "hg:{in:0}:connected", "ttl": -1, "fields": ["g1"]},
        {"name": "hg:{in:0}:lease:laravel", "ttl": 1, "fields": []},
        {"name": "hg:{session:b}:state", "ttl": 500, "fields": []},
        {"name": "hg:{in:0}:auth:b", "ttl": 500, "fields": ["ended"]},
    ]
    left = Evidence(
        inbound=inbound,
        outbound=outbound,
        archive=[(entry.log, entry.stream_id, entry.id) for entry in [*inbound, *outbound]],
        ledger=told + ledger,
        groups=[{"log": IN, "group": "laravel", "pending": 0, "lag": 0}],
        keys=keys,
        gateways=["g1"],
    )
    return Run(made, left)


def opened(made: History, client: str, session: str) -> None:
    """A new session."""
    offsets = {f"session:{session}": ["epoch", 0], f"user:{client}": ["epoch", 0]}
    made.record("open", client=client, session=session, user=client, offsets=offsets)


def subscribed(
    made: History, client: str, session: str, offset: int, recover: int | None, missed: list[Any] | None = None
) -> None:
    """A subscription and its answer."""
    asked = None if recover is None else ["epoch", recover]
    made.record("subscribe", client=client, session=session, channel=CHANNEL, recover=asked)
    told = {"epoch": "epoch", "offset": offset, "recovered": recover is not None, "missed": missed or []}
    made.record("subscribed", client=client, session=session, channel=CHANNEL, **told)


def recv(made: History, client: str, session: str, n: int) -> None:
    """A publication arrives."""
    place = {"channel": CHANNEL, "epoch": "epoch", "offset": n, "from": "a", "op": n}
    made.record("recv", client=client, session=session, intact=True, **place)
