#!/usr/bin/env bash
# Writes the lock files from pyproject.toml: every version and hash, for every system and Python >= 3.11.
# Versions already locked stay; `scripts/lock.sh --upgrade` takes the newest that pyproject.toml allows.
set -euo pipefail
cd "$(dirname "$0")/.."

# No index, local folder of wheels or personal configuration may leave its mark in the files.
unset UV_FIND_LINKS UV_INDEX UV_EXTRA_INDEX_URL UV_CONSTRAINT UV_OVERRIDE PIP_FIND_LINKS
compile() {
    local output=$1
    shift
    .venv/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
        --no-header --no-emit-index-url --no-emit-find-links --output-file "requirements/$output" "$@" >/dev/null
}

compile dev.txt --group dev "$@" pyproject.toml
# The smaller sets take their versions from the larger one.
compile runtime.txt --constraints requirements/dev.txt pyproject.toml
compile image.txt --constraints requirements/dev.txt --extra postgresql --extra parquet pyproject.toml
compile build.txt --constraints requirements/dev.txt --group build
