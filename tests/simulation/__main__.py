"""`python -m tests.simulation --seeds 2000 [--first 0]`: run the engine against random histories.

Of each history in which the engine broke a promise, it says what was broken and how to play it again.
"""

import sys
import time
from argparse import ArgumentParser
from collections import Counter
from hashlib import sha256

from tests.simulation.scenario import play

_PROGRESS_EVERY_S = 5.0


def main() -> int:
    """Play the seeds; 1 if any of them broke something."""
    parser = ArgumentParser(prog="python -m tests.simulation", description="Run the engine against random histories.")
    parser.add_argument("--seeds", type=int, default=2000, help="how many histories")
    parser.add_argument("--first", type=int, default=0, help="the seed of the first")
    options = parser.parse_args()
    began_s = told_s = time.monotonic()
    counts: Counter[str] = Counter()
    digests = sha256()
    for seed in range(options.first, options.first + options.seeds):
        history = play(seed)
        counts.update(history.counts)
        digests.update(history.digest.encode())
        if history.invariants.violations:
            counts["broken histories"] += 1
            print(f"\nseed {seed}: python -m tests.simulation --first {seed} --seeds 1")
            print(*(f"  {text}" for text in history.invariants.violations), sep="\n", flush=True)
        if time.monotonic() - told_s > _PROGRESS_EVERY_S:
            told_s = time.monotonic()
            played = seed + 1 - options.first
            print(f"{played} of {options.seeds}, {played / (told_s - began_s):.0f} a second", flush=True)
    took_s = time.monotonic() - began_s
    print(f"\n{options.seeds} histories in {took_s:.1f} s, {options.seeds / took_s:.0f} a second")
    print(", ".join(f"{count} {what}" for what, count in sorted(counts.items())))
    print(f"digest of all that the broker kept: {digests.hexdigest()[:16]}")
    return 1 if counts["broken histories"] else 0


if __name__ == "__main__":
    sys.exit(main())
