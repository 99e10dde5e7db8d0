"""docs/upstream: each report's program still shows its fault with the aioquic that is installed."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import aioquic
import pytest

from tests.unit.docs.reading import DOCS, blocks, section
from tests.unit.docs.test_conformance import defined, source

FOLDER = DOCS / "upstream"
REPORTS = sorted(FOLDER.glob("[!R]*.md"))
by_name = pytest.mark.parametrize("report", REPORTS, ids=lambda report: report.stem)


@by_name
def test_the_fault_is_still_there(report: Path, tmp_path: Path) -> None:
    """The program runs on aioquic alone and prints what the report says, to the assertion that fails."""
    [program] = blocks(report.read_text("utf-8"), "python")
    [output] = blocks(report.read_text("utf-8"), "text")
    file = tmp_path / "report.py"
    file.write_text(program)
    done = subprocess.run(
        [sys.executable, str(file)], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1, "the fault is gone: so may be the work-around, and the report"
    assert [*done.stdout.splitlines(), done.stderr.splitlines()[-1]] == output.splitlines()


@by_name
def test_the_report_is_about_this_version(report: Path) -> None:
    """A report names the version that it was written for, lines that it has, and code here that works around it."""
    page = report.read_text("utf-8")
    assert f"aioquic {version('aioquic')}," in page
    for file, line in re.findall(r"`([\w/]+\.py):(\d+)`", page):
        assert (Path(aioquic.__file__).parent / file).read_text("utf-8").splitlines()[int(line) - 1].strip()
    places = re.findall(r"`(ingress/[\w/]+\.py): ([\w.]+)`", section(page, "## Until then"))
    assert places
    for file, name in places:
        assert name in defined(source(file)), name


def test_every_report_is_listed() -> None:
    """The folder's README leads to each of them."""
    listed = re.findall(r"\]\((\S+\.md)\)", (FOLDER / "README.md").read_text("utf-8"))
    assert sorted(listed) == [report.name for report in REPORTS]
    assert len(REPORTS) == 10
