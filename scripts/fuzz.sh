#!/usr/bin/env bash
# Fuzzes every target of tests/fuzz, guided by coverage: INPUTS in total (1,000,000), SECONDS_EACH at most (900) for each.
# New inputs that reach further are kept in .fuzz/TARGET for the next run; what fails is written to .fuzz/failures.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

targets=(frames capsules http3 sessions)
each=$((${INPUTS:-1000000} / ${#targets[@]}))
.venv/bin/python -c 'import atheris' 2>/dev/null || die "atheris has no wheel for this system: use Linux on x86-64 with Python 3.11 to 3.13"
mkdir -p .fuzz/failures
for target in "${targets[@]}"; do
    mkdir -p ".fuzz/$target"
    say "fuzzing $target"
    .venv/bin/python -m tests.fuzz.run "$target" -runs="$each" -max_total_time="${SECONDS_EACH:-900}" \
        -rss_limit_mb=1024 -timeout=10 -max_len=4096 -print_final_stats=1 \
        -artifact_prefix=".fuzz/failures/$target-" ".fuzz/$target" "tests/fuzz/seeds/$target" 2>&1 | grep -vE '(REDUCE|NEW|RELOAD|pulse)'
done
