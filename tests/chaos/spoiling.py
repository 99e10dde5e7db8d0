"""What can be wrong with a run that is otherwise right, one thing at a time, for the tests of the checkers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.chaos.evidence import Logged
from tests.chaos.making import CHANNEL, IN, Run, published, received, recv


def drop(records: list[Any], wanted: Callable[[Any], bool]) -> None:
    """Take the first one that is `wanted` out."""
    records.remove(next(one for one in records if wanted(one)))


def of(kind: str, **fields: Any) -> Callable[[Any], bool]:
    """Records of a kind with these fields."""
    return lambda record: record["k"] == kind and all(record.get(name) == value for name, value in fields.items())


def swap(records: list[Any], first: int, second: int) -> None:
    """Exchange two."""
    records[first], records[second] = records[second], records[first]


def key_of(run: Run, part: str) -> dict[str, Any]:
    """The first key with this in its name."""
    return next(key for key in run.evidence.keys if part in key["name"])


def recovered(run: Run) -> dict[str, Any]:
    """The answer of the one subscription that recovered."""
    return next(record for record in run.records("subscribed") if record["session"] == "c")


def lose_effect(run: Run) -> None:
    drop(run.evidence.ledger, lambda row: row.get("op") == 2)


def lose_entry(run: Run) -> None:
    drop(run.evidence.inbound, lambda entry: entry.id == "ea2")


def lose_note(run: Run) -> None:
    drop(run.evidence.outbound, lambda entry: entry.id == "n2")


def lose_whisper(run: Run) -> None:
    drop(run.evidence.outbound, lambda entry: entry.id == "pa5")


def bury_without_a_reason(run: Run) -> None:
    run.evidence.dead.append(replace(received(5, "a", 2), error="its process ended 8 times while handling it"))


def take_effect_as_another_event(run: Run) -> None:
    run.evidence.ledger.append(copy.deepcopy(run.evidence.ledger[-1]) | {"event": "another"})


def store_as_another_event(run: Run) -> None:
    entry = copy.deepcopy(run.evidence.inbound[4])
    entry.id, entry.stream_id = "another", "10-0"
    run.evidence.inbound.append(entry)


def acknowledge_as_another_event(run: Run) -> None:
    run.history.record("ok", client="A", op=2, session="a", event="another")


def publish_twice(run: Run) -> None:
    entry = copy.deepcopy(run.evidence.outbound[4])
    entry.id, entry.stream_id = "another", "10-0"
    run.evidence.outbound.append(entry)


def lose_from_log_and_archive(run: Run) -> None:
    lose_entry(run)
    lose_from_archive(run)


def swap_in_archive(run: Run) -> None:
    places = [n for n, row in enumerate(run.evidence.archive) if row[2] in ("ea1", "ea2")]
    (log, first, one), (_, second, other) = (run.evidence.archive[n] for n in places)
    for n, row in zip(places, ((log, first, other), (log, second, one)), strict=True):
        run.evidence.archive[n] = row


def lose_from_archive(run: Run) -> None:
    drop(run.evidence.archive, lambda row: row[2] == "ea2")


def archive_twice(run: Run) -> None:
    run.evidence.archive.append(run.evidence.archive[3])


def archive_what_is_nowhere(run: Run) -> None:
    run.evidence.archive.append((IN, "99-0", "nobody's"))


def swap_effects(run: Run) -> None:
    swap(run.evidence.ledger, -3, -2)


def swap_entries(run: Run) -> None:
    swap(run.evidence.inbound, 4, 5)


def lose_delivery(run: Run) -> None:
    drop(run.history.records, of("recv", session="b", op=1))


def lose_last_delivery(run: Run) -> None:
    drop(run.history.records, of("recv", session="c", op=4))


def swap_deliveries(run: Run) -> None:
    places = [n for n, record in enumerate(run.history.records) if of("recv", session="b")(record)]
    swap(run.history.records, *places)


def repeat_delivery(run: Run) -> None:
    run.history.records.append(copy.deepcopy(run.records("recv")[-1]))


def deliver_to_its_sender(run: Run) -> None:
    recv(run.history, "A", "a", 2)


def misplace_delivery(run: Run) -> None:
    run.records("recv")[0]["offset"] = 7


def recover_twice(run: Run) -> None:
    recovered(run)["missed"] *= 2


def recover_out_of_order(run: Run) -> None:
    run.records("subscribe")[-1]["recover"] = ["epoch", 1]
    recovered(run)["missed"] = [[3, "a", 3, True], [2, "a", 2, True]]


def recover_with_a_hole(run: Run) -> None:
    recovered(run)["missed"] = []


def deny_recovery(run: Run) -> None:
    recovered(run).update({"recovered": False, "missed": []})


def deny_recovery_of_a_resumed_channel(run: Run) -> None:
    run.records("subscribed")[-1]["recovered"] = False


def resume_without_a_channel(run: Run) -> None:
    """Nobody speaks of the channel any more, and what the other one says there does not come."""
    drop(run.history.records, lambda record: record is run.records("subscribed")[-1])
    run.evidence.outbound.append(published(6, "c", 6, "c"))


def hear_before_the_channel_is_back(run: Run) -> None:
    run.evidence.outbound[4].payload["exclude"] = "c"
    run.evidence.outbound.append(published(6, "c", 6, "c"))
    back = run.records("subscribed")[-1]
    back |= {"offset": 5, "missed": [[5, "a", 5, True]]}
    recv(run.history, "A", "a", 6)
    run.history.records[-1]["from"] = "c"
    run.history.records.insert(run.history.records.index(back), run.history.records.pop())


def recover_from_another_epoch(run: Run) -> None:
    run.records("subscribe")[-1]["recover"] = ["another", 2]


def recover_what_was_seen(run: Run) -> None:
    recovered(run)["missed"].insert(0, [2, "a", 2, True])


def lose_an_answer(run: Run) -> None:
    drop(run.history.records, of("reply", op=3))


def answer_twice(run: Run) -> None:
    run.history.record("reply", client="A", op=3, session="a", offset=3)


def hear_what_nobody_said(run: Run) -> None:
    recv(run.history, "B", "c", 6)


def hear_something_broken(run: Run) -> None:
    run.records("recv")[0]["intact"] = False


def hear_another_channel(run: Run) -> None:
    run.records("invoke")[0]["channel"] = "room-0"


def recover_something_broken(run: Run) -> None:
    recovered(run)["missed"][0][3] = False


def be_told_something_odd(run: Run) -> None:
    run.history.record("odd", client="B", session="c", frame={"type": "error", "code": 104})


def apply_under_another_session(run: Run) -> None:
    run.evidence.ledger[-1]["session"] = "c"


def list_one_that_is_gone(run: Run) -> None:
    run.evidence.keys[0]["fields"].append("b")


def forget_one_that_is_there(run: Run) -> None:
    run.evidence.keys[1]["fields"].remove("c")


def be_present_without_a_session(run: Run) -> None:
    run.evidence.keys[2]["fields"].append("C")


def show_members_another_presence(run: Run) -> None:
    run.records("end")[-1]["open"]["c"]["members"][CHANNEL] = ["B"]


def lose_an_end(run: Run) -> None:
    drop(run.evidence.inbound, lambda entry: entry.id == "cb")


def end_what_is_open(run: Run) -> None:
    run.evidence.inbound.append(Logged(IN, "10-0", "ca", "session.closed", "", "a", {}))


def tell_the_end_first(run: Run) -> None:
    opened, closed = (n for n, row in enumerate(run.evidence.ledger) if row["session"] == "b")
    swap(run.evidence.ledger, opened, closed)


def tell_of_a_resumption_after_the_end(run: Run) -> None:
    run.evidence.ledger.append({"event": "rb", "session": "b", "connection": "connection.resumed"})


def open_again(run: Run) -> None:
    run.evidence.inbound.append(Logged(IN, "10-0", "oa2", "session.opened", "", "a", {}))


def resume_unlogged(run: Run) -> None:
    drop(run.evidence.inbound, lambda entry: entry.id == "ra")


def resume_backwards(run: Run) -> None:
    run.evidence.inbound.append(Logged(IN, "10-0", "ra2", "session.resumed", "", "a", {"generation": 1}))


def resume_the_same_generation(run: Run) -> None:
    run.history.record("resumed", client="A", session="a", generation=2, recovered=True)


def deny_what_is_open(run: Run) -> None:
    lose_an_end(run)


def deny_too_soon(run: Run) -> None:
    run.records("denied")[0]["heard"] = run.records("denied")[0]["t"]


def tell_of_no_gap(run: Run) -> None:
    run.records("resumed")[0]["recovered"] = False


def lose_what_came_between(run: Run) -> None:
    run.records("resume")[-1]["offsets"]["session:a"] = ["epoch", 3]
    drop(run.history.records, of("reply", op=4))


def lose_a_missed_note(run: Run) -> None:
    drop(run.history.records, of("note", n=2))


def note_twice(run: Run) -> None:
    run.history.record("note", client="A", session="a", user="A", n=2, offset=2)


def note_what_nobody_sent(run: Run) -> None:
    run.history.record("note", client="A", session="a", user="A", n=3, offset=3)


def repeat_after_resuming(run: Run) -> None:
    run.history.record("reply", client="A", op=4, session="a", offset=4)


def swap_answers(run: Run) -> None:
    places = [n for n, record in enumerate(run.history.records) if of("reply")(record)]
    swap(run.history.records, places[0], places[1])


def leave_an_entry_pending(run: Run) -> None:
    run.evidence.groups[0]["pending"] = 1


def leave_an_entry_unread(run: Run) -> None:
    run.evidence.groups[0]["lag"] = 1


def leave_an_attempt(run: Run) -> None:
    run.evidence.keys.append({"name": "hg:{in:0}:attempts:laravel", "ttl": -1, "fields": ["1-0"]})


def leave_a_lease_for_ever(run: Run) -> None:
    key_of(run, ":lease:")["ttl"] = -1


def leave_a_key_of_a_session(run: Run) -> None:
    key_of(run, ":auth:")["ttl"] = -1


def leave_a_key_of_a_gateway(run: Run) -> None:
    run.evidence.gateways.clear()


def leave_a_connection(run: Run) -> None:
    key_of(run, ":connected:")["fields"].append("b")


def leave_a_session_that_waits(run: Run) -> None:
    run.evidence.keys.append({"name": "hg:{in:0}:disconnected", "ttl": -1, "fields": []})
