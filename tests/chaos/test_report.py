"""What runs come to is counted where it belongs, and adds up."""

from __future__ import annotations

from pathlib import Path

from tests.chaos import report
from tests.chaos.history import History
from tests.chaos.violations import Violation

CODE = "0123456789ab"
KILLED, CUT = "gateway killed", "network cut"


def history() -> History:
    """Two faults, of which one was waited for, and three acknowledgements."""
    made = History()
    for n, name in enumerate((KILLED, CUT)):
        made.record("fault", n=n, name=name, target=0)
        made.record("ok", client="A", op=n, session="a", event=f"e{n}")
    made.record("recovered", n=0, seconds=2.5)
    made.record("ok", client="A", op=2, session="a", event="e2")
    return made


def at(run: History, fault: int) -> float:
    """When a fault began."""
    t: float = list(run.of("fault"))[fault]["t"]
    return t


def test_a_violation_is_put_down_to_the_fault_before_it() -> None:
    """The table counts it in that row, by its sort; what none was before, and what has no time, in a row of its own."""
    run = history()
    found = [Violation("lost", "", at(run, 1)), Violation("stray", "", at(run, 0)), Violation("repeated", "")]
    made = report.summary("1", run, found, CODE)
    assert report.faults([made])[2:] == [
        "| (no fault) | 0 | 0 | 1 | 0 | 0 |  |  |",
        f"| {KILLED} | 1 | 0 | 0 | 0 | 1 | 2.5 s | 2.5 s |",
        f"| {CUT} | 1 | 1 | 0 | 0 | 0 |  |  |",
    ]
    assert report.runs([made])[2:] == ["| 1 | 2 | 3 | 1 | 1 | 0 | 1 |"]


def test_runs_add_up(tmp_path: Path) -> None:
    """Times, violations and seconds of several runs are in one table, also of runs that were kept in files."""
    run = history()
    made = report.summary("1", run, [Violation("lost", "", at(run, 0))], CODE)
    other = report.summary("2, Sentinel", run, [], CODE)
    other.rows[KILLED].seconds[:] = [1.5]
    for n, one in enumerate((made, other)):
        one.save(tmp_path / f"{n}.json")
    loaded = [report.load(tmp_path / f"{n}.json") for n in range(2)]
    assert loaded == [made, other]
    assert report.runs(loaded)[2:] == ["| 1 | 2 | 3 | 1 | 0 | 0 | 0 |", "| 2, Sentinel | 2 | 3 | 0 | 0 | 0 | 0 |"]
    assert f"| {KILLED} | 2 | 1 | 0 | 0 | 0 | 2.0 s | 2.5 s |" in report.faults(loaded)
    assert report.recovery(loaded) == "recovery: 2.0 s (median), 2.5 s (longest), of 2"


def test_runs_say_whether_they_had_the_same_code(tmp_path: Path) -> None:
    """A table over several runs tells what all of them ran; another line of code is another digest."""
    made = [report.summary(str(n), history(), [], CODE) for n in range(2)]
    assert report.codes(made) == f"code {CODE}"
    made[1].code = "another"
    assert report.codes(made) == f"code {CODE} in 1 of the runs, another in 1 of the runs"
    for name in ("runtime", "tests/chaos"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "tests" / "chaos" / "dying.py").write_text("")
    (tmp_path / "runtime" / "bus.py").write_text("one = 1\n")
    before = report.code_digest(tmp_path)
    (tmp_path / "tests" / "test.py").write_text("")
    assert report.code_digest(tmp_path) == before
    (tmp_path / "runtime" / "bus.py").write_text("one = 2\n")
    assert report.code_digest(tmp_path) != before
