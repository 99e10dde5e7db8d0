"""The processors once more: every entry that they settled, in the order in which they did.

A processor is given what it was given then: the entry, the application's answer, and what it remembered of earlier
ones. What it makes of that is compared with what is on the logs. The trail says what was settled when, so that the
sessions that met each other then (one resumes what another connection had) meet in the same order (see Turns).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from redis.exceptions import RedisError

from console.replay.answers import RecordedAnswers, Unanswered
from console.replay.differences import Tally, values
from console.replay.live import TYPES as REPLAYED
from console.replay.sandbox import Sandbox
from console.replay.turns import Held, Outputs, Settled, Turns, resumes
from runtime.bus.outcomes import Outcome, Received, Verdict
from runtime.recording import Record
from schemas.entry import Entry
from schemas.events import (
    AuthRequested,
    DisconnectRequested,
    EntryHandled,
    MessagePublished,
    MessageReceived,
    SessionClosed,
    SessionDisconnected,
    SessionOpened,
    SubscribeRequested,
    SubscriptionEnded,
    WhisperReceived,
)
from schemas.ids import derived

#: Entries that wait for those who settled them, at most: the oldest are given up.
HELD: Final = 100_000
#: Settled entries whose outputs are known, so that a repeat is told from something new.
_REMEMBERED: Final = 20_000
#: Sessions that are over and have left something in the sandbox: what they sent last may be read yet.
OVER: Final = 5_000
#: Of them as many are forgotten in one round trip.
FORGOTTEN: Final = 500
#: What a processor makes of these rests on nothing that it remembers of the session.
_BY_THEMSELVES: Final = frozenset(
    {MessageReceived.TYPE, WhisperReceived.TYPE, AuthRequested.TYPE, SubscribeRequested.TYPE}
)
_AUTH_REMEMBERS: Final = frozenset({SessionDisconnected.TYPE})
#: What the application may write to the outbound log by itself.
_PUBLISHED: Final = frozenset({MessagePublished.TYPE, DisconnectRequested.TYPE})


class Processing:
    """Takes records in order, and judges what the processors make of them."""

    def __init__(self, sandbox: Sandbox, answers: RecordedAnswers | None, tally: Tally) -> None:
        """`answers`: told what was recorded of each entry; None where the application itself is asked."""
        self._sandbox = sandbox
        self._answers = answers
        self._tally = tally
        self._held: OrderedDict[str, Held] = OrderedDict()
        self._early: OrderedDict[str, Outputs] = OrderedDict()
        """Outputs of what was not read (yet): of what was before the beginning, and where clocks are apart."""
        self._made: OrderedDict[str, tuple[str, Entry]] = OrderedDict()
        """Outputs that were not recorded so far, and who made them: where clocks are apart they come late."""
        self._settled: OrderedDict[str, frozenset[str]] = OrderedDict()
        self._passed: OrderedDict[str, None] = OrderedDict()
        """Entries that no processor here handles: the application reads them from the log itself."""
        self._known: set[str] = set()
        """Sessions that began within what is replayed, and are not over."""
        self._over: deque[str] = deque()
        self._turns = Turns()
        self._ends: dict[str, Held] = {}
        """The ends of sessions that no entry of their log led to, and that what came before must be done for."""

    async def inbound(self, record: Record) -> None:
        """An entry of the inbound log."""
        entry = record.entry
        if entry.cause and entry.type not in REPLAYED:
            self.output(entry)
        if entry.type == SessionOpened.TYPE and (entry.cause in self._held or entry.cause in self._settled):
            self._known.add(entry.session)
        waits_for = {name for name, one in self._sandbox.processors.items() if entry.type in one.types}
        if not waits_for:
            self._pass(entry)
            return
        self._held[entry.id] = held = Held(record, waits_for)
        for output in self._early.pop(entry.id, {}).values():
            held.take(output)
        self._turns.came(held)
        if entry.type == SessionClosed.TYPE and entry.session in self._known:
            self._ends[entry.session] = held
            await self._end(entry.session)
        if len(self._held) > HELD:
            _, oldest = self._held.popitem(last=False)
            self._turns.gone(oldest)
            self._give_up(oldest)

    def output(self, entry: Entry) -> None:
        """An entry that another led to."""
        if entry.type == SubscriptionEnded.TYPE and entry.id == derived(entry.cause, "revoked"):
            return  # Written together with its cause, by the HTTP API.
        held = self._held.get(entry.cause)
        if _of_application(entry, held) or entry.cause in self._passed:
            self._tally.notes["published by the application"] += 1
        elif (made := self._made.pop(entry.id, None)) is not None:
            self._tally.judge(made[0], entry, made[1])
            if held is not None:
                held.known.add(entry.id)
            else:
                self._settled[entry.cause] = self._settled.get(entry.cause, frozenset()) | {entry.id}
        elif held is not None:
            held.take(entry)
        elif (known := self._settled.get(entry.cause)) is None:
            self._early.setdefault(entry.cause, {})[entry.id] = entry
            if len(self._early) > _REMEMBERED:
                _, outputs = self._early.popitem(last=False)
                self._tally.notes["outputs of entries before the beginning"] += len(outputs)
        elif entry.id in known:
            self._tally.notes["repeats"] += 1
        else:
            self._tally.differs("missing", "", entry)

    async def trail(self, trail: Entry, handled: EntryHandled) -> None:
        """A processor has settled its cause."""
        held = self._held.get(trail.cause)
        if held is None:
            if trail.cause not in self._settled and trail.cause not in self._passed:
                self._tally.notes["settled, but written before the beginning"] += 1
            return
        if handled.processor not in held.waits_for or handled.processor in held.settled:
            return
        held.settled.add(handled.processor)
        self._turns.settled(Settled(held, trail, handled))
        while (one := self._turns.next()) is not None:
            await self._settle(one)

    async def forget(self) -> None:
        """Let the sandbox forget sessions that were over long ago."""
        while len(self._over) >= OVER + FORGOTTEN:
            await self._sandbox.forget([self._over.popleft() for _ in range(FORGOTTEN)])

    async def finish(self) -> None:
        """Nothing follows: what was not settled is counted."""
        while (one := self._turns.next(at_last=True)) is not None:
            await self._settle(one)
        for session in list(self._ends):
            await self._end(session, at_last=True)
        for made in self._made.values():
            self._new(*made)
        for held in self._held.values():
            self._give_up(held)
        self._tally.notes["outputs of entries before the beginning"] += sum(map(len, self._early.values()))

    def _pass(self, entry: Entry) -> None:
        self._passed[entry.id] = None
        if len(self._passed) > _REMEMBERED:
            self._passed.popitem(last=False)
        for output in self._early.pop(entry.id, {}).values():
            self.output(output)

    async def _settle(self, one: Settled) -> None:
        held, processor, session = one.held, one.handled.processor, one.held.record.entry.session
        if held.record.entry.id not in self._held:
            return  # Given up.
        if held is self._ends.get(session) and processor == "channels":
            await self._end(session, at_last=True)
        held.waits_for.discard(processor)
        if self._remembers(processor, held):
            await self._again(held, one.trail, one.handled)
        else:
            held.judged = False
            self._tally.notes["of sessions that began before the beginning"] += 1
        if session in self._ends:
            await self._end(session)
        if not held.waits_for:
            self._turns.gone(held)
            del self._held[held.record.entry.id]
            self._complete(held)

    async def _end(self, session: str, *, at_last: bool = False) -> None:
        """A session is over by time, or by an order of the application: no entry of this log led to it.

        What it joined before that it joins before that again, and it loses its connection first, unless that was never
        settled (`at_last`).
        """
        if (self._turns.joins(session) or self._turns.disconnects(session)) and not at_last:
            return
        held = self._ends.pop(session)
        closed = held.record.entry
        event = closed.event()
        if not isinstance(event, SessionClosed) or closed.cause in self._held or closed.cause in self._settled:
            return  # The end of its connection led to it.
        who = "router" if closed.cause else "reaper"
        made = await self._sandbox.end(closed, event)
        for now in made:
            recorded = closed if now.id == closed.id else held.outputs.pop(now.id, None)
            if recorded is None:
                self._new(who, now)
            else:
                self._tally.judge(who, recorded, now)
        if not made:
            self._tally.differs("missing", who, closed)

    def _new(self, processor: str, made: Entry) -> None:
        self._tally.differs("new", processor, made)

    def _remembers(self, processor: str, held: Held) -> bool:
        """Whether the sandbox remembers what the processor remembered: that from before the beginning it does not."""
        entry = held.record.entry
        if entry.type == AuthRequested.TYPE:
            former = resumes(entry)
            return not former or former in self._known or derived(entry.id, "authenticated") in held.outputs
        if entry.type in _BY_THEMSELVES or processor not in ("auth", "channels"):
            return True
        return entry.session in self._known or (processor == "auth" and entry.type not in _AUTH_REMEMBERS)

    async def _again(self, held: Held, trail: Entry, handled: EntryHandled) -> None:
        record, name = held.record, handled.processor
        if self._answers is not None:
            self._answers.of(handled.asked)
        # Whether the application was asked then says whether it was to be asked although it had been.
        retried = handled.asked is not None
        received = Received(0, record.stream_id, record.entry, handled.attempts, retried=retried)
        try:
            (outcome,) = await self._sandbox.processors[name].handler([received])
        except Unanswered as error:
            held.judged = False
            self._tally.notes[f"not answered: {error}"] += 1
            return
        except RedisError:
            raise
        # As in runtime.bus.lanes: a defect of a handler is an attempt that failed.
        except Exception as error:
            outcome = Outcome.again(type(error).__name__)
        made = list(outcome.emits)
        if name != "laravel" and record.entry.type != WhisperReceived.TYPE:
            made += await self._sandbox.written(record.entry.session)
        for entry in made:
            recorded = self._recorded(held, entry)
            if recorded is not None:
                if recorded.ts < entry.ts == record.entry.ts:
                    # Sent again by its client: what was appended first was handled, and lost before it had a replica.
                    # Nothing else is there before what led to it was sent.
                    recorded = replace(recorded, ts=entry.ts)
                    self._tally.notes["made of another append of the same event, which is not there"] += 1
                self._tally.judge(name, recorded, entry)
            else:
                self._made[entry.id] = (name, entry)
        while len(self._made) > _REMEMBERED:
            self._new(*self._made.popitem(last=False)[1])
        self._judge_outcome(trail, handled, outcome)

    def _recorded(self, held: Held, made: Entry) -> Entry | None:
        """What was recorded under the id of `made`: of the same entry, or of what that led to in the same step."""
        led = self._held.get(made.cause)
        for outputs in (held.outputs, led.outputs if led else {}, self._early.get(made.cause, {})):
            if (recorded := outputs.pop(made.id, None)) is not None:
                return recorded
        return None

    def _judge_outcome(self, trail: Entry, handled: EntryHandled, outcome: Outcome) -> None:
        was = {"outcome": handled.outcome, "asked": handled.asked.sent if handled.asked else None}
        # Attempts are those of then: what fails now failed for good.
        done = outcome.verdict is Verdict.DONE
        asked: Mapping[str, Any] = (outcome.notes or {}).get("asked", {})
        now = {"outcome": "done" if done else "dead", "asked": asked.get("sent")}
        if was["asked"] == "" and now["asked"]:
            now["asked"] = ""  # An archive that leaves out fields has no digests: this cannot be compared.
        if was == now:
            self._tally.identical()
        else:
            self._tally.differs("changed", handled.processor, trail, values("trail", was, now))

    def _complete(self, held: Held) -> None:
        entry = held.record.entry
        if entry.type == SessionClosed.TYPE:
            self._known.discard(entry.session)
            self._over.append(entry.session)
        for output in held.outputs.values():
            if held.judged:
                self._tally.differs("missing", "", output)
            else:
                self._tally.notes["outputs that could not be judged"] += 1
        self._settled[entry.id] = frozenset(held.known)
        if len(self._settled) > _REMEMBERED:
            self._settled.popitem(last=False)

    def _give_up(self, held: Held) -> None:
        for name in sorted(held.waits_for):
            self._tally.notes[f"not settled by {name}"] += 1
        self._tally.notes["outputs that could not be judged"] += len(held.outputs)


def _of_application(entry: Entry, held: Held | None) -> bool:
    """Whether the application published `entry` by itself, while it handled the cause or again in a live replay.

    What a processor publishes is of the gateway that its cause came by; what the application does is of none.
    """
    return entry.type in _PUBLISHED and not entry.gateway and (held is None or held.record.entry.gateway != "")
