"""The checkers find what was put into a run that is otherwise right: a harness that finds nothing proves nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.chaos import checkers, evidence, history, lives, spoiling, views
from tests.chaos.checkers import check
from tests.chaos.history import History
from tests.chaos.making import Run, good, received
from tests.chaos.replaying import judged
from tests.chaos.violations import Checker

SPOILT: list[tuple[Checker, Callable[[Run], None], str]] = [
    (checkers.acknowledged_is_handled, spoiling.lose_effect, "lost"),
    (checkers.acknowledged_is_handled, spoiling.lose_entry, "lost"),
    (checkers.acknowledged_is_handled, spoiling.lose_whisper, "lost"),
    (checkers.acknowledged_is_handled, spoiling.lose_note, "lost"),
    (checkers.acknowledged_is_handled, spoiling.bury_without_a_reason, "lost"),
    (checkers.a_message_is_one_event, spoiling.take_effect_as_another_event, "repeated"),
    (checkers.a_message_is_one_event, spoiling.store_as_another_event, "repeated"),
    (checkers.a_message_is_one_event, spoiling.acknowledge_as_another_event, "repeated"),
    (checkers.a_message_is_one_event, spoiling.publish_twice, "repeated"),
    (checkers.archived_exactly_once, spoiling.lose_from_archive, "lost"),
    (checkers.archived_exactly_once, spoiling.lose_from_log_and_archive, "lost"),
    (checkers.archived_exactly_once, spoiling.archive_twice, "repeated"),
    (checkers.archived_exactly_once, spoiling.archive_what_is_nowhere, "stray"),
    (checkers.application_sees_the_order, spoiling.swap_effects, "reordered"),
    (checkers.logs_keep_the_order, spoiling.swap_entries, "reordered"),
    (checkers.logs_keep_the_order, spoiling.swap_in_archive, "reordered"),
    (views.subscribers_miss_nothing, spoiling.lose_delivery, "lost"),
    (views.subscribers_miss_nothing, spoiling.lose_last_delivery, "lost"),
    (views.subscribers_miss_nothing, spoiling.swap_deliveries, "reordered"),
    (views.subscribers_miss_nothing, spoiling.misplace_delivery, "reordered"),
    (views.subscribers_miss_nothing, spoiling.deliver_to_its_sender, "repeated"),
    (views.nothing_comes_twice, spoiling.repeat_delivery, "repeated"),
    (views.nothing_comes_twice, spoiling.recover_what_was_seen, "repeated"),
    (views.nothing_comes_twice, spoiling.recover_twice, "repeated"),
    (views.recovery_is_honest, spoiling.recover_with_a_hole, "lost"),
    (views.recovery_is_honest, spoiling.recover_out_of_order, "lost"),
    (views.recovery_is_honest, spoiling.deny_recovery, "untrue"),
    (views.recovery_is_honest, spoiling.recover_from_another_epoch, "untrue"),
    (views.recovery_is_honest, spoiling.deny_recovery_of_a_resumed_channel, "untrue"),
    (views.subscribers_miss_nothing, spoiling.resume_without_a_channel, "lost"),
    (views.subscribers_miss_nothing, spoiling.hear_before_the_channel_is_back, "reordered"),
    (checkers.answers_reach_their_sender, spoiling.lose_an_answer, "lost"),
    (checkers.answers_reach_their_sender, spoiling.answer_twice, "repeated"),
    (checkers.nobody_hears_what_nobody_said, spoiling.hear_what_nobody_said, "stray"),
    (checkers.nobody_hears_what_nobody_said, spoiling.hear_something_broken, "stray"),
    (checkers.nobody_hears_what_nobody_said, spoiling.recover_something_broken, "stray"),
    (checkers.nobody_hears_what_nobody_said, spoiling.hear_another_channel, "stray"),
    (checkers.nobody_hears_what_nobody_said, spoiling.be_told_something_odd, "stray"),
    (checkers.nobody_hears_what_nobody_said, spoiling.apply_under_another_session, "stray"),
    (checkers.everybody_knows_who_is_there, spoiling.list_one_that_is_gone, "untrue"),
    (checkers.everybody_knows_who_is_there, spoiling.forget_one_that_is_there, "untrue"),
    (checkers.everybody_knows_who_is_there, spoiling.be_present_without_a_session, "untrue"),
    (checkers.everybody_knows_who_is_there, spoiling.show_members_another_presence, "untrue"),
    (lives.every_end_is_told, spoiling.lose_an_end, "lost"),
    (lives.every_end_is_told, spoiling.end_what_is_open, "untrue"),
    (lives.every_end_is_told, spoiling.tell_the_end_first, "lost"),
    (lives.every_end_is_told, spoiling.tell_of_a_resumption_after_the_end, "lost"),
    (lives.a_session_lives_on, spoiling.open_again, "repeated"),
    (lives.a_session_lives_on, spoiling.resume_unlogged, "lost"),
    (lives.a_session_lives_on, spoiling.resume_backwards, "reordered"),
    (lives.a_session_lives_on, spoiling.resume_the_same_generation, "repeated"),
    (lives.a_session_lives_on, spoiling.deny_what_is_open, "untrue"),
    (lives.a_session_lives_on, spoiling.deny_too_soon, "untrue"),
    (views.recovery_is_honest, spoiling.tell_of_no_gap, "untrue"),
    (views.subscribers_miss_nothing, spoiling.lose_what_came_between, "lost"),
    (views.subscribers_miss_nothing, spoiling.swap_answers, "reordered"),
    (views.subscribers_miss_nothing, spoiling.lose_a_missed_note, "lost"),
    (views.nothing_comes_twice, spoiling.note_twice, "repeated"),
    (checkers.nobody_hears_what_nobody_said, spoiling.note_what_nobody_sent, "stray"),
    (views.nothing_comes_twice, spoiling.repeat_after_resuming, "repeated"),
    (checkers.nothing_is_left, spoiling.leave_an_entry_pending, "left over"),
    (checkers.nothing_is_left, spoiling.leave_an_entry_unread, "left over"),
    (checkers.nothing_is_left, spoiling.leave_an_attempt, "left over"),
    (checkers.nothing_is_left, spoiling.leave_a_lease_for_ever, "left over"),
    (checkers.nothing_is_left, spoiling.leave_a_key_of_a_session, "left over"),
    (checkers.nothing_is_left, spoiling.leave_a_key_of_a_gateway, "left over"),
    (checkers.nothing_is_left, spoiling.leave_a_connection, "left over"),
    (checkers.nothing_is_left, spoiling.leave_a_session_that_waits, "left over"),
]


def test_a_run_in_which_all_is_right_passes() -> None:
    """No checker finds anything in it."""
    run = good()
    assert not any(check(run.history, run.evidence).values())


@pytest.mark.parametrize(("checker", "spoil", "sort"), SPOILT, ids=lambda one: getattr(one, "__name__", one))
def test_what_is_wrong_is_found(checker: Checker, spoil: Callable[[Run], None], sort: str) -> None:
    """The checker whose matter it is says so, and what it is."""
    run = good()
    spoil(run)
    assert sort in {violation.sort for violation in checker(run.history, run.evidence)}


def test_every_checker_has_found_something() -> None:
    """None of them is here for show."""
    assert {checker for checker, _, _ in SPOILT} == set(checkers.CHECKERS)


def test_a_dead_letter_is_no_loss() -> None:
    """What the application could not handle is where an operator finds it."""
    run = good()
    spoiling.lose_effect(run)
    run.evidence.dead.append(replace(received(5, "a", 2), error="the application answered 500"))
    assert not checkers.acknowledged_is_handled(run.history, run.evidence)


def test_what_was_sent_again_may_come_later() -> None:
    """Only its last sending says how late it may be."""
    run = good()
    spoiling.swap_effects(run)
    run.history.record("send", client="A", op=2, session="a")
    assert not checkers.application_sees_the_order(run.history, run.evidence)


def test_what_is_kept_is_read_again(tmp_path: Any) -> None:
    """A history and its evidence say the same after they were files."""
    run = good()
    kept = History(tmp_path / "history.jsonl")
    for record in run.history.records:
        kept.record(record["k"], **{name: value for name, value in record.items() if name not in ("k", "t")})
    kept.close()
    run.evidence.save(tmp_path / "evidence.json")
    spoiling.lose_effect(run)
    loaded = history.load(tmp_path / "history.jsonl"), evidence.load(tmp_path / "evidence.json")
    assert not any(check(*loaded).values())


FIGURES = {"read": 9, "identical": 9, "changed": 0, "missing": 0, "new": 0, "not_judged": {}}
CHANGED = {
    "result": "changed",
    "processor": "laravel",
    "id": "x",
    "type": "t",
    "session": "s",
    "cause": "c",
    "changes": {},
}


@pytest.mark.parametrize(
    ("status", "lines", "violations"),
    [
        (0, [FIGURES], 0),
        (1, [CHANGED, FIGURES | {"changed": 1}], 1),
        (1, [FIGURES | {"not_judged": {"not answered: the trail does not hold it": 1}}], 1),
        (0, [FIGURES | {"not_judged": {"not settled by router": 1}}], 1),
        (2, [FIGURES | {"identical": 0}], 1),
        (1, [], 1),
    ],
)
def test_a_replay_that_differs_or_compares_nothing_is_a_violation(
    status: int, lines: list[dict[str, Any]], violations: int
) -> None:
    """Only one that compared something, and all of it identical, is none."""
    output = "".join(f"{json.dumps(one)}\n" for one in lines)
    assert len(judged(status, output, "")) == violations
