"""Lines of a service's log that cannot be written."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: Reports a defect as services do, in each way; then says how many lines were lost.
REPORTS = """
import logging, sys
import structlog
from prometheus_client import REGISTRY
from runtime.logs import configure_logs
from runtime.settings import Settings

configure_logs(Settings(log_format=sys.argv[1], _env_file=None), "test")
if sys.argv[2] == "closed":
    sys.stderr.close()
try:
    raise RuntimeError("a defect")
except RuntimeError:
    structlog.get_logger().exception("loop.broken")
structlog.get_logger().warning("loop.goes_on")
logging.getLogger("library").warning("a library's")
print(REGISTRY.get_sample_value("headgate_log_lines_lost_total"))
"""


@pytest.mark.parametrize("form", ["console", "json"])
@pytest.mark.parametrize("errors", ["on a full disk", "to nobody", "closed"])
def test_a_line_that_cannot_be_written_is_lost_and_counted(errors: str, form: str) -> None:
    """A loop that reports what it survived is not ended by that, whatever became of standard error."""
    with open("/dev/full", "w") as full, subprocess.Popen(["true"], stdin=subprocess.PIPE, bufsize=0) as gone:
        gone.wait()
        stderr = full if errors == "on a full disk" else gone.stdin
        ran = subprocess.run(
            [sys.executable, "-c", REPORTS, form, errors], stdout=subprocess.PIPE, stderr=stderr, text=True
        )
    assert ran.stdout.strip() == "3.0"
