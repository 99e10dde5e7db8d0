#!/usr/bin/env bash
# Runs every bench, one after the other; arguments (--quick, --json) go to each.
set -euo pipefail
cd "$(dirname "$0")/.."

for bench in bench/[a-z]*.py; do
    .venv/bin/python "$bench" "$@"
done
