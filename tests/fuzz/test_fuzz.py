"""Every target holds for its seeds, for random inputs, and for what coverage finds in a minute."""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ROOT: Final = Path(__file__).resolve().parents[2]
SEEDS: Final = ROOT / "tests/fuzz/seeds"
TARGETS: Final = ("frames", "capsules", "http3", "sessions")
#: Of each target: a minute for what is read of a client's bytes, and more for what they lead to.
SECONDS: Final = {"frames": 20, "capsules": 20, "http3": 20, "sessions": 15}
#: Of one target's process.
MEMORY_MIB: Final = 512


def target(name: str) -> Callable[[bytes], None]:
    """The function that a target is."""
    fuzz: Callable[[bytes], None] = importlib.import_module(f"tests.fuzz.{name}").fuzz
    return fuzz


@pytest.mark.parametrize("seed", sorted(SEEDS.glob("*/*")), ids=lambda path: f"{path.parent.name}-{path.name}")
def test_seeds(seed: Path) -> None:
    """No seed, whole or cut short anywhere, makes its target fail."""
    fuzz, data = target(seed.parent.name), seed.read_bytes()
    for end in range(len(data) + 1):
        fuzz(data[:end])


@pytest.mark.parametrize("name", TARGETS)
def test_random_inputs(name: str) -> None:
    """No random input makes a target fail, nor a seed with a piece of it replaced."""
    fuzz = target(name)
    seeds = st.sampled_from([seed.read_bytes() for seed in sorted((SEEDS / name).iterdir())])

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(seeds, st.integers(0, 80), st.integers(0, 8), st.binary(max_size=60))
    def replaced(seed: bytes, at: int, size: int, piece: bytes) -> None:
        fuzz(piece)
        fuzz(seed[:at] + piece + seed[at + size :])

    replaced()


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris has no wheel for this system")
def test_a_minute_of_fuzzing(tmp_path: Path) -> None:
    """Guided by coverage, within a bound on memory, no target lets an exception out."""
    with ThreadPoolExecutor(2) as pool:
        failed = [output for output in pool.map(lambda name: guided(name, tmp_path), TARGETS) if output]
    assert not failed, "\n".join(failed)


def guided(name: str, folder: Path) -> str:
    """Fuzz one target for its time, in a process of its own; what it says when it fails."""
    corpus = folder / name
    corpus.mkdir()
    options = (
        f"-max_total_time={SECONDS[name]}",
        f"-rss_limit_mb={MEMORY_MIB}",
        f"-artifact_prefix={corpus}-",
        "-timeout=30",
        "-seed=1",
        "-max_len=4096",
        "-print_final_stats=1",
    )
    command = [sys.executable, "-m", "tests.fuzz.run", name, *options, str(corpus), str(SEEDS / name)]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ, capture_output=True, text=True, errors="replace", check=False
    )
    print(name, *(line for line in done.stderr.splitlines() if "executed_units" in line or "peak_rss" in line))
    return f"{name}:\n{done.stderr[-3000:]}" if done.returncode else ""
