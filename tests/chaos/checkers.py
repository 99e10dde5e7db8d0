"""What must hold after a run. Each checker is told what happened and what is left, and names what is wrong."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Final

from schemas.events import MessageReceived
from tests.chaos.evidence import Evidence, Logged, place
from tests.chaos.history import History
from tests.chaos.lives import a_session_lives_on, every_end_is_told
from tests.chaos.views import nothing_comes_twice, recovery_is_honest, subscribers_miss_nothing
from tests.chaos.violations import Checker, Key, Violation, at_the_end, open_sessions, payload_key, published


def acknowledged_is_handled(history: History, evidence: Evidence) -> list[Violation]:
    """Every acknowledged message took effect in the application, every whisper and note was published; or is a dead
    letter, which only the application's failures may make."""
    logged = {entry.id for entry in evidence.inbound}
    dead = {entry.id for entry in evidence.dead}
    effects = {(row["from"], row["op"]) for row in evidence.ledger if "op" in row}
    passed_on = {key for entry in evidence.outbound if (key := payload_key(entry)) is not None}
    whispers = {(r["client"], r["op"]) for r in history.of("invoke") if r["kind"] == "whisper"}
    found = [
        Violation("lost", f"{entry.id} is a dead letter: {entry.error}")
        for entry in evidence.dead
        if not entry.error.startswith("the application")
    ]
    for ok in history.of("ok"):
        key, name = (ok["session"], ok["op"]), f"{ok['client']}/{ok['op']} of {ok['session']}"
        if ok["event"] in dead:
            continue
        if ok["event"] not in logged:
            found.append(Violation("lost", f"{name} was acknowledged and is not in the log", ok["t"]))
        elif key not in (passed_on if (ok["client"], ok["op"]) in whispers else effects):
            found.append(Violation("lost", f"{name} was acknowledged and not handled", ok["t"]))
    noted = {(entry.id, entry.topic) for entry in evidence.outbound}
    for told in history.of("told"):
        if (told["event"], f"user:{told['user']}") not in noted:
            found.append(Violation("lost", f"note {told['n']} was taken and is not in the log", told["t"]))
    return found


def a_message_is_one_event(history: History, evidence: Evidence) -> list[Violation]:
    """What a session sent under one id is one event, however often it was sent, stored and handled."""
    events: dict[Key, set[str]] = defaultdict(set)
    for entry in evidence.inbound:
        if _is_sent(entry):
            events[entry.session, _number(entry)].add(entry.id)
    for row in evidence.ledger:
        if "op" in row:
            events[row["from"], row["op"]].add(row["event"])
    for ok in history.of("ok"):
        events[ok["session"], ok["op"]].add(ok["event"])
    found = [Violation("repeated", f"{key} is {len(ids)} events") for key, ids in events.items() if len(ids) > 1]
    for topic, some in published(evidence).items():
        times = Counter(said for said, _ in some)
        found += [Violation("repeated", f"{topic} has {said} {n} times") for said, n in times.items() if n > 1]
    return found


def archived_exactly_once(history: History, evidence: Evidence) -> list[Violation]:
    """The archive has every entry of logs and trails, and every acknowledged event, once, and nothing else."""
    rows = Counter((log, entry_id) for log, _, entry_id in evidence.archive)
    found = [Violation("repeated", f"{row[1]} is archived {n} times") for row, n in rows.items() if n > 1]
    logged = {(entry.log, entry.id) for entry in [*evidence.inbound, *evidence.outbound, *evidence.trails]}
    found += [Violation("lost", f"{one[1]} of {one[0]} is not archived") for one in sorted(logged - rows.keys())]
    archived = {entry_id for _, _, entry_id in evidence.archive}
    for ok in history.of("ok"):
        if ok["event"] not in archived:
            found.append(Violation("lost", f"{ok['client']}/{ok['op']} was acknowledged and is not archived", ok["t"]))
    strays = {row for row in rows.keys() - logged if ":datagrams" not in row[0]}
    return found + [Violation("stray", f"{one[1]} is archived and in no log") for one in sorted(strays)]


def application_sees_the_order(history: History, evidence: Evidence) -> list[Violation]:
    """What a session sent took its first effect in the application in the order in which it was sent."""
    return _in_order(history, ((row["from"], row["op"]) for row in evidence.ledger if "op" in row), "the application")


def logs_keep_the_order(history: History, evidence: Evidence) -> list[Violation]:
    """The inbound log, and the archive by its stream ids, have what a session sent in the order of sending."""
    sent = {entry.id: (entry.session, _number(entry)) for entry in evidence.inbound if _is_sent(entry)}
    found = _in_order(history, (sent[entry.id] for entry in evidence.inbound if entry.id in sent), "the log")
    rows = sorted(evidence.archive, key=lambda row: (row[0], place(row[1])))
    return found + _in_order(history, (sent[row[2]] for row in rows if row[2] in sent), "the archive")


def answers_reach_their_sender(history: History, evidence: Evidence) -> list[Violation]:
    """The application's answer to a message comes to its session once, and always if the session is still open."""
    dead, opened = {entry.id for entry in evidence.dead}, open_sessions(history)
    whispers = {(r["client"], r["op"]) for r in history.of("invoke") if r["kind"] == "whisper"}
    answers = Counter((reply["session"], reply["op"]) for reply in history.of("reply"))
    found = [Violation("repeated", f"the answer to {key} came {n} times") for key, n in answers.items() if n > 1]
    for ok in history.of("ok"):
        key = (ok["session"], ok["op"])
        is_asked = (ok["client"], ok["op"]) not in whispers and ok["event"] not in dead
        if is_asked and ok["session"] in opened and not answers[key]:
            found.append(Violation("lost", f"the answer to {key} did not come", ok["t"]))
    return found


def nobody_hears_what_nobody_said(history: History, evidence: Evidence) -> list[Violation]:
    """All that arrived anywhere was sent by the session it names, to that channel, and is unchanged."""
    channels = {(r["client"], r["op"]): r["channel"] for r in history.of("invoke")}
    sent = {(r["session"], r["op"]): channels[r["client"], r["op"]] for r in history.of("send")}
    found = []
    for record in history.of("recv", "subscribed"):
        if record["k"] == "recv":
            heard = [(record["from"], record["op"], record["intact"])]
        else:
            heard = [(one[1], one[2], one[3]) for one in record["missed"]]
        for sender, op, intact in heard:
            if not intact:
                found.append(Violation("stray", f"{record['session']} got something unreadable", record["t"]))
            elif sent.get((sender, op)) != record["channel"]:
                found.append(Violation("stray", f"{record['session']} got {op} of {sender}, never sent", record["t"]))
    notes = {(record["user"], record["n"]) for record in history.of("tell")}
    for record in history.of("note"):
        if (record["user"], record["n"]) not in notes:
            text = f"{record['session']} got note {record['n']} of {record['user']}, never sent"
            found.append(Violation("stray", text, record["t"]))
    for row in evidence.ledger:
        if "op" in row and ((row["from"], row["op"]) not in sent or row["session"] != row["from"]):
            found.append(Violation("stray", f"the application got {row['op']} of {row['from']} as {row['session']}"))
    return found + [Violation("stray", f"{r['session']} got {r['frame']}", r["t"]) for r in history.of("odd")]


def everybody_knows_who_is_there(history: History, evidence: Evidence) -> list[Violation]:
    """Directory, subscriptions, presence and members' own views are those of the sessions that are open."""
    sessions = at_the_end(history)
    listed = {field for key in evidence.keys if key["name"].endswith(":sessions") for field in key["fields"]}
    found = _differences("the directory", listed, set(sessions))
    channels = {channel for one in sessions.values() for channel in one["channels"]}
    by_name = {key["name"]: set(key["fields"]) for key in evidence.keys}
    named = {name.split("{channel:")[1].split("}")[0] for name in by_name if "{channel:" in name}
    for channel in sorted(channels | named):
        there = {session for session, one in sessions.items() if channel in one["channels"]}
        found += _differences(f"subscribers of {channel}", _part(by_name, channel, "subscribers"), there)
        if channel.startswith("presence-"):
            users = {sessions[session]["user"] for session in there}
            found += _differences(f"presence of {channel}", _part(by_name, channel, "members"), users)
            for session in sorted(there):
                told = set(sessions[session]["members"].get(channel, ()))
                found += _differences(f"presence of {channel} as {session} was told", told, users)
    return found


def nothing_is_left(history: History, evidence: Evidence) -> list[Violation]:
    """No group has anything in hand or unread; no key is left of what is over."""
    found, opened = [], open_sessions(history)
    for group in evidence.groups:
        if group["pending"] or group["lag"]:
            text = f"{group['group']} of {group['log']}: {group['pending']} pending, {group['lag']} unread"
            found.append(Violation("left over", text))
    over = {entry.session for entry in evidence.inbound} - opened
    for key in evidence.keys:
        name, forever = key["name"], key["ttl"] < 0
        if ":attempts:" in name or (forever and ":lease:" in name and not name.endswith(":reader")):
            found.append(Violation("left over", name))
        elif forever and over & _words(name):
            found.append(Violation("left over", f"{name}, of a session that is over"))
        elif name.endswith(":disconnected"):
            found.append(Violation("left over", f"{name}, although every client is there"))
        elif name.endswith(":connected"):
            gone = sorted(set(key["fields"]) - set(evidence.gateways))
            found += [Violation("left over", f"{one} in {name}, a gateway that is gone") for one in gone]
        elif ":connected:" in name:
            found += [Violation("left over", f"{one} in {name}") for one in key["fields"] if one not in opened]
        elif forever and name.startswith("hg:gw:") and name.split("{")[1].split("}")[0] not in evidence.gateways:
            found.append(Violation("left over", name))
    return found


CHECKERS: Final[tuple[Checker, ...]] = (
    acknowledged_is_handled,
    a_message_is_one_event,
    archived_exactly_once,
    application_sees_the_order,
    logs_keep_the_order,
    subscribers_miss_nothing,
    recovery_is_honest,
    nothing_comes_twice,
    answers_reach_their_sender,
    nobody_hears_what_nobody_said,
    everybody_knows_who_is_there,
    every_end_is_told,
    a_session_lives_on,
    nothing_is_left,
)


def check(history: History, evidence: Evidence) -> dict[str, list[Violation]]:
    """What each checker found."""
    return {checker.__name__: checker(history, evidence) for checker in CHECKERS}


def _in_order(history: History, handled: Iterable[Key], where: str) -> list[Violation]:
    """Violations where a session's operation comes after one that was sent only when it had been sent for good."""
    first: dict[Key, int] = {}
    last: dict[Key, int] = {}
    times: dict[Key, float] = {}
    for n, record in enumerate(history.of("send")):
        key = (record["session"], record["op"])
        first.setdefault(key, n)
        last[key], times[key] = n, record["t"]
    found, seen = [], set()
    newest: dict[str, Key] = {}
    for key in handled:
        if key in seen or key not in first:
            continue
        seen.add(key)
        before = newest.get(key[0])
        if before is not None and last[key] < first[before]:
            text = f"{where} has {key[1]} after {before[1]} of {key[0]}"
            found.append(Violation("reordered", text, times[key]))
        if before is None or first[key] > first[before]:
            newest[key[0]] = key
    return found


def _is_sent(entry: Logged) -> bool:
    return entry.type in (MessageReceived.TYPE, "whisper.received")


def _number(entry: Logged) -> int:
    data = entry.payload["frame"]["data"] if entry.type == MessageReceived.TYPE else entry.payload["data"]
    return int(data["n"])


def _part(keys: dict[str, set[str]], channel: str, part: str) -> set[str]:
    return keys.get(f"hg:{{channel:{channel}}}:{part}", set())


def _words(name: str) -> set[str]:
    return set(name.replace("{", ":").replace("}", ":").split(":"))


def _differences(what: str, found: set[str], wanted: set[str]) -> list[Violation]:
    extra = [Violation("untrue", f"{what} has {one}, who is gone") for one in sorted(found - wanted)]
    return extra + [Violation("untrue", f"{what} lacks {one}") for one in sorted(wanted - found)]
