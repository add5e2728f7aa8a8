"""Cold and warm gate of example_project, against `straightforward.py` in the same run.

    python benchmarks/gate.py [rounds]

Prints the medians and the ratios: cold gate / script (goal: at most 0.95), warm / cold (goal: at
most 0.25), and the CPU seconds of a warm gate (goal: under 4). The gate makes all seven variants of
both models (target rpi4) and evaluates them; the rounds alternate, so that noise hits both.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from _timing import Timing, run

HERE = Path(__file__).parent
EXAMPLE = HERE.parent / "example_project"


def gate(cache: str) -> Timing:
    command = ["-m", "pytest", str(EXAMPLE), "--edge-target=rpi4", "-q", "--edge-cache-dir", cache]
    return run([sys.executable, *command, "-p", "no:cacheprovider"])


def main(rounds: int) -> None:
    script, cold, warm = [], [], []
    # Not counted: brings the files of both into the page cache.
    run([sys.executable, str(HERE / "straightforward.py"), str(EXAMPLE)])
    for _ in range(rounds):
        script.append(run([sys.executable, str(HERE / "straightforward.py"), str(EXAMPLE)]))
        with tempfile.TemporaryDirectory() as cache:
            cold.append(gate(cache))
            warm.append(gate(cache))

    def median(timings: list[Timing]) -> float:
        return statistics.median(t.wall for t in timings)

    print(f"script     {median(script):6.2f} s")
    print(f"cold gate  {median(cold):6.2f} s   {median(cold) / median(script):.2f}x the script")
    print(f"warm gate  {median(warm):6.2f} s   {median(warm) / median(cold):.2f}x the cold gate")
    print(f"warm gate  {statistics.median(t.cpu for t in warm):6.2f} s of CPU")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
