"""A run as a table."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, Final

from schemas.events import MessageReceived
from tests.chaos.checkers import Violation
from tests.chaos.history import History

if TYPE_CHECKING:
    from tests.chaos.run import Result

_SORTS: Final = ("lost", "repeated", "reordered")
#: Violations that are written out, of each checker.
_SHOWN: Final = 8


def text(result: Result) -> str:
    """The table, the counts, and what is wrong."""
    lines = [*table(result.history, result.violations), "", *counts(result)]
    for checker, found in result.found.items():
        if found:
            lines.append(f"{checker}: {len(found)}")
            lines += [f"  {one.sort}: {one.text}" for one in found[:_SHOWN]]
    return "\n".join(lines)


def table(history: History, violations: Sequence[Violation]) -> list[str]:
    """A row for each kind of fault; a violation is put down to the fault that was the last to begin before it."""
    times = Counter(record["name"] for record in history.of("fault"))
    begun = [(record["t"], record["name"]) for record in history.of("fault")]
    names = {record["n"]: record["name"] for record in history.of("fault")}
    seconds: dict[str, list[float]] = defaultdict(list)
    for record in history.of("recovered"):
        seconds[names[record["n"]]].append(record["seconds"])
    blamed: Counter[tuple[str, str]] = Counter()
    for violation in violations:
        before = [name for t, name in begun if violation.t is not None and t <= violation.t]
        blamed[before[-1] if before else "(no fault)", violation.sort] += 1
    width = max([len(name) for name in times] + [10])
    rows = [f"{'fault':<{width}} {'times':>6} {'lost':>6} {'repeated':>9} {'reordered':>10} {'p50 s':>7} {'max s':>7}"]
    for name in [*sorted(times), "(no fault)"]:
        numbers = [blamed[name, sort] for sort in _SORTS]
        if name not in times and not any(numbers):
            continue
        took = seconds[name]
        p50, longest = (f"{median(took):.1f}", f"{max(took):.1f}") if took else ("", "")
        lost, repeated, reordered = numbers
        row = f"{name:<{width}} {times[name]:>6} {lost:>6} {repeated:>9} {reordered:>10} {p50:>7} {longest:>7}"
        rows.append(row)
    return rows


def recovered_again(history: History) -> Counter[str]:
    """Publications that a client recovered in one session and had received in an earlier one, by kind.

    A whisper does not tell its offset: a client cannot say that it has it.
    """
    kinds: dict[tuple[str, int], str] = {}
    owners = {record["session"]: record["client"] for record in history.of("open")}
    for record in history.of("invoke"):
        kinds[record["client"], record["op"]] = record["kind"]
    seen: set[tuple[str, str, int]] = set()
    again: Counter[str] = Counter()
    for record in history.of("recv", "subscribed"):
        client = record["client"]
        if record["k"] == "recv":
            seen.add((client, record["from"], record["op"]))
            continue
        for _, sender, op, _ in record["missed"]:
            if (client, sender, op) in seen:
                again[kinds[owners[sender], op]] += 1
            seen.add((client, sender, op))
    return again


def counts(result: Result) -> list[str]:
    """How much there was of everything."""
    history, evidence = result.history, result.evidence
    kinds = Counter(record["k"] for record in history.records)
    events = [row["event"] for row in evidence.ledger if "op" in row]
    logged = [entry.id for entry in evidence.inbound if entry.type == MessageReceived.TYPE]
    drained = "never" if result.drained is None else f"{result.drained:.0f} s after the last fault"
    asked = sum(record["recover"] is not None for record in history.of("subscribe"))
    again = recovered_again(history)
    recovered = sum(record["recovered"] for record in history.of("subscribed"))
    return [
        f"seed {result.seed}: {kinds['fault']} faults in {result.seconds:.0f} s; at rest {drained}",
        f"operations {kinds['invoke']}, written {kinds['send']} times, acknowledged {kinds['ok']}, "
        f"of unknown fate {kinds['info']} (then sent again)",
        f"sessions {kinds['open']}; channels recovered {recovered} of {asked} asked; publications received "
        f"{kinds['recv']}",
        f"recovered although they had been received: {again['message']} broadcasts, {again['whisper']} whispers",
        f"messages in the log {len(logged)} ({len(set(logged))} different); effects in the application {len(events)} "
        f"({len(set(events))} different); dead letters {len(evidence.dead)}; archived {len(evidence.archive)}",
        f"violations {len(result.violations)}",
    ]
