"""The router once more: every entry of the outbound log, in its order, with what the trail says of time and epochs.

The router is given what was on the log, not what the processors make now: so a rule that has changed shows what it
changes, and not all that follows from that.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Sequence
from typing import Final

from console.replay.differences import Tally, values
from console.replay.sandbox import Sandbox
from egress.operations import Look, Operation
from runtime.bus.outcomes import Outcome, Received, Verdict
from runtime.recording import Record
from schemas.entry import Entry
from schemas.events import EntryHandled, MessagePublished
from schemas.handled import Routed

#: Entries that are routed in one round trip.
BATCH: Final = 2000
#: Entries of one log that wait for those who settled them, at most: the oldest are given up.
HELD: Final = 100_000
#: Topics whose epoch is known without asking.
_TOPICS: Final = 100_000
ROUTER: Final = "router"
_NOWHERE: Final = Routed()
#: Entries of which it is known that they were routed, so that repeats are told from others.
_REMEMBERED: Final = 20_000
#: The epoch of a topic that nothing recorded says.
_UNKNOWN: Final = "unknown"
#: A note on those that have the same place in their topic, and perhaps other deliveries.
UNKNOWN_SUBSCRIBERS: Final = "routed, while it is not known who subscribed"
#: Why it is not known who subscribes to a topic.
_OLDER: Final = "topics that began before the beginning"
_GAPS: Final = "topics of which something is gone"


class Moments:
    """When operations were carried out, and in which epoch: what the trail says of the batch that is being routed."""

    def __init__(self) -> None:
        self.of: dict[str, tuple[int, str]] = {}

    def __call__(self, operation: Operation) -> tuple[int, str]:
        """As egress.topics.store.TopicStore takes it."""
        return (0, "") if isinstance(operation, Look) else self.of[operation.id]


class Routing:
    """Takes records in order, and judges what the router makes of them."""

    def __init__(self, sandbox: Sandbox, moments: Moments, tally: Tally) -> None:
        """`moments`: the one that `sandbox` asks."""
        self._sandbox = sandbox
        self._moments = moments
        self._tally = tally
        self._waiting: dict[str, deque[Record]] = defaultdict(deque)
        """By outbound log: what was not settled yet, as far as was read, or waits for one that is before it."""
        self._ids: set[str] = set()
        self._settled: dict[str, tuple[Record, EntryHandled]] = {}
        """What the trail says of those that wait."""
        self._epochs: OrderedDict[str, str] = OrderedDict()
        self._routed: OrderedDict[str, None] = OrderedDict()
        self._repeated: set[str] = set()
        """Those that are on the log more than once: nothing says to which of them the trail belongs."""
        self._forgot = False
        self._offsets: dict[str, int] = {}
        """The last place in each topic that was recorded."""
        self._partial: dict[str, str] = {}
        """Topics of which something is not there, and why: who subscribes to them is not known."""

    def outbound(self, record: Record) -> None:
        """An entry of the outbound log."""
        if record.entry.id in self._ids or record.entry.id in self._routed:
            self._repeated.add(record.entry.id)
        self._waiting[record.stream].append(record)
        self._ids.add(record.entry.id)

    def erased(self, entry: Entry) -> None:
        """An entry of the outbound log of which the payload is gone."""
        self._partial.setdefault(entry.topic, _GAPS)

    def trail(self, trail: Record, handled: EntryHandled) -> None:
        """The router has settled its cause."""
        if trail.entry.cause in self._ids:
            self._settled[trail.entry.cause] = (trail, handled)
        elif handled.processor == ROUTER:
            self._tally.notes["routed again, or written before the beginning"] += 1

    async def route(self) -> None:
        """Route what is settled, and with it what is before that."""
        batch: list[Record] = []
        for waiting in self._waiting.values():
            last = next((n for n in range(len(waiting), 0, -1) if waiting[n - 1].entry.id in self._settled), 0)
            batch += [waiting.popleft() for _ in range(last)]
            while len(waiting) > HELD:
                self._give_up(waiting.popleft().entry)
        for start in range(0, len(batch), BATCH):
            await self._route(batch[start : start + BATCH])

    def finish(self) -> None:
        """Nothing follows: what was not settled is counted."""
        left = sum(map(len, self._waiting.values()))
        if left:
            self._tally.notes[f"not settled by {ROUTER}"] += left
        self._tally.notes.update(self._partial.values())

    def _give_up(self, entry: Entry) -> None:
        self._ids.discard(entry.id)
        self._partial.setdefault(entry.topic, _GAPS)
        self._tally.notes[f"not settled by {ROUTER}"] += 1

    async def _route(self, records: Sequence[Record]) -> None:
        await self._learn({record.entry.topic for record in records})
        left = deque(records)
        while left:
            part = await self._begin(left)
            while part:
                outcomes = await self._sandbox.router.handle([Received(0, one.stream_id, one.entry) for one in part])
                for record, outcome in zip(part, outcomes, strict=False):
                    self._judge(record.entry, outcome)
                part = part[max(1, len(outcomes)) :]

    async def _begin(self, left: deque[Record]) -> list[Record]:
        """Take what can be routed together, and see to it that its topics have the epochs that they had."""
        part: list[Record] = []
        seen: set[str] = set()
        anew: list[tuple[str, str, int, int]] = []
        gaps: list[tuple[str, int]] = []
        self._moments.of = {}
        while left:
            record = left[0]
            topic, now = record.entry.topic, self._epochs.get(record.entry.topic, "")
            at, epoch, offset, began = self._place(record)
            if (epoch or now) != now or not now:
                if topic in seen and now:
                    break  # It began anew: what is before that must be routed first.
                if not began:
                    self._partial.setdefault(topic, _OLDER)
                if epoch and (now or not began):
                    anew.append((topic, epoch, offset, at))
                self._epochs[topic] = epoch or _UNKNOWN
                self._offsets.pop(topic, None)
            elif offset > self._offsets.get(topic, offset):
                if topic in seen:
                    break  # What is before the gap must be routed first.
                self._partial.setdefault(topic, _GAPS)
                gaps.append((topic, offset))
            self._passed(record.entry, epoch, offset)
            self._moments.of[record.entry.id] = (at, epoch or _UNKNOWN)
            seen.add(topic)
            part.append(left.popleft())
        if anew:
            await self._sandbox.begin_topics(anew)
        if gaps:
            await self._sandbox.skip_to(gaps)
        return part

    def _passed(self, entry: Entry, epoch: str, before: int) -> None:
        """Note the place behind `entry`; `before`: the one before it, in `epoch` if it has one."""
        published = entry.type == MessagePublished.TYPE
        if epoch:
            self._offsets[entry.topic] = max(self._offsets.get(entry.topic, 0), before + published)
        elif published and entry.id not in self._settled and entry.topic in self._offsets:
            self._offsets[entry.topic] += 1  # Nothing was recorded of it.

    def _place(self, record: Record) -> tuple[int, str, int, bool]:
        """When it was routed, its epoch (empty where it gave none), the offset before it, and whether it began."""
        known = self._settled.get(record.entry.id)
        if known is None:
            return record.at, "", -1, False
        routed = known[1].routed or _NOWHERE
        offset = routed.offset - (record.entry.type == MessagePublished.TYPE)
        return known[0].at, routed.epoch, offset, routed.began

    async def _learn(self, topics: set[str]) -> None:
        unknown = [topic for topic in topics if topic not in self._epochs]
        # As long as none was forgotten, what is not known here is not in the sandbox.
        known = await self._sandbox.epochs(unknown) if unknown and self._forgot else [""] * len(unknown)
        self._epochs |= zip(unknown, known, strict=True)
        while len(self._epochs) > max(_TOPICS, len(topics)):
            self._offsets.pop(self._epochs.popitem(last=False)[0], None)
            self._forgot = True

    def _judge(self, entry: Entry, outcome: Outcome) -> None:
        known = self._settled.pop(entry.id, None)
        self._ids.discard(entry.id)
        self._routed[entry.id] = None
        if len(self._routed) > _REMEMBERED:
            self._repeated.discard(self._routed.popitem(last=False)[0])
        if known is None:
            return
        trail, handled = known[0].entry, known[1]
        done = "done" if outcome.verdict is Verdict.DONE else "dead"
        was, now = handled.routed or _NOWHERE, Routed.model_validate((outcome.notes or {}).get("routed", {}))
        if was.deliveries and not was.content:
            now = now.model_copy(update={"content": ""})  # An archive that leaves out fields has no digests.
        before, after = _judged(was), _judged(now)
        same = handled.outcome == done and (was.epoch, was.offset) == (now.epoch, now.offset)
        if same and before == after:
            self._tally.identical()
        elif handled.redelivered or entry.id in self._repeated or entry.topic in self._partial:
            # Who subscribed at the second time is not who did at the first; of partial topics it is not known at all.
            # What led to nothing the second time, since more was there by then, led to something the first time.
            if same or (handled.redelivered and not was.epoch and handled.outcome == done):
                self._tally.notes[UNKNOWN_SUBSCRIBERS] += 1
            else:
                told = {name: before[name] for name in ("deliveries", "content")}
                self._differs(trail, (handled.outcome, before), (done, after | told))
        else:
            self._differs(trail, (handled.outcome, before), (done, after))

    def _differs(self, trail: Entry, was: tuple[str, object], now: tuple[str, object]) -> None:
        changes = values("outcome", was[0], now[0]) | values("routed", was[1], now[1])
        self._tally.differs("changed", ROUTER, trail, changes)


def _judged(routed: Routed) -> dict[str, object]:
    """What the code decides of it. When a topic began is what it is told."""
    return {"epoch": routed.epoch, "offset": routed.offset, "deliveries": routed.deliveries, "content": routed.content}
