"""What the plugin costs where it is installed and unused.

    python benchmarks/idle.py [rounds]

Runs pytest on an empty suite with the plugin and with `-p no:edgequant`, alternating, and prints
the median time on the wall, the least processor time, and the differences (goal: at most 15 ms).
The first is what one waits for; the second is the one to trust where the machine does other work.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from _timing import Timing, run


def main(rounds: int) -> None:
    with_plugin: list[Timing] = []
    without: list[Timing] = []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "test_empty.py").write_text("def test_nothing():\n    pass\n")
        base = [sys.executable, "-m", "pytest", "-q", folder, "-p", "no:cacheprovider"]
        run(base)  # not counted: compiles modules
        for _ in range(rounds):
            with_plugin.append(run(base))
            without.append(run([*base, "-p", "no:edgequant"]))
    rows = [
        (name, 1000 * statistics.median(t.wall for t in row), 1000 * min(t.cpu for t in row))
        for name, row in (("with the plugin", with_plugin), ("without", without))
    ]
    (_, *first), (_, *second) = rows
    rows.append(("difference", first[0] - second[0], first[1] - second[1]))
    print("                    median wall  least CPU")
    for name, wall, cpu in rows:
        print(f"{name:16} {wall:11.1f} ms {cpu:7.1f} ms")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
