"""Runs one target under atheris, guided by what it covers: `python -m tests.fuzz.run TARGET [option of libFuzzer]...`.

Without options it runs for ever. `-runs=N`, `-max_total_time=SECONDS`, `-rss_limit_mb=N`, `-seed=N` and folders with a
corpus are libFuzzer's (https://llvm.org/docs/LibFuzzer.html#options). What escapes a target ends the run with a status
that is not 0; the input is written to the working directory, or to `-artifact_prefix=`.
"""

from __future__ import annotations

import importlib
import sys

import atheris

#: What is searched for branches.
COVERED = ("schemas", "ingress.session", "ingress.webtransport", "aioquic.h3.connection")


def main() -> None:
    """Run the target that the first argument names."""
    target = sys.argv.pop(1)
    with atheris.instrument_imports(include=list(COVERED)):
        fuzz = importlib.import_module(f"tests.fuzz.{target}").fuzz
    atheris.Setup(sys.argv, fuzz)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
