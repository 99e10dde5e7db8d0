"""`python -m tests.simulation SEED`: one schedule, told in full. `--seeds A:B`: many, in short."""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
import warnings
from collections import Counter

#: The order of sets of strings is part of what is repeated.
if os.environ.get("PYTHONHASHSEED") != "0":
    os.environ["PYTHONHASHSEED"] = "0"
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])

from tests.simulation import inside
from tests.simulation.mutations import MUTATIONS
from tests.simulation.simulation import Result, simulate

_COLLECT_EVERY = 20


def main() -> int:
    """0 when nothing was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seed", type=int, nargs="?")
    parser.add_argument("--seeds", metavar="A:B", help="from A to before B")
    parser.add_argument("--mutation", choices=sorted(MUTATIONS), help="break one rule first")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first violation")
    arguments = parser.parse_args()
    # What a dead process leaves behind is closed wherever it stands.
    warnings.simplefilter("ignore", RuntimeWarning)
    sys.unraisablehook = lambda _: None
    inside.be_quiet()
    if arguments.mutation:
        MUTATIONS[arguments.mutation]()
    if arguments.seeds is None:
        return _one(arguments.seed or 0)
    first, last = map(int, arguments.seeds.split(":"))
    return _many(range(first, last), keep_going=arguments.keep_going)


def _one(seed: int) -> int:
    gc.disable()
    result = simulate(seed, trace=True)
    print(*result.trace, sep="\n")
    _report(result)
    if not result.violations:
        print(f"seed {seed}: nothing wrong, {result.seconds:.1f} virtual seconds, {dict(result.faults)}")
    return bool(result.violations)


def _many(seeds: range, *, keep_going: bool) -> int:
    faults: Counter[str] = Counter()
    wrong, done, began, virtual = 0, 0, time.monotonic(), 0.0
    gc.disable()  # When what died is closed must not depend on what ran before.
    gc.freeze()
    for seed in seeds:
        result = simulate(seed)
        done += 1
        faults += result.faults
        virtual += result.seconds
        if result.violations:
            wrong += 1
            _report(result)
            if not keep_going:
                break
        if done % _COLLECT_EVERY == 0:
            del result
            gc.collect()
        if done % 1000 == 0:
            print(f"{done} schedules, {wrong} wrong, {done / (time.monotonic() - began):.1f} a second", flush=True)
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(faults.items()))
    took = time.monotonic() - began
    print(f"{done} schedules of {seeds.start}:{seeds.stop}, {wrong} wrong; faults: {kinds}")
    print(f"{virtual:.0f} virtual seconds in {took:.1f}")
    return bool(wrong)


def _report(result: Result) -> None:
    if not result.violations:
        return
    print(f"seed {result.seed} is wrong:", *(f"  {one}" for one in result.violations), sep="\n")
    print(result.plan)
    print(f"again: .venv/bin/python -m tests.simulation {result.seed}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
