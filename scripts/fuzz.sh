#!/usr/bin/env bash
# Fuzzes every target of tests/fuzz, guided by coverage: INPUTS in total (1,000,000), SECONDS_EACH at most (900) for each.
# New inputs that reach further are kept in .fuzz/TARGET for the next run; what fails is written to .fuzz/failures, and
# what was tried is said at the end.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

targets=(frames capsules http3 sessions)
each=$((${INPUTS:-1000000} / ${#targets[@]}))
.venv/bin/python -c 'import atheris' 2>/dev/null || die "atheris has no wheel for this system: use Linux on x86-64 with Python 3.11 to 3.13"
mkdir -p .fuzz/failures

# What libFuzzer says at the end of a run.
figure() { sed -n "s/^stat::$1: *//p" ".fuzz/$2.log"; }

tried=0 memory=0 crashes=0
for target in "${targets[@]}"; do
    mkdir -p ".fuzz/$target"
    say "fuzzing $target"
    .venv/bin/python -m tests.fuzz.run "$target" -runs="$each" -max_total_time="${SECONDS_EACH:-900}" \
        -rss_limit_mb=1024 -timeout=10 -max_len=4096 -print_final_stats=1 \
        -artifact_prefix=".fuzz/failures/$target-" ".fuzz/$target" "tests/fuzz/seeds/$target" >".fuzz/$target.log" 2>&1 ||
        { crashes=$((crashes + 1)) && tail -n 40 ".fuzz/$target.log"; }
    inputs=$(figure number_of_executed_units "$target") rss=$(figure peak_rss_mb "$target")
    echo "$target: ${inputs:=0} inputs, $(figure average_exec_per_sec "$target") a second, ${rss:=0} MiB at most"
    tried=$((tried + inputs)) memory=$((rss > memory ? rss : memory))
done
echo "inputs tried: $tried, crashes: $crashes, memory: $memory MiB at most"
[ "$crashes" -eq 0 ]
