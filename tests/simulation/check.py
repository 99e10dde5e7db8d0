"""What must hold of a schedule in the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from schemas.entry import Entry
from schemas.events import MessagePublished, SubscriptionGranted
from schemas.keys import Keys, partition_of
from schemas.topics import channel_topic, session_topic
from tests.simulation.plan import frame_id
from tests.simulation.processes import CHANNEL, GATEWAY, GROUP, ROUTER
from tests.simulation.twin.store import Hash, Scores
from tests.simulation.twin.streams import Stream, read_id

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

Frame = tuple[str, int]


def drained(simulation: Simulation) -> bool:
    """Whether everything was sent, handled, acknowledged and read, and nothing is in hand: a repeat needs no entry."""
    if simulation.gateway.writing or simulation.world.now <= simulation.network.late:
        return False
    if any(one.group is not None and one.group._lanes._count for one in simulation.running):
        return False
    for _, log, group in _logs(simulation):
        stream = simulation.server.store.of(log.encode(), Stream)
        if stream is None or group.encode() not in stream.groups:
            return False
        found = stream.groups[group.encode()]
        if found.pending or found.last != stream.last:
            return False
    delivery = simulation.server.store.of(simulation.settings.keys.delivery(GATEWAY).encode(), Stream)
    return delivery is None or delivery.last == read_id(simulation.gateway.read.encode())


def settled(simulation: Simulation) -> bool:
    """Whether all are awake, the living have all partitions and know it, and the others are forgotten."""
    store, keys = simulation.server.store, simulation.settings.keys
    for kind in (GROUP, ROUTER):
        members = store.of(keys.members(kind).encode(), Scores) or Scores()
        there = [one.group for one in simulation.running if one.kind == kind and not one.stopped]
        if set(members) != {group._leases._owner.encode() for group in there if group is not None}:
            return False
    running = [one for one in simulation.running if one.group is not None and not one.stopped]
    groups = {one.group._leases._owner.encode(): one.group for one in running if one.group is not None}
    for p, log, name in _logs(simulation):
        owner, reader = store.find(Keys.lease(log, name).encode()), store.find(Keys.lease_reader(log, name).encode())
        group = groups.get(owner.partition(b":")[0]) if isinstance(owner, bytes) else None
        if group is None or not group._leases.holds(p) or group._reader.identity.encode() != reader:
            return False
    return not any(one.process.paused for one in running)


def wrong(simulation: Simulation) -> list[str]:
    """Every sentence that does not hold."""
    rules = (_sequences, _told, _dead, _left, _twice, _unlisted)
    return [sentence for rule in rules for sentence in rule(simulation)]


def _logs(simulation: Simulation) -> list[tuple[int, str, str]]:
    """(partition, log, its group)."""
    keys = simulation.settings.keys
    both = ((keys.inbound, GROUP), (keys.outbound, ROUTER))
    return [(p, log(p), group) for p in range(keys.partitions) for log, group in both]


def _entries(simulation: Simulation, log: str) -> list[Entry]:
    stream = simulation.server.store.of(log.encode(), Stream)
    if stream is None:
        return []
    flat = [stream.entries[one] for one in stream.ids]
    return [Entry.from_fields(dict(zip(fields[::2], fields[1::2], strict=True))) for fields in flat]


def _planned_dead(simulation: Simulation) -> set[str]:
    return {id_ for id_, fate in simulation.plan.fates.items() if fate.dead or fate.poison}


def _sequences(simulation: Simulation) -> list[str]:
    """Each session saw the first occurrences in the order of the log, on its own topic and on the channel."""
    keys, out = simulation.settings.keys, []
    dead = _planned_dead(simulation)
    channel = [
        e for e in _entries(simulation, keys.outbound_of(channel_topic(CHANNEL))) if e.topic == channel_topic(CHANNEL)
    ]
    for session, times in simulation.plan.sends.items():
        logged = [e for e in _entries(simulation, keys.inbound_of(session)) if e.session == session]
        numbers = list(dict.fromkeys(entry.payload()["frame"]["n"] for entry in logged))
        if numbers != list(range(len(times))):
            out.append(f"{session}: its frames are on the log as {numbers}")
        own = [(session, n) for n in numbers if n > 0 and frame_id(session, n) not in dead]
        seen = simulation.gateway.sessions[session].frames
        out += _differs(session, session_topic(session), own, seen)
        common = _published(channel, session)
        out += _differs(session, channel_topic(CHANNEL), common, seen)
        mine = [n for who, n in _published(channel, None) if who == session]
        if mine != [n for _, n in own if n % 2]:
            out.append(f"{session}: its frames for the channel are on the log as {mine}")
    return out


def _told(simulation: Simulation) -> list[str]:
    """Each session learned once that it is authenticated, and once that it is in the channel."""
    expected = ["authenticated", f"subscribed {CHANNEL}"]
    events = {session: at.events for session, at in simulation.gateway.sessions.items()}
    return [f"{session} was told {told}" for session, told in events.items() if sorted(told) != expected]


def _published(entries: Iterable[Entry], session: str | None) -> list[Frame]:
    """First occurrences of what was published, from the grant of `session` on (None: all)."""
    granted, frames = session is None, dict[Frame, None]()
    for entry in entries:
        if entry.type == SubscriptionGranted.TYPE and entry.session == session:
            granted = True
        elif entry.type == MessagePublished.TYPE and granted:
            frame = entry.payload()["frame"]
            frames[frame["from"], frame["n"]] = None
    if session is None:
        return list(frames)
    before = dict[Frame, None]()
    for entry in entries:
        if entry.type == SubscriptionGranted.TYPE and entry.session == session:
            break
        if entry.type == MessagePublished.TYPE:
            frame = entry.payload()["frame"]
            before[frame["from"], frame["n"]] = None
    return [frame for frame in frames if frame not in before]


def _differs(session: str, topic: str, expected: list[Frame], all_seen: list[tuple[str, str, int]]) -> list[str]:
    seen = [(who, n) for where, who, n in all_seen if where == topic]
    if seen == expected:
        return []
    kinds = []
    if lost := [frame for frame in expected if frame not in seen]:
        kinds.append(f"lost {lost}")
    if len(seen) != len(set(seen)):
        kinds.append("repeated")
    if more := [frame for frame in seen if frame not in expected]:
        kinds.append(f"unexpected {more}")
    order = [frame for frame in dict.fromkeys(seen) if frame in expected]
    if order != [frame for frame in expected if frame in order]:
        kinds.append("swapped")
    return [f"{session} on {topic}: {', '.join(kinds)}: saw {seen}, expected {expected}"]


def _dead(simulation: Simulation) -> list[str]:
    """Dead letters are those of events that the plan says, each once for each time that it is on the log."""
    expected, found, logged = _planned_dead(simulation), Counter[str](), Counter[str]()
    for _, log, group in _logs(simulation):
        letters = [entry.id for entry in _entries(simulation, Keys.dead(log))]
        if group == ROUTER:
            if letters:
                return [f"dead letters of the router: {letters}"]
            continue
        found.update(letters)
        logged.update(entry.id for entry in _entries(simulation, log) if entry.id in expected)
    if found == logged and logged.keys() == expected:
        return []
    return [f"dead letters: {sorted(found - logged)} too many, {sorted(logged - found)} missing, of {sorted(expected)}"]


def _left(simulation: Simulation) -> list[str]:
    """Nothing is pending, and no lease, counter or process is left over."""
    out, store = [], simulation.server.store
    for _, log, group in _logs(simulation):
        stream = store.of(log.encode(), Stream)
        found = stream.groups.get(group.encode()) if stream else None
        if found is None or found.pending:
            out.append(f"pending in {group} of {log}: {found and list(found.pending)}")
    for key in store.there():
        # Who read last may stay behind where a lease lapsed just before the end; it names a connection that is gone.
        if b":attempts:" in key or (b":lease:" in key and not key.endswith(b":reader")):
            out.append(f"left over: {key.decode()} {store.find(key)!r}")
    for group in (GROUP, ROUTER):
        members = store.of(simulation.settings.keys.members(group).encode(), Scores)
        out += [f"still a member of {group}: {name.decode()}" for name in members or ()]
    return out


def _unlisted(simulation: Simulation) -> list[str]:
    """The channel is listed as one that has subscribers, whoever was late with a note about it."""
    keys = simulation.settings.keys
    partition = partition_of(channel_topic(CHANNEL), keys.partitions)
    listed = simulation.server.store.of(keys.channels(partition).encode(), Hash) or Hash()
    return [] if CHANNEL.encode() in listed else ["the channel has subscribers and is not listed"]


def _twice(simulation: Simulation) -> list[str]:
    """Where processes only came and went in good order, the application was asked as often as it said."""
    if not simulation.plan.calm:
        return []
    out = []
    for session, times in simulation.plan.sends.items():
        for n in range(len(times)):
            fate, asked = (
                simulation.plan.fates[frame_id(session, n)],
                simulation.application.asked[frame_id(session, n)],
            )
            expected = simulation.settings.max_attempts if fate.poison else 1 + fate.again + fate.later
            if fate.dead:
                expected = 1
            if asked != expected:
                out.append(f"{session} {n} was handled {asked} times, not {expected}")
    return out
