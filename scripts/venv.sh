#!/usr/bin/env bash
# Makes or updates .venv with the locked packages and the checkout itself: `scripts/venv.sh runtime|dev`.
# Leaves .venv/.runtime and .venv/.dev as stamps for make; the dev set holds the runtime set.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

case "${1:-}" in
    runtime)
        locks=(-r requirements/runtime.txt -r requirements/build.txt)
        stamps=(.venv/.runtime)
        ;;
    dev)
        locks=(-r requirements/dev.txt)
        stamps=(.venv/.runtime .venv/.dev)
        ;;
    *) die "usage: scripts/venv.sh runtime|dev" ;;
esac

if ! python_at .venv/bin/python >/dev/null || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    python=$(ready_python)
    say "making .venv with $python"
    "$python" -m venv --clear .venv
fi
say "installing the locked packages ($1)"
pip=(.venv/bin/python -m pip --disable-pip-version-check --quiet install)
"${pip[@]}" --require-hashes "${locks[@]}"
"${pip[@]}" --no-deps --no-build-isolation --editable .
touch "${stamps[@]}"
