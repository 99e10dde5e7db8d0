#!/usr/bin/env bash
# Builds the wheel into dist/, checks that it holds every file of the packages, and runs it where no checkout is near.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

python="$PWD/.venv/bin/python"
packages=(schemas runtime ingress processors egress console)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

say "building the wheel"
rm -rf dist
"$python" -m build --wheel --no-isolation --outdir dist . >"$scratch/log" 2>&1 || {
    cat "$scratch/log" >&2
    die "the wheel does not build"
}
wheel=$(echo "$PWD"/dist/*.whl)

"$python" -m zipfile --list "$wheel" | awk 'NR > 1 { print $1 }' | LC_ALL=C sort >"$scratch/held"
find "${packages[@]}" -type f ! -path '*/__pycache__/*' ! -name '.*' | LC_ALL=C sort >"$scratch/wanted"
left_out=$(LC_ALL=C comm -13 "$scratch/held" "$scratch/wanted")
[ -z "$left_out" ] || die "the wheel leaves out: $left_out"

say "running the wheel from a fresh environment"
"$python" -m venv "$scratch/venv"
pip=("$scratch/venv/bin/python" -m pip --disable-pip-version-check --quiet install)
"${pip[@]}" --require-hashes -r requirements/runtime.txt
"${pip[@]}" --no-deps --no-index "$wheel"
cd "$scratch"
venv/bin/python -m pip --disable-pip-version-check check >/dev/null || die "the wheel asks for what is not locked"
for command in "" ingress processors egress console dev tail config certs archive erase; do
    # shellcheck disable=SC2086 # no command at all is one of the cases
    venv/bin/headgate $command --help >"$scratch/help" || die "headgate $command --help fails from the wheel"
done
venv/bin/headgate config >/dev/null || die "headgate config fails from the wheel"
# An import of nothing makes the archive, by the migrations that the wheel has to hold.
HEADGATE_ARCHIVE_URL="sqlite+aiosqlite:///$scratch/archive.db" venv/bin/headgate archive import /dev/null 2>/dev/null ||
    die "the wheel cannot make an archive"
