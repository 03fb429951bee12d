"""The engine keeps its promises in every history, and a seed gives the same history each time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.scenario import play

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("first", range(0, 300, 50))
def test_the_engine_keeps_its_promises(first: int) -> None:
    """Fifty histories of crashes, rebalances, outages and failing handlers; `make simulate` plays more."""
    broken = {seed: found for seed in range(first, first + 50) if (found := play(seed).invariants.violations)}
    report = [f"python -m tests.simulation --first {seed} --seeds 1: {found[0]}" for seed, found in broken.items()]
    assert not broken, "\n".join(report)


def test_the_histories_hold_what_they_are_meant_to_hold() -> None:
    """A simulation in which nothing goes wrong would prove nothing."""
    counts = sum((play(seed).counts for seed in range(40)), start=play(40).counts)
    for what in (
        "commands",
        "answers",
        "repeats",
        "dead letters",
        "refusals",
        "commits",
        "late commits",
        "effects once",
        "replays",
        "strangers at a limit",
        "drawn strangers",
        "unreadable headers",
        "errors raised",
        "results that are none",
        "escapes",
        "cancels",
        "overruns",
    ):
        assert counts[what] > 5, what
    for harm in ("start", "stop", "crash", "turn", "cut off", "go away"):
        assert counts[harm] > 5, harm


def test_a_seed_gives_the_same_history_in_another_process() -> None:
    """Neither the addresses of objects nor the hashes of strings have a say."""
    printed = {_digest(hash_seed) for hash_seed in ("1", "2")}
    assert len(printed) == 1


def _digest(hash_seed: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--first", "7", "--seeds", "20"],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return done.stdout.splitlines()[-1]
