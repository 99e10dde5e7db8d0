#!/usr/bin/env bash
# Runs the tests, most of them in three processes, since they wait more than they work; arguments go to pytest, in one.
# Its closing line is the last of the output.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

CHROMIUM=$(find_chromium) || die "finds no Chromium: install chromium or google-chrome, or set CHROMIUM to its path"
export CHROMIUM
if [ $# -gt 0 ]; then
    exec .venv/bin/python -m pytest "$@"
fi
export PATIENCE=5
# The attacks measure how long a gateway's event loop is held, and chaos runs a machine full of processes: nothing else
# runs beside them.
.venv/bin/python -m pytest tests/attacks tests/chaos
exec .venv/bin/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder --ignore tests/attacks --ignore tests/chaos
