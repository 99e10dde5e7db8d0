#!/usr/bin/env bash
# 100,000 schedules of the simulation over two processes; `scripts/simulate.sh NUMBER` for another number of them.
set -euo pipefail
cd "$(dirname "$0")/.."

number=${1:-100000}
half=$((number / 2))
.venv/bin/python -m tests.simulation --keep-going --seeds "0:$half" &
first=$!
status=0
.venv/bin/python -m tests.simulation --keep-going --seeds "$half:$number" || status=1
wait "$first" || status=1
exit "$status"
