#!/usr/bin/env bash
# Everything that is checked without running the code.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

PATH="$PWD/.venv/bin:$PATH"
say "ruff"
ruff check .
ruff format --check .
say "mypy"
mypy
say "import contracts"
lint-imports --no-logo
say "shellcheck"
shellcheck --external-sources .ci/run scripts/*.sh
