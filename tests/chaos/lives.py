"""Whether sessions live on over connections as they were promised to, begin once and end once."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise
from typing import Final

from runtime.sessions import RETRIES
from schemas.events import SessionClosed, SessionOpened, SessionResumed
from tests.chaos.evidence import Evidence
from tests.chaos.history import History
from tests.chaos.violations import Violation, open_sessions
from tests.chaos.world import RESUME_S

#: A gateway may have noticed earlier than the client that a connection was lost, by seconds.
EARLY_S: Final = 1.0


def every_end_is_told(history: History, evidence: Evidence) -> list[Violation]:
    """Each session that opened and is over has its end on the log, and the application was told of both, in order."""
    opened = {entry.session for entry in evidence.inbound if entry.type == SessionOpened.TYPE}
    ended = {entry.session for entry in evidence.inbound if entry.type == SessionClosed.TYPE}
    resumed = {entry.session for entry in evidence.inbound if entry.type == SessionResumed.TYPE}
    told: dict[str, list[str]] = defaultdict(list)
    for row in evidence.ledger:
        if "connection" in row:
            told[row["session"]].append(row["connection"])
    dead = {entry.session for entry in evidence.dead}
    found = [Violation("lost", f"{one} has no end") for one in sorted(opened - ended - open_sessions(history))]
    found += [Violation("untrue", f"{one} is open and has an end") for one in sorted(ended & open_sessions(history))]
    for session in sorted(opened - dead):
        heard = list(dict.fromkeys(told[session]))
        if session in ended and heard[-1:] not in ([], ["connection.closed"]):
            found.append(Violation("reordered", f"the application was told {heard} of {session}"))
        first = [one for one in heard if one not in ("connection.subscribed", "connection.unsubscribed")]
        wanted = ["connection.opened"]
        wanted += ["connection.resumed"] * (session in resumed) + ["connection.closed"] * (session in ended)
        if first != wanted:
            found.append(Violation("lost", f"the application was told {first} of {session}"))
    return found


def a_session_lives_on(history: History, evidence: Evidence) -> list[Violation]:
    """A session opens once, its generations go up, also as its client is told, and it can be resumed for a while."""
    opened = Counter(
        session for session, _ in {(one.session, one.id) for one in evidence.inbound if one.type == SessionOpened.TYPE}
    )
    found = [Violation("repeated", f"{session} opened {n} times") for session, n in opened.items() if n > 1]
    logged: dict[str, dict[int, None]] = defaultdict(dict)
    for entry in evidence.inbound:
        if entry.type == SessionResumed.TYPE:
            logged[entry.session].setdefault(int(entry.payload["generation"]))
    for session, generations in logged.items():
        if any(after <= before for before, after in pairwise(generations)):
            found.append(Violation("reordered", f"the log has generations {list(generations)} of {session}"))
    newest: dict[str, int] = {}
    for record in history.of("resumed"):
        session, generation = record["session"], record["generation"]
        if generation not in logged[session]:
            found.append(Violation("lost", f"generation {generation} of {session} is not in the log", record["t"]))
        if generation <= newest.get(session, 0):
            found.append(Violation("repeated", f"{session} was told generation {generation} again", record["t"]))
        newest[session] = max(generation, newest.get(session, 0))
    return found + _denials(history, evidence)


def _denials(history: History, evidence: Evidence) -> list[Violation]:
    """Clients that were told that their session is over although it is not, or could not be yet."""
    ended = {entry.session for entry in evidence.inbound if entry.type == SessionClosed.TYPE}
    attempts: Counter[str] = Counter()
    found = []
    for record in history.of("resume", "resumed", "denied"):
        session = record["session"]
        if record["k"] == "resume":
            attempts[session] += 1
        elif record["k"] == "resumed":
            attempts[session] = 0
        elif session not in ended:
            found.append(Violation("untrue", f"{session} could not be resumed and has no end", record["t"]))
        elif attempts[session] <= RETRIES and record["t"] - record["heard"] < RESUME_S - EARLY_S:
            found.append(Violation("untrue", f"{session} could not be resumed so soon", record["t"]))
    return found
