"""Runs as tables: `python -m tests.chaos.report RUN.json…` adds up what `--out` wrote of several."""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

from schemas.events import MessageReceived
from tests.chaos.history import History
from tests.chaos.processes import ROOT
from tests.chaos.violations import Violation

if TYPE_CHECKING:
    from tests.chaos.run import Result

#: Sorts of violations with a column of their own; the others share one.
_SORTS: Final = ("lost", "repeated", "reordered")
_OTHER: Final = "other"
#: What services run, of the project.
_CODE: Final = ("schemas", "runtime", "ingress", "processors", "egress", "console", "requirements")
#: How they are started.
_STARTED: Final = "tests/chaos/dying.py"
#: Violations before the first fault.
_NO_FAULT: Final = "(no fault)"
#: Violations that are written out, of each checker.
_SHOWN: Final = 8


@dataclass(slots=True)
class Row:
    """One kind of fault."""

    times: int = 0
    found: dict[str, int] = field(default_factory=dict)
    """Violations by sort."""
    seconds: list[float] = field(default_factory=list)
    """The time to recover from each, where the next fault waited for it."""

    def add(self, other: Row) -> None:
        """Count another run's."""
        self.times += other.times
        self.found = dict(Counter(self.found) + Counter(other.found))
        self.seconds += other.seconds


@dataclass(slots=True)
class Summary:
    """What one run comes to."""

    run: str
    """Its seed, and what sets it apart."""
    acknowledged: int
    rows: dict[str, Row]
    """By kind of fault."""
    code: str = ""
    """What ran: `code_digest` of it."""

    def save(self, path: Path) -> None:
        """Write it to a file."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")


def load(path: Path) -> Summary:
    """From such a file."""
    stored = json.loads(path.read_text())
    rows = {name: Row(**row) for name, row in stored["rows"].items()}
    return Summary(stored["run"], stored["acknowledged"], rows, stored.get("code", ""))


def code_digest(root: Path = ROOT) -> str:
    """Tells what services run, and its pinned dependencies, from any other code: 12 hexadecimal digits."""
    digest = hashlib.sha256()
    files = [path for name in _CODE for path in (root / name).rglob("*") if path.suffix in (".py", ".lua", ".txt")]
    files.append(root / _STARTED)
    for path in sorted(files):
        digest.update(f"{path.relative_to(root)}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def summary(run: str, history: History, violations: Sequence[Violation], code: str) -> Summary:
    """Count what a run of `code` (see `code_digest`) gave.

    A violation is put down to the fault that was the last to begin before what it concerns.
    """
    rows = {name: Row(times) for name, times in Counter(record["name"] for record in history.of("fault")).items()}
    begun = [(record["t"], record["name"]) for record in history.of("fault")]
    names = {record["n"]: record["name"] for record in history.of("fault")}
    for record in history.of("recovered"):
        rows[names[record["n"]]].seconds.append(record["seconds"])
    for violation in violations:
        before = [name for t, name in begun if violation.t is not None and t <= violation.t]
        row = rows.setdefault(before[-1] if before else _NO_FAULT, Row())
        sort = violation.sort if violation.sort in _SORTS else _OTHER
        row.found[sort] = row.found.get(sort, 0) + 1
    return Summary(run, sum(1 for _ in history.of("ok")), rows, code)


def runs(summaries: Iterable[Summary]) -> list[str]:
    """A row for each run."""
    lines = ["| Seed | Faults | Acknowledged | Lost | Repeated | Reordered | Other |", "|" + "---|" * 7]
    for one in summaries:
        whole = Row()
        for row in one.rows.values():
            whole.add(row)
        cells = [one.run, f"{whole.times:,}", f"{one.acknowledged:,}", *_numbers(whole)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def faults(summaries: Iterable[Summary]) -> list[str]:
    """A row for each kind of fault, over all runs."""
    rows: dict[str, Row] = {}
    for one in summaries:
        for name, row in one.rows.items():
            rows.setdefault(name, Row()).add(row)
    heads = ["Fault", "Times", "Lost", "Repeated", "Reordered", "Other", "Recovery p50", "Longest"]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for name, row in sorted(rows.items()):
        took = [f"{median(row.seconds):.1f} s", f"{max(row.seconds):.1f} s"] if row.seconds else ["", ""]
        lines.append(f"| {' | '.join([name, str(row.times), *_numbers(row), *took])} |")
    return lines


def recovery(summaries: Iterable[Summary]) -> str:
    """The time to recover over all faults, in words."""
    seconds = [took for one in summaries for row in one.rows.values() for took in row.seconds]
    if not seconds:
        return "no fault was waited for"
    return f"recovery: {median(seconds):.1f} s (median), {max(seconds):.1f} s (longest), of {len(seconds)}"


def codes(summaries: Iterable[Summary]) -> str:
    """Whether all runs had the same code."""
    found = Counter(one.code for one in summaries)
    return "code " + ", ".join(
        f"{code} in {times} of the runs" if len(found) > 1 else code for code, times in found.items()
    )


def text(result: Result) -> str:
    """The tables, the counts, and what is wrong."""
    one = summary(result.name, result.history, result.violations, result.code)
    lines = [*runs([one]), "", *faults([one]), "", recovery([one]), f"code {one.code}", *counts(result)]
    for checker, found in result.found.items():
        if found:
            lines.append(f"{checker}: {len(found)}")
            lines += [f"  {one.sort}: {one.text}" for one in found[:_SHOWN]]
    return "\n".join(lines)


def _numbers(row: Row) -> list[str]:
    return [str(row.found.get(sort, 0)) for sort in (*_SORTS, _OTHER)]


def counts(result: Result) -> list[str]:
    """How much there was of everything."""
    history, evidence = result.history, result.evidence
    kinds = Counter(record["k"] for record in history.records)
    events = [row["event"] for row in evidence.ledger if "op" in row]
    logged = [entry.id for entry in evidence.inbound if entry.type == MessageReceived.TYPE]
    drained = "never" if result.drained is None else f"{result.drained:.0f} s after the last fault"
    recovered = sum(record["recovered"] for record in history.of("subscribed"))
    return [
        f"{kinds['fault']} faults in {result.seconds:.0f} s; at rest {drained}",
        f"operations {kinds['invoke']}, written {kinds['send']} times, acknowledged {kinds['ok']}, "
        f"of unknown fate {kinds['info']} (then sent again)",
        f"sessions {kinds['open']}, resumed {kinds['resumed']} times of {kinds['resume']} asked; channels recovered "
        f"{recovered} times; publications received {kinds['recv']}",
        f"messages in the log {len(logged)} ({len(set(logged))} different); effects in the application {len(events)} "
        f"({len(set(events))} different); dead letters {len(evidence.dead)}; archived {len(evidence.archive)}",
        f"violations {len(result.violations)}",
    ]


def main(paths: Sequence[str]) -> None:
    """Both tables over the runs in `paths`."""
    summaries = [load(Path(path)) for path in paths]
    print("\n".join([*runs(summaries), "", *faults(summaries), "", recovery(summaries), codes(summaries)]))


if __name__ == "__main__":
    main(sys.argv[1:])
