"""What the plugin costs where it is installed and unused.

    python benchmarks/idle.py [rounds]

Runs pytest on an empty suite with the plugin and with `-p no:edgequant`, alternating, and prints
the medians and their difference (goal: at most 15 ms).
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from _timing import run


def main(rounds: int) -> None:
    with_plugin, without = [], []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "test_empty.py").write_text("def test_nothing():\n    pass\n")
        base = [sys.executable, "-m", "pytest", "-q", folder, "-p", "no:cacheprovider"]
        for _ in range(rounds):
            with_plugin.append(run(base).wall)
            without.append(run([*base, "-p", "no:edgequant"]).wall)
    difference = statistics.median(with_plugin) - statistics.median(without)
    print(f"with the plugin  {1000 * statistics.median(with_plugin):7.1f} ms")
    print(f"without          {1000 * statistics.median(without):7.1f} ms")
    print(f"difference       {1000 * difference:7.1f} ms")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
