#!/usr/bin/env bash
# Runs the tests; arguments go to pytest, whose closing line is the last of the output.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

CHROMIUM=$(find_chromium) || die "finds no Chromium: install chromium or google-chrome, or set CHROMIUM to its path"
export CHROMIUM
exec .venv/bin/python -m pytest "$@"
